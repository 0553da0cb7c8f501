//! Parses the output of `aws kms encrypt` as found in a file: bytes, base64, or base64 in JSON quotes. A key with a
//! known marker, and anything shorter than a ciphertext, is refused before it is sent to KMS. Neighbour: the parent
//! module decrypts.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Longest ciphertext that KMS accepts, bytes.
const MAX_CIPHERTEXT_BYTES: usize = 6144;
/// Shortest KMS ciphertext, bytes: it has a key id besides nonce and tag. Many bare keys are shorter.
const MIN_CIPHERTEXT_BYTES: usize = 64;
/// Bytes of a file that are read at most.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// Markers of plaintext keys, from `tollgate vault keygen` and other tools.
const PLAINTEXT_KEY_MARKERS: [&[u8]; 3] = [b"AGE-SECRET-KEY-", b"PRIVATE+KEY+", b"PRIVATE KEY-----"];

/// Whether the bytes contain a plaintext key.
fn has_plaintext_key(bytes: &[u8]) -> bool {
    let has_marker = |marker: &&[u8]| bytes.windows(marker.len()).any(|window| window.eq_ignore_ascii_case(marker));
    PLAINTEXT_KEY_MARKERS.iter().any(has_marker)
}

/// Why a file is not ciphertext that can be sent to KMS. No text contains the file's contents.
#[derive(Debug, thiserror::Error)]
pub enum CiphertextError {
    /// The operating system's error.
    #[error("can't be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// The file is neither bytes nor base64 of a possible length.
    #[error(
        "contains no KMS ciphertext (expected the output of `aws kms encrypt --query CiphertextBlob`, as base64 or raw bytes)"
    )]
    NotCiphertext,
    /// A key in plain text must never be sent to KMS.
    #[error("contains a plaintext key, which is never sent to KMS: use KMS ciphertext, or remove the KMS settings")]
    PlainKey,
}

/// KMS ciphertext of a key.
pub struct Ciphertext(Vec<u8>);

impl Ciphertext {
    /// Reads ciphertext from a file.
    ///
    /// # Errors
    /// What is wrong, without the value.
    pub fn read(path: &Path) -> Result<Self, CiphertextError> {
        let file = File::open(path)?;
        // the file may hold a plaintext key by mistake: a buffer that grew would leave unwiped copies of it
        let mut bytes =
            Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_FILE_BYTES).unwrap_or(MAX_CIPHERTEXT_BYTES)));
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
        Self::parse(&bytes)
    }

    /// Parses ciphertext from a file's bytes.
    ///
    /// # Errors
    /// What is wrong, without the value.
    pub fn parse(bytes: &[u8]) -> Result<Self, CiphertextError> {
        if has_plaintext_key(bytes) {
            return Err(CiphertextError::PlainKey);
        }
        let ciphertext = match std::str::from_utf8(bytes) {
            Ok(base64) => {
                let base64 = base64.trim().trim_matches('"').split_ascii_whitespace();
                Zeroizing::new(
                    STANDARD
                        .decode(&*Zeroizing::new(base64.collect::<String>()))
                        .map_err(|_| CiphertextError::NotCiphertext)?,
                )
            }
            Err(_) => Zeroizing::new(bytes.to_vec()),
        };
        // `aws kms decrypt` writes base64 of the key itself
        if has_plaintext_key(&ciphertext) {
            return Err(CiphertextError::PlainKey);
        }
        if (MIN_CIPHERTEXT_BYTES..=MAX_CIPHERTEXT_BYTES).contains(&ciphertext.len()) {
            Ok(Self(ciphertext.to_vec()))
        } else {
            Err(CiphertextError::NotCiphertext)
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
