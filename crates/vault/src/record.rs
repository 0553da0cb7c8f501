//! **What**: the bodies of the vault's spool records: a small JSON header, then bytes.
//! **Why**: an upload must be resumable from the spool alone, after any crash, by any later version.
//! **Invariants**: `u32` little-endian length of the header, the header (trailing spaces allowed), the rest; headers
//! take unknown fields (an older tollgate may read a newer spool's records). **Not here**: the spool's own framing.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::chain::position::Position;

/// Header of a `Key` record; the body is the key object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHeader {
    /// Name of the key object.
    pub name: String,
    /// Key id.
    pub key: String,
    /// Epoch that made it; empty in records of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub epoch: String,
}

/// Header of a `Fragment` record; the body is one age file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentHeader {
    /// Name of the payload object.
    pub object: String,
    /// Epoch of the object.
    pub epoch: String,
    /// Key id it is sealed to.
    pub key: String,
    /// Fragment id, hex.
    pub fragment: String,
    /// Where it starts in the object, bytes.
    pub offset: u64,
    /// No fragment follows it in the object.
    pub last: bool,
}

/// Header of a `Leaf` record; the body is index lines, each ended by a line feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafHeader {
    /// Writer.
    pub writer: String,
    /// Epoch.
    pub epoch: String,
    /// Number of the first line.
    pub first: u64,
    /// Lines.
    pub count: u64,
    /// Payload object the lines point into, if any.
    pub object: Option<String>,
    /// UTC day of arrival.
    pub day: String,
}

/// What a seal closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sealed {
    /// A payload object: the bodies of the claimed fragments, in order.
    Object,
    /// An index object: the body of the seal itself. Written by versions without a chain.
    Index,
    /// A digest, its signature, and its index object if it has one: the body of the seal itself.
    Digest,
}

/// Header of a `Seal` record: committed before the first attempt to write the object, so that every attempt, after
/// any crash, writes the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealHeader {
    /// Name of the object.
    pub name: String,
    /// What it is.
    pub kind: Sealed,
    /// Spool positions of the records that are done when the object is stored.
    pub claims: Vec<u64>,
    /// Of a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestSeal>,
}

/// What the seal of a digest holds: the index object, the digest, 64 bytes of signature, and the object with lines of
/// sessions, end to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestSeal {
    /// Writer.
    pub writer: String,
    /// Name of the index object, if there is one.
    pub index: Option<String>,
    /// Its size, bytes.
    pub index_len: u64,
    /// Size of the digest, bytes.
    pub json_len: u64,
    /// Name of the object with lines of sessions, if there is one; it stands behind the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<String>,
    /// Where the chain stands with it.
    pub position: Position,
}

/// A record's body.
pub fn pack<H: Serialize>(header: &H, rest: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    let json = serde_json::to_vec(header).unwrap_or_default(); // structs of strings and numbers: can't fail
    out.reserve(4 + json.len() + rest.len());
    out.put_u32_le(u32::try_from(json.len()).unwrap_or(u32::MAX));
    out.put_slice(&json);
    out.put_slice(rest);
    out.freeze()
}

/// Takes a body apart. `None`: it is not one.
pub fn unpack<H: DeserializeOwned>(body: &Bytes) -> Option<(H, Bytes)> {
    let (length, rest) = body.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (header, _) = rest.split_at_checked(length)?;
    let header = serde_json::from_slice(header).ok()?;
    Some((header, body.slice(4 + length..)))
}

/// A body with room for a header that is known only later: the header's largest form decides the room.
pub struct Frame {
    bytes: Vec<u8>,
    room: usize,
}

impl Frame {
    /// Room for a header no longer than `largest`.
    pub fn with_room<H: Serialize>(largest: &H) -> Self {
        let room = serde_json::to_vec(largest).map_or(0, |json| json.len());
        let mut bytes = Vec::with_capacity(4 + room + 4096);
        bytes.extend_from_slice(&u32::try_from(room).unwrap_or(u32::MAX).to_le_bytes());
        bytes.resize(4 + room, b' ');
        Self { bytes, room }
    }

    /// To append the rest.
    pub fn rest_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The rest so far.
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(4 + self.room..).unwrap_or_default()
    }

    /// Size of the whole body, bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes the header; a shorter one is filled up with spaces.
    pub fn finish<H: Serialize>(mut self, header: &H) -> Bytes {
        let json = serde_json::to_vec(header).unwrap_or_default();
        debug_assert!(json.len() <= self.room);
        if let Some(to) = self.bytes.get_mut(4..4 + json.len().min(self.room)) {
            for (to, from) in to.iter_mut().zip(&json) {
                *to = *from;
            }
        }
        self.bytes.into()
    }
}
