//! Tests of the forms of instants.

use super::*;

/// Digits must not be lost or moved, at the ends of the range least of all.
#[test]
fn instants_have_the_form_of_rfc_3339() {
    for (at, expected) in [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1_795_737_296_007_000_089, "2026-11-26T23:54:56.007000089Z"),
        (951_782_399_999_999_999, "2000-02-28T23:59:59.999999999Z"),
        (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
    ] {
        assert_eq!(rfc3339(UnixNanos(at)), expected);
        assert_eq!(Some(date(UnixNanos(at)).as_str()), expected.get(..10));
    }
    assert_eq!(cut_to_minutes("2026-11-26T23:54:56.007000089Z"), "2026-11-26 23:54Z");
    assert_eq!(cut_to_minutes("-"), "-");
}
