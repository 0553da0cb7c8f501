//! **What**: key files that are made when no key was given. **Invariants**: mode 0600, made whole or not at all, never
//! overwritten; who makes one at the same moment as another goes on with the one that is there; the text is a
//! [`Secret`]. **Not here**: which keys there are (`keys`), how a file is made (`files`).

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use kernel::files;
use kernel::rng::Rng;
use kernel::secret::Secret;

/// Longest key file that is read, bytes.
const MOST: u64 = 64 << 10;

/// A key file's text, and whether it was made just now.
pub struct KeyFile {
    /// The key.
    pub key: Secret,
    /// Whether it is new.
    pub created: bool,
}

/// Why a key file can't be used. Names the file, never what it holds.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It can't be read or made.
    #[error("can't use the key file {}: {error}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There is no key in it.
    #[error("the key file {} is empty", .0.display())]
    Empty(PathBuf),
    /// It was made, and is not there.
    #[error("the key file {} vanished", .0.display())]
    Vanished(PathBuf),
}

fn cant(path: &Path, error: io::Error) -> KeyFileError {
    KeyFileError::Unusable { path: path.to_owned(), error }
}

/// The key in `path`; none when there is no such file. Makes nothing.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read(path: &Path) -> Result<Option<Secret>, KeyFileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cant(path, error)),
    };
    let metadata = file.metadata().map_err(|error| cant(path, error))?;
    let others = metadata.mode() & 0o077;
    if others != 0 {
        tracing::warn!(path = %path.display(), "others than its owner may use the key file: set its mode to 0600");
    }
    // Room for all of it, so that no copy is left behind while it grows.
    let room = usize::try_from(metadata.len().min(MOST)).unwrap_or(0).saturating_add(64);
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.take(MOST).read_to_string(&mut text).map_err(|error| cant(path, error))?;
    // A pseudonym anyone can make is none.
    if text.trim().is_empty() {
        return Err(KeyFileError::Empty(path.to_owned()));
    }
    Ok(Some(Secret::new(text.trim().to_owned())))
}

/// Whether everybody on the machine may read it.
///
/// # Errors
/// See [`KeyFileError`].
pub fn open_to_all(path: &Path) -> Result<bool, KeyFileError> {
    let metadata = std::fs::metadata(path).map_err(|error| cant(path, error))?;
    Ok(metadata.mode() & 0o007 != 0)
}

/// A warning if others than its owner may use it. None also where there is no such file.
pub fn loose(path: &Path) -> Option<String> {
    let others = std::fs::metadata(path).ok()?.mode() & 0o077;
    (others != 0).then(|| format!("others than its owner may use {}: set its mode to 0600", path.display()))
}

/// A warning if everybody on the machine may use a file that somebody else made: a group may be what gives it to this
/// user.
pub fn open(path: &Path) -> Option<String> {
    let all = open_to_all(path).unwrap_or_default();
    all.then(|| {
        format!("everybody on this machine may use {}: set its mode to 0600, or 0640 for a group", path.display())
    })
}

/// Reads `path`, or makes it with what `make` gives.
///
/// # Errors
/// See [`KeyFileError`].
pub fn ensure(path: &Path, make: impl FnOnce() -> Secret) -> Result<KeyFile, KeyFileError> {
    if let Some(key) = read(path)? {
        return Ok(KeyFile { key, created: false });
    }
    let key = make();
    let mut line = Zeroizing::new(String::with_capacity(key.expose().len().saturating_add(1)));
    line.push_str(key.expose());
    line.push('\n');
    let written = files::make_folders(files::folder_of(path)).and_then(|()| files::write_new(path, line.as_bytes()));
    let created = match written {
        Ok(()) => true,
        // Somebody else was faster: theirs is the key.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(cant(path, error)),
    };
    // What the next start will read, whoever wrote it.
    let key = read(path)?.ok_or_else(|| KeyFileError::Vanished(path.to_owned()))?;
    Ok(KeyFile { key, created })
}

/// 32 random bytes in base64.
pub fn random_key(rng: &dyn Rng) -> Secret {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rng.fill(&mut *bytes);
    Secret::new(STANDARD.encode(*bytes))
}
