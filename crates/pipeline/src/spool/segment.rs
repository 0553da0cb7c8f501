//! [`SpoolSegment`]: the index of one segment, 12 bytes of memory per record. It has committed records only; `held` and
//! `live` always agree with the records' pending bits. All segments together are in `index`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::disk::DiskFile;

use super::cipher::SegmentCipher;
use super::encode::{EncodedTransaction, PlacedRecord};

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

/// One segment.
pub(super) struct SpoolSegment {
    pub(super) number: u64,
    /// Position of its record 0.
    pub(super) first: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) cipher: Arc<SegmentCipher>,
    /// Bytes that hold committed records, including the header.
    pub(super) len: u64,
    /// Nothing will be appended.
    pub(super) closed: bool,
    /// Size of the file.
    pub(super) size: u64,
    entries: Vec<RecordEntry>,
    names: Vec<Arc<str>>,
    /// Consumers of each set; the place is the bit.
    sets: Vec<Box<[usize]>>,
    /// (record, time of its commit), where that differs by a second or more from the one before.
    times: Vec<(u32, u64)>,
    pending: HashMap<usize, PendingRecords>,
    /// Transfers to consumers outside of a record's set: (record, member of the set), consumer that holds it instead.
    transfers: BTreeMap<(u32, usize), usize>,
    /// Number of records that are pending for any consumer.
    pending_records: u64,
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

    /// Position behind its last record.
    pub(super) fn next(&self) -> u64 {
        self.first.saturating_add(self.entries.len() as u64)
    }

    /// Number of records, including internal ones.
    pub(super) fn records(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether nothing is pending and nothing will be appended.
    pub(super) fn is_reclaimable(&self) -> bool {
        self.closed && self.pending_records == 0
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
        let next = self.names.len() == usize::from(id);
        if next {
            self.names.push(name);
        }
        next
    }

    /// Adds a set to the table. Returns false if its number is not the next one.
    pub(super) fn add_set(&mut self, id: u16, consumers: Box<[usize]>) -> bool {
        let next = self.sets.len() == usize::from(id) && consumers.len() <= super::transaction::MAX_HOLDERS;
        if next {
            self.sets.push(consumers);
        }
        next
    }

    /// Adds a committed transaction that ends at `end`; `waits(consumer, bytes)` is called for every consumer of each
    /// record.
    pub(super) fn commit(
        &mut self,
        encoded: &EncodedTransaction,
        end: u64,
        committed: u64,
        mut waits: impl FnMut(usize, u64),
    ) {
        let last = self.times.last().map(|(_, time)| *time);
        if last.is_none_or(|last| committed.abs_diff(last) >= 1_000_000_000) {
            self.times.push((encoded.first, committed));
        }
        let ends = encoded.records.iter().skip(1).map(|placed| u64::from(placed.offset)).chain([end]);
        for (placed, end) in encoded.records.iter().zip(ends) {
            self.add(placed, end.saturating_sub(u64::from(placed.offset)), &mut waits);
        }
        self.len = end;
    }

    fn add(&mut self, placed: &PlacedRecord, bytes: u64, waits: &mut impl FnMut(usize, u64)) {
        let record = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let members = self.sets.get(usize::from(placed.set)).map_or(&[][..], |members| members);
        let mut pending = 0_u32;
        for (bit, consumer) in members.iter().enumerate() {
            pending |= 1 << (bit as u32 % 32);
            let held = self
                .pending
                .entry(*consumer)
                .or_insert(PendingRecords { first_pending: record, ..PendingRecords::default() });
            held.records += 1;
            held.bytes += bytes;
            waits(*consumer, bytes);
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
        self.release(consumer, record, bytes);
        Some(bytes)
    }

    fn release(&mut self, consumer: usize, record: u32, bytes: u64) {
        if let Some(held) = self.pending.get_mut(&consumer) {
            held.records = held.records.saturating_sub(1);
            held.bytes = held.bytes.saturating_sub(bytes);
            if held.first_pending == record {
                held.first_pending = record.saturating_add(1);
            }
        }
    }

    /// Transfers a pending record from `from` to `to`, even if `to` once gave it away. Returns its bytes, or `None` if
    /// it is not pending for `from`, or `to` holds or held it in its own name.
    pub(super) fn transfer_record(&mut self, from: usize, to: usize, record: u32) -> Option<u64> {
        let (_, bytes) = self.record_range(record)?;
        let set = self.entries.get(record as usize)?.set;
        let member = self.record_transfers(record).find(|(_, whose)| *whose == from).map_or(from, |(member, _)| member);
        let taken = self.record_transfers(record).any(|(_, whose)| whose == to);
        let part = taken || (member != to && self.sets.get(usize::from(set))?.contains(&to));
        if part || !self.is_pending(from, record) {
            return None;
        }
        if member == to {
            self.transfers.remove(&(record, member));
        } else {
            self.transfers.insert((record, member), to);
        }
        self.release(from, record, bytes);
        let held =
            self.pending.entry(to).or_insert(PendingRecords { first_pending: record, ..PendingRecords::default() });
        held.records += 1;
        held.bytes += bytes;
        held.first_pending = held.first_pending.min(record);
        Some(bytes)
    }

    /// Runs of transferred records for the progress file: (giver, receiver, first record, count).
    pub(super) fn transfer_runs(&self) -> Vec<(usize, usize, u32, u32)> {
        let mut all: Vec<(usize, usize, u32)> =
            self.transfers.iter().map(|((record, member), whose)| (*member, *whose, *record)).collect();
        all.sort_unstable();
        let mut runs: Vec<(usize, usize, u32, u32)> = Vec::new();
        for (member, whose, record) in all {
            match runs.last_mut() {
                Some((by, to, first, count))
                    if (*by, *to) == (member, whose) && first.saturating_add(*count) == record =>
                {
                    *count += 1;
                }
                _ => runs.push((member, whose, record, 1)),
            }
        }
        runs
    }

    /// Transfers of a record: (giver, receiver).
    fn record_transfers(&self, record: u32) -> impl Iterator<Item = (usize, usize)> {
        self.transfers.range((record, 0)..=(record, usize::MAX)).map(|((_, member), whose)| (*member, *whose))
    }

    /// The bit in a record's set by which a consumer holds it, its own or a transferred one.
    fn holder_bit(&self, consumer: usize, record: u32) -> Option<u32> {
        let set = self.entries.get(record as usize)?.set;
        let member = match self.record_transfers(record).find(|(_, whose)| *whose == consumer) {
            Some((member, _)) => member,
            None if self.transfers.contains_key(&(record, consumer)) => return None,
            None => consumer,
        };
        let at = self.sets.get(usize::from(set))?.iter().position(|known| *known == member)?;
        Some(1 << (at as u32 % 32))
    }

    /// Offset and size of a record.
    pub(super) fn record_range(&self, record: u32) -> Option<(u64, u64)> {
        let offset = u64::from(self.entries.get(record as usize)?.offset);
        let end = self.entries.get(record as usize + 1).map_or(self.len, |entry| u64::from(entry.offset));
        Some((offset, end.saturating_sub(offset)))
    }

    /// Name of the record's account.
    pub(super) fn account(&self, record: u32) -> Option<&Arc<str>> {
        self.entries.get(record as usize).and_then(|entry| self.name(entry.account))
    }

    /// Time at which the record was committed, to the second.
    pub(super) fn commit_time(&self, record: u32) -> u64 {
        let after = self.times.partition_point(|(from, _)| *from <= record);
        after.checked_sub(1).and_then(|at| self.times.get(at)).map_or(0, |(_, time)| *time)
    }

    /// Records pending here for `consumer`.
    pub(super) fn pending_for(&self, consumer: usize) -> Option<PendingRecords> {
        self.pending.get(&consumer).copied().filter(|held| held.records > 0)
    }

    /// Bytes pending here for `consumer`, if the segment is closed, and something is pending for `consumer` and nothing
    /// for others.
    pub(super) fn bytes_if_only(&self, consumer: usize) -> Option<u64> {
        let held = self.pending_for(consumer).filter(|_| self.closed)?;
        let others = self.pending.iter().any(|(who, held)| *who != consumer && held.records > 0);
        (!others).then_some(held.bytes)
    }

    /// Consumers for which something is pending here.
    pub(super) fn holders(&self) -> Vec<usize> {
        self.pending.iter().filter(|(_, held)| held.records > 0).map(|(consumer, _)| *consumer).collect()
    }

    /// Records from `from` on that are pending for `consumer`, in order.
    pub(super) fn pending_from(&self, consumer: usize, from: u32) -> impl Iterator<Item = u32> {
        let bits: Vec<u32> = self
            .sets
            .iter()
            .map(|members| {
                members.iter().position(|member| *member == consumer).map_or(0, |bit| 1 << (bit as u32 % 32))
            })
            .collect();
        let none = u32::try_from(self.entries.len()).unwrap_or(u32::MAX - 1);
        let start = self.pending_for(consumer).map_or(none, |held| held.first_pending.max(from)).min(none);
        (start..).zip(self.entries.iter().skip(start as usize)).filter_map(move |(record, entry)| {
            let usual = bits.get(usize::from(entry.set)).copied().unwrap_or(0);
            let given = !self.transfers.is_empty() && self.record_transfers(record).next().is_some();
            let bit = if given { self.holder_bit(consumer, record).unwrap_or(0) } else { usual };
            (entry.pending & bit != 0).then_some(record)
        })
    }

    /// Whether this record is pending for `consumer`.
    pub(super) fn is_pending(&self, consumer: usize, record: u32) -> bool {
        let bit = self.holder_bit(consumer, record).unwrap_or(0);
        self.entries.get(record as usize).is_some_and(|entry| entry.pending & bit != 0)
    }

    /// The first record pending for `consumer`; caches where it is.
    pub(super) fn first_pending(&mut self, consumer: usize) -> Option<u32> {
        let first = self.pending_from(consumer, 0).next()?;
        if let Some(held) = self.pending.get_mut(&consumer) {
            held.first_pending = first;
        }
        Some(first)
    }

    /// Runs of records that `consumer` has finished, for the progress file: (first record, count).
    pub(super) fn done_runs(&self, consumer: usize) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for (record, entry) in (0_u32..).zip(&self.entries) {
            if self.holder_bit(consumer, record).is_none_or(|bit| entry.pending & bit != 0) {
                continue;
            }
            match runs.last_mut() {
                Some((first, count)) if first.saturating_add(*count) == record => *count += 1,
                _ => runs.push((record, 1)),
            }
        }
        runs
    }

    /// Members of the sets, and receivers of transfers.
    pub(super) fn consumers(&self) -> Vec<usize> {
        let members = self.sets.iter().flat_map(|members| members.iter().copied());
        let mut all: Vec<usize> = members.chain(self.transfers.values().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// File and cipher, as a reader needs them.
    pub(super) fn reader(&self) -> (Arc<dyn DiskFile>, Arc<SegmentCipher>) {
        (Arc::clone(&self.file), Arc::clone(&self.cipher))
    }
}
