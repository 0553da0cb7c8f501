//! Evaluates a rule's conditions on an item, and the sampling decision for its trace. Reads only. A pattern costs at
//! most its length times the length of the text. The rules' configuration is in `config`.

use config::glob::matches;
use otlp::{NodeId, NodeKind, Payload, TextField, Value};

use super::config::{FilterRule, Severity};

/// Status code of failed spans.
const STATUS_ERROR: i32 = 2;
/// Number of random bits in a trace id (W3C Trace Context, level 2).
const RANDOM_BITS: u32 = 56;

fn matches_any(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern.as_bytes(), text.as_bytes()))
}

/// Returns true if `rule` drops `item`.
pub(super) fn is_dropped_by(rule: &FilterRule, payload: &Payload, item: NodeId) -> bool {
    if !rule.include_errors && is_error(payload, item) {
        return false;
    }
    if let Some(severity) = rule.severity_below
        && !(payload.kind(item) == NodeKind::LogRecord
            && (1..severity.number()).contains(&payload.severity_number(item)))
    {
        return false;
    }
    (rule.names.is_empty() || matches_name(&rule.names, payload, item))
        && (rule.scopes.is_empty() || matches_any(&rule.scopes, payload.text(payload.scope(item), TextField::Name)))
        && rule.attributes.iter().all(|(key, pattern)| has_attribute(payload, item, key, pattern))
        && rule.resource.iter().all(|(key, pattern)| has_attribute(payload, payload.resource(item), key, pattern))
        && (rule.without.is_empty()
            || !payload.attributes(item).any(|attribute| matches_any(&rule.without, attribute.key)))
}

fn is_error(payload: &Payload, item: NodeId) -> bool {
    match payload.kind(item) {
        NodeKind::Span => payload.status_code(item) == STATUS_ERROR,
        NodeKind::LogRecord => payload.severity_number(item) >= Severity::Error.number(),
        _ => false,
    }
}

/// Matches a span's name; a log record's event name, as field or attribute; a data point's metric.
fn matches_name(patterns: &[String], payload: &Payload, item: NodeId) -> bool {
    match payload.kind(item) {
        NodeKind::LogRecord => {
            matches_any(patterns, payload.text(item, TextField::EventName))
                || payload.get_str(item, "event.name").is_some_and(|name| matches_any(patterns, name))
        }
        NodeKind::DataPoint => {
            payload.parent(item).is_some_and(|metric| matches_any(patterns, payload.text(metric, TextField::Name)))
        }
        _ => matches_any(patterns, payload.text(item, TextField::Name)),
    }
}

fn has_attribute(payload: &Payload, node: NodeId, key: &str, pattern: &str) -> bool {
    let matches_pattern = |text: &str| matches(pattern.as_bytes(), text.as_bytes());
    match payload.get(node, key) {
        Some(Value::Str(text)) => matches_pattern(text),
        Some(Value::Bool(value)) => matches_pattern(if value { "true" } else { "false" }),
        Some(Value::Int(value)) => matches_pattern(&value.to_string()),
        Some(Value::Double(value)) => matches_pattern(&value.to_string()),
        Some(_) => pattern == "*",
        None => false,
    }
}

/// Returns true if sampling at `ratio` keeps the trace. The lowest 56 bits of the trace id are compared with a
/// threshold, as in OpenTelemetry's consistent sampling, so the traces kept at a smaller ratio are a subset of those
/// kept at a larger one. Items without a trace are kept.
pub(super) fn is_sampled(trace: &[u8], ratio: f64) -> bool {
    let Some(random) = trace.last_chunk::<7>() else { return true };
    let random = random.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    let id_count = (1_u64 << RANDOM_BITS) as f64;
    random >= ((1.0 - ratio) * id_count).round() as u64
}
