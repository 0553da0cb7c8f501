//! Second pass over items in which private values were learned: a value found in one text is removed from the item's
//! other texts too. For example, an attribute names a customer, and an event or the span's name repeats the name
//! without context.
//!
//! An item is a span with its events and links, a log record, or a data point with its exemplars; nothing is shared
//! between items. Ids keep the form that the vault shows, and texts without a repetition are not touched.
//! `redaction/across` defines what is learned and how it is found.

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

/// Merges the learned values by item.
fn by_item(payload: &Payload, by_node: LearnedByNode) -> BTreeMap<NodeId, ItemFindings> {
    let mut told: BTreeMap<NodeId, ItemFindings> = BTreeMap::new();
    for (node, more) in by_node.into_iter().filter(|(_, told)| !told.is_empty()) {
        if let Some(item) = item_of(payload, node) {
            told.entry(item).or_default().merge(more);
        }
    }
    told
}

impl RedactProcessor {
    /// Removes learned values from the other texts of their items. `done`: values redacted as structure, which are cut
    /// to their cap as structure.
    pub(super) fn redact_repeated_values(
        &self,
        batch: &mut Batch,
        visit: &PlaceContext<'_>,
        done: &RedactedPlaces,
        worker: &mut WorkerBuffers,
    ) {
        let told = by_item(&batch.payload, std::mem::take(&mut worker.learned));
        if told.is_empty() {
            return;
        }
        let of = |node: NodeId| {
            let keyed = matches!(batch.payload.kind(node), NodeKind::DataPoint | NodeKind::Exemplar);
            Some((node, (told.get(&item_of(&batch.payload, node)?)?, keyed)))
        };
        let nodes: HashMap<NodeId, (&ItemFindings, bool)> = batch.payload.nodes().filter_map(of).collect();
        let account = Arc::clone(&batch.origin.account);
        batch.payload.edit_text(|place, text| {
            let Some((told, keyed)) = nodes.get(&place.node).copied() else { return TextEdit::Keep };
            let visit = PlaceContext {
                account: &account,
                node: self.settings.record_lengths.then_some(place.node),
                learn_for: None,
                place: place_label(place.kind),
                with_pseudonym: keyed,
                ..*visit
            };
            let whole = is_inside_redacted(done, place);
            match self.redact_repeated(&visit, place, (text, whole), told, worker) {
                Some(new) => TextEdit::Replace(new),
                None => TextEdit::Keep,
            }
        });
    }

    /// The new text, if it repeats a value learned from its item.
    fn redact_repeated(
        &self,
        visit: &PlaceContext<'_>,
        place: &TextPlace<'_>,
        (text, structure): (&str, bool),
        told: &ItemFindings,
        worker: &mut WorkerBuffers,
    ) -> Option<String> {
        if matches!(place.kind, TextPlaceKind::Entry { .. } | TextPlaceKind::Binary)
            || text.len() > self.settings.max_scan
        {
            return None;
        }
        let (treatment, key) = self.treatment_and_key(visit.signal, place, worker);
        // The vault's index and object names show the same form of an id, and they do not depend on other texts.
        if matches!(treatment, Treatment::Identity | Treatment::Person) {
            return None;
        }
        let hits = self.settings.detector.find_item_findings(key, text, told, &mut worker.scratch);
        if hits.is_empty() {
            return None;
        }
        self.count_hits(visit, hits);
        visit.node.into_iter().for_each(|node| worker.lengths.add(node, hits));
        let new = self.replace_hits(visit, text, hits)?;
        let fitted = match structure {
            true => self.fit_structure(visit, &new),
            false => self.cut_value(visit, place.kind, treatment, &new),
        };
        Some(fitted.unwrap_or(new))
    }
}
