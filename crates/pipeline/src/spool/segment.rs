//! [`SpoolSegment`]: the index of one segment, 12 bytes of memory per record. It has committed records only; `pending`
//! and `pending_records` always agree with the records' pending bits. `index` has all segments.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::disk::DiskFile;

use super::cipher::SegmentCipher;
use super::encode::{EncodedTransaction, PlacedRecord};
use super::progress::{PositionRun, add_to_runs};
use super::transaction::MAX_HOLDERS;

/// One record.
#[derive(Clone, Copy)]
struct RecordEntry {
    offset: u32,
    /// Bit i: the i-th member of its set has not finished it.
    pending: u32,
    account: u16,
    set: u16,
}

/// Records pending in one segment for one consumer.
#[derive(Clone, Copy, Default)]
pub(super) struct PendingRecords {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// No record before this number is pending.
    first_pending: u32,
}

/// See the module.
pub(super) struct SpoolSegment {
    pub(super) number: u64,
    /// Position of its record 0.
    pub(super) first: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) cipher: Arc<SegmentCipher>,
    /// Bytes that hold committed records, including the header.
    pub(super) len: u64,
    /// Nothing will be appended any more.
    pub(super) closed: bool,
    /// Size of the file.
    pub(super) size: u64,
    entries: Vec<RecordEntry>,
    names: Vec<Arc<str>>,
    /// Consumers of each set; a consumer's place in its set is its bit in [`RecordEntry::pending`].
    sets: Vec<Box<[usize]>>,
    /// (record, time of its commit): each record whose commit is a second or more after that of the entry before.
    times: Vec<(u32, u64)>,
    /// Pending records by consumer.
    pending: HashMap<usize, PendingRecords>,
    /// Transfers: (record, member of its set), and the consumer that holds the record in place of that member.
    transfers: BTreeMap<(u32, usize), usize>,
    /// Number of records that are pending for any consumer.
    pub(super) pending_records: u64,
}

impl SpoolSegment {
    /// An empty segment whose header takes `len` bytes of a file of `size` bytes.
    pub(super) fn new(
        number: u64,
        first: u64,
        file: Arc<dyn DiskFile>,
        cipher: Arc<SegmentCipher>,
        len: u64,
        size: u64,
    ) -> Self {
        Self {
            number,
            first,
            file,
            cipher,
            len,
            closed: false,
            size,
            entries: Vec::new(),
            names: vec![Arc::from("")],
            sets: vec![Box::default()],
            times: Vec::new(),
            pending: HashMap::new(),
            transfers: BTreeMap::new(),
            pending_records: 0,
        }
    }

    /// Position after its last record.
    pub(super) fn next(&self) -> u64 {
        self.first.saturating_add(self.entries.len() as u64)
    }

    /// Number of records, including internal ones.
    pub(super) fn records(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether there are records, none of which is pending.
    pub(super) fn is_finished(&self) -> bool {
        self.pending_records == 0 && !self.entries.is_empty()
    }

    pub(super) fn close(&mut self, size: u64) {
        self.closed = true;
        self.size = size;
        self.entries.shrink_to_fit();
    }

    /// The name with number `id`.
    pub(super) fn name(&self, id: u16) -> Option<&Arc<str>> {
        self.names.get(usize::from(id))
    }

    /// Adds a name to the table. Returns false if its number is not the next one.
    pub(super) fn add_name(&mut self, id: u16, name: Arc<str>) -> bool {
        let is_next = self.names.len() == usize::from(id);
        if is_next {
            self.names.push(name);
        }
        is_next
    }

    /// Adds a set to the table. Returns false if its number is not the next one, or it has too many members.
    pub(super) fn add_set(&mut self, id: u16, consumers: Box<[usize]>) -> bool {
        let is_valid = self.sets.len() == usize::from(id) && consumers.len() <= MAX_HOLDERS;
        if is_valid {
            self.sets.push(consumers);
        }
        is_valid
    }

    /// Adds a committed transaction that ends at `end`; calls `on_pending(consumer, bytes)` for every consumer of each
    /// record.
    pub(super) fn commit(
        &mut self,
        encoded: &EncodedTransaction,
        end: u64,
        committed: u64,
        mut on_pending: impl FnMut(usize, u64),
    ) {
        let last_time = self.times.last().map(|(_, time)| *time);
        if last_time.is_none_or(|last| committed.abs_diff(last) >= 1_000_000_000) {
            self.times.push((encoded.first, committed));
        }
        let ends = encoded.records.iter().skip(1).map(|placed| u64::from(placed.offset)).chain([end]);
        for (placed, end) in encoded.records.iter().zip(ends) {
            self.add_record(placed, end.saturating_sub(u64::from(placed.offset)), &mut on_pending);
        }
        self.len = end;
    }

    fn add_record(&mut self, placed: &PlacedRecord, bytes: u64, on_pending: &mut impl FnMut(usize, u64)) {
        let record = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let members = self.sets.get(usize::from(placed.set)).map_or(&[][..], |members| members);
        let mut pending = 0_u32;
        for (bit, consumer) in members.iter().enumerate() {
            pending |= 1 << (bit as u32 % 32);
            add_pending(&mut self.pending, *consumer, record, bytes);
            on_pending(*consumer, bytes);
        }
        self.pending_records += u64::from(pending != 0);
        let PlacedRecord { offset, account, set } = *placed;
        self.entries.push(RecordEntry { offset, pending, account, set });
    }

    /// Marks `record` as done for `consumer`. Returns the record's bytes if it was pending.
    pub(super) fn mark_done(&mut self, consumer: usize, record: u32) -> Option<u64> {
        let (_, bytes) = self.record_range(record)?;
        let bit = self.holder_bit(consumer, record)?;
        let entry = self.entries.get_mut(record as usize)?;
        if entry.pending & bit == 0 {
            return None;
        }
        entry.pending &= !bit;
        self.pending_records -= u64::from(entry.pending == 0);
        self.subtract_pending(consumer, record, bytes);
        Some(bytes)
    }

    /// Subtracts a record from the consumer's pending ones.
    fn subtract_pending(&mut self, consumer: usize, record: u32, bytes: u64) {
        if let Some(pending) = self.pending.get_mut(&consumer) {
            pending.records = pending.records.saturating_sub(1);
            pending.bytes = pending.bytes.saturating_sub(bytes);
            if pending.first_pending == record {
                pending.first_pending = record.saturating_add(1);
            }
        }
    }

    /// Transfers a pending record from `from` to `to`, even if `to` once gave it away. Returns its bytes, or `None` if
    /// it is not pending for `from`, or `to` has it already: by an earlier transfer, or as a member of its set.
    pub(super) fn transfer_record(&mut self, from: usize, to: usize, record: u32) -> Option<u64> {
        let (_, bytes) = self.record_range(record)?;
        let set = self.entries.get(record as usize)?.set;
        let received = self.record_transfers(record).find(|(_, receiver)| *receiver == from);
        let member = received.map_or(from, |(member, _)| member);
        let is_receiver = self.record_transfers(record).any(|(_, receiver)| receiver == to);
        let is_other_member = member != to && self.sets.get(usize::from(set))?.contains(&to);
        if is_receiver || is_other_member || !self.is_pending(from, record) {
            return None;
        }
        if member == to {
            self.transfers.remove(&(record, member));
        } else {
            self.transfers.insert((record, member), to);
        }
        self.subtract_pending(from, record, bytes);
        add_pending(&mut self.pending, to, record, bytes);
        Some(bytes)
    }

    /// Runs of transferred records for the progress file: from the member of the set to the receiver.
    pub(super) fn transfer_runs(&self) -> Vec<PositionRun<2>> {
        let mut transfers: Vec<([usize; 2], u32)> =
            self.transfers.iter().map(|((record, member), receiver)| ([*member, *receiver], *record)).collect();
        transfers.sort_unstable();
        let mut runs = Vec::new();
        for (consumers, record) in transfers {
            add_to_runs(&mut runs, consumers, self.first.saturating_add(u64::from(record)));
        }
        runs
    }

    /// Transfers of a record: (member of the set, receiver).
    fn record_transfers(&self, record: u32) -> impl Iterator<Item = (usize, usize)> {
        self.transfers.range((record, 0)..=(record, usize::MAX)).map(|((_, member), receiver)| (*member, *receiver))
    }

    /// The bit of [`RecordEntry::pending`] by which a consumer holds a record: its own, or that of the member whose
    /// record was transferred to it.
    fn holder_bit(&self, consumer: usize, record: u32) -> Option<u32> {
        let set = self.entries.get(record as usize)?.set;
        let member = match self.record_transfers(record).find(|(_, receiver)| *receiver == consumer) {
            Some((member, _)) => member,
            None if self.transfers.contains_key(&(record, consumer)) => return None,
            None => consumer,
        };
        let place = self.sets.get(usize::from(set))?.iter().position(|known| *known == member)?;
        Some(1 << (place as u32 % 32))
    }

    /// Offset and size of a record.
    pub(super) fn record_range(&self, record: u32) -> Option<(u64, u64)> {
        let offset = u64::from(self.entries.get(record as usize)?.offset);
        let end = self.entries.get(record as usize + 1).map_or(self.len, |entry| u64::from(entry.offset));
        Some((offset, end.saturating_sub(offset)))
    }

    pub(super) fn account(&self, record: u32) -> Option<&Arc<str>> {
        self.entries.get(record as usize).and_then(|entry| self.name(entry.account))
    }

    /// Time at which the record was committed, to the second.
    pub(super) fn commit_time(&self, record: u32) -> u64 {
        let after = self.times.partition_point(|(from, _)| *from <= record);
        after.checked_sub(1).and_then(|index| self.times.get(index)).map_or(0, |(_, time)| *time)
    }

    /// Records pending here for `consumer`.
    pub(super) fn pending_for(&self, consumer: usize) -> Option<PendingRecords> {
        self.pending.get(&consumer).copied().filter(|pending| pending.records > 0)
    }

    /// Bytes pending here for `consumer`, if the segment is closed and only `consumer` has pending records here.
    pub(super) fn bytes_if_only(&self, consumer: usize) -> Option<u64> {
        let own = self.pending_for(consumer).filter(|_| self.closed)?;
        let has_others = self.pending.iter().any(|(other, pending)| *other != consumer && pending.records > 0);
        (!has_others).then_some(own.bytes)
    }

    /// Consumers for which something is pending here.
    pub(super) fn holders(&self) -> Vec<usize> {
        self.pending.iter().filter(|(_, pending)| pending.records > 0).map(|(consumer, _)| *consumer).collect()
    }

    /// Records from `from` on that are pending for `consumer`, in order.
    pub(super) fn pending_from(&self, consumer: usize, from: u32) -> impl Iterator<Item = u32> {
        // By set: the consumer's bit, or 0 if it is no member.
        let bits: Vec<u32> = self
            .sets
            .iter()
            .map(|members| {
                members.iter().position(|member| *member == consumer).map_or(0, |bit| 1 << (bit as u32 % 32))
            })
            .collect();
        let end = u32::try_from(self.entries.len()).unwrap_or(u32::MAX - 1);
        let start = self.pending_for(consumer).map_or(end, |pending| pending.first_pending.max(from)).min(end);
        (start..).zip(self.entries.iter().skip(start as usize)).filter_map(move |(record, entry)| {
            let has_transfers = !self.transfers.is_empty() && self.record_transfers(record).next().is_some();
            let bit = match has_transfers {
                true => self.holder_bit(consumer, record).unwrap_or(0),
                false => bits.get(usize::from(entry.set)).copied().unwrap_or(0),
            };
            (entry.pending & bit != 0).then_some(record)
        })
    }

    /// Whether this record is pending for `consumer`.
    pub(super) fn is_pending(&self, consumer: usize, record: u32) -> bool {
        let bit = self.holder_bit(consumer, record).unwrap_or(0);
        self.entries.get(record as usize).is_some_and(|entry| entry.pending & bit != 0)
    }

    /// The first record pending for `consumer`; remembers it, so that later searches start there.
    pub(super) fn first_pending(&mut self, consumer: usize) -> Option<u32> {
        let first = self.pending_from(consumer, 0).next()?;
        if let Some(pending) = self.pending.get_mut(&consumer) {
            pending.first_pending = first;
        }
        Some(first)
    }

    /// Runs of records that `consumer` has finished, for the progress file.
    pub(super) fn done_runs(&self, consumer: usize) -> Vec<PositionRun<1>> {
        let mut runs = Vec::new();
        for (record, entry) in (0_u32..).zip(&self.entries) {
            if self.holder_bit(consumer, record).is_some_and(|bit| entry.pending & bit == 0) {
                add_to_runs(&mut runs, [consumer], self.first.saturating_add(u64::from(record)));
            }
        }
        runs
    }

    /// Consumers that are members of the sets or receivers of transfers.
    pub(super) fn consumers(&self) -> Vec<usize> {
        let members = self.sets.iter().flat_map(|members| members.iter().copied());
        let mut consumers: Vec<usize> = members.chain(self.transfers.values().copied()).collect();
        consumers.sort_unstable();
        consumers.dedup();
        consumers
    }
}

/// Adds a record to the consumer's pending ones.
fn add_pending(pending: &mut HashMap<usize, PendingRecords>, consumer: usize, record: u32, bytes: u64) {
    let new = PendingRecords { first_pending: record, ..PendingRecords::default() };
    let pending = pending.entry(consumer).or_insert(new);
    pending.records += 1;
    pending.bytes += bytes;
    pending.first_pending = pending.first_pending.min(record);
}
