//! Appends lines to a file and syncs each one.
//! A line that was not finished (an error, a dropped future) is cut off before the next one is written; if a crash
//! left an unfinished last line, a line end is appended. If the file was renamed or removed by another program, it is
//! opened again. `rotate` names and removes renamed files.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::config::Limits;
use super::rotate;
use kernel::clock::Clock;

/// The output file, opened when it is first needed.
pub(super) struct Lines {
    path: PathBuf,
    rotation: Option<Limits>,
    clock: Arc<dyn Clock>,
    open: Option<Open>,
}

struct Open {
    file: File,
    /// Device and inode number.
    identity: (u64, u64),
    /// True for a regular file; terminals and pipes have no size, no sync and can't be renamed.
    regular: bool,
    /// Where an unfinished line begins.
    torn: Option<u64>,
}

impl Lines {
    pub(super) fn new(path: PathBuf, rotation: Option<Limits>, clock: Arc<dyn Clock>) -> Self {
        Self { path, rotation, clock, open: None }
    }

    /// Writes `line`, which must end with a line end, and syncs it. After an error the line counts as not written.
    pub(super) async fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut open = self.ready().await?;
        if let Some(limits) = self.rotation.filter(|_| open.regular) {
            let size = open.file.metadata().await?.len();
            if size > 0 && size.saturating_add(line.len() as u64) > limits.max_bytes {
                drop(open);
                rotate::rename(&self.path, self.clock.now(), limits.max_backups).await?;
                open = Open::at(&self.path).await?;
            }
        }
        // The file is stored before the write: if the future is dropped, the next call must find the unfinished line.
        self.open.insert(open).write(line).await
    }

    /// Returns the open file if it is still usable, otherwise opens it again.
    async fn ready(&mut self) -> io::Result<Open> {
        if let Some(open) = &mut self.open {
            // If the cut fails, the file is reopened, and its last byte is checked then.
            let usable = open.mend().await.is_ok() && open.stands_at(&self.path).await;
            if let Some(open) = self.open.take().filter(|_| usable) {
                return Ok(open);
            }
        }
        Open::at(&self.path).await
    }
}

impl Open {
    async fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).await?;
        let metadata = file.metadata().await?;
        let mut open =
            Self { file, identity: (metadata.dev(), metadata.ino()), regular: metadata.is_file(), torn: None };
        if !open.regular {
            return Ok(open);
        }
        let file = open.file.into_std().await;
        file.try_lock()?;
        open.file = File::from_std(file);
        if metadata.len() == 0 {
            sync_folder(path).await?;
        } else if open.last_byte().await? != b'\n' {
            open.write(b"\n").await?;
        }
        Ok(open)
    }

    async fn last_byte(&mut self) -> io::Result<u8> {
        self.file.seek(io::SeekFrom::End(-1)).await?;
        self.file.read_u8().await
    }

    async fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.regular {
            self.file.write_all(line).await?;
            return self.file.flush().await;
        }
        self.torn = Some(self.file.metadata().await?.len());
        self.file.write_all(line).await?;
        self.file.flush().await?;
        self.file.sync_data().await?;
        self.torn = None;
        Ok(())
    }

    /// Cuts off an unfinished line, after waiting for writes still in progress.
    async fn mend(&mut self) -> io::Result<()> {
        let Some(end) = self.torn else { return Ok(()) };
        let _ = self.file.flush().await; // an error here belongs to the unfinished line
        if self.file.metadata().await?.len() > end {
            self.file.set_len(end).await?;
        }
        self.torn = None;
        Ok(())
    }

    /// Whether the path still names this file; it may have been renamed or removed.
    async fn stands_at(&self, path: &Path) -> bool {
        let there = fs::metadata(path).await;
        there.is_ok_and(|there| (there.dev(), there.ino()) == self.identity)
    }
}

/// Syncs the folder of `path`, so that a new file name survives a crash.
async fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).await?.sync_all().await
}
