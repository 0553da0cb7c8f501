//! Rejects numbers that can't be house numbers by the bytes next to them, which excludes nearly all numbers cheaply.
//! The street next to a number is in `street`.

use crate::anchors::Number;
use crate::scan::Scan;
use crate::sets::Bytes;

/// A number after one of these bytes is not a house number.
static TIED: Bytes = Bytes::of(b"#$_/=@%+.-");

/// Whether a street may be next to a number, judged by the bytes on both sides: they must be separated by a blank.
#[inline]
pub(super) fn may_be(scan: &Scan<'_>, number: &Number) -> bool {
    let digits = usize::from(number.digits);
    if !(1..7).contains(&digits) || number.len() > digits + 1 || TIED.has(number.before) {
        return false;
    }
    let first = match number.behind {
        b' ' => match scan.byte(number.end + 1) {
            b'0'..=b'9' => !is_alone(scan, number.end + 1) || scan.bytes(number.end + 1..number.end + 5) == b"1/2 ",
            byte => byte.is_ascii_alphabetic() || !byte.is_ascii(),
        },
        byte => matches!(byte, b',' | b'-'),
    };
    first || number.before == b' ' && ends_word(scan.before(number.start, 2))
}

/// Whether the digits at `at` are a complete number.
pub(super) fn is_alone(scan: &Scan<'_>, at: usize) -> bool {
    static DIGITS: Bytes = Bytes::of(b"0123456789");
    static ENDS: Bytes = Bytes::of(b" \n\":;(){}[<=|/\t");
    let digits = DIGITS.leading(scan.bytes(at..at + 72));
    ENDS.has(scan.byte(at + digits))
}

/// Whether a byte may end the text before a house number: a street's name, or `Box #`.
fn ends_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || !byte.is_ascii() || matches!(byte, b'.' | b',' | b'#')
}
