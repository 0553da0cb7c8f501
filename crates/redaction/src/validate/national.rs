//! Checks of national, tax and medical ids that are digits alone, by the rules of the issuing authorities. Pure
//! functions; a wrong number of digits fails. Ids with letters are in
//! `lettered_checks`.

use super::checksums::{
    has_valid_luhn, has_valid_mod_11_10, has_valid_verhoeff, is_one_digit, mod_97_remainder, weighted_sum,
};
use super::dates::is_day;

/// The last digit, and those before it; `None` for another number of digits, or if all are the same.
fn split_check_digit(digits: &[u8], length: usize) -> Option<(u32, &[u8])> {
    let (check, body) = digits.split_last()?;
    (digits.len() == length && !is_one_digit(digits)).then_some((u32::from(*check), body))
}

/// Whether the last digit makes the weighted sum of all digits a multiple of `modulus`.
fn has_check_digit(digits: &[u8], weights: &[u32], modulus: u32) -> bool {
    split_check_digit(digits, weights.len() + 1)
        .is_some_and(|(check, body)| (modulus - weighted_sum(body, weights) % modulus) % modulus == check)
}

fn digits_value(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |value, digit| value * 10 + u32::from(*digit))
}

fn part_value(digits: &[u8], from: usize, to: usize) -> u32 {
    digits.get(from..to).map_or(0, digits_value)
}

/// US social security number: a possible area, group and serial, and not a number known from advertising.
pub(crate) fn is_ssn(digits: &[u8]) -> bool {
    let (area, group, serial) = (part_value(digits, 0, 3), part_value(digits, 3, 5), part_value(digits, 5, 9));
    let advertised =
        matches!((area, group, serial), (78, 5, 1120) | (219, 9, 9999) | (457, 55, 5462) | (987, 65, 4320..=4329));
    digits.len() == 9 && !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0 && !advertised
}

/// US individual taxpayer id: 9xx, and group 50-65, 70-88, 90-92 or 94-99.
pub(crate) fn is_itin(digits: &[u8]) -> bool {
    digits.len() == 9
        && digits.first() == Some(&9)
        && matches!(part_value(digits, 3, 5), 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

/// British NHS number: mod 11.
pub(crate) fn is_nhs_number(digits: &[u8]) -> bool {
    has_check_digit(digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2], 11)
}

/// US National Provider Identifier: Luhn check after the prefix `80840`.
pub(crate) fn is_npi(digits: &[u8]) -> bool {
    let mut prefixed = [8, 0, 8, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    prefixed.iter_mut().skip(5).zip(digits).for_each(|(to, from)| *to = *from);
    digits.len() == 10 && matches!(digits.first(), Some(1 | 2)) && has_valid_luhn(&prefixed)
}

/// Australian Medicare card: eight weighted digits, a check digit, an issue number.
pub(crate) fn is_australian_medicare(digits: &[u8]) -> bool {
    let check = digits.get(8).copied().map(u32::from);
    matches!(digits.len(), 10 | 11)
        && matches!(digits.first(), Some(2..=6))
        && Some(weighted_sum(digits, &[1, 3, 7, 9, 1, 3, 7, 9]) % 10) == check
}

/// Brazilian CPF (persons): two check digits mod 11.
pub(crate) fn is_cpf(digits: &[u8]) -> bool {
    let check = |upto: u32| {
        let weights: [u32; 10] =
            std::array::from_fn(|index| (upto + 1).saturating_sub(u32::try_from(index).unwrap_or(0)));
        let body = digits.get(..upto as usize).unwrap_or_default();
        weighted_sum(body, &weights) * 10 % 11 % 10 == digits.get(upto as usize).map_or(10, |digit| u32::from(*digit))
    };
    digits.len() == 11 && !is_one_digit(digits) && check(9) && check(10)
}

/// Brazilian CNPJ (companies): two check digits mod 11.
pub(crate) fn is_cnpj(digits: &[u8]) -> bool {
    const WEIGHTS: [u32; 13] = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2];
    let check = |upto: usize| {
        let weights = WEIGHTS.get(13 - upto..).unwrap_or_default();
        let rest = weighted_sum(digits.get(..upto).unwrap_or_default(), weights) % 11;
        (if rest < 2 { 0 } else { 11 - rest }) == digits.get(upto).map_or(99, |digit| u32::from(*digit))
    };
    digits.len() == 14 && !is_one_digit(digits) && check(12) && check(13)
}

/// Polish PESEL: weights 1, 3, 7, 9, and a date.
pub(crate) fn is_pesel(digits: &[u8]) -> bool {
    has_check_digit(digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3], 10)
        && matches!(part_value(digits, 2, 4) % 20, 1..=12)
        && matches!(part_value(digits, 4, 6), 1..=31)
}

/// Canadian SIN: Luhn check, first digit not 0.
pub(crate) fn is_sin(digits: &[u8]) -> bool {
    split_check_digit(digits, 9).is_some() && digits.first() != Some(&0) && has_valid_luhn(digits)
}

/// Indian Aadhaar: Verhoeff check, first digit not 0 or 1.
pub(crate) fn is_aadhaar(digits: &[u8]) -> bool {
    split_check_digit(digits, 12).is_some() && matches!(digits.first(), Some(2..=9)) && has_valid_verhoeff(digits)
}

/// Dutch BSN: mod 11 ("elfproef").
pub(crate) fn is_bsn(digits: &[u8]) -> bool {
    let Some((check, body)) = split_check_digit(digits, 9) else { return false };
    (weighted_sum(body, &[9, 8, 7, 6, 5, 4, 3, 2]) + 11 - check % 11).is_multiple_of(11)
}

/// French NIR: thirteen digits and a key mod 97; a sex and a month.
pub(crate) fn is_nir(digits: &[u8]) -> bool {
    let ascii = digits.iter().take(13).map(|digit| digit + b'0');
    let key = part_value(digits, 13, 15);
    digits.len() == 15
        && matches!(digits.first(), Some(1 | 2 | 7 | 8))
        && matches!(part_value(digits, 3, 5), 1..=12 | 20..=42 | 50..=99)
        && mod_97_remainder(ascii).is_some_and(|rest| 97 - rest == key)
}

/// Swedish personnummer: Luhn check over the last ten digits, and a date.
pub(crate) fn is_personnummer(digits: &[u8]) -> bool {
    let last = digits.get(digits.len().saturating_sub(10)..).unwrap_or_default();
    let day = part_value(last, 4, 6);
    let day = if day > 60 { day - 60 } else { day };
    matches!(digits.len(), 10 | 12)
        && !is_one_digit(digits)
        && matches!(part_value(last, 2, 4), 1..=12)
        && matches!(day, 1..=31)
        && has_valid_luhn(last)
}

/// South Korean RRN: a date, and a digit for century and sex. Numbers issued since 2020 have no check digit, so none is
/// checked.
pub(crate) fn is_rrn(digits: &[u8]) -> bool {
    digits.len() == 13
        && matches!(part_value(digits, 2, 4), 1..=12)
        && matches!(part_value(digits, 4, 6), 1..=31)
        && matches!(digits.get(6), Some(1..=8))
}

/// Turkish kimlik: two check digits mod 10.
pub(crate) fn is_kimlik(digits: &[u8]) -> bool {
    let Some((check, body)) = split_check_digit(digits, 11) else { return false };
    let odd = weighted_sum(digits, &[1, 0, 1, 0, 1, 0, 1, 0, 1]);
    let even = weighted_sum(digits, &[0, 1, 0, 1, 0, 1, 0, 1]);
    let tenth = (odd * 7 + 10_000 - even) % 10;
    digits.first() != Some(&0)
        && part_value(digits, 9, 10) == tenth
        && body.iter().map(|d| u32::from(*d)).sum::<u32>() % 10 == check
}

/// Thai id: mod 11.
pub(crate) fn is_thai_id(digits: &[u8]) -> bool {
    let Some((check, body)) = split_check_digit(digits, 13) else { return false };
    let sum = weighted_sum(body, &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
    digits.first() != Some(&0) && (11 - sum % 11) % 10 == check
}

/// Emirates id: 784 and a birth year. A caller that sees neither hyphens nor a cue checks Luhn too.
pub(crate) fn is_emirates_id(digits: &[u8]) -> bool {
    digits.len() == 15 && part_value(digits, 0, 3) == 784 && matches!(part_value(digits, 3, 7), 1900..=2099)
}

/// Japanese My Number: twelve digits, mod 11.
pub(crate) fn is_my_number(digits: &[u8]) -> bool {
    let Some((check, body)) = split_check_digit(digits, 12) else { return false };
    let rest = weighted_sum(body, &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    (if rest <= 1 { 0 } else { 11 - rest }) == check
}

/// German tax id: eleven digits, ISO 7064 mod 11,10.
pub(crate) fn is_steuer_id(digits: &[u8]) -> bool {
    split_check_digit(digits, 11).is_some() && digits.first() != Some(&0) && has_valid_mod_11_10(digits)
}

/// Australian business number: mod 89.
pub(crate) fn is_abn(digits: &[u8]) -> bool {
    let sum = weighted_sum(digits, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
    digits.len() == 11 && digits.first().is_some_and(|first| *first > 0) && (sum + 89 - 10).is_multiple_of(89)
}

/// Australian company number: weights 8 to 1, mod 10.
pub(crate) fn is_acn(digits: &[u8]) -> bool {
    has_check_digit(digits, &[8, 7, 6, 5, 4, 3, 2, 1], 10)
}

/// Australian tax file number: mod 11.
pub(crate) fn is_tfn(digits: &[u8]) -> bool {
    split_check_digit(digits, 9).is_some() && weighted_sum(digits, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11)
}

/// Argentine CUIT (tax): mod 11.
pub(crate) fn is_cuit(digits: &[u8]) -> bool {
    matches!(part_value(digits, 0, 2), 20 | 23..=27 | 30 | 33 | 34)
        && has_check_digit(digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2], 11)
}

/// Chilean RUT (tax): mod 11 of the digits; the check is 0 to 9, or 10 for `K`.
pub(crate) fn is_rut(body: &[u8], check: u8) -> bool {
    let sum: u32 = body.iter().rev().zip([2_u32, 3, 4, 5, 6, 7].iter().cycle()).map(|(d, w)| u32::from(*d) * w).sum();
    matches!(body.len(), 7 | 8) && (11 - sum % 11) % 11 == u32::from(check)
}

/// Chinese resident id: a date and ISO 7064 mod 11-2; the check is 0 to 9, or 10 for `X`.
pub(crate) fn is_chinese_resident_id(body: &[u8], check: u8) -> bool {
    let sum = weighted_sum(body, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    body.len() == 17
        && is_day(part_value(body, 6, 10), part_value(body, 10, 12), part_value(body, 12, 14))
        && (12 - sum % 11) % 11 == u32::from(check)
}

/// UK VAT number: mod 97, or mod 97 with 55 added.
pub(crate) fn is_uk_vat(digits: &[u8]) -> bool {
    let sum = weighted_sum(digits, &[8, 7, 6, 5, 4, 3, 2]) + part_value(digits, 7, 9);
    digits.len() == 9 && !is_one_digit(digits) && (sum.is_multiple_of(97) || (sum + 55).is_multiple_of(97))
}

/// Swiss AHV number: 756, and an EAN-13 check digit.
pub(crate) fn is_ahv(digits: &[u8]) -> bool {
    part_value(digits, 0, 3) == 756 && has_check_digit(digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3], 10)
}

/// Whether fifteen digits may be an IMEI; its grouping is checked by the caller.
pub(crate) fn may_be_imei(digits: &[u8]) -> bool {
    digits.len() == 15 && !is_one_digit(digits)
}

/// Italian VAT number: Luhn check over eleven digits.
pub(crate) fn is_partita_iva(digits: &[u8]) -> bool {
    split_check_digit(digits, 11).is_some() && part_value(digits, 0, 7) > 0 && has_valid_luhn(digits)
}

/// Belgian national number: a date (months may be raised by 20 or 40) and mod 97, with a 2 in front for births since
/// 2000.
pub(crate) fn is_belgian_national_number(digits: &[u8]) -> bool {
    let Some((body, check)) = digits.split_at_checked(9).filter(|(_, check)| check.len() == 2) else { return false };
    let (born, check) = (digits_value(body), digits_value(check));
    let fits = |rest: u32| 97 - rest % 97 == check;
    matches!(part_value(digits, 2, 4) % 20, 0..=12)
        && part_value(digits, 4, 6) < 32
        && (fits(born) || fits(born % 97 + 2_000_000_000 % 97))
}

/// Belgian enterprise number: ten digits beginning with 0 or 1, mod 97.
pub(crate) fn is_belgian_enterprise(digits: &[u8]) -> bool {
    let check = part_value(digits, 8, 10);
    digits.len() == 10 && matches!(digits.first(), Some(0 | 1)) && 97 - part_value(digits, 0, 8) % 97 == check
}

/// Austrian social insurance number: a serial number, a check digit mod 11, a date of birth (months up to 15).
pub(crate) fn is_austrian_insurance_number(digits: &[u8]) -> bool {
    let check = digits.get(3).copied().map(u32::from);
    digits.len() == 10
        && digits.first() != Some(&0)
        && matches!(part_value(digits, 4, 6), 1..=31)
        && matches!(part_value(digits, 6, 8), 1..=15)
        && Some(weighted_sum(digits, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]) % 11) == check
}

/// Malaysian MyKad: a date of birth and a place; it has no check digit.
pub(crate) fn is_mykad(digits: &[u8]) -> bool {
    let place = part_value(digits, 6, 8);
    digits.len() == 12
        && is_day(2000, part_value(digits, 2, 4), part_value(digits, 4, 6))
        && matches!(place, 1..=16 | 21..=68 | 71..=79 | 82..=93 | 98 | 99)
}

/// Russian SNILS: weights 9 to 1, mod 101.
pub(crate) fn is_snils(digits: &[u8]) -> bool {
    let sum = weighted_sum(digits, &[9, 8, 7, 6, 5, 4, 3, 2, 1]);
    digits.len() == 11 && sum > 0 && sum % 101 % 100 == part_value(digits, 9, 11)
}

/// Ukrainian RNOKPP (tax): mod 11; the first weight is -1.
pub(crate) fn is_rnokpp(digits: &[u8]) -> bool {
    let Some((check, body)) = split_check_digit(digits, 10) else { return false };
    weighted_sum(body, &[10, 5, 7, 9, 4, 6, 10, 5, 7]) % 11 % 10 == check
}

/// Israeli id: Luhn check over nine digits.
pub(crate) fn is_israeli_id(digits: &[u8]) -> bool {
    split_check_digit(digits, 9).is_some() && has_valid_luhn(digits)
}
