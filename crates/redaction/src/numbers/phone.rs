//! Phone numbers: with a country code, with a trunk zero or an area code in brackets, or announced by a word. The plans
//! are in `validate::phones`, forms without these marks (North America) in `pii.yaml`. Ten bare digits need a word.

use std::ops::Range;

use super::super::rule::{CueDistance, RuleFamily};
use super::super::validate::checksums::is_one_digit;
use super::super::validate::phones::{is_filler_number, is_international};
use super::number_site::{NumberFinding, NumberSite};

/// Fewest and most digits of a number with its country code (E.164), and most groups.
const MIN_DIGITS: usize = 8;
const MAX_DIGITS: usize = 15;
const MAX_GROUPS: usize = 8;

/// Finds a phone number at a site by its shape.
pub(super) fn match_phone(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (scan, start) = (site.scan, site.start());
    let bracket = usize::from(scan.byte_before(start, 1) == b'(');
    if scan.byte_before(start, bracket + 1) == b'+' {
        return match_international(site, start - bracket - 1);
    }
    let is_separate = site.is_detached_before() && !b"$#%".contains(&scan.byte_before(start, 1));
    if !is_separate {
        return None;
    }
    // `00` and a country code; capitals or digits before it are groups of an IBAN
    let before = scan.byte_before(start, 2);
    if site.group_digits(site.first).starts_with(b"00") && site.chain.len(site.first) <= 6 {
        let (range, groups) = longest_planned_number(site, 2)?;
        let is_free = site.first == 0 && !before.is_ascii_uppercase() && !before.is_ascii_digit();
        return (is_free && groups >= 3).then_some(NumberFinding { family: RuleFamily::PhoneInternational, range });
    }
    match_national(site).filter(|_| bracket > 0 || !site.counts_thing())
}

/// `+` and a country code; `start` is at the sign.
fn match_international(site: &NumberSite<'_, '_>, start: usize) -> Option<NumberFinding> {
    let (before, second_before) = (site.scan.byte_before(start, 1), site.scan.byte_before(start, 2));
    // `=` and `/` end a key or path, but may also be part of base64
    let is_attached = before.is_ascii_alphanumeric() && !site.scan.is_escape_letter(start)
        || matches!(before, b'+' | b'_')
        || matches!(before, b'=' | b'/') && second_before.is_ascii_digit();
    let (range, _) = longest_planned_number(site, 0).filter(|_| !is_attached)?;
    Some(NumberFinding { family: RuleFamily::PhoneInternational, range: start..range.end })
}

/// The range and number of groups of the longest number of a plan at the site, after `skip` zeros.
fn longest_planned_number(site: &NumberSite<'_, '_>, skip: usize) -> Option<(Range<usize>, usize)> {
    let (chain, first) = (site.chain, site.first);
    if !chain.has_digits(first, MIN_DIGITS) {
        return None;
    }
    let (mut buffer, mut len, mut best) = ([0_u8; MAX_DIGITS], 0, None);
    for index in first..chain.count.min(first + MAX_GROUPS) {
        let (group, sep_before) = (site.group_digits(index), chain.sep_before(index));
        // `+1.4155550123`, but not `+35236450.6`
        let begins_fraction = sep_before == b'.' && index == first + 1 && chain.len(first) > 3;
        // A further group after a blank belongs to the number only while that is short
        let is_long = len + group.len() > 12;
        let begins_another = best.is_some() && (matches!(sep_before, b':' | b'~') || sep_before == b' ' && is_long);
        if index > first && (begins_fraction || begins_another) {
            break;
        }
        // A trunk zero in brackets is not part of the international number
        if group != b"0" || sep_before != b'(' {
            let group = group.get(if index == first { skip } else { 0 }..).unwrap_or_default();
            let Some(slots) = buffer.get_mut(len..len + group.len()) else { break };
            slots.copy_from_slice(group);
            len += group.len();
        }
        let digits = buffer.get(..len).unwrap_or_default();
        // A bracket after the country code is enough, whatever the plan
        let has_area_bracket =
            chain.sep_before(first + 1) == b'(' && chain.len(first) <= 3 && digits.len() >= 9 && skip == 0;
        // One run of digits after `+` may end a table cell
        let is_ended =
            site.is_detached_after(index) || skip == 0 && index == first && digits.len() > 9 && site.ends_cell(index);
        if (is_international(digits) || has_area_bracket) && !matches!(chain.sep(index), b'.' | b'-') && is_ended {
            best = Some((chain.range(first, index), index - first + 1));
        }
    }
    best
}

/// Shapes of national plans: a trunk zero or an area code in brackets, with groups that are the whole chain.
fn match_national(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let (head_len, first_sep) = (chain.len(first), chain.sep(first));
    let is_bracketed = site.is_bracketed(first);
    let has_zero = site.group_digits(first).starts_with(b"0");
    if !(2..=5).contains(&head_len) || !(has_zero || is_bracketed) {
        return None;
    }
    let mut last = first;
    let sep = chain.sep(first + 1);
    while last + 1 < chain.count && last < first + 5 {
        let joint = chain.sep(last);
        let continues = match last == first {
            true => matches!(joint, b' ' | b'-' | b')' | b'/' | b'~' | b'.'),
            false => joint == sep && joint != b':' || is_bracketed && matches!(joint, b' ' | b'-' | b'/'),
        };
        if !continues || chain.digit_count(first, last + 1) > 12 {
            break;
        }
        last += 1;
    }
    let digits = chain.digit_count(first, last);
    let has_long_groups = last > first && (first + 1..=last).all(|index| chain.len(index) >= 2);
    let is_decimal = first_sep == b'.' && last < first + 3 && (first + 1..=last).any(|index| chain.len(index) < 3);
    let has_plan_length = match (has_zero, is_bracketed) {
        (_, true) => (8 + usize::from(!has_zero)..=12).contains(&digits) && (has_zero || head_len < 4),
        (..) => (9..=11).contains(&digits) && first_sep != b'/',
    };
    // A date, a social security number, or an American postcode
    let is_other = matches!((head_len, chain.len(first + 1), chain.len(first + 2)), (2 | 3, 2, 4) | (5, 4, 0));
    let is_alone = || site.is_alone(first, last) || site.announces(RuleFamily::PhoneCued);
    let start = site.start() - usize::from(is_bracketed);
    (has_plan_length && has_long_groups && !is_decimal && !is_other && site.is_separate(last) && is_alone())
        .then(|| NumberFinding { family: RuleFamily::PhoneNational, range: start..chain.range(first, last).end })
}

/// Finds a number that a word announces: any plausible number of digits. Dates and times are `allow`ed in `pii.yaml`.
pub(super) fn match_announced_phone(site: &NumberSite<'_, '_>, distance: CueDistance) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    if is_one_digit(site.group_digits(first)) && chain.len(first) > 7 || site.counts_thing() {
        return None;
    }
    let fits = |last: usize| {
        let (digits, groups) = (chain.digit_count(first, last), last - first + 1);
        let counts = match (distance, groups) {
            (CueDistance::Key | CueDistance::Close, _) => 7..=13,
            (CueDistance::Near, 1) => 10..=11,
            (CueDistance::Near, _) => 9..=13,
        };
        let joins = (first..last).all(|index| !matches!(chain.sep(index), b':' | b'~'));
        counts.contains(&digits) && joins && chain.is_free_after(last) && site.is_detached_after(last)
    };
    let last = (first..chain.count.min(first + 6)).rev().find(|last| fits(*last))?;
    let range = chain.range(first, last);
    let is_filler = is_filler_number(site.scan.part(range.clone()));
    let start = range.start - usize::from(site.is_bracketed(first));
    (!is_filler).then_some(NumberFinding { family: RuleFamily::PhoneCued, range: start..range.end })
}
