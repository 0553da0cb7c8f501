//! **What**: listed content inside a value that is no content as a whole: a map, JSON text, a Python dict in text.
//! **Why**: a log line of an ordinary service may carry `{"prompt": …}`; the prompt goes, the line stays.
//! **Invariants**: the cheap test comes first; bounded in bytes and depth; what can't be looked through is content as a
//! whole; keys are judged by the lists that hold for attributes. **Not here**: the walk through text (`texts`).

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use otlp::Value;

use super::facts::Part;
use super::keys::{Class, GLOBAL, Keys, SetId};
use super::messages;
use super::shape;
use super::texts::{self, Leaf, Visit, Walked};

/// Longest text that is looked through, bytes.
const BYTES: usize = 4 << 20;
/// Keys of one payload that are remembered.
const KEYS: usize = 4096;

/// What a value holds.
pub(super) enum Took {
    Nothing,
    /// It can't be looked through: it goes as a whole.
    Whole,
    Some(Taken),
}

/// Listed parts of a value, and what takes them out.
#[derive(Default)]
pub(super) struct Taken {
    /// Part, key, value as JSON.
    pub(super) parts: Vec<(Part, String, String)>,
    /// Entries of maps that go.
    pub(super) keys: BTreeSet<String>,
    /// Texts and what they become.
    pub(super) texts: BTreeMap<String, String>,
}

/// The lists that hold.
#[derive(Clone, Copy)]
pub(super) struct Lists {
    pub(super) dialect: Option<SetId>,
    /// Of an agent's item: numbers under listed keys go too.
    pub(super) agent: bool,
}

/// Looks through values of one payload.
pub(super) struct Nested<'v> {
    keys: &'v Keys,
    known: RefCell<HashMap<Box<str>, Rc<Class>>>,
}

impl<'v> Nested<'v> {
    pub(super) fn new(keys: &'v Keys) -> Self {
        Self { keys, known: RefCell::default() }
    }

    /// What is listed inside `value`.
    pub(super) fn look(&self, value: Value<'_>, lists: Lists) -> Took {
        if !may_hold(value) {
            return Took::Nothing;
        }
        let mut find = Find { nested: self, lists, taken: Taken::default(), before: 0, whole: false };
        match find.value(value) && !find.whole {
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
        let class = Rc::new(self.keys.classify(key));
        known.insert(key.into(), Rc::clone(&class));
        class
    }
}

/// All that a value costs which holds nothing.
fn may_hold(value: Value<'_>) -> bool {
    match value {
        Value::Str(text) => texts::holds_structure(text),
        Value::Map(_) | Value::List(_) => true,
        _ => false,
    }
}

struct Find<'n, 'v> {
    nested: &'n Nested<'v>,
    lists: Lists,
    taken: Taken,
    /// Parts that were there before the present text.
    before: usize,
    /// A text that can't be read names content.
    whole: bool,
}

impl Find<'_, '_> {
    /// False: it can't be looked through.
    fn value(&mut self, value: Value<'_>) -> bool {
        match value {
            Value::Str(text) => self.text(text),
            Value::List(_) => value.items().all(|item| self.value(item)),
            Value::Map(_) => {
                let mut marked = None;
                value.entries().all(|(key, entry)| self.map_entry(value, &mut marked, key, entry))
            }
            _ => true,
        }
    }

    /// `marked`: whether the keys of `map` speak for content, once it was asked.
    fn map_entry(&mut self, map: Value<'_>, marked: &mut Option<bool>, key: &str, value: Value<'_>) -> bool {
        let number = matches!(value, Value::Bool(_) | Value::Int(_) | Value::Double(_));
        let Some(part) = self.part(key, shape::is_label_value(value), number).filter(|_| !shape::is_void(value)) else {
            return self.value(value);
        };
        if self.is_generic(key) && !messages::are_messages(value) {
            let sure = marked.get_or_insert_with(|| self.mark(map.entries().map(|(key, _)| key)));
            if !*sure {
                return self.value(value);
            }
        }
        let mut json = String::new();
        value.write_json(&mut json);
        self.taken.parts.push((part, key.to_owned(), json));
        self.taken.keys.insert(key.to_owned());
        true
    }

    fn text(&mut self, text: &str) -> bool {
        if !texts::holds_structure(text) {
            return true;
        }
        if text.len() > BYTES {
            return !texts::is_structured(text) && !self.mentions(text);
        }
        self.before = self.taken.parts.len();
        match texts::search(text, self) {
            Walked::Same => true,
            Walked::Changed(rest) => {
                self.taken.texts.insert(text.to_owned(), rest);
                true
            }
            Walked::Broken => false,
            // prose with many brackets stays
            Walked::TooDeep => {
                self.taken.parts.len() == self.before && !texts::is_structured(text) && !self.mentions(text)
            }
        }
    }

    /// Whether a text that can't be read names content.
    fn mentions(&self, text: &str) -> bool {
        messages::mentions(text, |key| self.part(key, false, false).is_some() && !self.is_generic(key))
    }

    /// Whether the key could mean something else here.
    fn is_generic(&self, key: &str) -> bool {
        !self.lists.agent && self.nested.class(key).is_generic()
    }

    fn mark<'k>(&self, keys: impl Iterator<Item = &'k str>) -> bool {
        messages::mark(keys, |key| self.nested.class(key).marks_call())
    }

    /// The part that an entry holds, if it is content.
    fn part(&self, key: &str, label: bool, number: bool) -> Option<Part> {
        let class = self.nested.class(key);
        let sets = [self.lists.dialect, Some(GLOBAL)];
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

    fn in_doubt(&mut self, key: &str, leaf: &Leaf<'_>, raw: &str) -> bool {
        let text = if let Leaf::Text(text) = leaf { text } else { raw };
        self.is_generic(key) && !messages::is_messages(text)
    }

    fn are_marked(&mut self, keys: &[Cow<'_, str>]) -> bool {
        self.mark(keys.iter().map(|key| &**key))
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
            // Python, or cut off
            Err(_) => match leaf {
                Leaf::Text(text) => serde_json::Value::from(&**text).to_string(),
                _ => serde_json::Value::from(raw).to_string(),
            },
        };
        self.taken.parts.push((part, key.to_owned(), json));
        true
    }

    fn text(&mut self, _: &str, _: &str) -> Option<String> {
        None
    }

    fn word(&mut self, _: &str, _: &str) -> Option<String> {
        None
    }
}
