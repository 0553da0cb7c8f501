//! Operations on whole requests as bytes: [`merge`], [`split`], [`count_items`]. Outlets use them to fit stored
//! batches to a back end's size limit without an index.
//! No item is lost, changed or duplicated; each part repeats the resources and scopes of its items. `payload` edits
//! requests.

use bytes::Bytes;

use super::ids::NodeKind;
use super::index::is_item;
use super::malformed::Malformed;
use super::schema::{Msg, Rule};
use super::signal::Signal;
use super::wire::{self, Cursor, LEN, RawField};

/// Merges several requests of one signal by concatenation, as protobuf allows.
pub fn merge(requests: &[Bytes]) -> Bytes {
    match requests {
        [one] => one.clone(),
        several => several.concat().into(),
    }
}

/// Number of spans, log records or data points in a request.
///
/// # Errors
/// If the bytes are not such a request; only the messages that enclose items are checked.
pub fn count_items(signal: Signal, request: &[u8]) -> Result<u64, Malformed> {
    count(Msg::request(signal), request, 0, request.len())
}

fn count(msg: Msg, buffer: &[u8], start: usize, end: usize) -> Result<u64, Malformed> {
    let mut cursor = Cursor::new(buffer, start, end);
    let mut items = 0;
    while let Some(field) = cursor.next()? {
        match part(msg, &field) {
            Part::Item => items += 1,
            Part::Holder(inner) => items += count(inner, buffer, field.body, field.end)?,
            Part::Shell => {}
        }
    }
    Ok(items)
}

/// The role of a field in a split.
enum Part {
    /// A span, record or point.
    Item,
    /// A message that contains items.
    Holder(Msg),
    /// Any other field: repeated in every part of the message.
    Shell,
}

fn part(msg: Msg, field: &RawField) -> Part {
    match msg.rule(field.number) {
        _ if field.wire != LEN => Part::Shell,
        Rule::Node(_, kind) if is_item(kind) => Part::Item,
        Rule::Node(inner, NodeKind::Resource | NodeKind::Scope | NodeKind::Metric) => Part::Holder(inner),
        Rule::Inner(inner) if msg == Msg::Metric => Part::Holder(inner),
        _ => Part::Shell,
    }
}

/// Splits a request into requests of at most `max_bytes`. Items keep their order; resources, scopes and metrics are
/// repeated as needed; a metric is divided only if it does not fit into a request of its own. A request exceeds the
/// limit if a single item does, or if resource and scope leave less than an eighth of the limit to the items.
///
/// # Errors
/// If the bytes are not such a request.
pub fn split(signal: Signal, request: &Bytes, max_bytes: usize) -> Result<Vec<Bytes>, Malformed> {
    if request.len() <= max_bytes {
        return Ok(vec![request.clone()]);
    }
    let mut splitter = Splitter { buffer: request, max_bytes, levels: Vec::new(), parts: Vec::new() };
    splitter.levels.push(Level { number: 0, shell: Vec::new(), body: Vec::new(), filled: false });
    splitter.holder(Msg::request(signal), 0, request.len())?;
    splitter.flush();
    Ok(splitter.parts)
}

struct Splitter<'a> {
    buffer: &'a [u8],
    max_bytes: usize,
    /// The open messages, outermost (the request) first.
    levels: Vec<Level>,
    parts: Vec<Bytes>,
}

/// A message that is being written.
struct Level {
    /// Its field number.
    number: u32,
    /// The fields that every part of it starts with.
    shell: Vec<u8>,
    /// The contents of the current part so far.
    body: Vec<u8>,
    /// Whether the part contains more than the shell.
    filled: bool,
}

/// Upper bound for tag and length of an enclosing message.
const HEAD: usize = 6;

impl Splitter<'_> {
    /// Adds the fields of a message whose shell is already written.
    fn holder(&mut self, msg: Msg, start: usize, end: usize) -> Result<(), Malformed> {
        let mut cursor = Cursor::new(self.buffer, start, end);
        while let Some(field) = cursor.next()? {
            match part(msg, &field) {
                Part::Shell => {}
                Part::Item => self.add(&field),
                Part::Holder(inner) if self.divides(inner, &field)? => {
                    self.open(inner, &field)?;
                    self.holder(inner, field.body, field.end)?;
                    self.close();
                }
                Part::Holder(_) => self.add(&field),
            }
        }
        Ok(())
    }

    /// Whether a message must be divided.
    fn divides(&self, msg: Msg, field: &RawField) -> Result<bool, Malformed> {
        let size = field.end - field.at;
        if size <= self.room() || (msg == Msg::Metric && size <= self.empty_room()) {
            return Ok(false);
        }
        Ok(count(msg, self.buffer, field.body, field.end)? > 0)
    }

    /// Bytes that still fit into the current request.
    fn room(&self) -> usize {
        let used: usize = self.levels.iter().map(|level| level.body.len() + HEAD).sum();
        self.empty_room().saturating_sub(used.saturating_sub(self.shells()))
    }

    /// Bytes that fit into a request with only the shells.
    fn empty_room(&self) -> usize {
        self.max_bytes.saturating_sub(self.shells()).max(self.max_bytes / 8)
    }

    fn shells(&self) -> usize {
        self.levels.iter().map(|level| level.shell.len() + HEAD).sum()
    }

    /// Adds a whole field to the innermost message; starts a new request if there is no room.
    fn add(&mut self, field: &RawField) {
        let bytes = self.buffer.get(field.at..field.end).unwrap_or_default();
        if bytes.len() > self.room() && self.levels.iter().any(|level| level.filled) {
            self.flush();
        }
        if let Some(level) = self.levels.last_mut() {
            level.body.extend_from_slice(bytes);
            level.filled = true;
        }
    }

    fn open(&mut self, msg: Msg, field: &RawField) -> Result<(), Malformed> {
        let mut shell = Vec::new();
        let mut cursor = Cursor::new(self.buffer, field.body, field.end);
        while let Some(inner) = cursor.next()? {
            if matches!(part(msg, &inner), Part::Shell) {
                shell.extend_from_slice(self.buffer.get(inner.at..inner.end).unwrap_or_default());
            }
        }
        self.levels.push(Level { number: field.number, body: shell.clone(), shell, filled: false });
        Ok(())
    }

    /// Closes the innermost message.
    fn close(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        if let Some(parent) = self.levels.last_mut().filter(|_| level.filled) {
            wire::put_bytes(&mut parent.body, level.number, &level.body);
            parent.filled = true;
        }
    }

    /// Closes the current request and opens the same messages in a new one.
    fn flush(&mut self) {
        let mut inner: Option<Vec<u8>> = None;
        let mut number = 0;
        for level in self.levels.iter_mut().rev() {
            let mut body = std::mem::replace(&mut level.body, level.shell.clone());
            let filled = std::mem::take(&mut level.filled) || inner.is_some();
            if let Some(inner) = inner.take() {
                wire::put_bytes(&mut body, number, &inner);
            }
            number = level.number;
            inner = filled.then_some(body);
        }
        if let Some(request) = inner {
            self.parts.push(request.into());
        }
    }
}
