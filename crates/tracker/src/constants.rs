//! Constants and helpers that several modules share.

/// Nanoseconds, saturating.
pub(super) fn nanos(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// The session of items that name none: that of their trace, whose id is given in hex.
pub(super) fn session_of_trace(trace: &str) -> String {
    format!("trace-{trace}")
}

/// Whether the list, a text of words between spaces, has the word.
pub(super) fn has_word(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known == word)
}
