//! **What**: where in a block of content something may stand that is to be folded. **Why**: most blocks have one such
//! place or two; a byte at a time costs four times as much. **Invariants**: a byte that `fold::unit` takes for more
//! than itself is always marked; with and without vectors the marks are the same. **Not here**: what is made of it
//! (`fold`).

use super::fold;

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

/// A bit for each byte of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Marks {
    blank: u64,
    odd: u64,
}

impl Marks {
    /// Bytes that may not stand for themselves; `after`: a blank stands before the block.
    #[inline(always)]
    pub(super) fn breaks(&self, after: bool) -> u64 {
        self.odd | (self.blank & (self.blank << 1 | u64::from(after)))
    }

    #[inline(always)]
    pub(super) fn is_blank(&self, at: usize) -> bool {
        self.blank >> (at & 63) & 1 == 1
    }

    /// Blanks in a row from here on.
    #[inline(always)]
    pub(super) fn blanks_at(&self, at: usize) -> usize {
        (self.blank >> (at & 63)).trailing_ones() as usize
    }
}

/// Bytes that white space longer than a byte begins with, but for 0xc2.
#[inline(always)]
fn is_lead(byte: u8) -> bool {
    matches!(byte, 0xe1..=0xe3 | 0xef)
}

/// Which of the `leads` begin some. Most blocks have none; at the end of a block each may.
#[inline(always)]
fn wide(block: &[u8; BLOCK], mut leads: u64) -> u64 {
    let mut out = 0;
    while leads != 0 {
        let at = leads.trailing_zeros() as usize;
        let text = block.get(at..).unwrap_or_default();
        if text.len() < 3 || fold::wide(text).is_some() {
            out |= leads & leads.wrapping_neg();
        }
        leads &= leads - 1;
    }
    out
}

/// How blocks are read on this machine.
pub(super) trait Reader: Copy {
    /// Reads a block.
    fn marks(self, block: &[u8; BLOCK]) -> Marks;

    /// Runs `work` as this machine can.
    fn run<R>(self, work: impl FnOnce() -> R) -> R;
}

/// On any machine.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl Reader for Plain {
    #[inline(always)]
    fn marks(self, block: &[u8; BLOCK]) -> Marks {
        let odd = |byte: u8| {
            (byte < b' ') | (byte == b'\\') | (byte == 0xc2) | (byte == b'%') | (byte == b'&') | (byte == b'+')
        };
        let wide = wide(block, bits(block, is_lead));
        Marks { blank: bits(block, |byte| byte == b' '), odd: bits(block, odd) | wide }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        work()
    }
}

/// One bit for each byte that is one of those.
#[inline(always)]
fn bits(block: &[u8; BLOCK], is: impl Fn(u8) -> bool) -> u64 {
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
pub(super) mod vectors;
