//! Parses the output of `aws kms encrypt` as found in a file: bytes, base64, or base64 in JSON quotes. A plaintext key
//! is refused before it could be sent anywhere. Neighbour: the parent module decrypts.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Longest ciphertext that KMS accepts, bytes.
const MOST: usize = 6144;
/// Shortest KMS ciphertext, bytes: it has a key id besides nonce and tag. Many bare keys are shorter.
const LEAST: usize = 64;
/// Longest file that is read, bytes.
const MOST_OF_FILE: u64 = 64 << 10;
/// Markers of plaintext keys, from `tollgate vault keygen` and other tools.
const PLAIN: [&[u8]; 3] = [b"AGE-SECRET-KEY-", b"PRIVATE+KEY+", b"PRIVATE KEY-----"];

/// Whether the bytes contain a plaintext key.
fn is_plain(bytes: &[u8]) -> bool {
    let holds = |mark: &&[u8]| bytes.windows(mark.len()).any(|window| window.eq_ignore_ascii_case(mark));
    PLAIN.iter().any(holds)
}

/// Why a file is not ciphertext that can be sent to KMS. No text contains the file's contents.
#[derive(Debug, thiserror::Error)]
pub enum CiphertextError {
    /// The operating system's error.
    #[error("can't be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// The file is neither bytes nor base64 of a possible length.
    #[error("holds no ciphertext of KMS (`aws kms encrypt --query CiphertextBlob`, base64 or its bytes)")]
    NotCiphertext,
    /// A key in plain text must never be sent to KMS.
    #[error("holds a key in plain text, which KMS is not asked to open: give ciphertext, or say nothing of KMS")]
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
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MOST_OF_FILE).unwrap_or(MOST)));
        file.take(MOST_OF_FILE).read_to_end(&mut bytes)?;
        Self::parse(&bytes)
    }

    /// Parses ciphertext from a file's bytes.
    ///
    /// # Errors
    /// What is wrong, without the value.
    pub fn parse(bytes: &[u8]) -> Result<Self, CiphertextError> {
        if is_plain(bytes) {
            return Err(CiphertextError::PlainKey);
        }
        let sealed = match std::str::from_utf8(bytes) {
            Ok(text) => {
                let text = text.trim().trim_matches('"').split_ascii_whitespace();
                Zeroizing::new(
                    STANDARD
                        .decode(&*Zeroizing::new(text.collect::<String>()))
                        .map_err(|_| CiphertextError::NotCiphertext)?,
                )
            }
            Err(_) => Zeroizing::new(bytes.to_vec()),
        };
        // `aws kms decrypt` writes base64 of the key itself
        if is_plain(&sealed) {
            return Err(CiphertextError::PlainKey);
        }
        if (LEAST..=MOST).contains(&sealed.len()) {
            Ok(Self(sealed.to_vec()))
        } else {
            Err(CiphertextError::NotCiphertext)
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
