//! Creates files and folders that survive a crash: [`write_new`], [`make_folders`]. Keys, the spool's folder and
//! auditors' keys share this code.
//! Files get mode 0600, folders 0700. A file gets its name only once it is complete and synced, and [`write_new`]
//! never overwrites an existing name. `pipeline/disk` handles files that change.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

#[cfg(test)]
mod tests;

/// Number of names tried for a temporary file, because other processes may be writing or may have died while writing.
const TRIES: u32 = 1000;

/// The folder that contains a path; `.` for a plain name.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a folder and its missing parents, and syncs each into its parent.
///
/// # Errors
/// Any error of the file system.
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

/// Syncs a folder, so that the names in it survive a crash.
///
/// # Errors
/// Any error of the file system.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes a file that does not exist yet into an existing folder.
///
/// # Errors
/// `AlreadyExists` if the name is taken, even by a concurrent writer. After any other error the name is free, unless
/// only the folder's sync failed: then the complete file exists, but a crash may remove it.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let (temporary, mut file) = temporary(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| place(&temporary, path));
    if written.is_err() {
        // A temporary file that can't be removed does no harm: nothing reads that name.
        drop(std::fs::remove_file(&temporary));
    }
    written?;
    sync_folder(folder_of(path))
}

/// Writes a file, replacing an existing one: afterwards the path has the complete old or the complete new file.
///
/// # Errors
/// Any error of the file system. The old file then remains, unless only the folder's sync failed: then either may be
/// there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (temporary, mut file) = temporary(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        drop(std::fs::remove_file(&temporary));
    }
    written?;
    sync_folder(folder_of(path))
}

/// Creates a temporary file beside `path`, with a name that no other process uses.
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

/// The methods to give a file a name that is still free.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// An atomic rename that never replaces.
    Rename,
    /// A hard link with the new name; then the old name is removed.
    Link,
    /// A check followed by a rename, for file systems (SMB, some of FUSE) that support nothing better.
    Look,
}

/// Renames `from` to `to` unless `to` exists.
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
            // The file has its new name; a left-over second name that nothing reads does no harm.
            drop(std::fs::remove_file(from));
            Ok(())
        }
        Way::Look if to.symlink_metadata().is_ok() => Err(ErrorKind::AlreadyExists.into()),
        Way::Look => std::fs::rename(from, to),
    }
}
