//! Tests of which parts of addresses stay and which are removed.

use std::collections::BTreeMap;

use super::{MAX_ADDRESS_BYTES, shorten_address};
use crate::testing::request::case_file;

/// Ordinary addresses and routes stay unchanged, because dashboards group by them; free text is removed wherever it is
/// in an address, and the rest stays.
#[test]
fn what_is_said_goes_and_ordinary_addresses_stay() {
    let cases: BTreeMap<String, Vec<Vec<String>>> = case_file("tests/cases/addresses.yaml");
    for (key, case) in cases.iter().flat_map(|(key, cases)| cases.iter().map(move |case| (key, case))) {
        let (text, left) = (case[0].as_str(), case[case.len() - 1].as_str());
        assert_eq!(shorten_address(key, text).as_deref().unwrap_or(text), left, "{key} {text}");
        assert_eq!(shorten_address(key, left), None, "a second pass changes {left}");
    }
}

/// The result for a long address is bounded, and a second pass leaves it unchanged.
#[test]
fn the_result_is_bounded() {
    let said = serde_json::json!([{"role": "user", "content": "tell me ".repeat(700)}]).to_string();
    assert_eq!(shorten_address("url.query", &format!("m={said}&n=1")).as_deref(), Some("m=[…]&n=1"));
    for text in ["/ab".repeat(5_000), format!("/x?{}", "a=b&".repeat(5_000)), "a/".repeat(2_000), "/é".repeat(9_000)] {
        let left = shorten_address("url.full", &text).expect("it is cut");
        assert!(left.len() <= MAX_ADDRESS_BYTES && left.ends_with("[…]"), "{} bytes", left.len());
        assert_eq!(shorten_address("url.full", &left), None, "again");
    }
}
