//! [`Vocabulary`] is `config/dialects.yaml` in compiled form: keys mapped to classes and slots, dialects by priority.
//! The built-in vocabulary is read from a JSON copy, which takes a twentieth of the time; a test keeps both in step.
//!
//! A list too long for its index is an error at load.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashSet};

use otlp::{JudgeId, PairVerdicts, Value};

use super::announcements::AnnouncementFinder;
use super::attribute_types::AttributeType;
use super::chat_evidence::ChatShapes;
use super::claims::{OwnerKey, VERIFIED_IDS, claimed_source};
use super::closed_items::ClosedItemPolicy;
use super::detect::DetectionClause;
use super::facts::{BillingBasis, ContentPart, TokenBucket};
use super::key_shapes::KeyShape;
use super::keys::{
    GLOBAL, KeyClass, KeyClassifier, KeyFact, KeyRole, KeySetId, LAST_BUILTIN_SET, PatternWeight, SlotIndex,
};
use super::pattern::{NamePatterns, PatternMap, pattern_weight};
use super::provider_names::ProviderNames;
use super::schema::{self, DialectsFile, NameList};
use super::sources::{FactSourceLists, SourceList, Sources, UsageSources, compile_list};
use super::statements::StatementLists;
use super::usage_words::{UsageKey, UsageWords};
use super::wrapped_lines::WrappedLineFinder;

pub(super) static BUILTIN: &str = include_str!("../../../config/dialects.json");

/// The error of an invalid vocabulary: a message for the user.
#[derive(Debug)]
pub struct VocabularyError(pub String);

/// The compiled dialects. Immutable, so it can be shared.
pub struct Vocabulary {
    pub(super) keys: KeyClassifier,
    pub(super) slots: usize,
    pub(super) event_name: SlotIndex,
    pub(super) operation_name: SlotIndex,
    pub(super) verified_ids: SlotIndex,
    pub(super) span_name: SlotIndex,
    pub(super) log_body: SlotIndex,
    pub(super) dialects: Vec<Dialect>,
    /// All marker bits except those of generic (undescribed) dialects.
    pub(super) described_marks: u128,
    pub(super) events: PatternMap<EventRule>,
    pub(super) identity: Sources,
    /// Attributes that list other attributes as content: a JSON schema, a message template, the filled-in template.
    pub(super) caller_key_slots: (SlotIndex, SlotIndex, SlotIndex),
    pub(super) wrapped: WrappedLineFinder,
    pub(super) statements: StatementLists,
    /// Attributes that name the system that an item talks to.
    pub(super) statement_systems: Vec<SlotIndex>,
    /// Facts inside content, and the attributes they are written to.
    pub(super) extract: Vec<ExtractRule>,
    /// The expected output and the actual one.
    pub(super) outputs: [SourceList; 2],
    providers: ProviderNames,
    /// Current name of a provider -> of the one that its calls are counted like. See [`Vocabulary::with_sellers`].
    sellers: BTreeMap<String, String>,
    /// Which items are an agent's, and what stays of them.
    pub(super) policy: ClosedItemPolicy,
    /// Attributes of agents' resources, with their values.
    pub(super) agent_resources: Vec<(SlotIndex, NamePatterns)>,
    pub(super) operations: HashMap<String, String>,
    /// Current operation names.
    pub(super) known_operations: HashSet<String>,
    /// Operations sold by image, second or page.
    pub(super) media: HashSet<String>,
    /// How calls with a kind of credential are billed.
    pub(super) billing: HashMap<String, BillingBasis>,
    /// The key of each slot.
    slot_keys: Vec<Box<str>>,
    /// Attribute keys that name sessions.
    session_keys: Vec<String>,
    /// Attribute keys that name sessions, turns, users and tenants.
    identity_keys: HashSet<String>,
    person_keys: HashSet<String>,
    /// Attribute keys from which users and tenants are read.
    owner_keys: HashMap<String, OwnerKey>,
    /// Verdicts about attributes that occur again, shared by all workers.
    pub pair_verdicts: PairVerdicts,
    /// Gives the verdict that a pair holds no content under some rules.
    pub(super) judge: JudgeId,
}

/// One compiled dialect.
pub(super) struct Dialect {
    pub(super) name: &'static str,
    /// The definition. What the fields below compile was taken out of it.
    pub(super) data: schema::DialectDefinition,
    pub(super) clauses: Vec<DetectionClause>,
    pub(super) calls: Vec<CallRule>,
    pub(super) sources: Sources,
    pub(super) usage: UsageSources,
    pub(super) set: KeySetId,
    pub(super) events: PatternMap<EventRule>,
    /// The rule for events without a rule of their own, nameless ones included.
    pub(super) any_event: Option<EventRule>,
}

/// A span event or log event that carries content.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct EventRule {
    pub(super) part: ContentPart,
    /// The content attributes. `None`: all attributes.
    pub(super) set: Option<KeySetId>,
    pub(super) body: bool,
}

/// A compiled [`schema::ExtractDefinition`].
pub(super) struct ExtractRule {
    pub(super) dialect: Option<&'static str>,
    pub(super) from: SourceList,
    pub(super) to: &'static str,
    /// The slot of the target attribute, and its type in the conventions.
    pub(super) slot: SlotIndex,
    pub(super) kind: Option<AttributeType>,
    pub(super) divide: Option<f64>,
}

/// A compiled [`schema::CallRuleDefinition`].
pub(super) struct CallRule {
    pub(super) data: schema::CallRuleDefinition,
    pub(super) log: NamePatterns,
    pub(super) equals: Vec<(SlotIndex, Vec<String>)>,
    pub(super) bill_unless: Option<SlotIndex>,
}

impl Vocabulary {
    /// Returns true if a dialect prefixes its event names with this text.
    pub(super) fn is_event_prefix(&self, text: &str) -> bool {
        !text.is_empty() && self.dialects.iter().any(|dialect| dialect.data.event_prefix == text)
    }

    /// Loads the built-in dialects.
    ///
    /// # Errors
    /// Never for a released program: a test loads them.
    pub fn builtin() -> Result<Self, VocabularyError> {
        Self::parse(BUILTIN)
    }

    /// Reads dialects as JSON.
    pub(super) fn parse(text: &'static str) -> Result<Self, VocabularyError> {
        let data: DialectsFile = serde_json::from_str(text).map_err(|error| VocabularyError(error.to_string()))?;
        VocabularyCompiler { sets: LAST_BUILTIN_SET, ..VocabularyCompiler::default() }.compile(data)
    }

    /// The role of an attribute key in every dialect.
    pub fn role(&self, key: &str) -> KeyRole {
        self.keys.classify(key).role
    }

    /// The part of a conversation held under a key that is listed as content in every dialect.
    pub fn content_part(&self, key: &str) -> Option<ContentPart> {
        self.keys.classify(key).listed_content(GLOBAL).filter(|listed| !listed.is_label_key).map(|listed| listed.part)
    }

    /// Returns true if the value at a slot is a tool's output on an item of a tool.
    pub(super) fn is_tool_error(&self, slot: SlotIndex, value: Value<'_>) -> bool {
        let key = self.slot_keys.get(slot as usize);
        key.is_some_and(|key| self.keys.classify(key).tool_error_part(value).is_some())
    }

    /// Returns true if the key names a session, turn, user or tenant in any dialect: its value is an id, never free
    /// text.
    pub fn is_identity(&self, key: &str) -> bool {
        self.identity_keys.contains(key)
    }

    /// The attribute keys that name a session in any dialect, of items and of resources.
    pub fn session_keys(&self) -> Vec<String> {
        self.session_keys.clone()
    }

    /// Returns true if the key holds a user's id or name.
    pub fn is_person(&self, key: &str) -> bool {
        self.person_keys.contains(key)
    }

    /// Whose id an attribute under this key holds in any dialect; `None`: neither a user's nor a tenant's.
    pub fn owner_key(&self, key: &str) -> Option<OwnerKey> {
        self.owner_keys.get(key).copied()
    }

    /// All keys of users and tenants.
    pub fn owner_keys(&self) -> impl Iterator<Item = (&str, OwnerKey)> {
        self.owner_keys.iter().map(|(key, kind)| (key.as_str(), *kind))
    }

    /// The plain attribute keys from which a dialect reads a fact or a count of tokens, by the name of its list in the
    /// file. Sources inside content and on resources are left out.
    pub fn original_keys(&self, dialect: &str, name: &str) -> Vec<&str> {
        let dialect = self.dialects.iter().find(|known| known.name == dialect);
        let sources = dialect.and_then(|dialect| {
            let counts = || Some(dialect.usage.list(TokenBucket::parse(name)?, false));
            dialect.sources.list(name).or_else(counts)
        });
        let plain = sources.into_iter().flatten().filter(|source| source.is_plain());
        plain.filter_map(|source| self.slot_keys.get(source.slot as usize).map(|key| &**key)).collect()
    }

    /// The fact that a key counts by its words, by the name of its list in the file.
    pub fn counted_fact(&self, key: &str) -> Option<&'static str> {
        let Some(UsageKey::Tokens { bucket, bare: false }) = self.keys.classify(key).usage else { return None };
        Some(bucket.as_str())
    }

    /// Returns true for a generic dialect: its emitter is not described, and only structure distinguishes calls from
    /// roll-ups.
    pub fn is_generic_dialect(&self, dialect: &str) -> bool {
        self.dialects.iter().any(|known| known.data.leaves_only && known.name == dialect)
    }

    /// Names of the dialects, in order of priority.
    pub fn dialects(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.dialects.iter().map(|dialect| dialect.name)
    }

    /// The current name of a provider as sent. `None` if it names a framework. Unknown names are returned in lower
    /// case.
    pub fn current_provider_name(&self, sent: &str) -> Option<String> {
        self.providers.current_name(sent)
    }

    /// Reads the token counts of each configured provider as those of the provider that it is mapped to.
    #[must_use]
    pub fn with_sellers<'c>(mut self, configured: impl Iterator<Item = (&'c String, &'c String)>) -> Self {
        let current = |name: &String| self.current_provider_name(name).unwrap_or_else(|| name.clone());
        self.sellers = configured.map(|(sent, seller)| (current(sent), current(seller))).collect();
        self
    }

    /// Reads payloads with this policy for agents' items.
    #[must_use]
    pub fn with_policy(mut self, policy: ClosedItemPolicy) -> Self {
        self.keys.set_named_keys(&policy.keep, &policy.never);
        self.judge = JudgeId::unique();
        self.policy = policy;
        self
    }

    /// The policy for agents' items.
    pub fn closed_items(&self) -> &ClosedItemPolicy {
        &self.policy
    }

    /// The provider that decides what the token counts of `provider`'s calls include.
    pub(super) fn seller<'n>(&'n self, provider: &'n str) -> &'n str {
        self.sellers.get(provider).map_or(provider, String::as_str)
    }
}

fn slot_keys(slots: &HashMap<String, SlotIndex>) -> Vec<Box<str>> {
    let mut keys: Vec<(SlotIndex, &String)> = slots.iter().map(|(key, slot)| (*slot, key)).collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, key)| key.as_str().into()).collect()
}

/// Attributes in which tollgate repeats the clients' ids.
const STAMPED_IDS: [&str; 4] =
    ["tollgate.run.id", "tollgate.run.turn", "tollgate.session.continues", "tollgate.budget.key"];

/// The plain keys of all identity lists, and the stamps that repeat their values. `resource:key` counts as a key;
/// `key#path` and `text:key` do not, because the attribute may hold something else.
fn identity_keys(data: &DialectsFile) -> HashSet<String> {
    let ids = fact_source_keys(data, |fields| {
        [&fields.session, &fields.run, &fields.sub_agent, &fields.turn, &fields.tenant]
    });
    let claimed = fact_source_keys(data, |fields| [&fields.tenant]).map(|key| claimed_source(&key));
    ids.chain(claimed).chain(STAMPED_IDS.map(str::to_owned)).chain(person_keys(data)).collect()
}

/// Keys of a user's id or name.
fn person_keys(data: &DialectsFile) -> HashSet<String> {
    fact_source_keys(data, |fields| [&fields.user, &fields.claimed_user])
        .chain(data.keys.persons.iter().cloned())
        .collect()
}

/// Whose id each key of a user or tenant holds.
fn owner_keys(data: &DialectsFile) -> HashMap<String, OwnerKey> {
    let tenants = fact_source_keys(data, |fields| [&fields.tenant]).map(|key| (key, OwnerKey::Tenant));
    let users = fact_source_keys(data, |fields| [&fields.user]).map(|key| (key, OwnerKey::User));
    tenants.chain(users).collect()
}

/// The attribute keys from which `fields` are read in any dialect.
fn fact_source_keys<const N: usize>(
    data: &DialectsFile,
    fields: impl Fn(&FactSourceLists) -> [&NameList; N],
) -> impl Iterator<Item = String> {
    let lists = std::iter::once(&data.identity).chain(data.dialects.iter().map(|dialect| &dialect.fields));
    lists
        .flat_map(move |list| fields(list).map(Clone::clone))
        .flatten()
        .filter(|source| !source.contains('#') && !source.starts_with("text:"))
        .map(|source| source.strip_prefix("resource:").map(str::to_owned).unwrap_or(source))
}

/// Collects keys while lists are compiled.
#[derive(Default)]
pub(super) struct VocabularyCompiler {
    facts: PatternMap<KeyFact>,
    slots: HashMap<String, SlotIndex>,
    /// The highest id of a list so far.
    sets: KeySetId,
    /// The number of marker bits so far.
    marks: u32,
    /// The first problem.
    problem: Option<String>,
}

impl VocabularyCompiler {
    fn compile(mut self, mut data: DialectsFile) -> Result<Vocabulary, VocabularyError> {
        let owner_keys = self.add_claims(&mut data);
        for (role, list) in &data.keys.roles {
            self.add_keys(list, |weight| KeyFact::Role(*role, weight));
        }
        let session_keys: BTreeSet<String> = fact_source_keys(&data, |fields| [&fields.session]).collect();
        let (identity_keys, person_keys) = (identity_keys(&data), person_keys(&data));
        identity_keys.iter().for_each(|key| self.facts.insert(key, KeyFact::Identity));
        data.keys.sets().into_iter().for_each(|(set, lists)| self.add_content_lists(set, lists));
        self.add_registry(&data.registry);
        let event_name = self.slot_for_key("event.name");
        let operation_name = self.slot_for_key("gen_ai.operation.name");
        let verified_ids = self.slot_for_key(VERIFIED_IDS);
        let (span_name, log_body) = (self.slot_for_key("span.name"), self.slot_for_key("log.body"));
        let identity = Sources::compile(&mut self, &data.identity, None);
        let events = self.compile_events(&data.events);
        for (kind, list) in &data.types {
            self.add_keys(list, |_| KeyFact::Kind(*kind));
        }
        let extract = data.extract.iter().map(|rule| ExtractRule {
            dialect: rule.dialect,
            from: compile_list(&mut self, &rule.from),
            to: rule.to,
            slot: self.slot_for_key(rule.to),
            kind: KeyClass::from_facts(self.facts.find(rule.to)).kind,
            divide: rule.divide,
        });
        let extract = extract.collect();
        let outputs = [&data.outputs.expected, &data.outputs.actual].map(|list| compile_list(&mut self, list));
        let named = &data.caller_supplied_keys;
        let caller_key_slots =
            (self.slot_for_key(&named.schema), self.slot_for_key(&named.template), self.slot_for_key(&named.message));
        let dialects = data.dialects.into_iter();
        let dialects: Vec<Dialect> = dialects.map(|dialect| self.compile_dialect(dialect, &data.identity)).collect();
        let generic = dialects.iter().filter(|dialect| dialect.data.leaves_only);
        let generic_marks =
            generic.flat_map(|dialect| &dialect.clauses).fold(0, |marks, clause| marks | clause.marks());
        let keys = &data.keys;
        let shapes = keys.chat_shapes.iter().map(|shape| (shape, false));
        let shapes = shapes.chain(keys.speaker_shapes.iter().map(|shape| (shape, true)));
        let chat_shapes = ChatShapes::new(&keys.chat_types, &keys.pair_speakers, shapes);
        let speakers = [&keys.human_speakers, &keys.machine_speakers, &keys.thought_speakers, &keys.action_speakers];
        let announced = AnnouncementFinder::new(&keys.quote_introductions, speakers.map(Vec::as_slice));
        let announced = announced.map_err(|error| VocabularyError(format!("announce: {error}")))?;
        let agent_resources = data.agent_resources.iter();
        let agent_resources = agent_resources.map(|(key, names)| (self.slot_for_key(key), names.clone())).collect();
        let statement_systems = data.statements.system.iter().map(|key| self.slot_for_key(key)).collect();
        if let Some(problem) = self.problem {
            return Err(VocabularyError(problem));
        }
        Ok(Vocabulary {
            slots: self.slots.len(),
            slot_keys: slot_keys(&self.slots),
            keys: KeyClassifier::new(
                self.facts,
                UsageWords::new(&data.usage_words),
                data.keys.private_words,
                chat_shapes,
                announced,
            ),
            event_name,
            operation_name,
            verified_ids,
            span_name,
            log_body,
            wrapped: WrappedLineFinder::compile(&dialects),
            dialects,
            described_marks: !generic_marks,
            events,
            identity,
            caller_key_slots,
            statements: data.statements,
            statement_systems,
            extract,
            outputs,
            providers: ProviderNames::compile(&data.providers),
            sellers: BTreeMap::new(),
            policy: ClosedItemPolicy::default(),
            agent_resources,
            operations: data.operations.iter().map(|(from, to)| (from.to_lowercase(), to.clone())).collect(),
            known_operations: data.operations.values().cloned().collect(),
            media: data.media.into_iter().collect(),
            billing: data.billing.into_iter().collect(),
            session_keys: session_keys.into_iter().collect(),
            identity_keys,
            person_keys,
            owner_keys,
            pair_verdicts: PairVerdicts::default(),
            judge: JudgeId::unique(),
        })
    }

    /// Adds the keys to which clients' claims move; returns all keys of users and tenants.
    fn add_claims(&mut self, data: &mut DialectsFile) -> HashMap<String, OwnerKey> {
        let dialect_fields = data.dialects.iter_mut().map(|dialect| &mut dialect.fields);
        std::iter::once(&mut data.identity).chain(dialect_fields).for_each(FactSourceLists::add_claims);
        let owner_keys = owner_keys(data);
        // A tenant's name stays readable on an agent's item wherever it stands.
        let claimed_tenants = owner_keys.iter().filter(|(_, kind)| **kind == OwnerKey::Tenant);
        let claimed_tenants: Vec<String> = claimed_tenants.map(|(key, _)| claimed_source(key)).collect();
        self.add_keys(&claimed_tenants, |weight| KeyFact::Role(KeyRole::Label, weight));
        owner_keys
    }

    fn compile_dialect(&mut self, mut data: schema::DialectDefinition, identity: &FactSourceLists) -> Dialect {
        let set = self.new_set();
        self.add_content_lists(set, &data.content.attributes);
        self.add_keys(&data.labels, |_| KeyFact::Label(set));
        let (any_event, named) = match data.content.events.split_last() {
            Some((last, named)) if last.name == "*" => (Some(last), named),
            _ => (None, data.content.events.as_slice()),
        };
        Dialect {
            name: data.name,
            clauses: std::mem::take(&mut data.detect)
                .into_iter()
                .map(|clause| DetectionClause::compile(self, clause))
                .collect(),
            calls: std::mem::take(&mut data.calls).into_iter().map(|rule| self.compile_call_rule(rule)).collect(),
            sources: Sources::compile(self, &data.fields, Some(identity)),
            usage: UsageSources::compile(self, std::mem::take(&mut data.usage)),
            set,
            any_event: any_event
                .and_then(|event| self.compile_events(std::slice::from_ref(event)).find("").next().copied()),
            events: self.compile_events(named),
            data,
        }
    }

    fn compile_call_rule(&mut self, data: schema::CallRuleDefinition) -> CallRule {
        CallRule {
            log: NamePatterns::new(&data.log),
            equals: self.compile_equals(&data.equals),
            bill_unless: data.bill_unless.as_deref().map(|key| self.slot_for_key(key)),
            data,
        }
    }

    /// Adds a fact about each key of a list.
    fn add_keys(&mut self, list: &[String], fact: impl Fn(PatternWeight) -> KeyFact) {
        for key in list {
            self.facts.insert(key, fact(pattern_weight(key)));
        }
    }

    /// Adds the labels of the semantic conventions, except keys that hold content here.
    fn add_registry(&mut self, registry: &BTreeMap<String, KeyShape>) {
        for (key, shape) in registry {
            let is_content = self.facts.find(key).any(|fact| matches!(fact, KeyFact::Content(GLOBAL, ..)));
            if !is_content {
                self.facts.insert(key, KeyFact::Role(KeyRole::Label, pattern_weight(key)));
                self.facts.insert(key, KeyFact::Shape(shape.clone()));
            }
        }
    }

    fn add_content_lists(&mut self, set: KeySetId, lists: &BTreeMap<ContentPart, NameList>) {
        for (part, list) in lists {
            self.add_keys(list, |weight| KeyFact::Content(set, *part, weight));
        }
    }

    fn compile_events(&mut self, list: &[schema::EventDefinition]) -> PatternMap<EventRule> {
        let mut out = PatternMap::default();
        for event in list {
            let set = event.attributes.as_ref().map(|keys| {
                let set = self.new_set();
                self.add_keys(keys, |weight| KeyFact::Content(set, event.part, weight));
                set
            });
            out.insert(&event.name, EventRule { part: event.part, set, body: event.body });
        }
        out
    }

    pub(super) fn compile_equals(&mut self, pairs: &BTreeMap<String, NameList>) -> Vec<(SlotIndex, Vec<String>)> {
        pairs.iter().map(|(key, values)| (self.slot_for_key(key), values.clone())).collect()
    }

    /// A marker bit that is set by any key of the list.
    pub(super) fn allocate_mark(&mut self, list: &[String]) -> u128 {
        if list.is_empty() {
            return 0;
        }
        let bit = self.marks;
        self.marks += 1;
        let Some(mark) = 1_u128.checked_shl(bit) else {
            self.record_problem(
                "more than 128 lists of marker attributes; remove some `has` or `lacks` lists".to_owned(),
            );
            return 0;
        };
        self.add_keys(list, |weight| KeyFact::Mark(bit, weight));
        mark
    }

    /// The slot of a literal key.
    pub(super) fn slot_for_key(&mut self, key: &str) -> SlotIndex {
        if let Some(slot) = self.slots.get(key) {
            return *slot;
        }
        let slot = SlotIndex::try_from(self.slots.len()).unwrap_or_else(|_| {
            self.record_problem("the dialects read more than 65536 keys; remove some".to_owned());
            0
        });
        self.slots.insert(key.to_owned(), slot);
        self.facts.insert(key, KeyFact::Slot(slot));
        slot
    }

    fn new_set(&mut self) -> KeySetId {
        self.sets = self.sets.checked_add(1).unwrap_or_else(|| {
            self.record_problem("more than 65535 content lists; remove some".to_owned());
            GLOBAL
        });
        self.sets
    }

    pub(super) fn record_problem(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }
}
