//! A session that was read ([`ReplayedSession`]): its entries in order of time, unreadable parts, sums. Entries without
//! a (signed) line are marked and in no sum. Neighbours: `replay` (reading), `output`, `call_tree`, `turns`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::Serialize;

use crate::signed_index::SignedIndex;
use vault::call_dedup::{CallDeduplicator, CallReport};
use vault::document::DocumentItem;
use vault::index_row::IndexRow;

/// Counts by placeholder, without brackets.
pub(super) type RedactionCounts = BTreeMap<String, u64>;

/// Identifies a line: `writer/epoch`, and the number of the leaf.
pub(super) type LineId = (String, u64);

pub(super) fn line_id(row: &IndexRow) -> LineId {
    (format!("{}/{}", row.tail.writer, row.tail.epoch), row.leaf)
}

#[derive(Clone, Debug, Default)]
pub struct ReplayFilter {
    /// Only this account.
    pub account: Option<String>,
    /// Only this tenant, as the index shows it.
    pub tenant: Option<String>,
    /// Limit on content read into memory.
    pub content: ContentLimit,
    /// The objects that signed digests name; others are marked. `None` if signatures were not checked.
    pub signed: Option<Arc<SignedIndex>>,
    /// Whether unsigned lines count in turns and sums too.
    pub unsigned: bool,
}

/// Most decompressed content of a session that is read into memory, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentLimit(pub u64);

impl Default for ContentLimit {
    fn default() -> Self {
        Self(1 << 30)
    }
}

pub(super) struct SessionEntry {
    pub(super) at: String,
    pub(super) leaf: u64,
    pub(super) row: Option<IndexRow>,
    pub(super) item: Option<DocumentItem>,
    /// Counts of the texts that the redaction rules hide from back ends; `None` without content, or if the rules were
    /// not applied.
    pub(super) redaction_counts: Option<RedactionCounts>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SessionTotal {
    pub model_calls: u64,
    pub tool_calls: u64,
    pub failures: u64,
    /// Model calls without a price.
    pub unpriced_calls: u64,
    /// Sum in USD, exact decimal; null if the sum is too large to compute.
    pub cost_usd: Option<String>,
}

#[derive(Default)]
pub struct ReplayedSession {
    /// The session's id.
    pub session: String,
    /// Descriptions of accounts and tenants.
    pub(super) accounts: BTreeSet<String>,
    /// All entries, in order of time.
    pub(super) entries: Vec<SessionEntry>,
    /// Descriptions of erasures that concern the session. They are reliable only once verified.
    pub erasures: Vec<String>,
    /// Objects and fragments that could not be read, with reasons.
    pub unreadable: Vec<String>,
    /// Number of messages in `unreadable` that report no loss: erased by request, unsigned, or not a key.
    pub(super) lossless_remarks: usize,
    /// A message if signed index objects are missing that are older than any that exists; their lines are missing here.
    pub older_missing: Option<String>,
    /// Fragments and lines that were left out because of the memory limit.
    pub(super) omitted: u64,
    /// Whether signatures were checked.
    pub(super) signatures_checked: bool,
    /// Whether unsigned lines count too.
    pub(super) counts_unsigned: bool,
    /// Lines of objects that no signed digest names.
    pub(super) unsigned: BTreeSet<LineId>,
}

impl SessionEntry {
    /// An entry for a line without content, or whose content could not be opened.
    pub(super) fn from_line(row: IndexRow) -> Self {
        Self { at: row.tail.ts.clone(), leaf: row.leaf, row: Some(row), item: None, redaction_counts: None }
    }

    /// What the line says of a call, or else the item.
    pub(super) fn report(&self) -> CallReport<'_> {
        let report = match (&self.row, &self.item) {
            (Some(row), _) => CallReport::from_row(row),
            (None, Some(item)) => CallReport::from_item_head(&item.head),
            (None, None) => CallReport::default(),
        };
        report.without_session()
    }
}

impl ReplayedSession {
    /// The items that count, in order of time.
    pub(super) fn items(&self) -> impl Iterator<Item = &DocumentItem> {
        self.counted_entries().filter_map(|entry| entry.item.as_ref())
    }

    /// The entries that count in turns and sums: unsigned ones only on request, if signatures were checked.
    pub(super) fn counted_entries(&self) -> impl Iterator<Item = &SessionEntry> {
        self.entries.iter().filter(|entry| self.counts_unsigned || !self.is_unsigned(entry))
    }

    /// Number of entries without a signed line; 0 if signatures were not checked.
    pub fn unsigned(&self) -> usize {
        self.entries.iter().filter(|entry| self.is_unsigned(entry)).count()
    }

    /// Whether the entry has no signed line.
    pub(super) fn is_unsigned(&self, entry: &SessionEntry) -> bool {
        match &entry.row {
            Some(row) => self.unsigned.contains(&line_id(row)),
            None => self.signatures_checked,
        }
    }

    /// Whether entries were left out because the session is too large.
    pub fn is_truncated(&self) -> bool {
        self.omitted > 0
    }

    /// Whether a part of the session could not be read.
    pub fn is_partial(&self) -> bool {
        self.unreadable.len() > self.lossless_remarks
    }

    /// Counts of calls, and cost.
    pub fn total(&self) -> SessionTotal {
        let mut total = SessionTotal::default();
        let (mut deduplicator, mut cost) = (CallDeduplicator::default(), Some(Decimal::ZERO));
        for report in self.counted_entries().map(SessionEntry::report) {
            total.model_calls += u64::from(report.is_model_call());
            total.tool_calls += u64::from(deduplicator.is_new_tool(&report));
            total.failures += u64::from(deduplicator.is_new_failure(&report));
            total.unpriced_calls += u64::from(report.cost_status == "unpriced");
            // index lines are unverified and may have any value
            cost = cost.and_then(|cost| cost.checked_add(report.charged_usd()));
        }
        total.cost_usd = cost.map(|cost| cost.normalize().to_string());
        total
    }

    pub(super) fn total_line(&self) -> String {
        let SessionTotal { model_calls, tool_calls, failures, unpriced_calls, cost_usd } = self.total();
        let failed = if failures > 0 { format!(", failed: {failures}") } else { String::new() };
        let unpriced = if unpriced_calls > 0 { format!(", {unpriced_calls} without a price") } else { String::new() };
        let cost = cost_usd.map_or("too large to add".to_owned(), |usd| format!("{usd} USD"));
        format!("model calls: {model_calls}, tool calls: {tool_calls}{failed}, cost: {cost}{unpriced}")
    }
}
