//! Folds characters that look like others or like nothing: invisible ones, full-width and mathematical forms, digits of
//! all scripts, dashes, blanks, look-alikes. Accents, dashes in prose, curly quotes, emoji and other scripts alone open
//! no window; look-alikes fold only in a token that also has ASCII letters. Tables: Unicode 15 (general category Nd,
//! compatibility forms FF01-FF5E, 1D400-1D7FF).

use std::ops::Range;

use super::super::scan::TextScan;
use super::decoded_view::DecodedView;
use super::windows;

/// The folded form of a character.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FoldedCharacter {
    /// Nothing: the character is invisible.
    Drop,
    /// A letter, digit or `@`, in any context.
    Plain(char),
    /// Punctuation of an address or number, a dash or a blank.
    Mark(char),
    /// A look-alike of this letter.
    LookAlike(char),
}

impl FoldedCharacter {
    fn replacement(self) -> Option<char> {
        match self {
            Self::Drop => None,
            Self::Plain(char) | Self::Mark(char) | Self::LookAlike(char) => Some(char),
        }
    }
}

/// The zeros of all scripts' decimal digits; mathematical digits are handled separately.
const ZEROS: [u32; 61] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20,
    0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0,
    0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0,
    0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0,
    0x16b50, 0x1e140, 0x1e2f0, 0x1e4d0, 0x1e950, 0x1fbf0,
];

/// Cyrillic, Greek and other letters, and the ASCII letters that they resemble.
const LOOK_ALIKES: (&str, &str) =
    ("аеорсхуіѕјԁһԛѵкАВЕКМНОРСТХУІЅЈοανιρΑΒΕΖΗΙΚΜΝΟΡΤΥΧıɡɑօ", "aeopcxyisjdhqvkABEKMHOPCTXYISJoavipABEZHIKMNOPTYXigao");

fn fold_character(char: char) -> Option<FoldedCharacter> {
    let code = u32::from(char);
    Some(match code {
        0xad | 0x34f | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f | 0x3164 | 0xfeff | 0xffa0 => {
            FoldedCharacter::Drop
        }
        0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfe00..=0xfe0f | 0xe0000..=0xe01ef => {
            FoldedCharacter::Drop
        }
        0xa0 | 0x2000..=0x200a | 0x202f | 0x205f | 0x3000 => FoldedCharacter::Mark(' '),
        0x2010..=0x2015 | 0x2212 | 0xfe58 | 0xfe63 => FoldedCharacter::Mark('-'),
        0xfe6b => FoldedCharacter::Plain('@'),
        0xfe52 | 0x3002 | 0xff61 | 0x2024 => FoldedCharacter::Mark('.'),
        0xfe55 => FoldedCharacter::Mark(':'),
        0xff01..=0xff5e => match char::from_u32(code - 0xfee0)? {
            plain @ ('@' | 'a'..='z' | 'A'..='Z' | '0'..='9') => FoldedCharacter::Plain(plain),
            mark => FoldedCharacter::Mark(mark),
        },
        0x1d400..=0x1d6a3 => FoldedCharacter::Plain(ascii_letter((code - 0x1d400) % 52)?),
        0x1d7ce..=0x1d7ff => FoldedCharacter::Plain(ascii_digit((code - 0x1d7ce) % 10)?),
        0x131..=0x58f if LOOK_ALIKES.0.contains(char) => {
            let at = LOOK_ALIKES.0.chars().position(|like| like == char)?;
            FoldedCharacter::LookAlike(LOOK_ALIKES.1.chars().nth(at)?)
        }
        _ => {
            let zero = ZEROS.get(ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?)?;
            FoldedCharacter::Plain(ascii_digit(code - zero)?)
        }
    })
}

fn ascii_digit(value: u32) -> Option<char> {
    char::from_digit(value, 10)
}

/// A to Z, then a to z.
fn ascii_letter(index: u32) -> Option<char> {
    let base = if index < 26 { u32::from('A') } else { u32::from('a') - 26 };
    char::from_u32(base + index)
}

/// Whether a character written as an escape may be part of a value.
pub(super) fn folds_to_value_character(char: char) -> bool {
    matches!(fold_character(char), Some(FoldedCharacter::Drop | FoldedCharacter::Plain(_)))
}

/// Adds windows around characters that may be part of a value.
pub(super) fn find_windows(scan: &TextScan<'_>, is_fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    let bytes = scan.text.as_bytes();
    let mut at = 0;
    while let Some(found) = next_non_ascii(bytes, at) {
        at = found;
        let len = match bytes.get(at) {
            // Most Chinese, Japanese and Korean characters are never folded
            Some(0xe4..=0xe9 | 0xeb..=0xed) => 3,
            _ => {
                let Some(char) = scan.text.get(at..).and_then(|rest| rest.chars().next()) else { return };
                let end = at + char.len_utf8();
                let opens = fold_character(char).is_some_and(|fold| opens_window(bytes, fold, at, end));
                if opens && !windows::covers_escape(out, at) && is_fresh(at..end) {
                    windows::add_window(scan.text, at..end, out);
                }
                char.len_utf8()
            }
        };
        at += len;
    }
}

/// The next non-ASCII byte from `at` on.
fn next_non_ascii(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    let rest = bytes.get(at..)?;
    for chunk in rest.chunks(64) {
        if chunk.iter().fold(0, |all, byte| all | byte) >= 0x80 {
            return chunk.iter().position(|byte| *byte >= 0x80).map(|found| at + found);
        }
        at += chunk.len();
    }
    None
}

/// Whether a character at `at..end` may be part of a value, judged by its neighbours.
fn opens_window(bytes: &[u8], fold: FoldedCharacter, at: usize, end: usize) -> bool {
    let before = at.checked_sub(1).and_then(|at| bytes.get(at)).copied().unwrap_or(b' ');
    let after = bytes.get(end).copied().unwrap_or(b' ');
    let is_word_byte = |byte: u8| byte.is_ascii_alphanumeric();
    let is_part = |byte: u8| is_word_byte(byte) || b"@._-+:=".contains(&byte);
    match fold {
        FoldedCharacter::Plain(_) => true,
        FoldedCharacter::Drop => is_part(before) || is_part(after),
        FoldedCharacter::Mark(' ' | '-') => {
            (before.is_ascii_digit() || after.is_ascii_digit())
                && (is_word_byte(before) || before == b')')
                && (is_word_byte(after) || after == b'(')
        }
        // After a word in its own script: `密码：`
        FoldedCharacter::Mark(':' | '=') if before >= 0x80 => is_word_byte(after) || after == b' ',
        FoldedCharacter::Mark(_) => is_word_byte(before) && is_word_byte(after),
        FoldedCharacter::LookAlike(_) => is_word_byte(before) || is_word_byte(after),
    }
}

pub(super) fn decode(text: &str, view: &mut DecodedView) {
    let bytes = text.as_bytes();
    view.decode(
        text,
        |from| next_non_ascii(bytes, from),
        |at| {
            let char = text.get(at..).and_then(|rest| rest.chars().next()).ok_or(text.len())?;
            let len = char.len_utf8();
            let is_folded = |fold: &FoldedCharacter| match fold {
                FoldedCharacter::LookAlike(_) => has_ascii_letter_in_token(text, at),
                FoldedCharacter::Mark('.') => opens_window(bytes, *fold, at, at + len),
                _ => true,
            };
            fold_character(char).filter(is_folded).map(|fold| (len, fold.replacement())).ok_or(len)
        },
    );
}

/// Most characters of a token on each side in which an ASCII letter is searched.
const TOKEN_REACH: usize = 48;

/// Whether the token around `at` contains an ASCII letter.
fn has_ascii_letter_in_token(text: &str, at: usize) -> bool {
    let is_part = |char: &char| char.is_alphanumeric() || "@._-+".contains(*char);
    let is_letter = |char: char| char.is_ascii_alphabetic();
    let (Some(before), Some(after)) = (text.get(..at), text.get(at..)) else { return false };
    before.chars().rev().take(TOKEN_REACH).take_while(is_part).any(is_letter)
        || after.chars().take(TOKEN_REACH).take_while(is_part).any(is_letter)
}
