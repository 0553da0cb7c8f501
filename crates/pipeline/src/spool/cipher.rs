//! [`SegmentCipher`]: seals the records of one segment with AES-256-GCM, and starts their CRC32C. The key is
//! HKDF-SHA256(spool key, salt of the segment); the nonce is the record's number in the segment. A number is never
//! sealed twice under one salt: after a failed write `commit` opens a new segment. `record` defines the sealed bytes.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use kernel::sha256::hkdf_sha256;

use super::key::SpoolKey;
use super::record::{TAG, TAIL};

/// Seals and opens the records of one segment.
pub(super) struct SegmentCipher {
    segment: u64,
    /// Checksum of the salt, with which the checksum of each record starts.
    salt_checksum: u32,
    /// `None` only for [`super::SpoolSettings::unsealed_for_self_check`].
    key: Option<LessSafeKey>,
}

impl SegmentCipher {
    /// The cipher of segment `segment` with `salt`. `None`: the library refused, for which there is no known cause.
    pub(super) fn new(key: &SpoolKey, salt: &[u8; 32], segment: u64, sealing: bool) -> Option<Self> {
        let salt_checksum = crc32c::crc32c(salt);
        if !sealing {
            return Some(Self { segment, salt_checksum, key: None });
        }
        // The stars are replaced by the segment's number.
        let mut info = *b"tollgate spool segment v1\0********";
        for (to, from) in info.iter_mut().rev().zip(segment.to_be_bytes().iter().rev()) {
            *to = *from;
        }
        let derived = hkdf_sha256(salt, key.bytes(), &info)?;
        let key = UnboundKey::new(&AES_256_GCM, derived.as_slice()).ok()?;
        Some(Self { segment, salt_checksum, key: Some(LessSafeKey::new(key)) })
    }

    /// Checksum of the salt and the tail of a record's header; the stored body must be appended.
    pub(super) fn checksum_start(&self, tail: &[u8; TAIL]) -> u32 {
        crc32c::crc32c_append(self.salt_checksum, tail)
    }

    /// Seals `body` in place and returns the tag that is stored after it.
    pub(super) fn seal(&self, tail: &[u8; TAIL], record: u32, account: &str, body: &mut [u8]) -> Option<[u8; TAG]> {
        let mut tag_bytes = [0; TAG];
        if let Some(key) = &self.key {
            let aad = Aad::from(self.associated_data(tail, account));
            let tag = key.seal_in_place_separate_tag(nonce(record), aad, body).ok()?;
            for (to, from) in tag_bytes.iter_mut().zip(tag.as_ref()) {
                *to = *from;
            }
        }
        Some(tag_bytes)
    }

    /// Opens `body` (as stored, tag last) in place; returns the length of the plain text at its start.
    pub(super) fn open(&self, tail: &[u8; TAIL], record: u32, account: &str, body: &mut [u8]) -> Option<usize> {
        match &self.key {
            Some(key) => {
                let aad = Aad::from(self.associated_data(tail, account));
                key.open_in_place(nonce(record), aad, body).ok().map(|plain| plain.len())
            }
            None => body.len().checked_sub(TAG),
        }
    }

    fn associated_data(&self, tail: &[u8; TAIL], account: &str) -> Vec<u8> {
        let mut aad = Vec::with_capacity(8 + TAIL + account.len());
        aad.extend_from_slice(&self.segment.to_le_bytes());
        aad.extend_from_slice(tail);
        aad.extend_from_slice(account.as_bytes());
        aad
    }
}

fn nonce(record: u32) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    for (to, from) in bytes.iter_mut().rev().zip(record.to_le_bytes()) {
        *to = from;
    }
    Nonce::assume_unique_for_key(bytes)
}
