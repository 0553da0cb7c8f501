//! The records of the flat index: nodes, attributes, singular fields, and the messages that enclose them. One parse
//! fills a few Vecs; reading and editing use only these, never the wire format. Nodes are in preorder (a node's
//! descendants are `index+1..end`). Frames, fields and attributes from the wire are in wire order; those added by edits
//! follow. The elements of a node are chained by `next`. `index_builder` fills the index, `encode` writes it.

use super::check::KeyValueShape;
use super::ids::NodeKind;
use super::ids::SlotId;
use super::lookup::AttributeLookup;
use super::schema::IndexedField;
use super::wire::ByteRange;

/// No index.
pub(super) const NONE: u32 = u32::MAX;

/// Location of the current form of an attribute or field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StorageState {
    /// In the request, unchanged.
    Wire,
    /// In the arena: edited or added.
    Arena,
    /// Removed by an edit.
    Removed,
}

/// One node.
#[derive(Clone, Copy)]
pub(super) struct NodeRec {
    pub(super) kind: NodeKind,
    /// Removed by an edit, by itself or with a parent.
    pub(super) removed: bool,
    /// Its attributes are in the [`AttributeLookup`].
    pub(super) has_lookup: bool,
    /// Field number of its attributes.
    pub(super) attributes_number: u8,
    /// Number of singular fields seen.
    pub(super) field_count: u8,
    /// Number of attributes, added ones included.
    pub(super) attribute_count: u32,
    pub(super) parent: u32,
    /// The node's message; for Resource and Scope the envelope.
    pub(super) frame: u32,
    /// The frame of the last Resource, Scope or Status message in it.
    pub(super) inner: u32,
    /// One past its last descendant.
    pub(super) end: u32,
    pub(super) attributes: RecordChain,
    /// Singular fields that have a reader.
    pub(super) fields: RecordChain,
    /// Texts of repeated fields.
    pub(super) repeated_texts: RecordChain,
}

/// First and last element of a chain.
#[derive(Clone, Copy)]
pub(super) struct RecordChain {
    pub(super) first: u32,
    pub(super) last: u32,
}

impl RecordChain {
    pub(super) const EMPTY: Self = Self { first: NONE, last: NONE };
}

/// The record that an invalid handle reads.
pub(super) const NO_NODE: NodeRec = NodeRec {
    kind: NodeKind::Resource,
    removed: true,
    has_lookup: false,
    attributes_number: 0,
    field_count: 0,
    attribute_count: 0,
    parent: NONE,
    frame: NONE,
    inner: NONE,
    end: 0,
    attributes: RecordChain::EMPTY,
    fields: RecordChain::EMPTY,
    repeated_texts: RecordChain::EMPTY,
};

/// One attribute occurrence.
#[derive(Clone, Copy)]
pub(super) struct AttrRec {
    pub(super) node: u32,
    pub(super) next: u32,
    /// The enclosing message; NONE if that message is still to be created.
    pub(super) frame: u32,
    pub(super) state: StorageState,
    /// Its value is a slot.
    pub(super) slot: bool,
    /// It contains unknown fields.
    pub(super) unknown: bool,
    pub(super) shape: KeyValueShape,
    /// The whole field in the request; empty if it was added.
    pub(super) wire: ByteRange,
    /// The whole field in the arena, if it was edited or added.
    pub(super) arena: ByteRange,
    /// The key's text, in the request or the arena.
    pub(super) key: ByteRange,
    /// The AnyValue's body, in the request or the arena.
    pub(super) value: ByteRange,
}

/// One occurrence of a field that readers or text edits use.
#[derive(Clone, Copy)]
pub(super) struct FieldRec {
    pub(super) node: u32,
    pub(super) next: u32,
    pub(super) frame: u32,
    pub(super) kind: IndexedField,
    pub(super) state: StorageState,
    pub(super) unknown: bool,
    pub(super) number: u8,
    /// The whole field in the request; empty if it was added.
    pub(super) wire: ByteRange,
    /// The whole field in the arena, if it was edited or added.
    pub(super) arena: ByteRange,
    /// Its payload, in the request or the arena.
    pub(super) body: ByteRange,
}

/// A message on the wire.
#[derive(Clone, Copy)]
pub(super) struct MessageFrame {
    pub(super) parent: u32,
    /// Position of its tag.
    pub(super) at: u32,
    /// Its payload.
    pub(super) body: ByteRange,
}

/// A field that is not in the schema.
#[derive(Clone, Copy)]
pub(super) struct UnknownRec {
    pub(super) frame: u32,
    pub(super) wire: ByteRange,
}

/// The slot of an attribute.
#[derive(Clone, Copy)]
pub(super) struct SlotRec {
    pub(super) attr: u32,
    pub(super) slot: SlotId,
    pub(super) width: u32,
}

/// The index of one request.
#[derive(Clone, Default)]
pub(super) struct PayloadIndex {
    pub(super) nodes: Vec<NodeRec>,
    pub(super) attrs: Vec<AttrRec>,
    pub(super) fields: Vec<FieldRec>,
    pub(super) frames: Vec<MessageFrame>,
    pub(super) unknown: Vec<UnknownRec>,
    /// Spans with an id of a wrong length, in order.
    pub(super) bad_ids: Vec<u32>,
    /// The bytes of edits: whole fields in wire format.
    pub(super) arena: Vec<u8>,
    pub(super) slots: Vec<SlotRec>,
    pub(super) lookup: AttributeLookup,
    /// Whether anything differs from the request.
    pub(super) edited: bool,
    /// Whether any node was removed.
    pub(super) removed_nodes: bool,
    /// Number of items that are not removed.
    pub(super) items: usize,
}

impl PayloadIndex {
    pub(super) fn node(&self, node: u32) -> &NodeRec {
        self.nodes.get(node as usize).unwrap_or(&NO_NODE)
    }

    /// Number of records.
    pub(super) fn elements(&self) -> usize {
        self.nodes.len() + self.attrs.len() + self.fields.len() + self.unknown.len() + self.frames.len()
    }

    /// Appends an attribute to its node; returns its index.
    pub(super) fn push_attr(&mut self, attr: AttrRec) -> u32 {
        let index = self.attrs.len() as u32;
        let Some(node) = self.nodes.get_mut(attr.node as usize) else { return NONE };
        match self.attrs.get_mut(node.attributes.last as usize) {
            Some(last) => last.next = index,
            None => node.attributes.first = index,
        }
        node.attributes.last = index;
        node.attribute_count += 1;
        self.attrs.push(attr);
        index
    }

    /// Appends a field to its node; returns its index.
    pub(super) fn push_field(&mut self, field: FieldRec) -> u32 {
        let index = self.fields.len() as u32;
        let Some(node) = self.nodes.get_mut(field.node as usize) else { return NONE };
        let chain = if field.kind == IndexedField::Other { &mut node.repeated_texts } else { &mut node.fields };
        match self.fields.get_mut(chain.last as usize) {
            Some(last) => last.next = index,
            None => chain.first = index,
        }
        chain.last = index;
        self.fields.push(field);
        index
    }

    /// Indices of a node's attributes, in order, removed ones included.
    pub(super) fn attr_ids(&self, node: u32) -> impl Iterator<Item = u32> + '_ {
        let mut next = self.node(node).attributes.first;
        std::iter::from_fn(move || {
            let attr = self.attrs.get(next as usize)?;
            Some(std::mem::replace(&mut next, attr.next))
        })
    }

    /// A node's singular fields with their indices, in order, removed ones included.
    pub(super) fn node_fields(&self, node: u32) -> impl Iterator<Item = (u32, &FieldRec)> + '_ {
        let mut next = self.node(node).fields.first;
        std::iter::from_fn(move || {
            let field = self.fields.get(next as usize)?;
            Some((std::mem::replace(&mut next, field.next), field))
        })
    }
}

/// Whether nodes of this kind are items: spans, log records, data points.
pub(super) fn is_item(kind: NodeKind) -> bool {
    matches!(kind, NodeKind::Span | NodeKind::LogRecord | NodeKind::DataPoint)
}
