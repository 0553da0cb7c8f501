//! Redacts structured content (JSON or Python in text, or maps) that the vault step left in place (`leave: redacted`),
//! leaf by leaf, because rules applied to raw JSON would break it, and a cap would cut it in the middle.
//!
//! Structure stays structure of the same kind and fits the cap; numbers and keys are checked too. Content that is not
//! structure is redacted like any other text (`mod`).

use genai::structured_text::{ChatEvidence, StructureLeaf, StructureVisitor, WalkOutcome, may_be_structure, rewrite};
use genai::{ContentLocation, EmbeddedContentEdit, cached_facts};
use otlp::{AttrId, NodeId, OwnedValue, Payload, Signal, Value};
use pipeline::{Batch, ContentState};

use super::policy::{Treatment, cap_text};
use super::{PlaceContext, RedactProcessor, WorkerBuffers};

/// Places that were redacted as structure: one occurrence of an attribute, or a body. Identified by attribute id, not
/// by key, because a node may hold a key several times and the other values must still be searched.
pub(super) type RedactedPlaces = foldhash::HashSet<(NodeId, Option<AttrId>)>;

/// Minimum number of digits for a number to be checked by the rules.
const MIN_CHECKED_DIGITS: usize = 6;
/// Maximum leaf sizes, in bytes, tried in order until the structure fits its cap.
const LEAF_CAPS: [usize; 5] = [8 << 10, 1 << 10, 256, 64, 16];
/// Replacement for structure with too many leaves for its cap.
const TRUNCATED_STRUCTURE: &str = "\"…[TRUNCATED]\"";

impl RedactProcessor {
    /// Redacts structure that was left in place. Returns the places.
    pub(super) fn redact_left_structure(
        &self,
        batch: &mut Batch,
        context: &PlaceContext<'_>,
        worker: &mut WorkerBuffers,
    ) -> RedactedPlaces {
        let mut redacted = RedactedPlaces::default();
        // Only a vault step leaves content in place. Without one, `redact_map_entry` decides about nested content.
        if context.signal == Signal::Metrics || batch.clearance.content != ContentState::Stripped {
            return redacted;
        }
        let facts = cached_facts(&self.vocabulary, &batch.origin.account, &batch.payload, &mut batch.facts);
        let value_place = |node: NodeId, at: ContentLocation| match at {
            ContentLocation::Attribute(id) => Some((node, Some(id))),
            ContentLocation::Body => Some((node, None)),
            ContentLocation::Status | ContentLocation::Name | ContentLocation::Embedded(_) => None,
        };
        let mut places: Vec<(NodeId, Option<AttrId>)> = Vec::new();
        for item in &facts.items {
            places.extend(item.content.iter().filter_map(|place| value_place(place.node, place.at)));
            let edits = item.embedded.iter().flat_map(|embedded| &embedded.edits);
            let edits = edits.filter(|edit| {
                edit.at.value(&batch.payload, edit.node).is_some_and(|value| holds_listed_part(value, edit))
            });
            places.extend(edits.filter_map(|edit| value_place(edit.node, edit.at)));
        }
        for (node, attribute) in places {
            let recorded_node = self.settings.config.record_lengths.then_some(node);
            let context = &PlaceContext { node: recorded_node, learn_for: Some(node), ..*context };
            let Some(replacement) = self.redact_place_structure(&batch.payload, node, attribute, context, worker)
            else {
                continue;
            };
            match (replacement, attribute) {
                (Some(value), Some(id)) => batch.payload.replace_attribute(id, value),
                (Some(value), None) => batch.payload.set_body(node, value),
                (None, _) => {}
            }
            redacted.insert((node, attribute));
        }
        redacted
    }

    /// The new value of a place with structure. `None`: the place has no structure; `Some(None)`: nothing changes.
    fn redact_place_structure(
        &self,
        payload: &Payload,
        node: NodeId,
        attribute: Option<AttrId>,
        context: &PlaceContext<'_>,
        worker: &mut WorkerBuffers,
    ) -> Option<Option<OwnedValue>> {
        let value = match attribute {
            Some(id) => payload.attribute(id)?.value,
            None if payload.body_count(node) > 1 => return None,
            None => payload.body(node)?,
        };
        Some(match value {
            Value::Str(text) if may_be_structure(text) => {
                self.redact_structured_text(text, context, worker)?.map(OwnedValue::Str)
            }
            Value::Map(_) | Value::List(_) => match self.redact_structured_text(&value.to_json(), context, worker)? {
                None => None,
                Some(redacted) => Some(OwnedValue::from_json(&serde_json::from_str(&redacted).ok()?)),
            },
            _ => return None,
        })
    }

    /// Redacts structure in text. `None`: the text is not structure; `Some(None)`: nothing changes.
    fn redact_structured_text(
        &self,
        text: &str,
        context: &PlaceContext<'_>,
        worker: &mut WorkerBuffers,
    ) -> Option<Option<String>> {
        let changed = match rewrite(text, &mut LeafRedactor { processor: self, context, worker }) {
            WalkOutcome::Unchanged => None,
            WalkOutcome::Changed(redacted) => Some(redacted),
            WalkOutcome::NotStructure | WalkOutcome::TooDeep => return None,
        };
        Some(self.fit_structure(context, changed.as_deref().unwrap_or(text)).or(changed))
    }

    /// Cuts structure to the cap. `None` if it fits.
    pub(super) fn fit_structure(&self, context: &PlaceContext<'_>, text: &str) -> Option<String> {
        if text.len() <= self.settings.max_value {
            return None;
        }
        self.counters.cut.get(&context.signal).into_iter().for_each(|counter| counter.increment(1));
        let fitted = LEAF_CAPS.iter().find_map(|leaf_cap| match rewrite(text, &mut LeafCutter(*leaf_cap)) {
            WalkOutcome::Changed(cut) if cut.len() <= self.settings.max_value => Some(cut),
            _ => None,
        });
        Some(fitted.unwrap_or_else(|| TRUNCATED_STRUCTURE.to_owned()))
    }
}

/// Returns true if the value still holds a part that is listed as content.
fn holds_listed_part(value: Value<'_>, edit: &EmbeddedContentEdit) -> bool {
    match value {
        Value::Str(text) => edit.texts.contains_key(text),
        Value::Map(_) => value.entries().any(|(key, entry)| edit.keys.contains(key) || holds_listed_part(entry, edit)),
        Value::List(_) => value.items().any(|item| holds_listed_part(item, edit)),
        _ => false,
    }
}

struct LeafRedactor<'a, 'b> {
    processor: &'a RedactProcessor,
    context: &'a PlaceContext<'b>,
    worker: &'a mut WorkerBuffers,
}

impl LeafRedactor<'_, '_> {
    fn treatment(&mut self, key: &str) -> Treatment {
        self.processor.key_rule(self.context.signal, key, self.worker).treatment
    }

    /// Applies the rules to a value of this key.
    fn apply_rules(&mut self, key: &str, text: &str) -> Option<String> {
        let treatment = self.treatment(key);
        self.processor.apply_rules(self.context, (treatment, key), text, self.worker)
    }
}

impl StructureVisitor for LeafRedactor<'_, '_> {
    fn is_listed(&mut self, key: &str) -> bool {
        self.treatment(key) == Treatment::Drop
    }

    fn removes_entry(&mut self, _: &str, _: &StructureLeaf<'_>, _: &str, _: ChatEvidence) -> bool {
        self.processor.counters.dropped.get(&self.context.signal).into_iter().for_each(|counter| counter.increment(1));
        true
    }

    fn replace_key(&mut self, key: &str) -> Option<String> {
        self.processor.apply_rules(self.context, (Treatment::Scan, ""), key, self.worker)
    }

    fn replace_text(&mut self, key: &str, text: &str) -> Option<String> {
        let redacted = self.apply_rules(key, text);
        cap_text(redacted.as_deref().unwrap_or(text), self.processor.settings.max_value).or(redacted)
    }

    fn replace_word(&mut self, key: &str, word: &str) -> Option<String> {
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let is_harmless = (is_number && digits < MIN_CHECKED_DIGITS)
            || matches!(word, "true" | "false" | "null" | "True" | "False" | "None");
        if is_harmless { None } else { self.apply_rules(key, word) }
    }
}

/// Cuts each leaf to this size.
struct LeafCutter(usize);

impl StructureVisitor for LeafCutter {
    fn replace_text(&mut self, _: &str, text: &str) -> Option<String> {
        cap_text(text, self.0)
    }
}
