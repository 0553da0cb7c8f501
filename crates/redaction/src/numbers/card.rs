//! Payment cards. A card number without a cue needs a known issuer, a fitting length and a valid check digit. Issuers are
//! in `validate::bank`; codes, expiry dates and other numbers that a word announces are in `announced`.

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
    // A grouped card number may follow a word and a dash
    let is_detached = site.is_detached_before() || (last > first && site.follows_dash());
    if !is_detached || !chain.is_free_after(last) || !site.is_detached_after(last) {
        return None;
    }
    let (digits, length) = site.digits::<19>(first, last)?;
    let digits = digits.get(..length).unwrap_or_default();
    let finding = |family: RuleFamily| Some(NumberFinding { family, range: chain.range(first, last) });
    if !bank::is_card_number(digits) {
        // The check digit is wrong, but a card code is next to it
        let has_card_code = last == first + 3 && length == 16 && site.announces(RuleFamily::CardCode);
        return finding(RuleFamily::CardCued).filter(|_| has_card_code);
    }
    // Of bare digits, only those of a common issuer and length are certain; 13 with trailing zeros are milliseconds, and
    // one in 200 numbers with 19 digits passes both checks
    let is_old_visa = || length == 13 && digits.starts_with(&[4]) && !digits.ends_with(&[0; 5]);
    let is_certain = last > first
        || (matches!(length, 14..=16) || is_old_visa()) && !is_rare_issuer(digits) && !is_id_or_count(site);
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
        [6, 0, 1, 1, ..] => false,
        [1, 8, 0, 0, ..] | [2, 1, 3, 1, ..] => digits.len() != 15,
        [5, 0 | 6..=8, ..] | [6, 0 | 3 | 7 | 8, ..] | [8, ..] | [2, 0 | 1, ..] | [1, ..] => true,
        _ => digits.len() == 14 && !matches!(digits, [3, ..]),
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
