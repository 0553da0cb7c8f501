//! Checks of ids with letters, given in upper case without separators, by the rules of the issuing authorities. Pure
//! functions. Ids of digits alone are in `national`.

use super::checksums::weighted_sum;
use super::dates::is_day;

/// Whether `text` follows `shape`: `A` is a letter, `9` a digit, `X` either; any other character is literal.
pub(crate) fn matches_shape(text: &[u8], shape: &str) -> bool {
    text.len() == shape.len()
        && text.iter().zip(shape.bytes()).all(|(byte, wanted)| match wanted {
            b'A' => byte.is_ascii_uppercase(),
            b'9' => byte.is_ascii_digit(),
            b'X' => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            literal => *byte == literal,
        })
}

fn digits_value(digits: &[u8]) -> u64 {
    digits.iter().filter(|byte| byte.is_ascii_digit()).fold(0, |value, byte| value * 10 + u64::from(byte - b'0'))
}

fn part_value(text: &[u8], from: usize, to: usize) -> u32 {
    text.get(from..to).and_then(|digits| u32::try_from(digits_value(digits)).ok()).unwrap_or(0)
}

fn byte_at(text: &[u8], index: usize) -> u8 {
    text.get(index).copied().unwrap_or(0)
}

/// UK national insurance number: an allocated prefix, and suffix A to D.
pub(crate) fn is_nino(text: &[u8]) -> bool {
    let (first, second) = (byte_at(text, 0), byte_at(text, 1));
    let refused = [&b"BG"[..], b"GB", b"NK", b"KN", b"TN", b"NT", b"ZZ"];
    matches_shape(text, "AA999999A")
        && matches!(byte_at(text, 8), b'A'..=b'D')
        && !b"DFIQUV".contains(&first)
        && !b"DFIOQUV".contains(&second)
        && !refused.iter().any(|prefix| text.starts_with(prefix))
}

/// Singapore NRIC and FIN: weighted digits, and a check letter by series.
pub(crate) fn is_nric(text: &[u8]) -> bool {
    if !matches_shape(text, "A9999999A") {
        return false;
    }
    let digits: [u8; 7] = std::array::from_fn(|index| byte_at(text, index + 1).saturating_sub(b'0'));
    let sum = weighted_sum(&digits, &[2, 7, 6, 5, 4, 3, 2]);
    let (offset, letters): (u32, &[u8]) = match byte_at(text, 0) {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        b'M' => (3, b"KLJNPQRTUWX"),
        _ => return false,
    };
    letters.get(((sum + offset) % 11) as usize) == Some(&byte_at(text, 8))
}

/// Hong Kong identity card: one or two capitals, six digits, and a check mod 11.
pub(crate) fn is_hkid(text: &[u8], check: u8) -> bool {
    let digits = text.get(text.len().saturating_sub(6)..).unwrap_or_default();
    let (first, second) = match text.len() {
        7 => (36, u32::from(byte_at(text, 0)).saturating_sub(55)),
        8 => (u32::from(byte_at(text, 0)).saturating_sub(55), u32::from(byte_at(text, 1)).saturating_sub(55)),
        _ => return false,
    };
    let has_shape = text.len() == 7 && matches_shape(text, "A999999") || matches_shape(text, "AA999999");
    let values = digits.iter().map(|byte| u32::from(byte.saturating_sub(b'0')));
    let sum =
        first * 9 + second * 8 + values.zip([7, 6, 5, 4, 3, 2]).map(|(value, weight)| value * weight).sum::<u32>();
    let wanted = match check {
        b'0'..=b'9' => u32::from(check - b'0'),
        b'A' => 10,
        _ => return false,
    };
    has_shape && (sum + wanted).is_multiple_of(11)
}

/// Austrian VAT number: `ATU`, seven digits and a check digit.
pub(crate) fn is_atu(text: &[u8]) -> bool {
    let digit = |index: usize| u32::from(byte_at(text, index).saturating_sub(b'0'));
    let twice = |index: usize| digit(index) * 2 / 10 + digit(index) * 2 % 10;
    let sum: u32 = (3..10).map(|index| if index % 2 == 0 { twice(index) } else { digit(index) }).sum();
    matches_shape(text, "ATU99999999") && (10 - (sum + 4) % 10) % 10 == digit(10)
}

/// Spanish DNI (eight digits) and NIE (X, Y or Z, and seven digits), with a check letter mod 23.
pub(crate) fn is_dni(text: &[u8]) -> bool {
    const LETTERS: &[u8] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let value = match byte_at(text, 0) {
        lead @ b'X'..=b'Z' if matches_shape(text, "A9999999A") => {
            u64::from(lead - b'X') * 10_000_000 + digits_value(text)
        }
        _ if matches_shape(text, "99999999A") => digits_value(text),
        _ => return false,
    };
    LETTERS.get(usize::try_from(value % 23).unwrap_or(0)) == Some(&byte_at(text, 8))
}

/// Italian codice fiscale, with its check letter.
pub(crate) fn is_codice_fiscale(text: &[u8]) -> bool {
    const ODD: [u32; 36] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16,
        10, 22, 25, 24, 23,
    ];
    if !matches_shape(text, "AAAAAAXXAXXAXXXA") || !b"ABCDEHLMPRST".contains(&byte_at(text, 8)) {
        return false;
    }
    let value = |byte: u8| char::from(byte).to_digit(36).unwrap_or(0);
    let sum: u32 = text
        .iter()
        .take(15)
        .enumerate()
        .map(|(index, byte)| match index % 2 {
            0 => ODD.get(value(*byte) as usize).copied().unwrap_or(0),
            _ if byte.is_ascii_digit() => u32::from(byte - b'0'),
            _ => u32::from(byte.wrapping_sub(b'A')),
        })
        .sum();
    sum % 26 == u32::from(byte_at(text, 15).wrapping_sub(b'A'))
}

/// Mexican CURP, by form, date and sex.
pub(crate) fn is_curp(text: &[u8]) -> bool {
    matches_shape(text, "AAAA999999AAAAAAX9")
        && b"HMX".contains(&byte_at(text, 10))
        && matches!(part_value(text, 6, 8), 1..=12)
        && matches!(part_value(text, 8, 10), 1..=31)
}

/// Mexican RFC, by form and date.
pub(crate) fn is_rfc(text: &[u8]) -> bool {
    let from = if text.len() == 13 { 4 } else { 3 };
    (matches_shape(text, "AAAA999999XXX") || matches_shape(text, "AAA999999XXX"))
        && matches!(part_value(text, from + 2, from + 4), 1..=12)
        && matches!(part_value(text, from + 4, from + 6), 1..=31)
}

/// Finnish HETU: `DDMMYY`, a century sign, three digits, and a check character mod 31.
pub(crate) fn is_hetu(text: &[u8]) -> bool {
    const CHECKS: &[u8] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let mut digits = [0_u8; 9];
    let source = text.get(..6).unwrap_or_default().iter().chain(text.get(7..10).unwrap_or_default());
    digits.iter_mut().zip(source).for_each(|(to, from)| *to = *from);
    let has_century_sign = b"+-YXWVUABCDEF".contains(&byte_at(text, 6));
    text.len() == 11
        && has_century_sign
        && digits.iter().all(u8::is_ascii_digit)
        && is_day(2000, part_value(text, 2, 4), part_value(text, 0, 2))
        && CHECKS.get(usize::try_from(digits_value(&digits) % 31).unwrap_or(0)) == Some(&byte_at(text, 10))
}

/// Indian PAN, by its fourth letter, the kind of holder.
pub(crate) fn is_indian_pan(text: &[u8]) -> bool {
    matches_shape(text, "AAAAA9999A") && b"ABCFGHJLPT".contains(&byte_at(text, 3))
}

/// US Medicare beneficiary identifier: character classes by position, without S, L, O, I, B, Z.
pub(crate) fn is_mbi(text: &[u8]) -> bool {
    let has_allowed_letters = text.iter().all(|byte| !b"SLOIBZ".contains(byte));
    matches_shape(text, "9AX9AX9AA99") && has_allowed_letters && byte_at(text, 0) != b'0'
}

/// US Drug Enforcement Administration number: two letters, seven digits, with a checksum.
pub(crate) fn is_dea(text: &[u8]) -> bool {
    let digit = |index: usize| u32::from(byte_at(text, index).saturating_sub(b'0'));
    matches_shape(text, "AX9999999")
        && b"ABCDEFGHJKLMPRSTUX".contains(&byte_at(text, 0))
        && (digit(2) + digit(4) + digit(6) + 2 * (digit(3) + digit(5) + digit(7))) % 10 == digit(8)
}

/// Vehicle identification number with its check digit (ISO 3779, 49 CFR 565).
pub(crate) fn is_vin(text: &[u8]) -> bool {
    const VALUES: &[u8; 26] = b"12345678012345070923456789";
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    if !is_vin_shape(text) {
        return false;
    }
    let value = |byte: u8| match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        _ => VALUES.get(usize::from(byte.wrapping_sub(b'A'))).map_or(0, |digit| u32::from(digit - b'0')),
    };
    let sum: u32 = text.iter().zip(WEIGHTS).map(|(byte, weight)| value(*byte) * weight).sum();
    let check = if sum % 11 == 10 { b'X' } else { b'0' + u8::try_from(sum % 11).unwrap_or(0) };
    byte_at(text, 8) == check
}

/// Whether a text is 17 capitals and digits without I, O and Q: at least four digits and two capitals.
pub(crate) fn is_vin_shape(text: &[u8]) -> bool {
    text.len() == 17
        && text.iter().all(|byte| byte.is_ascii_digit() || (byte.is_ascii_uppercase() && !b"IOQ".contains(byte)))
        && text.iter().filter(|byte| byte.is_ascii_digit()).count() >= 4
        && text.iter().filter(|byte| byte.is_ascii_uppercase()).count() >= 2
}

/// UK driving licence number: five letters of the name (padded with 9), a date of birth, initials.
pub(crate) fn is_uk_licence(text: &[u8]) -> bool {
    let name = text.get(..5).unwrap_or_default();
    let letter_count = name.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    let is_padded = name.iter().skip(letter_count).all(|byte| *byte == b'9');
    matches!(text.len(), 16 | 18)
        && letter_count >= 2
        && is_padded
        && matches_shape(text.get(5..11).unwrap_or_default(), "999999")
        && matches!(part_value(text, 6, 8) % 50, 1..=12)
        && matches!(part_value(text, 8, 10), 1..=31)
        && matches_shape(text.get(11..16).unwrap_or_default(), "XX9AA")
            | matches_shape(text.get(11..16).unwrap_or_default(), "XXXXX")
}
