//! [`FastRecipient`]: an age X25519 recipient whose key agreement is done by aws-lc, which takes half the time that the
//! crate `age` takes. The stanza is the one of the age specification (section "The X25519 recipient type"), so every
//! age implementation opens the file. `seal` uses it for fragments, because each fragment costs one key agreement.

use std::collections::HashSet;
use std::io;

use age_core::format::{FileKey, Stanza};
use age_core::primitives::{aead_encrypt, bech32_decode, hkdf};
use age_core::secrecy::ExposeSecret;
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use zeroize::Zeroizing;

use kernel::rng::{Rng as _, SystemRng};

/// Tag of the stanza, and the label of its key derivation.
const TAG: &str = "X25519";
const LABEL: &[u8] = b"age-encryption.org/v1/X25519";

/// Seals to one X25519 public key.
pub(crate) struct FastRecipient {
    public: [u8; 32],
}

impl FastRecipient {
    /// Takes the public key from `recipient`. `None` if its text is not that of an X25519 key.
    pub(crate) fn new(recipient: &age::x25519::Recipient) -> Option<Self> {
        let decoded = bech32_decode(
            &recipient.to_string(),
            |_| (),
            |_| Ok(()),
            |_, bytes| bytes.collect::<Vec<u8>>().try_into().map_err(|_| ()),
        );
        decoded.ok().map(|public| Self { public })
    }

    /// The stanza that holds `file_key`; `None` if the public key is one that gives everybody the same secret.
    fn stanza(&self, file_key: &FileKey) -> Option<Stanza> {
        // from the system's generator: the first use of aws-lc's own one takes a tenth of a second
        let mut secret = Zeroizing::new([0; 32]);
        SystemRng.fill(&mut *secret);
        let secret = PrivateKey::from_private_key(&X25519, &*secret).ok()?;
        let ephemeral = secret.compute_public_key().ok()?;
        let salt = [ephemeral.as_ref(), &self.public].concat();
        let public = UnparsedPublicKey::new(&X25519, &self.public);
        let body = agree(&secret, public, (), |shared| {
            Ok(aead_encrypt(&hkdf(&salt, LABEL, shared), file_key.expose_secret()))
        });
        Some(Stanza { tag: TAG.to_owned(), args: vec![STANDARD_NO_PAD.encode(ephemeral)], body: body.ok()? })
    }
}

impl age::Recipient for FastRecipient {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let refused = || age::EncryptError::Io(io::Error::other("the key agreement failed"));
        Ok((vec![self.stanza(file_key).ok_or_else(refused)?], HashSet::new()))
    }
}

#[cfg(test)]
mod tests;
