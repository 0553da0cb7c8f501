//! **What**: fingerprints of content. **Invariants**: keyed by chance, once per process; a text can't be read from
//! them; case of ASCII letters makes no difference, nor does which white space stands between words. **Not here**: how
//! they are matched (`search`).

use std::sync::Arc;

use super::fold::Fold;
use kernel::rng::Rng;

/// Bytes under one fingerprint. Those of content lie one behind the other.
pub(super) const WIDTH: usize = 4;
/// Neighbouring fingerprints that count as a find: 20 bytes, of which any stretch of 23 holds some.
pub(super) const RUN: usize = 5;
/// Bytes under [`RUN`] fingerprints.
pub(super) const SPAN: usize = RUN * WIDTH;

/// Makes upper and lower case letters of ASCII equal, and in two bytes those of Latin-1.
const CASE: u32 = 0x2020_2020;
/// The first bit of each byte.
const HIGH: u32 = 0x8080_8080;

/// What fingerprints are made with.
pub struct Key {
    add: u32,
    times: u32,
}

impl Key {
    /// A new one.
    pub fn new(rng: &dyn Rng) -> Self {
        let (mut add, mut times) = ([0; 4], [0; 4]);
        rng.fill(&mut add);
        rng.fill(&mut times);
        Self { add: u32::from_le_bytes(add), times: u32::from_le_bytes(times) | 1 }
    }

    /// The upper bits of a product depend on every bit of both. First bytes of a letter lose their last bit: lower case
    /// Cyrillic and Greek stands half a block behind the upper one.
    #[inline(always)]
    fn print(&self, bytes: &[u8; WIDTH]) -> u16 {
        let bytes = u32::from_le_bytes(*bytes);
        let first = bytes & (bytes << 1) & HIGH;
        (((bytes | CASE | (first >> 7)) ^ self.add).wrapping_mul(self.times) >> 16) as u16
    }

    /// One for every four bytes: of content.
    fn content(&self, text: &[u8]) -> Arc<[u16]> {
        let mut out = Vec::with_capacity(text.len() / WIDTH + 1);
        Fold::new().text(
            text,
            #[inline(always)]
            |part| {
                let (blocks, _) = part.as_chunks::<WIDTH>();
                out.extend(blocks.iter().map(|block| self.print(block)));
                blocks.len() * WIDTH
            },
        );
        out.into()
    }

    /// One at every byte: of a text in which content is looked for.
    pub(super) fn text(&self, text: &[u8]) -> Vec<u16> {
        text.array_windows::<WIDTH>().map(|bytes| self.print(bytes)).collect()
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
