//! Folds text to one canonical form, so that content and a text that quotes it compare equal however each was escaped.
//! A run of Unicode white space becomes one blank, zero-width characters vanish, and escapes are decoded: JSON (`\n`,
//! `\"`, `\u00e9`, `\u003c` …, nested to any depth), Python, HTML (`&lt;`) and URLs (`%20`, `+`).
//!
//! Content and the texts that may quote it use the same rule ([`unit`]). Folding is linear. Most bytes fold to
//! themselves and are copied in blocks; `marks` finds the bytes that need a decision. `forms` maps folded bytes back to
//! the text, and `prints` computes the fingerprints.

use super::marks::{BLOCK, Plain, Reader};

/// The most backslashes in one escape: enough for text inside JSON nested five times.
const BACKSLASHES: usize = 32;
/// The most times that an ampersand may have been escaped.
const AMPERSANDS: usize = 4;

/// The folded form of a few bytes.
pub(super) enum Put {
    /// White space.
    Blank,
    /// Nothing, such as the backslash of an escape.
    Nothing,
    /// A one-byte character, or one byte of a longer character.
    Byte(u8),
    /// A character.
    Char(char),
}

/// Returns how many bytes at the start of `text` form one unit, and their folded form. `None`: the first byte is copied
/// unchanged.
pub(super) fn unit(text: &[u8]) -> Option<(usize, Put)> {
    match text {
        [b'\\', ..] => Some(escape(text)),
        [..=b' ' | b'+', ..] => Some((1, Put::Blank)),
        [0xc2 | 0xe1..=0xe3 | 0xef, ..] => wide(text),
        [b'&', rest @ ..] => Some(entity(rest)),
        [b'%', high, low, ..] => {
            let byte = digit(*high)? << 4 | digit(*low)?;
            Some(percent_wide(byte, text).unwrap_or((3, put_byte(byte))))
        }
        _ => None,
    }
}

/// Matches multi-byte white space and multi-byte characters without a width.
pub(super) fn wide(text: &[u8]) -> Option<(usize, Put)> {
    match text {
        [0xc2, 0x85 | 0xa0, ..] => Some((2, Put::Blank)),
        [0xc2, 0xad, ..] => Some((2, Put::Nothing)),
        [0xe1, 0x9a, 0x80, ..]
        | [0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf, ..]
        | [0xe2, 0x81, 0x9f, ..]
        | [0xe3, 0x80, 0x80, ..] => Some((3, Put::Blank)),
        [0xe1, 0xa0, 0x8e, ..]
        | [0xe2, 0x80, 0x8b..=0x8f | 0xaa..=0xae, ..]
        | [0xe2, 0x81, 0xa0..=0xaf, ..]
        | [0xef, 0xbb, 0xbf, ..] => Some((3, Put::Nothing)),
        _ => None,
    }
}

/// `%E2%80%89`
fn percent_wide(first: u8, text: &[u8]) -> Option<(usize, Put)> {
    if !matches!(first, 0xc2 | 0xe1..=0xe3 | 0xef) {
        return None;
    }
    let mut bytes = [first, 0, 0];
    let (triplets, _) = text.as_chunks::<3>();
    for (byte, triplet) in bytes.iter_mut().zip(triplets).skip(1) {
        let [b'%', digits @ ..] = triplet else { break };
        *byte = u8::try_from(hex(digits)?).ok()?;
    }
    wide(&bytes).map(|(length, put)| (length * 3, put))
}

/// Length of the white space at the start of a text, raw or escaped; 0 if the text starts with something else.
pub(super) fn blank(text: &[u8]) -> usize {
    match text {
        [b' ' | b'\t'..=b'\r' | b'\\' | b'%' | 0xc2 | 0xe1..=0xe3, ..] => match unit(text) {
            Some((length, Put::Blank)) => length,
            _ => 0,
        },
        _ => 0,
    }
}

fn put_byte(byte: u8) -> Put {
    if byte <= b' ' || byte == 0xa0 { Put::Blank } else { Put::Byte(byte) }
}

fn put_code(code: u32) -> Put {
    match char::from_u32(code) {
        Some(..=' ' | '+') => Put::Blank,
        Some('\\') | None => Put::Nothing,
        Some(char) => match wide(char.encode_utf8(&mut [0; 4]).as_bytes()) {
            Some((_, put)) => put,
            None => Put::Char(char),
        },
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |code, byte| Some(code << 4 | u32::from(digit(*byte)?)))
}

/// Reads an escape after any number of backslashes.
fn escape(text: &[u8]) -> (usize, Put) {
    let slashes = text.iter().take(BACKSLASHES).take_while(|byte| **byte == b'\\').count();
    match text.get(slashes..) {
        Some([b'n' | b'r' | b't', ..]) => (slashes + 1, Put::Blank),
        Some([b'u', rest @ ..]) => match unicode(rest) {
            Some((length, put)) => (slashes + 1 + length, put),
            None => (slashes, Put::Nothing),
        },
        Some([b'x', high, low, ..]) => match hex(&[*high, *low]).and_then(|byte| u8::try_from(byte).ok()) {
            Some(byte) => (slashes + 3, put_byte(byte)),
            None => (slashes, Put::Nothing),
        },
        _ => (slashes, Put::Nothing),
    }
}

/// `00e9`, `d83d\ude00`
fn unicode(rest: &[u8]) -> Option<(usize, Put)> {
    let (first, rest) = rest.split_first_chunk::<4>()?;
    let code = hex(first)?;
    if (0xd800..0xdc00).contains(&code) {
        let slashes = rest.iter().take(BACKSLASHES).take_while(|byte| **byte == b'\\').count();
        if let Some([b'u', rest @ ..]) = rest.get(slashes..)
            && let Some(low) = rest.first_chunk::<4>().and_then(|low| hex(low)).filter(|low| low >> 10 == 0xdc00 >> 10)
        {
            return Some((9 + slashes, put_code(0x1_0000 + ((code & 0x3ff) << 10) + (low & 0x3ff))));
        }
    }
    Some((4, put_code(code)))
}

/// Reads the rest of an HTML entity, after its ampersand: `lt;`, `#39;`, `amp;lt;`.
fn entity(text: &[u8]) -> (usize, Put) {
    const NAMES: [(&[u8], char); 6] =
        [(b"lt;", '<'), (b"gt;", '>'), (b"quot;", '"'), (b"apos;", '\''), (b"nbsp;", ' '), (b"#x27;", '\'')];
    let (mut rest, mut length) = (text, 1);
    for _ in 0..AMPERSANDS {
        let Some(inner) = rest.strip_prefix(b"amp;") else { break };
        (rest, length) = (inner, length + 4);
    }
    if let Some((name, char)) = NAMES.iter().find(|(name, _)| rest.starts_with(name)) {
        return (length + name.len(), put_code(u32::from(*char)));
    }
    number(rest).map_or((length, Put::Byte(b'&')), |(more, put)| (length + more, put))
}

/// `#39;`, `#xe9;`
fn number(text: &[u8]) -> Option<(usize, Put)> {
    let rest = text.strip_prefix(b"#")?;
    let end = rest.iter().take(8).position(|byte| *byte == b';')?;
    let digits = rest.get(..end)?;
    let code = match digits {
        [b'x' | b'X', hexes @ ..] if !hexes.is_empty() => hex(hexes)?,
        [_, ..] => std::str::from_utf8(digits).ok()?.parse().ok()?,
        [] => return None,
    };
    Some((end + 2, put_code(code)))
}

/// Number of folded bytes after which the reader is called.
pub(super) const PART: usize = 4096;

/// Folds content, part by part.
pub(super) struct Fold {
    out: [u8; PART + 2 * BLOCK],
    length: usize,
    /// Whether the last folded byte is a blank.
    after: bool,
}

impl Fold {
    pub(super) fn new() -> Self {
        Self { out: [0; PART + 2 * BLOCK], length: 0, after: false }
    }

    /// Passes the folded text to `read` in parts. `read` returns how many bytes of the part it has consumed; the rest
    /// comes again at the start of the next part.
    pub(super) fn text(&mut self, text: &[u8], read: impl FnMut(&[u8]) -> usize) {
        #[cfg(target_arch = "x86_64")]
        if let Some(vectors) = pulp::x86::V3::try_new() {
            return self.with(vectors, text, read);
        }
        self.with(Plain, text, read);
    }

    pub(super) fn with(&mut self, reader: impl Reader, text: &[u8], mut read: impl FnMut(&[u8]) -> usize) {
        reader.run(
            #[inline(always)]
            || {
                let mut rest = text;
                while rest.len() >= 2 * BLOCK {
                    rest = self.block(reader, rest, rest);
                    if self.length >= PART {
                        self.give(&mut read);
                    }
                }
                // The end is copied to a padded buffer, because a block may be read past the text
                let mut end = [b'.'; 4 * BLOCK];
                if let Some(room) = end.get_mut(..rest.len()) {
                    room.copy_from_slice(rest);
                }
                let (mut at, length) = (0, rest.len());
                while at < length {
                    let inner = end.get(at..length).unwrap_or_default();
                    at = length - self.block(reader, inner, end.get(at..).unwrap_or_default()).len();
                }
                self.give(&mut read);
            },
        );
    }

    #[inline(always)]
    fn give(&mut self, read: &mut impl FnMut(&[u8]) -> usize) {
        let done = read(self.out.get(..self.length).unwrap_or_default()).min(self.length);
        self.out.copy_within(done..self.length, 0);
        self.length -= done;
    }

    /// Folds up to one block of `text` and returns the rest. `padded` is the same text with extra bytes behind it.
    #[inline(always)]
    fn block<'t>(&mut self, reader: impl Reader, text: &'t [u8], padded: &[u8]) -> &'t [u8] {
        let Some(block) = padded.first_chunk::<BLOCK>() else { return &[] };
        let marks = reader.marks(block);
        let whole = text.len().min(BLOCK);
        let mut to = To { out: &mut self.out, length: self.length, after: self.after };
        let breaks = marks.breaks(to.after);
        let mut at = 0;
        while at < whole {
            let same = ((breaks >> (at & 63)).trailing_zeros() as usize).min(whole - at);
            if same > 0 {
                to.copy(padded.get(at..).unwrap_or_default(), same);
                at += same;
                to.after = marks.is_blank(at - 1);
                if at >= whole {
                    break;
                }
            }
            let (length, put) = match text.get(at..).unwrap_or_default() {
                [b' ', ..] => (1, Put::Blank),
                [b'\\', b'n', ..] => (2, Put::Blank),
                [b'\\', b'"', ..] => (1, Put::Nothing),
                [b'&', byte, ..] if !b"aglnq#".contains(byte) => (1, Put::Byte(b'&')),
                [first, ..] => unit(text.get(at..).unwrap_or_default()).unwrap_or((1, Put::Byte(*first))),
                [] => break,
            };
            to.put(&put);
            at += length;
            if to.after && at < whole {
                at += marks.blanks_at(at).min(whole - at);
            }
        }
        (self.length, self.after) = (to.length, to.after);
        text.get(at..).unwrap_or_default()
    }
}

/// The output buffer for folded bytes.
struct To<'o> {
    out: &'o mut [u8; PART + 2 * BLOCK],
    length: usize,
    after: bool,
}

impl To<'_> {
    #[inline(always)]
    fn put(&mut self, put: &Put) {
        match put {
            Put::Blank if self.after => return,
            Put::Blank => self.push(b' '),
            Put::Nothing => return,
            Put::Byte(byte) => self.push(*byte),
            Put::Char(char) => char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| self.push(byte)),
        }
        self.after = matches!(put, Put::Blank);
    }

    #[inline(always)]
    fn push(&mut self, byte: u8) {
        if let Some(room) = self.out.get_mut(self.length) {
            *room = byte;
            self.length += 1;
        }
    }

    /// Appends the first `length` bytes of `from`. A whole block is copied; the next write overwrites the excess.
    #[inline(always)]
    fn copy(&mut self, from: &[u8], length: usize) {
        let room = self.out.get_mut(self.length..).and_then(|room| room.first_chunk_mut::<BLOCK>());
        if let (Some(room), Some(from)) = (room, from.first_chunk::<BLOCK>()) {
            *room = *from;
            self.length += length;
        }
    }
}
