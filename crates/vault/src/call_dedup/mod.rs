//! Recognises calls in index lines and removes duplicates: clients report one call as a span and as a log event, or as
//! two spans. Everything that counts calls (session lines, `replay` and its tree, `evidence`, the audit page) uses this
//! module, so that all counts agree. A model call is an item that `cost` counted. Reports of one tool call belong to
//! one session and trace. A report is a duplicate of
//! - a span of the same tool with the same tool call id, if the report is a span and the two overlap in time. Equal ids
//!   alone prove nothing: ids come from models, and some clients give each call the same id;
//! - a span of the same tool, if the report is a log with the same tool call id, or a log without an id that names that
//!   span or the span's parent;
//! - such a log, if the report is a span.
//!
//! The same rules apply to failures, and to model calls (by the provider's response id). A failed model span inside
//! another one is the same failure. Logs of different kinds at one span report one failure; several logs of one kind
//! (attempts) report one failure each. A failed item that is neither a tool call nor a model call is counted once.
//!
//! Counts don't depend on the order of arrival. Memory is bounded: after very many calls the oldest are forgotten.
//! Neighbour: `processors/cost` decides prices and which reports of a price are duplicates.

use std::hash::{DefaultHasher, Hash, Hasher};

use kernel::bounded_map::BoundedMap;
use rust_decimal::Decimal;
use serde_json::Value;

use super::document::ItemHead;
use super::index_row::{IndexRow, RowTail};
use super::object_names::parse_time;

#[cfg(test)]
mod tests;

/// Whether a tool of this name starts an agent, in clients whose sub-agents have no span of their own.
pub fn is_agent_tool(tool: &str) -> bool {
    ["agent", "task"].iter().any(|name| tool.eq_ignore_ascii_case(name))
}

/// Whether two names may refer to one tool, because events may name a tool by its kind. Ids alone don't identify a
/// call: they come from models, and some models start numbering again with each answer.
pub fn is_same_tool(first: &str, second: &str) -> bool {
    let is_kind_of = |kind: &str, tool: &str| kind == "mcp_tool" && tool.starts_with("mcp__");
    first == second
        || is_kind_of(first, second)
        || is_kind_of(second, first)
        || (is_agent_tool(first) && is_agent_tool(second))
}

/// Two texts of at least this length count as equal if they agree up to it, because one may have been cut short.
const COMPARED_PREFIX_BYTES: usize = 64;

/// Whether two reports of arguments may be of the same call: clients omit some arguments and cut long texts.
pub fn is_same_arguments(first: &Value, second: &Value) -> bool {
    let parse_text = |value: &Value| -> Option<Value> {
        let text = value.as_str().filter(|text| text.trim_start().starts_with(['{', '[']))?;
        serde_json::from_str(text).ok()
    };
    match (parse_text(first).as_ref().unwrap_or(first), parse_text(second).as_ref().unwrap_or(second)) {
        (Value::Object(first), Value::Object(second)) => {
            let (fewer, more) = if first.len() <= second.len() { (first, second) } else { (second, first) };
            fewer
                .iter()
                .all(|(key, value)| more.get(key).is_some_and(|other_value| is_same_arguments(value, other_value)))
        }
        (first, second) if first == second => true,
        (first, second) => {
            let texts = [first, second].map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            let [first, second] = texts.each_ref().map(|text| text.as_bytes().get(..COMPARED_PREFIX_BYTES));
            first.is_some() && first == second
        }
    }
}

/// What an index line says of a call, or the head of a document's item that has no line.
#[derive(Clone, Default)]
pub struct CallReport<'a> {
    /// Account, tenant and session id.
    session: [&'a str; 3],
    pub trace: &'a str,
    pub span: Option<&'a str>,
    /// Id of the parent span.
    pub parent: Option<&'a str>,
    /// Role in a run: `model`, `tool`, `agent`, …
    pub call: &'a str,
    operation: &'a str,
    pub tool: Option<&'a str>,
    pub tool_call: Option<&'a str>,
    /// The id that the model's provider gave to the answer.
    pub response: Option<&'a str>,
    /// Id of the sub-agent, if the client reports it.
    pub agent: Option<&'a str>,
    /// Name of the agent, or else of the service.
    pub actor: Option<&'a str>,
    pub is_span: bool,
    start: &'a str,
    /// End of a span, RFC 3339.
    pub end: Option<&'a str>,
    /// `ok`, or the error.
    pub status: &'a str,
    failed: bool,
    repeat: bool,
    /// Price status, or nothing.
    pub cost_status: &'a str,
    pub cost_usd: Option<&'a str>,
}

impl<'a> CallReport<'a> {
    pub fn from_row(row: &'a IndexRow) -> Self {
        let tail: &RowTail = &row.tail;
        Self {
            session: [&tail.account, &tail.tenant, tail.session_id.as_deref().unwrap_or_default()],
            trace: tail.trace_id.as_deref().unwrap_or_default(),
            span: tail.span_id.as_deref(),
            parent: tail.parent_span_id.as_deref(),
            call: &tail.call,
            operation: tail.action_type.as_deref().unwrap_or_default(),
            tool: tail.tool_name.as_deref(),
            tool_call: tail.tool_call_id.as_deref(),
            response: tail.response_id.as_deref(),
            agent: tail.agent_id.as_deref(),
            actor: tail.actor.as_deref(),
            is_span: tail.signal == "traces",
            start: &tail.ts,
            end: tail.end_ts.as_deref(),
            status: &tail.status,
            failed: tail.status != "ok",
            repeat: tail.repeat,
            cost_status: tail.cost_status.as_deref().unwrap_or_default(),
            cost_usd: tail.cost_usd.as_deref(),
        }
    }

    /// The report in a document's item that has no index line.
    pub fn from_item_head(head: &'a ItemHead<'_>) -> Self {
        Self {
            trace: head.trace_id.as_deref().unwrap_or_default(),
            span: head.span_id.as_deref(),
            parent: head.parent_span_id.as_deref(),
            call: &head.call,
            operation: head.operation.as_deref().unwrap_or_default(),
            tool: head.tool.as_deref(),
            tool_call: head.tool_call.as_deref(),
            response: head.response_id.as_deref(),
            agent: head.agent.as_deref(),
            actor: head.actor.as_deref(),
            is_span: head.kind == "span",
            start: &head.start,
            end: head.end.as_deref(),
            status: head.error.as_deref().unwrap_or(if head.failed { "error" } else { "ok" }),
            failed: head.failed || head.error.is_some(),
            cost_status: head.cost_status.as_deref().unwrap_or_default(),
            cost_usd: head.cost_usd.as_deref(),
            ..Self::default()
        }
    }

    /// Ignores the session ids, for callers whose reports all belong to one session, with or without index lines.
    pub fn without_session(self) -> Self {
        Self { session: Default::default(), ..self }
    }

    /// Whether the item counts as a model call. One that waits for its price, or for another report of the call, does
    /// not; the price's line does.
    pub fn is_model_call(&self) -> bool {
        let is_counted_elsewhere = matches!(self.cost_status, "deferred" | "not_counted" | "correction");
        self.call == "model" && !self.repeat && !is_counted_elsewhere
    }

    /// Whether the item was charged an amount, which is negative if it takes something back.
    pub fn is_charged(&self) -> bool {
        matches!(self.cost_status, "priced" | "correction")
    }

    /// The amount in USD that the item was charged; 0 if it was not, or if the amount is unreadable.
    pub fn charged_usd(&self) -> Decimal {
        self.cost_usd.filter(|_| self.is_charged()).and_then(|usd| usd.parse().ok()).unwrap_or_default()
    }

    /// The tool call that the item reports, as a key for comparing reports.
    fn tool_key(&self) -> Option<ReportKey<'a>> {
        let name = self.tool.unwrap_or_default();
        (self.call == "tool").then_some(ReportKey { kind: "tool", name, id: self.tool_call })
    }

    /// The failure that the item reports; `None` if no other item can report the same failure.
    fn failure_key(&self) -> Option<ReportKey<'a>> {
        let failed_tool = ReportKey { kind: "failed tool", name: self.tool.unwrap_or_default(), id: self.tool_call };
        match self.call {
            "tool" => Some(failed_tool),
            // an event for the tool's result
            "other" if self.tool_call.is_some() => Some(failed_tool),
            "model" | "model_copy" => Some(ReportKey { kind: FAILED_MODEL, name: "", id: self.response }),
            _ => None,
        }
    }

    /// Hashes a key together with `place`: the tool call id, or a span id.
    fn hash_at(&self, key: &ReportKey<'_>, place: impl Hash) -> u64 {
        let mut hash = DefaultHasher::new();
        (self.session, self.trace, key.kind, key.name, place).hash(&mut hash);
        hash.finish()
    }

    /// Start and end, ns since 1970.
    fn time_nanos(&self) -> (u64, u64) {
        let nanos = |text: &str| parse_time(text).unwrap_or_default().0;
        (nanos(self.start), nanos(self.end.unwrap_or(self.start)))
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

/// Counts of the reports with one key at one place (a tool call id, or a span id).
#[derive(Clone, Copy, Default)]
struct ReportCounts {
    /// Spans with this tool call id, or the span with this span id.
    spans: u32,
    child_spans: u32,
    logs: u32,
    /// Start and end of the last span that counted as a call.
    last_span: (u64, u64),
}

impl ReportCounts {
    /// Calls that spans reported here: a nested model span repeats its parent's call, while each tool span is a call.
    fn span_calls(&self, is_model: bool) -> u32 {
        if is_model { self.spans.max(self.child_spans) } else { self.spans.saturating_add(self.child_spans) }
    }

    /// Adds a span with this tool call id. Returns whether it reports a call that was not reported before.
    fn add_span(&mut self, (start, end): (u64, u64)) -> bool {
        let overlaps = start < self.last_span.1 && self.last_span.0 < end || (start, end) == self.last_span;
        if self.spans > 0 && overlaps {
            return false;
        }
        self.last_span = (start, end);
        self.spans = self.spans.saturating_add(1);
        self.spans > self.logs
    }
}

/// Tool calls and failures reported so far.
#[derive(Default)]
pub struct CallDeduplicator(BoundedMap<u64, ReportCounts, { 1 << 20 }>);

impl CallDeduplicator {
    /// `capacity` is the number of entries. A call needs up to three of them, and so does a failure.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(BoundedMap::new(capacity))
    }

    /// Records a report; true if it is a tool call that was not reported before.
    pub fn is_new_tool(&mut self, report: &CallReport<'_>) -> bool {
        report.tool_key().is_some_and(|key| self.is_new(report, &key))
    }

    /// Records a report; true if it is a failure that was not reported before.
    pub fn is_new_failure(&mut self, report: &CallReport<'_>) -> bool {
        report.failed && !report.repeat && report.failure_key().is_none_or(|key| self.is_new(report, &key))
    }

    fn is_new(&mut self, report: &CallReport<'_>, key: &ReportKey<'_>) -> bool {
        if report.repeat {
            return false;
        }
        let is_model = key.kind == FAILED_MODEL;
        let id_hash = key.id.map(|id| report.hash_at(key, ("call", id)));
        if !report.is_span {
            let hash = id_hash.or_else(|| report.span.map(|span| report.hash_at(key, span)));
            return hash.is_none_or(|hash| self.add_log(report, hash, is_model));
        }
        let repeats_id = id_hash
            .is_some_and(|hash| !self.update_counts(report, hash, |counts| counts.add_span(report.time_nanos())));
        if repeats_id && !is_model {
            return false;
        }
        let (mut repeats_log, mut repeats_span) = (false, false);
        for (span, is_own) in [(report.span, true), (report.parent, false)] {
            let Some(span) = span else { continue };
            self.update_counts(report, report.hash_at(key, span), |counts| {
                repeats_log |= counts.logs > counts.span_calls(is_model);
                let (same_place, other_place) = match is_own {
                    true => (&mut counts.spans, counts.child_spans),
                    false => (&mut counts.child_spans, counts.spans),
                };
                *same_place = same_place.saturating_add(1);
                repeats_span |= is_model && *same_place <= other_place;
            });
        }
        !repeats_id && !repeats_log && !repeats_span
    }

    /// Records a log whose call is known by tool call id or span (`hash`). Several logs of one kind report one call
    /// each; logs of another kind report the same calls again.
    fn add_log(&mut self, report: &CallReport<'_>, hash: u64, is_model: bool) -> bool {
        let mut kind_hash = DefaultHasher::new();
        (hash, report.call, report.operation).hash(&mut kind_hash);
        let logs = self.update_counts(report, kind_hash.finish(), |counts| {
            counts.logs = counts.logs.saturating_add(1);
            counts.logs
        });
        self.update_counts(report, hash, |counts| {
            let is_most = logs > counts.logs;
            counts.logs = counts.logs.max(logs);
            is_most && logs > counts.span_calls(is_model)
        })
    }

    fn update_counts<R>(
        &mut self,
        report: &CallReport<'_>,
        hash: u64,
        change: impl FnOnce(&mut ReportCounts) -> R,
    ) -> R {
        let [account, ..] = report.session;
        self.0.update(account, hash, change)
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
