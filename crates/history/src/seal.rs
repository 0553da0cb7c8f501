//! [`SampleSealer`]: encrypts the samples in the file with a key derived from the spool's: AES-256-GCM, a random nonce
//! for each sample, a salt for each file. The file is in `store`.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use kernel::rng::Rng;
use pipeline::spool::SpoolKey;

/// Separates this use of the spool's key from others.
const INFO: &[u8] = b"tollgate history samples v1";

/// See the module.
pub(super) struct SampleSealer {
    key: LessSafeKey,
    rng: Arc<dyn Rng>,
}

impl SampleSealer {
    /// The sealer of a file with this salt. `None`: the library refused the key, for which there is no known cause.
    pub(super) fn new(key: &SpoolKey, salt: &[u8; 32], rng: Arc<dyn Rng>) -> Option<Self> {
        let derived = key.derive(salt, INFO)?;
        Some(Self { key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, derived.as_slice()).ok()?), rng })
    }

    /// Returns nonce, ciphertext, tag.
    pub(super) fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        self.rng.fill(&mut nonce);
        let mut body = plain.to_vec();
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut body).ok()?;
        Some([nonce.as_slice(), &body].concat())
    }

    /// Decrypts the output of [`Self::seal`]. `None`: not made with this key.
    pub(super) fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut body = body.to_vec();
        let plain = self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut body).ok()?;
        Some(plain.to_vec())
    }
}
