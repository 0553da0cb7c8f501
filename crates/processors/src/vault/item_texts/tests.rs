use super::*;

/// Must not regress: a bucket reveals the order of magnitude and no more.
#[test]
fn buckets() {
    let cases =
        [(0, 0), (1, 1), (4, 2), (47, 20), (99, 50), (1043, 1000), (-7, -5), (i64::MIN, -5_000_000_000_000_000_000)];
    for (number, expected) in cases {
        assert_eq!(bucket(number), expected, "{number}");
    }
}
