//! Finds numbered roads and streets without a street word by a word near before them or a place with its code after
//! them; `street` asks for numbered roads before its own grammar and for the others after it. Rejects numbers
//! that can't be house numbers by the bytes next to them, which excludes nearly all cheaply.

use std::ops::Range;

use crate::scan::TextScan;
use crate::sets::ByteSet;

use super::address_parts::{self, is_followed_by_place};
use crate::anchors::DigitRun;
use crate::secrets::value_facts::contains_any_case;

/// `511 State Route 690`: the length of a numbered road at the start of `rest`, which begins at `at` after a house
/// number.
pub(super) fn numbered_road_len(scan: &TextScan<'_>, number: &Range<usize>, at: usize, rest: &str) -> Option<usize> {
    let (len, is_unambiguous) = match_numbered_road(rest)?;
    let is_capitalised = rest.starts_with(|c: char| c.is_ascii_uppercase());
    let is_road_announced = || is_capitalised && is_unambiguous && is_announced(scan, number.start);
    let is_address =
        !is_year(scan.bytes(number.clone())) && (is_road_announced() || is_followed_by_place(scan, at + len));
    is_address.then_some(len)
}

/// `1248 W Carmen` before `, Chicago, IL 60640`: like [`numbered_road_len`], for a street without a street word.
pub(super) fn plain_street_len(scan: &TextScan<'_>, number: &Range<usize>, at: usize, rest: &str) -> Option<usize> {
    let (len, has_direction) = match_plain_street(rest).filter(|_| scan.byte(number.end) != b',')?;
    let has_zip_code = || !is_year(scan.bytes(number.clone())) && address_parts::has_us_zip_code(scan, at + len);
    (has_zip_code() || has_direction && address_parts::has_unit(scan, at + len)).then_some(len)
}

/// Length of a numbered road at the start of `rest`, and whether its form is unambiguous.
fn match_numbered_road(rest: &str) -> Option<(usize, bool)> {
    let owned = code_pattern!(
        r"(?:(?:<2>|<3>)\.? ){0,3}(?:<0>|<3>\.? (?:<0>|<1>))\.?(?: <1>\.?)? \d{1,4}[A-Z]?(?-u:\b)",
        "addresses.numbered_roads",
        "addresses.numbered_roads_after_owner",
        "addresses.road_directions",
        "addresses.road_owners"
    );
    let plain = code_pattern!(r"<0>\.? \d{1,4}[A-Z]?(?-u:\b)", "addresses.numbered_roads_after_owner");
    owned.match_len(rest).map(|len| (len, true)).or_else(|| plain.match_len(rest).map(|len| (len, false)))
}

/// Length of one to three capitalised or ordinal words, optionally after a direction, and whether there is a direction.
fn match_plain_street(rest: &str) -> Option<(usize, bool)> {
    let (mut offset, mut names, mut has_direction, mut end) = (0, 0, false, 0);
    for (index, word) in rest.split(' ').enumerate().take(5) {
        let bare = word.trim_end_matches([',', '.', '!', '?', '\\']);
        let is_capitalised =
            bare.starts_with(char::is_uppercase) && bare.chars().all(|c| c.is_alphabetic() || "-'’.".contains(c));
        let is_ordinal = bare.len() > 2
            && bare.starts_with(|c: char| c.is_ascii_digit())
            && bare.ends_with(['t', 'd', 'h', 'T', 'D', 'H']);
        if !(is_capitalised || is_ordinal) || word_set!("addresses.units").contains(bare) {
            break;
        }
        has_direction |= index == 0 && word_set!("addresses.road_directions").contains(bare);
        names += usize::from(index > 0 || !has_direction);
        end = offset + bare.len();
        offset += word.len() + 1;
        if bare.len() < word.len() && !(word.ends_with('.') && bare.len() < 4) {
            break;
        }
    }
    ((1..4).contains(&names)).then_some((end, has_direction))
}

/// A number after one of these bytes is not a house number.
static NEVER_BEFORE: ByteSet = ByteSet::new(b"#$_/=@%+.-");

/// Whether a street may be next to a number, judged by the bytes on both sides: a blank, comma or hyphen must follow
/// the number, or a blank must come before it.
#[inline]
pub(super) fn may_be_house_number(scan: &TextScan<'_>, number: &DigitRun) -> bool {
    let digits = usize::from(number.digits);
    if !(1..7).contains(&digits) || number.len() > digits + 1 || NEVER_BEFORE.contains(number.before) {
        return false;
    }
    let may_come_first = match number.after {
        b' ' => match scan.byte(number.end + 1) {
            b'0'..=b'9' => {
                !is_whole_number(scan, number.end + 1) || scan.bytes(number.end + 1..number.end + 5) == b"1/2 "
            }
            byte => byte.is_ascii_alphabetic() || !byte.is_ascii(),
        },
        byte => matches!(byte, b',' | b'-'),
    };
    may_come_first || number.before == b' ' && may_precede_number(scan.byte_before(number.start, 2))
}

/// Whether the digits at `at` are a complete number.
pub(super) fn is_whole_number(scan: &TextScan<'_>, at: usize) -> bool {
    static DIGITS: ByteSet = ByteSet::new(b"0123456789");
    static ENDS: ByteSet = ByteSet::new(b" \n\":;(){}[<=|/\t");
    let digits = DIGITS.count_leading(scan.bytes(at..at + 72));
    ENDS.contains(scan.byte(at + digits))
}

/// Whether a byte may end the text before a house number: a street's name, or `Box #`.
fn may_precede_number(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || !byte.is_ascii() || matches!(byte, b'.' | b',' | b'#')
}

/// Whether digits are a year from 1900 to 2099.
pub(super) fn is_year(digits: &[u8]) -> bool {
    matches!(digits, [b'1', b'9', a, b] | [b'2', b'0', a, b] if a.is_ascii_digit() && b.is_ascii_digit())
}

/// Whether one of the announcing words is near before `start`.
pub(super) fn is_announced(scan: &TextScan<'_>, start: usize) -> bool {
    let head = scan.text_before(start, 48);
    line_list!("addresses.house_number_cues").iter().any(|word| contains_any_case(head.as_bytes(), word.as_bytes()))
}
