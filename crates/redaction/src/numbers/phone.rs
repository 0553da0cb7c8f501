//! Phone numbers: with a country code, in the shape of a national plan, or announced by a word. Ten bare digits need a
//! word. The plans are in `validate::phones`.

use std::ops::Range;

use super::super::rule::{CueDistance, RuleFamily};
use super::super::validate::checksums::is_one_digit;
use super::super::validate::phones::{code_length, is_filler_number, is_international};
use super::number_site::{NumberFinding, NumberSite, extension_end};

/// Fewest and most digits of a number with its country code (E.164).
const MIN_DIGITS: usize = 8;
const MAX_DIGITS: usize = 15;

/// Digits of groups without separators.
#[derive(Default)]
struct PhoneDigits {
    digits: [u8; MAX_DIGITS],
    len: usize,
}

impl PhoneDigits {
    /// Adds digits; false if they are too many.
    fn push(&mut self, digits: &[u8]) -> bool {
        for digit in digits {
            let Some(slot) = self.digits.get_mut(self.len) else { return false };
            *slot = *digit;
            self.len += 1;
        }
        true
    }

    fn get(&self) -> &[u8] {
        self.digits.get(..self.len).unwrap_or_default()
    }
}

/// Finds a phone number at a site by its shape.
pub(super) fn match_phone(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let before = site.scan.byte_before(site.start(), 1);
    if before == b'+' || (before == b'(' && site.scan.byte_before(site.start(), 2) == b'+') {
        return match_international(site);
    }
    if site.group_digits(site.first).starts_with(b"00") && site.chain.len(site.first) <= 6 {
        return match_zero_prefix(site);
    }
    // A group of four digits begins a number only with a zero or in brackets
    let begins_with_four = site.chain.len(site.first) == 4 && !site.group_digits(site.first).starts_with(b"0");
    if begins_with_four && !site.is_bracketed(site.first) || !is_separated(site) {
        return None;
    }
    match_nanp(site).or_else(|| match_national(site)).filter(|_| site.is_bracketed(site.first) || !site.counts_thing())
}

/// Whether the text before a number can't be part of it.
fn is_separated(site: &NumberSite<'_, '_>) -> bool {
    site.is_detached_before() && !b"$#%".contains(&site.scan.byte_before(site.start(), 1))
}

/// `+` and a country code.
fn match_international(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let bracket = usize::from(site.scan.byte_before(site.start(), 1) == b'(');
    let start = site.start().checked_sub(1 + bracket)?;
    let before = site.scan.byte_before(start, 1);
    if (before.is_ascii_alphanumeric() && !site.scan.is_escape_letter(start))
        || b"+=/_".contains(&before) && !is_key_end(site, start)
    {
        return None;
    }
    let (range, _) = longest_planned_number(site, 0)?;
    Some(NumberFinding { family: RuleFamily::PhoneInternational, range: start..extension_end(site, range.end) })
}

/// Whether `=` or `/` before a `+` ends a key or path, rather than being part of base64.
fn is_key_end(site: &NumberSite<'_, '_>, start: usize) -> bool {
    site.scan.byte_before(start, 1) != b'+' && !site.scan.byte_before(start, 2).is_ascii_digit()
}

/// `00` or `001` and a country code, in groups.
fn match_zero_prefix(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    if !is_separated(site) || site.first > 0 || site.chain.count < 3 || follows_capital_or_digit(site) {
        return None;
    }
    let (range, groups) = longest_planned_number(site, 2)?;
    let range = site.start()..extension_end(site, range.end);
    (groups >= 3).then_some(NumberFinding { family: RuleFamily::PhoneInternational, range })
}

/// Whether capitals or digits come before, as in the groups of an IBAN.
fn follows_capital_or_digit(site: &NumberSite<'_, '_>) -> bool {
    site.scan.byte_before(site.start(), 2).is_ascii_uppercase()
        || site.scan.byte_before(site.start(), 2).is_ascii_digit()
}

/// The range and number of groups of the longest number of a plan at the site, after `skip` zeros.
fn longest_planned_number(site: &NumberSite<'_, '_>, skip: usize) -> Option<(Range<usize>, usize)> {
    if !site.chain.has_digits(site.first, MIN_DIGITS) {
        return None;
    }
    let (mut number, mut best) = (PhoneDigits::default(), None);
    for index in site.first..site.chain.count {
        let group = site.chain.group(index);
        let mut digits = site.group_digits(index);
        if index == site.first {
            digits = digits.get(skip..).unwrap_or_default();
        }
        // A trunk zero in brackets is not part of the international number
        let is_trunk_zero = digits == b"0" && site.chain.sep_before(index) == b'(';
        // `+1.4155550123`, but not `+35236450.6`
        let begins_fraction =
            site.chain.sep_before(index) == b'.' && index == site.first + 1 && site.chain.len(site.first) > 3;
        if begins_fraction
            || index > site.first && matches!(site.chain.sep_before(index), b':' | b'~') && best.is_some()
        {
            break;
        }
        if !is_trunk_zero && !number.push(digits) {
            break;
        }
        let is_open = matches!(group.sep, b'.' | b'-');
        let has_few_groups = index - site.first < 8;
        // A further group after a blank belongs to the number only while that is short
        let is_complete = best.is_some() && site.chain.sep_before(index) == b' ' && number.len > 12;
        // A bracket after the country code is enough, whatever the plan
        let has_area_bracket = site.chain.sep_before(site.first + 1) == b'('
            && site.chain.len(site.first) <= 3
            && number.len >= 9
            && skip == 0;
        // One run of digits after `+` may end a table cell
        let ends_cell = || skip == 0 && index == site.first && number.len > 9 && site.ends_cell(index);
        let is_detached = site.is_detached_after(index) || ends_cell();
        if (is_international(number.get()) || has_area_bracket)
            && has_few_groups
            && !is_complete
            && !is_open
            && is_detached
        {
            best = Some((site.chain.range(site.first, index), index - site.first + 1));
        }
    }
    best.filter(|_| code_length(number.get()).is_some())
}

/// North American numbers: area and exchange of three digits, then four.
fn match_nanp(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let has_country_code = chain.len(first) == 1 && site.group_digits(first) == b"1" && chain.group(first).sep != b'/';
    let area = first + usize::from(has_country_code);
    if chain.len(area) != 3 {
        return match_local(site);
    }
    let is_bracketed = site.is_bracketed(area);
    let has_three_groups = [3, 3, 4].iter().enumerate().all(|(index, len)| chain.len(area + index) == *len);
    let has_two_groups = chain.len(area + 1) == 7;
    let last = area + if has_three_groups { 2 } else { 1 };
    if !has_three_groups && !has_two_groups {
        return match_local(site);
    }
    if !chain.is_free_after(last) || !site.is_detached_after(last) {
        return None;
    }
    let (sep, next) = (chain.group(area).sep, chain.group(area + 1).sep);
    let is_joined = matches!(sep, b'-' | b'.' | b'/') && (sep == next || next == b'-');
    let is_spaced = sep == b' ' && matches!(next, b' ' | b'-') || sep == b'~';
    let is_announced = || site.announces(RuleFamily::PhoneCued);
    let (area_digit, exchange_digit) = (*site.group_digits(area).first()?, *site.group_digits(area + 1).first()?);
    let is_fictional = site.group_digits(area) == b"555" || site.group_digits(area + 1) == b"555";
    let is_in_plan = (b'2'..=b'9').contains(&area_digit) && ((b'2'..=b'9').contains(&exchange_digit) || is_fictional);
    let has_shape = match (is_bracketed, has_two_groups) {
        (true, _) => matches!(sep, b')' | b' ' | b'-'),
        (false, true) => is_joined && is_announced(),
        (false, false) => {
            is_joined
                || (is_spaced
                    && (is_fictional
                        || next == b'-'
                        || has_country_code
                        || (site.is_alone(first, last) && !is_amount(site, area))
                        || is_announced()))
        }
    };
    let area_fits = is_in_plan
        || (area_digit >= b'2' && (is_bracketed || sep == b'-' || is_announced()))
        || (is_bracketed || is_announced()) && area_digit != b'0';
    let has_repeated_digits = is_one_digit(site.group_digits(area))
        && is_one_digit(site.group_digits(area + 1))
        && is_one_digit(site.group_digits(last))
        && !is_fictional;
    (has_shape && area_fits && !has_repeated_digits).then(|| site.phone_finding(RuleFamily::PhoneNational, first, last))
}

/// Whether groups are amounts or sizes rather than parts of a phone number.
fn is_amount(site: &NumberSite<'_, '_>, area: usize) -> bool {
    let is_round_number = |index: usize| {
        let group = site.group_digits(index);
        group.ends_with(b"00") || group == b"512" || group == b"256" || group == b"1024" || group == b"2048"
    };
    is_round_number(area) && is_round_number(area + 1)
        || is_round_number(area + 2)
        || site.group_digits(area) == site.group_digits(area + 1)
        || site.scan.byte_before(site.start(), 1) == b'['
}

/// `555-0123`, and other local numbers near a word.
fn match_local(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let sep = chain.has_groups(first, &[3, 4], b"-. ")?;
    let is_fictional = site.group_digits(first) == b"555" && sep == b'-';
    (site.is_detached_after(first + 1) && (is_fictional || (sep != b' ' && site.announces(RuleFamily::PhoneCued))))
        .then(|| site.phone_finding(RuleFamily::PhoneNational, first, first + 1))
}

/// Shapes of other plans: a trunk zero with groups that are the whole chain, or groups that only mobile numbers have.
fn match_national(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let is_bracketed = site.is_bracketed(first);
    let has_zero = site.group_digits(first).first() == Some(&b'0');
    let head_len = chain.len(first);
    let is_zip_code = chain.has_groups(first, &[5, 4], b"-").is_some();
    if is_zip_code
        || !(2..=5).contains(&head_len)
        || chain.count < first + 2
        || !(has_zero || is_bracketed || is_mobile(site))
    {
        return None;
    }
    let mut last = first;
    let sep = chain.group(first + 1).sep;
    let first_sep = chain.group(first).sep;
    while last + 1 < chain.count && last < first + 5 {
        let joint = chain.group(last).sep;
        let continues = match last == first {
            true => matches!(joint, b' ' | b'-' | b')' | b'/' | b'~' | b'.'),
            false => joint == sep || (is_bracketed && matches!(joint, b' ' | b'-' | b'/')),
        };
        if !continues || joint == b':' || chain.digit_count(first, last + 1) > 12 {
            break;
        }
        last += 1;
    }
    let digits = chain.digit_count(first, last);
    let has_double_zero = site.group_digits(first).starts_with(b"00");
    let has_long_groups = (first + 1..=last).all(|index| chain.len(index) >= 2);
    let is_decimal = first_sep == b'.' && last < first + 3 && (first + 1..=last).any(|index| chain.len(index) < 3);
    let is_alone = site.is_alone(first, last) || site.announces(RuleFamily::PhoneCued);
    let has_plan_length = match (has_zero, is_bracketed) {
        (true, _) => {
            (9..=11).contains(&digits) && !has_double_zero && first_sep != b'/'
                || (is_bracketed && (8..=12).contains(&digits))
        }
        (false, true) => (9..=12).contains(&digits) && matches!(head_len, 2 | 3) && has_long_groups,
        (false, false) => true,
    };
    (has_plan_length
        && has_long_groups
        && !is_decimal
        && is_alone
        && chain.is_free_after(last)
        && site.is_detached_after(last)
        && !is_date_or_ssn(site))
    .then(|| site.phone_finding(RuleFamily::PhoneNational, first, last))
}

/// Mobile numbers of plans without a trunk zero: India 5-5, China 3-4-4.
fn is_mobile(site: &NumberSite<'_, '_>) -> bool {
    let (chain, first) = (site.chain, site.first);
    let first_digit = site.group_digits(first).first().copied().unwrap_or(b'0');
    (first_digit >= b'6' && chain.has_groups(first, &[5, 5], b" -").is_some() && site.announces(RuleFamily::PhoneCued))
        || (first_digit == b'1' && chain.has_groups(first, &[3, 4, 4], b" -").is_some())
}

/// Whether groups are a day, month and year, or a social security number.
fn is_date_or_ssn(site: &NumberSite<'_, '_>) -> bool {
    let (chain, first) = (site.chain, site.first);
    let is_ssn = chain.len(first) == 3 && chain.len(first + 1) == 2 && chain.len(first + 2) == 4;
    is_ssn || (chain.len(first) == 2 && chain.len(first + 1) == 2 && chain.len(first + 2) == 4)
}

/// Finds a number that a word announces: any plausible number of digits.
pub(super) fn match_announced_phone(site: &NumberSite<'_, '_>, distance: CueDistance) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    if is_one_digit(site.group_digits(first)) && chain.len(first) > 7 || site.counts_thing() {
        return None;
    }
    let (mut best, mut digits) = (None, 0);
    for last in first..chain.count.min(first + 6) {
        digits += chain.len(last);
        if digits > MAX_DIGITS || (last > first && matches!(chain.sep_before(last), b':' | b'~')) {
            break;
        }
        let groups = last - first + 1;
        let min_digits = match (distance, groups) {
            (CueDistance::Key | CueDistance::Close, _) => 7,
            (CueDistance::Near, 1) => 10,
            (CueDistance::Near, _) => 9,
        };
        let max_digits = if distance == CueDistance::Near && groups == 1 { 11 } else { 13 };
        if (min_digits..=max_digits).contains(&digits)
            && chain.is_free_after(last)
            && site.is_detached_after(last)
            && !is_day(site, groups)
        {
            best = Some(last);
        }
    }
    let last = best.filter(|last| !is_filler_number(site.scan.part(chain.range(first, *last))))?;
    (distance == CueDistance::Key || !(is_epoch(site) || is_compact_day(site)))
        .then(|| site.phone_finding(RuleFamily::PhoneCued, first, last))
}

/// Whether groups are a date.
fn is_day(site: &NumberSite<'_, '_>, groups: usize) -> bool {
    let (chain, first) = (site.chain, site.first);
    let has_iso_form = chain.len(first) == 4 && chain.len(first + 1) == 2 && chain.len(first + 2) <= 2;
    let begins_with_year = chain.len(first) == 4
        && (site.group_digits(first).starts_with(b"19") || site.group_digits(first).starts_with(b"20"));
    let (a, b) = (chain.group(first).sep, chain.group(first + 1).sep);
    let ends_with_year =
        matches!((chain.len(first), chain.len(first + 1), chain.len(first + 2)), (1 | 2, 1 | 2, 4)) && a == b;
    let is_slashed =
        ends_with_year && a == b'/' && matches!(site.group_digits(first + 2), [b'1', b'9', ..] | [b'2', b'0', ..]);
    groups <= 5 && ((has_iso_form && begins_with_year) || is_slashed || is_date_or_ssn(site))
}

/// Whether a group is a day such as `20260520`.
fn is_compact_day(site: &NumberSite<'_, '_>) -> bool {
    match site.group_digits(site.first) {
        [b'1', b'9', ..] | [b'2', b'0', ..] if site.chain.len(site.first) == 8 => {
            matches!(
                site.group_digits(site.first),
                [_, _, _, _, b'0', _, b'0'..=b'3', _] | [_, _, _, _, b'1', b'0'..=b'2', b'0'..=b'3', _]
            )
        }
        _ => false,
    }
}

/// Whether ten digits are a current time in seconds since 1970.
fn is_epoch(site: &NumberSite<'_, '_>) -> bool {
    let group = site.group_digits(site.first);
    group.len() == 10 && (group.starts_with(b"16") || group.starts_with(b"17"))
}
