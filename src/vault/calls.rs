//! **What**: which index lines tell of a call, and which tell it again: clients tell one call as a span and as a log event, or as two
//! spans. **Why**: whoever counts calls (sessions' lines, `replay`, its tree, `evidence`, the audit page) must count the same.
//! **Invariants**: a model call is what `cost` counted. Tellings of a tool call are of one session and trace; a call was told before
//! - by a span of the same tool, if it is a span with the same tool call's id, and they overlap in time: some clients give each call the same id,
//!   and ids come from models, so that no call of one tool may hide another's;
//! - by a span of the same tool, if it is a log with the same tool call's id, or one without at that span or the one above it;
//! - by such a log, if it is a span.
//!
//! Counts don't depend on who comes first; of the same kind of log as many are calls as were sent. Memory is bounded: of very many calls those of
//! long ago are forgotten. **Not here**: prices and what is counted twice there (`processors/cost`).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::document::ItemHead;
use super::row::{Row, Tail};

#[cfg(test)]
mod tests;

/// Whether an item of this `call` and status of its price is a model call that nothing else tells.
pub fn is_model_call(call: &str, cost_status: Option<&str>) -> bool {
    call == "model" && !matches!(cost_status, Some("deferred" | "not_counted"))
}

/// The same of a line: one that waits for its price, or for whoever else tells the call, is none; the line of the price is.
pub fn is_model_line(tail: &Tail) -> bool {
    !tail.repeat && is_model_call(&tail.call, tail.cost_status.as_deref())
}

/// What an item tells of its tool call.
pub struct Telling<'a> {
    session: [&'a str; 3],
    trace: &'a str,
    span: Option<&'a str>,
    parent: Option<&'a str>,
    tool: &'a str,
    id: Option<&'a str>,
    is_span: bool,
    /// Start and end, RFC 3339.
    time: (&'a str, &'a str),
    repeat: bool,
}

impl<'a> Telling<'a> {
    /// Of an index line; `None`: it tells of no tool call.
    pub fn of(row: &'a Row) -> Option<Self> {
        let tail: &Tail = &row.tail;
        let trace = tail.trace_id.as_deref().unwrap_or_default();
        (tail.call == "tool").then(|| Self {
            session: [&tail.account, &tail.tenant, tail.session_id.as_deref().unwrap_or_default()],
            trace,
            span: tail.span_id.as_deref(),
            parent: tail.parent_span_id.as_deref(),
            tool: tail.tool_name.as_deref().unwrap_or_default(),
            id: tail.tool_call_id.as_deref(),
            is_span: tail.signal == "traces",
            time: (&tail.ts, tail.end_ts.as_deref().unwrap_or(&tail.ts)),
            repeat: tail.repeat,
        })
    }

    /// Of an item that no line tells of.
    pub fn of_head(head: &'a ItemHead<'_>) -> Option<Self> {
        (head.call == "tool").then(|| Self {
            session: [""; 3],
            trace: head.trace_id.as_deref().unwrap_or_default(),
            span: head.span_id.as_deref(),
            parent: head.parent_span_id.as_deref(),
            tool: head.tool.as_deref().unwrap_or_default(),
            id: head.tool_call.as_deref(),
            is_span: head.kind == "span",
            time: (&head.start, head.end.as_deref().unwrap_or(&head.start)),
            repeat: false,
        })
    }

    /// Where all tellings are of one session, whether lines tell of them or not.
    pub fn of_one_session(self) -> Self {
        Self { session: [""; 3], ..self }
    }

    fn by_id(&self) -> Option<u64> {
        self.id.map(|id| self.number(("call", self.tool, id)))
    }

    /// The tool's calls at a span.
    fn at(&self, span: &str) -> u64 {
        self.number((self.tool, span))
    }

    fn number(&self, what: impl Hash) -> u64 {
        let mut hash = DefaultHasher::new();
        (self.session, self.trace, what).hash(&mut hash);
        hash.finish()
    }

    fn nanos(&self) -> (i128, i128) {
        let nanos = |text: &str| OffsetDateTime::parse(text, &Rfc3339).map_or(0, OffsetDateTime::unix_timestamp_nanos);
        (nanos(self.time.0), nanos(self.time.1))
    }
}

/// How often something was told.
#[derive(Clone, Copy, Default)]
struct Seen {
    spans: u32,
    logs: u32,
    /// From when until when, of the span that told the last call.
    last: (i128, i128),
}

impl Seen {
    fn log(&mut self) -> bool {
        self.logs = self.logs.saturating_add(1);
        self.logs > self.spans
    }

    fn span(&mut self, (from, until): (i128, i128)) -> bool {
        let overlap = from < self.last.1 && self.last.0 < until || (from, until) == self.last;
        if self.spans > 0 && overlap {
            return false;
        }
        self.last = (from, until);
        self.spans = self.spans.saturating_add(1);
        self.spans > self.logs
    }
}

/// Tool calls that were told.
pub struct Calls {
    now: HashMap<u64, Seen>,
    before: HashMap<u64, Seen>,
    room: usize,
}

impl Default for Calls {
    fn default() -> Self {
        Self::with_room(1 << 19)
    }
}

impl Calls {
    /// `room`: what is remembered before the oldest half of twice as much is forgotten; a call needs up to three.
    pub fn with_room(room: usize) -> Self {
        Self { now: HashMap::new(), before: HashMap::new(), room }
    }

    /// Takes what is told; true: a call that was not told before.
    pub fn is_new(&mut self, told: &Telling<'_>) -> bool {
        if told.repeat {
            return false;
        }
        let by_id = told.by_id();
        if !told.is_span {
            let place = by_id.or_else(|| told.span.map(|span| told.at(span)));
            return place.is_none_or(|place| self.seen(place).log());
        }
        if by_id.is_some_and(|call| !self.seen(call).span(told.nanos())) {
            return false;
        }
        let mut by_log = false;
        for span in [told.span, told.parent].into_iter().flatten() {
            let seen = self.seen(told.at(span));
            by_log |= seen.logs > seen.spans;
            seen.spans = seen.spans.saturating_add(1);
        }
        !by_log
    }

    /// The same for a line; false where it tells of no tool call.
    pub fn is_new_tool(&mut self, row: &Row) -> bool {
        Telling::of(row).is_some_and(|told| self.is_new(&told))
    }

    fn seen(&mut self, number: u64) -> &mut Seen {
        if self.now.len() >= self.room {
            self.before = std::mem::take(&mut self.now);
        }
        let before = self.before.get(&number).copied();
        self.now.entry(number).or_insert_with(|| before.unwrap_or_default())
    }
}
