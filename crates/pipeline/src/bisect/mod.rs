//! [`find_poison_items`]: finds the items on which processing fails, by halving, so that one bad item does not hold
//! back the others. The number of attempts is bounded; items that can't be told apart within it count as poison (fail
//! closed). Processors are run in `worker`, which also has the poison items sealed.

#[cfg(test)]
mod tests;

/// Finds which of `count` items are poison, given that all of them together fail. `fails(from, to)` tries the items
/// `from..to`; it is called at most `tries` times. The result has `count` entries.
pub fn find_poison_items(count: usize, tries: usize, mut fails: impl FnMut(usize, usize) -> bool) -> Vec<bool> {
    let mut found = vec![false; count];
    let mut left = tries;
    let mut suspects = vec![(0, count)];
    while let Some((from, to)) = suspects.pop() {
        if to - from <= 1 || left < 2 {
            mark_poison(&mut found, from, to);
            continue;
        }
        let middle = from + (to - from) / 2;
        left -= 2;
        match (fails(from, middle), fails(middle, to)) {
            // The halves fail only together, so the poison items can't be told apart.
            (false, false) => mark_poison(&mut found, from, to),
            (first, second) => {
                // Pushed last, so that the left half is tried first.
                suspects.extend(second.then_some((middle, to)));
                suspects.extend(first.then_some((from, middle)));
            }
        }
    }
    found
}

fn mark_poison(found: &mut [bool], from: usize, to: usize) {
    for item in found.iter_mut().take(to).skip(from) {
        *item = true;
    }
}
