//! [`SpoolIndex`]: the records in all segments, and the consumers that still need them. Segments are in rising order of
//! number and position; the counts of each consumer are the sums of its counts in the segments. Bodies are read in
//! `read`; `spool_handle` has the lock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;

use crate::disk::DiskFile;
use kernel::clock::UnixNanos;

use super::cipher::SegmentCipher;
use super::encode::{EncodedTransaction, TableAdditions};
use super::progress::{PositionRun, ProgressLines, TAG_DONE, TAG_TRANSFERRED, add_to_runs};
use super::segment::SpoolSegment;
use super::status::ConsumerStatus;
use super::transaction::RecordSeq;

#[derive(Default)]
struct ConsumerState {
    name: Arc<str>,
    is_configured: bool,
    /// Pending records and their bytes.
    records: u64,
    bytes: u64,
    /// Bytes that are being repacked, and exist twice until that is done.
    repacking_bytes: u64,
    changed: watch::Sender<u64>,
    /// Counts the calls of [`SpoolIndex::announce_moves`].
    moved: watch::Sender<u64>,
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
        let (file, cipher) = (Arc::clone(&segment.file), Arc::clone(&segment.cipher));
        let seq = RecordSeq(segment.first.saturating_add(u64::from(record)));
        Some(Self { seq, file, cipher, account, record, offset, size })
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct SpoolIndex {
    segments: VecDeque<SpoolSegment>,
    consumers: Vec<ConsumerState>,
    by_name: HashMap<Arc<str>, usize>,
    /// Number of records in the segments, including internal ones.
    pub(super) records: u64,
    /// Lower bound of the next record's position.
    pub(super) next: u64,
    /// Positions that were finished or transferred since [`SpoolIndex::take_progress`] was called last.
    done_log: Vec<PositionRun<1>>,
    transfer_log: Vec<PositionRun<2>>,
}

impl SpoolIndex {
    pub(super) fn new() -> Self {
        Self { next: 1, ..Self::default() }
    }

    /// Marks positions below `next` as used.
    pub(super) fn reserve_positions(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = &SpoolSegment> {
        self.segments.iter()
    }

    /// The consumer's number, assigned if the consumer is new.
    pub(super) fn consumer_number(&mut self, name: &Arc<str>) -> usize {
        if let Some(number) = self.by_name.get(name) {
            return *number;
        }
        let number = self.consumers.len();
        self.by_name.insert(Arc::clone(name), number);
        self.consumers.push(ConsumerState { name: Arc::clone(name), ..ConsumerState::default() });
        number
    }

    fn name(&self, consumer: usize) -> Option<&Arc<str>> {
        self.consumers.get(consumer).map(|consumer| &consumer.name)
    }

    pub(super) fn watch(&mut self, name: &str) -> watch::Receiver<u64> {
        let number = self.consumer_number(&Arc::from(name));
        self.consumers.get(number).map_or_else(|| watch::channel(0).1, |consumer| consumer.changed.subscribe())
    }

    pub(super) fn watch_moves(&mut self, name: &str) -> watch::Receiver<u64> {
        let number = self.consumer_number(&Arc::from(name));
        self.consumers.get(number).map_or_else(|| watch::channel(0).1, |consumer| consumer.moved.subscribe())
    }

    pub(super) fn announce_moves(&mut self, name: &str) {
        if let Some(consumer) = self.consumer_mut(name) {
            consumer.moved.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    pub(super) fn set_configured(&mut self, names: &[Arc<str>]) {
        for name in names {
            self.consumer_number(name);
        }
        for consumer in &mut self.consumers {
            consumer.is_configured = names.contains(&consumer.name);
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

    /// Index in `segments` of the segment with this number.
    fn segment_index(&self, number: u64) -> Option<usize> {
        let index = self.segments.partition_point(|segment| segment.number < number);
        self.segments.get(index).filter(|segment| segment.number == number).map(|_| index)
    }

    /// Marks segment `number` as complete, with a file of `size` bytes.
    pub(super) fn close(&mut self, number: u64, size: u64) {
        if let Some(segment) = self.segment_index(number).and_then(|index| self.segments.get_mut(index)) {
            segment.close(size);
        }
    }

    /// Removes a segment whose file is deleted; returns the bytes that it took.
    pub(super) fn remove(&mut self, number: u64) -> u64 {
        let Some(segment) = self.segment_index(number).and_then(|index| self.segments.remove(index)) else { return 0 };
        self.records = self.records.saturating_sub(segment.records());
        segment.size
    }

    /// Segments without pending records, which can be unlinked.
    pub(super) fn reclaimable(&self) -> Vec<u64> {
        let is_finished = |segment: &&SpoolSegment| segment.closed && segment.pending_records == 0;
        self.segments.iter().filter(is_finished).map(|segment| segment.number).collect()
    }

    /// Whether segment `number` has records, none of which is pending.
    pub(super) fn is_finished(&self, number: u64) -> bool {
        self.segment_index(number).and_then(|index| self.segments.get(index)).is_some_and(SpoolSegment::is_finished)
    }

    /// Adds to the tables of segment `number`. Returns false if the numbers don't continue the existing ones.
    pub(super) fn extend_tables(&mut self, number: u64, additions: &TableAdditions) -> bool {
        let Some(index) = self.segment_index(number) else { return false };
        for (id, name) in &additions.names {
            if !self.segments.get_mut(index).is_some_and(|segment| segment.add_name(*id, Arc::clone(name))) {
                return false;
            }
        }
        for (id, members) in &additions.sets {
            let Some(segment) = self.segments.get(index) else { return false };
            let names: Option<Vec<Arc<str>>> = members.iter().map(|member| segment.name(*member).cloned()).collect();
            let Some(names) = names else { return false };
            let consumers = names.iter().map(|name| self.consumer_number(name)).collect();
            if !self.segments.get_mut(index).is_some_and(|segment| segment.add_set(*id, consumers)) {
                return false;
            }
        }
        true
    }

    /// Adds a committed transaction of segment `number` that ends at offset `end`. Returns the consumers that need it.
    pub(super) fn commit(&mut self, number: u64, encoded: &EncodedTransaction, end: u64, committed: u64) -> Vec<usize> {
        let mut needed_by = Vec::new();
        let Some(index) = self.segment_index(number) else { return needed_by };
        let Some(segment) = self.segments.get_mut(index) else { return needed_by };
        let consumers = &mut self.consumers;
        segment.commit(encoded, end, committed, |consumer, bytes| {
            if let Some(state) = consumers.get_mut(consumer) {
                state.records += 1;
                state.bytes += bytes;
            }
            if !needed_by.contains(&consumer) {
                needed_by.push(consumer);
            }
        });
        self.next = self.next.max(segment.next());
        self.records += encoded.records.len() as u64;
        needed_by
    }

    /// Marks one position as done; returns whether it was pending.
    pub(super) fn mark_done(&mut self, consumer: usize, seq: u64) -> bool {
        let Some((segment, record)) = self.locate_mut(seq) else { return false };
        let Some(bytes) = segment.mark_done(consumer, record) else { return false };
        if let Some(state) = self.consumers.get_mut(consumer) {
            state.records = state.records.saturating_sub(1);
            state.bytes = state.bytes.saturating_sub(bytes);
        }
        true
    }

    /// The segment of this position, and the record's number in it.
    fn locate_mut(&mut self, seq: u64) -> Option<(&mut SpoolSegment, u32)> {
        let index = self.segments.partition_point(|segment| segment.next() <= seq);
        let segment = self.segments.get_mut(index)?;
        let record = u32::try_from(seq.checked_sub(segment.first)?).ok()?;
        Some((segment, record))
    }

    /// Transfers the record at this position from `from` to `to`. Returns false if `from` does not hold it, or `to`
    /// holds or held it in its own name.
    pub(super) fn transfer_record(&mut self, from: usize, to: usize, seq: u64) -> bool {
        let Some((segment, record)) = self.locate_mut(seq) else { return false };
        let Some(bytes) = segment.transfer_record(from, to, record) else { return false };
        if let Some(giver) = self.consumers.get_mut(from) {
            giver.records = giver.records.saturating_sub(1);
            giver.bytes = giver.bytes.saturating_sub(bytes);
        }
        if let Some(receiver) = self.consumers.get_mut(to) {
            receiver.records += 1;
            receiver.bytes += bytes;
        }
        true
    }

    /// As [`SpoolIndex::transfer_record`], by name; adds the transfer to the log.
    pub(super) fn transfer_by_name(&mut self, from: &Arc<str>, to: &Arc<str>, seq: u64) -> bool {
        let (from, to) = (self.consumer_number(from), self.consumer_number(to));
        let is_transferred = from != to && self.transfer_record(from, to, seq);
        if is_transferred {
            add_to_runs(&mut self.transfer_log, [from, to], seq);
            self.notify(&[to]);
        }
        is_transferred
    }

    /// Marks positions as done for `consumer`; adds those that were pending to the log, and returns their number.
    pub(super) fn finish_records(&mut self, consumer: usize, seqs: impl IntoIterator<Item = u64>) -> u64 {
        let mut finished = 0;
        for seq in seqs {
            if !self.mark_done(consumer, seq) {
                continue;
            }
            finished += 1;
            add_to_runs(&mut self.done_log, [consumer], seq);
        }
        finished
    }

    /// As [`SpoolIndex::finish_records`], by name.
    pub(super) fn finish_by_name(&mut self, consumer: &str, seqs: impl IntoIterator<Item = u64>) -> u64 {
        self.by_name.get(consumer).copied().map_or(0, |consumer| self.finish_records(consumer, seqs))
    }

    /// Positions pending for `consumer`, up to and including `through`.
    pub(super) fn pending_positions(&self, consumer: &str, through: u64) -> Vec<u64> {
        let Some(consumer) = self.by_name.get(consumer).copied() else { return Vec::new() };
        let positions = self.segments.iter().flat_map(|segment| {
            segment.pending_from(consumer, 0).map(|record| segment.first.saturating_add(u64::from(record)))
        });
        positions.take_while(|seq| *seq <= through).collect()
    }

    /// Bytes pending for `consumer`, without copies that are being repacked.
    pub(super) fn pending_bytes(&self, consumer: &str) -> u64 {
        let state = self.by_name.get(consumer).and_then(|number| self.consumers.get(*number));
        state.map_or(0, |state| state.bytes.saturating_sub(state.repacking_bytes))
    }

    /// Closed segments in which only `consumer` has pending records, and these are at most half of the segment and at
    /// most `max_bytes`: number and pending bytes, those with the fewest bytes first.
    pub(super) fn sparse_segments(&self, consumer: &str, max_bytes: u64) -> Vec<(u64, u64)> {
        let Some(consumer) = self.by_name.get(consumer).copied() else { return Vec::new() };
        let sparse = self.segments.iter().filter_map(|segment| {
            let bytes = segment.bytes_if_only(consumer)?;
            (bytes <= max_bytes.min(segment.size / 2)).then_some((segment.number, bytes))
        });
        let mut sparse: Vec<(u64, u64)> = sparse.collect();
        sparse.sort_by_key(|(_, bytes)| *bytes);
        sparse
    }

    /// Records of segment `number` that are pending for `consumer`.
    pub(super) fn plan_segment(&self, consumer: &str, number: u64) -> Vec<PlannedRead> {
        let segment = self.segment_index(number).and_then(|index| self.segments.get(index));
        let (Some(segment), Some(consumer)) = (segment, self.by_name.get(consumer)) else { return Vec::new() };
        segment.pending_from(*consumer, 0).filter_map(|record| PlannedRead::for_record(segment, record)).collect()
    }

    /// Announces that this many bytes of `consumer` will be repacked: the copies do not count until
    /// [`SpoolIndex::end_repack`].
    pub(super) fn begin_repack(&mut self, consumer: &str, bytes: u64) {
        if let Some(consumer) = self.consumer_mut(consumer) {
            consumer.repacking_bytes = consumer.repacking_bytes.saturating_add(bytes);
        }
    }

    fn consumer_mut(&mut self, name: &str) -> Option<&mut ConsumerState> {
        self.by_name.get(name).and_then(|number| self.consumers.get_mut(*number))
    }

    /// Ends the repacking of pairs of old and new positions. If the consumer no longer needs the old record (it was
    /// dropped or transferred), the new one is marked as done, too.
    pub(super) fn end_repack(&mut self, consumer: &str, bytes: u64, seqs: impl IntoIterator<Item = (u64, u64)>) {
        for (old, new) in seqs {
            if self.finish_by_name(consumer, [old]) == 0 {
                self.finish_by_name(consumer, [new]);
            }
        }
        if let Some(consumer) = self.consumer_mut(consumer) {
            consumer.repacking_bytes = consumer.repacking_bytes.saturating_sub(bytes);
        }
    }

    /// Positions of the oldest pending records of `consumer`: so many that the others have at most `keep` bytes.
    pub(super) fn oldest_beyond(&self, consumer: &str, keep: u64) -> Vec<u64> {
        let mut excess = self.pending_bytes(consumer).saturating_sub(keep);
        let mut oldest = Vec::new();
        let Some(consumer) = self.by_name.get(consumer).copied() else { return oldest };
        for segment in &self.segments {
            for record in segment.pending_from(consumer, 0) {
                if excess == 0 {
                    return oldest;
                }
                excess = excess.saturating_sub(segment.record_range(record).map_or(0, |(_, size)| size));
                oldest.push(segment.first.saturating_add(u64::from(record)));
            }
        }
        oldest
    }

    /// Takes what was done or transferred since the last call, and adds it to `lines`.
    pub(super) fn take_progress(&mut self, lines: &mut ProgressLines) {
        let (transfers, done) = (std::mem::take(&mut self.transfer_log), std::mem::take(&mut self.done_log));
        self.add_lines(&transfers, &done, lines);
    }

    /// Adds all that was done or transferred in the existing segments to `lines`.
    pub(super) fn add_all_progress(&self, lines: &mut ProgressLines) {
        let transfers: Vec<_> = self.segments.iter().flat_map(SpoolSegment::transfer_runs).collect();
        let done_in = |segment: &SpoolSegment| -> Vec<_> {
            segment.consumers().into_iter().flat_map(|consumer| segment.done_runs(consumer)).collect()
        };
        let done: Vec<_> = self.segments.iter().flat_map(done_in).collect();
        self.add_lines(&transfers, &done, lines);
    }

    fn add_lines(&self, transfers: &[PositionRun<2>], done: &[PositionRun<1>], lines: &mut ProgressLines) {
        lines.add_runs(
            TAG_TRANSFERRED,
            transfers
                .iter()
                .filter_map(|([from, to], first, count)| Some(([self.name(*from)?, self.name(*to)?], *first, *count))),
        );
        lines.add_runs(
            TAG_DONE,
            done.iter().filter_map(|([consumer], first, count)| Some(([self.name(*consumer)?], *first, *count))),
        );
    }

    /// The next records that `consumer` may read, of one account or of all. The first one may exceed `max_bytes`.
    pub(super) fn plan_reads(
        &self,
        consumer: &str,
        only_account: Option<&str>,
        after: Option<RecordSeq>,
        max_bytes: usize,
        max_records: usize,
    ) -> Vec<PlannedRead> {
        let mut plan = Vec::new();
        let Some(consumer) = self.by_name.get(consumer).copied() else { return plan };
        let start = after.map_or(0, |after| after.0.saturating_add(1));
        let skipped = self.segments.partition_point(|segment| segment.next() <= start);
        let mut bytes_left = max_bytes as u64;
        for segment in self.segments.iter().skip(skipped) {
            let from = u32::try_from(start.saturating_sub(segment.first)).unwrap_or(u32::MAX);
            for record in segment.pending_from(consumer, from) {
                if only_account.is_some_and(|only| segment.account(record).is_some_and(|account| **account != *only)) {
                    continue;
                }
                let Some(planned) = PlannedRead::for_record(segment, record) else { continue };
                if plan.len() >= max_records || (planned.size > bytes_left && !plan.is_empty()) {
                    return plan;
                }
                bytes_left = bytes_left.saturating_sub(planned.size);
                plan.push(planned);
            }
        }
        plan
    }

    /// Those of `seqs` that are pending for `consumer`.
    pub(super) fn plan_positions(&self, consumer: &str, seqs: &[RecordSeq]) -> Vec<PlannedRead> {
        let Some(consumer) = self.by_name.get(consumer).copied() else { return Vec::new() };
        let planned = seqs.iter().filter_map(|seq| {
            let index = self.segments.partition_point(|segment| segment.next() <= seq.0);
            let segment = self.segments.get(index)?;
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
                let Some(first @ None) = first.get_mut(consumer) else { continue };
                let Some(record) = segment.first_pending(consumer) else { continue };
                let seq = RecordSeq(segment.first.saturating_add(u64::from(record)));
                *first = Some((seq, UnixNanos(segment.commit_time(record))));
            }
        }
        let shown =
            self.consumers.iter().zip(first).filter(|(consumer, _)| consumer.is_configured || consumer.records > 0);
        shown
            .map(|(consumer, first)| ConsumerStatus {
                name: Arc::clone(&consumer.name),
                configured: consumer.is_configured,
                records: consumer.records,
                bytes: consumer.bytes,
                first: first.map(|(seq, _)| seq),
                oldest: first.map(|(_, time)| time),
            })
            .collect()
    }
}
