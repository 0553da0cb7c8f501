//! **What**: fields that have a form by the specification: trace state (W3C Trace Context §3.3), schema URLs, versions
//! and units, severities, names of scopes and metrics. **Why**: what has another form is somebody's text.
//! **Invariants**: what has the form is not touched here; the rules see it as they see every text. **Not here**: names
//! of spans and events (`vault/outside`).

use genai::is_short_name;
use kernel::CONTENT;
use otlp::{Field, Node, NodeKind, Payload};

/// Longest trace state by the specification, bytes.
const TRACE_STATE: usize = 512;
/// Longest schema URL, version and unit, bytes.
const SCHEMA_URL: usize = 256;
const WORD: usize = 64;
/// Longest severity as the source wrote it, bytes.
const SEVERITY: usize = 12;
/// Most words and bytes of a scope's or metric's name.
const NAME: (usize, usize) = (5, 128);

/// Empties fields whose texts have not the form that the specification gives them, and marks names that are sentences.
/// Gives the number of fields.
pub(super) fn close(payload: &mut Payload) -> u64 {
    let mut closed: Vec<(Node, Field, &'static str)> = Vec::new();
    for node in payload.nodes() {
        let fields: &[Field] = match payload.kind(node) {
            NodeKind::Span | NodeKind::Link => &[Field::TraceState],
            NodeKind::Resource => &[Field::SchemaUrl],
            NodeKind::Scope => &[Field::SchemaUrl, Field::Version, Field::Name],
            NodeKind::Metric => &[Field::Unit, Field::Name],
            NodeKind::LogRecord => &[Field::SeverityText],
            _ => &[],
        };
        for field in fields {
            let text = payload.text(node, *field);
            if !text.is_empty() && !has_form(*field, text) {
                closed.push((node, *field, if *field == Field::Name { CONTENT } else { "" }));
            }
        }
    }
    for (node, field, by) in &closed {
        payload.set_text(*node, *field, by);
    }
    closed.len() as u64
}

fn has_form(field: Field, text: &str) -> bool {
    match field {
        Field::TraceState => is_trace_state(text),
        Field::SchemaUrl => is_schema_url(text),
        Field::SeverityText => is_severity(text),
        Field::Version | Field::Unit => text.len() <= WORD && !text.contains(char::is_whitespace),
        _ => text.len() <= NAME.1 && is_short_name(text, NAME.0),
    }
}

/// A usual level, in capitals a level of somebody's own (`SECURITY`, `DEBUG2`).
fn is_severity(text: &str) -> bool {
    const LEVELS: &str = "alert audit config crit critical debug default emerg emergency err error fatal fine finer finest \
        http info information log none normal notice panic severe success trace verbose warn warning";
    let capitals = |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    text.len() <= SEVERITY && (capitals(text) || LEVELS.split(' ').any(|level| level.eq_ignore_ascii_case(text)))
}

/// `vendor=value,tenant@vendor=value`: values without blanks.
fn is_trace_state(text: &str) -> bool {
    let key = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    let value = |byte: u8| byte.is_ascii_graphic() && byte != b'=';
    let member = |member: &str| match member.trim().split_once('=') {
        Some((name, said)) => !name.is_empty() && name.bytes().all(key) && said.bytes().all(value),
        None => member.trim().is_empty(),
    };
    text.len() <= TRACE_STATE && text.split(',').all(member)
}

fn is_schema_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte);
    text.len() <= SCHEMA_URL && rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(allowed))
}

#[cfg(test)]
mod tests;
