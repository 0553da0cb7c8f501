//! **What**: protobuf written forward, the lengths of nested messages put in at the end. **Why**: the length of a
//! message is known only behind it; moving it each time costs its size per level, padded lengths are not canonical.
//! **Invariants**: one byte is kept for each length; only lengths of 128 and more are remembered and widened, in one
//! backward pass that moves each byte at most once. **Not here**: which fields there are (`schema`).

use crate::wire;

/// Protobuf under construction.
#[derive(Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    wide: Vec<Wide>,
    /// Bytes that [`Output::finish`] will add.
    extra: usize,
}

/// A length of more than one byte.
struct Wide {
    /// Where its kept byte is.
    at: usize,
    /// The length.
    length: usize,
}

/// An open length.
#[derive(Clone, Copy)]
pub(super) struct Open {
    at: usize,
    extra: usize,
}

impl Output {
    /// Bytes so far, with what [`Output::finish`] will add.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.extra
    }

    /// The bytes so far, to be appended to.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// A field's tag.
    pub(super) fn tag(&mut self, number: u32, wire_type: u8) {
        wire::put_tag(&mut self.bytes, number, wire_type);
    }

    /// A varint.
    pub(super) fn varint(&mut self, value: u64) {
        wire::put_varint(&mut self.bytes, value);
    }

    /// A length and that many bytes.
    pub(super) fn chunk(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// Begins a length that counts all that is written until [`Output::close`].
    pub(super) fn open(&mut self) -> Open {
        let at = self.bytes.len();
        self.bytes.push(0);
        Open { at, extra: self.extra }
    }

    /// Ends the innermost open length.
    pub(super) fn close(&mut self, open: Open) {
        let length = self.len() - open.extra - open.at - 1;
        match (u8::try_from(length), self.bytes.get_mut(open.at)) {
            (Ok(short @ ..0x80), Some(byte)) => *byte = short,
            _ => {
                self.wide.push(Wide { at: open.at, length });
                self.extra += wire::varint_len(length as u64) - 1;
            }
        }
    }

    /// The finished bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.wide.sort_unstable_by_key(|wide| wide.at);
        let mut source = self.bytes.len();
        let mut target = self.len();
        self.bytes.resize(target, 0);
        // Positions fall strictly, and the target is ahead of the source by what is still to be added.
        for wide in self.wide.iter().rev() {
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
