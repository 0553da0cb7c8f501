//! The OTLP data plane: one request of protobuf bytes, an index over it, pending edits, and one encode. Processors
//! work with items, attributes and text places, never with protobuf ranges.
//! Invariants: no dependency on other crates of tollgate; bytes outside of edited fields stay identical; edits and
//! text visits cover every occurrence of a repeated singular field, oneof or duplicate key; malformed input is an
//! error, never a panic. `genai` knows the meaning of keys, `processors/redact` decides what is private.
//!
//! | topic | file |
//! |---|---|
//! | contents of a request, reading | `payload` |
//! | editing | `edit`, `text` (all texts), `encode` (writing) |
//! | fields of each message, for protobuf and JSON | `schema` |
//! | building and structure of the index | `index_builder`, `index`, `lookup` (nodes with very many attributes) |
//! | values: reading, JSON text, rewriting inside | `value`, `value_json`, `patch` |
//! | received values: validation, repeated fields | `check`, `merge_repeated` |
//! | whole requests as bytes: merge, split, count | `requests` |
//! | replies: partial success, google.rpc.Status, retryable codes | `status` |
//! | attributes that occur again and that a step may skip | `pair_verdicts`, `pair_table` |
//! | visiting integers and doubles of attributes and bodies | `numbers` |
//! | protobuf wire format | `wire` |
//! | generated types, off the hot path | `gen/` (from `proto/`) |
//! | OTLP/JSON to and from protobuf bytes | `json/` |

#![warn(missing_docs)]

mod check;
mod edit;
mod encode;
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated from proto/")]
pub mod r#gen;
mod ids;
mod index;
mod index_builder;
pub mod json;
mod lookup;
mod malformed;
mod merge_repeated;
mod numbers;
mod pair_table;
mod pair_verdicts;
mod patch;
pub mod payload;
mod requests;
mod schema;
pub mod signal;
pub mod status;
mod text;
mod value;
mod value_json;
mod wire;

pub use encode::{EncodedRequest, SlotRange, UnknownFields};
pub use ids::{AttrId, NodeId, NodeKind, SlotId, TextField};
pub use malformed::MalformedOtlp;
pub use numbers::NumberOccurrence;
pub use pair_table::{JudgeId, PairVerdicts, VerdictBit};
pub use patch::TextEdit;
pub use payload::{Attribute, EncodedAttribute, Payload};
pub use requests::{MergedRequest, count_items, split};
pub use signal::Signal;
pub use text::{TextPlace, TextPlaceKind};
pub use value::{MAX_DEPTH, NestedValue, OwnedValue, Value};
pub use value_json::{ContentJson, write_json_text};

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
extern crate self as otlp; // the fuzz targets refer to this crate by its name
