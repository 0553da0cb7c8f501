//! [`Committer`]: group commit. It takes the waiting transactions, writes them together, syncs once, makes their
//! records visible to consumers (publishes them), and calls their callbacks.
//! Nothing is published or answered `Ok` before its sync returned. After a failed or short write the segment is closed
//! for good; a failed sync poisons the spool; on a full disk transactions wait, in order, until there is room. Progress
//! and reclaiming are in `maintenance`, encoding is in `encode`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::disk::{Directory, DiskFile, is_out_of_space};
use crate::outcome::Reason;

use super::cipher::SegmentCipher;
use super::encode::{EncodedTransaction, GroupStamp, SealError, SegmentEncoder};
use super::key::SpoolKey;
use super::progress::ProgressLines;
use super::progress::TAG_CLOSED;
use super::queue::QueuedTransaction;
use super::record::{COMMIT_SIZE, KIND_COMMIT, MAX_NAME, SEGMENT_HEADER, SegmentHeader, record_size, segment_name};
use super::segment::SpoolSegment;
use super::space::SpareFile;
use super::spool_handle::Spool;
use super::status::CommitStep;
use super::transaction::{MAX_HOLDERS, RecordSeq, Transaction};

/// Maximum number of transactions in a group.
const MAX_GROUP_TRANSACTIONS: usize = 64;
/// Once a group has this many bytes, it takes no more transactions.
const MAX_GROUP_BYTES: usize = 16 << 20;
/// A larger buffer is freed when no transaction waits.
const MAX_IDLE_BUFFER_BYTES: usize = 1 << 20;
/// Failed writes in a row after which the spool is poisoned.
const MAX_WRITE_FAILURES: u32 = 3;
/// Steps in a row that could not create a file after which the spool is poisoned (some seconds, because the committer
/// waits between them).
const MAX_FAILING_STEPS: u32 = 20;

/// The writing end; one thread (or the simulation) calls [`Committer::step`].
pub struct Committer {
    pub(super) spool: Arc<Spool>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) key: SpoolKey,
    pub(super) active: Option<ActiveSegment>,
    pub(super) newest_number: u64,
    /// Valid bytes of the newest segment.
    pub(super) newest_len: u64,
    /// Segment number and synced bytes that were last written to the progress file.
    pub(super) recorded_sync: (u64, u64),
    /// Transactions taken from the queue, not yet committed.
    backlog: VecDeque<QueuedTransaction>,
    buffer: Vec<u8>,
    /// No room or no file: the next attempt comes after a wait.
    pub(super) is_stalled: bool,
    /// Steps in a row that could not create a file although the disk is not full.
    failing_steps: u32,
    /// Lines to be appended to the progress file.
    pub(super) progress_lines: ProgressLines,
    /// Segments that were recorded as removed in the progress file, as long as a segment with a lower number exists.
    pub(super) removed: BTreeSet<u64>,
    pub(super) maintenance: super::maintenance::MaintenanceState,
    /// Keeps other processes out of the spool's folder.
    pub(super) _lock: Box<dyn Send + Sync>,
}

/// The segment that is being written.
pub(super) struct ActiveSegment {
    pub(super) number: u64,
    /// Position of record 0.
    first: u64,
    file: Arc<dyn DiskFile>,
    encoder: SegmentEncoder,
    capacity: u64,
    /// Bytes written and synced.
    pub(super) written: u64,
}

/// A transaction of the group that is being written.
struct GroupMember {
    queued: QueuedTransaction,
    encoded: EncodedTransaction,
    /// Offset at which it ends.
    end: u64,
}

/// Why a group was not written. Its transactions return to the backlog.
enum GroupFailure {
    /// No room; retry later.
    Full,
    /// No file can be created; retry later, a limited number of times.
    NoFile,
    /// The segment was closed; retry now.
    RetryNow,
    /// The spool can't continue.
    Poison(String),
}

impl Committer {
    pub(super) fn new(
        spool: Arc<Spool>,
        directory: Arc<dyn Directory>,
        key: SpoolKey,
        lock: Box<dyn Send + Sync>,
    ) -> Self {
        Self {
            spool,
            directory,
            key,
            active: None,
            newest_number: 0,
            newest_len: 0,
            recorded_sync: (0, 0),
            backlog: VecDeque::new(),
            buffer: Vec::new(),
            is_stalled: false,
            failing_steps: 0,
            progress_lines: ProgressLines::default(),
            removed: BTreeSet::new(),
            maintenance: super::maintenance::MaintenanceState::default(),
            _lock: lock,
        }
    }

    /// Commits waiting transactions group by group (or waits up to `max_wait` for one), calls their
    /// [`super::OnCommit`]s in order, writes progress, and reclaims segments.
    pub fn step(&mut self, max_wait: Duration) -> CommitStep {
        let mut step = CommitStep::default();
        let is_poisoned = self.spool.poisoned().is_some();
        self.spool.queue.take(max_wait, self.is_stalled && !is_poisoned, MAX_GROUP_TRANSACTIONS, &mut self.backlog);
        if !is_poisoned {
            self.commit_backlog(&mut step);
            self.run_maintenance();
            self.repack(self.spool.clock.monotonic());
        }
        if let Some(reason) = self.spool.poisoned() {
            step.poisoned = Some(reason);
            self.refuse_all(reason, &mut step);
        }
        step.waiting = self.backlog.len() + self.spool.queue.len();
        if step.waiting == 0 && self.buffer.capacity() > MAX_IDLE_BUFFER_BYTES {
            self.buffer = Vec::new();
        }
        step
    }

    /// Commits waiting transactions, makes progress durable, and releases the lock. To be called at the end of an
    /// orderly shutdown; without it nothing is lost, but some records may be delivered again. Returns false if progress
    /// could not be made durable, or transactions still waited (the disk is full).
    pub fn close(mut self) -> bool {
        self.stop_repacking();
        let waiting = loop {
            let step = self.step(Duration::ZERO);
            if step.waiting == 0 || step.poisoned.is_some() || step.committed + step.failed == 0 {
                break step.waiting;
            }
        };
        if self.spool.poisoned().is_some() {
            return false;
        }
        self.close_active();
        self.flush_all() && waiting == 0
    }

    /// Starts no more repacking; only queued transactions are still committed.
    pub fn stop_repacking(&mut self) {
        self.maintenance.repacking.is_closing = true;
    }

    fn refuse_all(&mut self, reason: Reason, step: &mut CommitStep) {
        loop {
            for queued in self.backlog.drain(..) {
                (queued.on_commit)(Err(reason));
                step.failed += 1;
            }
            self.spool.queue.take(Duration::ZERO, false, MAX_GROUP_TRANSACTIONS, &mut self.backlog);
            if self.backlog.is_empty() {
                return;
            }
        }
    }

    fn commit_backlog(&mut self, step: &mut CommitStep) {
        let mut write_failures = 0;
        self.is_stalled = false;
        while !self.backlog.is_empty() {
            match self.commit_group() {
                Ok(committed) => {
                    (write_failures, self.failing_steps) = (0, 0);
                    step.committed += committed;
                }
                Err(GroupFailure::Full) => {
                    self.is_stalled = true;
                    return;
                }
                Err(GroupFailure::NoFile) if self.failing_steps < MAX_FAILING_STEPS => {
                    self.failing_steps += 1;
                    self.is_stalled = true;
                    return;
                }
                Err(GroupFailure::NoFile) => return self.poison("no spool file can be created"),
                Err(GroupFailure::RetryNow) => write_failures += 1,
                Err(GroupFailure::Poison(why)) => return self.poison(&why),
            }
            if write_failures >= MAX_WRITE_FAILURES {
                return self.poison("several writes in a row failed");
            }
        }
    }

    pub(super) fn poison(&mut self, why: &str) {
        tracing::error!(
            why,
            "the spool can't be written; tollgate accepts no more data: check the disk, then restart tollgate"
        );
        self.spool.poison();
        if let Some(active) = self.active.take() {
            // Best effort: transactions that were not acknowledged should not reappear after a restart.
            let _ = active.file.set_len(active.written);
        }
    }

    /// Writes as many transactions of the backlog as fit into one group; returns their number.
    fn commit_group(&mut self) -> Result<usize, GroupFailure> {
        let now = self.spool.clock.now().0;
        self.buffer.clear();
        let mut members = self.encode_group(now)?;
        if members.is_empty() {
            self.close_active();
            self.open_segment(now)?;
            members = self.encode_group(now)?;
        }
        if members.is_empty() {
            return Err(GroupFailure::Poison("a transaction does not fit into a segment of its own".to_owned()));
        }
        if let Err(failure) = self.write_group() {
            self.put_back(members);
            return Err(failure);
        }
        Ok(self.publish_group(members, now))
    }

    /// Returns the transactions of an unwritten group to the front of the backlog.
    fn put_back(&mut self, members: Vec<GroupMember>) {
        for member in members.into_iter().rev() {
            self.backlog.push_front(member.queued);
        }
    }

    /// Encodes transactions into the buffer as long as they fit into the active segment.
    fn encode_group(&mut self, now: u64) -> Result<Vec<GroupMember>, GroupFailure> {
        let mut members: Vec<GroupMember> = Vec::new();
        let Some(active) = &mut self.active else { return Ok(members) };
        let Ok(group) = u32::try_from(active.encoder.end) else { return Ok(members) };
        let stamp = GroupStamp { group, committed: now };
        while members.len() < MAX_GROUP_TRANSACTIONS && self.buffer.len() < MAX_GROUP_BYTES {
            let Some(next) = self.backlog.front() else { break };
            if !is_valid(&next.transaction) {
                self.put_back(members);
                return Err(GroupFailure::Poison("a transaction breaks the rules of `enqueue`".to_owned()));
            }
            if next.reservation.has_own_file() {
                break;
            }
            let encoded = match active.encoder.append(&next.transaction, stamp, active.capacity, &mut self.buffer) {
                Ok(Some(encoded)) => encoded,
                Ok(None) => break,
                Err(SealError) => {
                    self.put_back(members);
                    return Err(GroupFailure::Poison("a record can't be sealed".to_owned()));
                }
            };
            let end = active.encoder.end;
            members.extend(self.backlog.pop_front().map(|queued| GroupMember { queued, encoded, end }));
        }
        Ok(members)
    }

    /// Writes the buffer to the end of the active segment, and syncs it.
    fn write_group(&mut self) -> Result<(), GroupFailure> {
        let Some(active) = &mut self.active else { return Err(GroupFailure::RetryNow) };
        let failure = match active.file.write_at(active.written, &self.buffer) {
            Ok(written) if written == self.buffer.len() => None,
            Ok(_) => Some(GroupFailure::RetryNow),
            Err(error) if is_out_of_space(&error) => Some(GroupFailure::Full),
            Err(error) => {
                tracing::warn!(%error, "a write to the spool failed; retrying with a new file");
                Some(GroupFailure::RetryNow)
            }
        };
        if let Some(failure) = failure {
            self.close_active();
            return Err(failure);
        }
        let began = self.spool.clock.monotonic();
        if let Err(error) = active.file.sync_data() {
            return Err(GroupFailure::Poison(format!("a sync failed: {error}")));
        }
        let took = self.spool.clock.monotonic().saturating_sub(began);
        self.spool.metrics.sync_seconds.record(took.as_secs_f64());
        self.spool.metrics.commits.increment(1);
        active.written += self.buffer.len() as u64;
        self.newest_len = active.written;
        self.spool.space.set_active_free(active.capacity.saturating_sub(active.written));
        Ok(())
    }

    /// Makes the synced records visible to their consumers, and calls the callbacks. Returns the number of
    /// transactions.
    fn publish_group(&mut self, members: Vec<GroupMember>, now: u64) -> usize {
        let Some(active) = &self.active else { return 0 };
        let mut consumers: Vec<usize> = Vec::new();
        let count = members.len();
        {
            let mut index = self.spool.index.lock();
            for GroupMember { encoded, end, .. } in &members {
                // Always succeeds: the encoder numbers the table entries as the index does, which a test checks.
                index.extend_tables(active.number, &encoded.additions);
                consumers.extend(index.commit(active.number, encoded, *end, now));
            }
            consumers.sort_unstable();
            consumers.dedup();
            index.notify(&consumers);
        }
        for GroupMember { queued, encoded, .. } in members {
            let QueuedTransaction { transaction, reservation, on_commit } = queued;
            drop(reservation);
            let first = active.first + u64::from(encoded.first) + u64::from(encoded.leading);
            let seqs: Vec<RecordSeq> = (first..).take(transaction.records.len()).map(RecordSeq).collect();
            drop(transaction);
            on_commit(Ok(&seqs));
        }
        count
    }

    /// Closes the active segment; nothing more will be appended to it.
    pub(super) fn close_active(&mut self) {
        let Some(active) = self.active.take() else { return };
        // Best effort: bytes after the valid length are never read.
        let is_truncated = active.file.set_len(active.written).is_ok();
        let size = if is_truncated { active.written } else { active.capacity };
        self.spool.index.lock().close(active.number, size);
        self.progress_lines.add_numbers(TAG_CLOSED, &[active.number, active.written]);
        self.spool.space.set_active(0, 0, size);
    }

    /// Opens a segment that holds at least the first waiting transaction.
    fn open_segment(&mut self, now: u64) -> Result<(), GroupFailure> {
        let Some(next) = self.backlog.front_mut() else { return Err(GroupFailure::RetryNow) };
        let needed = max_encoded_size(&next.transaction);
        let spare = match next.reservation.take_own_file() {
            Some(spare) if spare.size >= needed + SEGMENT_HEADER as u64 => spare,
            _ => self.spool.space.take_file(needed).map_err(|reason| match reason {
                Reason::SpoolFull => GroupFailure::Full,
                _ => GroupFailure::NoFile,
            })?,
        };
        let name = spare.name.clone();
        let activated = self.activate(spare, now);
        if activated.is_err() {
            // Best effort: the next start removes spare files.
            let _ = self.directory.remove(&name);
        }
        self.active = Some(activated?);
        Ok(())
    }

    /// Makes `spare` the next segment: header, sync, name, sync of the directory.
    fn activate(&mut self, spare: SpareFile, now: u64) -> Result<ActiveSegment, GroupFailure> {
        let to_failure = |error: std::io::Error| {
            tracing::warn!(%error, "a new spool file can't be used");
            if is_out_of_space(&error) { GroupFailure::Full } else { GroupFailure::RetryNow }
        };
        let mut salt = [0; 32];
        self.spool.rng.fill(&mut salt);
        let number = self.newest_number + 1;
        let first = self.spool.index.lock().next;
        let sealed = self.spool.settings.sealing;
        let previous_len = self.newest_len;
        let header = SegmentHeader { sealed, number, first, created: now, previous_len, key_id: self.key.id, salt };
        let cipher = SegmentCipher::new(&self.key, &salt, number, sealed)
            .map(Arc::new)
            .ok_or_else(|| GroupFailure::Poison("the cipher can't be set up".to_owned()))?;
        let bytes = header.encode();
        if spare.file.write_at(0, &bytes).map_err(to_failure)? != bytes.len() {
            return Err(GroupFailure::Full);
        }
        spare.file.sync_data().map_err(to_failure)?;
        self.directory.rename(&spare.name, &segment_name(number)).map_err(to_failure)?;
        if let Err(error) = self.directory.sync() {
            return Err(GroupFailure::Poison(format!("a sync of the directory failed: {error}")));
        }
        let (capacity, written) = (spare.size, bytes.len() as u64);
        let segment = SpoolSegment::new(number, first, Arc::clone(&spare.file), Arc::clone(&cipher), written, capacity);
        self.spool.index.lock().add(segment);
        self.newest_number = number;
        self.newest_len = written;
        self.spool.space.set_active(capacity, capacity.saturating_sub(written), 0);
        Ok(ActiveSegment { number, first, file: spare.file, encoder: SegmentEncoder::new(cipher), capacity, written })
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.spool.queue.close();
        // Closed before the folder's lock is released, so that the next process has the file to itself.
        self.spool.progress.lock().close();
    }
}

/// Whether a transaction obeys the rules of [`Spool::enqueue`].
fn is_valid(transaction: &Transaction) -> bool {
    transaction.account.len() <= MAX_NAME
        && transaction.records.iter().all(|record| {
            record.kind as u8 != KIND_COMMIT
                && record.holders.len() <= MAX_HOLDERS
                && record.holders.iter().all(|name| name.len() <= MAX_NAME)
        })
}

/// Upper bound of the bytes that a transaction takes in an empty segment.
fn max_encoded_size(transaction: &Transaction) -> u64 {
    let records = transaction.records.iter().map(|record| {
        // Entries of the table record: 5 bytes and the name for each holder, 4 for the set and 2 for each member.
        let table_entries: usize = record.holders.iter().map(|name| name.len() + 7).sum();
        record_size(record.body.len()) + table_entries + 4
    });
    (records.sum::<usize>() + record_size(transaction.account.len() + 5) + COMMIT_SIZE) as u64
}
