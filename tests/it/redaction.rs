//! Tests of redaction: a text without private parts costs no allocation, and the manual's fixture for a custom rule can
//! fail.

use std::fs;
use std::path::Path;

use redaction::{Detector, SearchScratch, builtin_rules};

use crate::manual::run_script;
use crate::sources::{File, blocks_of};

fn detector() -> Detector {
    Detector::new(&builtin_rules().unwrap(), &[]).ok().unwrap()
}

/// Typical texts of telemetry: every string of a recording, log lines, code, JSON within strings, paths, ids.
fn texts() -> Vec<String> {
    fn strings(value: &serde_json::Value, out: &mut Vec<String>) {
        match value {
            serde_json::Value::String(text) => out.push(text.clone()),
            serde_json::Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
            serde_json::Value::Object(entries) => entries.values().for_each(|value| strings(value, out)),
            _ => {}
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut out = Vec::new();
    for recording in ["claude-code/detailed/002-logs.json", "claude-code/detailed/001-traces.json"] {
        let text = fs::read_to_string(root.join("tests/recordings").join(recording)).unwrap();
        strings(&serde_json::from_str(&text).unwrap(), &mut out);
    }
    let code = fs::read_to_string(root.join("crates/otlp/src/payload.rs")).unwrap();
    out.extend(code.as_bytes().chunks(2_000).map(|piece| String::from_utf8_lossy(piece).into_owned()));
    out.extend((0..200_u64).map(|n| {
        let id = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!(
            "2026-11-20T10:{:02}:{:02}.123Z INFO svc [{id:016x}] GET /api/v1/items/{}?page=2 status=200 dur=1.{n}ms ip=10.0.3.{n}",
            n % 60, n % 60, n * 7
        )
    }));
    out.push(
        r#"{"tool":"read_file","args":"{\"path\":\"/srv/app/main.rs\",\"limit\":200}","ok":true,"n":[1,2.5,null]}"#
            .to_owned(),
    );
    out.push("a token budget of 4096, the key idea, no password needed, call it a day".to_owned());
    out
}

/// A text without private parts costs no allocation once the worker's buffers have grown; one with private parts does.
#[test]
fn a_clean_text_allocates_nothing() {
    let (detector, mut scratch, texts) = (detector(), SearchScratch::new(), texts());
    let clean: Vec<&String> = texts.iter().filter(|text| detector.find(text, &mut scratch).is_empty()).collect();
    assert!(clean.len() > 400 && clean.len() * 10 > texts.len() * 9, "{} of {}", clean.len(), texts.len());
    let mut costly = Vec::new();
    for text in &clean {
        let made = allocation_counter::measure(|| {
            detector.find(text, &mut scratch);
        });
        if made.count_total > 0 {
            costly.push(format!("{} in {:?}", made.count_total, text.chars().take(300).collect::<String>()));
        }
    }
    assert!(costly.is_empty(), "{} of {}:\n{}", costly.len(), clean.len(), costly.join("\n"));
    let made = allocation_counter::measure(|| {
        detector.find("to jane@example.com", &mut scratch);
    });
    assert!(made.count_total > 0, "it can fail: what was found is looked at again");
}

/// The manual's example of a custom rule notices a wrong fixture ([`crate::manual`] checks what it prints).
#[test]
fn the_manuals_rule_can_fail() {
    let page = File::read("docs/how-to/redaction-rules.md").text;
    let (_, part) = page.split_once("A rule in two minutes").unwrap();
    let block = blocks_of("sh", part).remove(0);
    let folder = tempfile::tempdir().unwrap();
    let run = |block: &str| run_script(&format!("set -eu\n{block}"), folder.path()).status.success();
    assert!(run(&block), "a right fixture passes");
    assert!(!run(&block.replace("[BADGE] opened", "[OTHER] opened")), "a wrong fixture fails");
}
