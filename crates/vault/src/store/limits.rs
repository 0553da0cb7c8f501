//! **What**: how much and how long a vault in a folder keeps ([`Limits`]), and what a sweep removed ([`Swept`]).
//! **Not here**: the sweep (`sweep`).

use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// How long, and how much, a folder keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// From when an object was written; `None`: for ever.
    pub retention: Option<Duration>,
    /// Bytes of all files; `None`: what the disk takes.
    pub max_size: Option<u64>,
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects that are gone.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects whose retention is over and that are under hold.
    pub held: u64,
}

/// Bytes in a folder, once they were counted.
#[derive(Default)]
pub(super) struct Used {
    pub(super) counted: tokio::sync::OnceCell<()>,
    pub(super) bytes: AtomicU64,
}
