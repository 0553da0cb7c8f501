//! Decodes HTML and XML entities (numeric ones, and the names that occur in values), and removes empty inline elements
//! that split a word: `maria<b></b>@example.com`.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::super::scan::Scan;
use super::super::sets::Words;
use super::entities::entity;
use super::view::View;
use super::windows;
use crate::wordlists;

/// Inline elements.
static INLINE: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("notation.inline_elements")));

/// Whether a text may contain an empty element.
pub(super) fn has_empty(text: &str) -> bool {
    static CLOSES: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"></"));
    // Most texts have no tag
    let bytes = text.as_bytes();
    let rest = memchr::memchr(b'<', bytes).and_then(|at| bytes.get(at.saturating_sub(1)..));
    rest.is_some_and(|rest| CLOSES.find(rest).is_some())
}

/// Length of `<b></b>` at `at`, if it splits a value.
fn empty_len(bytes: &[u8], at: usize) -> Option<usize> {
    let name = bytes.get(at + 1..bytes.len().min(at + 8))?;
    let name = name.get(..name.iter().position(|byte| !byte.is_ascii_alphabetic())?).filter(|name| INLINE.has(name))?;
    let behind = bytes.get(at + 1 + name.len()..)?.strip_prefix(b"></")?.strip_prefix(name)?.strip_prefix(b">")?;
    let cuts = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"@._-+ ".contains(byte));
    let before = at.checked_sub(1).and_then(|before| bytes.get(before));
    (cuts(before) && cuts(behind.first())).then_some(2 * name.len() + 5)
}

pub(super) fn windows(scan: &Scan<'_>, fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    let bytes = scan.text.as_bytes();
    for at in memchr::memchr2_iter(b'&', b'<', bytes) {
        if windows::holds(out, at) {
            continue;
        }
        if let Some((len, _)) = decoded(bytes, at) {
            // The decoded character of an `&` may begin another entity
            if fresh(at..at + len) {
                windows::add(scan.text, at..at + len, out);
            }
        }
    }
}

pub(super) fn decode(text: &str, view: &mut View) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for at in memchr::memchr2_iter(b'&', b'<', bytes) {
        if let Some((len, char)) = decoded(bytes, at).filter(|_| at >= from) {
            view.copy(text.get(from..at).unwrap_or_default());
            view.put(len, char);
            from = at + len;
        }
    }
    view.copy(text.get(from..).unwrap_or_default());
}

/// The entity or empty element at `at`: its length, and its character if it has one.
fn decoded(bytes: &[u8], at: usize) -> Option<(usize, Option<char>)> {
    if bytes.get(at) == Some(&b'<') {
        return Some((empty_len(bytes, at)?, None));
    }
    entity(bytes.get(at..).unwrap_or_default()).map(|(len, char)| (len, Some(char)))
}
