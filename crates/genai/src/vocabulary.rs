//! [`Vocabulary`] is `config/dialects.yaml` in compiled form: keys mapped to classes and slots, dialects by priority.
//! The built-in vocabulary is read from a JSON copy, which takes a twentieth of the time; a test keeps both in step.
//!
//! A list too long for its index, an unknown `@list` and a duplicate dialect are errors at load.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use parking_lot::Mutex;

use config::load;
use otlp::Value;

use super::announced::Announced;
use super::detect::Clause;
use super::facts::Part;
use super::keys::{GLOBAL, KeyFact, Keys, LAST, Role, SetId, Slot};
use super::pattern::{Names, PatternMap, weight};
use super::schema::{self, Data, List};
use super::sources::{Source, SourceList, Sources, UsageSources};
use super::typed::Kind;
use super::wrapped::Wrapped;

pub(super) static BUILTIN: &str = include_str!("../../../config/dialects.json");

/// The error of an invalid vocabulary: a message for the user.
#[derive(Debug)]
pub struct VocabularyError(pub String);

/// The compiled dialects. Immutable, so it can be shared.
pub struct Vocabulary {
    pub(super) keys: Keys,
    pub(super) slots: usize,
    pub(super) event_name: Slot,
    pub(super) operation_name: Slot,
    pub(super) span_name: Slot,
    pub(super) log_body: Slot,
    pub(super) dialects: Vec<Dialect>,
    /// All marker bits except those of generic (undescribed) dialects.
    pub(super) described_marks: u128,
    pub(super) events: PatternMap<EventRule>,
    pub(super) identity: Sources,
    /// Attributes that list other attributes as content: a JSON schema, a message template, the filled-in template.
    pub(super) named_by: (Slot, Slot, Slot),
    pub(super) wrapped: Wrapped,
    /// Attributes that name a system, and name parts of systems that are caches.
    pub(super) caches: (Vec<Slot>, HashSet<String>),
    /// Facts inside content, and the attributes they are written to.
    pub(super) extract: Vec<Extract>,
    pub(super) providers: HashMap<String, String>,
    pub(super) frameworks: HashSet<String>,
    pub(super) operations: HashMap<String, String>,
    /// Current operation names.
    pub(super) known_operations: HashSet<String>,
    /// Operations sold by image, second or page.
    pub(super) media: HashSet<String>,
    /// The key of each slot.
    slot_keys: Vec<Box<str>>,
    /// Attribute keys that name sessions, turns, users and tenants.
    identity_keys: HashSet<String>,
    person_keys: HashSet<String>,
    version: String,
}

/// One compiled dialect.
pub(super) struct Dialect {
    pub(super) name: &'static str,
    pub(super) clauses: Vec<Clause>,
    pub(super) event_prefix: String,
    pub(super) calls: Vec<CallRule>,
    /// Names of spans and log events, other than tool calls, whose error text is a tool's output.
    pub(super) tool_items: Names,
    pub(super) leaves_only: bool,
    pub(super) inherit: bool,
    pub(super) inner: bool,
    pub(super) default_provider: Option<String>,
    pub(super) sources: Sources,
    pub(super) usage: UsageSources,
    pub(super) set: SetId,
    pub(super) events: PatternMap<EventRule>,
    /// The rule for events without a rule of their own, nameless ones included.
    pub(super) any_event: Option<EventRule>,
}

/// A span event or log event that carries content.
#[derive(Clone, Copy)]
pub(super) struct EventRule {
    pub(super) part: Part,
    /// The content attributes. `None`: all attributes.
    pub(super) set: Option<SetId>,
    pub(super) body: bool,
}

/// A compiled [`schema::Extract`].
pub(super) struct Extract {
    pub(super) dialect: Option<&'static str>,
    pub(super) from: SourceList,
    pub(super) to: &'static str,
    /// The slot of the target attribute, and its type in the conventions.
    pub(super) slot: Slot,
    pub(super) kind: Option<Kind>,
}

/// A compiled [`schema::CallRule`].
pub(super) struct CallRule {
    pub(super) is: schema::Is,
    pub(super) span: Names,
    pub(super) log: Names,
    pub(super) operation: Names,
    pub(super) equals: Vec<(Slot, Vec<String>)>,
    pub(super) usage: bool,
    pub(super) root: bool,
    pub(super) turn: bool,
    pub(super) twin: bool,
    pub(super) alone: bool,
    pub(super) if_no_span: bool,
    pub(super) failed: bool,
    pub(super) decision: Option<String>,
    pub(super) bill_unless: Option<Slot>,
}

impl Vocabulary {
    /// Returns true if a dialect prefixes its event names with this text.
    pub(super) fn is_event_prefix(&self, text: &str) -> bool {
        !text.is_empty() && self.dialects.iter().any(|dialect| dialect.event_prefix == text)
    }

    /// Loads the built-in dialects.
    ///
    /// # Errors
    /// Never for a released program: a test loads them.
    pub fn builtin() -> Result<Self, VocabularyError> {
        let data: Data = serde_json::from_str(BUILTIN).map_err(|error| VocabularyError(error.to_string()))?;
        Self::compile("dialects.json", &data)
    }

    /// Reads a dialects file. `name` is used in error messages.
    ///
    /// # Errors
    /// The first problem found.
    pub fn parse(name: &str, text: &str) -> Result<Self, VocabularyError> {
        let data: Data = load::data(name, text).map_err(|problem| VocabularyError(problem.to_string()))?;
        Self::compile(name, &data)
    }

    fn compile(name: &str, data: &Data) -> Result<Self, VocabularyError> {
        if data.schema != schema::SCHEMA {
            return Err(VocabularyError(format!("{name}: schema {} is not known", data.schema)));
        }
        Compiler::new(&data.lists).compile(data)
    }

    /// The version written in the data.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The role of an attribute key in every dialect.
    pub fn role(&self, key: &str) -> Role {
        self.keys.classify(key).role
    }

    /// The part of a conversation held under a key that is listed as content in every dialect.
    pub fn content_part(&self, key: &str) -> Option<Part> {
        self.keys.classify(key).content(GLOBAL).filter(|listed| !listed.named).map(|listed| listed.part)
    }

    /// Returns true if the value at a slot is a tool's output on an item of a tool.
    pub(super) fn is_tool_error(&self, slot: Slot, value: Value<'_>) -> bool {
        let key = self.slot_keys.get(slot as usize);
        key.is_some_and(|key| self.keys.classify(key).tool_error(value).is_some())
    }

    /// Returns true if the key names a session, turn, user or tenant in any dialect: its value is an id, never free
    /// text.
    pub fn is_identity(&self, key: &str) -> bool {
        self.identity_keys.contains(key)
    }

    /// Returns true if the key holds a user's id or name.
    pub fn is_person(&self, key: &str) -> bool {
        self.person_keys.contains(key)
    }

    /// The plain attribute keys from which a dialect reads a fact. Sources inside content and on resources are left
    /// out.
    pub fn originals(&self, dialect: &str, fact: Fact) -> Vec<&str> {
        let dialect = self.dialects.iter().find(|known| known.name == dialect);
        let sources = dialect.map(|dialect| {
            let (fields, usage) = (&dialect.sources, &dialect.usage);
            match fact {
                Fact::Session => &fields.session,
                Fact::Operation => &fields.operation,
                Fact::Provider => &fields.provider,
                Fact::RequestModel => &fields.request_model,
                Fact::ResponseModel => &fields.response_model,
                Fact::ResponseId => &fields.response_id,
                Fact::Tool => &fields.tool,
                Fact::ToolCall => &fields.tool_call,
                Fact::Finish => &fields.finish,
                Fact::Input => &usage.input,
                Fact::Output => &usage.output,
                Fact::CacheRead => &usage.cache_read,
                Fact::CacheWrite => &usage.cache_write,
                Fact::Reasoning => &usage.reasoning,
            }
        });
        let plain = sources.into_iter().flatten().filter(|source| source.is_plain());
        plain.filter_map(|source| self.slot_keys.get(source.slot as usize).map(|key| &**key)).collect()
    }

    /// Returns true for a generic dialect: its emitter is not described, and only structure distinguishes calls from
    /// roll-ups.
    pub fn guesses(&self, dialect: &str) -> bool {
        self.dialects.iter().any(|known| known.leaves_only && known.name == dialect)
    }

    /// Names of the dialects, in order of priority.
    pub fn dialects(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.dialects.iter().map(|dialect| dialect.name)
    }

    /// The current name of a provider as sent. `None` if it names a framework. Unknown names are returned in lower
    /// case.
    pub fn provider(&self, sent: &str) -> Option<String> {
        let lower = sent.trim().to_lowercase();
        if lower.is_empty() || self.frameworks.contains(&lower) {
            return None;
        }
        // The AI SDK appends the kind of model: `openai.embedding`.
        let stem = lower.rsplit_once('.').map_or("", |(stem, _)| stem);
        let known = self.providers.get(&lower).or_else(|| self.providers.get(stem));
        Some(known.cloned().unwrap_or(lower))
    }
}

/// A fact that the current conventions have an attribute for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of `ItemFacts`")]
pub enum Fact {
    Session,
    Operation,
    Provider,
    RequestModel,
    ResponseModel,
    ResponseId,
    Tool,
    ToolCall,
    Finish,
    Input,
    Output,
    CacheRead,
    CacheWrite,
    Reasoning,
}

impl Fact {
    /// All variants.
    pub const ALL: [Self; 14] = [
        Self::Session,
        Self::Operation,
        Self::Provider,
        Self::RequestModel,
        Self::ResponseModel,
        Self::ResponseId,
        Self::Tool,
        Self::ToolCall,
        Self::Finish,
        Self::Input,
        Self::Output,
        Self::CacheRead,
        Self::CacheWrite,
        Self::Reasoning,
    ];
}

fn slot_keys(slots: &HashMap<String, Slot>) -> Vec<Box<str>> {
    let mut keys: Vec<(Slot, &String)> = slots.iter().map(|(key, slot)| (*slot, key)).collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, key)| key.as_str().into()).collect()
}

/// Attributes in which tollgate repeats the clients' ids.
const STAMPED_IDS: [&str; 2] = ["tollgate.run.id", "tollgate.run.turn"];

/// The plain keys of all identity lists, and the stamps that repeat their values. `resource:key` counts as a key;
/// `key#path` and `text:key` do not, because the attribute may hold something else.
fn identity_keys(data: &Data) -> HashSet<String> {
    let ids = keys_of(data, |fields| [&fields.session, &fields.run, &fields.sub_agent, &fields.turn, &fields.tenant]);
    ids.chain(STAMPED_IDS.map(str::to_owned)).chain(person_keys(data)).collect()
}

/// Keys of a user's id or name.
fn person_keys(data: &Data) -> HashSet<String> {
    keys_of(data, |fields| [&fields.user]).chain(data.keys.persons.iter().cloned()).collect()
}

/// The attribute keys from which `fields` are read in any dialect.
fn keys_of<const N: usize>(
    data: &Data,
    fields: impl Fn(&schema::Fields) -> [&List; N],
) -> impl Iterator<Item = String> {
    let all = std::iter::once(&data.identity).chain(data.dialects.iter().map(|dialect| &dialect.fields));
    all.flat_map(move |one| fields(one).map(Clone::clone))
        .flatten()
        .filter(|place| !place.contains('#') && !place.starts_with('@') && !place.starts_with("text:"))
        .map(|place| place.strip_prefix("resource:").map(str::to_owned).unwrap_or(place))
}

/// Collects keys while lists are compiled.
pub(super) struct Compiler<'d> {
    lists: &'d BTreeMap<String, List>,
    facts: PatternMap<KeyFact>,
    slots: HashMap<String, Slot>,
    sets: SetId,
    marks: u32,
    problem: Option<String>,
}

impl<'d> Compiler<'d> {
    fn new(lists: &'d BTreeMap<String, List>) -> Self {
        Self { lists, facts: PatternMap::default(), slots: HashMap::new(), sets: LAST, marks: 0, problem: None }
    }

    fn compile(mut self, data: &Data) -> Result<Vocabulary, VocabularyError> {
        self.roles(&data.keys);
        let identity_keys = identity_keys(data);
        for key in &identity_keys {
            self.facts.insert(key, KeyFact::Identity);
        }
        data.keys.sets().into_iter().for_each(|(set, lists)| self.content(set, lists));
        self.registry(&data.registry);
        let event_name = self.slot("event.name");
        let operation_name = self.slot("gen_ai.operation.name");
        let (span_name, log_body) = (self.slot("span.name"), self.slot("log.body"));
        let identity = Sources::compile(&mut self, &data.identity, None);
        let events = self.events(&data.events);
        let kinds = self.kinds(&data.types);
        let extract = data.extract.iter().map(|one| Extract {
            dialect: one.dialect.as_deref().map(intern),
            from: self.expand(&one.from).iter().map(|from| Source::compile(&mut self, from)).collect(),
            to: intern(&one.to),
            slot: self.slot(&one.to),
            kind: kinds.get(&one.to).copied(),
        });
        let extract = extract.collect();
        let named = &data.named_by;
        let named_by = (self.slot(&named.schema), self.slot(&named.template), self.slot(&named.message));
        let mut order: Vec<&schema::Dialect> = data.dialects.iter().collect();
        order.sort_by_key(|dialect| dialect.priority);
        let mut names = BTreeSet::new();
        let mut dialects = Vec::with_capacity(order.len());
        for dialect in order {
            if !names.insert(&dialect.name) {
                self.fail(format!("dialect {} is there twice", dialect.name));
            }
            dialects.push(self.dialect(dialect, &data.identity));
        }
        let guessed = dialects.iter().filter(|dialect| dialect.leaves_only);
        let guessed = guessed.flat_map(|dialect| &dialect.clauses).fold(0, |marks, clause| marks | clause.marks());
        let lower = |text: &String| text.to_lowercase();
        let chat_types = self.expand(&data.keys.chat_types).into_iter().map(String::into_boxed_str).collect();
        let announced = Announced::new(&data.keys.announce, &data.keys.people, &data.keys.machines);
        let announced = announced.map_err(|error| VocabularyError(format!("announce: {error}")))?;
        let wrapped = Wrapped::compile(&mut self, &data.dialects, &dialects);
        let caches = data.caches.system.iter().map(|key| self.slot(key)).collect();
        let caches = (caches, data.caches.is.iter().cloned().collect());
        if let Some(problem) = self.problem {
            return Err(VocabularyError(problem));
        }
        Ok(Vocabulary {
            slots: self.slots.len(),
            slot_keys: slot_keys(&self.slots),
            keys: Keys::new(self.facts, chat_types, announced),
            event_name,
            operation_name,
            span_name,
            log_body,
            dialects,
            described_marks: !guessed,
            events,
            identity,
            named_by,
            wrapped,
            caches,
            extract,
            providers: data.providers.iter().map(|(from, to)| (lower(from), to.clone())).collect(),
            frameworks: data.frameworks.iter().map(lower).collect(),
            operations: data.operations.iter().map(|(from, to)| (lower(from), to.clone())).collect(),
            known_operations: data.operations.values().cloned().collect(),
            media: data.media.iter().cloned().collect(),
            identity_keys,
            person_keys: person_keys(data),
            version: data.version.clone(),
        })
    }

    fn dialect(&mut self, data: &schema::Dialect, identity: &schema::Fields) -> Dialect {
        let set = self.new_set();
        self.content(set, &data.content.attributes);
        for key in self.expand(&data.labels) {
            self.facts.insert(&key, KeyFact::Label(set));
        }
        let (any, named) = match data.content.events.split_last() {
            Some((last, named)) if last.name == "*" => (Some(last), named),
            _ => (None, data.content.events.as_slice()),
        };
        Dialect {
            name: intern(&data.name),
            clauses: data.detect.iter().map(|clause| Clause::compile(self, clause)).collect(),
            event_prefix: data.event_prefix.clone(),
            calls: data.calls.iter().map(|rule| self.call(rule)).collect(),
            tool_items: self.names(&data.tool_items),
            leaves_only: data.leaves_only,
            inherit: data.inherit,
            inner: data.inner,
            default_provider: data.default_provider.clone(),
            sources: Sources::compile(self, &data.fields, Some(identity)),
            usage: UsageSources::compile(self, &data.usage),
            set,
            any_event: any.and_then(|event| self.events(std::slice::from_ref(event)).find("").next().copied()),
            events: self.events(named),
        }
    }

    fn call(&mut self, rule: &schema::CallRule) -> CallRule {
        CallRule {
            is: rule.is,
            span: self.names(&rule.span),
            log: self.names(&rule.log),
            operation: self.names(&rule.operation),
            equals: self.equals(&rule.equals),
            usage: rule.usage,
            root: rule.root,
            turn: rule.turn,
            twin: rule.twin,
            alone: rule.alone,
            if_no_span: rule.if_no_span,
            failed: rule.failed,
            decision: rule.decision.clone(),
            bill_unless: rule.bill_unless.as_deref().map(|key| self.slot(key)),
        }
    }

    fn roles(&mut self, keys: &schema::Keys) {
        let lists = [
            (&keys.secret, Role::Secret),
            (&keys.pii, Role::Pii),
            (&keys.error_text, Role::ErrorText),
            (&keys.redact, Role::Redact),
            (&keys.label, Role::Label),
        ];
        for (list, role) in lists {
            for key in self.expand(list) {
                self.facts.insert(&key, KeyFact::Role(role, weight(&key)));
            }
        }
    }

    /// Adds the labels of the semantic conventions, except keys that hold content here.
    fn registry(&mut self, registry: &BTreeMap<String, schema::Shape>) {
        for (key, shape) in registry {
            let content = self.facts.find(key).any(|fact| matches!(fact, KeyFact::Content(GLOBAL, ..)));
            if !content {
                self.facts.insert(key, KeyFact::Role(Role::Label, weight(key)));
                if shape.is_strict() {
                    self.facts.insert(key, KeyFact::Strict);
                }
            }
        }
    }

    fn kinds(&mut self, types: &BTreeMap<Kind, List>) -> HashMap<String, Kind> {
        let mut kinds = HashMap::new();
        for (kind, list) in types {
            for key in self.expand(list) {
                self.facts.insert(&key, KeyFact::Kind(*kind));
                kinds.insert(key, *kind);
            }
        }
        kinds
    }

    fn content(&mut self, set: SetId, lists: &BTreeMap<schema::PartName, List>) {
        for (part, list) in lists {
            for key in self.expand(list) {
                self.facts.insert(&key, KeyFact::Content(set, (*part).into(), weight(&key)));
            }
        }
    }

    fn events(&mut self, list: &[schema::Event]) -> PatternMap<EventRule> {
        let mut out = PatternMap::default();
        for event in list {
            let part = event.part.into();
            let set = event.attributes.as_ref().map(|keys| {
                let set = self.new_set();
                for key in self.expand(keys) {
                    self.facts.insert(&key, KeyFact::Content(set, part, weight(&key)));
                }
                set
            });
            out.insert(&event.name, EventRule { part, set, body: event.body });
        }
        out
    }

    /// The patterns of a list, with `@lists` inserted.
    pub(super) fn names(&mut self, list: &[String]) -> Names {
        Names::new(&self.expand(list))
    }

    pub(super) fn equals(&mut self, pairs: &BTreeMap<String, List>) -> Vec<(Slot, Vec<String>)> {
        pairs.iter().map(|(key, values)| (self.slot(key), self.expand(values))).collect()
    }

    /// A marker bit that is set by any key of the list.
    pub(super) fn mark(&mut self, list: &[String]) -> u128 {
        if list.is_empty() {
            return 0;
        }
        let bit = self.marks;
        self.marks += 1;
        let Some(mark) = 1_u128.checked_shl(bit) else {
            self.fail("more than 128 lists of marker attributes".to_owned());
            return 0;
        };
        for key in self.expand(list) {
            self.facts.insert(&key, KeyFact::Mark(bit, weight(&key)));
        }
        mark
    }

    /// The slot of a literal key.
    pub(super) fn slot(&mut self, key: &str) -> Slot {
        if let Some(slot) = self.slots.get(key) {
            return *slot;
        }
        let slot = Slot::try_from(self.slots.len()).unwrap_or_else(|_| {
            self.fail("more than 65536 keys are read".to_owned());
            0
        });
        self.slots.insert(key.to_owned(), slot);
        self.facts.insert(key, KeyFact::Slot(slot));
        slot
    }

    fn new_set(&mut self) -> SetId {
        self.sets = self.sets.checked_add(1).unwrap_or_else(|| {
            self.fail("more than 65535 content lists".to_owned());
            GLOBAL
        });
        self.sets
    }

    pub(super) fn expand(&mut self, list: &[String]) -> Vec<String> {
        let mut out = Vec::with_capacity(list.len());
        for entry in list {
            match entry.strip_prefix('@') {
                None => out.push(entry.clone()),
                Some(name) => match self.lists.get(name) {
                    Some(shared) => out.extend(shared.iter().cloned()),
                    // Scope names may begin with `@`.
                    None if name.contains('/') => out.push(entry.clone()),
                    None => self.fail(format!("list @{name} is not there")),
                },
            }
        }
        out
    }

    fn fail(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }
}

/// Interns a dialect name for the life of the program: there are only a few dozen, and all facts carry them.
fn intern(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock();
    if let Some(known) = names.get(name) {
        return known;
    }
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(name);
    name
}
