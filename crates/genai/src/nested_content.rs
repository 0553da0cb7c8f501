//! Finds listed content inside a value that is not content as a whole: a map, JSON text, or a Python dict in text. For
//! example, an ordinary service logs `{"prompt": …}`; the prompt is removed and the line stays.
//!
//! The cheap test comes first; the search is bounded in bytes and depth; a value that cannot be searched is content as
//! a whole. Keys are judged by the same lists as attributes. `structured_text` walks through text. Error texts lose
//! their quotations as well (`error_texts`).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use kernel::CONTENT;
use otlp::Value;

use super::announcements::is_plain_word;
use super::chat_evidence;
use super::error_texts;
use super::facts::ContentPart;
use super::keys::{BESIDE_ROLE, CHAT, GENERIC, GLOBAL, KeyClassifier, KeySetId};
use super::label_shape;
use super::structured_text::{self, ChatEvidence, StructureLeaf, StructureVisitor, WalkOutcome};

/// Maximum size of a text that is searched, bytes.
const MAX_SEARCHED_BYTES: usize = 4 << 20;
/// The key, in the vault's documents, of text that an error quotes.
const QUOTED: &str = "quoted";
/// A text up to this size cannot announce content or hold structure with content, bytes.
const MAX_HARMLESS_BYTES: usize = 8;

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

/// What a value is searched for.
#[derive(Clone, Copy)]
pub(super) struct SearchScope {
    pub(super) dialect: Option<KeySetId>,
    /// On an agent's item, numbers under listed keys are content too.
    pub(super) agent: bool,
    /// The texts are error texts: long quotations in them are content too.
    pub(super) in_error: bool,
}

/// Searches `value` for listed content.
pub(super) fn search(keys: &KeyClassifier, value: Value<'_>, scope: SearchScope) -> SearchOutcome {
    let is_long_text = || value.as_str().is_some_and(|text| text.len() > MAX_HARMLESS_BYTES);
    if !matches!(value, Value::Map(_) | Value::List(_)) && !is_long_text() {
        return SearchOutcome::Nothing;
    }
    let new_search = |removed_keys| NestedSearch {
        keys,
        scope,
        removed: RemovedContent::default(),
        parts_before: 0,
        take_whole: false,
        removed_keys,
        kept_keys: BTreeSet::new(),
    };
    let mut search = new_search(BTreeSet::new());
    let mut readable = search.search_value(value);
    // Entries are removed by key. If an entry under a removed key would have stayed, search again and take every
    // entry with that key, so that the vault keeps all that is removed.
    if readable && search.removed.keys.iter().any(|key| search.kept_keys.contains(key)) {
        search = new_search(search.removed.keys);
        readable = search.search_value(value);
    }
    if !readable || search.take_whole {
        SearchOutcome::Whole
    } else if search.removed.parts.is_empty() {
        SearchOutcome::Nothing
    } else {
        SearchOutcome::Parts(search.removed)
    }
}

/// The text cannot be searched.
struct Unsearchable;

struct NestedSearch<'v> {
    keys: &'v KeyClassifier,
    scope: SearchScope,
    removed: RemovedContent,
    /// Number of parts found before the current text.
    parts_before: usize,
    /// An unreadable text mentions a content key.
    take_whole: bool,
    /// Entries with these keys are taken whatever they hold.
    removed_keys: BTreeSet<String>,
    /// Keys of map entries that stayed.
    kept_keys: BTreeSet<String>,
}

impl NestedSearch<'_> {
    /// Searches a value. Returns false if it cannot be searched.
    fn search_value(&mut self, value: Value<'_>) -> bool {
        match value {
            Value::Str(text) => self.search_text(text),
            Value::List(_) => value.items().all(|item| self.remove_said(item) || self.search_value(item)),
            Value::Map(_) => {
                let mut evidence = None;
                value.entries().all(|(key, entry)| self.search_map_entry(value, &mut evidence, key, entry))
            }
            _ => true,
        }
    }

    /// Removes the text of `["speaker", "text"]`. Returns false if the value is something else.
    fn remove_said(&mut self, pair: Value<'_>) -> bool {
        let mut items = pair.items();
        let (Some(Value::Str(speaker)), Some(Value::Str(text)), None) = (items.next(), items.next(), items.next())
        else {
            return false;
        };
        let is_said = self.is_speaker(speaker) && !is_plain_word(text) && text != CONTENT;
        if is_said {
            let json = serde_json::Value::from(text).to_string();
            self.removed.parts.push((ContentPart::Other, chat_evidence::SAID.to_owned(), json));
            self.removed.texts.insert(text.to_owned(), CONTENT.to_owned());
        }
        is_said
    }

    /// `evidence`: cached evidence from the entries of `map`.
    fn search_map_entry(
        &mut self,
        map: Value<'_>,
        evidence: &mut Option<ChatEvidence>,
        key: &str,
        value: Value<'_>,
    ) -> bool {
        if label_shape::is_empty_value(value) {
            return true;
        }
        let part = self.removed_keys.contains(key).then_some(ContentPart::Other);
        let part = part.or_else(|| self.entry_part(map, evidence, key, value));
        let Some(part) = part else {
            if self.listed_part(key, false, false).is_some() {
                self.kept_keys.insert(key.to_owned());
            }
            return self.search_value(value);
        };
        let mut json = String::new();
        value.write_json(&mut json);
        self.removed.parts.push((part, key.to_owned(), json));
        self.removed.keys.insert(key.to_owned());
        true
    }

    /// The part that an entry of `map` holds, if it is content there.
    fn entry_part(
        &self,
        map: Value<'_>,
        evidence: &mut Option<ChatEvidence>,
        key: &str,
        value: Value<'_>,
    ) -> Option<ContentPart> {
        let is_number = matches!(value, Value::Bool(_) | Value::Int(_) | Value::Double(_));
        let part = self.listed_part(key, label_shape::is_label_value(value), is_number)?;
        let types = &self.keys.chat_shapes.types;
        let is_evidence = |parts_suffice: bool| {
            chat_evidence::is_message_value(value) || (parts_suffice && chat_evidence::is_part_list_value(value, types))
        };
        let entries = || map.entries().map(|(key, value)| (key, chat_evidence::entry_text(value)));
        let evidence = || *evidence.get_or_insert_with(|| self.evidence_from(entries()));
        self.has_evidence(key, is_evidence, evidence).then_some(part)
    }

    fn search_text(&mut self, text: &str) -> bool {
        if self.scope.in_error {
            return self.search_error_text(text);
        }
        let searched = match structured_text::may_contain_structure(text) {
            false => Ok(None),
            true => self.search_structure(text),
        };
        let Ok(structure_rest) = searched else { return false };
        let announced_rest = self.remove_announced(structure_rest.as_deref().unwrap_or(text));
        if let Some(rest) = announced_rest.or(structure_rest) {
            // what `remove_said` took goes whole wherever it is repeated
            self.removed.texts.entry(text.to_owned()).or_insert(rest);
        }
        true
    }

    fn search_error_text(&mut self, text: &str) -> bool {
        if text.len() > MAX_SEARCHED_BYTES {
            return false;
        }
        if let Some(split) = error_texts::take_quotations(text, |message| self.search_message(message)) {
            if !split.quoted.is_empty() {
                self.add_quoted(split.quoted);
            }
            self.removed.texts.insert(text.to_owned(), split.rest);
        }
        true
    }

    /// The rest of a message in an error text after announced and listed content is removed. `None` if nothing was.
    /// Structure that cannot be read and mentions content goes from its first bracket on; the failure before it stays.
    fn search_message(&mut self, text: &str) -> Option<String> {
        // An answer that is no structure, although it should be, is often announced, and then its end is known.
        let announced_rest = self.remove_announced(text);
        let text = announced_rest.as_deref().unwrap_or(text);
        if !structured_text::may_contain_structure(text) {
            return announced_rest;
        }
        let parts_before = self.removed.parts.len();
        let searched = self.search_structure(text);
        let take_whole = std::mem::take(&mut self.take_whole);
        if let (Ok(structure_rest), false) = (searched, take_whole) {
            return structure_rest.or(announced_rest);
        }
        self.removed.parts.truncate(parts_before);
        let split = structured_text::find_structure(text, 0).and_then(|at| text.split_at_checked(at));
        let Some((head, structure)) = split else { return announced_rest };
        let rest = format!("{head}{CONTENT}");
        self.add_quoted(structure.to_owned());
        Some(rest)
    }

    fn add_quoted(&mut self, text: String) {
        let json = serde_json::Value::from(text).to_string();
        self.removed.parts.push((ContentPart::Other, QUOTED.to_owned(), json));
    }

    /// Searches a text with structure. Returns the rest if content was removed, `None` if nothing was.
    fn search_structure(&mut self, text: &str) -> Result<Option<String>, Unsearchable> {
        let stays = |search: &Self| !structured_text::may_be_structure(text) && !search.mentions_content_key(text);
        if text.len() > MAX_SEARCHED_BYTES {
            return if stays(self) { Ok(None) } else { Err(Unsearchable) };
        }
        self.parts_before = self.removed.parts.len();
        match structured_text::rewrite_embedded(text, self) {
            WalkOutcome::Unchanged => Ok(None),
            WalkOutcome::Changed(rest) => Ok(Some(rest)),
            // Prose with many brackets stays.
            WalkOutcome::TooDeep if self.removed.parts.len() == self.parts_before && stays(self) => Ok(None),
            WalkOutcome::NotStructure | WalkOutcome::TooDeep => Err(Unsearchable),
        }
    }

    /// The rest of a text after announced content is removed. `None` if nothing is announced.
    fn remove_announced(&mut self, text: &str) -> Option<String> {
        let split = self.keys.announced.split(text)?;
        // In structure every text was searched separately, and a cut would break the structure. `[INFO] Prompt: …` and
        // `[INST] {…}` are not structure.
        let is_announced_at = |at: usize| {
            text.trim_start().get(..at).is_some_and(|start| start.eq_ignore_ascii_case(&split.announced_by))
        };
        if !is_announced_at(split.announced_by.len())
            && structured_text::may_be_structure(text)
            && matches!(structured_text::rewrite(text, &mut ()), WalkOutcome::Unchanged)
        {
            return None;
        }
        let json = serde_json::Value::from(split.removed).to_string();
        self.removed.parts.push((ContentPart::Other, split.announced_by, json));
        Some(split.rest)
    }

    /// Returns true if an unreadable text mentions a content key.
    fn mentions_content_key(&self, text: &str) -> bool {
        chat_evidence::mentions_listed_key(text, |key| {
            self.listed_part(key, false, false).is_some() && self.has_evidence(key, |_| false, ChatEvidence::default)
        })
    }

    /// Returns true if an entry has the evidence that its key needs: a neighbour that marks a model call, the shape of
    /// a chat, or a speaker's role. `is_evidence` returns true if the value itself is evidence; its argument says
    /// whether a list of message parts is enough. `map_evidence` comes from the entry's map.
    fn has_evidence(
        &self,
        key: &str,
        is_evidence: impl FnOnce(bool) -> bool,
        map_evidence: impl FnOnce() -> ChatEvidence,
    ) -> bool {
        let class = self.keys.classify(key);
        if class.needs_evidence(BESIDE_ROLE) {
            return map_evidence().speaker_role;
        }
        let needs_chat = class.needs_evidence(CHAT);
        if (!needs_chat && (self.scope.agent || !class.is_listed(GENERIC))) || is_evidence(needs_chat) {
            return true;
        }
        let evidence = map_evidence();
        evidence.chat_shape || (evidence.model_call && !needs_chat)
    }

    fn evidence_from<'k>(&self, entries: impl Iterator<Item = (&'k str, &'k str)>) -> ChatEvidence {
        self.keys.chat_shapes.collect_evidence(entries, |key| self.keys.classify(key).marks_call())
    }

    /// The part that an entry holds, if it is content.
    fn listed_part(&self, key: &str, is_label: bool, is_number: bool) -> Option<ContentPart> {
        let class = self.keys.classify(key);
        let sets = [
            self.scope.dialect,
            Some(GLOBAL),
            Some(CHAT).filter(|_| !is_number),
            Some(BESIDE_ROLE).filter(|_| !is_number),
        ];
        let listed = sets.into_iter().flatten().find_map(|set| class.listed_content(set))?;
        let is_kept = (listed.is_label_key && is_label) || (is_number && (!self.scope.agent || listed.by_wildcard));
        (!is_kept).then_some(listed.part)
    }
}

impl StructureVisitor for NestedSearch<'_> {
    fn is_listed(&mut self, key: &str) -> bool {
        self.listed_part(key, false, false).is_some()
    }

    fn is_speaker(&mut self, word: &str) -> bool {
        self.keys.chat_shapes.pair_speakers.iter().any(|speaker| speaker.eq_ignore_ascii_case(word))
    }

    fn on_unparsable(&mut self, rest: &str, bounds_uncertain: bool) {
        self.take_whole = self.take_whole
            || (bounds_uncertain && self.removed.parts.len() > self.parts_before)
            || self.mentions_content_key(rest);
    }

    fn map_evidence(&mut self, entries: &[(Cow<'_, str>, Cow<'_, str>)]) -> ChatEvidence {
        self.evidence_from(entries.iter().map(|(key, text)| (&**key, &**text)))
    }

    fn removes_entry(&mut self, key: &str, leaf: &StructureLeaf<'_>, raw: &str, evidence: ChatEvidence) -> bool {
        let (is_label, is_number) = match leaf {
            StructureLeaf::Text(text) if text.is_empty() || label_shape::is_placeholder(text) => return false,
            StructureLeaf::Text(text) => (label_shape::is_label(text), false),
            StructureLeaf::Word("null" | "None" | "") => return false,
            StructureLeaf::Word(_) => (true, true),
            StructureLeaf::Nested => (false, false),
        };
        let text: &str = if let StructureLeaf::Text(text) = leaf { text } else { raw };
        let types = &self.keys.chat_shapes.types;
        let is_evidence = |parts_suffice: bool| {
            chat_evidence::is_message_text(text) || (parts_suffice && chat_evidence::is_part_list_text(text, types))
        };
        let Some(part) = self.listed_part(key, is_label, is_number) else { return false };
        if !self.has_evidence(key, is_evidence, || evidence) {
            return false;
        }
        let json = match serde_json::from_str::<serde::de::IgnoredAny>(raw) {
            Ok(_) => raw.to_owned(),
            // The value is in Python notation or truncated.
            Err(_) => serde_json::Value::from(text).to_string(),
        };
        self.removed.parts.push((part, key.to_owned(), json));
        true
    }

    fn replace_text(&mut self, _: &str, text: &str) -> Option<String> {
        self.remove_announced(text)
    }
}
