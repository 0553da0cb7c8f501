//! [`Write`]: data to be written in one transaction, and the part of it that waits while the file can't be written.
//! Only the latest state of a run or a count waits; beyond the bound the account with most data loses its oldest. The
//! file is in `store`.

use std::collections::HashMap;
use std::sync::Arc;

use super::entry::Entry;
use super::failures::{Group, Sample};
use runs::share::fair;

/// Bytes of run details (JSON) that may wait.
const MAX_WAITING: usize = 16 << 20;

/// Data to be written in one transaction.
#[derive(Default)]
pub struct Write {
    /// New or changed runs, with their JSON if it was fetched.
    pub runs: Vec<(Arc<Entry>, Option<String>)>,
    /// Keys of runs that were merged into others.
    pub gone: Vec<String>,
    /// Current counts; 0 deletes the count.
    pub counts: Vec<Group>,
    /// New samples.
    pub samples: Vec<Arc<Sample>>,
}

impl Write {
    /// Merges this with an older `Write` that failed. The older data comes first; of a run or a count the latest state
    /// is kept.
    pub fn after(self, older: Self) -> Self {
        if older.is_empty() {
            return self;
        }
        let is_again = |key: &String| self.runs.iter().any(|(entry, _)| entry.key() == *key);
        let mut gone = older.gone;
        gone.retain(|key| !is_again(key));
        gone.extend(self.gone);
        let mut runs: Vec<(Arc<Entry>, Option<String>)> = Vec::new();
        let mut places = HashMap::new();
        let older_runs = older.runs.into_iter().filter(|(entry, _)| !gone.contains(&entry.key()));
        for (entry, detail) in older_runs.chain(self.runs) {
            let place = *places.entry(entry.key()).or_insert(runs.len());
            match runs.get_mut(place) {
                Some(known) => *known = (entry, detail.or_else(|| known.1.take())),
                None => runs.push((entry, detail)),
            }
        }
        let mut counts: Vec<Group> = Vec::new();
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
        Self { runs, gone, counts, samples }
    }

    /// The part that waits for a later write: `most` of each kind, and 16 MiB of details.
    pub fn newest(self, most: usize) -> Self {
        let Self { mut runs, mut gone, mut counts, mut samples } = self;
        gone.truncate(most);
        let ranks = (0..).zip(&runs).map(|(place, (run, _))| (&*run.account, (run.at, place), 1, place));
        let over = fair(ranks, most).1;
        drop_these(&mut runs, over);
        let details = (0..)
            .zip(&runs)
            .filter_map(|(place, (run, detail))| Some((&*run.account, (run.at, place), detail.as_ref()?.len(), place)));
        for place in fair(details, MAX_WAITING).1 {
            runs.get_mut(place).into_iter().for_each(|(_, detail)| *detail = None);
        }
        let ranks = (0..).zip(&counts).map(|(place, group)| (&*group.account, (group.slot, place), 1, place));
        let over = fair(ranks, most).1;
        drop_these(&mut counts, over);
        let ranks = (0..).zip(&samples).map(|(place, one)| (&*one.account, (one.at, place), 1, place));
        let over = fair(ranks, most).1;
        drop_these(&mut samples, over);
        Self { runs, gone, counts, samples }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.gone.is_empty() && self.counts.is_empty() && self.samples.is_empty()
    }
}

/// Removes the elements at `places`.
fn drop_these<T>(all: &mut Vec<T>, mut places: Vec<usize>) {
    places.sort_unstable();
    let mut next = 0..;
    all.retain(|_| next.next().is_none_or(|place| places.binary_search(&place).is_err()));
}
