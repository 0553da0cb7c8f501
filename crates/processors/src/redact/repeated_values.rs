//! A second pass over items in which private values were found: a value found in one text is removed from the item's
//! other texts too. For example, an attribute names a customer, and an event or the span's name repeats the name
//! without context.
//!
//! An item is a span with its events and links, a log record, or a data point with its exemplars; nothing is shared
//! between items. Ids keep the form that the vault shows, and texts without a repetition are not touched.
//! `redaction/item_findings` defines which values are learned and how they are found.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use otlp::{NodeId, NodeKind, Payload, TextEdit, TextPlace, TextPlaceKind};
use pipeline::Batch;
use redaction::ItemFindings;

use super::left_structure::RedactedPlaces;
use super::policy::Treatment;
use super::{PlaceContext, RedactProcessor, WorkerBuffers, is_inside_redacted, place_label};

/// The values learned from the texts of each node.
pub(super) type LearnedByNode = BTreeMap<NodeId, ItemFindings>;

/// The item that a node belongs to, if any.
fn item_of(payload: &Payload, node: NodeId) -> Option<NodeId> {
    match payload.kind(node) {
        NodeKind::Span | NodeKind::LogRecord | NodeKind::DataPoint => Some(node),
        NodeKind::Event | NodeKind::Link | NodeKind::Exemplar => payload.parent(node),
        _ => None,
    }
}

fn merge_by_item(payload: &Payload, by_node: LearnedByNode) -> BTreeMap<NodeId, ItemFindings> {
    let mut by_item: BTreeMap<NodeId, ItemFindings> = BTreeMap::new();
    for (node, learned) in by_node.into_iter().filter(|(_, learned)| !learned.is_empty()) {
        if let Some(item) = item_of(payload, node) {
            by_item.entry(item).or_default().merge(learned);
        }
    }
    by_item
}

impl RedactProcessor {
    /// Removes learned values from the other texts of their items. `structured`: the values that were redacted as
    /// structure, which are cut as structure here too.
    pub(super) fn redact_repeated_values(
        &self,
        batch: &mut Batch,
        context: &PlaceContext<'_>,
        structured: &RedactedPlaces,
        worker: &mut WorkerBuffers,
    ) {
        let by_item = merge_by_item(&batch.payload, std::mem::take(&mut worker.learned));
        if by_item.is_empty() {
            return;
        }
        let with_learned = |node: NodeId| {
            let with_pseudonym = matches!(batch.payload.kind(node), NodeKind::DataPoint | NodeKind::Exemplar);
            Some((node, (by_item.get(&item_of(&batch.payload, node)?)?, with_pseudonym)))
        };
        let nodes: HashMap<NodeId, (&ItemFindings, bool)> = batch.payload.nodes().filter_map(with_learned).collect();
        let account = Arc::clone(&batch.origin.account);
        batch.payload.edit_text(|place, text| {
            let Some((learned, with_pseudonym)) = nodes.get(&place.node).copied() else { return TextEdit::Keep };
            let context = PlaceContext {
                account: &account,
                node: self.settings.config.record_lengths.then_some(place.node),
                learn_for: None,
                place: place_label(place.kind),
                with_pseudonym,
                ..*context
            };
            let is_structure = is_inside_redacted(structured, place);
            match self.redact_repeated(&context, place, (text, is_structure), learned, worker) {
                Some(replacement) => TextEdit::Replace(replacement),
                None => TextEdit::Keep,
            }
        });
    }

    /// The new text, if it repeats a value learned from its item.
    fn redact_repeated(
        &self,
        context: &PlaceContext<'_>,
        place: &TextPlace<'_>,
        (text, is_structure): (&str, bool),
        learned: &ItemFindings,
        worker: &mut WorkerBuffers,
    ) -> Option<String> {
        if matches!(place.kind, TextPlaceKind::Entry { .. } | TextPlaceKind::Binary)
            || text.len() > self.settings.max_scan
        {
            return None;
        }
        let (treatment, key) = self.treatment_and_key(context.signal, place, worker);
        // The vault's index and object names show the same form of an id, which must not depend on other texts.
        if matches!(treatment, Treatment::Identity | Treatment::Person) {
            return None;
        }
        let hits = self.settings.detector.find_item_findings(key, text, learned, &mut worker.scratch);
        if hits.is_empty() {
            return None;
        }
        self.count_hits(context, hits);
        context.node.into_iter().for_each(|node| worker.lengths.add(node, hits));
        let redacted = self.replace_hits(context, text, hits)?;
        let cut = match is_structure {
            true => self.fit_structure(context, &redacted),
            false => self.cut_value(context, place.kind, treatment, &redacted),
        };
        Some(cut.unwrap_or(redacted))
    }
}
