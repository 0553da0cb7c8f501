//! [`FailedSpans`]: failing spans, counted by their grouping key in five-minute slots, with some complete samples of
//! each kind (account and grouping key). Only stripped and redacted spans get in. There are at most [`MAX_COUNTS`]
//! counts plus one `other` per account and slot, and [`MAX_KINDS`] kinds with the latest [`MAX_SAMPLES_PER_KIND`]
//! samples each, for 48 hours. If there is no room for a count, the oldest count of the account with most is merged
//! into that account's
//! `other`; if the new count's account has most, the new count is. `failure_recorder` selects the spans, `report`
//! groups them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use runs::OTHER;
use runs::fair_eviction::split_fairly;

pub const DAY: u64 = 24 * 3_600_000_000_000;
/// How long runs are kept with their calls, and failures, ns.
pub const RETENTION: u64 = 48 * 3_600_000_000_000;

/// Attributes by which failures can be grouped, in the order of [`FailureKey`].
pub const GROUPINGS: [&str; 7] =
    ["exception.slug", "build.commit_sha", "service.name", "error.type", "name", "tenant.id", "work_tracker.issue_id"];

/// Grouping key: the values of [`super::GROUPINGS`], "" for a missing one.
pub type FailureKey = [Arc<str>; 7];

pub(super) const SLOT_LENGTH: u64 = 300_000_000_000;
/// Maximum number of counts in total, each for one account, kind and slot.
pub(super) const MAX_COUNTS: usize = 50_000;
/// Maximum number of kinds with samples.
pub(super) const MAX_KINDS: usize = 300;
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
    pub key: FailureKey,
    /// Time of arrival, unix ns.
    pub at: u64,
    /// Trace id in hex.
    pub trace: Box<str>,
    /// Span id in hex.
    pub span: Box<str>,
    pub duration: u64,
    pub status: Box<str>,
    /// Attributes of the span and its exceptions as text, truncated.
    pub attributes: Vec<(Box<str>, Box<str>)>,
}

/// Number of failed spans of one kind in one slot.
pub struct FailureCount {
    /// Account of the credential that sent them; "" = unknown.
    pub account: Arc<str>,
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
    /// Time of arrival, unix ns.
    pub(super) received: u64,
    pub(super) counts: HashMap<FailureKey, u64>,
    pub(super) samples: Vec<FailureSample>,
}

type SlotKey = (u64, FailureKey);

struct CachedSample {
    sample: Arc<FailureSample>,
    is_written: bool,
}

#[derive(Default)]
struct FailedSpansState {
    counts: BTreeMap<Arc<str>, BTreeMap<SlotKey, u64>>,
    /// Number of counts of all accounts.
    count_total: usize,
    /// Counts that are not written yet.
    changed: BTreeSet<(Arc<str>, SlotKey)>,
    /// Samples by kind, oldest first.
    samples: HashMap<(Arc<str>, FailureKey), VecDeque<CachedSample>>,
    recent_batches: VecDeque<[u8; 16]>,
}

/// See the module.
#[derive(Default)]
pub struct FailedSpans(Mutex<FailedSpansState>);

impl FailedSpans {
    pub(super) fn add_batch(&self, failures: &BatchFailures) {
        let mut inner = self.0.lock();
        if inner.recent_batches.contains(&failures.batch) {
            return;
        }
        inner.recent_batches.push_back(failures.batch);
        let excess = inner.recent_batches.len().saturating_sub(MAX_BATCHES);
        inner.recent_batches.drain(..excess);
        let slot = failures.received - failures.received % SLOT_LENGTH;
        for (key, count) in &failures.counts {
            let (added_key, _) = inner.add_or_merge(&failures.account, (slot, key.clone()), *count);
            inner.changed.insert((Arc::clone(&failures.account), added_key));
        }
        for sample in &failures.samples {
            inner.add_sample(CachedSample { sample: Arc::new(sample.clone()), is_written: false });
        }
        inner.trim_kinds();
    }

    /// Adds data read from the file at start.
    pub fn restore(&self, counts: Vec<FailureCount>, samples: Vec<FailureSample>) {
        let mut inner = self.0.lock();
        for FailureCount { account, key, slot, count } in counts {
            let stored_key = (slot, key);
            let (added_key, existed) = inner.add_or_merge(&account, stored_key.clone(), count);
            if existed || added_key != stored_key {
                // The file has this count under another key or in several rows.
                inner.changed.insert((Arc::clone(&account), stored_key));
                inner.changed.insert((account, added_key));
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
        let current_count = |(account, slot_key): (Arc<str>, SlotKey)| {
            let count = inner.counts.get(&account).and_then(|counts| counts.get(&slot_key)).copied().unwrap_or(0);
            FailureCount { account, key: slot_key.1, slot: slot_key.0, count }
        };
        let counts = changed.into_iter().map(current_count).collect();
        let mut new_samples = Vec::new();
        for cached in inner.samples.values_mut().flatten().filter(|cached| !cached.is_written) {
            cached.is_written = true;
            new_samples.push(Arc::clone(&cached.sample));
        }
        (counts, new_samples)
    }

    /// Marks changes that could not be written as not written.
    pub fn give_back(&self, counts: &[FailureCount], samples: &[Arc<FailureSample>]) {
        let mut inner = self.0.lock();
        inner.changed.extend(counts.iter().map(|one| (Arc::clone(&one.account), (one.slot, one.key.clone()))));
        for cached in inner.samples.values_mut().flatten() {
            cached.is_written &= !samples.iter().any(|sample| Arc::ptr_eq(sample, &cached.sample));
        }
    }

    /// Removes counts that are older than 48 hours, and kinds whose latest sample is.
    pub fn evict_old(&self, now: u64) {
        let before = now.saturating_sub(RETENTION);
        let mut inner = self.0.lock();
        inner.counts.values_mut().for_each(|counts| counts.retain(|(slot, _), _| *slot >= before));
        inner.counts.retain(|_, counts| !counts.is_empty());
        inner.count_total = inner.counts.values().map(BTreeMap::len).sum();
        inner.changed.retain(|(_, (slot, _))| *slot >= before);
        inner.samples.retain(|_, samples| samples.back().is_some_and(|cached| cached.sample.at >= before));
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
        let samples = inner.samples.values().flatten().map(|cached| &cached.sample);
        let mut recent: Vec<Arc<FailureSample>> = samples.filter(|sample| sample.at > from).map(Arc::clone).collect();
        recent.sort_by_key(|sample| std::cmp::Reverse(sample.at));
        recent
    }
}

impl FailedSpansState {
    /// Adds a count. Returns the key under which it was added, and whether that key existed.
    fn add_or_merge(&mut self, account: &Arc<str>, mut key: SlotKey, count: u64) -> (SlotKey, bool) {
        let is_known = self.counts.get(account).is_some_and(|counts| counts.contains_key(&key));
        if !is_known && self.count_total >= MAX_COUNTS && !self.make_room(account) {
            key.1 = other_key();
        }
        let existed = self.add_count(account, &key, count);
        (key, existed)
    }

    /// Adds a count under this key. Returns whether the key existed.
    fn add_count(&mut self, account: &Arc<str>, key: &SlotKey, count: u64) -> bool {
        let counts = self.counts.entry(Arc::clone(account)).or_default();
        let existed = counts.contains_key(key);
        let sum = counts.entry(key.clone()).or_default();
        *sum = sum.saturating_add(count);
        self.count_total += usize::from(!existed);
        existed
    }

    /// Merges the oldest count of the account with most into that account's `other`, if that account has at least two
    /// more than `account`. Returns whether there is room now.
    fn make_room(&mut self, account: &Arc<str>) -> bool {
        let own_len = self.counts.get(account).map_or(0, BTreeMap::len);
        let fullest = self.counts.iter().max_by_key(|(_, counts)| counts.len());
        let Some((fullest, counts)) = fullest.filter(|(_, counts)| counts.len() > own_len + 1) else { return false };
        let other = other_key();
        let Some(oldest) = counts.keys().find(|(_, key)| *key != other).cloned() else { return false };
        let fullest = Arc::clone(fullest);
        let count = self.counts.get_mut(&fullest).and_then(|counts| counts.remove(&oldest)).unwrap_or(0);
        self.count_total = self.count_total.saturating_sub(1);
        let merged = (oldest.0, other);
        self.add_count(&fullest, &merged, count);
        self.changed.extend([(Arc::clone(&fullest), oldest), (fullest, merged)]);
        true
    }

    fn add_sample(&mut self, new: CachedSample) {
        let sample = &new.sample;
        let samples = self.samples.entry((Arc::clone(&sample.account), sample.key.clone())).or_default();
        let index = samples.partition_point(|known| known.sample.at <= sample.at);
        samples.insert(index, new);
        let excess = samples.len().saturating_sub(MAX_SAMPLES_PER_KIND);
        samples.drain(..excess);
    }

    /// Removes kinds beyond [`MAX_KINDS`].
    fn trim_kinds(&mut self) {
        if self.samples.len() <= MAX_KINDS {
            return;
        }
        let latest = |samples: &VecDeque<CachedSample>| samples.back().map_or(0, |cached| cached.sample.at);
        let kinds = self.samples.iter().map(|(kind, samples)| (&*kind.0, latest(samples), 1, kind));
        let evicted: Vec<(Arc<str>, FailureKey)> = split_fairly(kinds, MAX_KINDS).1.into_iter().cloned().collect();
        evicted.iter().for_each(|kind| drop(self.samples.remove(kind)));
    }
}

/// Key of counts that were merged.
fn other_key() -> FailureKey {
    let other: Arc<str> = OTHER.into();
    std::array::from_fn(|_| Arc::clone(&other))
}
