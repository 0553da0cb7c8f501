//! Detects an item's dialect: the first by priority with a clause that holds. Conditions on scope and resource are
//! evaluated once per scope; all others are bit, slot and name checks per item.

use otlp::{Field, NodeKind};

use super::Why;
use super::address::words;
use super::item::{Attr, Reader, text_of};
use super::keys::Slot;
use super::pattern::Names;
use super::schema;
use super::vocabulary::{Compiler, Vocabulary};

/// Maximum number of words in a scope name that a pattern may match.
const SCOPE_WORDS: usize = 6;

/// A compiled [`schema::Clause`]: all conditions given must hold.
pub(super) struct Clause {
    scope: Names,
    not_scope: Names,
    schema: Names,
    resource: Vec<(Slot, Names)>,
    has: u128,
    /// One mark for each further list; all of them must be present.
    also: u128,
    lacks: u128,
    equals: Vec<(Slot, Vec<String>)>,
    span: Names,
    span_event: Names,
    log: Names,
    log_body: Names,
    event_is_scope: bool,
    metric: Names,
}

impl Clause {
    pub(super) fn compile(compiler: &mut Compiler<'_>, clause: &schema::Clause) -> Self {
        Self {
            scope: compiler.names(&clause.scope),
            not_scope: compiler.names(&clause.not_scope),
            schema: compiler.names(&clause.schema),
            resource: clause.resource.iter().map(|(key, list)| (compiler.slot(key), compiler.names(list))).collect(),
            has: compiler.mark(&clause.has),
            also: clause.also.iter().fold(0, |marks, list| marks | compiler.mark(list)),
            lacks: compiler.mark(&clause.lacks),
            equals: compiler.equals(&clause.equals),
            span: compiler.names(&clause.span),
            span_event: compiler.names(&clause.span_event),
            log: compiler.names(&clause.log),
            log_body: compiler.names(&clause.log_body),
            event_is_scope: clause.event_is_scope,
            metric: compiler.names(&clause.metric),
        }
    }

    /// The marker bits of the `has` and `also` lists.
    pub(super) fn marks(&self) -> u128 {
        self.has | self.also
    }

    /// Returns true if scope and resource permit the clause for the items below them.
    pub(super) fn allows(&self, reader: &Reader<'_, '_>) -> bool {
        (self.scope.is_empty() || self.scope.matches(reader.scope_name))
            && !self.not_scope.matches(reader.scope_name)
            && (self.schema.is_empty() || self.schema.matches(reader.schema_url))
            && self.resource.iter().all(|(slot, names)| {
                let value = reader.on_resource(*slot).and_then(|value| value.as_str());
                value.is_some_and(|value| names.matches(value))
            })
    }

    /// Returns true if the item-level conditions hold for the current item.
    fn holds(&self, reader: &Reader<'_, '_>) -> bool {
        (self.has == 0 || self.has & reader.marks != 0)
            && self.also & reader.marks == self.also
            && self.lacks & reader.marks == 0
            && equal(&self.equals, reader)
            && named(&self.span, reader, NodeKind::Span)
            && named(&self.metric, reader, NodeKind::DataPoint)
            && (self.log.is_empty() || (reader.kind == NodeKind::LogRecord && self.log.matches(reader.event)))
            && (!self.event_is_scope || (reader.kind == NodeKind::LogRecord && reader.event == reader.scope_name))
            && (self.log_body.is_empty() || body(reader).is_some_and(|body| self.log_body.matches(body)))
            && (self.span_event.is_empty() || self.has_event(reader))
    }

    fn has_event(&self, reader: &Reader<'_, '_>) -> bool {
        let payload = reader.payload;
        let mut children = reader.node.into_iter().flat_map(|node| payload.children(node));
        children.any(|child| {
            payload.kind(child) == NodeKind::Event && self.span_event.matches(payload.text(child, Field::Name))
        })
    }
}

fn body<'p>(reader: &Reader<'_, 'p>) -> Option<&'p str> {
    reader.body.filter(|_| reader.kind == NodeKind::LogRecord)?.as_str()
}

fn named(names: &Names, reader: &Reader<'_, '_>, kind: NodeKind) -> bool {
    names.is_empty() || (reader.kind == kind && names.matches(reader.name))
}

/// Returns true if each slot holds one of its values.
pub(super) fn equal(pairs: &[(Slot, Vec<String>)], reader: &Reader<'_, '_>) -> bool {
    pairs.iter().all(|(slot, values)| {
        let value = reader.value(*slot);
        match value.and_then(|value| value.as_str()) {
            Some(text) => values.iter().any(|wanted| wanted == text),
            None => value.and_then(text_of).is_some_and(|text| values.contains(&text)),
        }
    })
}

/// The index of the current item's dialect.
pub(super) fn dialect(reader: &Reader<'_, '_>) -> Option<usize> {
    let mut possible = reader.possible.iter();
    let found = possible.find(|(dialect, clause)| {
        let clauses = reader.vocabulary.dialects.get(*dialect).map(|dialect| &dialect.clauses);
        clauses.and_then(|clauses| clauses.get(*clause)).is_some_and(|clause| clause.holds(reader))
    });
    found.map(|(dialect, _)| *dialect)
}

/// The current item's dialect and the conditions of the clause that matched.
pub(super) fn why(reader: &Reader<'_, '_>) -> Why {
    for (dialect, clause) in &reader.possible {
        let Some(known) = reader.vocabulary.dialects.get(*dialect) else { continue };
        if let Some(clause) = known.clauses.get(*clause).filter(|clause| clause.holds(reader)) {
            return Why { dialect: Some(known.name), because: clause.because(reader) };
        }
    }
    Why { dialect: None, because: Vec::new() }
}

impl Vocabulary {
    /// Returns true if a dialect's instrumentation has a scope of this name.
    pub fn is_known_scope(&self, name: &str) -> bool {
        let few = words(name).nth(SCOPE_WORDS).is_none();
        let mut clauses = self.dialects.iter().flat_map(|dialect| &dialect.clauses);
        few && clauses.any(|clause| clause.scope.matches(name))
    }
}

impl Clause {
    /// Describes what satisfied each condition of a clause that holds.
    fn because(&self, reader: &Reader<'_, '_>) -> Vec<String> {
        let (payload, mut out) = (reader.payload, Vec::new());
        let key_of = |wanted: Slot| {
            let found = reader.attrs.iter().find(|attr| reader.memo.class(attr.code).slot == Some(wanted));
            found.and_then(|attr| payload.attribute(attr.id)).map(|attribute| attribute.key)
        };
        if !self.scope.is_empty() {
            out.push(format!("scope {}", reader.scope_name));
        }
        for (slot, _) in &self.resource {
            let value = reader.on_resource(*slot).and_then(|value| value.as_str()).unwrap_or_default();
            out.push(format!("the resource says {value}"));
        }
        if self.has != 0 {
            let marks = |attr: &&Attr<'_>| reader.memo.class(attr.code).marks & self.has != 0;
            let keys = reader.attrs.iter().filter(marks).filter_map(|attr| payload.attribute(attr.id));
            let keys: Vec<&str> = keys.map(|attribute| attribute.key).take(3).collect();
            out.push(if keys.is_empty() { "a key of its body".to_owned() } else { format!("has {}", keys.join(", ")) });
        }
        for (slot, _) in &self.equals {
            let value = reader.value(*slot).and_then(text_of).unwrap_or_default();
            out.push(format!("{} = {value}", key_of(*slot).unwrap_or("the body's entry")));
        }
        let names = [
            (&self.span, "span", reader.name),
            (&self.metric, "metric", reader.name),
            (&self.log, "event", reader.event),
            (&self.log_body, "body", body(reader).unwrap_or_default()),
        ];
        out.extend(
            names.iter().filter(|(names, ..)| !names.is_empty()).map(|(_, what, name)| format!("{what} {name}")),
        );
        if !self.span_event.is_empty() {
            out.push("one of its events".to_owned());
        }
        if self.lacks != 0 {
            out.push("without a mark of another dialect".to_owned());
        }
        out
    }
}
