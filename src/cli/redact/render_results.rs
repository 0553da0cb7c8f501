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
    let mut chars_before = |at: usize| {
        chars += text.get(bytes..at).unwrap_or_default().chars().count();
        bytes = at;
        chars
    };
    let span = |hit: &RedactionHit| {
        let (start, end) = (chars_before(hit.range.start), chars_before(hit.range.end));
        RedactedSpan { start, end, kind: placeholder_type(detector.placeholder(hit)) }
    };
    let spans = hits.iter().map(span).collect();
    let mut line = serde_json::to_vec(&RedactedLine { id: record.id.as_deref(), redacted, spans }).unwrap_or_default();
    line.push(b'\n');
    Ok(line)
}

/// The ranges and types of hits, as [`RedactionScore`] compares them with the labels.
pub(super) fn to_typed_ranges(detector: &Detector, hits: &[RedactionHit]) -> Vec<TypedRange> {
    let typed_range = |hit: &RedactionHit| TypedRange {
        range: hit.range.clone(),
        kind: placeholder_type(detector.placeholder(hit)).to_owned(),
    };
    hits.iter().map(typed_range).collect()
}

/// The figures as JSON. `placed` is the number of replacements, `right` of those that match a label.
pub(super) fn as_json(score: &RedactionScore) -> String {
    let counts_json = |counts: &ScoreCounts| {
        json!({
            "labels": counts.labels, "found": counts.found, "leaked": counts.leaked, "placeholders": counts.placed,
            "correct": counts.correct, "near_misses": counts.near_misses, "clean_texts": counts.clean,
            "recall": counts.recall(), "leak_rate": counts.leak(), "precision": counts.precision(), "f2": counts.f2(),
            "clean_rate": counts.clean(),
        })
    };
    let map_json = |counts_by_name: &std::collections::BTreeMap<String, ScoreCounts>| {
        counts_by_name
            .iter()
            .map(|(name, counts)| (name.clone(), counts_json(counts)))
            .collect::<serde_json::Map<String, Json>>()
    };
    let confused: Vec<Json> = (score.confused.iter())
        .map(|((label, detected_as), count)| json!({"label": label, "detected_as": detected_as, "count": count}))
        .collect();
    let mut text = serde_json::to_string_pretty(&json!({
        "all": counts_json(&score.all), "types": map_json(&score.types), "groups": map_json(&score.groups), "confusions": confused,
        "unjudged": score.unjudged,
    }))
    .unwrap_or_default();
    text.push('\n');
    text
}

pub(super) fn as_text(score: &RedactionScore) -> String {
    let mut out = String::new();
    for (title, counts_by_name) in [("type", &score.types), ("group", &score.groups)] {
        write_header(&mut out, title);
        counts_by_name.iter().for_each(|(name, counts)| write_row(&mut out, name, counts));
        out.push('\n');
    }
    write_header(&mut out, "pooled");
    write_row(&mut out, "all", &score.all);
    if !score.confused.is_empty() {
        out.push_str("\nfound under another type:\n");
    }
    for ((label, detected_as), count) in &score.confused {
        let _ = writeln!(out, "{count:>7}  {label} as {detected_as}"); // can't fail
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

fn write_row(out: &mut String, name: &str, counts: &ScoreCounts) {
    let format_ratio = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
    let _ = writeln!(
        out,
        "{name:<20} {:>7} {:>7} {:>7} {:>7} {:>9} {:>7} {:>11} {:>7}",
        counts.labels,
        format_ratio(counts.recall()),
        format_ratio(counts.leak()),
        counts.placed,
        format_ratio(counts.precision()),
        format_ratio(counts.f2()),
        counts.near_misses,
        format_ratio(counts.clean()),
    );
}
