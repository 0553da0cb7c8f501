//! [`SessionLine`]: summary of a session in one line without content: times, calls, tokens, cost. Session lines are
//! kept in objects that no lifecycle rule expires, so that work and cost remain known for years after the payload
//! expired.
//!
//! A session line is computed from index lines alone, each counted once, and has no text that index lines don't have. A
//! session that continues after its line gets another one; the lines add up. Neighbour:
//! `uploader/open_sessions` decides when a line is written.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::call_dedup::{CallDeduplicator, CallReport, is_denied};
use super::index_row::{IndexRow, RowKind, RowTail, TokenBuckets};

#[cfg(test)]
mod tests;

/// Limit for the models, and for the rate tables, that a line names.
const MAX_NAMES: usize = 8;

/// The first key of a session line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionLineKind {
    #[default]
    Session,
}

/// Summary of one session (see the module). Times are RFC 3339 in UTC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionLine {
    /// Version of the line format.
    pub v: u8,
    pub kind: SessionLineKind,
    /// Account whose credential sent the session's items.
    pub account: String,
    /// Tenant in display form.
    pub tenant: String,
    /// Session id in display form; null without one.
    pub session_id: Option<String>,
    /// Trace id, if there is no session id.
    pub trace_id: Option<String>,
    /// The user, always as a pseudonym.
    pub user_key: Option<String>,
    /// Name of the agent, or else of the service.
    pub actor: Option<String>,
    /// Start of the first item.
    pub first_ts: String,
    /// Start of the last item.
    pub last_ts: String,
    /// Gateway clock at the last arrival.
    pub seen_ts: String,
    /// Whether the client reported the session's end; otherwise the session was idle, or there were too many sessions.
    pub ended: bool,
    /// Number of index lines that the summary covers.
    pub lines: u64,
    /// Model calls, each once: without copies, repeats and calls that wait for their price.
    pub model_calls: u64,
    pub tool_calls: u64,
    /// Permission requests that were denied.
    pub denials: u64,
    /// Failures, each once.
    pub errors: u64,
    /// Bytes of content.
    pub pt_bytes: u64,
    pub buckets: TokenBuckets,
    /// Cost in USD, exact decimal.
    pub cost_usd: String,
    /// Model calls without a price.
    pub unpriced: u64,
    /// Models, the first few.
    pub models: BTreeSet<String>,
    /// Rate tables, the first few.
    pub rates: BTreeSet<String>,
}

/// Identifies the session of a line: tenant, and session id or trace.
pub type SessionIdentity = (String, String);

impl SessionLine {
    /// The session of an index line; `None` if the line belongs to none.
    pub fn session_of(row: &IndexRow) -> Option<SessionIdentity> {
        let tail = &row.tail;
        if matches!(tail.kind, Some(RowKind::Gap | RowKind::Quarantine)) {
            return None;
        }
        Some((tail.tenant.clone(), tail.session_name()?.into_owned()))
    }

    pub fn own_session(&self) -> SessionIdentity {
        let trace = || format!("trace-{}", self.trace_id.as_deref().unwrap_or_default());
        (self.tenant.clone(), self.session_id.clone().unwrap_or_else(trace))
    }

    /// Adds an index line. `calls` holds the calls of the lines before it.
    pub fn add(&mut self, row: &IndexRow, calls: &mut CallDeduplicator) {
        let tail = &row.tail;
        if self.v == 0 {
            self.v = 1;
            (self.account, self.tenant) = (tail.account.clone(), tail.tenant.clone());
            self.session_id.clone_from(&tail.session_id);
            self.trace_id = tail.trace_id.clone().filter(|_| tail.session_id.is_none());
            (self.first_ts, self.last_ts) = (tail.ts.clone(), tail.ts.clone());
            self.cost_usd = Decimal::ZERO.to_string();
        }
        self.lines += 1;
        if tail.ts < self.first_ts {
            self.first_ts.clone_from(&tail.ts);
        }
        if tail.ts > self.last_ts {
            self.last_ts.clone_from(&tail.ts);
        }
        if tail.ingest_ts > self.seen_ts {
            self.seen_ts.clone_from(&tail.ingest_ts);
        }
        let report = CallReport::from_row(row);
        self.add_price(&report, tail);
        self.model_calls += u64::from(report.is_model_call());
        if tail.kind == Some(RowKind::Price) {
            return; // everything else was counted with the call's own line
        }
        self.user_key = self.user_key.take().or_else(|| tail.user_key.clone());
        self.actor = self.actor.take().or_else(|| tail.actor.clone());
        self.ended |= tail.call == "session_end";
        self.pt_bytes = self.pt_bytes.saturating_add(tail.pt_bytes.unwrap_or_default());
        self.errors += u64::from(calls.is_new_failure(&report));
        if tail.repeat || tail.cost_status.as_deref() == Some("not_counted") {
            return;
        }
        self.tool_calls += u64::from(calls.is_new_tool(&report));
        self.denials += u64::from(tail.decision.as_deref().is_some_and(is_denied));
        if let Some(model) = tail.model.as_ref().filter(|_| tail.call == "model" && self.models.len() < MAX_NAMES) {
            self.models.insert(model.clone());
        }
    }

    fn add_price(&mut self, report: &CallReport<'_>, tail: &RowTail) {
        self.unpriced += u64::from(report.cost_status == "unpriced");
        if !report.is_charged() {
            return;
        }
        let sum = self.cost_usd.parse::<Decimal>().ok();
        if let Some(sum) = sum.and_then(|sum| sum.checked_add(report.charged_usd())) {
            self.cost_usd = sum.to_string();
        }
        if let Some(added) = tail.buckets {
            self.buckets = self.buckets.combine(added, u64::saturating_add);
        }
        if let Some(rates) = tail.rates.as_ref().filter(|_| self.rates.len() < MAX_NAMES) {
            self.rates.insert(rates.clone());
        }
    }
}
