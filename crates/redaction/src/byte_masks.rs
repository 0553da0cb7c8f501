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
    if avx2::read_masks(masks, base, reader).is_some() {
        return;
    }
    for (index, block) in masks.iter().enumerate() {
        reader.read_block(base + 64 * index, block, masks.get(index + 1).map_or(u64::MAX, |next| next.alnum));
    }
}

fn end_piece(base: usize, reader: &mut impl MaskReader) {
    #[cfg(target_arch = "x86_64")]
    if avx2::end_piece(base, reader).is_some() {
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
    /// `"` and `'`.
    pub(super) quote: u64,
    /// `<`, `[`, and the terminal escape character.
    pub(super) less: u64,
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
    if avx2::fill_masks(blocks, masks).is_some() {
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
        masks.quote |= set(b"\"'".contains(byte));
        masks.less |= set(*byte == b'<');
        masks.bracket |= set(*byte == b'[');
        masks.escape |= set(*byte == 0x1b);
        masks.joint |= set(b"+/-_".contains(byte));
    }
    masks
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use core::arch::x86_64::__m256i;

    use pulp::x86::V3;
    use pulp::{NullaryFnOnce, cast};

    use crate::byte_masks::{ByteMasks, MaskReader};

    /// Makes the masks; `None` if the processor has no AVX2.
    pub(super) fn fill_masks(blocks: &[[u8; 64]], masks: &mut [ByteMasks]) -> Option<()> {
        V3::try_new().map(|v3| v3.vectorize(MaskFill { v3, blocks, masks }))
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

    /// Like [`super::read_masks`]; `None` if the processor has no AVX2.
    pub(super) fn read_masks(masks: &[ByteMasks], base: usize, reader: &mut impl MaskReader) -> Option<()> {
        V3::try_new().map(|v3| v3.vectorize(MaskReading { masks, base, reader }))
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

    /// Ends a piece; `None` if the processor has no AVX2.
    pub(super) fn end_piece(base: usize, reader: &mut impl MaskReader) -> Option<()> {
        V3::try_new().map(|v3| v3.vectorize(PieceEnd { base, reader }))
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
        let block = [cast(low), cast(high)];
        let (upper, digit) = (between(v3, block, b'A', b'Z'), between(v3, block, b'0', b'9'));
        let alnum = either(v3, either(v3, upper, between(v3, block, b'a', b'z')), digit);
        let joint = either(v3, equal(v3, block, b'+'), equal(v3, block, b'/'));
        let joint = either(v3, joint, either(v3, equal(v3, block, b'-'), equal(v3, block, b'_')));
        ByteMasks {
            alnum: mask(v3, alnum),
            upper: mask(v3, upper),
            digit: mask(v3, digit),
            at: mask(v3, equal(v3, block, b'@')),
            colon: mask(v3, equal(v3, block, b':')),
            backslash: mask(v3, equal(v3, block, b'\\')),
            percent: mask(v3, equal(v3, block, b'%')),
            ampersand: mask(v3, equal(v3, block, b'&')),
            equals: mask(v3, equal(v3, block, b'=')),
            high: mask(v3, block),
            quote: mask(v3, either(v3, equal(v3, block, b'"'), equal(v3, block, b'\''))),
            less: mask(v3, equal(v3, block, b'<')),
            bracket: mask(v3, equal(v3, block, b'[')),
            escape: mask(v3, equal(v3, block, 0x1b)),
            joint: mask(v3, joint),
        }
    }

    /// The two halves of a block; in a result, the top bit of each byte counts.
    type Halves = [__m256i; 2];

    #[inline(always)]
    fn mask(v3: V3, [low, high]: Halves) -> u64 {
        let (low, high) = (v3.avx2._mm256_movemask_epi8(low), v3.avx2._mm256_movemask_epi8(high));
        u64::from(low.cast_unsigned()) | (u64::from(high.cast_unsigned()) << 32)
    }

    #[inline(always)]
    fn equal(v3: V3, [low, high]: Halves, byte: u8) -> Halves {
        let byte = v3.avx._mm256_set1_epi8(byte.cast_signed());
        [v3.avx2._mm256_cmpeq_epi8(low, byte), v3.avx2._mm256_cmpeq_epi8(high, byte)]
    }

    #[inline(always)]
    fn either(v3: V3, [low, high]: Halves, [other_low, other_high]: Halves) -> Halves {
        [v3.avx2._mm256_or_si256(low, other_low), v3.avx2._mm256_or_si256(high, other_high)]
    }

    /// The comparison is signed: non-ASCII bytes are negative, so no range contains them.
    #[inline(always)]
    fn between(v3: V3, [low, high]: Halves, first: u8, last: u8) -> Halves {
        let below = v3.avx._mm256_set1_epi8(first.cast_signed() - 1);
        let above = v3.avx._mm256_set1_epi8(last.cast_signed() + 1);
        [
            v3.avx2._mm256_and_si256(v3.avx2._mm256_cmpgt_epi8(low, below), v3.avx2._mm256_cmpgt_epi8(above, low)),
            v3.avx2._mm256_and_si256(v3.avx2._mm256_cmpgt_epi8(high, below), v3.avx2._mm256_cmpgt_epi8(above, high)),
        ]
    }
}
