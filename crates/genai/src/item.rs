//! **What**: [`Reader`]: one item of a payload, its attributes sorted into slots, with its scope and resource.
//! **Invariants**: buffers are reused; one hash lookup per attribute; scope and resource are read when they change.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use kernel::hex;
use otlp::{AttrId, Field, Node, NodeKind, OwnedValue, Payload, Value};

use super::inside;
use super::json_body;
use super::keys::{Memo, Slot};
use super::named::{self, Named};
use super::shape;
use super::sources::{Source, SourceList};
use super::vocabulary::{Extract, Vocabulary};

/// Longest id that is carried as it is, bytes; longer ones end in their digest.
const ID_BYTES: usize = 512;
/// Longest JSON text of a log body that is looked into, bytes.
const BODY_BYTES: usize = 1 << 20;
/// Longest log body that may be an event's name, bytes.
const NAME_BYTES: usize = 128;

/// One attribute of the present item.
#[derive(Clone, Copy)]
pub(super) struct Attr<'p> {
    pub(super) id: AttrId,
    pub(super) code: u32,
    pub(super) value: Value<'p>,
}

/// A count as sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Absent,
    Bad,
    Is(u64),
}

/// A text that was looked into: its slot, whether on the resource, what stands in it.
type Parsed = ((Slot, bool), Option<serde_json::Value>);

/// Values by slot, cleared in the time it took to fill them.
struct Slots<'p> {
    values: Vec<Option<Value<'p>>>,
    touched: Vec<Slot>,
}

impl<'p> Slots<'p> {
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

    fn set(&mut self, slot: Slot, value: Value<'p>) {
        if let Some(place) = self.values.get_mut(slot as usize) {
            *place = Some(value);
            self.touched.push(slot);
        }
    }

    fn get(&self, slot: Slot) -> Option<Value<'p>> {
        self.values.get(slot as usize).copied().flatten()
    }
}

/// Reads items in wire order.
pub(super) struct Reader<'v, 'p> {
    pub(super) vocabulary: &'v Vocabulary,
    pub(super) payload: &'p Payload,
    pub(super) memo: Memo<'v, 'p>,
    slots: Slots<'p>,
    resource_slots: Slots<'p>,
    resource: Option<Node>,
    scope: Option<Node>,
    pub(super) scope_name: &'p str,
    pub(super) scope_version: &'p str,
    pub(super) schema_url: &'p str,
    /// Dialect and clause of every clause that scope and resource allow.
    pub(super) possible: Vec<(usize, usize)>,
    pub(super) node: Option<Node>,
    pub(super) kind: NodeKind,
    pub(super) name: &'p str,
    /// Name of a log event: the field, else `event.name`, else a short body.
    pub(super) event: &'p str,
    /// Whether the event's name stands beside its body.
    pub(super) has_event_name: bool,
    pub(super) body: Option<Value<'p>>,
    pub(super) marks: u128,
    pub(super) attrs: Vec<Attr<'p>>,
    /// Texts of the present item that were looked into, by slot.
    parsed: RefCell<Vec<Parsed>>,
}

impl<'v, 'p> Reader<'v, 'p> {
    pub(super) fn new(vocabulary: &'v Vocabulary, payload: &'p Payload) -> Self {
        Self {
            vocabulary,
            payload,
            memo: Memo::new(&vocabulary.keys),
            slots: Slots::new(vocabulary.slots),
            resource_slots: Slots::new(vocabulary.slots),
            resource: None,
            scope: None,
            scope_name: "",
            scope_version: "",
            schema_url: "",
            possible: Vec::new(),
            node: None,
            kind: NodeKind::Span,
            name: "",
            event: "",
            has_event_name: false,
            body: None,
            marks: 0,
            attrs: Vec::new(),
            parsed: RefCell::default(),
        }
    }

    /// Makes `node` the present item.
    pub(super) fn enter(&mut self, node: Node) {
        let payload = self.payload;
        self.enter_resource(payload.resource(node));
        self.enter_scope(payload.scope(node));
        self.node = Some(node);
        self.kind = payload.kind(node);
        self.slots.clear();
        self.attrs.clear();
        self.parsed.get_mut().clear();
        self.marks = 0;
        for attribute in payload.attributes(node) {
            let code = self.memo.code(attribute.key);
            let class = self.memo.class(code);
            self.marks |= class.marks;
            if let Some(slot) = class.slot {
                self.slots.set(slot, attribute.value);
            }
            self.attrs.push(Attr { id: attribute.id, code, value: attribute.value });
        }
        self.enter_names(node);
    }

    fn enter_names(&mut self, node: Node) {
        let payload = self.payload;
        (self.name, self.event, self.body) = ("", "", None);
        match self.kind {
            NodeKind::LogRecord => {
                self.body = payload.body(node);
                if let Some(body) = self.body {
                    self.slots.set(self.vocabulary.log_body, body);
                }
                self.enter_body();
                let attribute = self.slots.get(self.vocabulary.event_name).and_then(|value| value.as_str());
                let body = self.body.and_then(|body| body.as_str()).filter(|body| body.len() <= NAME_BYTES);
                // the attribute first: some put a line of source code into the field
                let field = payload.text(node, Field::EventName);
                // and of one name the longer form: the field's may say whose event it is
                let long = attribute.and_then(|short| field.strip_suffix(short)?.strip_suffix('.')).map(|_| field);
                self.has_event_name = !field.is_empty() || attribute.is_some();
                let candidates = [long, attribute, Some(field), body];
                self.event = candidates.into_iter().flatten().find(|name| !name.is_empty()).unwrap_or("");
            }
            NodeKind::DataPoint => {
                self.name = payload.parent(node).map_or("", |metric| payload.text(metric, Field::Name));
            }
            _ => {
                self.name = payload.text(node, Field::Name);
                let slot = self.vocabulary.span_name;
                if !self.name.is_empty() && self.slots.get(slot).is_none() {
                    self.slots.set(slot, Value::Str(self.name));
                }
            }
        }
    }

    /// The top-level entries of a body that is a map, or a JSON object in text, read like attributes where no attribute
    /// has the key. They mark described dialects only: a log line is no agent's because a key of it says "completion".
    fn enter_body(&mut self) {
        match self.body {
            Some(body @ Value::Map(_)) => body.entries().for_each(|(key, value)| self.enter_entry(key, value)),
            Some(Value::Str(text)) if text.starts_with('{') && text.len() <= BODY_BYTES => {
                for (key, value) in json_body::entries(text) {
                    self.enter_entry(key, value);
                }
            }
            _ => {}
        }
        let body = self.body.map(|body| (body, true));
        let attributes = self.attrs.iter().map(|attr| (attr.value, false));
        let structured = |value: &Value<'_>| match value {
            Value::Map(_) => true,
            Value::Str(text) => text.len() <= BODY_BYTES && memchr::memchr(b'{', text.as_bytes()).is_some(),
            _ => false,
        };
        let values: Vec<(Value<'p>, bool)> =
            body.into_iter().chain(attributes).filter(|(value, _)| structured(value)).collect();
        for (value, body) in values {
            // the entries of the body itself were read above, unless a logger's words stand before them
            let read = body && value.as_str().is_none_or(|text| text.starts_with('{'));
            for map in self.vocabulary.wrapped.maps(value).into_iter().skip(usize::from(read)) {
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
            let says = |(slot, values): &(Slot, Vec<String>)| {
                class.slot == Some(*slot) && value.as_str().is_some_and(|text| values.iter().any(|known| known == text))
            };
            class.marks & wrapped.marks != 0 || wrapped.equals.iter().any(says)
        })
    }

    fn enter_entry(&mut self, key: &'p str, value: Value<'p>) {
        let code = self.memo.code(key);
        let class = self.memo.class(code);
        self.marks |= class.marks & self.vocabulary.described_marks;
        if let Some(slot) = class.slot.filter(|slot| self.slots.get(*slot).is_none()) {
            self.slots.set(slot, value);
        }
    }

    fn enter_resource(&mut self, resource: Node) {
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
    }

    fn enter_scope(&mut self, scope: Node) {
        if self.scope == Some(scope) {
            return;
        }
        self.scope = Some(scope);
        self.scope_name = self.payload.text(scope, Field::Name);
        self.scope_version = self.payload.text(scope, Field::Version);
        self.schema_url = self.payload.text(scope, Field::SchemaUrl);
        let mut possible = std::mem::take(&mut self.possible);
        possible.clear();
        for (at, dialect) in self.vocabulary.dialects.iter().enumerate() {
            let clauses = dialect.clauses.iter().enumerate().filter(|(_, clause)| clause.allows(self));
            possible.extend(clauses.map(|(clause, _)| (at, clause)));
        }
        self.possible = possible;
    }

    /// The item's own value in a slot.
    pub(super) fn value(&self, slot: Slot) -> Option<Value<'p>> {
        self.slots.get(slot)
    }

    /// The resource's value in a slot.
    pub(super) fn on_resource(&self, slot: Slot) -> Option<Value<'p>> {
        self.resource_slots.get(slot)
    }

    fn at(&self, source: &Source) -> Option<Value<'p>> {
        let value = if source.on_resource { self.on_resource(source.slot) } else { self.value(source.slot) };
        value.filter(|value| !shape::is_void(*value) && (!source.text || value.as_str().is_some()))
    }

    /// Keys that hold the caller's words because another attribute says so.
    pub(super) fn named(&self) -> Named {
        let (schema, template, _) = self.vocabulary.named_by;
        let text = |slot| self.value(slot).and_then(|value| value.as_str());
        named::names(text(schema), text(template))
    }

    /// What the span's name becomes if it is a message with the caller's words filled in: the message's template.
    pub(super) fn named_message(&self) -> Option<&'p str> {
        let (_, template, message) = self.vocabulary.named_by;
        let text = |slot| self.value(slot).and_then(|value| value.as_str());
        let template = text(template)?;
        let filled = self.kind == NodeKind::Span && text(message)? == self.name && template != self.name;
        filled.then_some(if shape::is_known_label(template) { template } else { kernel::CONTENT })
    }

    /// What stands at a place inside an attribute's structure or JSON text, which is parsed once.
    fn inside(&self, source: &Source, value: Value<'p>) -> Option<serde_json::Value> {
        if let [step] = source.json.as_slice()
            && let Some(words) = step.literal().and_then(|step| step.strip_prefix('^'))
        {
            return inside::line(value.as_str()?, words);
        }
        let key = (source.slot, source.on_resource);
        let mut parsed = self.parsed.borrow_mut();
        let at = parsed.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            parsed.push((key, inside::parse(value)));
            parsed.len() - 1
        });
        inside::at(parsed.get(at)?.1.as_ref()?, &source.json)
    }

    /// The text of one source.
    pub(super) fn text_at(&self, source: &Source) -> Option<String> {
        let value = self.at(source)?;
        if source.json.is_empty() { text_of(value) } else { inside::text(&self.inside(source, value)?).map(bounded) }
    }

    /// The text of the first source that has one.
    pub(super) fn text(&self, sources: &SourceList) -> Option<String> {
        sources.iter().find_map(|source| self.text_at(source))
    }

    /// A number or text inside content, as it is there or as the conventions have it. None if its attribute is there.
    pub(super) fn extracted(&self, row: &Extract) -> Option<OwnedValue> {
        let there = |slot| self.value(slot).is_some_and(|value| !shape::is_void(value));
        let itself = row.from.iter().any(|source| source.slot == row.slot);
        if !itself && there(row.slot) {
            return None;
        }
        row.from.iter().find_map(|source| {
            let value = self.at(source)?;
            let found = match value {
                _ if !source.json.is_empty() => self.inside(source, value)?,
                Value::Str(text) => text.into(),
                Value::Int(number) => number.into(),
                Value::Double(number) => number.into(),
                _ => return None,
            };
            match row.kind {
                Some(kind) => kind.of_json(&found),
                None => found.as_i64().map(OwnedValue::Int).or_else(|| Some(OwnedValue::Str(found.as_str()?.into()))),
            }
        })
    }

    /// Attributes of the item whose type is not the one that the conventions give them.
    pub(super) fn mended(&self) -> Vec<(AttrId, OwnedValue)> {
        let kind = |attr: &Attr<'_>| self.memo.class(attr.code).kind;
        self.attrs.iter().filter_map(|attr| Some((attr.id, kind(attr)?.mended(attr.value)?))).collect()
    }

    /// The same, else from the resource.
    pub(super) fn text_anywhere(&self, sources: &SourceList) -> Option<String> {
        let everywhere = || sources.iter().find_map(|source| text_of(self.on_resource(source.slot)?));
        self.text(sources).or_else(everywhere)
    }

    /// A text that can be a label: at most 256 bytes, on one line.
    pub(super) fn label(&self, sources: &SourceList) -> Option<String> {
        self.label_of(sources.iter())
    }

    /// The same of these sources.
    pub(super) fn label_of<'s>(&self, mut sources: impl Iterator<Item = &'s Source>) -> Option<String> {
        sources
            .find_map(|source| self.text_at(source))
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty() && text.len() <= 2 * NAME_BYTES && !text.contains(['\n', '\r']))
    }

    /// The values of all sources that are there.
    pub(super) fn values<'s>(&'s self, sources: &'s SourceList) -> impl Iterator<Item = (&'s Source, Value<'p>)> + 's {
        sources.iter().filter_map(|source| Some((source, self.at(source)?)))
    }

    /// The count in the first source that is there.
    pub(super) fn count(&self, sources: &SourceList) -> Count {
        for source in sources {
            let Some(value) = self.at(source) else { continue };
            let number = if source.json.is_empty() {
                Some(value.as_count())
            } else {
                self.inside(source, value).map(|found| inside::count(&found))
            };
            match number {
                None => {}
                Some(Some(count)) => return u64::try_from(count).map_or(Count::Bad, Count::Is),
                Some(None) => return Count::Bad,
            }
        }
        Count::Absent
    }

    /// Whether a later source of the list says another number.
    pub(super) fn contradicts(&self, sources: &SourceList, number: u64) -> bool {
        let plain = sources.iter().filter(|source| source.json.is_empty());
        let mut said = plain.filter_map(|source| self.at(source)?.as_count());
        said.any(|other| u64::try_from(other) != Ok(number))
    }
}

/// A scalar as text; of a list its first scalar. Long ones end in their digest, so that facts stay bounded.
pub(super) fn text_of(value: Value<'_>) -> Option<String> {
    match value {
        Value::Str("") | Value::Empty | Value::Map(_) | Value::Bytes(_) => None,
        Value::Str(text) => Some(bounded(text.to_owned())),
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Double(value) => Some(value.to_string()),
        Value::List(_) => value.items().find(|item| !matches!(item, Value::List(_))).and_then(text_of),
    }
}

fn bounded(text: String) -> String {
    match carried_id(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(cut) => cut,
    }
}

/// The form of an id that facts carry: as it is, or cut, with its digest behind it.
pub fn carried_id(text: &str) -> Cow<'_, str> {
    use sha2::{Digest, Sha256};
    if text.len() <= ID_BYTES {
        return text.into();
    }
    let cut = (0..=ID_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let mut out = text.get(..cut).unwrap_or("").to_owned();
    hex::push(&mut out, &Sha256::digest(text.as_bytes()));
    out.into()
}

/// Trace and span id of an item, as one key.
pub(super) type SpanKey<'p> = (&'p [u8], &'p [u8]);

/// Spans by id, for walks to ancestors.
pub(super) struct Spans<'p>(HashMap<SpanKey<'p>, usize>);

/// Longest walk to an ancestor.
const DEPTH: usize = 64;

impl<'p> Spans<'p> {
    /// Indexes the spans of a payload, `items` in order.
    pub(super) fn new(payload: &'p Payload, items: impl Iterator<Item = Node>) -> Self {
        let keyed = items.enumerate().filter(|(_, node)| payload.kind(*node) == NodeKind::Span);
        Self(keyed.map(|(at, node)| ((payload.trace_id(node), payload.span_id(node)), at)).collect())
    }

    /// Index of the item that is the parent of `node`, if it is in the payload.
    pub(super) fn parent(&self, payload: &'p Payload, node: Node) -> Option<usize> {
        let parent = payload.parent_span_id(node);
        // a span that is its own parent has none
        if parent.is_empty() || parent == payload.span_id(node) {
            return None;
        }
        self.0.get(&(payload.trace_id(node), parent)).copied()
    }

    /// Indexes of the ancestors of `node`, nearest first, at most 64.
    pub(super) fn ancestors<'s>(
        &'s self,
        payload: &'p Payload,
        nodes: &'s [Node],
        node: Node,
    ) -> impl Iterator<Item = usize> + 's
    where
        'p: 's,
    {
        std::iter::successors(self.parent(payload, node), move |at| self.parent(payload, *nodes.get(*at)?)).take(DEPTH)
    }
}
