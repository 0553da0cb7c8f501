//! [`ContentFingerprint`]: a fingerprint of a piece of content, without its text. Hashes are 16 bytes of SHA-256, so
//! that two different contents can't be crafted to match.

use std::hash::{DefaultHasher, Hash, Hasher};

use sha2::{Digest, Sha256};

use crate::piece::ContentPiece;

use super::chunks::split_chunks;

/// Shorter content is not referred to: a reference would take as much space.
pub(super) const MIN_REFERENCE_BYTES: usize = 256;

/// One message, or another element, of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ValueChunk {
    hash: [u8; 16],
    pub(super) chars: u32,
    pub(super) bytes: u32,
}

/// Fingerprint of a piece (see the module).
#[derive(Clone)]
pub struct ContentFingerprint {
    /// Whether the piece is part of the model's input.
    pub(super) is_context: bool,
    /// Whether the piece is system instructions or tool definitions.
    pub(super) is_fixed: bool,
    /// Hash of part, place, key and event.
    pub(super) head_hash: u64,
    /// Hash of the whole element, its value included.
    pub(super) element_hash: [u8; 16],
    /// Size of the element, bytes.
    pub(super) bytes: u32,
    /// Chunks of the value; none if the value is short.
    pub(super) chunks: Box<[ValueChunk]>,
}

impl ContentFingerprint {
    /// Fingerprint of a piece that is never referred to.
    pub fn none() -> Self {
        Self {
            is_context: false,
            is_fixed: false,
            head_hash: 0,
            element_hash: [0; 16],
            bytes: 0,
            chunks: Box::default(),
        }
    }

    /// Fingerprint of a part of a context: its head, its element as JSON, and its value as text (as JSON if it is not a
    /// text).
    pub fn from_piece(piece: &ContentPiece<'_>, is_fixed: bool, element: &str, value: &str) -> Self {
        let mut head_hasher = DefaultHasher::new();
        (&piece.part, &piece.on, &piece.key, &piece.event).hash(&mut head_hasher);
        let chunks = if value.len() < MIN_REFERENCE_BYTES { Vec::new() } else { split_chunks(value) };
        let to_value_chunk = |chunk: &str| ValueChunk {
            hash: short_hash(chunk),
            chars: u32::try_from(chunk.chars().count()).unwrap_or(u32::MAX),
            bytes: u32::try_from(chunk.len()).unwrap_or(u32::MAX),
        };
        Self {
            is_context: true,
            is_fixed,
            head_hash: head_hasher.finish(),
            element_hash: short_hash(element),
            bytes: u32::try_from(element.len()).unwrap_or(u32::MAX),
            chunks: chunks.into_iter().map(to_value_chunk).collect(),
        }
    }

    /// Bytes used in memory.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.chunks.len() * size_of::<ValueChunk>()
    }
}

fn short_hash(text: &str) -> [u8; 16] {
    Sha256::digest(text).first_chunk::<16>().copied().unwrap_or_default()
}
