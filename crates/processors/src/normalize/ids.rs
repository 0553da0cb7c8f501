//! Copies trace and span ids that a log record carries only as attributes or in its body into the record's own fields.
//! Existing ids stay; a value that is not an id of the right length is ignored.

use genai::Facts;
use kernel::hex;
use otlp::{NodeKind, Payload};

/// Fills missing ids of an agent's log records. Returns true if any id was set.
pub(super) fn fill_missing_ids(payload: &mut Payload, facts: &Facts) -> bool {
    let mut filled = false;
    for item in facts.items.iter().filter(|item| item.agent && (item.trace.is_some() || item.span.is_some())) {
        if payload.kind(item.node) != NodeKind::LogRecord {
            continue;
        }
        let trace = read_id::<16>(item.trace.as_deref(), 1).filter(|_| payload.trace_id(item.node).is_empty());
        let span = read_id::<8>(item.span.as_deref(), 2).filter(|_| payload.span_id(item.node).is_empty());
        filled |= trace.is_some() || span.is_some();
        payload.set_ids(item.node, trace, span);
    }
    filled
}

/// Reads an id, which may be the part number `at` of a W3C `traceparent`.
fn read_id<const LEN: usize>(text: Option<&str>, at: usize) -> Option<[u8; LEN]> {
    let parts: Vec<&str> = text?.splitn(4, '-').collect();
    let is_traceparent = matches!(parts.as_slice(), [version, trace, span, ..]
        if version.len() == 2 && trace.len() == 32 && span.len() == 16);
    parse_id(parts.get(at).copied().filter(|_| is_traceparent).or(text)?)
}

/// Parses hex digits, with or without the dashes of a UUID. All zeros are not an id.
fn parse_id<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').take(2 * LEN + 1).collect();
    let id: [u8; LEN] = hex::decode(&digits)?.try_into().ok()?;
    Some(id).filter(|id| id.iter().any(|byte| *byte != 0))
}
