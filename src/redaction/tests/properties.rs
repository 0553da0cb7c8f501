//! What holds for every text: pieces of examples, of real texts and of noise in a row, and documents made of them.

use proptest::prelude::*;

use super::super::{Detector, Scratch, replace};
use super::{detector, rules};
use std::sync::LazyLock;

/// Numbers of a seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % limit.max(1) as u64).unwrap_or(0)
    }

    pub(super) fn pick<'t, T: AsRef<str>>(&mut self, list: &'t [T]) -> &'t str {
        list[self.below(list.len())].as_ref()
    }
}

/// Texts of the rules' examples, then real ones: documents, code, recorded telemetry.
pub(super) fn sources() -> &'static [String] {
    static SOURCES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let examples = rules().into_iter().flat_map(|rule| rule.hits.into_iter().chain(rule.misses));
        let real = [
            include_str!("../../../README.md"),
            include_str!("../find.rs"),
            include_str!("../../../config/examples/signoz.yaml"),
            include_str!("../../../tests/recordings/claude-code/detailed/002-logs.json"),
        ];
        let pieces = real.iter().flat_map(|text| text.as_bytes().chunks(240));
        let pieces = pieces.map(|piece| String::from_utf8_lossy(piece).into_owned());
        examples.map(|text| text.replace(['«', '»'], "")).chain(pieces).collect()
    });
    &SOURCES
}

const WORDS: &[&str] = &[
    "phone",
    "ssn",
    "card",
    "call",
    "account",
    "mrn",
    "born",
    "dob",
    "ip",
    "vin",
    "iban",
    "password",
    "token",
    "secret",
    "name",
    "address",
    "street",
    "email",
    "user",
    "Dear ",
    "my name is ",
    "twitch",
    "datadog",
    "aadhaar",
    "license",
];
const JOINTS: &[&str] = &[
    "", " ", "\n", ", ", ",", "\": \"", "\",\"", "=", ": ", "&", "=40", "%40", "\\n", "\\u0040", "@", ".", "-", "|",
    "\t", "&#64;", "=3D", "; ", "/", "\u{200b}", "\"", "'", "(", ")", "+",
];
const NOISE: &[char] = &[
    'a', 'b', 'c', 'e', 'A', 'B', 'F', 'x', 'y', 'z', '0', '1', '2', '4', '7', '9', ' ', '.', '-', '_', '@', ':', '/',
    '\\', '"', '\'', '=', '%', '&', '+', ';', ',', '<', '>', '{', '[', 'é', '｡', '０',
];

/// Some pieces in a row.
pub(super) fn spliced(random: &mut Random) -> String {
    let sources = sources();
    let mut text = String::new();
    for _ in 0..=random.below(5) {
        match random.below(8) {
            0 => text += random.pick(WORDS),
            1 => text
                .extend((0..=random.below(20)).map(|_| char::from(b'0' + u8::try_from(random.below(10)).unwrap_or(0)))),
            2 => text.extend((0..=random.below(12)).map(|_| NOISE[random.below(NOISE.len())])),
            3..=5 => text += random.pick(sources),
            _ => {
                let piece: Vec<char> = random.pick(sources).chars().collect();
                let from = random.below(piece.len());
                text.extend(piece.iter().skip(from).take(random.below(160)));
            }
        }
        text += random.pick(JOINTS);
    }
    text
}

/// A document of spliced texts: beside each other, and as documents in texts.
fn document(random: &mut Random) -> String {
    let mut text = spliced(random);
    for _ in 0..=random.below(3) {
        let key = spliced(random).chars().take(20).collect::<String>();
        let number = random.0 >> random.below(60);
        text = match random.below(3) {
            0 => serde_json::json!({"t": text, "n": number, "name": "x"}).to_string(),
            1 => serde_json::json!([text, {key: number}, random.pick(WORDS)]).to_string(),
            _ => serde_json::json!({random.pick(WORDS): text, "card": 4_111_111_111_111_111_u64, "x": [number]})
                .to_string(),
        };
    }
    text
}

/// Keys of attributes that say what their value is, and one that does not.
const KEYS: &[&str] = &["", "note", "address", "from", "dob", "phone", "card_number", "password", "user.full_name"];

/// The text after one pass.
fn once(detector: &Detector, key: &str, text: &str, scratch: &mut Scratch) -> String {
    let hits = detector.find_under(key, text, scratch).to_vec();
    replace(text, &hits, &mut |hit, _, out| out.push_str(detector.placeholder(hit)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// A second pass changes nothing, whatever stands together, under whatever key.
    #[test]
    fn a_second_pass_changes_nothing(seed in any::<u64>()) {
        let (detector, mut random, mut scratch) = (detector(), Random::new(seed), Scratch::new());
        let text = if random.below(3) == 0 { document(&mut random) } else { spliced(&mut random) };
        let key = random.pick(KEYS);
        let first = once(&detector, key, &text, &mut scratch);
        prop_assert_eq!(once(&detector, key, &first, &mut scratch), first);
    }

    /// What is a JSON document stays one: hits beyond a string's quote are parted, escapes go whole, numbers get quotes.
    #[test]
    fn documents_stay_documents(seed in any::<u64>()) {
        let (detector, mut random, mut scratch) = (detector(), Random::new(seed), Scratch::new());
        let text = document(&mut random);
        let first = once(&detector, "", &text, &mut scratch);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&first).is_ok(), "{} became {}", text, first);
    }

    /// The same text gives the same hits, whatever the scratch has seen before, and in whatever thread.
    #[test]
    fn nothing_but_the_text_counts(seed in any::<u64>()) {
        let (detector, mut random, mut used) = (detector(), Random::new(seed), Scratch::new());
        let texts: Vec<String> = (0..4).map(|_| spliced(&mut random)).collect();
        let fresh: Vec<String> = texts.iter().map(|text| once(&detector, "", text, &mut Scratch::new())).collect();
        let turned: Vec<String> = texts.iter().rev().map(|text| once(&detector, "", text, &mut used)).collect();
        prop_assert!(fresh.iter().eq(turned.iter().rev()));
        let there = std::thread::scope(|scope| {
            let work = || texts.iter().map(|text| once(&detector, "", text, &mut Scratch::new())).collect::<Vec<_>>();
            scope.spawn(work).join()
        });
        prop_assert!(there.is_ok_and(|there| there == fresh));
    }
}

/// Texts that once needed a second pass: a word's reach, the columns of a table, numbers beside numbers, whole documents.
#[test]
fn found_by_luck() {
    let (detector, mut scratch) = (detector(), Scratch::new());
    for (key, text) in [
        ("", "dob:00000000000000phone phone=000000000000000"),
        (
            "",
            "id,name,email,street\n1,Georges Perret,rocheadele@example.com,7, rue Lacroix\n2,Émilie Rey,zd@example.org,62, avenue de Julien",
        ),
        ("", "+1 415 555 2671/415-555-2672"),
        ("", "mail size=40jane@example.com =40b.example.com"),
        ("", "looker`2rkkhp1gm332jq5n 557367749tarjet-"),
        ("", "7 chemin e L o 2 l Drive"),
        ("address", "s 01 42 68 53 00 : , d e , 6 ,"),
        ("", "{\"a\":\"<token>\",\"b\":4,\"c\":\"x\"}"),
        ("", "[\"b_token:'\",{\"a\":1}]"),
        ("", "{\"a\":\"FacebookT\\t5bc5e4b4358/C70\",\"b\":8}"),
    ] {
        let first = once(&detector, key, text, &mut scratch);
        assert_eq!(once(&detector, key, &first, &mut scratch), first, "{text}");
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
        assert!(!text.starts_with(['{', '[']) || json(&first), "{text} became {first}");
    }
}

/// A word announces one value: what stands behind a placeholder is not announced by what stands before it.
#[test]
fn words_do_not_reach_beyond_placeholders() {
    let (detector, mut scratch) = (detector(), Scratch::new());
    for text in ["looker`2rkkhp1gm332jq5n 557367749tarjet-", "Netlify,5Y0zA3bC6dE9f012 7dxpqbdrlhlckr64"] {
        assert_eq!(detector.find(text, &mut scratch).len(), 1, "{text}");
    }
}

/// A text that never comes to rest is closed whole, and long texts are read again near what was found.
#[test]
fn long_texts_are_read_again_where_it_matters() {
    let (detector, mut scratch) = (detector(), Scratch::new());
    let filler = "the quick brown fox jumps over the lazy dog\n".repeat(400);
    for text in ["a@b.io0c@d.io", "+1 415 555 2671/415-555-2672"] {
        let first = once(&detector, "", &format!("{filler}{text}\n{filler}"), &mut scratch);
        assert_eq!(once(&detector, "", &first, &mut scratch), first);
        assert!(!first.contains("d.io") && !first.contains("2672"), "{text}");
    }
}
