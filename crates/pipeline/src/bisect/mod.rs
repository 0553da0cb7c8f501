//! **What**: [`poison`]: finds the items on which processing fails, by halving. **Why**: one bad item must not keep its
//! neighbours back. **Invariants**: the number of tries is bounded; what can't be told apart within it counts as poison
//! (fail closed). **Not here**: running processors (`worker`), sealing what was found (`quarantine`).

#[cfg(test)]
mod tests;

/// Which of `count` items are poison, given that all of them together fail. `fails(from, to)` tries the items
/// `from..to`; it is called at most `tries` times. Ends with a list as long as `count`.
pub fn poison(count: usize, tries: usize, mut fails: impl FnMut(usize, usize) -> bool) -> Vec<bool> {
    let mut found = vec![false; count];
    let mut left = tries;
    let mut suspects = vec![(0, count)];
    while let Some((from, to)) = suspects.pop() {
        if to - from <= 1 || left < 2 {
            mark(&mut found, from, to);
            continue;
        }
        let middle = from + (to - from) / 2;
        left -= 2;
        match (fails(from, middle), fails(middle, to)) {
            // Only the two halves together fail: they can't be told apart.
            (false, false) => mark(&mut found, from, to),
            (first, second) => {
                // The left half is looked at first: it is pushed last.
                suspects.extend(second.then_some((middle, to)));
                suspects.extend(first.then_some((from, middle)));
            }
        }
    }
    found
}

fn mark(found: &mut [bool], from: usize, to: usize) {
    for item in found.iter_mut().take(to).skip(from) {
        *item = true;
    }
}
