//! **What**: the OTLP data plane: one request of protobuf bytes, an index over it, pending edits, one encode.
//! **Why**: processors see items, attributes and text places, never the representation (protobuf ranges).
//! **Invariants**: imports nothing else of ours; bytes outside an edited field are identical; every occurrence
//! of a repeated singular field, oneof or duplicate key is treated; malformed input is an error, never a panic.
//! **Not here**: what keys mean (`genai/`), what is private (`processors/redact`).

pub mod json;
pub mod payload;
pub mod signal;

pub use payload::{
    AttrId, Attribute, ContentJson, Encoded, Field, Malformed, Node, NodeKind, OwnedValue, Payload, Place, PlaceKind,
    SlotId, SlotRange, TextEdit, UnknownFields, Value,
};
pub use signal::Signal;
