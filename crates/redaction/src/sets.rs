//! [`ByteSet`], [`WordSet`] and [`WordMap`]: tables with a single look-up. Most time is spent reading
//! names, blanks and separators byte by byte and checking word lists, where a table replaces a chain of comparisons.
//! Constant byte tables are built at compile time; a look-up does not allocate. `byte_masks` classifies 64 bytes at a
//! time.

use super::wordlists;

/// The words of a list as a set, made once.
macro_rules! word_set {
    ($list:literal) => {
        once!(crate::sets::WordSet, crate::sets::WordSet::listed($list))
    };
}

/// A set of bytes. Keep it in a `static`: a constant would be copied at each use.
pub(super) struct ByteSet([bool; 256]);

impl ByteSet {
    /// The set of `bytes`.
    pub(super) const fn new(bytes: &[u8]) -> Self {
        Self([false; 256]).fill(bytes, false, false)
    }

    /// Adds all ASCII letters and digits.
    pub(super) const fn and_alnum(self) -> Self {
        self.fill(b"", true, false)
    }

    /// Adds all non-ASCII bytes.
    pub(super) const fn and_non_ascii(self) -> Self {
        self.fill(b"", false, true)
    }

    pub(super) const fn complement(mut self) -> Self {
        let mut slots: &mut [bool] = &mut self.0;
        while let [slot, rest @ ..] = slots {
            *slot = !*slot;
            slots = rest;
        }
        self
    }

    const fn fill(mut self, bytes: &[u8], alnum: bool, high: bool) -> Self {
        let mut slots: &mut [bool] = &mut self.0;
        let mut byte = 0_u8;
        while let [slot, rest @ ..] = slots {
            *slot |=
                contains_byte(bytes, byte) || (alnum && byte.is_ascii_alphanumeric()) || (high && !byte.is_ascii());
            slots = rest;
            byte = byte.wrapping_add(1);
        }
        self
    }

    /// Whether a byte is in the set.
    #[inline(always)]
    pub(super) fn contains(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).copied().unwrap_or_default()
    }

    /// Number of leading bytes of `text` in the set.
    #[inline]
    pub(super) fn count_leading(&self, text: &[u8]) -> usize {
        text.iter().position(|byte| !self.contains(*byte)).unwrap_or(text.len())
    }

    /// Number of trailing bytes of `text` in the set.
    #[inline]
    pub(super) fn count_trailing(&self, text: &[u8]) -> usize {
        text.len() - text.iter().rposition(|byte| !self.contains(*byte)).map_or(0, |at| at + 1)
    }
}

const fn contains_byte(mut bytes: &[u8], byte: u8) -> bool {
    while let [first, rest @ ..] = bytes {
        if *first == byte {
            return true;
        }
        bytes = rest;
    }
    false
}

pub(super) type WordSet = WordMap<()>;

/// A map from words to values, ignoring ASCII case.
pub(super) struct WordMap<T> {
    /// By the lowest five bits of a word's first letter: one bit for each length of the map's words (31 for longer
    /// ones). Rejects most words.
    lengths: [u32; 32],
    /// Hash slots; half of them are free.
    slots: Vec<Option<(&'static str, T)>>,
}

impl WordSet {
    /// The words of a lower-case text, separated by white space.
    pub(super) fn new(text: &'static str) -> Self {
        Self::from_words(text.split_ascii_whitespace())
    }

    /// The words of a list of `config/rules/lists`.
    pub(super) fn listed(name: &str) -> Self {
        Self::from_words(wordlists::words(name))
    }

    /// The set of these lower-case words.
    pub(super) fn from_words(words: impl IntoIterator<Item = &'static str>) -> Self {
        Self::from_entries(words.into_iter().map(|word| (word, ())).collect())
    }

    /// Whether `word` is in the set.
    #[inline]
    pub(super) fn contains(&self, word: impl AsRef<[u8]>) -> bool {
        self.get(word.as_ref()).is_some()
    }
}

impl<T: Copy> WordMap<T> {
    /// The map of these words, which must be distinct and in lower case.
    pub(super) fn from_entries(words: Vec<(&'static str, T)>) -> Self {
        let mut map = Self { lengths: [0; 32], slots: vec![None; (words.len() * 2 + 1).next_power_of_two()] };
        for (word, value) in words {
            let bytes = word.as_bytes();
            if let Some(lengths) = bytes.first().and_then(|first| map.lengths.get_mut(usize::from(first & 31))) {
                *lengths |= 1 << bytes.len().min(31);
            }
            let (mut slot, mask) = (hash_any_case(bytes), map.slots.len() - 1);
            while map.slots.get(slot & mask).is_some_and(Option::is_some) {
                slot += 1;
            }
            if let Some(free) = map.slots.get_mut(slot & mask) {
                *free = Some((word, value));
            }
        }
        map
    }

    /// The value of a word.
    #[inline]
    pub(super) fn get(&self, word: &[u8]) -> Option<T> {
        let first = word.first().map_or(0, |first| usize::from(first & 31));
        let is_possible = self.lengths.get(first).is_some_and(|lengths| lengths >> word.len().min(31) & 1 == 1);
        if is_possible { self.find_entry(word) } else { None }
    }

    fn find_entry(&self, word: &[u8]) -> Option<T> {
        let (mut slot, mask) = (hash_any_case(word), self.slots.len() - 1);
        while let Some(Some((known, value))) = self.slots.get(slot & mask) {
            if known.as_bytes().eq_ignore_ascii_case(word) {
                return Some(*value);
            }
            slot += 1;
        }
        None
    }
}

/// Hashes a word in lower case by its first eight bytes, its last one and its length.
#[inline]
fn hash_any_case(word: &[u8]) -> usize {
    let head = match (word.first_chunk(), word.first_chunk(), word.last_chunk()) {
        (Some(eight), ..) => u64::from_le_bytes(*eight),
        (_, Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        _ => word.iter().fold(0, |head, byte| head << 8 | u64::from(*byte)),
    };
    let last = word.last().map_or(0, |last| u64::from(*last));
    let any_case = (head ^ last << 56) | 0x2020_2020_2020_2020;
    ((any_case ^ word.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
}

/// Hashes a word eight bytes at a time; unkeyed, because the tables are fixed.
pub(super) fn hash(word: &[u8]) -> usize {
    let (parts, rest) = word.as_chunks::<8>();
    let last = rest.iter().fold(rest.len() as u64, |part, byte| part << 8 | u64::from(*byte));
    let mix = |hash: u64, part: u64| (hash.rotate_left(23) ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hash = parts.iter().fold(0, |hash, part| mix(hash, u64::from_le_bytes(*part)));
    (mix(hash, last) >> 40) as usize
}
