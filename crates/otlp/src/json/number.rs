//! JSON numbers: their grammar, and conversion to integers and doubles. Integers never pass through a float; time is
//! linear in the token. `decode` checks the ranges of kinds.

/// The JSON number at the start of `text`.
pub(super) fn scan_number(text: &[u8]) -> Option<&[u8]> {
    let mut length = usize::from(text.first() == Some(&b'-'));
    let integer_digits = count_digits(text, length);
    if integer_digits == 0 || (integer_digits > 1 && text.get(length) == Some(&b'0')) {
        return None;
    }
    length += integer_digits;
    if text.get(length) == Some(&b'.') {
        let fraction = count_digits(text, length + 1);
        if fraction == 0 {
            return None;
        }
        length += 1 + fraction;
    }
    if matches!(text.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(length + 1), Some(b'+' | b'-')));
        let exponent = count_digits(text, length + 1 + sign);
        if exponent == 0 {
            return None;
        }
        length += 1 + sign + exponent;
    }
    text.get(..length)
}

fn count_digits(text: &[u8], from: usize) -> usize {
    text.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The value of a number found by [`scan_number`], if it is whole and its magnitude fits 64 bits (`1.0` and `1e3` are
/// whole).
pub(super) fn parse_integer(token: &[u8]) -> Option<i128> {
    let (negative, unsigned) = match token.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, token),
    };
    let magnitude = match parse_digits(unsigned) {
        Some(magnitude) => magnitude,
        None => parse_scaled(unsigned)?,
    };
    Some(if negative { -i128::from(magnitude) } else { i128::from(magnitude) })
}

/// Parses plain digits of at most 64 bits.
fn parse_digits(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Parses digits with a fraction or an exponent.
fn parse_scaled(unsigned: &[u8]) -> Option<u64> {
    let exponent_at = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(unsigned.len());
    let (mantissa, exponent) = unsigned.split_at_checked(exponent_at)?;
    let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    // Digits up to the last nonzero one make the value; the zeros after it only change the power of ten.
    let Some(last_digit) = mantissa.iter().rposition(|byte| matches!(byte, b'1'..=b'9')) else { return Some(0) };
    let mut value: u64 = 0;
    for digit in mantissa.iter().take(last_digit + 1).filter(|byte| byte.is_ascii_digit()) {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    let shift = if last_digit > point {
        -i64::try_from(last_digit - point).ok()?
    } else {
        i64::try_from(point - last_digit - 1).ok()?
    };
    let power = shift.checked_add(parse_exponent(exponent)?)?;
    value.checked_mul(10_u64.checked_pow(u32::try_from(power).ok()?)?)
}

/// The exponent after `e`, saturated far outside of any range.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let Some((_, text)) = text.split_first() else { return Some(0) };
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let value = digits.iter().fold(0_i64, |value, byte| {
        if value > i64::MAX / 16 { value } else { value * 10 + i64::from(byte.wrapping_sub(b'0')) }
    });
    Some(if negative { -value } else { value })
}

/// The double nearest to a number found by [`scan_number`]; `None` if it overflows.
pub(super) fn parse_double(token: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(token).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}
