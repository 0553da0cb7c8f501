//! Checks of IBANs, cards and BICs. Pure functions on compact values.

use super::checksums::{has_valid_luhn, is_one_digit, mod_97_remainder};

/// Length of a country's IBANs (two letters), if it has any.
pub(crate) fn iban_length(country: &[u8]) -> Option<usize> {
    let [first, second] = country else { return None };
    let wanted = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
    // Rows such as `DE22`, sorted
    let ibans = byte_list!("numbers.iban_lengths");
    let at = ibans.binary_search_by(|row| row.iter().take(2).cmp(&wanted)).ok()?;
    let [_, _, tens, ones] = ibans.get(at)? else { return None };
    Some(usize::from((tens - b'0') * 10 + (ones - b'0')))
}

/// Whether compact letters and digits have valid IBAN check digits.
pub(crate) fn is_iban(compact: &[u8]) -> bool {
    let (head, tail) = compact.split_at_checked(4).unwrap_or((&[], compact));
    mod_97_remainder(tail.iter().chain(head).copied()) == Some(1)
}

/// Whether digits are a card number, by issuer prefix, length and Luhn check.
pub(crate) fn is_card_number(digits: &[u8]) -> bool {
    let [one, two, three, four, ..] = digits else { return false };
    let length = digits.len();
    let first_two = u32::from(*one) * 10 + u32::from(*two);
    let issuer = match (*one, first_two, first_two * 100 + u32::from(*three) * 10 + u32::from(*four)) {
        (4, ..) => matches!(length, 13 | 16 | 19),
        (_, 51..=55, _) | (.., 2221..=2720) => length == 16,
        (_, 34 | 37, _) | (.., 1800 | 2131) => length == 15,
        (_, 36 | 38 | 39, _) | (.., 3000..=3059 | 3095) => (14..=19).contains(&length),
        (_, 35, _) | (.., 2014 | 2149) => length == 16 || length == 15,
        (.., 6011 | 6440..=6599) => (16..=19).contains(&length),
        (_, 62 | 60 | 81, _) | (.., 2200..=2204) => (16..=19).contains(&length),
        (_, 50 | 56..=58 | 63 | 67 | 68, _) => (12..=19).contains(&length),
        _ => false,
    };
    issuer && !is_one_digit(digits) && has_valid_luhn(digits)
}

/// Whether the digits of a text are a card number.
pub(crate) fn has_card_number(text: &[u8]) -> bool {
    let (mut digits, mut len) = ([0_u8; 19], 0);
    for byte in text.iter().filter(|byte| byte.is_ascii_digit()) {
        let Some(digit) = digits.get_mut(len) else { return false };
        *digit = byte - b'0';
        len += 1;
    }
    digits.get(..len).is_some_and(is_card_number)
}

/// Whether a text has the form of a BIC (ISO 9362): four letters, a country, and two or five more characters.
pub(crate) fn is_bic(text: &[u8]) -> bool {
    let (Some(bank), Some(country)) = (text.get(..4), text.get(4..6)) else { return false };
    matches!(text.len(), 8 | 11)
        && bank.iter().all(u8::is_ascii_uppercase)
        && text.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        && byte_list!("numbers.country_codes").contains(&country)
}
