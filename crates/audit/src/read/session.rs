//! **What**: a session that was read ([`Replay`]): its entries in order of time, what could not be read, sums.
//! **Invariants**: what no (signed) line means is marked and in no sum. **Not here**: reading it (`replay`), how it is
//! shown (`text`, `tree`, `turns`, `report`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::Serialize;

use crate::signed::Signed;
use vault::calls::{Calls, Telling, is_model_call, is_model_line};
use vault::document::Item;
use vault::row::Row;

/// Placeholders without brackets, and how often each stands there.
pub(super) type Hidden = BTreeMap<String, u64>;

/// A line's place: writer and epoch, number.
pub(super) type Line = (String, u64);

pub(super) fn line(row: &Row) -> Line {
    (format!("{}/{}", row.tail.writer, row.tail.epoch), row.leaf)
}

/// Narrows the search.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this account.
    pub account: Option<String>,
    /// Only this tenant, as the index shows it.
    pub tenant: Option<String>,
    /// How much is read into memory.
    pub content: Content,
    /// What digests name: all else is marked. `None`: nobody looked.
    pub signed: Option<Arc<Signed>>,
    /// What they don't name counts in turns and sums like the rest.
    pub unsigned: bool,
}

/// The most content of a session, decompressed, that is read into memory, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content(pub u64);

impl Default for Content {
    fn default() -> Self {
        Self(1 << 30)
    }
}

/// One thing that happened.
pub(super) struct Entry {
    pub(super) at: String,
    pub(super) leaf: u64,
    pub(super) row: Option<Row>,
    pub(super) item: Option<Item>,
    /// What the rules hide of its content downstream; `None`: it has none, or nobody looked.
    pub(super) hidden: Option<Hidden>,
}

/// Sums of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Model calls, each once.
    pub model_calls: u64,
    /// Tool calls, each once.
    pub tool_calls: u64,
    /// What failed, each once.
    pub failed: u64,
    /// Model calls without a price.
    pub unpriced: u64,
    /// Exact decimal; null: too large to add.
    pub cost_usd: Option<String>,
}

/// A session.
pub struct Replay {
    pub(super) session: String,
    pub(super) accounts: BTreeSet<String>,
    pub(super) entries: Vec<Entry>,
    /// Erasures that concern it, in words.
    pub(super) erased: Vec<String>,
    /// Objects and fragments that could not be read, and why.
    pub(super) closed: Vec<String>,
    /// How many of these take nothing away: what was erased by request, what nobody signed, what is no key.
    pub(super) no_loss: usize,
    /// Signed index objects that are not there, and older than any that is.
    pub(super) older: Option<String>,
    /// It is larger than what may be read into memory: fragments and lines that are left out.
    pub(super) left_out: u64,
    /// Somebody looked which lines are signed.
    pub(super) looked: bool,
    /// What is not counts all the same.
    pub(super) counts_unsigned: bool,
    /// Lines of objects that no signed digest names.
    pub(super) unsigned: BTreeSet<Line>,
}

impl Entry {
    /// A line whose content there is not, or that nobody could open.
    pub(super) fn of_line(row: Row) -> Self {
        Self { at: row.tail.ts.clone(), leaf: row.leaf, row: Some(row), item: None, hidden: None }
    }

    /// What it tells of a call.
    pub(super) fn told(&self) -> Option<Telling<'_>> {
        let told = match (&self.row, &self.item) {
            (Some(row), _) => Telling::of(row),
            (None, item) => Telling::of_head(&item.as_ref()?.head),
        };
        Some(told.of_one_session())
    }

    /// Whether it is a model call that nothing else tells.
    pub(super) fn is_model_call(&self) -> bool {
        let (call, status, _) = facts(self);
        self.row.as_ref().map_or_else(|| is_model_call(call, Some(status)), |row| is_model_line(&row.tail))
    }
}

impl Replay {
    /// What was read and counts, in order of time.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.counted().filter_map(|entry| entry.item.as_ref())
    }

    /// What turns and sums are made of: not what nobody signed, where somebody looked, unless that was asked for.
    pub(super) fn counted(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| self.counts_unsigned || !self.is_unsigned(entry))
    }

    /// A session of these lines, whose content nobody opened.
    #[cfg(test)]
    pub(super) fn of_rows(session: &str, rows: Vec<Row>) -> Self {
        let mut entries: Vec<Entry> = rows.into_iter().map(Entry::of_line).collect();
        entries.sort_by(|a, b| (&a.at, a.leaf).cmp(&(&b.at, b.leaf)));
        let (accounts, erased, closed) = (BTreeSet::new(), Vec::new(), Vec::new());
        Self {
            session: session.to_owned(),
            accounts,
            entries,
            erased,
            closed,
            no_loss: 0,
            older: None,
            left_out: 0,
            looked: false,
            counts_unsigned: false,
            unsigned: BTreeSet::new(),
        }
    }

    /// Everything that happened, in order of time.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The same, to be marked.
    pub(super) fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.entries
    }

    /// The session's id as it was asked for.
    pub fn id(&self) -> &str {
        &self.session
    }

    /// Accounts and tenants, in words.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &str> {
        self.accounts.iter().map(String::as_str)
    }

    /// Erasures that concern it, in words. They count once they are verified.
    pub fn erased(&self) -> &[String] {
        &self.erased
    }

    /// How much of it no signed digest names, lines and content without one; 0 if nobody looked.
    pub fn unsigned(&self) -> usize {
        self.entries.iter().filter(|entry| self.is_unsigned(entry)).count()
    }

    /// Whether the entry is one of these.
    pub(super) fn is_unsigned(&self, entry: &Entry) -> bool {
        match &entry.row {
            Some(row) => self.unsigned.contains(&line(row)),
            None => self.looked,
        }
    }

    /// Something was left out because the session is too large.
    pub fn is_cut(&self) -> bool {
        self.left_out > 0
    }

    /// Something of it should be here and could not be read.
    pub fn is_partial(&self) -> bool {
        self.closed.len() > self.no_loss
    }

    /// Objects and fragments that could not be read, and why.
    pub fn closed(&self) -> &[String] {
        &self.closed
    }

    /// That signed index objects are not there, which are older than any that is: what they told of it is missing.
    pub fn older(&self) -> Option<&String> {
        self.older.as_ref()
    }

    /// Calls and cost.
    pub fn total(&self) -> Total {
        let (mut calls, mut tools, mut failed, mut unpriced) = (0_u64, 0_u64, 0_u64, 0_u64);
        let (mut seen, mut sum) = (Calls::default(), Some(Decimal::ZERO));
        for entry in self.counted() {
            let (_, status, usd) = facts(entry);
            calls += u64::from(entry.is_model_call());
            if let Some(told) = entry.told() {
                tools += u64::from(seen.is_new_tool(&told));
                failed += u64::from(seen.is_new_failure(&told));
            }
            unpriced += u64::from(status == "unpriced");
            let usd = usd.filter(|_| status == "priced").and_then(|usd| usd.parse::<Decimal>().ok());
            // index lines are anybody's claim until they are verified
            sum = sum.and_then(|sum| sum.checked_add(usd.unwrap_or_default()));
        }
        let cost_usd = sum.map(|sum| sum.normalize().to_string());
        Total { model_calls: calls, tool_calls: tools, failed, unpriced, cost_usd }
    }

    pub(super) fn total_line(&self) -> String {
        let Total { model_calls, tool_calls, failed, unpriced, cost_usd } = self.total();
        let failed = if failed > 0 { format!(", failed: {failed}") } else { String::new() };
        let open = if unpriced > 0 { format!(", {unpriced} without a price") } else { String::new() };
        let sum = cost_usd.map_or("too large to add".to_owned(), |usd| format!("{usd} USD"));
        format!("model calls: {model_calls}, tool calls: {tool_calls}{failed}, cost: {sum}{open}")
    }
}

/// What it was in the run, what became of its price, and the price.
pub(super) fn facts(entry: &Entry) -> (&str, &str, Option<&str>) {
    match (&entry.row, &entry.item) {
        (Some(row), _) => {
            let status = row.tail.cost_status.as_deref().unwrap_or_default();
            (&row.tail.call, status, row.tail.cost_usd.as_deref())
        }
        (None, Some(item)) => {
            let status = item.head.cost_status.as_deref().unwrap_or_default();
            (&item.head.call, status, item.head.cost_usd.as_deref())
        }
        (None, None) => ("", "", None),
    }
}
