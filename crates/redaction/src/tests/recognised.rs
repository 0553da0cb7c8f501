//! Tests of external findings: offsets, pieces, overlaps.

use std::ops::Range;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::recognised::{ENTITIES, EntityHit, EntityRow, byte_ranges};
use super::super::{Detector, SearchScratch, replace_hits};
use super::rules;
use config::load;

static DETECTOR: LazyLock<Detector> = LazyLock::new(|| {
    let rows: Vec<EntityRow> = load::parse_data("recogniser.yaml", ENTITIES).unwrap();
    let mut all = rules();
    all.extend(rows.iter().map(EntityRow::rule_data));
    Detector::new(&all, &[]).unwrap()
});

fn rule(placeholder: &str) -> usize {
    DETECTOR.rule_index(&format!("recogniser_{}", placeholder.to_ascii_lowercase())).unwrap()
}

fn with(key: &str, text: &str, named: &[EntityHit]) -> String {
    let mut scratch = SearchScratch::new();
    let hits = DETECTOR.find_with_entities(key, text, named, &mut scratch).to_vec();
    replace_hits(text, &hits, &mut |hit, _, out| out.push_str(DETECTOR.placeholder(hit)))
}

/// `text` after each «part» was reported as PERSON, or «TYPE|part» as that type.
fn marked(text: &str) -> String {
    let (mut plain, mut named, mut rest) = (String::new(), Vec::new(), text);
    while let Some((head, (part, tail))) =
        rest.split_once('«').map(|(head, tail)| (head, tail.split_once('»').unwrap()))
    {
        plain += head;
        let (kind, part) = part.split_once('|').unwrap_or(("PERSON", part));
        named.push(EntityHit { range: plain.len()..plain.len() + part.len(), rule: rule(kind) });
        plain += part;
        rest = tail;
    }
    with("", &(plain + rest), &named)
}

/// Reported ranges are replaced, nothing else; rules still find their own matches.
#[test]
fn what_is_named_goes() {
    for (text, wanted) in [
        ("met «Jane Roe» in «LOCATION|Ulm» today", "met [PERSON] in [LOCATION] today"),
        ("«Jane Roe»", "[PERSON]"),
        ("the «PII|thing» of x@y.org", "the [PII] of [EMAIL]"),
        ("nobody « » here", "nobody   here"),
        ("met « Jane\n»then", "met  [PERSON]\nthen"),
        ("met «O'Brien» and 'x'", "met [PERSON] and 'x'"),
    ] {
        assert_eq!(marked(text), wanted, "{text}");
    }
}

/// Offsets count characters, where characters of other planes and marks count as one each; a character is replaced with
/// its marks.
#[test]
fn offsets_count_characters() {
    let text = "𝒳é e\u{301} 👩🏽\u{200d}🚀 Zoë";
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let all = (0..=chars.len() as u64).map(|at| (at, chars.len() as u64)).collect::<Vec<_>>();
    let got = byte_ranges(text, &all).unwrap();
    for (at, range) in got.iter().enumerate() {
        let start = chars.get(at).map_or(text.len(), |(start, _)| *start);
        assert_eq!(*range, start..text.len());
    }
    let base = text.find('e').unwrap();
    let half = EntityHit { range: base..base + 1, rule: rule("PERSON") };
    assert_eq!(with("", text, &[half]), "𝒳é [PERSON] 👩🏽\u{200d}🚀 Zoë");
    let face = text.find('👩').unwrap();
    let half = EntityHit { range: face..face + 4, rule: rule("PERSON") };
    assert!(with("", text, &[half]).contains("e\u{301} [PERSON]"));
}

/// An invalid offset must refuse the whole answer: the server counts bytes or UTF-16, or its answer is wrong.
#[test]
fn wrong_offsets_refuse_the_answer() {
    for text in ["abc", "äöü"] {
        let fine: [(u64, u64); 4] = [(0, 3), (3, 3), (0, 0), (1, 2)];
        assert!(byte_ranges(text, &fine).is_some());
        for wrong in [(0, 4), (4, 4), (2, 1), (u64::MAX, u64::MAX), (0, u64::MAX), (u64::MAX, 0)] {
            assert!(byte_ranges(text, &[fine[0], wrong]).is_none(), "{text} {wrong:?}");
        }
    }
    assert_eq!(byte_ranges("", &[(0, 0)]), Some(vec![Range { start: 0, end: 0 }]));
    assert_eq!(byte_ranges("äö", &[]), Some(Vec::new()));
}

/// Overlaps must follow the order of classes: rules on keys, shapes and checksums are more certain than a model. A
/// partial overlap is replaced whole.
#[test]
fn overlaps_follow_the_order() {
    for (text, wanted) in [
        ("from «jane.roe»@example.com now", "from [EMAIL] now"),
        ("«PERSON|mail jane.roe@exa»mple.com now", "[EMAIL] now"),
        ("card «PHONE|4111 1111 1111 1111» ok", "card [CREDIT_CARD] ok"),
        ("my name is «LOCATION|Jane Roe Smith».", "my name is [PERSON]."),
    ] {
        assert_eq!(marked(text), wanted, "{text}");
    }
    let overlapping = [("PERSON", 4..12), ("LOCATION", 9..20), ("PERSON", 4..12)];
    let named = overlapping.map(|(kind, range)| EntityHit { range, rule: rule(kind) });
    assert_eq!(with("", "see vorn qux of Ulm x now", &named), "see [LOCATION] x now", "longer wins, the union goes");
    let whole = EntityHit { range: 0..4, rule: rule("LOCATION") };
    assert_eq!(with("first_name", "Jane", &[whole]), "[PERSON]", "a key is surer");
}

/// Existing placeholders must stay, and must not protect the text next to them.
#[test]
fn placeholders_are_left() {
    for (text, wanted) in [
        ("to «[EMAIL]» x", "to [EMAIL] x"),
        ("to «Jane [EMAIL] Roe» x", "to [PERSON] [EMAIL] [PERSON] x"),
        ("to [E«MAIL] Roe» x", "to [EMAIL] [PERSON] x"),
        ("to «Jane [PERS»ON] x", "to [PERSON] [PERSON] x"),
        ("to «[PERSON:h-0123456789abcdef]» x", "to [PERSON:h-0123456789abcdef] x"),
    ] {
        assert_eq!(marked(text), wanted, "{text}");
    }
}

/// In JSON, quotes, brackets and escapes must stay, whatever is reported; numbers become strings.
#[test]
fn json_stays_json() {
    for (text, wanted) in [
        (r#"{"a": "met «Jane Roe", "b»": 1}"#, r#"{"a": "met [PERSON]", "[PERSON]": 1}"#),
        (r#"«{"a": "Jane"}»"#, r#"{"[PERSON]": "[PERSON]"}"#),
        (r#"{"a": "x\n«Jane»\ty"}"#, r#"{"a": "x\n[PERSON]\ty"}"#),
        (r#"{"a": "x\«nJane Roe\»ty"}"#, r#"{"a": "x\n[PERSON]\ty"}"#),
        (r#"{"a": "vor«\u00e9 qux»ont"}"#, r#"{"a": "vor[PERSON]ont"}"#),
        (r#"{"a": "«vor\u00»e9 X"}"#, r#"{"a": "[PERSON] X"}"#),
        (r#"{"a": "«\ud83d»\ude80 X"}"#, r#"{"a": "[PERSON] X"}"#),
        (r#"{"a": «12345», "b": [«1.5»]}"#, r#"{"a": "[PERSON]", "b": ["[PERSON]"]}"#),
        (r#"{"a": «true», "b": «null»}"#, r#"{"a": true, "b": null}"#),
        (r#""{\"a\": «12345»}""#, r#""{\"a\": \"[PERSON]\"}""#),
        (r#"{"a": 1«23»45, "b": -«1»e5}"#, r#"{"a": "[PERSON]", "b": "[PERSON]"}"#),
        (r#"{"a": "codes: «12345», or [«1», 2]"}"#, r#"{"a": "codes: [PERSON], or [[PERSON], 2]"}"#),
        (r#"{"a": t«ru»e}"#, r#"{"a": true}"#),
        ("{'a': 'met «Jane', 'b»': 1}", "{'a': 'met [PERSON]', '[PERSON]': 1}"),
    ] {
        assert_eq!(marked(text), wanted, "{text}");
        if text.contains('"') {
            assert!(serde_json::from_str::<serde_json::Value>(wanted).is_ok(), "{wanted}");
        }
    }
}

/// Matches that users allow must stay, as for rules.
#[test]
fn allowed_matches_stay() {
    let row = EntityRow { placeholder: "PERSON".to_owned(), entities: Vec::new() };
    let data = super::super::RuleData { allow: vec!["Claude( Code)?".to_owned()], ..row.rule_data() };
    let detector = Detector::new(&[data], &[]).unwrap();
    let named = [0..6, 11..15].map(|range| EntityHit { range, rule: 1 });
    let hits = detector.find_with_entities("", "Claude told Jane", &named, &mut SearchScratch::new()).to_vec();
    assert!(matches!(&hits[..], [hit] if hit.range == (12..15)), "the other one goes");
}

proptest! {
    /// For any reported ranges: no panic, these ranges are replaced and the rest stays, JSON stays valid, and reporting
    /// the same again in the output changes nothing.
    #[test]
    fn anything_may_be_named(
        parts in prop::collection::vec("[a-zA-Zéß字🚀 \"\\\\\\[\\]{}:,.'0-9\u{301}]{0,6}|\\[EMAIL\\]|\\\\u00e9|\\\\n|@", 0..12),
        cuts in prop::collection::vec((0_usize..80, 0_usize..20, 0_usize..4), 0..6),
        json in any::<bool>(),
    ) {
        let text = parts.concat();
        let text = if json { serde_json::to_string(&serde_json::json!({"k": text, "n": [1234567, true]})).unwrap() } else { text };
        let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let kinds = ["PERSON", "LOCATION", "PII", "EMAIL"].map(rule);
        let at = |index: usize| boundaries[index.min(boundaries.len() - 1)];
        let named: Vec<EntityHit> = cuts.iter()
            .map(|(start, len, kind)| EntityHit { range: at(*start)..at(start + len), rule: kinds[*kind] })
            .collect();
        let once = with("", &text, &named);
        prop_assert_eq!(&once, &with("", &text, &named), "the same twice");
        if json {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&once).is_ok(), "{}", once);
        }
        if !json && named.iter().all(|named| named.range.is_empty()) {
            prop_assert_eq!(&once, &super::redact(&DETECTOR, &text));
        }
    }
}
