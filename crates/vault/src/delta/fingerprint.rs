//! [`ContentFingerprint`]: a fingerprint of a piece of content, without its text. Hashes are SipHash with keys that are
//! random in each process and never leave it, so that two different contents can't be crafted to match.

use std::hash::{BuildHasher as _, Hash, Hasher as _, RandomState};
use std::sync::LazyLock;

use crate::piece::ContentPiece;

use super::chunks::split_chunks;

/// Shorter content is not referred to: a reference would take as much space.
pub(super) const MIN_REFERENCE_BYTES: usize = 256;

/// The SipHash keys of all fingerprints of this process.
static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// One message, or another element, of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ValueChunk {
    hash: u64,
    pub(super) chars: u32,
    pub(super) bytes: u32,
}

/// Fingerprint of a piece (see the module). The default one is of a piece that is never referred to.
#[derive(Clone, Default)]
pub struct ContentFingerprint {
    /// Whether the piece is part of the model's input.
    pub(crate) is_context: bool,
    /// Whether the piece is system instructions or tool definitions.
    pub(super) is_fixed: bool,
    /// Hash of part, place, key and event.
    pub(super) head_hash: u64,
    /// Hash of the whole element, its value included (by the hashes of its chunks, if it has some).
    pub(super) element_hash: u64,
    /// Size of the element, bytes.
    pub(super) bytes: u32,
    /// Chunks of the value; none if the value is short.
    pub(super) chunks: Box<[ValueChunk]>,
}

impl ContentFingerprint {
    /// Fingerprint of a part of a context: its piece, its element as JSON (of which `head_len` bytes come before the
    /// value), its value as JSON, and as text if it is one.
    pub fn from_piece(
        piece: &ContentPiece<'_>,
        is_fixed: bool,
        (element, head_len): (&str, usize),
        (json, text): (&str, Option<&str>),
    ) -> Self {
        let value = text.unwrap_or(json);
        let chunks = if value.len() < MIN_REFERENCE_BYTES { Vec::new() } else { split_chunks(value) };
        let to_value_chunk = |chunk: &str| ValueChunk {
            hash: KEYS.hash_one(chunk),
            chars: u32::try_from(chunk.chars().count()).unwrap_or(u32::MAX),
            bytes: u32::try_from(chunk.len()).unwrap_or(u32::MAX),
        };
        let chunks: Box<[ValueChunk]> = chunks.into_iter().map(to_value_chunk).collect();
        let element_hash = match chunks.is_empty() {
            true => KEYS.hash_one(element),
            false => hash_chunks(element.get(..head_len).unwrap_or(element), text.is_some(), &chunks),
        };
        Self {
            is_context: true,
            is_fixed,
            head_hash: KEYS.hash_one((&piece.part, &piece.on, &piece.key, &piece.event)),
            element_hash,
            bytes: u32::try_from(element.len()).unwrap_or(u32::MAX),
            chunks,
        }
    }

    /// Bytes used in memory.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.chunks.len() * size_of::<ValueChunk>()
    }
}

/// Hash of an element whose value was hashed in chunks, so that no byte of a value is hashed twice.
fn hash_chunks(head: &str, is_text: bool, chunks: &[ValueChunk]) -> u64 {
    let mut hasher = KEYS.build_hasher();
    (head, is_text).hash(&mut hasher);
    chunks.iter().for_each(|chunk| (chunk.hash, chunk.bytes).hash(&mut hasher));
    hasher.finish()
}
