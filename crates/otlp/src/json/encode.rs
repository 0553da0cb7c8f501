//! Converts protobuf bytes to compact OTLP/JSON. Unknown fields are dropped, and so are ids of a wrong length.
//! Repeated occurrences are combined as in protobuf: lists are concatenated, messages merged, and the last value or
//! oneof member wins. Recursion is bounded by the schema and [`MAX_DEPTH`]. `otlp/wire` reads protobuf, `schema` has
//! the names of fields.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::schema::{self, Field, Kind, Message, Rule};
use crate::malformed::Malformed;
use crate::signal::Signal;
use crate::value::MAX_DEPTH;
use crate::value_json::{write_double, write_json_text};
use crate::wire::{Cursor, FIXED32, FIXED64, LEN, RawField, Span, VARINT, varint};

/// Appends an export request as one compact OTLP/JSON object, without a newline. On an error `out` is unchanged.
///
/// # Errors
/// The bytes are not an export request of `signal`, or a text is not UTF-8.
pub fn encode(signal: Signal, wire: &[u8], out: &mut String) -> Result<(), Malformed> {
    if u32::try_from(wire.len()).is_err() {
        return Err(Malformed { what: "larger than 4 GiB", at: 0 });
    }
    let before = out.len();
    let mut encoder = Encoder { wire, out, values: 0 };
    let result = encoder.message(schema::request(signal), &[Span::new(0, wire.len())]);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

struct Encoder<'a> {
    wire: &'a [u8],
    out: &'a mut String,
    /// Number of enclosing `AnyValue`s.
    values: usize,
}

/// Maximum number of fields in a message of the schema.
const MAX_FIELDS: usize = 16;

/// Occurrences of one field.
#[derive(Clone, Copy, Default)]
struct Found {
    count: usize,
    /// Position of the first occurrence that counts.
    first: usize,
    /// Payload of the last occurrence.
    last: Span,
}

impl Encoder<'_> {
    /// Writes one message, whose bytes are the concatenation of `parts`.
    fn message(&mut self, message: &'static Message, parts: &[Span]) -> Result<(), Malformed> {
        if message.any_value {
            if self.values == MAX_DEPTH {
                let at = parts.first().map_or(0, |part| part.start as usize);
                return Err(Malformed { what: "nested too deeply", at });
            }
            self.values += 1;
        }
        let found = self.find(message, parts)?;
        self.out.push('{');
        let mut first = true;
        for (field, found) in message.fields.iter().zip(&found).filter(|(_, found)| found.count > 0) {
            let before = self.out.len();
            if !first {
                self.out.push(',');
            }
            self.out.push('"');
            self.out.push_str(field.name);
            self.out.push_str("\":");
            if self.field(field, *found, parts)? {
                first = false;
            } else {
                self.out.truncate(before);
            }
        }
        self.out.push('}');
        self.values -= usize::from(message.any_value);
        Ok(())
    }

    /// Finds the fields that occur in a message, in one pass.
    fn find(&self, message: &'static Message, parts: &[Span]) -> Result<[Found; MAX_FIELDS], Malformed> {
        let mut all = [Found::default(); MAX_FIELDS];
        let mut member: Option<u32> = None;
        for part in parts {
            let mut fields = Cursor::over(self.wire, *part);
            while let Some(raw) = fields.next()? {
                let known = message.fields.iter().enumerate().find(|(_, field)| field.number == raw.number);
                let Some((index, field)) = known else { continue };
                check(field, &raw)?;
                if field.rule == Rule::OneOf && member.replace(raw.number).is_some_and(|before| before != raw.number) {
                    for (other, found) in message.fields.iter().zip(&mut all) {
                        found.count *= usize::from(other.rule != Rule::OneOf);
                    }
                }
                if let Some(found) = all.get_mut(index) {
                    found.first = if found.count == 0 { raw.at } else { found.first };
                    found.count += 1;
                    found.last = raw.span();
                }
            }
        }
        Ok(all)
    }

    /// Writes a field's value; returns false if it must be omitted.
    fn field(&mut self, field: &'static Field, found: Found, parts: &[Span]) -> Result<bool, Malformed> {
        match (field.rule, field.kind) {
            (Rule::Repeated, _) => self.list(field, parts)?,
            (_, Kind::Message(message)) if found.count == 1 => self.message(message, &[found.last])?,
            (_, Kind::Message(message)) => {
                let mut merged = Vec::with_capacity(found.count);
                self.each(field.number, parts, |_, raw| {
                    if raw.at >= found.first {
                        merged.push(raw.span());
                    }
                    Ok(())
                })?;
                self.message(message, &merged)?;
            }
            (rule, kind) => return self.scalar(kind, found.last, rule != Rule::Implicit),
        }
        Ok(true)
    }

    /// Calls `visit` for every occurrence of a field.
    fn each<F>(&mut self, number: u32, parts: &[Span], mut visit: F) -> Result<(), Malformed>
    where
        F: FnMut(&mut Self, RawField) -> Result<(), Malformed>,
    {
        for part in parts {
            let mut fields = Cursor::over(self.wire, *part);
            while let Some(raw) = fields.next()? {
                if raw.number == number {
                    visit(self, raw)?;
                }
            }
        }
        Ok(())
    }

    fn list(&mut self, field: &'static Field, parts: &[Span]) -> Result<(), Malformed> {
        let mut separator = '[';
        let element = field.kind.wire_type();
        self.each(field.number, parts, |this, raw| match field.kind {
            Kind::Message(message) => {
                this.out.push(std::mem::replace(&mut separator, ','));
                this.message(message, &[raw.span()])
            }
            kind if element == LEN || raw.wire != LEN => {
                this.out.push(std::mem::replace(&mut separator, ','));
                this.scalar(kind, raw.span(), true).map(|_| ())
            }
            kind => {
                let mut at = raw.body;
                while at < raw.end {
                    let end = match element {
                        FIXED64 => Some(at + 8),
                        FIXED32 => Some(at + 4),
                        _ => varint(this.wire, at).map(|(_, end)| end),
                    };
                    let end = end.filter(|end| *end <= raw.end).ok_or(Malformed { what: "cut off", at })?;
                    this.out.push(std::mem::replace(&mut separator, ','));
                    this.scalar(kind, Span::new(at, end), true)?;
                    at = end;
                }
                Ok(())
            }
        })?;
        if separator == '[' {
            self.out.push('[');
        }
        self.out.push(']');
        Ok(())
    }

    /// Writes a value that is not a message; returns false for a zero value that must be omitted.
    fn scalar(&mut self, kind: Kind, span: Span, zero_too: bool) -> Result<bool, Malformed> {
        let bytes = span.of(self.wire);
        if kind.wire_type() == LEN {
            if bytes.is_empty() && !zero_too {
                return Ok(false);
            }
            match kind {
                Kind::Id(length) if length != bytes.len() => return Ok(false),
                Kind::Id(_) => hexadecimal(self.out, bytes),
                Kind::String => {
                    let text = simdutf8::basic::from_utf8(bytes);
                    let at = span.start as usize;
                    write_json_text(text.map_err(|_| Malformed { what: "text is not UTF-8", at })?, self.out);
                }
                _ => {
                    self.out.push('"');
                    STANDARD.encode_string(bytes, self.out);
                    self.out.push('"');
                }
            }
            return Ok(true);
        }
        let bits = match kind.wire_type() {
            VARINT => varint(bytes, 0).map_or(0, |(value, _)| value),
            _ => bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)),
        };
        if bits == 0 && !zero_too {
            return Ok(false);
        }
        number(self.out, kind, bits);
        Ok(true)
    }
}

/// Fails if the wire type does not match the field.
fn check(field: &Field, raw: &RawField) -> Result<(), Malformed> {
    let packed = field.rule == Rule::Repeated && raw.wire == LEN;
    if packed || raw.wire == field.kind.wire_type() {
        Ok(())
    } else {
        Err(Malformed { what: "wrong wire type", at: raw.at })
    }
}

/// Writes a number in the form of its kind: 64-bit integers and non-finite doubles are quoted.
fn number(out: &mut String, kind: Kind, bits: u64) {
    let [a, b, c, d, ..] = bits.to_le_bytes();
    let low = u32::from_le_bytes([a, b, c, d]);
    // Writing into a String cannot fail.
    let _ = match kind {
        Kind::Bool => write!(out, "{}", bits != 0),
        Kind::Double => return write_double(f64::from_bits(bits), out),
        Kind::Fixed64 | Kind::UInt64 => write!(out, "\"{bits}\""),
        Kind::SFixed64 | Kind::Int64 => write!(out, "\"{}\"", bits.cast_signed()),
        Kind::SInt32 => write!(out, "{}", (low >> 1).cast_signed() ^ -(low & 1).cast_signed()),
        Kind::Int32 | Kind::Enum => write!(out, "{}", low.cast_signed()),
        Kind::Fixed32 | Kind::UInt32 => write!(out, "{low}"),
        Kind::String | Kind::Id(_) | Kind::Bytes | Kind::Message(_) => return,
    };
}

fn hexadecimal(out: &mut String, bytes: &[u8]) {
    out.push('"');
    for digit in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        out.extend(char::from_digit(u32::from(digit), 16));
    }
    out.push('"');
}
