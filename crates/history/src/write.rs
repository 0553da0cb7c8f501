//! [`HistoryWrite`]: data to be written in one transaction, and the part of it that waits while the file can't be
//! written. Only the latest state of a run or a count waits; beyond the bound the account with most data loses its
//! oldest. The file is in `store`.

use std::collections::HashMap;
use std::sync::Arc;

use super::entry::RunRecord;
use super::failures::{FailureCount, FailureSample};
use runs::fair_eviction::split_fairly;

/// Bytes of run details (JSON) that may wait.
const MAX_WAITING: usize = 16 << 20;

/// Data to be written in one transaction.
#[derive(Default)]
pub struct HistoryWrite {
    /// New or changed runs, with their JSON if it was fetched.
    pub runs: Vec<(Arc<RunRecord>, Option<String>)>,
    /// Keys of runs that were merged into others.
    pub removed: Vec<String>,
    /// Current counts; 0 deletes the count.
    pub counts: Vec<FailureCount>,
    /// New samples.
    pub samples: Vec<Arc<FailureSample>>,
}

impl HistoryWrite {
    /// Merges this with an older `HistoryWrite` that failed. The older data comes first; of a run or a count the latest
    /// state is kept.
    pub fn merge_older(self, older: Self) -> Self {
        if older.is_empty() {
            return self;
        }
        let is_again = |key: &String| self.runs.iter().any(|(entry, _)| entry.key() == *key);
        let mut gone = older.removed;
        gone.retain(|key| !is_again(key));
        gone.extend(self.removed);
        let mut runs: Vec<(Arc<RunRecord>, Option<String>)> = Vec::new();
        let mut places = HashMap::new();
        let older_runs = older.runs.into_iter().filter(|(entry, _)| !gone.contains(&entry.key()));
        for (entry, detail) in older_runs.chain(self.runs) {
            let place = *places.entry(entry.key()).or_insert(runs.len());
            match runs.get_mut(place) {
                Some(known) => *known = (entry, detail.or_else(|| known.1.take())),
                None => runs.push((entry, detail)),
            }
        }
        let mut counts: Vec<FailureCount> = Vec::new();
        let mut places = HashMap::new();
        for group in older.counts.into_iter().chain(self.counts) {
            let name = (Arc::clone(&group.account), group.slot, group.key.clone());
            let place = *places.entry(name).or_insert(counts.len());
            match counts.get_mut(place) {
                Some(known) => *known = group,
                None => counts.push(group),
            }
        }
        let mut samples = older.samples;
        samples.extend(self.samples);
        Self { runs, removed: gone, counts, samples }
    }

    /// The part that waits for a later write: `most` of each kind, and 16 MiB of details.
    pub fn keep_newest(self, most: usize) -> Self {
        let Self { mut runs, removed: mut gone, mut counts, mut samples } = self;
        gone.truncate(most);
        let ranks = (0..).zip(&runs).map(|(place, (run, _))| (&*run.account, (run.at, place), 1, place));
        let over = split_fairly(ranks, most).1;
        remove_at(&mut runs, over);
        let details = (0..)
            .zip(&runs)
            .filter_map(|(place, (run, detail))| Some((&*run.account, (run.at, place), detail.as_ref()?.len(), place)));
        for place in split_fairly(details, MAX_WAITING).1 {
            runs.get_mut(place).into_iter().for_each(|(_, detail)| *detail = None);
        }
        let ranks = (0..).zip(&counts).map(|(place, group)| (&*group.account, (group.slot, place), 1, place));
        let over = split_fairly(ranks, most).1;
        remove_at(&mut counts, over);
        let ranks = (0..).zip(&samples).map(|(place, one)| (&*one.account, (one.at, place), 1, place));
        let over = split_fairly(ranks, most).1;
        remove_at(&mut samples, over);
        Self { runs, removed: gone, counts, samples }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.removed.is_empty() && self.counts.is_empty() && self.samples.is_empty()
    }
}

/// Removes the elements at `places`.
fn remove_at<T>(all: &mut Vec<T>, mut places: Vec<usize>) {
    places.sort_unstable();
    let mut next = 0..;
    all.retain(|_| next.next().is_none_or(|place| places.binary_search(&place).is_err()));
}
