//! Payment cards. A card number without a cue needs a known issuer, a fitting length and a valid check digit. Issuers
//! are in `validate::bank`; codes, expiry dates and other numbers that a word announces are in `announced`.

use std::ops::Range;

use super::super::keys;
use super::super::rule::RuleFamily;
use super::super::validate::bank;
use super::number_cues::own_key;
use super::number_site::{NumberFinding, NumberSite, is_thing};

/// Finds a card number with a valid check digit at a site.
pub(super) fn match_card(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let last = last_card_group(site)?;
    let range = chain.range(first, last);
    // A grouped card number may follow a word and a dash
    let follows_dash = last > first && first == 0 && site.scan.byte_before(range.start, 1) == b'-';
    if !(site.is_detached_before() || follows_dash) || !chain.is_free_after(last) || !site.is_detached_after(last) {
        return None;
    }
    let (number, length) = (site.scan.bytes(range.clone()), chain.digit_count(first, last));
    let finding = |family: RuleFamily| Some(NumberFinding { family, range: range.clone() });
    if !bank::has_card_number(number) {
        // The check digit is wrong, but a card code is next to it
        let has_card_code = last == first + 3 && length == 16 && site.announces(RuleFamily::CardCode);
        return finding(RuleFamily::CardCued).filter(|_| has_card_code);
    }
    // Of bare digits, only those of a common issuer and length are certain; 13 with trailing zeros are milliseconds,
    // and one in 200 numbers with 19 digits passes both checks
    let is_old_visa = || length == 13 && number.starts_with(b"4") && !number.ends_with(b"00000");
    let is_certain = last > first
        || (matches!(length, 14..=16) || is_old_visa()) && !is_rare_issuer(number) && !is_id_or_count(site);
    finding(RuleFamily::Card).filter(|_| is_certain || site.announces(RuleFamily::CardCued))
}

/// Whether bare digits have a key or word for ids, counts, orders or things: `traceId`, `bytes_sent=`, `job 4111…`.
fn is_id_or_count(site: &NumberSite<'_, '_>) -> bool {
    let names_other_thing = |key: Range<usize>| {
        let key = site.scan.bytes(key);
        keys::is_id_key(key) || key.split(|byte| !byte.is_ascii_alphanumeric()).any(is_thing)
    };
    site.counts_thing() || own_key(site.scan, site.start()).is_some_and(names_other_thing)
}

/// Whether bare digits belong to a rare issuer.
fn is_rare_issuer(digits: &[u8]) -> bool {
    match digits {
        [b'6', b'0', b'1', b'1', ..] => false,
        [b'1', b'8', b'0', b'0', ..] | [b'2', b'1', b'3', b'1', ..] => digits.len() != 15,
        [b'5', b'0' | b'6'..=b'8', ..] | [b'6', b'0' | b'3' | b'7' | b'8', ..] | [b'2', b'0' | b'1', ..] => true,
        [first, ..] => matches!(first, b'8' | b'1') || digits.len() == 14 && *first != b'3',
        [] => true,
    }
}

/// The last group of a card number: bare, 4-4-4-4, 4-6-5, 4-6-4, 4-4-5 and similar, with one kind of separator.
fn last_card_group(site: &NumberSite<'_, '_>) -> Option<usize> {
    let (chain, first) = (site.chain, site.first);
    if matches!(chain.len(first), 12..=19) {
        return Some(first);
    }
    let sep = chain.sep(first);
    let lens = [1, 2, 3, 4].map(|index| chain.len(first + index));
    let groups_after = match lens {
        [4, 4, 4, 2 | 3] => 4,
        [4, 4, 4 | 1, _] => 3,
        [6, 4 | 5, ..] | [4, 5, ..] => 2,
        _ => return None,
    };
    let has_same_separator = (first + 1..first + groups_after).all(|index| chain.sep(index) == sep);
    (chain.len(first) == 4 && matches!(sep, b' ' | b'-' | b'.') && has_same_separator).then_some(first + groups_after)
}
