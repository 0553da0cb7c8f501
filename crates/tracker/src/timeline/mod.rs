//! [`Timeline`]: the runs of one trace or session by start time, searched for the run that was under way at a given
//! time. A trace may hold thousands of runs, and thousands of items that name no run; comparing each item with each run
//! would take quadratic time, so a search takes logarithmic time. `resolve` uses it.

pub(super) struct Timeline {
    /// Start and number of each run, by rank.
    runs: Vec<(u64, usize)>,
    /// The latest end below each node of a binary tree: node `n` has the children `2n` and `2n + 1`, the root is 1, the
    /// leaves are the runs.
    ends: Vec<u64>,
    /// Index of the first leaf in `ends`.
    first_leaf: usize,
}

impl Timeline {
    /// Builds a timeline from runs as (start, end, number), sorted by rank; the start is the first part of the rank.
    pub(super) fn build(ranked: &[(u64, u64, usize)]) -> Self {
        let first_leaf = ranked.len().next_power_of_two();
        let mut ends = vec![0; first_leaf];
        ends.extend(ranked.iter().map(|(_, end, _)| *end));
        ends.resize(2 * first_leaf, 0);
        for node in (1..first_leaf).rev() {
            let end_below = |child: usize| ends.get(child).copied().unwrap_or(0);
            let latest = end_below(2 * node).max(end_below(2 * node + 1));
            if let Some(end) = ends.get_mut(node) {
                *end = latest;
            }
        }
        Self { runs: ranked.iter().map(|(start, _, run)| (*start, *run)).collect(), ends, first_leaf }
    }

    /// The run, if there is exactly one.
    pub(super) fn only_run(&self) -> Option<usize> {
        if let [(_, only)] = *self.runs { Some(only) } else { None }
    }

    pub(super) fn first_run(&self) -> Option<usize> {
        self.runs.first().map(|(_, run)| *run)
    }

    /// The latest run that had started by `time`.
    pub(super) fn latest_begun(&self, time: u64) -> Option<usize> {
        self.runs.get(self.count_begun(time).checked_sub(1)?).map(|(_, run)| *run)
    }

    /// The latest run that had started by `time` and had not ended.
    pub(super) fn latest_under_way(&self, time: u64) -> Option<usize> {
        let has_open_run = |node: usize| {
            count_steps(1);
            self.ends.get(node).is_some_and(|end| *end >= time)
        };
        let mut node = self.first_leaf + self.count_begun(time).checked_sub(1)?;
        while !has_open_run(node) {
            // go up until there is an earlier neighbour, then to that neighbour
            while node.is_multiple_of(2) {
                node /= 2;
            }
            node = node.checked_sub(1).filter(|earlier| *earlier != 0)?;
        }
        while node < self.first_leaf {
            node = if has_open_run(2 * node + 1) { 2 * node + 1 } else { 2 * node };
        }
        self.runs.get(node - self.first_leaf).map(|(_, run)| *run)
    }

    fn count_begun(&self, time: u64) -> usize {
        self.runs.partition_point(|(start, _)| {
            count_steps(1);
            *start <= time
        })
    }
}

/// Tests count the steps of searches.
#[cfg(not(test))]
pub(super) fn count_steps(_: usize) {}

#[cfg(test)]
pub(super) fn count_steps(steps: usize) {
    tests::STEPS.with(|total| total.set(total.get() + steps as u64));
}

#[cfg(test)]
pub(super) mod tests;
