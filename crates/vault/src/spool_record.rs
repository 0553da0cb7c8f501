//! Bodies of the vault's spool records: a small JSON header, then bytes. An upload must be resumable from the spool
//! alone, after any crash, by any later version.
//!
//! The layout is the header's length (`u32` little-endian), the header (trailing spaces allowed), and the rest. Headers
//! ignore unknown fields, so an older tollgate can read a newer spool's records. Neighbour: `pipeline::spool` frames
//! the records.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::chain::position::ChainPosition;

/// Header of a `Key` record; the body is the key object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHeader {
    pub name: String,
    pub key: String,
    /// Epoch that created the key; empty in records of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub epoch: String,
}

/// Header of a `SealedFragment` record; the body is one age file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentHeader {
    /// Name of the payload object.
    pub object: String,
    /// Epoch of the payload object.
    pub epoch: String,
    /// Id of the key that the fragment is sealed to.
    pub key: String,
    /// Fragment id, hex.
    pub fragment: String,
    /// Offset in the object, bytes.
    pub offset: u64,
    /// Whether no fragment follows in the object.
    pub last: bool,
}

/// Header of a `Leaf` record; the body is index lines, each ended by a line feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafHeader {
    pub writer: String,
    pub epoch: String,
    /// Number of the first line.
    pub first: u64,
    /// Number of lines.
    pub count: u64,
    /// Payload object that the lines point to, if any.
    pub object: Option<String>,
    /// UTC day of arrival.
    pub day: String,
}

/// The kind of object that a seal record fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealKind {
    /// A payload object: the bodies of the claimed fragments, in order.
    Object,
    /// An index object: the body of the seal record itself. Written by versions without a chain.
    Index,
    /// A digest with its signature and, if there is one, its index object: the body of the seal record itself.
    Digest,
}

/// Header of a `Seal` record. The record is committed before the first attempt to write the object, so that
/// every attempt, after any crash, writes the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealHeader {
    pub name: String,
    pub kind: SealKind,
    /// Spool positions of the records that are done once the object is stored.
    pub claims: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestSeal>,
}

/// Parts of a digest's seal record. Its body is the index object, the digest, 64 bytes of signature, and the object
/// with session lines, end to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestSeal {
    pub writer: String,
    /// Name of the index object, if there is one.
    pub index: Option<String>,
    /// Size of the index object, bytes.
    pub index_len: u64,
    /// Size of the digest, bytes.
    pub json_len: u64,
    /// Name of the object with session lines, if there is one; its bytes follow the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<String>,
    /// The chain's position after this digest.
    pub position: ChainPosition,
}

/// Builds a record's body from a header and the bytes after it.
pub fn pack<H: Serialize>(header: &H, rest: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    let json = serde_json::to_vec(header).unwrap_or_default(); // structs of strings and numbers: serialising can't fail
    out.reserve(4 + json.len() + rest.len());
    out.put_u32_le(u32::try_from(json.len()).unwrap_or(u32::MAX));
    out.put_slice(&json);
    out.put_slice(rest);
    out.freeze()
}

/// Splits a record's body into header and rest; `None` if the body is malformed.
pub fn unpack<H: DeserializeOwned>(body: &Bytes) -> Option<(H, Bytes)> {
    let (length, rest) = body.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (header, _) = rest.split_at_checked(length)?;
    let header = serde_json::from_slice(header).ok()?;
    Some((header, body.slice(4 + length..)))
}

/// A record body that reserves room for a header known only later; the header's largest possible form decides the size.
pub struct RecordFrame {
    bytes: Vec<u8>,
    header_room: usize,
}

impl RecordFrame {
    /// Reserves room for a header no longer than `largest`.
    pub fn with_room<H: Serialize>(largest: &H) -> Self {
        let header_room = serde_json::to_vec(largest).map_or(0, |json| json.len());
        let mut bytes = Vec::with_capacity(4 + header_room + 4096);
        bytes.extend_from_slice(&u32::try_from(header_room).unwrap_or(u32::MAX).to_le_bytes());
        bytes.resize(4 + header_room, b' ');
        Self { bytes, header_room }
    }

    /// The buffer, to append the rest.
    pub fn rest_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The bytes after the header so far.
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(4 + self.header_room..).unwrap_or_default()
    }

    /// Size of the whole body, bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Writes the header and pads a shorter one with spaces.
    pub fn finish<H: Serialize>(mut self, header: &H) -> Bytes {
        let json = serde_json::to_vec(header).unwrap_or_default();
        debug_assert!(json.len() <= self.header_room);
        if let Some(room) = self.bytes.get_mut(4..4 + json.len().min(self.header_room)) {
            for (target, byte) in room.iter_mut().zip(&json) {
                *target = *byte;
            }
        }
        self.bytes.into()
    }
}
