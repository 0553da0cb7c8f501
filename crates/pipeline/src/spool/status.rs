//! **What**: what the spool says of itself: [`Status`], errors. **Invariants**: no payload; every error is one line.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::outcome::Reason;
use kernel::clock::UnixNanos;

use super::transaction::Seq;

/// The spool at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Bytes of all its files, room taken ahead included.
    pub bytes: u64,
    /// The bound of `bytes`.
    pub limit: u64,
    /// Bytes that it may still take: of `limit`, and of the volume it lies on; 0 while it refuses.
    pub left: u64,
    /// Segment files.
    pub segments: u64,
    /// Records held (internal ones and those done but not yet reclaimed included).
    pub records: u64,
    /// The bound of `records`.
    pub max_records: u64,
    /// Position that the next record will be at or behind.
    pub next: Seq,
    /// Set once it can't be written any more; the process must stop acknowledging.
    pub poisoned: Option<Reason>,
    /// Why the last reservation was refused, until one succeeds.
    pub refusing: Option<Reason>,
    /// Everyone who holds or held records, by name.
    pub consumers: Vec<ConsumerStatus>,
}

impl Status {
    /// Records that could wait for a consumer for which `waiting` waits now: those, and as many of their mean size as
    /// there is room for; as many as can be held at all while none waits. Waiting to capacity is then as waiting bytes
    /// to what they could be.
    pub fn capacity(&self, waiting: Option<&ConsumerStatus>) -> u64 {
        let (records, bytes) = waiting.map_or((0, 0), |waiting| (waiting.records, waiting.bytes));
        let free = u128::from(self.left);
        let more = (free * u128::from(records)).checked_div(u128::from(bytes)).unwrap_or(u128::MAX);
        records.saturating_add(u64::try_from(more).unwrap_or(u64::MAX)).min(self.max_records)
    }
}

/// What waits for one consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// False: records wait for it on disk, but nothing of that name is configured (see [`super::Spool::expect`]).
    pub configured: bool,
    /// Records that wait.
    pub records: u64,
    /// Their bytes on disk.
    pub bytes: u64,
    /// The first that waits.
    pub first: Option<Seq>,
    /// When that was committed (to the second).
    pub oldest: Option<UnixNanos>,
}

/// Why the spool could not be opened.
pub struct OpenError {
    text: String,
    exit: u8,
}

impl OpenError {
    /// There is none in this folder.
    pub fn no_spool(directory: &Path) -> Self {
        let remedy = "give the `--config` or `--data-dir` of the gateway that is meant";
        Self::failed(format!("there is no spool in {}: {remedy}", directory.display()))
    }

    /// A run-time failure (exit code 1).
    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: 1 }
    }

    /// The configuration's fault (exit code 78).
    pub(super) fn config(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: 78 }
    }

    /// The process's exit code: 78 = configuration, 1 = anything else.
    pub fn exit_code(&self) -> u8 {
        self.exit
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for OpenError {}

/// Why stored records could not be read. They stay where they are.
#[derive(Debug)]
pub enum ReadError {
    /// The file system failed.
    Io(std::io::Error),
    /// A record that was whole when the spool was opened is not any more.
    Damaged(Seq),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the spool can't be read: {error}"),
            Self::Damaged(seq) => write!(f, "record {} of the spool is damaged", seq.0),
        }
    }
}

impl std::error::Error for ReadError {}

/// What one [`super::Committer::step`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Transactions whose callback was called with `Ok`.
    pub committed: usize,
    /// Transactions whose callback was called with `Err`.
    pub failed: usize,
    /// Transactions still waiting (they came meanwhile, or the disk is full).
    pub waiting: usize,
    /// Set: stop acknowledging, say so, exit.
    pub poisoned: Option<Reason>,
}
