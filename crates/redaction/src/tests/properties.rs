//! Properties of every text: spliced pieces of examples, real texts and noise, and documents made of them.

use proptest::prelude::*;

use super::super::{Detector, SearchScratch, replace_hits};
use super::families::made_from;
use super::{detector, rules};
use std::sync::LazyLock;

/// A random number generator with a seed.
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
            include_str!("../../../../README.md"),
            include_str!("../find.rs"),
            include_str!("../../../../config/examples/signoz.yaml"),
            include_str!("../../../../tests/recordings/claude-code/detailed/002-logs.json"),
        ];
        let pieces = real.iter().flat_map(|text| text.as_bytes().chunks(240));
        let pieces = pieces.map(|piece| String::from_utf8_lossy(piece).into_owned());
        examples.map(|text| text.replace(['«', '»'], "")).chain(pieces).collect()
    });
    &SOURCES
}

const WORDS: &[&str] = &[
    "phone", "ssn", "card", "call", "account", "mrn", "born", "dob", "ip", "vin", "iban", "password", "token",
    "secret", "name", "address", "street", "email", "user", "Dear ", "twitch", "datadog", "aadhaar", "license",
];
const JOINTS: &[&str] = &[
    "", " ", "\n", ", ", ",", "\": \"", "\",\"", "=", ": ", "&", "=40", "%40", "\\n", "\\u0040", "@", ".", "-", "|",
    "\t", "&#64;", "=3D", "; ", "/", "\u{200b}", "\"", "'", "(", ")", "+",
];
const NOISE: &[char] = &[
    'a', 'b', 'c', 'e', 'A', 'B', 'F', 'x', 'y', 'z', '0', '1', '2', '4', '7', '9', ' ', '.', '-', '_', '@', ':', '/',
    '\\', '"', '\'', '=', '%', '&', '+', ';', ',', '<', '>', '{', '[', 'é', '｡', '０',
];

/// Several random pieces joined together.
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

/// A document of spliced texts, side by side and nested in strings.
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

/// A string behind its key in the middle of a value that is a secret as a whole, or would be without the string.
fn within_a_secret(random: &mut Random) -> String {
    const AROUND: &[&str] = &[
        "define('AUTH_KEY', '*');",
        "AUTH_KEY='*'",
        "AUTH_KEY=*",
        "password: *",
        "secret = `*`",
        "<password>*</password>",
        "{\"password\":'*'}",
        "Cookie: a=*",
    ];
    const VALUES: &[&str] = &["John Smith", "jane@example.com", "415-555-0132", "219-09-9998", "4111111111111111"];
    let mut noise = |most: usize| -> String {
        (0..random.below(most)).map(|_| char::from(33 + u8::try_from(random.below(94)).unwrap_or(0))).collect()
    };
    let (before, behind) = (noise(40), noise(40));
    let (space, end) = (random.pick(&["", " "]), random.pick(&[",", "}"]));
    let string = format!("{before}\"{}\":{space}\"{}\"{end}{behind}", random.pick(WORDS), random.pick(VALUES));
    random.pick(AROUND).replace('*', &string)
}

/// Keys of attributes that name their value, and some that do not.
const KEYS: &[&str] = &["", "note", "address", "from", "dob", "phone", "card_number", "password", "user.full_name"];

/// The text after one pass.
fn once(detector: &Detector, key: &str, text: &str, scratch: &mut SearchScratch) -> String {
    let hits = detector.find_for_key(key, text, scratch).to_vec();
    replace_hits(text, &hits, &mut |hit, _, out| out.push_str(detector.placeholder(hit)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// A second pass changes nothing, for any text under any key.
    #[test]
    fn a_second_pass_changes_nothing(seed in any::<u64>()) {
        let (detector, mut random, mut scratch) = (detector(), Random::new(seed), SearchScratch::new());
        let text = match random.below(6) {
            0 | 1 => document(&mut random),
            2 => within_a_secret(&mut random),
            _ => spliced(&mut random),
        };
        let key = random.pick(KEYS);
        let first = once(detector, key, &text, &mut scratch);
        prop_assert_eq!(once(detector, key, &first, &mut scratch), first);
    }

    /// A JSON document stays valid: hits beyond a string's quote are split, escapes are replaced whole, numbers get
    /// quotes.
    #[test]
    fn documents_stay_documents(seed in any::<u64>()) {
        let (detector, mut random, mut scratch) = (detector(), Random::new(seed), SearchScratch::new());
        let text = document(&mut random);
        let first = once(detector, "", &text, &mut scratch);
        // Text that is too deep to decode is replaced whole
        prop_assume!(first != "[UNSCANNED]");
        prop_assert!(serde_json::from_str::<serde_json::Value>(&first).is_ok(), "{} became {}", text, first);
    }

    /// The same text gives the same hits, whatever the scratch was used for before, on any thread.
    #[test]
    fn nothing_but_the_text_counts(seed in any::<u64>()) {
        let (detector, mut random, mut used) = (detector(), Random::new(seed), SearchScratch::new());
        let texts: Vec<String> = (0..4).map(|_| spliced(&mut random)).collect();
        let fresh: Vec<String> = texts.iter().map(|text| once(detector, "", text, &mut SearchScratch::new())).collect();
        let turned: Vec<String> = texts.iter().rev().map(|text| once(detector, "", text, &mut used)).collect();
        prop_assert!(fresh.iter().eq(turned.iter().rev()));
        let there = std::thread::scope(|scope| {
            let work = || texts.iter().map(|text| once(detector, "", text, &mut SearchScratch::new())).collect::<Vec<_>>();
            scope.spawn(work).join()
        });
        prop_assert!(there.is_ok_and(|there| there == fresh));
    }
}

/// Texts that once needed a second pass: the reach of a word, the columns of a table, adjacent numbers, whole
/// documents.
#[test]
fn found_by_luck() {
    let (detector, mut scratch) = (detector(), SearchScratch::new());
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
        let first = once(detector, key, text, &mut scratch);
        assert_eq!(once(detector, key, &first, &mut scratch), first, "{text}");
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
        assert!(!text.starts_with(['{', '[']) || json(&first), "{text} became {first}");
    }
}

/// A word announces one value: a word before a placeholder does not announce text behind it.
#[test]
fn words_do_not_reach_beyond_placeholders() {
    let (detector, mut scratch) = (detector(), SearchScratch::new());
    for text in ["looker`2rkkhp1gm332jq5n 557367749tarjet-", "Netlify,5Y0zA3bC6dE9f012 7dxpqbdrlhlckr64"] {
        assert_eq!(detector.find(text, &mut scratch).len(), 1, "{text}");
    }
}

/// A text that never stabilises is replaced whole, and long texts are read again near the findings.
#[test]
fn long_texts_are_read_again_where_it_matters() {
    let (detector, mut scratch) = (detector(), SearchScratch::new());
    let filler = "the quick brown fox jumps over the lazy dog\n".repeat(400);
    for text in ["a@b.io0c@d.io", "+1 415 555 2671/415-555-2672"] {
        let first = once(detector, "", &format!("{filler}{text}\n{filler}"), &mut scratch);
        assert_eq!(once(detector, "", &first, &mut scratch), first);
        assert!(!first.contains("d.io") && !first.contains("2672"), "{text}");
    }
}

/// `text` in base64 without padding.
fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(text)
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The forms in which a value may occur.
const FORMS: &[fn(&str) -> String] = &[str::to_owned, base64, hex, percent];

/// Texts with a unique «value» that they identify; `drawn` explains the ‹slots›.
const TOLD: &[&str] = &[
    "to «‹l5›.‹l6›‹r2›@‹l6›.example.org» now",
    "push with «ghp_‹m36›» please",
    "DB_PASSWORD=«‹m9›‹r3›7Qx»",
    "call «+1 415 55‹r1›-‹r4›» after six",
    "ssn «219-09-‹r4›»",
    "client «203.0.113.‹122-199›» left",
    "{\"account_number\":\"«‹r10›»\"}",
    "\"api_key\": \"«‹m30›k3»\"",
    "key id «AKIA‹a16›»",
    "Authorization: Bearer «‹m6›9‹m9›»Zq8",
];

/// Whether `text` contains `value`: as it is, or in a run of base64 (at any of four offsets), hex or percent-encoding.
fn says(text: &str, value: &str) -> bool {
    use base64::Engine as _;
    if text.contains(value) || percent_decoded(text).contains(value) {
        return true;
    }
    let holds = |bytes: Vec<u8>| memchr::memmem::find(&bytes, value.as_bytes()).is_some();
    let in_run = |c: char| c.is_ascii_alphanumeric() || "+/-_".contains(c);
    text.split(|c| !in_run(c)).filter(|run| run.len() >= 11).any(|run| {
        let hexed = |from: usize| -> Vec<u8> {
            let digits = run.as_bytes().get(from..).unwrap_or_default();
            let pair = |two: &[u8]| std::str::from_utf8(two).ok().and_then(|two| u8::from_str_radix(two, 16).ok());
            digits.chunks(2).map_while(pair).collect()
        };
        let standard = run.replace('-', "+").replace('_', "/");
        let decoded = |from: usize| {
            let part = standard.get(from..from + (standard.len() - from) / 4 * 4).unwrap_or_default();
            let rest = standard.get(from..).unwrap_or_default();
            let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
            engine.decode(rest).or_else(|_| engine.decode(part)).unwrap_or_default()
        };
        (0..4.min(run.len())).any(|from| holds(decoded(from)) || holds(hexed(from)))
    })
}

fn percent_decoded(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some(byte) = rest.first() {
        let code = rest.get(1..3).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        let (taken, put) = if *byte == b'%' { code.map_or((1, *byte), |code| (3, code)) } else { (1, *byte) };
        out.push(put);
        rest = &rest[taken..];
    }
    String::from_utf8_lossy(&out).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// A value found in a text does not survive elsewhere in it: neither as it is, nor in base64, hex or
    /// percent-encoding.
    #[test]
    fn no_finding_survives(seed in any::<u64>()) {
        let (detector, mut random, mut scratch) = (detector(), Random::new(seed), SearchScratch::new());
        let (announced, value, rest) = made_from(random.pick(TOLD), &mut random);
        let mut around = || {
            let text: String = spliced(&mut random).chars().take(160).collect();
            // An unclosed quote would make one value of everything
            text.replace(['"', '\'', '`', '\\'], " ")
        };
        let (before, behind) = (around(), around());
        let forms: Vec<String> = FORMS.iter().map(|form| form(&value)).collect();
        let copies = match seed % 3 {
            0 => forms.join(" "),
            1 => forms.join("\n"),
            _ => format!("x={} y: {}, \"{}\" ({})", forms[0], forms[1], forms[2], forms[3]),
        };
        let text = format!("{before}\n{announced}{value}{rest}\n{behind}\n{copies}\n");
        // A value not found at its own position is a miss, which this test does not cover
        let at = before.len() + 1 + announced.len();
        let found = detector.find(&text, &mut scratch).iter().any(|hit| hit.range == (at..at + value.len()));
        prop_assume!(found);
        let first = once(detector, "", &text, &mut scratch);
        prop_assert!(!says(&first, &value), "{} of {} in {}", value, text, first);
    }
}

/// Of the values that are carried over, parts of other words stay.
#[test]
fn values_within_words_stay() {
    let (detector, mut scratch) = (detector(), SearchScratch::new());
    for text in ["password: Production1 and xProduction1y", "dob 1990-04-05, build 11990-04-051"] {
        assert_eq!(detector.find(text, &mut scratch).len(), 1, "{text}");
    }
}
