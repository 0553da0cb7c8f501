//! **What**: [`Bytes`] and [`Words`], sets that are asked by one look-up. **Why**: most time goes into reading names, blanks and
//! separators byte by byte, and into lists of words; a table saves a chain of comparisons for each. **Invariants**: tables
//! of bytes are made by the compiler; nothing is allocated in a look-up. **Not here**: classes of 64 bytes at a time (`masks`).

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

const fn holds(mut bytes: &[u8], byte: u8) -> bool {
    while let [first, rest @ ..] = bytes {
        if *first == byte {
            return true;
        }
        bytes = rest;
    }
    false
}

/// A set of words. ASCII case does not count.
pub(super) struct Words {
    /// Lengths of words by the lowest five bits of their first letter: most words are refused by that.
    lengths: [u32; 32],
    /// Words from their hash on; half of the slots are free.
    slots: Vec<Option<&'static str>>,
}

impl Words {
    /// The words of a text that white space parts, in lower case.
    pub(super) fn new(text: &'static str) -> Self {
        Self::of(text.split_ascii_whitespace())
    }

    /// These words, in lower case.
    pub(super) fn of(words: impl IntoIterator<Item = &'static str>) -> Self {
        let words: Vec<&'static str> = words.into_iter().collect();
        let mut made = Self { lengths: [0; 32], slots: vec![None; (words.len() * 2 + 1).next_power_of_two()] };
        for word in words {
            if let Some(lengths) =
                word.as_bytes().first().and_then(|first| made.lengths.get_mut(usize::from(first & 31)))
            {
                *lengths |= 1 << word.len().min(31);
            }
            let (mut slot, mask) = (Self::hash(word.as_bytes()), made.slots.len() - 1);
            while made.slots.get(slot & mask).is_some_and(Option::is_some) {
                slot += 1;
            }
            if let Some(free) = made.slots.get_mut(slot & mask) {
                *free = Some(word);
            }
        }
        made
    }

    /// Whether `word` is one of them.
    #[inline]
    pub(super) fn has(&self, word: impl AsRef<[u8]>) -> bool {
        let word = word.as_ref();
        let first = word.first().map_or(0, |first| usize::from(first & 31));
        self.lengths.get(first).is_some_and(|lengths| lengths >> word.len().min(31) & 1 == 1) && self.holds(word)
    }

    fn holds(&self, word: &[u8]) -> bool {
        let (mut slot, mask) = (Self::hash(word), self.slots.len() - 1);
        while let Some(Some(known)) = self.slots.get(slot & mask) {
            if known.as_bytes().eq_ignore_ascii_case(word) {
                return true;
            }
            slot += 1;
        }
        false
    }

    fn hash(word: &[u8]) -> usize {
        let head = word.iter().take(8).fold(word.len() as u64, |hash, byte| hash << 8 | u64::from(byte | 0x20));
        let last = word.last().map_or(0, |last| u64::from(last | 0x20));
        ((head ^ last << 56).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
    }
}
