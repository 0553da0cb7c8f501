//! **What**: [`Spool`]: what everybody but the committer does with the spool. **Invariants**: nothing here writes
//! records; the progress file is written by whoever is first, and synced by the committer. **Not here**: opening
//! (`open`), commits (`commit`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::config::Settings;
use super::done::take_done;
use super::index::{Index, Planned};
use super::meters::Meters;
use super::progress::{Lines, Progress};
use super::queue::{Queue, Queued};
use super::read;
use super::room::{Purpose, Reservation, Room};
use super::status::{ReadError, Status};
use super::transaction::{OnCommit, Seq, Stored, Transaction};
use crate::outcome::Reason;
use kernel::clock::Clock;
use kernel::rng::Rng;

/// The queue. Shared by all; nothing but [`Spool::read`] and its likes, [`Spool::done_and_kept`] and (rarely)
/// [`Spool::reserve`] touches the disk here.
pub struct Spool {
    pub(super) settings: Settings,
    /// Locked before the index, where both are.
    pub(super) progress: Mutex<Progress>,
    pub(super) index: Mutex<Index>,
    pub(super) queue: Queue,
    pub(super) room: Arc<Room>,
    pub(super) meters: Meters,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Arc<dyn Rng>,
    pub(super) poisoned: AtomicBool,
    /// Whose records tell by how much that grows which others write on the volume (see [`Spool::spare`]).
    pub(super) beside: OnceLock<Arc<str>>,
    /// A reservation was refused because there are too many records.
    pub(super) crowded: AtomicBool,
}

impl Spool {
    pub(super) fn new(
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

    /// Takes room for a transaction (see [`room_for`](super::room_for)) before its ticket. May touch the disk, rarely.
    ///
    /// # Errors
    /// `SpoolFull` (it may have room again later), `TooLarge` (never), `SpoolFailed` (poisoned, or no file can be
    /// made).
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

    /// As [`Spool::reserve_to_drain`], but leaves half of that room: for what must be there before older data can be
    /// worked off, but lets nothing go by itself (seals of objects). However much of it comes while a store is away,
    /// there is room for what lets data go (digests) when it is back.
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
    /// [`MAX_HOLDERS`](super::MAX_HOLDERS) holders a record, names of at most 1024 bytes, no record of kind
    /// [`RecordKind::Commit`](super::RecordKind::Commit).
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

    /// As [`Spool::done`], and told to the progress file at once where the committer is not at it: what a process that
    /// is killed the moment after has delivered already is then not delivered again. Writes, does not sync: call it off
    /// the async threads.
    pub fn done_and_kept(&self, consumer: &str, seqs: &[Seq]) {
        self.done(consumer, seqs);
        let Some(mut progress) = self.progress.try_lock() else { return };
        if progress.wants_rewrite() || self.poisoned().is_some() {
            return;
        }
        let mut lines = Lines::default();
        take_done(&mut self.index.lock(), &mut lines);
        // An error leaves the file to be written anew, by the committer.
        let _ = progress.append(&lines);
    }

    /// What waits for `from` at this position waits for `to` from now on; nothing is copied, so that it takes no room.
    /// False: it does not, or `to` has or had the record in its own name and did not give it away. Durable as
    /// [`Spool::done`] is; if that is lost in a crash, it waits for `from`.
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

    /// New data leaves free on the volume what others need there so that old data can go: twice the next file of
    /// `consumer`, which is at most so much larger than its last, of `bytes`, as waits for it; and a little in any
    /// case. There is one such consumer.
    pub fn spare(&self, consumer: &str, bytes: u64) {
        self.beside.get_or_init(|| consumer.into());
        self.room.spare(bytes);
        self.tell_growth(&self.index.lock());
    }

    pub(super) fn tell_growth(&self, index: &Index) {
        self.room.grown(self.beside.get().map_or(0, |consumer| index.pending_bytes(consumer)));
    }

    /// Everything that waits for `consumer` is given up (`spool drop`), up to and including `through` if given.
    /// Gives how many records. Durable after the committer's next sync of its progress, at the latest
    /// [`Committer::close`](super::Committer::close).
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

    pub(super) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
        self.meters.poisoned();
    }

    /// Why reservations are refused now.
    pub(super) fn refusing(&self) -> Option<Reason> {
        self.room.refusing().or_else(|| self.crowded.load(Ordering::Relaxed).then_some(Reason::SpoolFull))
    }

    /// Ends a refusal for too many records when there is room again.
    pub(super) fn look_for_room(&self) {
        if self.crowded.load(Ordering::Relaxed) && self.index.lock().records() < self.settings.max_records {
            self.crowded.store(false, Ordering::Relaxed);
        }
    }

    /// Wakes a committer that waits for work, e.g. to shut down.
    pub fn wake(&self) {
        self.queue.wake();
    }
}
