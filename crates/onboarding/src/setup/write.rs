//! [`write_settings`]: changes a settings file on disk. The old file is copied beside it first, and the new one takes
//! its place in one step, so a crash leaves either. A file that is malformed, too large, read-only, of another user or
//! not regular stays as it is. A link to the user's own file stays a link: its target is changed. `settings_file` makes
//! the new text.

use std::fs::{Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::settings_document::MergeFault;
use super::settings_file::{FileFormat, MergedSettings, SettingChange, merge_settings};
use command::error::CommandError;
use kernel::clock::{Clock, SystemClock};
use kernel::files::{describe_io_error, make_folders, parent_folder, replace_file_like, write_new};
use vault::object_names::rfc3339;

/// Largest settings file, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Backups of one second that are told apart.
const MAX_BACKUP_NAMES: u32 = 100;
const OWNER_WRITES: u32 = 0o200;

/// The result of writing.
pub(super) struct WrittenSettings {
    pub(super) merged: MergedSettings,
    /// The copy of the file before; `None` if nothing was written or there was no file.
    pub(super) backup: Option<PathBuf>,
    /// The file that was changed in place of a link to it.
    pub(super) link_target: Option<PathBuf>,
}

/// Puts settings into a file.
///
/// # Errors
/// The file can't be changed; then it is as before.
pub(super) fn write_settings(
    path: &Path,
    format: FileFormat,
    changes: &[SettingChange],
) -> Result<WrittenSettings, CommandError> {
    let fault = |what: String| CommandError::Failed(format!("{}: {what}; nothing was changed", path.display()));
    let io_fault = |error: std::io::Error| fault(describe_io_error(error.kind()));
    let (target, link_target) = resolve_file(path).map_err(fault)?;
    let present = read_file(&target).map_err(fault)?;
    let text = present.as_ref().map_or(Ok(""), |present| std::str::from_utf8(&present.bytes));
    let text = text.map_err(|_| fault("is not text in UTF-8".to_owned()))?;
    let merged = merge_settings(format, text, changes).map_err(|error| {
        let refused = fault(error.to_string());
        match (error, merge_settings(format, "", changes)) {
            (MergeFault::WouldBeLost(_), Ok(settings)) => {
                let settings = settings.text.trim_end();
                CommandError::Failed(format!("{refused}; add these settings yourself:\n{settings}"))
            }
            _ => refused,
        }
    })?;
    if merged.is_unchanged() {
        return Ok(WrittenSettings { merged, backup: None, link_target });
    }
    let Some(present) = present else {
        make_folders(parent_folder(&target))
            .and_then(|()| write_new(&target, merged.text.as_bytes()))
            .map_err(io_fault)?;
        return Ok(WrittenSettings { merged, backup: None, link_target });
    };
    if present.metadata.mode() & OWNER_WRITES == 0 {
        return Err(fault("is read-only".to_owned()));
    }
    let backup = write_backup(&target, &present.bytes)
        .map_err(|error| fault(format!("the copy beside it can't be written: {}", describe_io_error(error.kind()))))?;
    // The client itself may have written meanwhile.
    let is_as_read = read_file(&target).is_ok_and(|now| now.is_some_and(|now| now.bytes == present.bytes));
    let replaced = match is_as_read {
        true => replace_file_like(&present.metadata, &target, merged.text.as_bytes()),
        false => Ok(()),
    };
    if !is_as_read || replaced.is_err() {
        // A copy that can't be removed does no harm.
        drop(std::fs::remove_file(&backup));
    }
    if !is_as_read {
        return Err(fault("was changed by another program at the same time: try again".to_owned()));
    }
    replaced.map_err(io_fault)?;
    Ok(WrittenSettings { merged, backup: Some(backup), link_target })
}

struct PresentFile {
    bytes: Vec<u8>,
    metadata: Metadata,
}

/// The file to change: that of a link if `path` is one. Also returns the link's target.
fn resolve_file(path: &Path) -> Result<(PathBuf, Option<PathBuf>), String> {
    let is_link = match path.symlink_metadata() {
        Ok(metadata) => metadata.is_symlink(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((path.to_owned(), None)),
        Err(error) => return Err(describe_io_error(error.kind())),
    };
    let target = if is_link {
        path.canonicalize().map_err(|_| "is a link to a file that does not exist".to_owned())?
    } else {
        path.to_owned()
    };
    let metadata = target.metadata().map_err(|error| describe_io_error(error.kind()))?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(format!("{} belongs to another user", if is_link { "the file that it links to" } else { "it" }));
    }
    Ok((target.clone(), is_link.then_some(target)))
}

fn read_file(path: &Path) -> Result<Option<PresentFile>, String> {
    // `path` was resolved: a link or pipe that is there now was put there meanwhile.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(describe_io_error(error.kind())),
    };
    let mut bytes = Vec::new();
    let metadata = file.metadata();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).and(metadata);
    let metadata = read.map_err(|error| describe_io_error(error.kind()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("is larger than {} MiB, so it is hardly a settings file", MAX_FILE_BYTES >> 20));
    }
    Ok(Some(PresentFile { bytes, metadata }))
}

/// Writes a copy beside `path`, readable by its owner alone.
fn write_backup(path: &Path, bytes: &[u8]) -> std::io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let time: String = rfc3339(SystemClock::new().now()).chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let time = time.split(['.', 'Z']).next().unwrap_or("").to_owned();
    let names = (1..=MAX_BACKUP_NAMES).map(|number| if number == 1 { String::new() } else { format!("-{number}") });
    for suffix in names {
        let backup = path.with_file_name(format!("{name}.tollgate-backup-{time}Z{suffix}"));
        match write_new(&backup, bytes) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            written => return written.map(|()| backup),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}
