//! **What**: [`Chain`]: groups of digits with single separators between them. **Why**: almost all structured ids are
//! told by the lengths of their groups. **Invariants**: at most [`MOST`] groups and 32 digits each; nothing is
//! allocated. **Not here**: what groups mean (`shapes`, `phone`, `card`, …).

use std::ops::Range;

/// Most groups of one chain.
pub(super) const MOST: usize = 16;
/// Longest group that is measured.
const LONGEST: usize = 32;

/// One group of digits.
#[derive(Clone, Copy, Default)]
pub(super) struct Group {
    /// Its first digit.
    pub(super) at: usize,
    /// How many digits.
    pub(super) len: usize,
    /// What stands behind it, before the next group: a separator, `)` for a closing bracket with or without a blank,
    /// `(` for an opening one, `~` for a separator between blanks; 0 at the end.
    pub(super) sep: u8,
}

/// A group as a chain holds it: most chains are short, and all their memory is cleared for each.
#[derive(Clone, Copy, Default)]
struct Packed {
    /// From the chain's first digit on.
    offset: u16,
    len: u8,
    sep: u8,
}

/// Groups of digits in a row.
pub(super) struct Chain {
    /// Its first digit.
    start: usize,
    groups: [Packed; MOST],
    /// How many groups there are.
    pub(super) count: usize,
    /// Behind the last digit.
    pub(super) end: usize,
}

impl Chain {
    /// The chain that starts with the digit at `at`.
    pub(super) fn read(text: &[u8], at: usize) -> Self {
        let mut chain = Self { start: at, groups: [Packed::default(); MOST], count: 0, end: at };
        let mut from = at;
        while let Some(group) = chain.groups.get_mut(chain.count) {
            let len = digits(text.get(from..).unwrap_or_default());
            // sixteen groups of 32 digits: neither is cut
            *group = Packed { offset: (from - at) as u16, len: len as u8, sep: 0 };
            chain.count += 1;
            chain.end = from + len;
            let Some((sep, width)) = separator(text.get(chain.end..).unwrap_or_default()) else { break };
            if chain.count == MOST {
                break;
            }
            group.sep = sep;
            from = chain.end + width;
        }
        chain
    }

    /// Group `index`; an empty one where there is none.
    pub(super) fn group(&self, index: usize) -> Group {
        let held = self.groups.get(index).filter(|_| index < self.count);
        held.map_or(Group::default(), |group| Group {
            at: self.start + usize::from(group.offset),
            len: usize::from(group.len),
            sep: group.sep,
        })
    }

    /// Length of group `index`, 0 where there is none.
    pub(super) fn len(&self, index: usize) -> usize {
        self.groups.get(index).map_or(0, |group| usize::from(group.len))
    }

    /// What stands behind group `index`, 0 where there is none.
    #[inline]
    pub(super) fn sep(&self, index: usize) -> u8 {
        self.groups.get(index).map_or(0, |group| group.sep)
    }

    /// What stands before group `index`, 0 at the first.
    pub(super) fn before(&self, index: usize) -> u8 {
        index.checked_sub(1).map_or(0, |last| self.sep(last))
    }

    /// Whether the groups from `first` on have these lengths, with one separator of `seps` between all of them, and end
    /// there; gives the separator.
    pub(super) fn is(&self, first: usize, lens: &[usize], seps: &[u8]) -> Option<u8> {
        let sep = self.sep(first);
        let inner = lens.len().saturating_sub(1);
        let same = lens
            .iter()
            .enumerate()
            .all(|(index, len)| self.len(first + index) == *len && (index >= inner || self.sep(first + index) == sep));
        (same && (inner == 0 || seps.contains(&sep)) && self.is_free_behind(first + inner)).then_some(sep)
    }

    /// Whether the groups from `first` on have these lengths and these separators behind each but the last, and end
    /// there.
    pub(super) fn is_mixed(&self, first: usize, lens: &[usize], seps: &[u8]) -> bool {
        let lens_fit = lens.iter().enumerate().all(|(index, len)| self.len(first + index) == *len);
        let seps_fit = seps.iter().enumerate().all(|(index, sep)| self.sep(first + index) == *sep);
        lens_fit && seps_fit && self.is_free_behind(first + lens.len().saturating_sub(1))
    }

    /// Whether no further digits are tied to group `index`.
    pub(super) fn is_free_behind(&self, index: usize) -> bool {
        matches!(self.sep(index), 0 | b' ' | b'(' | b')' | b'~')
    }

    /// Whether no digits are tied to group `index` from before.
    pub(super) fn is_free_before(&self, index: usize) -> bool {
        matches!(self.before(index), 0 | b' ' | b'(' | b')' | b'~')
    }

    /// Digits in groups `first..=last`.
    pub(super) fn digits(&self, first: usize, last: usize) -> usize {
        (first..=last).map(|index| self.len(index)).sum()
    }

    /// Whether group `first` and those behind it have so many digits: no more of them are read than that takes.
    pub(super) fn reaches(&self, first: usize, digits: usize) -> bool {
        let rest = self.groups.get(first..self.count).unwrap_or_default();
        let mut left = digits;
        rest.iter().any(|group| {
            left = left.saturating_sub(usize::from(group.len));
            left == 0
        })
    }

    /// The range of groups `first..=last`.
    pub(super) fn range(&self, first: usize, last: usize) -> Range<usize> {
        let end = self.group(last);
        self.group(first).at..end.at + end.len
    }

    /// Whether groups stand alone: no others beside them, also not behind a blank.
    pub(super) fn is_alone(&self, first: usize, last: usize) -> bool {
        first == 0 && last + 1 == self.count
    }
}

/// How many digits `rest` begins with, [`LONGEST`] at most: eight bytes are asked at once.
fn digits(rest: &[u8]) -> usize {
    let mut len = 0;
    while len < LONGEST {
        let Some(eight) = rest.get(len..).and_then(<[u8]>::first_chunk) else {
            return len + rest.iter().skip(len).take(LONGEST - len).take_while(|byte| byte.is_ascii_digit()).count();
        };
        let values = u64::from_le_bytes(*eight) ^ 0x3030_3030_3030_3030;
        // the highest bit of each that is above nine; what carries over comes behind the first of them
        let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
        if others != 0 {
            return len + (others.trailing_zeros() / 8) as usize;
        }
        len += 8;
    }
    len
}

/// The separator at the start of `rest` and its width, if a digit follows.
fn separator(rest: &[u8]) -> Option<(u8, usize)> {
    let digit = |index: usize| rest.get(index).is_some_and(u8::is_ascii_digit);
    match rest {
        [sep @ (b' ' | b'.' | b'-' | b'/' | b':'), ..] if digit(1) => Some((*sep, 1)),
        [b')', ..] if digit(1) => Some((b')', 1)),
        [b')', b' ' | b'-' | b'.' | b'/', ..] if digit(2) => Some((b')', 2)),
        [b' ' | b'-' | b'.', b'(', ..] if digit(2) => Some((b'(', 2)),
        [b'(', ..] if digit(1) => Some((b'(', 1)),
        [b' ', b'-' | b'/', b' ', ..] if digit(3) => Some((b'~', 3)),
        _ => None,
    }
}
