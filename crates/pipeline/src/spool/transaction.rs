//! **What**: what goes into the spool and comes out of it: records, the transactions that hold them, their positions.
//! **Not here**: their bytes on disk (`record`).

use std::sync::Arc;

use bytes::Bytes;

use crate::outcome::Reason;

/// Kinds of record; the number is the byte on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A session key object (already age-sealed to the auditors).
    Key = 1,
    /// A fragment (already age-sealed to its session key).
    Fragment = 2,
    /// A forward copy: stripped, redacted OTLP; sealed with the spool key.
    Forward = 3,
    /// Ends a transaction: it counts only with this.
    Commit = 4,
    /// An object was closed: its fragment list, before its first PUT.
    Seal = 5,
    /// An index line (leaf).
    Leaf = 6,
    /// Effects of a batch, for rebuilding state.
    Effects = 7,
}

/// One record to append. Every body is sealed with the segment key on disk, whatever it holds.
#[derive(Clone)]
pub struct Record {
    /// What it is.
    pub kind: RecordKind,
    /// Who needs it: consumer names (`vault`, `checkpoint`, exporter ids). It is kept until all are done with it.
    pub holders: Arc<[Arc<str>]>,
    /// Its bytes.
    pub body: Bytes,
}

/// Position of a committed record: commit order. Never reused in a spool directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// Records that are committed together or not at all.
pub struct Transaction {
    /// The account they belong to (AAD of each record).
    pub account: Arc<str>,
    /// In order.
    pub records: Vec<Record>,
}

/// A committed record as read back.
#[derive(Clone)]
pub struct Stored {
    /// Its position.
    pub seq: Seq,
    /// What it is.
    pub kind: RecordKind,
    /// Its account.
    pub account: Arc<str>,
    /// When its transaction was committed (wall clock, ns).
    pub committed: kernel::clock::UnixNanos,
    /// Its bytes, opened.
    pub body: Bytes,
}

/// Called on the committer's side, in commit order, after the fsync (`Ok`, positions in order of the records) or
/// when the transaction can't be committed (`Err`: the spool is poisoned, the process must stop acknowledging).
pub type OnCommit = Box<dyn FnOnce(Result<&[Seq], Reason>) + Send>;

/// Consumer name of what back ends refused for good. It is read by nobody in order, so its records may be stored anew
/// further on.
pub const QUARANTINE: &str = "quarantine";

/// Most holders one record may have.
pub const MAX_HOLDERS: usize = 32;

/// Bytes to reserve for a transaction of `records` records whose bodies are `body_bytes` together.
pub fn room_for(records: usize, body_bytes: u64) -> u64 {
    // Header, tag and padding of each record; the commit record; names that are new to the segment.
    body_bytes.saturating_add((records as u64).saturating_mul(56)).saturating_add(512)
}
