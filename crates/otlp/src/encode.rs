//! Encodes a [`Payload`]: the request's bytes with all pending edits, in one pass.
//! Ranges without edits are copied unchanged. Lengths of enclosing messages are recomputed only where something below
//! them changed; without edits the result equals the request. `edit` records edits, `patch` rewrites inside values.

use std::cmp::Reverse;
use std::ops::Range;

use super::ids::NodeKind;
use super::ids::SlotId;
use super::index::{AttrRec, MessageFrame, NONE, NodeRec, StorageState, UnknownRec, is_item};
use super::malformed::MalformedOtlp;
use super::patch::strip_unknown;
use super::payload::Payload;
use super::schema::MessageType;
use super::wire::{self, ByteRange, FieldCursor};

/// Position of a slot's text in [`EncodedRequest::bytes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRange {
    /// The slot.
    pub slot: SlotId,
    /// The range, as long as the slot is wide.
    pub range: Range<usize>,
}

/// An encoded request. A slot may occur more than once.
pub struct EncodedRequest {
    /// An `Export*ServiceRequest`.
    pub bytes: Vec<u8>,
    /// Slots to fill in, in the order of `bytes`.
    pub slots: Vec<SlotRange>,
    /// Number of unknown fields dropped at all levels, ids of a wrong length included.
    pub unknown_dropped: u64,
}

/// Treatment of fields that are not in `proto/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownFields {
    /// Copied unchanged (for internal exporters).
    Keep,
    /// Dropped at every level and counted (for third parties).
    Drop,
}

/// One change of the request: `new` replaces `at..end`, a range in the message `frame`.
struct RequestChange {
    at: u32,
    end: u32,
    frame: u32,
    new: ReplacementSource,
    /// Drops a field that is not in the schema.
    unknown: bool,
}

#[derive(Clone, Copy)]
enum ReplacementSource {
    Nothing,
    /// A range of the arena.
    Arena(ByteRange),
    /// A range of the encoder's own buffer.
    Scratch(ByteRange),
    /// A range of the arena that ends with a slot's text, which is `width` bytes long.
    Slot {
        span: ByteRange,
        slot: SlotId,
        width: u32,
    },
}

impl ReplacementSource {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Arena(span) | Self::Scratch(span) | Self::Slot { span, .. } => span.len(),
        }
    }
}

impl Payload {
    /// Encodes the original bytes with all edits.
    ///
    /// # Errors
    /// If the result would be 4 GiB or larger.
    pub fn encode(&self, unknown: UnknownFields) -> Result<EncodedRequest, MalformedOtlp> {
        let omitted = self.omitted_nodes(None);
        PayloadEncoder::new(self, unknown).encode(&omitted)
    }

    /// Encodes only these items (by position in [`Payload::items`]), with their resources and scopes and all edits.
    /// Unknown fields are kept.
    ///
    /// # Errors
    /// If the result would be 4 GiB or larger.
    pub fn encode_items(&self, keep: &dyn Fn(usize) -> bool) -> Result<Vec<u8>, MalformedOtlp> {
        let omitted = self.omitted_nodes(Some(keep));
        Ok(PayloadEncoder::new(self, UnknownFields::Keep).encode(&omitted)?.bytes)
    }

    /// The nodes that are not written: removed ones, items that are not kept, and resources, scopes and metrics that
    /// became empty. Without elements if all are written.
    fn omitted_nodes(&self, keep: Option<&dyn Fn(usize) -> bool>) -> Vec<bool> {
        let nodes = &self.index.nodes;
        if !self.index.removed_nodes && keep.is_none() {
            return Vec::new();
        }
        let mut position = 0;
        let mut is_live = |node: &NodeRec| {
            if node.removed || !is_item(node.kind) {
                return false;
            }
            position += 1;
            keep.is_none_or(|keep| keep(position - 1))
        };
        // For each node: its live items and its original items, both with the node itself and its descendants.
        let mut item_counts = |node: &NodeRec| (u32::from(is_live(node)), u32::from(is_item(node.kind)));
        let mut counts: Vec<(u32, u32)> = nodes.iter().map(&mut item_counts).collect();
        for (index, node) in nodes.iter().enumerate().rev() {
            let (live, original) = counts.get(index).copied().unwrap_or_default();
            if let Some(parent) = counts.get_mut(node.parent as usize) {
                *parent = (parent.0 + live, parent.1 + original);
            }
        }
        // Everything below an omitted node is dropped, including nodes that never held items.
        let mut omitted: Vec<bool> = Vec::with_capacity(nodes.len());
        for (node, (live, original)) in nodes.iter().zip(counts) {
            let parent_omitted = omitted.get(node.parent as usize).copied().unwrap_or(false);
            omitted.push(parent_omitted || node.removed || (live == 0 && original > 0));
        }
        omitted
    }
}

struct PayloadEncoder<'a> {
    payload: &'a Payload,
    drop_unknown: bool,
    changes: Vec<RequestChange>,
    /// Fields for messages that are missing in the request: node, field.
    missing_messages: Vec<(u32, ReplacementSource)>,
    /// Bytes created by the encoder.
    scratch: Vec<u8>,
    unknown_dropped: u64,
}

impl<'a> PayloadEncoder<'a> {
    fn new(payload: &'a Payload, unknown: UnknownFields) -> Self {
        Self {
            payload,
            drop_unknown: unknown == UnknownFields::Drop,
            changes: Vec::new(),
            missing_messages: Vec::new(),
            scratch: Vec::new(),
            unknown_dropped: 0,
        }
    }

    fn encode(mut self, omitted: &[bool]) -> Result<EncodedRequest, MalformedOtlp> {
        self.collect_changes(omitted);
        self.write()
    }

    /// Builds the list of changes, in order and without overlaps.
    fn collect_changes(&mut self, omitted: &[bool]) {
        let index = &self.payload.index;
        let is_omitted = |node: u32| omitted.get(node as usize).copied().unwrap_or(false);
        if index.edited || self.drop_unknown {
            for (id, attr) in (0..).zip(&index.attrs).filter(|(_, attr)| !is_omitted(attr.node)) {
                if let Some(new) = self.attribute_replacement(id, attr) {
                    self.record_change(attr.node, attr.frame, attr.wire, new);
                }
            }
            for field in index.fields.iter().filter(|field| !is_omitted(field.node)) {
                let ranges = (field.wire, field.arena);
                if let Some(new) = self.field_replacement(field.state, ranges, field.unknown, MessageType::AnyValue) {
                    self.record_change(field.node, field.frame, field.wire, new);
                }
            }
        }
        if self.drop_unknown {
            let removal = |field: &UnknownRec| RequestChange {
                unknown: true,
                ..RequestChange::new(field.wire, field.frame, ReplacementSource::Nothing)
            };
            self.changes.extend(index.unknown.iter().map(removal));
        }
        for (node, _) in index.nodes.iter().zip(omitted).filter(|(_, omitted)| **omitted) {
            if let Some(frame) = index.frames.get(node.frame as usize) {
                self.changes.push(RequestChange::new(
                    ByteRange { start: frame.at, end: frame.body.end },
                    frame.parent,
                    ReplacementSource::Nothing,
                ));
            }
        }
        self.create_missing_messages();
        // At one position, an addition to a message that ends there precedes changes of the enclosing messages, which
        // have lower numbers. The sort is stable, so fields of one message keep their order.
        self.changes.sort_by_key(|change| (change.at, Reverse(change.frame)));
        self.drop_covered_changes();
    }

    /// The bytes to write for an attribute; `None` if it is unchanged or was never on the wire.
    fn attribute_replacement(&mut self, id: u32, attr: &AttrRec) -> Option<ReplacementSource> {
        let slots = &self.payload.index.slots;
        if attr.slot && attr.state == StorageState::Arena {
            let position = slots.binary_search_by_key(&id, |slot| slot.attr).ok()?;
            let slot = slots.get(position)?;
            return Some(ReplacementSource::Slot { span: attr.arena, slot: slot.slot, width: slot.width });
        }
        self.field_replacement(attr.state, (attr.wire, attr.arena), attr.unknown, MessageType::KeyValue)
    }

    /// The same for a field of type `msg` with its ranges in the request and the arena; `unknown`: it contains unknown
    /// fields.
    fn field_replacement(
        &mut self,
        state: StorageState,
        (wire, arena): (ByteRange, ByteRange),
        unknown: bool,
        msg: MessageType,
    ) -> Option<ReplacementSource> {
        let has_unwanted = self.drop_unknown && unknown;
        match state {
            StorageState::Removed => (!wire.is_empty()).then_some(ReplacementSource::Nothing),
            StorageState::Wire if has_unwanted => Some(self.strip_unknown_fields(state, wire, msg)),
            StorageState::Arena if has_unwanted => Some(self.strip_unknown_fields(state, arena, msg)),
            StorageState::Wire => None,
            StorageState::Arena => Some(ReplacementSource::Arena(arena)),
        }
    }

    /// The whole field without unknown fields inside.
    fn strip_unknown_fields(&mut self, state: StorageState, field: ByteRange, msg: MessageType) -> ReplacementSource {
        let bytes = self.payload.bytes(state, field);
        let Ok(Some(head)) = FieldCursor::new(bytes, 0, bytes.len()).next() else { return ReplacementSource::Nothing };
        let body = strip_unknown(bytes, msg, head.span(), &mut self.unknown_dropped);
        let start = self.scratch.len();
        wire::put_bytes(&mut self.scratch, head.number, &body);
        ReplacementSource::Scratch(ByteRange::new(start, self.scratch.len()))
    }

    /// Records a change: at the field's position, at the end of its message, or in a message still to be created.
    fn record_change(&mut self, node: u32, frame: u32, wire: ByteRange, new: ReplacementSource) {
        if !wire.is_empty() {
            self.changes.push(RequestChange::new(wire, frame, new));
        } else if let Some(message) = self.payload.index.frames.get(frame as usize) {
            self.changes.push(RequestChange::new(
                ByteRange { start: message.body.end, end: message.body.end },
                frame,
                new,
            ));
        } else {
            self.missing_messages.push((node, new));
        }
    }

    /// Creates messages that are missing in the request but needed by an edit: Resource, Scope, Status.
    fn create_missing_messages(&mut self) {
        let index = &self.payload.index;
        let mut missing = std::mem::take(&mut self.missing_messages);
        missing.sort_by_key(|(node, _)| *node);
        for group in missing.chunk_by(|one, other| one.0 == other.0) {
            let Some(node) = group.first().map(|(node, _)| index.node(*node)) else { continue };
            let Some(envelope) = index.frames.get(node.frame as usize) else { continue };
            let number = if node.kind == NodeKind::Span { 15 } else { 1 }; // Status, else Resource or Scope
            let start = self.scratch.len();
            wire::put_head(&mut self.scratch, number, group.iter().map(|(_, new)| new.len()).sum());
            let head = ReplacementSource::Scratch(ByteRange::new(start, self.scratch.len()));
            let position = ByteRange { start: envelope.body.end, end: envelope.body.end };
            self.changes.push(RequestChange::new(position, node.frame, head));
            self.changes.extend(group.iter().map(|(_, new)| RequestChange::new(position, node.frame, *new)));
        }
    }

    /// Removes changes inside ranges that are dropped or replaced as a whole.
    fn drop_covered_changes(&mut self) {
        let mut covered_to = 0;
        self.changes.retain(|change| {
            let stays = change.at >= covered_to;
            if stays {
                covered_to = change.end;
            }
            stays
        });
        self.unknown_dropped += self.changes.iter().filter(|change| change.unknown).count() as u64;
    }

    /// The messages with changes inside and their new lengths, in wire order.
    fn compute_lengths(&self) -> Vec<(MessageFrame, usize)> {
        let frames = &self.payload.index.frames;
        let mut deltas: Vec<Option<i64>> = vec![None; frames.len()];
        for change in &self.changes {
            if let Some(delta) = deltas.get_mut(change.frame as usize) {
                *delta.get_or_insert(0) += change.new.len() as i64 - i64::from(change.end - change.at);
            }
        }
        let mut lengths = Vec::new();
        // A message has a higher number than the messages that enclose it.
        for (index, frame) in frames.iter().enumerate().rev() {
            let Some(Some(delta)) = deltas.get(index).copied() else { continue };
            let length = (frame.body.len() as i64 + delta).max(0) as usize;
            lengths.push((*frame, length));
            if let Some(parent) = deltas.get_mut(frame.parent as usize) {
                let old_width = i64::from(frame.body.start) - self.length_at(frame) as i64;
                *parent.get_or_insert(0) += delta + wire::varint_len(length as u64) as i64 - old_width;
            }
        }
        lengths.reverse();
        lengths
    }

    /// Position of a message's length.
    fn length_at(&self, frame: &MessageFrame) -> usize {
        wire::read_varint(&self.payload.request, frame.at as usize).map_or(frame.body.start as usize, |(_, pos)| pos)
    }

    fn write(self) -> Result<EncodedRequest, MalformedOtlp> {
        let request: &[u8] = &self.payload.request;
        let arena = &self.payload.index.arena;
        let mut lengths = self.compute_lengths().into_iter().peekable();
        let total = lengths.peek().map_or(request.len(), |(_, length)| *length);
        if total >= u32::MAX as usize || arena.len() >= u32::MAX as usize || self.scratch.len() >= u32::MAX as usize {
            return Err(MalformedOtlp { message: "edited request too large", at: 0 });
        }
        let mut out = EncodeOutput { request, pos: 0, bytes: Vec::with_capacity(total), slots: Vec::new() };
        for change in &self.changes {
            while let Some((frame, length)) = lengths.next_if(|(frame, _)| frame.at < change.at || frame.parent == NONE)
            {
                // The request itself has no length on the wire.
                if frame.parent != NONE {
                    out.copy_to(self.length_at(&frame));
                    wire::put_varint(&mut out.bytes, length as u64);
                    out.pos = frame.body.start as usize;
                }
            }
            out.copy_to(change.at as usize);
            match change.new {
                ReplacementSource::Nothing => {}
                ReplacementSource::Arena(span) => out.bytes.extend_from_slice(span.slice(arena)),
                ReplacementSource::Scratch(span) => out.bytes.extend_from_slice(span.slice(&self.scratch)),
                ReplacementSource::Slot { span, slot, width } => {
                    out.bytes.extend_from_slice(span.slice(arena));
                    let end = out.bytes.len();
                    out.slots.push(SlotRange { slot, range: end.saturating_sub(width as usize)..end });
                }
            }
            out.pos = change.end as usize;
        }
        out.copy_to(request.len());
        Ok(EncodedRequest { bytes: out.bytes, slots: out.slots, unknown_dropped: self.unknown_dropped })
    }
}

impl RequestChange {
    fn new(span: ByteRange, frame: u32, new: ReplacementSource) -> Self {
        Self { at: span.start, end: span.end, frame, new, unknown: false }
    }
}

/// The result, and the position up to which the request was copied.
struct EncodeOutput<'a> {
    request: &'a [u8],
    pos: usize,
    bytes: Vec<u8>,
    slots: Vec<SlotRange>,
}

impl EncodeOutput<'_> {
    fn copy_to(&mut self, end: usize) {
        self.bytes.extend_from_slice(self.request.get(self.pos..end).unwrap_or_default());
        self.pos = end;
    }
}
