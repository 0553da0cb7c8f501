//! Values that only a word or key next to them identifies: accounts, passports, licences, ids. The words (`context`)
//! and the forms of the values (`values`) are in `pii.yaml`; the farther the word, the fewer forms count. Of
//! whole dates, only those of birth are claimed; others stay in the text.

use std::ops::Range;

use super::super::rule::{CueDistance, RuleFamily};
use super::super::scan::TextScan;
use super::super::sets::ByteSet;
use super::super::validate::dates::{is_day, month_of_name};
use super::number_cues::{NumberCues, country_start};
use super::number_site::{self, NumberFinding, NumberSite};
use super::phone;

/// Most bytes in a value, and most groups of digits.
const MAX_VALUE: usize = 64;
const MAX_GROUPS: usize = 7;

/// Letters, digits and dashes.
static IN_TOKEN: ByteSet = ByteSet::new(b"-").and_alnum();

/// A value that words may announce.
struct AnnouncedValue {
    range: Range<usize>,
    grouped: bool,
}

impl AnnouncedValue {
    fn text<'t>(&self, scan: &TextScan<'t>) -> &'t [u8] {
        scan.bytes(self.range.clone())
    }

    /// The letters, digits and single dashes around a run.
    fn token(scan: &TextScan<'_>, run: &Range<usize>) -> Option<Self> {
        let start = run.start - IN_TOKEN.count_trailing(scan.bytes(run.start.saturating_sub(MAX_VALUE)..run.start));
        let end = run.start + IN_TOKEN.count_leading(scan.bytes(run.start..run.start + MAX_VALUE));
        let text = scan.bytes(start..end);
        let dashes = |bytes: &mut dyn Iterator<Item = &u8>| bytes.take_while(|byte| **byte == b'-').count();
        let (leading, trailing) = (dashes(&mut text.iter()), dashes(&mut text.iter().rev()));
        let start = start + leading;
        let start = start + usize::from(scan.is_escape_letter(start + 1));
        let range = start..end.checked_sub(trailing)?;
        let (after, second_after) = (scan.byte(range.end), scan.byte(range.end + 1));
        let is_attached = after == b'_'
            || b"_\\".contains(&scan.byte_before(start, 1)) && !scan.is_escape_letter(start)
            || b".:@".contains(&after) && (second_after.is_ascii_alphanumeric() || second_after == b'[');
        let has_two_dashes = scan.bytes(range.clone()).windows(2).any(|two| two == b"--");
        (range.len() < MAX_VALUE && !range.is_empty() && !is_attached && !has_two_dashes)
            .then_some(Self { range, grouped: false })
    }

    /// Digits in groups between blanks, dashes, dots or slashes; or single digits, which count as one group.
    fn groups(site: &NumberSite<'_, '_>) -> Option<Self> {
        let (chain, first) = (site.chain, site.first);
        let whole = chain.count.checked_sub(1)?;
        let has_single_digits = first == 0 && whole > 7 && (0..=whole).all(|index| chain.len(index) == 1);
        if has_single_digits && site.is_detached_after(whole) {
            return Some(Self { range: chain.range(0, whole), grouped: true });
        }
        let sep = chain.sep(first);
        let mut last = first;
        // `59 123/4562`
        let continues = |next: u8| next == sep || matches!((sep, next), (b' ' | b'-', b'/'));
        while last + 1 < chain.count && continues(chain.sep(last)) && last + 1 < first + MAX_GROUPS {
            last += 1;
        }
        let lens = (chain.len(first), chain.len(first + 1), chain.len(first + 2));
        let is_date = matches!(lens, (4, 1 | 2, 1 | 2) | (1 | 2, 1 | 2, 4)) && sep == chain.sep(first + 1);
        let is_decimal = sep == b'.' && last < first + 2;
        let has_short_groups = sep == b' ' && chain.digit_count(first, last) < 2 * (last + 1 - first);
        (last > first && !is_date && !is_decimal && !has_short_groups && site.is_separate(last))
            .then(|| Self { range: chain.range(first, last), grouped: true })
    }
}

/// Finds the value at a site that the words around it announce.
pub(super) fn match_announced(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let run = site.chain.range(site.first, site.first);
    let token = AnnouncedValue::token(site.scan, &run).filter(|_| site.is_detached_before());
    let values = [AnnouncedValue::groups(site), token];
    kinds(site.cues()).find_map(|(family, distance)| match family {
        RuleFamily::Birth => birth_date(site.scan, site.start()),
        RuleFamily::PhoneCued => phone::match_announced_phone(site, distance)
            .or_else(|| match_forms(site.scan, &values, (family, distance), site.cues())),
        _ => match_forms(site.scan, &values, (family, distance), site.cues()),
    })
}

fn birth_date(scan: &TextScan<'_>, start: usize) -> Option<NumberFinding> {
    match_date(scan, start).map(|range| NumberFinding { family: RuleFamily::Birth, range })
}

/// Finds the value in a run with letters that the words before it announce.
pub(super) fn match_announced_run(scan: &TextScan<'_>, run: &Range<usize>) -> Option<NumberFinding> {
    let token = AnnouncedValue::token(scan, run)?;
    let mut cues = NumberCues::around(scan, &token.range);
    if cues.is_empty() && !cues.announces_code && token.range.start < run.start {
        // MRN-123456: the word is the first part of the value
        cues = NumberCues::around(scan, &(run.start..token.range.end));
    }
    let values = [None, Some(token)];
    kinds(&cues).find_map(|kind| match kind.0 {
        RuleFamily::Birth => birth_date(scan, run.start),
        _ => match_forms(scan, &values, kind, &cues),
    })
}

/// The kinds that the words announce, best first; a word after the value only announces a one-time code.
fn kinds(cues: &NumberCues) -> impl Iterator<Item = (RuleFamily, CueDistance)> + '_ {
    let code = if cues.announces_code { Some((RuleFamily::OneTimeCode, CueDistance::Close)) } else { None };
    cues.by_distance().chain(code)
}

/// The first value that one of the family's forms fits.
fn match_forms(
    scan: &TextScan<'_>,
    values: &[Option<AnnouncedValue>; 2],
    (family, distance): (RuleFamily, CueDistance),
    cues: &NumberCues,
) -> Option<NumberFinding> {
    let forms = &scan.detector.compiled_rule(scan.rule(family)?)?.values;
    let value = values.iter().flatten().find(|value| {
        forms.iter().any(|form| form.fits(&scan.detector.written_forms, value.text(scan), value.grouped, distance))
    })?;
    let range = value.range.clone();
    if family == RuleFamily::OneTimeCode && is_count_or_line(scan, &range, cues) {
        return None;
    }
    Some(NumberFinding { family, range: country_start(scan, range.start)..range.end })
}

/// Whether a number counts what the next word says, or is a line of a file: `1200 lines`, `auth.rs:1234`.
fn is_count_or_line(scan: &TextScan<'_>, range: &Range<usize>, cues: &NumberCues) -> bool {
    let rest = scan.bytes(range.end..range.end + 16).strip_prefix(b" ").unwrap_or_default();
    let len = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let is_line =
        scan.byte_before(range.start, 1) == b':' && cues.key.clone().is_some_and(|key| scan.bytes(key).contains(&b'.'));
    is_line || number_site::is_thing(rest.get(..len).unwrap_or_default())
}

/// Finds a value that is read from its word on, which ends at `end`: BICs, which have no digits, and plates, which have
/// blanks. Such values are capitals and digits, in up to three parts.
pub(super) fn value_after(scan: &TextScan<'_>, family: RuleFamily, end: usize) -> Option<Range<usize>> {
    let forms = &scan.detector.compiled_rule(scan.rule(family)?)?.values;
    let rest = scan.bytes(end..end + MAX_VALUE);
    // The name of a constant: `BIC_LENGTH`
    if rest.first() == Some(&b'_') && rest.get(1).is_some_and(u8::is_ascii_uppercase) {
        return None;
    }
    let mut at = 0;
    loop {
        at +=
            rest.get(at..)?.iter().take_while(|byte| !byte.is_ascii_alphanumeric() && !b"\n,;".contains(byte)).count();
        let word = rest.get(at..)?;
        let len = word.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        if !word_set!("numbers.value_linking_words").contains(word.get(..len).filter(|name| !name.is_empty())?) {
            break;
        }
        at += len;
    }
    let part_len = |from: usize| {
        let len =
            rest.get(from..)?.iter().take_while(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()).count();
        let next = scan.byte(end + from + len);
        (len > 0 && !next.is_ascii_alphanumeric() && next != b'_').then_some(len)
    };
    let first = at + part_len(at)?;
    let next = |last: usize| b" -".contains(&scan.byte(end + last)).then(|| Some(last + 1 + part_len(last + 1)?))?;
    let second = next(first);
    let ends = [Some(first), second, second.and_then(next)];
    let fits = |last: &&usize| {
        let value = AnnouncedValue { range: end + at..end + **last, grouped: true };
        forms.iter().any(|form| form.fits(&scan.detector.written_forms, value.text(scan), true, CueDistance::Close))
    };
    ends.iter().flatten().rev().find(fits).map(|last| end + at..end + last)
}

/// Bytes of a date before and after its first digit.
const DATE_REACH: (usize, usize) = (14, 40);

/// Finds the date whose first digit is at `start`: `1991-06-15`, `15.6.1991`, `6/15/91`, `19910615`, `15th June 1991`,
/// `June 15, 1991`, `1991年6月15日`.
fn match_date(scan: &TextScan<'_>, start: usize) -> Option<Range<usize>> {
    let month_start = month_before(scan, start);
    month_start.into_iter().chain([start]).find_map(|at| Some(at..at + date_len(scan.text_after(at, DATE_REACH.1))?))
}

/// Length of the valid date at the start of a text.
fn date_len(text: &str) -> Option<usize> {
    let form = code_pattern!(concat!(
        r"([0-9]{8}|[0-9]{4}[ ,./年月-]{1,4}[0-9]{1,2}[ ,./年月-]{1,4}[0-9]{1,2}日?",
        r"|[0-9]{1,2}[ ,./-]{1,4}[0-9]{1,2}[ ,./-]{1,4}(?:[0-9]{4}|[0-9]{2})",
        r"|[0-9]{1,2}(?:st|nd|rd|th|er|º)?[ ,./-]{0,4}(?:(?:of|de|del) )?[A-Za-zÀ-ԯ]{3,12}[ ,./-]{0,4}",
        r"(?:(?:of|de|del) )?(?:[0-9]{4}|[0-9]{2})",
        r"|[A-Za-zÀ-ԯ]{3,12}[ ./-]{0,2}[0-9]{1,2}(?:st|nd|rd|th)?[ ,./-]{1,4}(?:[0-9]{4}|[0-9]{2}))(?:[^0-9]|$)"
    ));
    let len = form.match_len(text)?;
    let text = text.get(..len)?;
    let month = text.split(|c: char| !c.is_alphabetic()).find_map(month_of_name);
    let digits = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let numbers: Vec<(u32, usize)> = digits.map(|digits| (digits.parse().unwrap_or(0), digits.len())).collect();
    let is_valid = match (numbers.as_slice(), month) {
        ([(all, 8)], None) => {
            let [(year, rest), (first, last)] = [(all / 10_000, all % 10_000), (all % 10_000, all / 10_000)];
            let is_valid = |year: u32, a: u32, b: u32| is_day(year, a, b) || is_day(year, b, a);
            is_day(year, rest / 100, rest % 100) || is_valid(first, last / 100, last % 100)
        }
        ([(day, _), year], Some(month)) => is_day(full_year(*year), month, *day),
        ([(year, 4), (month, _), (day, _)], None) => is_day(*year, *month, *day),
        ([(a, _), (b, _), year], None) => is_day(full_year(*year), *a, *b) || is_day(full_year(*year), *b, *a),
        _ => false,
    };
    is_valid.then_some(len)
}

/// A year by its value and its number of digits: of two digits, 30 to 99 are 19xx, 0 to 29 are 20xx.
fn full_year((value, digits): (u32, usize)) -> u32 {
    match digits {
        2 => value + if value > 29 { 1900 } else { 2000 },
        _ => value,
    }
}

/// Start of the month's name that ends right before `start`.
fn month_before(scan: &TextScan<'_>, start: usize) -> Option<usize> {
    let head = scan.text_before(start, DATE_REACH.0);
    let text = head.trim_end_matches([' ', '.', '-', '/']);
    let word = text.rsplit(|c: char| !c.is_alphabetic()).next()?;
    let gap = head.len() - text.len();
    month_of_name(word).filter(|_| gap < 3).map(|_| start - gap - word.len())
}
