//! IBANs, by country, length and check digits, and wallets of crypto currencies, by their checksums.

use std::ops::Range;

use super::super::rule::RuleFamily;
use super::super::scan::TextScan;
use super::super::validate::{bank, crypto};
use super::number_cues::NumberCues;
use super::number_site::{NumberFinding, is_free_after, is_free_before};

const MAX_IBAN: usize = 34;

/// Finds an IBAN, bare or in groups. Only as many characters as its country has are read, so a word after it is left
/// alone. A valid checksum is enough for capitals and groups of four; a bare one in lower case must not be a hash.
pub(super) fn match_iban(scan: &TextScan<'_>, run: &Range<usize>, has_cue: bool) -> Option<NumberFinding> {
    let [country @ .., third, fourth] = scan.bytes(run.start..run.start + 4) else { return None };
    if !third.is_ascii_digit() || !fourth.is_ascii_digit() {
        return None;
    }
    let iban_len = bank::iban_length(country)?;
    let mut buffer = [0_u8; MAX_IBAN];
    let (mut len, mut at, mut separators, mut is_by_four) = (0, run.start, 0, true);
    while let Some(slot) = buffer.get_mut(len).filter(|_| len < iban_len) {
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
    let compact = buffer.get(..len)?;
    let count = |is_counted: fn(&u8) -> bool| compact.iter().filter(|byte| is_counted(byte)).count();
    let (digits, lower) = (count(u8::is_ascii_digit), count(u8::is_ascii_lowercase));
    let is_announced = || has_cue && NumberCues::around(scan, run).announces(RuleFamily::Iban);
    let is_printed = is_by_four && separators > 2;
    let is_lower = lower + digits == len && (len - digits <= 6 || is_announced());
    let has_form = digits >= 8
        && (lower == 0 || is_printed || is_lower)
        && is_free_before(scan, run.start)
        && is_free_after(scan, at);
    let is_valid = bank::is_iban(compact) || lower == 0 && separators + run.len() >= 8 && is_announced();
    (has_form && is_valid).then_some(NumberFinding { family: RuleFamily::Iban, range: run.start..at })
}

/// Finds a wallet: `0x` and forty hex digits, bech32, base58check.
pub(super) fn match_wallet(scan: &TextScan<'_>, run: &Range<usize>) -> Option<NumberFinding> {
    let text = scan.bytes(run.clone());
    let has_mixed_case = || text.iter().any(u8::is_ascii_lowercase) && text.iter().any(u8::is_ascii_uppercase);
    let is_wallet = match (text.len(), text) {
        // Zeros with few other digits are a test value or a number
        (42, [b'0', b'x' | b'X', hex @ ..]) => {
            hex.iter().all(u8::is_ascii_hexdigit) && hex.iter().filter(|byte| **byte != b'0').count() >= 8
        }
        (14..=90, [b'b' | b'B', b'c' | b'C', b'1', ..] | [b'l', b't', b'c', b'1', ..]) => crypto::is_bech32(text),
        (39..=110, [b'a', b'd', b'd', b'r', b'1', rest @ ..]) => !rest.iter().any(u8::is_ascii_uppercase),
        (25..=35, [first, ..]) => b"13LMDTAmn29".contains(first) && has_mixed_case() && crypto::is_base58check(text),
        _ => false,
    };
    (is_wallet && is_free_before(scan, run.start) && is_free_after(scan, run.end))
        .then(|| NumberFinding { family: RuleFamily::Wallet, range: run.clone() })
}
