//! The redaction rules on a session. [`ReplayedSession::keep_items`] leaves one person's items, and
//! [`ReplayedSession::mask`] replaces their private parts, as back ends get them; a text that the rules can't search
//! becomes `[UNSCANNED]`. [`ReplayedSession::apply_redaction_rules`] counts what back ends did not get, by placeholder,
//! without the texts; an echo of stripped content is not counted. Columns of index lines were redacted when they were
//! written. Neighbour: the crate `redaction` finds the parts, the same ones as in the gateway.

use std::mem::take;

use serde_json::Value;

use super::session::{RedactionCounts, ReplayedSession, SessionEntry};
use redaction::{Detector, ItemFindings, RedactionHit, SearchScratch, UNSCANNED, replace_hits};
use vault::document::{DocumentItem, ItemHead};
use vault::index_row::IndexRow;

/// Longest text that is searched, bytes.
const MAX_SEARCHED: usize = 8 << 20;
/// Fields of an item's head that hold no text of a client, and by which entries are linked and counted.
const DERIVED_FIELDS: &str = "kind trace_id span_id parent_span_id start end dialect call cost_status cost_usd rates";

impl ReplayedSession {
    /// Keeps the items whose signed index lines `is_kept` accepts, and reports nothing about the rest.
    pub fn keep_items(&mut self, is_kept: &dyn Fn(&IndexRow) -> bool) {
        let mut entries = take(&mut self.entries);
        entries.retain(|entry| !self.is_unsigned(entry) && entry.row.as_ref().is_some_and(is_kept));
        let owner = |row: &IndexRow| format!("account {} · tenant {}", row.tail.account, row.tail.tenant);
        let accounts = entries.iter().filter_map(|entry| entry.row.as_ref()).map(owner).collect();
        let (session, signatures_checked) = (take(&mut self.session), self.signatures_checked);
        *self = Self { session, accounts, entries, signatures_checked, ..Self::default() };
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of items whose content exists but was not opened.
    pub fn unopened(&self) -> usize {
        let has_content = |entry: &SessionEntry| entry.row.as_ref().is_some_and(|row| row.tail.fragment.is_some());
        self.entries.iter().filter(|entry| entry.item.is_none() && has_content(entry)).count()
    }

    /// Replaces the private parts of all texts.
    pub fn mask(&mut self, rules: &Detector) {
        let mut scratch = SearchScratch::new();
        self.entries.iter_mut().filter_map(|entry| entry.item.as_mut()).for_each(|item| {
            mask_item(item, rules, &mut scratch);
        });
    }
}

fn mask_item(item: &mut DocumentItem, rules: &Detector, scratch: &mut SearchScratch) {
    item.parameters.clear();
    // what is masked could be guessed from a hash of the whole
    item.context_sha256 = None;
    item.content_sha256.clear();
    item.salt.clear();
    for piece in item.content.iter_mut().filter(|piece| !piece.value.is_string() && !piece.value.is_null()) {
        // as one text, because a key may say that the value beside it is private
        piece.value = Value::String(piece.value.to_string());
    }
    let mut head = serde_json::to_value(&item.head).unwrap_or_default();
    let mut findings = ItemFindings::default();
    visit_texts(item, &mut head, &mut |key, text| {
        if text.len() > MAX_SEARCHED {
            return UNSCANNED.clone_into(text);
        }
        let hits = rules.find_for_key(key, text, scratch);
        rules.collect_item_findings(text, hits, &mut findings);
        replace(rules, hits, text);
    });
    if !findings.is_empty() {
        visit_texts(item, &mut head, &mut |key, text| {
            replace(rules, rules.find_item_findings(key, text, &findings, scratch), text);
        });
    }
    for piece in &mut item.content {
        for name in [&mut piece.key, &mut piece.event].into_iter().flatten() {
            replace(rules, rules.find(name, scratch), name);
        }
    }
    item.head = serde_json::from_value::<ItemHead<'static>>(head).unwrap_or_default();
}

/// Visits the texts of an item, each with its key ("" for none); `head` is the item's head.
fn visit_texts(item: &mut DocumentItem, head: &mut Value, visit: &mut dyn FnMut(&str, &mut String)) {
    let fields = head.as_object_mut().into_iter().flatten();
    for (_, value) in fields.filter(|(name, _)| !DERIVED_FIELDS.split(' ').any(|field| field == *name)) {
        if let Value::String(text) = value {
            visit("", text);
        }
    }
    for piece in &mut item.content {
        if let Value::String(text) = &mut piece.value {
            visit(piece.key.as_deref().unwrap_or_default(), text);
        }
    }
}

fn replace(rules: &Detector, hits: &[RedactionHit], text: &mut String) {
    if !hits.is_empty() {
        *text = replace_hits(text, hits, &mut |hit, _, out| out.push_str(rules.placeholder(hit)));
    }
}

/// Returns the placeholders that a text below a key ("" for none) would get.
pub type PlaceholderFinder<'f> = dyn FnMut(&str, &str) -> Vec<String> + 'f;

fn count_redactions(item: &DocumentItem, find: &mut PlaceholderFinder<'_>) -> RedactionCounts {
    let mut counts = RedactionCounts::new();
    for piece in &item.content {
        let key = piece.key.as_deref().unwrap_or_default();
        let placeholders = match &piece.value {
            Value::String(text) => find(key, text),
            value => find(key, &value.to_string()),
        };
        for placeholder in placeholders {
            *counts.entry(placeholder).or_default() += 1;
        }
    }
    counts
}

/// The counts as text; `None` if nothing is hidden.
pub(super) fn format_counts(counts: &RedactionCounts) -> Option<String> {
    let texts: Vec<String> = counts.iter().map(|(placeholder, count)| format!("{count} {placeholder}")).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

impl ReplayedSession {
    /// Applies a gateway's rules to all opened content; text and JSON output then include the counts.
    pub fn apply_redaction_rules(&mut self, find: &mut PlaceholderFinder<'_>) {
        for entry in &mut self.entries {
            entry.redaction_counts = entry.item.as_ref().map(|item| count_redactions(item, find));
        }
    }
}
