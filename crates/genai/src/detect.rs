//! Finds the dialects of which a detection clause holds for an item, by priority; `item_facts` chooses one of them.
//! Conditions on scope and resource are evaluated once per scope; all others are bit, slot and name checks per item.

use std::collections::BTreeMap;

use serde::Deserialize;

use otlp::{NodeKind, TextField};

use super::item_reader::{ItemAttribute, ItemReader, text_of};
use super::keys::SlotIndex;
use super::pattern::NamePatterns;
use super::schema::NameList;
use super::vocabulary::{Dialect, Vocabulary, VocabularyCompiler};
use super::words::split_words;

/// A scope name with more words than this is no instrumentation's, even if a pattern matches it.
const MAX_SCOPE_WORDS: usize = 6;

/// Declares a detection clause twice: as read from `config/dialects.yaml`, and compiled. All given conditions must
/// hold.
macro_rules! detection_clause {
    (names: $($name:ident)*) => {
        /// One way to detect a dialect.
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct ClauseDefinition {
            $($name: NameList,)*
            resource: BTreeMap<String, NameList>,
            pub(super) has: NameList,
            /// At least one attribute of each of these lists must be present too.
            also: Vec<NameList>,
            lacks: NameList,
            pub(super) equals: BTreeMap<String, NameList>,
            /// The name of the log event equals the name of its scope.
            event_is_scope: bool,
        }

        pub(super) struct DetectionClause {
            $($name: NamePatterns,)*
            resource: Vec<(SlotIndex, NamePatterns)>,
            /// Marker bits: an item has a list's bit if it has a key of the list.
            has: u128,
            /// One bit for each `also` list; all of them must be set.
            also: u128,
            lacks: u128,
            equals: Vec<(SlotIndex, Vec<String>)>,
            event_is_scope: bool,
        }

        impl DetectionClause {
            pub(super) fn compile(compiler: &mut VocabularyCompiler, clause: &ClauseDefinition) -> Self {
                let resource = clause.resource.iter();
                Self {
                    $($name: compiler.compile_names(&clause.$name),)*
                    resource: resource
                        .map(|(key, list)| (compiler.slot_for_key(key), compiler.compile_names(list)))
                        .collect(),
                    has: compiler.allocate_mark(&clause.has),
                    also: clause.also.iter().fold(0, |marks, list| marks | compiler.allocate_mark(list)),
                    lacks: compiler.allocate_mark(&clause.lacks),
                    equals: compiler.compile_equals(&clause.equals),
                    event_is_scope: clause.event_is_scope,
                }
            }
        }
    };
}

// `schema`: the schema URL of the scope.
detection_clause! { names: scope not_scope schema span span_event log log_body metric }

/// A clause that scope and resource permit.
pub(super) struct PossibleClause<'v> {
    dialect: &'v Dialect,
    clause: &'v DetectionClause,
    /// The clause's marker bits, so that most clauses are passed over without a look at them.
    has: u128,
}

impl PossibleClause<'_> {
    /// Returns true if the clause holds for the current item.
    fn holds(&self, reader: &ItemReader<'_, '_>) -> bool {
        (self.has == 0 || self.has & reader.marker_bits != 0) && self.clause.matches_item(reader)
    }

    /// Returns true if the scope alone shows the dialect.
    pub(super) fn matches_scope_only(&self) -> bool {
        self.clause.what_matches() == DialectMatch::Scope
    }
}

impl DetectionClause {
    /// The marker bits of the `has` and `also` lists.
    pub(super) fn marks(&self) -> u128 {
        self.has | self.also
    }

    fn what_matches(&self) -> DialectMatch {
        let names = [&self.span, &self.span_event, &self.log, &self.log_body, &self.metric];
        let has_keys = self.has | self.also != 0 || self.event_is_scope || !self.equals.is_empty();
        match self.scope.is_empty() {
            _ if has_keys || names.iter().any(|names| !names.is_empty()) => DialectMatch::Item,
            true => DialectMatch::Resource,
            false => DialectMatch::Scope,
        }
    }

    /// This clause of `dialect` as one that scope and resource permit.
    pub(super) fn as_possible<'v>(&'v self, dialect: &'v Dialect) -> PossibleClause<'v> {
        PossibleClause { dialect, clause: self, has: self.has }
    }

    /// Returns true if scope and resource permit the clause for the items below them.
    pub(super) fn matches_scope(&self, reader: &ItemReader<'_, '_>) -> bool {
        (self.scope.is_empty() || self.scope.matches(reader.scope_name))
            && !self.not_scope.matches(reader.scope_name)
            && (self.schema.is_empty() || self.schema.matches(reader.schema_url))
            && self.resource.iter().all(|(slot, names)| {
                let value = reader.resource_value(*slot).and_then(|value| value.as_str());
                value.is_some_and(|value| names.matches(value))
            })
    }

    /// Returns true if the item-level conditions other than `has` hold for the current item.
    fn matches_item(&self, reader: &ItemReader<'_, '_>) -> bool {
        self.also & reader.marker_bits == self.also
            && self.lacks & reader.marker_bits == 0
            && has_equal_values(&self.equals, reader)
            && matches_name(&self.span, reader, NodeKind::Span)
            && matches_name(&self.metric, reader, NodeKind::DataPoint)
            && (self.log.is_empty() || (reader.kind == NodeKind::LogRecord && self.log.matches(reader.event_name)))
            && (!self.event_is_scope || (reader.kind == NodeKind::LogRecord && reader.event_name == reader.scope_name))
            && (self.log_body.is_empty() || log_body_text(reader).is_some_and(|body| self.log_body.matches(body)))
            && (self.span_event.is_empty() || self.has_span_event(reader))
    }

    fn has_span_event(&self, reader: &ItemReader<'_, '_>) -> bool {
        let payload = reader.payload;
        let mut children = reader.node.into_iter().flat_map(|node| payload.children(node));
        children.any(|child| {
            payload.kind(child) == NodeKind::Event && self.span_event.matches(payload.text(child, TextField::Name))
        })
    }
}

fn log_body_text<'p>(reader: &ItemReader<'_, 'p>) -> Option<&'p str> {
    reader.body.filter(|_| reader.kind == NodeKind::LogRecord)?.as_str()
}

fn matches_name(names: &NamePatterns, reader: &ItemReader<'_, '_>, kind: NodeKind) -> bool {
    names.is_empty() || (reader.kind == kind && names.matches(reader.name))
}

/// Returns true if each slot holds one of its values.
pub(super) fn has_equal_values(pairs: &[(SlotIndex, Vec<String>)], reader: &ItemReader<'_, '_>) -> bool {
    pairs.iter().all(|(slot, values)| {
        let value = reader.value(*slot);
        match value.and_then(|value| value.as_str()) {
            Some(text) => values.iter().any(|wanted| wanted == text),
            None => value.and_then(text_of).is_some_and(|text| values.contains(&text)),
        }
    })
}

/// What of an item matches a dialect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DialectMatch {
    /// Keys, values, names or events of the item.
    Item,
    Scope,
    /// Only the resource.
    Resource,
}

/// The dialects that the current item may belong to, by priority. A dialect may occur more than once.
pub(super) fn matching_dialects<'v>(reader: &ItemReader<'v, '_>) -> impl Iterator<Item = (&'v Dialect, DialectMatch)> {
    let matching = reader.possible_clauses.iter().filter(move |possible| possible.holds(reader));
    matching.map(|possible| (possible.dialect, possible.clause.what_matches()))
}

/// The reason why an item was assigned its dialect.
pub struct DialectReason {
    /// The dialect, if any matched.
    pub dialect: Option<&'static str>,
    /// The conditions of the matching clause with the values that satisfied them. The values come from the payload, so
    /// they are not safe to log.
    pub conditions: Vec<String>,
}

/// Explains the choice of the current item's dialect by its first clause that holds.
pub(super) fn explain_dialect(reader: &ItemReader<'_, '_>, chosen: Option<&Dialect>) -> DialectReason {
    let dialect = chosen.map(|dialect| dialect.name);
    let is_chosen = |possible: &&PossibleClause<'_>| Some(possible.dialect.name) == dialect && possible.holds(reader);
    let conditions = reader.possible_clauses.iter().find(is_chosen).map(|found| found.clause.describe_match(reader));
    DialectReason { dialect, conditions: conditions.unwrap_or_default() }
}

impl Vocabulary {
    /// Returns true if a dialect's instrumentation has a scope of this name.
    pub fn is_known_scope(&self, name: &str) -> bool {
        let has_few_words = split_words(name).nth(MAX_SCOPE_WORDS).is_none();
        let mut clauses = self.dialects.iter().flat_map(|dialect| &dialect.clauses);
        has_few_words && clauses.any(|clause| clause.scope.matches(name))
    }
}

impl DetectionClause {
    /// Describes what satisfied each condition of a clause that holds.
    fn describe_match(&self, reader: &ItemReader<'_, '_>) -> Vec<String> {
        let (payload, mut out) = (reader.payload, Vec::new());
        let key_of = |wanted: SlotIndex| {
            let found = reader.attrs.iter().find(|attr| reader.memo.class(attr.code).slot == Some(wanted));
            found.and_then(|attr| payload.attribute(attr.id)).map(|attribute| attribute.key)
        };
        if !self.scope.is_empty() {
            out.push(format!("scope {}", reader.scope_name));
        }
        for (slot, _) in &self.resource {
            let value = reader.resource_value(*slot).and_then(|value| value.as_str()).unwrap_or_default();
            out.push(format!("resource attribute {value}"));
        }
        if self.has != 0 {
            let marks = |attr: &&ItemAttribute<'_>| reader.memo.class(attr.code).marks & self.has != 0;
            let keys = reader.attrs.iter().filter(marks).filter_map(|attr| payload.attribute(attr.id));
            let keys: Vec<&str> = keys.map(|attribute| attribute.key).take(3).collect();
            out.push(if keys.is_empty() {
                "a key in the log body".to_owned()
            } else {
                format!("has {}", keys.join(", "))
            });
        }
        for (slot, _) in &self.equals {
            let value = reader.value(*slot).and_then(text_of).unwrap_or_default();
            out.push(format!("{} = {value}", key_of(*slot).unwrap_or("an entry in the log body")));
        }
        let names = [
            (&self.span, "span", reader.name),
            (&self.metric, "metric", reader.name),
            (&self.log, "event", reader.event_name),
            (&self.log_body, "body", log_body_text(reader).unwrap_or_default()),
        ];
        out.extend(
            names.iter().filter(|(names, ..)| !names.is_empty()).map(|(_, what, name)| format!("{what} {name}")),
        );
        if !self.span_event.is_empty() {
            out.push("a span event".to_owned());
        }
        if self.lacks != 0 {
            out.push("no attribute of another dialect".to_owned());
        }
        out
    }
}
