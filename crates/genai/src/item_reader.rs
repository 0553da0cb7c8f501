//! [`ItemReader`] reads one item of a payload at a time: its attributes sorted into slots, with its scope and resource.
//! Buffers are reused, each attribute costs one hash lookup, and scope and resource are read only when they change.

use std::borrow::Cow;
use std::cell::RefCell;

use kernel::hex;
use otlp::{AttrId, NodeId, NodeKind, OwnedValue, Payload, TextField, Value};

use super::caller_supplied::{self, CallerSuppliedKeys};
use super::closed_items::ServiceIdentity;
use super::detect::PossibleClause;
use super::facts::TokenBucket;
use super::json_body;
use super::keys::{KeyClassCache, SlotIndex};
use super::label_shape;
use super::pattern::NamePatterns;
use super::sources::{FactSource, SourceList};
use super::usage_words::UsageKey;
use super::value_paths;
use super::vocabulary::{ExtractRule, Vocabulary};

/// Maximum size of an id carried unchanged, bytes; a longer id is cut and its digest appended.
const MAX_ID_BYTES: usize = 512;
/// Maximum size of a log body's JSON text that is parsed, bytes.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Maximum size of a log body that may be an event's name, bytes.
const MAX_NAME_BYTES: usize = 128;
/// Maximum size of a fact that is a label, bytes.
const MAX_LABEL_BYTES: usize = 256;

/// One attribute of the current item.
#[derive(Clone, Copy)]
pub(super) struct ItemAttribute<'p> {
    pub(super) id: AttrId,
    pub(super) code: u32,
    pub(super) value: Value<'p>,
}

/// Structure that the facts of an item are read from.
struct SlotStructure {
    /// The slot of its value, and whether it is on the resource.
    key: (SlotIndex, bool),
    has_escaped_letter: bool,
    /// `None`: not parsed yet. `Some(None)`: the value has no structure.
    parsed: Option<Option<serde_json::Value>>,
}

/// Values by slot. Clearing costs as much as filling did.
struct SlotValues<'p> {
    values: Vec<Option<Value<'p>>>,
    touched: Vec<SlotIndex>,
}

impl<'p> SlotValues<'p> {
    fn new(len: usize) -> Self {
        Self { values: vec![None; len], touched: Vec::new() }
    }

    fn clear(&mut self) {
        for slot in self.touched.drain(..) {
            if let Some(value) = self.values.get_mut(slot as usize) {
                *value = None;
            }
        }
    }

    fn set(&mut self, slot: SlotIndex, value: Value<'p>) {
        if let Some(entry) = self.values.get_mut(slot as usize) {
            *entry = Some(value);
            self.touched.push(slot);
        }
    }

    fn get(&self, slot: SlotIndex) -> Option<Value<'p>> {
        self.values.get(slot as usize).copied().flatten()
    }
}

/// Reads items in wire order.
pub(super) struct ItemReader<'v, 'p> {
    pub(super) vocabulary: &'v Vocabulary,
    pub(super) payload: &'p Payload,
    account: &'p str,
    pub(super) memo: KeyClassCache<'v, 'p>,
    slots: SlotValues<'p>,
    resource_slots: SlotValues<'p>,
    resource: Option<NodeId>,
    /// Whether the resource is an agent's, so that everything on and below it is closed.
    pub(super) is_agent_resource: bool,
    scope: Option<NodeId>,
    /// Whether the scope is a dialect's, so that everything on and below it is closed.
    pub(super) is_dialect_scope: bool,
    pub(super) scope_name: &'p str,
    pub(super) scope_version: &'p str,
    pub(super) schema_url: &'p str,
    /// Every clause that the current scope and resource permit.
    pub(super) possible_clauses: Vec<PossibleClause<'v>>,
    pub(super) node: Option<NodeId>,
    pub(super) kind: NodeKind,
    pub(super) name: &'p str,
    /// Name of a log event: the attribute `event.name`, else the field, else a short body.
    pub(super) event_name: &'p str,
    /// Whether the event is named elsewhere than in the body.
    pub(super) has_event_name: bool,
    pub(super) body: Option<Value<'p>>,
    pub(super) marker_bits: u128,
    pub(super) attrs: Vec<ItemAttribute<'p>>,
    /// Counts of tokens by the words of their keys, and whether a key is in no namespace for usage.
    pub(super) spelled_counts: Vec<(TokenBucket, bool, Value<'p>)>,
    /// Structures in values of the current item.
    structures: RefCell<Vec<SlotStructure>>,
}

impl<'v, 'p> ItemReader<'v, 'p> {
    pub(super) fn new(vocabulary: &'v Vocabulary, account: &'p str, payload: &'p Payload) -> Self {
        Self {
            vocabulary,
            payload,
            account,
            memo: KeyClassCache::new(&vocabulary.keys),
            slots: SlotValues::new(vocabulary.slots),
            resource_slots: SlotValues::new(vocabulary.slots),
            resource: None,
            is_agent_resource: false,
            scope: None,
            is_dialect_scope: false,
            scope_name: "",
            scope_version: "",
            schema_url: "",
            possible_clauses: Vec::new(),
            node: None,
            kind: NodeKind::Span,
            name: "",
            event_name: "",
            has_event_name: false,
            body: None,
            marker_bits: 0,
            attrs: Vec::new(),
            spelled_counts: Vec::new(),
            structures: RefCell::default(),
        }
    }

    /// Makes `node` the current item.
    pub(super) fn enter_item(&mut self, node: NodeId) {
        let payload = self.payload;
        self.enter_resource(payload.resource(node));
        self.enter_scope(payload.scope(node));
        self.node = Some(node);
        self.kind = payload.kind(node);
        self.slots.clear();
        self.attrs.clear();
        self.spelled_counts.clear();
        self.structures.get_mut().clear();
        self.marker_bits = 0;
        for attribute in payload.attributes(node) {
            let code = self.memo.code(attribute.key);
            let class = self.memo.class(code);
            self.marker_bits |= class.marks;
            self.spelled_counts.extend(spelled_count(class.usage, attribute.value));
            if let Some(slot) = class.slot {
                self.slots.set(slot, attribute.value);
            }
            self.attrs.push(ItemAttribute { id: attribute.id, code, value: attribute.value });
        }
        self.enter_names(node);
    }

    fn enter_names(&mut self, node: NodeId) {
        let payload = self.payload;
        (self.name, self.event_name, self.body) = ("", "", None);
        match self.kind {
            NodeKind::LogRecord => {
                self.body = payload.body(node);
                if let Some(body) = self.body {
                    self.slots.set(self.vocabulary.log_body, body);
                }
                self.enter_body();
                let attribute = self.slots.get(self.vocabulary.event_name).and_then(|value| value.as_str());
                let body = self.body.and_then(|body| body.as_str()).filter(|body| body.len() <= MAX_NAME_BYTES);
                // The attribute comes first: some emitters put a line of source code into the field.
                let field = payload.text(node, TextField::EventName);
                // If the field holds the same name in a longer form, the field wins: its prefix may name the emitter.
                let long_field =
                    attribute.and_then(|short| field.strip_suffix(short)?.strip_suffix('.')).map(|_| field);
                self.has_event_name = !field.is_empty() || attribute.is_some();
                let candidates = [long_field, attribute, Some(field), body];
                self.event_name = candidates.into_iter().flatten().find(|name| !name.is_empty()).unwrap_or("");
            }
            NodeKind::DataPoint => {
                self.name = payload.parent(node).map_or("", |metric| payload.text(metric, TextField::Name));
            }
            _ => {
                self.name = payload.text(node, TextField::Name);
                let slot = self.vocabulary.span_name;
                if !self.name.is_empty() && self.slots.get(slot).is_none() {
                    self.slots.set(slot, Value::Str(self.name));
                }
            }
        }
    }

    /// Reads the top-level entries of a map body, or of a JSON object in a text body, like attributes, unless an
    /// attribute has the same key. They only set marks of described dialects: a key "completion" in a log line does not
    /// make the item an agent's. Then reads the log lines that are wrapped in the body or an attribute.
    fn enter_body(&mut self) {
        match self.body {
            Some(body @ Value::Map(_)) => body.entries().for_each(|(key, value)| self.enter_entry(key, value)),
            Some(Value::Str(text)) if text.starts_with('{') && text.len() <= MAX_BODY_BYTES => {
                for (key, value) in json_body::collect_maps(text, 0).into_iter().flatten() {
                    self.enter_entry(key, value);
                }
            }
            _ => {}
        }
        let body = self.body.map(|body| (body, true));
        let attributes = self.attrs.iter().map(|attr| (attr.value, false));
        let may_be_structure = |value: &Value<'_>| match value {
            Value::Map(_) => true,
            Value::Str(text) => text.len() <= MAX_BODY_BYTES && memchr::memchr(b'{', text.as_bytes()).is_some(),
            _ => false,
        };
        let values: Vec<(Value<'p>, bool)> =
            body.into_iter().chain(attributes).filter(|(value, _)| may_be_structure(value)).collect();
        for (value, is_body) in values {
            // The body's own entries were read above, unless a logger's prefix precedes them.
            let is_read = is_body && value.as_str().is_none_or(|text| text.starts_with('{'));
            for map in self.vocabulary.wrapped.collect_maps(value).into_iter().skip(usize::from(is_read)) {
                if self.is_wrapped_line(&map) {
                    map.iter().for_each(|(key, value)| self.enter_entry(key, *value));
                }
            }
        }
    }

    fn is_wrapped_line(&mut self, map: &[(&'p str, Value<'p>)]) -> bool {
        map.iter().any(|(key, value)| {
            let code = self.memo.code(key);
            let class = self.memo.class(code);
            let wrapped = &self.vocabulary.wrapped;
            let has_known_value = |(slot, values): &(SlotIndex, Vec<String>)| {
                class.slot == Some(*slot) && value.as_str().is_some_and(|text| values.iter().any(|known| known == text))
            };
            class.marks & wrapped.marks != 0 || wrapped.equals.iter().any(has_known_value)
        })
    }

    fn enter_entry(&mut self, key: &'p str, value: Value<'p>) {
        let code = self.memo.code(key);
        let class = self.memo.class(code);
        self.marker_bits |= class.marks & self.vocabulary.described_marks;
        self.spelled_counts.extend(spelled_count(class.usage, value));
        if let Some(slot) = class.slot.filter(|slot| self.slots.get(*slot).is_none()) {
            self.slots.set(slot, value);
        }
    }

    fn enter_resource(&mut self, resource: NodeId) {
        if self.resource == Some(resource) {
            return;
        }
        self.resource = Some(resource);
        self.scope = None;
        self.resource_slots.clear();
        let payload = self.payload;
        for attribute in payload.attributes(resource) {
            let code = self.memo.code(attribute.key);
            if let Some(slot) = self.memo.class(code).slot {
                self.resource_slots.set(slot, attribute.value);
            }
        }
        let service = ServiceIdentity::from_resource(payload, resource);
        let is_agent = |(slot, names): &(SlotIndex, NamePatterns)| {
            self.resource_value(*slot).is_some_and(|value| value.as_str().is_none_or(|text| names.matches(text)))
        };
        // asked first, so that no service that says so itself is listed as one of an earlier version
        self.is_agent_resource = self.vocabulary.agent_resources.iter().any(is_agent)
            || self.vocabulary.policy.closes_service(self.account, service.as_ref());
    }

    fn enter_scope(&mut self, scope: NodeId) {
        if self.scope == Some(scope) {
            return;
        }
        self.scope = Some(scope);
        self.scope_name = self.payload.text(scope, TextField::Name);
        self.scope_version = self.payload.text(scope, TextField::Version);
        self.schema_url = self.payload.text(scope, TextField::SchemaUrl);
        let mut possible = std::mem::take(&mut self.possible_clauses);
        possible.clear();
        for dialect in &self.vocabulary.dialects {
            let clauses = dialect.clauses.iter().filter(|clause| clause.matches_scope(self));
            possible.extend(clauses.map(|clause| clause.as_possible(dialect)));
        }
        self.possible_clauses = possible;
        self.is_dialect_scope = self.possible_clauses.iter().any(PossibleClause::matches_scope_only);
    }

    /// The item's own value in a slot.
    pub(super) fn value(&self, slot: SlotIndex) -> Option<Value<'p>> {
        self.slots.get(slot)
    }

    /// The resource's value in a slot.
    pub(super) fn resource_value(&self, slot: SlotIndex) -> Option<Value<'p>> {
        self.resource_slots.get(slot)
    }

    fn source_value(&self, source: &FactSource) -> Option<Value<'p>> {
        let value = if source.on_resource { self.resource_value(source.slot) } else { self.value(source.slot) };
        value.filter(|value| !label_shape::is_empty_value(*value) && (!source.text || value.as_str().is_some()))
    }

    /// Keys whose values are the caller's words, according to another attribute.
    pub(super) fn caller_supplied_keys(&self) -> CallerSuppliedKeys {
        let (schema, template, _) = self.vocabulary.caller_key_slots;
        let text = |slot| self.value(slot).and_then(|value| value.as_str());
        caller_supplied::read_supplied_keys(text(schema), text(template))
    }

    /// The replacement for a span name that is a message with the caller's words filled in: the message's template.
    pub(super) fn span_name_template(&self) -> Option<&'p str> {
        let (_, template, message) = self.vocabulary.caller_key_slots;
        let text = |slot| self.value(slot).and_then(|value| value.as_str());
        let template = text(template)?;
        let is_filled_in = self.kind == NodeKind::Span && text(message)? == self.name && template != self.name;
        is_filled_in.then_some(if label_shape::is_known_label(template) { template } else { kernel::CONTENT })
    }

    /// The scalar at a path inside an attribute's structure or JSON text. The attribute is parsed once per item.
    fn scalar_inside(&self, source: &FactSource, value: Value<'p>) -> Option<serde_json::Value> {
        if let [step] = source.json.as_slice()
            && let Some(words) = step.literal().and_then(|step| step.strip_prefix('^'))
        {
            return value_paths::header_number(value.as_str()?, words);
        }
        let key = (source.slot, source.on_resource);
        let mut structures = self.structures.borrow_mut();
        let at = structures.iter().position(|known| known.key == key).unwrap_or_else(|| {
            let has_escaped_letter = value.as_str().is_none_or(value_paths::has_escaped_letter);
            structures.push(SlotStructure { key, has_escaped_letter, parsed: None });
            structures.len() - 1
        });
        let structure = structures.get_mut(at)?;
        let is_needed = || {
            structure.has_escaped_letter
                || value.as_str().is_none_or(|text| value_paths::may_lead_somewhere(text, &source.json))
        };
        if structure.parsed.is_none() && !is_needed() {
            return None;
        }
        let parsed = structure.parsed.get_or_insert_with(|| value_paths::parse(value));
        value_paths::scalar_at_path(parsed.as_ref()?, &source.json)
    }

    /// The text of one source.
    pub(super) fn text_at(&self, source: &FactSource) -> Option<String> {
        let value = self.source_value(source)?;
        if source.json.is_empty() {
            text_of(value)
        } else {
            value_paths::scalar_text(&self.scalar_inside(source, value)?).map(|text| bounded_id(&text).into_owned())
        }
    }

    /// The text of the first source that has one.
    pub(super) fn text(&self, sources: &SourceList) -> Option<String> {
        sources.iter().find_map(|source| self.text_at(source))
    }

    /// A number or text extracted from content, converted to its type in the conventions if it has one. `None` if the
    /// target attribute is already present and not itself a source.
    pub(super) fn extract_value(&self, rule: &ExtractRule) -> Option<OwnedValue> {
        let is_present = |slot| self.value(slot).is_some_and(|value| !label_shape::is_empty_value(value));
        let reads_target = rule.from.iter().any(|source| source.slot == rule.slot);
        if !reads_target && is_present(rule.slot) {
            return None;
        }
        rule.from.iter().find_map(|source| {
            let value = self.source_value(source)?;
            let found = match value {
                _ if !source.json.is_empty() => self.scalar_inside(source, value)?,
                Value::Str(text) => text.into(),
                Value::Int(number) => number.into(),
                Value::Double(number) => number.into(),
                _ => return None,
            };
            if let Some(divisor) = rule.divide {
                let number = found.as_f64().or_else(|| found.as_str()?.parse().ok())?;
                return Some(OwnedValue::Double(number / divisor)).filter(|_| number.is_finite() && number > 0.0);
            }
            match rule.kind {
                Some(kind) => kind.convert_json(&found),
                None => found.as_i64().map(OwnedValue::Int).or_else(|| Some(OwnedValue::Str(found.as_str()?.into()))),
            }
        })
    }

    /// How an expected output, which is content, compares with the actual one.
    pub(super) fn output_comparison(&self) -> Vec<(&'static str, OwnedValue)> {
        let text = |list: &SourceList| list.iter().find_map(|source| self.source_value(source)?.as_str());
        let [Some(expected), actual] = self.vocabulary.outputs.each_ref().map(text) else { return Vec::new() };
        let bytes = |text: &str| OwnedValue::Int(i64::try_from(text.len()).unwrap_or(i64::MAX));
        let mut compared = vec![("tollgate.output.expected_bytes", bytes(expected))];
        if let Some(actual) = actual {
            compared.push(("tollgate.output.actual_bytes", bytes(actual)));
            compared.push(("tollgate.output.as_expected", OwnedValue::Bool(actual.trim() == expected.trim())));
        }
        compared
    }

    /// Attributes of the item whose type differs from the conventions, with their converted values.
    pub(super) fn converted_attributes(&self) -> Vec<(AttrId, OwnedValue)> {
        let kind = |attr: &ItemAttribute<'_>| self.memo.class(attr.code).kind;
        self.attrs.iter().filter_map(|attr| Some((attr.id, kind(attr)?.convert(attr.value)?))).collect()
    }

    /// The text of the first source that has one on the item, else on the resource.
    pub(super) fn item_or_resource_text(&self, sources: &SourceList) -> Option<String> {
        self.text(sources).or_else(|| self.resource_text(sources))
    }

    /// The text of the first source that has one on the resource.
    pub(super) fn resource_text(&self, sources: &SourceList) -> Option<String> {
        sources.iter().find_map(|source| text_of(self.resource_value(source.slot)?))
    }

    /// The text of the first source that has one, if it can be a label: at most 256 bytes, on one line.
    pub(super) fn label<'s>(&self, sources: impl IntoIterator<Item = &'s FactSource>) -> Option<String> {
        (sources.into_iter())
            .find_map(|source| self.text_at(source))
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty() && text.len() <= MAX_LABEL_BYTES && !text.contains(['\n', '\r']))
    }

    /// The values of all sources that are present.
    pub(super) fn values<'s>(
        &'s self,
        sources: &'s SourceList,
    ) -> impl Iterator<Item = (&'s FactSource, Value<'p>)> + 's {
        sources.iter().filter_map(|source| Some((source, self.source_value(source)?)))
    }

    /// The count in the first source that is present. `Some(None)`: its value is no count.
    pub(super) fn count(&self, sources: &[FactSource]) -> Option<Option<u64>> {
        let count = sources.iter().find_map(|source| {
            let value = self.source_value(source)?;
            match source.json.is_empty() {
                true => Some(value.as_count()),
                false => self.scalar_inside(source, value).map(|found| value_paths::whole_number(&found)),
            }
        })?;
        Some(count.and_then(|count| u64::try_from(count).ok()))
    }

    /// Returns true if another source of the list reports a different number.
    pub(super) fn contradicts(&self, sources: &[FactSource], number: u64) -> bool {
        let plain = sources.iter().filter(|source| source.json.is_empty());
        let mut counts = plain.filter_map(|source| self.source_value(source)?.as_count());
        counts.any(|count| u64::try_from(count) != Ok(number))
    }
}

fn spelled_count(key: Option<UsageKey>, value: Value<'_>) -> Option<(TokenBucket, bool, Value<'_>)> {
    let Some(UsageKey::Tokens { bucket, bare }) = key else { return None };
    let is_count = !label_shape::is_empty_value(value) && !is_structure(value);
    is_count.then_some((bucket, bare, value))
}

/// Returns true for a map, a list, and a text that may be one.
pub(super) fn is_structure(value: Value<'_>) -> bool {
    match value {
        Value::Map(_) | Value::List(_) => true,
        Value::Str(text) => text.starts_with(['{', '[']),
        _ => false,
    }
}

/// A scalar as text; for a list, its first scalar. Long texts are cut and end in their digest, so that facts stay
/// bounded.
pub(super) fn text_of(value: Value<'_>) -> Option<String> {
    match value {
        Value::Str("") | Value::Empty | Value::Map(_) | Value::Bytes(_) => None,
        Value::Str(text) => Some(bounded_id(text).into_owned()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Double(value) => Some(value.to_string()),
        Value::List(_) => value.items().find(|item| !matches!(item, Value::List(_))).and_then(text_of),
    }
}

/// The form of an id that facts carry: unchanged, or cut at 512 bytes with the SHA-256 digest of the whole appended.
pub fn bounded_id(text: &str) -> Cow<'_, str> {
    use kernel::sha256::Sha256;
    if text.len() <= MAX_ID_BYTES {
        return text.into();
    }
    let mut out = text.get(..text.floor_char_boundary(MAX_ID_BYTES)).unwrap_or_default().to_owned();
    hex::push(&mut out, &Sha256::digest(text.as_bytes()));
    out.into()
}

/// Maximum length of a walk to an ancestor.
const MAX_ANCESTORS: usize = 64;

/// The items of a payload, and its spans by trace id and span id, for walks to ancestors.
pub(super) struct SpanIndex<'p> {
    pub(super) payload: &'p Payload,
    nodes: Vec<NodeId>,
    by_id: foldhash::HashMap<(&'p [u8], &'p [u8]), usize>,
}

impl<'p> SpanIndex<'p> {
    /// `nodes`: the payload's items, in order.
    pub(super) fn new(payload: &'p Payload, nodes: Vec<NodeId>) -> Self {
        let spans = nodes.iter().enumerate().filter(|(_, node)| payload.kind(**node) == NodeKind::Span);
        let by_id = spans.map(|(at, node)| ((payload.trace_id(*node), payload.span_id(*node)), at)).collect();
        Self { payload, nodes, by_id }
    }

    /// The index of the parent of `node`, if it is in the payload.
    fn parent(&self, node: NodeId) -> Option<usize> {
        let parent = self.payload.parent_span_id(node);
        // A span that names itself as its parent has none.
        if parent.is_empty() || parent == self.payload.span_id(node) {
            return None;
        }
        self.by_id.get(&(self.payload.trace_id(node), parent)).copied()
    }

    /// The indexes of the ancestors of `node`, nearest first, at most 64.
    pub(super) fn ancestors(&self, node: NodeId) -> impl Iterator<Item = usize> {
        std::iter::successors(self.parent(node), move |at| self.parent(*self.nodes.get(*at)?)).take(MAX_ANCESTORS)
    }
}
