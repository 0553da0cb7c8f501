//! Dates of birth: any valid date after its word or key; other dates stay in the text. The words are in `pii.yaml`.

use std::ops::Range;

use super::super::scan::TextScan;
use super::super::validate::dates::{is_day, month_of_name};

/// Bytes of a date before and after its first digit.
const REACH: (usize, usize) = (14, 40);

/// Finds the date whose first digit is at `start`: `1991-06-15`, `15.6.1991`, `6/15/91`, `19910615`, `15th June 1991`,
/// `June 15, 1991`, `1991年6月15日`.
pub(super) fn match_date(scan: &TextScan<'_>, start: usize) -> Option<Range<usize>> {
    let month_start = month_before(scan, start);
    month_start.into_iter().chain([start]).find_map(|at| Some(at..at + date_len(scan.text_after(at, REACH.1))?))
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
    let head = scan.text_before(start, REACH.0);
    let text = head.trim_end_matches([' ', '.', '-', '/']);
    let word = text.rsplit(|c: char| !c.is_alphabetic()).next()?;
    let gap = head.len() - text.len();
    month_of_name(word).filter(|_| gap < 3).map(|_| start - gap - word.len())
}
