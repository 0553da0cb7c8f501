//! Ids of letters and digits that are recognised by shape and check: IBAN, wallets, VIN, national, tax and medical ids,
//! passport lines. Length and first bytes reject most before any checksum is computed. The checks are in
//! `validate::lettered_checks`; ids that need a word are in `cued_numbers`.

use std::ops::Range;

use super::super::rule::RuleFamily;
use super::super::scan::TextScan;
use super::super::validate::{bank, crypto, lettered_checks, national};
use super::number_cues::NumberCues;
use super::number_site::NumberFinding;

/// Finds the id that a run of letters and digits is, by its shape.
pub(super) fn match_lettered_id(scan: &TextScan<'_>, run: &Range<usize>, has_cue: bool) -> Option<NumberFinding> {
    let text = scan.bytes(run.clone());
    let [first, second, ..] = text else { return None };
    if !is_detached_before(scan, run.start) {
        return None;
    }
    if first.is_ascii_alphabetic()
        && second.is_ascii_alphabetic()
        && let Some(found) = match_iban(scan, run, has_cue)
    {
        return Some(found);
    }
    if !is_detached_after(scan, run.end) {
        return None;
    }
    if let Some(found) = match_wallet(scan, run) {
        return Some(found);
    }
    if text.iter().any(u8::is_ascii_lowercase) {
        return None;
    }
    if scan.byte(run.end) == b'(' && matches!(text.len(), 7 | 8) {
        return match_hkid(scan, run);
    }
    let finding = |family: RuleFamily| Some(NumberFinding { family, range: run.clone() });
    match text.len() {
        9 if lettered_checks::is_nino(text) => finding(RuleFamily::NationalShape),
        9 if lettered_checks::is_nric(text) || lettered_checks::is_dni(text) => finding(RuleFamily::NationalShape),
        9 if lettered_checks::is_dea(text)
            && has_cue
            && NumberCues::around(scan, run).announces(RuleFamily::MedicalCued) =>
        {
            finding(RuleFamily::MedicalShape)
        }
        10 if lettered_checks::is_indian_pan(text) => finding(RuleFamily::TaxShape),
        11 if lettered_checks::is_hetu(text) => finding(RuleFamily::NationalShape),
        11 if lettered_checks::is_atu(text) => finding(RuleFamily::TaxShape),
        11 if lettered_checks::is_mbi(text) => finding(RuleFamily::MedicalShape),
        12 | 13 if lettered_checks::is_rfc(text) => finding(RuleFamily::TaxShape),
        16 if lettered_checks::is_codice_fiscale(text) => finding(RuleFamily::NationalShape),
        16 if lettered_checks::is_uk_licence(text) => finding(RuleFamily::License),
        17 if lettered_checks::is_vin(text) => finding(RuleFamily::Vin),
        18 if lettered_checks::is_curp(text) => finding(RuleFamily::NationalShape),
        18 if text.ends_with(b"X") && is_resident_id(text) => finding(RuleFamily::NationalShape),
        _ => None,
    }
}

/// A Hong Kong identity card number with its check digit in brackets: `A123456(3)`.
fn match_hkid(scan: &TextScan<'_>, run: &Range<usize>) -> Option<NumberFinding> {
    let end = run.end + 3;
    let is_complete = scan.byte(run.end + 2) == b')' && !scan.byte(end).is_ascii_alphanumeric();
    (is_complete && lettered_checks::is_hkid(scan.bytes(run.clone()), scan.byte(run.end + 1)))
        .then_some(NumberFinding { family: RuleFamily::NationalShape, range: run.start..end })
}

fn is_resident_id(text: &[u8]) -> bool {
    let mut digits = [0_u8; 17];
    digits.iter_mut().zip(text).for_each(|(to, from)| *to = from.wrapping_sub(b'0'));
    digits.iter().all(|digit| *digit < 10) && national::is_chinese_resident_id(&digits, 10)
}

/// Whether it is not attached to a longer name before it.
fn is_detached_before(scan: &TextScan<'_>, start: usize) -> bool {
    let (before, second_before) = (scan.byte_before(start, 1), scan.byte_before(start, 2));
    match before {
        b'_' => false,
        b'-' | b'.' | b'+' => !second_before.is_ascii_alphanumeric(),
        _ => true,
    }
}

fn is_detached_after(scan: &TextScan<'_>, end: usize) -> bool {
    let (after, second_after) = (scan.byte(end), scan.byte(end + 1));
    match after {
        b'_' => false,
        b'-' | b'+' => !second_after.is_ascii_alphanumeric(),
        _ => true,
    }
}

/// An IBAN, bare or in groups of four. Only as many characters as its country has are read, so a word after it is left
/// alone.
fn match_iban(scan: &TextScan<'_>, run: &Range<usize>, has_cue: bool) -> Option<NumberFinding> {
    let head = scan.bytes(run.start..run.start + 4);
    let [country @ .., third, fourth] = head else { return None };
    if !third.is_ascii_digit() || !fourth.is_ascii_digit() {
        return None;
    }
    let iban_len = bank::iban_length(country)?;
    let mut compact = [0_u8; 34];
    let (mut len, mut at) = (0, run.start);
    let (mut separators, mut is_by_four) = (0, true);
    while let Some(slot) = compact.get_mut(len).filter(|_| len < iban_len) {
        let byte = scan.byte(at);
        if byte.is_ascii_alphanumeric() {
            *slot = byte;
            len += 1;
        } else if b" -".contains(&byte) && len >= 4 && scan.byte(at + 1).is_ascii_alphanumeric() {
            separators += 1;
            is_by_four &= len.is_multiple_of(4);
        } else {
            return None;
        }
        at += 1;
    }
    let compact = compact.get(..len)?;
    let digits = compact.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_upper = compact.iter().all(|byte| !byte.is_ascii_lowercase());
    let is_lower = compact.iter().all(|byte| !byte.is_ascii_uppercase());
    let has_digits_only = compact.iter().skip(4).all(u8::is_ascii_digit);
    let is_announced = || has_cue && NumberCues::around(scan, run).announces(RuleFamily::Iban);
    // Groups of four with a valid checksum may have letters of any case
    let is_printed = is_by_four && separators > 2;
    // One short bank code among digits; hashes and random ids have more letters
    let has_short_bank_code = || {
        let body = compact.get(4..).unwrap_or_default();
        let letters = body.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
        let runs = body.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
        letters <= 4 && runs.filter(|run| run.first().is_some_and(u8::is_ascii_alphabetic)).count() < 2
    };
    let has_iban_form = separators <= 12
        && digits >= 8
        && (is_upper || is_printed || (is_lower && (has_digits_only || has_short_bank_code() || is_announced())));
    let next = scan.byte(at);
    let is_ended = !next.is_ascii_alphanumeric() && next != b'_';
    let is_valid = bank::is_iban(compact)
        || (is_ended && is_upper && digits >= 8 && is_announced() && separators + run.len() >= 8);
    (len == iban_len && has_iban_form && is_ended && is_valid)
        .then_some(NumberFinding { family: RuleFamily::Iban, range: run.start..at })
}

/// Wallet addresses: `0x` and forty hex digits, bech32, base58check.
fn match_wallet(scan: &TextScan<'_>, run: &Range<usize>) -> Option<NumberFinding> {
    let text = scan.bytes(run.clone());
    let is_wallet = match (text.len(), text) {
        // Zeros with few other digits are a test value or a number
        (42, [b'0', b'x' | b'X', hex @ ..]) => {
            hex.iter().all(u8::is_ascii_hexdigit) && hex.iter().filter(|byte| **byte != b'0').count() >= 8
        }
        (14..=90, [b'b', b'c', b'1', ..] | [b't', b'b', b'1', ..] | [b'B', b'C', b'1', ..]) => crypto::is_bech32(text),
        (39..=110, [b'a', b'd', b'd', b'r', b'1', ..]) => {
            text.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        }
        (43..=46, [b'l', b't', b'c', b'1', ..]) => crypto::is_bech32(text),
        (25..=35, [b'1' | b'3' | b'L' | b'M' | b'D' | b'T' | b'A' | b'm' | b'n' | b'2' | b'9', ..]) => {
            text.iter().any(u8::is_ascii_lowercase)
                && text.iter().any(u8::is_ascii_uppercase)
                && crypto::is_base58check(text)
        }
        _ => false,
    };
    is_wallet.then(|| NumberFinding { family: RuleFamily::Wallet, range: run.clone() })
}

/// A UK national insurance number in groups; `first` is at its first two digits.
pub(super) fn match_spaced_nino(scan: &TextScan<'_>, first: usize) -> Option<NumberFinding> {
    let start = first.checked_sub(3)?;
    let text = scan.bytes(start..first + 10);
    let [a, b, b' ', c, d, b' ', e, f, b' ', g, h, b' ', i, ..] = text else { return None };
    let compact = [*a, *b, *c, *d, *e, *f, *g, *h, *i];
    let is_detached =
        !scan.byte_before(start, 1).is_ascii_alphanumeric() && !scan.byte(first + 10).is_ascii_alphanumeric();
    (is_detached && lettered_checks::is_nino(&compact))
        .then_some(NumberFinding { family: RuleFamily::NationalShape, range: start..first + 10 })
}

/// Finds an id of digits and a last letter: HETU (`131052-308T`) and DNI with a dash (`12345678-Z`); `at` is its first
/// digit.
pub(super) fn match_id_with_last_letter(scan: &TextScan<'_>, at: usize) -> Option<NumberFinding> {
    let text = scan.bytes(at..at + 12);
    let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if is_in_name(scan.byte_before(at, 1)) {
        return None;
    }
    if let Some(id) = text.get(..11)
        && lettered_checks::is_hetu(id)
        && !is_in_name(text.get(11).copied().unwrap_or(b'\n'))
    {
        return Some(NumberFinding { family: RuleFamily::NationalShape, range: at..at + 11 });
    }
    let [a, b, c, d, e, f, g, h, b'-', letter, rest @ ..] = text else { return None };
    let compact = [*a, *b, *c, *d, *e, *f, *g, *h, *letter];
    let is_ended = !is_in_name(rest.first().copied().unwrap_or(b'\n'));
    (is_ended && lettered_checks::is_dni(&compact))
        .then_some(NumberFinding { family: RuleFamily::NationalShape, range: at..at + 10 })
}

/// A Medicare beneficiary id with dashes, `1EG4-TE5-MK73`; `run` is its first group.
pub(super) fn match_dashed_mbi(scan: &TextScan<'_>, run: &Range<usize>) -> Option<NumberFinding> {
    let text = scan.bytes(run.start..run.start + 13);
    let [a @ .., b'-', b, c, d, b'-', e, f, g, h] = text else { return None };
    let [a1, a2, a3, a4] = a else { return None };
    let compact = [*a1, *a2, *a3, *a4, *b, *c, *d, *e, *f, *g, *h];
    let is_detached = is_detached_before(scan, run.start) && !scan.byte(run.start + 13).is_ascii_alphanumeric();
    (is_detached && lettered_checks::is_mbi(&compact))
        .then_some(NumberFinding { family: RuleFamily::MedicalShape, range: run.start..run.start + 13 })
}
