//! Runs the patterns of rules: at the words that they begin with, and users' patterns without such a word at every
//! position. Linear in the text: re-reading after rejected candidates is limited, and beyond the limit the whole text
//! counts as private. `anchors` finds the words, `heads` rejects by first bytes.

use std::ops::Range;

use regex_automata::meta::{Cache, Regex};
use regex_automata::util::captures::Captures;
use regex_automata::{Anchored, Input};

use super::action::Action;
use super::detector::{Detector, Rule};
use super::matcher::Made;
use super::scan::{Claim, Claims, Scan};

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
    pub(super) fn patterns(&self, scan: &Scan<'_>, states: &mut States, claims: &mut Claims) -> usize {
        let (mut read, most) = (0_usize, most_failed(scan.text));
        for word in &scan.anchors.by.tokens {
            let Action::Pattern(index) = word.action else { continue };
            let Some((search, state)) = Search::of(self, usize::from(index), states) else { continue };
            read += search.at(scan, word.at, state, claims);
            if read > most {
                search.give_up(scan, claims);
                break;
            }
        }
        read
    }

    /// Runs users' patterns at their first words. Returns the number of bytes read.
    pub(super) fn users_patterns(&self, scan: &Scan<'_>, states: &mut States, claims: &mut Claims) -> usize {
        let (mut read, most) = (0_usize, most_failed(scan.text));
        self.users.each(scan.text, |at, rules| {
            for index in rules {
                let Some((search, state)) = Search::of(self, usize::from(*index), states) else { continue };
                if read <= most {
                    read += search.at(scan, at, state, claims);
                } else if read < usize::MAX {
                    read = usize::MAX;
                    search.give_up(scan, claims);
                }
            }
        });
        read.min(most)
    }

    /// Runs users' patterns that begin with no known word, over the whole text. Returns the number of bytes read.
    pub(super) fn loose_patterns(&self, scan: &Scan<'_>, states: &mut States, claims: &mut Claims) -> usize {
        let mut read = 0;
        for index in &self.loose {
            if let Some((search, state)) = Search::of(self, *index, states) {
                read += search.anywhere(scan, state, claims);
            }
        }
        read
    }
}

/// A match, and its private part: the first group, or everything.
struct Match {
    whole: Range<usize>,
    private: Range<usize>,
}

/// Each rule's automaton cache, created at its first run.
pub(super) type States = Vec<Option<(Cache, Captures)>>;

fn most_failed(text: &str) -> usize {
    MAX_FAILED.0.saturating_add(text.len().saturating_mul(MAX_FAILED.1))
}

/// A run of one rule's pattern.
struct Search<'a> {
    rule: &'a Rule,
    made: &'a Made,
    index: usize,
}

impl<'a> Search<'a> {
    /// The pattern of a rule, and its automaton cache.
    fn of<'s>(
        detector: &'a Detector,
        index: usize,
        states: &'s mut States,
    ) -> Option<(Self, &'s mut Option<(Cache, Captures)>)> {
        let rule = detector.rules.get(index)?;
        let made = rule.pattern.as_ref()?.matcher.made()?;
        Some((Self { rule, made, index }, states.get_mut(index)?))
    }

    /// Tries the pattern at its first word. Returns an estimate of the bytes read.
    fn at(&self, scan: &Scan<'_>, at: usize, state: &mut Option<(Cache, Captures)>, claims: &mut Claims) -> usize {
        let end = scan.text.len().min(at + WINDOW);
        let Some(found) = self.beginning(scan.text, at..end, state) else { return NO_MATCH };
        let read = found.whole.len();
        if let Some(range) = self.private(scan, found.private) {
            claims.add(scan, self.rule_index(), range);
        }
        read
    }

    /// Adds the hits of a loose rule. Returns the number of bytes read.
    fn anywhere(&self, scan: &Scan<'_>, state: &mut Option<(Cache, Captures)>, claims: &mut Claims) -> usize {
        let text = scan.text;
        let Made::Automaton(regex, _) = self.made else {
            self.give_up(scan, claims);
            return 0;
        };
        let (mut from, mut read) = (0, 0_usize);
        let mut failed = most_failed(text);
        for _ in 0..MAX_TRIES {
            let input = Input::new(text.as_bytes()).range(from..);
            let Some(Match { whole, private }) = run(regex, &input, state) else {
                return read + (text.len() - from);
            };
            read += whole.end - from;
            let range = self.private(scan, private);
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
        self.give_up(scan, claims);
        read
    }

    /// Claims the whole text, because it has too many near-matches.
    fn give_up(&self, scan: &Scan<'_>, claims: &mut Claims) {
        claims.list.push(Claim { range: 0..scan.text.len(), rule: self.rule_index(), bare: None });
    }

    fn rule_index(&self) -> u16 {
        u16::try_from(self.index).unwrap_or(u16::MAX)
    }

    /// The private part of a match that passes all checks.
    fn private(&self, scan: &Scan<'_>, found: Range<usize>) -> Option<Range<usize>> {
        let range = unescape_start(scan.text, scan.widen(found));
        if range.is_empty() || !scan.is_bounded(self.rule.bounds, &range) {
            return None;
        }
        let range = self.rule.validator.check(scan.text, range)?;
        (!self.rule.context || scan.has_context(self.rule_index(), &range)).then_some(range)
    }

    /// The match at the start of `within`.
    fn beginning(&self, text: &str, within: Range<usize>, state: &mut Option<(Cache, Captures)>) -> Option<Match> {
        let rest = text.as_bytes().get(within.clone())?;
        match self.made {
            Made::Steps(steps) => {
                let (len, group) = steps.find(rest)?;
                let from = within.start;
                Some(Match { whole: from..from + len, private: from + group.start..from + group.end })
            }
            Made::Automaton(regex, head) if head.fits(rest) => {
                run(regex, &Input::new(text.as_bytes()).range(within).anchored(Anchored::Yes), state)
            }
            Made::Automaton(..) => None,
        }
    }
}

fn run(regex: &Regex, input: &Input<'_>, state: &mut Option<(Cache, Captures)>) -> Option<Match> {
    let (cache, captures) = state.get_or_insert_with(|| (regex.create_cache(), regex.create_captures()));
    if regex.captures_len() == 1 {
        let whole = regex.search_with(cache, input)?.range();
        return Some(Match { whole: whole.clone(), private: whole });
    }
    regex.search_captures_with(cache, input, captures);
    let whole = captures.get_match()?.range();
    let private = captures.get_group(1).map_or_else(|| whole.clone(), |group| group.range());
    Some(Match { whole, private })
}

/// Excludes `\n` and other escapes before a value: replacing the `n` would break the escape.
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
