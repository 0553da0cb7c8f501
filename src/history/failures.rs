//! **What**: [`Failures`]: failing spans, counted by what they are grouped by in five-minute slots, and some of each kind whole
//! as samples. **Invariants**: what gets in was stripped and redacted; at most [`MAX_COUNTS`] counts (beyond: `other`) and
//! [`MAX_KINDS`] kinds with [`SAMPLES`] samples each, the latest ones; 48 hours. **Not here**: which spans (`watch`), groups (`report`).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::KEEP;
use crate::runs::OTHER;

/// What failures may be grouped by: the values of [`super::BY`], "" where there is none.
pub type Key = [Arc<str>; 7];

/// Length of a slot, ns.
pub(super) const SLOT: u64 = 300_000_000_000;
/// Counts of one kind and slot.
const MAX_COUNTS: usize = 50_000;
/// Kinds of which samples are kept.
const MAX_KINDS: usize = 300;
/// Samples of one kind.
const SAMPLES: usize = 10;
/// Batches that are remembered, so that one that goes through two pipelines counts once.
const BATCHES: usize = 256;

/// A span that failed, as it went on to third parties.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What it is grouped by.
    pub key: Key,
    /// When it came, unix ns.
    pub at: u64,
    /// Trace id in hex.
    pub trace: Box<str>,
    /// Span id in hex.
    pub span: Box<str>,
    /// How long it took, ns.
    pub duration: u64,
    /// What its status says.
    pub status: Box<str>,
    /// Attributes of the span and its exceptions as text, cut.
    pub attributes: Vec<(Box<str>, Box<str>)>,
}

/// How many spans of one kind failed in a slot.
pub struct Group {
    /// What they have in common.
    pub key: Key,
    /// Begin of the slot, unix ns.
    pub slot: u64,
    /// How many.
    pub count: u64,
}

/// What one batch brings.
pub(super) struct Noticed {
    pub(super) batch: [u8; 16],
    pub(super) at: u64,
    pub(super) counts: HashMap<Key, u64>,
    pub(super) samples: Vec<Sample>,
}

#[derive(Default)]
struct Inner {
    counts: BTreeMap<(u64, Key), u64>,
    changed: BTreeSet<(u64, Key)>,
    samples: HashMap<Key, VecDeque<Arc<Sample>>>,
    fresh: VecDeque<Arc<Sample>>,
    batches: VecDeque<[u8; 16]>,
}

/// See the module.
#[derive(Default)]
pub struct Failures(Mutex<Inner>);

impl Failures {
    /// Takes in what a committed batch brings.
    pub(super) fn take(&self, noticed: &Noticed) {
        let mut inner = self.0.lock();
        if inner.batches.contains(&noticed.batch) {
            return;
        }
        inner.batches.push_back(noticed.batch);
        let excess = inner.batches.len().saturating_sub(BATCHES);
        inner.batches.drain(..excess);
        let slot = noticed.at - noticed.at % SLOT;
        for (key, count) in &noticed.counts {
            inner.count(slot, key, *count);
        }
        for sample in &noticed.samples {
            let sample = Arc::new(sample.clone());
            inner.keep(&sample);
            inner.fresh.push_back(sample);
        }
        let excess = inner.fresh.len().saturating_sub(MAX_KINDS * SAMPLES);
        inner.fresh.drain(..excess);
    }

    /// Takes in what was written down before the start.
    pub fn restore(&self, counts: Vec<Group>, samples: Vec<Sample>) {
        let mut inner = self.0.lock();
        for Group { key, slot, count } in counts {
            *inner.counts.entry((slot, key)).or_default() += count;
        }
        for sample in samples {
            inner.keep(&Arc::new(sample));
        }
    }

    /// What changed since the last call, to be written down: counts as they stand, new samples.
    pub fn changed(&self) -> (Vec<Group>, Vec<Arc<Sample>>) {
        let mut inner = self.0.lock();
        let changed = std::mem::take(&mut inner.changed);
        let group = |(slot, key): (u64, Key)| {
            let count = inner.counts.get(&(slot, key.clone())).copied().unwrap_or(0);
            Group { key, slot, count }
        };
        let groups = changed.into_iter().map(group).collect();
        (groups, inner.fresh.drain(..).collect())
    }

    /// Forgets what is older than 48 hours.
    pub fn forget(&self, now: u64) {
        let before = now.saturating_sub(KEEP);
        let mut inner = self.0.lock();
        inner.counts.retain(|(slot, _), _| *slot >= before);
        inner.changed.retain(|(slot, _)| *slot >= before);
        inner.samples.retain(|_, samples| samples.back().is_some_and(|sample| sample.at >= before));
    }

    /// Counts of slots that end after `from`.
    pub fn counts(&self, from: u64) -> Vec<(Key, u64)> {
        let inner = self.0.lock();
        let recent = inner.counts.iter().filter(|((slot, _), _)| slot.saturating_add(SLOT) > from);
        recent.map(|((_, key), count)| (key.clone(), *count)).collect()
    }

    /// Samples by kind, the latest first.
    pub fn samples(&self, from: u64) -> Vec<Arc<Sample>> {
        let inner = self.0.lock();
        let mut all: Vec<Arc<Sample>> =
            inner.samples.values().flatten().filter(|sample| sample.at > from).map(Arc::clone).collect();
        all.sort_by_key(|sample| std::cmp::Reverse(sample.at));
        all
    }
}

impl Inner {
    fn count(&mut self, slot: u64, key: &Key, count: u64) {
        let mut place = (slot, key.clone());
        if self.counts.len() >= MAX_COUNTS && !self.counts.contains_key(&place) {
            let other: Arc<str> = OTHER.into();
            place.1 = std::array::from_fn(|_| Arc::clone(&other));
        }
        *self.counts.entry(place.clone()).or_default() += count;
        self.changed.insert(place);
    }

    fn keep(&mut self, sample: &Arc<Sample>) {
        if self.samples.len() >= MAX_KINDS && !self.samples.contains_key(&sample.key) {
            let latest = |samples: &VecDeque<Arc<Sample>>| samples.back().map_or(0, |sample| sample.at);
            let oldest = self.samples.iter().min_by_key(|(_, samples)| latest(samples)).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.samples.remove(&key));
        }
        let kept = self.samples.entry(sample.key.clone()).or_default();
        kept.push_back(Arc::clone(sample));
        let excess = kept.len().saturating_sub(SAMPLES);
        kept.drain(..excess);
    }
}
