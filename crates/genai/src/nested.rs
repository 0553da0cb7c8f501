//! Finds listed content inside a value that is not content as a whole: a map, JSON text, or a Python dict in text. For
//! example, an ordinary service logs `{"prompt": …}`; the prompt is removed and the line stays.
//!
//! The cheap test comes first; the search is bounded in bytes and depth; a value that cannot be searched is content as
//! a whole. Keys are judged by the same lists as attributes. The walk through text is in `texts`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use otlp::Value;

use super::facts::Part;
use super::keys::{CHAT, Class, GLOBAL, Keys, SPOKEN, SetId};
use super::messages;
use super::shape;
use super::texts::{self, Doubt, Leaf, Marks, Visit, Walked};

/// Maximum size of a text that is searched, bytes.
const BYTES: usize = 4 << 20;
/// A text up to this size cannot announce content or hold structure with content, bytes.
const SHORT: usize = 8;
/// Maximum number of keys cached for one payload.
const KEYS: usize = 4096;

/// The result of searching a value.
pub(super) enum Took {
    Nothing,
    /// The value cannot be searched, so all of it is content.
    Whole,
    Some(Taken),
}

/// Content parts of a value, and the changes that remove them.
#[derive(Default)]
pub(super) struct Taken {
    /// Part, key, value as JSON.
    pub(super) parts: Vec<(Part, String, String)>,
    /// Keys of map entries that are removed.
    pub(super) keys: BTreeSet<String>,
    /// Texts that are replaced, with their replacements.
    pub(super) texts: BTreeMap<String, String>,
}

/// The key lists that apply.
#[derive(Clone, Copy)]
pub(super) struct Lists {
    pub(super) dialect: Option<SetId>,
    /// On an agent's item, numbers under listed keys are content too.
    pub(super) agent: bool,
}

/// Searches the values of one payload.
pub(super) struct Nested<'v> {
    keys: &'v Keys,
    known: RefCell<HashMap<Box<str>, Rc<Class>>>,
}

impl<'v> Nested<'v> {
    pub(super) fn new(keys: &'v Keys) -> Self {
        Self { keys, known: RefCell::default() }
    }

    /// Searches `value` for listed content.
    pub(super) fn look(&self, value: Value<'_>, lists: Lists) -> Took {
        if !may_hold(value) {
            return Took::Nothing;
        }
        let find = |sure| Find {
            nested: self,
            lists,
            taken: Taken::default(),
            before: 0,
            whole: false,
            sure,
            left: BTreeSet::new(),
        };
        let mut found = find(BTreeSet::new());
        let mut readable = found.value(value);
        // Entries are removed by key. If an entry under a removed key would have stayed, search again and take every
        // entry with that key, so that the vault keeps all that is removed.
        if readable && found.taken.keys.iter().any(|key| found.left.contains(key)) {
            found = find(found.taken.keys);
            readable = found.value(value);
        }
        let find = found;
        match readable && !find.whole {
            false => Took::Whole,
            true if find.taken.parts.is_empty() => Took::Nothing,
            true => Took::Some(find.taken),
        }
    }

    fn class(&self, key: &str) -> Rc<Class> {
        let mut known = self.known.borrow_mut();
        if let Some(class) = known.get(key) {
            return Rc::clone(class);
        }
        if known.len() >= KEYS {
            known.clear();
        }
        let class = Rc::new(self.keys.classify(key).into_owned());
        known.insert(key.into(), Rc::clone(&class));
        class
    }
}

/// The only cost of a value that cannot hold content.
fn may_hold(value: Value<'_>) -> bool {
    match value {
        Value::Str(text) => text.len() > SHORT,
        Value::Map(_) | Value::List(_) => true,
        _ => false,
    }
}

struct Find<'n, 'v> {
    nested: &'n Nested<'v>,
    lists: Lists,
    taken: Taken,
    /// Number of parts found before the current text.
    before: usize,
    /// An unreadable text mentions a content key.
    whole: bool,
    /// Entries with these keys are taken whatever they hold.
    sure: BTreeSet<String>,
    /// Keys of map entries that stayed.
    left: BTreeSet<String>,
}

impl Find<'_, '_> {
    /// Searches a value. Returns false if it cannot be searched.
    fn value(&mut self, value: Value<'_>) -> bool {
        match value {
            Value::Str(text) => self.text(text),
            Value::List(_) => value.items().all(|item| self.value(item)),
            Value::Map(_) => {
                let mut marks = None;
                value.entries().all(|(key, entry)| self.map_entry(value, &mut marks, key, entry))
            }
            _ => true,
        }
    }

    /// `marks`: cached evidence from the entries of `map`.
    fn map_entry(&mut self, map: Value<'_>, marks: &mut Option<Marks>, key: &str, value: Value<'_>) -> bool {
        if shape::is_void(value) {
            return true;
        }
        let part = if self.sure.contains(key) { Some(Part::Other) } else { None };
        let part = part.or_else(|| self.entry_part(map, marks, key, value));
        let Some(part) = part else {
            if self.part(key, false, false).is_some() {
                self.left.insert(key.to_owned());
            }
            return self.value(value);
        };
        let mut json = String::new();
        value.write_json(&mut json);
        self.taken.parts.push((part, key.to_owned(), json));
        self.taken.keys.insert(key.to_owned());
        true
    }

    /// The part that an entry of `map` holds, if it is content there.
    fn entry_part(&self, map: Value<'_>, marks: &mut Option<Marks>, key: &str, value: Value<'_>) -> Option<Part> {
        let number = matches!(value, Value::Bool(_) | Value::Int(_) | Value::Double(_));
        let part = self.part(key, shape::is_label_value(value), number)?;
        let types = &self.nested.keys.chat_types;
        let speaks = |chat: bool| messages::are_messages(value) || (chat && messages::are_parts(value, types));
        let doubt = self.doubt_of(key, speaks);
        let texts = || map.entries().map(|(key, value)| (key, messages::said(value)));
        let sure = doubt == Doubt::Nothing || marks.get_or_insert_with(|| self.marks_of(texts())).settle(doubt);
        sure.then_some(part)
    }

    fn text(&mut self, text: &str) -> bool {
        let rest = match texts::holds_structure(text) {
            false => Some(None),
            true => self.structure(text),
        };
        let Some(rest) = rest else { return false };
        let said = self.announced(rest.as_deref().unwrap_or(text));
        if let Some(rest) = said.or(rest) {
            self.taken.texts.insert(text.to_owned(), rest);
        }
        true
    }

    /// Searches a text with structure. Returns the rest if content was removed; outer `None`: the text cannot be
    /// searched.
    fn structure(&mut self, text: &str) -> Option<Option<String>> {
        if text.len() > BYTES {
            return (!texts::is_structured(text) && !self.mentions(text)).then_some(None);
        }
        self.before = self.taken.parts.len();
        match texts::search(text, self) {
            Walked::Same => Some(None),
            Walked::Changed(rest) => Some(Some(rest)),
            Walked::Broken => None,
            // Prose with many brackets stays.
            Walked::TooDeep => {
                let nothing = self.taken.parts.len() == self.before;
                (nothing && !texts::is_structured(text) && !self.mentions(text)).then_some(None)
            }
        }
    }

    /// The rest of a text after announced content is removed. `None` if nothing is announced.
    fn announced(&mut self, text: &str) -> Option<String> {
        let split = self.nested.keys.announced.split(text)?;
        // In structure every text was searched separately, and a cut would break the structure. `[INFO] Prompt: …` is
        // not structure.
        if texts::is_structured(text) && texts::is_read(text) {
            return None;
        }
        let json = serde_json::Value::from(split.taken).to_string();
        self.taken.parts.push((Part::Other, split.by, json));
        Some(split.rest)
    }

    /// Returns true if an unreadable text mentions a content key.
    fn mentions(&self, text: &str) -> bool {
        let sure = |key: &str| self.doubt_of(key, |_| false) == Doubt::Nothing;
        messages::mentions(text, |key| self.part(key, false, false).is_some() && sure(key))
    }

    /// The evidence that an entry needs. `speaks` returns true if the value itself is evidence; its argument says
    /// whether a list of message parts is enough.
    fn doubt_of(&self, key: &str, speaks: impl FnOnce(bool) -> bool) -> Doubt {
        let class = self.nested.class(key);
        if class.is_spoken() {
            return Doubt::Spoken;
        }
        let doubt = match class.is_chat() {
            true => Doubt::Chat,
            false if !self.lists.agent && class.is_generic() => Doubt::Call,
            false => return Doubt::Nothing,
        };
        if speaks(doubt == Doubt::Chat) { Doubt::Nothing } else { doubt }
    }

    fn marks_of<'k>(&self, entries: impl Iterator<Item = (&'k str, &'k str)>) -> Marks {
        messages::marks(entries, &self.nested.keys.chat_types, |key| self.nested.class(key).marks_call())
    }

    /// The part that an entry holds, if it is content.
    fn part(&self, key: &str, label: bool, number: bool) -> Option<Part> {
        let class = self.nested.class(key);
        let sets = [self.lists.dialect, Some(GLOBAL), Some(CHAT).filter(|_| !number), Some(SPOKEN).filter(|_| !number)];
        let listed = sets.into_iter().flatten().find_map(|set| class.content(set))?;
        let keeps = (listed.named && label) || (number && (!self.lists.agent || listed.wild));
        (!keeps).then_some(listed.part)
    }
}

impl Visit for Find<'_, '_> {
    fn listed(&mut self, key: &str) -> bool {
        self.part(key, false, false).is_some()
    }

    fn broken(&mut self, rest: &str, hard: bool) {
        self.whole = self.whole || (hard && self.taken.parts.len() > self.before) || self.mentions(rest);
    }

    fn doubt(&mut self, key: &str, leaf: &Leaf<'_>, raw: &str) -> Doubt {
        let text = if let Leaf::Text(text) = leaf { text } else { raw };
        let types = &self.nested.keys.chat_types;
        self.doubt_of(key, |chat| messages::is_messages(text) || (chat && messages::is_parts(text, types)))
    }

    fn marks(&mut self, entries: &[(Cow<'_, str>, Cow<'_, str>)]) -> Marks {
        self.marks_of(entries.iter().map(|(key, text)| (&**key, &**text)))
    }

    fn takes(&mut self, key: &str, leaf: &Leaf<'_>, raw: &str) -> bool {
        let (label, number) = match leaf {
            Leaf::Text(text) if text.is_empty() || shape::is_placeholder(text) => return false,
            Leaf::Text(text) => (shape::is_label(text), false),
            Leaf::Word("null" | "None" | "") => return false,
            Leaf::Word(_) => (true, true),
            Leaf::Nested => (false, false),
        };
        let Some(part) = self.part(key, label, number) else { return false };
        let json = match serde_json::from_str::<serde::de::IgnoredAny>(raw) {
            Ok(_) => raw.to_owned(),
            // The value is in Python notation or truncated.
            Err(_) => match leaf {
                Leaf::Text(text) => serde_json::Value::from(&**text).to_string(),
                _ => serde_json::Value::from(raw).to_string(),
            },
        };
        self.taken.parts.push((part, key.to_owned(), json));
        true
    }

    fn text(&mut self, _: &str, text: &str) -> Option<String> {
        self.announced(text)
    }
}
