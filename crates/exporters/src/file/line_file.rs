//! Appends lines to a file and syncs each one.
//! A line that was not finished (an error, a dropped future) is cut off before the next one is written; if a crash
//! left an unfinished last line, a line end is appended. If another program renamed or removed the file, the
//! path is opened again. `rotate` names and removes renamed files.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::config::RotationLimits;
use super::rotate;
use kernel::clock::Clock;

/// The output file, opened when it is first needed.
pub(super) struct LineFile {
    path: PathBuf,
    rotation: Option<RotationLimits>,
    clock: Arc<dyn Clock>,
    open_file: Option<OpenLineFile>,
}

struct OpenLineFile {
    file: File,
    /// Device and inode number.
    identity: (u64, u64),
    /// True for a regular file; terminals and pipes have no size, no sync and can't be renamed.
    is_regular: bool,
    /// Offset of an unfinished line.
    torn_at: Option<u64>,
}

impl LineFile {
    pub(super) fn new(path: PathBuf, rotation: Option<RotationLimits>, clock: Arc<dyn Clock>) -> Self {
        Self { path, rotation, clock, open_file: None }
    }

    /// Writes `line`, which must end with a line end, and syncs it. After an error the line counts as not written.
    pub(super) async fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut open = self.open_or_reuse().await?;
        if let Some(limits) = self.rotation.filter(|_| open.is_regular) {
            let size = open.file.metadata().await?.len();
            if size > 0 && size.saturating_add(line.len() as u64) > limits.max_bytes {
                drop(open);
                rotate::rotate_file(&self.path, self.clock.now(), limits.max_backups).await?;
                open = OpenLineFile::open_path(&self.path).await?;
            }
        }
        // The file is stored before the write: if the future is dropped, the next call must find the unfinished line.
        self.open_file.insert(open).write_line(line).await
    }

    /// Returns the open file if it is still usable, otherwise opens it again.
    async fn open_or_reuse(&mut self) -> io::Result<OpenLineFile> {
        if let Some(open) = &mut self.open_file {
            // If the cut fails, the file is reopened, and its last byte is checked then.
            let is_usable = open.cut_torn_line().await.is_ok() && open.is_at(&self.path).await;
            if let Some(open) = self.open_file.take().filter(|_| is_usable) {
                return Ok(open);
            }
        }
        OpenLineFile::open_path(&self.path).await
    }
}

impl OpenLineFile {
    async fn open_path(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).await?;
        let metadata = file.metadata().await?;
        let mut open =
            Self { file, identity: (metadata.dev(), metadata.ino()), is_regular: metadata.is_file(), torn_at: None };
        if !open.is_regular {
            return Ok(open);
        }
        let file = open.file.into_std().await;
        file.try_lock()?;
        open.file = File::from_std(file);
        if metadata.len() == 0 {
            sync_folder(path).await?;
        } else if open.last_byte().await? != b'\n' {
            open.write_line(b"\n").await?;
        }
        Ok(open)
    }

    async fn last_byte(&mut self) -> io::Result<u8> {
        self.file.seek(io::SeekFrom::End(-1)).await?;
        self.file.read_u8().await
    }

    async fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.is_regular {
            self.file.write_all(line).await?;
            return self.file.flush().await;
        }
        self.torn_at = Some(self.file.metadata().await?.len());
        self.file.write_all(line).await?;
        self.file.flush().await?;
        self.file.sync_data().await?;
        self.torn_at = None;
        Ok(())
    }

    /// Cuts off an unfinished line, after waiting for writes still in progress.
    async fn cut_torn_line(&mut self) -> io::Result<()> {
        let Some(line_start) = self.torn_at else { return Ok(()) };
        let _ = self.file.flush().await; // an error here belongs to the unfinished line
        if self.file.metadata().await?.len() > line_start {
            self.file.set_len(line_start).await?;
        }
        self.torn_at = None;
        Ok(())
    }

    /// Whether the path still names this file; it may have been renamed or removed.
    async fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).await.is_ok_and(|named| (named.dev(), named.ino()) == self.identity)
    }
}

/// Syncs the folder of `path`, so that a new file's name survives a crash.
async fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).await?.sync_all().await
}
