//! [`MalformedOtlp`]: why bytes are not an OTLP request.

/// Why bytes are not an OTLP request. Never contains payload; offsets are byte positions in the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedOtlp {
    /// Description of the error, a fixed text.
    pub message: &'static str,
    /// Offset in the request, bytes.
    pub at: usize,
}

impl std::fmt::Display for MalformedOtlp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not OTLP at byte {}: {}", self.at, self.message)
    }
}

impl std::error::Error for MalformedOtlp {}
