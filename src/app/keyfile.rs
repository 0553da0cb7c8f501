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

fn cant(path: &Path, error: &std::io::Error) -> String {
    format!("can't use the key file {}: {error}", path.display())
}

/// The key in `path`; none when there is no such file.
///
/// # Errors
/// One line with the path and the reason.
pub fn read(path: &Path) -> Result<Option<Secret>, String> {
    match fs::read_to_string(path) {
        // A pseudonym anyone can make is none.
        Ok(text) if text.trim().is_empty() => Err(format!("the key file {} is empty", path.display())),
        Ok(text) => Ok(Some(Secret::new(text.trim().to_owned()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cant(path, &error)),
    }
}

/// Reads `path`, or makes it with what `make` gives.
///
/// # Errors
/// One line with the path and the reason.
pub fn ensure(path: &Path, make: impl FnOnce() -> Secret) -> Result<KeyFile, String> {
    if let Some(key) = read(path)? {
        return Ok(KeyFile { key, created: false });
    }
    let key = make();
    write_new(path, key.expose()).map_err(|error| cant(path, &error))?;
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
