//! The interface to the file system: [`Disk`], [`Directory`], [`DiskFile`]. [`RealDisk`] is the operating system's; a
//! seeded simulation (`testing/sim_disk`) crashes, tears and fills the disk at every step.
//! Files have mode 0600 in a flat 0700 directory, with plain names. Nothing is durable before [`DiskFile::sync_data`]
//! (contents and size) and [`Directory::sync`] (names). The caller handles short writes. Errors are the file system's.
//! The spool's file formats are defined in `spool/`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernel::files::make_folders;

#[cfg(test)]
mod tests;

/// Opens directories.
pub trait Disk: Send + Sync + 'static {
    /// Opens `path`, creating it (0700, durable in its parent) if it does not exist.
    fn directory(&self, path: &Path) -> io::Result<Arc<dyn Directory>>;
    /// Opens `path`, which must exist.
    ///
    /// # Errors
    /// `NotFound`, or another error of the file system.
    fn existing(&self, path: &Path) -> io::Result<Arc<dyn Directory>>;
}

/// One file in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Plain name, without a directory.
    pub name: String,
    /// Size in bytes.
    pub len: u64,
}

/// Free space of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    /// Bytes available to an unprivileged process.
    pub bytes: u64,
    /// Size of the volume in bytes; `u64::MAX` if the volume does not report it.
    pub total: u64,
    /// Number of files that can still be created; `u64::MAX` if the volume has no such limit.
    pub files: u64,
}

/// A flat directory of files. All names are plain (no `/`).
pub trait Directory: Send + Sync {
    /// Creates a file of mode 0600; it must not exist. `reserve` > 0 also allocates that many bytes; the file then has
    /// that size and reads as zeros. The returned flag is false if the file system can't allocate; the file is then
    /// empty.
    ///
    /// # Errors
    /// `StorageFull` and `QuotaExceeded` if there is no room; the file is then removed.
    fn create(&self, name: &str, reserve: u64) -> io::Result<(Arc<dyn DiskFile>, bool)>;
    /// Opens an existing file for reading and truncating.
    ///
    /// # Errors
    /// `NotFound`, or another error of the file system.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// All plain files.
    fn list(&self) -> io::Result<Vec<DirectoryEntry>>;
    /// Removes a file's name; open handles of the file stay usable.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Renames a file atomically, replacing any file of the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes creations, removals and renamings durable.
    ///
    /// # Errors
    /// The file system's; the names may then be lost after a crash.
    fn sync(&self) -> io::Result<()>;
    /// Free space of the volume.
    fn free_space(&self) -> io::Result<FreeSpace>;
    /// Takes the lock file `name`; `None`: another process has it. The lock is released when the value is dropped or
    /// the process ends.
    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn Send + Sync>>>;
}

/// An open file. Positioned access only.
pub trait DiskFile: Send + Sync {
    /// Writes once; may write fewer bytes than given.
    ///
    /// # Errors
    /// The file system's; any part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;
    /// Reads once; 0 = end of the file.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize>;
    /// Makes contents and size durable.
    ///
    /// # Errors
    /// The file system's; everything not yet durable must then be considered lost.
    fn sync_data(&self) -> io::Result<()>;
    /// Truncates the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Size in bytes.
    fn size(&self) -> io::Result<u64>;
}

/// Whether an error means that there is no room at the moment.
pub fn is_out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// Reads exactly `out`.
///
/// # Errors
/// The file's, or `UnexpectedEof`.
pub fn read_exact_at(file: &dyn DiskFile, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        match file.read_at(offset, out) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                offset = offset.saturating_add(read as u64);
                out = out.get_mut(read..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The operating system's file systems.
#[derive(Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn directory(&self, path: &Path) -> io::Result<Arc<dyn Directory>> {
        make_folders(path)?;
        self.existing(path)
    }

    fn existing(&self, path: &Path) -> io::Result<Arc<dyn Directory>> {
        let handle = File::open(path)?;
        if !handle.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Arc::new(RealDirectory { path: path.to_owned(), handle }))
    }
}

struct RealDirectory {
    path: PathBuf,
    handle: File,
}

impl RealDirectory {
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        if name.is_empty() || name.contains(['/', '\0']) || name == ".." || name == "." {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(self.path.join(name))
    }
}

impl Directory for RealDirectory {
    fn create(&self, name: &str, reserve: u64) -> io::Result<(Arc<dyn DiskFile>, bool)> {
        let path = self.path(name)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let allocation = if reserve == 0 { Ok(true) } else { allocate_file(&file, reserve) };
        match allocation {
            Ok(is_allocated) => Ok((Arc::new(RealFile(file)), is_allocated)),
            Err(error) => {
                // Best effort: a file without its allocation is useless, and the next start removes it.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).open(self.path(name)?)?)))
    }

    fn list(&self) -> io::Result<Vec<DirectoryEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata()) else { continue };
            if metadata.is_file() {
                entries.push(DirectoryEntry { name, len: metadata.len() });
            }
        }
        Ok(entries)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from)?, self.path(to)?)
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn free_space(&self) -> io::Result<FreeSpace> {
        let stat = rustix::fs::fstatvfs(&self.handle)?;
        let files = if stat.f_files == 0 { u64::MAX } else { stat.f_favail };
        let total = if stat.f_blocks == 0 { u64::MAX } else { stat.f_blocks.saturating_mul(stat.f_frsize) };
        Ok(FreeSpace { bytes: stat.f_bavail.saturating_mul(stat.f_frsize), total, files })
    }

    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(self.path(name)?)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Allocates room on the volume. `Ok(false)`: this file system can't; the file is left empty.
#[cfg(target_os = "linux")]
fn allocate_file(file: &File, bytes: u64) -> io::Result<bool> {
    use rustix::io::Errno;
    loop {
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate_file(_: &File, _: u64) -> io::Result<bool> {
    Ok(false)
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write_at(bytes, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(out, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
