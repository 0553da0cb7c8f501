//! The output of `redact`: redacted lines, and figures for people and programs.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};

use super::finder::PrivateTextFinder;
use super::lines::InputRecord;
use redaction::score::{RedactionScore, ScoreCounts, TypedRange};
use redaction::{Detector, RedactionHit, replace_hits};

#[derive(Serialize)]
struct RedactedLine<'l> {
    id: Option<&'l RawValue>,
    redacted: String,
    spans: Vec<RedactedSpan<'l>>,
}

#[derive(Serialize)]
struct RedactedSpan<'l> {
    start: usize,
    end: usize,
    #[serde(rename = "type")]
    kind: &'l str,
}

/// The type in a placeholder: `EMAIL` for `[EMAIL]`.
fn placeholder_type(placeholder: &str) -> &str {
    placeholder.trim_start_matches('[').trim_end_matches(']')
}

/// A redacted line with its line end.
///
/// # Errors
/// The recogniser does not answer.
pub(super) fn redact_line(
    finder: &mut PrivateTextFinder,
    record: &InputRecord,
    text: &str,
) -> Result<Vec<u8>, &'static str> {
    let detector = Arc::clone(&finder.detector);
    let hits = finder.find(text)?;
    let redacted = replace_hits(text, hits, &mut |hit, _, out| out.push_str(detector.placeholder(hit)));
    let (mut bytes, mut chars) = (0, 0);
    let mut upto = |at: usize| {
        chars += text.get(bytes..at).unwrap_or_default().chars().count();
        bytes = at;
        chars
    };
    let span = |hit: &RedactionHit| {
        let (start, end) = (upto(hit.range.start), upto(hit.range.end));
        RedactedSpan { start, end, kind: placeholder_type(detector.placeholder(hit)) }
    };
    let spans = hits.iter().map(span).collect();
    let mut line = serde_json::to_vec(&RedactedLine { id: record.id.as_deref(), redacted, spans }).unwrap_or_default();
    line.push(b'\n');
    Ok(line)
}

/// Findings in the form that is scored.
pub(super) fn to_marked(detector: &Detector, hits: &[RedactionHit]) -> Vec<TypedRange> {
    let marked = |hit: &RedactionHit| TypedRange {
        range: hit.range.clone(),
        kind: placeholder_type(detector.placeholder(hit)).to_owned(),
    };
    hits.iter().map(marked).collect()
}

/// The figures as JSON.
pub(super) fn as_json(score: &RedactionScore) -> String {
    let tally = |tally: &ScoreCounts| {
        json!({
            "labels": tally.labels, "found": tally.found, "leaked": tally.leaked, "placeholders": tally.placed,
            "correct": tally.correct, "near_misses": tally.near_misses, "clean_texts": tally.clean,
            "recall": tally.recall(), "leak_rate": tally.leak(), "precision": tally.precision(), "f2": tally.f2(),
            "clean_rate": tally.clean(),
        })
    };
    let map = |tallies: &std::collections::BTreeMap<String, ScoreCounts>| {
        tallies.iter().map(|(name, one)| (name.clone(), tally(one))).collect::<serde_json::Map<String, Json>>()
    };
    let confused: Vec<Json> = (score.confused.iter())
        .map(|((label, told), count)| json!({"label": label, "detected_as": told, "count": count}))
        .collect();
    let mut text = serde_json::to_string_pretty(&json!({
        "all": tally(&score.all), "types": map(&score.types), "groups": map(&score.groups), "confusions": confused,
        "unjudged": score.unjudged,
    }))
    .unwrap_or_default();
    text.push('\n');
    text
}

/// The figures as text.
pub(super) fn as_text(score: &RedactionScore) -> String {
    let mut out = String::new();
    for (title, tallies) in [("type", &score.types), ("group", &score.groups)] {
        write_header(&mut out, title);
        tallies.iter().for_each(|(name, tally)| write_row(&mut out, name, tally));
        out.push('\n');
    }
    write_header(&mut out, "pooled");
    write_row(&mut out, "all", &score.all);
    if !score.confused.is_empty() {
        out.push_str("\nfound under another type:\n");
    }
    for ((label, told), count) in &score.confused {
        let _ = writeln!(out, "{count:>7}  {label} as {told}"); // can't fail
    }
    if score.unjudged > 0 {
        let _ = writeln!(out, "\n{} placeholders have types for which the file is not labelled", score.unjudged);
    }
    out
}

fn write_header(out: &mut String, title: &str) {
    let _ = writeln!(
        out,
        "{title:<20} {:>7} {:>7} {:>7} {:>7} {:>9} {:>7} {:>11} {:>7}",
        "values", "recall", "leak", "placed", "precision", "F2", "near-misses", "clean"
    );
}

fn write_row(out: &mut String, name: &str, tally: &ScoreCounts) {
    let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{share:.3}"));
    let _ = writeln!(
        out,
        "{name:<20} {:>7} {:>7} {:>7} {:>7} {:>9} {:>7} {:>11} {:>7}",
        tally.labels,
        share(tally.recall()),
        share(tally.leak()),
        tally.placed,
        share(tally.precision()),
        share(tally.f2()),
        tally.near_misses,
        share(tally.clean()),
    );
}
