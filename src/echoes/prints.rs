//! **What**: fingerprints of content. **Invariants**: keyed by chance, once per process; a text can't be read from them;
//! case of ASCII letters makes no difference, nor does which white space stands between words. **Not here**: how they are matched (`search`).

use std::sync::Arc;

use super::blanks;
use crate::rng::Rng;

/// Bytes between two fingerprints of content.
pub(super) const STEP: usize = 4;
/// Bytes under one fingerprint.
pub(super) const WIDTH: usize = 8;
/// Neighbouring fingerprints that count as a find: 20 bytes, of which any stretch of 23 holds some.
pub(super) const RUN: usize = 4;
/// Bytes under [`RUN`] fingerprints.
pub(super) const SPAN: usize = WIDTH + (RUN - 1) * STEP;

/// Makes upper and lower case letters of ASCII equal.
const CASE: u64 = 0x2020_2020_2020_2020;

/// What fingerprints are made with.
pub struct Key {
    add: u64,
    times: u64,
}

impl Key {
    /// A new one.
    pub fn new(rng: &dyn Rng) -> Self {
        let (mut add, mut times) = ([0; 8], [0; 8]);
        rng.fill(&mut add);
        rng.fill(&mut times);
        Self { add: u64::from_le_bytes(add), times: u64::from_le_bytes(times) | 1 }
    }

    /// The upper bits of a product depend on every bit of both.
    fn print(&self, bytes: u64) -> u16 {
        (((bytes | CASE) ^ self.add).wrapping_mul(self.times) >> 48) as u16
    }

    /// One at every fourth byte: of content.
    fn content(&self, text: &[u8]) -> Arc<[u16]> {
        let text = blanks::folded(text);
        let (words, _) = text.as_chunks::<STEP>();
        let word = |bytes: &[u8; STEP]| u64::from(u32::from_le_bytes(*bytes));
        let neighbours = words.iter().zip(words.get(1..).unwrap_or_default());
        neighbours.map(|(first, second)| self.print(word(first) | (word(second) << 32))).collect()
    }

    /// One at every byte: of a text in which content is looked for.
    pub(super) fn text(&self, text: &[u8]) -> Vec<u16> {
        text.array_windows::<WIDTH>().map(|bytes| self.print(u64::from_le_bytes(*bytes))).collect()
    }
}

/// Fingerprints of some content, text by text. No `Debug`.
#[derive(Clone, Default)]
pub struct Prints(Vec<Arc<[u16]>>);

impl Prints {
    /// Adds a text.
    pub fn add(&mut self, key: &Key, text: &str) {
        if text.len() >= SPAN {
            self.0.push(key.content(text.as_bytes()));
        }
    }

    /// Each text.
    pub fn texts(&self) -> impl Iterator<Item = &[u16]> {
        self.0.iter().map(|text| &**text)
    }

    pub(super) fn shared(&self) -> impl Iterator<Item = &Arc<[u16]>> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
