//! Tests of numbers and addresses beyond the examples in the rule files: JSON and cost.

use super::super::SearchScratch;
use super::{detector, redact};
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
