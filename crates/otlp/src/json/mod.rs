//! **What**: OTLP/JSON to protobuf bytes ([`decode`]) and back ([`encode`]), both streaming over a table of the schema.
//! **Why**: the JSON of generated types silently loses data on `null`, enum names and `NaN`, and builds a tree first.
//! **Invariants**: strict where OTLP/JSON and the protobuf JSON mapping are; one pass, linear time, no recursion over
//! input, output at most a limit ([`MAX_WIRE`] or the text's own size); errors hold a fixed text and an offset, never payload.
//! **Not here**: limits of a request, compression, replies (`receivers/otlp`); the index over the bytes (`payload`).
//!
//! Decisions where the mapping leaves room: a field of the schema that stands twice in an object is refused (a
//! duplicate could hide text from a reader that takes the other one), so are two members of a oneof; an id is empty
//! or has its full length; a byte order mark is refused; objects and lists of unknown fields may nest
//! [`MAX_SKIP_DEPTH`] deep, an `AnyValue` [`MAX_DEPTH`](super::MAX_DEPTH) deep.

mod decode;
mod encode;
mod lengths;
mod number;
mod schema;
mod text;

#[cfg(test)]
mod tests;

use std::fmt;

pub use decode::{decode, decode_within};
pub use encode::encode;

/// How deep the value of an unknown field may nest.
pub const MAX_SKIP_DEPTH: u32 = 64;

/// The largest protobuf request made from JSON, bytes, unless the text itself is larger. Lists of numbers grow up to
/// four times on the way to protobuf; with this a text within the usual request limit never leads past it.
pub const MAX_WIRE: usize = 64 << 20;

/// Why a text is not an OTLP/JSON request. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// What is wrong, a fixed text.
    pub what: &'static str,
    /// Where, in bytes from the start of the text.
    pub at: usize,
}

/// What [`JsonError::too_large`] looks for.
const TOO_LARGE: &str = "too large as protobuf";

impl JsonError {
    /// The text is right so far, but leads past the limit.
    pub fn too_large(&self) -> bool {
        self.what == TOO_LARGE
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for JsonError {}
