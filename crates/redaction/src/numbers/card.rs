//! Payment cards, their codes and expiry dates. A card number without a cue needs a known issuer, a fitting length and
//! a valid check digit; codes and dates count only after their key or word. Issuers are in `validate::bank`.

use std::ops::Range;

use super::super::keys;
use super::super::rule::RuleFamily;
use super::super::scan::TextScan;
use super::super::validate::bank;
use super::number_cues::{CueDistance, own_key};
use super::number_site::{NumberFinding, NumberSite};

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
    if !bank::is_card_number(digits) {
        // The check digit is wrong, but a card code is next to it
        let has_card_code = last == first + 3 && length == 16 && site.announces(RuleFamily::CardCode);
        return has_card_code.then(|| NumberFinding { family: RuleFamily::CardCued, range: chain.range(first, last) });
    }
    // 13 digits with trailing zeros are times in milliseconds
    let may_be_time = length == 13 && digits.ends_with(&[0; 5]);
    let is_old_visa = matches!(digits, [4, ..]) && length == 13 && !may_be_time && !site.counts_thing();
    // Bare numbers of rare issuers and lengths are often other ids: of those with 19 digits, one in 200 passes both
    // checks
    let has_usual_form = matches!(length, 14..=16) || is_old_visa || last > first;
    let is_certain =
        has_usual_form && !(last == first && (is_rare_issuer(digits) || has_id_key(site) || has_count_word(site)));
    let range = chain.range(first, last);
    let range = range.start..range.end + if last == first { second_track_len(site.scan, range.end) } else { 0 };
    (is_certain || site.announces(RuleFamily::CardCued)).then_some(NumberFinding { family: RuleFamily::Card, range })
}

/// Length of the rest of a magnetic stripe's second track after its card number: `=25121010000012300000`.
fn second_track_len(scan: &TextScan<'_>, at: usize) -> usize {
    let digits = scan.bytes(at + 1..at + 28).iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_track =
        scan.byte(at) == b'=' && (7..27).contains(&digits) && !scan.byte(at + 1 + digits).is_ascii_alphanumeric();
    if is_track { 1 + digits } else { 0 }
}

/// Finds a magnetic stripe's first track, `%B4111…^DOE/JANE^2512…?`, whose card number is in `run` after its `B`.
pub(super) fn match_first_track(scan: &TextScan<'_>, run: &Range<usize>) -> Option<NumberFinding> {
    let [b'B' | b'b', number @ ..] = scan.bytes(run.clone()) else { return None };
    let mut digits = [0_u8; 19];
    let card_digits = digits.get_mut(..number.len())?;
    card_digits.iter_mut().zip(number).for_each(|(to, from)| *to = from.wrapping_sub(b'0'));
    let rest = scan.bytes(run.end..run.end + 72);
    let ends_track = |byte: &u8| *byte < b' ' || b"?\"\\".contains(byte);
    let len = rest.iter().position(ends_track).unwrap_or(rest.len());
    let is_track = card_digits.iter().all(|digit| *digit < 10) && bank::is_card_number(card_digits);
    is_track.then_some(NumberFinding { family: RuleFamily::Card, range: run.start + 1..run.end + len })
}

/// Whether bare digits have an id key: `order_id`, `traceId`, `id`.
fn has_id_key(site: &NumberSite<'_, '_>) -> bool {
    own_key(site.scan, site.start()).is_some_and(|key| keys::is_id_key(site.scan.bytes(key)))
}

/// Whether bare digits have a key or word for counts, orders or things: `bytes_sent=`, `job 4111…`.
fn has_count_word(site: &NumberSite<'_, '_>) -> bool {
    let has_thing_word = |key: Range<usize>| {
        site.scan.bytes(key).split(|byte| !byte.is_ascii_alphanumeric()).any(super::number_site::is_thing)
    };
    site.counts_thing() || own_key(site.scan, site.start()).is_some_and(has_thing_word)
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
    if chain.len(first) != 4 {
        return None;
    }
    let sep = chain.group(first).sep;
    if !matches!(sep, b' ' | b'-' | b'.') {
        return None;
    }
    let has_same_separator = |last: usize| (first + 1..first + last).all(|index| chain.sep(index) == sep);
    let groups_after = match [1, 2, 3, 4].map(|index| chain.len(first + index)) {
        [4, 4, 4, 2 | 3] if has_same_separator(4) => 4,
        [4, 4, 4 | 1, _] if has_same_separator(3) => 3,
        [6, 4 | 5, ..] | [4, 5, ..] if has_same_separator(2) => 2,
        _ => return None,
    };
    Some(first + groups_after)
}

/// Finds a card number that a word announces; its check digit may be wrong.
pub(super) fn match_announced_card(site: &NumberSite<'_, '_>, distance: CueDistance) -> Option<NumberFinding> {
    let last = last_card_group(site)?;
    let chain = site.chain;
    let length = chain.digit_count(site.first, last);
    let has_card_length = match distance {
        CueDistance::Key => length >= 12,
        CueDistance::Close => length >= 13 && (last > site.first || length <= 16),
        CueDistance::Near => last > site.first && length >= 14,
    };
    (site.is_separate(last) && has_card_length)
        .then(|| NumberFinding { family: RuleFamily::CardCued, range: chain.range(site.first, last) })
}

/// Finds a card code: three or four digits after their key or a word.
pub(super) fn match_card_code(site: &NumberSite<'_, '_>, distance: CueDistance) -> Option<NumberFinding> {
    let has_code_length = matches!(site.chain.len(site.first), 3 | 4);
    (distance != CueDistance::Near && has_code_length && site.is_separate(site.first))
        .then(|| NumberFinding { family: RuleFamily::CardCode, range: site.chain.range(site.first, site.first) })
}

/// Finds an expiry date after its key or a word: `MM/YY`, `MM/YYYY`.
pub(super) fn match_expiry_date(site: &NumberSite<'_, '_>, distance: CueDistance) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let month =
        site.group_digits(first).iter().take(3).fold(0_u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    let sep = chain.group(first).sep;
    let year_len = chain.len(first + 1);
    // `3-10` is a range of years
    let is_not_range =
        sep == b'/' || (chain.len(first) == 2 && !matches!(site.group_digits(first + 1), [b'0' | b'1', _]));
    let has_month = matches!(chain.len(first), 1 | 2)
        && (1..=12).contains(&month)
        && matches!(sep, b'/' | b'-' | b'~')
        && is_not_range;
    let has_year = matches!(year_len, 2 | 4) && site.is_separate(first + 1);
    (has_month && has_year && distance != CueDistance::Near)
        .then(|| NumberFinding { family: RuleFamily::CardExpiry, range: chain.range(first, first + 1) })
}
