//! SHA-256, HMAC and HKDF by aws-lc, the library that also does TLS and AES-256-GCM. With the feature `fips` it is the
//! validated module. Spool, vault, pseudonyms and signatures hash through here; only `age` has hashing of its own.

use aws_lc_rs::digest::{self, Context, SHA256};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use zeroize::Zeroizing;

#[cfg(test)]
mod tests;

/// Length up to which a list is hashed in one call.
const SHORT_LIST_BYTES: usize = 256;

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;

/// A SHA-256 (FIPS 180-4) that is fed in parts.
#[derive(Clone)]
pub struct Sha256(Context);

impl Sha256 {
    /// The hash of nothing so far.
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// The hash of `bytes`.
    pub fn digest(bytes: impl AsRef<[u8]>) -> [u8; HASH_BYTES] {
        to_array(digest::digest(&SHA256, bytes.as_ref()).as_ref())
    }

    pub fn digest_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; HASH_BYTES] {
        let mut hash = Self::new();
        parts.into_iter().for_each(|part| hash.update(part));
        hash.finalize()
    }

    /// The hash of a list of parts, see [`Self::update_list`].
    pub fn digest_list(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> [u8; HASH_BYTES] {
        let mut hash = Self::new();
        hash.update_list(parts);
        hash.finalize()
    }

    /// The first 16 bytes of [`Self::digest_list`]: a key of things with these ids. Different lists have different
    /// keys, except for a collision of 128 bits.
    pub fn short_list(parts: &[&[u8]]) -> [u8; 16] {
        // one call for short lists, which are hashed for each span
        let (mut joined, mut length) = ([0_u8; SHORT_LIST_BYTES], 0);
        for part in parts {
            for bytes in [&(part.len() as u64).to_le_bytes()[..], part] {
                let end = length + bytes.len();
                if let Some(slot) = joined.get_mut(length..end) {
                    slot.copy_from_slice(bytes);
                }
                length = end;
            }
        }
        let hash = joined.get(..length).map_or_else(|| Self::digest_list(parts), Self::digest);
        hash.first_chunk().copied().unwrap_or_default()
    }

    /// Appends each part after its length, so that two lists have the same hash only if their parts are the same.
    pub fn update_list(&mut self, parts: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        for part in parts {
            self.update((part.as_ref().len() as u64).to_le_bytes());
            self.update(part);
        }
    }

    /// Appends bytes.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes.as_ref());
    }

    /// The hash of everything that was appended.
    pub fn finalize(self) -> [u8; HASH_BYTES] {
        to_array(self.0.finish().as_ref())
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

/// An HMAC-SHA-256 (RFC 2104) that is fed in parts.
pub struct HmacSha256(hmac::Context);

impl HmacSha256 {
    /// The code of nothing so far, under a key of any length.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Context::with_key(&hmac::Key::new(HMAC_SHA256, key)))
    }

    /// Appends bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The code of everything that was appended.
    pub fn finalize(self) -> [u8; HASH_BYTES] {
        to_array(self.0.sign().as_ref())
    }
}

/// The HMAC-SHA-256 (RFC 2104) of `bytes`.
pub fn hmac_sha256(key: &[u8], bytes: &[u8]) -> [u8; HASH_BYTES] {
    to_array(hmac::sign(&hmac::Key::new(HMAC_SHA256, key), bytes).as_ref())
}

/// A key of 32 bytes by HKDF-SHA-256 (RFC 5869). `None`: the library refused, for which there is no known cause.
pub fn hkdf_sha256(salt: &[u8], secret: &[u8], info: &[u8]) -> Option<Zeroizing<[u8; HASH_BYTES]>> {
    let mut derived = Zeroizing::new([0; HASH_BYTES]);
    let extracted = Salt::new(HKDF_SHA256, salt).extract(secret);
    extracted.expand(&[info], HKDF_SHA256).ok()?.fill(derived.as_mut_slice()).ok()?;
    Some(derived)
}

/// SHA-256 always has 32 bytes; anything else would be a fault of the library, and gives zeros.
fn to_array(bytes: &[u8]) -> [u8; HASH_BYTES] {
    bytes.try_into().unwrap_or([0; HASH_BYTES])
}
