//! Classifies bytes, 64 at a time, as bit masks. AVX2 and the portable path give equal results (`tests`). The masks of
//! a piece are made first and read afterwards, because one loop that does both compiles to slower code. `anchors`
//! interprets the masks.

/// Bytes in a piece; its masks fit in the first-level cache.
pub(super) const PIECE: usize = 64 * 64;

/// Reads masks. `read_block` and `end_piece` must be `#[inline(always)]`, and so must the functions that they call
/// often: only then are they compiled for the processor's bit instructions.
pub(super) trait MaskReader {
    /// Reads the masks of the 64 bytes from `base` on; the text is padded with blanks. `next_alnum`: the letters and
    /// digits among the 64 bytes after them, or all bits set if they are unknown.
    fn read_block(&mut self, base: usize, block: &ByteMasks, next_alnum: u64);

    /// Ends the piece at `base`, whose blocks were all read.
    fn end_piece(&mut self, _base: usize) {}
}

/// Passes the masks of `text` to `reader`, using `buffer`.
pub(super) fn read_text(text: &[u8], buffer: &mut Vec<ByteMasks>, reader: &mut impl MaskReader) {
    buffer.resize((PIECE / 64).min(text.len().div_ceil(64)).max(buffer.len()), ByteMasks::default());
    let mut base = 0;
    for piece in text.chunks(PIECE) {
        read_masks(make_masks(piece, buffer), base, reader);
        end_piece(base, reader);
        base += piece.len();
    }
}

fn read_masks(masks: &[ByteMasks], base: usize, reader: &mut impl MaskReader) {
    #[cfg(target_arch = "x86_64")]
    if avx2::read_masks(masks, base, reader) {
        return;
    }
    for (index, block) in masks.iter().enumerate() {
        reader.read_block(base + 64 * index, block, masks.get(index + 1).map_or(u64::MAX, |next| next.alnum));
    }
}

fn end_piece(base: usize, reader: &mut impl MaskReader) {
    #[cfg(target_arch = "x86_64")]
    if avx2::end_piece(base, reader) {
        return;
    }
    reader.end_piece(base);
}

/// Classes of 64 bytes, one bit per byte.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct ByteMasks {
    /// ASCII letters and digits.
    pub(super) alnum: u64,
    pub(super) upper: u64,
    pub(super) digit: u64,
    pub(super) at: u64,
    pub(super) colon: u64,
    pub(super) backslash: u64,
    /// `%`, `&` and `=`, which begin escapes.
    pub(super) percent: u64,
    pub(super) ampersand: u64,
    pub(super) equals: u64,
    /// Non-ASCII bytes.
    pub(super) high: u64,
    /// `[`, and the terminal escape character.
    pub(super) bracket: u64,
    pub(super) escape: u64,
    /// `+ / - _`: with letters and digits, the base64 alphabets.
    pub(super) joint: u64,
}

/// Makes the masks of a piece; its last block is padded with blanks.
fn make_masks<'m>(piece: &[u8], masks: &'m mut [ByteMasks]) -> &'m [ByteMasks] {
    let (blocks, rest) = piece.as_chunks::<64>();
    if !blocks.is_empty() {
        fill_masks(blocks, masks);
    }
    let mut count = blocks.len();
    if !rest.is_empty() {
        let mut block = [b' '; 64];
        if let Some(head) = block.get_mut(..rest.len()) {
            head.copy_from_slice(rest);
        }
        if let Some(masks) = masks.get_mut(count..=count) {
            fill_masks(&[block], masks);
        }
        count += 1;
    }
    masks.get(..count).unwrap_or_default()
}

fn fill_masks(blocks: &[[u8; 64]], masks: &mut [ByteMasks]) {
    #[cfg(target_arch = "x86_64")]
    if avx2::fill_masks(blocks, masks) {
        return;
    }
    blocks.iter().zip(masks.iter_mut()).for_each(|(block, masks)| *masks = portable_masks(block));
}

/// The masks in plain Rust, for other processors and as the oracle of the tests.
pub(super) fn portable_masks(block: &[u8; 64]) -> ByteMasks {
    let mut masks = ByteMasks::default();
    for (bit, byte) in block.iter().enumerate() {
        let set = |is: bool| u64::from(is) << bit;
        masks.alnum |= set(byte.is_ascii_alphanumeric());
        masks.upper |= set(byte.is_ascii_uppercase());
        masks.digit |= set(byte.is_ascii_digit());
        masks.at |= set(*byte == b'@');
        masks.colon |= set(*byte == b':');
        masks.backslash |= set(*byte == b'\\');
        masks.percent |= set(*byte == b'%');
        masks.ampersand |= set(*byte == b'&');
        masks.equals |= set(*byte == b'=');
        masks.high |= set(!byte.is_ascii());
        masks.bracket |= set(*byte == b'[');
        masks.escape |= set(*byte == 0x1b);
        masks.joint |= set(b"+/-_".contains(byte));
    }
    masks
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use pulp::x86::V3;
    use pulp::{NullaryFnOnce, cast};

    use crate::byte_masks::{ByteMasks, MaskReader};

    /// Makes the masks; false if the processor has no AVX2.
    pub(super) fn fill_masks(blocks: &[[u8; 64]], masks: &mut [ByteMasks]) -> bool {
        match V3::try_new() {
            Some(v3) => v3.vectorize(MaskFill { v3, blocks, masks }),
            None => return false,
        }
        true
    }

    /// Makes the masks with AVX2, without `unsafe`. Everything it calls must be inlined, so no closures.
    struct MaskFill<'a> {
        v3: V3,
        blocks: &'a [[u8; 64]],
        masks: &'a mut [ByteMasks],
    }

    impl NullaryFnOnce for MaskFill<'_> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let Self { v3, blocks, masks } = self;
            for (block, masks) in blocks.iter().zip(masks.iter_mut()) {
                *masks = block_masks(v3, block);
            }
        }
    }

    /// Like [`super::read_masks`]; false if the processor has no AVX2.
    pub(super) fn read_masks(masks: &[ByteMasks], base: usize, reader: &mut impl MaskReader) -> bool {
        match V3::try_new() {
            Some(v3) => v3.vectorize(MaskReading { masks, base, reader }),
            None => return false,
        }
        true
    }

    struct MaskReading<'a, R> {
        masks: &'a [ByteMasks],
        base: usize,
        reader: &'a mut R,
    }

    impl<R: MaskReader> NullaryFnOnce for MaskReading<'_, R> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let Self { masks, mut base, reader } = self;
            for (index, block) in masks.iter().enumerate() {
                reader.read_block(base, block, masks.get(index + 1).map_or(u64::MAX, |next| next.alnum));
                base += 64;
            }
        }
    }

    /// Ends a piece; false if the processor has no AVX2.
    pub(super) fn end_piece(base: usize, reader: &mut impl MaskReader) -> bool {
        match V3::try_new() {
            Some(v3) => v3.vectorize(PieceEnd { base, reader }),
            None => return false,
        }
        true
    }

    struct PieceEnd<'a, R> {
        base: usize,
        reader: &'a mut R,
    }

    impl<R: MaskReader> NullaryFnOnce for PieceEnd<'_, R> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            self.reader.end_piece(self.base);
        }
    }

    #[inline(always)]
    fn block_masks(v3: V3, block: &[u8; 64]) -> ByteMasks {
        let [low, high]: [[u8; 32]; 2] = cast(*block);
        let (low, high) = (half_masks(v3, low), half_masks(v3, high));
        ByteMasks {
            alnum: join_halves(low.alnum, high.alnum),
            upper: join_halves(low.upper, high.upper),
            digit: join_halves(low.digit, high.digit),
            at: join_halves(low.at, high.at),
            colon: join_halves(low.colon, high.colon),
            backslash: join_halves(low.backslash, high.backslash),
            percent: join_halves(low.percent, high.percent),
            ampersand: join_halves(low.ampersand, high.ampersand),
            equals: join_halves(low.equals, high.equals),
            high: join_halves(low.high, high.high),
            bracket: join_halves(low.bracket, high.bracket),
            escape: join_halves(low.escape, high.escape),
            joint: join_halves(low.joint, high.joint),
        }
    }

    /// Classes of 32 bytes.
    struct HalfMasks {
        alnum: i32,
        upper: i32,
        digit: i32,
        at: i32,
        colon: i32,
        backslash: i32,
        percent: i32,
        ampersand: i32,
        equals: i32,
        high: i32,
        bracket: i32,
        escape: i32,
        joint: i32,
    }

    #[inline(always)]
    fn join_halves(low: i32, high: i32) -> u64 {
        u64::from(low.cast_unsigned()) | (u64::from(high.cast_unsigned()) << 32)
    }

    #[inline(always)]
    fn half_masks(v3: V3, bytes: [u8; 32]) -> HalfMasks {
        let (avx, avx2) = (v3.avx, v3.avx2);
        let v: core::arch::x86_64::__m256i = cast(bytes);
        // Signed comparison: non-ASCII bytes are negative, so no range contains them
        let upper = avx2._mm256_and_si256(
            avx2._mm256_cmpgt_epi8(v, avx._mm256_set1_epi8(0x40)),
            avx2._mm256_cmpgt_epi8(avx._mm256_set1_epi8(0x5b), v),
        );
        let lower = avx2._mm256_and_si256(
            avx2._mm256_cmpgt_epi8(v, avx._mm256_set1_epi8(0x60)),
            avx2._mm256_cmpgt_epi8(avx._mm256_set1_epi8(0x7b), v),
        );
        let digit = avx2._mm256_and_si256(
            avx2._mm256_cmpgt_epi8(v, avx._mm256_set1_epi8(0x2f)),
            avx2._mm256_cmpgt_epi8(avx._mm256_set1_epi8(0x3a), v),
        );
        let alnum = avx2._mm256_or_si256(avx2._mm256_or_si256(upper, lower), digit);
        let joint = avx2._mm256_or_si256(
            avx2._mm256_or_si256(
                avx2._mm256_cmpeq_epi8(v, avx._mm256_set1_epi8(0x2b)),
                avx2._mm256_cmpeq_epi8(v, avx._mm256_set1_epi8(0x2f)),
            ),
            avx2._mm256_or_si256(
                avx2._mm256_cmpeq_epi8(v, avx._mm256_set1_epi8(0x2d)),
                avx2._mm256_cmpeq_epi8(v, avx._mm256_set1_epi8(0x5f)),
            ),
        );
        HalfMasks {
            alnum: avx2._mm256_movemask_epi8(alnum),
            upper: avx2._mm256_movemask_epi8(upper),
            digit: avx2._mm256_movemask_epi8(digit),
            at: avx2._mm256_movemask_epi8(avx2._mm256_cmpeq_epi8(v, avx._mm256_set1_epi8(0x40))),
            colon: avx2._mm256_movemask_epi8(avx2._mm256_cmpeq_epi8(v, avx._mm256_set1_epi8(0x3a))),
            backslash: avx2._mm256_movemask_epi8(avx2._mm256_cmpeq_epi8(v, avx._mm256_set1_epi8(0x5c))),
            percent: avx2._mm256_movemask_epi8(avx2._mm256_cmpeq_epi8(v, avx._mm256_set1_epi8(0x25))),
            ampersand: avx2._mm256_movemask_epi8(avx2._mm256_cmpeq_epi8(v, avx._mm256_set1_epi8(0x26))),
            equals: avx2._mm256_movemask_epi8(avx2._mm256_cmpeq_epi8(v, avx._mm256_set1_epi8(0x3d))),
            high: avx2._mm256_movemask_epi8(v),
            bracket: avx2._mm256_movemask_epi8(avx2._mm256_cmpeq_epi8(v, avx._mm256_set1_epi8(0x5b))),
            escape: avx2._mm256_movemask_epi8(avx2._mm256_cmpeq_epi8(v, avx._mm256_set1_epi8(0x1b))),
            joint: avx2._mm256_movemask_epi8(joint),
        }
    }
}
