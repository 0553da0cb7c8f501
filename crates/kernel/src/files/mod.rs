//! **What**: new files and folders that are there to stay: [`write_new`], [`make_folders`]. **Why**: keys, the spool's
//! folder and auditors' keys need the same care, and each way of one's own had its own mistake.
//! **Invariants**: files are 0600, folders 0700; a file has its name only once it is whole and synced; a name that is
//! taken is never taken over. **Not here**: what is written, who may read it, files that change (`pipeline/disk`).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

#[cfg(test)]
mod tests;

/// Names that are tried for a temporary file: others may be at work, or have died at it.
const TRIES: u32 = 1000;

/// The folder a path lies in; `.` for a plain name.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a folder and those above it that are missing, each synced into the one it lies in.
///
/// # Errors
/// Whatever the file system says.
pub fn make_folders(folder: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut at = Some(folder);
    while let Some(here) = at.filter(|here| !here.as_os_str().is_empty() && !here.exists()) {
        missing.push(here);
        at = here.parent();
    }
    for here in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(here) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        sync_folder(folder_of(here))?;
    }
    Ok(())
}

/// Makes the names in a folder durable.
///
/// # Errors
/// Whatever the file system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes a file that does not exist yet; its folder does.
///
/// # Errors
/// `AlreadyExists` when the name is taken, also by somebody who was faster. After another error the name is free, or,
/// where only the folder's sync failed, the file is there, whole, and may be gone after a crash.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let (temporary, mut file) = temporary(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| place(&temporary, path));
    if written.is_err() {
        // Whatever is left of it has a name that nobody reads.
        drop(std::fs::remove_file(&temporary));
    }
    written?;
    sync_folder(folder_of(path))
}

/// Writes a file in the place of the one that may be there: afterwards it is the old one or the new one, whole.
///
/// # Errors
/// Whatever the file system says; then it is the old one, or, where only the folder's sync failed, either.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (temporary, mut file) = temporary(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        drop(std::fs::remove_file(&temporary));
    }
    written?;
    sync_folder(folder_of(path))
}

/// A new file beside `path`, of a name that is nobody else's.
fn temporary(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
    for number in 0..TRIES {
        let temporary = folder_of(path).join(format!(".{name}.{}-{number}.tmp", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            opened => return Ok((temporary, opened?)),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// How a file gets a name that is free.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// In one step.
    Rename,
    /// A second name, then without the first.
    Link,
    /// A look, then a rename: for file systems (SMB, some of FUSE) that have nothing better.
    Look,
}

/// Gives `from` the name `to` unless that is taken.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    match place_by(Way::Rename, from, to) {
        Err(error) if error.kind() == ErrorKind::Unsupported => match place_by(Way::Link, from, to) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => place_by(Way::Look, from, to),
            done => done,
        },
        done => done,
    }
}

fn place_by(way: Way, from: &Path, to: &Path) -> io::Result<()> {
    match way {
        Way::Rename => match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Err(ErrorKind::Unsupported.into()),
            done => Ok(done?),
        },
        Way::Link => {
            std::fs::hard_link(from, to)?;
            // The file has its name; a second one that nobody reads does no harm.
            drop(std::fs::remove_file(from));
            Ok(())
        }
        Way::Look if to.symlink_metadata().is_ok() => Err(ErrorKind::AlreadyExists.into()),
        Way::Look => std::fs::rename(from, to),
    }
}
