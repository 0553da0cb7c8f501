//! [`NumberSite`]: a group in a chain of digits at which an id may start, with the checks common to all kinds. The
//! words around the site are read at most once, and only when needed.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::LazyLock;

use regex_automata::meta::Regex;

use super::super::regex::compile;
use super::super::rule::{CueDistance, RuleFamily};
use super::super::scan::TextScan;
use super::super::sets::WordSet;
use super::digit_chain::DigitChain;
use super::number_cues::NumberCues;

/// Most bytes between the values of a list, which share the word before the first.
pub(super) const MAX_LIST_GAP: usize = 6;

/// A number that was found, with the family whose rule claims it.
pub(super) struct NumberFinding {
    pub(super) family: RuleFamily,
    pub(super) range: Range<usize>,
}

/// A group of a chain at which an id may start.
pub(super) struct NumberSite<'a, 't> {
    pub(super) scan: &'a TextScan<'t>,
    pub(super) chain: &'a DigitChain,
    /// Index of the group.
    pub(super) first: usize,
    /// Whether the text has any cue.
    pub(super) has_cues: bool,
    /// Kind and end of the last finding.
    pub(super) last_claim: Option<(RuleFamily, usize)>,
    cues: OnceCell<NumberCues>,
}

impl<'a, 't> NumberSite<'a, 't> {
    /// Creates the site at group `first`.
    pub(super) fn new(scan: &'a TextScan<'t>, chain: &'a DigitChain, first: usize, has_cues: bool) -> Self {
        Self { scan, chain, first, has_cues, last_claim: None, cues: OnceCell::new() }
    }

    /// Position of its first digit.
    pub(super) fn start(&self) -> usize {
        self.chain.at(self.first)
    }

    /// Digits of group `index`.
    pub(super) fn group_digits(&self, index: usize) -> &'t [u8] {
        self.scan.bytes(self.chain.range(index, index))
    }

    /// The words around it. The value extends to the end of the chain.
    pub(super) fn cues(&self) -> &NumberCues {
        self.cues.get_or_init(|| {
            if !self.has_cues {
                return NumberCues::NONE;
            }
            let mut cues = NumberCues::around(self.scan, &(self.start()..self.chain.end));
            // The next value of a list: punctuation is between them, or "and", "or", "y"
            let is_list = |end: usize| {
                let between = self.scan.bytes(end..self.start());
                (1..=MAX_LIST_GAP).contains(&between.len())
                    && between.iter().all(|byte| b" ,;/\"'\\|&+(andory".contains(byte))
            };
            use RuleFamily::{Account, CardCued, PhoneCued, SsnCued};
            if let Some((family @ (PhoneCued | CardCued | Account | SsnCued), end)) = self.last_claim
                && is_list(end)
            {
                cues.add(family, CueDistance::Close);
            }
            cues
        })
    }

    /// Whether a word of a kind is near it.
    pub(super) fn announces(&self, family: RuleFamily) -> bool {
        self.has_cues && self.cues().announces(family)
    }

    /// Whether it is not attached to a longer name, path or number before it.
    pub(super) fn is_detached_before(&self) -> bool {
        let start = self.start();
        match self.first {
            0 => is_free_before(self.scan, start) || self.last_claim.is_some_and(|(_, end)| end + 1 == start),
            first => self.chain.is_free_before(first),
        }
    }

    /// Whether group `last` is not attached to a longer name after it.
    pub(super) fn is_detached_after(&self, last: usize) -> bool {
        last + 1 < self.chain.count || is_free_after(self.scan, self.chain.end)
    }

    /// Whether no digits are attached after group `last`, and nothing on either side.
    pub(super) fn is_separate(&self, last: usize) -> bool {
        self.chain.is_free_after(last) && self.is_detached_after(last) && self.is_detached_before()
    }

    /// Whether a comma after the chain begins the next cell of a row, rather than a fraction: `,2026-07-12`, `,7,`.
    pub(super) fn ends_cell(&self, last: usize) -> bool {
        let rest = self.scan.bytes(self.chain.end..self.scan.text.len().min(self.chain.end + 24));
        let Some(cell) = rest.strip_prefix(b",").filter(|_| last + 1 == self.chain.count) else { return false };
        let digits = cell.iter().take_while(|byte| byte.is_ascii_digit()).count();
        digits >= 4 || digits > 0 && cell.get(digits) == Some(&b',')
    }

    /// Whether groups have no other digits or placeholders next to them, not even after a blank.
    pub(super) fn is_alone(&self, first: usize, last: usize) -> bool {
        (first, last + 1) == (0, self.chain.count)
            && !self.scan.bytes(0..self.start()).ends_with(b"] ")
            && self.scan.bytes(self.chain.end..self.chain.end + 2) != b" ["
    }

    /// Whether group `index` is in round brackets.
    pub(super) fn is_bracketed(&self, index: usize) -> bool {
        self.chain.sep(index) == b')' && self.scan.byte_before(self.chain.at(index), 1) == b'('
    }

    /// Whether the word before it names counts, orders or things.
    pub(super) fn counts_thing(&self) -> bool {
        let is_bare = !matches!(self.chain.sep(self.first), b' ' | b'-' | b'.' | b')');
        follows_thing_word(self.scan, self.start(), is_bare)
    }
}

/// Whether a value at `start` is not attached to a longer name, path or number before it.
pub(super) fn is_free_before(scan: &TextScan<'_>, start: usize) -> bool {
    let (before, second_before) = (scan.byte_before(start, 1), scan.byte_before(start, 2));
    match before {
        b'-' | b'+' => !second_before.is_ascii_alphanumeric() && !matches!(second_before, b'_' | b']'),
        b'.' | b'/' | b':' | b',' => !second_before.is_ascii_digit(),
        b'_' | b'$' => false,
        byte => !byte.is_ascii_alphanumeric() || scan.is_escape_letter(start),
    }
}

/// Whether a value that ends at `end` is not attached to a longer name after it. An extension may follow.
pub(super) fn is_free_after(scan: &TextScan<'_>, end: usize) -> bool {
    let (after, second_after) = (scan.byte(end), scan.byte(end + 1));
    match after {
        b'x' | b'X' => second_after.is_ascii_digit() || second_after == b' ',
        b'e' => scan.bytes(end..end + 3) == b"ext",
        b'-' | b'+' => !second_after.is_ascii_alphanumeric(),
        b'.' | b',' | b':' => !second_after.is_ascii_digit(),
        b'_' | b'%' => false,
        byte => !byte.is_ascii_alphanumeric(),
    }
}

static THINGS: LazyLock<WordSet> = LazyLock::new(|| WordSet::listed("numbers.numbered_things"));

/// Words for numbered things that also come before phone numbers (`the office line`, `any time`). They count only right
/// before bare digits, or before `#`, `:` or a word for "number".
static AMBIGUOUS_THINGS: LazyLock<WordSet> = LazyLock::new(|| WordSet::listed("numbers.numbered_things_ambiguous"));

/// Whether a word is in either list.
pub(super) fn is_thing(word: &[u8]) -> bool {
    THINGS.contains(word) || AMBIGUOUS_THINGS.contains(word)
}

/// Whether the nearest significant word before `at` names a numbered thing. `is_bare`: the digits have no separators.
pub(super) fn follows_thing_word(scan: &TextScan<'_>, at: usize, is_bare: bool) -> bool {
    let before = scan.bytes(at.saturating_sub(40)..at);
    let line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let has_mark = || line.trim_ascii_end().last().is_some_and(|mark| b"#:=\"'".contains(mark));
    let words = line.rsplit(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    for (fillers, word) in words.take(3).enumerate() {
        // productId, orderNumber
        let camel_head = [&b"Id"[..], b"ID", b"Number", b"No"].iter().find_map(|tail| word.strip_suffix(*tail));
        let camel_word = |head: &[u8]| {
            let start = head.iter().rposition(u8::is_ascii_uppercase).unwrap_or(0);
            is_thing(head.get(start..).unwrap_or_default())
        };
        if THINGS.contains(word) || AMBIGUOUS_THINGS.contains(word) && (is_bare || fillers > 0 || has_mark()) {
            return true;
        }
        if let Some(head) = camel_head.filter(|head| !head.is_empty()) {
            return camel_word(head);
        }
        if !word_set!("numbers.thing_linking_words").contains(word) {
            return false;
        }
    }
    false
}

/// End of an extension after a phone number, such as ` x123` or `ext. 12`; otherwise `end`.
pub(super) fn extension_end(scan: &TextScan<'_>, end: usize) -> usize {
    // A single letter needs a digit right behind it, or a blank on both sides; `, x: 1` is no extension
    const NOTATION: &str =
        r"(?i-u)\A(?:[ ,]{0,3}(?:extension|extn?|int\.)[. :]{0,3}| ?[x#]| x {1,3}|, x {1,3}\d\d\d)\d{1,7}\b";
    let rest = scan.bytes(end..end + 28);
    let first = rest.iter().find(|byte| !matches!(byte, b' ' | b','));
    if !first.is_some_and(|byte| b"eixEIX#".contains(byte)) {
        return end;
    }
    let notation = once!(Option<Regex>, compile(NOTATION, false).ok());
    notation.as_ref().and_then(|notation| notation.find(rest)).map_or(end, |found| end + found.end())
}

/// Bytes on each side of a finding that are read.
const MAX_DUMP_DISTANCE: usize = 64;

/// Whether a finding follows a row's offset, or has a group of hex digits and letters of its width on its line.
pub(super) fn is_in_hex_dump(scan: &TextScan<'_>, found: &Range<usize>) -> bool {
    let width = scan.bytes(found.clone()).iter().position(|byte| *byte == b' ').unwrap_or(0);
    if !matches!(width, 2 | 4 | 8) {
        return false;
    }
    let is_hex_group = |token: &[u8]| {
        token.len() == width
            && token.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && token.iter().any(u8::is_ascii_digit) != token.iter().all(u8::is_ascii_digit)
    };
    let before = scan.bytes(found.start.saturating_sub(MAX_DUMP_DISTANCE)..found.start);
    let line_before = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let after = scan.bytes(found.end..found.end + MAX_DUMP_DISTANCE);
    let line_after = after.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let offset =
        line_before.trim_ascii_end().strip_suffix(b":").and_then(|line| line.rsplit(|byte| *byte == b' ').next());
    let follows_offset = offset.is_some_and(|offset| offset.len() > 3 && offset.iter().all(u8::is_ascii_hexdigit));
    follows_offset
        || [line_before, line_after].into_iter().any(|line| line.split(|byte| *byte == b' ').any(is_hex_group))
}
