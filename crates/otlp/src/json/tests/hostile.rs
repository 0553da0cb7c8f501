//! Hostile input: depth and size. `tests/fuzz.rs` mutates texts.

use super::super::decode;
use crate::{MAX_DEPTH, Payload, Signal};

fn nested(levels: usize, map: bool) -> String {
    let (open, close) = if map {
        (r#"{"kvlistValue":{"values":[{"key":"k","value":"#, "}]}}")
    } else {
        (r#"{"arrayValue":{"values":["#, "]}}")
    };
    let body = format!("{}{{}}{}", open.repeat(levels - 1), close.repeat(levels - 1));
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{body}}}]}}]}}]}}"#)
}

/// Values nested 64 deep are accepted, 65 deep refused, for maps and lists.
#[test]
fn value_depth() {
    for map in [false, true] {
        let wire = decode(Signal::Logs, nested(MAX_DEPTH, map).as_bytes()).unwrap();
        assert!(Payload::parse(Signal::Logs, wire.into()).is_ok(), "the data plane's limit is the same");
        let error = decode(Signal::Logs, nested(MAX_DEPTH + 1, map).as_bytes()).unwrap_err();
        assert_eq!(error.message, "nested too deeply");
    }
}

/// The depth is that of one value, not the number of values in the request.
#[test]
fn value_depth_counts_nesting_only() {
    let one = r#"{"key":"k","value":{"arrayValue":{"values":[{"intValue":1}]}}}"#;
    let text = format!(r#"{{"resourceLogs":[{{"resource":{{"attributes":[{}]}}}}]}}"#, vec![one; 1000].join(","));
    assert!(decode(Signal::Logs, text.as_bytes()).is_ok());
}

/// Unknown values may nest 64 deep, no deeper; endless brackets fail at once.
#[test]
fn unknown_depth() {
    let text = |depth: usize| format!(r#"{{"x":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(decode(Signal::Logs, text(64).as_bytes()).is_ok());
    assert_eq!(decode(Signal::Logs, text(65).as_bytes()).unwrap_err().message, "nested too deeply");
    let objects = |depth: usize| format!(r#"{{"x":{}1{}}}"#, r#"{"a":"#.repeat(depth), "}".repeat(depth));
    assert!(decode(Signal::Logs, objects(64).as_bytes()).is_ok());
    assert!(decode(Signal::Logs, objects(65).as_bytes()).is_err());
    let brackets = vec![b'['; 64 << 20];
    assert_eq!(decode(Signal::Logs, &brackets).unwrap_err().at, 0);
    let mut inside = br#"{"x":"#.to_vec();
    inside.extend_from_slice(&brackets);
    assert!(decode(Signal::Logs, &inside).unwrap_err().at < 100);
}

/// Huge numbers and long runs of escapes take linear time and give the right value or an error.
#[test]
fn long_tokens() {
    let million = 1 << 20;
    let number = |text: String| {
        let text = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"timeUnixNano":{text}}}]}}]}}]}}"#);
        decode(Signal::Logs, text.as_bytes())
    };
    assert!(number("9".repeat(million)).is_err());
    assert!(number(format!("1.{}", "0".repeat(million))).is_ok());
    assert!(number(format!("0.{}1e{million}", "0".repeat(million - 1))).is_ok_and(|wire| wire.len() > 8));
    assert!(number(format!("1e{}", "9".repeat(million))).is_err());
    assert!(number(format!("1e-{}", "9".repeat(million))).is_err());
    let double = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"doubleValue":0.{}}}}}]}}]}}]}}"#,
        "3".repeat(million)
    );
    assert!(decode(Signal::Logs, double.as_bytes()).is_ok());
    for escape in [r"\\", r"\u0041", r"\ud83d\ude42"] {
        let text = format!(r#"{{"resourceLogs":[{{"schemaUrl":"{0}","x{0}":"{0}"}}]}}"#, escape.repeat(million));
        assert!(decode(Signal::Logs, text.as_bytes()).is_ok());
    }
}

/// A text whose lists of numbers would exceed the limit is refused.
#[test]
fn growth_is_bounded() {
    let zeros = |count: usize| {
        let list = "0,".repeat(count);
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{"bucketCounts":[{list}0]}}]}}}}]}}]}}]}}"#
        )
    };
    assert!(decode(Signal::Metrics, zeros(100_000).as_bytes()).is_ok_and(|wire| wire.len() > 800_000));
    assert!(decode(Signal::Metrics, zeros(9 << 20).as_bytes()).unwrap_err().is_too_large());
}

/// A megabyte inside 64 levels: the lengths are written without moving the megabyte once per level.
#[test]
fn deep_and_long() {
    let text = nested(MAX_DEPTH, true).replacen("{}", &format!(r#"{{"stringValue":"{}"}}"#, "a".repeat(1 << 20)), 1);
    let wire = decode(Signal::Logs, text.as_bytes()).unwrap();
    assert!(wire.len() > 1 << 20 && wire.len() < text.len());
}

/// Every prefix of a request is refused without a panic.
#[test]
fn prefixes() {
    let text = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a\u0041\ud83d\ude42"},"traceId":"00000000000000000000000000000001","flags":1.0e0,"x":[true,null]}]}]}]}"#;
    assert!(decode(Signal::Logs, text.as_bytes()).is_ok());
    for length in 0..text.len() {
        assert!(decode(Signal::Logs, &text.as_bytes()[..length]).is_err(), "{length}");
    }
}
