//! Second pass over items in which private values were learned: a value found in one text is removed from the item's
//! other texts too. For example, an attribute names a customer, and an event or the span's name repeats the name
//! without context.
//!
//! An item is a span with its events and links, a log record, or a data point with its exemplars; nothing is shared
//! between items. Ids keep the form that the vault shows, and texts without a repetition are not touched.
//! `redaction/across` defines what is learned and how it is found.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use otlp::{Node, NodeKind, Payload, Place, PlaceKind, TextEdit};
use pipeline::Batch;
use redaction::Told;

use super::left::Done;
use super::policy::Treatment;
use super::{Redact, Visit, Worker, is_done, named};

/// The values learned from the texts of each node.
pub(super) type ByNode = BTreeMap<Node, Told>;

/// The item that a node belongs to, if any.
fn item_of(payload: &Payload, node: Node) -> Option<Node> {
    match payload.kind(node) {
        NodeKind::Span | NodeKind::LogRecord | NodeKind::DataPoint => Some(node),
        NodeKind::Event | NodeKind::Link | NodeKind::Exemplar => payload.parent(node),
        _ => None,
    }
}

/// Merges the learned values by item.
fn by_item(payload: &Payload, by_node: ByNode) -> BTreeMap<Node, Told> {
    let mut told: BTreeMap<Node, Told> = BTreeMap::new();
    for (node, more) in by_node.into_iter().filter(|(_, told)| !told.is_empty()) {
        if let Some(item) = item_of(payload, node) {
            told.entry(item).or_default().join(more);
        }
    }
    told
}

impl Redact {
    /// Removes learned values from the other texts of their items. `done`: values redacted as structure, which are cut
    /// to their cap as structure.
    pub(super) fn carry_over(&self, batch: &mut Batch, visit: &Visit<'_>, done: &Done, worker: &mut Worker) {
        let told = by_item(&batch.payload, std::mem::take(&mut worker.told));
        if told.is_empty() {
            return;
        }
        let of = |node: Node| {
            let keyed = matches!(batch.payload.kind(node), NodeKind::DataPoint | NodeKind::Exemplar);
            Some((node, (told.get(&item_of(&batch.payload, node)?)?, keyed)))
        };
        let nodes: HashMap<Node, (&Told, bool)> = batch.payload.nodes().filter_map(of).collect();
        let account = Arc::clone(&batch.origin.account);
        batch.payload.edit_text(|place, text| {
            let Some((told, keyed)) = nodes.get(&place.node).copied() else { return TextEdit::Keep };
            let visit = Visit {
                account: &account,
                node: self.settings.record_lengths.then_some(place.node),
                tells: None,
                place: named(place.kind),
                keyed,
                ..*visit
            };
            let whole = is_done(done, place);
            match self.repeated(&visit, place, (text, whole), told, worker) {
                Some(new) => TextEdit::Replace(new),
                None => TextEdit::Keep,
            }
        });
    }

    /// The new text, if it repeats a value learned from its item.
    fn repeated(
        &self,
        visit: &Visit<'_>,
        place: &Place<'_>,
        (text, structure): (&str, bool),
        told: &Told,
        worker: &mut Worker,
    ) -> Option<String> {
        if matches!(place.kind, PlaceKind::Entry { .. } | PlaceKind::Binary) || text.len() > self.settings.max_scan {
            return None;
        }
        let (treatment, key) = self.under(visit.signal, place, worker);
        // The vault's index and object names show the same form of an id, and they do not depend on other texts.
        if matches!(treatment, Treatment::Identity | Treatment::Person) {
            return None;
        }
        let hits = self.settings.detector.find_told(key, text, told, &mut worker.scratch);
        if hits.is_empty() {
            return None;
        }
        self.count(visit, hits);
        visit.node.into_iter().for_each(|node| worker.lengths.add(node, hits));
        let new = self.written(visit, text, hits)?;
        let fitted = match structure {
            true => self.fitted(visit, &new),
            false => self.cut(visit, place.kind, treatment, &new),
        };
        Some(fitted.unwrap_or(new))
    }
}
