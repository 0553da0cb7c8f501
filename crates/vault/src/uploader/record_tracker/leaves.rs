//! The [`RecordTracker`]'s lines that wait for the chain, by log. A line goes into the chain in the order of its
//! number, once the object that it points to is stored. This module does not decide what is in the chain (`digests`
//! does).

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use pipeline::spool::RecordSeq;

use super::{ChainId, EpochLog, LeafBatch, NextLeaves, RecordTracker};

impl RecordTracker {
    /// Removes records whose lines are now in an index object.
    pub(in crate::uploader) fn claim_leaves(&mut self, claims: &[RecordSeq]) {
        let claimed: HashSet<RecordSeq> = claims.iter().copied().collect();
        for leaves in self.logs.values_mut() {
            let before = leaves.len();
            leaves.retain(|leaves| !claimed.contains(&leaves.seq));
            self.tracked = self.tracked.saturating_sub(before - leaves.len());
        }
        self.logs.retain(|_, leaves| !leaves.is_empty());
        self.tracked += claims.len();
    }

    /// The lines for the next index object of a log whose next leaf number is `number`: contiguous, of one day,
    /// pointing to stored objects, at most `max_len` bytes (or one record).
    pub(in crate::uploader) fn next_leaves(&self, log: &EpochLog, number: u64, max_len: usize) -> NextLeaves {
        let Some(waiting) = self.logs.get(log) else { return NextLeaves::Nothing };
        let (mut run, mut len) = (Vec::<LeafBatch>::new(), 0);
        for leaves in waiting {
            let number = run.last().map_or(number, |last| last.first + last.count);
            if leaves.first != number {
                return match (run.is_empty(), leaves.first > number) {
                    (true, true) => NextLeaves::Gap(leaves.first),
                    (true, false) => NextLeaves::Stale(leaves.seq),
                    (false, _) => NextLeaves::Lines(run, true),
                };
            }
            if leaves.object.as_ref().is_some_and(|object| self.unstored.contains(object)) {
                break;
            }
            let another_day = run.first().is_some_and(|first| leaves.day > first.day);
            if another_day || (len + leaves.len > max_len && !run.is_empty()) {
                return NextLeaves::Lines(run, true);
            }
            len += leaves.len;
            run.push(leaves.clone());
        }
        if run.is_empty() { NextLeaves::Nothing } else { NextLeaves::Lines(run, false) }
    }

    /// Whether lines of former epochs are waiting.
    pub(in crate::uploader) fn has_former_epochs(&self) -> bool {
        self.logs.keys().any(|log| log.epoch != self.own_epoch)
    }

    /// The chains that have waiting lines.
    pub(in crate::uploader) fn chains_with_lines(&self) -> impl Iterator<Item = ChainId> {
        self.logs.keys().map(|log| ChainId { account: log.account.clone(), writer: log.writer.clone() })
    }

    /// Number of the first waiting line of a log.
    pub(in crate::uploader) fn first_leaf(&self, log: &EpochLog) -> Option<u64> {
        self.logs.get(log)?.front().map(|leaves| leaves.first)
    }

    /// The epoch of a chain whose lines come first in the spool; the live epoch is last.
    pub(in crate::uploader) fn oldest_log(&self, line: &ChainId) -> Option<EpochLog> {
        let mine = self.logs.iter().filter(|(log, _)| log.account == line.account && log.writer == line.writer);
        let first = |(log, leaves): &(&EpochLog, &VecDeque<LeafBatch>)| {
            (log.epoch == self.own_epoch, leaves.front().map(|leaves| leaves.seq))
        };
        mine.min_by_key(first).map(|(log, _)| log.clone())
    }

    /// Objects that waiting lines of a log point to, from number `number` on; `None` if no such line waits.
    pub(in crate::uploader) fn awaited_objects(&self, log: &EpochLog, number: u64) -> Option<HashSet<Arc<str>>> {
        let mut waiting = self.logs.get(log).into_iter().flatten().filter(|leaves| leaves.first >= number).peekable();
        waiting.peek()?;
        Some(waiting.filter_map(|leaves| leaves.object.clone()).collect())
    }

    /// Drops a record of this log that is gone.
    pub(in crate::uploader) fn forget_leaves(&mut self, log: &EpochLog, seq: RecordSeq) {
        if let Some(waiting) = self.logs.get_mut(log) {
            waiting.retain(|leaves| leaves.seq != seq);
            self.tracked = self.tracked.saturating_sub(1);
            if waiting.is_empty() {
                self.logs.remove(log);
            }
        }
    }
}
