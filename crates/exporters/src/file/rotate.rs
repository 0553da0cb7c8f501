//! **What**: renames a full file and removes the oldest renamed ones. **Invariants**: only files whose names this
//! file makes are removed; no file is renamed onto another. **Not here**: when (`lines`).

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::fs;

use kernel::clock::UnixNanos;

/// `2006-01-02T15-04-05.000`, as the Collector's file exporter has it; it sorts by time.
const STAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]-[minute]-[second].[subsecond digits:3]");

/// Renames `out.jsonl` to `out-{now}.jsonl`; then the oldest go until `keep` are left (0: none go).
pub(super) async fn rename(path: &Path, now: UnixNanos, keep: usize) -> io::Result<()> {
    let names = Names::of(path);
    let mut at = now;
    let mut to = names.at(at);
    while fs::try_exists(&to).await? {
        at = at.plus(Duration::from_millis(1));
        to = names.at(at);
    }
    fs::rename(path, to).await?;
    if keep > 0 {
        names.prune(keep).await;
    }
    Ok(())
}

/// The parts of a file's name.
struct Names {
    folder: PathBuf,
    stem: OsString,
    /// With its dot.
    extension: OsString,
}

impl Names {
    fn of(path: &Path) -> Self {
        let mut extension = OsString::new();
        if let Some(end) = path.extension() {
            extension.push(".");
            extension.push(end);
        }
        let stem = path.file_stem().unwrap_or_default().to_owned();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self { folder: folder.to_owned(), stem, extension }
    }

    fn at(&self, now: UnixNanos) -> PathBuf {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(now.0)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let mut name = self.stem.clone();
        name.push("-");
        name.push(time.format(STAMP).unwrap_or_default());
        name.push(&self.extension);
        self.folder.join(name)
    }

    /// The time stamp in a name that [`Names::at`] made.
    fn stamp<'n>(&self, name: &'n str) -> Option<&'n str> {
        let stamp = name.strip_prefix(self.stem.to_str()?)?.strip_prefix('-')?;
        let stamp = stamp.strip_suffix(self.extension.to_str()?)?;
        time::PrimitiveDateTime::parse(stamp, STAMP).is_ok().then_some(stamp)
    }

    /// What can't be listed or removed stays: the data is safe, the next rename tries again.
    async fn prune(&self, keep: usize) {
        let mut found = Vec::new();
        let Ok(mut entries) = fs::read_dir(&self.folder).await else { return };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let name = entry.file_name().into_string().unwrap_or_default();
            if let Some(stamp) = self.stamp(&name) {
                found.push((stamp.to_owned(), name));
            }
        }
        found.sort_unstable();
        let old = found.len().saturating_sub(keep);
        for (_, name) in found.iter().take(old) {
            if let Err(error) = fs::remove_file(self.folder.join(name)).await {
                tracing::warn!(error = %error.kind(), "an old output file can't be removed");
            }
        }
    }
}
