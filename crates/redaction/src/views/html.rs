//! Decodes HTML and XML entities (numeric ones, and the names that occur in values), and removes empty inline elements
//! that split a word: `maria<b></b>@example.com`.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::super::scan::TextScan;
use super::decoded_view::DecodedView;
use super::entities::read_entity;
use super::windows;

/// Whether a text may contain an empty element.
pub(super) fn may_have_empty_element(scan: &TextScan<'_>) -> bool {
    static CLOSES: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"></"));
    scan.anchors.byte_kinds.tag != 0 && CLOSES.find(scan.text.as_bytes()).is_some()
}

/// Length of `<b></b>` at `at`, if it splits a value.
fn empty_element_len(bytes: &[u8], at: usize) -> Option<usize> {
    let name = bytes.get(at + 1..bytes.len().min(at + 8))?;
    let name = name
        .get(..name.iter().position(|byte| !byte.is_ascii_alphabetic())?)
        .filter(|name| word_set!("notation.inline_elements").contains(name))?;
    let after = bytes.get(at + 1 + name.len()..)?.strip_prefix(b"></")?.strip_prefix(name)?.strip_prefix(b">")?;
    let is_value_byte =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"@._-+ ".contains(byte));
    let before = at.checked_sub(1).and_then(|before| bytes.get(before));
    (is_value_byte(before) && is_value_byte(after.first())).then_some(2 * name.len() + 5)
}

/// Adds windows around entities and empty elements.
pub(super) fn find_windows(scan: &TextScan<'_>, is_fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    let bytes = scan.text.as_bytes();
    for at in memchr::memchr2_iter(b'&', b'<', bytes) {
        if windows::covers_escape(out, at) {
            continue;
        }
        if let Some((len, _)) = read_markup(bytes, at) {
            // The decoded character of an `&` may begin another entity
            if is_fresh(at..at + len) {
                windows::add_window(scan.text, at..at + len, out);
            }
        }
    }
}

pub(super) fn decode(text: &str, view: &mut DecodedView) {
    let bytes = text.as_bytes();
    let next = |from: usize| Some(from + memchr::memchr2(b'&', b'<', bytes.get(from..)?)?);
    view.decode(text, next, |at| read_markup(bytes, at).ok_or(1));
}

/// The entity or empty element at `at`: its length, and its character if it has one.
fn read_markup(bytes: &[u8], at: usize) -> Option<(usize, Option<char>)> {
    if bytes.get(at) == Some(&b'<') {
        return Some((empty_element_len(bytes, at)?, None));
    }
    read_entity(bytes.get(at..).unwrap_or_default()).map(|(len, char)| (len, Some(char)))
}
