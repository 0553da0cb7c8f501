//! Fingerprints of content, keyed at random once per process. The text can't be recovered from them. The case of ASCII
//! letters and the kind of white space make no difference. `search` matches them.

use std::sync::Arc;

use super::fold::ContentFolder;
use kernel::rng::Rng;

/// Bytes under one fingerprint. Those of content are adjacent and do not overlap.
pub(super) const WIDTH: usize = 4;
/// Consecutive fingerprints that count as a match: 20 bytes, which any range of 23 bytes contains.
pub(super) const RUN: usize = 5;
/// Bytes under [`RUN`] fingerprints.
pub(super) const SPAN: usize = RUN * WIDTH;

/// Sets the case bit of ASCII letters, and of the two bytes of a Latin-1 letter.
const CASE: u32 = 0x2020_2020;
/// The top bit of each byte.
const HIGH: u32 = 0x8080_8080;

/// The random key of the fingerprints.
pub struct FingerprintKey {
    addend: u32,
    multiplier: u32,
}

impl FingerprintKey {
    /// Draws a new key.
    pub fn new(rng: &dyn Rng) -> Self {
        let (mut add, mut times) = ([0; 4], [0; 4]);
        rng.fill(&mut add);
        rng.fill(&mut times);
        Self { addend: u32::from_le_bytes(add), multiplier: u32::from_le_bytes(times) | 1 }
    }

    /// Hashes four bytes: the upper bits of the product depend on every bit of both factors. The first byte of a
    /// two-byte letter loses its last bit, because Cyrillic and Greek letters differ there between upper and lower
    /// case.
    #[inline(always)]
    fn fingerprint(&self, bytes: &[u8; WIDTH]) -> u16 {
        let bytes = u32::from_le_bytes(*bytes);
        let first = bytes & (bytes << 1) & HIGH;
        (((bytes | CASE | (first >> 7)) ^ self.addend).wrapping_mul(self.multiplier) >> 16) as u16
    }

    /// One fingerprint for every four bytes, for content.
    fn content_fingerprints(&self, text: &[u8]) -> Arc<[u16]> {
        let mut out = Vec::with_capacity(text.len() / WIDTH + 1);
        ContentFolder::new().fold_text(
            text,
            #[inline(always)]
            |part| {
                let (blocks, _) = part.as_chunks::<WIDTH>();
                out.extend(blocks.iter().map(|block| self.fingerprint(block)));
                blocks.len() * WIDTH
            },
        );
        out.into()
    }

    /// One fingerprint at every byte, for a text that is searched for content.
    pub(super) fn text_fingerprints(&self, text: &[u8]) -> Vec<u16> {
        text.array_windows::<WIDTH>().map(|bytes| self.fingerprint(bytes)).collect()
    }
}

/// Fingerprints of some content, one list for each text. Has no `Debug`, because they derive from content.
#[derive(Clone, Default)]
pub struct ContentFingerprints(Vec<Arc<[u16]>>);

impl ContentFingerprints {
    /// Adds a text, if it is long enough to be matched.
    pub fn add(&mut self, key: &FingerprintKey, text: &str) {
        if text.len() >= SPAN {
            self.0.push(key.content_fingerprints(text.as_bytes()));
        }
    }

    /// The fingerprints of each text.
    pub fn texts(&self) -> impl Iterator<Item = &[u16]> {
        self.0.iter().map(|text| &**text)
    }

    pub(super) fn shared_texts(&self) -> impl Iterator<Item = &Arc<[u16]>> {
        self.0.iter()
    }

    /// Whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
