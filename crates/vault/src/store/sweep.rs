//! **What**: retention and a bound for a vault in a folder: [`super::Limits`], [`DirectoryStore::remove_expired`].
//! **Why**: a folder has no lifecycle rules. **Invariants**: nothing goes before its retention is over, counted from
//! when it was written; keys go after what they open; digests, lines of sessions and holds stay; what is under hold
//! stays; a full folder takes nothing more and loses nothing. A clock that runs far ahead makes things old: keep it
//! right. **Not here**: when (`uploader`).

use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::directory::{DirectoryStore, classify, modified};
use super::limits::Swept;
use super::object::{ObjectKind, StoreError, VaultReader};
use crate::keys::KEYS_LONGER_DAYS;
use crate::names::is_payload;
use kernel::clock::UnixNanos;

const KEYS_LONGER: Duration = Duration::from_secs(KEYS_LONGER_DAYS * 86_400);

impl DirectoryStore {
    /// Says whether `more` bytes still fit.
    pub(super) async fn fits(&self, more: u64) -> Result<(), StoreError> {
        let Some(max) = self.limits.max_size else { return Ok(()) };
        self.used.counted.get_or_try_init(|| self.count()).await?;
        let used = self.used.bytes.load(Ordering::Relaxed);
        if used.saturating_add(more) > max { Err(StoreError::Full) } else { Ok(()) }
    }

    async fn count(&self) -> Result<(), StoreError> {
        let mut bytes = 0;
        for name in self.list(ObjectKind::Payload, "").await? {
            match tokio::fs::symlink_metadata(self.path(&name)?).await {
                Ok(data) => bytes += data.len(),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(classify(error)),
            }
        }
        self.used.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// So many bytes were written.
    pub(super) fn wrote(&self, bytes: u64) {
        if self.used.counted.initialized() {
            self.used.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Removes what is expired at `now`.
    ///
    /// # Errors
    /// The file system fails; what was removed is gone.
    pub async fn remove_expired(&self, now: UnixNanos) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let Some(retention) = self.limits.retention else { return Ok(swept) };
        for name in self.list(ObjectKind::Payload, "").await? {
            let keep = match (name.starts_with("keys/"), name.starts_with("index/")) {
                (true, _) => retention + KEYS_LONGER,
                (false, true) => retention,
                (false, false) if is_payload(&name) => retention,
                (false, false) => continue, // digests, sessions, holds
            };
            let path = self.path(&name)?;
            let data = match tokio::fs::symlink_metadata(&path).await {
                Ok(data) => data,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(classify(error)),
            };
            if now.since(modified(&data)?) < keep {
                continue;
            }
            if self.is_held(&name).await? {
                swept.held += 1;
                continue;
            }
            tokio::fs::remove_file(&path).await.map_err(classify)?;
            swept.objects += 1;
            swept.bytes += data.len();
            self.remove_empty(&path).await;
        }
        if self.used.counted.initialized() {
            let _ = self
                .used
                .bytes
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_sub(swept.bytes))); // always some
        }
        Ok(swept)
    }

    /// Folders that have nothing left in them; a put that comes meanwhile makes them again.
    async fn remove_empty(&self, path: &std::path::Path) {
        let mut at = path.parent();
        while let Some(folder) = at.filter(|folder| *folder != self.root && folder.starts_with(&self.root)) {
            if tokio::fs::remove_dir(folder).await.is_err() {
                return;
            }
            at = folder.parent();
        }
    }
}
