//! **What**: effects of committed batches: their record, and [`Applier`], which applies them in commit order.
//! **Why**: state follows the spool; after a crash it is rebuilt from a checkpoint and the records behind it.
//! **Invariants**: a processor's state and the position it stands at are read together (one lock); effects of an
//! unknown processor or version are skipped; a panic in `apply` is caught and counted.
//! **Not here**: what effects mean (processors), the checkpoint's file (`checkpoint`).

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

use kernel::clock::UnixNanos;
use telemetry::{Counter, Meter, names};

use super::batch::Effect;
use super::component::Processor;
use super::spool::Seq;

#[cfg(test)]
mod tests;

const VERSION: u8 = 1;

/// The body of an Effects record. What is aside stays out of it.
pub fn encode(effects: &[Effect]) -> Vec<u8> {
    let size = effects.iter().map(|effect| effect.body.len() + effect.processor.len() + 6).sum::<usize>();
    let mut out = Vec::with_capacity(size + 1);
    out.push(VERSION);
    for effect in effects {
        put(&mut out, effect.processor.as_bytes());
        put(&mut out, &effect.body);
    }
    out
}

/// Reads what [`encode`] wrote. `None`: damaged, or of another version.
pub fn decode(body: &[u8]) -> Option<Vec<Effect>> {
    let (&VERSION, mut rest) = body.split_first()? else { return None };
    let mut effects = Vec::new();
    while !rest.is_empty() {
        let (processor, after) = take(rest)?;
        let (body, after) = take(after)?;
        effects.push(Effect::new(std::str::from_utf8(processor).ok()?.into(), body.to_vec()));
        rest = after;
    }
    Some(effects)
}

pub(super) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

/// Applies effects, and answers for where the state stands.
pub struct Applier {
    processors: HashMap<Arc<str>, Arc<dyn Processor>>,
    /// The last effects record whose effects are in the state. The lock is held while effects are applied.
    applied: Mutex<Option<Seq>>,
    panics: Counter,
}

/// State of all processors at one position.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Effects up to here are inside. `None`: nothing was applied yet.
    pub applied: Option<Seq>,
    /// Processor id and its own bytes.
    pub states: Vec<(Arc<str>, Vec<u8>)>,
}

impl Applier {
    /// Applies to these processors.
    pub fn new(processors: Vec<Arc<dyn Processor>>, meter: &Meter) -> Self {
        Self {
            processors: processors.into_iter().map(|processor| (Arc::clone(processor.id()), processor)).collect(),
            applied: Mutex::new(None),
            panics: meter.counter(&names::PANICS, &[("place", "apply")]),
        }
    }

    /// Applies a committed batch's effects, whose record stands at `seq`.
    pub fn apply(&self, effects: &[Effect], seq: Seq) {
        let mut applied = self.applied.lock();
        for effect in effects {
            let Some(processor) = self.processors.get(&effect.processor) else { continue };
            if catch_unwind(AssertUnwindSafe(|| processor.apply(effect))).is_err() {
                self.panics.increment(1);
            }
        }
        *applied = (*applied).max(Some(seq));
    }

    /// A batch was not committed: its claims are free again.
    pub fn discard(&self, batch: &[u8; 16]) {
        for processor in self.processors.values() {
            if catch_unwind(AssertUnwindSafe(|| processor.discard(batch))).is_err() {
                self.panics.increment(1);
            }
        }
    }

    /// Lets processors see the time.
    pub fn tick(&self, now: UnixNanos) {
        for processor in self.processors.values() {
            if catch_unwind(AssertUnwindSafe(|| processor.tick(now))).is_err() {
                self.panics.increment(1);
            }
        }
    }

    /// The state, between two batches.
    pub fn snapshot(&self) -> Snapshot {
        let applied = self.applied.lock();
        let mut states: Vec<_> = (self.processors.iter())
            .filter_map(|(id, processor)| {
                let state = catch_unwind(AssertUnwindSafe(|| processor.checkpoint()));
                if state.is_err() {
                    self.panics.increment(1);
                }
                Some((Arc::clone(id), state.ok()??))
            })
            .collect();
        states.sort();
        Snapshot { applied: *applied, states }
    }

    /// Brings processors to a saved state. Those that it does not name stay empty.
    pub fn restore(&self, snapshot: &Snapshot) {
        let mut applied = self.applied.lock();
        for (id, state) in &snapshot.states {
            let Some(processor) = self.processors.get(id) else { continue };
            if catch_unwind(AssertUnwindSafe(|| processor.restore(state))).is_err() {
                self.panics.increment(1);
            }
        }
        *applied = snapshot.applied;
    }

    /// Where the state stands.
    pub fn applied(&self) -> Option<Seq> {
        *self.applied.lock()
    }
}
