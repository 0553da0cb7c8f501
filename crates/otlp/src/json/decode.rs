//! Converts OTLP/JSON text to protobuf bytes. Open messages are kept on an explicit stack, bounded by the schema and
//! [`MAX_DEPTH`]. Fields of a message keep the order of the text; zero values of fields without presence are not
//! written. `tokenizer` reads the text, `lengths` writes lengths, `otlp/schema` knows the fields.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::error::{JsonError, MAX_WIRE, TOO_LARGE};
use super::lengths::{OpenLength, ProtobufWriter};
use super::number;
use super::tokenizer::JsonTokenizer;
use crate::schema::{FieldCardinality, FieldSchema, MessageType, ProtoType};
use crate::signal::Signal;
use crate::value::MAX_DEPTH;
use crate::wire::{FIXED32, FIXED64, LEN};

/// Converts an OTLP/JSON export request to protobuf.
///
/// # Errors
/// The text is not JSON, not an OTLP/JSON export request of `signal`, or grows beyond [`MAX_WIRE`].
pub fn decode(signal: Signal, json: &[u8]) -> Result<Vec<u8>, JsonError> {
    decode_within(signal, json, json.len().max(MAX_WIRE))
}

/// Like [`decode`], with a limit of `limit` bytes (exceeded by at most one element or member).
///
/// # Errors
/// As [`decode`]. [`JsonError::is_too_large`] is true for a text that is valid so far but exceeds `limit`.
pub fn decode_within(signal: Signal, json: &[u8], limit: usize) -> Result<Vec<u8>, JsonError> {
    if let Err(invalid) = simdutf8::compat::from_utf8(json) {
        return Err(JsonError { message: "not UTF-8", at: invalid.valid_up_to() });
    }
    let mut decoder = JsonDecoder {
        text: JsonTokenizer::new(json),
        wire: ProtobufWriter::default(),
        scratch: Vec::new(),
        stack: Vec::new(),
        open_values: 0,
        limit,
    };
    decoder.open_message(MessageType::request(signal), None)?;
    while !decoder.stack.is_empty() {
        decoder.decode_next()?;
    }
    decoder.text.expect_end()?;
    Ok(decoder.wire.finish())
}

struct JsonDecoder<'a> {
    text: JsonTokenizer<'a>,
    wire: ProtobufWriter,
    /// Reusable buffer for strings with escapes.
    scratch: Vec<u8>,
    stack: Vec<OpenMessage>,
    /// Number of `AnyValue`s on the stack.
    open_values: usize,
    limit: usize,
}

/// An open message.
struct OpenMessage {
    message: MessageType,
    /// Its length; `None` for the request.
    length: Option<OpenLength>,
    /// The open list of messages in it.
    list: Option<&'static FieldSchema>,
    /// No element of the innermost list or object was read yet. One flag suffices: a list follows a key, so the object
    /// around it is not at its start after the list.
    first: bool,
    /// Fields that occurred already: one bit for each, in the order of the schema.
    seen: u32,
    /// Whether a member of the message's oneof was set.
    one_of_set: bool,
}

impl JsonDecoder<'_> {
    /// Opens a message at its brace.
    fn open_message(&mut self, message: MessageType, number: Option<u32>) -> Result<(), JsonError> {
        self.text.expect_byte(b'{', "expected an object")?;
        if message == MessageType::AnyValue {
            if self.open_values == MAX_DEPTH {
                return Err(self.text.error("nested too deeply"));
            }
            self.open_values += 1;
        }
        let length = number.map(|number| {
            self.wire.write_tag(number, LEN);
            self.wire.open_length()
        });
        self.stack.push(OpenMessage { message, length, list: None, first: true, seen: 0, one_of_set: false });
        Ok(())
    }

    /// Reads one element of the innermost list, one member of the innermost object, or the end of either.
    fn decode_next(&mut self) -> Result<(), JsonError> {
        let Some(open) = self.stack.last_mut() else { return Ok(()) };
        let close = if open.list.is_some() { b']' } else { b'}' };
        let has_more = self.text.next_element(open.first, close)?;
        open.first = false;
        if let Some(field) = open.list {
            match field.kind {
                ProtoType::Message(message) if has_more => self.open_message(message, Some(field.number))?,
                _ => open.list = None,
            }
            return Ok(());
        }
        if has_more { self.read_member() } else { self.close_message() }
    }

    fn close_message(&mut self) -> Result<(), JsonError> {
        if let Some(open) = self.stack.pop() {
            self.open_values -= usize::from(open.message == MessageType::AnyValue);
            if let Some(length) = open.length {
                self.wire.close_length(length);
            }
        }
        if self.wire.len() > self.limit {
            return Err(self.text.error(TOO_LARGE));
        }
        Ok(())
    }

    /// Reads a key and its value.
    fn read_member(&mut self) -> Result<(), JsonError> {
        let Some(open) = self.stack.last_mut() else { return Ok(()) };
        self.text.peek();
        let at = self.text.at();
        let key = self.text.key(&mut self.scratch)?;
        let found = open.message.fields().iter().enumerate().find(|(_, field)| field.name.as_bytes() == key);
        let Some((index, field)) = found else { return self.text.skip() };
        let bit = 1 << index;
        if open.seen & bit != 0 {
            return Err(JsonError { message: "a field occurs twice in an object", at });
        }
        open.seen |= bit;
        if self.text.null()? {
            return Ok(());
        }
        if field.cardinality == FieldCardinality::OneOf {
            if open.one_of_set {
                return Err(JsonError { message: "two members of a oneof are set", at });
            }
            open.one_of_set = true;
        }
        match (field.cardinality, field.kind) {
            (FieldCardinality::Repeated, _) => self.text.expect_byte(b'[', "expected a list")?,
            (_, ProtoType::Message(message)) => return self.open_message(message, Some(field.number)),
            _ => return self.read_scalar(field),
        }
        match field.kind {
            ProtoType::Message(_) => {
                open.list = Some(field);
                open.first = true;
                Ok(())
            }
            ProtoType::String => self.read_strings(field),
            _ => self.read_packed_numbers(field),
        }
    }

    /// Reads a list of strings, after its bracket.
    fn read_strings(&mut self, field: &FieldSchema) -> Result<(), JsonError> {
        let mut first = true;
        while self.text.next_element(first, b']')? {
            first = false;
            self.read_string(field.number, true)?;
        }
        Ok(())
    }

    /// Reads a list of numbers, after its bracket.
    fn read_packed_numbers(&mut self, field: &FieldSchema) -> Result<(), JsonError> {
        if !self.text.next_element(true, b']')? {
            return Ok(());
        }
        self.wire.write_tag(field.number, LEN);
        let length = self.wire.open_length();
        loop {
            let bits = self.read_number(field.kind)?;
            self.write_raw_bits(field.kind, bits);
            if self.wire.len() > self.limit {
                return Err(self.text.error(TOO_LARGE));
            }
            if !self.text.next_element(false, b']')? {
                break;
            }
        }
        self.wire.close_length(length);
        Ok(())
    }

    /// Reads a value that is neither a list nor a message.
    fn read_scalar(&mut self, field: &FieldSchema) -> Result<(), JsonError> {
        let keep_zero = field.cardinality != FieldCardinality::Implicit;
        match field.kind {
            ProtoType::String => self.read_string(field.number, keep_zero),
            ProtoType::Id(_) => self.read_id(field.number),
            ProtoType::Bytes => self.read_base64(field.number, keep_zero),
            kind => {
                let bits = if matches!(kind, ProtoType::Bool) {
                    u64::from(self.text.boolean()?)
                } else {
                    self.read_number(kind)?
                };
                if bits != 0 || keep_zero {
                    self.wire.write_tag(field.number, kind.wire_type());
                    self.write_raw_bits(kind, bits);
                }
                Ok(())
            }
        }
    }

    fn read_string(&mut self, number: u32, keep_empty: bool) -> Result<(), JsonError> {
        let (start, is_complete) = self.text.string_start()?;
        if is_complete {
            if !start.is_empty() || keep_empty {
                self.wire.write_tag(number, LEN);
                self.wire.write_chunk(start);
            }
            return Ok(());
        }
        self.wire.write_tag(number, LEN);
        let length = self.wire.open_length();
        self.wire.bytes().extend_from_slice(start);
        self.text.string_rest(Some(self.wire.bytes()))?;
        self.wire.close_length(length);
        Ok(())
    }

    /// Reads a trace or span id in hexadecimal. An id of a wrong length is copied as it is, so that its item is
    /// treated as in protobuf and the rest of the request is accepted.
    fn read_id(&mut self, number: u32) -> Result<(), JsonError> {
        self.text.peek();
        let at = self.text.at();
        let digits = self.text.string(&mut self.scratch)?;
        if digits.is_empty() {
            return Ok(());
        }
        if !digits.len().is_multiple_of(2) || digits.len() > MAX_ID_DIGITS {
            return Err(JsonError { message: "id has a wrong length", at });
        }
        self.wire.write_tag(number, LEN);
        self.wire.write_varint(digits.len() as u64 / 2);
        let (pairs, _) = digits.as_chunks::<2>();
        for [high, low] in pairs {
            let nibbles = char::from(*high).to_digit(16).zip(char::from(*low).to_digit(16));
            let (high, low) = nibbles.ok_or(JsonError { message: "id is not hexadecimal", at })?;
            self.wire.bytes().push((high << 4 | low).to_le_bytes()[0]);
        }
        Ok(())
    }

    fn read_base64(&mut self, number: u32, keep_empty: bool) -> Result<(), JsonError> {
        self.text.peek();
        let at = self.text.at();
        let text = self.text.string(&mut self.scratch)?;
        if text.is_empty() && !keep_empty {
            return Ok(());
        }
        self.wire.write_tag(number, LEN);
        let length = self.wire.open_length();
        let url_safe = memchr::memchr2(b'-', b'_', text).is_some();
        let engine = if url_safe { &URL_SAFE } else { &STANDARD };
        if engine.decode_vec(text, self.wire.bytes()).is_err() {
            return Err(JsonError { message: "bytes value is not base64", at });
        }
        self.wire.close_length(length);
        Ok(())
    }

    /// Reads a number, with or without quotes; returns its bits on the wire.
    fn read_number(&mut self, kind: ProtoType) -> Result<u64, JsonError> {
        self.text.peek();
        let at = self.text.at();
        let quoted = self.text.peek() == Some(b'"');
        if quoted && matches!(kind, ProtoType::Enum) {
            return Err(JsonError { message: "enum value must be an integer", at });
        }
        let text = if quoted { self.text.string(&mut self.scratch)? } else { self.text.number()? };
        if matches!(kind, ProtoType::Double) {
            let value = match text {
                b"NaN" if quoted => Some(f64::NAN),
                b"Infinity" if quoted => Some(f64::INFINITY),
                b"-Infinity" if quoted => Some(f64::NEG_INFINITY),
                _ => whole_token(text).and_then(number::parse_double),
            };
            return value.map(f64::to_bits).ok_or(JsonError { message: "not a number in the field's range", at });
        }
        let value = whole_token(text).and_then(number::parse_integer).and_then(|value| integer_bits(kind, value));
        value.ok_or(JsonError { message: "not an integer in the field's range", at })
    }

    /// Writes the bits of a number, without a tag.
    fn write_raw_bits(&mut self, kind: ProtoType, bits: u64) {
        let bytes = bits.to_le_bytes();
        match kind.wire_type() {
            FIXED64 => self.wire.bytes().extend_from_slice(&bytes),
            FIXED32 => self.wire.bytes().extend(bytes.iter().take(4)),
            _ => self.wire.write_varint(bits),
        }
    }
}

/// `text`, if it is one whole JSON number.
fn whole_token(text: &[u8]) -> Option<&[u8]> {
    number::scan_number(text).filter(|token| token.len() == text.len())
}

/// The bits of an integer on the wire, if it is in the range of its kind.
fn integer_bits(kind: ProtoType, value: i128) -> Option<u64> {
    match kind {
        ProtoType::Fixed64 | ProtoType::UInt64 => u64::try_from(value).ok(),
        ProtoType::Fixed32 | ProtoType::UInt32 => u32::try_from(value).ok().map(u64::from),
        ProtoType::SFixed64 | ProtoType::Int64 => i64::try_from(value).ok().map(i64::cast_unsigned),
        ProtoType::Int32 | ProtoType::Enum => i32::try_from(value).ok().map(|value| i64::from(value).cast_unsigned()),
        ProtoType::SInt32 => {
            i32::try_from(value).ok().map(|value| u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()))
        }
        ProtoType::String
        | ProtoType::Id(_)
        | ProtoType::Bytes
        | ProtoType::Bool
        | ProtoType::Double
        | ProtoType::Message(_) => None,
    }
}

/// Maximum number of digits accepted as an id, whether its length is right or wrong.
const MAX_ID_DIGITS: usize = 128;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
/// `+` and `/`, padded or not.
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
/// `-` and `_`, padded or not.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
