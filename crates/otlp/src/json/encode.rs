//! Converts protobuf bytes to compact OTLP/JSON. Unknown fields are dropped, and so are ids of a wrong length.
//! Repeated occurrences are combined as in protobuf: lists are concatenated, messages merged, and the last value or
//! oneof member wins. Recursion is bounded by the schema and [`MAX_DEPTH`]. `otlp/wire` reads protobuf,
//! `otlp/schema` has the names of fields.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::malformed::MalformedOtlp;
use crate::schema::{FieldCardinality, FieldSchema, MessageType, ProtoType};
use crate::signal::Signal;
use crate::value::MAX_DEPTH;
use crate::value_json::{write_double, write_json_text};
use crate::wire::{ByteRange, FIXED32, FIXED64, FieldCursor, LEN, RawField, VARINT, read_varint};

/// Appends an export request as one compact OTLP/JSON object, without a newline. On an error `out` is unchanged.
///
/// # Errors
/// The bytes are not an export request of `signal`, or a text is not UTF-8.
pub fn encode(signal: Signal, wire: &[u8], out: &mut String) -> Result<(), MalformedOtlp> {
    if u32::try_from(wire.len()).is_err() {
        return Err(MalformedOtlp { message: "larger than 4 GiB", at: 0 });
    }
    let start = out.len();
    let mut encoder = JsonEncoder { wire, out, open_values: 0 };
    let result = encoder.write_message(MessageType::request(signal), &[ByteRange::new(0, wire.len())]);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

struct JsonEncoder<'a> {
    wire: &'a [u8],
    out: &'a mut String,
    /// Number of enclosing `AnyValue`s.
    open_values: usize,
}

/// Maximum number of fields in a message of the schema.
const MAX_FIELDS: usize = 16;

/// Occurrences of one field.
#[derive(Clone, Copy, Default)]
struct FieldOccurrences {
    count: usize,
    /// Position of the first occurrence that counts.
    first_at: usize,
    /// Payload of the last occurrence.
    last_body: ByteRange,
}

impl JsonEncoder<'_> {
    /// Writes one message, whose bytes are the concatenation of `parts`.
    fn write_message(&mut self, message: MessageType, parts: &[ByteRange]) -> Result<(), MalformedOtlp> {
        if message == MessageType::AnyValue {
            if self.open_values == MAX_DEPTH {
                let at = parts.first().map_or(0, |part| part.start as usize);
                return Err(MalformedOtlp { message: "nested too deeply", at });
            }
            self.open_values += 1;
        }
        let found = self.find_fields(message, parts)?;
        self.out.push('{');
        let mut first = true;
        for (field, found) in message.fields().iter().zip(&found).filter(|(_, found)| found.count > 0) {
            let field_start = self.out.len();
            if !first {
                self.out.push(',');
            }
            self.out.push('"');
            self.out.push_str(field.name);
            self.out.push_str("\":");
            if self.write_field(field, *found, parts)? {
                first = false;
            } else {
                self.out.truncate(field_start);
            }
        }
        self.out.push('}');
        self.open_values -= usize::from(message == MessageType::AnyValue);
        Ok(())
    }

    /// Finds the fields that occur in a message, in one pass.
    fn find_fields(
        &self,
        message: MessageType,
        parts: &[ByteRange],
    ) -> Result<[FieldOccurrences; MAX_FIELDS], MalformedOtlp> {
        let mut occurrences = [FieldOccurrences::default(); MAX_FIELDS];
        let mut last_member: Option<u32> = None;
        for part in parts {
            let mut fields = FieldCursor::over_range(self.wire, *part);
            while let Some(raw) = fields.next()? {
                let known = message.fields().iter().enumerate().find(|(_, field)| field.number == raw.number);
                let Some((index, field)) = known else { continue };
                check_wire_type(field, &raw)?;
                if field.cardinality == FieldCardinality::OneOf
                    && last_member.replace(raw.number).is_some_and(|before| before != raw.number)
                {
                    // An earlier member of the oneof no longer counts.
                    for (other, found) in message.fields().iter().zip(&mut occurrences) {
                        if other.cardinality == FieldCardinality::OneOf {
                            found.count = 0;
                        }
                    }
                }
                if let Some(found) = occurrences.get_mut(index) {
                    found.first_at = if found.count == 0 { raw.at } else { found.first_at };
                    found.count += 1;
                    found.last_body = raw.span();
                }
            }
        }
        Ok(occurrences)
    }

    /// Writes a field's value; returns false if it must be omitted.
    fn write_field(
        &mut self,
        field: &'static FieldSchema,
        found: FieldOccurrences,
        parts: &[ByteRange],
    ) -> Result<bool, MalformedOtlp> {
        match (field.cardinality, field.kind) {
            (FieldCardinality::Repeated, _) => self.write_list(field, parts)?,
            (_, ProtoType::Message(message)) if found.count == 1 => self.write_message(message, &[found.last_body])?,
            (_, ProtoType::Message(message)) => {
                let mut message_parts = Vec::with_capacity(found.count);
                self.visit_occurrences(field.number, parts, |_, raw| {
                    if raw.at >= found.first_at {
                        message_parts.push(raw.span());
                    }
                    Ok(())
                })?;
                self.write_message(message, &message_parts)?;
            }
            (rule, kind) => return self.write_scalar(kind, found.last_body, rule != FieldCardinality::Implicit),
        }
        Ok(true)
    }

    /// Calls `visit` for every occurrence of a field.
    fn visit_occurrences<F>(&mut self, number: u32, parts: &[ByteRange], mut visit: F) -> Result<(), MalformedOtlp>
    where
        F: FnMut(&mut Self, RawField) -> Result<(), MalformedOtlp>,
    {
        for part in parts {
            let mut fields = FieldCursor::over_range(self.wire, *part);
            while let Some(raw) = fields.next()? {
                if raw.number == number {
                    visit(self, raw)?;
                }
            }
        }
        Ok(())
    }

    fn write_list(&mut self, field: &'static FieldSchema, parts: &[ByteRange]) -> Result<(), MalformedOtlp> {
        let mut separator = '[';
        let element_wire = field.kind.wire_type();
        self.visit_occurrences(field.number, parts, |this, raw| match field.kind {
            ProtoType::Message(message) => {
                this.out.push(std::mem::replace(&mut separator, ','));
                this.write_message(message, &[raw.span()])
            }
            kind if element_wire == LEN || raw.wire != LEN => {
                this.out.push(std::mem::replace(&mut separator, ','));
                this.write_scalar(kind, raw.span(), true).map(|_| ())
            }
            // Packed numbers.
            kind => {
                let mut at = raw.body;
                while at < raw.end {
                    let end = match element_wire {
                        FIXED64 => Some(at + 8),
                        FIXED32 => Some(at + 4),
                        _ => read_varint(this.wire, at).map(|(_, end)| end),
                    };
                    let end = end.filter(|end| *end <= raw.end).ok_or(MalformedOtlp { message: "truncated", at })?;
                    this.out.push(std::mem::replace(&mut separator, ','));
                    this.write_scalar(kind, ByteRange::new(at, end), true)?;
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
    fn write_scalar(&mut self, kind: ProtoType, span: ByteRange, keep_zero: bool) -> Result<bool, MalformedOtlp> {
        let bytes = span.slice(self.wire);
        if kind.wire_type() == LEN {
            if bytes.is_empty() && !keep_zero {
                return Ok(false);
            }
            match kind {
                ProtoType::Id(length) if length != bytes.len() => return Ok(false),
                ProtoType::Id(_) => write_hexadecimal(self.out, bytes),
                ProtoType::String => {
                    let text = simdutf8::basic::from_utf8(bytes);
                    let at = span.start as usize;
                    write_json_text(text.map_err(|_| MalformedOtlp { message: "text is not UTF-8", at })?, self.out);
                }
                // Bytes.
                _ => {
                    self.out.push('"');
                    STANDARD.encode_string(bytes, self.out);
                    self.out.push('"');
                }
            }
            return Ok(true);
        }
        let bits = match kind.wire_type() {
            VARINT => read_varint(bytes, 0).map_or(0, |(value, _)| value),
            _ => bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)),
        };
        if bits == 0 && !keep_zero {
            return Ok(false);
        }
        write_number(self.out, kind, bits);
        Ok(true)
    }
}

/// Fails if the wire type does not match the field.
fn check_wire_type(field: &FieldSchema, raw: &RawField) -> Result<(), MalformedOtlp> {
    let packed = field.cardinality == FieldCardinality::Repeated && raw.wire == LEN;
    if packed || raw.wire == field.kind.wire_type() {
        Ok(())
    } else {
        Err(MalformedOtlp { message: "wrong wire type", at: raw.at })
    }
}

/// Writes a number in the form of its kind: 64-bit integers and non-finite doubles are quoted.
fn write_number(out: &mut String, kind: ProtoType, bits: u64) {
    let [a, b, c, d, ..] = bits.to_le_bytes();
    let low = u32::from_le_bytes([a, b, c, d]);
    // Writing into a String cannot fail.
    let _ = match kind {
        ProtoType::Bool => write!(out, "{}", bits != 0),
        ProtoType::Double => return write_double(f64::from_bits(bits), out),
        ProtoType::Fixed64 | ProtoType::UInt64 => write!(out, "\"{bits}\""),
        ProtoType::SFixed64 | ProtoType::Int64 => write!(out, "\"{}\"", bits.cast_signed()),
        ProtoType::SInt32 => write!(out, "{}", (low >> 1).cast_signed() ^ -(low & 1).cast_signed()),
        ProtoType::Int32 | ProtoType::Enum => write!(out, "{}", low.cast_signed()),
        ProtoType::Fixed32 | ProtoType::UInt32 => write!(out, "{low}"),
        ProtoType::String | ProtoType::Id(_) | ProtoType::Bytes | ProtoType::Message(_) => return,
    };
}

fn write_hexadecimal(out: &mut String, bytes: &[u8]) {
    out.push('"');
    for digit in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        out.extend(char::from_digit(u32::from(digit), 16));
    }
    out.push('"');
}
