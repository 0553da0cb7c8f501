//! Retention and maximum size of a vault in a folder ([`DirectoryLimits`]), and the result of a sweep
//! ([`SweepResult`]). Neighbour: `sweep`.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Retention and maximum size of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectoryLimits {
    /// Retention from the time an object was written; `None` keeps objects forever.
    pub retention: Option<Duration>,
    /// Limit of all files together, bytes; `None` means the disk's size.
    pub max_size: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepResult {
    pub objects: u64,
    /// Bytes removed.
    pub bytes: u64,
    /// Expired objects that were kept because they are under legal hold.
    pub held: u64,
}

/// Bytes in a folder, once counted.
#[derive(Default)]
pub(super) struct UsedSpace {
    pub(super) counted: tokio::sync::OnceCell<()>,
    pub(super) bytes: AtomicU64,
}
