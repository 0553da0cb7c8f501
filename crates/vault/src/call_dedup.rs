//! Recognises calls in index lines and removes duplicates: clients report one call as a span and as a log event, or as
//! two spans. Everything that counts calls (session lines, `replay` and its tree, `evidence`, the audit page) uses this
//! module, so that all counts agree. A model call is an item that `cost` counted. Reports of one tool call belong to
//! one session and trace. A report is a duplicate of
//! - a span of the same tool, if the report is a span with the same tool call id and the two overlap in time: some
//!   clients give each call the same id, and ids come from models, so no call of a tool may hide another one;
//! - a span of the same tool, if the report is a log with the same tool call id, or a log without an id at that span or
//!   the span's parent;
//! - such a log, if the report is a span.
//!
//! The same rules apply to failures, and to model calls (by the provider's response id). A failed model span inside
//! another one is the same failure. Logs of different kinds at one span report one failure; several logs of one kind
//! (attempts) report one failure each. A failed item that is neither a tool call nor a model call is counted once.
//!
//! Counts don't depend on the order of arrival. Memory is bounded: after very many calls the oldest are forgotten.
//! Neighbour: `processors/cost` decides prices and which reports of a price are duplicates.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::document::ItemHead;
use super::index_row::{IndexRow, RowTail};

#[cfg(test)]
mod tests;

/// Whether an item with this `call` and price status is a model call that no other item reports.
pub fn is_model_call(call: &str, cost_status: Option<&str>) -> bool {
    call == "model" && !matches!(cost_status, Some("deferred" | "not_counted"))
}

/// The same for an index line. A line that waits for its price, or for another report of the call, does not count; the
/// price's line does.
pub fn is_model_line(tail: &RowTail) -> bool {
    !tail.repeat && is_model_call(&tail.call, tail.cost_status.as_deref())
}

/// Whether a tool of this name starts an agent, in clients whose sub-agents have no span of their own.
pub fn is_agent_tool(tool: &str) -> bool {
    ["agent", "task"].iter().any(|name| tool.eq_ignore_ascii_case(name))
}

/// Whether two names may refer to one tool, because events may name a tool by its kind. Ids alone don't identify a
/// call: they come from models, and some models start numbering again with each answer.
pub fn is_same_tool(one: &str, other: &str) -> bool {
    let is_kind = |one: &str, other: &str| one == "mcp_tool" && other.starts_with("mcp__");
    one == other || is_kind(one, other) || is_kind(other, one) || (is_agent_tool(one) && is_agent_tool(other))
}

/// Bytes at the start by which two texts are compared when one of them was cut short.
const COMPARED_PREFIX_BYTES: usize = 64;

/// Whether two reports of arguments may be of the same call: clients omit some arguments and cut long texts.
pub fn is_same_arguments(one: &Value, other: &Value) -> bool {
    let parsed = |value: &Value| -> Option<Value> {
        let text = value.as_str().filter(|text| text.trim_start().starts_with(['{', '[']))?;
        serde_json::from_str(text).ok()
    };
    match (parsed(one).as_ref().unwrap_or(one), parsed(other).as_ref().unwrap_or(other)) {
        (Value::Object(one), Value::Object(other)) => {
            let (few, many) = if one.len() <= other.len() { (one, other) } else { (other, one) };
            few.iter().all(|(key, value)| many.get(key).is_some_and(|there| is_same_arguments(value, there)))
        }
        (one, other) if one == other => true,
        (one, other) => {
            let texts = [one, other].map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            let [one, other] = texts.each_ref().map(|text| text.as_bytes().get(..COMPARED_PREFIX_BYTES));
            one.is_some() && one == other
        }
    }
}

/// One item's report of a call.
pub struct CallReport<'a> {
    session: [&'a str; 3],
    trace: &'a str,
    span: Option<&'a str>,
    parent: Option<&'a str>,
    /// Role in a run (`call`) and operation.
    role: (&'a str, &'a str),
    tool: &'a str,
    tool_call: Option<&'a str>,
    response: Option<&'a str>,
    is_span: bool,
    /// Start and end, RFC 3339.
    time: (&'a str, &'a str),
    failed: bool,
    repeat: bool,
}

impl<'a> CallReport<'a> {
    /// The report in an index line.
    pub fn from_row(row: &'a IndexRow) -> Self {
        let tail: &RowTail = &row.tail;
        let ids = [&tail.trace_id, &tail.span_id, &tail.parent_span_id, &tail.tool_name, &tail.tool_call_id];
        Self {
            session: [&tail.account, &tail.tenant, tail.session_id.as_deref().unwrap_or_default()],
            role: (&tail.call, tail.action_type.as_deref().unwrap_or_default()),
            response: tail.response_id.as_deref(),
            is_span: tail.signal == "traces",
            time: (&tail.ts, tail.end_ts.as_deref().unwrap_or(&tail.ts)),
            failed: tail.status != "ok",
            repeat: tail.repeat,
            ..Self::with_ids(ids.map(Option::as_deref))
        }
    }

    /// The report in a document's item that has no index line.
    pub fn from_item_head(head: &'a ItemHead<'_>) -> Self {
        let [trace, span, parent] = [&head.trace_id, &head.span_id, &head.parent_span_id].map(Option::as_deref);
        Self {
            role: (&head.call, head.operation.as_deref().unwrap_or_default()),
            response: head.response_id.as_deref(),
            is_span: head.kind == "span",
            time: (&head.start, head.end.as_deref().unwrap_or(&head.start)),
            failed: head.failed || head.error.is_some(),
            ..Self::with_ids([trace, span, parent, head.tool.as_deref(), head.tool_call.as_deref()])
        }
    }

    fn with_ids([trace, span, parent, tool, tool_call]: [Option<&'a str>; 5]) -> Self {
        Self {
            session: [""; 3],
            trace: trace.unwrap_or_default(),
            span,
            parent,
            role: ("", ""),
            tool: tool.unwrap_or_default(),
            tool_call,
            response: None,
            is_span: false,
            time: ("", ""),
            failed: false,
            repeat: false,
        }
    }

    /// Ignores the session ids, for callers whose reports all belong to one session, with or without index lines.
    pub fn without_session(self) -> Self {
        Self { session: [""; 3], ..self }
    }

    /// The tool call that the item reports, as a key for comparing reports.
    fn as_tool(&self) -> Option<ReportKey<'a>> {
        (self.role.0 == "tool").then_some(ReportKey { kind: "tool", name: self.tool, id: self.tool_call })
    }

    /// The failure that the item reports; `None` if no other item can report the same failure.
    fn as_failure(&self) -> Option<ReportKey<'a>> {
        let of_tool = ReportKey { kind: "failed tool", name: self.tool, id: self.tool_call };
        match self.role.0 {
            "tool" => Some(of_tool),
            // an event for the tool's result
            "other" if self.tool_call.is_some() => Some(of_tool),
            "model" | "model_copy" => Some(ReportKey { kind: FAILED_MODEL, name: "", id: self.response }),
            _ => None,
        }
    }

    fn key_hash(&self, subject: &ReportKey<'_>, what: impl Hash) -> u64 {
        let mut hash = DefaultHasher::new();
        (self.session, self.trace, subject.kind, subject.name, what).hash(&mut hash);
        hash.finish()
    }

    fn nanos(&self) -> (i128, i128) {
        let nanos = |text: &str| OffsetDateTime::parse(text, &Rfc3339).map_or(0, OffsetDateTime::unix_timestamp_nanos);
        (nanos(self.time.0), nanos(self.time.1))
    }
}

/// A failed model call: its spans may be nested.
const FAILED_MODEL: &str = "failed model";

/// The key by which reports are compared.
struct ReportKey<'a> {
    kind: &'static str,
    name: &'a str,
    id: Option<&'a str>,
}

/// Counts of the reports of one subject.
#[derive(Clone, Copy, Default)]
struct ReportCounts {
    /// Spans with this id, or the span with this span id.
    spans: u32,
    /// Child spans of this span.
    below: u32,
    logs: u32,
    /// Start and end of the last span that counted as a call.
    last: (i128, i128),
}

impl ReportCounts {
    /// Calls that spans reported here: a nested model span repeats its parent's call, while each tool span is a call.
    fn span_calls(&self, is_model: bool) -> u32 {
        if is_model { self.spans.max(self.below) } else { self.spans.saturating_add(self.below) }
    }

    fn add_span(&mut self, (from, until): (i128, i128)) -> bool {
        let overlap = from < self.last.1 && self.last.0 < until || (from, until) == self.last;
        if self.spans > 0 && overlap {
            return false;
        }
        self.last = (from, until);
        self.spans = self.spans.saturating_add(1);
        self.spans > self.logs
    }
}

/// Tool calls and failures reported so far.
pub struct CallDeduplicator {
    newer: HashMap<u64, ReportCounts>,
    older: HashMap<u64, ReportCounts>,
    capacity: usize,
}

impl Default for CallDeduplicator {
    fn default() -> Self {
        Self::with_capacity(1 << 19)
    }
}

impl CallDeduplicator {
    /// `room` is the number of entries in each of two generations; the older generation is dropped when the newer is
    /// full. A call needs up to three entries, and so does a failure.
    pub fn with_capacity(room: usize) -> Self {
        Self { newer: HashMap::new(), older: HashMap::new(), capacity: room }
    }

    /// Records a report; true if it is a tool call that was not reported before.
    pub fn is_new_tool(&mut self, told: &CallReport<'_>) -> bool {
        told.as_tool().is_some_and(|subject| self.is_new(told, &subject))
    }

    /// Records a report; true if it is a failure that was not reported before.
    pub fn is_new_failure(&mut self, told: &CallReport<'_>) -> bool {
        told.failed && !told.repeat && told.as_failure().is_none_or(|subject| self.is_new(told, &subject))
    }

    fn is_new(&mut self, told: &CallReport<'_>, subject: &ReportKey<'_>) -> bool {
        if told.repeat {
            return false;
        }
        let is_model = subject.kind == FAILED_MODEL;
        let by_id = subject.id.map(|id| told.key_hash(subject, ("call", id)));
        if !told.is_span {
            let place = by_id.or_else(|| told.span.map(|span| told.key_hash(subject, span)));
            return place.is_none_or(|place| self.add_log(told, place, is_model));
        }
        let by_other = by_id.is_some_and(|call| !self.counts_mut(call).add_span(told.nanos()));
        if by_other && !is_model {
            return false;
        }
        let (mut by_log, mut by_span) = (false, false);
        for (span, is_own) in [(told.span, true), (told.parent, false)] {
            let Some(span) = span else { continue };
            let seen = self.counts_mut(told.key_hash(subject, span));
            by_log |= seen.logs > seen.span_calls(is_model);
            let (mine, others) = if is_own { (&mut seen.spans, seen.below) } else { (&mut seen.below, seen.spans) };
            *mine = mine.saturating_add(1);
            by_span |= is_model && *mine <= others;
        }
        !by_other && !by_log && !by_span
    }

    /// Records a log whose call is known by id or span. Several logs of one kind are as many calls; logs of another
    /// kind report the same calls again.
    fn add_log(&mut self, told: &CallReport<'_>, place: u64, is_model: bool) -> bool {
        let mut hash = DefaultHasher::new();
        (place, told.role).hash(&mut hash);
        let of_kind = self.counts_mut(hash.finish());
        of_kind.logs = of_kind.logs.saturating_add(1);
        let logs = of_kind.logs;
        let seen = self.counts_mut(place);
        let is_more = logs > seen.logs;
        seen.logs = seen.logs.max(logs);
        is_more && logs > seen.span_calls(is_model)
    }

    fn counts_mut(&mut self, number: u64) -> &mut ReportCounts {
        if self.newer.len() >= self.capacity {
            self.older = std::mem::take(&mut self.newer);
        }
        let before = self.older.get(&number).copied();
        self.newer.entry(number).or_insert_with(|| before.unwrap_or_default())
    }
}

/// Whether a permission's outcome is a denial.
pub fn is_denied(decision: &str) -> bool {
    let decision = decision.to_ascii_lowercase();
    ["rej", "den", "block", "refus", "forbid", "disallow", "abort", "cancel"]
        .iter()
        .any(|word| decision.starts_with(word))
        || decision == "no"
}
