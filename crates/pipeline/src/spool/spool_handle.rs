//! [`Spool`]: the durable queue as all threads but the committer's use it. Nothing here writes records. Any thread may
//! append to the progress file; the committer syncs it. Opening is in `open`, commits are in `commit`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{oneshot, watch};

use super::config::SpoolSettings;
use super::index::SpoolIndex;
use super::progress::{ProgressFile, ProgressLines};
use super::queue::{QueuedTransaction, TransactionQueue};
use super::read::{read_record, read_records};
use super::space::{ReservationPurpose, RoomReservation, SpaceAllocator};
use super::spool_metrics::SpoolMetrics;
use super::status::{SpoolReadError, SpoolStatus};
use super::transaction::{OnCommit, RecordSeq, StoredRecord, Transaction};
use crate::outcome::Reason;
use kernel::clock::Clock;
use kernel::rng::Rng;

/// The durable queue, shared by all threads. Only the `read` methods, [`Spool::mark_done_and_write`], (rarely) the
/// `reserve` methods and [`Spool::status`] touch the disk here.
pub struct Spool {
    pub(super) settings: SpoolSettings,
    /// If `index` is needed as well, this lock is taken first.
    pub(super) progress: Mutex<ProgressFile>,
    pub(super) index: Mutex<SpoolIndex>,
    pub(super) queue: TransactionQueue,
    pub(super) space: Arc<SpaceAllocator>,
    pub(super) metrics: SpoolMetrics,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Arc<dyn Rng>,
    pub(super) poisoned: AtomicBool,
    /// Consumer whose pending bytes bound the growth of other files on the volume ([`Spool::reserve_free_space`]).
    pub(super) growing_consumer: OnceLock<Arc<str>>,
    /// The last reservation for new data found too many records.
    pub(super) too_many_records: AtomicBool,
}

impl Spool {
    pub(super) fn new(
        settings: SpoolSettings,
        index: SpoolIndex,
        space: Arc<SpaceAllocator>,
        metrics: SpoolMetrics,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self {
            progress: Mutex::new(ProgressFile::new(settings.progress_size())),
            settings,
            index: Mutex::new(index),
            queue: TransactionQueue::default(),
            space,
            metrics,
            clock,
            rng,
            poisoned: AtomicBool::new(false),
            growing_consumer: OnceLock::new(),
            too_many_records: AtomicBool::new(false),
        }
    }

    /// Settings of the spool.
    pub fn settings(&self) -> &SpoolSettings {
        &self.settings
    }

    /// Reserves room for a transaction (see [`bytes_to_reserve`](super::bytes_to_reserve)) before its ticket. Rarely
    /// touches the disk.
    ///
    /// # Errors
    /// `SpoolFull` (may have room later), `TooLarge` (never fits), `SpoolFailed` (poisoned, or no file can be created).
    pub fn reserve(&self, bytes: u64) -> Result<RoomReservation, Reason> {
        let has_too_many_records = {
            let index = self.index.lock();
            self.update_growth(&index);
            index.records >= self.settings.max_records
        };
        self.too_many_records.store(has_too_many_records, Ordering::Relaxed);
        self.reserve_for(bytes, ReservationPurpose::Accept, has_too_many_records)
    }

    /// As [`Spool::reserve`], from room that ordinary transactions leave free: for the small records without which
    /// other records can't be finished and deleted (the vault's seals of digests). A full spool must still be able to
    /// drain.
    pub fn reserve_to_drain(&self, bytes: u64) -> Result<RoomReservation, Reason> {
        self.reserve_for(bytes, ReservationPurpose::Drain, self.has_twice_max_records())
    }

    /// As [`Spool::reserve_to_drain`], but leaves half of that room free: for records that are needed before older data
    /// can be processed, but release nothing by themselves (seals of objects). However many of them accumulate while a
    /// store is down, there is room for the records that release data (digests) when it is back.
    pub fn reserve_to_prepare(&self, bytes: u64) -> Result<RoomReservation, Reason> {
        self.reserve_for(bytes, ReservationPurpose::Prepare, self.has_twice_max_records())
    }

    fn has_twice_max_records(&self) -> bool {
        self.index.lock().records / 2 >= self.settings.max_records
    }

    fn reserve_for(
        &self,
        bytes: u64,
        purpose: ReservationPurpose,
        has_too_many_records: bool,
    ) -> Result<RoomReservation, Reason> {
        let result = match self.poisoned() {
            Some(reason) => Err(reason),
            None if has_too_many_records => Err(Reason::SpoolFull),
            None => self.space.reserve(bytes, purpose),
        };
        if let Err(reason) = &result {
            self.metrics.count_refusal(*reason);
        }
        result
    }

    /// Queues a transaction. To be called in ticket order, under the sequencer's lock; never blocks on I/O. A record
    /// may have at most [`MAX_HOLDERS`](super::MAX_HOLDERS) holders, with names of at most 1024 bytes, and must not be
    /// of kind [`RecordKind::Commit`](super::RecordKind::Commit).
    pub fn enqueue(&self, transaction: Transaction, reservation: RoomReservation, on_commit: OnCommit) {
        self.queue.push(QueuedTransaction { transaction, reservation, on_commit });
    }

    /// As [`Spool::enqueue`]. The answer says whether the transaction was committed.
    pub fn enqueue_awaited(&self, transaction: Transaction, reservation: RoomReservation) -> oneshot::Receiver<bool> {
        let (sender, committed) = oneshot::channel();
        let on_commit = Box::new(move |result: Result<&[_], Reason>| {
            let _ = sender.send(result.is_ok());
        });
        self.enqueue(transaction, reservation, on_commit);
        committed
    }

    /// Records after `after` that `consumer` has not finished, in order: at most `max_records`, and at most `max_bytes`
    /// as stored unless the first alone is larger. Reads and decrypts, so call it off the async threads.
    ///
    /// # Errors
    /// The first record is damaged or can't be read. If this happens to a later one, the records before it are
    /// returned.
    pub fn read(
        &self,
        consumer: &str,
        after: Option<RecordSeq>,
        max_bytes: usize,
        max_records: usize,
    ) -> Result<Vec<StoredRecord>, SpoolReadError> {
        self.read_account(consumer, None, after, max_bytes, max_records)
    }

    /// As [`Spool::read`], only records of this account if one is given.
    pub fn read_account(
        &self,
        consumer: &str,
        account: Option<&str>,
        after: Option<RecordSeq>,
        max_bytes: usize,
        max_records: usize,
    ) -> Result<Vec<StoredRecord>, SpoolReadError> {
        let plan = self.index.lock().plan_reads(consumer, account, after, max_bytes, max_records);
        read_records(&plan)
    }

    /// Those of `seqs` that `consumer` has not finished, in that order, without damaged ones.
    ///
    /// # Errors
    /// A record can't be read.
    pub fn read_positions(&self, consumer: &str, seqs: &[RecordSeq]) -> Result<Vec<StoredRecord>, SpoolReadError> {
        let plan = self.index.lock().plan_positions(consumer, seqs);
        let mut records = Vec::with_capacity(plan.len());
        for planned in &plan {
            match read_record(planned) {
                Ok(record) => records.push(record),
                Err(SpoolReadError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// Whether any of `seqs` is still pending for `consumer`.
    pub fn is_any_pending(&self, consumer: &str, seqs: &[RecordSeq]) -> bool {
        !self.index.lock().plan_positions(consumer, seqs).is_empty()
    }

    /// The first record that any of these consumers has not finished.
    pub fn first_pending(&self, consumers: &[Arc<str>]) -> Option<RecordSeq> {
        let mut index = self.index.lock();
        consumers.iter().filter_map(|consumer| index.first_pending(consumer)).min()
    }

    /// Marks these records as done for `consumer`. This becomes durable later, but always before the records are
    /// deleted; if a crash comes first, the records are delivered again. Unknown positions are ignored.
    pub fn mark_done(&self, consumer: &str, seqs: &[RecordSeq]) {
        let finished = self.index.lock().finish_by_name(consumer, seqs.iter().map(|seq| seq.0));
        if finished > 0 {
            self.queue.notify_work();
        }
    }

    /// As [`Spool::mark_done`], and writes as [`Spool::write_progress`] does, unless the committer is doing so.
    pub fn mark_done_and_write(&self, consumer: &str, seqs: &[RecordSeq]) {
        self.mark_done(consumer, seqs);
        self.progress.try_lock().into_iter().for_each(|progress| self.append_progress(progress));
    }

    /// Writes to the progress file what was marked done and transferred, so that a process killed right afterwards does
    /// not deliver those records again, and `spool list` shows it. Without a sync, but call it off the async threads.
    pub fn write_progress(&self) {
        self.append_progress(self.progress.lock());
    }

    fn append_progress(&self, mut progress: MutexGuard<'_, ProgressFile>) {
        if progress.needs_rewrite() || self.poisoned().is_some() {
            return;
        }
        let mut lines = ProgressLines::default();
        self.index.lock().take_progress(&mut lines);
        // After an error the committer rewrites the file.
        let _ = progress.append(&lines);
    }

    /// Transfers a record from the consumer `from` to the consumer `to`. Nothing is copied, so it takes no room.
    /// Returns false if `from` does not hold the record, or if `to` holds or held it in its own name and did not give
    /// it away. Durable as [`Spool::mark_done`] is; if a crash loses the transfer, `from` holds the record.
    pub fn transfer_record(&self, from: &Arc<str>, to: &Arc<str>, seq: RecordSeq) -> bool {
        let is_transferred = self.index.lock().transfer_by_name(from, to, seq.0);
        if is_transferred {
            self.queue.notify_work();
        }
        is_transferred
    }

    /// Transfers all records of `from` to `to`; returns their number.
    pub fn transfer_all(&self, from: &Arc<str>, to: &Arc<str>) -> u64 {
        let mut index = self.index.lock();
        let positions = index.pending_positions(from, u64::MAX);
        let transferred = positions.iter().filter(|seq| index.transfer_by_name(from, to, **seq)).count() as u64;
        drop(index);
        if transferred > 0 {
            self.queue.notify_work();
        }
        transferred
    }

    /// Changes when records for `consumer` are committed. Subscribe first, then read.
    pub fn changed(&self, consumer: &str) -> watch::Receiver<u64> {
        self.index.lock().watch(consumer)
    }

    /// Changes when records of `consumer` were moved ([`Spool::announce_moves`]).
    pub fn moves(&self, consumer: &str) -> watch::Receiver<u64> {
        self.index.lock().watch_moves(consumer)
    }

    /// Makes the outlet of `consumer` read its records from the first one again: some were transferred to positions
    /// that it has passed, or it holds some in memory that are another's now.
    pub fn announce_moves(&self, consumer: &str) {
        self.index.lock().announce_moves(consumer);
    }

    /// Declares the configured consumers; [`SpoolStatus`] marks all others that have records.
    pub fn set_configured_consumers(&self, consumers: &[Arc<str>]) {
        self.index.lock().set_configured(consumers);
    }

    /// Numbers for metrics, the status page and `spool list`.
    pub fn status(&self) -> SpoolStatus {
        let mut index = self.index.lock();
        let (segments, records, next) = (index.segments().count() as u64, index.records, RecordSeq(index.next));
        let consumers = index.consumers();
        drop(index);
        SpoolStatus {
            bytes: self.space.total(),
            limit: self.settings.max_size,
            available: if self.refusal_reason().is_some() { 0 } else { self.space.available_bytes() },
            segments,
            records,
            max_records: self.settings.max_records,
            next,
            poisoned: self.poisoned(),
            refusing: self.refusal_reason(),
            consumers,
        }
    }

    /// Makes new data leave free space on the volume for the file that `consumer` must write before old data can be
    /// deleted: twice the size of the next file, but at least a small minimum. The next file is assumed to exceed the
    /// last one (`bytes`) by at most the bytes pending for `consumer`. There is one such consumer.
    pub fn reserve_free_space(&self, consumer: &str, bytes: u64) {
        self.growing_consumer.get_or_init(|| consumer.into());
        self.space.set_rewritten_bytes(bytes);
        self.update_growth(&self.index.lock());
    }

    pub(super) fn update_growth(&self, index: &SpoolIndex) {
        self.space
            .set_rewritten_growth(self.growing_consumer.get().map_or(0, |consumer| index.pending_bytes(consumer)));
    }

    /// Releases all records that wait for `consumer` (`spool drop`), up to and including `through` if given. Returns
    /// their number. Durable after the committer's next sync of its progress, at the latest
    /// [`Committer::close`](super::Committer::close).
    pub fn drop_pending(&self, consumer: &str, through: Option<RecordSeq>) -> u64 {
        let mut index = self.index.lock();
        let positions = index.pending_positions(consumer, through.map_or(u64::MAX, |through| through.0));
        index.finish_by_name(consumer, positions)
    }

    /// Bytes that wait for `consumer`.
    pub fn pending_bytes(&self, consumer: &str) -> u64 {
        self.index.lock().pending_bytes(consumer)
    }

    /// Releases the oldest records of `consumer` until at most `keep` bytes wait; returns the number of records.
    pub fn expire(&self, consumer: &str, keep: u64) -> u64 {
        let mut index = self.index.lock();
        if index.pending_bytes(consumer) <= keep {
            return 0;
        }
        let oldest = index.oldest_beyond(consumer, keep);
        let expired = index.finish_by_name(consumer, oldest);
        drop(index);
        self.queue.notify_work();
        expired
    }

    /// Lower bound of the next record's position.
    pub fn next(&self) -> RecordSeq {
        RecordSeq(self.index.lock().next)
    }

    /// The reason, once the spool can no longer be written.
    pub fn poisoned(&self) -> Option<Reason> {
        self.poisoned.load(Ordering::Acquire).then_some(Reason::SpoolFailed)
    }

    pub(super) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
        self.metrics.poisoned.set(1.0);
    }

    /// Why reservations are refused now.
    pub(super) fn refusal_reason(&self) -> Option<Reason> {
        self.space
            .refusal_reason()
            .or_else(|| self.too_many_records.load(Ordering::Relaxed).then_some(Reason::SpoolFull))
    }

    /// Ends a refusal for too many records once there is room again.
    pub(super) fn clear_record_limit(&self) {
        if self.too_many_records.load(Ordering::Relaxed) && self.index.lock().records < self.settings.max_records {
            self.too_many_records.store(false, Ordering::Relaxed);
        }
    }

    /// Ends the committer's present or next wait for work, e.g. to shut down.
    pub fn wake(&self) {
        self.queue.wake();
    }
}
