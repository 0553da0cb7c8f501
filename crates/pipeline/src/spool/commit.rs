//! [`Committer`]: group commit. It takes all waiting transactions, writes them at once, syncs once, publishes and
//! answers.
//! Nothing is published or answered `Ok` before its sync returned. After a failed or short write the segment is closed
//! for good; a failed sync poisons the spool; on a full disk transactions wait, in order, until there is room. Progress
//! and reclaiming are in `upkeep`, encoding is in `encode`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::disk::{Directory, DiskFile, is_full};
use crate::outcome::Reason;

use super::cipher::Cipher;
use super::encode::{Encoded, Encoder, Stamp, Unsealable};
use super::handle::Spool;
use super::key::SpoolKey;
use super::progress::Lines;
use super::queue::Queued;
use super::record::{COMMIT_SIZE, KIND_COMMIT, MAX_NAME, SEGMENT_HEADER, SegmentHeader, record_size, segment_name};
use super::room::Spare;
use super::segment::Segment;
use super::status::Step;
use super::transaction::{MAX_HOLDERS, Seq, Transaction};

/// Maximum number of transactions in a group.
const GROUP: usize = 64;
/// A group takes no more transactions beyond this many bytes.
const GROUP_BYTES: usize = 16 << 20;
/// A larger buffer is freed when no transaction waits.
const KEEP_BUFFER: usize = 1 << 20;
/// Failed writes in a row after which the spool is poisoned.
const ATTEMPTS: u32 = 3;
/// Steps in a row that could not create a file after which the spool is poisoned (some seconds, because each waits).
const SICK_STEPS: u32 = 20;

/// The writing end; one thread (or the simulation) calls [`Committer::step`].
pub struct Committer {
    pub(super) spool: Arc<Spool>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) key: SpoolKey,
    pub(super) active: Option<Active>,
    /// Number and valid bytes of the newest segment.
    pub(super) newest: (u64, u64),
    /// Number and synced bytes of the segment, as last written to the progress file.
    pub(super) told: (u64, u64),
    /// Transactions taken from the queue, not yet committed.
    backlog: VecDeque<Queued>,
    buffer: Vec<u8>,
    /// The disk is full: no transactions are taken before the next attempt.
    stalled: bool,
    /// Steps in a row that could not create a file although the disk is not full.
    sick: u32,
    pub(super) lines: Lines,
    pub(super) removed: BTreeSet<u64>,
    pub(super) clean: super::upkeep::Clean,
    /// Held until the end.
    pub(super) _lock: Box<dyn Send + Sync>,
}

/// The segment that is being written.
pub(super) struct Active {
    pub(super) number: u64,
    first: u64,
    file: Arc<dyn DiskFile>,
    encoder: Encoder,
    capacity: u64,
    /// Bytes written and synced.
    pub(super) written: u64,
}

/// A transaction of the group that is being written.
struct Member {
    queued: Queued,
    encoded: Encoded,
    end: u64,
}

/// Why a group was not written. Its transactions are back in the backlog.
enum Failure {
    /// No room; retry later.
    Full,
    /// No file can be created; retry later, a limited number of times.
    Sick,
    /// The segment was closed; retry now.
    Again,
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
            newest: (0, 0),
            told: (0, 0),
            backlog: VecDeque::new(),
            buffer: Vec::new(),
            stalled: false,
            sick: 0,
            lines: Lines::default(),
            removed: BTreeSet::new(),
            clean: super::upkeep::Clean::default(),
            _lock: lock,
        }
    }

    /// Takes all waiting transactions (or waits up to `idle` for one), writes them, syncs once, publishes, calls the
    /// [`super::OnCommit`]s in order, writes progress, and reclaims segments.
    pub fn step(&mut self, idle: Duration) -> Step {
        let mut step = Step::default();
        let poisoned = self.spool.poisoned().is_some();
        self.spool.queue.take(idle, self.stalled && !poisoned, GROUP, &mut self.backlog);
        if !poisoned {
            self.commit(&mut step);
            self.upkeep();
            self.repack(self.spool.clock.monotonic());
        }
        if let Some(reason) = self.spool.poisoned() {
            step.poisoned = Some(reason);
            self.refuse_all(reason, &mut step);
        }
        step.waiting = self.backlog.len() + self.spool.queue.len();
        if step.waiting == 0 && self.buffer.capacity() > KEEP_BUFFER {
            self.buffer = Vec::new();
        }
        step
    }

    /// Commits waiting transactions, makes progress durable, and releases the lock. To be called at the end of an
    /// orderly shutdown; without it nothing is lost, but some records may be delivered again. Returns false if progress
    /// could not be made durable, or transactions still waited (the disk is full).
    pub fn close(mut self) -> bool {
        self.ending();
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
        self.finish() && waiting == 0
    }

    /// Starts no more repacking; only queued transactions are still committed.
    pub fn ending(&mut self) {
        self.clean.repacking.over = true;
    }

    pub(super) fn stalled(&self) -> bool {
        self.stalled
    }

    fn refuse_all(&mut self, reason: Reason, step: &mut Step) {
        loop {
            for queued in self.backlog.drain(..) {
                (queued.on_commit)(Err(reason));
                step.failed += 1;
            }
            self.spool.queue.take(Duration::ZERO, false, GROUP, &mut self.backlog);
            if self.backlog.is_empty() {
                return;
            }
        }
    }

    fn commit(&mut self, step: &mut Step) {
        let mut attempts = 0;
        self.stalled = false;
        while !self.backlog.is_empty() {
            match self.group() {
                Ok(committed) => {
                    (attempts, self.sick) = (0, 0);
                    step.committed += committed;
                }
                Err(Failure::Full) => {
                    self.stalled = true;
                    return;
                }
                Err(Failure::Sick) if self.sick < SICK_STEPS => {
                    (self.sick, self.stalled) = (self.sick + 1, true);
                    return;
                }
                Err(Failure::Sick) => return self.poison("no file can be made"),
                Err(Failure::Again) => attempts += 1,
                Err(Failure::Poison(why)) => return self.poison(&why),
            }
            if attempts >= ATTEMPTS {
                return self.poison("writing failed again and again");
            }
        }
    }

    pub(super) fn poison(&mut self, why: &str) {
        tracing::error!(why, "the spool can't be written; tollgate stops acknowledging and must be restarted");
        self.spool.poison();
        if let Some(active) = self.active.take() {
            // Best effort: transactions that were not acknowledged should not reappear after a restart.
            let _ = active.file.set_len(active.written);
        }
    }

    /// Writes as many transactions of the backlog as fit into one group; returns their number.
    fn group(&mut self) -> Result<usize, Failure> {
        let now = self.spool.clock.now().0;
        self.buffer.clear();
        let mut members = self.encode(now)?;
        if members.is_empty() {
            self.close_active();
            self.open_next(now)?;
            members = self.encode(now)?;
        }
        if members.is_empty() {
            return Err(Failure::Poison("a transaction does not fit into a segment of its own".to_owned()));
        }
        match self.write() {
            Ok(()) => Ok(self.publish(members, now)),
            Err(failure) => {
                self.put_back(members);
                Err(failure)
            }
        }
    }

    /// Returns the transactions of an unwritten group to the front of the backlog.
    fn put_back(&mut self, members: Vec<Member>) {
        for member in members.into_iter().rev() {
            self.backlog.push_front(member.queued);
        }
    }

    /// Encodes transactions into the buffer as long as they fit into the active segment.
    fn encode(&mut self, now: u64) -> Result<Vec<Member>, Failure> {
        let mut members: Vec<Member> = Vec::new();
        let Some(active) = &mut self.active else { return Ok(members) };
        let Ok(group) = u32::try_from(active.encoder.end()) else { return Ok(members) };
        let stamp = Stamp { group, committed: now };
        while members.len() < GROUP && self.buffer.len() < GROUP_BYTES {
            let Some(next) = self.backlog.front() else { break };
            if !valid(&next.transaction) {
                self.put_back(members);
                return Err(Failure::Poison("a transaction breaks the rules of `enqueue`".to_owned()));
            }
            if next.reservation.has_own_file() {
                break;
            }
            let appended = active.encoder.append(&next.transaction, stamp, active.capacity, &mut self.buffer);
            let encoded = match appended {
                Ok(Some(encoded)) => encoded,
                Ok(None) => break,
                Err(Unsealable) => {
                    self.put_back(members);
                    return Err(Failure::Poison("a record can't be sealed".to_owned()));
                }
            };
            let end = active.encoder.end();
            members.extend(self.backlog.pop_front().map(|queued| Member { queued, encoded, end }));
        }
        Ok(members)
    }

    /// Writes the buffer after the written bytes, and syncs it.
    fn write(&mut self) -> Result<(), Failure> {
        let Some(active) = &mut self.active else { return Err(Failure::Again) };
        let failure = match active.file.write_at(active.written, &self.buffer) {
            Ok(written) if written == self.buffer.len() => None,
            Ok(_) => Some(Failure::Again),
            Err(error) if is_full(&error) => Some(Failure::Full),
            Err(error) => {
                tracing::warn!(%error, "a write to the spool failed; a new file is tried");
                Some(Failure::Again)
            }
        };
        if let Some(failure) = failure {
            self.close_active();
            return Err(failure);
        }
        let before = self.spool.clock.monotonic();
        if let Err(error) = active.file.sync_data() {
            return Err(Failure::Poison(format!("a sync failed: {error}")));
        }
        let took = self.spool.clock.monotonic().saturating_sub(before);
        self.spool.meters.sync_seconds.record(took.as_secs_f64());
        self.spool.meters.commits.increment(1);
        active.written += self.buffer.len() as u64;
        self.newest.1 = active.written;
        self.spool.room.left(active.capacity.saturating_sub(active.written));
        Ok(())
    }

    /// Makes the synced records visible, and answers.
    fn publish(&mut self, members: Vec<Member>, now: u64) -> usize {
        let Some(active) = &self.active else { return 0 };
        let mut touched: Vec<usize> = Vec::new();
        let count = members.len();
        {
            let mut index = self.spool.index.lock();
            for Member { encoded, end, .. } in &members {
                // The encoder numbers the tables as the index does; a test ensures it.
                index.extend_tables(active.number, &encoded.additions);
                touched.extend(index.commit(active.number, encoded, *end, now));
            }
            touched.sort_unstable();
            touched.dedup();
            index.notify(&touched);
        }
        for Member { queued, encoded, .. } in members {
            let Queued { transaction, reservation, on_commit } = queued;
            drop(reservation);
            let base = active.first + u64::from(encoded.first) + u64::from(encoded.leading);
            let seqs: Vec<Seq> = (base..).take(transaction.records.len()).map(Seq).collect();
            drop(transaction);
            on_commit(Ok(&seqs));
        }
        count
    }

    /// Ends appending to the active segment.
    pub(super) fn close_active(&mut self) {
        let Some(active) = self.active.take() else { return };
        // Best effort: bytes behind the valid length are never read.
        let cut = active.file.set_len(active.written).is_ok();
        let size = if cut { active.written } else { active.capacity };
        self.spool.index.lock().close(active.number, size);
        self.lines.closed(active.number, active.written);
        self.spool.room.active(0, 0, size);
    }

    /// Opens a segment that holds at least the first waiting transaction.
    fn open_next(&mut self, now: u64) -> Result<(), Failure> {
        let Some(next) = self.backlog.front_mut() else { return Err(Failure::Again) };
        let need = bound(&next.transaction);
        let spare = match next.reservation.take_own_file() {
            Some(spare) if spare.size >= need + SEGMENT_HEADER as u64 => spare,
            _ => self.spool.room.take(need).map_err(|reason| match reason {
                Reason::SpoolFull => Failure::Full,
                _ => Failure::Sick,
            })?,
        };
        let name = spare.name.clone();
        match self.activate(spare, now) {
            Ok(active) => {
                self.active = Some(active);
                Ok(())
            }
            Err(failure) => {
                // Best effort: the next start removes leftovers.
                let _ = self.directory.remove(&name);
                Err(failure)
            }
        }
    }

    /// Makes `spare` the next segment: header, sync, name, sync of the directory.
    fn activate(&mut self, spare: Spare, now: u64) -> Result<Active, Failure> {
        let again = |error: std::io::Error| {
            tracing::warn!(%error, "a new spool file can't be used");
            if is_full(&error) { Failure::Full } else { Failure::Again }
        };
        let mut salt = [0; 32];
        self.spool.rng.fill(&mut salt);
        let number = self.newest.0 + 1;
        let first = self.spool.index.lock().next();
        let sealed = self.spool.settings.sealing;
        let previous_len = self.newest.1;
        let header =
            SegmentHeader { sealed, number, first, created: now, previous_len, key_id: self.key.id_bytes(), salt };
        let cipher = Cipher::new(&self.key, &salt, number, sealed)
            .map(Arc::new)
            .ok_or_else(|| Failure::Poison("the cipher can't be set up".to_owned()))?;
        let bytes = header.encode();
        if spare.file.write_at(0, &bytes).map_err(again)? != bytes.len() {
            return Err(Failure::Full);
        }
        spare.file.sync_data().map_err(again)?;
        self.directory.rename(&spare.name, &segment_name(number)).map_err(again)?;
        if let Err(error) = self.directory.sync() {
            return Err(Failure::Poison(format!("a sync of the directory failed: {error}")));
        }
        let (capacity, written) = (spare.size, bytes.len() as u64);
        let segment = Segment::new(number, first, Arc::clone(&spare.file), Arc::clone(&cipher), written, capacity);
        self.spool.index.lock().add(segment);
        self.newest = (number, written);
        self.spool.room.active(capacity, capacity.saturating_sub(written), 0);
        Ok(Active { number, first, file: spare.file, encoder: Encoder::new(cipher), capacity, written })
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.spool.queue.close();
        // Closed before the lock is released, so that the next owner of the folder has the file to itself.
        self.spool.progress.lock().close();
    }
}

/// Whether a transaction obeys the rules of [`Spool::enqueue`].
fn valid(transaction: &Transaction) -> bool {
    transaction.account.len() <= MAX_NAME
        && transaction.records.iter().all(|record| {
            record.kind as u8 != KIND_COMMIT
                && record.holders.len() <= MAX_HOLDERS
                && record.holders.iter().all(|name| name.len() <= MAX_NAME)
        })
}

/// Upper bound of the bytes that a transaction takes in an empty segment.
fn bound(transaction: &Transaction) -> u64 {
    let records = transaction.records.iter().map(|record| {
        let names: usize = record.holders.iter().map(|name| name.len() + 7).sum();
        record_size(record.body.len()) + names + 4
    });
    (records.sum::<usize>() + record_size(transaction.account.len() + 5) + COMMIT_SIZE) as u64
}
