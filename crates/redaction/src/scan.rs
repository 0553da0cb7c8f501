//! **What**: [`Scan`], one text under search with its anchors, and [`Claims`], what rules say about it. **Why**: every
//! family looks at a text through the same few questions. **Invariants**: a claim is on character boundaries, not
//! empty, and touches no placeholder that came in; looking near a place is bounded. **Not here**: overlaps (`resolve`).

use std::ops::Range;

use super::action::Action;
use super::anchors::Anchors;
use super::detector::Detector;
use super::rule::{Bounds, Family};

/// Bytes before and behind a match in which its context may stand.
const CONTEXT: (usize, usize) = (35, 15);
/// Bytes before a bare number in which the quotes of its key stand.
const QUOTE: usize = 128;

/// One text under search: the one that came, or a view of it.
pub(super) struct Scan<'a> {
    /// The text.
    pub(super) text: &'a str,
    /// Where anything could begin.
    pub(super) anchors: &'a Anchors,
    /// Placeholders that came in, in order.
    pub(super) reserved: &'a [Range<usize>],
    /// The rules.
    pub(super) detector: &'a Detector,
}

/// One stretch that a rule says is private.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Byte range in the text of its scan.
    pub(super) range: Range<usize>,
    /// Index of the rule.
    pub(super) rule: u16,
    /// A bare JSON number: what takes its place needs quotes, each behind so many backslashes.
    pub(super) bare: Option<u8>,
}

/// All claims on one text.
#[derive(Default)]
pub(super) struct Claims {
    /// In order of finding.
    pub(super) list: Vec<Claim>,
}

impl Claims {
    /// Adds a claim; one that touches a placeholder, or is empty, is none. Gives whether it was added.
    pub(super) fn add(&mut self, scan: &Scan<'_>, rule: u16, range: Range<usize>) -> bool {
        self.put(scan, Claim { range, rule, bare: None })
    }

    /// Adds a claim on a bare JSON number. The quotes that it gets are as those before it.
    pub(super) fn add_bare(&mut self, scan: &Scan<'_>, rule: u16, range: Range<usize>) -> bool {
        let before = scan.bytes(range.start.saturating_sub(QUOTE)..range.start);
        let head = memchr::memrchr(b'"', before).and_then(|at| before.get(..at)).unwrap_or_default();
        let backslashes = head.iter().rev().take_while(|byte| **byte == b'\\').count();
        self.put(scan, Claim { range, rule, bare: Some(u8::try_from(backslashes).unwrap_or(u8::MAX)) })
    }

    /// Adds a claim on what could not be searched: it swallows placeholders at its ends.
    pub(super) fn close(&mut self, scan: &Scan<'_>, rule: u16, range: Range<usize>) {
        let mut range = scan.widen(range);
        let first = scan.reserved.partition_point(|held| held.end <= range.start);
        for held in scan.reserved.iter().skip(first) {
            if held.start >= range.end {
                break;
            }
            range = range.start.min(held.start)..range.end.max(held.end);
        }
        self.list.push(Claim { range, rule, bare: None });
    }

    /// Adds a claim as [`Claims::add`] does.
    pub(super) fn put(&mut self, scan: &Scan<'_>, mut claim: Claim) -> bool {
        claim.range = scan.whole(claim.range);
        if claim.range.is_empty() || scan.is_reserved(&claim.range) || scan.is_allowed(claim.rule, &claim.range) {
            return false;
        }
        self.list.push(claim);
        true
    }
}

impl<'t> Scan<'t> {
    /// The byte at `at`, or a line end where there is none.
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(b'\n')
    }

    /// The byte `back` before `at`, or a line end where there is none.
    pub(super) fn before(&self, at: usize, back: usize) -> u8 {
        at.checked_sub(back).map_or(b'\n', |at| self.byte(at))
    }

    /// Whether the rule's users said that this match is not private.
    pub(super) fn is_allowed(&self, rule: u16, range: &Range<usize>) -> bool {
        let allow = self.detector.rules.get(usize::from(rule)).and_then(|rule| rule.allow.as_ref());
        allow.is_some_and(|allow| allow.is_match(self.part(range.clone())))
    }

    /// Part of the text; empty where the range is none.
    pub(super) fn part(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or("")
    }

    /// Part of the text as bytes, as far as the text goes.
    pub(super) fn bytes(&self, range: Range<usize>) -> &'t [u8] {
        self.text.as_bytes().get(range.start..range.end.min(self.text.len())).unwrap_or_default()
    }

    /// The rule of a family, if it is on.
    pub(super) fn rule(&self, family: Family) -> Option<u16> {
        self.detector.families.rule(family)
    }

    /// What finds a rule, if that is code.
    pub(super) fn family(&self, rule: u16) -> Option<Family> {
        self.detector.rules.get(usize::from(rule))?.family
    }

    /// Whether the letter before `at` belongs to an escape such as `\n`.
    pub(super) fn escaped(&self, at: usize) -> bool {
        self.before(at, 2) == b'\\' && b"ntrbf".contains(&self.before(at, 1))
    }

    /// Whether a context word of `rule` stands near `range`, on its line.
    pub(super) fn has_context(&self, rule: u16, range: &Range<usize>) -> bool {
        let (from, to) = (range.start.saturating_sub(CONTEXT.0), range.end + CONTEXT.1);
        let words = &self.anchors.words;
        let first = words.partition_point(|word| word.at < from);
        words.iter().skip(first).take_while(|word| word.end <= to).any(|word| {
            let between = match word.end <= range.start {
                true => word.end..range.start,
                false => range.end..word.at.max(range.end),
            };
            matches!(word.action, Action::Context(of) if of == rule)
                && (word.end <= range.start || word.at >= range.end)
                && !self.bytes(between.clone()).contains(&b'\n')
                && !self.holds_placeholder(&between)
        })
    }

    /// Whether what stands beside `range` is as `bounds` ask.
    pub(super) fn is_bounded(&self, bounds: Bounds, range: &Range<usize>) -> bool {
        let before = |back: usize| self.before(range.start, back);
        let after = |on: usize| self.byte(range.end + on);
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let escaped = self.escaped(range.start);
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

    /// Whether `range` starts, ends or lies in a placeholder that came in. It may hold one whole: nobody may keep a
    /// secret in clear by writing `[EMAIL]` into its middle.
    pub(super) fn is_reserved(&self, range: &Range<usize>) -> bool {
        // They are in order and do not overlap: only those around the two ends matter.
        let first_behind = |at: usize| self.reserved.get(self.reserved.partition_point(|held| held.end <= at));
        first_behind(range.start).is_some_and(|held| held.start <= range.start)
            || first_behind(range.end).is_some_and(|held| held.start < range.end)
    }

    /// Whether a placeholder that came in holds `at`.
    pub(super) fn is_held(&self, at: usize) -> bool {
        let next = self.reserved.partition_point(|held| held.end <= at);
        self.reserved.get(next).is_some_and(|held| held.start <= at)
    }

    /// Whether a placeholder that came in stands in a range: what was there may have been what a word announced, so
    /// that no word reaches beyond it.
    pub(super) fn holds_placeholder(&self, range: &Range<usize>) -> bool {
        let next = self.reserved.partition_point(|held| held.end <= range.start);
        self.reserved.get(next).is_some_and(|held| held.start < range.end)
    }

    /// A range of a claim: of whole characters, without the backslashes of an escape that begins at its end. An entity
    /// (`&#x27`) is no value: what it says is told by the view of it.
    fn whole(&self, range: Range<usize>) -> Range<usize> {
        let range = self.widen(range);
        let found = self.bytes(range.clone());
        let entity = |name: &[u8]| {
            let name = name.strip_suffix(b";").unwrap_or(name);
            !name.is_empty() && name.len() < 9 && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'#')
        };
        if found.strip_prefix(b"&").is_some_and(entity) {
            return range.start..range.start;
        }
        let backslashes = found.iter().rev().take_while(|byte| **byte == b'\\').count();
        range.start..range.end - backslashes
    }

    /// A range that cuts a character takes it whole.
    pub(super) fn widen(&self, range: Range<usize>) -> Range<usize> {
        let (mut start, mut end) = (range.start, range.end.min(self.text.len()));
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        start..end
    }
}

/// At most `most` bytes from `at` on, up to a placeholder that came in: a word announces one value.
pub(crate) fn ahead<'a>(scan: &Scan<'a>, at: usize, most: usize) -> &'a [u8] {
    let rest = scan.text.as_bytes().get(at..).unwrap_or_default();
    let held = scan.reserved.get(scan.reserved.partition_point(|held| held.end <= at));
    let free = held.map_or(most, |held| held.start.saturating_sub(at).min(most));
    rest.get(..rest.len().min(free)).unwrap_or_default()
}
