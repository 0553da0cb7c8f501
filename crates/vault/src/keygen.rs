//! **What**: makes key pairs: an auditor's, a signer's: `tollgate vault keygen`. **Invariants**: the file is new, 0600,
//! durable, whole or not there; the secret is never printed. **Not here**: session keys (`seal`).

use std::io;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret;
use zeroize::Zeroizing;

use kernel::files;
use kernel::rng::Rng;

use super::chain::note::SigningKey;

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum KeygenError {
    /// Something is at the path.
    #[error("{} exists; a key is never overwritten (its first line is the public key)", .0.display())]
    Exists(PathBuf),
    /// The file can't be written.
    #[error("can't write {}: {source}", path.display())]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The signer's name can't stand in a note.
    #[error("a signer's name is 1 to 128 visible ASCII characters, without `+`")]
    Name,
    /// The key that was made can't be read back.
    #[error("{0}")]
    Unread(&'static str),
}

/// Writes a new identity to `path` (which must not exist) as `age-keygen` would, and gives its public key.
///
/// # Errors
/// The file is there, or can't be written.
pub fn keygen(path: &Path) -> Result<String, KeygenError> {
    let identity = age::x25519::Identity::generate();
    let public = identity.to_public().to_string();
    let secret = identity.to_string();
    write(path, &public, secret.expose_secret())?;
    Ok(public)
}

/// Writes a new signing key (Ed25519) of this name to `path`, and gives its public key as C2SP notes have it.
///
/// # Errors
/// The name is none, the file is there, or can't be written.
pub fn signing_key(path: &Path, name: &str, rng: &dyn Rng) -> Result<String, KeygenError> {
    let secret = SigningKey::generate(name, rng).ok_or(KeygenError::Name)?;
    let public = SigningKey::from_secret(&secret).map_err(KeygenError::Unread)?.public().to_string();
    write(path, &public, secret.expose())?;
    Ok(public)
}

fn write(path: &Path, public: &str, secret: &str) -> Result<(), KeygenError> {
    let mut text = Zeroizing::new(String::with_capacity(public.len() + secret.len() + 32));
    for part in ["# public key: ", public, "\n", secret, "\n"] {
        text.push_str(part);
    }
    files::write_new(path, text.as_bytes()).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeygenError::Exists(path.to_owned()),
        _ => KeygenError::Unwritten { path: path.to_owned(), source },
    })
}
