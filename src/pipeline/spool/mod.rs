//! **What**: the durable queue: sealed, append-only segments with group commit; consumers are cursors.
//! **Why**: a client's OK follows the fsync of its batch; from then on nothing loses it.
//! **Invariants**: design.md §7. **Not here**: who sends (`outlet`), who uploads (`vault/uploader`).
//! CONTRACT FILE: signatures are agreed; the spool engineer replaces the bodies (and splits the folder).

use std::sync::Arc;

use bytes::Bytes;

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
    pub committed: crate::clock::UnixNanos,
    /// Its bytes, opened.
    pub body: Bytes,
}

/// Called on the committer's side, in commit order, after the fsync (`Ok`, positions in order of the records) or
/// when the transaction can't be committed (`Err`: the spool is poisoned, the process must stop acknowledging).
pub type OnCommit = Box<dyn FnOnce(Result<&[Seq], crate::pipeline::Reason>) + Send>;

/*  AGREED API (the spool engineer writes it):

impl Spool {
    /// Opens or recovers `settings.directory` through `disk`; takes the lock file. Error texts are one clear line, exit code 78 or 1 inside.
    pub fn open(disk: Arc<dyn Disk>, settings: &Settings, keys: &[SpoolKey], clock: Arc<dyn Clock>, rng: Arc<dyn Rng>, meter: &Meter) -> Result<(Arc<Spool>, Committer), OpenError>;
    /// Takes room for a transaction of about `bytes` (bodies + overhead) before its ticket. Err(SpoolFull | SpoolFailed).
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, Reason>;
    /// Queues a transaction; call it in ticket order, under the sequencer's lock. Never blocks on I/O.
    pub fn enqueue(&self, transaction: Transaction, reservation: Reservation, on_commit: OnCommit);
    /// Up to `max_bytes`/`max_records` records held by `consumer`, not yet done, with seq > after. Opens (decrypts) them.
    pub fn read(&self, consumer: &str, after: Option<Seq>, max_bytes: usize, max_records: usize) -> Result<Vec<Stored>, ReadError>;
    /// The consumer needs these no more. Made durable lazily; synced before any unlink. A lost `done` means delivery again.
    pub fn done(&self, consumer: &str, seqs: &[Seq]);
    /// A notifier that fires when a record for `consumer` is committed (tokio::sync::Notify or watch).
    pub fn changed(&self, consumer: &str) -> ...;
    /// pending records/bytes/oldest per consumer; total bytes; for metrics, page, `spool list`.
    pub fn status(&self) -> Status;
    /// Every record still held by `consumer` is dropped (spool drop). Returns how many.
    pub fn drop_pending(&self, consumer: &str, ...) -> u64;
    pub fn poisoned(&self) -> Option<Reason>;
}
impl Committer { /// Takes all that waits (or waits up to `idle`), writes, fsyncs once, publishes, calls the OnCommits, reclaims.
    pub fn step(&mut self, idle: Duration) -> Step; }
*/
