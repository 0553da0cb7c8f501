//! Dates of birth: any valid date after its word or key; other dates stay in the text. The words are in `pii.yaml`.

use std::ops::Range;

use super::super::scan::TextScan;
use super::super::validate::dates::{is_day, month_of_name};

/// Bytes of a date before and after its first digit.
const REACH: (usize, usize) = (14, 40);

/// A number in a date.
#[derive(Clone, Copy)]
struct DatePart {
    value: u32,
    digits: usize,
    end: usize,
}

impl DatePart {
    /// Its value as a year: of two digits, 30 to 99 are 19xx, 0 to 29 are 20xx.
    fn year(self) -> u32 {
        match self.value {
            value if self.digits > 2 => value,
            value => value + if value > 29 { 1900 } else { 2000 },
        }
    }
}

/// Finds the date whose first digit is at `start`: `1991-06-15`, `15.6.1991`, `6/15/91`, `19910615`, `15th June 1991`,
/// `June 15, 1991`, `1991年6月15日`.
pub(super) fn match_date(scan: &TextScan<'_>, start: usize) -> Option<Range<usize>> {
    let (numbers, month) = read_parts(scan.text_after(start, REACH.1));
    let to_end = |part: &DatePart| start..start + part.end;
    let eight = |part: &DatePart| {
        let split = |year: u32, rest: u32| (year, rest / 100, rest % 100);
        let (first, last) =
            (split(part.value / 10_000, part.value % 10_000), split(part.value % 10_000, part.value / 10_000));
        is_day(first.0, first.1, first.2) || is_day(last.0, last.1, last.2) || is_day(last.0, last.2, last.1)
    };
    match (numbers.as_slice(), month, month_before(scan, start)) {
        ([part, ..], ..) if part.digits == 8 => eight(part).then(|| to_end(part)),
        ([day, year, ..], _, Some((month, from))) if day.digits < 3 && matches!(year.digits, 2 | 4) => {
            is_day(year.year(), month, day.value).then(|| from..start + year.end)
        }
        ([day, year, ..], Some(month), _) if day.digits < 3 && matches!(year.digits, 2 | 4) => {
            is_day(year.year(), month, day.value).then(|| to_end(year))
        }
        ([year, month, day], None, _) if year.digits == 4 && month.digits < 3 && day.digits < 3 => {
            is_day(year.value, month.value, day.value).then(|| to_end(day))
        }
        ([a, b, year], None, _) if a.digits < 3 && b.digits < 3 && matches!(year.digits, 2 | 4) => {
            let is_valid = is_day(year.year(), a.value, b.value) || is_day(year.year(), b.value, a.value);
            is_valid.then(|| to_end(year))
        }
        _ => None,
    }
}

/// The first three numbers of a text and the month that it names, up to anything that does not belong to a date.
fn read_parts(text: &str) -> (Vec<DatePart>, Option<u32>) {
    let (mut numbers, mut month, mut at) = (Vec::new(), None, 0);
    while let Some(first) = text.get(at..).and_then(|rest| rest.chars().next()).filter(|_| numbers.len() < 3) {
        let len_of = |belongs: fn(char) -> bool| {
            let rest = text.get(at..).unwrap_or_default();
            rest.find(|c| !belongs(c)).unwrap_or(rest.len())
        };
        if first.is_ascii_digit() {
            let digits = len_of(|c| c.is_ascii_digit());
            let value = text.get(at..at + digits).and_then(|digits| digits.parse().ok()).unwrap_or(0);
            // `日` ends a date
            let mark =
                if text.get(at + digits..).is_some_and(|rest| rest.starts_with('日')) { '日'.len_utf8() } else { 0 };
            numbers.push(DatePart { value, digits, end: at + digits + mark });
            at += digits;
        } else if first.is_alphabetic() && !matches!(first, '年' | '月') {
            let word = text.get(at..at + len_of(char::is_alphabetic)).unwrap_or_default();
            let named = month_of_name(word);
            if numbers.is_empty()
                || named.is_none() && !["st", "nd", "rd", "th", "er", "of", "de", "del"].contains(&word)
            {
                break;
            }
            month = month.or(named);
            at += word.len();
        } else {
            let gap = len_of(|c| " ,./-年月º".contains(c));
            if gap == 0 || gap > 4 {
                break;
            }
            at += gap;
        }
    }
    (numbers, month)
}

/// The month that ends right before `start`, and where it begins.
fn month_before(scan: &TextScan<'_>, start: usize) -> Option<(u32, usize)> {
    let text = scan.text_before(start, REACH.0).trim_end_matches([' ', '.', '-', '/']);
    let word = text.rsplit(|c: char| !c.is_alphabetic()).next()?;
    let end = scan.text_before(start, REACH.0).len() - text.len();
    month_of_name(word).filter(|_| end < 3).map(|month| (month, start - end - word.len()))
}
