//! Phone numbers: with a country code, in the shape of a national plan, or announced by a word. Ten bare digits need a
//! word. The plans are in `validate::phones`.

use std::ops::Range;

use super::super::rule::Family;
use super::super::validate::phones::{code_length, is_alike, is_filled, is_international};
use super::cues::Grade;
use super::site::{Found, Site, extension};

/// Least and most digits of a number with its country code (`PLANS`; E.164).
const LEAST: usize = 8;
const MOST: usize = 15;

/// Digits of groups without separators.
#[derive(Default)]
struct Number {
    digits: [u8; MOST],
    len: usize,
}

impl Number {
    fn push(&mut self, more: &[u8]) -> bool {
        for digit in more {
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
pub(super) fn shaped(site: &Site<'_, '_>) -> Option<Found> {
    let before = site.scan.before(site.start(), 1);
    if before == b'+' || (before == b'(' && site.scan.before(site.start(), 2) == b'+') {
        return international(site);
    }
    if site.part(site.first).starts_with(b"00") && site.chain.len(site.first) <= 6 {
        return zeros(site);
    }
    // A group of four digits begins a number only with a zero or in brackets
    let four = site.chain.len(site.first) == 4 && !site.part(site.first).starts_with(b"0");
    if four && !site.is_bracketed(site.first) || !is_separated(site) {
        return None;
    }
    nanp(site).or_else(|| national(site)).filter(|_| site.is_bracketed(site.first) || !site.is_denied())
}

/// Whether the text before a number can't be part of it.
fn is_separated(site: &Site<'_, '_>) -> bool {
    site.is_free() && !b"$#%".contains(&site.scan.before(site.start(), 1))
}

/// `+` and a country code.
fn international(site: &Site<'_, '_>) -> Option<Found> {
    let bracket = usize::from(site.scan.before(site.start(), 1) == b'(');
    let start = site.start().checked_sub(1 + bracket)?;
    let before = site.scan.before(start, 1);
    if (before.is_ascii_alphanumeric() && !site.scan.escaped(start))
        || b"+=/_".contains(&before) && !is_key_end(site, start)
    {
        return None;
    }
    let (range, _) = planned(site, 0)?;
    Some(Found { family: Family::PhoneInternational, range: start..extension(site, range.end) })
}

/// Whether `=` or `/` before a `+` ends a key or path, rather than being part of base64.
fn is_key_end(site: &Site<'_, '_>, start: usize) -> bool {
    site.scan.before(start, 1) != b'+' && !site.scan.before(start, 2).is_ascii_digit()
}

/// `00` or `001` and a country code, in groups.
fn zeros(site: &Site<'_, '_>) -> Option<Found> {
    if !is_separated(site) || site.first > 0 || site.chain.count < 3 || is_upper(site) {
        return None;
    }
    let (range, groups) = planned(site, 2)?;
    (groups >= 3).then(|| Found { family: Family::PhoneInternational, range: site.start()..extension(site, range.end) })
}

/// Whether capitals or digits come before, as in the groups of an IBAN.
fn is_upper(site: &Site<'_, '_>) -> bool {
    site.scan.before(site.start(), 2).is_ascii_uppercase() || site.scan.before(site.start(), 2).is_ascii_digit()
}

/// The range and number of groups of the longest number of a plan at the site, after `skip` zeros.
fn planned(site: &Site<'_, '_>, skip: usize) -> Option<(Range<usize>, usize)> {
    if !site.chain.reaches(site.first, LEAST) {
        return None;
    }
    let (mut number, mut best) = (Number::default(), None);
    for index in site.first..site.chain.count {
        let group = site.chain.group(index);
        let mut part = site.part(index);
        if index == site.first {
            part = part.get(skip..).unwrap_or_default();
        }
        // A trunk zero in brackets is not part of the international number
        let trunk = part == b"0" && site.chain.before(index) == b'(';
        // `+1.4155550123`, but not `+35236450.6`
        let fraction = site.chain.before(index) == b'.' && index == site.first + 1 && site.chain.len(site.first) > 3;
        if fraction || index > site.first && matches!(site.chain.before(index), b':' | b'~') && best.is_some() {
            break;
        }
        if !trunk && !number.push(part) {
            break;
        }
        let open = matches!(group.sep, b'.' | b'-');
        let enough = index - site.first < 8;
        // A further group behind a blank belongs to the number only while that is short
        let sated = best.is_some() && site.chain.before(index) == b' ' && number.len > 12;
        // A bracket behind the country code is enough, whatever the plan
        let bracket = site.chain.before(site.first + 1) == b'('
            && site.chain.len(site.first) <= 3
            && number.len >= 9
            && skip == 0;
        // One run of digits behind `+` may end a table cell
        let cell = || skip == 0 && index == site.first && number.len > 9 && site.ends_cell(index);
        let ends = site.ends_well(index) || cell();
        if (is_international(number.get()) || bracket) && enough && !sated && !open && ends {
            best = Some((site.chain.range(site.first, index), index - site.first + 1));
        }
    }
    best.filter(|_| code_length(number.get()).is_some())
}

/// North American numbers: area and exchange of three digits, then four.
fn nanp(site: &Site<'_, '_>) -> Option<Found> {
    let (chain, first) = (site.chain, site.first);
    let country = chain.len(first) == 1 && site.part(first) == b"1" && chain.group(first).sep != b'/';
    let area = first + usize::from(country);
    if chain.len(area) != 3 {
        return local(site);
    }
    let bracket = site.is_bracketed(area);
    let whole = [3, 3, 4].iter().enumerate().all(|(index, len)| chain.len(area + index) == *len);
    let short = chain.len(area + 1) == 7;
    let last = area + if whole { 2 } else { 1 };
    if !whole && !short {
        return local(site);
    }
    if !chain.is_free_behind(last) || !site.ends_well(last) {
        return None;
    }
    let (sep, next) = (chain.group(area).sep, chain.group(area + 1).sep);
    let tied = matches!(sep, b'-' | b'.' | b'/') && (sep == next || next == b'-');
    let spaced = sep == b' ' && matches!(next, b' ' | b'-') || sep == b'~';
    let word = || site.speaks_of(Family::PhoneCued);
    let (area_digit, exchange_digit) = (*site.part(area).first()?, *site.part(area + 1).first()?);
    let fiction = site.part(area) == b"555" || site.part(area + 1) == b"555";
    let planned = (b'2'..=b'9').contains(&area_digit) && ((b'2'..=b'9').contains(&exchange_digit) || fiction);
    let shape = match (bracket, short) {
        (true, _) => matches!(sep, b')' | b' ' | b'-'),
        (false, true) => tied && word(),
        (false, false) => {
            tied || (spaced
                && (fiction
                    || next == b'-'
                    || country
                    || (site.is_alone(first, last) && !is_round(site, area))
                    || word()))
        }
    };
    let area_fits = planned
        || (area_digit >= b'2' && (bracket || sep == b'-' || word()))
        || (bracket || word()) && area_digit != b'0';
    let alike = is_alike(site.part(area)) && is_alike(site.part(area + 1)) && is_alike(site.part(last)) && !fiction;
    (shape && area_fits && !alike).then(|| site.phone(Family::PhoneNational, first, last))
}

/// Whether groups are amounts or sizes rather than parts of a phone number.
fn is_round(site: &Site<'_, '_>, area: usize) -> bool {
    let round = |index: usize| {
        let part = site.part(index);
        part.ends_with(b"00") || part == b"512" || part == b"256" || part == b"1024" || part == b"2048"
    };
    round(area) && round(area + 1)
        || round(area + 2)
        || site.part(area) == site.part(area + 1)
        || site.scan.before(site.start(), 1) == b'['
}

/// `555-0123`, and other local numbers near a word.
fn local(site: &Site<'_, '_>) -> Option<Found> {
    let (chain, first) = (site.chain, site.first);
    let sep = chain.is(first, &[3, 4], b"-. ")?;
    let fiction = site.part(first) == b"555" && sep == b'-';
    (site.ends_well(first + 1) && (fiction || (sep != b' ' && site.speaks_of(Family::PhoneCued))))
        .then(|| site.phone(Family::PhoneNational, first, first + 1))
}

/// Shapes of other plans: a trunk zero with groups that are the whole chain, or groups that only mobile numbers have.
fn national(site: &Site<'_, '_>) -> Option<Found> {
    let (chain, first) = (site.chain, site.first);
    let bracket = site.is_bracketed(first);
    let zero = site.part(first).first() == Some(&b'0');
    let head = chain.len(first);
    let postal = chain.is(first, &[5, 4], b"-").is_some();
    if postal || !(2..=5).contains(&head) || chain.count < first + 2 || !(zero || bracket || mobile(site)) {
        return None;
    }
    let mut last = first;
    let sep = chain.group(first + 1).sep;
    let after = chain.group(first).sep;
    while last + 1 < chain.count && last < first + 5 {
        let joint = chain.group(last).sep;
        let same = match last == first {
            true => matches!(joint, b' ' | b'-' | b')' | b'/' | b'~' | b'.'),
            false => joint == sep || (bracket && matches!(joint, b' ' | b'-' | b'/')),
        };
        if !same || matches!(joint, b':') || chain.digits(first, last + 1) > 12 {
            break;
        }
        last += 1;
    }
    let digits = chain.digits(first, last);
    let zeros = site.part(first).starts_with(b"00");
    let sizes = (first + 1..=last).all(|index| chain.len(index) >= 2);
    let dotted = after == b'.' && last < first + 3 && (first + 1..=last).any(|index| chain.len(index) < 3);
    let alone = site.is_alone(first, last) || site.speaks_of(Family::PhoneCued);
    let fits = match (zero, bracket) {
        (true, _) => (9..=11).contains(&digits) && !zeros && after != b'/' || (bracket && (8..=12).contains(&digits)),
        (false, true) => (9..=12).contains(&digits) && matches!(head, 2 | 3) && sizes,
        (false, false) => true,
    };
    (fits && sizes && !dotted && alone && chain.is_free_behind(last) && site.ends_well(last) && !is_date(site))
        .then(|| site.phone(Family::PhoneNational, first, last))
}

/// Mobile numbers of plans without a trunk zero: India 5-5, China 3-4-4.
fn mobile(site: &Site<'_, '_>) -> bool {
    let (chain, first) = (site.chain, site.first);
    let lead = site.part(first).first().copied().unwrap_or(b'0');
    (lead >= b'6' && chain.is(first, &[5, 5], b" -").is_some() && site.speaks_of(Family::PhoneCued))
        || (site.part(first).starts_with(b"1") && lead == b'1' && chain.is(first, &[3, 4, 4], b" -").is_some())
}

/// Whether groups are a day, month and year, or a social security number.
fn is_date(site: &Site<'_, '_>) -> bool {
    let (chain, first) = (site.chain, site.first);
    let social = chain.len(first) == 3 && chain.len(first + 1) == 2 && chain.len(first + 2) == 4;
    social || (chain.len(first) == 2 && chain.len(first + 1) == 2 && chain.len(first + 2) == 4)
}

/// Finds a number that a word announces: any plausible number of digits.
pub(super) fn cued(site: &Site<'_, '_>, grade: Grade) -> Option<Found> {
    let (chain, first) = (site.chain, site.first);
    if is_alike(site.part(first)) && chain.len(first) > 7 || site.is_denied() {
        return None;
    }
    let (mut best, mut digits) = (None, 0);
    for last in first..chain.count.min(first + 6) {
        digits += chain.len(last);
        if digits > MOST || (last > first && matches!(chain.before(last), b':' | b'~')) {
            break;
        }
        let groups = last - first + 1;
        let least = match (grade, groups) {
            (Grade::Key, _) => 7,
            (Grade::Close, _) => 7,
            (Grade::Near, 1) => 10,
            (Grade::Near, _) => 9,
        };
        let most = if grade == Grade::Near && groups == 1 { 11 } else { 13 };
        if (least..=most).contains(&digits)
            && chain.is_free_behind(last)
            && site.ends_well(last)
            && !is_day(site, groups)
        {
            best = Some(last);
        }
    }
    let last = best.filter(|last| !is_filled(site.scan.part(chain.range(first, *last))))?;
    (grade == Grade::Key || !(is_epoch(site) || is_compact_day(site)))
        .then(|| site.phone(Family::PhoneCued, first, last))
}

/// Whether groups are a date.
fn is_day(site: &Site<'_, '_>, groups: usize) -> bool {
    let (chain, first) = (site.chain, site.first);
    let iso = chain.len(first) == 4 && chain.len(first + 1) == 2 && chain.len(first + 2) <= 2;
    let year = chain.len(first) == 4 && (site.part(first).starts_with(b"19") || site.part(first).starts_with(b"20"));
    let (a, b) = (chain.group(first).sep, chain.group(first + 1).sep);
    let shown = matches!((chain.len(first), chain.len(first + 1), chain.len(first + 2)), (1 | 2, 1 | 2, 4)) && a == b;
    let slashed = shown && a == b'/' && matches!(site.part(first + 2), [b'1', b'9', ..] | [b'2', b'0', ..]);
    groups <= 5 && ((iso && year) || slashed || is_date(site))
}

/// Whether a group is a day such as `20260520`.
fn is_compact_day(site: &Site<'_, '_>) -> bool {
    match site.part(site.first) {
        [b'1', b'9', ..] | [b'2', b'0', ..] if site.chain.len(site.first) == 8 => {
            matches!(
                site.part(site.first),
                [_, _, _, _, b'0', _, b'0'..=b'3', _] | [_, _, _, _, b'1', b'0'..=b'2', b'0'..=b'3', _]
            )
        }
        _ => false,
    }
}

/// Whether ten digits are a current time in seconds since 1970.
fn is_epoch(site: &Site<'_, '_>) -> bool {
    let part = site.part(site.first);
    part.len() == 10 && (part.starts_with(b"16") || part.starts_with(b"17"))
}
