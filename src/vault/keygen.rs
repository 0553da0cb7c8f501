//! **What**: makes an auditor's key pair: `tollgate vault keygen`. **Invariants**: the file is new, 0600, durable, whole
//! or not there; the secret is never printed. **Not here**: session keys (`seal`).

use std::io;
use std::path::Path;

use age::secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::files;

/// Writes a new identity to `path` (which must not exist) as `age-keygen` would, and gives its public key.
///
/// # Errors
/// One line.
pub fn keygen(path: &Path) -> Result<String, String> {
    let identity = age::x25519::Identity::generate();
    let public = identity.to_public().to_string();
    let secret = identity.to_string();
    let text = Zeroizing::new(format!("# public key: {public}\n{}\n", secret.expose_secret()));
    files::write_new(path, text.as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{} exists; a key is never overwritten (its first line is the public key)", path.display())
        }
        _ => format!("can't write {}: {error}", path.display()),
    })?;
    Ok(public)
}
