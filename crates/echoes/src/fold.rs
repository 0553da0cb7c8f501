//! **What**: one form for all the ways in which a text is written down: runs of white space (all that Unicode calls so)
//! are one blank; what has no width is nothing; escapes of JSON (`\n`, `\"`, `\u00e9`, `\u003c` …), at any depth, and
//! of Python, HTML (`&lt;`) and addresses (`%20`, `+`) are what they stand for. **Invariants**: content and the texts
//! that may quote it are folded by the same rule ([`unit`]); linear. **Not here**: where a folded byte comes from
//! (`forms`), what is a fingerprint (`prints`).
//!
//! Most of a content stands for itself, and is copied in blocks; `marks` says where that ends.

use super::marks::{BLOCK, Plain, Reader};

/// Backslashes of one escape at most: of a text in JSON in JSON in JSON in JSON in JSON.
const BACKSLASHES: usize = 32;
/// Times that an ampersand is escaped at most.
const AMPERSANDS: usize = 4;

/// What a few bytes stand for.
pub(super) enum Put {
    /// White space.
    Blank,
    /// Nothing: the backslash of an escape.
    Nothing,
    /// A character of one byte, or a byte of one.
    Byte(u8),
    /// A character.
    Char(char),
}

/// How many bytes at the beginning of a text belong together, and what they stand for. None: the first byte stands for
/// itself.
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

/// White space, and characters without a width, that are longer than a byte.
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

/// Length of the white space, or of the escape that stands for it, at the beginning of a text; 0: there is none.
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

/// An escape with backslashes, as many as there are.
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

/// `lt;`, `#39;`, `amp;lt;`: what follows an ampersand.
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

/// Folded bytes that a reader gets at a time.
pub(super) const PART: usize = 4096;

/// Folds content, part by part.
pub(super) struct Fold {
    out: [u8; PART + 2 * BLOCK],
    length: usize,
    /// Whether the last byte is a blank.
    after: bool,
}

impl Fold {
    pub(super) fn new() -> Self {
        Self { out: [0; PART + 2 * BLOCK], length: 0, after: false }
    }

    /// Gives the folded text to `read`, a part at a time; `read` says how much of the part it does not want to see
    /// again.
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
                // the end stands in a buffer: a block may be read beyond it
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

    /// Folds up to a block of `text`, or what there is; gives the rest. `padded`: the same with bytes behind it.
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

/// Where folded bytes go.
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

    /// Takes the first `length` bytes of `from`: a whole block is copied, what is too much is written over.
    #[inline(always)]
    fn copy(&mut self, from: &[u8], length: usize) {
        let room = self.out.get_mut(self.length..).and_then(|room| room.first_chunk_mut::<BLOCK>());
        if let (Some(room), Some(from)) = (room, from.first_chunk::<BLOCK>()) {
            *room = *from;
            self.length += length;
        }
    }
}
