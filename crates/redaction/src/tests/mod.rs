//! Tests of the rules (every example in the rule files) and of the engine's properties.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::{BUILTIN, CustomRule, Detector, RuleData, SearchScratch, replace_hits};
use config::load;

mod choices;
mod composite;
mod differential;
mod errors;
mod families;
mod glued;
mod hostile;
mod json;
mod keys_kept;
mod lines;
mod masks;
mod numbers;
mod offsets;
mod pairs;
mod properties;
mod recognised;
mod score;
mod service_logs;
mod tables;
mod word_score;
mod wordlists;

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/rules");

/// The rules of a set, read from its YAML files, so that a change of data needs no rebuild.
fn read_set<T: for<'de> serde::Deserialize<'de> + 'static>(set: &str) -> Vec<T> {
    let names: &[&str] = if set == "pii" { &["pii", "keys", "names"] } else { &[set] };
    let read = |name: &&str| std::fs::read_to_string(format!("{RULES}/{name}.yaml")).expect("a rule file");
    load::parse_data(set, &names.iter().map(read).collect::<Vec<_>>().join("\n")).expect("a rule file")
}

pub(super) fn rules() -> Vec<RuleData> {
    BUILTIN.iter().flat_map(|(set, _)| read_set(set)).collect()
}

/// The built-in sets are those of the YAML files. To generate them: `TOLLGATE_UPDATE=1 cargo test -p redaction`.
#[test]
fn builtin_is_the_yaml_files() {
    for (set, builtin) in BUILTIN {
        let (path, json) = (format!("{RULES}/{set}.json"), serde_json::to_string(&read_set::<serde_json::Value>(set)));
        let json = json.expect("JSON");
        if config::env::var("TOLLGATE_UPDATE").is_some() {
            std::fs::write(&path, &json).expect("written");
        }
        let is_current = std::fs::read_to_string(&path).is_ok_and(|text| text == json);
        assert!(is_current, "{path} is out of date: run with TOLLGATE_UPDATE=1");
        assert!(serde_json::from_str::<Vec<RuleData>>(builtin).is_ok(), "{path} has no rules");
    }
}

/// The built-in rules, compiled once because compilation takes longer than most tests.
pub(super) fn detector() -> &'static Arc<Detector> {
    static BUILT: LazyLock<Arc<Detector>> = LazyLock::new(|| {
        Arc::new(Detector::new(&rules(), &[]).map_err(|errors| format!("{errors:?}")).expect("rules compile"))
    });
    &BUILT
}

pub(super) fn redact(detector: &Detector, text: &str) -> String {
    let mut scratch = SearchScratch::new();
    let hits = detector.find(text, &mut scratch).to_vec();
    replace_hits(text, &hits, &mut |hit, _, out| out.push_str(detector.placeholder(hit)))
}

/// A user's rule with this pattern.
pub(super) fn custom(name: &str, pattern: &str) -> CustomRule {
    CustomRule { name: name.to_owned(), pattern: pattern.to_owned(), ..CustomRule::default() }
}

/// Checks that each «TYPE|part» of a row is replaced by that type and the rest stays, that a second pass changes nothing,
/// and that JSON stays JSON.
pub(super) fn assert_redacted(rows: &[&str]) {
    let is_json = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
    for row in rows {
        let (text, wanted) = marked(row, "");
        let got = redact(detector(), &text);
        assert_eq!(got, wanted, "{text}");
        assert_eq!(redact(detector(), &got), got, "a second pass");
        assert!(!is_json(&text) || is_json(&got), "{got}");
    }
}

/// The text of an example and its expected result: each «private part» is replaced, and each «TYPE|part» by that type.
fn marked(hit: &str, placeholder: &str) -> (String, String) {
    let (mut text, mut wanted, mut rest) = (String::new(), String::new(), hit);
    while let Some((head, (part, tail))) =
        rest.split_once('«').map(|(head, tail)| (head, tail.split_once('»').unwrap_or((tail, ""))))
    {
        let typed = part.split_once('|').filter(|(kind, _)| kind.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
        let (kind, part) = typed.unwrap_or((placeholder, part));
        text += &format!("{head}{part}");
        wanted += &format!("{head}[{kind}]");
        rest = tail;
    }
    (text + rest, wanted + rest)
}

/// Each rule has at least three hits and three near-misses. With all rules enabled, each hit loses exactly its marked
/// part, a second pass changes nothing, and each near-miss stays.
#[test]
fn every_example_of_every_rule() {
    let (detector, rules) = (detector(), rules());
    let mut failures = Vec::new();
    for rule in &rules {
        assert!(rule.hits.len() >= 3 && rule.misses.len() >= 3, "{} lacks examples", rule.name);
        for hit in &rule.hits {
            assert!(hit.contains('«'), "a marked part: {hit}");
            let (text, wanted) = marked(hit, &rule.placeholder);
            let got = redact(detector, &text);
            assert_eq!(redact(detector, &got), got, "a second pass");
            // The replacement of a bare number has quotes
            let quoted = format!("\"[{0}]\"", rule.placeholder);
            let got =
                if wanted.contains(&quoted) { got } else { got.replace(&quoted, &format!("[{}]", rule.placeholder)) };
            if got != wanted {
                failures.push(format!("{}: wanted {wanted:?}, got {got:?}", rule.name));
            }
        }
        for miss in &rule.misses {
            let got = redact(detector, miss);
            if got != *miss {
                failures.push(format!("{}: near-miss became {got:?}", rule.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The texts of `tests/cases/redaction.yaml`, where each group says what must not regress.
#[test]
fn texts_of_the_cases() {
    let text = std::fs::read_to_string(fixtures::at("tests/cases/redaction.yaml")).expect("the cases");
    let sections: BTreeMap<String, BTreeMap<String, Vec<String>>> =
        load::parse_data("redaction.yaml", &text).expect("sections");
    let rows = |section: &str| sections[section].values().flatten().map(String::as_str).collect::<Vec<&str>>();
    assert_redacted(&rows("redacted"));
    assert_redacted(&rows("in_json_too"));
    let quoted = |text: &str| serde_json::json!({ "o": text }).to_string();
    for (text, wanted) in rows("in_json_too").iter().map(|row| marked(row, "")) {
        assert_eq!(redact(detector(), &quoted(&text)), quoted(&wanted), "in a string of JSON");
    }
    for row in rows("hidden") {
        let got = redact(detector(), &row.replace(['«', '»'], ""));
        let mut parts = row.split('«').skip(1).filter_map(|rest| rest.split('»').next());
        assert!(parts.all(|part| !got.contains(part)), "{row}: {got}");
    }
}

/// A partial overlap is replaced whole by the winner; no tail of the loser is left.
#[test]
fn overlaps_merge() {
    let got = redact(detector(), "db postgres://jane:pw12345@example.com/x");
    assert_eq!(got, "db postgres://[CONNECTION_STRING]@example.com/x");
    assert_redacted(&["https://example.com:8080?x=«EMAIL|bob@example.org»"]);
    let detector =
        Detector::new(&rules(), &[custom("CASE", "case-[0-9]+ for bob")]).unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(redact(&detector, "case-77 for bob@example.com"), "[CASE]");
}

/// Users' rules win over built-in ones, and may require a nearby word, a check or a key; an allowed match stays, the same
/// text elsewhere does not.
#[test]
fn users_rules_with_conditions() {
    let parse = |text: &str| load::parse_data::<CustomRule>("custom", text).unwrap_or_else(|_| panic!("{text}"));
    let made = |text: &str| Detector::new(&rules(), &[parse(text)]).unwrap_or_else(|_| panic!("{text}"));
    let plain = made(r"{name: ACCOUNT_ID, pattern: 'ACC-\d{8}'}");
    assert_eq!(redact(&plain, "for ACC-12345678."), "for [ACCOUNT_ID].");
    let near = made(r"{name: BADGE, pattern: 'B\d{4}', near: [badge, door]}");
    assert_eq!(redact(&near, "badge no. B1234; order B1234\nB1234"), "badge no. [BADGE]; order [BADGE]\nB1234");
    let spelt = made(r"{name: BADGE, pattern: 'B\d{4}', near: [badge no]}");
    assert_eq!(redact(&spelt, "badge_no=B1234\nbadge B1234"), "badge_no=[BADGE]\nbadge B1234");
    let luhn = made(r"{name: CARD, pattern: 'c:(\d{16})', validator: credit_card}");
    assert_eq!(redact(&luhn, "c:4111111111111111 c:4111111111111112"), "c:[CARD] c:4111111111111112");
    let check = "{pattern: '[0-9]{6}', sums: [{weights: [7, 6, 5, 4, 3], modulus: 11, checks: 0123456789X}]}";
    let data = made(&format!(r"{{name: STAFF, pattern: '\d{{6}}', near: [staff], within: 60, validator: {check}}}"));
    let text = "staff, of whom we know only a few in all the offices: 123462 123463";
    assert_eq!(redact(&data, text), text.replace("123462", "[STAFF]"));
    let id = made(r"{name: CPF, pattern: '\d{11}', validator: br_cpf, not_near: [order]}");
    assert_eq!(
        redact(&id, "at 39053344705\norder 39053344705\nat 39053344706"),
        "at [CPF]\norder 39053344705\nat 39053344706"
    );
    let keys = made("{name: BADGE, keys: [badge_no]}");
    assert_eq!(redact(&keys, r#"{"badge_no":"anything at all","x":1}"#), r#"{"badge_no":"[BADGE]","x":1}"#);
    let allow = made(r"{name: HOST, pattern: '[a-z]+\.corp', allow: ['www\.corp']}");
    assert_eq!(redact(&allow, "www.corp db.corp www.corpx"), "www.corp [HOST] www.corpx");
}

/// No context word has two apostrophes: a plain YAML scalar does not unescape them, so the word would never match.
#[test]
fn words_are_written_as_texts_have_them() {
    for rule in rules() {
        for word in rule.context.iter().chain(&rule.prose).chain(&rule.cues) {
            assert!(!word.contains("''"), "{}: {word}", rule.name);
        }
    }
}
