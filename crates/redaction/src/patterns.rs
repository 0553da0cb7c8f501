//! Runs the patterns of rules: at the words that they begin with, and users' patterns without such a word at every
//! position. Linear in the text: re-reading after rejected candidates is limited, and beyond the limit the whole text
//! counts as private. `anchors` finds the words, `heads` rejects by first bytes.

use std::ops::Range;

use regex_automata::meta::{Cache, Regex};
use regex_automata::util::captures::Captures;
use regex_automata::{Anchored, Input};

use super::action::WordAction;
use super::detector::{CompiledRule, Detector};
use super::matcher::CompiledPattern;
use super::scan::{PrivateClaim, PrivateClaims, TextScan};

/// Most candidates of one rule in one text; beyond that, the whole text counts as private. Protects against hostile
/// input.
const MAX_TRIES: usize = 100_000;
/// Most bytes of rejected candidates: a base, and a multiple of the text's length. Beyond that, the whole text counts
/// as private, because overlapping false matches would be read again from every byte.
const MAX_FAILED: (usize, usize) = (4 << 20, 16);
/// Most bytes that a pattern may read from its first word on.
const WINDOW: usize = 16 << 10;
/// Bytes counted for a pattern that does not match.
const NO_MATCH: usize = 64;

impl Detector {
    /// Runs built-in patterns at their first words. Returns the number of bytes read.
    pub(super) fn run_patterns(
        &self,
        scan: &TextScan<'_>,
        states: &mut AutomatonCaches,
        claims: &mut PrivateClaims,
    ) -> usize {
        let (mut read, most) = (0_usize, max_failed_bytes(scan.text));
        for word in &scan.anchors.words_by_use.pattern_words {
            let WordAction::Pattern(index) = word.action else { continue };
            let Some((search, state)) = PatternRun::for_rule(self, usize::from(index), states) else { continue };
            read += search.try_at(scan, word.start, state, claims);
            if read > most {
                search.claim_whole_text(scan, claims);
                break;
            }
        }
        read
    }

    /// Runs users' patterns at their first words. Returns the number of bytes read.
    pub(super) fn run_users_patterns(
        &self,
        scan: &TextScan<'_>,
        states: &mut AutomatonCaches,
        claims: &mut PrivateClaims,
    ) -> usize {
        let (mut read, most) = (0_usize, max_failed_bytes(scan.text));
        self.users_words.for_each_match(scan.text, |at, rules| {
            for index in rules {
                let Some((search, state)) = PatternRun::for_rule(self, usize::from(*index), states) else { continue };
                if read <= most {
                    read += search.try_at(scan, at, state, claims);
                } else if read < usize::MAX {
                    read = usize::MAX;
                    search.claim_whole_text(scan, claims);
                }
            }
        });
        read.min(most)
    }

    /// Runs users' patterns that begin with no known word, over the whole text. Returns the number of bytes read.
    pub(super) fn run_unanchored_patterns(
        &self,
        scan: &TextScan<'_>,
        states: &mut AutomatonCaches,
        claims: &mut PrivateClaims,
    ) -> usize {
        let mut read = 0;
        for index in &self.unanchored {
            if let Some((search, state)) = PatternRun::for_rule(self, *index, states) {
                read += search.search_everywhere(scan, state, claims);
            }
        }
        read
    }
}

/// A match, and its private part: the first group, or everything.
struct PatternMatch {
    whole: Range<usize>,
    private: Range<usize>,
}

/// Each rule's automaton cache, created at its first run.
pub(super) type AutomatonCaches = Vec<Option<(Cache, Captures)>>;

fn max_failed_bytes(text: &str) -> usize {
    MAX_FAILED.0.saturating_add(text.len().saturating_mul(MAX_FAILED.1))
}

/// A run of one rule's pattern.
struct PatternRun<'a> {
    rule: &'a CompiledRule,
    compiled: &'a CompiledPattern,
    index: usize,
}

impl<'a> PatternRun<'a> {
    /// The pattern of a rule, and its automaton cache.
    fn for_rule<'s>(
        detector: &'a Detector,
        index: usize,
        states: &'s mut AutomatonCaches,
    ) -> Option<(Self, &'s mut Option<(Cache, Captures)>)> {
        let rule = detector.rules.get(index)?;
        let made = rule.pattern.as_ref()?.matcher.compiled()?;
        Some((Self { rule, compiled: made, index }, states.get_mut(index)?))
    }

    /// Tries the pattern at its first word. Returns an estimate of the bytes read.
    fn try_at(
        &self,
        scan: &TextScan<'_>,
        at: usize,
        state: &mut Option<(Cache, Captures)>,
        claims: &mut PrivateClaims,
    ) -> usize {
        let end = scan.text.len().min(at + WINDOW);
        let Some(found) = self.match_at_start(scan.text, at..end, state) else { return NO_MATCH };
        let read = found.whole.len();
        if let Some(range) = self.check_match(scan, found.private) {
            claims.add(scan, self.rule_index(), range);
        }
        read
    }

    /// Adds the hits of a loose rule. Returns the number of bytes read.
    fn search_everywhere(
        &self,
        scan: &TextScan<'_>,
        state: &mut Option<(Cache, Captures)>,
        claims: &mut PrivateClaims,
    ) -> usize {
        let text = scan.text;
        let CompiledPattern::Automaton(regex, _) = self.compiled else {
            self.claim_whole_text(scan, claims);
            return 0;
        };
        let (mut from, mut read) = (0, 0_usize);
        let mut failed = max_failed_bytes(text);
        for _ in 0..MAX_TRIES {
            let input = Input::new(text.as_bytes()).range(from..);
            let Some(PatternMatch { whole, private }) = run_automaton(regex, &input, state) else {
                return read + (text.len() - from);
            };
            read += whole.end - from;
            let range = self.check_match(scan, private);
            // An allowed match counts as handled as a whole
            let mut settled = |range: &Range<usize>| {
                scan.is_allowed(self.rule_index(), range) || claims.add(scan, self.rule_index(), range.clone())
            };
            match range.filter(|range| settled(range)) {
                Some(range) => from = range.end.max(whole.start + 1),
                None => {
                    from = whole.start + 1;
                    match failed.checked_sub(whole.len()) {
                        Some(left) => failed = left,
                        None => break,
                    }
                }
            }
            from = text.ceil_char_boundary(from);
            if from >= text.len() {
                return read;
            }
        }
        self.claim_whole_text(scan, claims);
        read
    }

    /// Claims the whole text, because it has too many near-matches.
    fn claim_whole_text(&self, scan: &TextScan<'_>, claims: &mut PrivateClaims) {
        claims.list.push(PrivateClaim { range: 0..scan.text.len(), rule: self.rule_index(), added_quotes: None });
    }

    fn rule_index(&self) -> u16 {
        u16::try_from(self.index).unwrap_or(u16::MAX)
    }

    /// The private part of a match that passes all checks.
    fn check_match(&self, scan: &TextScan<'_>, found: Range<usize>) -> Option<Range<usize>> {
        let range = skip_escape(scan.text, scan.widen_to_characters(found));
        if range.is_empty() || !scan.is_bounded(self.rule.bounds, &range) {
            return None;
        }
        let range = self.rule.validator.check(scan.text, range)?;
        (!self.rule.needs_context || scan.has_context(self.rule_index(), &range)).then_some(range)
    }

    /// The match at the start of `within`.
    fn match_at_start(
        &self,
        text: &str,
        within: Range<usize>,
        state: &mut Option<(Cache, Captures)>,
    ) -> Option<PatternMatch> {
        let rest = text.as_bytes().get(within.clone())?;
        match self.compiled {
            CompiledPattern::Steps(steps) => {
                let (len, group) = steps.find(rest)?;
                let from = within.start;
                Some(PatternMatch { whole: from..from + len, private: from + group.start..from + group.end })
            }
            CompiledPattern::Automaton(regex, head) if head.may_match(rest) => {
                run_automaton(regex, &Input::new(text.as_bytes()).range(within).anchored(Anchored::Yes), state)
            }
            CompiledPattern::Automaton(..) => None,
        }
    }
}

fn run_automaton(regex: &Regex, input: &Input<'_>, state: &mut Option<(Cache, Captures)>) -> Option<PatternMatch> {
    let (cache, captures) = state.get_or_insert_with(|| (regex.create_cache(), regex.create_captures()));
    if regex.captures_len() == 1 {
        let whole = regex.search_with(cache, input)?.range();
        return Some(PatternMatch { whole: whole.clone(), private: whole });
    }
    regex.search_captures_with(cache, input, captures);
    let whole = captures.get_match()?.range();
    let private = captures.get_group(1).map_or_else(|| whole.clone(), |group| group.range());
    Some(PatternMatch { whole, private })
}

/// Excludes `\n` and other escapes before a value: replacing the `n` would break the escape.
fn skip_escape(text: &str, range: Range<usize>) -> Range<usize> {
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
