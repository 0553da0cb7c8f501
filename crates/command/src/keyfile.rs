//! Reads key files and generates missing ones. A new file has mode 0600, is written completely or not at all, and never
//! overwrites another; if two processes generate it at once, both use the one that was written first. The text is a
//! [`Secret`]. `gateway_keys` defines which keys there are.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use kernel::files;
use kernel::rng::Rng;
use kernel::secret::Secret;

/// File name of the try-out auditor's key in the data directory.
pub const TRYOUT_KEY: &str = "auditor.key";
/// The most bytes of a key file that are read.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// The text of a key file, and whether the file is new.
pub struct KeyFile {
    pub key: Secret,
    /// Whether the file was just created.
    pub created: bool,
    /// Owner and mode of the file.
    pub metadata: Metadata,
}

/// Why a key file can't be used. The text names the file, never its contents.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyFileError(String);

fn unusable_error(path: &Path, error: io::Error) -> KeyFileError {
    KeyFileError(format!("can't use the key file {}: {error}", path.display()))
}

/// Reads the key in `path`; `None` if there is no such file. Creates nothing.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read(path: &Path) -> Result<Option<Secret>, KeyFileError> {
    Ok(open(path)?.map(|file| file.key))
}

/// Like [`read`], with the metadata of the same file.
///
/// # Errors
/// See [`KeyFileError`].
pub fn open(path: &Path) -> Result<Option<KeyFile>, KeyFileError> {
    // Without `NONBLOCK`, a pipe in place of the file would block the start, and signals would not end it.
    open_with(path, OFlags::NONBLOCK)
}

/// Like [`read`], for a file that the user of a command names. It may be a pipe, such as a shell's `<(…)`.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read_argument(path: &Path) -> Result<Option<Secret>, KeyFileError> {
    Ok(open_with(path, OFlags::empty())?.map(|file| file.key))
}

fn open_with(path: &Path, flags: OFlags) -> Result<Option<KeyFile>, KeyFileError> {
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable_error(path, error)),
    };
    let metadata = file.metadata().map_err(|error| unusable_error(path, error))?;
    if flags.contains(OFlags::NONBLOCK) && !metadata.is_file() {
        let what = "is not a regular file: replace it with one of mode 0600 that holds the key";
        return Err(KeyFileError(format!("the key file {} {what}", path.display())));
    }
    let access_by_others = metadata.mode() & 0o077;
    if access_by_others != 0 {
        tracing::warn!(path = %path.display(), "users other than the owner may access the key file: set its mode to 0600");
    }
    if is_foreign(&metadata) {
        tracing::warn!(path = %path.display(), owner = metadata.uid(), "the key file belongs to another user, who may know the key");
    }
    // Reserve the whole size: a growing string would leave copies of the key behind.
    let room = usize::try_from(metadata.len().min(MAX_KEY_BYTES)).unwrap_or(0).saturating_add(64);
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.take(MAX_KEY_BYTES).read_to_string(&mut text).map_err(|error| unusable_error(path, error))?;
    // With an empty key anyone could compute the pseudonyms.
    if text.trim().is_empty() {
        return Err(KeyFileError(format!("the key file {} is empty", path.display())));
    }
    Ok(Some(KeyFile { key: Secret::new(text.trim().to_owned()), created: false, metadata }))
}

/// Whether a user other than root and this process's owns the file.
pub fn is_foreign(metadata: &Metadata) -> bool {
    ![0, rustix::process::geteuid().as_raw()].contains(&metadata.uid())
}

/// Whether every user of the machine has access to the file.
///
/// # Errors
/// See [`KeyFileError`].
pub fn is_open_to_all(path: &Path) -> Result<bool, KeyFileError> {
    let metadata = std::fs::metadata(path).map_err(|error| unusable_error(path, error))?;
    Ok(metadata.mode() & 0o007 != 0)
}

/// A warning if users other than the owner have access to the file; `None` if it does not exist.
pub fn warn_if_open_to_others(path: &Path) -> Option<String> {
    let access_by_others = std::fs::metadata(path).ok()?.mode() & 0o077;
    (access_by_others != 0)
        .then(|| format!("users other than the owner may access {}: set its mode to 0600", path.display()))
}

/// A warning if every user of the machine has access to the file. Group access is accepted, because a group may be how
/// this process may read a file of another user.
pub fn warn_if_open_to_all(path: &Path) -> Option<String> {
    let is_open = is_open_to_all(path).unwrap_or_default();
    is_open.then(|| {
        format!("every user of this machine may access {}: set its mode to 0600, or 0640 for a group", path.display())
    })
}

/// Reads the key in `path`, or creates the file with the key from `make`.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read_or_create(path: &Path, make: impl FnOnce() -> Secret) -> Result<KeyFile, KeyFileError> {
    if let Some(file) = open(path)? {
        return Ok(file);
    }
    let key = make();
    let mut text = Zeroizing::new(String::with_capacity(key.expose().len().saturating_add(1)));
    text.push_str(key.expose());
    text.push('\n');
    let written =
        files::make_folders(files::parent_folder(path)).and_then(|()| files::write_new(path, text.as_bytes()));
    let created = match written {
        Ok(()) => true,
        // Another process created the file first; its key is used.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(unusable_error(path, error)),
    };
    // Read the file again, so that this process uses the same key as the next start.
    let vanished = || KeyFileError(format!("the key file {} disappeared after it was created", path.display()));
    let file = open(path)?.ok_or_else(vanished)?;
    Ok(KeyFile { created, ..file })
}

/// Generates a key: 32 random bytes in base64.
pub fn random_key(rng: &dyn Rng) -> Secret {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rng.fill(&mut *bytes);
    Secret::new(STANDARD.encode(*bytes))
}
