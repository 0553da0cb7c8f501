//! [`HistoryWrite`]: data to be written in one transaction; a part of it waits while the file can't be written. Only
//! the latest state of a run or a count waits; beyond the bound the account with most data loses its oldest. The file
//! is in
//! `store`.

use std::collections::HashMap;
use std::sync::Arc;

use super::entry::RunRecord;
use super::failures::{FailureCount, FailureSample};
use runs::fair_eviction::split_fairly;

/// Maximum bytes of run details (JSON) that wait.
const MAX_WAITING_DETAIL_BYTES: usize = 16 << 20;

/// Data to be written in one transaction.
#[derive(Default)]
pub struct HistoryWrite {
    /// New or changed runs, with their JSON if it was fetched.
    pub runs: Vec<(Arc<RunRecord>, Option<String>)>,
    /// Keys of runs that were merged into others.
    pub removed: Vec<String>,
    /// Current counts; 0 deletes the count.
    pub counts: Vec<FailureCount>,
    pub samples: Vec<Arc<FailureSample>>,
}

impl HistoryWrite {
    /// Merges this with an older `HistoryWrite` that failed. The older data comes first; of a run or a count the latest
    /// state is kept.
    pub fn merge_older(self, older: Self) -> Self {
        if older.is_empty() {
            return self;
        }
        let is_current = |key: &String| self.runs.iter().any(|(entry, _)| entry.key() == *key);
        let mut removed = older.removed;
        removed.retain(|key| !is_current(key));
        removed.extend(self.removed);
        let mut runs: Vec<(Arc<RunRecord>, Option<String>)> = Vec::new();
        let mut run_indexes = HashMap::new();
        let older_runs = older.runs.into_iter().filter(|(entry, _)| !removed.contains(&entry.key()));
        for (entry, detail) in older_runs.chain(self.runs) {
            let index = *run_indexes.entry(entry.key()).or_insert(runs.len());
            match runs.get_mut(index) {
                Some(known) => *known = (entry, detail.or_else(|| known.1.take())),
                None => runs.push((entry, detail)),
            }
        }
        let mut counts: Vec<FailureCount> = Vec::new();
        let mut count_indexes = HashMap::new();
        for count in older.counts.into_iter().chain(self.counts) {
            let count_key = (Arc::clone(&count.account), count.slot, count.key.clone());
            let index = *count_indexes.entry(count_key).or_insert(counts.len());
            match counts.get_mut(index) {
                Some(known) => *known = count,
                None => counts.push(count),
            }
        }
        let mut samples = older.samples;
        samples.extend(self.samples);
        Self { runs, removed, counts, samples }
    }

    /// The part that waits for a later write: `max_rows` of each kind, and 16 MiB of details.
    pub fn keep_newest(self, max_rows: usize) -> Self {
        let Self { mut runs, mut removed, mut counts, mut samples } = self;
        removed.truncate(max_rows);
        keep_fairly(&mut runs, max_rows, |(run, _)| (&run.account, run.at));
        let details = (0..)
            .zip(&runs)
            .filter_map(|(index, (run, detail))| Some((&*run.account, (run.at, index), detail.as_ref()?.len(), index)));
        for index in split_fairly(details, MAX_WAITING_DETAIL_BYTES).1 {
            runs.get_mut(index).into_iter().for_each(|(_, detail)| *detail = None);
        }
        keep_fairly(&mut counts, max_rows, |count| (&count.account, count.slot));
        keep_fairly(&mut samples, max_rows, |sample| (&sample.account, sample.at));
        Self { runs, removed, counts, samples }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.removed.is_empty() && self.counts.is_empty() && self.samples.is_empty()
    }
}

/// Keeps `max_rows` elements, given their accounts and times.
fn keep_fairly<T>(elements: &mut Vec<T>, max_rows: usize, rank: impl Fn(&T) -> (&Arc<str>, u64)) {
    let ranks = (0..).zip(&*elements).map(|(index, element)| {
        let (account, time) = rank(element);
        (&**account, (time, index), 1, index)
    });
    let mut excess: Vec<usize> = split_fairly(ranks, max_rows).1;
    excess.sort_unstable();
    let mut next = 0..;
    elements.retain(|_| next.next().is_none_or(|index| excess.binary_search(&index).is_err()));
}
