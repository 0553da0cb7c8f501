//! Fingerprints of content, keyed at random once per process. The text can't be recovered from them. The case of ASCII
//! letters and the kind of white space make no difference. `search` matches them.

use std::sync::Arc;

use super::fold::ContentFolder;
use kernel::rng::Rng;

/// Number of bytes that one fingerprint covers.
pub(super) const FINGERPRINT_BYTES: usize = 4;
/// Length of a *run*: consecutive fingerprints of content. A text that contains a run repeats content.
pub(super) const RUN_LENGTH: usize = 5;
/// Number of bytes that a run covers.
pub(super) const RUN_BYTES: usize = RUN_LENGTH * FINGERPRINT_BYTES;

/// The bit of each byte that differs between upper and lower case: in ASCII, and in the second byte of a Latin-1
/// letter.
const CASE_BITS: u32 = 0x2020_2020;
const TOP_BITS: u32 = 0x8080_8080;

pub struct FingerprintKey {
    addend: u32,
    multiplier: u32,
}

impl FingerprintKey {
    pub fn new(rng: &dyn Rng) -> Self {
        let (mut addend, mut multiplier) = ([0; 4], [0; 4]);
        rng.fill(&mut addend);
        rng.fill(&mut multiplier);
        Self { addend: u32::from_le_bytes(addend), multiplier: u32::from_le_bytes(multiplier) | 1 }
    }

    /// Hashes four bytes: the upper bits of the product depend on every bit of both factors. In the first byte of a
    /// multi-byte character the lowest bit is ignored, because upper and lower case differ there in Cyrillic and Greek.
    #[inline(always)]
    fn fingerprint(&self, bytes: &[u8; FINGERPRINT_BYTES]) -> u16 {
        let bytes = u32::from_le_bytes(*bytes);
        // The top two bits of a character's first byte are set
        let first_bytes = bytes & (bytes << 1) & TOP_BITS;
        (((bytes | CASE_BITS | (first_bytes >> 7)) ^ self.addend).wrapping_mul(self.multiplier) >> 16) as u16
    }

    /// Fingerprints of content: one for every four bytes, without overlap.
    fn content_fingerprints(&self, text: &[u8]) -> Arc<[u16]> {
        let mut fingerprints = Vec::with_capacity(text.len() / FINGERPRINT_BYTES + 1);
        ContentFolder::new().fold_text(
            text,
            #[inline(always)]
            |part| {
                let (chunks, _) = part.as_chunks::<FINGERPRINT_BYTES>();
                fingerprints.extend(chunks.iter().map(|bytes| self.fingerprint(bytes)));
                chunks.len() * FINGERPRINT_BYTES
            },
        );
        fingerprints.into()
    }

    /// Fingerprints of a text that is searched for content: one at every byte.
    pub(super) fn text_fingerprints(&self, text: &[u8]) -> Vec<u16> {
        text.array_windows::<FINGERPRINT_BYTES>().map(|bytes| self.fingerprint(bytes)).collect()
    }
}

/// Fingerprints of some content, one list for each text. Has no `Debug`, because they derive from content.
#[derive(Clone, Default)]
pub struct ContentFingerprints(Vec<Arc<[u16]>>);

impl ContentFingerprints {
    /// Adds a text, if it is long enough to be matched.
    pub fn add(&mut self, key: &FingerprintKey, text: &str) {
        if text.len() >= RUN_BYTES {
            self.0.push(key.content_fingerprints(text.as_bytes()));
        }
    }

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
