//! Classifies attribute keys with one hash lookup each. Literal keys are classified when the vocabulary is compiled,
//! all others when they are first seen; their classes are remembered across payloads.

use foldhash::{HashMap, HashSet};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kernel::bounded_map::BoundedMap;
use otlp::Value;
use parking_lot::RwLock;
use serde::Deserialize;

use super::announcements::AnnouncementFinder;
use super::attribute_types::AttributeType;
use super::chat_evidence::ChatShapes;
use super::facts::ContentPart;
use super::key_shapes::{self, KeyShape};
use super::label_shape;
use super::pattern::{self, PatternMap};
use super::schema::NameList;
use super::usage_words::{UsageKey, UsageWords};
use super::vocabulary::Vocabulary;
use super::words::split_words;

/// Index of a value that the vocabulary reads.
pub(super) type SlotIndex = u16;
/// Id of a list of content keys: one of the constants below, a dialect's own list or an event's.
pub(super) type KeySetId = u16;

/// Declares the lists of content keys that apply to every dialect: the id and the name in the file of each.
macro_rules! key_sets {
    ($($(#[$doc:meta])* $id:ident = $number:literal, $name:ident;)*) => {
        $($(#[$doc])* pub(super) const $id: KeySetId = $number;)*

        /// Attribute keys in every dialect.
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct KeyListDefinitions {
            pub(super) roles: BTreeMap<KeyRole, NameList>,
            /// Keys of a user's id or name, in addition to the `user` fields of the dialects.
            pub(super) persons: NameList,
            /// Words of keys below which no identifier stays, because it may be a person's or an answer.
            pub(super) private_words: HashSet<Box<str>>,
            /// Values of `type` that mark a part of a message.
            pub(super) chat_types: NameList,
            /// Maps with the shape of a message, a part, a chunk or a call: keys (`a|b`: one of them) with their
            /// values. None: any. `*`: any text, map or list that is not empty. `{`: a map or list.
            pub(super) chat_shapes: Vec<BTreeMap<String, NameList>>,
            /// Maps that name a speaker.
            pub(super) speaker_shapes: Vec<BTreeMap<String, NameList>>,
            /// Speakers of `["speaker", "text"]` inside a list.
            pub(super) pair_speakers: NameList,
            /// Words after which plain text quotes a user or a model.
            pub(super) quote_introductions: NameList,
            /// Human and machine speakers at the start of a dialogue's lines. One of each makes a text a dialogue.
            pub(super) human_speakers: NameList,
            pub(super) machine_speakers: NameList,
            /// The same for an agent that prints its steps.
            pub(super) thought_speakers: NameList,
            pub(super) action_speakers: NameList,
            $($(#[$doc])* $name: BTreeMap<ContentPart, NameList>,)*
        }

        impl KeyListDefinitions {
            /// The content keys that apply to every dialect, by list.
            pub(super) fn sets(&self) -> Vec<(KeySetId, &BTreeMap<ContentPart, NameList>)> {
                vec![$(($id, &self.$name),)*]
            }
        }
    };
}

key_sets! {
    /// Content keys on every item.
    GLOBAL = 0, content;
    /// Content keys on agent items that no other list covers: guesses by the key's last word.
    AGENT = 1, agent_content;
    /// Keys of [`GLOBAL`] that are ambiguous: outside agent items they need more evidence to count as content.
    GENERIC = 2, generic;
    /// Keys that mark their neighbours as parts of a model call.
    CALL = 3, call_marks;
    /// Keys that are content only in a map with the shape of a message, a message part, a chunk or a tool call.
    CHAT = 4, chat;
    /// Error texts that, on an item of a tool, are the tool's output.
    TOOL_ERRORS = 5, tool_errors;
    /// Keys of [`TOOL_ERRORS`] under which a single word is the error's type.
    ERROR_TYPES = 6, tool_error_types;
    /// Keys such as `message` that are content only in a map that names the speaker (`role`).
    BESIDE_ROLE = 7, beside_role;
    /// Addresses: on an agent's item each part is judged separately.
    ADDRESSES = 8, addresses;
    /// Statements: on an agent's item only their form stays.
    STATEMENTS = 9, statements;
}

/// The last id that does not belong to a dialect or event.
pub(super) const LAST_BUILTIN_SET: KeySetId = STATEMENTS;

/// The role of an attribute key, independent of the dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyRole {
    /// No role is known.
    #[default]
    Unknown,
    /// Metadata: names, ids, models, sizes.
    Label,
    /// Identifies a person or a machine.
    Pii,
    /// Text that is redacted and capped, but never removed as a whole.
    Redact,
    /// Error text: treated like [`KeyRole::Redact`], with a cap of its own.
    ErrorText,
    /// A credential, which is dropped.
    Secret,
}

/// How specific a pattern is: highest for a literal, lowest for a pattern with a star.
pub(super) type PatternWeight = u8;

/// One fact about the keys that match a pattern.
#[derive(Clone)]
pub(super) enum KeyFact {
    Slot(SlotIndex),
    /// A marker bit of the detection clauses, and how specific the pattern is.
    Mark(u32, PatternWeight),
    Role(KeyRole, PatternWeight),
    /// The shape of the values.
    Shape(KeyShape),
    /// The key holds labels in the dialect of this list.
    Label(KeySetId),
    /// The key names a session, turn, user or tenant.
    Identity,
    /// The type of the values according to the conventions.
    Kind(AttributeType),
    Content(KeySetId, ContentPart, PatternWeight),
}

/// Everything known about one key.
#[derive(Clone, Default)]
pub(super) struct KeyClass {
    pub(super) slot: Option<SlotIndex>,
    /// One bit per `has`/`lacks` list of the detection clauses.
    pub(super) marks: u128,
    /// A dialect names this key specifically, for a fact or to recognise an item. A pattern like `*prompt*` is not
    /// specific.
    pub(super) read_by_dialect: bool,
    pub(super) role: KeyRole,
    /// The weight of the most specific pattern that makes the key a label. 0 = none.
    label_weight: PatternWeight,
    /// The shape of the values under a listed key.
    pub(super) shape: KeyShape,
    /// No list names the key, and its words say that its values may be a person's or an answer.
    pub(super) is_private: bool,
    /// The configuration keeps the key's short texts.
    pub(super) keep: bool,
    /// The configuration says that texts under the key are content.
    pub(super) never: bool,
    /// The key names a session, turn, user or tenant: a value that is a sentence becomes a pseudonym.
    identity: bool,
    /// The type of the values according to the conventions.
    pub(super) kind: Option<AttributeType>,
    content: Vec<(KeySetId, ContentPart, PatternWeight)>,
    /// Dialects in which the key holds labels.
    labels: Vec<KeySetId>,
    /// Whether the key itself is prose rather than a name.
    pub(super) key_is_prose: label_shape::KeyProse,
    /// What the key counts, by its words.
    pub(super) usage: Option<UsageKey>,
}

impl KeyClass {
    pub(super) fn from_facts<'f>(facts: impl Iterator<Item = &'f KeyFact>) -> Self {
        let mut class = Self::default();
        for fact in facts {
            match fact.clone() {
                KeyFact::Slot(slot) => (class.slot, class.read_by_dialect) = (Some(slot), true),
                KeyFact::Mark(bit, weight) => {
                    class.marks |= 1_u128.checked_shl(bit).unwrap_or(0);
                    class.read_by_dialect |= weight > pattern::WILDCARD_WEIGHT;
                }
                KeyFact::Role(role, weight) => {
                    class.role = class.role.max(role);
                    if role == KeyRole::Label {
                        class.label_weight = class.label_weight.max(weight);
                    }
                }
                KeyFact::Shape(shape) => class.shape = shape,
                KeyFact::Label(set) => class.labels.push(set),
                // A sentence in an id is replaced by its pseudonym, which is the same everywhere.
                KeyFact::Identity => (class.label_weight, class.identity) = (pattern::LITERAL_WEIGHT, true),
                KeyFact::Kind(kind) => class.kind = Some(kind),
                KeyFact::Content(set, part, weight) => class.content.push((set, part, weight)),
            }
        }
        if class.is_listed(ADDRESSES) {
            class.shape = KeyShape::Url;
        }
        class
    }

    /// Classifies a key that is no literal of the vocabulary. If nothing is known about it, its lower-case or
    /// snake-case form (`SystemPrompt`) decides on content and role, but is not read as a fact.
    fn classify_dynamic(facts: &PatternMap<KeyFact>, key: &str) -> Self {
        let exact = Self::from_facts(facts.find(key));
        let listed = exact.content.iter().any(|(set, ..)| *set != CALL);
        let known = !exact.is_unknown() || listed || exact.read_by_dialect;
        if known || !key.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'-') {
            return Self { key_is_prose: label_shape::judge_key_prose(key, known), ..exact };
        }
        let forms = [key.to_ascii_lowercase(), to_snake_case(key)];
        let mut normalised = forms.iter().map(|form| Self::from_facts(facts.find(form)));
        let normalised = normalised.find(|class| !class.is_unknown() || !class.content.is_empty()).unwrap_or_default();
        Self {
            slot: None,
            marks: exact.marks,
            read_by_dialect: false,
            key_is_prose: label_shape::judge_key_prose(key, false),
            ..normalised
        }
    }

    /// Returns true if the key's role is unknown.
    pub(super) fn is_unknown(&self) -> bool {
        self.role == KeyRole::Unknown && self.label_weight == 0
    }

    /// Returns true if the key is listed as a label and the value fits. A wildcard namespace such as `aws.*` is not
    /// enough.
    pub(super) fn fits_label(&self, value: Value<'_>) -> bool {
        let listed = self.role == KeyRole::Label && self.label_weight > pattern::WILDCARD_WEIGHT;
        listed && if self.identity { key_shapes::is_identity_value(value) } else { self.shape.accepts(value) }
    }

    /// Returns true if the key holds labels in the dialect of this list.
    pub(super) fn is_label_of(&self, dialect: Option<KeySetId>) -> bool {
        dialect.is_some_and(|dialect| self.labels.contains(&dialect))
    }

    /// Returns true if no list names this key specifically.
    pub(super) fn is_unlisted(&self) -> bool {
        self.is_unknown() || (self.role == KeyRole::Label && self.label_weight <= pattern::WILDCARD_WEIGHT)
    }

    /// Returns true if the list `set` names the key.
    pub(super) fn is_listed(&self, set: KeySetId) -> bool {
        self.content.iter().any(|(id, ..)| *id == set)
    }

    /// Returns true if the key holds content only with the evidence that `set` ([`CHAT`] or [`BESIDE_ROLE`]) asks for.
    pub(super) fn needs_evidence(&self, set: KeySetId) -> bool {
        self.is_listed(set) && !self.is_listed(GLOBAL)
    }

    /// The part that an error text holds on an item of a tool, if it is the tool's output.
    pub(super) fn tool_error_part(&self, value: Value<'_>) -> Option<ContentPart> {
        let is_type = self.is_listed(ERROR_TYPES) && label_shape::is_label_value(value);
        self.listed_content(TOOL_ERRORS).filter(|_| !is_type).map(|listed| listed.part)
    }

    /// Returns true if the key marks its neighbours as parts of a model call.
    pub(super) fn marks_call(&self) -> bool {
        self.is_listed(CALL) || matches!(self.usage, Some(UsageKey::Tokens { .. }))
    }

    /// The part that this key holds according to the list `set`. The list's first matching pattern decides.
    pub(super) fn listed_content(&self, set: KeySetId) -> Option<ListedKey> {
        let (_, part, weight) = self.content.iter().find(|(id, ..)| *id == set)?;
        Some(ListedKey {
            part: *part,
            by_wildcard: *weight == pattern::WILDCARD_WEIGHT,
            is_label_key: self.label_weight > *weight,
        })
    }
}

/// `SystemPrompt`, `systemPrompt`, `System-Prompt` → `system_prompt`.
fn to_snake_case(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 4);
    let mut before = '.';
    for c in key.chars() {
        if c.is_ascii_uppercase() && before.is_ascii_lowercase() {
            out.push('_');
        }
        out.push(if c == '-' { '_' } else { c.to_ascii_lowercase() });
        before = c;
    }
    out
}

/// A content list's entry for a key.
#[derive(Clone, Copy)]
pub(super) struct ListedKey {
    pub(super) part: ContentPart,
    /// Matched by a pattern with a star.
    pub(super) by_wildcard: bool,
    /// A more specific pattern makes the key a label or an id.
    pub(super) is_label_key: bool,
}

impl Vocabulary {
    /// Returns true if no list, namespace or dialect knows the key. A list that counts only in a chat does not know it.
    pub fn is_unknown(&self, key: &str) -> bool {
        let class = self.keys.classify(key);
        let is_listed = class.content.iter().any(|(set, ..)| !matches!(*set, CHAT | BESIDE_ROLE));
        class.is_unknown() && !class.read_by_dialect && class.labels.is_empty() && !is_listed
    }

    /// Returns true if text under this key is searched for repeated content: error text, and unlisted keys that are not
    /// names. Queries, addresses, labels and ids are not searched.
    pub fn may_repeat_content(&self, key: &str) -> bool {
        match self.role(key) {
            KeyRole::ErrorText => true,
            KeyRole::Unknown => !self.is_identity(key) && !label_shape::is_name_key(key),
            // A value that is a sentence is not an error type but error text.
            _ => matches!(key, "error.type" | "error_type"),
        }
    }
}

/// Maximum number of remembered keys that are no literals.
const MAX_DYNAMIC_KEYS: usize = 4096;
/// Minimum length of a private word that is found within another, in bytes.
const MIN_PRIVATE_PART: usize = 6;
/// Maximum size of a remembered key, bytes.
const MAX_DYNAMIC_KEY_BYTES: usize = 256;

/// The classification of all keys.
pub(super) struct KeyClassifier {
    facts: PatternMap<KeyFact>,
    pub(super) usage_words: UsageWords,
    pub(super) classes: HashMap<Box<str>, Arc<KeyClass>>,
    /// Classes of keys that are no literals. A class depends on the key alone.
    pub(super) dynamic_classes: RwLock<BoundedMap<Box<str>, Arc<KeyClass>, MAX_DYNAMIC_KEYS>>,
    /// Words of keys below which no identifier stays.
    private_words: HashSet<Box<str>>,
    /// Keys that the configuration names: short texts stay, and texts never stay.
    keep: BTreeSet<String>,
    never: BTreeSet<String>,
    pub(super) chat_shapes: ChatShapes,
    /// Finds content in plain text.
    pub(super) announced: AnnouncementFinder,
}

impl KeyClassifier {
    /// Classifies the literals that occur in `facts`.
    pub(super) fn new(
        facts: PatternMap<KeyFact>,
        usage_words: UsageWords,
        private_words: HashSet<Box<str>>,
        chat_shapes: ChatShapes,
        announced: AnnouncementFinder,
    ) -> Self {
        let keys = Self {
            facts,
            usage_words,
            classes: HashMap::default(),
            dynamic_classes: RwLock::default(),
            private_words,
            keep: BTreeSet::new(),
            never: BTreeSet::new(),
            chat_shapes,
            announced,
        };
        let class = |key: &str| keys.complete_class(key, KeyClass::from_facts(keys.facts.find(key)));
        let classes = keys.facts.literals().map(|key| (key.into(), Arc::new(class(key)))).collect();
        Self { classes, ..keys }
    }

    /// Sets the keys that the configuration keeps and those whose texts never stay.
    pub(super) fn set_named_keys(&mut self, keep: &BTreeSet<String>, never: &BTreeSet<String>) {
        for (key, class) in &mut self.classes {
            let class = Arc::make_mut(class);
            (class.keep, class.never) = (keep.contains(&**key), never.contains(&**key));
        }
        (self.keep, self.never) = (keep.clone(), never.clone());
        self.dynamic_classes = RwLock::default();
    }

    /// Completes a class by what its key's words and the configuration say.
    fn complete_class(&self, key: &str, class: KeyClass) -> KeyClass {
        let usage = self.usage_words.read(key);
        let read_by_dialect = class.read_by_dialect || matches!(usage, Some(UsageKey::Tokens { .. }));
        KeyClass {
            usage,
            read_by_dialect,
            is_private: class.is_unlisted() && split_words(key).any(|word| self.is_private_word(word)),
            keep: self.keep.contains(key),
            never: self.never.contains(key),
            ..class
        }
    }

    /// Returns true for a private word, its plural, and a word that is written as one with it (`customername`).
    fn is_private_word(&self, word: &str) -> bool {
        let word = word.to_lowercase();
        let singular = word.strip_suffix('s').unwrap_or(&word);
        let is_part =
            |private: &str| private.len() >= MIN_PRIVATE_PART && (word.starts_with(private) || word.ends_with(private));
        self.private_words.contains(&*word)
            || self.private_words.contains(singular)
            || self.private_words.iter().any(|private| is_part(private))
    }

    /// The class of `key`.
    pub(super) fn classify(&self, key: &str) -> Arc<KeyClass> {
        let known = self.classes.get(key).cloned().or_else(|| self.dynamic_classes.read().get(key).cloned());
        if let Some(class) = known {
            return class;
        }
        let class = Arc::new(self.complete_class(key, KeyClass::classify_dynamic(&self.facts, key)));
        if key.len() <= MAX_DYNAMIC_KEY_BYTES {
            self.dynamic_classes.write().insert(key.into(), Arc::clone(&class));
        }
        class
    }
}

/// The classes of the keys of one payload.
pub(super) struct KeyClassCache<'v, 'p> {
    keys: &'v KeyClassifier,
    codes: HashMap<&'p str, u32>,
    classes: Vec<Arc<KeyClass>>,
    unknown_class: KeyClass,
}

impl<'v, 'p> KeyClassCache<'v, 'p> {
    pub(super) fn new(keys: &'v KeyClassifier) -> Self {
        Self { keys, codes: HashMap::default(), classes: Vec::new(), unknown_class: KeyClass::default() }
    }

    /// Returns a code for [`KeyClassCache::class`].
    pub(super) fn code(&mut self, key: &'p str) -> u32 {
        if let Some(code) = self.codes.get(key) {
            return *code;
        }
        let code = u32::try_from(self.classes.len()).unwrap_or(u32::MAX);
        self.classes.push(self.keys.classify(key));
        self.codes.insert(key, code);
        code
    }

    /// The class of a code.
    pub(super) fn class(&self, code: u32) -> &KeyClass {
        self.classes.get(code as usize).map_or(&self.unknown_class, |class| &**class)
    }
}
