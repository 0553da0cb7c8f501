//! Finds words of secrets with letters glued to their left (`ftppassword=`, `MYAPITOKEN:`) and such words in scripts
//! that the anchor pass does not know (`пароль:`). Known words are found at word starts; here the sign behind a key
//! leads to its end. One byte before the sign rejects nearly all; at most [`BACK`] bytes are read. `secrets::keys`
//! reads the whole key.

use crate::wordlists;
use std::ops::Range;
use std::sync::LazyLock;

/// Most bytes of a key that are read before a sign.
const BACK: usize = 24;

/// Words that mean a secret wherever they end a longer word.
static WORDS: LazyLock<Vec<&[u8]>> = LazyLock::new(|| wordlists::bytes("secrets.secret_word_endings"));

/// Words for "password" in other scripts, in each of their spellings.
pub(super) static SCRIPTS: LazyLock<Vec<&str>> =
    LazyLock::new(|| wordlists::words("secrets.passwords_in_scripts").collect());

/// Returns the word of a secret that ends before the `=` or `:` at `sign` (blanks and quotes ignored), if it is one
/// that the anchor pass does not find.
#[inline(always)]
pub(super) fn glued_word_before(text: &[u8], sign: usize) -> Option<Range<usize>> {
    let byte = |at: usize| text.get(at).copied().unwrap_or(b' ');
    // `"key":`, `key =`
    let quoted = b"\"' ".contains(&byte(sign.wrapping_sub(1)));
    let at = sign.wrapping_sub(1 + usize::from(quoted));
    let last = byte(at);
    let ends = match last | 0x20 {
        b'd' => matches!(byte(at.wrapping_sub(1)) | 0x20, b'r' | b'w'),
        b'y' | b'n' => byte(at.wrapping_sub(1)) | 0x20 == b'e',
        _ => matches!(last, b' ' | b'\\' | b'"' | b'\'' | 0x80..),
    };
    if ends { match_glued_word(text, sign) } else { None }
}

#[inline(never)]
fn match_glued_word(text: &[u8], sign: usize) -> Option<Range<usize>> {
    let from = sign.saturating_sub(BACK + 8);
    let head = text.get(from..sign)?;
    let blank = |head: &[u8]| head.len() - head.iter().rev().take(8).take_while(|byte| b" \t".contains(byte)).count();
    let mut len = blank(head);
    if head.get(..len)?.last().is_some_and(|byte| b"\"'".contains(byte)) {
        len -= 1;
        len -= head.get(..len)?.iter().rev().take(3).take_while(|byte| **byte == b'\\').count();
    }
    let head = head.get(..len)?;
    let end = from + len;
    if !head.last()?.is_ascii() {
        return SCRIPTS.iter().find(|word| head.ends_with(word.as_bytes())).map(|word| end - word.len()..end);
    }
    let word = WORDS.iter().find(|word| super::pairs::ends_with(head, word))?;
    let start = head.len() - word.len();
    let (first, lead) = (*head.get(start)?, head.get(..start)?);
    let glued = lead.last()?;
    let camel = first.is_ascii_uppercase() && glued.is_ascii_lowercase();
    // `NOPASSWD:`, and the shell's `OLDPWD`
    let other = [&b"no"[..], b"without", b"old"].iter().any(|word| super::pairs::ends_with(lead, word));
    (glued.is_ascii_alphabetic() && !camel && !other).then_some(end - word.len()..end)
}
