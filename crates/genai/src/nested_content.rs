//! Finds listed content inside a value that is not content as a whole: a map, JSON text, or a Python dict in text. For
//! example, an ordinary service logs `{"prompt": …}`; the prompt is removed and the line stays.
//!
//! The cheap test comes first; the search is bounded in bytes and depth; a value that cannot be searched is content as
//! a whole. Keys are judged by the same lists as attributes. The walk through text is in `texts`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use otlp::Value;

use super::chat_evidence;
use super::facts::ContentPart;
use super::keys::{CHAT, GLOBAL, KeyClass, KeyClassifier, KeySetId, SPOKEN};
use super::label_shape;
use super::structured_text::{self, ChatEvidence, RequiredEvidence, StructureLeaf, StructureVisitor, WalkOutcome};

/// Maximum size of a text that is searched, bytes.
const BYTES: usize = 4 << 20;
/// A text up to this size cannot announce content or hold structure with content, bytes.
const SHORT: usize = 8;

/// The result of searching a value.
pub(super) enum SearchOutcome {
    Nothing,
    /// The value cannot be searched, so all of it is content.
    Whole,
    Parts(RemovedContent),
}

/// Content parts of a value, and the changes that remove them.
#[derive(Default)]
pub(super) struct RemovedContent {
    /// Part, key, value as JSON.
    pub(super) parts: Vec<(ContentPart, String, String)>,
    /// Keys of map entries that are removed.
    pub(super) keys: BTreeSet<String>,
    /// Texts that are replaced, with their replacements.
    pub(super) texts: BTreeMap<String, String>,
}

/// The key lists that apply.
#[derive(Clone, Copy)]
pub(super) struct ActiveKeyLists {
    pub(super) dialect: Option<KeySetId>,
    /// On an agent's item, numbers under listed keys are content too.
    pub(super) agent: bool,
}

/// Searches the values of one payload.
pub(super) struct NestedContentFinder<'v> {
    keys: &'v KeyClassifier,
}

impl<'v> NestedContentFinder<'v> {
    pub(super) fn new(keys: &'v KeyClassifier) -> Self {
        Self { keys }
    }

    /// Searches `value` for listed content.
    pub(super) fn search_value(&self, value: Value<'_>, lists: ActiveKeyLists) -> SearchOutcome {
        if !may_hold_content(value) {
            return SearchOutcome::Nothing;
        }
        let find = |sure| NestedSearch {
            nested: self,
            lists,
            taken: RemovedContent::default(),
            parts_before: 0,
            take_whole: false,
            removed_keys: sure,
            kept_keys: BTreeSet::new(),
        };
        let mut found = find(BTreeSet::new());
        let mut readable = found.search_value(value);
        // Entries are removed by key. If an entry under a removed key would have stayed, search again and take every
        // entry with that key, so that the vault keeps all that is removed.
        if readable && found.taken.keys.iter().any(|key| found.kept_keys.contains(key)) {
            found = find(found.taken.keys);
            readable = found.search_value(value);
        }
        let find = found;
        match readable && !find.take_whole {
            false => SearchOutcome::Whole,
            true if find.taken.parts.is_empty() => SearchOutcome::Nothing,
            true => SearchOutcome::Parts(find.taken),
        }
    }
}

/// The only cost of a value that cannot hold content.
fn may_hold_content(value: Value<'_>) -> bool {
    match value {
        Value::Str(text) => text.len() > SHORT,
        Value::Map(_) | Value::List(_) => true,
        _ => false,
    }
}

struct NestedSearch<'n, 'v> {
    nested: &'n NestedContentFinder<'v>,
    lists: ActiveKeyLists,
    taken: RemovedContent,
    /// Number of parts found before the current text.
    parts_before: usize,
    /// An unreadable text mentions a content key.
    take_whole: bool,
    /// Entries with these keys are taken whatever they hold.
    removed_keys: BTreeSet<String>,
    /// Keys of map entries that stayed.
    kept_keys: BTreeSet<String>,
}

impl NestedSearch<'_, '_> {
    /// Searches a value. Returns false if it cannot be searched.
    fn search_value(&mut self, value: Value<'_>) -> bool {
        match value {
            Value::Str(text) => self.search_text(text),
            Value::List(_) => value.items().all(|item| self.search_value(item)),
            Value::Map(_) => {
                let mut marks = None;
                value.entries().all(|(key, entry)| self.search_map_entry(value, &mut marks, key, entry))
            }
            _ => true,
        }
    }

    /// `marks`: cached evidence from the entries of `map`.
    fn search_map_entry(
        &mut self,
        map: Value<'_>,
        marks: &mut Option<ChatEvidence>,
        key: &str,
        value: Value<'_>,
    ) -> bool {
        if label_shape::is_empty_value(value) {
            return true;
        }
        let part = if self.removed_keys.contains(key) { Some(ContentPart::Other) } else { None };
        let part = part.or_else(|| self.entry_part(map, marks, key, value));
        let Some(part) = part else {
            if self.listed_part(key, false, false).is_some() {
                self.kept_keys.insert(key.to_owned());
            }
            return self.search_value(value);
        };
        let mut json = String::new();
        value.write_json(&mut json);
        self.taken.parts.push((part, key.to_owned(), json));
        self.taken.keys.insert(key.to_owned());
        true
    }

    /// The part that an entry of `map` holds, if it is content there.
    fn entry_part(
        &self,
        map: Value<'_>,
        marks: &mut Option<ChatEvidence>,
        key: &str,
        value: Value<'_>,
    ) -> Option<ContentPart> {
        let number = matches!(value, Value::Bool(_) | Value::Int(_) | Value::Double(_));
        let part = self.listed_part(key, label_shape::is_label_value(value), number)?;
        let types = &self.nested.keys.chat_types;
        let speaks = |chat: bool| {
            chat_evidence::is_message_value(value) || (chat && chat_evidence::is_part_list_value(value, types))
        };
        let doubt = self.required_evidence_for(key, speaks);
        let texts = || map.entries().map(|(key, value)| (key, chat_evidence::entry_text(value)));
        let sure = doubt == RequiredEvidence::NoEvidence
            || marks.get_or_insert_with(|| self.evidence_from(texts())).satisfies(doubt);
        sure.then_some(part)
    }

    fn search_text(&mut self, text: &str) -> bool {
        let rest = match structured_text::may_contain_structure(text) {
            false => Some(None),
            true => self.search_structure(text),
        };
        let Some(rest) = rest else { return false };
        let said = self.remove_announced(rest.as_deref().unwrap_or(text));
        if let Some(rest) = said.or(rest) {
            self.taken.texts.insert(text.to_owned(), rest);
        }
        true
    }

    /// Searches a text with structure. Returns the rest if content was removed; outer `None`: the text cannot be
    /// searched.
    fn search_structure(&mut self, text: &str) -> Option<Option<String>> {
        if text.len() > BYTES {
            return (!structured_text::may_be_structure(text) && !self.mentions_content_key(text)).then_some(None);
        }
        self.parts_before = self.taken.parts.len();
        match structured_text::rewrite_embedded(text, self) {
            WalkOutcome::Unchanged => Some(None),
            WalkOutcome::Changed(rest) => Some(Some(rest)),
            WalkOutcome::NotStructure => None,
            // Prose with many brackets stays.
            WalkOutcome::TooDeep => {
                let nothing = self.taken.parts.len() == self.parts_before;
                (nothing && !structured_text::may_be_structure(text) && !self.mentions_content_key(text))
                    .then_some(None)
            }
        }
    }

    /// The rest of a text after announced content is removed. `None` if nothing is announced.
    fn remove_announced(&mut self, text: &str) -> Option<String> {
        let split = self.nested.keys.announced.split(text)?;
        // In structure every text was searched separately, and a cut would break the structure. `[INFO] Prompt: …` is
        // not structure.
        if structured_text::may_be_structure(text) && structured_text::parses_as_structure(text) {
            return None;
        }
        let json = serde_json::Value::from(split.removed).to_string();
        self.taken.parts.push((ContentPart::Other, split.announced_by, json));
        Some(split.rest)
    }

    /// Returns true if an unreadable text mentions a content key.
    fn mentions_content_key(&self, text: &str) -> bool {
        let sure = |key: &str| self.required_evidence_for(key, |_| false) == RequiredEvidence::NoEvidence;
        chat_evidence::mentions_listed_key(text, |key| self.listed_part(key, false, false).is_some() && sure(key))
    }

    /// The evidence that an entry needs. `speaks` returns true if the value itself is evidence; its argument says
    /// whether a list of message parts is enough.
    fn required_evidence_for(&self, key: &str, speaks: impl FnOnce(bool) -> bool) -> RequiredEvidence {
        let class = self.nested.keys.classify(key);
        if class.needs_speaker_role() {
            return RequiredEvidence::SpeakerRole;
        }
        let doubt = match class.needs_chat_shape() {
            true => RequiredEvidence::ChatShape,
            false if !self.lists.agent && class.is_ambiguous() => RequiredEvidence::ModelCall,
            false => return RequiredEvidence::NoEvidence,
        };
        if speaks(doubt == RequiredEvidence::ChatShape) { RequiredEvidence::NoEvidence } else { doubt }
    }

    fn evidence_from<'k>(&self, entries: impl Iterator<Item = (&'k str, &'k str)>) -> ChatEvidence {
        chat_evidence::collect_evidence(entries, &self.nested.keys.chat_types, |key| {
            self.nested.keys.classify(key).marks_call()
        })
    }

    /// The part that an entry holds, if it is content.
    fn listed_part(&self, key: &str, label: bool, number: bool) -> Option<ContentPart> {
        let class = self.nested.keys.classify(key);
        let sets = [self.lists.dialect, Some(GLOBAL), Some(CHAT).filter(|_| !number), Some(SPOKEN).filter(|_| !number)];
        let listed = sets.into_iter().flatten().find_map(|set| class.listed_content(set))?;
        let keeps = (listed.is_label_key && label) || (number && (!self.lists.agent || listed.by_wildcard));
        (!keeps).then_some(listed.part)
    }
}

impl StructureVisitor for NestedSearch<'_, '_> {
    fn is_listed(&mut self, key: &str) -> bool {
        self.listed_part(key, false, false).is_some()
    }

    fn on_unparsable(&mut self, rest: &str, hard: bool) {
        self.take_whole =
            self.take_whole || (hard && self.taken.parts.len() > self.parts_before) || self.mentions_content_key(rest);
    }

    fn required_evidence(&mut self, key: &str, leaf: &StructureLeaf<'_>, raw: &str) -> RequiredEvidence {
        let text = if let StructureLeaf::Text(text) = leaf { text } else { raw };
        let types = &self.nested.keys.chat_types;
        self.required_evidence_for(key, |chat| {
            chat_evidence::is_message_text(text) || (chat && chat_evidence::is_part_list_text(text, types))
        })
    }

    fn map_evidence(&mut self, entries: &[(Cow<'_, str>, Cow<'_, str>)]) -> ChatEvidence {
        self.evidence_from(entries.iter().map(|(key, text)| (&**key, &**text)))
    }

    fn removes_entry(&mut self, key: &str, leaf: &StructureLeaf<'_>, raw: &str) -> bool {
        let (label, number) = match leaf {
            StructureLeaf::Text(text) if text.is_empty() || label_shape::is_placeholder(text) => return false,
            StructureLeaf::Text(text) => (label_shape::is_label(text), false),
            StructureLeaf::Word("null" | "None" | "") => return false,
            StructureLeaf::Word(_) => (true, true),
            StructureLeaf::Nested => (false, false),
        };
        let Some(part) = self.listed_part(key, label, number) else { return false };
        let json = match serde_json::from_str::<serde::de::IgnoredAny>(raw) {
            Ok(_) => raw.to_owned(),
            // The value is in Python notation or truncated.
            Err(_) => match leaf {
                StructureLeaf::Text(text) => serde_json::Value::from(&**text).to_string(),
                _ => serde_json::Value::from(raw).to_string(),
            },
        };
        self.taken.parts.push((part, key.to_owned(), json));
        true
    }

    fn replace_text(&mut self, _: &str, text: &str) -> Option<String> {
        self.remove_announced(text)
    }
}
