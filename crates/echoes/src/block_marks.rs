//! Marks the bytes of a block of content that may have to be folded. Most blocks have one or two of them, and folding
//! byte by byte costs four times as much. Every byte that `fold::unit` does not copy unchanged is marked; the portable
//! and the vector reader give the same marks. `fold` does the folding.

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
    /// Marks bytes that may not fold to themselves. `after`: the byte before the block is a blank.
    #[inline(always)]
    pub(super) fn fold_positions(&self, after: bool) -> u64 {
        self.to_fold | (self.blank & (self.blank << 1 | u64::from(after)))
    }

    #[inline(always)]
    pub(super) fn is_blank(&self, at: usize) -> bool {
        self.blank >> (at & 63) & 1 == 1
    }

    /// Number of consecutive blanks from `at` on.
    #[inline(always)]
    pub(super) fn blanks_at(&self, at: usize) -> usize {
        (self.blank >> (at & 63)).trailing_ones() as usize
    }
}

/// First bytes of multi-byte white space and zero-width characters, except 0xc2.
#[inline(always)]
fn is_lead(byte: u8) -> bool {
    matches!(byte, 0xe1..=0xe3 | 0xef)
}

/// Returns those `leads` that begin such a character. Most blocks have none. A lead in the last two bytes of a block
/// always counts, because the character may go on in the next one.
#[inline(always)]
fn mark_wide_leads(block: &[u8; BLOCK], mut leads: u64) -> u64 {
    let mut out = 0;
    while leads != 0 {
        let at = leads.trailing_zeros() as usize;
        let text = block.get(at..).unwrap_or_default();
        if text.len() < 3 || fold::match_wide_character(text).is_some() {
            out |= leads & leads.wrapping_neg();
        }
        leads &= leads - 1;
    }
    out
}

/// Reads blocks with the instructions of this machine.
pub(super) trait BlockReader: Copy {
    /// Returns the marks of a block.
    fn mark_block(self, block: &[u8; BLOCK]) -> BlockMarks;

    /// Runs `work` compiled for those instructions.
    fn run<R>(self, work: impl FnOnce() -> R) -> R;
}

/// The portable reader.
#[derive(Clone, Copy)]
pub(super) struct PortableReader;

impl BlockReader for PortableReader {
    #[inline(always)]
    fn mark_block(self, block: &[u8; BLOCK]) -> BlockMarks {
        let odd = |byte: u8| {
            (byte < b' ') | (byte == b'\\') | (byte == 0xc2) | (byte == b'%') | (byte == b'&') | (byte == b'+')
        };
        let wide = mark_wide_leads(block, bit_mask(block, is_lead));
        BlockMarks { blank: bit_mask(block, |byte| byte == b' '), to_fold: bit_mask(block, odd) | wide }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        work()
    }
}

/// Sets one bit for each byte that satisfies `is`.
#[inline(always)]
fn bit_mask(block: &[u8; BLOCK], is: impl Fn(u8) -> bool) -> u64 {
    let mut bytes = [0_u8; BLOCK];
    for (mark, byte) in bytes.iter_mut().zip(block) {
        *mark = if is(*byte) { 0xff } else { 0 };
    }
    let (words, _) = bytes.as_chunks::<8>();
    let eight =
        |word: &[u8; 8]| (u64::from_le_bytes(*word) & 0x8040_2010_0804_0201).wrapping_mul(0x0101_0101_0101_0101) >> 56;
    words.iter().rev().fold(0, |bits, word| bits << 8 | eight(word))
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
