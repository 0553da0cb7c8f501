//! Decodes HTML and XML entities, which `entities` reads.

use std::ops::Range;

use super::super::scan::TextScan;
use super::decoded_view::DecodedView;
use super::entities::read_entity;
use super::windows;

/// Adds windows around entities.
pub(super) fn find_windows(scan: &TextScan<'_>, is_fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    let bytes = scan.text.as_bytes();
    for at in memchr::memchr_iter(b'&', bytes) {
        if windows::covers_escape(out, at) {
            continue;
        }
        // The decoded character of an `&` may begin another entity
        if let Some((len, _)) =
            read_entity(bytes.get(at..).unwrap_or_default()).filter(|(len, _)| is_fresh(at..at + len))
        {
            windows::add_window(scan.text, at..at + len, out);
        }
    }
}

pub(super) fn decode(text: &str, view: &mut DecodedView) {
    let bytes = text.as_bytes();
    let next = |from: usize| Some(from + memchr::memchr(b'&', bytes.get(from..)?)?);
    view.decode(text, next, |at| {
        read_entity(bytes.get(at..).unwrap_or_default()).map(|(len, char)| (len, Some(char))).ok_or(1)
    });
}
