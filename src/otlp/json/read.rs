//! **What**: a cursor over the fields of one protobuf message. **Invariants**: never reads past the message; offsets
//! are positions in the whole buffer. **Not here**: which field is what (`schema`).

use crate::otlp::Malformed;

/// A byte range of the buffer.
#[derive(Clone, Copy, Default)]
pub(super) struct Part {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// One field: where it begins, and its payload (for LEN: without the length).
pub(super) struct Raw {
    pub(super) number: u32,
    pub(super) wire_type: u32,
    pub(super) at: usize,
    pub(super) body: Part,
}

/// Walks the fields of one message.
pub(super) struct Fields<'a> {
    /// The buffer, cut at the message's end.
    buffer: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// Over `part` of `buffer`.
    pub(super) fn of(buffer: &'a [u8], part: Part) -> Self {
        Self { buffer: buffer.get(..part.end).unwrap_or_default(), at: part.start }
    }

    /// The next field, or none at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<Raw>, Malformed> {
        let at = self.at;
        if at >= self.buffer.len() {
            return Ok(None);
        }
        let (tag, body) = varint(self.buffer, at).ok_or(Malformed { what: "bad field tag", at })?;
        let tag = u32::try_from(tag).ok().filter(|tag| *tag > 7).ok_or(Malformed { what: "bad field number", at })?;
        let (start, length) = match tag & 7 {
            0 => (body, varint(self.buffer, body).map(|(_, end)| end - body)),
            1 => (body, Some(8)),
            2 => match varint(self.buffer, body) {
                Some((length, start)) => (start, usize::try_from(length).ok()),
                None => (body, None),
            },
            5 => (body, Some(4)),
            _ => return Err(Malformed { what: "bad wire type", at }),
        };
        let end = length.and_then(|length| start.checked_add(length)).filter(|end| *end <= self.buffer.len());
        let end = end.ok_or(Malformed { what: "cut off", at })?;
        self.at = end;
        Ok(Some(Raw { number: tag >> 3, wire_type: tag & 7, at, body: Part { start, end } }))
    }
}

/// The varint at `at` and the position behind it.
pub(super) fn varint(buffer: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for index in 0..10 {
        let byte = *buffer.get(at + index)?;
        if index == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((value, at + index + 1));
        }
    }
    None
}
