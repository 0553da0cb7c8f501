//! **What**: what `aws kms encrypt` gives, as it lies in a file: bytes, base64, or base64 in quotes as its JSON has it.
//! **Invariants**: what is a key in plain text is refused before anybody could send it away. **Not here**: opening it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Longest ciphertext that KMS takes, bytes.
const MOST: usize = 6144;
/// No ciphertext of KMS is shorter, bytes: it names its key, beside nonce and tag. Many a bare key is.
const LEAST: usize = 64;
/// Longest file that is read, bytes.
const MOST_OF_FILE: u64 = 64 << 10;
/// By which secrets of `tollgate vault keygen` and others are known.
const PLAIN: [&[u8]; 3] = [b"AGE-SECRET-KEY-", b"PRIVATE+KEY+", b"PRIVATE KEY-----"];

/// Whether a key stands there as it is.
fn is_plain(bytes: &[u8]) -> bool {
    let holds = |mark: &&[u8]| bytes.windows(mark.len()).any(|window| window.eq_ignore_ascii_case(mark));
    PLAIN.iter().any(holds)
}

/// Why a file is not ciphertext that KMS can be asked to open. No text holds the file's contents.
#[derive(Debug, thiserror::Error)]
pub enum CiphertextError {
    /// As the operating system says.
    #[error("can't be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// Neither bytes nor base64 of a possible length.
    #[error("holds no ciphertext of KMS (`aws kms encrypt --query CiphertextBlob`, base64 or its bytes)")]
    NotCiphertext,
    /// A key in plain text must never be sent to KMS.
    #[error("holds a key in plain text, which KMS is not asked to open: give ciphertext, or say nothing of KMS")]
    PlainKey,
}

/// Ciphertext of a key.
pub struct Ciphertext(Vec<u8>);

impl Ciphertext {
    /// That in a file.
    ///
    /// # Errors
    /// What is wrong, without the value.
    pub fn read(path: &Path) -> Result<Self, CiphertextError> {
        let file = File::open(path)?;
        // a key may have been left there by mistake: no copy of it is left behind while this grows
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MOST_OF_FILE).unwrap_or(MOST)));
        file.take(MOST_OF_FILE).read_to_end(&mut bytes)?;
        Self::parse(&bytes)
    }

    /// That in a file's bytes.
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
        // what `aws kms decrypt` writes is base64 of the key itself
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
