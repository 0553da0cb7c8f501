//! **What**: the durable queue: sealed, append-only segments with group commit; consumers are cursors.
//! **Why**: a client's OK follows the fsync of its batch; from then on nothing loses it.
//! **Invariants**: design.md §7. **Not here**: who sends (`outlet`), who uploads (`vault/uploader`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::pipeline::Reason;
use crate::pipeline::disk::Disk;
use crate::rng::Rng;
use crate::telemetry::Meter;

pub mod config;
pub mod key;
pub mod status;

pub use config::{Config, Settings};
pub use key::SpoolKey;
pub use status::{ConsumerStatus, OpenError, ReadError, Status, Step};

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

/// Most holders one record may have.
pub const MAX_HOLDERS: usize = 32;

/// Bytes to reserve for a transaction of `records` records whose bodies are `body_bytes` together.
pub fn room_for(records: usize, body_bytes: u64) -> u64 {
    // Header, tag and padding of each record; the commit record; names that are new to the segment.
    body_bytes.saturating_add((records as u64).saturating_mul(56)).saturating_add(512)
}

/// Room taken for one transaction. Given back when dropped.
pub struct Reservation {
    #[expect(dead_code, reason = "stub")]
    bytes: u64,
}

/// The queue. Shared by all; nothing but [`Spool::read`] and (rarely) [`Spool::reserve`] touches the disk here.
pub struct Spool {}

/// The writing end; one thread (or the simulation) calls [`Committer::step`].
pub struct Committer {}

impl Spool {
    /// Opens or recovers `settings.directory` through `disk`; takes its lock file. The first key writes, all read.
    ///
    /// # Errors
    /// One clear line and its exit code: no key, a missing key, a newer format, damage, another process, the disk.
    pub fn open(
        _disk: Arc<dyn Disk>,
        _settings: &Settings,
        _keys: &[SpoolKey],
        _clock: Arc<dyn Clock>,
        _rng: Arc<dyn Rng>,
        _meter: &Meter,
    ) -> Result<(Arc<Self>, Committer), OpenError> {
        Err(OpenError::failed("not yet"))
    }

    /// Takes room for a transaction (see [`room_for`]) before its ticket. May touch the disk, rarely.
    ///
    /// # Errors
    /// `SpoolFull` (it may have room again later), `TooLarge` (never), `SpoolFailed` (poisoned).
    pub fn reserve(self: &Arc<Self>, _bytes: u64) -> Result<Reservation, Reason> {
        Err(Reason::SpoolFailed)
    }

    /// As [`Spool::reserve`], from room that ordinary transactions leave free: for the small records without which
    /// others can't be finished and reclaimed (the vault's seals). A full spool must still be able to drain.
    ///
    /// # Errors
    /// As [`Spool::reserve`].
    pub fn reserve_to_drain(self: &Arc<Self>, bytes: u64) -> Result<Reservation, Reason> {
        self.reserve(bytes)
    }

    /// Queues a transaction; call it in ticket order, under the sequencer's lock. Never blocks on I/O. At most
    /// [`MAX_HOLDERS`] holders a record, and no record of kind [`RecordKind::Commit`].
    pub fn enqueue(&self, _transaction: Transaction, _reservation: Reservation, _on_commit: OnCommit) {}

    /// Records held by `consumer`, not yet done, behind `after`, in order: at most `max_records`, and no more than
    /// `max_bytes` of bodies unless the first alone is larger. Reads and decrypts: call it off the async threads.
    ///
    /// # Errors
    /// The disk failed or a record is damaged.
    pub fn read(
        &self,
        _consumer: &str,
        _after: Option<Seq>,
        _max_bytes: usize,
        _max_records: usize,
    ) -> Result<Vec<Stored>, ReadError> {
        Ok(Vec::new())
    }

    /// `consumer` needs these no more. Made durable lazily, and always before the records are unlinked: a `done` that
    /// is lost in a crash means delivery again. Unknown positions are ignored.
    pub fn done(&self, _consumer: &str, _seqs: &[Seq]) {}

    /// Changes whenever records for `consumer` are committed. Subscribe first, then read.
    pub fn changed(&self, _consumer: &str) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    /// Says which consumers are configured now; all others that have records are listed as such in [`Status`].
    pub fn expect(&self, _consumers: &[Arc<str>]) {}

    /// Numbers for metrics, page, `spool list`.
    pub fn status(&self) -> Status {
        Status {
            bytes: 0,
            limit: 0,
            segments: 0,
            records: 0,
            next: Seq(0),
            poisoned: None,
            refusing: None,
            consumers: Vec::new(),
        }
    }

    /// Everything that waits for `consumer` is given up (`spool drop`), up to and including `through` if given.
    /// Returns how many records. Durable after the committer's next step that syncs, at the latest [`Committer::close`].
    pub fn drop_pending(&self, _consumer: &str, _through: Option<Seq>) -> u64 {
        0
    }

    /// Set once the spool can't be written any more.
    pub fn poisoned(&self) -> Option<Reason> {
        None
    }

    /// Wakes a committer that waits for work, e.g. to shut down.
    pub fn wake(&self) {}
}

impl Committer {
    /// Takes all that waits (or waits up to `idle` for something), writes it, syncs once, publishes, calls the
    /// [`OnCommit`]s in order, keeps progress, reclaims segments.
    pub fn step(&mut self, _idle: Duration) -> Step {
        Step::default()
    }

    /// Commits what waits, makes progress durable, gives the lock back. Call it at the end of an orderly shutdown;
    /// without it nothing is lost, but some records may be delivered again.
    pub fn close(self) {}
}
