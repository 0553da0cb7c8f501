//! Creates and replaces files, and creates folders, so that they survive a crash: [`write_new`], [`replace_file`],
//! [`make_folders`]. Keys, the spool's folder and auditors' keys share this code. Files get mode 0600, folders 0700. A
//! file gets its name only once it is complete and synced, and [`write_new`] never overwrites an existing name.
//! `pipeline/disk` handles files that change.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::hex;
use crate::rng::{Rng as _, SystemRng};

#[cfg(test)]
mod tests;

/// Random bytes in the name of a temporary file.
const TEMPORARY_ID_BYTES: usize = 8;
const MODE_BITS: u32 = 0o7777;
const GROUP_BITS: u32 = 0o2070;

/// A file system error in words that name no path. The standard library says `entity not found` for a missing file.
pub fn describe_io_error(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::NotFound => "no such file or folder".to_owned(),
        ErrorKind::IsADirectory => "is a folder, not a file".to_owned(),
        ErrorKind::InvalidData => "is not text in UTF-8".to_owned(),
        other => other.to_string(),
    }
}

/// Reads a text file of at most `most` bytes, also one that claims to be shorter than it is.
///
/// # Errors
/// `FileTooLarge`, `InvalidData` if it is not UTF-8, or any other error of the file system.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() as u64 > most { Err(ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

/// The folder that contains a path; `.` for a plain name.
pub fn parent_folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a folder and its missing parents, and syncs each into its parent.
///
/// # Errors
/// Any error of the file system.
pub fn make_folders(folder: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut next = Some(folder);
    while let Some(ancestor) = next.filter(|path| !path.as_os_str().is_empty() && !path.exists()) {
        missing.push(ancestor);
        next = ancestor.parent();
    }
    for new_folder in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(new_folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        sync_folder(parent_folder(new_folder))?;
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
    place_file(path, bytes, |_| Ok(()), rename_without_replacing)
}

/// Writes a file, replacing an existing one: afterwards the path has the complete old or the complete new file.
///
/// # Errors
/// Any error of the file system. The old file then remains, unless only the folder's sync failed: then either may be
/// there.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    place_file(path, bytes, |_| Ok(()), |from, to| std::fs::rename(from, to))
}

/// [`replace_file`] with the group and the mode bits of the file before. A group that may not be given to the new file
/// also loses its rights.
///
/// # Errors
/// As [`replace_file`].
pub fn replace_file_like(before: &Metadata, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let copy_rights = |file: &File| {
        let mode = before.mode() & MODE_BITS;
        let has_group = file.metadata()?.gid() == before.gid() || fchown(file, None, Some(before.gid())).is_ok();
        file.set_permissions(Permissions::from_mode(if has_group { mode } else { mode & !GROUP_BITS }))
    };
    place_file(path, bytes, copy_rights, |from, to| std::fs::rename(from, to))
}

/// Writes a temporary file, and renames it once it is complete and synced.
fn place_file(
    path: &Path,
    bytes: &[u8],
    prepare: impl FnOnce(&File) -> io::Result<()>,
    rename: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let (temporary, mut file) = create_temporary(path)?;
    let written = prepare(&file)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .and_then(|()| rename(&temporary, path));
    if written.is_err() {
        // A temporary file that can't be removed does no harm: nothing reads that name.
        drop(std::fs::remove_file(&temporary));
    }
    written?;
    sync_folder(parent_folder(path))
}

/// Creates a temporary file beside `path`: `.NAME.RANDOM.tmp`. No other process uses the name. Nobody can guess it, so
/// nobody can put a link there first.
fn create_temporary(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy();
    let mut random = [0; TEMPORARY_ID_BYTES];
    SystemRng.fill(&mut random);
    let temporary = parent_folder(path).join(format!(".{name}.{}.tmp", hex::encode(&random)));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    Ok((temporary, file))
}

/// The name that a temporary file would have got; `None` for other files. Earlier versions wrote `.NAME.tmp`.
pub fn final_name(file: &str) -> Option<&str> {
    let name = file.strip_prefix('.')?.strip_suffix(".tmp")?;
    let is_id = |id: &str| id.len() == 2 * TEMPORARY_ID_BYTES && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    let name = name.rsplit_once('.').filter(|(_, id)| is_id(id)).map_or(name, |(name, _)| name);
    Some(name).filter(|name| !name.is_empty())
}

/// The methods to give a file a name that is still free.
#[derive(Clone, Copy, Debug)]
enum RenameMethod {
    /// An atomic rename that never replaces.
    Rename,
    /// A hard link with the new name; then the old name is removed.
    Link,
    /// A check followed by a rename, for file systems (SMB, some of FUSE) that support nothing better.
    CheckThenRename,
}

/// Renames `from` to `to`.
///
/// # Errors
/// `AlreadyExists` if `to` exists, or any other error of the file system.
fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    match rename_by(RenameMethod::Rename, from, to) {
        Err(error) if error.kind() == ErrorKind::Unsupported => match rename_by(RenameMethod::Link, from, to) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                rename_by(RenameMethod::CheckThenRename, from, to)
            }
            result => result,
        },
        result => result,
    }
}

fn rename_by(method: RenameMethod, from: &Path, to: &Path) -> io::Result<()> {
    match method {
        RenameMethod::Rename => match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Err(ErrorKind::Unsupported.into()),
            result => Ok(result?),
        },
        RenameMethod::Link => {
            std::fs::hard_link(from, to)?;
            // The file has its new name; a left-over second name that nothing reads does no harm.
            drop(std::fs::remove_file(from));
            Ok(())
        }
        RenameMethod::CheckThenRename if to.symlink_metadata().is_ok() => Err(ErrorKind::AlreadyExists.into()),
        RenameMethod::CheckThenRename => std::fs::rename(from, to),
    }
}
