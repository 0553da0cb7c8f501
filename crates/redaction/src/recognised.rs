//! Turns the findings of an external recogniser into hits next to those of the rules. Its offsets count characters,
//! ignore escapes, JSON and placeholders, and may be wrong; an answer with an invalid offset is refused whole. Findings
//! only add hits. A hit never touches an existing placeholder, never splits an escape or a character with its marks,
//! and leaves quotes and brackets in place; `json_repair` keeps numbers in JSON valid. `recogniser` makes the calls,
//! `resolve` settles overlaps.

use std::ops::Range;

use kernel::notation::decode_escape;
use serde::Deserialize;

use super::detector::Detector;
use super::find::SearchScratch;
use super::resolve::{RedactionHit, find_placeholders};
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
    let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let position = |count: u64| boundaries.get(usize::try_from(count).ok()?).copied();
    let to_bytes = |(start, end): &(u64, u64)| Some(position(*start)?..position(*end)?);
    ranges.iter().map(|range| to_bytes(range).filter(|range| range.start <= range.end)).collect()
}

impl Detector {
    /// The hits of `text` under `key` ("" for none) as [`Detector::find_for_key`] finds them, and those of the
    /// recogniser.
    pub fn find_with_entities<'s>(
        &self,
        key: &str,
        text: &str,
        entities: &[EntityHit],
        scratch: &'s mut SearchScratch,
    ) -> &'s [RedactionHit] {
        self.find_for_key(key, text, scratch);
        if !entities.is_empty() {
            self.add_entity_hits(text, entities, &mut scratch.hits);
            self.settle_hits(text, &mut scratch.hits);
            self.find_exposed(key, text, scratch);
        }
        &scratch.hits
    }

    /// The index of a recogniser's rule, by its name.
    pub fn rule_index(&self, name: &str) -> Option<usize> {
        self.rules.iter().position(|rule| *rule.name == *name)
    }

    fn add_entity_hits(&self, text: &str, entities: &[EntityHit], hits: &mut Vec<RedactionHit>) {
        let mut placeholders = Vec::new();
        find_placeholders(text, &|name| self.is_placeholder(name), &mut placeholders);
        let units = split_into_units(text, &placeholders);
        for EntityHit { range, rule } in entities {
            let rule = u16::try_from(*rule).unwrap_or(u16::MAX);
            let allow = self.compiled_rule(rule).and_then(|rule| rule.allow.as_ref());
            for piece in replaceable_parts(text, &units, range) {
                let content = text.get(piece.clone()).unwrap_or_default();
                let has_word_character = content.bytes().any(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
                if !has_word_character || allow.is_some_and(|allow| allow.is_match(content)) {
                    continue;
                }
                hits.push(RedactionHit { range: piece, rule, added_quotes: None });
            }
        }
    }
}

/// A unit that is replaced whole or not at all: a character with its marks, or an escape.
struct ReplaceUnit {
    range: Range<usize>,
    /// It is never part of a hit.
    is_fixed: bool,
    is_blank: bool,
}

fn split_into_units(text: &str, placeholders: &[Range<usize>]) -> Vec<ReplaceUnit> {
    let mut units: Vec<ReplaceUnit> = Vec::with_capacity(text.len());
    let (mut at, mut next_placeholder) = (0, placeholders.iter().peekable());
    while let Some(char) = text.get(at..).and_then(|rest| rest.chars().next()) {
        while next_placeholder.next_if(|placeholder| placeholder.end <= at).is_some() {}
        if let Some(range) = next_placeholder.next_if(|placeholder| placeholder.start <= at) {
            units.push(ReplaceUnit { range: range.clone(), is_fixed: true, is_blank: false });
            at = range.end;
            continue;
        }
        if is_combining(char)
            && let Some(last) = units.last_mut().filter(|last| !last.is_fixed)
        {
            at += char.len_utf8();
            last.range.end = at;
            continue;
        }
        let rest = text.get(at..).unwrap_or_default();
        let (length, is_fixed) = match char {
            '\\' => escape_len(rest),
            '\'' => (1, !is_within_word(text, at)),
            _ => (char.len_utf8(), matches!(char, '"' | '{' | '}' | '[' | ']' | '<' | '>')),
        };
        units.push(ReplaceUnit { range: at..at + length, is_fixed, is_blank: char.is_whitespace() });
        at += length;
    }
    units
}

/// Characters that belong to the one before: marks, variation selectors, joiners, skin tones.
fn is_combining(char: char) -> bool {
    matches!(u32::from(char),
        0x300..=0x36f | 0x483..=0x489 | 0x591..=0x5bd | 0x610..=0x61a | 0x64b..=0x65f | 0x93c..=0x94d | 0x1ab0..=0x1aff
        | 0x1dc0..=0x1dff | 0x200c..=0x200d | 0x20d0..=0x20ff | 0x302a..=0x302f | 0x3099..=0x309a | 0xfe00..=0xfe0f
        | 0xfe20..=0xfe2f | 0x1f3fb..=0x1f3ff | 0xe0100..=0xe01ef)
}

/// Length of the escape at the start of `rest`, and whether it must stay. Hex escapes need not, except `\u0000` to
/// `\u002f`.
fn escape_len(rest: &str) -> (usize, bool) {
    let (decoded, len) = decode_escape(rest);
    match rest.as_bytes().get(1) {
        Some(b'u' | b'x') if len > 2 => (len, decoded.is_some_and(|char| char < '0')),
        Some(b'n' | b't' | b'r' | b'b' | b'f' | b'"' | b'\'' | b'/' | b'\\') => (2, true),
        _ => (1, true),
    }
}

fn is_within_word(text: &str, at: usize) -> bool {
    let before = text.get(..at).and_then(|head| head.chars().next_back());
    let after = text.get(at + 1..).and_then(|tail| tail.chars().next());
    before.is_some_and(char::is_alphanumeric) && after.is_some_and(char::is_alphanumeric)
}

/// The parts of `range` that may be replaced: whole units between fixed ones, without blanks at the ends.
fn replaceable_parts(text: &str, units: &[ReplaceUnit], range: &Range<usize>) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    if range.is_empty() || range.end > text.len() {
        return parts;
    }
    let first = units.partition_point(|unit| unit.range.end <= range.start);
    let mut open: Option<Range<usize>> = None;
    for unit in units.iter().skip(first).take_while(|unit| unit.range.start < range.end) {
        if unit.is_fixed {
            parts.extend(open.take());
        } else if !unit.is_blank {
            open = Some(open.map_or(unit.range.start, |open| open.start)..unit.range.end);
        }
    }
    parts.extend(open);
    parts
}
