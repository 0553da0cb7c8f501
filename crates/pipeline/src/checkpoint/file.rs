//! Format of the checkpoint file: magic, key id, salt, then the sealed snapshot. The key is derived for this one file
//! (HKDF of the spool's key over a random salt), so its fixed nonce is used only once. Magic, key id and salt are
//! authenticated with the snapshot.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::Bytes;

use crate::effects::ProcessorSnapshot;
use crate::spool::SpoolKey;

const MAGIC: &[u8; 8] = b"TGCKPT\0\x01";
const KEY_INFO: &[u8] = b"tollgate checkpoint v1";
const KEY_ID_BYTES: usize = 16;
const SALT_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + KEY_ID_BYTES + SALT_BYTES;

/// Seals, in place, what `save` appends; `None` if it fails. `capacity`: how many bytes the file will probably have.
pub(super) fn seal(
    key: &SpoolKey,
    salt: &[u8; SALT_BYTES],
    capacity: usize,
    save: impl FnOnce(&mut Vec<u8>) -> Option<()>,
) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(capacity);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(key.id().as_bytes());
    out.extend_from_slice(salt);
    save(&mut out)?;
    let (head, body) = out.split_at_mut_checked(HEAD_BYTES)?;
    let tag = derive_cipher(key, salt)?.seal_in_place_separate_tag(nonce(), Aad::from(&*head), body).ok()?;
    out.extend_from_slice(tag.as_ref());
    Some(out)
}

/// Opens a file in place. `None`: it is damaged, or none of the keys sealed it.
pub(super) fn open(keys: &[SpoolKey], mut sealed: Vec<u8>) -> Option<ProcessorSnapshot> {
    let (head, body) = sealed.split_at_mut_checked(HEAD_BYTES)?;
    let (magic, rest) = head.split_first_chunk::<8>()?;
    let (key_id, salt) = rest.split_first_chunk::<KEY_ID_BYTES>()?;
    let salt = <&[u8; SALT_BYTES]>::try_from(salt).ok()?;
    if magic != MAGIC {
        return None;
    }
    let key = keys.iter().find(|key| key.id().as_bytes() == key_id)?;
    let length = derive_cipher(key, salt)?.open_in_place(nonce(), Aad::from(&*head), body).ok()?.len();
    ProcessorSnapshot::decode(&Bytes::from(sealed).slice(HEAD_BYTES..HEAD_BYTES + length))
}

/// Whether the file names `key` as the one that sealed it.
pub(super) fn names_key(key: &SpoolKey, sealed: &[u8]) -> bool {
    sealed.get(MAGIC.len()..).is_some_and(|rest| rest.starts_with(key.id().as_bytes()))
}

fn derive_cipher(key: &SpoolKey, salt: &[u8; SALT_BYTES]) -> Option<LessSafeKey> {
    let derived = key.derive(salt, KEY_INFO)?;
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, derived.as_slice()).ok()?))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}
