//! Writes age files, and names session keys. `seal` and `key_shares` make key objects of them.

use std::io::Write as _;

use kernel::sha256::Sha256;

/// Why something was not sealed. Nothing may go on unsealed, whatever the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealFailed {
    /// No recipient may open content of this account and tenant.
    NoRecipient,
    /// The cipher or the compression failed.
    Internal,
}

/// Appends one age file for `recipients` that contains `plain` to `out`.
///
/// # Errors
/// There are no recipients; `out` may then hold a partial file.
pub(crate) fn append_age_file<'a>(
    recipients: impl Iterator<Item = &'a dyn age::Recipient>,
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), SealFailed> {
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(|_| SealFailed::Internal)?;
    let mut writer = encryptor.wrap_output(out).map_err(|_| SealFailed::Internal)?;
    writer.write_all(plain).map_err(|_| SealFailed::Internal)?;
    writer.finish().map_err(|_| SealFailed::Internal)?;
    Ok(())
}

/// First 16 hex digits of the SHA-256 of a public key's text.
pub fn key_id(public: &str) -> String {
    let digest = Sha256::digest(public.as_bytes());
    kernel::hex::encode(digest.get(..8).unwrap_or(&digest))
}
