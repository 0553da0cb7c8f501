//! Classifies attribute keys with one hash lookup each. Literal keys are classified when the vocabulary is compiled,
//! all others once per payload; classifying allocates only per distinct key.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use otlp::Value;

use super::announced::Announced;
use super::facts::Part;
use super::pattern::{self, PatternMap};
use super::shape;
use super::typed::Kind;
use super::vocabulary::Vocabulary;

/// Index of a value that the vocabulary reads.
pub(super) type Slot = u16;
/// Id of a list of content keys: one of the constants below, a dialect's own list or an event's.
pub(super) type SetId = u16;
/// Content keys on every item.
pub(super) const GLOBAL: SetId = 0;
/// Content keys on agent items that no other list covers: guesses by the key's last word.
pub(super) const AGENT: SetId = 1;
/// Keys of [`GLOBAL`] that are ambiguous: outside agent items they need more evidence to count as content.
pub(super) const GENERIC: SetId = 2;
/// Keys that mark their neighbours as parts of a model call.
pub(super) const CALL: SetId = 3;
/// Keys that are content only in a map with the shape of a message, a message part, a chunk or a tool call.
pub(super) const CHAT: SetId = 4;
/// Error texts that, on an item of a tool, are the tool's output.
pub(super) const TOOL_ERRORS: SetId = 5;
/// Keys of [`TOOL_ERRORS`] under which a single word is the error's type.
pub(super) const ERROR_TYPES: SetId = 6;
/// Keys such as `message` that are content only in a map that names the speaker (`role`).
pub(super) const SPOKEN: SetId = 7;
/// Addresses: on an agent's item each part is judged separately.
pub(super) const ADDRESSES: SetId = 8;
/// Statements: on an agent's item that talks to a cache, only the commands stay.
pub(super) const STATEMENTS: SetId = 9;
/// The last id that does not belong to a dialect or event.
pub(super) const LAST: SetId = STATEMENTS;

/// The role of an attribute key, independent of the dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// No role is known.
    #[default]
    Unknown,
    /// Metadata: names, ids, models, sizes.
    Label,
    /// Identifies a person or a machine.
    Pii,
    /// Text that is redacted and capped, but never removed as a whole.
    Redact,
    /// Error text: treated like [`Role::Redact`], with a cap of its own.
    ErrorText,
    /// A credential, which is dropped.
    Secret,
}

/// How specific a pattern is: highest for a literal, lowest for a pattern with a star.
pub(super) type Weight = u8;

/// One fact about the keys that match a pattern.
#[derive(Clone, Copy)]
pub(super) enum KeyFact {
    Slot(Slot),
    /// A marker bit of the detection clauses, and how specific the pattern is.
    Mark(u32, Weight),
    Role(Role, Weight),
    /// Values contain no blanks.
    Strict,
    /// The key holds labels in the dialect of this list.
    Label(SetId),
    /// The key names a session, turn, user or tenant.
    Identity,
    /// The type of the values according to the conventions.
    Kind(Kind),
    Content(SetId, Part, Weight),
}

/// Everything known about one key.
#[derive(Clone, Default)]
pub(super) struct Class {
    pub(super) slot: Option<Slot>,
    /// One bit per `has`/`lacks` list of the detection clauses.
    pub(super) marks: u128,
    /// A dialect names this key specifically, for a fact or to recognise an item. A pattern like `*prompt*` is not
    /// specific.
    is_read: bool,
    pub(super) role: Role,
    /// The weight of the most specific pattern that makes the key a label. 0 = none.
    label: Weight,
    /// Values contain no blanks: ids, hosts, versions, enumerations.
    strict: bool,
    /// The key names a session, turn, user or tenant: a value that is a sentence becomes a pseudonym.
    identity: bool,
    /// The type of the values according to the conventions.
    pub(super) kind: Option<Kind>,
    content: Vec<(SetId, Part, Weight)>,
    /// Dialects in which the key holds labels.
    labels: Vec<SetId>,
    /// The key itself is prose rather than a name: on any item, on an agent's item.
    pub(super) prose: (bool, bool),
}

impl Class {
    fn of<'f>(facts: impl Iterator<Item = &'f KeyFact>) -> Self {
        let mut class = Self::default();
        for fact in facts {
            match *fact {
                KeyFact::Slot(slot) => (class.slot, class.is_read) = (Some(slot), true),
                KeyFact::Mark(bit, weight) => {
                    class.marks |= 1_u128.checked_shl(bit).unwrap_or(0);
                    class.is_read |= weight > pattern::WILD;
                }
                KeyFact::Role(role, weight) => {
                    class.role = class.role.max(role);
                    if role == Role::Label {
                        class.label = class.label.max(weight);
                    }
                }
                KeyFact::Strict => class.strict = true,
                KeyFact::Label(set) => class.labels.push(set),
                // A sentence in an id is replaced by its pseudonym, which is the same everywhere.
                KeyFact::Identity => (class.label, class.identity) = (pattern::LITERAL, true),
                KeyFact::Kind(kind) => class.kind = Some(kind),
                KeyFact::Content(set, part, weight) => class.content.push((set, part, weight)),
            }
        }
        class
    }

    /// Classifies a key that is no literal of the vocabulary. If nothing is known about it, its lower-case or
    /// snake-case form (`SystemPrompt`) decides on content and role, but is not read as a fact.
    fn made(facts: &PatternMap<KeyFact>, key: &str) -> Self {
        let exact = Self::of(facts.find(key));
        let listed = exact.content.iter().any(|(set, ..)| *set != CALL);
        let known = !exact.is_unknown() || listed || exact.is_read;
        if known || !key.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'-') {
            return Self { prose: shape::prose_key(key), ..exact };
        }
        let forms = [key.to_ascii_lowercase(), snake(key)];
        let mut other = forms.iter().map(|form| Self::of(facts.find(form)));
        let other = other.find(|class| !class.is_unknown() || !class.content.is_empty()).unwrap_or_default();
        Self { slot: None, marks: exact.marks, is_read: false, prose: shape::prose_key(key), ..other }
    }

    /// Returns true if the key's role is unknown.
    pub(super) fn is_unknown(&self) -> bool {
        self.role == Role::Unknown && self.label == 0
    }

    /// Returns true if the key is listed as a label and the value fits. A wildcard namespace such as `aws.*` is not
    /// enough.
    pub(super) fn fits_label(&self, value: Value<'_>) -> bool {
        let listed = self.role == Role::Label && self.label > pattern::WILD;
        // A value that can be converted to the conventional type is written in that type.
        let mended = || self.kind.is_some_and(|kind| kind.mended(value).is_some());
        listed
            && match (self.identity, self.strict) {
                (true, _) => shape::is_known_label_value(value),
                (false, true) => shape::is_label_value(value) || mended(),
                (false, false) => shape::is_name_value(value) || mended(),
            }
    }

    /// Returns true if the key holds labels in the dialect of this list.
    pub(super) fn is_label_of(&self, dialect: Option<SetId>) -> bool {
        dialect.is_some_and(|dialect| self.labels.contains(&dialect))
    }

    /// Returns true if a dialect names this key specifically.
    pub(super) fn is_read(&self) -> bool {
        self.is_read
    }

    /// Returns true if no list names this key specifically.
    pub(super) fn is_unlisted(&self) -> bool {
        self.is_unknown() || (self.role == Role::Label && self.label <= pattern::WILD)
    }

    /// Returns true if the key is ambiguous as a content key.
    pub(super) fn is_generic(&self) -> bool {
        self.content(GENERIC).is_some()
    }

    /// Returns true if the key holds content only in a map with the shape of a chat.
    pub(super) fn is_chat(&self) -> bool {
        self.content(CHAT).is_some() && self.content(GLOBAL).is_none()
    }

    /// Returns true if the key holds content only beside a speaker's role.
    pub(super) fn is_spoken(&self) -> bool {
        self.content(SPOKEN).is_some() && self.content(GLOBAL).is_none()
    }

    pub(super) fn is_address(&self) -> bool {
        self.content(ADDRESSES).is_some()
    }

    pub(super) fn is_statement(&self) -> bool {
        self.content(STATEMENTS).is_some()
    }

    /// The part that an error text holds on an item of a tool, if it is the tool's output.
    pub(super) fn tool_error(&self, value: Value<'_>) -> Option<Part> {
        let is_type = self.content(ERROR_TYPES).is_some() && shape::is_label_value(value);
        self.content(TOOL_ERRORS).filter(|_| !is_type).map(|listed| listed.part)
    }

    /// Returns true if the key marks its neighbours as parts of a model call.
    pub(super) fn marks_call(&self) -> bool {
        self.content(CALL).is_some()
    }

    /// The part that this key holds according to the list `set`. The list's first matching pattern decides.
    pub(super) fn content(&self, set: SetId) -> Option<Listed> {
        let (_, part, weight) = self.content.iter().find(|(id, ..)| *id == set)?;
        Some(Listed { part: *part, wild: *weight == pattern::WILD, named: self.label > *weight })
    }
}

/// `SystemPrompt`, `systemPrompt`, `System-Prompt` → `system_prompt`.
fn snake(key: &str) -> String {
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
pub(super) struct Listed {
    pub(super) part: Part,
    /// Matched by a pattern with a star.
    pub(super) wild: bool,
    /// A more specific pattern makes the key a label or an id.
    pub(super) named: bool,
}

impl Vocabulary {
    /// Returns true if no list, namespace or dialect knows the key.
    pub fn is_unknown(&self, key: &str) -> bool {
        let class = self.keys.classify(key);
        class.is_unknown() && !class.is_read() && class.labels.is_empty() && class.content.is_empty()
    }

    /// Returns true if text under this key is searched for repeated content: error text, and unlisted keys that are not
    /// names. Queries, addresses, labels and ids are not searched.
    pub fn may_repeat(&self, key: &str) -> bool {
        match self.role(key) {
            Role::ErrorText => true,
            Role::Unknown => !self.is_identity(key) && !shape::is_name_key(key),
            // A value that is a sentence is not an error type but error text.
            _ => matches!(key, "error.type" | "error_type"),
        }
    }
}

/// The classification of all keys.
pub(super) struct Keys {
    facts: PatternMap<KeyFact>,
    codes: HashMap<Box<str>, u32>,
    classes: Vec<Class>,
    /// Values of `type` and `object` that mark a map as a piece of a chat.
    pub(super) chat_types: HashSet<Box<str>>,
    /// Finds content in plain text.
    pub(super) announced: Announced,
}

impl Keys {
    /// Classifies the literals that occur in `facts`.
    pub(super) fn new(facts: PatternMap<KeyFact>, chat_types: HashSet<Box<str>>, announced: Announced) -> Self {
        let mut keys = Self { facts, codes: HashMap::new(), classes: Vec::new(), chat_types, announced };
        let literals: Vec<Box<str>> = keys.facts.literals().map(Into::into).collect();
        for literal in literals {
            let code = u32::try_from(keys.classes.len()).unwrap_or(u32::MAX);
            keys.classes.push(Class::of(keys.facts.find(&literal)));
            keys.codes.insert(literal, code);
        }
        keys
    }

    /// Number of literal keys.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.classes.len()
    }

    /// The class of `key`, computed on each call unless the key is a literal of the vocabulary.
    pub(super) fn classify(&self, key: &str) -> Cow<'_, Class> {
        match self.codes.get(key).and_then(|code| self.classes.get(*code as usize)) {
            Some(class) => Cow::Borrowed(class),
            None => Cow::Owned(Class::made(&self.facts, key)),
        }
    }
}

/// The classes of the keys of one payload.
pub(super) struct Memo<'v, 'p> {
    keys: &'v Keys,
    codes: HashMap<&'p str, u32>,
    own: Vec<Class>,
    blank: Class,
}

impl<'v, 'p> Memo<'v, 'p> {
    pub(super) fn new(keys: &'v Keys) -> Self {
        Self { keys, codes: HashMap::new(), own: Vec::new(), blank: Class::default() }
    }

    /// Returns a code for [`Memo::class`].
    pub(super) fn code(&mut self, key: &'p str) -> u32 {
        if let Some(code) = self.codes.get(key) {
            return *code;
        }
        let code = self.keys.codes.get(key).copied().unwrap_or_else(|| {
            self.own.push(Class::made(&self.keys.facts, key));
            u32::try_from(self.keys.classes.len() + self.own.len() - 1).unwrap_or(u32::MAX)
        });
        self.codes.insert(key, code);
        code
    }

    /// The class behind a code.
    pub(super) fn class(&self, code: u32) -> &Class {
        let code = code as usize;
        let known = self.keys.classes.get(code);
        known.or_else(|| self.own.get(code - self.keys.classes.len())).unwrap_or(&self.blank)
    }
}
