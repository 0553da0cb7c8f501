//! **What**: [`Bytes`], a set of bytes that is asked by one look-up. **Why**: most time goes into reading names, blanks and
//! separators byte by byte; a chain of comparisons for each of them is what a table saves. **Invariants**: tables are made
//! by the compiler. **Not here**: classes of 64 bytes at a time (`masks`).

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
