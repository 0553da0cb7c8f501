//! [`PartitionProgress`]: which records of an owned partition are done. The offset that may be committed is that of the
//! first record which is not, so a record that takes long is never skipped, whatever was done after it.

use std::collections::{BTreeMap, BTreeSet};

/// What happened to the offsets of one partition since it was assigned.
#[derive(Debug)]
pub(super) struct PartitionProgress {
    /// Tells this ownership from an earlier one of the same partition.
    pub(super) generation: u64,
    /// Where reading began; `None` until it is known.
    pub(super) since: Option<i64>,
    /// The offset that the next record should have; `None` until one is known.
    expected: Option<i64>,
    /// Records that were begun and are not done, with the time at which each was written, in ms since the epoch.
    open: BTreeMap<i64, i64>,
    /// The time at which the last record that was begun was written.
    last_written_ms: i64,
    /// Those of them that wait to be tried again.
    waiting: BTreeSet<i64>,
    /// The partition moves to another member: records that wait are left to it.
    pub(super) is_leaving: bool,
    /// The last offset that was committed.
    pub(super) committed: Option<i64>,
    /// The record that holds the partition, and why, if one does.
    pub(super) held: Option<(i64, String)>,
}

impl PartitionProgress {
    /// The state of a partition that continues at `first`, or where the first record is.
    pub(super) fn new(generation: u64, first: Option<i64>) -> Self {
        Self {
            generation,
            since: first,
            expected: first,
            open: BTreeMap::new(),
            last_written_ms: 0,
            waiting: BTreeSet::new(),
            is_leaving: false,
            committed: None,
            held: None,
        }
    }

    /// Notes that the record at `offset`, written at `written_ms`, is begun. Returns how many offsets before it were
    /// never seen: records that the topic's retention removed.
    pub(super) fn begin(&mut self, offset: i64, written_ms: i64) -> u64 {
        let missing = self.expected.map_or(0, |expected| u64::try_from(offset.saturating_sub(expected)).unwrap_or(0));
        // A gap is never claimed as read: an operator may set the offsets back to where another worker read it.
        if missing > 0 && self.open.is_empty() {
            self.since = Some(offset);
        }
        self.since.get_or_insert(offset);
        self.expected = self.expected.max(Some(offset.saturating_add(1)));
        self.open.insert(offset, written_ms);
        self.last_written_ms = written_ms;
        missing
    }

    /// Notes that the record at `offset` is done.
    pub(super) fn finish(&mut self, offset: i64) {
        self.open.remove(&offset);
        self.waiting.remove(&offset);
        self.held.take_if(|(held, _)| *held == offset);
    }

    /// Whether a record waits to be tried again: nothing behind it is read meanwhile.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Notes that the record at `offset` waits to be tried again.
    pub(super) fn set_waiting(&mut self, offset: i64) {
        self.waiting.insert(offset);
    }

    /// Whether the record at `offset` may be tried again; it then waits no more.
    pub(super) fn try_again(&mut self, offset: i64) -> bool {
        !self.is_leaving && self.waiting.remove(&offset)
    }

    /// The first offset that is not done; `None` if nothing was read yet.
    pub(super) fn next(&self) -> Option<i64> {
        self.open.first_key_value().map(|(offset, _)| *offset).or(self.expected)
    }

    /// When the first record that is not done was written, in ms since the epoch; if none is begun and `more` wait to
    /// be read, when the last one was. `None`: nothing waits, or its producer set no time.
    pub(super) fn oldest_ms(&self, more: bool) -> Option<i64> {
        let begun = self.open.first_key_value().map(|(_, written)| *written);
        begun.or(Some(self.last_written_ms).filter(|_| more)).filter(|written| *written > 0)
    }

    /// Number of records that are being processed.
    pub(super) fn active_count(&self) -> usize {
        self.open.len().saturating_sub(self.waiting.len())
    }

    /// The offset to commit, if it is another one than before.
    pub(super) fn to_commit(&self) -> Option<i64> {
        self.next().filter(|next| self.committed != Some(*next))
    }
}

#[cfg(test)]
mod tests;
