//! Marks the bytes of a block of content that may have to be folded, because folding byte by byte costs four times as
//! much. Most blocks have one or two marks. Every byte that `fold::fold_unit` does not copy unchanged is marked; the
//! portable reader and the vector reader (`avx2`) give the same marks. `fold` does the folding.

use super::fold;

/// Bytes in a block.
pub(super) const BLOCK: usize = 64;

/// One bit for each byte of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BlockMarks {
    blank: u64,
    to_fold: u64,
}

impl BlockMarks {
    /// Marks the bytes that may have to be folded, among them every blank after a blank. `after_blank`: the byte before
    /// the block is a blank.
    #[inline(always)]
    pub(super) fn fold_positions(&self, after_blank: bool) -> u64 {
        self.to_fold | (self.blank & (self.blank << 1 | u64::from(after_blank)))
    }

    #[inline(always)]
    pub(super) fn is_blank(&self, at: usize) -> bool {
        self.blank >> (at & 63) & 1 == 1
    }

    #[inline(always)]
    pub(super) fn count_blanks_from(&self, at: usize) -> usize {
        (self.blank >> (at & 63)).trailing_ones() as usize
    }
}

/// Whether a byte may begin a wide character: white space, or a character without a width, of three bytes. (Those of
/// two bytes begin with 0xc2, which is always marked.)
#[inline(always)]
fn is_wide_lead(byte: u8) -> bool {
    matches!(byte, 0xe1..=0xe3 | 0xef)
}

/// Returns those `leads` that begin a wide character; in most blocks, none does. A lead in the last two bytes of a
/// block always counts, because its character may continue in the next block.
#[inline(always)]
fn mark_wide_leads(block: &[u8; BLOCK], mut leads: u64) -> u64 {
    let mut marks = 0;
    while leads != 0 {
        let at = leads.trailing_zeros() as usize;
        let character = block.get(at..).unwrap_or_default();
        if character.len() < 3 || fold::match_wide_character(character).is_some() {
            marks |= leads & leads.wrapping_neg();
        }
        leads &= leads - 1;
    }
    marks
}

/// Reads blocks with the instructions of this machine.
pub(super) trait BlockReader: Copy {
    fn mark_block(self, block: &[u8; BLOCK]) -> BlockMarks;

    /// Runs `work` compiled for those instructions.
    fn run<R>(self, work: impl FnOnce() -> R) -> R;
}

#[derive(Clone, Copy)]
pub(super) struct PortableReader;

impl BlockReader for PortableReader {
    #[inline(always)]
    fn mark_block(self, block: &[u8; BLOCK]) -> BlockMarks {
        let is_folded = |byte: u8| {
            (byte < b' ') | (byte == b'\\') | (byte == 0xc2) | (byte == b'%') | (byte == b'&') | (byte == b'+')
        };
        let wide = mark_wide_leads(block, bit_mask(block, is_wide_lead));
        BlockMarks { blank: bit_mask(block, |byte| byte == b' '), to_fold: bit_mask(block, is_folded) | wide }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        work()
    }
}

/// Sets one bit for each byte that `is_marked`.
#[inline(always)]
fn bit_mask(block: &[u8; BLOCK], is_marked: impl Fn(u8) -> bool) -> u64 {
    let mut bytes = [0_u8; BLOCK];
    for (mark, byte) in bytes.iter_mut().zip(block) {
        *mark = if is_marked(*byte) { 0xff } else { 0 };
    }
    let (words, _) = bytes.as_chunks::<8>();
    // Keeps bit `i` of byte `i`; the product then has the sum of all bytes, which is the mask, in its top byte
    let pack_bits =
        |word: &[u8; 8]| (u64::from_le_bytes(*word) & 0x8040_2010_0804_0201).wrapping_mul(0x0101_0101_0101_0101) >> 56;
    words.iter().rev().fold(0, |bits, word| bits << 8 | pack_bits(word))
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
