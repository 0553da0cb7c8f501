//! **What**: [`Failures`]: failing spans, counted by what they are grouped by in five-minute slots, and some of each
//! kind whole as samples. **Invariants**: what gets in was stripped and redacted; at most [`MAX_COUNTS`] counts and one
//! `other` for each account and slot; [`MAX_KINDS`] kinds with [`SAMPLES`] samples each, the latest ones; 48 hours;
//! whichever account has most gives way: its new kinds, or its oldest where others need room, become its `other`. **Not
//! here**: which spans (`watch`), groups (`report`).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::memory::KEEP;
use runs::OTHER;
use runs::share::fair;

/// What failures may be grouped by: the values of [`super::BY`], "" where there is none.
pub type Key = [Arc<str>; 7];

/// Length of a slot, ns.
pub(super) const SLOT: u64 = 300_000_000_000;
/// Counts of one kind and slot.
pub(super) const MAX_COUNTS: usize = 50_000;
/// Kinds of which samples are kept.
pub(super) const MAX_KINDS: usize = 300;
/// Samples of one kind.
const SAMPLES: usize = 10;
/// Samples that are kept.
pub(super) const MAX_SAMPLES: usize = MAX_KINDS * SAMPLES;
/// Batches that are remembered, so that one that goes through two pipelines counts once.
const BATCHES: usize = 256;

/// A span that failed, as it went on to third parties.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Whose credential sent it.
    #[serde(default)]
    pub account: Arc<str>,
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
    /// Whose credential sent them; "" = not told.
    pub account: Arc<str>,
    /// What they have in common.
    pub key: Key,
    /// Begin of the slot, unix ns.
    pub slot: u64,
    /// How many; 0 = counted elsewhere now.
    pub count: u64,
}

/// What one batch brings.
pub(super) struct Noticed {
    pub(super) account: Arc<str>,
    pub(super) batch: [u8; 16],
    pub(super) at: u64,
    pub(super) counts: HashMap<Key, u64>,
    pub(super) samples: Vec<Sample>,
}

/// Slot and kind.
type Place = (u64, Key);

struct Held {
    sample: Arc<Sample>,
    written: bool,
}

#[derive(Default)]
struct Inner {
    /// By account.
    counts: BTreeMap<Arc<str>, BTreeMap<Place, u64>>,
    /// How many there are.
    held: usize,
    changed: BTreeSet<(Arc<str>, Place)>,
    samples: HashMap<(Arc<str>, Key), VecDeque<Held>>,
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
            let (place, _) = inner.count(&noticed.account, (slot, key.clone()), *count);
            inner.changed.insert((Arc::clone(&noticed.account), place));
        }
        for sample in &noticed.samples {
            inner.keep(Held { sample: Arc::new(sample.clone()), written: false });
        }
        inner.trim();
    }

    /// Takes in what was written down before the start.
    pub fn restore(&self, counts: Vec<Group>, samples: Vec<Sample>) {
        let mut inner = self.0.lock();
        for Group { account, key, slot, count } in counts {
            let told = (slot, key);
            let (place, known) = inner.count(&account, told.clone(), count);
            if known || place != told {
                // the file has it otherwise
                inner.changed.insert((Arc::clone(&account), told));
                inner.changed.insert((account, place));
            }
        }
        for sample in samples {
            inner.keep(Held { sample: Arc::new(sample), written: true });
        }
        inner.trim();
    }

    /// What changed since the last call, to be written down: counts as they stand, new samples that are kept.
    pub fn changed(&self) -> (Vec<Group>, Vec<Arc<Sample>>) {
        let mut inner = self.0.lock();
        let changed = std::mem::take(&mut inner.changed);
        let group = |(account, place): (Arc<str>, Place)| {
            let count = inner.counts.get(&account).and_then(|own| own.get(&place)).copied().unwrap_or(0);
            Group { account, key: place.1, slot: place.0, count }
        };
        let groups = changed.into_iter().map(group).collect();
        let mut fresh = Vec::new();
        for held in inner.samples.values_mut().flatten().filter(|held| !held.written) {
            held.written = true;
            fresh.push(Arc::clone(&held.sample));
        }
        (groups, fresh)
    }

    /// Forgets what is older than 48 hours.
    pub fn forget(&self, now: u64) {
        let before = now.saturating_sub(KEEP);
        let mut inner = self.0.lock();
        inner.counts.values_mut().for_each(|own| own.retain(|(slot, _), _| *slot >= before));
        inner.counts.retain(|_, own| !own.is_empty());
        inner.held = inner.counts.values().map(BTreeMap::len).sum();
        inner.changed.retain(|(_, (slot, _))| *slot >= before);
        inner.samples.retain(|_, kept| kept.back().is_some_and(|held| held.sample.at >= before));
    }

    /// Counts of slots that end after `from`.
    pub fn counts(&self, from: u64) -> Vec<(Key, u64)> {
        let inner = self.0.lock();
        let recent = inner.counts.values().flatten().filter(|((slot, _), _)| slot.saturating_add(SLOT) > from);
        recent.map(|((_, key), count)| (key.clone(), *count)).collect()
    }

    /// Samples by kind, the latest first.
    pub fn samples(&self, from: u64) -> Vec<Arc<Sample>> {
        let inner = self.0.lock();
        let kept = inner.samples.values().flatten().map(|held| &held.sample);
        let mut all: Vec<Arc<Sample>> = kept.filter(|sample| sample.at > from).map(Arc::clone).collect();
        all.sort_by_key(|sample| std::cmp::Reverse(sample.at));
        all
    }
}

impl Inner {
    /// Counts; where that went, and whether there was something already.
    fn count(&mut self, account: &Arc<str>, mut place: Place, count: u64) -> (Place, bool) {
        let known = self.counts.get(account).is_some_and(|own| own.contains_key(&place));
        if !known && self.held >= MAX_COUNTS && !self.make_room(account) {
            place.1 = other();
        }
        let known = self.add(account, &place, count);
        (place, known)
    }

    fn add(&mut self, account: &Arc<str>, place: &Place, count: u64) -> bool {
        let own = self.counts.entry(Arc::clone(account)).or_default();
        let known = own.contains_key(place);
        let sum = own.entry(place.clone()).or_default();
        *sum = sum.saturating_add(count);
        self.held += usize::from(!known);
        known
    }

    /// Whether an account that holds more than this one gave way with its oldest count.
    fn make_room(&mut self, account: &Arc<str>) -> bool {
        let own = self.counts.get(account).map_or(0, BTreeMap::len);
        let most = self.counts.iter().max_by_key(|(_, counts)| counts.len());
        let Some((name, counts)) = most.filter(|(_, counts)| counts.len() > own + 1) else { return false };
        let other = other();
        let Some(oldest) = counts.keys().find(|(_, key)| *key != other).cloned() else { return false };
        let name = Arc::clone(name);
        let count = self.counts.get_mut(&name).and_then(|counts| counts.remove(&oldest)).unwrap_or(0);
        self.held = self.held.saturating_sub(1);
        let place = (oldest.0, other);
        self.add(&name, &place, count);
        self.changed.extend([(Arc::clone(&name), oldest), (name, place)]);
        true
    }

    fn keep(&mut self, held: Held) {
        let sample = &held.sample;
        let kept = self.samples.entry((Arc::clone(&sample.account), sample.key.clone())).or_default();
        let place = kept.partition_point(|one| one.sample.at <= sample.at);
        kept.insert(place, held);
        let excess = kept.len().saturating_sub(SAMPLES);
        kept.drain(..excess);
    }

    /// Lets kinds go that are too many.
    fn trim(&mut self) {
        if self.samples.len() <= MAX_KINDS {
            return;
        }
        let latest = |kept: &VecDeque<Held>| kept.back().map_or(0, |held| held.sample.at);
        let all = self.samples.iter().map(|(place, kept)| (&*place.0, latest(kept), 1, place));
        let gone: Vec<(Arc<str>, Key)> = fair(all, MAX_KINDS).1.into_iter().cloned().collect();
        gone.iter().for_each(|place| drop(self.samples.remove(place)));
    }
}

/// What has no place of its own.
fn other() -> Key {
    let other: Arc<str> = OTHER.into();
    std::array::from_fn(|_| Arc::clone(&other))
}
