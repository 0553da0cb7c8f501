//! **What**: what the vocabulary knows about an attribute key, found by one hash lookup. **Invariants**: literal keys
//! are classified when the vocabulary is compiled, others once per payload; classifying allocates per distinct key
//! only.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use otlp::Value;

use super::announced::Announced;
use super::facts::Part;
use super::pattern::{self, PatternMap};
use super::shape;
use super::typed::Kind;
use super::vocabulary::Vocabulary;

/// Index of a value the vocabulary reads.
pub(super) type Slot = u16;
/// A list of content keys: [`GLOBAL`], a dialect's own, or an event's.
pub(super) type SetId = u16;
/// The content keys that hold for every item.
pub(super) const GLOBAL: SetId = 0;
/// Those that hold for an agent's items where no other list says anything: a guess by the key's last word.
pub(super) const AGENT: SetId = 1;
/// Those of [`GLOBAL`] that mean other things too: on items that are no agent's more must speak for content.
pub(super) const GENERIC: SetId = 2;
/// Keys that mark what stands beside them as a call of a model.
pub(super) const CALL: SetId = 3;
/// Those that are content in a map which has the shape of a message, a part of one, a chunk or a call of a tool.
pub(super) const CHAT: SetId = 4;
/// Error texts that are a tool's output on an item of a tool.
pub(super) const TOOL_ERRORS: SetId = 5;
/// Those of [`TOOL_ERRORS`] under which a word is the error's type.
pub(super) const ERROR_TYPES: SetId = 6;
/// Those that are content in a map that names the speaker (`role`), and other things elsewhere (`message`).
pub(super) const SPOKEN: SetId = 7;
/// Addresses: on an agent's item their parts are judged one by one.
pub(super) const ADDRESSES: SetId = 8;
/// Statements: of an agent's item that talks to a cache, commands alone stay.
pub(super) const STATEMENTS: SetId = 9;
/// The last list that is no dialect's or event's.
pub(super) const LAST: SetId = STATEMENTS;

/// What a key is, whatever the dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Nothing is known.
    #[default]
    Unknown,
    /// Metadata: names, ids, models, sizes.
    Label,
    /// Identifies a person or a machine.
    Pii,
    /// Text that is redacted and capped, never removed.
    Redact,
    /// Error text: the same, with a cap of its own.
    ErrorText,
    /// A credential: dropped.
    Secret,
}

/// How much a pattern tells about the keys that fit it: a literal most, one with a star least.
pub(super) type Weight = u8;

/// One thing known about keys of a pattern.
#[derive(Clone, Copy)]
pub(super) enum KeyFact {
    Slot(Slot),
    /// A bit of the detection clauses, and how exactly a pattern of them names the key.
    Mark(u32, Weight),
    Role(Role, Weight),
    /// Its values hold no blank.
    Strict,
    /// A label in the dialect of this list.
    Label(SetId),
    /// Names a session, turn, user or tenant.
    Identity,
    /// The conventions say what its values are.
    Kind(Kind),
    Content(SetId, Part, Weight),
}

/// All that is known about one key.
#[derive(Clone, Default)]
pub(super) struct Class {
    pub(super) slot: Option<Slot>,
    /// One bit per `has`/`lacks` list of the detection clauses.
    pub(super) marks: u128,
    /// A dialect names the key itself, for a fact or to recognise an item; `*prompt*` names nothing.
    is_read: bool,
    pub(super) role: Role,
    /// The weight of the best pattern that says label or id; 0 = none.
    label: Weight,
    /// Its values hold no blank: ids, hosts, versions, words of an enumeration.
    strict: bool,
    /// Names a session, turn, user or tenant: a sentence becomes a pseudonym.
    identity: bool,
    /// What the conventions say that its values are.
    pub(super) kind: Option<Kind>,
    content: Vec<(SetId, Part, Weight)>,
    /// Dialects in which it holds labels.
    labels: Vec<SetId>,
    /// The key is text, not a name: everywhere, on an agent's items.
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
                // an id that is a sentence becomes a pseudonym, the same everywhere
                KeyFact::Identity => (class.label, class.identity) = (pattern::LITERAL, true),
                KeyFact::Kind(kind) => class.kind = Some(kind),
                KeyFact::Content(set, part, weight) => class.content.push((set, part, weight)),
            }
        }
        class
    }

    /// Of a key that is no literal of the vocabulary. If nothing is known of it, what is known of its form in lower
    /// case, or with underscores (`SystemPrompt`), says what it holds and how it is treated; it is no fact's place.
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

    /// Whether nothing is known of the key's role.
    pub(super) fn is_unknown(&self) -> bool {
        self.role == Role::Unknown && self.label == 0
    }

    /// Whether the key is listed as a label's and the value fits. A pattern such as `aws.*` alone says nothing of a
    /// value.
    pub(super) fn fits_label(&self, value: Value<'_>) -> bool {
        let listed = self.role == Role::Label && self.label > pattern::WILD;
        // what the conventions' type can be made of is written as that
        let mended = || self.kind.is_some_and(|kind| kind.mended(value).is_some());
        listed
            && match (self.identity, self.strict) {
                (true, _) => shape::is_known_label_value(value),
                (false, true) => shape::is_label_value(value) || mended(),
                (false, false) => shape::is_name_value(value) || mended(),
            }
    }

    /// Whether the key holds words without blanks in the dialect of this list.
    pub(super) fn is_label_of(&self, dialect: Option<SetId>) -> bool {
        dialect.is_some_and(|dialect| self.labels.contains(&dialect))
    }

    /// Whether a dialect names the key itself.
    pub(super) fn is_read(&self) -> bool {
        self.is_read
    }

    /// Whether no list names the key itself.
    pub(super) fn is_unlisted(&self) -> bool {
        self.is_unknown() || (self.role == Role::Label && self.label <= pattern::WILD)
    }

    /// Whether what the key lists could be something else.
    pub(super) fn is_generic(&self) -> bool {
        self.content(GENERIC).is_some()
    }

    /// Whether the key holds content only where its map has a chat's shape.
    pub(super) fn is_chat(&self) -> bool {
        self.content(CHAT).is_some() && self.content(GLOBAL).is_none()
    }

    /// Whether the key holds content only beside a speaker's role.
    pub(super) fn is_spoken(&self) -> bool {
        self.content(SPOKEN).is_some() && self.content(GLOBAL).is_none()
    }

    /// Whether the key holds an address.
    pub(super) fn is_address(&self) -> bool {
        self.content(ADDRESSES).is_some()
    }

    /// Whether the key holds a statement.
    pub(super) fn is_statement(&self) -> bool {
        self.content(STATEMENTS).is_some()
    }

    /// The part that an error text holds on an item of a tool, if it is the tool's output.
    pub(super) fn tool_error(&self, value: Value<'_>) -> Option<Part> {
        let is_type = self.content(ERROR_TYPES).is_some() && shape::is_label_value(value);
        self.content(TOOL_ERRORS).filter(|_| !is_type).map(|listed| listed.part)
    }

    /// Whether the key marks its neighbours as those of a call of a model.
    pub(super) fn marks_call(&self) -> bool {
        self.content(CALL).is_some()
    }

    /// The part that this key holds by the list `set`; the first pattern of the list that fits decides.
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

/// What a content list says about a key.
#[derive(Clone, Copy)]
pub(super) struct Listed {
    pub(super) part: Part,
    /// By a pattern with a star.
    pub(super) wild: bool,
    /// A pattern that tells more says that the key holds a label or an id.
    pub(super) named: bool,
}

impl Vocabulary {
    /// Whether neither a list, a namespace nor a dialect knows the key.
    pub fn is_unknown(&self, key: &str) -> bool {
        let class = self.keys.classify(key);
        class.is_unknown() && !class.is_read() && class.labels.is_empty() && class.content.is_empty()
    }

    /// Whether text under an attribute's key is searched for repeated content: error text, and what nobody listed
    /// unless the key calls it a name. Queries, addresses, labels and ids stay, whatever content says the same.
    pub fn may_repeat(&self, key: &str) -> bool {
        match self.role(key) {
            Role::ErrorText => true,
            Role::Unknown => !self.is_identity(key) && !shape::is_name_key(key),
            // a type says no sentence: where it does, it is error text
            _ => matches!(key, "error.type" | "error_type"),
        }
    }
}

/// Everything known about keys.
pub(super) struct Keys {
    facts: PatternMap<KeyFact>,
    codes: HashMap<Box<str>, u32>,
    classes: Vec<Class>,
    /// Values of `type` and `object` that say that a map is a piece of a chat.
    pub(super) chat_types: HashSet<Box<str>>,
    /// What plain text announces.
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

    /// The slot of a key that is read.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.classes.len()
    }

    /// The class of `key`, made anew when it is no literal of the vocabulary.
    pub(super) fn classify(&self, key: &str) -> Cow<'_, Class> {
        match self.codes.get(key).and_then(|code| self.classes.get(*code as usize)) {
            Some(class) => Cow::Borrowed(class),
            None => Cow::Owned(Class::made(&self.facts, key)),
        }
    }
}

/// Classes of the keys of one payload.
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

    /// A code to be given to [`Memo::class`].
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
