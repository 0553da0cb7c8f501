//! **What**: finds hits in one text. **Invariants**: one literal pass decides which patterns run; a failed check
//! looks on from the next byte, so that no look-alike shadows a real value. **Not here**: overlaps (`resolve`).

use std::ops::Range;

use aho_corasick::automaton::OverlappingState;
use regex_automata::{Input, Span, meta::Cache, util::captures::Captures};

use super::compile::{Detector, Rule};
use super::resolve::{Hit, reserved, resolve};
use super::rule::{Bounds, Class};

/// Reused memory of one worker.
#[derive(Default)]
pub struct Scratch {
    open: Vec<bool>,
    hits: Vec<Hit>,
    reserved: Vec<Range<usize>>,
    state: Vec<Option<(Cache, Captures)>>,
    read: usize,
}

impl Scratch {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that patterns were run over in the last search; a candidate that was none is read again from its second
    /// byte. Linear in the text.
    pub fn read(&self) -> usize {
        self.read
    }
}

/// Candidates of one rule in one text, beyond which the whole text counts as private: a bound on hostile input.
const MAX_TRIES: usize = 100_000;
/// Bytes of candidates that were none, beyond which the whole text counts as private: so many, and this many times the
/// text. Look-alikes that overlap would otherwise be read again from every byte.
const MAX_FAILED: (usize, usize) = (4 << 20, 16);

impl Detector {
    /// Hits of `text`, sorted, without overlap. The slice lives until the next call with this scratch.
    pub fn find<'s>(&self, text: &str, scratch: &'s mut Scratch) -> &'s [Hit] {
        scratch.hits.clear();
        scratch.read = 0;
        if text.len() < 3 {
            return &scratch.hits;
        }
        self.gates(text, &mut scratch.open);
        if !scratch.open.iter().any(|open| *open) {
            return &scratch.hits;
        }
        reserved(text, &|name| self.is_placeholder(name), &mut scratch.reserved);
        scratch.state.resize_with(self.rules.len(), || None);
        for (index, rule) in self.rules.iter().enumerate() {
            if scratch.open.get(index) == Some(&true) {
                let Some(state) = scratch.state.get_mut(index) else { continue };
                let state = state.get_or_insert_with(|| (rule.regex.create_cache(), rule.regex.create_captures()));
                scratch.read += run(rule, index, text, &scratch.reserved, state, &mut scratch.hits);
            }
        }
        resolve(&mut scratch.hits, &|hit| self.rules.get(hit.rule).map(|rule| rule.class));
        &scratch.hits
    }

    /// Whether anything in `text` is private.
    pub fn is_private(&self, text: &str, scratch: &mut Scratch) -> bool {
        !self.find(text, scratch).is_empty()
    }

    /// The placeholder of a hit, with its brackets.
    pub fn placeholder(&self, hit: &Hit) -> &str {
        self.rules.get(hit.rule).map_or("[REDACTED]", |rule| &rule.placeholder)
    }

    /// How sure the rule of a hit is.
    pub fn class(&self, hit: &Hit) -> Class {
        self.rules.get(hit.rule).map_or(Class::Secret, |rule| rule.class)
    }

    /// The rule's name of a hit: metric label.
    pub fn rule_name(&self, hit: &Hit) -> &str {
        self.rules.get(hit.rule).map_or("unknown", |rule| &rule.name)
    }

    /// Whether a rule's placeholder is `[name]`.
    fn is_placeholder(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| {
            rule.placeholder.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(|own| own == name)
        })
    }

    fn gates(&self, text: &str, open: &mut Vec<bool>) {
        open.clear();
        open.extend(self.rules.iter().map(|rule| !rule.gated));
        if let Some(literals) = &self.literals {
            let mut state = OverlappingState::start();
            let input = aho_corasick::Input::new(text);
            loop {
                literals.find_overlapping(input.clone(), &mut state);
                let Some(found) = state.get_match() else { break };
                for rule in self.literal_rules.get(found.pattern().as_usize()).into_iter().flatten() {
                    if let Some(open) = open.get_mut(*rule) {
                        *open = true;
                    }
                }
            }
        }
        let wanted = self.rules.iter().map(|rule| rule.digits).max().unwrap_or(0);
        let digits = text.bytes().filter(u8::is_ascii_digit).take(wanted).count();
        for (open, rule) in open.iter_mut().zip(&self.rules) {
            *open &= digits >= rule.digits;
        }
    }
}

/// Adds the hits of one rule; gives how many bytes its pattern was run over.
fn run(
    rule: &Rule,
    index: usize,
    text: &str,
    reserved: &[Range<usize>],
    (cache, captures): &mut (Cache, Captures),
    hits: &mut Vec<Hit>,
) -> usize {
    let (mut from, mut read) = (0, 0_usize);
    let mut failed = MAX_FAILED.0.saturating_add(text.len().saturating_mul(MAX_FAILED.1));
    for _ in 0..MAX_TRIES {
        let input = Input::new(text).span(Span::from(from..text.len()));
        let Some(whole) = search(rule, &input, cache, captures) else { return read + (text.len() - from) };
        read += whole.end - from;
        let found = captures.get_group(1).filter(|_| rule.group).unwrap_or(whole);
        let range = unescape_start(text, widen(text, found.start..found.end));
        let range = if bounded(rule.bounds, text, &range) { rule.validator.check(text, range) } else { None };
        match range.filter(|range| !range.is_empty() && !touches(range, reserved)) {
            Some(range) => {
                from = range.end.max(whole.start + 1);
                hits.push(Hit { range, rule: index });
            }
            None => {
                from = whole.start + 1;
                match failed.checked_sub(whole.len()) {
                    Some(left) => failed = left,
                    None => break,
                }
            }
        }
        while !text.is_char_boundary(from) {
            from += 1;
        }
    }
    hits.push(Hit { range: 0..text.len(), rule: index });
    read
}

fn search(rule: &Rule, input: &Input<'_>, cache: &mut Cache, captures: &mut Captures) -> Option<Span> {
    if rule.group {
        rule.regex.search_captures_with(cache, input, captures);
        return captures.get_match().map(|found| found.span());
    }
    rule.regex.search_with(cache, input).map(|found| found.span())
}

/// Byte patterns may cut a character: a cut one goes whole.
fn widen(text: &str, range: Range<usize>) -> Range<usize> {
    let (mut start, mut end) = (range.start, range.end);
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

/// In a text with escapes, `\n` before a value is not part of it: replacing its `n` would break the escape.
fn unescape_start(text: &str, range: Range<usize>) -> Range<usize> {
    let before = text.as_bytes().get(..range.start).unwrap_or_default();
    let odd = before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
    if !odd {
        return range;
    }
    let rest = text.as_bytes().get(range.clone()).unwrap_or_default();
    let skip = match rest.first() {
        Some(b'n' | b't' | b'r' | b'b' | b'f') => 1,
        Some(b'u') if rest.iter().skip(1).take(4).filter(|byte| byte.is_ascii_hexdigit()).count() == 4 => 5,
        _ => 0,
    };
    range.start + skip..range.end
}

fn touches(range: &Range<usize>, reserved: &[Range<usize>]) -> bool {
    // They are in order and do not overlap: only those around the two ends matter.
    let first_behind = |at: usize| reserved.get(reserved.partition_point(|held| held.end <= at));
    first_behind(range.start).is_some_and(|held| held.start <= range.start)
        || first_behind(range.end).is_some_and(|held| held.start < range.end)
}

fn bounded(bounds: Bounds, text: &str, range: &Range<usize>) -> bool {
    let bytes = text.as_bytes();
    let before = |back: usize| range.start.checked_sub(back).and_then(|at| bytes.get(at)).copied().unwrap_or(b' ');
    let after = |on: usize| bytes.get(range.end + on).copied().unwrap_or(b' ');
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    // The `n` of an escape before the match is no word character.
    let escaped = before(2) == b'\\' && b"ntrbf".contains(&before(1));
    match bounds {
        Bounds::None => true,
        Bounds::Token => escaped || !before(1).is_ascii_alphanumeric(),
        Bounds::Word => (escaped || !word(before(1))) && !word(after(0)),
        Bounds::Number | Bounds::Address => {
            let joins: &[u8] = if bounds == Bounds::Number { b".-/:" } else { b".-" };
            let joined = |near: u8, next: u8| joins.contains(&near) && next.is_ascii_digit();
            let free = (escaped || !word(before(1))) && !word(after(0));
            free && !joined(before(1), before(2)) && !joined(after(0), after(1))
        }
    }
}
