//! [`Malformed`]: why bytes are not an OTLP request.

/// Why bytes are not an OTLP request. Never contains payload; offsets are byte positions in the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Description of the error, a fixed text.
    pub what: &'static str,
    /// Offset in the request, bytes.
    pub at: usize,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not OTLP at byte {}: {}", self.at, self.what)
    }
}

impl std::error::Error for Malformed {}
