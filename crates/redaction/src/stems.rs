//! Finds the known words (stems) that begin at the start of a word. A filter of two look-ups rejects most words, three
//! bit tests select a short list to compare; this costs less than any multi-pattern search. Case is ignored unless the
//! stem says otherwise. `anchors` finds word starts.

use std::collections::BTreeSet;
use std::ops::Range;

use super::action::WordAction;

/// A known word.
#[derive(Clone)]
pub(super) struct Stem {
    /// Its bytes: lower case unless `exact`.
    pub(super) text: Box<[u8]>,
    /// Whether case counts.
    pub(super) exact: bool,
    /// Whether no letter or digit may follow.
    pub(super) whole: bool,
    /// The action where it is found.
    pub(super) action: WordAction,
}

/// An occurrence of a stem.
#[derive(Clone, Copy)]
pub(super) struct StemMatch {
    /// Position of its first byte.
    pub(super) start: usize,
    /// Position after its last byte.
    pub(super) end: usize,
    /// The action of the stem.
    pub(super) action: WordAction,
}

/// Slots of a [`StemTable`].
const SLOTS: usize = 1 << 13;
/// Shortest stem.
pub(super) const SHORTEST: usize = 2;
/// Bytes that may follow a stem of two letters, which is looked up by three bytes.
const AFTER_TWO_LETTERS: &[u8] = b" \t\n\r.,:;=_-/\"'`|)]}>\\*&#";

/// First filter: whether any stem may begin with some bytes. Its two hash tables are small enough for the first-level
/// cache.
struct FirstBytesFilter {
    /// For stems of four or more bytes, by their first four: a bit for each of eight classes of the next two bytes.
    by_four: Box<[u8; FOUR_SLOTS]>,
    /// For shorter stems, by their first three bytes (with one that may follow a stem of two): 1.
    by_three: Box<[u8; THREE_SLOTS]>,
}

/// Slots of the two tables.
const FOUR_SLOTS: usize = 1 << 14;
const THREE_SLOTS: usize = 1 << 13;
/// Multiplier that mixes a number's bits into its top bits.
const MIX: u32 = 0x9E37_79B1;

impl FirstBytesFilter {
    /// Builds the filter from the first eight bytes and lengths of stems of at least four bytes (`long`), and the first
    /// bytes of shorter ones.
    fn new(long: impl Iterator<Item = (u64, usize)>, short: impl Iterator<Item = u64>) -> Self {
        let mut filter = Self { by_four: Box::new([0; FOUR_SLOTS]), by_three: Box::new([0; THREE_SLOTS]) };
        for (begins, len) in long {
            let classes = if len < 6 { u8::MAX } else { 1 << Self::class_of_next_two(begins) };
            let slot = filter.by_four.get_mut(Self::slot::<FOUR_SLOTS>(begins as u32));
            slot.into_iter().for_each(|slot| *slot |= classes);
        }
        for begins in short {
            let slot = filter.by_three.get_mut(Self::slot::<THREE_SLOTS>((begins as u32) << 8));
            slot.into_iter().for_each(|slot| *slot = 1);
        }
        filter
    }

    /// The slot of four bytes, or of three in the upper bytes of a number.
    #[inline(always)]
    fn slot<const COUNT: usize>(begins: u32) -> usize {
        (begins.wrapping_mul(MIX) >> (32 - COUNT.ilog2())) as usize
    }

    /// One of eight classes of the fifth and sixth byte.
    #[inline(always)]
    fn class_of_next_two(begins: u64) -> u32 {
        (((begins >> 32) as u32) << 16).wrapping_mul(MIX) >> 29
    }

    /// Sets the lowest bit if any stem may begin with these bytes.
    #[inline(always)]
    fn may_begin(&self, begins: u64) -> u64 {
        let byte = |table: &[u8], slot: usize| table.get(slot).map_or(0, |byte| u64::from(*byte));
        let four = byte(&*self.by_four, Self::slot::<FOUR_SLOTS>(begins as u32));
        let three = byte(&*self.by_three, Self::slot::<THREE_SLOTS>((begins as u32) << 8));
        (four >> Self::class_of_next_two(begins)) | three
    }
}

pub(super) struct Stems {
    first_bytes: FirstBytesFilter,
    /// Stems of four or more bytes, by the first four; shorter ones by the first three.
    long: StemTable<4>,
    short: StemTable<3>,
    /// Whether capitalised words that may be given names are searched.
    pub(super) has_given_names: bool,
    /// Whether a stem begins with a digit that no letter follows.
    pub(super) has_numeric: bool,
    /// The action at a secret's word that is only the end of a longer word (`ftppassword`), if these are searched.
    pub(super) suffix_word_action: Option<WordAction>,
}

/// Stems by a hash of their first `BYTES` bytes.
struct StemTable<const BYTES: u32> {
    /// For each slot, the index of its first stem; then the number of stems.
    starts: Box<[u16; SLOTS + 1]>,
    stems: Vec<StemEntry>,
}

/// A stem with precomputed masks for the comparison.
struct StemEntry {
    /// Its first eight bytes, a mask of the bytes that it has, and the case bit of each byte that may have either case.
    begins: u64,
    mask: u64,
    case_bits: u64,
    stem: Stem,
}

impl StemEntry {
    fn new(stem: Stem) -> Self {
        let mask = u64::MAX.checked_shr(64 - 8 * stem.text.len().min(8) as u32).unwrap_or(0);
        let case_bit = |byte: u8| if !stem.exact && byte.is_ascii_alphabetic() { 0x20 } else { 0 };
        let case_bits = u64::from_le_bytes(eight_bytes(&stem.text, 0).to_le_bytes().map(case_bit));
        Self { begins: (eight_bytes(&stem.text, 0) | case_bits) & mask, mask, case_bits, stem }
    }

    /// Adds the stem if it occurs at `at`, where the next eight bytes are `bytes`.
    #[inline(always)]
    fn match_at(&self, bytes: u64, text: &[u8], at: usize, out: &mut Vec<StemMatch>) {
        if ((bytes | self.case_bits) ^ self.begins) & self.mask != 0 {
            return;
        }
        let end = at + self.stem.text.len();
        // The padding after the end of the text does not count
        if end <= text.len() && (self.stem.text.len() <= 8 || self.stem.matches_rest(text, at + 8..end)) {
            let continues = || text.get(end).is_some_and(u8::is_ascii_alphanumeric);
            if !(self.stem.whole && continues()) {
                out.push(StemMatch { start: at, end, action: self.stem.action });
            }
        }
    }
}

impl Stem {
    pub(super) fn new(text: &[u8], exact: bool, whole: bool, action: WordAction) -> Self {
        Self { text: text.into(), exact, whole, action }
    }

    /// Whether the stem's bytes after the first eight match; many stems begin alike (`customer_…`).
    fn matches_rest(&self, text: &[u8], range: Range<usize>) -> bool {
        let (Some(found), Some(wanted)) = (text.get(range), self.text.get(8..)) else { return false };
        if self.exact { found == wanted } else { found.eq_ignore_ascii_case(wanted) }
    }
}

impl<const BYTES: u32> StemTable<BYTES> {
    /// Builds the table from stems, each with its first bytes as a number.
    fn new(mut stems: Vec<(u64, Stem)>) -> Self {
        stems.sort_by_key(|(begins, _)| Self::slot(*begins));
        let mut starts = Box::new([0; SLOTS + 1]);
        for (slot, start) in starts.iter_mut().enumerate() {
            let index = stems.partition_point(|(begins, _)| Self::slot(*begins) < slot);
            *start = u16::try_from(index).unwrap_or(u16::MAX);
        }
        Self { starts, stems: stems.into_iter().map(|(_, stem)| StemEntry::new(stem)).collect() }
    }

    #[inline(always)]
    fn slot(begins: u64) -> usize {
        ((begins << (64 - 8 * BYTES)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - SLOTS.ilog2())) as usize
    }

    /// Adds the stems that occur at `at`, where the next eight bytes are `bytes`, or in lower case `begins`.
    #[inline(always)]
    fn match_at(&self, (bytes, begins): (u64, u64), text: &[u8], at: usize, out: &mut Vec<StemMatch>) {
        let slot = Self::slot(begins);
        let start = |slot: usize| self.starts.get(slot).map_or(0, |start| usize::from(*start));
        for entry in self.stems.get(start(slot)..start(slot + 1)).unwrap_or_default() {
            entry.match_at(bytes, text, at, out);
        }
    }
}

/// Eight bytes, padded with blanks at the end.
#[inline(always)]
fn eight_bytes(text: &[u8], at: usize) -> u64 {
    let rest = text.get(at..).unwrap_or_default();
    match rest.first_chunk() {
        Some(eight) => u64::from_le_bytes(*eight),
        None => (0..8).rev().fold(0, |bytes, at| bytes << 8 | u64::from(rest.get(at).copied().unwrap_or(b' '))),
    }
}

/// Eight bytes in lower case, padded with blanks at the end.
#[inline(always)]
fn eight_bytes_lower(text: &[u8], at: usize) -> u64 {
    eight_bytes(text, at) | LOWER
}

/// The case bit in each byte.
const LOWER: u64 = 0x2020_2020_2020_2020;

impl Stems {
    /// Builds the tables; stems shorter than two bytes are ignored.
    pub(super) fn new(stems: Vec<Stem>) -> Self {
        let (mut long, mut short) = (Vec::new(), Vec::new());
        let is_numeric = |stem: &Stem| match *stem.text {
            [first, next, ..] => first.is_ascii_digit() && !next.is_ascii_alphabetic(),
            _ => false,
        };
        let has_numeric = stems.iter().any(is_numeric);
        for stem in stems {
            match stem.text.len() {
                0 | 1 => {}
                2 => short.extend(
                    possible_first_bytes(&stem.text).map(|begins| (begins, Stem { whole: true, ..stem.clone() })),
                ),
                3 => short.push((eight_bytes_lower(&stem.text, 0), stem)),
                _ => long.push((eight_bytes_lower(&stem.text, 0), stem)),
            }
        }
        let first_bytes = FirstBytesFilter::new(
            long.iter().map(|(begins, stem)| (*begins, stem.text.len())),
            short.iter().map(|(begins, _)| *begins),
        );
        Self {
            first_bytes,
            long: StemTable::new(long),
            short: StemTable::new(short),
            has_given_names: false,
            has_numeric,
            suffix_word_action: None,
        }
    }

    /// Adds the stems that begin at `at`, where the next eight bytes are `bytes`.
    #[inline(always)]
    pub(super) fn match_at(&self, bytes: u64, text: &[u8], at: usize, out: &mut Vec<StemMatch>) {
        let begins = (bytes, bytes | LOWER);
        self.long.match_at(begins, text, at, out);
        self.short.match_at(begins, text, at, out);
    }

    /// Sets the lowest bit if any stem may begin with these eight bytes.
    #[inline(always)]
    pub(super) fn may_begin(&self, bytes: u64) -> u64 {
        self.first_bytes.may_begin(bytes | LOWER)
    }
}

/// The first bytes of a stem of two letters with each byte that may follow it, without duplicates.
fn possible_first_bytes(stem: &[u8]) -> impl Iterator<Item = u64> {
    let with_next = |next: &u8| {
        let text: Vec<u8> = stem.iter().copied().chain([*next]).collect();
        eight_bytes_lower(&text, 0)
    };
    AFTER_TWO_LETTERS.iter().map(with_next).collect::<BTreeSet<u64>>().into_iter()
}
