//! Operations on whole requests as bytes: [`MergedRequest`], [`split`], [`count_items`]. Outlets use them to fit stored
//! batches to a back end's size limit without an index.
//! No item is lost, changed or duplicated; each part repeats the resources and scopes of its items. `payload` edits
//! requests.

use std::sync::Arc;

use bytes::Bytes;

use super::ids::NodeKind;
use super::index::is_item;
use super::malformed::MalformedOtlp;
use super::schema::{FieldRule, MessageType};
use super::signal::Signal;
use super::wire::{self, FieldCursor, LEN, RawField};

/// Requests of one signal as one: their concatenation is a request too, as protobuf allows. They are not copied
/// together until a reader needs one buffer. No `Debug`, because it holds telemetry.
#[derive(Clone, Default)]
pub struct MergedRequest {
    parts: Arc<[Bytes]>,
    len: usize,
}

impl MergedRequest {
    /// Merges requests of one signal.
    pub fn new(requests: Vec<Bytes>) -> Self {
        Self { len: requests.iter().map(Bytes::len).sum(), parts: requests.into() }
    }

    /// The parts whose concatenation is the request.
    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// Size of the whole request, bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the request has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The request in one buffer. Copies it if it has several parts.
    pub fn joined(&self) -> Bytes {
        match &*self.parts {
            [single] => single.clone(),
            several => several.concat().into(),
        }
    }
}

impl<B: Into<Bytes>> From<B> for MergedRequest {
    fn from(request: B) -> Self {
        Self::new(vec![request.into()])
    }
}

/// Number of spans, log records or data points in a request.
///
/// # Errors
/// If the bytes are not such a request; only the messages that enclose items are checked.
pub fn count_items(signal: Signal, request: &[u8]) -> Result<u64, MalformedOtlp> {
    count_in_message(MessageType::request(signal), request, 0, request.len())
}

fn count_in_message(msg: MessageType, buffer: &[u8], start: usize, end: usize) -> Result<u64, MalformedOtlp> {
    let mut cursor = FieldCursor::new(buffer, start, end);
    let mut items = 0;
    while let Some(field) = cursor.next()? {
        match split_role(msg, &field) {
            SplitRole::Item => items += 1,
            SplitRole::Container(inner) => items += count_in_message(inner, buffer, field.body, field.end)?,
            SplitRole::Repeated => {}
        }
    }
    Ok(items)
}

/// The role of a field in a split.
enum SplitRole {
    /// A span, record or point.
    Item,
    /// A message that contains items.
    Container(MessageType),
    /// Any other field: repeated in every part of the message.
    Repeated,
}

fn split_role(msg: MessageType, field: &RawField) -> SplitRole {
    match msg.rule(field.number) {
        _ if field.wire != LEN => SplitRole::Repeated,
        FieldRule::Node(_, kind) if is_item(kind) => SplitRole::Item,
        FieldRule::Node(inner, NodeKind::Resource | NodeKind::Scope | NodeKind::Metric) => SplitRole::Container(inner),
        FieldRule::Nested(inner) if msg == MessageType::Metric => SplitRole::Container(inner),
        _ => SplitRole::Repeated,
    }
}

/// Splits a request into requests of at most `max_bytes`. Items keep their order; resources, scopes and metrics are
/// repeated as needed; a metric is divided only if it does not fit into a request of its own. A request exceeds the
/// limit if a single item does, or if resource and scope leave less than an eighth of the limit to the items.
///
/// # Errors
/// If the bytes are not such a request.
pub fn split(signal: Signal, request: &Bytes, max_bytes: usize) -> Result<Vec<Bytes>, MalformedOtlp> {
    if request.len() <= max_bytes {
        return Ok(vec![request.clone()]);
    }
    let mut splitter = RequestSplitter { buffer: request, max_bytes, levels: Vec::new(), parts: Vec::new() };
    splitter.levels.push(SplitLevel { number: 0, repeated_fields: Vec::new(), body: Vec::new(), has_items: false });
    splitter.split_message(MessageType::request(signal), 0, request.len())?;
    splitter.finish_part();
    Ok(splitter.parts)
}

struct RequestSplitter<'a> {
    buffer: &'a [u8],
    max_bytes: usize,
    /// The open messages, outermost (the request) first.
    levels: Vec<SplitLevel>,
    parts: Vec<Bytes>,
}

/// A message that is being written.
struct SplitLevel {
    /// Its field number.
    number: u32,
    /// The shell: the fields that every part of the message starts with.
    repeated_fields: Vec<u8>,
    /// The contents of the current part so far.
    body: Vec<u8>,
    /// Whether the current part contains more than `repeated_fields`.
    has_items: bool,
}

/// Upper bound for tag and length of an enclosing message.
const MAX_HEAD_BYTES: usize = 6;

impl RequestSplitter<'_> {
    /// Adds the items and inner messages of a message whose shell (its repeated fields) is already written.
    fn split_message(&mut self, msg: MessageType, start: usize, end: usize) -> Result<(), MalformedOtlp> {
        let mut cursor = FieldCursor::new(self.buffer, start, end);
        while let Some(field) = cursor.next()? {
            match split_role(msg, &field) {
                SplitRole::Repeated => {}
                SplitRole::Item => self.add_field(&field),
                SplitRole::Container(inner) if self.must_divide(inner, &field)? => {
                    self.open_level(inner, &field)?;
                    self.split_message(inner, field.body, field.end)?;
                    self.close_level();
                }
                SplitRole::Container(_) => self.add_field(&field),
            }
        }
        Ok(())
    }

    /// Whether a message must be divided: it does not fit and has items to divide.
    fn must_divide(&self, msg: MessageType, field: &RawField) -> Result<bool, MalformedOtlp> {
        let size = field.end - field.at;
        if size <= self.remaining_bytes() || (msg == MessageType::Metric && size <= self.empty_request_bytes()) {
            return Ok(false);
        }
        Ok(count_in_message(msg, self.buffer, field.body, field.end)? > 0)
    }

    /// Bytes that still fit into the current request.
    fn remaining_bytes(&self) -> usize {
        let used: usize = self.levels.iter().map(|level| level.body.len() + MAX_HEAD_BYTES).sum();
        self.empty_request_bytes().saturating_sub(used.saturating_sub(self.repeated_bytes()))
    }

    /// Bytes that fit into a request with only the shells.
    fn empty_request_bytes(&self) -> usize {
        self.max_bytes.saturating_sub(self.repeated_bytes()).max(self.max_bytes / 8)
    }

    fn repeated_bytes(&self) -> usize {
        self.levels.iter().map(|level| level.repeated_fields.len() + MAX_HEAD_BYTES).sum()
    }

    /// Adds a whole field to the innermost message; starts a new request if there is no room.
    fn add_field(&mut self, field: &RawField) {
        let bytes = self.buffer.get(field.at..field.end).unwrap_or_default();
        if bytes.len() > self.remaining_bytes() && self.levels.iter().any(|level| level.has_items) {
            self.finish_part();
        }
        if let Some(level) = self.levels.last_mut() {
            level.body.extend_from_slice(bytes);
            level.has_items = true;
        }
    }

    fn open_level(&mut self, msg: MessageType, field: &RawField) -> Result<(), MalformedOtlp> {
        let mut shell = Vec::new();
        let mut cursor = FieldCursor::new(self.buffer, field.body, field.end);
        while let Some(inner) = cursor.next()? {
            if matches!(split_role(msg, &inner), SplitRole::Repeated) {
                shell.extend_from_slice(self.buffer.get(inner.at..inner.end).unwrap_or_default());
            }
        }
        self.levels.push(SplitLevel {
            number: field.number,
            body: shell.clone(),
            repeated_fields: shell,
            has_items: false,
        });
        Ok(())
    }

    /// Closes the innermost message.
    fn close_level(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        if let Some(parent) = self.levels.last_mut().filter(|_| level.has_items) {
            wire::put_bytes(&mut parent.body, level.number, &level.body);
            parent.has_items = true;
        }
    }

    /// Closes the current request and opens the same messages in a new one.
    fn finish_part(&mut self) {
        let mut inner: Option<Vec<u8>> = None;
        let mut inner_number = 0;
        for level in self.levels.iter_mut().rev() {
            let mut body = std::mem::replace(&mut level.body, level.repeated_fields.clone());
            let has_items = std::mem::take(&mut level.has_items) || inner.is_some();
            if let Some(inner) = inner.take() {
                wire::put_bytes(&mut body, inner_number, &inner);
            }
            inner_number = level.number;
            inner = has_items.then_some(body);
        }
        if let Some(request) = inner {
            self.parts.push(request.into());
        }
    }
}
