//! Tests of hostile and unlucky texts: fake placeholders, and texts that could take too long.

use super::super::regex::MAX_CACHE;
use super::super::{Detector, SearchScratch};
use super::properties::Random;
use super::{assert_redacted, custom, detector, redact, rules};
use fixtures::guard::ends;

/// A private value in square brackets is not a placeholder, although it has only capitals and digits.
#[test]
fn a_bracketed_secret_is_no_placeholder() {
    let detector = detector();
    for text in ["key [AKIAQ3EGRIU2SZKWX4FN] used", "account [GB29NWBK60161331926819]"] {
        let got = redact(detector, text);
        assert!(!got.contains("AKIAQ3") && !got.contains("GB29"), "{got}");
        assert_eq!(redact(detector, &got), got);
    }
    assert_redacted(&["[EMAIL] [JWT] [IP_ADDRESS]"]);
}

/// Search time is linear in the text for any input: a quadratic search would take minutes here, and candidates are not
/// read repeatedly.
#[test]
fn hostile_texts_take_linear_time() {
    for (name, text) in [
        ("jwt look-alikes", "eyJ-".repeat(60_000) + ".aaaaaaaaa"),
        ("addresses without a scheme", "abc@example.org ".repeat(80_000)),
        ("placeholders and addresses", "[EMAIL] 8.8.4.4 ".repeat(80_000)),
    ] {
        let size = text.len();
        let (got, read) = ends(name, move || {
            let (detector, mut scratch) = (detector(), SearchScratch::new());
            detector.find(&text, &mut scratch);
            (redact(detector, &text), scratch.bytes_read())
        });
        assert!(!got.contains("example.org") && !got.contains("8.8.4.4"), "{name}");
        assert!(read < 40 * size + (8 << 20), "{name}: {read} bytes of {size}");
    }
}

/// Keys in keys, headers in headers, documents and blocks that never end: no range is read from each of its bytes.
#[test]
fn hostile_secrets_end() {
    for piece in [
        "password=",
        "password='",
        "\"token\": \"{\\\"token\\\": ",
        "authorization: bearer ",
        "cookie: a=b ",
        "-----BEGIN PRIVATE KEY-----",
        "curl -u ",
        "aws ",
        "datadog 0a1b2c3d4e5f6071 ",
        "my key aB3dE6gH9jK2mN5pQ8rS1t ",
        "https://a:b",
        "| key | ",
        "1234567890:A",
        "password: a ",
        "Authorization: Basic ",
        "auth=(",
        "ssn: ",
        "Name: Jane ",
        "phone=",
        "Name:",
        "dob: 4 May ",
        "kind: Secret\n  ",
        "id/pw:",
        "schtasks /p ",
        "eyJ",
        "sk-",
        "{\"name\":",
        "{\"a\":[",
        "{\"name\":\"{",
        "(name, email) VALUES (",
        "name,email\n",
    ] {
        let text = piece.repeat(300_000 / piece.len());
        let got = ends(piece, move || redact(detector(), &text).len());
        assert!(got > 0, "{piece}");
    }
}

/// Failed tries never make a whole text private: faces of a model, dates and ports are numbers.
#[test]
fn texts_of_numbers_stay() {
    for piece in ["1/2/3 ", "3/7/2024,12\n", "interface 1/0/1\n", "x1$y2$"] {
        let text = piece.repeat(100_000 / piece.len());
        assert_eq!(redact(detector(), &text), text, "{piece}");
    }
}

/// Several headers on one line: the next header is not a credential of the previous one, so the text does not end as
/// unscanned, and each header is read, however long the line.
#[test]
fn headers_in_a_row_are_read() {
    let detector = detector();
    for scheme in ["Basic", "Bearer", "Token"] {
        let text = format!("Authorization: {scheme} ").repeat(50);
        assert_eq!(redact(detector, &text), text);
    }
    let text = (0..40).map(|n| format!("Authorization: Token aB3dE6gH9j{n}K2mN5pQ was taken ")).collect::<String>();
    let got = redact(detector, &text);
    assert!(got.matches("[API_KEY]").count() == 40 && !got.contains("aB3dE6"), "{got}");
}

/// DFA cache thrashing by built-in patterns: automata are built lazily and discarded when they exceed a limit, which a
/// crafted text could provoke repeatedly. Those of all built-in patterns stay far below the limit.
#[test]
fn dfa_cache_thrash_by_built_in_patterns() {
    const MARKS: &[u8] = b"abcxyzABCXYZ0123456789-_.:/+=";
    let (mut random, mut text) = (Random::new(7), String::new());
    let hits = rules().into_iter().filter(|rule| !rule.pattern.is_empty()).flat_map(|rule| rule.hits);
    let begins: Vec<String> = hits.filter_map(|hit| hit.split_once('«').map(|(_, value)| value.to_owned())).collect();
    for begin in begins.iter().cycle().take(4_000) {
        text.extend(begin.chars().take(4 + random.below(12)));
        text.extend((0..random.below(200)).map(|_| char::from(MARKS[random.below(MARKS.len())])));
        text.push(' ');
    }
    let mut scratch = SearchScratch::new();
    detector().find(&text, &mut scratch);
    let caches = scratch.state.automaton_caches.iter().flatten();
    let largest = caches.map(|(cache, _)| cache.memory_usage()).max().unwrap_or(0);
    assert!(largest > 0 && largest < MAX_CACHE, "{largest} bytes");
}

/// DFA cache thrashing by a user's pattern whose automaton has a state for each sequence of sixteen bits: another
/// engine takes over, time stays linear, and the findings are equal.
#[test]
fn dfa_cache_thrash_by_a_users_pattern() {
    let mut random = Random::new(11);
    let mut bits = |count: usize| (0..count).map(|_| if random.below(2) == 0 { '0' } else { '1' }).collect::<String>();
    let text = format!("{}1{}x {}x", bits(200_000), bits(15), "1".repeat(16));
    let found = ends("bits", move || {
        let detector =
            Detector::new(&[], &[custom("BITS", "[01]*1[01]{15}x")]).map_err(|errors| errors.len()).expect("compiles");
        let mut scratch = SearchScratch::new();
        let found: Vec<_> = detector.find(&text, &mut scratch).iter().map(|hit| hit.range.clone()).collect();
        assert!(!detector.unanchored.is_empty() && scratch.bytes_read() < 4 * text.len());
        found
    });
    assert_eq!(found, [0..200_017, 200_018..200_035]);
}

/// References to the vault occur in every pipeline, so an id is private if any rule set says so, in any order of sets.
#[test]
fn ids_follow_the_strictest_rules() {
    use std::sync::Arc;

    use super::super::{Detector, RedactionIdPolicy};
    use kernel::pseudonym::{IdPolicy, Pseudonymizer};
    use kernel::secret::Secret;

    let lax = Arc::new(Detector::new(&[], &[]).map_err(|errors| errors.len()).expect("no rules"));
    let strict = detector().clone();
    for detectors in [vec![lax.clone(), strict.clone()], vec![strict, lax]] {
        let ids = RedactionIdPolicy::new(detectors, Pseudonymizer::new(&Secret::new("key".to_owned())));
        assert!(ids.shown_id("default", "jane@example.com").starts_with("h-"));
        assert!(!ids.object_name_segment("default", "jane@example.com").contains("jane"));
        assert_eq!(ids.redact_column("default", "by jane@example.com"), "by [EMAIL]");
        assert_eq!(ids.shown_id("default", "sess-42"), "sess-42");
    }
}
