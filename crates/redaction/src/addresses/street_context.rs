//! The surroundings of a street line: words that announce an address, and a place after it. The street itself is in
//! `street` and `announced_streets`, attached parts in `address_parts`.

use super::address_parts;
use crate::scan::TextScan;

/// Whether digits are a year from 1900 to 2099.
pub(super) fn is_year(digits: &[u8]) -> bool {
    matches!(digits, [b'1', b'9', a, b] | [b'2', b'0', a, b] if a.is_ascii_digit() && b.is_ascii_digit())
}

/// Whether a place, state or lettered postcode follows a street.
pub(super) fn is_followed_by_place(scan: &TextScan<'_>, end: usize) -> bool {
    let parts_end = address_parts::address_end(scan, end);
    scan.bytes(end..parts_end).iter().any(u8::is_ascii_alphabetic)
}

/// Whether one of the announcing words is near before `start`.
pub(super) fn is_announced(scan: &TextScan<'_>, start: usize) -> bool {
    let head = scan.text_before(start, 48);
    line_list!("addresses.house_number_cues").iter().any(|word| {
        head.len() >= word.len()
            && head.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
    })
}
