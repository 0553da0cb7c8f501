//! Tests of counts with nouns.

use super::counted;

/// Only the count one takes the singular.
#[test]
fn one_thing_is_no_plural() {
    assert_eq!(
        [0_u64, 1, 2].map(|count| counted(count, "index line")),
        ["0 index lines", "1 index line", "2 index lines"]
    );
}
