//! Writes the body of a call and reads its answer. An answer is accepted only if it has one list for each text that was
//! sent and every offset is valid for its text. Entity names are only used to look up rules. `client` does the HTTP.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use redaction::recognised::{EntityHit, byte_ranges};

use super::config::Settings;

/// The request body of Presidio's analyzer.
#[derive(Serialize)]
struct AnalyzeRequest<'a> {
    text: RequestTexts<'a>,
    language: &'a str,
    score_threshold: f64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    entities: &'a [String],
}

/// One bare text, for analyzers that accept no lists, or several.
#[derive(Serialize)]
#[serde(untagged)]
enum RequestTexts<'a> {
    One(&'a str),
    Several(Vec<&'a str>),
}

/// One finding in the answer; unknown fields are ignored.
#[derive(Deserialize)]
struct EntityFinding<'a> {
    #[serde(borrow)]
    entity_type: Cow<'a, str>,
    start: u64,
    end: u64,
    #[serde(default)]
    score: Option<f64>,
}

/// Returns the body of a call.
pub(super) fn build_request(settings: &Settings, texts: &[Arc<str>]) -> Option<Vec<u8>> {
    let text = match texts {
        [one] if settings.config.batch_texts == 1 => RequestTexts::One(one),
        several => RequestTexts::Several(several.iter().map(|text| &**text).collect()),
    };
    let request = AnalyzeRequest {
        text,
        language: &settings.config.language,
        score_threshold: settings.config.score_threshold,
        entities: &settings.config.entities,
    };
    serde_json::to_vec(&request).ok()
}

/// Returns the findings for each text. `None`: the body is not a valid answer to these texts.
pub(super) fn parse_findings(settings: &Settings, texts: &[Arc<str>], body: &[u8]) -> Option<Vec<Vec<EntityHit>>> {
    let lists: Vec<Vec<EntityFinding<'_>>> = match settings.config.batch_texts {
        1 => vec![serde_json::from_slice(body).ok()?],
        _ => serde_json::from_slice(body).ok()?,
    };
    if lists.len() != texts.len() {
        return None;
    }
    lists.iter().zip(texts).map(|(found, text)| match_entities(settings, text, found)).collect()
}

fn match_entities(settings: &Settings, text: &str, findings: &[EntityFinding<'_>]) -> Option<Vec<EntityHit>> {
    let offsets: Vec<(u64, u64)> = findings.iter().map(|finding| (finding.start, finding.end)).collect();
    let ranges = byte_ranges(text, &offsets)?;
    let rules = &settings.rules;
    let mut hits: Vec<EntityHit> = Vec::with_capacity(findings.len());
    for (finding, range) in findings.iter().zip(ranges) {
        let is_confident = finding.score.is_none_or(|score| score.is_nan() || score >= settings.config.score_threshold);
        let rule = rules.by_entity.get(finding.entity_type.as_ref()).copied().unwrap_or(rules.other);
        if is_confident && rule != usize::MAX && !range.is_empty() {
            hits.push(EntityHit { range, rule });
        }
    }
    // The order of findings in an answer is not specified.
    hits.sort_by_key(|hit| (hit.range.start, hit.range.end, hit.rule));
    hits.dedup();
    Some(hits)
}
