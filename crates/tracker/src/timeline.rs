//! [`Timeline`]: the runs of one trace or session by start time, searched for the run that was under way at a given
//! time. A trace may hold thousands of runs and of items that name none; testing each run for each item would be
//! quadratic. A search takes a number of steps logarithmic in the number of runs. `resolve` uses it.

/// See the module documentation.
pub(super) struct Timeline {
    /// Start and number of each run, by rank.
    runs: Vec<(u64, usize)>,
    /// Latest ends as a tree: node `n` has the children `2n` and `2n + 1`, the root is 1, the leaves are the runs.
    ends: Vec<u64>,
    /// Index of the first leaf.
    leaves: usize,
}

impl Timeline {
    /// Builds it from runs as (start, end, number), sorted by rank; the start is the first part of the rank.
    pub(super) fn build(sorted: &[(u64, u64, usize)]) -> Self {
        let leaves = sorted.len().next_power_of_two();
        let mut ends = vec![0; leaves];
        ends.extend(sorted.iter().map(|(_, end, _)| *end));
        ends.resize(2 * leaves, 0);
        for node in (1..leaves).rev() {
            let child = |at: usize| ends.get(at).copied().unwrap_or(0);
            let latest = child(2 * node).max(child(2 * node + 1));
            if let Some(end) = ends.get_mut(node) {
                *end = latest;
            }
        }
        Self { runs: sorted.iter().map(|(begin, _, run)| (*begin, *run)).collect(), ends, leaves }
    }

    /// The run, if there is exactly one.
    pub(super) fn only_run(&self) -> Option<usize> {
        if let [(_, only)] = *self.runs { Some(only) } else { None }
    }

    /// The first run.
    pub(super) fn first_run(&self) -> Option<usize> {
        self.runs.first().map(|(_, run)| *run)
    }

    /// The latest run that had started by `at`.
    pub(super) fn latest_begun(&self, at: u64) -> Option<usize> {
        self.runs.get(self.count_begun(at).checked_sub(1)?).map(|(_, run)| *run)
    }

    /// The latest run that had started by `at` and had not ended.
    pub(super) fn latest_under_way(&self, at: u64) -> Option<usize> {
        let ends_later = |node: usize| {
            count_steps(1);
            self.ends.get(node).is_some_and(|end| *end >= at)
        };
        let mut node = self.leaves + self.count_begun(at).checked_sub(1)?;
        while !ends_later(node) {
            // go up until there is an earlier neighbour, then to that neighbour
            while node.is_multiple_of(2) {
                node /= 2;
            }
            node = node.checked_sub(1).filter(|earlier| *earlier != 0)?;
        }
        while node < self.leaves {
            node = if ends_later(2 * node + 1) { 2 * node + 1 } else { 2 * node };
        }
        self.runs.get(node - self.leaves).map(|(_, run)| *run)
    }

    fn count_begun(&self, at: u64) -> usize {
        self.runs.partition_point(|(begin, _)| {
            count_steps(1);
            *begin <= at
        })
    }
}

/// Tests count the steps of a search.
#[cfg(not(test))]
pub(super) fn count_steps(_: usize) {}

#[cfg(test)]
pub(super) fn count_steps(steps: usize) {
    tests::STEPS.with(|all| all.set(all.get() + steps as u64));
}

#[cfg(test)]
pub(super) mod tests;
