//! Rejects numbers that can't be house numbers by the bytes next to them, which excludes nearly all numbers cheaply,
//! and finds words that announce one. The street next to a number is in `street`.

use crate::anchors::DigitRun;
use crate::scan::TextScan;
use crate::secrets::value_facts::contains_any_case;
use crate::sets::ByteSet;

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

pub(super) fn is_year(digits: &[u8]) -> bool {
    matches!(digits, [b'1', b'9', a, b] | [b'2', b'0', a, b] if a.is_ascii_digit() && b.is_ascii_digit())
}

/// Whether one of the announcing words is near before `start`.
pub(super) fn is_announced(scan: &TextScan<'_>, start: usize) -> bool {
    let head = scan.text_before(start, 48);
    line_list!("addresses.house_number_cues").iter().any(|word| contains_any_case(head.as_bytes(), word.as_bytes()))
}
