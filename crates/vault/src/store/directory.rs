//! The vault in a directory, for trials, tests, and stores mounted as a file system. Folders have mode 0700, files
//! 0600. A file appears whole and synced under its name or not at all, and is never replaced: writing the same bytes
//! again succeeds, other bytes are an error. Only regular files are opened. A directory is not immutable for the
//! machine's administrator; that takes S3 with Object Lock (`s3`).

use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use kernel::clock::UnixNanos;
use kernel::files;

use super::object::{
    MAX_READ_BYTES, ObjectKind, PutOutcome, StoreError, StoreFuture, SweepResult, VaultReader, VaultStore,
};
use super::settings::DirectoryLimits;

/// Bytes in a folder, once counted.
#[derive(Default)]
pub(super) struct UsedSpace {
    pub(super) counted: tokio::sync::OnceCell<()>,
    pub(super) bytes: AtomicU64,
    /// Whether the last object had no room.
    pub(super) is_full: AtomicBool,
    /// Content of digests that were written earlier is removed, ns since 1970.
    pub(super) removed_until: AtomicU64,
}

/// Objects as files below one folder.
pub struct DirectoryStore {
    pub(super) root: PathBuf,
    pub(super) limits: DirectoryLimits,
    pub(super) used: UsedSpace,
}

impl DirectoryStore {
    /// A store below `root`, which is created with the first object.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), limits: DirectoryLimits::default(), used: UsedSpace::default() }
    }

    /// The same store with a retention and a maximum size.
    #[must_use]
    pub fn with_limits(self, limits: DirectoryLimits) -> Self {
        Self { limits, ..self }
    }

    /// Creates the folder (0700) if it is missing, so that an unusable one is reported at start.
    pub fn create_folder(root: &Path) -> io::Result<()> {
        std::fs::DirBuilder::new().mode(0o700).recursive(true).create(root)?;
        std::fs::File::open(root)?.sync_all()
    }

    /// The path of object `name`; names that would leave the folder are refused.
    pub(super) fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        let relative = Path::new(name);
        let is_inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if name.is_empty() || !is_inside {
            return Err(StoreError::Denied("the object name points outside the vault's folder".to_owned()));
        }
        Ok(self.root.join(relative))
    }

    async fn put(&self, kind: ObjectKind, name: &str, bytes: &Bytes) -> Result<PutOutcome, StoreError> {
        let path = self.path(name)?;
        if let Some(outcome) = compare_existing(&path, bytes).await? {
            return Ok(outcome);
        }
        // a removal makes room, and digests have to declare it first
        let is_declaration = matches!(kind, ObjectKind::Index | ObjectKind::Chain);
        let len = bytes.len() as u64;
        self.reserve_space(len, is_declaration && self.limits.expires_beyond().is_some()).await?;
        let Err(error) = write_new(path.clone(), bytes.clone()).await else { return Ok(PutOutcome::Written) };
        self.change_used(|used| used.saturating_sub(len));
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(classify_io_error(error));
        }
        compare_existing(&path, bytes).await?.ok_or_else(|| {
            StoreError::Unavailable("another process created and removed the object at the same time".to_owned())
        })
    }

    /// All files below the folder `top` (empty: the vault's own), with their names, in no order; temporary files too.
    pub(super) async fn walk_files(&self, top: &str) -> Result<Vec<(String, PathBuf)>, StoreError> {
        let mut folders = vec![if top.is_empty() { self.root.clone() } else { self.path(top)? }];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            let mut entries = match tokio::fs::read_dir(&folder).await {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(classify_io_error(error)),
            };
            while let Some(entry) = entries.next_entry().await.map_err(classify_io_error)? {
                if entry.file_type().await.map_err(classify_io_error)?.is_dir() {
                    folders.push(entry.path());
                } else if let Some(name) = relative_name(&self.root, &entry.path()) {
                    files.push((name, entry.path()));
                }
            }
        }
        Ok(files)
    }

    /// The names of all files that begin with `prefix`, in no order, temporary files included.
    pub(super) async fn list_files(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let files = self.walk_files(prefix.rsplit_once('/').map_or("", |(folder, _)| folder)).await?;
        Ok(files.into_iter().map(|(name, _)| name).filter(|name| name.starts_with(prefix)).collect())
    }

    /// A file's metadata; `None` if it does not exist (any more).
    pub(super) async fn metadata(&self, name: &str) -> Result<Option<std::fs::Metadata>, StoreError> {
        match tokio::fs::symlink_metadata(self.path(name)?).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            metadata => metadata.map(Some).map_err(classify_io_error),
        }
    }
}

impl VaultStore for DirectoryStore {
    fn put_once<'a>(
        &'a self,
        kind: ObjectKind,
        name: &'a str,
        bytes: Bytes,
        _now: UnixNanos,
    ) -> StoreFuture<'a, PutOutcome> {
        Box::pin(async move {
            // a folder that was removed meanwhile is created again by the next attempt
            let folder_removed = || StoreError::Unavailable("the folder was removed during the write".to_owned());
            self.put(kind, name, &bytes)
                .await
                .map_err(|error| if error == StoreError::Missing { folder_removed() } else { error })
        })
    }

    fn make_room(&self, declared: Option<UnixNanos>) -> StoreFuture<'_, Option<UnixNanos>> {
        Box::pin(self.remove_oldest(declared))
    }

    fn sweep(&self, now: UnixNanos) -> StoreFuture<'_, Option<SweepResult>> {
        Box::pin(async move { self.remove_expired(now).await.map(Some) })
    }
}

impl VaultReader for DirectoryStore {
    fn get<'a>(&'a self, _kind: ObjectKind, name: &'a str, range: Option<(u64, u64)>) -> StoreFuture<'a, Bytes> {
        Box::pin(async move {
            let mut file = open_regular(&self.path(name)?).await?;
            let mut out = Vec::new();
            let (first, length) = range.unwrap_or((0, u64::MAX));
            file.seek(io::SeekFrom::Start(first)).await.map_err(classify_io_error)?;
            file.take(length.min(MAX_READ_BYTES as u64 + 1)).read_to_end(&mut out).await.map_err(classify_io_error)?;
            if out.len() > MAX_READ_BYTES { Err(StoreError::TooLarge) } else { Ok(out.into()) }
        })
    }

    fn list<'a>(&'a self, _kind: ObjectKind, prefix: &'a str) -> StoreFuture<'a, Vec<String>> {
        Box::pin(async move {
            let mut names = self.list_files(prefix).await?;
            names.retain(|name| !is_temporary(name));
            names.sort_unstable();
            Ok(names)
        })
    }

    fn written_at<'a>(&'a self, _kind: ObjectKind, name: &'a str) -> StoreFuture<'a, Option<UnixNanos>> {
        Box::pin(async move {
            let metadata = tokio::fs::symlink_metadata(self.path(name)?).await.map_err(classify_io_error)?;
            modification_time(&metadata).map(Some)
        })
    }
}

/// A file's modification time, by the clock of the folder's machine.
pub(super) fn modification_time(metadata: &std::fs::Metadata) -> Result<UnixNanos, StoreError> {
    let since_epoch = metadata.modified().map_err(classify_io_error)?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(UnixNanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)))
}

/// An object's name relative to `root`. Invalid UTF-8 is replaced: such a name is listed, so that it is reported, but
/// opens no file.
fn relative_name(root: &Path, path: &Path) -> Option<String> {
    Some(path.strip_prefix(root).ok()?.to_string_lossy().into_owned())
}

/// Whether the file of this object name is a temporary one.
pub(super) fn is_temporary(name: &str) -> bool {
    files::final_name(name.rsplit_once('/').map_or(name, |(_, file)| file)).is_some()
}

/// `Some(Exists)` if the file exists with these bytes, `None` if it does not exist; [`StoreError::Differs`] if it has
/// other bytes.
async fn compare_existing(path: &Path, bytes: &Bytes) -> Result<Option<PutOutcome>, StoreError> {
    let existing = match read_regular(path, bytes.len() as u64).await {
        Ok(existing) => existing,
        Err(StoreError::Missing) => return Ok(None),
        Err(StoreError::Denied(why)) if why == NOT_A_REGULAR_FILE => return Err(StoreError::Differs),
        Err(error) => return Err(error),
    };
    if existing != *bytes {
        return Err(StoreError::Differs);
    }
    // an earlier attempt may have crashed between rename and sync
    sync_folder(files::parent_folder(path)).await.map_err(classify_io_error)?;
    Ok(Some(PutOutcome::Exists))
}

/// The reason in [`StoreError::Denied`] for anything but a regular file.
pub const NOT_A_REGULAR_FILE: &str = "not a regular file";

/// Opens a regular file only: someone who can write to the folder can put a pipe, a device or a link in an object's
/// place, and opening a pipe blocks forever.
async fn open_regular(path: &Path) -> Result<tokio::fs::File, StoreError> {
    let not_regular = || StoreError::Denied(NOT_A_REGULAR_FILE.to_owned());
    // opening a device can have side effects
    if !tokio::fs::symlink_metadata(path).await.map_err(classify_io_error)?.is_file() {
        return Err(not_regular());
    }
    let mut options = std::fs::OpenOptions::new();
    // a pipe or link may have been created since the check above
    options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    let file = tokio::fs::OpenOptions::from(options).open(path).await.map_err(classify_io_error)?;
    if file.metadata().await.map_err(classify_io_error)?.is_file() { Ok(file) } else { Err(not_regular()) }
}

/// The bytes of a regular file, at most `limit` and one more, which shows that the file is longer.
pub(super) async fn read_regular(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    open_regular(path).await?.take(limit.saturating_add(1)).read_to_end(&mut bytes).await.map_err(classify_io_error)?;
    Ok(bytes)
}

/// Writes a file that does not exist yet, and its missing folders. One by one, so that a retry, or another put, finds
/// no folder whose parents are not on disk yet.
#[expect(clippy::disallowed_methods, reason = "one blocking task for all steps; `tokio::fs` starts one for each")]
async fn write_new(path: PathBuf, bytes: Bytes) -> io::Result<()> {
    let write = move || files::make_folders(files::parent_folder(&path)).and_then(|()| files::write_new(&path, &bytes));
    tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

pub(super) async fn sync_folder(folder: &Path) -> io::Result<()> {
    tokio::fs::File::open(folder).await?.sync_all().await
}

pub(super) fn classify_io_error(error: io::Error) -> StoreError {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::NotFound => StoreError::Missing,
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem | Kind::NotADirectory | Kind::InvalidInput => {
            StoreError::Denied(error.kind().to_string())
        }
        kind => StoreError::Unavailable(kind.to_string()),
    }
}
