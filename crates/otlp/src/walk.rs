//! The one pass over a request that validates it and fills the index. Driven by `schema`; every field is visited once;
//! recursion follows the schema and values, whose depth is bounded; nothing is allocated per attribute. `payload`
//! reads, `edit` edits.

use super::check::{self, Found, expect};
use super::ids::NodeKind;
use super::index::{AttrRec, Chain, FieldRec, Frame, Index, NONE, NodeRec, State, UnknownRec, is_item};
use super::malformed::Malformed;
use super::merged;
use super::schema::{Msg, Rule, Slot};
use super::signal::Signal;
use super::wire::{self, Cursor, LEN, RawField, Span};

/// Maximum number of spans, records or points in one request: the data kept about each takes far more memory than the
/// two bytes it may have on the wire.
const MAX_ITEMS: usize = 1 << 18;
/// Maximum number of nodes, attributes, fields and messages in one request, for the same reason.
const MAX_ELEMENTS: usize = 1 << 22;

/// Maximum number of singular fields of a node, repetitions included; the schema has at most eight.
const MAX_FIELDS: u8 = 64;

/// Indexes `request`.
pub(super) fn index(signal: Signal, request: &[u8]) -> Result<Index, Malformed> {
    if request.len() >= u32::MAX as usize {
        return Err(Malformed { what: "request too large", at: 0 });
    }
    let mut walk = Walk { request, index: Index::default(), bodies: 0, body_repeated: false };
    walk.index.frames.push(Frame { parent: NONE, at: 0, body: Span::new(0, request.len()) });
    walk.message(Place { msg: Msg::request(signal), node: NONE, frame: 0 }, Span::new(0, request.len()))?;
    walk.index.fill_lookup(request);
    Ok(walk.index)
}

struct Walk<'a> {
    request: &'a [u8],
    index: Index,
    /// Bodies seen in the current log record.
    bodies: usize,
    /// The bodies have to be merged.
    body_repeated: bool,
}

/// The message that is being walked.
#[derive(Clone, Copy)]
struct Place {
    msg: Msg,
    node: u32,
    frame: u32,
}

impl Walk<'_> {
    fn message(&mut self, place: Place, span: Span) -> Result<(), Malformed> {
        let request = self.request;
        let mut cursor = Cursor::over(request, span);
        while let Some(field) = cursor.next()? {
            if self.index.items > MAX_ITEMS || self.index.elements() > MAX_ELEMENTS {
                return Err(Malformed { what: "too many items or attributes in one request", at: field.at });
            }
            match place.msg.rule(field.number) {
                Rule::Attribute => self.attribute(place, &field)?,
                Rule::Text(slot) => {
                    check::text(request, &field)?;
                    self.field(place, slot, &field)?;
                }
                Rule::Id(slot, length) => self.id(place, slot, length, &field)?,
                Rule::Read(slot, wire) => {
                    expect(&field, wire)?;
                    self.field(place, slot, &field)?;
                }
                Rule::Number(wire) => expect(&field, wire)?,
                Rule::Numbers(wire) => self.numbers(wire, &field)?,
                Rule::Value => self.body(place, &field)?,
                Rule::Inner(msg) => {
                    let frame = self.frame(place.frame, &field)?;
                    if matches!(msg, Msg::Resource | Msg::Scope | Msg::Status)
                        && let Some(node) = self.index.nodes.get_mut(place.node as usize)
                    {
                        node.inner = frame;
                    }
                    self.message(Place { msg, node: place.node, frame }, field.span())?;
                }
                Rule::Node(msg, kind) => self.node(place, msg, kind, &field)?,
                Rule::Unknown | Rule::Key | Rule::ValueText | Rule::ValueBytes => self.unknown(place, &field),
            }
        }
        Ok(())
    }

    fn unknown(&mut self, place: Place, field: &RawField) {
        self.index.unknown.push(UnknownRec { frame: place.frame, wire: Span::new(field.at, field.end) });
    }

    fn frame(&mut self, parent: u32, field: &RawField) -> Result<u32, Malformed> {
        expect(field, LEN)?;
        let index = self.index.frames.len() as u32;
        self.index.frames.push(Frame { parent, at: field.at as u32, body: field.span() });
        Ok(index)
    }

    fn node(&mut self, place: Place, msg: Msg, kind: NodeKind, field: &RawField) -> Result<(), Malformed> {
        let frame = self.frame(place.frame, field)?;
        let index = self.index.nodes.len() as u32;
        self.index.nodes.push(NodeRec {
            kind,
            dead: false,
            long: false,
            attributes_number: msg.attributes_number() as u8,
            field_count: 0,
            attr_count: 0,
            parent: place.node,
            frame,
            inner: NONE,
            end: index + 1,
            attrs: Chain::EMPTY,
            fields: Chain::EMPTY,
            others: Chain::EMPTY,
        });
        self.index.items += usize::from(is_item(kind));
        (self.bodies, self.body_repeated) = (0, false);
        self.message(Place { msg, node: index, frame }, field.span())?;
        if self.body_repeated {
            self.merge_bodies(index);
            self.body_repeated = false;
        }
        let end = self.index.nodes.len() as u32;
        if let Some(node) = self.index.nodes.get_mut(index as usize) {
            node.end = end;
        }
        Ok(())
    }

    #[inline]
    fn attribute(&mut self, place: Place, field: &RawField) -> Result<(), Malformed> {
        expect(field, LEN)?;
        let (parts, found) = match check::plain_key_value(self.request, field.span()) {
            Some(parts) => (parts, Found::default()),
            None => check::key_value(self.request, field.span(), 0)?,
        };
        let index = self.index.push_attr(AttrRec {
            node: place.node,
            next: NONE,
            frame: place.frame,
            state: State::Wire,
            slot: false,
            unknown: found.unknown,
            shape: parts.shape,
            wire: Span::new(field.at, field.end),
            arena: Span::default(),
            key: parts.key,
            value: parts.value,
        });
        if found.repeated {
            self.merge_attribute(index, field);
        }
        Ok(())
    }

    /// Rewrites an attribute that repeats singular fields to the value that every decoder reads, so that no text hides
    /// in an occurrence that another one replaces.
    #[cold]
    fn merge_attribute(&mut self, index: u32, field: &RawField) {
        let Some(mut attr) = self.index.attrs.get(index as usize).copied() else { return };
        let mut merged = Vec::with_capacity(field.span().len());
        merged::put_merged_key_value(&mut merged, field.span().of(self.request));
        self.index.store_attribute(&mut attr, field.number, &merged);
        if let Some(place) = self.index.attrs.get_mut(index as usize) {
            *place = attr;
        }
    }

    fn field(&mut self, place: Place, slot: Slot, field: &RawField) -> Result<(), Malformed> {
        if slot != Slot::Other
            && let Some(node) = self.index.nodes.get_mut(place.node as usize)
        {
            if node.field_count >= MAX_FIELDS {
                return Err(Malformed { what: "a field stands too often", at: field.at });
            }
            node.field_count += 1;
        }
        self.index.push_field(FieldRec {
            node: place.node,
            next: NONE,
            frame: place.frame,
            slot,
            state: State::Wire,
            unknown: false,
            number: field.number as u8,
            wire: Span::new(field.at, field.end),
            arena: Span::default(),
            body: field.span(),
        });
        Ok(())
    }

    fn id(&mut self, place: Place, slot: Slot, length: usize, field: &RawField) -> Result<(), Malformed> {
        expect(field, LEN)?;
        match field.span().len() {
            0 => Ok(()),
            found if found == length => self.field(place, slot, field),
            _ => {
                if matches!(slot, Slot::TraceId | Slot::SpanId) && self.index.node(place.node).kind == NodeKind::Span {
                    self.index.bad_ids.push(place.node);
                }
                self.unknown(place, field);
                Ok(())
            }
        }
    }

    /// Validates repeated numbers, packed or not.
    fn numbers(&mut self, wire: u8, field: &RawField) -> Result<(), Malformed> {
        if field.wire != LEN {
            return expect(field, wire);
        }
        let bad = Malformed { what: "bad packed numbers", at: field.at };
        if wire == wire::VARINT {
            let body = field.span().of(self.request);
            let mut pos = 0;
            while pos < body.len() {
                (_, pos) = wire::varint(body, pos).ok_or_else(|| bad.clone())?;
            }
            return Ok(());
        }
        if field.span().len().is_multiple_of(8) { Ok(()) } else { Err(bad) }
    }

    fn body(&mut self, place: Place, field: &RawField) -> Result<(), Malformed> {
        expect(field, LEN)?;
        let found = check::any_value(self.request, field, 1)?;
        self.field(place, Slot::Body, field)?;
        if let Some(record) = self.index.fields.last_mut() {
            record.unknown = found.unknown;
        }
        self.bodies += 1;
        self.body_repeated |= found.repeated || self.bodies > 1;
        Ok(())
    }

    /// Merges several bodies of one record, or a body with several members, into the last one, as every decoder does.
    #[cold]
    fn merge_bodies(&mut self, node: u32) {
        let bodies: Vec<(u32, FieldRec)> = (self.index.node_fields(node))
            .filter(|(_, field)| field.slot == Slot::Body)
            .map(|(index, field)| (index, *field))
            .collect();
        let mut joined = Vec::new();
        bodies.iter().for_each(|(_, field)| joined.extend_from_slice(field.body.of(self.request)));
        let mut merged = Vec::with_capacity(joined.len());
        merged::put_merged_value(&mut merged, &joined);
        let unknown = bodies.iter().any(|(_, field)| field.unknown);
        let Some(((last, _), earlier)) = bodies.split_last() else { return };
        earlier.iter().for_each(|(index, _)| self.index.remove_field(*index));
        self.index.store_field(*last, &merged);
        if let Some(field) = self.index.fields.get_mut(*last as usize) {
            field.unknown = unknown;
        }
    }
}
