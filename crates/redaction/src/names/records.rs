//! Reads positional records: the name in a vCard (`N:Doe;Jane;;;`) and the person in an HL7 segment (`PID|…`, `NK1|…`).
//! A line is read from its own word, at most [`LINE`] bytes of it; a card up to the next card. Other vCard lines
//! (`FN:`, `TEL:`) are keys; other segments are not read.

use std::ops::Range;

use crate::keys::claim::{Value, claim_value};
use crate::keys::json::Kind;
use crate::keys::table::Evidence;
use crate::scan::{Claims, Scan};
use crate::stems::WordAt;

/// Most bytes of a line.
const LINE: usize = 1024;
/// Most lines of a card before its name.
const LINES: usize = 12;

/// Claims the personal data of the record at `word`.
pub(super) fn claim(scan: &Scan<'_>, word: &WordAt, rule: u16, claims: &mut Claims) {
    match scan.bytes(word.at..word.end) {
        [b'V' | b'v', ..] => card(scan, word, rule, claims),
        name if scan.byte(word.end) == b'|'
            && (matches!(scan.before(word.at, 1), b'\n' | b'\r') || scan.escaped(word.at)) =>
        {
            let fields = if name == b"PID" { PID } else { NK1 };
            segment(scan, word.at, fields, rule, claims);
        }
        _ => {}
    }
}

/// Claims the parts of `N:` below `BEGIN:VCARD`.
fn card(scan: &Scan<'_>, word: &WordAt, rule: u16, claims: &mut Claims) {
    if scan.bytes(word.at.saturating_sub(6)..word.at) != b"BEGIN:" || breaks(scan, word.end) == 0 {
        return;
    }
    let mut at = word.end;
    for _ in 0..LINES {
        at += breaks(scan, at);
        let line = line(scan, at);
        let text = scan.part(line.clone());
        if let Some(names) =
            text.strip_prefix("N:").or_else(|| text.strip_prefix("N;")?.split_once(':').map(|two| two.1))
        {
            let from = line.end - names.len();
            // The further parts are titles
            parts(names, from, ';').take(3).filter(|part| is_name(scan.part(part.clone()))).for_each(|part| {
                claims.add(scan, rule, part);
            });
            return;
        }
        if text.is_empty() || text.starts_with("BEGIN:") || text.starts_with("END:") {
            return;
        }
        at = line.end;
    }
}

/// Content of a segment's field.
#[derive(Clone, Copy)]
enum Field {
    /// Family and given names, separated by `^`.
    Name,
    /// The value of this key, up to `^`.
    Key(&'static [u8]),
}

/// Fields of a patient and of their next of kin, by number.
const PID: &[(usize, Field)] = &[
    (2, Field::Key(b"mrn")),
    (3, Field::Key(b"mrn")),
    (5, Field::Name),
    (6, Field::Name),
    (7, Field::Key(b"date_of_birth")),
    (11, Field::Key(b"street_address")),
    (13, Field::Key(b"phone")),
    (14, Field::Key(b"phone")),
    (19, Field::Key(b"ssn")),
    (20, Field::Key(b"driver_license")),
];
const NK1: &[(usize, Field)] = &[(2, Field::Name), (4, Field::Key(b"street_address")), (5, Field::Key(b"phone"))];

/// Claims the fields of the segment at `at`. A line without `^` in its name is a row of some table instead.
fn segment(scan: &Scan<'_>, at: usize, fields: &[(usize, Field)], rule: u16, claims: &mut Claims) {
    let line = line(scan, at);
    let text = scan.part(line.clone());
    let named = fields.iter().find(|(_, field)| matches!(field, Field::Name)).map_or(0, |(index, _)| *index);
    if !text.split('|').nth(named).is_some_and(|name| name.contains('^')) {
        return;
    }
    let mut named = Vec::new();
    for (index, range) in parts(text, line.start, '|').enumerate() {
        let Some((_, field)) = fields.iter().find(|(known, _)| *known == index) else { continue };
        let field_text = scan.part(range.clone());
        match field {
            Field::Name => {
                let own = field_text.split('^').take(3).map(|part| part.len() + 1).sum::<usize>().saturating_sub(1);
                let own = field_text.get(..own).unwrap_or_default().trim_end_matches('^');
                if is_name(own) {
                    claims.add(scan, rule, range.start..range.start + own.len());
                }
            }
            Field::Key(key) => {
                let own = field_text.find(['^', '~', '&']).unwrap_or(field_text.len());
                let table = &scan.detector.keys;
                let found = table.find(key).0;
                let range = range.start..range.start + own;
                let value = Value { found, beside: Evidence::all(), range, kind: Kind::Text };
                claim_value(scan, table, &value, &mut named, claims);
            }
        }
    }
}

/// Length of the line break at `at`: one or two characters, raw or escaped as in JSON.
fn breaks(scan: &Scan<'_>, at: usize) -> usize {
    match scan.bytes(at..at + 4) {
        [b'\\', b'r', b'\\', b'n'] => 4,
        [b'\\', b'r' | b'n', ..] | [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    }
}

/// The line at `at`.
fn line(scan: &Scan<'_>, at: usize) -> Range<usize> {
    let end = scan.text.floor_char_boundary(scan.text.len().min(at + LINE));
    let rest = scan.bytes(at..end);
    let mut ends = memchr::memchr3_iter(b'\n', b'\r', b'\\', rest);
    at..at + ends.find(|found| breaks(scan, at + found) > 0).unwrap_or(rest.len())
}

/// Ranges of the parts of a text that begins at `from`.
fn parts(text: &str, from: usize, mark: char) -> impl Iterator<Item = Range<usize>> {
    let mut at = from;
    text.split(mark).map(move |part| {
        let range = at..at + part.len();
        at = range.end + mark.len_utf8();
        range
    })
}

/// Whether a text has at least two letters and no digit.
fn is_name(text: &str) -> bool {
    text.chars().filter(|c| c.is_alphabetic()).count() > 1 && !text.bytes().any(|byte| byte.is_ascii_digit())
}
