//! **What**: [`JsonError`], and the limits that it speaks of.

use std::fmt;

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
pub(super) const TOO_LARGE: &str = "too large as protobuf";

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
