//! [`find_poison_items`]: finds the items on which processing fails, by halving, so that one bad item does not hold
//! back the others. The number of attempts is bounded; items that can't be told apart within this bound count as poison
//! (fail closed). The module `worker` runs the processors and has the poison items sealed.

#[cfg(test)]
mod tests;

/// Finds which of `count` items are poison, given that all of them together fail. `fails(from, to)` tries the items
/// `from..to`; it is called at most `tries` times. The result has `count` entries.
pub fn find_poison_items(count: usize, tries: usize, mut fails: impl FnMut(usize, usize) -> bool) -> Vec<bool> {
    let mut is_poison = vec![false; count];
    let mut tries_left = tries;
    let mut suspects = vec![(0, count)];
    while let Some((from, to)) = suspects.pop() {
        if to - from <= 1 || tries_left < 2 {
            mark_poison(&mut is_poison, from, to);
            continue;
        }
        let middle = from + (to - from) / 2;
        tries_left -= 2;
        match (fails(from, middle), fails(middle, to)) {
            // The halves fail only together, so the poison items can't be told apart.
            (false, false) => mark_poison(&mut is_poison, from, to),
            (left_fails, right_fails) => {
                suspects.extend(right_fails.then_some((middle, to)));
                // Pushed last, so that the left half is tried first.
                suspects.extend(left_fails.then_some((from, middle)));
            }
        }
    }
    is_poison
}

fn mark_poison(is_poison: &mut [bool], from: usize, to: usize) {
    for item in is_poison.iter_mut().take(to).skip(from) {
        *item = true;
    }
}
