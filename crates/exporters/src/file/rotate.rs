//! Renames a full file and deletes the oldest renamed ones. Only files whose names match this module's pattern are
//! deleted, and no rename overwrites a file. `line_file` decides when to rotate.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::fs;

use kernel::clock::UnixNanos;

/// `2006-01-02T15-04-05.000`, the format of the Collector's file exporter; names sort by time.
const STAMP_FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]-[minute]-[second].[subsecond digits:3]");

/// Renames `out.jsonl` to `out-{now}.jsonl`, then deletes the oldest renamed files until `keep` are left (0 keeps
/// all).
pub(super) async fn rotate_file(path: &Path, now: UnixNanos, keep: usize) -> io::Result<()> {
    let names = RotatedFileNames::from_path(path);
    let mut stamp = now;
    let mut backup = names.timestamped_path(stamp);
    while fs::try_exists(&backup).await? {
        stamp = stamp.plus(Duration::from_millis(1));
        backup = names.timestamped_path(stamp);
    }
    fs::rename(path, backup).await?;
    if keep > 0 {
        names.prune_backups(keep).await;
    }
    Ok(())
}

struct RotatedFileNames {
    folder: PathBuf,
    stem: OsString,
    extension: OsString,
}

impl RotatedFileNames {
    fn from_path(path: &Path) -> Self {
        let mut extension = OsString::new();
        if let Some(end) = path.extension() {
            extension.push(".");
            extension.push(end);
        }
        let stem = path.file_stem().unwrap_or_default().to_owned();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self { folder: folder.to_owned(), stem, extension }
    }

    fn timestamped_path(&self, now: UnixNanos) -> PathBuf {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(now.0)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let mut name = self.stem.clone();
        name.push("-");
        name.push(time.format(STAMP_FORMAT).unwrap_or_default());
        name.push(&self.extension);
        self.folder.join(name)
    }

    /// The time stamp in a file name that [`RotatedFileNames::timestamped_path`] made; `None` for other names.
    fn parse_stamp<'n>(&self, name: &'n str) -> Option<&'n str> {
        let stamp = name.strip_prefix(self.stem.to_str()?)?.strip_prefix('-')?;
        let stamp = stamp.strip_suffix(self.extension.to_str()?)?;
        time::PrimitiveDateTime::parse(stamp, STAMP_FORMAT).is_ok().then_some(stamp)
    }

    /// Deletes the oldest files beyond `keep`. A file that can't be listed or deleted stays; the next rename tries
    /// again.
    async fn prune_backups(&self, keep: usize) {
        let mut backups = Vec::new();
        let Ok(mut entries) = fs::read_dir(&self.folder).await else { return };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let name = entry.file_name().into_string().unwrap_or_default();
            if let Some(stamp) = self.parse_stamp(&name) {
                backups.push((stamp.to_owned(), name));
            }
        }
        backups.sort_unstable();
        let excess = backups.len().saturating_sub(keep);
        for (_, name) in backups.iter().take(excess) {
            if let Err(error) = fs::remove_file(self.folder.join(name)).await {
                tracing::warn!(error = %error.kind(), "an old output file can't be removed");
            }
        }
    }
}
