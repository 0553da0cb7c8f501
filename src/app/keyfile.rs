//! **What**: key files that are made when no key was given. **Invariants**: mode 0600, made whole or not at all, never
//! overwritten; the text is a [`Secret`]. **Not here**: what the keys are for (`spool`, `pseudonym`, `vault`).

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::rng::Rng;
use crate::secret::Secret;

/// A key file's text, and whether it was made just now.
pub struct KeyFile {
    /// The key.
    pub key: Secret,
    /// Whether it is new.
    pub created: bool,
}

/// Reads `path`, or makes it with what `make` gives.
///
/// # Errors
/// One line with the path and the reason.
pub fn ensure(path: &Path, make: impl FnOnce() -> Secret) -> Result<KeyFile, String> {
    let say = |error: std::io::Error| format!("can't use the key file {}: {error}", path.display());
    match fs::read_to_string(path) {
        // A pseudonym anyone can make is none.
        Ok(text) if text.trim().is_empty() => return Err(format!("the key file {} is empty", path.display())),
        Ok(text) => return Ok(KeyFile { key: Secret::new(text.trim().to_owned()), created: false }),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(say(error)),
    }
    let key = make();
    write_new(path, key.expose()).map_err(say)?;
    Ok(KeyFile { key, created: true })
}

/// Writes a file that does not exist yet, 0600, durable before it has its name.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = parent.join(name);
    // What an earlier try left behind was never used.
    drop(fs::remove_file(&temporary));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::hard_link(&temporary, path)?;
    fs::remove_file(&temporary)?;
    fs::File::open(parent)?.sync_all()
}

/// 32 random bytes in base64.
pub fn random_key(rng: &dyn Rng) -> Secret {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rng.fill(&mut *bytes);
    Secret::new(STANDARD.encode(*bytes))
}
