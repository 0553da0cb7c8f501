//! [`DigitChain`]: groups of digits with single separators between them, because nearly all structured ids are
//! recognised by the lengths of their groups. It has at most [`MAX_GROUPS`] groups of 32 digits and allocates nothing.
//! `phone`, `card` and others interpret the groups.

use std::ops::Range;

/// Most groups in a chain.
pub(super) const MAX_GROUPS: usize = 16;
/// Longest group that is measured.
const MAX_GROUP_LEN: usize = 32;

#[derive(Clone, Copy, Default)]
struct DigitGroup {
    /// Distance of its first digit from that of the chain.
    offset: u16,
    /// Number of digits.
    len: u8,
    /// The separator between it and the next group: a character, `)` for a closing bracket with or without a separator
    /// after it, `(` for an opening one, `~` for a separator between blanks; 0 at the end.
    sep: u8,
}

/// Consecutive groups of digits.
pub(super) struct DigitChain {
    groups: [DigitGroup; MAX_GROUPS],
    /// Number of groups.
    pub(super) count: usize,
    /// Position of the first digit.
    start: usize,
    /// Position after the last digit.
    pub(super) end: usize,
}

impl DigitChain {
    /// Reads the chain that starts with the digit at `at`.
    pub(super) fn read(text: &[u8], at: usize) -> Self {
        let mut chain = Self { groups: [DigitGroup::default(); MAX_GROUPS], count: 0, start: at, end: at };
        let (mut rest, mut offset) = (text.get(at..).unwrap_or_default(), 0);
        while let Some(group) = chain.groups.get_mut(chain.count) {
            let mut len = 0;
            while len < MAX_GROUP_LEN && rest.get(len).is_some_and(u8::is_ascii_digit) {
                len += 1;
            }
            *group = DigitGroup { offset: offset as u16, len: len as u8, sep: 0 };
            chain.count += 1;
            chain.end = at + offset + len;
            let Some((sep, width)) = read_separator(rest.get(len..).unwrap_or_default()) else { break };
            if chain.count == MAX_GROUPS {
                break;
            }
            group.sep = sep;
            offset += len + width;
            rest = rest.get(len + width..).unwrap_or_default();
        }
        chain
    }

    /// Position of the first digit of group `index`, 0 if there is none.
    pub(super) fn at(&self, index: usize) -> usize {
        self.groups.get(index).filter(|_| index < self.count).map_or(0, |group| self.start + usize::from(group.offset))
    }

    /// Length of group `index`, 0 if there is none.
    pub(super) fn len(&self, index: usize) -> usize {
        self.groups.get(index).map_or(0, |group| usize::from(group.len))
    }

    /// The separator after group `index`, 0 if there is none.
    #[inline]
    pub(super) fn sep(&self, index: usize) -> u8 {
        self.groups.get(index).map_or(0, |group| group.sep)
    }

    /// The separator before group `index`, 0 for the first.
    pub(super) fn sep_before(&self, index: usize) -> u8 {
        index.checked_sub(1).map_or(0, |last| self.sep(last))
    }

    /// Whether no more digits are attached after group `index`.
    pub(super) fn is_free_after(&self, index: usize) -> bool {
        matches!(self.sep(index), 0 | b' ' | b'(' | b')' | b'~')
    }

    /// Whether no digits are attached before group `index`.
    pub(super) fn is_free_before(&self, index: usize) -> bool {
        matches!(self.sep_before(index), 0 | b' ' | b'(' | b')' | b'~')
    }

    /// Number of digits in groups `first..=last`.
    pub(super) fn digit_count(&self, first: usize, last: usize) -> usize {
        (first..=last).map(|index| self.len(index)).sum()
    }

    /// Whether group `first` and those after it have at least so many digits.
    pub(super) fn has_digits(&self, first: usize, digits: usize) -> bool {
        let mut rest = self.groups.get(first..self.count).unwrap_or_default().iter();
        let mut left = digits;
        rest.any(|group| {
            left = left.saturating_sub(usize::from(group.len));
            left == 0
        })
    }

    /// The range of groups `first..=last`.
    pub(super) fn range(&self, first: usize, last: usize) -> Range<usize> {
        self.at(first)..self.at(last) + self.len(last)
    }
}

/// The separator at the start of `rest` and its width, if a digit follows.
fn read_separator(rest: &[u8]) -> Option<(u8, usize)> {
    let is_digit = |index: usize| rest.get(index).is_some_and(u8::is_ascii_digit);
    match rest {
        [sep @ (b' ' | b'.' | b'-' | b'/' | b':'), ..] if is_digit(1) => Some((*sep, 1)),
        [b')', ..] if is_digit(1) => Some((b')', 1)),
        [b')', b' ' | b'-' | b'.' | b'/', ..] if is_digit(2) => Some((b')', 2)),
        [b' ' | b'-' | b'.', b'(', ..] if is_digit(2) => Some((b'(', 2)),
        [b'(', ..] if is_digit(1) => Some((b'(', 1)),
        // The sign `№` between the series and the number of a passport
        [b' ', 0xE2, 0x84, 0x96, b' ', ..] if is_digit(5) => Some((b' ', 5)),
        [b' ', b'-' | b'/', b' ', ..] if is_digit(3) => Some((b'~', 3)),
        _ => None,
    }
}
