//! [`is_in_hex_dump`]: whether groups of digits are bytes in a dump of `xxd`, `hexdump` or `objdump`. A megabyte of
//! dump has hundreds of groups that look like phone and card numbers. Runs only for findings; reads [`MAX_DISTANCE`]
//! bytes on each side.

use std::ops::Range;

use super::super::scan::TextScan;

/// Bytes on each side of a finding that are read.
const MAX_DISTANCE: usize = 64;

/// Whether a finding follows a row's offset, or has a group of hex digits and letters of its width on its line.
pub(super) fn is_in_hex_dump(scan: &TextScan<'_>, found: &Range<usize>) -> bool {
    let width = scan.bytes(found.clone()).iter().position(|byte| *byte == b' ').unwrap_or(0);
    if !matches!(width, 2 | 4 | 8) {
        return false;
    }
    let is_hex_group = |token: &[u8]| {
        token.len() == width
            && token.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && token.iter().any(u8::is_ascii_digit) != token.iter().all(u8::is_ascii_digit)
    };
    let before = scan.bytes(found.start.saturating_sub(MAX_DISTANCE)..found.start);
    let line_before = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let after = scan.bytes(found.end..found.end + MAX_DISTANCE);
    let line_after = after.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let offset =
        line_before.trim_ascii_end().strip_suffix(b":").and_then(|line| line.rsplit(|byte| *byte == b' ').next());
    let follows_offset = offset.is_some_and(|offset| offset.len() > 3 && offset.iter().all(u8::is_ascii_hexdigit));
    follows_offset
        || [line_before, line_after].into_iter().any(|line| line.split(|byte| *byte == b' ').any(is_hex_group))
}
