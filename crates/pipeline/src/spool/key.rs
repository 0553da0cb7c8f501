//! [`SpoolKey`]: the key that seals the spool. It is never printed; its id, a hash of the key, is public. The cipher is
//! in `cipher`; the app handles key files.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use kernel::hex;
use kernel::key_source::{KeySource, LazyKey};
use kernel::rng::Rng;
use kernel::secret::Secret;
use kernel::sha256::{Sha256, hkdf_sha256};

/// A 256-bit key of the spool and its public id.
#[derive(Clone)]
pub struct SpoolKey {
    pub(super) id: [u8; 8],
    bytes: Zeroizing<[u8; 32]>,
}

impl SpoolKey {
    /// Makes a key from 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let hash = Sha256::digest_parts([b"tollgate spool key id\0".as_slice(), &bytes]);
        let id = std::array::from_fn(|at| hash.get(at).copied().unwrap_or_default());
        Self { id, bytes: Zeroizing::new(bytes) }
    }

    /// Makes a key from 32 bytes written as base64 (either alphabet, padded or not) or as 64 hex digits; surrounding
    /// white space is ignored.
    ///
    /// # Errors
    /// A fixed text.
    pub fn from_secret(secret: &Secret) -> Result<Self, &'static str> {
        const INVALID: &str = "must be 32 bytes, as base64 or hex";
        let text = secret.expose().trim();
        let decoded = if text.len() == 64 {
            Zeroizing::new(hex::decode(text).ok_or(INVALID)?)
        } else {
            let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
            Zeroizing::new(engines.iter().find_map(|engine| engine.decode(text).ok()).ok_or(INVALID)?)
        };
        let bytes = Zeroizing::new(<[u8; 32]>::try_from(decoded.as_slice()).map_err(|_| INVALID)?);
        Ok(Self::from_bytes(*bytes))
    }

    /// A key of the configuration. A text is read at once, other sources when the gateway starts.
    pub fn from_source(source: &KeySource) -> Result<LazyKey<Self>, &'static str> {
        Ok(match source {
            KeySource::Value(secret) => LazyKey::with_key(source.clone(), Self::from_secret(secret)?),
            KeySource::Service(_) | KeySource::Unknown => LazyKey::new(source.clone()),
        })
    }

    /// A new random key.
    pub fn generate(rng: &dyn Rng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill(bytes.as_mut_slice());
        Self::from_bytes(*bytes)
    }

    /// The key as text for a key file (base64).
    pub fn to_secret(&self) -> Secret {
        Secret::new(STANDARD.encode(self.bytes.as_slice()))
    }

    /// Public id: 16 hex digits, a hash of the key.
    pub fn id(&self) -> String {
        hex::encode(&self.id)
    }

    /// Derives a key for another file next to the spool, with HKDF-SHA256. `salt` is the file's own; `info` names the
    /// use.
    pub fn derive(&self, salt: &[u8; 32], info: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        hkdf_sha256(salt, self.bytes.as_slice(), info)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl From<SpoolKey> for LazyKey<SpoolKey> {
    fn from(key: SpoolKey) -> Self {
        Self::with_key(KeySource::Value(key.to_secret()), key)
    }
}
