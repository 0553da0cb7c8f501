//! **What**: figures and words that several modules share.

/// Runs that are over and still shown.
pub(super) const RECENT: usize = 1000;
/// What has no name.
pub(super) const UNATTRIBUTED: &str = "unattributed";

/// A span as nanoseconds, as far as they go.
pub(super) fn nanos(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
