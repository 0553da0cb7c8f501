//! **What**: the durable queue: sealed, append-only segments with group commit; consumers are cursors.
//! **Why**: a client's OK follows the fsync of its batch; from then on nothing loses it.
//! **Invariants**: `docs/decisions/0003-the-spool-on-disk.md`. **Not here**: who sends (`outlet`), who uploads (`vault/uploader`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::Reason;
use crate::disk::Disk;
use kernel::clock::Clock;
use kernel::rng::Rng;
use telemetry::Meter;

mod cipher;
mod commit;
pub mod config;
mod encode;
mod index;
pub mod key;
mod meters;
mod open;
mod progress;
mod queue;
mod read;
mod record;
mod recover;
mod repack;
mod room;
mod scan;
mod segment;
pub mod status;
mod upkeep;

#[cfg(test)]
mod tests;

pub use commit::Committer;
pub use config::{Config, Settings};
pub use key::SpoolKey;
pub use room::Reservation;
pub use status::{ConsumerStatus, OpenError, ReadError, Status, Step};

use index::{Index, Planned};
use meters::Meters;
use progress::{Lines, Progress};
use queue::{Queue, Queued};
use room::{Purpose, Room};

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
pub type OnCommit = Box<dyn FnOnce(Result<&[Seq], crate::Reason>) + Send>;

/// Consumer name of what back ends refused for good. It is read by nobody in order, so its records may be stored anew further on.
pub const QUARANTINE: &str = "quarantine";

/// Most holders one record may have.
pub const MAX_HOLDERS: usize = 32;

/// Bytes to reserve for a transaction of `records` records whose bodies are `body_bytes` together.
pub fn room_for(records: usize, body_bytes: u64) -> u64 {
    // Header, tag and padding of each record; the commit record; names that are new to the segment.
    body_bytes.saturating_add((records as u64).saturating_mul(56)).saturating_add(512)
}

/// The queue. Shared by all; nothing but [`Spool::read`] and its likes, [`Spool::done_and_kept`] and (rarely) [`Spool::reserve`] touches the
/// disk here.
pub struct Spool {
    settings: Settings,
    /// Locked before the index, where both are.
    progress: Mutex<Progress>,
    index: Mutex<Index>,
    queue: Queue,
    room: Arc<Room>,
    meters: Meters,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    poisoned: AtomicBool,
    /// Whose records tell by how much that grows which others write on the volume (see [`Spool::spare`]).
    beside: OnceLock<Arc<str>>,
    /// A reservation was refused because there are too many records.
    crowded: AtomicBool,
}

impl Spool {
    /// Opens or recovers `settings.directory` through `disk`; takes its lock file. The first key writes, all read.
    ///
    /// # Errors
    /// One clear line and its exit code: no key, a missing key, a newer format, damage, another process, the disk.
    pub fn open(
        disk: Arc<dyn Disk>,
        settings: &Settings,
        keys: &[SpoolKey],
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        meter: &Meter,
    ) -> Result<(Arc<Self>, Committer), OpenError> {
        open::open(&*disk, settings, keys, (clock, rng, meter))
    }

    /// What is in a spool directory, without taking its lock or changing anything; also beside a running gateway
    /// (then parts of it may be newer than others).
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn peek(disk: &dyn Disk, settings: &Settings, keys: &[SpoolKey]) -> Result<Status, OpenError> {
        open::peek(disk, settings, keys)
    }

    fn new(
        settings: Settings,
        index: Index,
        room: Arc<Room>,
        meters: Meters,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self {
            progress: Mutex::new(Progress::new(settings.progress_size())),
            settings,
            index: Mutex::new(index),
            queue: Queue::default(),
            room,
            meters,
            clock,
            rng,
            poisoned: AtomicBool::new(false),
            beside: OnceLock::new(),
            crowded: AtomicBool::new(false),
        }
    }

    /// How it is to work.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes room for a transaction (see [`room_for`]) before its ticket. May touch the disk, rarely.
    ///
    /// # Errors
    /// `SpoolFull` (it may have room again later), `TooLarge` (never), `SpoolFailed` (poisoned, or no file can be made).
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, Reason> {
        let crowded = {
            let index = self.index.lock();
            self.tell_growth(&index);
            index.records() >= self.settings.max_records
        };
        self.crowded.store(crowded, Ordering::Relaxed);
        self.reserve_for(bytes, Purpose::Accept, crowded)
    }

    /// As [`Spool::reserve`], from room that ordinary transactions leave free: for the small records without which
    /// others can't be finished and reclaimed (the vault's seals). A full spool must still be able to drain.
    ///
    /// # Errors
    /// As [`Spool::reserve`].
    pub fn reserve_to_drain(&self, bytes: u64) -> Result<Reservation, Reason> {
        let crowded = self.index.lock().records() / 2 >= self.settings.max_records;
        self.reserve_for(bytes, Purpose::Drain, crowded)
    }

    /// As [`Spool::reserve_to_drain`], but leaves half of that room: for what must be there before older data can be worked
    /// off, but lets nothing go by itself (seals of objects). However much of it comes while a store is away, there is room
    /// for what lets data go (digests) when it is back.
    ///
    /// # Errors
    /// As [`Spool::reserve`].
    pub fn reserve_to_prepare(&self, bytes: u64) -> Result<Reservation, Reason> {
        let crowded = self.index.lock().records() / 2 >= self.settings.max_records;
        self.reserve_for(bytes, Purpose::Prepare, crowded)
    }

    fn reserve_for(&self, bytes: u64, purpose: Purpose, crowded: bool) -> Result<Reservation, Reason> {
        let result = match self.poisoned() {
            Some(reason) => Err(reason),
            None if crowded => Err(Reason::SpoolFull),
            None => self.room.reserve(bytes, purpose),
        };
        if let Err(reason) = &result {
            self.meters.refused(*reason);
        }
        result
    }

    /// Queues a transaction; call it in ticket order, under the sequencer's lock. Never blocks on I/O. At most
    /// [`MAX_HOLDERS`] holders a record, names of at most 1024 bytes, no record of kind [`RecordKind::Commit`].
    pub fn enqueue(&self, transaction: Transaction, reservation: Reservation, on_commit: OnCommit) {
        self.queue.push(Queued { transaction, reservation, on_commit });
    }

    /// Records held by `consumer`, not yet done, behind `after`, in order: at most `max_records`, and no more than
    /// `max_bytes` as stored unless the first alone is larger. Reads and decrypts: call it off the async threads.
    ///
    /// # Errors
    /// The disk failed at the first record, or that one is damaged; one further on ends what is read.
    pub fn read(
        &self,
        consumer: &str,
        after: Option<Seq>,
        max_bytes: usize,
        max_records: usize,
    ) -> Result<Vec<Stored>, ReadError> {
        let plan = self.index.lock().plan(consumer, None, after, (max_bytes, max_records));
        Self::open_all(&plan)
    }

    /// The same, only of this account.
    ///
    /// # Errors
    /// As [`Spool::read`].
    pub fn read_of(
        &self,
        consumer: &str,
        account: &str,
        after: Option<Seq>,
        max_bytes: usize,
        max_records: usize,
    ) -> Result<Vec<Stored>, ReadError> {
        let plan = self.index.lock().plan(consumer, Some(account), after, (max_bytes, max_records));
        Self::open_all(&plan)
    }

    /// Those of `seqs` that `consumer` still needs, in that order. One that is damaged is left out.
    ///
    /// # Errors
    /// The disk failed.
    pub fn read_these(&self, consumer: &str, seqs: &[Seq]) -> Result<Vec<Stored>, ReadError> {
        let plan = self.index.lock().plan_these(consumer, seqs);
        let mut records = Vec::with_capacity(plan.len());
        for planned in &plan {
            match read::read(planned) {
                Ok(record) => records.push(record),
                Err(ReadError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// Whether any of `seqs` still waits for `consumer`.
    pub fn any_waits(&self, consumer: &str, seqs: &[Seq]) -> bool {
        !self.index.lock().plan_these(consumer, seqs).is_empty()
    }

    fn open_all(plan: &[Planned]) -> Result<Vec<Stored>, ReadError> {
        let mut records = Vec::with_capacity(plan.len());
        for planned in plan {
            match read::read(planned) {
                Ok(record) => records.push(record),
                // What is good before it is given out; the next read names it.
                Err(_) if !records.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// The first record that any of these consumers needs.
    pub fn first_waiting(&self, consumers: &[Arc<str>]) -> Option<Seq> {
        let mut index = self.index.lock();
        consumers.iter().filter_map(|consumer| index.first_waiting(consumer)).min()
    }

    /// `consumer` needs these no more. Made durable lazily, and always before the records are unlinked: a `done` that
    /// is lost in a crash means delivery again. Unknown positions are ignored.
    pub fn done(&self, consumer: &str, seqs: &[Seq]) {
        let news = self.index.lock().done_by_name(consumer, seqs.iter().map(|seq| seq.0));
        if news > 0 {
            self.queue.hint();
        }
    }

    /// As [`Spool::done`], and told to the progress file at once where the committer is not at it: what a process that is killed the moment
    /// after has delivered already is then not delivered again. Writes, does not sync: call it off the async threads.
    pub fn done_and_kept(&self, consumer: &str, seqs: &[Seq]) {
        self.done(consumer, seqs);
        let Some(mut progress) = self.progress.try_lock() else { return };
        if progress.wants_rewrite() || self.poisoned().is_some() {
            return;
        }
        let mut lines = Lines::default();
        upkeep::take_done(&mut self.index.lock(), &mut lines);
        // An error leaves the file to be written anew, by the committer.
        let _ = progress.append(&lines);
    }

    /// What waits for `from` at this position waits for `to` from now on; nothing is copied, so that it takes no room. False: it does not,
    /// or `to` has or had the record in its own name and did not give it away. Durable as [`Spool::done`] is; if that is lost in a crash,
    /// it waits for `from`.
    pub fn give(&self, from: &Arc<str>, to: &Arc<str>, seq: Seq) -> bool {
        let given = self.index.lock().give_by_name(from, to, seq.0);
        if given {
            self.queue.hint();
        }
        given
    }

    /// The same of everything that waits for `from`; gives how many records.
    pub fn give_all(&self, from: &Arc<str>, to: &Arc<str>) -> u64 {
        let mut index = self.index.lock();
        let all = index.waiting(from, u64::MAX);
        let given = all.iter().filter(|seq| index.give_by_name(from, to, **seq)).count() as u64;
        drop(index);
        if given > 0 {
            self.queue.hint();
        }
        given
    }

    /// Changes whenever records for `consumer` are committed. Subscribe first, then read.
    pub fn changed(&self, consumer: &str) -> watch::Receiver<u64> {
        self.index.lock().watch(consumer)
    }

    /// Says which consumers are configured now; all others that have records are listed as such in [`Status`].
    pub fn expect(&self, consumers: &[Arc<str>]) {
        self.index.lock().expect(consumers);
    }

    /// Numbers for metrics, page, `spool list`.
    pub fn status(&self) -> Status {
        let mut index = self.index.lock();
        let (segments, records, next) = (index.segments().count() as u64, index.records(), Seq(index.next()));
        let consumers = index.consumers();
        drop(index);
        Status {
            bytes: self.room.total(),
            limit: self.settings.max_size,
            left: if self.refusing().is_some() { 0 } else { self.room.takes() },
            segments,
            records,
            max_records: self.settings.max_records,
            next,
            poisoned: self.poisoned(),
            refusing: self.refusing(),
            consumers,
        }
    }

    /// New data leaves free on the volume what others need there so that old data can go: twice the next file of `consumer`, which
    /// is at most so much larger than its last, of `bytes`, as waits for it; and a little in any case. There is one such consumer.
    pub fn spare(&self, consumer: &str, bytes: u64) {
        self.beside.get_or_init(|| consumer.into());
        self.room.spare(bytes);
        self.tell_growth(&self.index.lock());
    }

    fn tell_growth(&self, index: &Index) {
        self.room.grown(self.beside.get().map_or(0, |consumer| index.pending_bytes(consumer)));
    }

    /// Everything that waits for `consumer` is given up (`spool drop`), up to and including `through` if given.
    /// Gives how many records. Durable after the committer's next sync of its progress, at the latest
    /// [`Committer::close`].
    pub fn drop_pending(&self, consumer: &str, through: Option<Seq>) -> u64 {
        let mut index = self.index.lock();
        let all = index.waiting(consumer, through.map_or(u64::MAX, |through| through.0));
        index.done_by_name(consumer, all)
    }

    /// Bytes that wait for `consumer`.
    pub fn pending_bytes(&self, consumer: &str) -> u64 {
        self.index.lock().pending_bytes(consumer)
    }

    /// Gives up the oldest of what waits for `consumer` until no more than `keep` bytes wait; gives how many records.
    pub fn expire(&self, consumer: &str, keep: u64) -> u64 {
        let mut index = self.index.lock();
        if index.pending_bytes(consumer) <= keep {
            return 0;
        }
        let oldest = index.oldest_beyond(consumer, keep);
        let news = index.done_by_name(consumer, oldest);
        drop(index);
        self.queue.hint();
        news
    }

    /// Position that the next record will be at or behind.
    pub fn next(&self) -> Seq {
        Seq(self.index.lock().next())
    }

    /// Set once the spool can't be written any more.
    pub fn poisoned(&self) -> Option<Reason> {
        self.poisoned.load(Ordering::Acquire).then_some(Reason::SpoolFailed)
    }

    fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
        self.meters.poisoned();
    }

    /// Why reservations are refused now.
    fn refusing(&self) -> Option<Reason> {
        self.room.refusing().or_else(|| self.crowded.load(Ordering::Relaxed).then_some(Reason::SpoolFull))
    }

    /// Ends a refusal for too many records when there is room again.
    fn look_for_room(&self) {
        if self.crowded.load(Ordering::Relaxed) && self.index.lock().records() < self.settings.max_records {
            self.crowded.store(false, Ordering::Relaxed);
        }
    }

    /// Wakes a committer that waits for work, e.g. to shut down.
    pub fn wake(&self) {
        self.queue.wake();
    }
}
