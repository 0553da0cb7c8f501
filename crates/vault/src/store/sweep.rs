//! Enforces the retention and the size limit ([`super::DirectoryLimits`]) of a vault in a folder, which has no
//! lifecycle rules of its own.
//!
//! No object is removed before its retention is over, counted from its write time; keys are kept longer than the
//! content they open. Digests, session lines, hold notes and objects under hold are never removed. Temporary files of
//! crashed writers are removed after a day. A full folder accepts no more objects and loses none. A clock that runs far
//! ahead makes objects expire early, so keep the machine's clock right. Neighbour: `uploader` decides when to sweep.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::directory::{DirectoryStore, classify_io_error, is_temporary, modification_time};
use super::object::{ObjectKind, StoreError, SweepResult, VaultReader};
use crate::key_ring::EXTRA_KEY_RETENTION_DAYS;
use crate::object_names::is_payload;
use kernel::clock::UnixNanos;

/// Age at which a temporary file is a crashed writer's: no put takes that long.
const MAX_WRITE_TIME: Duration = Duration::from_secs(86_400);
const EXTRA_KEY_RETENTION: Duration = Duration::from_secs(EXTRA_KEY_RETENTION_DAYS * 86_400);

impl DirectoryStore {
    /// Checks whether `additional` bytes still fit.
    pub(super) async fn check_space(&self, additional: u64) -> Result<(), StoreError> {
        let Some(max) = self.limits.max_size else { return Ok(()) };
        self.used.counted.get_or_try_init(|| self.count_used_bytes()).await?;
        let used = self.used.bytes.load(Ordering::Relaxed);
        if used.saturating_add(additional) > max { Err(StoreError::Full) } else { Ok(()) }
    }

    async fn count_used_bytes(&self) -> Result<(), StoreError> {
        let mut bytes = 0;
        for name in self.list(ObjectKind::Payload, "").await? {
            bytes += self.metadata(&name).await?.map_or(0, |metadata| metadata.len());
        }
        self.used.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Changes the used size, once it was counted.
    pub(super) fn change_used(&self, change: impl Fn(u64) -> u64) {
        if self.used.counted.initialized() {
            // always Some
            let _ = self.used.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(change(used)));
        }
    }

    /// Removes objects that are expired at `now`, and files that a put left unfinished.
    ///
    /// # Errors
    /// The file system fails; objects already removed stay removed.
    pub async fn remove_expired(&self, now: UnixNanos) -> Result<SweepResult, StoreError> {
        let mut swept = SweepResult::default();
        for name in self.list_files("").await? {
            let is_temporary = is_temporary(&name);
            let keep_for = match (self.limits.retention, name.starts_with("keys/"), name.starts_with("index/")) {
                _ if is_temporary => MAX_WRITE_TIME,
                (None, ..) => continue,
                (Some(retention), true, _) => retention + EXTRA_KEY_RETENTION,
                (Some(retention), false, true) => retention,
                (Some(retention), false, false) if is_payload(&name) => retention,
                (Some(_), false, false) => continue, // digests, session lines, hold notes
            };
            let (path, Some(metadata)) = (self.path(&name)?, self.metadata(&name).await?) else { continue };
            if now.since(modification_time(&metadata)?) < keep_for {
                continue;
            }
            if !is_temporary && self.is_held(&name).await? {
                swept.held += 1;
                continue;
            }
            tokio::fs::remove_file(&path).await.map_err(classify_io_error)?;
            // not an object, and never counted
            if !is_temporary {
                swept.objects += 1;
                swept.bytes += metadata.len();
                // at once, so that an error at a later object leaves the count right
                self.change_used(|used| used.saturating_sub(metadata.len()));
            }
            self.remove_empty_folders(&path).await;
        }
        Ok(swept)
    }

    /// Removes folders that became empty; a concurrent put creates them again.
    async fn remove_empty_folders(&self, path: &std::path::Path) {
        let mut next = path.parent();
        while let Some(folder) = next.filter(|folder| *folder != self.root && folder.starts_with(&self.root)) {
            if tokio::fs::remove_dir(folder).await.is_err() {
                return;
            }
            next = folder.parent();
        }
    }
}
