//! Marks the bytes of a block with AVX2, 32 bytes at a time.

use pulp::x86::V3;

use super::{BLOCK, BlockMarks, BlockReader, mark_wide_leads};

/// Lookup tables for the marked bytes, by lower and upper half: a byte is marked if its two entries share a bit.
const LOW: [u8; 16] = [1, 17, 21, 17, 1, 9, 9, 1, 1, 1, 1, 9, 3, 1, 1, 17];
const HIGH: [u8; 16] = [1, 1, 8, 0, 0, 2, 0, 0, 0, 0, 0, 0, 4, 0, 16, 0];

impl BlockReader for V3 {
    #[inline(always)]
    fn mark_block(self, block: &[u8; BLOCK]) -> BlockMarks {
        let ([first, second], _) = block.as_chunks::<32>() else { return BlockMarks { blank: 0, to_fold: 0 } };
        let (one, two) = (mark_half(self, first), mark_half(self, second));
        let joined = |one: i32, two: i32| u64::from(one.cast_unsigned()) | u64::from(two.cast_unsigned()) << 32;
        let (odd, leads) = (joined(one.1, two.1), joined(one.2, two.2));
        let odd = if leads == 0 { odd } else { (odd & !leads) | mark_wide_leads(block, leads) };
        BlockMarks { blank: joined(one.0, two.0), to_fold: odd }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        self.vectorize(work)
    }
}

/// Returns three bit masks: blanks, marked bytes, and leads.
#[inline(always)]
fn mark_half(simd: V3, bytes: &[u8; 32]) -> (i32, i32, i32) {
    let (avx, avx2) = (simd.avx, simd.avx2);
    let bytes = pulp::cast(*bytes);
    let table = |half: [u8; 16]| avx2._mm256_broadcastsi128_si256(pulp::cast(half));
    let four = avx._mm256_set1_epi8(0x0f);
    let low = avx2._mm256_shuffle_epi8(table(LOW), avx2._mm256_and_si256(bytes, four));
    let upper = avx2._mm256_and_si256(avx2._mm256_srli_epi16::<4>(bytes), four);
    let high = avx2._mm256_shuffle_epi8(table(HIGH), upper);
    let both = avx2._mm256_and_si256(low, high);
    let none = avx2._mm256_cmpeq_epi8(both, avx._mm256_setzero_si256());
    // Moves the bit of leads to the top of its byte, where the mask is read
    let leads = avx2._mm256_movemask_epi8(avx2._mm256_slli_epi16::<3>(both));
    let blank = avx2._mm256_cmpeq_epi8(bytes, avx._mm256_set1_epi8(0x20));
    (avx2._mm256_movemask_epi8(blank), !avx2._mm256_movemask_epi8(none), leads)
}
