//! Reads values that come before their key: `{"value": "v", "name": "KEY"}`, `- value: v` above `name: KEY`, with
//! comments between. At most [`MAX_DISTANCE`] bytes before a key are read. A value after its name is read in the
//! parent module.

use std::ops::Range;

use super::super::sets::ByteSet;
use super::cursor::{KeyValuePair, PairCursor, PairSeparator, byte_before, byte_before_skipping, ends_with};
use super::unquoted::PairReadCache;

/// Most bytes before a key in which its value may be.
const MAX_DISTANCE: usize = 512;

impl PairCursor<'_> {
    /// Skips a one-line comment, `# …` or `// …`, that begins here.
    pub(super) fn skip_comment(&mut self) {
        if self.byte(0) == b'#' || (self.byte(0), self.byte(1)) == (b'/', b'/') {
            self.at += self.rest().iter().take(160).take_while(|byte| **byte != b'\n').count();
        }
    }

    /// Whether a quoted text follows the `+=` here, unlike in an addition.
    pub(super) fn adds_text(&self) -> bool {
        self.rest().iter().skip(2).take(8).find(|byte| **byte != b' ').is_some_and(|byte| b"\"'`".contains(byte))
    }

    /// Skips separators between two pairs of an object, but no pair, bracket, or `-` of a list item. No escape is
    /// skipped from `end` on.
    fn skip_pair_separators(&mut self, end: usize) {
        for _ in 0..8 {
            self.skip(|byte| b" \t\r\n,".contains(&byte));
            if self.byte(0) == b'\\' && b"nrt".contains(&self.byte(1)) && self.at < end {
                self.at += 2;
            }
            self.skip_comment();
        }
    }
}

/// Whether the key at `key` is the value of `name` or `key`.
pub(crate) fn is_named_by_sibling(text: &[u8], key: &Range<usize>) -> bool {
    name_start(text, key).is_some()
}

/// Start of the pair whose value is `key`, if that pair's key is `name` or `key`.
fn name_start(text: &[u8], key: &Range<usize>) -> Option<usize> {
    if !matches!(byte_before_skipping(text, key.start, b" \t\"'\\"), b':' | b'=') {
        return None;
    }
    let from = key.start.saturating_sub(48);
    let head = text.get(from..key.start)?;
    let len_without = |head: &[u8], trailing: &[u8]| {
        head.len() - head.iter().rev().take_while(|byte| trailing.contains(byte)).count()
    };
    let separator = len_without(head, b" \t\"'\\").checked_sub(1)?;
    let name = head.get(..len_without(head.get(..separator)?, b" \t\"'\\"))?;
    // `{"k": …, "v": …}`
    let is_short_name =
        || name.last() == Some(&b'k') && name.len().checked_sub(2).and_then(|at| name.get(at)) == Some(&b'"');
    let word = [&b"name"[..], b"key"].into_iter().find(|word| ends_with(name, word));
    let word = word.or_else(|| is_short_name().then_some(&b"k"[..]))?;
    let start = name.len() - word.len();
    let is_within_word =
        start > 0 && name.get(start - 1).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte));
    let follows_escape = start > 1 && name.get(start - 2) == Some(&b'\\');
    (!is_within_word || follows_escape).then_some(from + start)
}

/// The pair of the key at `key`, if that is the value of `name` and its own value comes before.
#[inline]
pub(crate) fn pair_before_name(text: &[u8], key: &Range<usize>) -> Option<KeyValuePair> {
    // Most keys have another byte before them
    static BEFORE_NAMED: ByteSet = ByteSet::new(b" \t\"'\\:=");
    if BEFORE_NAMED.contains(byte_before(text, key.start)) { read_pair_before_name(text, key) } else { None }
}

fn read_pair_before_name(text: &[u8], key: &Range<usize>) -> Option<KeyValuePair> {
    let name = name_start(text, key)?;
    let from = name.saturating_sub(MAX_DISTANCE);
    let word = from + memchr::memmem::rfind(text.get(from..name)?, b"value")?;
    let mut cursor = PairCursor { text: text.get(..name)?, at: word };
    let is_within_word =
        word > 0 && text.get(word - 1).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte));
    cursor.skip_word(b"value");
    let key_quote = cursor.skip_quote();
    cursor.skip(|byte| byte == b' ');
    if is_within_word || !matches!(cursor.byte(0), b':' | b'=') {
        return None;
    }
    cursor.at += 1;
    let (quote, value) = cursor.read_value(PairSeparator::Colon, &mut PairReadCache::default())?;
    cursor.at = value.end;
    if quote.is_some() {
        cursor.skip_quote()?;
    }
    cursor.skip_pair_separators(name);
    cursor.skip_quote();
    (cursor.at == name && !value.is_empty()).then(|| KeyValuePair {
        key: key.clone(),
        sep: PairSeparator::Sibling,
        quote,
        json_key: key_quote == Some(b'"'),
        value,
    })
}

/// Words before `/` and a key of passwords.
const USER_WORDS: [&str; 7] = ["id", "login", "user", "username", "account", "아이디", "계정"];

/// Whether the key at `key` follows one for users: `ID/PW`, `login/password`.
pub(crate) fn follows_user_key(text: &[u8], key: &Range<usize>) -> bool {
    let head = text.get(key.start.saturating_sub(16)..key.start).unwrap_or_default();
    let Some(head) = head.strip_suffix(b"/") else { return false };
    USER_WORDS.iter().filter(|word| ends_with(head, word.as_bytes())).any(|word| {
        let before = head.get(..head.len() - word.len()).and_then(<[u8]>::last);
        !before.is_some_and(u8::is_ascii_alphanumeric)
    })
}

/// Whether the text at `at` is the value of a key ending in `name` or `key`, or of an HTML property.
pub(super) fn is_property_name(text: &[u8], at: usize) -> bool {
    let head = text.get(at.saturating_sub(64)..at).unwrap_or_default();
    let is_between = |byte: &&u8| b" \t\"'\\:=".contains(byte);
    let head = head.get(..head.len() - head.iter().rev().take_while(is_between).count()).unwrap_or_default();
    [&b"name"[..], b"key", b"id", b"property", b"itemprop"].iter().any(|word| ends_with(head, word))
}
