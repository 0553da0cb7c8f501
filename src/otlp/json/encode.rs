//! **What**: protobuf bytes to compact OTLP/JSON text. **Invariants**: fields that the schema does not know are
//! dropped; repeated occurrences mean what they mean in protobuf (lists add up, messages merge, of values and oneof
//! members the last counts); recursion is bounded by the schema and [`MAX_VALUE_DEPTH`].
//! **Not here**: reading protobuf (`read`), names of fields (`schema`).

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::MAX_VALUE_DEPTH;
use super::read::{Fields, Part, Raw, varint};
use super::schema::{self, Field, Kind, LEN, Message, Rule};
use crate::otlp::{Malformed, Signal};

/// Appends an export request as one compact OTLP/JSON object, without a line end. On an error `out` is as it was.
///
/// # Errors
/// The bytes are not an export request of `signal`, or a text is not UTF-8.
pub fn encode(signal: Signal, wire: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let before = out.len();
    let mut encoder = Encoder { wire, out, values: 0 };
    let whole = Part { start: 0, end: wire.len() };
    let result = encoder.message(schema::request(signal), &[whole]);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

struct Encoder<'a> {
    wire: &'a [u8],
    out: &'a mut Vec<u8>,
    /// `AnyValue`s around the present place.
    values: usize,
}

/// The most fields that a message of the schema has.
const MAX_FIELDS: usize = 16;

/// What was found of one field.
#[derive(Clone, Copy, Default)]
struct Found {
    count: usize,
    /// Where the first occurrence begins that counts.
    first: usize,
    /// Payload of the last occurrence.
    last: Part,
}

impl Encoder<'_> {
    /// One message, whose bytes are `parts` put together.
    fn message(&mut self, message: &'static Message, parts: &[Part]) -> Result<(), Malformed> {
        if message.any_value {
            if self.values == MAX_VALUE_DEPTH {
                return Err(Malformed { what: "nested too deeply", at: parts.first().map_or(0, |part| part.start) });
            }
            self.values += 1;
        }
        let found = self.find(message, parts)?;
        self.out.push(b'{');
        let mut first = true;
        for (field, found) in message.fields.iter().zip(&found).filter(|(_, found)| found.count > 0) {
            let before = self.out.len();
            if !first {
                self.out.push(b',');
            }
            self.out.push(b'"');
            self.out.extend_from_slice(field.name.as_bytes());
            self.out.extend_from_slice(b"\":");
            if self.field(field, *found, parts)? {
                first = false;
            } else {
                self.out.truncate(before);
            }
        }
        self.out.push(b'}');
        self.values -= usize::from(message.any_value);
        Ok(())
    }

    /// One walk over a message: which of its fields are there.
    fn find(&self, message: &'static Message, parts: &[Part]) -> Result<[Found; MAX_FIELDS], Malformed> {
        let mut all = [Found::default(); MAX_FIELDS];
        let mut member: Option<u32> = None;
        for part in parts {
            let mut fields = Fields::of(self.wire, *part);
            while let Some(raw) = fields.next()? {
                let Some(index) = message.fields.iter().position(|field| field.number == raw.number) else { continue };
                let Some(field) = message.fields.get(index) else { continue };
                check(field, &raw)?;
                if field.rule == Rule::OneOf && member.replace(raw.number).is_some_and(|before| before != raw.number) {
                    for (other, found) in message.fields.iter().zip(&mut all) {
                        found.count *= usize::from(other.rule != Rule::OneOf);
                    }
                }
                if let Some(found) = all.get_mut(index) {
                    found.first = if found.count == 0 { raw.at } else { found.first };
                    found.count += 1;
                    found.last = raw.body;
                }
            }
        }
        Ok(all)
    }

    /// A field's value; false if it is one that is not written.
    fn field(&mut self, field: &'static Field, found: Found, parts: &[Part]) -> Result<bool, Malformed> {
        match (field.rule, field.kind) {
            (Rule::Repeated, _) => self.list(field, parts)?,
            (_, Kind::Message(message)) if found.count == 1 => self.message(message, &[found.last])?,
            (_, Kind::Message(message)) => {
                let mut merged = Vec::with_capacity(found.count);
                self.each(field.number, parts, |_, raw| {
                    if raw.at >= found.first {
                        merged.push(raw.body);
                    }
                    Ok(())
                })?;
                self.message(message, &merged)?;
            }
            (rule, kind) => return self.scalar(kind, found.last, rule != Rule::Implicit),
        }
        Ok(true)
    }

    /// Calls `visit` with every occurrence of a field.
    fn each<F>(&mut self, number: u32, parts: &[Part], mut visit: F) -> Result<(), Malformed>
    where
        F: FnMut(&mut Self, Raw) -> Result<(), Malformed>,
    {
        for part in parts {
            let mut fields = Fields::of(self.wire, *part);
            while let Some(raw) = fields.next()? {
                if raw.number == number {
                    visit(self, raw)?;
                }
            }
        }
        Ok(())
    }

    fn list(&mut self, field: &'static Field, parts: &[Part]) -> Result<(), Malformed> {
        let mut separator = b'[';
        let element = field.kind.wire_type();
        self.each(field.number, parts, |this, raw| match field.kind {
            Kind::Message(message) => {
                this.out.push(std::mem::replace(&mut separator, b','));
                this.message(message, &[raw.body])
            }
            kind if element == LEN || raw.wire_type != LEN => {
                this.out.push(std::mem::replace(&mut separator, b','));
                this.scalar(kind, raw.body, true).map(|_| ())
            }
            kind => {
                let mut at = raw.body.start;
                while at < raw.body.end {
                    let end = match element {
                        schema::FIXED64 => Some(at + 8),
                        schema::FIXED32 => Some(at + 4),
                        _ => varint(this.wire, at).map(|(_, end)| end),
                    };
                    let end = end.filter(|end| *end <= raw.body.end).ok_or(Malformed { what: "cut off", at })?;
                    this.out.push(std::mem::replace(&mut separator, b','));
                    this.scalar(kind, Part { start: at, end }, true)?;
                    at = end;
                }
                Ok(())
            }
        })?;
        if separator == b'[' {
            self.out.push(b'[');
        }
        self.out.push(b']');
        Ok(())
    }

    /// One value that is not a message; false if it is zero and zeros are not written.
    fn scalar(&mut self, kind: Kind, part: Part, zero_too: bool) -> Result<bool, Malformed> {
        let bytes = self.wire.get(part.start..part.end).unwrap_or_default();
        if kind.wire_type() == LEN {
            if bytes.is_empty() && !zero_too {
                return Ok(false);
            }
            match kind {
                Kind::String => string(self.out, bytes, part.start)?,
                Kind::Id(_) => hexadecimal(self.out, bytes),
                _ => base64(self.out, bytes),
            }
            return Ok(true);
        }
        let bits = match kind.wire_type() {
            schema::VARINT => varint(self.wire, part.start).map_or(0, |(value, _)| value),
            _ => bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)),
        };
        if bits == 0 && !zero_too {
            return Ok(false);
        }
        number(self.out, kind, bits);
        Ok(true)
    }
}

/// The wire type fits the field.
fn check(field: &Field, raw: &Raw) -> Result<(), Malformed> {
    let packed = field.rule == Rule::Repeated && raw.wire_type == LEN;
    if packed || raw.wire_type == field.kind.wire_type() {
        Ok(())
    } else {
        Err(Malformed { what: "a field of a wrong wire type", at: raw.at })
    }
}

/// A number as its kind writes it: 64-bit integers and words for non-finite doubles in quotes.
fn number(out: &mut Vec<u8>, kind: Kind, bits: u64) {
    let [a, b, c, d, ..] = bits.to_le_bytes();
    let low = u32::from_le_bytes([a, b, c, d]);
    // Writing into a Vec does not fail.
    let _ = match kind {
        Kind::Bool => write!(out, "{}", bits != 0),
        Kind::Double => return double(out, f64::from_bits(bits)),
        Kind::Fixed64 | Kind::UInt64 => write!(out, "\"{bits}\""),
        Kind::SFixed64 | Kind::Int64 => write!(out, "\"{}\"", bits.cast_signed()),
        Kind::SInt32 => write!(out, "{}", (low >> 1).cast_signed() ^ -(low & 1).cast_signed()),
        Kind::Int32 | Kind::Enum => write!(out, "{}", low.cast_signed()),
        Kind::Fixed32 | Kind::UInt32 => write!(out, "{low}"),
        Kind::String | Kind::Id(_) | Kind::Bytes | Kind::Message(_) => return,
    };
}

/// The shortest text that reads back as the same double.
fn double(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    let _ = if value.is_nan() {
        write!(out, "\"NaN\"")
    } else if value.is_infinite() {
        write!(out, "\"{}Infinity\"", if value < 0.0 { "-" } else { "" })
    } else if size == 0.0 || (1e-5..1e17).contains(&size) {
        write!(out, "{value}")
    } else {
        write!(out, "{value:e}")
    };
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn hexadecimal(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for byte in bytes {
        out.extend([byte >> 4, byte & 15].iter().filter_map(|digit| HEX.get(usize::from(*digit))));
    }
    out.push(b'"');
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    // Encoded piece by piece: 48 bytes give 64 characters, only the last piece is padded.
    for piece in bytes.chunks(48) {
        let mut text = [0; 64];
        let length = STANDARD.encode_slice(piece, &mut text).unwrap_or_default();
        out.extend(text.iter().take(length));
    }
    out.push(b'"');
}

/// A JSON string; `at` is where the text stands in the request.
fn string(out: &mut Vec<u8>, text: &[u8], at: usize) -> Result<(), Malformed> {
    simdutf8::basic::from_utf8(text).map_err(|_| Malformed { what: "a text that is not UTF-8", at })?;
    out.reserve(text.len() + 2);
    out.push(b'"');
    for piece in text.chunks(32) {
        if piece.iter().fold(false, |found, byte| found | special(*byte)) {
            piece.iter().for_each(|byte| escaped(out, *byte));
        } else {
            out.extend_from_slice(piece);
        }
    }
    out.push(b'"');
    Ok(())
}

fn special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn escaped(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        0..0x20 => {
            let _ = write!(out, "\\u{byte:04x}");
            return;
        }
        _ => {
            out.push(byte);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
