//! Runs the patterns of rules: at the words that they begin with, or at runs with digits, and users' patterns without
//! such a word at every position. Linear in the text: the bytes of candidates, which may overlap, are limited; beyond
//! that, the whole text counts as private. `anchors` finds the words.

use std::ops::Range;

use regex_automata::meta::{Cache, Regex};
use regex_automata::util::captures::Captures;
use regex_automata::{Anchored, Input};

use super::action::WordAction;
use super::detector::{CompiledRule, Detector};
use super::resolve::RedactionHit;
use super::scan::TextScan;

/// Most candidates of an unanchored pattern in one text; beyond that, the whole text counts as private. Protects
/// against hostile input.
const MAX_TRIES: usize = 100_000;
/// Most bytes of candidates (of an unanchored pattern, of rejected ones): a base, and a multiple of the text's length.
/// Beyond that, the whole text counts as private, because overlapping false matches are read again from every byte.
const MAX_CANDIDATE_BYTES: (usize, usize) = (4 << 20, 16);
/// Most bytes that a pattern may read from its first word on.
const WINDOW: usize = 16 << 10;
/// Bytes counted for a pattern that does not match.
const NO_MATCH_COST: usize = 64;

impl Detector {
    /// Runs patterns at their first words or at runs with digits, and users' patterns without either everywhere.
    /// Returns the number of bytes read.
    pub(super) fn run_patterns(&self, scan: &TextScan<'_>, caches: &mut AutomatonCaches) -> usize {
        let (mut bytes_read, max_bytes) = (0_usize, max_candidate_bytes(scan.text));
        let words = scan.anchors.words_by_use.pattern_words.iter().filter_map(|word| match word.action {
            WordAction::Pattern(index) => Some((word.start, index)),
            _ => None,
        });
        // Loops of their own, because a chain of both costs each short text more
        let mut try_at = |(at, index): (usize, u16)| {
            let Some((run, slot)) = PatternRun::for_rule(self, index, caches) else { return true };
            bytes_read += run.try_at(scan, at, slot);
            if bytes_read > max_bytes {
                run.claim_whole_text(scan);
            }
            bytes_read <= max_bytes
        };
        let mut goes_on = words.into_iter().all(&mut try_at);
        for run in &scan.anchors.digit_runs {
            let shapes = self.at_runs.beside(run.after, run.before);
            if shapes.iter().any(|shapes| !shapes.is_empty()) {
                // The letter of an escape before a run does not count
                let escape_len = if run.before == b'\\' { scan.escape_len(run.start) } else { 0 };
                let range = run.start + escape_len..run.end;
                let shapes = shapes.into_iter().flatten();
                let mut starts = shapes.filter_map(|(shape, rule)| Some((shape.match_start(&range)?, *rule)));
                goes_on = goes_on && starts.all(&mut try_at);
            }
        }
        if goes_on && !self.users_words.is_empty() {
            self.users_words.find_in(scan.text).all(&mut try_at);
        }
        for index in &self.unanchored {
            if let Some((run, slot)) = PatternRun::for_rule(self, *index, caches) {
                bytes_read += run.search_everywhere(scan, slot);
            }
        }
        bytes_read
    }
}

/// A match, and its private part: the first group, or everything.
struct PatternMatch {
    whole: Range<usize>,
    private: Range<usize>,
}

/// A rule's automaton cache, created at its first run.
type CacheSlot = Option<(Cache, Captures)>;

/// The cache of each rule.
pub(super) type AutomatonCaches = Vec<CacheSlot>;

fn max_candidate_bytes(text: &str) -> usize {
    MAX_CANDIDATE_BYTES.0.saturating_add(text.len().saturating_mul(MAX_CANDIDATE_BYTES.1))
}

/// A run of one rule's pattern.
struct PatternRun<'a> {
    rule: &'a CompiledRule,
    regex: &'a Regex,
    index: u16,
}

impl<'a> PatternRun<'a> {
    /// The pattern of a rule, and its automaton cache.
    fn for_rule<'s>(
        detector: &'a Detector,
        index: u16,
        caches: &'s mut AutomatonCaches,
    ) -> Option<(Self, &'s mut CacheSlot)> {
        let rule = detector.compiled_rule(index)?;
        let regex = rule.pattern.as_ref()?.regex.as_ref()?;
        Some((Self { rule, regex, index }, caches.get_mut(usize::from(index))?))
    }

    /// Tries the pattern at one place. Returns an estimate of the bytes read.
    fn try_at(&self, scan: &TextScan<'_>, at: usize, slot: &mut CacheSlot) -> usize {
        let end = scan.text.len().min(at + WINDOW);
        let Some(matched) = self.match_at_start(scan.text, at..end, slot) else { return NO_MATCH_COST };
        let bytes_read = matched.whole.len();
        if let Some(range) = self.check_match(scan, matched.private) {
            scan.claim(self.index, range);
        }
        bytes_read
    }

    /// Claims the matches of an unanchored pattern. Returns the number of bytes read.
    fn search_everywhere(&self, scan: &TextScan<'_>, slot: &mut CacheSlot) -> usize {
        let text = scan.text;
        let (mut from, mut bytes_read) = (0, 0_usize);
        let mut rejected_budget = max_candidate_bytes(text);
        for _ in 0..MAX_TRIES {
            let input = Input::new(text.as_bytes()).range(from..);
            let Some(PatternMatch { whole, private }) = run_automaton(self.regex, &input, slot) else {
                return bytes_read + (text.len() - from);
            };
            bytes_read += whole.end - from;
            let range = self.check_match(scan, private);
            // The search continues after an allowed match, as after a claimed one
            let is_settled =
                |range: &Range<usize>| scan.is_allowed(self.index, range) || scan.claim(self.index, range.clone());
            match range.filter(|range| is_settled(range)) {
                Some(range) => from = range.end.max(whole.start + 1),
                None => {
                    from = whole.start + 1;
                    match rejected_budget.checked_sub(whole.len()) {
                        Some(remaining) => rejected_budget = remaining,
                        None => break,
                    }
                }
            }
            from = text.ceil_char_boundary(from);
            if from >= text.len() {
                return bytes_read;
            }
        }
        self.claim_whole_text(scan);
        bytes_read
    }

    /// Claims the whole text, because it has too many near-matches.
    fn claim_whole_text(&self, scan: &TextScan<'_>) {
        scan.claims.list.borrow_mut().push(RedactionHit {
            range: 0..scan.text.len(),
            rule: self.index,
            added_quotes: None,
        });
    }

    /// The private part of a match that passes all checks.
    fn check_match(&self, scan: &TextScan<'_>, matched: Range<usize>) -> Option<Range<usize>> {
        let range = scan.widen_to_characters(matched);
        // Replacing the letters of an escape would break it
        let range = range.end.min(range.start + scan.escape_len(range.start))..range.end;
        if range.is_empty() || !scan.is_bounded(self.rule.bounds, &range) {
            return None;
        }
        let rule = self.rule;
        let range = rule.validator.check(scan.text, range)?;
        let has_word = |action: WordAction| scan.has_word_near(action, &range, rule.context_reach);
        let is_accepted = rule.check.as_ref().is_none_or(|check| check.passes(scan.bytes(range.clone())))
            && (!rule.needs_context || has_word(WordAction::Context(self.index)))
            && !(rule.has_suppressing_words && has_word(WordAction::NotNear(self.index)));
        is_accepted.then_some(range)
    }

    /// The match at the start of `within`.
    fn match_at_start(&self, text: &str, within: Range<usize>, slot: &mut CacheSlot) -> Option<PatternMatch> {
        run_automaton(self.regex, &Input::new(text.as_bytes()).range(within).anchored(Anchored::Yes), slot)
    }
}

fn run_automaton(regex: &Regex, input: &Input<'_>, slot: &mut CacheSlot) -> Option<PatternMatch> {
    let (cache, captures) = slot.get_or_insert_with(|| (regex.create_cache(), regex.create_captures()));
    if regex.captures_len() == 1 {
        let whole = regex.search_with(cache, input)?.range();
        return Some(PatternMatch { whole: whole.clone(), private: whole });
    }
    regex.search_captures_with(cache, input, captures);
    let whole = captures.get_match()?.range();
    let private = captures.get_group(1).map_or_else(|| whole.clone(), |group| group.range());
    Some(PatternMatch { whole, private })
}
