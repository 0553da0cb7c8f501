//! Finds the places that hold content: listed keys and events on any item, and unlisted text on an agent's items
//! (`docs/decisions/0001-agent-items-and-content.md`).
//!
//! Every occurrence of a key is a place of its own. Text that stays and is left to redaction (queries, URLs, ids,
//! credentials, span names) is not a place. Error texts and status messages stay without their quotations
//! (`error_texts`). On an agent's item of a tool, however, they are the tool's output and therefore content.
//!
//! The first matching rule decides for an attribute: a key that is prose, credential, error text, the event's own list,
//! the dialect's list, text that is always kept for redaction, the lists for all items, personal id or metadata, the
//! event's part, the guesses for agent items, the value's shape.

use std::cell::Cell;
use std::collections::BTreeMap;

use otlp::{AttrId, NodeId, NodeKind, Payload, TextField, Value, VerdictBit};

use super::address;
use super::caller_supplied::CallerSuppliedKeys;
use super::chat_evidence;
use super::closed_items::{StatementPolicy, UnlistedTextPolicy};
use super::facts::{
    ContentBasis, ContentLocation, ContentPart, ContentPlace, EmbeddedContentEdit, EmbeddedContentPart, ItemFacts,
};
use super::item_reader::{ItemAttribute, ItemReader};
use super::key_shapes::{self, KeyShape};
use super::keys::{
    ADDRESSES, AGENT, BESIDE_ROLE, CHAT, GENERIC, GLOBAL, KeyClass, KeyClassCache, KeyRole, KeySetId, ListedKey,
    STATEMENTS,
};
use super::label_shape;
use super::nested_content::{self, RemovedContent, SearchOutcome, SearchScope};
use super::statements::{self, StatementSystem};
use super::structured_text::ChatEvidence;
use super::vocabulary::{Dialect, EventRule, Vocabulary};
use super::words;

/// Finds the content of the nodes of one payload.
pub(super) struct ContentFinder<'v, 'p> {
    vocabulary: &'v Vocabulary,
    payload: &'p Payload,
    unlisted: UnlistedTextPolicy,
    /// The rules of the last node, with the verdict that a pair holds no content under them.
    harmless_under: Cell<Option<(AttributeRules, Option<VerdictBit>)>>,
}

/// Maximum size of a text under a key of `keep`, bytes.
const MAX_KEPT_BYTES: usize = 256;
/// Key suffixes in vault documents for the full address and the full statement.
const ADDRESS_SUFFIX: &str = "address";
const STATEMENT_SUFFIX: &str = "statement";

/// An attribute, and the class of its key.
#[derive(Clone, Copy)]
struct ClassifiedAttribute<'c, 'p> {
    node: NodeId,
    id: AttrId,
    class: &'c KeyClass,
    value: Value<'p>,
    /// The classification to use if no rule applies.
    fallback: Option<(ContentPart, ContentBasis)>,
}

/// The rules that apply to the attributes of one node.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct AttributeRules {
    closed: bool,
    /// The item belongs to an agent's tool: its error text is the tool's output.
    tool: bool,
    /// The system whose statements keep only their form. `None`: statements stay as they are.
    statement: Option<StatementSystem>,
    unlisted: UnlistedTextPolicy,
    dialect: Option<KeySetId>,
    event: Option<EventRule>,
    /// Evidence of a model call or chat from the node's keys.
    evidence: ChatEvidence,
}

impl<'v, 'p> ContentFinder<'v, 'p> {
    pub(super) fn new(vocabulary: &'v Vocabulary, payload: &'p Payload) -> Self {
        payload.find_pairs(&vocabulary.pair_verdicts);
        Self { vocabulary, payload, unlisted: vocabulary.policy.unlisted, harmless_under: Cell::new(None) }
    }

    /// Adds content and error texts of the reader's current item to its facts `out`: attributes (already read), body,
    /// events and links.
    pub(super) fn find_in_item(
        &self,
        reader: &mut ItemReader<'v, 'p>,
        dialect: Option<&Dialect>,
        tool: bool,
        out: &mut ItemFacts,
    ) {
        let (node, closed) = (out.node, out.closed);
        let log = (reader.kind == NodeKind::LogRecord).then_some((reader.event_name, reader.body));
        let event = log.and_then(|(name, _)| self.event_rule(name, dialect));
        let is_ambiguous = |attr: &ItemAttribute<'p>| needs_evidence(reader.memo.class(attr.code), closed);
        let evidence = match reader.attrs.iter().any(is_ambiguous) {
            true => self.collect_evidence(&mut reader.memo, node, closed),
            false => ChatEvidence { model_call: closed, ..ChatEvidence::default() },
        };
        let set = dialect.map(|dialect| dialect.set);
        let systems = self.vocabulary.statement_systems.iter();
        let statement = self.statement_rule(closed, systems.filter_map(|slot| reader.value(*slot)?.as_str()));
        let rules = AttributeRules { closed, tool, statement, unlisted: self.unlisted, dialect: set, event, evidence };
        let supplied_keys = if closed { reader.caller_supplied_keys() } else { CallerSuppliedKeys::default() };
        if let Some(name) = reader.span_name_template().filter(|_| closed) {
            out.embedded.get_or_insert_default().name = Some(name.to_owned());
            out.add_content(node, ContentLocation::Name, Some((ContentPart::Other, ContentBasis::Listed)));
        }
        self.find_in_name(node, rules, out);
        let status = ContentLocation::Status.value(self.payload, node).unwrap_or(Value::Empty);
        if !tool {
            self.find_embedded((node, ContentLocation::Status), status, true, rules, out);
        } else if !label_shape::is_empty_value(status) {
            out.tool_failed = true;
            out.add_content(node, ContentLocation::Status, Some((ContentPart::ToolResult, ContentBasis::Listed)));
        }
        for attr in &reader.attrs {
            let class = reader.memo.class(attr.code);
            let fallback = self.classify_caller_supplied(class, attr, &supplied_keys);
            let attribute = ClassifiedAttribute { node, id: attr.id, class, value: attr.value, fallback };
            self.find_in_attribute(&attribute, rules, out);
        }
        if let Some(body) = log.and_then(|(_, body)| body) {
            // A body counts as the event's name only if the record also names the event elsewhere, or a list knows the
            // name.
            let is_name = reader.has_event_name || self.known_event_rule(reader.event_name, dialect).is_some();
            let name = if is_name { reader.event_name } else { "" };
            match classify_body(name, body, rules, |stem| self.vocabulary.is_event_prefix(stem)) {
                None => {
                    let at = (node, ContentLocation::Body);
                    self.find_embedded(at, body, false, rules, out);
                }
                found => out.add_content(node, ContentLocation::Body, found),
            }
        }
        let memo = &mut reader.memo;
        for child in self.payload.children(node) {
            let event = match self.payload.kind(child) {
                NodeKind::Event => self.event_rule(self.payload.text(child, TextField::Name), dialect),
                NodeKind::Link | NodeKind::Exemplar => None,
                _ => continue,
            };
            if self.payload.kind(child) == NodeKind::Event {
                self.find_in_name(child, rules, out);
            }
            let own = self.collect_evidence(memo, child, closed);
            let evidence = ChatEvidence { model_call: rules.evidence.model_call || own.model_call, ..own };
            self.find_in_attributes(memo, child, AttributeRules { event, evidence, ..rules }, out);
        }
    }

    /// The system with these names, if its statements keep only their form.
    fn statement_rule<'n>(&self, closed: bool, systems: impl Iterator<Item = &'n str>) -> Option<StatementSystem> {
        let applies = self.vocabulary.policy.statements == StatementPolicy::Parsed
            || (closed && self.unlisted != UnlistedTextPolicy::Keep);
        applies.then(|| self.vocabulary.statements.classify_system(systems))
    }

    /// A value whose key another attribute lists as caller-supplied, if nothing else is known of the key.
    fn classify_caller_supplied(
        &self,
        class: &KeyClass,
        attr: &ItemAttribute<'p>,
        supplied_keys: &CallerSuppliedKeys,
    ) -> Option<(ContentPart, ContentBasis)> {
        let is_number = matches!(attr.value, Value::Int(_) | Value::Double(_));
        let is_candidate = !supplied_keys.is_empty()
            && class.is_unknown()
            && (is_number || attr.value.as_str().is_some())
            && !label_shape::is_empty_value(attr.value);
        let key = is_candidate.then(|| self.payload.attribute(attr.id))??.key;
        let is_supplied = supplied_keys.get(key).is_some_and(|is_any_kind| *is_any_kind || !is_number);
        is_supplied.then_some((ContentPart::Other, ContentBasis::Guessed))
    }

    /// Finds the content of resources and scopes, and adds it to the items that own them.
    pub(super) fn find_in_shared_nodes(
        &self,
        reader: &mut ItemReader<'v, 'p>,
        shared: SharedNodes,
        items: &mut [ItemFacts],
    ) {
        for (node, SharedNode { owner, closed, .. }) in shared.0.into_iter().rev() {
            let Some(item) = items.get_mut(owner) else { continue };
            let evidence = self.collect_evidence(&mut reader.memo, node, closed);
            let statement = self.statement_rule(closed, std::iter::empty());
            let rules =
                AttributeRules { closed, statement, unlisted: self.unlisted, evidence, ..AttributeRules::default() };
            let own = std::mem::take(&mut item.content);
            self.find_in_attributes(&mut reader.memo, node, rules, item);
            item.content.extend(own);
        }
    }

    /// Evidence of a model call or chat on a node. Computed only if the node has an ambiguous key.
    fn collect_evidence(&self, memo: &mut KeyClassCache<'v, 'p>, node: NodeId, closed: bool) -> ChatEvidence {
        let mut has_class = |key: &'p str, test: &dyn Fn(&KeyClass) -> bool| {
            let code = memo.code(key);
            test(memo.class(code))
        };
        let mut keys = self.payload.attributes(node).map(|attribute| attribute.key);
        if !keys.any(|key| has_class(key, &|class| needs_evidence(class, closed))) {
            return ChatEvidence { model_call: closed, ..ChatEvidence::default() };
        }
        let attributes = self.payload.attributes(node);
        let entries = attributes.map(|attribute| (attribute.key, chat_evidence::entry_text(attribute.value)));
        let shapes = &self.vocabulary.keys.chat_shapes;
        let evidence = shapes.collect_evidence(entries, |key| has_class(key, &KeyClass::marks_call));
        ChatEvidence { model_call: closed || evidence.model_call, ..evidence }
    }

    fn find_in_attributes(
        &self,
        memo: &mut KeyClassCache<'v, 'p>,
        node: NodeId,
        rules: AttributeRules,
        out: &mut ItemFacts,
    ) {
        for attribute in self.payload.attributes(node) {
            let code = memo.code(attribute.key);
            let class = memo.class(code);
            let attribute =
                ClassifiedAttribute { node, id: attribute.id, class, value: attribute.value, fallback: None };
            self.find_in_attribute(&attribute, rules, out);
        }
    }

    fn find_in_attribute(&self, attribute: &ClassifiedAttribute<'_, '_>, rules: AttributeRules, out: &mut ItemFacts) {
        let harmless = if attribute.fallback.is_none() { self.harmless_verdict(rules) } else { None };
        let Some(harmless) = harmless else { return self.judge_attribute(attribute, rules, out) };
        if self.payload.has_verdict(attribute.id, harmless) {
            return;
        }
        let before = (out.content.len(), out.errors.len());
        self.judge_attribute(attribute, rules, out);
        if before == (out.content.len(), out.errors.len()) {
            self.payload.give_verdict(attribute.id, harmless);
        }
    }

    /// The verdict that a pair holds no content under these rules.
    fn harmless_verdict(&self, rules: AttributeRules) -> Option<VerdictBit> {
        if let Some((_, verdict)) = self.harmless_under.get().filter(|(last, _)| *last == rules) {
            return verdict;
        }
        let verdict = self.payload.verdict_bit((self.vocabulary.judge, rules));
        self.harmless_under.set(Some((rules, verdict)));
        verdict
    }

    fn judge_attribute(&self, attribute: &ClassifiedAttribute<'_, '_>, rules: AttributeRules, out: &mut ItemFacts) {
        let ClassifiedAttribute { node, id, class, value, fallback } = *attribute;
        let at = ContentLocation::Attribute(id);
        let may_hold_text = matches!(value, Value::Str(_) | Value::Map(_) | Value::List(_) | Value::Bytes(_));
        let is_error = class.role == KeyRole::ErrorText && !(rules.closed && class.never);
        if is_error && may_hold_text && !label_shape::is_empty_value(value) {
            // Bytes cannot be redacted, so they go to the vault.
            let bytes = || Some(ContentPart::Other).filter(|_| rules.closed && matches!(value, Value::Bytes(_)));
            match class.tool_error_part(value).filter(|_| rules.tool).or_else(bytes) {
                Some(part) => {
                    out.tool_failed |= rules.tool;
                    out.add_content(node, at, Some((part, ContentBasis::Listed)));
                }
                None => {
                    out.errors.push(ContentPlace { node, at, part: ContentPart::Other, basis: ContentBasis::Listed });
                    self.find_embedded((node, at), value, true, rules, out);
                }
            }
            return;
        }
        let is_text_key = class.is_listed(ADDRESSES) || class.is_listed(STATEMENTS);
        match classify_value(class, value, rules).or(fallback) {
            // Addresses and statements are texts or lists of one; any other value under the key means something else.
            None if is_text_key && rules.closed && !is_single_text(value) && !label_shape::is_empty_value(value) => {
                out.add_content(node, at, Some((ContentPart::Other, ContentBasis::Guessed)));
            }
            None if class.is_listed(ADDRESSES) && rules.closed && rules.unlisted != UnlistedTextPolicy::Keep => {
                self.shorten_value((node, id), value, ADDRESS_SUFFIX, address::shorten_address, out);
            }
            None if class.is_listed(STATEMENTS) && rules.statement.is_some() => {
                let system = rules.statement.unwrap_or_default();
                let shorten = |_: &str, text: &str| statements::shorten_statement(system, text);
                self.shorten_value((node, id), value, STATEMENT_SUFFIX, shorten, out);
            }
            None if !matches!(class.role, KeyRole::Secret | KeyRole::ErrorText | KeyRole::Redact) => {
                self.find_embedded((node, at), value, false, rules, out);
            }
            found => out.add_content(node, at, found),
        }
    }

    /// Shortens an address to its route, or a statement to its form. The full value goes to the vault. `shorten`
    /// returns the part of a value under a key that stays; `None`: all of it stays.
    fn shorten_value(
        &self,
        (node, id): (NodeId, AttrId),
        value: Value<'_>,
        suffix: &str,
        shorten: impl Fn(&str, &str) -> Option<String>,
        out: &mut ItemFacts,
    ) {
        let Some(key) = self.payload.attribute(id).map(|attribute| attribute.key) else { return };
        let mut removed = RemovedContent::default();
        let texts = value.as_str().into_iter().chain(value.items().filter_map(|item| item.as_str()));
        for text in texts.filter(|text| !removed.texts.contains_key(*text)).collect::<Vec<_>>() {
            if let Some(rest) = shorten(key, text) {
                removed.parts.push((ContentPart::Other, suffix.to_owned(), serde_json::Value::from(text).to_string()));
                removed.texts.insert(text.to_owned(), rest);
            }
        }
        if !removed.parts.is_empty() {
            out.add_embedded((node, ContentLocation::Attribute(id)), key, removed);
        }
    }

    /// Finds listed content inside a value that stays. `in_error`: and what error texts in it quote.
    fn find_embedded(
        &self,
        (node, at): (NodeId, ContentLocation),
        value: Value<'_>,
        in_error: bool,
        rules: AttributeRules,
        out: &mut ItemFacts,
    ) {
        let scope = SearchScope { dialect: rules.dialect, agent: rules.closed, in_error };
        match nested_content::search(&self.vocabulary.keys, value, scope) {
            SearchOutcome::Nothing => {}
            SearchOutcome::Whole if at == ContentLocation::Name => {
                let text = value.as_str().unwrap_or_default();
                let parts = vec![(ContentPart::Other, String::new(), serde_json::Value::from(text).to_string())];
                let texts = BTreeMap::from([(text.to_owned(), kernel::CONTENT.to_owned())]);
                out.add_embedded((node, at), "name", RemovedContent { parts, texts, ..RemovedContent::default() });
            }
            SearchOutcome::Whole => out.add_content(node, at, Some((ContentPart::Other, ContentBasis::Listed))),
            SearchOutcome::Parts(removed) => {
                let key = at.key(self.payload).filter(|_| at != ContentLocation::Body);
                out.add_embedded((node, at), key.unwrap_or_default(), removed);
            }
        }
    }

    /// Finds listed content inside the name of a span, event or log event.
    fn find_in_name(&self, node: NodeId, rules: AttributeRules, out: &mut ItemFacts) {
        let name = self.payload.text(node, self.payload.name_field(node));
        // without one of these a name holds neither structure nor announced text
        if name.bytes().any(|byte| b"{:=<[(".contains(&byte)) {
            let at = (node, ContentLocation::Name);
            self.find_embedded(at, Value::Str(name), false, rules, out);
        }
    }

    fn event_rule(&self, name: &str, dialect: Option<&Dialect>) -> Option<EventRule> {
        self.known_event_rule(name, dialect).or_else(|| dialect?.any_event)
    }

    /// The rule for an event of this name.
    fn known_event_rule(&self, name: &str, dialect: Option<&Dialect>) -> Option<EventRule> {
        let own = dialect.and_then(|dialect| {
            let bare = name.strip_prefix(dialect.data.event_prefix.as_str()).unwrap_or(name);
            dialect.events.find(bare).next()
        });
        let known = own.or_else(|| self.vocabulary.events.find(name).next().filter(|_| !name.is_empty()));
        known.copied()
    }
}

impl ItemFacts {
    /// Adds the content found in the value at a place. `place_key`: the place in the vault's documents.
    fn add_embedded(&mut self, (node, at): (NodeId, ContentLocation), place_key: &str, removed: RemovedContent) {
        let embedded = self.embedded.get_or_insert_default();
        for (part, key, value) in removed.parts {
            let at = ContentLocation::Embedded(u32::try_from(embedded.parts.len()).unwrap_or(u32::MAX));
            self.content.push(ContentPlace { node, at, part, basis: ContentBasis::Listed });
            embedded.parts.push(EmbeddedContentPart { key: format!("{place_key}#{key}"), value });
        }
        embedded.edits.push(EmbeddedContentEdit { node, at, keys: removed.keys, texts: removed.texts });
    }

    fn add_content(&mut self, node: NodeId, at: ContentLocation, found: Option<(ContentPart, ContentBasis)>) {
        self.content.extend(found.map(|(part, basis)| ContentPlace { node, at, part, basis }));
    }
}

/// Returns true if a key of this class needs evidence to count as content.
fn needs_evidence(class: &KeyClass, closed: bool) -> bool {
    (!closed && class.is_listed(GENERIC)) || class.needs_evidence(CHAT) || class.needs_evidence(BESIDE_ROLE)
}

/// Returns true for a text, a list of one text, or a number.
fn is_single_text(value: Value<'_>) -> bool {
    match value {
        Value::Map(_) | Value::Bytes(_) => false,
        Value::List(_) => value.items().nth(1).is_none() && value.items().all(|item| item.as_str().is_some()),
        Value::Str(_) | Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Empty => true,
    }
}

/// The part that an attribute holds, and why. `None`: the attribute is not content.
fn classify_value(class: &KeyClass, value: Value<'_>, rules: AttributeRules) -> Option<(ContentPart, ContentBasis)> {
    if class.key_is_prose.on_any_item || (rules.closed && class.key_is_prose.on_agent_item) {
        return Some((ContentPart::Other, ContentBasis::Key));
    }
    if class.role == KeyRole::Secret || label_shape::is_empty_value(value) {
        return None;
    }
    let is_number = matches!(value, Value::Bool(_) | Value::Int(_) | Value::Double(_));
    if rules.closed && class.never && !is_number {
        return Some((ContentPart::Other, ContentBasis::Guessed));
    }
    if class.role == KeyRole::ErrorText {
        return None;
    }
    let event_set = rules.event.and_then(|event| event.set);
    let is_kept = |listed: &ListedKey| {
        // Keep ids and names within a family of content keys, and numbers under wildcard keys of no particular part.
        (listed.is_label_key && class.shape.accepts(value))
            || (is_number && listed.by_wildcard && listed.part == ContentPart::Other)
    };
    // A content key of no particular part takes the part of its event.
    let part = |listed: &ListedKey| match rules.event.filter(|event| event.set.is_none()) {
        Some(event) if listed.part == ContentPart::Other => event.part,
        // On the event of a tool's result, output is the tool's result.
        Some(event) if event.part == ContentPart::ToolResult && listed.part == ContentPart::Output => event.part,
        _ => listed.part,
    };
    if let Some(listed) = [event_set, rules.dialect].into_iter().flatten().find_map(|set| class.listed_content(set)) {
        return (!is_kept(&listed)).then_some((part(&listed), ContentBasis::Listed));
    }
    if class.role == KeyRole::Redact {
        return None;
    }
    let in_call = rules.evidence.model_call || rules.evidence.chat_shape;
    let is_certain = in_call || !class.is_listed(GENERIC) || chat_evidence::is_message_value(value);
    if let Some(listed) = class.listed_content(GLOBAL).filter(|_| is_certain) {
        return (!is_kept(&listed) && (rules.closed || !is_number)).then_some((part(&listed), ContentBasis::Listed));
    }
    let chat = [(CHAT, rules.evidence.chat_shape), (BESIDE_ROLE, rules.evidence.speaker_role)];
    let mut applicable = chat.into_iter().filter(|(_, has_evidence)| *has_evidence && !is_number);
    if let Some(listed) = applicable.find_map(|(set, _)| class.listed_content(set)) {
        return Some((part(&listed), ContentBasis::Listed));
    }
    let is_kept_line =
        || value.as_str().is_some_and(|text| text.len() <= MAX_KEPT_BYTES && !text.contains(['\n', '\r']));
    if is_number || class.fits_label(value) || (rules.closed && class.keep && is_kept_line()) {
        return None;
    }
    if class.role == KeyRole::Pii {
        let stays =
            !rules.closed || rules.unlisted == UnlistedTextPolicy::Keep || key_shapes::is_person_or_machine(value);
        return (!stays).then_some((ContentPart::Other, ContentBasis::Guessed));
    }
    if let Some(event) = rules.event.filter(|event| event.set.is_none()) {
        return Some((event.part, ContentBasis::Listed));
    }
    let guessed =
        class.listed_content(AGENT).filter(|listed| rules.closed && !listed.is_label_key && value.as_str().is_some());
    if let Some(listed) = guessed.filter(|_| rules.unlisted != UnlistedTextPolicy::Keep) {
        return Some((listed.part, ContentBasis::Guessed));
    }
    let known_to_dialect = class.read_by_dialect || class.is_label_of(rules.dialect);
    if known_to_dialect && rules.unlisted == UnlistedTextPolicy::Text && KeyShape::Name.accepts(value) {
        return None;
    }
    classify_unlisted(class, value, rules)
}

/// Classifies text of an agent's item that no list names, or that is not a label although its key holds labels.
fn classify_unlisted(class: &KeyClass, value: Value<'_>, rules: AttributeRules) -> Option<(ContentPart, ContentBasis)> {
    if !rules.closed {
        return None;
    }
    let (stays, basis) = match rules.unlisted {
        UnlistedTextPolicy::Text if class.is_unlisted() => {
            (key_shapes::is_unlisted_value(value, !class.is_private), ContentBasis::Unlisted)
        }
        UnlistedTextPolicy::Text => (key_shapes::is_unlisted_value(value, false), ContentBasis::LongLabel),
        UnlistedTextPolicy::All => (false, ContentBasis::Guessed),
        UnlistedTextPolicy::Keep => return None,
    };
    (!stays).then_some((ContentPart::Other, basis))
}

/// The part that a log's body holds. `name` is the event's name, which many clients repeat in the body.
fn classify_body(
    name: &str,
    body: Value<'_>,
    rules: AttributeRules,
    is_prefix: impl Fn(&str) -> bool,
) -> Option<(ContentPart, ContentBasis)> {
    if label_shape::is_empty_value(body) {
        return None;
    }
    if let Some(event) = rules.event.filter(|event| event.body) {
        return Some((event.part, ContentBasis::Listed));
    }
    if !rules.closed {
        return None;
    }
    let is_name = || {
        let stem = body.as_str().and_then(|text| text.strip_suffix(name));
        !name.is_empty() && words::is_name(name) && stem.is_some_and(|stem| stem.is_empty() || is_prefix(stem))
    };
    let (stays, basis) = match rules.unlisted {
        UnlistedTextPolicy::Text => (is_name() || key_shapes::is_unlisted_value(body, true), ContentBasis::Unlisted),
        UnlistedTextPolicy::All => {
            (matches!(body, Value::Bool(_) | Value::Int(_) | Value::Double(_)), ContentBasis::Guessed)
        }
        UnlistedTextPolicy::Keep => return None,
    };
    (!stays).then_some((ContentPart::Other, basis))
}

/// The item with whose content that of a resource or scope is listed: the first closed one below it, or the first if
/// none is closed.
struct SharedNode {
    owner: usize,
    is_owner_closed: bool,
    /// Whether the node itself is closed.
    closed: bool,
}

/// All resources and scopes of a payload.
#[derive(Default)]
pub(super) struct SharedNodes(BTreeMap<NodeId, SharedNode>);

impl SharedNodes {
    /// Registers the reader's current item, which has the number `at`. Must be called in item order.
    pub(super) fn register_item(&mut self, reader: &ItemReader<'_, '_>, at: usize, item: &ItemFacts) {
        let (payload, is_agent) = (reader.payload, reader.is_agent_resource);
        let scope = (payload.scope(item.node), is_agent || reader.is_dialect_scope);
        for (node, closed) in [(payload.resource(item.node), is_agent), scope] {
            let new = SharedNode { owner: at, is_owner_closed: item.closed, closed };
            let shared = self.0.entry(node).or_insert(new);
            if item.closed && !shared.is_owner_closed {
                (shared.owner, shared.is_owner_closed) = (at, true);
            }
        }
    }
}
