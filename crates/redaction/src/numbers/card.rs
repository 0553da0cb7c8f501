//! Payment cards, their codes and expiry dates. A card number without a cue needs a known issuer, a fitting length and
//! a valid check digit; codes and dates count only behind their key. Issuers are in `validate::bank`.

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
    let free = site.is_detached_before() || (last > first && site.is_behind_dash());
    if !free || !chain.is_free_behind(last) || !site.is_detached_behind(last) {
        return None;
    }
    let (digits, length) = site.digits::<19>(first, last)?;
    let digits = digits.get(..length).unwrap_or_default();
    if !bank::is_card_number(digits) {
        // The check digit is wrong, but a card code is next to it
        let coded = last == first + 3 && length == 16 && site.announces(RuleFamily::CardCode);
        return coded.then(|| NumberFinding { family: RuleFamily::CardCued, range: chain.range(first, last) });
    }
    // Bare numbers of rare issuers and lengths are other ids in one of ten cases (13 digits with trailing zeros are
    // times in milliseconds)
    let time = length == 13 && digits.ends_with(&[0; 5]);
    // 19 digits: ids of traces, posts and messages, one in 200 of which passes both checks
    let visa = matches!(digits, [4, ..]) && length == 13 && !time && !site.counts_thing();
    let usual = matches!(length, 14..=16) || visa || last > first;
    let known = usual && !(last == first && (is_rare_issuer(digits) || has_id_key(site) || has_count_word(site)));
    let range = chain.range(first, last);
    let range = range.start..range.end + if last == first { second_track_len(site.scan, range.end) } else { 0 };
    (known || site.announces(RuleFamily::CardCued)).then_some(NumberFinding { family: RuleFamily::Card, range })
}

/// Length of the rest of a magnetic stripe's second track behind its card number: `=25121010000012300000`.
fn second_track_len(scan: &TextScan<'_>, at: usize) -> usize {
    let digits = scan.bytes(at + 1..at + 28).iter().take_while(|byte| byte.is_ascii_digit()).count();
    let track =
        scan.byte(at) == b'=' && (7..27).contains(&digits) && !scan.byte(at + 1 + digits).is_ascii_alphanumeric();
    if track { 1 + digits } else { 0 }
}

/// Finds a magnetic stripe's first track, `%B4111…^DOE/JANE^2512…?`, whose card number is in `run` behind its `B`.
pub(super) fn match_first_track(scan: &TextScan<'_>, run: &Range<usize>) -> Option<NumberFinding> {
    let [b'B' | b'b', number @ ..] = scan.bytes(run.clone()) else { return None };
    let mut digits = [0_u8; 19];
    let kept = digits.get_mut(..number.len())?;
    kept.iter_mut().zip(number).for_each(|(to, from)| *to = from.wrapping_sub(b'0'));
    let rest = scan.bytes(run.end..run.end + 72);
    let ends = |byte: &u8| *byte < b' ' || b"?\"\\".contains(byte);
    let len = rest.iter().position(ends).unwrap_or(rest.len());
    let track = kept.iter().all(|digit| *digit < 10) && bank::is_card_number(kept);
    track.then_some(NumberFinding { family: RuleFamily::Card, range: run.start + 1..run.end + len })
}

/// Whether bare digits have an id key: `order_id`, `traceId`, `id`.
fn has_id_key(site: &NumberSite<'_, '_>) -> bool {
    own_key(site.scan, site.start()).is_some_and(|key| keys::is_id_key(site.scan.bytes(key)))
}

/// Whether bare digits have a key or word for counts, orders or things: `bytes_sent=`, `job 4111…`.
fn has_count_word(site: &NumberSite<'_, '_>) -> bool {
    let named = |key: Range<usize>| {
        site.scan.bytes(key).split(|byte| !byte.is_ascii_alphanumeric()).any(super::number_site::is_thing)
    };
    site.counts_thing() || own_key(site.scan, site.start()).is_some_and(named)
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
    let same = |last: usize| (first + 1..first + last).all(|index| chain.sep(index) == sep);
    let behind = match [1, 2, 3, 4].map(|index| chain.len(first + index)) {
        [4, 4, 4, 2 | 3] if same(4) => 4,
        [4, 4, 4 | 1, _] if same(3) => 3,
        [6, 4 | 5, ..] | [4, 5, ..] if same(2) => 2,
        _ => return None,
    };
    Some(first + behind)
}

/// Finds a card number that a word announces; its check digit may be wrong.
pub(super) fn match_announced_card(site: &NumberSite<'_, '_>, grade: CueDistance) -> Option<NumberFinding> {
    let last = last_card_group(site)?;
    let chain = site.chain;
    let length = chain.digit_count(site.first, last);
    let free = chain.is_free_behind(last) && site.is_detached_behind(last) && site.is_detached_before();
    let fits = match grade {
        CueDistance::Key => length >= 12,
        CueDistance::Close => length >= 13 && (last > site.first || length <= 16),
        CueDistance::Near => last > site.first && length >= 14,
    };
    (free && fits).then(|| NumberFinding { family: RuleFamily::CardCued, range: chain.range(site.first, last) })
}

/// Finds a card code: three or four digits behind their key.
pub(super) fn match_card_code(site: &NumberSite<'_, '_>, grade: CueDistance) -> Option<NumberFinding> {
    let fits = matches!(site.chain.len(site.first), 3 | 4) && grade != CueDistance::Near;
    let alone =
        site.chain.is_free_behind(site.first) && site.is_detached_behind(site.first) && site.is_detached_before();
    (fits && alone)
        .then(|| NumberFinding { family: RuleFamily::CardCode, range: site.chain.range(site.first, site.first) })
}

/// Finds an expiry date behind its key: `MM/YY`, `MM/YYYY`.
pub(super) fn match_expiry_date(site: &NumberSite<'_, '_>, grade: CueDistance) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let month =
        site.group_digits(first).iter().take(3).fold(0_u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    let sep = chain.group(first).sep;
    let year = chain.len(first + 1);
    // `3-10` is a range of years
    let printed = sep == b'/' || (chain.len(first) == 2 && !matches!(site.group_digits(first + 1), [b'0' | b'1', _]));
    let fits =
        matches!(chain.len(first), 1 | 2) && (1..=12).contains(&month) && matches!(sep, b'/' | b'-' | b'~') && printed;
    let whole = matches!(year, 2 | 4)
        && chain.is_free_behind(first + 1)
        && site.is_detached_behind(first + 1)
        && site.is_detached_before();
    (fits && whole && grade != CueDistance::Near)
        .then(|| NumberFinding { family: RuleFamily::CardExpiry, range: chain.range(first, first + 1) })
}
