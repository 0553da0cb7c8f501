//! [`SpoolIndex`]: the records in all segments, and the consumers that still need them. Segments are in rising order of
//! number and position; counts per consumer agree with the segments'. Bodies are read in `read`; the spool holds the
//! lock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;

use crate::disk::DiskFile;
use kernel::clock::UnixNanos;

use super::cipher::SegmentCipher;
use super::encode::{EncodedTransaction, TableAdditions};
use super::segment::SpoolSegment;
use super::status::ConsumerStatus;
use super::transaction::RecordSeq;

struct ConsumerState {
    name: Arc<str>,
    configured: bool,
    records: u64,
    bytes: u64,
    /// Bytes that are being repacked, and exist twice until that is done.
    repacking_bytes: u64,
    changed: watch::Sender<u64>,
}

/// A record to be read.
pub(super) struct PlannedRead {
    pub(super) seq: RecordSeq,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) cipher: Arc<SegmentCipher>,
    pub(super) account: Arc<str>,
    pub(super) record: u32,
    pub(super) offset: u64,
    pub(super) size: u64,
}

impl PlannedRead {
    fn for_record(segment: &SpoolSegment, record: u32) -> Option<Self> {
        let ((offset, size), account) = (segment.record_range(record)?, Arc::clone(segment.account(record)?));
        let (file, cipher) = segment.reader();
        let seq = RecordSeq(segment.first.saturating_add(u64::from(record)));
        Some(Self { seq, file, cipher, account, record, offset, size })
    }
}

/// Positions that a consumer finished: consumer number, first position, count.
pub(super) type DoneRun = (usize, u64, u32);

/// Positions transferred between consumers: numbers of giver and receiver, first position, count.
pub(super) type TransferRun = (usize, usize, u64, u32);

/// Everything that is held.
pub(super) struct SpoolIndex {
    segments: VecDeque<SpoolSegment>,
    consumers: Vec<ConsumerState>,
    by_name: HashMap<Arc<str>, usize>,
    /// Number of records in memory.
    records: u64,
    /// Lower bound of the next record's position.
    next: u64,
    /// Finished positions since the committer's last call.
    done_log: Vec<DoneRun>,
    /// Transferred positions since the committer's last call.
    transfer_log: Vec<TransferRun>,
}

impl SpoolIndex {
    pub(super) fn new() -> Self {
        Self {
            segments: VecDeque::new(),
            consumers: Vec::new(),
            by_name: HashMap::new(),
            records: 0,
            next: 1,
            done_log: Vec::new(),
            transfer_log: Vec::new(),
        }
    }

    /// Number of records in memory, including internal ones.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Lower bound of the next record's position.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Marks positions below `next` as used.
    pub(super) fn reserve_positions(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = &SpoolSegment> {
        self.segments.iter()
    }

    /// The consumer's number; assigned if the consumer is new.
    pub(super) fn consumer(&mut self, name: &Arc<str>) -> usize {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        let number = self.consumers.len();
        self.by_name.insert(Arc::clone(name), number);
        let (changed, _) = watch::channel(0);
        self.consumers.push(ConsumerState {
            name: Arc::clone(name),
            configured: false,
            records: 0,
            bytes: 0,
            repacking_bytes: 0,
            changed,
        });
        number
    }

    pub(super) fn name(&self, consumer: usize) -> Option<&Arc<str>> {
        self.consumers.get(consumer).map(|consumer| &consumer.name)
    }

    pub(super) fn watch(&mut self, name: &str) -> watch::Receiver<u64> {
        let number = self.consumer(&Arc::from(name));
        self.consumers.get(number).map_or_else(|| watch::channel(0).1, |consumer| consumer.changed.subscribe())
    }

    pub(super) fn set_configured(&mut self, names: &[Arc<str>]) {
        for name in names {
            self.consumer(name);
        }
        for consumer in &mut self.consumers {
            consumer.configured = names.contains(&consumer.name);
        }
    }

    /// Notifies these consumers of new records.
    pub(super) fn notify(&self, consumers: &[usize]) {
        for consumer in consumers.iter().filter_map(|number| self.consumers.get(*number)) {
            consumer.changed.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Adds a segment; its number must be higher than all others.
    pub(super) fn add(&mut self, segment: SpoolSegment) {
        self.reserve_positions(segment.first);
        self.segments.push_back(segment);
    }

    fn segment_position(&self, number: u64) -> Option<usize> {
        let at = self.segments.partition_point(|segment| segment.number < number);
        self.segments.get(at).filter(|segment| segment.number == number).map(|_| at)
    }

    /// Marks segment `number` as complete, with a file of `size` bytes.
    pub(super) fn close(&mut self, number: u64, size: u64) {
        if let Some(segment) = self.segment_position(number).and_then(|at| self.segments.get_mut(at)) {
            segment.close(size);
        }
    }

    /// Removes a segment whose file is deleted; returns the bytes that it took.
    pub(super) fn remove(&mut self, number: u64) -> u64 {
        let Some(segment) = self.segment_position(number).and_then(|at| self.segments.remove(at)) else { return 0 };
        self.records = self.records.saturating_sub(segment.records());
        segment.size
    }

    /// Segments without pending records, which can be unlinked.
    pub(super) fn reclaimable(&self) -> Vec<u64> {
        self.segments.iter().filter(|segment| segment.is_reclaimable()).map(|segment| segment.number).collect()
    }

    /// Whether segment `number` has records, none of which is pending.
    pub(super) fn is_finished(&self, number: u64) -> bool {
        self.segment_position(number).and_then(|at| self.segments.get(at)).is_some_and(SpoolSegment::is_finished)
    }

    /// Adds to the tables of segment `number`. Returns false if the numbers don't continue the existing ones.
    pub(super) fn extend_tables(&mut self, number: u64, additions: &TableAdditions) -> bool {
        let Some(at) = self.segment_position(number) else { return false };
        for (id, name) in &additions.names {
            if !self.segments.get_mut(at).is_some_and(|segment| segment.add_name(*id, Arc::clone(name))) {
                return false;
            }
        }
        for (id, members) in &additions.sets {
            let Some(segment) = self.segments.get(at) else { return false };
            let names: Option<Vec<Arc<str>>> = members.iter().map(|member| segment.name(*member).cloned()).collect();
            let Some(names) = names else { return false };
            let consumers = names.iter().map(|name| self.consumer(name)).collect();
            if !self.segments.get_mut(at).is_some_and(|segment| segment.add_set(*id, consumers)) {
                return false;
            }
        }
        true
    }

    /// Adds a committed transaction of segment `number` that ends at offset `end`. Returns the consumers that need it.
    pub(super) fn commit(&mut self, number: u64, encoded: &EncodedTransaction, end: u64, committed: u64) -> Vec<usize> {
        let mut touched = Vec::new();
        let Some(at) = self.segment_position(number) else { return touched };
        let Some(segment) = self.segments.get_mut(at) else { return touched };
        let consumers = &mut self.consumers;
        segment.commit(encoded, end, committed, |consumer, bytes| {
            if let Some(waits) = consumers.get_mut(consumer) {
                waits.records += 1;
                waits.bytes += bytes;
            }
            if !touched.contains(&consumer) {
                touched.push(consumer);
            }
        });
        self.next = self.next.max(segment.next());
        self.records += encoded.records.len() as u64;
        touched
    }

    /// Marks one position as done; returns whether it was pending.
    pub(super) fn mark_done(&mut self, consumer: usize, seq: u64) -> bool {
        let at = self.segments.partition_point(|segment| segment.next() <= seq);
        let Some(segment) = self.segments.get_mut(at) else { return false };
        let record = seq.checked_sub(segment.first).and_then(|record| u32::try_from(record).ok());
        let Some(bytes) = record.and_then(|record| segment.mark_done(consumer, record)) else { return false };
        if let Some(waits) = self.consumers.get_mut(consumer) {
            waits.records = waits.records.saturating_sub(1);
            waits.bytes = waits.bytes.saturating_sub(bytes);
        }
        true
    }

    /// Transfers the record at this position from `from` to `to`. Returns false if `from` does not hold it, or `to`
    /// holds or held it in its own name.
    pub(super) fn transfer_record(&mut self, from: usize, to: usize, seq: u64) -> bool {
        let at = self.segments.partition_point(|segment| segment.next() <= seq);
        let Some(segment) = self.segments.get_mut(at) else { return false };
        let record = seq.checked_sub(segment.first).and_then(|record| u32::try_from(record).ok());
        let Some(bytes) = record.and_then(|record| segment.transfer_record(from, to, record)) else { return false };
        if let Some(waits) = self.consumers.get_mut(from) {
            waits.records = waits.records.saturating_sub(1);
            waits.bytes = waits.bytes.saturating_sub(bytes);
        }
        if let Some(waits) = self.consumers.get_mut(to) {
            waits.records += 1;
            waits.bytes += bytes;
        }
        true
    }

    /// As `give`, by name; adds the transfer to the log.
    pub(super) fn transfer_by_name(&mut self, from: &Arc<str>, to: &Arc<str>, seq: u64) -> bool {
        let (from, to) = (self.consumer(from), self.consumer(to));
        let given = from != to && self.transfer_record(from, to, seq);
        if given {
            match self.transfer_log.last_mut() {
                Some((by, whom, first, count))
                    if (*by, *whom) == (from, to) && first.saturating_add(u64::from(*count)) == seq =>
                {
                    *count = count.saturating_add(1);
                }
                _ => self.transfer_log.push((from, to, seq, 1)),
            }
            self.notify(&[to]);
        }
        given
    }

    /// Marks positions as done for `consumer`; adds those that were pending to the log, and returns their number.
    pub(super) fn finish_records(&mut self, consumer: usize, seqs: impl IntoIterator<Item = u64>) -> u64 {
        let mut news = 0;
        for seq in seqs {
            if !self.mark_done(consumer, seq) {
                continue;
            }
            news += 1;
            match self.done_log.last_mut() {
                Some((who, first, count)) if *who == consumer && first.saturating_add(u64::from(*count)) == seq => {
                    *count = count.saturating_add(1);
                }
                _ => self.done_log.push((consumer, seq, 1)),
            }
        }
        news
    }

    /// As `done`, by name.
    pub(super) fn finish_by_name(&mut self, consumer: &str, seqs: impl IntoIterator<Item = u64>) -> u64 {
        self.by_name.get(consumer).copied().map_or(0, |consumer| self.finish_records(consumer, seqs))
    }

    /// Positions pending for `consumer`, up to and including `through`.
    pub(super) fn pending_positions(&self, consumer: &str, through: u64) -> Vec<u64> {
        let Some(consumer) = self.by_name.get(consumer).copied() else { return Vec::new() };
        let all = self.segments.iter().flat_map(|segment| {
            segment.pending_from(consumer, 0).map(|record| segment.first.saturating_add(u64::from(record)))
        });
        all.take_while(|seq| *seq <= through).collect()
    }

    /// Bytes pending for `consumer`.
    pub(super) fn pending_bytes(&self, consumer: &str) -> u64 {
        let known = self.by_name.get(consumer).and_then(|number| self.consumers.get(*number));
        known.map_or(0, |consumer| consumer.bytes.saturating_sub(consumer.repacking_bytes))
    }

    /// Closed segments in which only `consumer` has pending records, of at most half the segment and `most` bytes;
    /// those with the fewest bytes first.
    pub(super) fn sparse_segments(&self, consumer: &str, most: u64) -> Vec<(u64, u64)> {
        let Some(consumer) = self.by_name.get(consumer).copied() else { return Vec::new() };
        let needed = self.segments.iter().filter_map(|segment| {
            let bytes = segment.bytes_if_only(consumer)?;
            (bytes <= most.min(segment.size / 2)).then_some((segment.number, bytes))
        });
        let mut sparse: Vec<(u64, u64)> = needed.collect();
        sparse.sort_by_key(|(_, bytes)| *bytes);
        sparse
    }

    /// Records of segment `number` that are pending for `consumer`.
    pub(super) fn plan_segment(&self, consumer: &str, number: u64) -> Vec<PlannedRead> {
        let segment = self.segment_position(number).and_then(|at| self.segments.get(at));
        let (Some(segment), Some(consumer)) = (segment, self.by_name.get(consumer)) else { return Vec::new() };
        segment.pending_from(*consumer, 0).filter_map(|record| PlannedRead::for_record(segment, record)).collect()
    }

    /// Announces that this many bytes of `consumer` will be repacked: the copies do not count until
    /// [`SpoolIndex::end_repack`].
    pub(super) fn begin_repack(&mut self, consumer: &str, bytes: u64) {
        if let Some(consumer) = self.by_name.get(consumer).and_then(|number| self.consumers.get_mut(*number)) {
            consumer.repacking_bytes = consumer.repacking_bytes.saturating_add(bytes);
        }
    }

    /// Ends the repacking of pairs of old and new positions. If the consumer no longer needs the old record (it was
    /// dropped or transferred), the new one is marked as done, too.
    pub(super) fn end_repack(&mut self, consumer: &str, bytes: u64, seqs: impl IntoIterator<Item = (u64, u64)>) {
        for (before, now) in seqs {
            if self.finish_by_name(consumer, [before]) == 0 {
                self.finish_by_name(consumer, [now]);
            }
        }
        if let Some(consumer) = self.by_name.get(consumer).and_then(|number| self.consumers.get_mut(*number)) {
            consumer.repacking_bytes = consumer.repacking_bytes.saturating_sub(bytes);
        }
    }

    /// Positions of the oldest pending records of `consumer`, so many that the others have at most `keep` bytes.
    pub(super) fn oldest_beyond(&self, consumer: &str, keep: u64) -> Vec<u64> {
        let mut over = self.pending_bytes(consumer).saturating_sub(keep);
        let mut oldest = Vec::new();
        let Some(consumer) = self.by_name.get(consumer).copied() else { return oldest };
        for segment in &self.segments {
            for record in segment.pending_from(consumer, 0) {
                if over == 0 {
                    return oldest;
                }
                over = over.saturating_sub(segment.record_range(record).map_or(0, |(_, size)| size));
                oldest.push(segment.first.saturating_add(u64::from(record)));
            }
        }
        oldest
    }

    /// Takes the log of finished positions.
    pub(super) fn take_done_log(&mut self) -> Vec<DoneRun> {
        std::mem::take(&mut self.done_log)
    }

    /// Takes the log of transferred positions.
    pub(super) fn take_transfer_log(&mut self) -> Vec<TransferRun> {
        std::mem::take(&mut self.transfer_log)
    }

    /// All transfers in the existing segments.
    pub(super) fn transfer_runs(&self) -> Vec<TransferRun> {
        let of = |segment: &SpoolSegment| {
            let first = segment.first;
            let runs = segment.transfer_runs().into_iter();
            runs.map(move |(from, to, record, count)| (from, to, first.saturating_add(u64::from(record)), count))
        };
        self.segments.iter().flat_map(of).collect()
    }

    /// All finished positions in the existing segments.
    pub(super) fn done_runs(&self) -> Vec<DoneRun> {
        let mut runs = Vec::new();
        for segment in &self.segments {
            for consumer in segment.consumers() {
                let here = segment.done_runs(consumer);
                runs.extend(
                    here.iter()
                        .map(|(first, count)| (consumer, segment.first.saturating_add(u64::from(*first)), *count)),
                );
            }
        }
        runs
    }

    /// The next records that `consumer` may read, of one account or of all; `most`: bytes and records.
    pub(super) fn plan_reads(
        &self,
        consumer: &str,
        of: Option<&str>,
        after: Option<RecordSeq>,
        most: (usize, usize),
    ) -> Vec<PlannedRead> {
        let mut plan = Vec::new();
        let Some(consumer) = self.by_name.get(consumer).copied() else { return plan };
        let start = after.map_or(0, |after| after.0.saturating_add(1));
        let skip = self.segments.partition_point(|segment| segment.next() <= start);
        let mut room = most.0 as u64;
        for segment in self.segments.iter().skip(skip) {
            let from = u32::try_from(start.saturating_sub(segment.first)).unwrap_or(u32::MAX);
            for record in segment.pending_from(consumer, from) {
                if of.is_some_and(|of| segment.account(record).is_some_and(|account| **account != *of)) {
                    continue;
                }
                let Some(planned) = PlannedRead::for_record(segment, record) else { continue };
                if plan.len() >= most.1 || (planned.size > room && !plan.is_empty()) {
                    return plan;
                }
                room = room.saturating_sub(planned.size);
                plan.push(planned);
            }
        }
        plan
    }

    /// Those of `seqs` that are pending for `consumer`.
    pub(super) fn plan_positions(&self, consumer: &str, seqs: &[RecordSeq]) -> Vec<PlannedRead> {
        let Some(consumer) = self.by_name.get(consumer).copied() else { return Vec::new() };
        let planned = seqs.iter().filter_map(|seq| {
            let at = self.segments.partition_point(|segment| segment.next() <= seq.0);
            let segment = self.segments.get(at)?;
            let record = u32::try_from(seq.0.checked_sub(segment.first)?).ok()?;
            if segment.is_pending(consumer, record) { PlannedRead::for_record(segment, record) } else { None }
        });
        planned.collect()
    }

    /// The first record pending for `consumer`.
    pub(super) fn first_pending(&mut self, consumer: &str) -> Option<RecordSeq> {
        let consumer = *self.by_name.get(consumer)?;
        self.segments.iter_mut().find_map(|segment| {
            let record = segment.first_pending(consumer)?;
            Some(RecordSeq(segment.first.saturating_add(u64::from(record))))
        })
    }

    /// Status of every consumer that is configured or has records.
    pub(super) fn consumers(&mut self) -> Vec<ConsumerStatus> {
        let mut first: Vec<Option<(RecordSeq, UnixNanos)>> = vec![None; self.consumers.len()];
        for segment in &mut self.segments {
            for consumer in segment.holders() {
                let Some(known @ None) = first.get_mut(consumer) else { continue };
                let Some(record) = segment.first_pending(consumer) else { continue };
                let seq = RecordSeq(segment.first.saturating_add(u64::from(record)));
                *known = Some((seq, UnixNanos(segment.commit_time(record))));
            }
        }
        let all = self.consumers.iter().zip(first).filter(|(consumer, _)| consumer.configured || consumer.records > 0);
        all.map(|(consumer, first)| ConsumerStatus {
            name: Arc::clone(&consumer.name),
            configured: consumer.configured,
            records: consumer.records,
            bytes: consumer.bytes,
            first: first.map(|(seq, _)| seq),
            oldest: first.map(|(_, time)| time),
        })
        .collect()
    }
}
