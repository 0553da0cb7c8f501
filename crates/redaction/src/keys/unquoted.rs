//! The part of a line that is the value of a key without quotes: `Name: Ann, Email: x`, `dob: 4 May 1990 MRN 7`.
//! At most [`MAX_LINE`] bytes are read.

use std::ops::Range;

use super::private_values::{LONGEST, count_digits, private_part};
use crate::pairs::{KeyValuePair, PairSeparator, line_range};
use crate::rule::KeyValueForm;
use crate::scan::TextScan;
use crate::sets::ByteSet;
use crate::validate::dates;

/// Most bytes after a value to the end of a call that it begins.
const MAX_CALL_END: usize = 32;
/// Most words of a line in which the digits of a value are searched.
const MAX_WORDS: usize = 16;
/// Most bytes of a line that are read for one value; more than the longest value.
const MAX_LINE: usize = LONGEST + 20;

/// Where something else begins after the last value, so that a line of many keys is read once.
#[derive(Default)]
pub(super) struct PartEnd {
    /// The bytes that were read, up to what begins there.
    read: Range<usize>,
    /// Whether something begins at their end.
    is_found: bool,
}

impl PartEnd {
    /// Position at which something else begins on a line that is read from `line.start` on; its end if nothing does.
    fn of_line(&mut self, text: &[u8], line: Range<usize>) -> usize {
        static BEGINS: ByteSet = ByteSet::new(b" ;.<\t*").complement();
        if !(self.read.start..=self.read.end).contains(&line.start) {
            *self = Self { read: line.start..line.start, is_found: false };
        }
        let line_text = text.get(..line.end).unwrap_or(text);
        // What begins in the last two bytes read was not whole
        let mut at = self.read.end.saturating_sub(2).max(line.start);
        while !self.is_found && self.read.end < line.end {
            let rest = line_text.get(at..).unwrap_or_default();
            at += BEGINS.count_leading(rest);
            self.is_found = at < line.end && begins_other(line_text.get(at..).unwrap_or_default());
            self.read.end = at.min(line.end);
            at += 1;
        }
        self.read.end.min(line.end)
    }
}

/// The range of an unquoted value. After `=` it is one identifier in code, and may be several words in forms and logs;
/// after a colon it is the rest of the line up to where something else begins.
pub(super) fn value_range(scan: &TextScan<'_>, pair: &KeyValuePair, part_end: &mut PartEnd) -> Option<Range<usize>> {
    let start = pair.value.start;
    let read_end = scan.text.floor_char_boundary(scan.text.len().min(start + MAX_LINE));
    let range = line_range(scan.bytes(0..read_end), start);
    let line = scan.part(range.clone());
    if pair.sep == PairSeparator::Equals {
        // `first_name=John last_name=Smith`: ends before the next key
        return Some(if line.contains(['=', '(', ';', '{', '&', ',']) { include_call(scan, pair) } else { range });
    }
    let line = scan.part(start..part_end.of_line(scan.text.as_bytes(), range));
    // `Name: Ann, Email: x` continues with the next label
    let is_label = |word: &str| word.ends_with(':') || word.contains('=');
    let comma = memchr::memmem::find(line.as_bytes(), b", ")
        .filter(|comma| line.get(comma + 2..).is_some_and(|rest| rest.split([' ', ',']).take(3).any(is_label)));
    let line = if scan.byte_before(start, 1) == b':' { first_field(line) } else { line };
    let text = comma.and_then(|comma| line.get(..comma)).unwrap_or(line).trim_end_matches([' ', ',', '.', ';', '*']);
    (!text.is_empty()).then(|| start..start + text.len())
}

/// An unquoted value; a call such as `datetime.date(1990, 3, 4)` is included whole.
pub(super) fn include_call(scan: &TextScan<'_>, pair: &KeyValuePair) -> Range<usize> {
    let value = pair.value.clone();
    let bracket = memchr::memchr(b'(', scan.bytes(value.clone()));
    let rest = scan.bytes(value.end..value.end + MAX_CALL_END);
    let more_len = rest.iter().take_while(|byte| byte.is_ascii_digit() || b", ".contains(byte)).count();
    match bracket.is_some() && rest.get(more_len) == Some(&b')') {
        true => value.start..value.end + more_len + 1,
        false => value,
    }
}

/// The value right after `Key:` if further fields follow, as Go prints records (`Philippa LastName:McAllister}`).
fn first_field(line: &str) -> &str {
    let begins_field = |at: usize| {
        let name_len = line.get(at + 1..).unwrap_or_default().bytes().take_while(u8::is_ascii_alphanumeric).count();
        let after = line.as_bytes().get(at + 1 + name_len..at + 3 + name_len);
        // `12 Main Street Apt:4B`
        let is_unit_label =
            || line.get(at + 1..at + 1 + name_len).is_some_and(|label| word_set!("addresses.units").contains(label));
        name_len > 1 && !is_unit_label() && after.is_some_and(|after| after.starts_with(b":") && after != b": ")
    };
    let blank = line.match_indices(' ').take(8).map(|(at, _)| at).find(|at| begins_field(*at));
    let end = blank.or_else(|| line.find('}')).unwrap_or(line.len());
    line.get(..end).unwrap_or(line)
}

/// Whether something other than the value begins with `rest`.
fn begins_other(rest: &[u8]) -> bool {
    matches!(
        rest,
        [b' ', b' ' | b'(', ..]
            | [b' ', b'|' | b'-', b' ', ..]
            | [b';' | b'.', b' ', ..]
            | [b'<', b'/', ..]
            | [b'<', b'b', b'r', ..]
            | [b'\t', ..]
            | [b'*', b'*', ..]
    )
}

/// The part of a line that is its first key's value; the whole line if that part would not be accepted.
pub(super) fn own_part(scan: &TextScan<'_>, line: Range<usize>, form: KeyValueForm) -> Range<usize> {
    let own_range = line.start..line.start + own_part_len(scan.part(line.clone()), form);
    let is_value = own_range == line || private_part(scan.text, own_range.clone(), form, false).is_some();
    if is_value { own_range } else { line }
}

/// Length of the part of a line that belongs to its first key: `04/12/1987, MRN 00482913` continues with something else
/// at a comma, after a whole date, or at a word without digits that continues no date, extension or code.
fn own_part_len(line: &str, form: KeyValueForm) -> usize {
    use KeyValueForm::{Amount, Card, Code, Date, Digits, Phone};
    if !matches!(form, Amount | Card | Code | Date | Digits | Phone) {
        return line.len();
    }
    let (mut digits, mut start, mut end) = (0, 0, 0);
    for word in line.split(' ').take(MAX_WORDS) {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let word_digits = count_digits(word);
        let is_code_word = |word: &str| word.len() <= 3 && word.bytes().all(|byte| byte.is_ascii_uppercase());
        let continues = match form {
            // No list has the months of every language
            Date => digits <= 3 || dates::month_of_name(bare).is_some() || matches!(bare, "" | "of" | "de" | "del"),
            Phone => matches!(bare, "" | "ext" | "x" | "extension"),
            _ => is_code_word(bare) && !word.ends_with(':'),
        };
        if digits > 0 && word_digits == 0 && !continues {
            break;
        }
        digits += word_digits;
        end = if word_digits > 0 || form != Date && !bare.is_empty() { start + word.len() } else { end };
        start += word.len() + 1;
        if form == Date && digits > 5 || form != Date && digits > 0 && word.ends_with([',', ';']) {
            break;
        }
    }
    if digits == 0 {
        return line.len();
    }
    let own = line.get(..end).unwrap_or(line).trim_end_matches([',', ';', ' ', '.']);
    // `(DOB: 1980-01-02)`: the bracket was opened before
    own.strip_suffix(')').filter(|inner| !inner.contains('(')).unwrap_or(own).len()
}
