//! Marks the bytes of a block with AVX2, 32 bytes at a time.

use pulp::x86::V3;

use super::{BLOCK, BlockMarks, BlockReader, mark_wide_leads};

/// Lookup tables by a byte's lower and upper four bits. A byte is marked if its two entries share a bit: 1 for control
/// characters, 2 for `\`, 4 for 0xc2, 8 for `%`, `&` and `+`, 16 for the leads of wide characters.
const BY_LOWER_HALF: [u8; 16] = [1, 17, 21, 17, 1, 9, 9, 1, 1, 1, 1, 9, 3, 1, 1, 17];
const BY_UPPER_HALF: [u8; 16] = [1, 1, 8, 0, 0, 2, 0, 0, 0, 0, 0, 0, 4, 0, 16, 0];

impl BlockReader for V3 {
    #[inline(always)]
    fn mark_block(self, block: &[u8; BLOCK]) -> BlockMarks {
        let ([first, second], _) = block.as_chunks::<32>() else { return BlockMarks { blank: 0, to_fold: 0 } };
        let (first, second) = (mark_half(self, first), mark_half(self, second));
        let join = |first: i32, second: i32| u64::from(first.cast_unsigned()) | u64::from(second.cast_unsigned()) << 32;
        let (marked, leads) = (join(first.marked, second.marked), join(first.leads, second.leads));
        let to_fold = if leads == 0 { marked } else { (marked & !leads) | mark_wide_leads(block, leads) };
        BlockMarks { blank: join(first.blank, second.blank), to_fold }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        self.vectorize(work)
    }
}

struct HalfBlockMasks {
    blank: i32,
    /// Bytes that the tables mark; includes `leads`.
    marked: i32,
    leads: i32,
}

#[inline(always)]
fn mark_half(simd: V3, bytes: &[u8; 32]) -> HalfBlockMasks {
    let (avx, avx2) = (simd.avx, simd.avx2);
    let bytes = pulp::cast(*bytes);
    let table = |entries: [u8; 16]| avx2._mm256_broadcastsi128_si256(pulp::cast(entries));
    let four_bits = avx._mm256_set1_epi8(0x0f);
    let lower = avx2._mm256_and_si256(bytes, four_bits);
    let upper = avx2._mm256_and_si256(avx2._mm256_srli_epi16::<4>(bytes), four_bits);
    let by_lower = avx2._mm256_shuffle_epi8(table(BY_LOWER_HALF), lower);
    let by_upper = avx2._mm256_shuffle_epi8(table(BY_UPPER_HALF), upper);
    let shared = avx2._mm256_and_si256(by_lower, by_upper);
    let unmarked = avx2._mm256_cmpeq_epi8(shared, avx._mm256_setzero_si256());
    // Moves bit 16 to the top of its byte, where `movemask` reads it
    let leads = avx2._mm256_movemask_epi8(avx2._mm256_slli_epi16::<3>(shared));
    let blank = avx2._mm256_movemask_epi8(avx2._mm256_cmpeq_epi8(bytes, avx._mm256_set1_epi8(0x20)));
    HalfBlockMasks { blank, marked: !avx2._mm256_movemask_epi8(unmarked), leads }
}
