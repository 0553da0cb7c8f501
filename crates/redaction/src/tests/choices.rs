//! Tests of the search options: depth, private addresses, carry-over; and a user's rule for spelt addresses.

use super::super::{CustomRule, Detector, SearchOptions};
use super::{custom, redact, rules};

fn choosing(choices: SearchOptions) -> Detector {
    Detector::new(&rules(), &[]).map_err(|errors| errors.len()).expect("rules compile").with_options(choices)
}

/// Addresses of private networks stay by default and are replaced if chosen; addresses that identify nobody always
/// stay.
#[test]
fn private_addresses() {
    let (plain, all) = (
        choosing(SearchOptions::default()),
        choosing(SearchOptions { private_addresses: true, ..SearchOptions::default() }),
    );
    for text in [
        "from 10.1.2.3 on",
        "peer 192.168.1.7:443",
        "at 172.16.0.9",
        "via fd00:1234:abcd::17 now",
        "fe80::1ff:fe23:4567:890a up",
    ] {
        assert_eq!(redact(&plain, text), text);
        assert!(redact(&all, text).contains("[IP_ADDRESS]"), "{text}");
    }
    for text in ["on 127.0.0.1:80", "bind 0.0.0.0", "mask 255.255.255.0", "at ::1 there"] {
        assert_eq!(redact(&all, text), text);
    }
}

/// The user's rule for spelt mail addresses that docs/redaction.md has finds them, and nothing else.
#[test]
fn spelt_addresses() {
    let page = std::fs::read_to_string(fixtures::at("docs/redaction.md")).expect("the page");
    let rule = page.lines().find_map(|line| line.trim().strip_prefix("- ").filter(|rule| rule.contains("[(\\[]at")));
    let rule = rule.expect("the rule");
    let custom = config::load::parse_data("custom", rule).unwrap_or_else(|_| panic!("{rule}"));
    let detector = Detector::new(&rules(), &[custom]).unwrap_or_else(|errors| panic!("{errors:?}"));
    for (text, wanted) in [
        ("write to jane (at) example (dot) org.", "write to [EMAIL]."),
        ("jane.doe [at] example.org wrote", "[EMAIL] wrote"),
        ("meet at example dot com at noon, a[at] b", "meet at example dot com at noon, a[at] b"),
    ] {
        assert_eq!(redact(&detector, text), wanted);
    }
}

/// Text nested deeper than the chosen depth is replaced as unscanned, not forwarded.
#[test]
fn depth() {
    let nested = |levels: usize| {
        (0..levels).fold("password=tr0ub4dor3xyz".to_owned(), |text, _| serde_json::json!({"a": text}).to_string())
    };
    for (depth, levels, closed) in [(4, 3, false), (1, 4, true), (0, 3, true)] {
        let detector = choosing(SearchOptions { depth, ..SearchOptions::default() });
        let got = redact(&detector, &nested(levels));
        assert!(!got.contains("tr0ub4dor3xyz"), "{got}");
        assert_eq!(got.contains("[UNSCANNED]"), closed, "{depth} {levels}: {got}");
    }
}

/// Without carry-over, a bare copy of a value stays.
#[test]
fn carrying_over() {
    let text = "DB_PASSWORD=tr0ub4dor3xyz; Mr. Quesadero; psql tr0ub4dor3xyz Quesadero";
    let off = choosing(SearchOptions { redact_repeats: false, ..SearchOptions::default() });
    assert_eq!(redact(&off, text), "DB_PASSWORD=[PASSWORD]; Mr. [PERSON]; psql tr0ub4dor3xyz Quesadero");
    let on = choosing(SearchOptions::default());
    assert_eq!(redact(&on, text), "DB_PASSWORD=[PASSWORD]; Mr. [PERSON]; psql [PASSWORD] [PERSON]");
}

/// Patterns that match the empty text, single characters or most of a sentence are refused, unless words or a check
/// narrow them down; a search with any of them ends. (`errors` has the texts, and more such patterns.)
#[test]
fn rules_that_find_anything_are_refused() {
    let rule = |pattern: &str, near: &[&str]| CustomRule {
        near: near.iter().map(|word| (*word).to_owned()).collect(),
        ..custom("BADGE", pattern)
    };
    for pattern in
        [r"\b", r"\bx*", "(?m)^", r"\B", "a?", "[A-Za-z]+", "e", r"\S+", "[a-z ]{3,}", "(x)?", "a{1000}{1000}"]
    {
        assert!(Detector::new(&[], &[rule(pattern, &[])]).is_err(), "{pattern}");
    }
    for (pattern, near) in
        [(r"B\d{4}", &[][..]), (r"\bcat\b", &[]), (r"\d+", &["badge"]), (r"ref (\d*)", &[]), ("é{2}", &[])]
    {
        let Ok(detector) = Detector::new(&[], &[rule(pattern, near)]) else { panic!("{pattern}") };
        let text = "a badge 12 of B1234, ref \nref 7 cat éé";
        let shown = fixtures::guard::ends("rules", move || super::redact(&detector, text));
        assert!(shown.contains("[BADGE]") && !shown.contains("[BADGE][BADGE]"), "{pattern}: {shown}");
    }
}
