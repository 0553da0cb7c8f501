//! [`SpoolStatus`] of the spool, and its errors. They hold no payload; every error is one line.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::outcome::Reason;
use kernel::clock::UnixNanos;

use super::transaction::RecordSeq;

/// The spool at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolStatus {
    /// Bytes of all files, including room allocated ahead.
    pub bytes: u64,
    /// The limit of `bytes`.
    pub limit: u64,
    /// Bytes of new data that `limit` and the volume still allow; 0 while the spool refuses data.
    pub available: u64,
    /// Number of segment files.
    pub segments: u64,
    /// Number of records in the segments, including internal ones, and finished ones whose segment was not deleted yet.
    pub records: u64,
    /// The limit of `records`.
    pub max_records: u64,
    /// Lower bound of the next record's position.
    pub next: RecordSeq,
    /// Set once the spool can't be written any more; the process must stop acknowledging.
    pub poisoned: Option<Reason>,
    /// Reason of the last refusal, until a reservation succeeds.
    pub refusing: Option<Reason>,
    /// Every consumer that is configured or has pending records.
    pub consumers: Vec<ConsumerStatus>,
}

impl SpoolStatus {
    /// Number of records that could wait for this consumer: those that wait now, plus as many of their mean size as
    /// there is room for; `max_records` if none waits. So the ratio of waiting records to capacity is that of waiting
    /// bytes to the bytes that could wait.
    pub fn capacity(&self, consumer: Option<&ConsumerStatus>) -> u64 {
        let (records, bytes) = consumer.map_or((0, 0), |consumer| (consumer.records, consumer.bytes));
        let more =
            (u128::from(self.available) * u128::from(records)).checked_div(u128::from(bytes)).unwrap_or(u128::MAX);
        records.saturating_add(u64::try_from(more).unwrap_or(u64::MAX)).min(self.max_records)
    }
}

/// Records that wait for one consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// Name of the consumer.
    pub name: Arc<str>,
    /// False: records wait on disk, but no consumer of that name is configured (see
    /// [`super::Spool::set_configured_consumers`]).
    pub configured: bool,
    /// Number of waiting records.
    pub records: u64,
    /// Their bytes on disk.
    pub bytes: u64,
    /// Position of the first waiting record.
    pub first: Option<RecordSeq>,
    /// Time at which that record was committed (to the second).
    pub oldest: Option<UnixNanos>,
}

/// Why the spool could not be opened.
pub struct SpoolOpenError {
    text: String,
    /// The process's exit code: 78 = configuration, 1 = anything else.
    pub exit_code: u8,
    /// Another process has the spool open.
    pub is_in_use: bool,
}

impl SpoolOpenError {
    /// There is no spool in this folder.
    pub fn no_spool(directory: &Path) -> Self {
        let remedy = "pass the `--config` or `--data-dir` of the gateway that owns the spool";
        Self::failed(format!("there is no spool in {}: {remedy}", directory.display()))
    }

    /// A run-time failure (exit code 1).
    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit_code: 1, is_in_use: false }
    }

    /// Another process has the spool open.
    pub(super) fn in_use(text: impl Into<String>) -> Self {
        Self { is_in_use: true, ..Self::failed(text) }
    }

    /// A mistake in the configuration (exit code 78).
    pub(super) fn config(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit_code: 78, is_in_use: false }
    }
}

impl fmt::Display for SpoolOpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpoolOpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for SpoolOpenError {}

/// Why stored records could not be read. The records stay in the spool.
#[derive(Debug)]
pub enum SpoolReadError {
    /// The file system failed.
    Io(std::io::Error),
    /// This record is damaged, although it was intact when it was written or the spool was opened.
    Damaged(RecordSeq),
}

impl fmt::Display for SpoolReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the spool can't be read: {error}"),
            Self::Damaged(seq) => write!(f, "record {} of the spool is damaged", seq.0),
        }
    }
}

impl std::error::Error for SpoolReadError {}

/// Result of one [`super::Committer::step`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitStep {
    /// Transactions whose callback was called with `Ok`.
    pub committed: usize,
    /// Transactions whose callback was called with `Err`.
    pub failed: usize,
    /// Transactions that still wait, because they arrived meanwhile or the disk is full.
    pub waiting: usize,
    /// Set if the caller must stop acknowledging, report it, and exit.
    pub poisoned: Option<Reason>,
}
