//! **What**: [`Timeline`]: the runs of one trace or session by begin, asked which of them was under way at a time.
//! **Why**: a trace may hold thousands of runs and thousands of items that name none: a look at each run for each item
//! would be quadratic, and one sender could hold up all. **Invariants**: a question takes a number of steps that grows
//! with the logarithm of the runs. **Not here**: which question is asked (`resolve`).

/// See the module.
pub(super) struct Timeline {
    /// Begin and number, by rank.
    runs: Vec<(u64, usize)>,
    /// The latest ends as a tree: node `n` has the children `2n` and `2n + 1`, the root is 1, leaves are the runs.
    ends: Vec<u64>,
    /// Where leaves begin.
    leaves: usize,
}

impl Timeline {
    /// Of runs as (begin, end, number), sorted by rank, of which the begin is the first part.
    pub(super) fn of(sorted: &[(u64, u64, usize)]) -> Self {
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

    /// The run, if there is no other.
    pub(super) fn only(&self) -> Option<usize> {
        if let [(_, only)] = *self.runs { Some(only) } else { None }
    }

    /// The first of all.
    pub(super) fn first(&self) -> Option<usize> {
        self.runs.first().map(|(_, run)| *run)
    }

    /// The latest that had begun.
    pub(super) fn begun(&self, at: u64) -> Option<usize> {
        self.runs.get(self.count_begun(at).checked_sub(1)?).map(|(_, run)| *run)
    }

    /// The latest of those that had begun and were not over.
    pub(super) fn under_way(&self, at: u64) -> Option<usize> {
        let ends_later = |node: usize| {
            count_steps(1);
            self.ends.get(node).is_some_and(|end| *end >= at)
        };
        let mut node = self.leaves + self.count_begun(at).checked_sub(1)?;
        while !ends_later(node) {
            // up as long as there is nothing earlier beside it, then to what is
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

/// Tests count what a question costs.
#[cfg(not(test))]
pub(super) fn count_steps(_: usize) {}

#[cfg(test)]
pub(super) fn count_steps(steps: usize) {
    tests::STEPS.with(|all| all.set(all.get() + steps as u64));
}

#[cfg(test)]
pub(super) mod tests;
