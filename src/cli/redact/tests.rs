//! Tests of `tollgate redact`: lines in, lines and figures out.

use std::fs;

use serde_json::Value as Json;

use super::finder::PrivateTextFinder;
use super::lines::RecordReader;
use super::{build_finder, redact_file, render_results, score_file};
use crate::cli::CommonArgs;
use redaction::score::{LabelledText, RedactionScore, TypedRange};

fn rules() -> PrivateTextFinder {
    build_finder(&CommonArgs::default()).unwrap_or_else(|_| panic!("the default rules"))
}

fn rewritten(input: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    fs::write(&from, input).unwrap();
    let done = redact_file(&mut rules(), &from, &to).map_err(|error| error.to_string());
    done.map(|()| fs::read_to_string(&to).unwrap())
}

/// Ids of any type are kept, offsets count characters, a line without findings is unchanged, other keys are ignored.
#[test]
fn lines_are_rewritten() {
    let input =
        "{\"id\":7,\"text\":\"é日 bob@example.com\",\"x\":1}\n\n{\"id\":\"b\",\"text\":\"nothing\"}\n{\"text\":\"\"}";
    let out = rewritten(input).unwrap();
    let lines: Vec<Json> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines[0],
        serde_json::json!({"id": 7, "redacted": "é日 [EMAIL]", "spans": [{"start": 3, "end": 18, "type": "EMAIL"}]})
    );
    assert_eq!(lines[1], serde_json::json!({"id": "b", "redacted": "nothing", "spans": []}));
    assert_eq!(lines[2], serde_json::json!({"id": null, "redacted": "", "spans": []}));
}

/// An invalid record ends the command with its line's number and without its text.
#[test]
fn errors_name_lines() {
    for (line, what) in [
        ("{\"id\":1,\"text\":\"bob@example.com\"", "not JSON"),
        ("{\"id\":1,\"text\":{\"bob@example.com\":1}}", "with a text"),
        ("{\"id\":1,\"bob@example.com\":\"x\"}", "`text` is missing"),
    ] {
        let error = rewritten(&format!("{{\"id\":1,\"text\":\"ok\"}}\n{line}\n")).unwrap_err();
        assert!(error.contains("line 2") && error.contains(what) && !error.contains("bob"), "{error}");
    }
    assert!(
        redact_file(&mut rules(), "/nowhere/in".as_ref(), "-".as_ref()).unwrap_err().to_string().contains("can't read")
    );
}

/// Labelled lines: the mark is removed, offsets count the remaining characters, the meta line limits the judged types.
#[test]
fn labelled_lines() {
    let text = "{\"meta\":{\"judged\":[\"EMAIL\"]}}\n{\"id\":1,\"group\":\"g\",\"text\":\"é b\u{241f}ob@example.com\",\"spans\":[{\"start\":2,\"end\":17,\"type\":\"EMAIL\"}]}\n";
    let mut lines = RecordReader::new("x".to_owned(), std::io::BufReader::new(text.as_bytes()));
    let meta = lines.next_record().unwrap().and_then(|record| record.meta?.judged);
    assert_eq!(meta, Some(vec!["EMAIL".to_owned()]));
    let record = lines.next_record().unwrap().unwrap();
    let plain = record.text.as_ref().unwrap().replace('\u{241f}', "");
    let labels = record.labels(&plain).unwrap_or_else(|what| panic!("{what}"));
    assert_eq!(plain.get(labels[0].range.clone()), Some("bob@example.com"));
    assert!(record.labels("short").is_err());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("labelled.jsonl");
    fs::write(&file, format!("{text}{{\"meta\":{{}}}}\n")).unwrap();
    assert!(score_file(&mut rules(), &file, true).unwrap_err().to_string().contains("line 3"));
}

/// The table and the JSON have the same figures.
#[test]
fn figures_are_told_twice() {
    let mut all = RedactionScore::default();
    let marked = |kind: &str| [TypedRange { range: 0..4, kind: kind.to_owned() }];
    all.add(&LabelledText {
        text: "abcd",
        labels: &marked("SSN"),
        placed: &marked("PHONE"),
        group: "g",
        near_miss: false,
    });
    all.add(&LabelledText { text: "abcd", labels: &[], placed: &[], group: "n", near_miss: true });
    let json: Json = serde_json::from_str(&render_results::as_json(&all)).unwrap();
    assert_eq!(json["all"]["recall"], 1.0);
    assert_eq!(json["all"]["clean_rate"], 1.0);
    assert_eq!(json["types"]["SSN"]["precision"], Json::Null);
    assert_eq!(json["confusions"][0], serde_json::json!({"label": "SSN", "detected_as": "PHONE", "count": 1}));
    let text = render_results::as_text(&all);
    assert!(text.contains("SSN as PHONE"));
    assert!(text.lines().any(|line| line.starts_with("all ") && line.contains("1.000")));
}

/// Badly written lines are read as far as possible: a byte order mark, invalid UTF-8, unpaired surrogates. Invalid JSON
/// is refused.
#[test]
fn broken_texts_are_read() {
    let text = |line: &[u8]| {
        let mut lines = super::lines::RecordReader::new("f".to_owned(), std::io::BufReader::new(line));
        lines.next_record().map(|record| record.and_then(|record| record.text))
    };
    for (line, wanted) in [
        (&b"\xef\xbb\xbf{\"text\":\"a\"}\n"[..], "a"),
        (b"{\"text\":\"a\\ud800b\"}\n", "a\u{fffd}b"),
        (b"{\"text\":\"a\\udc00\\ud83d\\ude00\"}\n", "a\u{fffd}\u{1f600}"),
        (b"{\"text\":\"a\\\\ud800 \xff\"}\n", "a\\ud800 \u{fffd}"),
        (b"{\"text\":\"\\ud83d\\ude00\"}", "\u{1f600}"),
    ] {
        assert_eq!(text(line).expect("read").as_deref(), Some(wanted), "{}", String::from_utf8_lossy(line));
    }
    assert!(text(b"{\"text\":\"a").is_err());
}
