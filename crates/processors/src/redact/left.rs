//! Redacts content that the vault step left in place (`leave: redacted`) and that is structure, in text or in maps,
//! leaf by leaf. Applying the rules to raw JSON would break it, and a cap would cut it in the middle.
//!
//! Structure stays structure of the same kind and fits the cap; numbers and keys are checked too. Unstructured text is
//! redacted like any other text (`mod`).

use std::collections::HashSet;

use genai::texts::{Leaf, Visit as Walk, Walked, is_structured, rewrite};
use genai::{ContentAt, InsideEdit, facts_of};
use otlp::{AttrId, Node, OwnedValue, Payload, Signal, Value};
use pipeline::{Batch, Content};

use super::policy::{Treatment, cap};
use super::{Redact, Visit, Worker};

/// Places that were redacted as structure: one occurrence of an attribute, or a body. Identified by attribute id, not
/// by key, because a node may hold a key several times and the other values must still be searched.
pub(super) type Done = HashSet<(Node, Option<AttrId>)>;

/// Minimum number of digits for a number to be checked by the rules.
const DIGITS: usize = 6;
/// Maximum leaf sizes, in bytes, tried in order until the structure fits its cap.
const CAPS: [usize; 5] = [8 << 10, 1 << 10, 256, 64, 16];
/// Replacement for structure with too many leaves for its cap.
const TRUNCATED: &str = "\"…[TRUNCATED]\"";

impl Redact {
    /// Redacts structure that was left in place. Returns the places.
    pub(super) fn left(&self, batch: &mut Batch, visit: &Visit<'_>, worker: &mut Worker) -> Done {
        let mut done = Done::new();
        // Unless a previous step decided to leave it, nested content is removed as a map entry.
        if visit.signal == Signal::Metrics || batch.clearance.content != Content::Stripped {
            return done;
        }
        let facts = facts_of(&self.vocabulary, &batch.payload, &mut batch.facts);
        let mut places: Vec<(Node, Option<AttrId>)> = Vec::new();
        for item in &facts.items {
            places.extend(item.content.iter().filter_map(|place| match place.at {
                ContentAt::Attribute(id) => Some((place.node, Some(id))),
                ContentAt::Body => Some((place.node, None)),
                ContentAt::Status | ContentAt::Name | ContentAt::Inside(_) => None,
            }));
            let edits = item.inside.iter().flat_map(|inside| &inside.edits);
            let edits = edits.filter(|edit| is_left(&batch.payload, edit));
            places.extend(edits.map(|edit| (edit.node, edit.attribute)));
        }
        for (node, attribute) in places {
            let lengths = self.settings.record_lengths.then_some(node);
            let visit = &Visit { node: lengths, tells: Some(node), ..*visit };
            let Some(new) = self.leaves(&batch.payload, node, attribute, visit, worker) else { continue };
            match (new, attribute) {
                (Some(new), Some(id)) => batch.payload.replace_attribute(id, new),
                (Some(new), None) => batch.payload.set_body(node, new),
                (None, _) => {}
            }
            done.insert((node, attribute));
        }
        done
    }

    /// The new value of a place with structure. Outer `None`: the place has no structure; inner `None`: nothing
    /// changes.
    fn leaves(
        &self,
        payload: &Payload,
        node: Node,
        attribute: Option<AttrId>,
        visit: &Visit<'_>,
        worker: &mut Worker,
    ) -> Option<Option<OwnedValue>> {
        let value = match attribute {
            Some(id) => payload.attribute(id)?.value,
            None if payload.bodies(node) > 1 => return None,
            None => payload.body(node)?,
        };
        Some(match value {
            Value::Str(text) if is_structured(text) => self.structure(text, visit, worker)?.map(OwnedValue::Str),
            Value::Map(_) | Value::List(_) => {
                let mut json = String::new();
                value.write_json(&mut json);
                match self.structure(&json, visit, worker)? {
                    None => None,
                    Some(new) => Some(OwnedValue::json(&serde_json::from_str(&new).ok()?)),
                }
            }
            _ => return None,
        })
    }

    /// Redacts structure in text. Outer `None`: the text is not structure; inner `None`: nothing changes.
    fn structure(&self, text: &str, visit: &Visit<'_>, worker: &mut Worker) -> Option<Option<String>> {
        let changed = match rewrite(text, &mut Leaves { redact: self, visit, worker }) {
            Walked::Same => None,
            Walked::Changed(new) => Some(new),
            Walked::Broken | Walked::TooDeep => return None,
        };
        let whole = changed.as_deref().unwrap_or(text);
        Some(self.fitted(visit, whole).or(changed))
    }

    /// Cuts structure to the cap if it is longer.
    pub(super) fn fitted(&self, visit: &Visit<'_>, whole: &str) -> Option<String> {
        if whole.len() <= self.settings.max_value {
            return None;
        }
        self.counters.cut.get(&visit.signal).into_iter().for_each(|counter| counter.increment(1));
        let fits = CAPS.iter().find_map(|longest| match rewrite(whole, &mut Cut(*longest)) {
            Walked::Changed(new) if new.len() <= self.settings.max_value => Some(new),
            _ => None,
        });
        Some(fits.unwrap_or_else(|| TRUNCATED.to_owned()))
    }
}

/// Returns true if the listed parts of a value are still in it.
fn is_left(payload: &Payload, edit: &InsideEdit) -> bool {
    let value = match edit.attribute {
        Some(id) => payload.attribute(id).map(|attribute| attribute.value),
        None => payload.body(edit.node),
    };
    value.is_some_and(|value| holds(value, edit))
}

fn holds(value: Value<'_>, edit: &InsideEdit) -> bool {
    match value {
        Value::Str(text) => edit.texts.contains_key(text),
        Value::Map(_) => value.entries().any(|(key, entry)| edit.keys.contains(key) || holds(entry, edit)),
        Value::List(_) => value.items().any(|item| holds(item, edit)),
        _ => false,
    }
}

struct Leaves<'a, 'b> {
    redact: &'a Redact,
    visit: &'a Visit<'b>,
    worker: &'a mut Worker,
}

impl Leaves<'_, '_> {
    fn treatment(&mut self, key: &str) -> Treatment {
        self.worker.treatment(&self.redact.vocabulary, self.visit.signal, key)
    }

    /// Applies the rules to a value of this key.
    fn ruled(&mut self, key: &str, text: &str) -> Option<String> {
        let treatment = self.treatment(key);
        self.redact.by_rules(self.visit, (treatment, key), text, self.worker)
    }
}

impl Walk for Leaves<'_, '_> {
    fn listed(&mut self, key: &str) -> bool {
        self.treatment(key) == Treatment::Drop
    }

    fn takes(&mut self, _: &str, _: &Leaf<'_>, _: &str) -> bool {
        self.redact.counters.dropped.get(&self.visit.signal).into_iter().for_each(|counter| counter.increment(1));
        true
    }

    fn key(&mut self, key: &str) -> Option<String> {
        self.redact.by_rules(self.visit, (Treatment::Scan, ""), key, self.worker)
    }

    fn text(&mut self, key: &str, text: &str) -> Option<String> {
        let ruled = self.ruled(key, text);
        cap(ruled.as_deref().unwrap_or(text), self.redact.settings.max_value).or(ruled)
    }

    fn word(&mut self, key: &str, word: &str) -> Option<String> {
        let number = word.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let plain =
            (number && digits < DIGITS) || matches!(word, "true" | "false" | "null" | "True" | "False" | "None");
        if plain { None } else { self.ruled(key, word) }
    }
}

/// Cuts each leaf to this size.
struct Cut(usize);

impl Walk for Cut {
    fn text(&mut self, _: &str, text: &str) -> Option<String> {
        cap(text, self.0)
    }
}
