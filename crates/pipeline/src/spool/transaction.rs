//! Records, the transactions that hold them, and their positions. Their bytes on disk are defined in `record`.

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
    /// Ends a transaction; without this record none of its records count.
    Commit = 4,
    /// Fixes the bytes of an object or digest of the vault before the first attempt to write it.
    Seal = 5,
    /// An index line (leaf).
    Leaf = 6,
    /// Effects of a batch, for rebuilding state.
    Effects = 7,
}

/// One record to append. On disk every body is sealed with the segment key, whatever it holds.
#[derive(Clone)]
pub struct SpoolRecord {
    /// Kind of the record.
    pub kind: RecordKind,
    /// Names of the consumers that need the record (`vault`, `checkpoint`, exporter ids). It is kept until all of them
    /// are done with it.
    pub holders: Arc<[Arc<str>]>,
    /// Plain bytes of the record.
    pub body: Bytes,
}

/// Position of a committed record, in commit order. Never reused in a spool directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordSeq(pub u64);

/// Records that are committed together or not at all.
pub struct Transaction {
    /// The account that owns the records; authenticated with each record's seal.
    pub account: Arc<str>,
    /// The records, in order.
    pub records: Vec<SpoolRecord>,
}

/// A committed record as read back.
#[derive(Clone)]
pub struct StoredRecord {
    /// Position of the record.
    pub seq: RecordSeq,
    /// Kind of the record.
    pub kind: RecordKind,
    /// The account that owns the record.
    pub account: Arc<str>,
    /// Commit time of its transaction (wall clock, ns).
    pub committed: kernel::clock::UnixNanos,
    /// Decrypted bytes of the record.
    pub body: Bytes,
}

/// Called by the committer, in commit order. `Ok`: the transaction is durable; the positions are in order of its
/// records. `Err`: it can't be committed, because the spool is poisoned; the process must stop acknowledging.
pub type OnCommit = Box<dyn FnOnce(Result<&[RecordSeq], Reason>) + Send>;

/// Consumer name of items that back ends refused for good. No consumer reads these records in order, so they may be
/// repacked.
pub const QUARANTINE: &str = "quarantine";

/// Maximum number of holders of one record.
pub const MAX_HOLDERS: usize = 32;

/// Bytes to reserve for a transaction of `records` records whose bodies are `body_bytes` together.
pub fn bytes_to_reserve(records: usize, body_bytes: u64) -> u64 {
    // 56 for header, tag and padding of each record; 512 for the commit record and names that are new to the segment.
    body_bytes.saturating_add((records as u64).saturating_mul(56)).saturating_add(512)
}
