//! **What**: [`Bytes`], [`Bits`] and [`Words`], sets that are asked by one look-up. **Why**: most time goes into
//! reading names, blanks and separators byte by byte, and into lists of words; a table saves a chain of comparisons for
//! each. **Invariants**: tables of bytes that are known are made by the compiler; nothing is allocated in a look-up.
//! **Not here**: classes of 64 bytes at a time (`masks`).

/// A set of bytes. Held in a `static`: a constant would be copied where it is used.
pub(super) struct Bytes([bool; 256]);

impl Bytes {
    /// These bytes.
    pub(super) const fn of(bytes: &[u8]) -> Self {
        Self([false; 256]).fill(bytes, false, false)
    }

    /// And all ASCII letters and digits.
    pub(super) const fn and_alnum(self) -> Self {
        self.fill(b"", true, false)
    }

    /// And all bytes of characters that are no ASCII.
    pub(super) const fn and_high(self) -> Self {
        self.fill(b"", false, true)
    }

    /// All bytes that are not in it.
    pub(super) const fn others(mut self) -> Self {
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
            *slot |= holds(bytes, byte) || (alnum && byte.is_ascii_alphanumeric()) || (high && !byte.is_ascii());
            slots = rest;
            byte = byte.wrapping_add(1);
        }
        self
    }

    /// Whether a byte is in the set.
    #[inline(always)]
    pub(super) fn has(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).copied().unwrap_or_default()
    }

    /// How many bytes of the set `text` begins with.
    #[inline]
    pub(super) fn leading(&self, text: &[u8]) -> usize {
        text.iter().position(|byte| !self.has(*byte)).unwrap_or(text.len())
    }

    /// How many bytes of the set `text` ends with.
    #[inline]
    pub(super) fn trailing(&self, text: &[u8]) -> usize {
        text.len() - text.iter().rposition(|byte| !self.has(*byte)).map_or(0, |at| at + 1)
    }
}

/// A set of bytes that a pattern tells: a bit for each.
#[derive(Clone, Copy, Default)]
pub(super) struct Bits([u64; 4]);

impl Bits {
    /// All bytes of these ranges, whose ends count too.
    pub(super) fn of(ranges: impl IntoIterator<Item = (u8, u8)>) -> Self {
        let mut made = Self::default();
        ranges.into_iter().for_each(|(from, to)| made.add(from, to));
        made
    }

    /// Adds the bytes from one to another, both of them too.
    pub(super) fn add(&mut self, from: u8, to: u8) {
        for byte in from..=to {
            self.0.get_mut(usize::from(byte >> 6)).into_iter().for_each(|bits| *bits |= 1 << (byte & 63));
        }
    }

    /// Whether a byte is in the set.
    #[inline(always)]
    pub(super) fn has(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte >> 6)).is_some_and(|bits| bits >> (byte & 63) & 1 == 1)
    }

    /// Whether any byte is in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(one, other)| one & other != 0)
    }
}

const fn holds(mut bytes: &[u8], byte: u8) -> bool {
    while let [first, rest @ ..] = bytes {
        if *first == byte {
            return true;
        }
        bytes = rest;
    }
    false
}

/// A set of words.
pub(super) type Words = Map<()>;

/// Words, and what each of them stands for. ASCII case does not count.
pub(super) struct Map<T> {
    /// Lengths of words by the lowest five bits of their first letter: most words are refused by that.
    lengths: [u32; 32],
    /// Words from their hash on; half of the slots are free.
    slots: Vec<Option<(&'static str, T)>>,
}

impl Words {
    /// The words of a text that white space parts, in lower case.
    pub(super) fn new(text: &'static str) -> Self {
        Self::of(text.split_ascii_whitespace())
    }

    /// These words, in lower case.
    pub(super) fn of(words: impl IntoIterator<Item = &'static str>) -> Self {
        Self::mapped(words.into_iter().map(|word| (word, ())).collect())
    }

    /// Whether `word` is one of them.
    #[inline]
    pub(super) fn has(&self, word: impl AsRef<[u8]>) -> bool {
        self.get(word.as_ref()).is_some()
    }
}

impl<T: Copy> Map<T> {
    /// Words in lower case, each once, and what they stand for.
    pub(super) fn mapped(words: Vec<(&'static str, T)>) -> Self {
        let mut made = Self { lengths: [0; 32], slots: vec![None; (words.len() * 2 + 1).next_power_of_two()] };
        for (word, value) in words {
            let bytes = word.as_bytes();
            if let Some(lengths) = bytes.first().and_then(|first| made.lengths.get_mut(usize::from(first & 31))) {
                *lengths |= 1 << bytes.len().min(31);
            }
            let (mut slot, mask) = (hash_any_case(bytes), made.slots.len() - 1);
            while made.slots.get(slot & mask).is_some_and(Option::is_some) {
                slot += 1;
            }
            if let Some(free) = made.slots.get_mut(slot & mask) {
                *free = Some((word, value));
            }
        }
        made
    }

    /// What a word stands for; none where it is not one of them.
    #[inline]
    pub(super) fn get(&self, word: &[u8]) -> Option<T> {
        let first = word.first().map_or(0, |first| usize::from(first & 31));
        let may = self.lengths.get(first).is_some_and(|lengths| lengths >> word.len().min(31) & 1 == 1);
        if may { self.held(word) } else { None }
    }

    fn held(&self, word: &[u8]) -> Option<T> {
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

/// By the first eight bytes, the last one and the length, in lower case.
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

/// Of eight bytes at a time: words are short, and tables are fixed.
pub(super) fn hash(word: &[u8]) -> usize {
    let (parts, rest) = word.as_chunks::<8>();
    let last = rest.iter().fold(rest.len() as u64, |part, byte| part << 8 | u64::from(*byte));
    let mix = |hash: u64, part: u64| (hash.rotate_left(23) ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hash = parts.iter().fold(0, |hash, part| mix(hash, u64::from_le_bytes(*part)));
    (mix(hash, last) >> 40) as usize
}
