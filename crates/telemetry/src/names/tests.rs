//! Tests of the table of metrics.

use std::collections::BTreeSet;

use super::ALL;

/// `/metrics` writes names without escaping and groups series by name: a duplicate or malformed name breaks every
/// scrape.
#[test]
fn metric_names_are_unique_and_well_formed() {
    let names: BTreeSet<&str> = ALL.iter().map(|def| def.name).collect();
    assert_eq!(names.len(), ALL.len());
    for name in names {
        let mut bytes = name.bytes();
        assert!(bytes.next().is_some_and(|byte| byte.is_ascii_lowercase()), "{name}");
        assert!(bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{name}");
    }
}
