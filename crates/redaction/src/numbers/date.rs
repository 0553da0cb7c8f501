//! Dates of birth: any valid date after its word or key; other dates stay in the text. The words are in `pii.yaml`.

use std::ops::Range;

use super::super::rule::RuleFamily;
use super::super::scan::TextScan;
use super::super::validate::dates::{is_day, month_of_name};
use super::number_site::{NumberFinding, NumberSite};

/// Finds a date at a site that a word announces.
pub(super) fn match_birth_date(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let range = numeric_date(site)
        .or_else(|| eastern_date(site))
        .or_else(|| spelt_date(site.scan, site.start(), site.chain.group(site.first).len))?;
    Some(NumberFinding { family: RuleFamily::Birth, range })
}

fn digits_value(digits: &[u8]) -> u32 {
    digits.iter().take(9).fold(0, |value, digit| value * 10 + u32::from(digit - b'0'))
}

/// Completes a two-digit year: 30 to 99 are 19xx, 0 to 29 are 20xx.
fn full_year(year: u32) -> u32 {
    if year > 29 { 1900 + year } else { 2000 + year }
}

/// `1991-06-15`, `15.6.1991`, `06/15/1991`, `6/15/91`, `19910615`, optionally with a time.
pub(super) fn numeric_date(site: &NumberSite<'_, '_>) -> Option<Range<usize>> {
    let (chain, first) = (site.chain, site.first);
    let (a, b, c) = (site.group_digits(first), site.group_digits(first + 1), site.group_digits(first + 2));
    if a.len() == 8 && chain.is_free_after(first) {
        let is_date = |year: usize, month: usize, day: usize| {
            let part = |from: usize, len: usize| digits_value(a.get(from..from + len).unwrap_or_default());
            is_day(part(year, 4), part(month, 2), part(day, 2))
        };
        return (is_date(0, 4, 6) || is_date(4, 2, 0) || is_date(4, 0, 2)).then(|| chain.range(first, first));
    }
    let (sep, next) = (chain.group(first).sep, chain.group(first + 1).sep);
    if sep != next || !matches!(sep, b'-' | b'/' | b'.' | b' ' | b'~') || b.len() > 2 {
        return None;
    }
    let is_real = match (a.len(), c.len()) {
        (4, 1 | 2) => is_day(digits_value(a), digits_value(b), digits_value(c)),
        (1 | 2, 4) => {
            is_day(digits_value(c), digits_value(b), digits_value(a))
                || is_day(digits_value(c), digits_value(a), digits_value(b))
        }
        (1 | 2, 2) => [(b, a, c), (a, b, c)]
            .iter()
            .any(|(month, day, year)| is_day(full_year(digits_value(year)), digits_value(month), digits_value(day))),
        _ => false,
    };
    if !is_real {
        return None;
    }
    let range = chain.range(first, first + 2);
    Some(range.start..time_end(site.scan, range.end))
}

/// `1987年4月12日`.
fn eastern_date(site: &NumberSite<'_, '_>) -> Option<Range<usize>> {
    let start = site.start();
    let number = |at: usize, mark: &str| {
        let digits = site.scan.bytes(at..at + 5).iter().take_while(|byte| byte.is_ascii_digit()).count();
        let end = at + digits;
        let has_mark = site.scan.bytes(end..end + mark.len()) == mark.as_bytes();
        (digits > 0 && has_mark).then(|| (digits_value(site.scan.bytes(at..end)), end + mark.len()))
    };
    let (year, year_end) = number(start, "年")?;
    let (month, month_end) = number(year_end, "月")?;
    let (day, end) = number(month_end, "日")?;
    is_day(year, month, day).then_some(start..end)
}

/// End of a time (with its zone) attached to a date by `T`; otherwise `end`.
fn time_end(scan: &TextScan<'_>, end: usize) -> usize {
    if !b"tT".contains(&scan.byte(end)) || !scan.byte(end + 1).is_ascii_digit() {
        return end;
    }
    let rest = scan.bytes(end + 1..end + 32);
    end + 1 + rest.iter().take_while(|byte| byte.is_ascii_digit() || b":.+-Zz".contains(byte)).count()
}

/// `15th June 1991`, `15-Jun-1991`, `June 15, 1991`, `Jun 15th 1991`; `start` is at the day.
fn spelt_date(scan: &TextScan<'_>, start: usize, digits: usize) -> Option<Range<usize>> {
    if !matches!(digits, 1 | 2) {
        return None;
    }
    let day = digits_value(scan.bytes(start..start + digits));
    let mut at = start + digits;
    for suffix in ["st", "nd", "rd", "th", "er", "º", "."] {
        if scan.bytes(at..at + suffix.len()).eq_ignore_ascii_case(suffix.as_bytes()) {
            at += suffix.len();
            break;
        }
    }
    let next = skip_blanks(scan, at);
    // The month comes before the day
    let year_after = read_year(scan, next).filter(|_| next > at);
    if let (Some((year, end)), Some((month, from))) = (year_after, month_before(scan, start)) {
        return is_day(year, month, day).then_some(from..end);
    }
    let from = if scan.bytes(next..next + 3).eq_ignore_ascii_case(b"of ") { next + 3 } else { next };
    let from = if scan.bytes(from..from + 3).eq_ignore_ascii_case(b"de ") { from + 3 } else { from };
    let word = word_at(scan, from);
    let month = month_of_name(word)?;
    let after = from + word.len() + usize::from(scan.byte(from + word.len()) == b'.');
    let after = skip_blanks(scan, after);
    let after = if scan.bytes(after..after + 3).eq_ignore_ascii_case(b"de ") { after + 3 } else { after };
    let (year, end) = read_year(scan, after)?;
    is_day(year, month, day).then_some(start..end)
}

fn skip_blanks(scan: &TextScan<'_>, at: usize) -> usize {
    at + scan.bytes(at..at + 3).iter().take_while(|byte| b" ,-/".contains(byte)).count()
}

fn word_at<'t>(scan: &TextScan<'t>, at: usize) -> &'t str {
    let rest = scan.text.get(at..).unwrap_or("");
    let len =
        rest.char_indices().take(12).find(|(_, c)| !c.is_alphabetic()).map_or(rest.len().min(12), |(index, _)| index);
    rest.get(..len).unwrap_or("")
}

/// The month that ends before `start`, and where it begins.
fn month_before(scan: &TextScan<'_>, start: usize) -> Option<(u32, usize)> {
    let text = scan.text.get(..start)?.trim_end_matches([' ', '.', '-', '/']);
    if start - text.len() > 2 {
        return None;
    }
    let len: usize = text.chars().rev().take(12).take_while(|c| c.is_alphabetic()).map(char::len_utf8).sum();
    let from = text.len() - len;
    month_of_name(text.get(from..)?).map(|month| (month, from))
}

/// A year of four or two digits at `at`, and its end.
fn read_year(scan: &TextScan<'_>, at: usize) -> Option<(u32, usize)> {
    let digits = scan.bytes(at..at + 5).iter().take_while(|byte| byte.is_ascii_digit()).count();
    match digits {
        4 => Some((digits_value(scan.bytes(at..at + 4)), at + 4)),
        2 => Some((full_year(digits_value(scan.bytes(at..at + 2))), at + 2)),
        _ => None,
    }
}
