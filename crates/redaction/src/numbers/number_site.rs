//! [`NumberSite`]: a group in a chain of digits at which an id may start, with the checks common to all kinds. The
//! words around the site are read at most once, and only when needed.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::LazyLock;

use super::super::pairs::ends_with;
use super::super::rule::RuleFamily;
use super::super::scan::TextScan;
use super::super::sets::WordSet;
use super::digit_chain::DigitChain;
use super::number_cues::NumberCues;
use crate::wordlists;

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
    /// The kind of the previous value in a list that this value continues.
    pub(super) list_kind: Option<RuleFamily>,
    /// End of the last finding.
    pub(super) claimed_end: usize,
    cues: OnceCell<NumberCues>,
    counts_thing: OnceCell<bool>,
}

impl<'a, 't> NumberSite<'a, 't> {
    /// Creates the site at group `first`.
    pub(super) fn new(
        scan: &'a TextScan<'t>,
        chain: &'a DigitChain,
        first: usize,
        has_cues: bool,
        list_kind: Option<RuleFamily>,
    ) -> Self {
        Self {
            scan,
            chain,
            first,
            has_cues,
            list_kind,
            claimed_end: 0,
            cues: OnceCell::new(),
            counts_thing: OnceCell::new(),
        }
    }

    /// Position of its first digit.
    pub(super) fn start(&self) -> usize {
        self.chain.group(self.first).at
    }

    /// Digits of group `index`.
    pub(super) fn group_digits(&self, index: usize) -> &'t [u8] {
        let group = self.chain.group(index);
        self.scan.text.as_bytes().get(group.at..group.at + group.len).unwrap_or_default()
    }

    /// Digits of groups `first..=last` without separators; `None` if there are more than `N`.
    pub(super) fn digits<const N: usize>(&self, first: usize, last: usize) -> Option<([u8; N], usize)> {
        let (mut digits, mut len) = ([0_u8; N], 0);
        for group in (first..=last).map(|index| self.group_digits(index)) {
            let slots = digits.get_mut(len..len + group.len())?;
            slots.iter_mut().zip(group).for_each(|(to, from)| *to = from - b'0');
            len += group.len();
        }
        Some((digits, len))
    }

    /// The words around it. The value extends to the end of the chain.
    pub(super) fn cues(&self) -> &NumberCues {
        self.cues.get_or_init(|| {
            if !self.has_cues {
                return NumberCues::NONE;
            }
            let mut cues = NumberCues::around(self.scan, &(self.start()..self.chain.end));
            if let Some(family) = self.list_kind {
                cues.continue_list(family);
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
        if self.first > 0 {
            return self.chain.is_free_before(self.first);
        }
        let (before, second_before) = (self.scan.byte_before(self.start(), 1), self.scan.byte_before(self.start(), 2));
        match before {
            b'_' => false,
            b'-' => !second_before.is_ascii_alphanumeric() && second_before != b'_' && second_before != b']',
            b'.' | b'/' | b':' | b',' => !second_before.is_ascii_digit() || self.claimed_end + 1 == self.start(),
            _ => true,
        }
    }

    /// Whether it begins its chain, after a letter and a dash.
    pub(super) fn follows_dash(&self) -> bool {
        let (before, second_before) = (self.scan.byte_before(self.start(), 1), self.scan.byte_before(self.start(), 2));
        self.first == 0 && before == b'-' && second_before.is_ascii_alphabetic()
    }

    /// Whether group `last` is not attached to a longer name after it.
    pub(super) fn is_detached_after(&self, last: usize) -> bool {
        if last + 1 < self.chain.count {
            return true;
        }
        let (after, second_after) = (self.scan.byte(self.chain.end), self.scan.byte(self.chain.end + 1));
        match after {
            b'x' | b'X' => second_after.is_ascii_digit() || second_after == b' ',
            b'e' => self.scan.bytes(self.chain.end..self.chain.end + 3) == b"ext",
            b'_' | b'%' => false,
            b'-' => !second_after.is_ascii_alphanumeric(),
            b'.' | b',' | b':' => !second_after.is_ascii_digit(),
            _ => !after.is_ascii_alphanumeric(),
        }
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

    /// Like [`Self::is_detached_after`], but a port, path or punctuation may follow.
    pub(super) fn is_detached_address_after(&self, last: usize) -> bool {
        let (after, second_after) = (self.scan.byte(self.chain.end), self.scan.byte(self.chain.end + 1));
        last + 1 < self.chain.count
            || match after {
                b'_' => false,
                b'-' | b'.' => !second_after.is_ascii_alphanumeric(),
                _ => !after.is_ascii_alphanumeric(),
            }
    }

    /// Whether groups have no other digits or placeholders next to them, not even after a blank.
    pub(super) fn is_alone(&self, first: usize, last: usize) -> bool {
        let end = self.chain.end;
        let is_beside_placeholder = |blank: u8, mark: u8, bracket: u8| blank == b' ' && mark == bracket;
        self.chain.is_whole_chain(first, last)
            && !is_beside_placeholder(
                self.scan.byte_before(self.start(), 1),
                self.scan.byte_before(self.start(), 2),
                b']',
            )
            && !is_beside_placeholder(self.scan.byte(end), self.scan.byte(end + 1), b'[')
    }

    /// Whether group `index` is in round brackets.
    pub(super) fn is_bracketed(&self, index: usize) -> bool {
        let group = self.chain.group(index);
        group.sep == b')' && self.scan.byte_before(group.at, 1) == b'('
    }

    /// Whether the word before it names counts, orders or things.
    pub(super) fn counts_thing(&self) -> bool {
        *self.counts_thing.get_or_init(|| {
            follows_thing_word(
                self.scan,
                self.start(),
                !matches!(self.chain.sep(self.first), b' ' | b'-' | b'.' | b')'),
            )
        })
    }

    /// The finding of a phone number in groups `first..=last`, with its opening bracket and extension.
    pub(super) fn phone_finding(&self, family: RuleFamily, first: usize, last: usize) -> NumberFinding {
        let range = self.chain.range(first, last);
        let start = if self.is_bracketed(first) { range.start.saturating_sub(1) } else { range.start };
        let end = if last + 1 == self.chain.count { extension_end(self, range.end) } else { range.end };
        NumberFinding { family, range: start..end }
    }
}

/// Words for numbered things.
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
    let mut words = line.rsplit(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let has_mark = || line.trim_ascii_end().last().is_some_and(|mark| b"#:=\"'".contains(mark));
    for fillers in 0..3 {
        let Some(word) = words.next() else { return false };
        if THINGS.contains(word) || AMBIGUOUS_THINGS.contains(word) && (is_bare || fillers > 0 || has_mark()) {
            return true;
        }
        // productId, orderNumber
        let camel_head = [&b"Id"[..], b"ID", b"Number", b"No"].iter().find_map(|tail| word.strip_suffix(*tail));
        if let Some(head) = camel_head.filter(|head| !head.is_empty()) {
            let mut things = wordlists::words("numbers.numbered_things")
                .chain(wordlists::words("numbers.numbered_things_ambiguous"));
            return things.any(|thing| ends_with(head, thing.as_bytes()));
        }
        if !word_set!("numbers.thing_linking_words").contains(word) {
            return false;
        }
    }
    false
}

/// End of an extension such as ` x123` or `ext. 12`; otherwise `end`.
pub(super) fn extension_end(site: &NumberSite<'_, '_>, end: usize) -> usize {
    let rest = site.scan.bytes(end..end + 24);
    // Quick check: nearly no text begins like an extension
    let first = rest.iter().take(4).find(|byte| !matches!(byte, b' ' | b','));
    if !matches!(first.or_else(|| rest.get(4)), Some(b'e' | b'E' | b'i' | b'I' | b'x' | b'X' | b'#')) {
        return end;
    }
    let lower: [u8; 24] = std::array::from_fn(|index| rest.get(index).copied().unwrap_or(b'\n').to_ascii_lowercase());
    let blanks = lower.iter().take(4).take_while(|byte| b" ,".contains(byte)).count();
    let word = lower.get(blanks..).unwrap_or_default();
    let marks: [&[u8]; 6] = [b"extension", b"extn", b"ext", b"int.", b"x", b"#"];
    let Some(mark) = marks.iter().find(|mark| word.starts_with(mark)) else { return end };
    let after_mark = word.get(mark.len()..).unwrap_or_default();
    let gap = after_mark.iter().take(4).take_while(|byte| b". :".contains(byte)).count();
    let digits = after_mark.iter().skip(gap).take(8).take_while(|byte| byte.is_ascii_digit()).count();
    // `, x: 1` is not an extension, ` x 123` is
    let has_comma = lower.first() == Some(&b',');
    let is_spaced = *mark == b"x" && blanks > 0 && digits > 1 && after_mark.iter().take(gap).all(|byte| *byte == b' ');
    if mark.len() == 1
        && (gap > 0 || blanks > 1 || has_comma)
        && !(is_spaced && (!has_comma || blanks == 1 && digits > 3))
    {
        return end;
    }
    let next = after_mark.get(gap + digits).copied().unwrap_or(b'\n');
    if (1..=7).contains(&digits) && !next.is_ascii_alphanumeric() {
        end + blanks + mark.len() + gap + digits
    } else {
        end
    }
}
