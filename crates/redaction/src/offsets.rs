//! **What**: [`Offsets`], places in a piece of a text, and [`Window`], its bytes with some behind them. **Why**: where
//! words begin is collected first and asked then, for a whole piece, without a branch: half of all words begin as one
//! of the table does, nothing tells which, and a branch that is guessed wrongly costs more than asking. **Invariants**:
//! lists and windows have one size, so that no place needs a check. **Not here**: what is asked (`stems`).

use std::cell::Cell;

use super::masks::PIECE;

/// Places that are written at a time.
const AT_ONCE: usize = 8;
/// All places of a piece, and what is written too much.
const ROOM: usize = PIECE + 64;
/// Bytes of a window: eight from the last place on.
const BYTES: usize = PIECE + 8;

/// Places in a piece, in order.
pub(super) struct Offsets {
    list: Box<[u16; ROOM]>,
    count: usize,
}

impl Default for Offsets {
    fn default() -> Self {
        Self { list: Box::new([0; ROOM]), count: 0 }
    }
}

impl Offsets {
    /// Adds the bits of a block that begins at `base` in its piece. Some are written too much: how many there are is
    /// hard to guess.
    #[inline(always)]
    pub(super) fn add(&mut self, base: u16, bits: u64) {
        let (mut rest, mut from) = (bits, self.count);
        while rest != 0 {
            let room = self.list.get_mut(from..).and_then(|room| room.first_chunk_mut::<AT_ONCE>());
            let Some(room) = room else { return };
            for slot in room {
                *slot = base + (rest.trailing_zeros() & 63) as u16;
                rest &= rest.wrapping_sub(1);
            }
            from += AT_ONCE;
        }
        self.count += bits.count_ones() as usize;
    }

    /// Keeps the places from which on eight bytes are as `wanted` says in the lowest bit.
    #[inline(never)]
    pub(super) fn keep(&mut self, window: &[u8; BYTES], wanted: impl Fn(u64) -> u64) {
        let list = Cell::from_mut(self.list.as_mut_slice()).as_slice_of_cells();
        let mut kept = 0;
        for place in list.get(..self.count).unwrap_or_default() {
            let at = place.get();
            if let Some(slot) = list.get(kept) {
                slot.set(at);
            }
            kept += (wanted(Window::bytes(window, at)) & 1) as usize;
        }
        self.count = kept;
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// Takes all of them.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = u16> {
        let count = std::mem::take(&mut self.count);
        self.list.get(..count).unwrap_or_default().iter().copied()
    }
}

/// The bytes of a piece and some behind it: those of the text, or a copy with blanks behind its end.
pub(super) struct Window(Box<[u8; BYTES]>);

impl Default for Window {
    fn default() -> Self {
        Self(Box::new([b' '; BYTES]))
    }
}

impl Window {
    /// The bytes of the piece at `base`.
    pub(super) fn of<'a>(&'a mut self, text: &'a [u8], base: usize) -> &'a [u8; BYTES] {
        let rest = text.get(base..).unwrap_or_default();
        if let Some(bytes) = rest.first_chunk() {
            return bytes;
        }
        let (copy, behind) = self.0.split_at_mut(rest.len());
        copy.copy_from_slice(rest);
        behind.iter_mut().take(64).for_each(|byte| *byte = b' ');
        &self.0
    }

    /// Eight of them.
    #[inline(always)]
    pub(super) fn bytes(window: &[u8; BYTES], at: u16) -> u64 {
        let at = usize::from(at) % PIECE;
        window.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}
