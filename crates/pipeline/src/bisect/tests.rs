use proptest::prelude::*;

use super::*;

proptest! {
    /// With enough attempts exactly the bad items must be found, whatever their number and positions; with few attempts
    /// every bad item must still be among those found, and the bound must hold.
    #[test]
    fn no_bad_item_is_missed(bad in proptest::collection::vec(any::<bool>(), 1..200), tries in 0_usize..40) {
        prop_assume!(bad.contains(&true));
        let found = find_poison_items(bad.len(), usize::MAX, |from, to| bad[from..to].contains(&true));
        prop_assert_eq!(&found, &bad);
        let mut calls = 0;
        let found = find_poison_items(bad.len(), tries, |from, to| {
            calls += 1;
            bad[from..to].contains(&true)
        });
        prop_assert!(calls <= tries);
        prop_assert!(bad.iter().zip(&found).all(|(bad, found)| !bad || *found));
    }
}

/// Items that fail only together must be kept back, not retried for ever.
#[test]
fn a_failure_of_the_whole_is_the_whole() {
    assert_eq!(find_poison_items(4, 100, |_, _| false), vec![true; 4]);
    assert_eq!(find_poison_items(1, 100, |_, _| false), vec![true]);
    assert_eq!(find_poison_items(0, 100, |_, _| true), Vec::<bool>::new());
}
