//! Fields whose form is defined by a specification: trace state (W3C Trace Context §3.3), schema URLs, versions and
//! units, severities, names of scopes and metrics. Text of any other form is free text and is removed.
//!
//! Text of the right form is not touched here; the rules still search it. Names of spans and events are handled in
//! `vault/outside`.

use genai::{is_route, is_short_name, letter_runs};
use kernel::CONTENT;
use otlp::{NodeId, NodeKind, Payload, TextField};

/// Maximum size of a trace state in bytes and members, by the specification.
const TRACE_STATE: usize = 512;
const MEMBERS: usize = 32;
/// Maximum size of a schema URL, and of a version or unit, bytes.
const SCHEMA_URL: usize = 256;
const WORD: usize = 64;
/// Maximum number of words in a version, a unit and a member of a trace state.
const WORDS: usize = 3;
/// Maximum size of a source's own severity text, bytes.
const SEVERITY: usize = 12;
/// Maximum number of words and bytes in the name of a scope or metric.
const NAME_LIMITS: (usize, usize) = (5, 128);

/// Empties fields whose text does not have the specified form, and replaces names that are sentences with the content
/// mark. Returns the number of changed fields.
pub(super) fn clear_malformed_fields(payload: &mut Payload) -> u64 {
    let mut closed: Vec<(NodeId, TextField, &'static str)> = Vec::new();
    for node in payload.nodes() {
        let fields: &[TextField] = match payload.kind(node) {
            NodeKind::Span | NodeKind::Link => &[TextField::TraceState],
            NodeKind::Resource => &[TextField::SchemaUrl],
            NodeKind::Scope => &[TextField::SchemaUrl, TextField::Version, TextField::Name],
            NodeKind::Metric => &[TextField::Unit, TextField::Name],
            NodeKind::LogRecord => &[TextField::SeverityText],
            _ => &[],
        };
        for field in fields {
            let text = payload.text(node, *field);
            if !text.is_empty() && !has_form(*field, text) {
                closed.push((node, *field, if *field == TextField::Name { CONTENT } else { "" }));
            }
        }
    }
    for (node, field, by) in &closed {
        payload.set_text(*node, *field, by);
    }
    closed.len() as u64
}

fn has_form(field: TextField, text: &str) -> bool {
    match field {
        TextField::TraceState => is_trace_state(text),
        TextField::SchemaUrl => text.len() <= SCHEMA_URL && is_route(text) && is_web_address(text),
        TextField::SeverityText => is_severity(text),
        // `1.29.0-alpha+build.7`, `{request}`, `By/s`
        TextField::Version | TextField::Unit => {
            text.len() <= WORD && text.bytes().all(|byte| byte.is_ascii_graphic()) && has_few_words(text)
        }
        _ => text.len() <= NAME_LIMITS.1 && is_short_name(text, NAME_LIMITS.0),
    }
}

/// Returns true for at most three words, however they are joined.
fn has_few_words(text: &str) -> bool {
    letter_runs(text).filter(|word| word.len() > 1).nth(WORDS).is_none()
}

/// Returns true for a common level, optionally with a number (`DEBUG2`).
fn is_severity(text: &str) -> bool {
    const LEVELS: &str = "alert audit config crit critical debug default emerg emergency err error fatal fine finer finest \
        http info information log none normal notice panic security severe success trace verbose warn warning";
    let level = text.trim_end_matches(|c: char| c.is_ascii_digit());
    text.len() <= SEVERITY && LEVELS.split(' ').any(|known| known.eq_ignore_ascii_case(level))
}

/// `vendor=value,tenant@vendor=value`, with values that contain no blanks.
fn is_trace_state(text: &str) -> bool {
    let key = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    let value = |byte: u8| byte.is_ascii_graphic() && byte != b'=';
    let member = |member: &str| match member.trim().split_once('=') {
        Some((name, said)) => {
            !name.is_empty()
                && name.bytes().all(key)
                && said.bytes().all(value)
                && has_few_words(name)
                && has_few_words(said)
        }
        None => member.trim().is_empty(),
    };
    text.len() <= TRACE_STATE && text.split(',').nth(MEMBERS).is_none() && text.split(',').all(member)
}

fn is_web_address(text: &str) -> bool {
    text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).is_some_and(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests;
