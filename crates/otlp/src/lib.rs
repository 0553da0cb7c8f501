//! **What**: the OTLP data plane: one request of protobuf bytes, an index over it, pending edits, one encode.
//! **Why**: processors see items, attributes and text places, never the representation (protobuf ranges).
//! **Invariants**: imports nothing else of ours; bytes outside an edited field are identical; every occurrence
//! of a repeated singular field, oneof or duplicate key is treated; malformed input is an error, never a panic.
//! **Not here**: what keys mean (`genai/`), what is private (`processors/redact`).
//!
//! | question | file |
//! |---|---|
//! | what does a request hold, how is it read | `payload` |
//! | how is it changed | `edit`, `text` (all texts), `encode` (writing out) |
//! | which field of which message is what | `schema` |
//! | how is the index made, what is in it | `walk`, `index`, `lookup` (nodes with very many attributes) |
//! | values: reading, JSON text, rewriting inside | `value`, `value_json`, `patch` |
//! | values from outside: checks, what repeats itself | `check`, `merged` |
//! | whole requests as bytes: merge, split, count | `requests` |
//! | replies: partial success, google.rpc.Status, what is retryable | `status` |
//! | integers and doubles of attributes and bodies shown to a visitor that may replace them | `numbers` |
//! | protobuf wire format | `wire` |
//! | generated types, for tools and tests only | `gen/` (from `proto/`) |
//! | OTLP/JSON to and from protobuf bytes | `json/` |

mod check;
mod edit;
mod encode;
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated from proto/")]
pub mod r#gen;
mod ids;
mod index;
pub mod json;
mod lookup;
mod malformed;
mod merged;
mod numbers;
mod patch;
pub mod payload;
mod requests;
mod schema;
pub mod signal;
pub mod status;
mod text;
mod value;
mod value_json;
mod walk;
mod wire;

pub use encode::{Encoded, SlotRange, UnknownFields};
pub use ids::{AttrId, Field, Node, NodeKind, SlotId};
pub use malformed::Malformed;
pub use numbers::NumberAt;
pub use patch::TextEdit;
pub use payload::{Attribute, Payload};
pub use requests::{count_items, merge, split};
pub use signal::Signal;
pub use text::{Place, PlaceKind};
pub use value::{MAX_DEPTH, Nested, OwnedValue, Value};
pub use value_json::{ContentJson, write_json_text};

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
extern crate self as otlp; // the bodies of the fuzz targets name this crate as everybody does
