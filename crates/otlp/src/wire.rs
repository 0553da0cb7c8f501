//! Protobuf wire format: varints, a cursor over the fields of one message, writers of tags and lengths. All other
//! modules of this crate read and write through these functions.
//! Reading never goes beyond the message and never allocates; offsets are positions in the whole buffer. `schema`
//! knows the meaning of fields.

use super::malformed::MalformedOtlp;

/// Wire type 0.
pub(super) const VARINT: u8 = 0;
/// Wire type 1.
pub(super) const FIXED64: u8 = 1;
/// Wire type 2.
pub(super) const LEN: u8 = 2;
/// Wire type 5.
pub(super) const FIXED32: u8 = 5;

/// A byte range of a buffer. 32 bits suffice, because requests above 4 GiB are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ByteRange {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl ByteRange {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    pub(super) fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    pub(super) fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The bytes; empty if out of range.
    pub(super) fn slice(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// One field on the wire. `at..end` is the whole field, `body..end` its payload (without tag and length).
#[derive(Clone, Copy)]
pub(super) struct RawField {
    pub(super) number: u32,
    pub(super) wire: u8,
    pub(super) at: usize,
    pub(super) body: usize,
    pub(super) end: usize,
}

impl RawField {
    pub(super) fn span(&self) -> ByteRange {
        ByteRange::new(self.body, self.end)
    }
}

/// Iterates over the fields of one message.
pub(super) struct FieldCursor<'a> {
    /// The buffer, cut at the message's end.
    buffer: &'a [u8],
    pos: usize,
}

impl<'a> FieldCursor<'a> {
    /// Iterates over `buffer[start..end]`; offsets stay those of `buffer`.
    pub(super) fn new(buffer: &'a [u8], start: usize, end: usize) -> Self {
        Self { buffer: buffer.get(..end).unwrap_or_default(), pos: start }
    }

    pub(super) fn over_range(buffer: &'a [u8], span: ByteRange) -> Self {
        Self::new(buffer, span.start as usize, span.end as usize)
    }

    /// The next field; `None` at the end of the message. Always inlined: returning the result through memory would
    /// cost more than the walk itself.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<RawField>, MalformedOtlp> {
        let at = self.pos;
        let Some(first) = self.buffer.get(at).copied() else { return Ok(None) };
        // The tag is a varint: the field number, then the wire type in the low three bits.
        let (number, wire, mut pos) = match first {
            8..0x80 => (u32::from(first >> 3), first & 7, at + 1),
            0..8 => return Err(malformed("bad field number", at)),
            _ => match read_long_varint(self.buffer, at) {
                Some((tag @ 8..0x1_0000_0000, pos)) => ((tag >> 3) as u32, (tag & 7) as u8, pos),
                Some(_) => return Err(malformed("bad field number", at)),
                None => return Err(malformed("bad field tag", at)),
            },
        };
        let mut body = pos;
        match wire {
            LEN => {
                let Some((length, body_start)) = read_varint(self.buffer, pos) else {
                    return Err(malformed("bad length", at));
                };
                if length > (self.buffer.len() - body_start) as u64 {
                    return Err(malformed("field is longer than its message", at));
                }
                body = body_start;
                pos = body_start + length as usize;
            }
            VARINT => match read_varint(self.buffer, pos) {
                Some((_, end)) => pos = end,
                None => return Err(malformed("bad varint", at)),
            },
            FIXED64 => pos += 8,
            FIXED32 => pos += 4,
            3 | 4 => return Err(malformed("groups are not allowed", at)),
            _ => return Err(malformed("bad wire type", at)),
        }
        if pos > self.buffer.len() {
            return Err(malformed("field is truncated", at));
        }
        self.pos = pos;
        Ok(Some(RawField { number, wire, at, body, end: pos }))
    }
}

#[cold]
fn malformed(what: &'static str, at: usize) -> MalformedOtlp {
    MalformedOtlp { message: what, at }
}

/// The payload of the LEN field at `at`, if it has this one-byte tag and lies within `body`.
#[inline(always)]
pub(super) fn len_field_range(body: &[u8], at: usize, tag: u8) -> Option<(usize, usize)> {
    if *body.get(at)? != tag {
        return None;
    }
    let (length, start) = read_varint(body, at + 1)?;
    let end = start.checked_add(length as usize)?;
    (end <= body.len()).then_some((start, end))
}

/// Reads a varint at `pos`: the value and the position after it. `None` if it is cut off or longer than 64 bits.
#[inline(always)]
pub(super) fn read_varint(buffer: &[u8], pos: usize) -> Option<(u64, usize)> {
    let first = *buffer.get(pos)?;
    if first < 0x80 {
        return Some((u64::from(first), pos + 1));
    }
    read_long_varint(buffer, pos)
}

#[inline(never)]
fn read_long_varint(buffer: &[u8], pos: usize) -> Option<(u64, usize)> {
    let mut value = u64::from(*buffer.get(pos)? & 0x7f);
    for index in 1..10 {
        let byte = *buffer.get(pos + index)?;
        if index == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((value, pos + index + 1));
        }
    }
    None
}

/// Number of bytes of `value` as a varint.
pub(super) fn varint_len(value: u64) -> usize {
    ((64 - (value | 1).leading_zeros()) as usize).div_ceil(7)
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_tag(out: &mut Vec<u8>, number: u32, wire: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire));
}

/// Writes tag and length of a LEN field.
pub(super) fn put_head(out: &mut Vec<u8>, number: u32, length: usize) {
    put_tag(out, number, LEN);
    put_varint(out, length as u64);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_head(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

/// Size of a LEN field with `length` bytes of payload.
pub(super) fn field_len(number: u32, length: usize) -> usize {
    varint_len(u64::from(number) << 3) + varint_len(length as u64) + length
}

/// Whether bytes are UTF-8.
#[inline]
pub(super) fn is_text(bytes: &[u8]) -> bool {
    bytes.is_ascii() || simdutf8::basic::from_utf8(bytes).is_ok()
}

/// Text that was validated when it was read or written; "" if it is not UTF-8.
pub(super) fn text_or_empty(bytes: &[u8]) -> &str {
    simdutf8::basic::from_utf8(bytes).unwrap_or_default()
}

pub(super) fn read_fixed64(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}
