//! Generates key pairs for auditors and signers (`tollgate vault keygen`). The key file is new, has mode 0600, and is
//! written durably as a whole or not at all; the secret is never printed. Neighbour: `seal` makes session keys.

use std::io;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret;
use zeroize::Zeroizing;

use kernel::files;
use kernel::rng::Rng;

use super::chain::note::SigningKey;

/// Why no key was generated.
#[derive(Debug, thiserror::Error)]
pub enum KeygenError {
    #[error("{} already exists and is never overwritten: choose another path (the file's first line is its public key)", .0.display())]
    Exists(PathBuf),
    /// The file can't be written.
    #[error("can't write {}: {source}", path.display())]
    WriteFailed {
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The signer's name is not valid in a signed note.
    #[error("a signer's name must have 1 to 128 visible ASCII characters and no `+`")]
    InvalidName,
    /// The generated key can't be parsed back.
    #[error("{0}")]
    InvalidKey(&'static str),
}

/// Writes a new identity to `path` in the format of `age-keygen` and returns its public key.
///
/// # Errors
/// The file exists, or it can't be written.
pub fn generate_auditor_key(path: &Path) -> Result<String, KeygenError> {
    let identity = age::x25519::Identity::generate();
    let public = identity.to_public().to_string();
    let secret = identity.to_string();
    write_key_file(path, &public, secret.expose_secret())?;
    Ok(public)
}

/// Writes a new Ed25519 signing key named `name` to `path` and returns its public key in the C2SP note format.
///
/// # Errors
/// The name is invalid, the file exists, or it can't be written.
pub fn generate_signing_key(path: &Path, name: &str, rng: &dyn Rng) -> Result<String, KeygenError> {
    let secret = SigningKey::generate(name, rng).ok_or(KeygenError::InvalidName)?;
    let public = SigningKey::from_secret(&secret).map_err(KeygenError::InvalidKey)?.public().to_string();
    write_key_file(path, &public, secret.expose())?;
    Ok(public)
}

fn write_key_file(path: &Path, public: &str, secret: &str) -> Result<(), KeygenError> {
    let mut text = Zeroizing::new(String::with_capacity(public.len() + secret.len() + 32));
    for part in ["# public key: ", public, "\n", secret, "\n"] {
        text.push_str(part);
    }
    files::write_new(path, text.as_bytes()).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeygenError::Exists(path.to_owned()),
        _ => KeygenError::WriteFailed { path: path.to_owned(), source },
    })
}
