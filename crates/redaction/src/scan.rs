//! [`TextScan`]: one text under search with its anchors, and [`PrivateClaims`]: the ranges that rules find private in
//! it. All families read a text through them. A claim lies on character boundaries, is not empty, and cuts no existing
//! placeholder; looking around a position is bounded. `resolve` settles overlaps.

use std::cell::RefCell;
use std::ops::Range;

use super::action::WordAction;
use super::anchors::Anchors;
use super::detector::Detector;
use super::resolve::RedactionHit;
use super::rule::{MatchBounds, RuleFamily};

/// Most bytes before and after a match in which its context word may be.
pub(super) const CONTEXT_REACH: (usize, usize) = (35, 15);
/// Most bytes before a bare number in which the quotes of its key may be.
const QUOTE_REACH: usize = 128;

/// A text under search: the input, or a view of it.
pub(super) struct TextScan<'a> {
    pub(super) text: &'a str,
    /// Positions at which something could begin.
    pub(super) anchors: &'a Anchors,
    /// Existing placeholders, in order.
    pub(super) placeholders: &'a [Range<usize>],
    /// The rules.
    pub(super) detector: &'a Detector,
    /// Where claims are added.
    pub(super) claims: &'a PrivateClaims,
}

/// What was found in one text.
#[derive(Default)]
pub(super) struct PrivateClaims {
    /// Claims in the order of finding.
    pub(super) list: RefCell<Vec<RedactionHit>>,
    /// Names that are searched in the rest of the text.
    pub(super) carried_names: RefCell<Vec<Range<usize>>>,
}

impl<'t> TextScan<'t> {
    /// Adds a claim, unless it is empty, allowed, or cuts a placeholder. Returns whether it was added.
    pub(super) fn claim(&self, rule: u16, range: Range<usize>) -> bool {
        self.add_claim(RedactionHit { range, rule, added_quotes: None })
    }

    /// Adds a claim of a family's rule, if that is enabled, under the conditions of [`TextScan::claim`].
    pub(super) fn claim_for(&self, family: RuleFamily, range: Range<usize>) -> bool {
        self.rule(family).is_some_and(|rule| self.claim(rule, range))
    }

    /// Adds a claim on a bare JSON number. Its quotes are escaped like those before it.
    pub(super) fn claim_bare(&self, rule: u16, range: Range<usize>) -> bool {
        let before = self.bytes(range.start.saturating_sub(QUOTE_REACH)..range.start);
        let head = memchr::memrchr(b'"', before).and_then(|at| before.get(..at)).unwrap_or_default();
        let backslashes = head.iter().rev().take_while(|byte| **byte == b'\\').count();
        let added_quotes = Some(u8::try_from(backslashes).unwrap_or(u8::MAX));
        self.add_claim(RedactionHit { range, rule, added_quotes })
    }

    /// Adds a claim on text that could not be searched; placeholders at its ends are included.
    pub(super) fn claim_unscanned(&self, rule: u16, range: Range<usize>) {
        let mut range = self.widen_to_characters(range);
        let first_index = self.placeholders.partition_point(|placeholder| placeholder.end <= range.start);
        for placeholder in self.placeholders.iter().skip(first_index) {
            if placeholder.start >= range.end {
                break;
            }
            range = range.start.min(placeholder.start)..range.end.max(placeholder.end);
        }
        self.claims.list.borrow_mut().push(RedactionHit { range, rule, added_quotes: None });
    }

    /// Adds a claim under the conditions of [`TextScan::claim`].
    pub(super) fn add_claim(&self, mut claim: RedactionHit) -> bool {
        claim.range = self.adjust_range(claim.range);
        if claim.range.is_empty() || self.cuts_placeholder(&claim.range) || self.is_allowed(claim.rule, &claim.range) {
            return false;
        }
        self.claims.list.borrow_mut().push(claim);
        true
    }

    /// The byte at `at`, or a line feed beyond the text.
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(b'\n')
    }

    /// The byte `distance` bytes before `at`, or a line feed beyond the text.
    pub(super) fn byte_before(&self, at: usize, distance: usize) -> u8 {
        at.checked_sub(distance).map_or(b'\n', |at| self.byte(at))
    }

    /// Whether the user's configuration allows this match.
    pub(super) fn is_allowed(&self, rule: u16, range: &Range<usize>) -> bool {
        let allow = self.detector.compiled_rule(rule).and_then(|rule| rule.allow.as_ref());
        allow.is_some_and(|allow| allow.is_match(self.part(range.clone())))
    }

    /// Part of the text; empty if the range is invalid.
    pub(super) fn part(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or("")
    }

    /// Part of the text as bytes, cut at the end of the text.
    pub(super) fn bytes(&self, range: Range<usize>) -> &'t [u8] {
        self.text.as_bytes().get(range.start..range.end.min(self.text.len())).unwrap_or_default()
    }

    /// The rule of a family, if it is enabled.
    pub(super) fn rule(&self, family: RuleFamily) -> Option<u16> {
        self.detector.families.rule(family)
    }

    pub(super) fn family(&self, rule: u16) -> Option<RuleFamily> {
        self.detector.compiled_rule(rule)?.family
    }

    /// Whether the letter before `at` belongs to an escape such as `\n`.
    pub(super) fn is_escape_letter(&self, at: usize) -> bool {
        self.byte_before(at, 2) == b'\\' && b"ntrbf".contains(&self.byte_before(at, 1))
    }

    /// Length of the letters and digits of an escape (`n`, `u0040`) from `at` on, right after its backslash.
    pub(super) fn escape_len(&self, at: usize) -> usize {
        let escape = code_pattern!(r"[ntrbf]|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}");
        let len = if self.byte_before(at, 1) == b'\\' { escape.match_len(self.text_after(at, 5)) } else { None };
        len.unwrap_or(0)
    }

    /// Whether a word with this action is near `range`, at most `reach` bytes before or after it, on the same line.
    pub(super) fn has_word_near(&self, action: WordAction, range: &Range<usize>, reach: (usize, usize)) -> bool {
        let (from, to) = (range.start.saturating_sub(reach.0), range.end + reach.1);
        let words = &self.anchors.words;
        let first_index = words.partition_point(|word| word.start < from);
        words.iter().skip(first_index).take_while(|word| word.end <= to).filter(|word| word.action == action).any(
            |word| {
                let between = match word.end <= range.start {
                    true => word.end..range.start,
                    false => range.end..word.start.max(range.end),
                };
                (word.end <= range.start || word.start >= range.end)
                    && !self.bytes(between.clone()).contains(&b'\n')
                    && !self.contains_placeholder(&between)
            },
        )
    }

    /// Whether the characters next to `range` satisfy `bounds`.
    pub(super) fn is_bounded(&self, bounds: MatchBounds, range: &Range<usize>) -> bool {
        let before = self.byte_before(range.start, 1);
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let follows_escape = self.is_escape_letter(range.start);
        match bounds {
            MatchBounds::None => true,
            MatchBounds::Token => follows_escape || !before.is_ascii_alphanumeric(),
            MatchBounds::Word => (follows_escape || !is_word(before)) && !is_word(self.byte(range.end)),
        }
    }

    /// Whether `range` starts, ends or lies in an existing placeholder. It may contain a whole one; otherwise a secret
    /// could be kept readable by writing `[EMAIL]` into its middle.
    pub(super) fn cuts_placeholder(&self, range: &Range<usize>) -> bool {
        // Placeholders are in order and disjoint, so only those around the two ends matter
        let first_ending_after =
            |at: usize| self.placeholders.get(self.placeholders.partition_point(|placeholder| placeholder.end <= at));
        first_ending_after(range.start).is_some_and(|placeholder| placeholder.start <= range.start)
            || first_ending_after(range.end).is_some_and(|placeholder| placeholder.start < range.end)
    }

    /// Whether `at` is in an existing placeholder.
    pub(super) fn is_in_placeholder(&self, at: usize) -> bool {
        let next_index = self.placeholders.partition_point(|placeholder| placeholder.end <= at);
        self.placeholders.get(next_index).is_some_and(|placeholder| placeholder.start <= at)
    }

    /// Whether a range contains an existing placeholder. That may have been the announced value, so a word does not
    /// reach across it.
    pub(super) fn contains_placeholder(&self, range: &Range<usize>) -> bool {
        let next_index = self.placeholders.partition_point(|placeholder| placeholder.end <= range.start);
        self.placeholders.get(next_index).is_some_and(|placeholder| placeholder.start < range.end)
    }

    /// Adjusts a claim's range: whole characters, and no trailing backslashes of an escape. An entity (`&#x27`) gives
    /// an empty range, because its view is searched instead.
    fn adjust_range(&self, range: Range<usize>) -> Range<usize> {
        let range = self.widen_to_characters(range);
        let content = self.bytes(range.clone());
        let is_entity_name = |name: &[u8]| {
            let name = name.strip_suffix(b";").unwrap_or(name);
            !name.is_empty() && name.len() < 9 && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'#')
        };
        if content.strip_prefix(b"&").is_some_and(is_entity_name) {
            return range.start..range.start;
        }
        let backslashes = content.iter().rev().take_while(|byte| **byte == b'\\').count();
        range.start..range.end - backslashes
    }

    /// At most about `most` bytes of text before `end`, in whole characters.
    pub(super) fn text_before(&self, end: usize, most: usize) -> &str {
        self.part(self.widen_to_characters(end.saturating_sub(most)..end).start..end)
    }

    /// At most about `most` bytes of text from `start` on, in whole characters.
    pub(super) fn text_after(&self, start: usize, most: usize) -> &str {
        self.part(start..self.widen_to_characters(start..start + most).end)
    }

    /// Widens a range to whole characters.
    pub(super) fn widen_to_characters(&self, range: Range<usize>) -> Range<usize> {
        self.text.floor_char_boundary(range.start)..self.text.ceil_char_boundary(range.end)
    }
}

/// At most `max_len` bytes from `at` on, up to an existing placeholder, because a word announces only one value.
pub(crate) fn bytes_ahead<'a>(scan: &TextScan<'a>, at: usize, max_len: usize) -> &'a [u8] {
    let rest = scan.text.as_bytes().get(at..).unwrap_or_default();
    let next_placeholder =
        scan.placeholders.get(scan.placeholders.partition_point(|placeholder| placeholder.end <= at));
    let len = next_placeholder.map_or(max_len, |placeholder| placeholder.start.saturating_sub(at).min(max_len));
    rest.get(..rest.len().min(len)).unwrap_or_default()
}

/// Whether a string is an object's key, given the text after its quote.
pub(crate) fn is_object_key(after: &[u8]) -> bool {
    after.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}
