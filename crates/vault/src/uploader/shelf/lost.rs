//! **What**: what the [`Shelf`] does about records that are damaged in the spool. **Why**: one bad sector must not hold
//! up the vault. **Invariants**: nothing here is done or stored; waiting is given up only where damage was seen. **Not
//! here**: finding damage (the spool), telling it (`uploader`).

use std::collections::HashSet;
use std::time::Duration;

use pipeline::spool::Seq;

use super::{Item, Shelf};

/// Damaged records that are kept in mind.
const MAX_DAMAGED: usize = 100_000;

impl Shelf {
    /// Takes note of a record that can't be read. False: it is known.
    pub(in crate::uploader) fn damage(&mut self, seq: Seq) -> bool {
        self.damaged.len() < MAX_DAMAGED && self.damaged.insert(seq)
    }

    /// Whether records were damaged.
    pub(in crate::uploader) fn has_damage(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// Where records were damaged, what was to come may never come. Objects that had `patience` to be completed are
    /// complete as they are; their seals that had it to come back are sent again.
    pub(in crate::uploader) fn give_up_waiting(&mut self, now: Duration, patience: Duration) {
        if self.damaged.is_empty() {
            return;
        }
        let over = |since: Duration| now.saturating_sub(since) >= patience;
        for (name, object) in &mut self.objects {
            if object.epoch != self.live && object.sealed.is_none() {
                continue; // complete as it is, once everything was read
            }
            let found = object.parts.len() + self.damaged.len();
            let waits = match object.sealed {
                Some(sealed) => over(sealed),
                None => over(object.since) && object.expected.is_none_or(|expected| found >= expected as usize),
            };
            if waits {
                object.sealed = None;
                if self.holed.len() < MAX_DAMAGED {
                    self.holed.insert(name.clone());
                }
                self.ripe.push(name.clone());
            }
        }
    }

    /// These fragments of an object are damaged: the object does without them, and they stay where they are.
    pub(in crate::uploader) fn without(&mut self, item: &mut Item, lost: &[Seq]) {
        let lost: HashSet<Seq> = lost.iter().copied().collect();
        let before = item.claims.len();
        item.claims.retain(|claim| !lost.contains(claim));
        item.parts.retain(|part| !lost.contains(&part.seq));
        self.tracked = self.tracked.saturating_sub(before - item.claims.len());
    }

    /// Nothing is left that it could be written from: nobody waits for it any more, and nothing of it is done.
    pub(in crate::uploader) fn lost(&mut self, item: &Item) {
        drop(self.stored(item));
    }
}
