//! Reads positional records: the name in a vCard (`N:Doe;Jane;;;`) and the person in an HL7 segment (`PID|…`, `NK1|…`).
//! Of a segment at most [`MAX_LINE`] bytes are read, of a card the lines up to its name. Other vCard lines (`FN:`,
//! `TEL:`) are found as keys, by `keys`; other segments are not read.

use std::ops::Range;

use crate::keys::claim::{KeyedValue, claim_value};
use crate::keys::json_tree::ValueForm;
use crate::keys::table::SiblingEvidence;
use crate::scan::{PrivateClaims, TextScan};
use crate::stems::StemMatch;

/// Maximum number of bytes read of a line.
const MAX_LINE: usize = 1024;
/// Maximum number of lines read of a card, the name's included.
const MAX_LINES_BEFORE_NAME: usize = 12;

/// Marks the personal data of the record at `word` as private under `rule`, a rule's index.
pub(super) fn claim_record(scan: &TextScan<'_>, word: &StemMatch, rule: u16, claims: &mut PrivateClaims) {
    match scan.bytes(word.start..word.end) {
        [b'V' | b'v', ..] => claim_vcard(scan, word, rule, claims),
        name if scan.byte(word.end) == b'|'
            && (matches!(scan.byte_before(word.start, 1), b'\n' | b'\r') || scan.is_escape_letter(word.start)) =>
        {
            let fields = if name == b"PID" { PID_FIELDS } else { NK1_FIELDS };
            claim_hl7_segment(scan, word.start, fields, rule, claims);
        }
        _ => {}
    }
}

/// Claims the parts of `N:` below `BEGIN:VCARD`.
fn claim_vcard(scan: &TextScan<'_>, word: &StemMatch, rule: u16, claims: &mut PrivateClaims) {
    if scan.bytes(word.start.saturating_sub(6)..word.start) != b"BEGIN:" || line_break_len(scan, word.end) == 0 {
        return;
    }
    let mut at = word.end;
    for _ in 0..MAX_LINES_BEFORE_NAME {
        at += line_break_len(scan, at);
        let line = line_range(scan, at);
        let text = scan.part(line.clone());
        if let Some(names) =
            text.strip_prefix("N:").or_else(|| text.strip_prefix("N;")?.split_once(':').map(|two| two.1))
        {
            let from = line.end - names.len();
            // The further parts are titles
            split_ranges(names, from, ';').take(3).filter(|part| is_name(scan.part(part.clone()))).for_each(|part| {
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
enum SegmentField {
    /// Family and given names, separated by `^`.
    Name,
    /// The value of this key, up to `^`.
    Key(&'static [u8]),
}

/// Fields of a patient (`PID`) and of their next of kin (`NK1`), by number.
const PID_FIELDS: &[(usize, SegmentField)] = &[
    (2, SegmentField::Key(b"mrn")),
    (3, SegmentField::Key(b"mrn")),
    (5, SegmentField::Name),
    (6, SegmentField::Name),
    (7, SegmentField::Key(b"date_of_birth")),
    (11, SegmentField::Key(b"street_address")),
    (13, SegmentField::Key(b"phone")),
    (14, SegmentField::Key(b"phone")),
    (19, SegmentField::Key(b"ssn")),
    (20, SegmentField::Key(b"driver_license")),
];
const NK1_FIELDS: &[(usize, SegmentField)] =
    &[(2, SegmentField::Name), (4, SegmentField::Key(b"street_address")), (5, SegmentField::Key(b"phone"))];

/// Claims the fields of the segment at `at`. A line without `^` in its name is a row of some table instead.
fn claim_hl7_segment(
    scan: &TextScan<'_>,
    at: usize,
    fields: &[(usize, SegmentField)],
    rule: u16,
    claims: &mut PrivateClaims,
) {
    let line = line_range(scan, at);
    let text = scan.part(line.clone());
    let name_index =
        fields.iter().find(|(_, field)| matches!(field, SegmentField::Name)).map_or(0, |(index, _)| *index);
    if !text.split('|').nth(name_index).is_some_and(|name| name.contains('^')) {
        return;
    }
    for (index, range) in split_ranges(text, line.start, '|').enumerate() {
        let Some((_, field)) = fields.iter().find(|(known, _)| *known == index) else { continue };
        let field_text = scan.part(range.clone());
        match field {
            SegmentField::Name => {
                let len = field_text.split('^').take(3).map(|part| part.len() + 1).sum::<usize>().saturating_sub(1);
                let name = field_text.get(..len).unwrap_or_default().trim_end_matches('^');
                if is_name(name) {
                    claims.add(scan, rule, range.start..range.start + name.len());
                }
            }
            SegmentField::Key(key) => {
                let len = field_text.find(['^', '~', '&']).unwrap_or(field_text.len());
                let (key_match, _) = scan.detector.keys.find(key);
                let range = range.start..range.start + len;
                let value = KeyedValue { key_match, evidence: SiblingEvidence::all(), range, kind: ValueForm::Text };
                claim_value(scan, &value, claims);
            }
        }
    }
}

/// Length of the line break at `at`: one or two characters, raw or escaped as in JSON.
fn line_break_len(scan: &TextScan<'_>, at: usize) -> usize {
    match scan.bytes(at..at + 4) {
        [b'\\', b'r', b'\\', b'n'] => 4,
        [b'\\', b'r' | b'n', ..] | [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    }
}

/// The line at `at`.
fn line_range(scan: &TextScan<'_>, at: usize) -> Range<usize> {
    let end = scan.text.floor_char_boundary(scan.text.len().min(at + MAX_LINE));
    let rest = scan.bytes(at..end);
    let mut line_breaks = memchr::memchr3_iter(b'\n', b'\r', b'\\', rest);
    at..at + line_breaks.find(|found| line_break_len(scan, at + found) > 0).unwrap_or(rest.len())
}

/// Ranges of the parts of a text that begins at `from`.
fn split_ranges(text: &str, from: usize, separator: char) -> impl Iterator<Item = Range<usize>> {
    let mut at = from;
    text.split(separator).map(move |part| {
        let range = at..at + part.len();
        at = range.end + separator.len_utf8();
        range
    })
}

/// Whether a text has at least two letters and no digit.
fn is_name(text: &str) -> bool {
    text.chars().filter(|c| c.is_alphabetic()).count() > 1 && !text.bytes().any(|byte| byte.is_ascii_digit())
}
