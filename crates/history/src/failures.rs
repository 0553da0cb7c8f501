//! [`FailedSpans`]: failing spans, counted by their grouping key in five-minute slots, with some complete samples of
//! each kind. Only stripped and redacted spans get in. There are at most [`MAX_COUNTS`] counts plus one `other` per
//! account and slot, and [`MAX_KINDS`] kinds with the latest [`MAX_SAMPLES_PER_KIND`] samples each, for 48 hours. If
//! there is no room, the account with most counts gives up: its new kinds, or its oldest if others need room, are
//! merged into its `other`. `failure_recorder` selects the spans, `report` groups them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::memory::RETENTION;
use runs::OTHER;
use runs::fair_eviction::split_fairly;

/// Grouping key: the values of [`super::GROUPINGS`], "" for a missing one.
pub type FailureKey = [Arc<str>; 7];

/// Length of a slot, ns.
pub(super) const SLOT_LENGTH: u64 = 300_000_000_000;
/// Maximum number of counts in total, each for one account, kind and slot.
pub(super) const MAX_COUNTS: usize = 50_000;
/// Maximum number of kinds with samples.
pub(super) const MAX_KINDS: usize = 300;
/// Maximum samples of one kind.
const MAX_SAMPLES_PER_KIND: usize = 10;
/// Maximum samples in total.
pub(super) const MAX_SAMPLES: usize = MAX_KINDS * MAX_SAMPLES_PER_KIND;
/// Batches remembered, so that a batch in two pipelines counts once.
const MAX_BATCHES: usize = 256;

/// A failed span, as it was forwarded to third parties.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct FailureSample {
    /// Account of the credential that sent it.
    #[serde(default)]
    pub account: Arc<str>,
    /// Grouping key.
    pub key: FailureKey,
    /// Time of arrival, unix ns.
    pub at: u64,
    /// Trace id in hex.
    pub trace: Box<str>,
    /// Span id in hex.
    pub span: Box<str>,
    /// Duration, ns.
    pub duration: u64,
    /// Status message.
    pub status: Box<str>,
    /// Attributes of the span and its exceptions as text, truncated.
    pub attributes: Vec<(Box<str>, Box<str>)>,
}

/// Number of failed spans of one kind in a slot.
pub struct FailureCount {
    /// Account of the credential that sent them; "" = unknown.
    pub account: Arc<str>,
    /// Grouping key.
    pub key: FailureKey,
    /// Start of the slot, unix ns.
    pub slot: u64,
    /// Number of spans; 0 = merged into another count.
    pub count: u64,
}

/// Failed spans of one batch.
pub(super) struct BatchFailures {
    pub(super) account: Arc<str>,
    pub(super) batch: [u8; 16],
    pub(super) at: u64,
    pub(super) counts: HashMap<FailureKey, u64>,
    pub(super) samples: Vec<FailureSample>,
}

/// Slot and grouping key.
type SlotKey = (u64, FailureKey);

struct CachedSample {
    sample: Arc<FailureSample>,
    is_written: bool,
}

#[derive(Default)]
struct FailedSpansState {
    /// Counts by account.
    counts: BTreeMap<Arc<str>, BTreeMap<SlotKey, u64>>,
    /// Number of counts.
    count_total: usize,
    changed: BTreeSet<(Arc<str>, SlotKey)>,
    samples: HashMap<(Arc<str>, FailureKey), VecDeque<CachedSample>>,
    batches: VecDeque<[u8; 16]>,
}

/// See the module.
#[derive(Default)]
pub struct FailedSpans(Mutex<FailedSpansState>);

impl FailedSpans {
    /// Adds the failed spans of a committed batch.
    pub(super) fn add_batch(&self, noticed: &BatchFailures) {
        let mut inner = self.0.lock();
        if inner.batches.contains(&noticed.batch) {
            return;
        }
        inner.batches.push_back(noticed.batch);
        let excess = inner.batches.len().saturating_sub(MAX_BATCHES);
        inner.batches.drain(..excess);
        let slot = noticed.at - noticed.at % SLOT_LENGTH;
        for (key, count) in &noticed.counts {
            let (place, _) = inner.add_or_merge(&noticed.account, (slot, key.clone()), *count);
            inner.changed.insert((Arc::clone(&noticed.account), place));
        }
        for sample in &noticed.samples {
            inner.add_sample(CachedSample { sample: Arc::new(sample.clone()), is_written: false });
        }
        inner.trim_kinds();
    }

    /// Adds data read from the file at start.
    pub fn restore(&self, counts: Vec<FailureCount>, samples: Vec<FailureSample>) {
        let mut inner = self.0.lock();
        for FailureCount { account, key, slot, count } in counts {
            let told = (slot, key);
            let (place, known) = inner.add_or_merge(&account, told.clone(), count);
            if known || place != told {
                // The file has this count under another key.
                inner.changed.insert((Arc::clone(&account), told));
                inner.changed.insert((account, place));
            }
        }
        for sample in samples {
            inner.add_sample(CachedSample { sample: Arc::new(sample), is_written: true });
        }
        inner.trim_kinds();
    }

    /// Changes since the last call, to be written: current counts, and new samples.
    pub fn take_changes(&self) -> (Vec<FailureCount>, Vec<Arc<FailureSample>>) {
        let mut inner = self.0.lock();
        let changed = std::mem::take(&mut inner.changed);
        let group = |(account, place): (Arc<str>, SlotKey)| {
            let count = inner.counts.get(&account).and_then(|own| own.get(&place)).copied().unwrap_or(0);
            FailureCount { account, key: place.1, slot: place.0, count }
        };
        let groups = changed.into_iter().map(group).collect();
        let mut fresh = Vec::new();
        for held in inner.samples.values_mut().flatten().filter(|held| !held.is_written) {
            held.is_written = true;
            fresh.push(Arc::clone(&held.sample));
        }
        (groups, fresh)
    }

    /// Removes data that is older than 48 hours.
    pub fn evict_old(&self, now: u64) {
        let before = now.saturating_sub(RETENTION);
        let mut inner = self.0.lock();
        inner.counts.values_mut().for_each(|own| own.retain(|(slot, _), _| *slot >= before));
        inner.counts.retain(|_, own| !own.is_empty());
        inner.count_total = inner.counts.values().map(BTreeMap::len).sum();
        inner.changed.retain(|(_, (slot, _))| *slot >= before);
        inner.samples.retain(|_, kept| kept.back().is_some_and(|held| held.sample.at >= before));
    }

    /// Counts of slots that end after `from`.
    pub fn counts(&self, from: u64) -> Vec<(FailureKey, u64)> {
        let inner = self.0.lock();
        let recent = inner.counts.values().flatten().filter(|((slot, _), _)| slot.saturating_add(SLOT_LENGTH) > from);
        recent.map(|((_, key), count)| (key.clone(), *count)).collect()
    }

    /// Samples after `from`, latest first.
    pub fn samples(&self, from: u64) -> Vec<Arc<FailureSample>> {
        let inner = self.0.lock();
        let kept = inner.samples.values().flatten().map(|held| &held.sample);
        let mut all: Vec<Arc<FailureSample>> = kept.filter(|sample| sample.at > from).map(Arc::clone).collect();
        all.sort_by_key(|sample| std::cmp::Reverse(sample.at));
        all
    }
}

impl FailedSpansState {
    /// Adds a count. Returns the key under which it was added, and whether that existed.
    fn add_or_merge(&mut self, account: &Arc<str>, mut place: SlotKey, count: u64) -> (SlotKey, bool) {
        let known = self.counts.get(account).is_some_and(|own| own.contains_key(&place));
        if !known && self.count_total >= MAX_COUNTS && !self.make_room(account) {
            place.1 = other_key();
        }
        let known = self.add_count(account, &place, count);
        (place, known)
    }

    fn add_count(&mut self, account: &Arc<str>, place: &SlotKey, count: u64) -> bool {
        let own = self.counts.entry(Arc::clone(account)).or_default();
        let known = own.contains_key(place);
        let sum = own.entry(place.clone()).or_default();
        *sum = sum.saturating_add(count);
        self.count_total += usize::from(!known);
        known
    }

    /// Merges the oldest count of the account with most into its `other`, if it holds more than this one. Returns
    /// whether there is room now.
    fn make_room(&mut self, account: &Arc<str>) -> bool {
        let own = self.counts.get(account).map_or(0, BTreeMap::len);
        let most = self.counts.iter().max_by_key(|(_, counts)| counts.len());
        let Some((name, counts)) = most.filter(|(_, counts)| counts.len() > own + 1) else { return false };
        let other = other_key();
        let Some(oldest) = counts.keys().find(|(_, key)| *key != other).cloned() else { return false };
        let name = Arc::clone(name);
        let count = self.counts.get_mut(&name).and_then(|counts| counts.remove(&oldest)).unwrap_or(0);
        self.count_total = self.count_total.saturating_sub(1);
        let place = (oldest.0, other);
        self.add_count(&name, &place, count);
        self.changed.extend([(Arc::clone(&name), oldest), (name, place)]);
        true
    }

    fn add_sample(&mut self, held: CachedSample) {
        let sample = &held.sample;
        let kept = self.samples.entry((Arc::clone(&sample.account), sample.key.clone())).or_default();
        let place = kept.partition_point(|one| one.sample.at <= sample.at);
        kept.insert(place, held);
        let excess = kept.len().saturating_sub(MAX_SAMPLES_PER_KIND);
        kept.drain(..excess);
    }

    /// Removes kinds beyond [`MAX_KINDS`].
    fn trim_kinds(&mut self) {
        if self.samples.len() <= MAX_KINDS {
            return;
        }
        let latest = |kept: &VecDeque<CachedSample>| kept.back().map_or(0, |held| held.sample.at);
        let all = self.samples.iter().map(|(place, kept)| (&*place.0, latest(kept), 1, place));
        let gone: Vec<(Arc<str>, FailureKey)> = split_fairly(all, MAX_KINDS).1.into_iter().cloned().collect();
        gone.iter().for_each(|place| drop(self.samples.remove(place)));
    }
}

/// Key of counts that were merged.
fn other_key() -> FailureKey {
    let other: Arc<str> = OTHER.into();
    std::array::from_fn(|_| Arc::clone(&other))
}
