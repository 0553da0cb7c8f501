//! [`ByteCounts`]: the number of bytes of each kind in a value, because most checks of a value depend on counts. One
//! pass, one table look-up per byte. The checks of values use the counts.

/// Counts of a value's bytes by kind.
#[derive(Clone, Copy, Default)]
pub(super) struct ByteCounts {
    pub(super) len: usize,
    pub(super) lower: usize,
    pub(super) upper: usize,
    pub(super) digits: usize,
    pub(super) blanks: usize,
    /// Bytes that are not letters, digits or blanks.
    pub(super) marks: usize,
    /// Those marks that only join words: `-`, `_`, `.`.
    pub(super) joints: usize,
    /// Whether all bytes are hexadecimal digits.
    pub(super) hex: bool,
    /// Number of different bytes.
    pub(super) distinct: u32,
}

/// For each byte, the counts that it increments, eight bits each: small letters, capitals, digits, blanks, joints, and
/// non-hex bytes.
static INCREMENTS: [u64; 256] = increments();

const fn increments() -> [u64; 256] {
    let mut increments = [0; 256];
    let (mut slots, mut byte): (&mut [u64], u8) = (&mut increments, 0);
    while let [slot, rest @ ..] = slots {
        let is_of_kind = [
            byte.is_ascii_lowercase(),
            byte.is_ascii_uppercase(),
            byte.is_ascii_digit(),
            byte.is_ascii_whitespace(),
            matches!(byte, b'-' | b'_' | b'.'),
            !byte.is_ascii_hexdigit(),
        ];
        let [lower, upper, digit, blank, joint, not_hex] = is_of_kind;
        *slot =
            u64::from_le_bytes([lower as u8, upper as u8, digit as u8, blank as u8, joint as u8, not_hex as u8, 0, 0]);
        slots = rest;
        byte = byte.wrapping_add(1);
    }
    increments
}

impl ByteCounts {
    pub(super) fn count(value: &[u8]) -> Self {
        let (mut counts, mut seen, mut has_non_hex) = (Self { len: value.len(), ..Self::default() }, [0_u64; 4], false);
        // An eight-bit count can't overflow in 255 bytes
        for part in value.chunks(255) {
            let mut sums = 0;
            for byte in part {
                sums += INCREMENTS.get(usize::from(*byte)).copied().unwrap_or_default();
                if let Some(word) = seen.get_mut(usize::from(byte >> 6)) {
                    *word |= 1 << (byte & 63);
                }
            }
            let [lower, upper, digits, blanks, joints, non_hex, ..] = sums.to_le_bytes().map(usize::from);
            counts.lower += lower;
            counts.upper += upper;
            counts.digits += digits;
            counts.blanks += blanks;
            counts.joints += joints;
            has_non_hex |= non_hex > 0;
        }
        counts.hex = !has_non_hex;
        counts.marks = counts.len - counts.lower - counts.upper - counts.digits - counts.blanks;
        counts.distinct = seen.iter().map(|word| word.count_ones()).sum();
        counts
    }

    pub(super) fn letters(&self) -> usize {
        self.lower + self.upper
    }

    /// Number of kinds present: lower case, upper case, digits, marks.
    pub(super) fn kind_count(&self) -> usize {
        [self.lower, self.upper, self.digits, self.marks].iter().filter(|count| **count > 0).count()
    }

    /// Whether a value has only letters.
    pub(super) fn is_only_letters(&self) -> bool {
        self.letters() == self.len
    }
}
