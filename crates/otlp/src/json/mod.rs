//! **What**: OTLP/JSON to protobuf bytes ([`decode`]) and back ([`encode`]), both streaming over a table of the schema.
//! **Why**: the JSON of generated types silently loses data on `null`, enum names and `NaN`, and builds a tree first.
//! **Invariants**: strict where OTLP/JSON and the protobuf JSON mapping are; one pass, linear time, no recursion over
//! input, output at most a limit ([`MAX_WIRE`] or the text's own size); errors hold a fixed text and an offset, never
//! payload. **Not here**: limits of a request, compression, replies (`receivers/otlp`); the index over the bytes
//! (`payload`).
//!
//! Decisions where the mapping leaves room: a field of the schema that stands twice in an object is refused (a
//! duplicate could hide text from a reader that takes the other one), so are two members of a oneof; an id is empty
//! or has its full length; a byte order mark is refused; objects and lists of unknown fields may nest
//! [`MAX_SKIP_DEPTH`] deep, an `AnyValue` [`MAX_DEPTH`](super::MAX_DEPTH) deep.

mod decode;
mod encode;
mod error;
mod lengths;
mod number;
mod schema;
mod text;

#[cfg(test)]
mod tests;

pub use decode::{decode, decode_within};
pub use encode::encode;
pub use error::{JsonError, MAX_SKIP_DEPTH, MAX_WIRE};
