//! Folds text to one canonical form, so that content and a text that quotes it compare equal however each was escaped.
//! A run of Unicode white space becomes one blank, zero-width characters vanish, and escapes are decoded: JSON (`\n`,
//! `\"`, `\u00e9`, `\u003c` …, nested to any depth), Python, HTML (`&lt;`) and URLs (`%20`, `+`).
//!
//! Content and the texts that may quote it use the same rule ([`fold_unit`]). Folding is linear. Most bytes fold to
//! themselves and are copied in blocks; `block_marks` finds the others. `folded_forms` maps folded bytes back to the
//! text, and `fingerprints` computes the fingerprints.

use super::block_marks::{BLOCK, BlockReader, PortableReader};

/// Limit for the backslashes of one escape: enough for text inside JSON nested five times.
const MAX_BACKSLASHES: usize = 32;
/// Limit for repeated escaping of one ampersand (`&amp;amp;`).
const MAX_AMPERSAND_ESCAPES: usize = 4;

/// The folded form of a few bytes.
pub(super) enum FoldedUnit {
    /// White space.
    Blank,
    /// No output, as for the backslash of an escape.
    Nothing,
    /// A one-byte character, or one byte of a longer character.
    Byte(u8),
    Char(char),
}

/// Returns how many bytes at the start of `text` form one unit, and their folded form. `None`: the first byte is copied
/// unchanged.
pub(super) fn fold_unit(text: &[u8]) -> Option<(usize, FoldedUnit)> {
    match text {
        [b'\\', ..] => Some(fold_escape(text)),
        [..=b' ' | b'+', ..] => Some((1, FoldedUnit::Blank)),
        [0xc2 | 0xe1..=0xe3 | 0xef, ..] => match_wide_character(text),
        [b'&', rest @ ..] => Some(fold_entity(rest)),
        [b'%', high, low, ..] => {
            let byte = parse_hex_byte(*high, *low)?;
            Some(match_wide_percent(byte, text).unwrap_or((3, fold_byte(byte))))
        }
        _ => None,
    }
}

/// Matches multi-byte white space and multi-byte characters without a width.
pub(super) fn match_wide_character(text: &[u8]) -> Option<(usize, FoldedUnit)> {
    match text {
        [0xc2, 0x85 | 0xa0, ..] => Some((2, FoldedUnit::Blank)),
        [0xc2, 0xad, ..] => Some((2, FoldedUnit::Nothing)),
        [0xe1, 0x9a, 0x80, ..]
        | [0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf, ..]
        | [0xe2, 0x81, 0x9f, ..]
        | [0xe3, 0x80, 0x80, ..] => Some((3, FoldedUnit::Blank)),
        [0xe1, 0xa0, 0x8e, ..]
        | [0xe2, 0x80, 0x8b..=0x8f | 0xaa..=0xae, ..]
        | [0xe2, 0x81, 0xa0..=0xaf, ..]
        | [0xef, 0xbb, 0xbf, ..] => Some((3, FoldedUnit::Nothing)),
        _ => None,
    }
}

/// Matches the percent form of a wide character, such as `%E2%80%89`. `first` is its first byte.
fn match_wide_percent(first: u8, text: &[u8]) -> Option<(usize, FoldedUnit)> {
    if !matches!(first, 0xc2 | 0xe1..=0xe3 | 0xef) {
        return None;
    }
    let mut bytes = [first, 0, 0];
    let (triplets, _) = text.as_chunks::<3>();
    for (byte, triplet) in bytes.iter_mut().zip(triplets).skip(1) {
        let [b'%', high, low] = triplet else { break };
        *byte = parse_hex_byte(*high, *low)?;
    }
    match_wide_character(&bytes).map(|(length, unit)| (length * 3, unit))
}

/// Length of the white space at the start of a text, raw or escaped; 0 if the text starts with something else.
pub(super) fn blank_length(text: &[u8]) -> usize {
    match text {
        [b' ' | b'\t'..=b'\r' | b'\\' | b'%' | 0xc2 | 0xe1..=0xe3, ..] => match fold_unit(text) {
            Some((length, FoldedUnit::Blank)) => length,
            _ => 0,
        },
        _ => 0,
    }
}

fn fold_byte(byte: u8) -> FoldedUnit {
    if byte <= b' ' || byte == 0xa0 { FoldedUnit::Blank } else { FoldedUnit::Byte(byte) }
}

fn fold_code_point(code: u32) -> FoldedUnit {
    match char::from_u32(code) {
        Some(..=' ' | '+') => FoldedUnit::Blank,
        Some('\\') | None => FoldedUnit::Nothing,
        Some(char) => match match_wide_character(char.encode_utf8(&mut [0; 4]).as_bytes()) {
            Some((_, unit)) => unit,
            None => FoldedUnit::Char(char),
        },
    }
}

fn parse_hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |code, byte| Some(code << 4 | char::from(*byte).to_digit(16)?))
}

fn parse_hex_byte(high: u8, low: u8) -> Option<u8> {
    u8::try_from(parse_hex(&[high, low])?).ok()
}

/// Reads an escape after any number of backslashes.
fn fold_escape(text: &[u8]) -> (usize, FoldedUnit) {
    let slashes = text.iter().take(MAX_BACKSLASHES).take_while(|byte| **byte == b'\\').count();
    match text.get(slashes..) {
        Some([b'n' | b'r' | b't', ..]) => (slashes + 1, FoldedUnit::Blank),
        Some([b'u', rest @ ..]) => match fold_unicode_escape(rest) {
            Some((length, unit)) => (slashes + 1 + length, unit),
            None => (slashes, FoldedUnit::Nothing),
        },
        Some([b'x', high, low, ..]) => match parse_hex_byte(*high, *low) {
            Some(byte) => (slashes + 3, fold_byte(byte)),
            None => (slashes, FoldedUnit::Nothing),
        },
        _ => (slashes, FoldedUnit::Nothing),
    }
}

/// Folds the digits after `\u`: `00e9`, or a surrogate pair, `d83d\ude00`.
fn fold_unicode_escape(rest: &[u8]) -> Option<(usize, FoldedUnit)> {
    let (first, rest) = rest.split_first_chunk::<4>()?;
    let code = parse_hex(first)?;
    if (0xd800..0xdc00).contains(&code) {
        let slashes = rest.iter().take(MAX_BACKSLASHES).take_while(|byte| **byte == b'\\').count();
        if let Some([b'u', rest @ ..]) = rest.get(slashes..)
            && let Some(low) =
                rest.first_chunk::<4>().and_then(|low| parse_hex(low)).filter(|low| low >> 10 == 0xdc00 >> 10)
        {
            return Some((9 + slashes, fold_code_point(0x1_0000 + ((code & 0x3ff) << 10) + (low & 0x3ff))));
        }
    }
    Some((4, fold_code_point(code)))
}

/// Reads the rest of an HTML entity, after its ampersand: `lt;`, `#39;`, `amp;lt;`.
fn fold_entity(text: &[u8]) -> (usize, FoldedUnit) {
    const NAMES: [(&[u8], char); 6] =
        [(b"lt;", '<'), (b"gt;", '>'), (b"quot;", '"'), (b"apos;", '\''), (b"nbsp;", ' '), (b"#x27;", '\'')];
    // The length includes the ampersand before `text`
    let (mut rest, mut length) = (text, 1);
    for _ in 0..MAX_AMPERSAND_ESCAPES {
        let Some(inner) = rest.strip_prefix(b"amp;") else { break };
        (rest, length) = (inner, length + 4);
    }
    if let Some((name, char)) = NAMES.iter().find(|(name, _)| rest.starts_with(name)) {
        return (length + name.len(), fold_code_point(u32::from(*char)));
    }
    fold_numeric_entity(rest)
        .map_or((length, FoldedUnit::Byte(b'&')), |(entity_length, unit)| (length + entity_length, unit))
}

/// `#39;`, `#xe9;`
fn fold_numeric_entity(text: &[u8]) -> Option<(usize, FoldedUnit)> {
    let rest = text.strip_prefix(b"#")?;
    let end = rest.iter().take(8).position(|byte| *byte == b';')?;
    let digits = rest.get(..end)?;
    let code = match digits {
        [b'x' | b'X', hex_digits @ ..] if !hex_digits.is_empty() => parse_hex(hex_digits)?,
        [_, ..] => std::str::from_utf8(digits).ok()?.parse().ok()?,
        [] => return None,
    };
    Some((end + 2, fold_code_point(code)))
}

/// Folded text is passed on whenever there are so many bytes of it.
pub(super) const PART_BYTES: usize = 4096;

/// Folds content, part by part.
pub(super) struct ContentFolder {
    out: [u8; PART_BYTES + 2 * BLOCK],
    length: usize,
    /// Whether the last folded byte is a blank.
    after_blank: bool,
}

impl ContentFolder {
    pub(super) fn new() -> Self {
        Self { out: [0; PART_BYTES + 2 * BLOCK], length: 0, after_blank: false }
    }

    /// Passes the folded text to `consume` in parts. `consume` returns how many bytes of the part it has consumed; the
    /// others are repeated at the start of the next part.
    pub(super) fn fold_text(&mut self, text: &[u8], consume: impl FnMut(&[u8]) -> usize) {
        #[cfg(target_arch = "x86_64")]
        if let Some(vectors) = pulp::x86::V3::try_new() {
            return self.fold_with_reader(vectors, text, consume);
        }
        self.fold_with_reader(PortableReader, text, consume);
    }

    pub(super) fn fold_with_reader(
        &mut self,
        reader: impl BlockReader,
        text: &[u8],
        mut consume: impl FnMut(&[u8]) -> usize,
    ) {
        reader.run(
            #[inline(always)]
            || {
                let mut rest = text;
                while rest.len() >= 2 * BLOCK {
                    rest = self.fold_block(reader, rest, rest);
                    if self.length >= PART_BYTES {
                        self.flush(&mut consume);
                    }
                }
                // The rest is copied to a padded buffer, because a block may be read past the text
                let mut padded = [b'.'; 4 * BLOCK];
                if let Some(start) = padded.get_mut(..rest.len()) {
                    start.copy_from_slice(rest);
                }
                let (mut at, length) = (0, rest.len());
                while at < length {
                    let remaining = padded.get(at..length).unwrap_or_default();
                    at = length - self.fold_block(reader, remaining, padded.get(at..).unwrap_or_default()).len();
                }
                self.flush(&mut consume);
            },
        );
    }

    #[inline(always)]
    fn flush(&mut self, consume: &mut impl FnMut(&[u8]) -> usize) {
        let consumed = consume(self.out.get(..self.length).unwrap_or_default()).min(self.length);
        self.out.copy_within(consumed..self.length, 0);
        self.length -= consumed;
    }

    /// Folds up to one block of `text` and returns the rest. `padded` begins with `text` and has at least two blocks,
    /// because whole blocks are copied.
    #[inline(always)]
    fn fold_block<'t>(&mut self, reader: impl BlockReader, text: &'t [u8], padded: &[u8]) -> &'t [u8] {
        let Some(block) = padded.first_chunk::<BLOCK>() else { return &[] };
        let marks = reader.mark_block(block);
        let block_length = text.len().min(BLOCK);
        let mut output = FoldOutput { out: &mut self.out, length: self.length, after_blank: self.after_blank };
        let to_fold = marks.fold_positions(output.after_blank);
        let mut at = 0;
        while at < block_length {
            let unchanged = ((to_fold >> (at & 63)).trailing_zeros() as usize).min(block_length - at);
            if unchanged > 0 {
                output.copy(padded.get(at..).unwrap_or_default(), unchanged);
                at += unchanged;
                output.after_blank = marks.is_blank(at - 1);
                if at >= block_length {
                    break;
                }
            }
            // The most frequent units come first; `fold_unit` would give the same
            let (length, unit) = match text.get(at..).unwrap_or_default() {
                [b' ', ..] => (1, FoldedUnit::Blank),
                [b'\\', b'n', ..] => (2, FoldedUnit::Blank),
                [b'\\', b'"', ..] => (1, FoldedUnit::Nothing),
                [b'&', byte, ..] if !b"aglnq#".contains(byte) => (1, FoldedUnit::Byte(b'&')),
                [first, ..] => fold_unit(text.get(at..).unwrap_or_default()).unwrap_or((1, FoldedUnit::Byte(*first))),
                [] => break,
            };
            output.push_unit(&unit);
            at += length;
            if output.after_blank && at < block_length {
                at += marks.count_blanks_from(at).min(block_length - at);
            }
        }
        (self.length, self.after_blank) = (output.length, output.after_blank);
        text.get(at..).unwrap_or_default()
    }
}

/// The output buffer for folded bytes.
struct FoldOutput<'o> {
    out: &'o mut [u8; PART_BYTES + 2 * BLOCK],
    length: usize,
    after_blank: bool,
}

impl FoldOutput<'_> {
    #[inline(always)]
    fn push_unit(&mut self, unit: &FoldedUnit) {
        match unit {
            FoldedUnit::Blank if self.after_blank => return,
            FoldedUnit::Blank => self.push(b' '),
            FoldedUnit::Nothing => return,
            FoldedUnit::Byte(byte) => self.push(*byte),
            FoldedUnit::Char(char) => char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| self.push(byte)),
        }
        self.after_blank = matches!(unit, FoldedUnit::Blank);
    }

    #[inline(always)]
    fn push(&mut self, byte: u8) {
        if let Some(next) = self.out.get_mut(self.length) {
            *next = byte;
            self.length += 1;
        }
    }

    /// Appends the first `length` bytes of `source`. A whole block is copied; the next write overwrites the excess.
    #[inline(always)]
    fn copy(&mut self, source: &[u8], length: usize) {
        let target = self.out.get_mut(self.length..).and_then(|target| target.first_chunk_mut::<BLOCK>());
        if let (Some(target), Some(source)) = (target, source.first_chunk::<BLOCK>()) {
            *target = *source;
            self.length += length;
        }
    }
}
