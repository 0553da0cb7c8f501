//! **What**: [`SessionLine`]: what a session was, in one line without content: when, how many calls, tokens, cost.
//! **Why**: who keeps payload for a year still wants to know after ten what was done and what it cost; these lines
//! stand in objects of their own that no lifecycle rule expires. **Invariants**: made from index lines alone, each line
//! counted once; a session that goes on after its line gets another one, and they add up; no text that index lines
//! don't hold. **Not here**: when a line is written (`uploader/totals`).

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::calls::{Calls, Telling, is_denied, is_model_line};
use super::row::{Buckets, Kind, Row};

#[cfg(test)]
mod tests;

/// Models and rate tables that are named.
const NAMED: usize = 8;

/// What a line of a session begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// `session`.
    #[default]
    Session,
}

/// See the module. Times are RFC 3339 in UTC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionLine {
    /// Version of the line.
    pub v: u8,
    /// `session`.
    pub kind: Said,
    /// Account.
    pub account: String,
    /// Tenant as shown.
    pub tenant: String,
    /// Session id as shown; null without one.
    pub session_id: Option<String>,
    /// Its trace, where there is no session id.
    pub trace_id: Option<String>,
    /// Always the pseudonym.
    pub user_key: Option<String>,
    /// Agent or service.
    pub actor: Option<String>,
    /// Start of the first item.
    pub first_ts: String,
    /// Start of the last item.
    pub last_ts: String,
    /// Gateway clock at the last arrival.
    pub seen_ts: String,
    /// Its end was told; else it was quiet, or there were too many.
    pub ended: bool,
    /// Index lines it is made from.
    pub lines: u64,
    /// Model calls, each once: copies, repeats and what waits for its price left out.
    pub model_calls: u64,
    /// Tool calls, each once.
    pub tool_calls: u64,
    /// Permissions that were refused.
    pub denials: u64,
    /// What failed, each once.
    pub errors: u64,
    /// Bytes of content.
    pub pt_bytes: u64,
    /// Priced tokens.
    pub buckets: Buckets,
    /// Exact decimal, USD.
    pub cost_usd: String,
    /// Model calls without a price.
    pub unpriced: u64,
    /// Models, the first few.
    pub models: BTreeSet<String>,
    /// Rate tables, the first few.
    pub rates: BTreeSet<String>,
}

/// Which session a line is of: tenant and id, or trace.
pub type Key = (String, String);

impl SessionLine {
    /// The session of a line; `None`: it is of none.
    pub fn key(row: &Row) -> Option<Key> {
        let tail = &row.tail;
        if matches!(tail.kind, Some(Kind::Gap | Kind::Quarantine)) {
            return None;
        }
        let trace = || tail.trace_id.as_ref().map(|trace| format!("trace-{trace}"));
        Some((tail.tenant.clone(), tail.session_id.clone().or_else(trace)?))
    }

    /// The same of a line of a session.
    pub fn own_key(&self) -> Key {
        let trace = || format!("trace-{}", self.trace_id.as_deref().unwrap_or_default());
        (self.tenant.clone(), self.session_id.clone().unwrap_or_else(trace))
    }

    /// Adds a line. `calls`: what lines before it told.
    pub fn add(&mut self, row: &Row, calls: &mut Calls) {
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
        self.price(row);
        self.model_calls += u64::from(is_model_line(tail));
        if tail.kind == Some(Kind::Price) {
            return; // the rest was told by its call
        }
        self.user_key = self.user_key.take().or_else(|| tail.user_key.clone());
        self.actor = self.actor.take().or_else(|| tail.actor.clone());
        self.ended |= tail.call == "session_end";
        self.pt_bytes = self.pt_bytes.saturating_add(tail.pt_bytes.unwrap_or_default());
        let told = Telling::of(row);
        self.errors += u64::from(calls.is_new_failure(&told));
        if tail.repeat || tail.cost_status.as_deref() == Some("not_counted") {
            return;
        }
        self.tool_calls += u64::from(calls.is_new_tool(&told));
        self.denials += u64::from(tail.decision.as_deref().is_some_and(is_denied));
        if let Some(model) = tail.model.as_ref().filter(|_| tail.call == "model" && self.models.len() < NAMED) {
            self.models.insert(model.clone());
        }
    }

    fn price(&mut self, row: &Row) {
        let tail = &row.tail;
        match tail.cost_status.as_deref() {
            Some("priced") => {}
            Some("unpriced") => {
                self.unpriced += 1;
                return;
            }
            _ => return,
        }
        if let Some(Ok(cost)) = tail.cost_usd.as_ref().map(|usd| usd.parse::<Decimal>()) {
            let sum = self.cost_usd.parse::<Decimal>().ok().and_then(|sum| sum.checked_add(cost));
            if let Some(sum) = sum {
                self.cost_usd = sum.to_string();
            }
        }
        if let Some(more) = tail.buckets {
            let Buckets { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning } = &mut self.buckets;
            for (sum, more) in [
                (input, more.input),
                (cache_read, more.cache_read),
                (cache_write_5m, more.cache_write_5m),
                (cache_write_1h, more.cache_write_1h),
                (output, more.output),
                (reasoning, more.reasoning),
            ] {
                *sum = sum.saturating_add(more);
            }
        }
        if let Some(rates) = tail.rates.as_ref().filter(|_| self.rates.len() < NAMED) {
            self.rates.insert(rates.clone());
        }
    }
}
