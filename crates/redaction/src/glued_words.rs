//! Finds the words of secrets that do not begin at a word start (`ftppassword=`, `MYAPITOKEN:`), and those in other
//! scripts (`пароль:`), which the anchor pass does not know. The search begins at the separator `=` or `:` after a key;
//! the last two bytes of the key reject nearly all. `secrets::secret_keys` reads the whole key.

use crate::wordlists;
use std::ops::Range;
use std::sync::LazyLock;

/// Most bytes that are read before a separator: the end of the key, with its quote and blanks.
const MAX_BEFORE_SEPARATOR: usize = 32;

/// Words for "password" in other scripts, in each of their spellings.
pub(super) static FOREIGN_PASSWORD_WORDS: LazyLock<Vec<&str>> =
    LazyLock::new(|| wordlists::words("secrets.passwords_in_scripts").collect());

/// Returns the word of a secret that ends before the `=` or `:` at `separator`, with blanks and a quote between them,
/// if the anchor pass does not find that word.
#[inline(always)]
pub(super) fn glued_word_before(text: &[u8], separator: usize) -> Option<Range<usize>> {
    let byte = |at: usize| text.get(at).copied().unwrap_or(b' ');
    // `"key":`, `key =`
    let quoted = b"\"' ".contains(&byte(separator.wrapping_sub(1)));
    let at = separator.wrapping_sub(1 + usize::from(quoted));
    let last_byte = byte(at);
    // All glued words end in `rd`, `wd`, `ey` or `en`, in either case; more blanks or quotes may follow
    let may_end_word = match last_byte | 0x20 {
        b'd' => matches!(byte(at.wrapping_sub(1)) | 0x20, b'r' | b'w'),
        b'y' | b'n' => byte(at.wrapping_sub(1)) | 0x20 == b'e',
        _ => matches!(last_byte, b' ' | b'\\' | b'"' | b'\'' | 0x80..),
    };
    if may_end_word { match_glued_word(text, separator) } else { None }
}

#[inline(never)]
fn match_glued_word(text: &[u8], separator: usize) -> Option<Range<usize>> {
    let from = separator.saturating_sub(MAX_BEFORE_SEPARATOR);
    let head = text.get(from..separator)?;
    let mut len = head.len() - head.iter().rev().take(8).take_while(|byte| b" \t".contains(byte)).count();
    if head.get(..len)?.last().is_some_and(|byte| b"\"'".contains(byte)) {
        len -= 1;
        len -= head.get(..len)?.iter().rev().take(3).take_while(|byte| **byte == b'\\').count();
    }
    let head = head.get(..len)?;
    let end = from + len;
    if !head.last()?.is_ascii() {
        return FOREIGN_PASSWORD_WORDS
            .iter()
            .find(|word| head.ends_with(word.as_bytes()))
            .map(|word| end - word.len()..end);
    }
    let word = byte_list!("secrets.secret_word_endings").iter().find(|word| super::pairs::ends_with(head, word))?;
    let start = head.len() - word.len();
    let (first_byte, before) = (*head.get(start)?, head.get(..start)?);
    let letter_before = before.last()?;
    // The anchor pass finds words within camelCase
    let is_camel = first_byte.is_ascii_uppercase() && letter_before.is_ascii_lowercase();
    // `NOPASSWD:`, and the shell's `OLDPWD`
    let is_negated = [&b"no"[..], b"without", b"old"].iter().any(|word| super::pairs::ends_with(before, word));
    (letter_before.is_ascii_alphabetic() && !is_camel && !is_negated).then_some(end - word.len()..end)
}
