//! Writes protobuf front to back and inserts the lengths of nested messages at the end. The length of a message is
//! known only after the message; inserting it then would move the same bytes once per level, and a length padded to a
//! fixed width is not canonical.
//! One byte is reserved for each length. Only lengths of 128 and more are recorded and widened, in one backward pass
//! that moves each byte at most once. `otlp/schema` knows the fields.

use crate::wire;

/// Protobuf under construction.
#[derive(Default)]
pub(super) struct ProtobufWriter {
    bytes: Vec<u8>,
    wide_lengths: Vec<WideLength>,
    /// Number of bytes that [`ProtobufWriter::finish`] will add.
    extra_bytes: usize,
}

/// A length of more than one byte.
struct WideLength {
    /// Position of its reserved byte.
    at: usize,
    length: usize,
}

/// A length that is not known yet.
#[derive(Clone, Copy)]
pub(super) struct OpenLength {
    /// Position of its reserved byte.
    at: usize,
    /// `extra_bytes` when it was opened.
    extra_before: usize,
}

impl ProtobufWriter {
    /// Number of bytes written, plus those that [`ProtobufWriter::finish`] will add.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.extra_bytes
    }

    /// The buffer, to append to.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Writes a field's tag.
    pub(super) fn write_tag(&mut self, number: u32, wire_type: u8) {
        wire::put_tag(&mut self.bytes, number, wire_type);
    }

    /// Writes a varint.
    pub(super) fn write_varint(&mut self, value: u64) {
        wire::put_varint(&mut self.bytes, value);
    }

    /// Writes a length and that many bytes.
    pub(super) fn write_chunk(&mut self, bytes: &[u8]) {
        self.write_varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// Opens a length that covers everything written until [`ProtobufWriter::close_length`].
    pub(super) fn open_length(&mut self) -> OpenLength {
        let at = self.bytes.len();
        self.bytes.push(0);
        OpenLength { at, extra_before: self.extra_bytes }
    }

    /// Closes the innermost open length.
    pub(super) fn close_length(&mut self, open: OpenLength) {
        let length = self.len() - open.extra_before - open.at - 1;
        match (u8::try_from(length), self.bytes.get_mut(open.at)) {
            (Ok(short @ ..0x80), Some(byte)) => *byte = short,
            _ => {
                self.wide_lengths.push(WideLength { at: open.at, length });
                self.extra_bytes += wire::varint_len(length as u64) - 1;
            }
        }
    }

    /// The finished bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.wide_lengths.sort_unstable_by_key(|wide| wide.at);
        let mut source = self.bytes.len();
        let mut target = self.len();
        self.bytes.resize(target, 0);
        // Positions are strictly decreasing, and the target is ahead of the source by the number of bytes still to
        // add.
        for wide in self.wide_lengths.iter().rev() {
            let moved = source - (wide.at + 1);
            self.bytes.copy_within(wide.at + 1..source, target - moved);
            let width = wire::varint_len(wide.length as u64);
            target -= moved + width;
            let mut rest = wide.length;
            for byte in self.bytes.iter_mut().skip(target).take(width) {
                *byte = rest.to_le_bytes()[0] & 0x7f;
                rest >>= 7;
                *byte |= if rest == 0 { 0 } else { 0x80 };
            }
            source = wide.at;
        }
        self.bytes
    }
}
