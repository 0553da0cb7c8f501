//! [`PieceOffsets`]: positions in a piece of a text; [`PieceWindow`]: the bytes of the piece and eight after it. Word
//! starts are first collected for a whole piece and then filtered without a branch: half of all words begin like a
//! known one, unpredictably, and a mispredicted branch costs more than the filter. Lists and windows have a fixed size,
//! so positions need no checks. `stems` has the filter.

use std::cell::Cell;

use super::byte_masks::PIECE;

/// Positions written at a time.
const AT_ONCE: usize = 8;
/// Slots for all positions of a piece, and for excess writes.
const SLOTS: usize = PIECE + 64;
/// Bytes of a window: a piece, and eight more so that each position in it has eight bytes.
const WINDOW_BYTES: usize = PIECE + 8;

/// Positions in a piece, in order.
pub(super) struct PieceOffsets {
    list: Box<[u16; SLOTS]>,
    count: usize,
}

impl Default for PieceOffsets {
    fn default() -> Self {
        Self { list: Box::new([0; SLOTS]), count: 0 }
    }
}

impl PieceOffsets {
    /// Adds the bits of a block that begins at `base` in its piece. It may write some slots too many, because their
    /// number is hard to predict.
    #[inline(always)]
    pub(super) fn add(&mut self, base: u16, bits: u64) {
        let (mut rest, mut from) = (bits, self.count);
        while rest != 0 {
            let slots = self.list.get_mut(from..).and_then(|slots| slots.first_chunk_mut::<AT_ONCE>());
            let Some(slots) = slots else { return };
            for slot in slots {
                *slot = base + (rest.trailing_zeros() & 63) as u16;
                rest &= rest.wrapping_sub(1);
            }
            from += AT_ONCE;
        }
        self.count += bits.count_ones() as usize;
    }

    /// Keeps the positions whose next eight bytes make `may_match` set the lowest bit.
    #[inline(never)]
    pub(super) fn retain(&mut self, window: &[u8; WINDOW_BYTES], may_match: impl Fn(u64) -> u64) {
        let list = Cell::from_mut(self.list.as_mut_slice()).as_slice_of_cells();
        let mut kept = 0;
        for cell in list.get(..self.count).unwrap_or_default() {
            let at = cell.get();
            if let Some(slot) = list.get(kept) {
                slot.set(at);
            }
            kept += (may_match(PieceWindow::eight_bytes_at(window, at)) & 1) as usize;
        }
        self.count = kept;
    }

    /// Removes all positions.
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// Removes and returns all positions.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = u16> {
        let count = std::mem::take(&mut self.count);
        self.list.get(..count).unwrap_or_default().iter().copied()
    }
}

/// Room for a copy of the last piece, padded with blanks; the windows of other pieces are slices of the text.
pub(super) struct PieceWindow(Box<[u8; WINDOW_BYTES]>);

impl Default for PieceWindow {
    fn default() -> Self {
        Self(Box::new([b' '; WINDOW_BYTES]))
    }
}

impl PieceWindow {
    /// Returns the window of the piece at `base`.
    pub(super) fn at_piece<'a>(&'a mut self, text: &'a [u8], base: usize) -> &'a [u8; WINDOW_BYTES] {
        let rest = text.get(base..).unwrap_or_default();
        if let Some(bytes) = rest.first_chunk() {
            return bytes;
        }
        let (copy, padding) = self.0.split_at_mut(rest.len());
        copy.copy_from_slice(rest);
        padding.iter_mut().take(64).for_each(|byte| *byte = b' ');
        &self.0
    }

    /// Returns the eight bytes at `at` as a number.
    #[inline(always)]
    pub(super) fn eight_bytes_at(window: &[u8; WINDOW_BYTES], at: u16) -> u64 {
        let at = usize::from(at) % PIECE;
        window.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}
