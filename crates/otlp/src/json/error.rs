//! [`JsonError`], and limits of the decoder.

use std::fmt;

/// Maximum nesting depth in the value of an unknown field.
pub const MAX_SKIP_DEPTH: u32 = 64;

/// Maximum size in bytes of a protobuf request made from JSON; the limit of a larger text is its own size. Lists of
/// numbers grow up to fourfold in protobuf, so a text within the usual request limit never exceeds this.
pub const MAX_WIRE: usize = 64 << 20;

/// Why a text is not an OTLP/JSON request. Never contains payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Description of the error, a fixed text.
    pub message: &'static str,
    /// Offset in the text, bytes.
    pub at: usize,
}

/// The description that [`JsonError::is_too_large`] recognises.
pub(super) const TOO_LARGE: &str = "too large as protobuf";

impl JsonError {
    /// Whether the text is valid so far, but exceeds the limit.
    pub fn is_too_large(&self) -> bool {
        self.message == TOO_LARGE
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.message, self.at)
    }
}

impl std::error::Error for JsonError {}
