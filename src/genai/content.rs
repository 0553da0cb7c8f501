//! **What**: where content stands: listed keys and events anywhere, unlisted text in an agent's items (design §5).
//! **Invariants**: every occurrence of a key is a place of its own; what stays for redaction (error text, queries,
//! URLs, ids, credentials) is no place. Span names and status messages are redaction's too.
//!
//! For one attribute the first answer holds: credential, error text, the event's own list, the dialect's list, the list
//! for all, personal id or metadata, then its shape.

use std::collections::{HashMap, HashSet};

use crate::otlp::{AttrId, Field, Node, NodeKind, Payload, Value};

use super::facts::{ContentAt, ContentPlace, Part};
use super::item::{Attr, Reader};
use super::keys::{Class, GLOBAL, Listed, Memo, Role, SetId};
use super::shape;
use super::vocabulary::{Dialect, EventRule, Vocabulary};

/// Finds the content of the nodes of one payload.
pub(super) struct Finder<'v, 'p> {
    vocabulary: &'v Vocabulary,
    payload: &'p Payload,
}

/// What was found on one item.
#[derive(Default)]
pub(super) struct Found {
    pub(super) content: Vec<ContentPlace>,
    /// Error texts: they stay, redacted.
    pub(super) errors: Vec<ContentPlace>,
}

/// What holds for the attributes of one node.
#[derive(Clone, Copy)]
struct Rules {
    agent: bool,
    dialect: Option<SetId>,
    event: Option<EventRule>,
}

impl<'v, 'p> Finder<'v, 'p> {
    pub(super) fn new(vocabulary: &'v Vocabulary, payload: &'p Payload) -> Self {
        Self { vocabulary, payload }
    }

    /// Content and error texts of the reader's present item: its attributes (already read), body, events and links.
    pub(super) fn item(
        &self,
        reader: &mut Reader<'v, 'p>,
        node: Node,
        dialect: Option<&Dialect>,
        agent: bool,
    ) -> Found {
        let mut out = Found::default();
        let log = (reader.kind == NodeKind::LogRecord).then_some((reader.event, reader.body));
        let event = log.and_then(|(name, _)| self.event(name, dialect));
        let rules = Rules { agent, dialect: dialect.map(|dialect| dialect.set), event };
        let named = if agent { reader.named() } else { HashSet::new() };
        for attr in &reader.attrs {
            let class = reader.memo.class(attr.code);
            let part = self.named(class, attr, &named);
            out.attribute(node, attr.id, class, attr.value, rules, part);
        }
        if let Some(body) = log.and_then(|(_, body)| body) {
            out.push(node, ContentAt::Body, judge_body(body, rules));
        }
        let memo = &mut reader.memo;
        for child in self.payload.children(node) {
            let event = match self.payload.kind(child) {
                NodeKind::Event => self.event(self.payload.text(child, Field::Name), dialect),
                NodeKind::Link => None,
                _ => continue,
            };
            self.node(memo, child, Rules { event, ..rules }, &mut out);
        }
        out
    }

    /// A text whose key another attribute names, and of which nothing else is known.
    fn named(&self, class: &Class, attr: &Attr<'p>, named: &HashSet<String>) -> Option<(Part, bool)> {
        let plain = !named.is_empty() && class.is_unknown() && attr.value.as_str().is_some();
        let key = self.payload.attribute(attr.id).filter(|_| plain && !shape::is_void(attr.value))?.key;
        named.contains(key).then_some((Part::Other, false))
    }

    /// Content of a resource or scope.
    pub(super) fn shared(&self, memo: &mut Memo<'v, 'p>, node: Node, agent: bool) -> Vec<ContentPlace> {
        let mut out = Found::default();
        self.node(memo, node, Rules { agent, dialect: None, event: None }, &mut out);
        out.content
    }

    fn node(&self, memo: &mut Memo<'v, 'p>, node: Node, rules: Rules, out: &mut Found) {
        for attribute in self.payload.attributes(node) {
            let code = memo.code(attribute.key);
            out.attribute(node, attribute.id, memo.class(code), attribute.value, rules, None);
        }
    }

    fn event(&self, name: &str, dialect: Option<&Dialect>) -> Option<EventRule> {
        let own = dialect.and_then(|dialect| {
            let bare = name.strip_prefix(dialect.event_prefix.as_str()).unwrap_or(name);
            dialect.events.find(bare).next()
        });
        let known = own.or_else(|| self.vocabulary.events.find(name).next().filter(|_| !name.is_empty()));
        known.copied().or_else(|| dialect?.any_event)
    }
}

impl Found {
    /// `named`: what the attribute is if nothing else says.
    fn attribute(
        &mut self,
        node: Node,
        id: AttrId,
        class: &Class,
        value: Value<'_>,
        rules: Rules,
        named: Option<(Part, bool)>,
    ) {
        let at = ContentAt::Attribute(id);
        if class.role == Role::ErrorText && matches!(value, Value::Str(_)) && !shape::is_void(value) {
            self.errors.push(ContentPlace { node, at, part: Part::Other, listed: true });
            return;
        }
        self.push(node, at, judge(class, value, rules).or(named));
    }

    fn push(&mut self, node: Node, at: ContentAt, found: Option<(Part, bool)>) {
        self.content.extend(found.map(|(part, listed)| ContentPlace { node, at, part, listed }));
    }
}

/// The part an attribute holds, and whether a list says so; None: it is no content.
fn judge(class: &Class, value: Value<'_>, rules: Rules) -> Option<(Part, bool)> {
    if matches!(class.role, Role::Secret | Role::ErrorText) || shape::is_void(value) {
        return None;
    }
    let number = matches!(value, Value::Bool(_) | Value::Int(_) | Value::Double(_));
    let set = rules.event.and_then(|event| event.set);
    let keeps = |listed: &Listed| {
        // ids and names among a family of content; numbers of a family that is nobody's words
        (listed.named && shape::is_label_value(value)) || (number && listed.wild && listed.part == Part::Other)
    };
    // a key that may hold any part holds the one of its event
    let part = |listed: &Listed| match rules.event.filter(|event| event.set.is_none()) {
        Some(event) if listed.part == Part::Other => event.part,
        // on the event of a tool's result the output is the tool's
        Some(event) if event.part == Part::ToolResult && listed.part == Part::Output => event.part,
        _ => listed.part,
    };
    if let Some(listed) = [set, rules.dialect].into_iter().flatten().find_map(|set| class.content(set)) {
        return (!keeps(&listed)).then_some((part(&listed), true));
    }
    if class.role == Role::Redact {
        return None;
    }
    if let Some(listed) = class.content(GLOBAL) {
        return (!keeps(&listed) && (rules.agent || !number)).then_some((part(&listed), true));
    }
    let label = class.role == Role::Label && shape::is_known_label_value(value);
    if number || label || class.role == Role::Pii {
        return None;
    }
    if let Some(event) = rules.event.filter(|event| event.set.is_none()) {
        return Some((event.part, true));
    }
    (rules.agent && !shape::is_label_value(value)).then_some((Part::Other, false))
}

fn judge_body(body: Value<'_>, rules: Rules) -> Option<(Part, bool)> {
    if shape::is_void(body) {
        return None;
    }
    match rules.event {
        Some(event) if event.body => Some((event.part, true)),
        _ => (rules.agent && !shape::is_label_value(body)).then_some((Part::Other, false)),
    }
}

/// Gives each resource and scope to the first agent's item below it, else to the first item.
pub(super) struct Shared {
    owners: HashMap<Node, (usize, bool)>,
    order: Vec<Node>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { owners: HashMap::new(), order: Vec::new() }
    }

    /// Tells of item number `at`, in order.
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

    /// Each shared node, the item it was given to, and whether that is an agent's.
    pub(super) fn owners(&self) -> impl DoubleEndedIterator<Item = (Node, usize, bool)> {
        self.order.iter().filter_map(|node| self.owners.get(node).map(|(at, agent)| (*node, *at, *agent)))
    }
}
