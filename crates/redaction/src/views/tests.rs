//! Tests of views: the findings of each encoding, correct maps, and texts that must not change.

use base64::Engine as _;
use proptest::prelude::*;

use super::super::anchors::Anchors;
use super::super::scan::{PrivateClaims, TextScan};
use super::super::tests::{assert_redacted, detector, redact};
use super::super::{Detector, RedactionHit, replace_hits};
use super::decoded_view::DecodedView;
use super::{ViewEncoding, ViewOrigin};

/// No encoding hides a value, and the text around it stays unchanged.
#[test]
fn hidden_values_are_found() {
    assert_redacted(&[
        // JSON, C, JavaScript
        r"mail «EMAIL|bob\u0040example\u002ecom» now",
        r"mail «EMAIL|bob\x40example.com» now",
        r"mail «EMAIL|bob\u{40}example.com» now",
        r"line\n«EMAIL|bob\u0040example.com»\nnext",
        r#"{"a":"{\"b\":\"x \\u0040 «EMAIL|bob\\u0040example.com»\"}"}"#,
        r"«EMAIL|john\_doe@example.com»",
        // HTML
        "to «EMAIL|bob&#64;example&#x2e;com».",
        "to «EMAIL|bob&commat;example&period;com».",
        "<p>«EMAIL|bob@example.com»&nbsp;</p>",
        // Percent and forms
        "/u?to=«EMAIL|bob%40example.com»&x=1",
        "/u?to=«EMAIL|bob%2540example.com»&x=1",
        "q=call+«PHONE|%2B44+20+7946+0958»+now",
        // Quoted-printable
        "To: «EMAIL|bob=40example.com», you",
        "Content-Transfer-Encoding: quoted-printable\n\nto «EMAIL|bob=40exam=\nple.com»",
        // Characters
        "ＳＳＮ «SSN|５３６-９０-４３９９» given",
        "«EMAIL|b\u{200b}o\u{200b}b@exam\u{ad}ple.com»\u{feff}",
        "«EMAIL|bob＠example．com»",
        "«EMAIL|b\u{43e}b@ex\u{430}mple.com»",
        "ssn «SSN|536–90–4399»",
        "رقم «SSN|٥٣٦-٩٠-٤٣٩٩»",
        "«EMAIL|𝐛𝐨𝐛@example.com»",
        // Terminals
        "\u{1b}[31m«EMAIL|bob\u{1b}[0m@example.com»\u{1b}[0m",
        r"\u001b[31m«EMAIL|bob\u001b[0m@example.com»",
        r"\e[32mpassword\e[0m=«PASSWORD|hunter2x»",
        r"\033[31m«EMAIL|bob\033[0m@example.com»",
    ]);
}

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Base32 (RFC 4648) without padding.
fn to_base32(bytes: &[u8]) -> String {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let letter = |group: &[u8]| {
        let value =
            group.iter().chain([0; 4].iter()).take(5).fold(0_usize, |value, bit| value << 1 | usize::from(*bit));
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[value])
    };
    bits.chunks(5).map(letter).collect()
}

/// A finding in a blob replaces the whole blob, however it is wrapped.
#[test]
fn blobs_go_whole() {
    let detector = detector();
    let text = "Contact bob@example.com or (212) 555-0128 today, please do not call at night";
    let blob = base64(text);
    let url = blob.replace('+', "-").replace('/', "_");
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let wide = base64(&text.chars().flat_map(|char| [char, '\0']).collect::<String>());
    let packed = |text: &str| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, text.as_bytes()).expect("to memory");
        gzip.finish().expect("to memory")
    };
    let gzip = base64::engine::general_purpose::STANDARD.encode(packed(text));
    let gzip_in_base32 = to_base32(&packed(text));
    let gzip_in_hex: String = packed(text).iter().map(|byte| format!("{byte:02x}")).collect();
    // a gzip file may have several members (RFC 1952, section 2.2)
    let members = [packed("nothing to be found in this one, it is only here to be first "), packed(text)].concat();
    let members = base64::engine::general_purpose::STANDARD.encode(members);
    let lines = |end: &str| {
        let chunks: Vec<&str> =
            blob.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).expect("ascii")).collect();
        chunks.join(end)
    };
    for blob in [
        blob.clone(),
        url,
        hex,
        wide,
        gzip,
        gzip_in_base32,
        gzip_in_hex,
        members,
        lines("\n"),
        lines("\r\n"),
        lines("\\n"),
    ] {
        for (before, behind) in [("{\"data\":\"", "\"}"), ("data:text/plain;base64,", " "), ("x\\n", "\\n")] {
            let text = format!("{before}{blob}{behind}");
            let wanted = format!("{before}[EMAIL]{behind}");
            let got = redact(detector, &text).replace("[PHONE]", "[EMAIL]");
            assert_eq!(got, wanted, "{text}");
        }
    }
    let twice = base64(&base64(text));
    assert_eq!(redact(detector, &twice).replace("[PHONE]", "[EMAIL]"), "[EMAIL]");
}

/// Plain text, accents, typography, emoji, hashes, pictures and Windows paths open no window, so they cost nothing.
#[test]
fn ordinary_text_has_no_views() {
    let detector = detector();
    let texts = [
        "naïve café — “quoted” … Zürich’s Österreicher, 12 – 14 Uhr",
        "日本語のテキスト、句読点。「引用」",
        "✔️ done 👩‍💻 🇩🇪 ok",
        r#"{"text":"one\ntwo\nthree said \"hello\" and left\tagain"}"#,
        r"C:\Users\name\Documents and \d+\w*\s",
        "if a == b && c != d { e %= 10; }",
        "GET /search?a=1&b=2&c=3&width=40&height=50",
        "100% of 5 %",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8 by path/to/some/very/long/directory/name/here",
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
        "m² and x³, H₂O",
    ];
    for text in texts {
        assert_eq!(opened(detector, text), Vec::<(ViewEncoding, String)>::new(), "{text}");
    }
}

/// A nested document is decoded only if it contains a known word.
#[test]
fn documents_are_windows() {
    let detector = detector();
    let text = r#"{"args":"{\"k\":\"ghp_x\",\"n\":1}","other":"{\"zq\":1}","t":"a\nb"}"#;
    let opened = opened(detector, text);
    assert_eq!(opened, [(ViewEncoding::Escapes, r#"{\"k\":\"ghp_x\",\"n\":1}"#.to_owned())]);
}

/// The windows of a text.
fn opened(detector: &Detector, text: &str) -> Vec<(ViewEncoding, String)> {
    let mut anchors = Anchors::default();
    anchors.find(text.as_bytes(), &detector.stems);
    let claims = PrivateClaims::default();
    let scan = TextScan { text, anchors: &anchors, placeholders: &[], detector, claims: &claims };
    let mut all = Vec::new();
    for kind in ViewEncoding::ALL {
        let mut windows = Vec::new();
        kind.find_windows(&scan, &ViewOrigin::default(), &mut windows);
        all.extend(windows.into_iter().map(|window| (kind, text[window].to_owned())));
    }
    all
}

/// Text beyond the limits of depth or size is not forwarded.
#[test]
fn beyond_the_bounds_it_is_closed() {
    let detector = detector();
    let deep = format!("x &{}#64; y", "amp;".repeat(9));
    assert_eq!(redact(detector, &deep), "[UNSCANNED]");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut gzip, "all is well. ".repeat(10_000).as_bytes()).expect("to memory");
    let bomb = base64::engine::general_purpose::STANDARD.encode(gzip.finish().expect("to memory"));
    assert_eq!(redact(detector, &format!("a {bomb} b")), "a [UNSCANNED] b");
}

/// Quotes around a number have as many backslashes as its level of escapes needs.
#[test]
fn nested_numbers_get_nested_quotes() {
    let mut out = String::new();
    let hit = |bare| RedactionHit { range: 1..2, rule: 0, added_quotes: bare };
    for (bare, wanted) in [(None, "a[X]c"), (Some(0), "a\"[X]\"c"), (Some(1), "a\\\"[X]\\\"c")] {
        out.clear();
        out.push_str(&replace_hits("abc", &[hit(bare)], &mut |_, _, out| out.push_str("[X]")));
        assert_eq!(out, wanted);
    }
}

/// Encodings of a value that leave it the same value.
fn written(way: usize, text: &str) -> String {
    let all = |each: &dyn Fn(char) -> String| text.chars().map(each).collect::<String>();
    match way {
        0 => text.to_owned(),
        1 => all(&|char| format!("\\u{:04x}", u32::from(char))),
        2 => all(&|char| format!("\\x{:02X}", u32::from(char))),
        3 => all(&|char| format!("&#{};", u32::from(char))),
        4 => all(&|char| format!("&#x{:x};", u32::from(char))),
        5 => all(&|char| format!("%{:02X}", u32::from(char))),
        6 => written(5, &written(5, text)),
        7 => all(&|char| format!("{char}\u{200b}")),
        8 => all(&|char| char::from_u32(u32::from(char) + 0xfee0).expect("a character").to_string()),
        9 => base64(&format!("this is what was sent to you: {text} and no more")),
        10 => written(1, text).replace('\\', "\\\\"),
        11 => {
            format!("Content-Transfer-Encoding: quoted-printable\n{}", all(&|char| format!("={:02X}", u32::from(char))))
        }
        12 => serde_json::to_string(&written(1, text)).expect("a string"),
        13 => written(5, &written(3, text)),
        _ => written(3, &written(5, text)),
    }
}

proptest! {
    /// A value that is found in clear does not survive in any encoding.
    #[test]
    // The surrounding letters form no words: `po`, for example, would announce an order number
    fn no_form_hides_a_value(way in 0_usize..15, value in 0_usize..4, before in "[bdfghjkz]{0,12}", behind in "[bdfghjkz]{0,12}") {
        let values = ["john.doe77@example.com", "4111-1111-1111-1111", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "536-90-4399"];
        let value = values[value];
        let hidden = written(way, value);
        let got = redact(detector(), &format!("{before} {hidden} {behind}"));
        prop_assert!(!got.contains(&hidden), "{got}");
        prop_assert!(got.starts_with(&before) && got.ends_with(&behind) && got.contains('['), "{got}");
        for other in 0..15 {
            let form = written(other, value);
            prop_assert!(!got.contains(form.trim_matches('"')), "{got}");
        }
    }

    /// For any escapes: no panic, whole characters, and a second pass changes nothing.
    #[test]
    fn any_escapes_are_idempotent(text in r#"([a-z0-9@.:=%&;\\"+ \n]|\\u00[2-7][0-9a-f]|%[2-7][0-9A-F]|&#[3-9][0-9];|&amp;|=40|\\"|\\\\|bob@example\.com|[０-９ａ-ｚ＠]|\u{200b}|\*\*|\{"|"\}|":"){0,60}"#) {
        let once = redact(detector(), &text);
        prop_assert_eq!(redact(detector(), &once), once);
    }

    /// Maps are correct: ranges lie on character boundaries, decoding a mapped range again gives the same text, and
    /// text that is not decoded is equal in both.
    #[test]
    fn maps_are_true(text in r#"([a-z0-9@. é日]|\\u00[2-7][0-9a-f]|\\n|\\\\|%[2-7][0-9A-F]|%C3%A9|&#[3-9][0-9];|&amp;|=40|=\n|[０-９＠]|\u{200b}){1,40}"#, from in 0_usize..40, len in 1_usize..20) {
        let anchors = Anchors::default();
        let detector = detector();
        let claims = PrivateClaims::default();
        let scan = TextScan { text: &text, anchors: &anchors, placeholders: &[], detector, claims: &claims };
        for kind in [ViewEncoding::Escapes, ViewEncoding::Html, ViewEncoding::Percent, ViewEncoding::QuotedPrintable, ViewEncoding::Unicode, ViewEncoding::Terminal] {
            let mut view = DecodedView::default();
            if !kind.decode(&scan, 0..text.len(), 1 << 20, &mut view) {
                continue;
            }
            let ends: Vec<usize> = view.text.char_indices().map(|(at, _)| at).chain([view.text.len()]).collect();
            let (from, to) = (from % ends.len(), (from % ends.len() + len).min(ends.len() - 1));
            if from >= to {
                continue;
            }
            let decoded = view.text[ends[from]..ends[to]].to_owned();
            let range = view.map_range(&(ends[from]..ends[to]));
            prop_assert!(text.is_char_boundary(range.start) && text.is_char_boundary(range.end));
            let stretch = &text[range];
            let mut again = DecodedView::default();
            let part = TextScan { text: stretch, anchors: &anchors, placeholders: &[], detector, claims: &claims };
            let changed = kind.decode(&part, 0..stretch.len(), 1 << 20, &mut again);
            // `+` and dots depend on their surroundings
            if kind != ViewEncoding::Percent && kind != ViewEncoding::Unicode {
                prop_assert_eq!(if changed { again.text.as_str() } else { stretch }, decoded);
            }
        }
    }
}

/// A token split into list items is replaced in each, quotes and JSON stay; items that do not form one are left alone.
#[test]
fn what_was_cut_into_items_goes_from_each() {
    let detector = detector();
    let token = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    for cut in [8, 20, 30] {
        let (head, tail) = token.split_at(cut);
        for (text, wanted) in [
            (format!(r#"["{head}","{tail}"]"#), r#"["[GITHUB_TOKEN]","[GITHUB_TOKEN]"]"#),
            (format!("['{head}',\n '{tail}']"), "['[GITHUB_TOKEN]',\n '[GITHUB_TOKEN]']"),
            (format!(r#"{{"a":"[\"{head}\",\"{tail}\"]"}}"#), r#"{"a":"[\"[GITHUB_TOKEN]\",\"[GITHUB_TOKEN]\"]"}"#),
        ] {
            assert_eq!(redact(detector, &text), wanted);
        }
    }
    assert_redacted(&[
        r#"["ghp_16C7","and","more","words"]"#,
        r#"["AKIA", "is a prefix"]"#,
        r#"["user@host","admin"]"#,
    ]);
}

/// A number split into all items of a list is replaced in each; items that are separators stay.
#[test]
fn numbers_cut_into_items_go_from_each() {
    let detector = detector();
    assert_redacted(&[
        r#"My card number is ["«CREDIT_CARD|4539 1488»", "«CREDIT_CARD| 0343 6467»"]"#,
        r#"pay with ["«CREDIT_CARD|54252334»","«CREDIT_CARD|30109903»"]"#,
        r#"My SSN is ["«SSN|536-2»", "«SSN|2-0020»"]"#,
        r#"{"phone": ["«PHONE|(415) 5»", "«PHONE|55-0023»"]}"#,
        "SSN: ['«SSN|536-2»',\n '«SSN|2-0020»']",
        r#"IBAN: ["«IBAN|DE89 3704 004»", "«IBAN|4 0532 0130 00»"]"#,
        r#"login from client ip ["«IP_ADDRESS|203.0.»", "«IP_ADDRESS|113.22»"]"#,
        r#"date of birth: ["«DATE_OF_BIRTH|1984-»", "«DATE_OF_BIRTH|03-25»"]"#,
        r#"{"a":"{\"card\": [\"«CREDIT_CARD|4539 1488»\", \"«CREDIT_CARD| 0343 6467»\"]}"}"#,
    ]);
    let spelt = |text: &str| text.chars().map(|char| format!("\"{char}\"")).collect::<Vec<_>>().join(", ");
    let text = format!("My SSN is [{}]", spelt("536-22-0020"));
    assert!(!redact(detector, &text).contains(|char: char| char.is_ascii_digit()), "{text}");
    assert!(!redact(detector, &format!("[{}]", spelt("jane@example.org"))).contains("\"j\""));
}

/// Lists of ordinary numbers stay: several numbers, no valid check, or no sign of splitting.
#[test]
fn lists_of_numbers_stay() {
    assert_redacted(&[
        r#"{"versions": ["3.9", "3.10", "3.11"]}"#,
        r#"{"dates": ["2024-01-02", "2024-01-03"]}"#,
        r#"{"times": ["12:30:00", "13:45:00"]}"#,
        r#"{"ids": ["54252334", "30109903"]}"#,
        r#"{"account_ids": ["12345", "67890"]}"#,
        r#"{"bbox": ["-122.41", "37.77", "-122.40", "37.78"]}"#,
        r#"{"labels": ["1.", "2.", "3.", "4.", "5.", "6.", "7."]}"#,
        r#"{"ports": ["8080", "9090", "1234"]}"#,
        r#"{"country_codes": ["+1", "+44", "+49", "+33"]}"#,
        r#"{"area_codes": ["212", "415", "5550123"]}"#,
        r#"{"isbn": ["978-3-16", "148410-0"]}"#,
        r#"["a", "b", "c", "1", "2", "3", "4", "5", "6", "7"]"#,
        r#"{"cards": ["54252334", "30109903", "seen"]}"#,
    ]);
}

/// Base64 of a few words is decoded if it is all text; an id of the same length stays.
#[test]
fn short_blobs_are_read() {
    assert_redacted(&[
        r#"{"e":"«EMAIL|amFuZS5yb2VAZXhhbXBsZS5vcmc=»"}"#,
        "data:text/plain;base64,«PHONE|cGhvbmU6ICsxIDQxNSA1NTUgMDEzMg==»",
        "id 0aB3dE6gH9jK2mN5pQ8rS1tU",
        "call_8Zq3kX1mPv7LwR2tYb5NcD9e",
        "etag d41d8cd98f00b204e9800998",
    ]);
}

/// A blob ends with its last line, however short; the text on the next line is not part of it.
#[test]
fn blobs_leave_the_next_line() {
    let detector = detector();
    let blob = base64("postgres://admin:s3cr3t@db.example.com:5432/x");
    let mail = base64("please write to jane.doe@example.com!!");
    for behind in [
        "\n  foo: aHVudGVyMg==",
        "\n  tls.crt: x",
        "\nlevel: info",
        "\nstatus: ok",
        "\\nstatus: ok",
        "\nok then",
        "\ndone\nx",
    ] {
        for blob in [&blob, &mail] {
            let shown = redact(detector, &format!("a: {}{behind}", blob.trim_end_matches('=')));
            assert!(shown.starts_with("a: [") && shown.ends_with(&format!("]{behind}")), "{shown}");
        }
    }
    let long = base64("this is a long letter to jane.doe@example.com about nothing and it ends here, soon");
    let (first, last) = long.split_at(76);
    assert_eq!(redact(detector, &format!("a: {first}\n   {last}\nlevel: info")), "a: [EMAIL]\nlevel: info");
}

/// An empty inline element hides no value that it splits; elements between words stay.
#[test]
fn empty_elements_hide_nothing() {
    assert_redacted(&[
        "Contact «EMAIL|maria.keller1<b></b>7@northwind.de» please",
        "My card number is «CREDIT_CARD|4539 1488<b></b> 0343 6467»",
        r#"{"email": "«EMAIL|j.o-brien+24@m<span></span>ail.example.org»"}"#,
        "login from client ip «IP_ADDRESS|203.0.<i></i>113.22»",
        "<td></td><td>«EMAIL|bob@example.com»</td><b></b>",
        "<tr><td></td></tr> a<b></b> c",
        "4539<td></td>1488 0343 6467",
    ]);
}

/// Quoted-printable of digits only is decoded if six escapes are adjacent.
#[test]
fn quoted_digits_are_read() {
    let detector = detector();
    let quoted = |text: &str| text.bytes().map(|byte| format!("={byte:02X}")).collect::<String>();
    let (card, iban) = (quoted("4539 1488 0343 6467"), quoted("DE89 3704 0044 0532 0130 00"));
    assert_eq!(redact(detector, &format!("pay with {card} now")), "pay with [CREDIT_CARD] now");
    assert_eq!(redact(detector, &format!("IBAN: {iban}")), "IBAN: [IBAN]");
    assert_redacted(&["a=34=35 b=33=39", "x=10 y=20 z=30 w=40 v=50 u=60 t=70", "=34=35=33=39"]);
}

/// Base32 of a text is decoded; base32 keys do not decode to text and stay.
#[test]
fn base32_is_read() {
    let detector = detector();
    assert_redacted(&[
        "payload: «EMAIL|INXW45DBMN2CA3LBOJUWCLTLMVWGYZLSGE3UA3TPOJ2GQ53JNZSC4ZDFEBYGYZLBONSQ====» end",
        "payload: «CREDIT_CARD|JV4SAY3BOJSCA3TVNVRGK4RANFZSANBVGM4SAMJUHA4CAMBTGQZSANRUGY3Q====» end",
    ]);
    let key = "seed VHIIKTVJC6MEOFTJNYJWTPW2PIBCDTHL3PUBDWKHVHIIKTVJC6MEOFTJ now";
    assert_eq!(redact(detector, key), key);
}
