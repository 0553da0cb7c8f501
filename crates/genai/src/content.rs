//! Finds the places that hold content: listed keys and events on any item, and unlisted text on an agent's items
//! (`docs/decisions/0001-agent-items-and-content.md`).
//!
//! Every occurrence of a key is a place of its own. Text that stays and is left to redaction (error text, queries,
//! URLs, ids, credentials, span names, status messages) is not a place. On an agent's item of a tool, however, error
//! text and status message are the tool's output and therefore content.
//!
//! The first matching rule decides for an attribute: credential, error text, the event's own list, the dialect's list,
//! the list for all items, personal id or metadata, the value's shape.

use std::collections::HashMap;

use otlp::{AttrId, Field, Node, NodeKind, Payload, Value};

use super::address;
use super::cache;
use super::facts::{Basis, ContentAt, ContentPlace, Inside, InsideEdit, InsidePart, ItemFacts, Part};
use super::item::{Attr, Reader};
use super::keys::{AGENT, CHAT, Class, GLOBAL, Listed, Memo, Role, SPOKEN, SetId};
use super::messages;
use super::named::Named;
use super::nested::{Lists, Nested, Taken, Took};
use super::opaque;
use super::shape;
use super::texts::Marks;
use super::vocabulary::{Dialect, EventRule, Vocabulary};

/// Finds the content of the nodes of one payload.
pub(super) struct Finder<'v, 'p> {
    vocabulary: &'v Vocabulary,
    payload: &'p Payload,
    nested: Nested<'v>,
    unlisted: Unlisted,
}

/// The treatment of text on agent items under keys that no list names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Unlisted {
    /// Text is content unless it is a number or a generated id. Structure and bytes are content.
    #[default]
    Text,
    /// All text, structure and bytes are content. Numbers stay.
    All,
    /// Text stays.
    Keep,
}

/// Key suffixes in vault documents for the full address and the full statement.
const ADDRESS: &str = "address";
const STATEMENT: &str = "statement";

/// The content and error texts found on one item.
#[derive(Default)]
pub(super) struct Found {
    pub(super) content: Vec<ContentPlace>,
    /// Error texts, which stay and are redacted.
    pub(super) errors: Vec<ContentPlace>,
    /// The error texts of a tool's item are among `content`.
    tool_failed: bool,
    /// Content inside values that stay.
    pub(super) inside: Inside,
}

/// Returns the part of a value under a key that stays. `None`: all of it stays.
type Shortener = fn(&str, &str) -> Option<String>;

/// The rules that apply to the attributes of one node.
#[derive(Clone, Copy)]
struct Rules {
    agent: bool,
    /// The item belongs to an agent's tool: its error text is the tool's output.
    tool: bool,
    /// Shortens cache statements, if the item talks to a cache or does not name its system.
    statement: Shortener,
    unlisted: Unlisted,
    dialect: Option<SetId>,
    event: Option<EventRule>,
    /// Evidence of a model call or chat from the node's keys.
    marks: Marks,
}

impl<'v, 'p> Finder<'v, 'p> {
    pub(super) fn new(vocabulary: &'v Vocabulary, payload: &'p Payload, unlisted: Unlisted) -> Self {
        Self { vocabulary, payload, nested: Nested::new(&vocabulary.keys), unlisted }
    }

    /// Finds content and error texts of the reader's current item: attributes (already read), body, events and links.
    pub(super) fn item(
        &self,
        reader: &mut Reader<'v, 'p>,
        node: Node,
        dialect: Option<&Dialect>,
        (agent, tool): (bool, bool),
    ) -> Found {
        let mut out = Found::default();
        let log = (reader.kind == NodeKind::LogRecord).then_some((reader.event, reader.body));
        let event = log.and_then(|(name, _)| self.event(name, dialect));
        let marks = self.marks(&mut reader.memo, node, agent);
        let set = dialect.map(|dialect| dialect.set);
        let (systems, caches) = &self.vocabulary.caches;
        let is_cache = |name: &str| caches.iter().any(|cache| name.to_lowercase().contains(cache));
        let system = systems.iter().filter_map(|slot| reader.value(*slot)?.as_str()).map(is_cache).max();
        let statement: Shortener = match system {
            Some(true) if agent => |_, text| cache::shown(text),
            None if agent => |_, text| cache::speaks(text).then(|| cache::shown(text)).flatten(),
            _ => |_, _| None,
        };
        let rules = Rules { agent, tool, statement, unlisted: self.unlisted, dialect: set, event, marks };
        let named = if agent { reader.named() } else { Named::default() };
        if let Some(name) = reader.named_message().filter(|_| agent) {
            out.inside.name = Some(name.to_owned());
            out.push(node, ContentAt::Name, Some((Part::Other, Basis::Listed)));
        }
        let status = self.payload.text(node, Field::StatusMessage);
        if tool && reader.kind == NodeKind::Span && !shape::is_void(Value::Str(status)) {
            out.tool_failed = true;
            out.push(node, ContentAt::Status, Some((Part::ToolResult, Basis::Listed)));
        }
        for attr in &reader.attrs {
            let class = reader.memo.class(attr.code);
            let part = self.named(class, attr, &named);
            self.attribute(node, attr.id, class, attr.value, rules, part, &mut out);
        }
        if let Some(body) = log.and_then(|(_, body)| body) {
            // A body counts as the event's name only if the record also names the event elsewhere, or a list knows the
            // name.
            let is_name = reader.has_event_name || self.known_event(reader.event, dialect).is_some();
            let name = if is_name { reader.event } else { "" };
            match judge_body(name, body, rules, |stem| self.vocabulary.is_event_prefix(stem)) {
                None => self.inside(node, None, body, rules, &mut out),
                found => out.push(node, ContentAt::Body, found),
            }
        }
        let memo = &mut reader.memo;
        for child in self.payload.children(node) {
            let event = match self.payload.kind(child) {
                NodeKind::Event => self.event(self.payload.text(child, Field::Name), dialect),
                NodeKind::Link => None,
                _ => continue,
            };
            let own = self.marks(memo, child, agent);
            let marks = Marks { call: rules.marks.call || own.call, ..own };
            self.node(memo, child, Rules { event, marks, ..rules }, &mut out);
        }
        out
    }

    /// A value whose key another attribute lists as caller-supplied, if nothing else is known of the key.
    fn named(&self, class: &Class, attr: &Attr<'p>, named: &Named) -> Option<(Part, Basis)> {
        let number = matches!(attr.value, Value::Int(_) | Value::Double(_));
        let plain = !named.is_empty() && class.is_unknown() && (number || attr.value.as_str().is_some());
        let key = self.payload.attribute(attr.id).filter(|_| plain && !shape::is_void(attr.value))?.key;
        named.holds(key, number).then_some((Part::Other, Basis::Guessed))
    }

    /// Finds the content of a resource or scope.
    pub(super) fn shared(&self, memo: &mut Memo<'v, 'p>, node: Node, agent: bool) -> Found {
        let mut out = Found::default();
        let marks = self.marks(memo, node, agent);
        let rules = Rules {
            agent,
            tool: false,
            statement: |_, _| None,
            unlisted: self.unlisted,
            dialect: None,
            event: None,
            marks,
        };
        self.node(memo, node, rules, &mut out);
        out
    }

    /// Evidence of a model call or chat on a node. Computed only if the node has an ambiguous key.
    fn marks(&self, memo: &mut Memo<'v, 'p>, node: Node, agent: bool) -> Marks {
        let mut is = |key: &'p str, of: fn(&Class) -> bool| {
            let code = memo.code(key);
            of(memo.class(code))
        };
        let mut keys = self.payload.attributes(node).map(|attribute| attribute.key);
        let doubtful: fn(&Class) -> bool = match agent {
            true => |class| class.is_chat() || class.is_spoken(),
            false => |class| class.is_generic() || class.is_chat() || class.is_spoken(),
        };
        if !keys.any(|key| is(key, doubtful)) {
            return Marks { call: agent, ..Marks::default() };
        }
        let attributes = self.payload.attributes(node);
        let entries = attributes.map(|attribute| (attribute.key, messages::said(attribute.value)));
        let marks = messages::marks(entries, &self.vocabulary.keys.chat_types, |key| is(key, Class::marks_call));
        Marks { call: agent || marks.call, ..marks }
    }

    fn node(&self, memo: &mut Memo<'v, 'p>, node: Node, rules: Rules, out: &mut Found) {
        for attribute in self.payload.attributes(node) {
            let code = memo.code(attribute.key);
            self.attribute(node, attribute.id, memo.class(code), attribute.value, rules, None, out);
        }
    }

    /// `named`: the classification to use if no rule applies.
    #[expect(clippy::too_many_arguments, reason = "an attribute and what holds for it")]
    fn attribute(
        &self,
        node: Node,
        id: AttrId,
        class: &Class,
        value: Value<'_>,
        rules: Rules,
        named: Option<(Part, Basis)>,
        out: &mut Found,
    ) {
        let at = ContentAt::Attribute(id);
        let said = matches!(value, Value::Str(_) | Value::Map(_) | Value::List(_) | Value::Bytes(_));
        if class.role == Role::ErrorText && said && !shape::is_void(value) {
            // Bytes cannot be redacted, so they go to the vault.
            let bytes = || Some(Part::Other).filter(|_| rules.agent && matches!(value, Value::Bytes(_)));
            match class.tool_error(value).filter(|_| rules.tool).or_else(bytes) {
                Some(part) => {
                    out.tool_failed |= rules.tool;
                    out.push(node, at, Some((part, Basis::Listed)));
                }
                None => out.errors.push(ContentPlace { node, at, part: Part::Other, basis: Basis::Listed }),
            }
            return;
        }
        match judge(class, value, rules).or(named) {
            // An address is a text or a list of texts; any other value under the key means something else.
            None if class.is_address() && rules.agent && !are_texts(value) => {
                let found = Some((Part::Other, Basis::Guessed)).filter(|_| !shape::is_void(value));
                out.push(node, at, found);
            }
            None if class.is_address() && rules.agent && rules.unlisted != Unlisted::Keep => {
                self.less(node, id, value, (ADDRESS, address::shown), out);
            }
            None if class.is_statement() && rules.unlisted != Unlisted::Keep => {
                self.less(node, id, value, (STATEMENT, rules.statement), out);
            }
            None if !matches!(class.role, Role::Secret | Role::ErrorText | Role::Redact) => {
                self.inside(node, Some(id), value, rules, out);
            }
            found => out.push(node, at, found),
        }
    }

    /// Shortens an address to its route, or a statement to its commands. The full value goes to the vault.
    fn less(&self, node: Node, id: AttrId, value: Value<'_>, (name, shown): (&str, Shortener), out: &mut Found) {
        let Some(key) = self.payload.attribute(id).map(|attribute| attribute.key) else { return };
        let mut taken = Taken::default();
        let texts = value.as_str().into_iter().chain(value.items().filter_map(|item| item.as_str()));
        for text in texts.filter(|text| !taken.texts.contains_key(*text)).collect::<Vec<_>>() {
            if let Some(rest) = shown(key, text) {
                taken.parts.push((Part::Other, name.to_owned(), serde_json::Value::from(text).to_string()));
                taken.texts.insert(text.to_owned(), rest);
            }
        }
        if !taken.parts.is_empty() {
            out.take(node, Some(id), key, taken);
        }
    }

    /// Finds listed content inside a value that stays.
    fn inside(&self, node: Node, attribute: Option<AttrId>, value: Value<'_>, rules: Rules, out: &mut Found) {
        match self.nested.look(value, Lists { dialect: rules.dialect, agent: rules.agent }) {
            Took::Nothing => {}
            Took::Whole => {
                let at = attribute.map_or(ContentAt::Body, ContentAt::Attribute);
                out.push(node, at, Some((Part::Other, Basis::Listed)));
            }
            Took::Some(taken) => {
                let key = attribute.and_then(|id| self.payload.attribute(id)).map_or("", |attribute| attribute.key);
                out.take(node, attribute, key, taken);
            }
        }
    }

    fn event(&self, name: &str, dialect: Option<&Dialect>) -> Option<EventRule> {
        self.known_event(name, dialect).or_else(|| dialect?.any_event)
    }

    /// The rule for an event of this name.
    fn known_event(&self, name: &str, dialect: Option<&Dialect>) -> Option<EventRule> {
        let own = dialect.and_then(|dialect| {
            let bare = name.strip_prefix(dialect.event_prefix.as_str()).unwrap_or(name);
            dialect.events.find(bare).next()
        });
        let known = own.or_else(|| self.vocabulary.events.find(name).next().filter(|_| !name.is_empty()));
        known.copied()
    }
}

impl Found {
    fn take(&mut self, node: Node, attribute: Option<AttrId>, of: &str, taken: Taken) {
        for (part, key, value) in taken.parts {
            let at = ContentAt::Inside(u32::try_from(self.inside.parts.len()).unwrap_or(u32::MAX));
            self.content.push(ContentPlace { node, at, part, basis: Basis::Listed });
            self.inside.parts.push(InsidePart { key: format!("{of}#{key}"), value });
        }
        self.inside.edits.push(InsideEdit { node, attribute, keys: taken.keys, texts: taken.texts });
    }

    /// Moves the results into an item: before the item's own places if `first`, otherwise replacing them.
    pub(super) fn give(mut self, item: &mut ItemFacts, first: bool) {
        if first {
            item.errors.append(&mut self.errors);
        } else {
            (item.content, item.errors, item.inside) = (Vec::new(), self.errors, None);
            item.tool_failed = self.tool_failed;
        }
        let empty = self.inside.parts.is_empty() && self.inside.name.is_none();
        if !empty {
            let inside = item.inside.get_or_insert_default();
            let by = u32::try_from(inside.parts.len()).unwrap_or(u32::MAX);
            for place in &mut self.content {
                if let ContentAt::Inside(at) = &mut place.at {
                    *at = at.saturating_add(by);
                }
            }
            inside.parts.append(&mut self.inside.parts);
            inside.edits.append(&mut self.inside.edits);
            inside.name = self.inside.name.or(inside.name.take());
        }
        item.content.splice(0..0, self.content);
    }

    fn push(&mut self, node: Node, at: ContentAt, found: Option<(Part, Basis)>) {
        self.content.extend(found.map(|(part, basis)| ContentPlace { node, at, part, basis }));
    }
}

/// Returns true for a text, a flat list of texts, or a number.
fn are_texts(value: Value<'_>) -> bool {
    match value {
        Value::Map(_) | Value::Bytes(_) => false,
        Value::List(_) => value.items().all(|item| item.as_str().is_some()),
        Value::Str(_) | Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Empty => true,
    }
}

/// The part that an attribute holds, and why. `None`: the attribute is not content.
fn judge(class: &Class, value: Value<'_>, rules: Rules) -> Option<(Part, Basis)> {
    if class.prose.0 || (rules.agent && class.prose.1) {
        return Some((Part::Other, Basis::Key));
    }
    if matches!(class.role, Role::Secret | Role::ErrorText) || shape::is_void(value) {
        return None;
    }
    let number = matches!(value, Value::Bool(_) | Value::Int(_) | Value::Double(_));
    let set = rules.event.and_then(|event| event.set);
    let keeps = |listed: &Listed| {
        // Keep ids and names within a family of content keys, and numbers under wildcard keys of no particular part.
        (listed.named && shape::is_label_value(value)) || (number && listed.wild && listed.part == Part::Other)
    };
    // A content key of no particular part takes the part of its event.
    let part = |listed: &Listed| match rules.event.filter(|event| event.set.is_none()) {
        Some(event) if listed.part == Part::Other => event.part,
        // On the event of a tool's result, output is the tool's result.
        Some(event) if event.part == Part::ToolResult && listed.part == Part::Output => event.part,
        _ => listed.part,
    };
    if let Some(listed) = [set, rules.dialect].into_iter().flatten().find_map(|set| class.content(set)) {
        return (!keeps(&listed)).then_some((part(&listed), Basis::Listed));
    }
    if class.role == Role::Redact {
        return None;
    }
    let marked = rules.marks.call || rules.marks.chat;
    let sure = marked || !class.is_generic() || messages::are_messages(value);
    if let Some(listed) = class.content(GLOBAL).filter(|_| sure) {
        return (!keeps(&listed) && (rules.agent || !number)).then_some((part(&listed), Basis::Listed));
    }
    let chat = [(CHAT, rules.marks.chat), (SPOKEN, rules.marks.spoken)];
    let mut chat = chat.into_iter().filter(|(_, sure)| *sure && !number);
    if let Some(listed) = chat.find_map(|(set, _)| class.content(set)) {
        return Some((part(&listed), Basis::Listed));
    }
    if number || class.fits_label(value) || class.role == Role::Pii {
        return None;
    }
    if let Some(event) = rules.event.filter(|event| event.set.is_none()) {
        return Some((event.part, Basis::Listed));
    }
    let guessed = class.content(AGENT).filter(|listed| rules.agent && !listed.named && value.as_str().is_some());
    if let Some(listed) = guessed.filter(|_| rules.unlisted != Unlisted::Keep) {
        return Some((listed.part, Basis::Guessed));
    }
    let read = class.is_read() || class.is_label_of(rules.dialect);
    if read && rules.unlisted == Unlisted::Text && shape::is_label_value(value) {
        return None;
    }
    unlisted(class, value, rules)
}

/// Classifies text of an agent's item that no list names, or that is not a label although its key holds labels.
fn unlisted(class: &Class, value: Value<'_>, rules: Rules) -> Option<(Part, Basis)> {
    let unknown = class.is_unlisted();
    let goes = match rules.unlisted {
        Unlisted::Text => !opaque::is_opaque_value(value),
        Unlisted::All => unknown || !shape::is_label_value(value),
        Unlisted::Keep => false,
    };
    let basis = match (rules.unlisted, unknown) {
        (Unlisted::All, _) => Basis::Guessed,
        (_, true) => Basis::Unlisted,
        (_, false) => Basis::LongLabel,
    };
    (rules.agent && goes).then_some((Part::Other, basis))
}

/// The part that a log's body holds. `name` is the event's name, which many clients repeat in the body.
fn judge_body(name: &str, body: Value<'_>, rules: Rules, is_prefix: impl Fn(&str) -> bool) -> Option<(Part, Basis)> {
    if shape::is_void(body) {
        return None;
    }
    if let Some(event) = rules.event.filter(|event| event.body) {
        return Some((event.part, Basis::Listed));
    }
    let is_name = || {
        let stem = body.as_str().and_then(|text| text.strip_suffix(name));
        !name.is_empty() && stem.is_some_and(|stem| stem.is_empty() || is_prefix(stem))
    };
    let number = matches!(body, Value::Bool(_) | Value::Int(_) | Value::Double(_));
    let basis = match rules.unlisted {
        Unlisted::Text if opaque::is_opaque_value(body) || is_name() => None,
        Unlisted::Text => Some(Basis::Unlisted),
        Unlisted::All => Some(Basis::Guessed).filter(|_| !number),
        Unlisted::Keep => None,
    };
    basis.filter(|_| rules.agent).map(|basis| (Part::Other, basis))
}

/// Assigns each resource and scope to the first agent item below it, or to the first item if none is an agent item.
pub(super) struct Shared {
    owners: HashMap<Node, (usize, bool)>,
    order: Vec<Node>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { owners: HashMap::new(), order: Vec::new() }
    }

    /// Registers item number `at`. Must be called in item order.
    pub(super) fn tell(&mut self, payload: &Payload, at: usize, node: Node, agent: bool) {
        for node in [payload.resource(node), payload.scope(node)] {
            let order = &mut self.order;
            let owner = self.owners.entry(node).or_insert_with(|| {
                order.push(node);
                (at, agent)
            });
            if agent && !owner.1 {
                *owner = (at, true);
            }
        }
    }

    /// Returns each shared node with the index of its owning item, and whether that item is an agent item.
    pub(super) fn owners(&self) -> impl DoubleEndedIterator<Item = (Node, usize, bool)> {
        self.order.iter().filter_map(|node| self.owners.get(node).map(|(at, agent)| (*node, *at, *agent)))
    }
}
