//! Converts OTLP/JSON to protobuf bytes ([`decode`]) and back ([`encode`]), streaming over the table `otlp/schema`. The
//! JSON support of generated types builds a tree first and silently loses data on `null`, enum names and `NaN`.
//! Strict where OTLP/JSON and the protobuf JSON mapping are. One pass in linear time, no recursion over the input; the
//! output is limited to [`MAX_WIRE`] or the text's own size. Errors contain a fixed text and an offset, never payload.
//! `receivers/http_ports` handles request limits and replies; `payload` indexes the bytes.
//!
//! Decisions where the mapping leaves room: a field of the schema that occurs twice in an object is refused (a
//! duplicate could hide text from a reader that uses the other one), and so are two members of a oneof; an id of a
//! wrong length is copied as it is, but one with an odd number of digits or more than 128 is refused; a byte order
//! mark is refused; objects and lists in unknown fields may nest [`MAX_SKIP_DEPTH`] deep, an `AnyValue`
//! [`MAX_DEPTH`](super::MAX_DEPTH) deep.

mod decode;
mod encode;
mod error;
mod lengths;
mod number;
mod tokenizer;

#[cfg(test)]
mod tests;

pub use decode::{decode, decode_within};
pub use encode::encode;
pub use error::{JsonError, MAX_SKIP_DEPTH, MAX_WIRE};
