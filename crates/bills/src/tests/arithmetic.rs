use proptest::prelude::*;

use crate::amounts::{format_amount, format_ratio, share, simplest_ratio, times_ratio};

proptest! {
    /// A share is never more than one unit off, and the shares of both parts add up to the whole or one less.
    #[test]
    fn shares_add_up(amount in 0_i128..10_i128.pow(26), whole in 1_u64..10_u64.pow(13), part in 0.0_f64..=1.0) {
        let part = ((whole as f64) * part) as u64;
        let (one, other) = (share(amount, part, whole), share(amount, whole - part.min(whole), whole));
        prop_assert!(amount - one - other <= 1 && amount - one - other >= 0);
    }

    /// The ratio that a contract has is found again from a rounded amount.
    #[test]
    fn a_discount_is_found_again(cents in 10_000_i128..100_000_000, thousandths in 1_u64..1_000) {
        let (whole, ratio) = (cents * 10_i128.pow(16), thousandths * 1_000_000);
        let (exact, cent) = (times_ratio(whole, ratio), 10_i128.pow(16));
        let rounded = (exact + cent / 2) / cent * cent;
        let found = simplest_ratio((rounded - cent / 2).max(0), rounded + cent / 2, whole).unwrap();
        // no other ratio has fewer digits and fits
        prop_assert!((times_ratio(whole, found) - rounded).abs() <= cent / 2 + 1);
        prop_assert!(format_ratio(found).len() <= format_ratio(ratio).len());
    }
}

/// Amounts that no float holds, and ratios that a careless multiplication overflows.
#[test]
fn large_and_small_amounts() {
    assert_eq!(share(i128::MAX / 4, u64::MAX, u64::MAX), i128::MAX / 4);
    assert_eq!(share(5, 1, 0), 0);
    assert_eq!(simplest_ratio(0, 0, 0), None);
    assert_eq!(simplest_ratio(i128::MAX / 4, i128::MAX / 4, i128::MAX / 2), Some(500_000_000));
    assert_eq!(simplest_ratio(88, 88, 100), Some(880_000_000));
    assert_eq!(format_ratio(880_000_000), "0.88");
    assert_eq!(format_amount(-1_234_567_000_000_000_000_000), "-1234.57");
    assert_eq!(format_amount(100_000_000_000), "0.0000001");
}
