//! Turns the findings of an external recogniser into hits next to those of the rules. Its offsets count characters,
//! ignore escapes, JSON and placeholders, and may be wrong; an answer with an invalid offset is refused whole. Findings
//! only add hits. A hit never touches an existing placeholder, never splits an escape or a character with its marks,
//! and leaves quotes and brackets in place, so that JSON stays valid. `recogniser` makes the calls, `resolve` settles
//! overlaps.

use std::collections::HashMap;
use std::ops::Range;

use serde::Deserialize;

use super::detector::Detector;
use super::find::SearchScratch;
use super::json_repair;
use super::resolve::{RedactionHit, find_placeholders, resolve_overlaps};
use super::rule::{RuleClass, RuleData, RuleFamily};

/// A row of `config/rules/recogniser.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntityRow {
    /// `PERSON` for `[PERSON]`.
    pub placeholder: String,
    /// Names of this entity in recognisers, in capitals.
    pub entities: Vec<String>,
}

/// The built-in table of entities.
pub const ENTITIES: &str = include_str!("../../../config/rules/recogniser.yaml");

impl EntityRow {
    /// Name of the rule for findings of this kind.
    pub fn rule_name(&self) -> String {
        format!("recogniser_{}", self.placeholder.to_ascii_lowercase())
    }

    /// The rule for findings of this kind.
    pub fn rule_data(&self) -> RuleData {
        RuleData {
            name: self.rule_name(),
            placeholder: self.placeholder.clone(),
            class: RuleClass::Recognised,
            on: true,
            family: Some(RuleFamily::Recognised),
            ..RuleData::default()
        }
    }
}

/// A finding of a recogniser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityHit {
    /// Byte range, on character boundaries.
    pub range: Range<usize>,
    /// Index of the rule in its detector.
    pub rule: usize,
}

/// Converts ranges in characters (code points) to byte ranges, in the same order. `None` if one of them ends before it
/// begins, or beyond the text: then the recogniser counts differently and no range can be trusted.
pub fn byte_ranges(text: &str, ranges: &[(u64, u64)]) -> Option<Vec<Range<usize>>> {
    if text.is_ascii() {
        let range = |&(start, end): &(u64, u64)| {
            let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
            (start <= end && end <= text.len()).then_some(start..end)
        };
        return ranges.iter().map(range).collect();
    }
    let mut wanted: Vec<u64> = ranges.iter().flat_map(|(start, end)| [*start, *end]).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut places: HashMap<u64, usize> = HashMap::with_capacity(wanted.len());
    let mut boundaries = text.char_indices().map(|(at, _)| at).chain([text.len()]).zip(0_u64..);
    for want in wanted {
        let (at, _) = boundaries.by_ref().find(|(_, count)| *count == want)?;
        places.insert(want, at);
    }
    let range = |(start, end): &(u64, u64)| {
        let (start, end) = (*places.get(start)?, *places.get(end)?);
        (start <= end).then_some(start..end)
    };
    ranges.iter().map(range).collect()
}

impl Detector {
    /// The hits of `text` under `key` ("" for none) as [`Detector::find_for_key`] finds them, and those of the
    /// recogniser.
    pub fn find_with_entities<'s>(
        &self,
        key: &str,
        text: &str,
        named: &[EntityHit],
        scratch: &'s mut SearchScratch,
    ) -> &'s [RedactionHit] {
        self.find_for_key(key, text, scratch);
        if !named.is_empty() {
            self.add_entity_hits(text, named, &mut scratch.hits);
            json_repair::split_breaking_hits(text, &mut scratch.hits, &|name| self.is_placeholder(name));
            self.find_exposed(key, text, scratch);
        }
        &scratch.hits
    }

    /// The index of a recogniser's rule, by its name.
    pub fn rule_index(&self, name: &str) -> Option<usize> {
        self.rules.iter().position(|rule| *rule.name == *name)
    }

    fn add_entity_hits(&self, text: &str, named: &[EntityHit], hits: &mut Vec<RedactionHit>) {
        let mut held = Vec::new();
        find_placeholders(text, &|name| self.is_placeholder(name), &mut held);
        let quotes = QuoteStates::new(text);
        let atoms = split_units(text, &held, &quotes);
        for EntityHit { range, rule } in named {
            let allow = self.rules.get(*rule).and_then(|rule| rule.allow.as_ref());
            for piece in replaceable_parts(text, &atoms, range) {
                let found = text.get(piece.clone()).unwrap_or_default();
                let said = found.bytes().any(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
                if !said || allow.is_some_and(|allow| allow.is_match(found)) {
                    continue;
                }
                match quotes.unquoted_value(text, &piece) {
                    None => hits.push(RedactionHit { range: piece, rule: *rule, added_quotes: None }),
                    Some(UnquotedValue::Number(range, bare)) => {
                        hits.push(RedactionHit { range, rule: *rule, added_quotes: Some(bare) })
                    }
                    Some(UnquotedValue::Word) => {}
                }
            }
        }
        resolve_overlaps(hits, &|hit| self.rules.get(hit.rule).map(|rule| rule.class));
    }
}

/// A unit that is replaced whole or not at all: a character with its marks, or an escape. `stays`: never part of a hit.
struct ReplaceUnit {
    range: Range<usize>,
    is_fixed: bool,
    is_blank: bool,
}

fn split_units(text: &str, held: &[Range<usize>], quotes: &QuoteStates) -> Vec<ReplaceUnit> {
    let mut out: Vec<ReplaceUnit> = Vec::with_capacity(text.len());
    let (mut at, mut next_held) = (0, held.iter().peekable());
    while let Some(char) = text.get(at..).and_then(|rest| rest.chars().next()) {
        while next_held.next_if(|held| held.end <= at).is_some() {}
        if let Some(range) = next_held.next_if(|held| held.start <= at) {
            out.push(ReplaceUnit { range: range.clone(), is_fixed: true, is_blank: false });
            at = range.end;
            continue;
        }
        if is_combining(char)
            && let Some(last) = out.last_mut().filter(|last| !last.is_fixed)
        {
            at += char.len_utf8();
            last.range.end = at;
            continue;
        }
        let rest = text.get(at..).unwrap_or_default();
        let (length, stays) = match char {
            '\\' => escape_len(rest.as_bytes()),
            '\'' => (1, !is_within_word(text, at)),
            _ => (
                char.len_utf8(),
                matches!(char, '"' | '{' | '}' | '[' | ']' | '<' | '>') || quotes.is_value_separator(char, at),
            ),
        };
        out.push(ReplaceUnit { range: at..at + length, is_fixed: stays, is_blank: char.is_whitespace() });
        at += length;
    }
    out
}

/// Characters that belong to the one before: marks, variation selectors, joiners, skin tones.
fn is_combining(char: char) -> bool {
    matches!(u32::from(char),
        0x300..=0x36f | 0x483..=0x489 | 0x591..=0x5bd | 0x610..=0x61a | 0x64b..=0x65f | 0x93c..=0x94d | 0x1ab0..=0x1aff
        | 0x1dc0..=0x1dff | 0x200c..=0x200d | 0x20d0..=0x20ff | 0x302a..=0x302f | 0x3099..=0x309a | 0xfe00..=0xfe0f
        | 0xfe20..=0xfe2f | 0x1f3fb..=0x1f3ff | 0xe0100..=0xe01ef)
}

/// Length of the escape that a backslash begins, and whether it must stay; escapes of letters and digits need not.
fn escape_len(rest: &[u8]) -> (usize, bool) {
    let hex = |count: usize| {
        let digits = rest.iter().skip(2).take(count);
        digits.clone().count() == count && digits.clone().all(u8::is_ascii_hexdigit)
    };
    match rest.get(1) {
        Some(b'u') if hex(4) => {
            // A low surrogate belongs to the high one before it
            let high = matches!(rest.get(2..4), Some([b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B']));
            let low = high && rest.get(6..8) == Some(b"\\u") && rest.len() >= 12;
            (if low { 12 } else { 6 }, matches!(rest.get(2..5), Some(b"000" | b"001" | b"002")))
        }
        Some(b'x') if hex(2) => (4, false),
        Some(b'n' | b't' | b'r' | b'b' | b'f' | b'"' | b'\'' | b'/' | b'\\') => (2, true),
        _ => (1, true),
    }
}

fn is_within_word(text: &str, at: usize) -> bool {
    let before = text.get(..at).and_then(|head| head.chars().next_back());
    let after = text.get(at + 1..).and_then(|tail| tail.chars().next());
    before.is_some_and(char::is_alphanumeric) && after.is_some_and(char::is_alphanumeric)
}

/// The parts of `range` that may be replaced: whole atoms, without blanks at the ends.
fn replaceable_parts(text: &str, atoms: &[ReplaceUnit], range: &Range<usize>) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    if range.is_empty() || range.end > text.len() {
        return out;
    }
    let first = atoms.partition_point(|atom| atom.range.end <= range.start);
    let mut open: Option<Range<usize>> = None;
    for atom in atoms.iter().skip(first).take_while(|atom| atom.range.start < range.end) {
        if atom.is_fixed {
            out.extend(open.take());
        } else if !atom.is_blank {
            open = Some(open.map_or(atom.range.start, |open| open.start)..atom.range.end);
        }
    }
    out.extend(open);
    out
}

/// An unquoted JSON value.
enum UnquotedValue {
    /// A number: its replacement needs quotes, each behind so many backslashes.
    Number(Range<usize>, u8),
    /// `true`, `false`, `null`.
    Word,
}

/// The quotes of a structured text.
struct QuoteStates {
    /// For each quote: its position, whether a string is open behind it, and the quotes with one backslash in that
    /// string.
    states: Vec<(usize, bool, usize)>,
    structured: bool,
}

impl QuoteStates {
    fn new(text: &str) -> Self {
        let structured = text.contains(['{', '[']) && text.contains('"');
        let mut states = Vec::new();
        let (mut inside, mut inner) = (false, 0);
        let quotes = structured.then(|| memchr::memchr_iter(b'"', text.as_bytes()));
        for at in quotes.into_iter().flatten() {
            let before = text.as_bytes().get(..at).unwrap_or_default();
            match before.iter().rev().take(ESCAPES).take_while(|byte| **byte == b'\\').count() {
                // Pairs of backslashes are text
                count if count % 2 == 0 => (inside, inner) = (!inside, 0),
                1 => inner += 1,
                _ => {}
            }
            states.push((at, inside, inner));
        }
        Self { states, structured }
    }

    /// Whether a character separates values at this position.
    fn is_value_separator(&self, char: char, at: usize) -> bool {
        self.structured && matches!(char, ',' | ':') && self.backslashes_between_strings(at).is_some()
    }

    /// Backslashes before quotes at a position between strings; `None` inside a string.
    fn backslashes_between_strings(&self, at: usize) -> Option<u8> {
        let behind = self.states.partition_point(|(quote, ..)| *quote < at);
        match behind.checked_sub(1).and_then(|last| self.states.get(last)) {
            None | Some((_, false, _)) => Some(0),
            // JSON in a JSON string
            Some((_, true, inner)) => (*inner > 0 && inner % 2 == 0).then_some(1),
        }
    }

    /// The unquoted value that contains a piece.
    fn unquoted_value(&self, text: &str, piece: &Range<usize>) -> Option<UnquotedValue> {
        if !self.structured {
            return None;
        }
        let part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let (head, tail) = (text.as_bytes().get(..piece.start)?, text.as_bytes().get(piece.end..)?);
        let start = piece.start - head.iter().rev().take(LONGEST).take_while(|byte| part(byte)).count();
        let end = piece.end + tail.iter().take(LONGEST).take_while(|byte| part(byte)).count();
        let found = text.get(start..end)?;
        let number = found.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        if !number && !matches!(found, "true" | "false" | "null") {
            return None;
        }
        let before = text.get(..start)?.trim_end().bytes().next_back();
        let after = text.get(end..)?.trim_start().bytes().next();
        if !matches!(before, Some(b':' | b',' | b'[')) || !matches!(after, Some(b',' | b'}' | b']')) {
            return None;
        }
        let backslashes = self.backslashes_between_strings(start)?;
        Some(if number { UnquotedValue::Number(start..end, backslashes) } else { UnquotedValue::Word })
    }
}

/// Most backslashes before a quote that are counted.
const ESCAPES: usize = 64;
/// Longest number around a piece, in bytes on each side.
const LONGEST: usize = 64;
