//! **What**: [`Malformed`]: why bytes are not an OTLP request.

/// Why bytes are not an OTLP request. Never quotes payload; offsets are byte positions in the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong, a fixed text.
    pub what: &'static str,
    /// Where, in bytes from the start of the request.
    pub at: usize,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not OTLP at byte {}: {}", self.at, self.what)
    }
}

impl std::error::Error for Malformed {}
