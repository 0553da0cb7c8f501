//! [`OwnedPartitions`]: the partitions that the group has given to this receiver. A partition that moves away in order
//! is first finished and committed. One that was lost is only forgotten: whatever finishes later carries the number of
//! an ended generation and is never committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::progress::PartitionProgress;
use super::stored_positions::{StoredPositions, StoredRecord};
use ::kafka::{
    BrokerError, BrokerFault, CommittedOffset, GroupExit, IncomingRecord, PartitionId, PartitionOwner, RecordConsumer,
    RecordOpener,
};
use kernel::clock::{Clock, with_timeout};
use telemetry::{Meter, names};

/// How long records of a partition that moves away may take. The group waits as long as `session_timeout` at least.
const REVOKE_WAIT: Duration = Duration::from_secs(20);

/// How long the brokers may take to tell where new partitions begin.
const ASSIGN_WAIT: Duration = Duration::from_secs(20);

/// See the module.
pub(super) struct OwnedPartitions {
    receiver: Arc<str>,
    partitions: Mutex<BTreeMap<PartitionId, PartitionProgress>>,
    positions: Arc<StoredPositions>,
    /// See [`super::sink::RecordSink::ignores_group`].
    ignores_group: bool,
    generations: AtomicU64,
    /// Whether the partitions that are revoked from now on come back with the next start.
    is_restarting: AtomicBool,
    /// Whether the brokers answered when they were last asked.
    brokers_answer: AtomicBool,
    /// When Kafka last had the offsets of everything that was stored, monotonic; `None` once nothing more is read.
    up_to_date: Mutex<Option<Duration>>,
    /// Notified when a record is done.
    finished: Notify,
    clock: Arc<dyn Clock>,
    meter: Meter,
}

pub(super) struct BegunRecord {
    pub(super) generation: u64,
    /// What to note when it is stored.
    pub(super) stored: StoredRecord,
    /// Offsets before it that the topic no longer has.
    pub(super) missing: u64,
}

impl OwnedPartitions {
    pub(super) fn new(
        receiver: Arc<str>,
        (positions, ignores_group): (Arc<StoredPositions>, bool),
        clock: Arc<dyn Clock>,
        meter: Meter,
    ) -> Self {
        Self {
            receiver,
            partitions: Mutex::default(),
            positions,
            ignores_group,
            generations: AtomicU64::new(1),
            is_restarting: AtomicBool::new(false),
            brokers_answer: AtomicBool::new(true),
            up_to_date: Mutex::new(Some(clock.monotonic())),
            finished: Notify::new(),
            clock,
            meter,
        }
    }

    /// Begins a record. `None`: its partition is not owned any more.
    pub(super) fn begin(&self, record: &IncomingRecord) -> Option<BegunRecord> {
        let offset = record.offset;
        let mut partitions = self.partitions.lock();
        let progress = partitions.get_mut(&record.partition)?;
        let missing = progress.begin(offset, record.timestamp_ms);
        let (since, next) = (progress.since.unwrap_or(offset), progress.next().unwrap_or(offset));
        let stored = StoredRecord { since, next, offset, id: RecordOpener::id_of(record) };
        Some(BegunRecord { generation: progress.generation, stored, missing })
    }

    /// Ends a record of this generation.
    pub(super) fn finish(&self, partition: &PartitionId, generation: u64, offset: i64) {
        let mut partitions = self.partitions.lock();
        if let Some(progress) = partitions.get_mut(partition).filter(|one| one.generation == generation) {
            let was_held = progress.held.is_some();
            progress.finish(offset);
            if was_held {
                self.show_partitions(&partitions);
            }
        }
        drop(partitions);
        self.finished.notify_waiters();
    }

    /// Notes that a record waits to be tried again. The partition may move away meanwhile.
    pub(super) fn set_waiting(&self, partition: &PartitionId, generation: u64, offset: i64) {
        if let Some(progress) = self.partitions.lock().get_mut(partition).filter(|one| one.generation == generation) {
            progress.set_waiting(offset);
        }
        self.finished.notify_waiters();
    }

    /// Whether a record that waited may be tried again: its partition is still owned and stays.
    pub(super) fn try_again(&self, partition: &PartitionId, generation: u64, offset: i64) -> bool {
        let mut partitions = self.partitions.lock();
        let progress = partitions.get_mut(partition).filter(|one| one.generation == generation);
        progress.is_some_and(|progress| progress.try_again(offset))
    }

    /// From now on no record of these partitions that waits is tried again.
    pub(super) fn set_leaving(&self, leaving: &[PartitionId]) {
        for (_, progress) in self.partitions.lock().iter_mut().filter(|(partition, _)| leaving.contains(partition)) {
            progress.is_leaving = true;
        }
    }

    /// Notes why a record holds its partition. Returns whether that is news.
    pub(super) fn set_held(&self, partition: &PartitionId, generation: u64, offset: i64, why: String) -> bool {
        let mut partitions = self.partitions.lock();
        let progress = partitions.get_mut(partition).filter(|one| one.generation == generation);
        let Some(progress) = progress else { return false };
        let held = Some((offset, why));
        let is_news = progress.held != held;
        progress.held = held;
        self.show_partitions(&partitions);
        is_news
    }

    /// The owned partitions with the number of their ownership, and whether a record of each waits to be tried again.
    pub(super) fn waiting(&self) -> Vec<(PartitionId, u64, bool)> {
        let partitions = self.partitions.lock();
        let states = partitions.iter().map(|(id, progress)| (id.clone(), progress.generation, progress.is_waiting()));
        states.collect()
    }

    fn show_partitions(&self, partitions: &BTreeMap<PartitionId, PartitionProgress>) {
        let receiver = [("receiver", &*self.receiver)];
        let held = partitions.values().filter(|one| one.held.is_some()).count();
        self.meter.gauge(&names::KAFKA_HELD_PARTITIONS, &receiver).set(held as f64);
        self.meter.gauge(&names::KAFKA_PARTITIONS, &receiver).set(partitions.len() as f64);
    }

    pub(super) fn ids(&self) -> Vec<PartitionId> {
        self.partitions.lock().keys().cloned().collect()
    }

    /// Commits what is done. A failure is counted and repeated with the next call.
    ///
    /// # Errors
    /// The group has removed this member: nothing may be committed until a new one has joined.
    pub(super) async fn commit(
        &self,
        consumer: &dyn RecordConsumer,
        only: Option<&[PartitionId]>,
    ) -> Result<(), BrokerError> {
        let is_wanted = |partition: &PartitionId| only.is_none_or(|only| only.contains(partition));
        let due: Vec<(u64, CommittedOffset)> = {
            let partitions = self.partitions.lock();
            let wanted = partitions.iter().filter(|(partition, _)| is_wanted(partition));
            wanted
                .filter_map(|(partition, progress)| {
                    let next = progress.to_commit()?;
                    Some((progress.generation, CommittedOffset { partition: partition.clone(), next }))
                })
                .collect()
        };
        if due.is_empty() {
            if self.brokers_answer.load(Ordering::Relaxed) {
                self.note_up_to_date();
            }
            return Ok(());
        }
        let result = consumer.commit(due.iter().map(|(_, offset)| offset.clone()).collect()).await;
        let outcome = match &result {
            Ok(()) => "committed",
            Err(error) if error.fault == BrokerFault::Fenced => "fenced",
            Err(_) => "failed",
        };
        self.meter.counter(&names::KAFKA_COMMITS, &[("receiver", &self.receiver), ("outcome", outcome)]).increment(1);
        if result.is_ok() {
            self.note_up_to_date();
            let mut partitions = self.partitions.lock();
            for (generation, CommittedOffset { partition, next }) in due {
                if let Some(progress) = partitions.get_mut(&partition).filter(|one| one.generation == generation) {
                    progress.committed = Some(next);
                }
            }
        }
        result.or_else(|error| if error.fault == BrokerFault::Fenced { Err(error) } else { Ok(()) })
    }

    /// Waits until no record of these partitions is being processed, or too long.
    pub(super) async fn wait_finished(&self, partitions: &[PartitionId], most: Duration) {
        let all_done = async {
            loop {
                let finished = self.finished.notified();
                let active: usize = {
                    let owned = self.partitions.lock();
                    partitions.iter().filter_map(|id| owned.get(id)).map(PartitionProgress::active_count).sum()
                };
                if active == 0 {
                    return;
                }
                finished.await;
            }
        };
        let _ = with_timeout(&*self.clock, most, all_done).await;
    }

    /// Where to begin: at the group's offset, which an operator may have moved back because a worker's volume is lost
    /// (what this volume has is not stored again); and whether the consumer must be moved there. `None`: no broker
    /// answers, and the consumer begins at the group's offset.
    async fn begin_offset(&self, consumer: &dyn RecordConsumer, partition: &PartitionId) -> Option<(i64, bool)> {
        let bounds = consumer.bounds(partition).await.ok()?;
        let committed = consumer.committed(partition).await.ok()?;
        let stored = self.positions.next(partition);
        let stored_end = self.positions.end(partition);
        if stored_end.is_some_and(|stored| stored > bounds.end) || committed.is_some_and(|next| next > bounds.end) {
            self.positions.forget(partition);
            tracing::error!(
                receiver = &*self.receiver,
                topic = &*partition.topic,
                partition = partition.number,
                "the topic has fewer records than were read from it: it was made anew, and is read from its start"
            );
            return Some((bounds.first, true));
        }
        let begin = if self.ignores_group { stored } else { committed.or(stored) };
        let next = begin.unwrap_or(bounds.first);
        if next < bounds.first {
            let lost = u64::try_from(bounds.first.saturating_sub(next)).unwrap_or(0);
            self.report_missing(partition, lost);
        }
        let first = next.max(bounds.first);
        Some((first, committed != Some(first)))
    }

    /// Counts and reports records that the topic's retention removed before they were read.
    pub(super) fn report_missing(&self, partition: &PartitionId, records: u64) {
        self.meter.counter(&names::KAFKA_MISSING, &[("receiver", &self.receiver)]).increment(records);
        tracing::error!(
            receiver = &*self.receiver,
            topic = &*partition.topic,
            partition = partition.number,
            records,
            "records are gone that were not read: the topic's retention is shorter than this gateway was behind; raise \
             `retention.ms` of the topic"
        );
    }

    /// Notes how this member leaves its group.
    pub(super) fn set_exit(&self, exit: GroupExit) {
        self.is_restarting.store(exit == GroupExit::ForRestart, Ordering::Relaxed);
    }

    /// Forgets partitions; their lag is another member's to show.
    fn release(&self, partitions: &[PartitionId]) {
        self.partitions.lock().retain(|partition, _| !partitions.contains(partition));
        self.hide_lag(partitions);
    }

    /// Removes the lag of partitions, because it is not known here any more.
    fn hide_lag(&self, partitions: &[PartitionId]) {
        for partition in partitions {
            let number = partition.number.to_string();
            let labels = [("receiver", &*self.receiver), ("topic", &*partition.topic), ("partition", number.as_str())];
            self.meter.remove(&names::KAFKA_LAG, &labels);
            self.meter.remove(&names::KAFKA_LAG_AGE, &labels);
        }
    }

    fn note_up_to_date(&self) {
        let now = self.clock.monotonic();
        self.up_to_date.lock().iter_mut().for_each(|at| *at = now);
    }

    /// Notes whether the brokers answer, and shows the age of the last commit. While they don't answer, the last known
    /// lag would look like health, so it is removed.
    pub(super) fn note_brokers(&self, answer: bool) {
        self.brokers_answer.store(answer, Ordering::Relaxed);
        if !answer {
            self.hide_lag(&self.ids());
        }
        let up_to_date = self.up_to_date.lock();
        if let Some(at) = *up_to_date {
            let age = self.clock.monotonic().saturating_sub(at);
            self.meter.gauge(&names::KAFKA_COMMIT_AGE, &[("receiver", &self.receiver)]).set(age.as_secs_f64());
        }
    }

    /// Notes that nothing more is read, so that the age of the last commit means nothing.
    pub(super) fn set_ended(&self) {
        *self.up_to_date.lock() = None;
        self.meter.remove(&names::KAFKA_COMMIT_AGE, &[("receiver", &self.receiver)]);
        self.meter.remove(&names::KAFKA_DEAD_TOPIC, &[("receiver", &self.receiver)]);
    }

    /// Shows how many records of a partition were not read yet, and how old the first is that is not done.
    pub(super) fn show_lag(&self, partition: &PartitionId, records: u64) {
        if !self.brokers_answer.load(Ordering::Relaxed) {
            return;
        }
        let number = partition.number.to_string();
        let labels = [("receiver", &*self.receiver), ("topic", &*partition.topic), ("partition", number.as_str())];
        self.meter.gauge(&names::KAFKA_LAG, &labels).set(records as f64);
        let progress = |progress: &PartitionProgress| progress.oldest_ms(records > 0);
        let oldest = self.partitions.lock().get(partition).and_then(progress);
        let now_ms = i64::try_from(self.clock.now().0 / 1_000_000).unwrap_or(i64::MAX);
        let age = oldest.map_or(0, |oldest| now_ms.saturating_sub(oldest).max(0));
        self.meter.gauge(&names::KAFKA_LAG_AGE, &labels).set(age as f64 / 1000.0);
    }

    fn count_change(&self, kind: &'static str, partitions: usize) {
        let labels = [("receiver", &*self.receiver), ("change", kind)];
        self.meter.counter(&names::KAFKA_PARTITION_CHANGES, &labels).increment(partitions as u64);
        self.show_partitions(&self.partitions.lock());
    }
}

impl PartitionOwner for OwnedPartitions {
    fn assigned<'a>(&'a self, consumer: &'a dyn RecordConsumer, partitions: Vec<PartitionId>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let count = partitions.len();
            // All at once, and not for ever: the group waits for this member's next poll.
            let asked = partitions.iter().map(|partition| self.begin_offset(consumer, partition));
            let begins = with_timeout(&*self.clock, ASSIGN_WAIT, join_all(asked)).await;
            let begins = begins.unwrap_or_else(|| vec![None; count]);
            for (partition, begin) in partitions.into_iter().zip(begins) {
                let mut first = begin.map(|(first, _)| first);
                if let Some((offset, true)) = begin
                    && let Err(error) = consumer.seek(&partition, offset).await
                {
                    tracing::warn!(receiver = &*self.receiver, why = error.text, "a partition can't be positioned");
                    // The consumer begins elsewhere; records up to there must not count as read.
                    first = None;
                }
                let generation = self.generations.fetch_add(1, Ordering::Relaxed);
                self.partitions.lock().insert(partition, PartitionProgress::new(generation, first));
            }
            self.count_change("assigned", count);
        })
    }

    fn revoked<'a>(&'a self, consumer: &'a dyn RecordConsumer, partitions: Vec<PartitionId>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            consumer.pause(&partitions).await;
            self.set_leaving(&partitions);
            self.wait_finished(&partitions, REVOKE_WAIT).await;
            // A member that was removed meanwhile commits nothing, and its next owner reads the records again.
            let _ = self.commit(consumer, Some(&partitions)).await;
            self.release(&partitions);
            if !self.is_restarting.load(Ordering::Relaxed) {
                self.positions.forget_ids(&partitions);
            }
            self.count_change("revoked", partitions.len());
        })
    }

    fn lost(&self, partitions: Vec<PartitionId>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.release(&partitions);
            self.count_change("lost", partitions.len());
            tracing::warn!(
                receiver = &*self.receiver,
                partitions = partitions.len(),
                "partitions were lost: this worker was silent for `session_timeout`, or can't reach the group"
            );
        })
    }
}
