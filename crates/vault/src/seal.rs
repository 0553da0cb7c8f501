//! [`SessionKeyGenerator`] generates session keys and seals fragments; [`RecipientPolicy`] is the production
//! implementation. Tests have others: a seeded one, so that a simulation can be replayed, and one that does not
//! encrypt, which proves that the search for leaked content finds it.
//!
//! A session's secret exists only inside [`SessionKeyGenerator::new_session`] and is then wiped; the remaining half can
//! seal but not open. Neighbours: `key_ring` chooses the key of a session; the crate `audit` opens fragments.

use age::secrecy::ExposeSecret;
use bytes::Bytes;
use zeroize::Zeroizing;

use super::age_file::append_age_file;
use super::fast_recipient::FastRecipient;
use super::key_shares::{ShareTerms, seal_shares};
use super::recipients::{Audience, ContentOwner, RecipientPolicy};

pub use super::age_file::{SealFailed, key_id};

/// Seals to one session's public key: appends one age file that contains the bytes to the vector. The length of the
/// file can't be known beforehand. If sealing fails, the vector may hold a partial file.
pub type FragmentSealer = dyn Fn(&[u8], &mut Vec<u8>) -> Result<(), SealFailed> + Send + Sync;

pub struct NewSessionKey {
    /// First 16 hex digits of the SHA-256 of the public key.
    pub id: String,
    pub seal: Box<FragmentSealer>,
    /// The key object: the session's secret, sealed to the auditors.
    pub object: Bytes,
}

pub trait SessionKeyGenerator: Send + Sync {
    /// Who may open content of `owner`. A key for another audience is never used for it.
    fn audience(&self, _owner: ContentOwner<'_>) -> Audience {
        Audience::unspecified()
    }

    /// Generates a key pair; its secret is sealed to the auditors of `audience` and then wiped. `place` is the path of
    /// the key's folder below `keys/`: `account/tenant/session/day`.
    ///
    /// # Errors
    /// The secret can't be sealed; [`SealFailed::NoRecipient`] if the audience is empty.
    fn new_session(&self, audience: &Audience, place: &str) -> Result<NewSessionKey, SealFailed>;
}

/// Writes age v1 files to X25519 recipients, which Debian's `age` 1.1 can open. Session keys are sealed to those of the
/// policy who may open them.
impl SessionKeyGenerator for RecipientPolicy {
    fn audience(&self, owner: ContentOwner<'_>) -> Audience {
        Self::audience(self, owner)
    }

    fn new_session(&self, audience: &Audience, place: &str) -> Result<NewSessionKey, SealFailed> {
        let identity = age::x25519::Identity::generate();
        let recipient = identity.to_public();
        let object = seal_key(&identity, &self.keys(audience), self.threshold, place)?;
        let id = key_id(&recipient.to_string());
        let recipient = FastRecipient::new(&recipient).ok_or(SealFailed::Internal)?;
        let seal = move |plain: &[u8], out: &mut Vec<u8>| {
            append_age_file(std::iter::once(&recipient as &dyn age::Recipient), plain, out)
        };
        Ok(NewSessionKey { id, seal: Box::new(seal), object: object.into() })
    }
}

/// Builds a key object that each of `auditors` opens, or with `threshold` that many of them together. `place` as in
/// [`SessionKeyGenerator::new_session`].
///
/// # Errors
/// There are no auditors, fewer than `threshold`, or too many.
pub fn seal_key(
    identity: &age::x25519::Identity,
    auditors: &[age::x25519::Recipient],
    threshold: Option<u8>,
    place: &str,
) -> Result<Vec<u8>, SealFailed> {
    match threshold {
        None => seal_identity(identity, auditors),
        Some(threshold) => seal_shares(identity, auditors, ShareTerms { threshold, place }),
    }
}

/// Builds a key object: a session's secret, sealed to each of `auditors`.
///
/// # Errors
/// [`SealFailed::NoRecipient`] if `auditors` is empty.
pub fn seal_identity(
    identity: &age::x25519::Identity,
    auditors: &[age::x25519::Recipient],
) -> Result<Vec<u8>, SealFailed> {
    if auditors.is_empty() {
        return Err(SealFailed::NoRecipient);
    }
    let secret = identity.to_string();
    let mut line = Zeroizing::new(String::with_capacity(secret.expose_secret().len() + 1));
    line.push_str(secret.expose_secret());
    line.push('\n');
    let mut object = Vec::with_capacity(1024);
    append_age_file(auditors.iter().map(|auditor| auditor as &dyn age::Recipient), line.as_bytes(), &mut object)?;
    Ok(object)
}

/// Parses an auditor's public key as configured: `age1…`, X25519.
///
/// # Errors
/// Why the text is not accepted, without the text itself.
pub fn parse_recipient(text: &str) -> Result<age::x25519::Recipient, &'static str> {
    let text = text.trim();
    if text.starts_with("AGE-SECRET-KEY-") {
        return Err("is a secret key; give the public key (`age1…`) and keep the secret with the auditor");
    }
    // In Bech32 the `1` ends the type and never occurs in the data; an X25519 key may well begin with `age1pq`.
    if ["age1pq1", "age1tag1", "age1tagpq1"].iter().any(|kind| text.starts_with(kind)) {
        return Err(
            "post-quantum and tag recipients are not supported, because `age` in Debian 12 can't open their files: use an X25519 key",
        );
    }
    text.parse().map_err(|_| "is not an age public key (`age1…`, 62 characters): `tollgate vault keygen --output auditor.key` prints one")
}
