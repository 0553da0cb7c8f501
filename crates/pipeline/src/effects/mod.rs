//! Effects of committed batches: the encoding of their record, and [`Applier`], which applies them in commit order.
//! After a crash the state is rebuilt from a checkpoint and the effects records after it.
//! The processors' state and its position in the spool are read together, under one lock. Effects of an unknown
//! processor are skipped; a panic in a processor is caught and counted. The checkpoint's file is in `checkpoint`, which
//! also skips records of an unknown version.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use kernel::clock::UnixNanos;
use telemetry::{Counter, Meter, names};

use super::batch::Effect;
use super::component::Processor;
use super::spool::RecordSeq;

#[cfg(test)]
mod tests;

const VERSION: u8 = 1;

/// Encodes the body of an effects record, without the parts that are never stored ([`Effect::unstored`]).
pub fn encode(effects: &[Effect]) -> Vec<u8> {
    let size = effects.iter().map(|effect| effect.body.len() + effect.processor.len() + 6).sum::<usize>();
    let mut out = Vec::with_capacity(size + 1);
    out.push(VERSION);
    for effect in effects {
        put_bytes(&mut out, effect.processor.as_bytes());
        put_bytes(&mut out, &effect.body);
    }
    out
}

/// Decodes an effects record's body. `None`: it is damaged, or of another version.
pub fn decode(body: &[u8]) -> Option<Vec<Effect>> {
    let (&VERSION, mut rest) = body.split_first()? else { return None };
    let mut effects = Vec::new();
    while !rest.is_empty() {
        let (processor, after) = take_bytes(rest)?;
        let (body, after) = take_bytes(after)?;
        effects.push(Effect::new(std::str::from_utf8(processor).ok()?.into(), body.to_vec()));
        rest = after;
    }
    Some(effects)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take_bytes(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

/// Applies effects, and remembers up to which record they are part of the state.
pub struct Applier {
    processors: BTreeMap<Arc<str>, Arc<dyn Processor>>,
    /// The last effects record that is part of the state. The lock is held while effects are applied.
    applied: Mutex<Option<RecordSeq>>,
    panics: Counter,
}

/// State of all processors at one position of the spool.
#[derive(Clone, PartialEq, Eq)]
pub struct ProcessorSnapshot {
    /// The last effects record that is part of the state. `None`: nothing was applied yet.
    pub applied: Option<RecordSeq>,
    /// State by processor id, in the processor's own encoding.
    pub states: Vec<(Arc<str>, Bytes)>,
}

impl ProcessorSnapshot {
    /// Reads what [`Applier::save`] appended. `None`: it is damaged.
    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        let (&has_applied, rest) = bytes.split_first()?;
        let (seq, mut rest) = rest.split_first_chunk::<8>()?;
        let applied = (has_applied == 1).then_some(RecordSeq(u64::from_le_bytes(*seq)));
        let mut states = Vec::new();
        while !rest.is_empty() {
            let (id, after) = take_bytes(rest)?;
            let (state, after) = take_bytes(after)?;
            states.push((std::str::from_utf8(id).ok()?.into(), bytes.slice_ref(state)));
            rest = after;
        }
        Some(Self { applied, states })
    }
}

impl Applier {
    /// An applier for these processors.
    pub fn new(processors: Vec<Arc<dyn Processor>>, meter: &Meter) -> Self {
        Self {
            processors: processors.into_iter().map(|processor| (Arc::clone(processor.id()), processor)).collect(),
            applied: Mutex::new(None),
            panics: meter.counter(&names::PANICS, &[("place", "apply")]),
        }
    }

    /// What a call of a processor returns; `None`, and counted, if it panics.
    fn guard<T>(&self, call: impl FnOnce() -> T) -> Option<T> {
        let returned = catch_unwind(AssertUnwindSafe(call)).ok();
        self.panics.increment(u64::from(returned.is_none()));
        returned
    }

    /// Applies a committed batch's effects, whose record is at `seq`; `None`: nothing of them is stored.
    pub fn apply(&self, effects: &[Effect], seq: Option<RecordSeq>) {
        let mut applied = self.applied.lock();
        for effect in effects {
            let Some(processor) = self.processors.get(&effect.processor) else { continue };
            self.guard(|| processor.apply(effect));
        }
        *applied = (*applied).max(seq);
    }

    /// Releases the claims of a batch that was not committed.
    pub fn discard(&self, batch: &[u8; 16]) {
        for processor in self.processors.values() {
            self.guard(|| processor.discard(batch));
        }
    }

    /// Calls [`Processor::tick`] of every processor.
    pub fn tick(&self, now: UnixNanos) {
        for processor in self.processors.values() {
            self.guard(|| processor.tick(now));
        }
    }

    /// Appends the state of all processors, between two batches, as `ProcessorSnapshot::decode` reads it. Returns the
    /// last effects record that is part of it. `None`: a processor panicked, or its state has 4 GiB, so the effects
    /// since the last save must be kept.
    pub fn save(&self, out: &mut Vec<u8>) -> Option<Option<RecordSeq>> {
        let applied = self.applied.lock();
        out.push(u8::from(applied.is_some()));
        out.extend_from_slice(&applied.map_or(0, |seq| seq.0).to_le_bytes());
        for (id, processor) in &self.processors {
            let before = out.len();
            put_bytes(out, id.as_bytes());
            let head_end = out.len();
            out.extend_from_slice(&[0; 4]);
            let start = out.len();
            self.guard(|| processor.save(out))?;
            let length = u32::try_from(out.len() - start).ok()?;
            match out.get_mut(head_end..start) {
                Some(slot) if length > 0 => slot.copy_from_slice(&length.to_le_bytes()),
                _ => out.truncate(before),
            }
        }
        Some(*applied)
    }

    /// Restores a saved state. Processors without one stay empty. Returns those that could not read theirs.
    pub fn restore(&self, snapshot: &ProcessorSnapshot) -> Vec<Arc<str>> {
        let mut applied = self.applied.lock();
        let mut unread = Vec::new();
        for (id, state) in &snapshot.states {
            let Some(processor) = self.processors.get(id) else { continue };
            if self.guard(|| processor.restore(state)) != Some(true) {
                unread.push(Arc::clone(id));
            }
        }
        *applied = snapshot.applied;
        unread
    }

    /// The last effects record that is part of the state.
    pub fn applied(&self) -> Option<RecordSeq> {
        *self.applied.lock()
    }
}
