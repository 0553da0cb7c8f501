//! The [`RecordTracker`]'s lines that wait for the chain, by log. Lines enter the chain in the order of their numbers,
//! each once the object that it points to is stored. Neighbour: `digests` decides which lines a digest takes.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use pipeline::spool::RecordSeq;

use super::{ChainId, EpochLog, LeafBatch, NextLeaves, RecordTracker};

impl RecordTracker {
    /// Removes records whose lines are now in an index object.
    pub(in crate::uploader) fn claim_leaves(&mut self, claims: &[RecordSeq]) {
        let claimed: HashSet<RecordSeq> = claims.iter().copied().collect();
        for waiting in self.logs.values_mut() {
            let batches_before = waiting.len();
            waiting.retain(|batch| !claimed.contains(&batch.seq));
            self.tracked = self.tracked.saturating_sub(batches_before - waiting.len());
        }
        self.logs.retain(|_, waiting| !waiting.is_empty());
        self.tracked += claims.len();
    }

    /// The lines for the next index object of a log, from number `first` on: contiguous, of one day, pointing to stored
    /// objects, at most `max_len` bytes (or one record).
    pub(in crate::uploader) fn next_leaves(&self, log: &EpochLog, first: u64, max_len: usize) -> NextLeaves {
        let Some(waiting) = self.logs.get(log) else { return NextLeaves::Nothing };
        let (mut batches, mut len) = (Vec::<LeafBatch>::new(), 0);
        for batch in waiting {
            let next = batches.last().map_or(first, |last| last.first + last.count);
            if batch.first != next {
                return match (batches.is_empty(), batch.first > next) {
                    (true, true) => NextLeaves::Gap(batch.first),
                    (true, false) => NextLeaves::Stale(batch.seq),
                    (false, _) => NextLeaves::Lines { batches, has_more: true },
                };
            }
            if batch.object.as_ref().is_some_and(|object| self.unstored.contains(object)) {
                break;
            }
            let is_of_later_day = batches.first().is_some_and(|first| batch.day > first.day);
            if is_of_later_day || (len + batch.len > max_len && !batches.is_empty()) {
                return NextLeaves::Lines { batches, has_more: true };
            }
            len += batch.len;
            batches.push(batch.clone());
        }
        if batches.is_empty() { NextLeaves::Nothing } else { NextLeaves::Lines { batches, has_more: false } }
    }

    /// Whether lines of former epochs are waiting.
    pub(in crate::uploader) fn has_former_epochs(&self) -> bool {
        self.logs.keys().any(|log| log.epoch != self.own_epoch)
    }

    /// The chains that have waiting lines.
    pub(in crate::uploader) fn chains_with_lines(&self) -> impl Iterator<Item = ChainId> {
        self.logs.keys().map(|log| log.chain_id.clone())
    }

    /// Number of the first waiting line of a log.
    pub(in crate::uploader) fn first_leaf(&self, log: &EpochLog) -> Option<u64> {
        self.logs.get(log)?.front().map(|batch| batch.first)
    }

    /// The epoch of a chain whose lines come first in the spool; the live epoch is last.
    pub(in crate::uploader) fn oldest_log(&self, chain_id: &ChainId) -> Option<EpochLog> {
        let logs = self.logs.iter().filter(|(log, _)| log.chain_id == *chain_id);
        let order = |(log, waiting): &(&EpochLog, &VecDeque<LeafBatch>)| {
            (log.epoch == self.own_epoch, waiting.front().map(|batch| batch.seq))
        };
        logs.min_by_key(order).map(|(log, _)| log.clone())
    }

    /// Objects that waiting lines of a log point to, from number `number` on; `None` if no such line waits.
    pub(in crate::uploader) fn awaited_objects(&self, log: &EpochLog, number: u64) -> Option<HashSet<Arc<str>>> {
        let mut waiting = self.logs.get(log).into_iter().flatten().filter(|batch| batch.first >= number).peekable();
        waiting.peek()?;
        Some(waiting.filter_map(|batch| batch.object.clone()).collect())
    }

    /// Forgets a record of this log, because it is lost or its lines are in the chain already.
    pub(in crate::uploader) fn forget_leaves(&mut self, log: &EpochLog, seq: RecordSeq) {
        if let Some(waiting) = self.logs.get_mut(log) {
            waiting.retain(|batch| batch.seq != seq);
            self.tracked = self.tracked.saturating_sub(1);
            if waiting.is_empty() {
                self.logs.remove(log);
            }
        }
    }
}
