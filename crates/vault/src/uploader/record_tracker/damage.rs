//! The [`RecordTracker`]'s handling of records that are damaged in the spool, because one bad sector must not block the
//! vault. The code here marks no record as done, and stops waiting only if damage was seen. Neighbours: the spool
//! detects damage, `uploader` reports it.

use std::collections::HashSet;
use std::time::Duration;

use pipeline::spool::RecordSeq;

use super::{RecordTracker, UploadItem};

/// Limit for remembered damaged records, and for objects written without them.
const MAX_DAMAGED: usize = 100_000;

impl RecordTracker {
    /// Remembers that a record can't be read. False if that was known, or if [`MAX_DAMAGED`] records are remembered.
    pub(in crate::uploader) fn mark_damaged(&mut self, seq: RecordSeq) -> bool {
        self.damaged.len() < MAX_DAMAGED && self.damaged.insert(seq)
    }

    /// If records were damaged, awaited records may never arrive. Objects incomplete for `patience` then count as
    /// complete, and seals that did not come back within `patience` are sent again.
    pub(in crate::uploader) fn stop_waiting_for_lost(&mut self, now: Duration, patience: Duration) {
        if self.damaged.is_empty() {
            return;
        }
        let is_overdue = |since: Duration| now.saturating_sub(since) >= patience;
        for (name, object) in &mut self.objects {
            if object.epoch != self.own_epoch && object.sealed_at.is_none() {
                continue; // its epoch has ended: complete once the spool has been read
            }
            let read_or_damaged = object.parts.len() + self.damaged.len();
            let may_be_lost = object.expected.is_none_or(|expected| read_or_damaged >= expected as usize);
            let stop_waiting = match object.sealed_at {
                Some(sealed_at) => is_overdue(sealed_at),
                None => is_overdue(object.first_read_at) && may_be_lost,
            };
            if stop_waiting {
                object.sealed_at = None;
                if self.sealed_without_waiting.len() < MAX_DAMAGED {
                    self.sealed_without_waiting.insert(name.clone());
                }
                self.to_seal.push(name.clone());
            }
        }
    }

    /// Removes an object's damaged fragments: the object is written without them, and they stay in the spool.
    pub(in crate::uploader) fn remove_damaged_fragments(&mut self, item: &mut UploadItem, damaged: &[RecordSeq]) {
        let damaged: HashSet<RecordSeq> = damaged.iter().copied().collect();
        let claims_before = item.claims.len();
        item.claims.retain(|claim| !damaged.contains(claim));
        item.parts.retain(|part| !damaged.contains(&part.seq));
        self.tracked = self.tracked.saturating_sub(claims_before - item.claims.len());
    }
}
