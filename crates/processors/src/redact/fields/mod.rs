//! Fields whose form is defined by a specification: trace state (W3C Trace Context §3.3), schema URLs, versions and
//! units, severities, names of scopes and metrics, references to entities, names of machines and programs. Text of any
//! other form is free text and is removed.
//!
//! Text of the right form is not touched here; the rules still search it. Names of spans and events are handled in
//! `vault/item_texts`.

use std::collections::BTreeSet;

use genai::{Facts, Vocabulary, fits_words, is_identifier, is_plain_name, is_route, split_words};
use kernel::CONTENT;
use otlp::{NodeId, NodeKind, Payload, TextField, TextPlace, TextPlaceKind};

/// Maximum size of a trace state, by the specification.
const MAX_TRACE_STATE_BYTES: usize = 512;
const MAX_TRACE_STATE_MEMBERS: usize = 32;
const MAX_SCHEMA_URL_BYTES: usize = 256;
/// Maximum size of a version or unit, bytes.
const MAX_VERSION_BYTES: usize = 64;
/// Maximum number of words in a version, a unit, and each key and value of a trace state.
const MAX_FIELD_WORDS: usize = 3;
/// Maximum size of a source's own severity text, bytes.
const MAX_SEVERITY_BYTES: usize = 12;
/// Maximum size of the name of a scope or metric.
const MAX_NAME_WORDS: usize = 5;
const MAX_JOINED_NAME_WORDS: usize = 10;
const MAX_NAME_BYTES: usize = 128;
/// Maximum size of a key or type of an entity reference, and of a machine's name (a DNS name has 253), bytes.
const MAX_KEY_BYTES: usize = 256;
/// Attributes whose values name a machine or a program.
const MACHINE_NAME_KEYS: [&str; 4] = ["host.name", "net.host.name", "process.executable.name", "session.host"];

/// Empties fields whose text does not have the specified form, and replaces names that are sentences with the content
/// mark. Returns the number of changed fields.
pub(super) fn clear_malformed_fields(payload: &mut Payload) -> u64 {
    let mut malformed: Vec<(NodeId, TextField, &'static str)> = Vec::new();
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
                malformed.push((node, *field, if *field == TextField::Name { CONTENT } else { "" }));
            }
        }
    }
    for (node, field, replacement) in &malformed {
        payload.set_text(*node, *field, replacement);
    }
    malformed.len() as u64
}

/// Replaces the names of agents' metrics, and of the scopes on their resources, that are neither plain names nor those
/// of scopes that a dialect knows.
pub(super) fn clear_closed_names(payload: &mut Payload, facts: &Facts, vocabulary: &Vocabulary) {
    let closed = facts.items.iter().filter(|item| item.closed);
    let scopes = closed.clone().filter(|item| item.of_agent_resource).map(|item| payload.scope(item.node));
    let nodes: BTreeSet<NodeId> = closed.filter_map(|item| payload.parent(item.node)).chain(scopes).collect();
    for node in nodes {
        if !is_plain_name(payload.text(node, TextField::Name)) && !vocabulary.is_known_scope(payload, node) {
            payload.set_text(node, TextField::Name, CONTENT);
        }
    }
}

/// Returns true for a text outside of [`TextField`]s that must be a name, but is not.
pub(super) fn is_malformed_name(place: &TextPlace<'_>, text: &str) -> bool {
    match place.kind {
        TextPlaceKind::Other => !is_entity_text(text),
        TextPlaceKind::Value | TextPlaceKind::BytesValue if MACHINE_NAME_KEYS.contains(&place.key) => {
            !is_name(text, MAX_KEY_BYTES)
        }
        _ => false,
    }
}

/// A type, an attribute key or a schema URL of an entity reference.
fn is_entity_text(text: &str) -> bool {
    is_identifier(text, MAX_JOINED_NAME_WORDS, MAX_KEY_BYTES) || has_form(TextField::SchemaUrl, text)
}

fn has_form(field: TextField, text: &str) -> bool {
    match field {
        TextField::TraceState => is_trace_state(text),
        TextField::SchemaUrl => text.len() <= MAX_SCHEMA_URL_BYTES && is_route(text) && is_web_address(text),
        TextField::SeverityText => is_severity(text),
        // `1.29.0-alpha+build.7`, `{request}`, `By/s`
        TextField::Version | TextField::Unit => {
            text.len() <= MAX_VERSION_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic()) && has_few_words(text)
        }
        _ => is_name(text, MAX_NAME_BYTES),
    }
}

/// Returns true for a few words, or more that are joined. In an import path each segment is judged by itself.
fn is_name(text: &str, max_bytes: usize) -> bool {
    let is_joined = |segment: &str| is_identifier(segment, MAX_JOINED_NAME_WORDS, max_bytes);
    text.len() <= max_bytes && (fits_words(text, MAX_NAME_WORDS, max_bytes) || text.split('/').all(is_joined))
}

/// Returns true for at most [`MAX_FIELD_WORDS`] words, however they are joined. Single letters do not count.
fn has_few_words(text: &str) -> bool {
    split_words(text).filter(|word| word.len() > 1).nth(MAX_FIELD_WORDS).is_none()
}

/// Returns true for a common level, optionally with a number (`DEBUG2`).
fn is_severity(text: &str) -> bool {
    const LEVELS: &str = "alert audit config crit critical debug default emerg emergency err error fatal fine finer finest \
        http info information log none normal notice panic security severe success trace verbose warn warning";
    let level = text.trim_end_matches(|c: char| c.is_ascii_digit());
    text.len() <= MAX_SEVERITY_BYTES && LEVELS.split(' ').any(|known| known.eq_ignore_ascii_case(level))
}

/// `vendor=value,tenant@vendor=value`, with values that contain no blanks.
fn is_trace_state(text: &str) -> bool {
    let is_key_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    let is_value_byte = |byte: u8| byte.is_ascii_graphic() && byte != b'=';
    let is_member = |member: &str| match member.trim().split_once('=') {
        Some((key, value)) => {
            !key.is_empty()
                && key.bytes().all(is_key_byte)
                && value.bytes().all(is_value_byte)
                && has_few_words(key)
                && has_few_words(value)
        }
        None => member.trim().is_empty(),
    };
    text.len() <= MAX_TRACE_STATE_BYTES
        && text.split(',').nth(MAX_TRACE_STATE_MEMBERS).is_none()
        && text.split(',').all(is_member)
}

fn is_web_address(text: &str) -> bool {
    text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).is_some_and(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests;
