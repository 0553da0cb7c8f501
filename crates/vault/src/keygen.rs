//! **What**: makes key pairs: an auditor's, a signer's: `tollgate vault keygen`. **Invariants**: the file is new, 0600, durable, whole
//! or not there; the secret is never printed. **Not here**: session keys (`seal`).

use std::io;
use std::path::Path;

use age::secrecy::ExposeSecret;
use zeroize::Zeroizing;

use kernel::files;
use kernel::rng::Rng;

use super::chain::note::SigningKey;

/// Writes a new identity to `path` (which must not exist) as `age-keygen` would, and gives its public key.
///
/// # Errors
/// One line.
pub fn keygen(path: &Path) -> Result<String, String> {
    let identity = age::x25519::Identity::generate();
    let public = identity.to_public().to_string();
    let secret = identity.to_string();
    write(path, &public, secret.expose_secret())?;
    Ok(public)
}

/// Writes a new signing key (Ed25519) of this name to `path`, and gives its public key as C2SP notes have it.
///
/// # Errors
/// One line.
pub fn signing_key(path: &Path, name: &str, rng: &dyn Rng) -> Result<String, String> {
    let secret =
        SigningKey::generate(name, rng).ok_or("a signer's name is 1 to 128 visible ASCII characters, without `+`")?;
    let public = SigningKey::from_secret(&secret)?.public().to_string();
    write(path, &public, secret.expose())?;
    Ok(public)
}

fn write(path: &Path, public: &str, secret: &str) -> Result<(), String> {
    let mut text = Zeroizing::new(String::with_capacity(public.len() + secret.len() + 32));
    for part in ["# public key: ", public, "\n", secret, "\n"] {
        text.push_str(part);
    }
    files::write_new(path, text.as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{} exists; a key is never overwritten (its first line is the public key)", path.display())
        }
        _ => format!("can't write {}: {error}", path.display()),
    })
}
