//! Tests of numbers and addresses beyond the examples in the rule files: lists, JSON, placeholders as context, cost.

use super::super::SearchScratch;
use super::{assert_redacted, detector, redact};
use fixtures::guard::ends;

/// A bare JSON number becomes a string; other numbers get no quotes; JSON stays valid.
#[test]
fn json_stays_json() {
    let detector = detector();
    let cases = [
        (r#"{"card":4111111111111111,"n":1}"#, r#"{"card":"[CREDIT_CARD]","n":1}"#),
        (r#"{"pan": [4111111111111111, 5555555555554444]}"#, r#"{"pan": ["[CREDIT_CARD]", "[CREDIT_CARD]"]}"#),
        (r#"{"phone":"415-555-0132","x":[1,2]}"#, r#"{"phone":"[PHONE]","x":[1,2]}"#),
        (r#"{"t":"card: 4111111111111111, then"}"#, r#"{"t":"card: [CREDIT_CARD], then"}"#),
        (
            r#"{"ids":[1763628543123,17],"cost":0.4111111111111111}"#,
            r#"{"ids":[1763628543123,17],"cost":0.4111111111111111}"#,
        ),
    ];
    for (text, wanted) in cases {
        let got = redact(detector, text);
        assert_eq!(got, wanted);
        assert!(serde_json::from_str::<serde_json::Value>(&got).is_ok(), "{got}");
    }
}

/// All values of a list are replaced, although only the first is next to its word; values behind the list stay.
#[test]
fn lists_share_a_word() {
    let detector = detector();
    assert_redacted(&["phones are «PHONE|4155550132», «PHONE|4155550133» / «PHONE|4155550134»"]);
    let text = "phone 4155550132 took 1234567890 ns and 9876543210 bytes";
    assert_eq!(redact(detector, text), "phone [PHONE] took 1234567890 ns and 9876543210 bytes");
}

/// All adjacent addresses are replaced, also those that look like parts of each other.
#[test]
fn addresses_side_by_side() {
    let detector = detector();
    for (text, wanted) in [
        ("bob@example.com%bob@example.com", "[EMAIL][EMAIL]"),
        ("a@b.io,c@d.io;e@f.io", "[EMAIL],[EMAIL];[EMAIL]"),
        ("a@b.io.c@d.io", "[EMAIL]"),
    ] {
        let got = redact(detector, text);
        assert!(!got.contains('@'), "{text}: {got}");
        assert!(got == wanted || wanted == "[EMAIL]", "{text}: {got}");
        assert_eq!(redact(detector, &got), got);
    }
}

/// An existing placeholder is not context: its type must not announce the value next to it.
#[test]
fn placeholders_announce_nothing() {
    assert_redacted(&[
        "[PHONE] 4155550132 rows",
        "[SSN]: 536904399 x",
        "[ROUTING_NUMBER] 021000021 x",
        "12345678 [IBAN]",
    ]);
}

/// Technical numbers stay, whatever surrounds them.
#[test]
fn numbers_of_machines_stay() {
    assert_redacted(&[
        r#"{"phone":null,"order_id":4155550132,"call_id":"4155550132"}"#,
        "call 3 took 1763628543123 ns; call_id 4155550132",
        "trace 4bf92f3577b34da6a3ce929d0e0e4736 span 00f067aa0ba902b7",
        "3f2504e0-4f89-411d-9a0c-030512345678 and 12345678-1234-1234-1234-123456789012",
        "listening on 10.0.0.1:4317, [::1]:4318 and 192.168.1.10/24",
        "SHA256 fingerprint 00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33",
        "at 2026-11-20T10:11:12.123456789Z +0000, 2026-11-20 10:11:12,123",
        "AWS arn:aws:iam::123456789012:role/x, build 20261120.1234567890",
        "12 345 678 901 rows, 1 234 567 890 bytes, 3.14159265358979",
    ]);
}

/// Digits in any arrangement take linear time: every group is read only a few times.
#[test]
fn digits_take_linear_time() {
    for piece in [
        "1",
        "12 ",
        "123-",
        "4111 1111 ",
        "1.",
        "00:",
        "a1-",
        "(1) ",
        "+1 ",
        "ssn 1 ",
        "call 12345678 ",
        "a@a.a.a.",
        "1:a:",
    ] {
        let text = piece.repeat(300_000 / piece.len());
        let size = text.len();
        let (hits, read) = ends(piece, move || {
            let (detector, mut scratch) = (detector(), SearchScratch::new());
            (detector.find(&text, &mut scratch).len(), scratch.bytes_read())
        });
        assert!(hits <= size && read < 40 * size + (8 << 20), "{piece}");
    }
}
