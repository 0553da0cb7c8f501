//! **What**: makes an auditor's key pair: `tollgate vault keygen`. **Invariants**: the file is new, 0600, durable; the
//! secret is never printed. **Not here**: session keys (`seal`).

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use age::secrecy::ExposeSecret;
use zeroize::Zeroizing;

/// Writes a new identity to `path` (which must not exist) as `age-keygen` would, and gives its public key.
///
/// # Errors
/// One line.
pub fn keygen(path: &Path) -> Result<String, String> {
    let identity = age::x25519::Identity::generate();
    let public = identity.to_public().to_string();
    let secret = identity.to_string();
    let text = Zeroizing::new(format!("# public key: {public}\n{}\n", secret.expose_secret()));
    write_new(path, text.as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => format!("{} exists; a key is never overwritten", path.display()),
        _ => format!("can't write {}: {error}", path.display()),
    })?;
    Ok(public)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}
