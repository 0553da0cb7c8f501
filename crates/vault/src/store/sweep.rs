//! Enforces the retention and the size limit ([`super::DirectoryLimits`]) of a vault in a folder, which has no
//! lifecycle rules of its own.
//!
//! No object is removed before its retention is over, counted from its write time; keys are kept longer than the
//! content they open. Digests, session lines, hold notes and objects under hold are never removed. Temporary files of
//! crashed writers are removed after a day. A full folder accepts no more objects and loses none, unless its
//! configuration lets content expire then (`on_full: expire`): the oldest is removed, digest by digest, after a stored
//! digest has declared it. A clock that runs far ahead makes objects expire early, so keep the machine's clock right.
//! Neighbour: `uploader` decides when to sweep.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::directory::{DirectoryStore, classify_io_error, is_temporary, modification_time, read_regular};
use super::object::{ObjectKind, StoreError, SweepResult, VaultReader};
use crate::chain::digest::ChainDigest;
use crate::key_ring::EXTRA_KEY_RETENTION_DAYS;
use crate::object_names::{is_payload, parse_time};
use kernel::clock::UnixNanos;

/// Age at which a temporary file is a crashed writer's: no put takes that long.
const MAX_WRITE_TIME: Duration = Duration::from_secs(86_400);
/// Larger than any digest.
const MAX_DIGEST_BYTES: u64 = 16 << 20;
const EXTRA_KEY_RETENTION: Duration = Duration::from_secs(EXTRA_KEY_RETENTION_DAYS * 86_400);

/// Whether this is the name of an object with content or lines.
fn is_content(name: &str) -> bool {
    name.starts_with("index/") || (is_payload(name) && !name.starts_with("keys/"))
}

impl DirectoryStore {
    /// Counts `additional` bytes, if they still fit, or `always`.
    pub(super) async fn reserve_space(&self, additional: u64, always: bool) -> Result<(), StoreError> {
        let Some(max) = self.limits.max_size else { return Ok(()) };
        self.used.counted.get_or_try_init(|| self.count_used_bytes()).await?;
        // reserved at once, because several objects are written at the same time
        let reserve = |used: u64| used.checked_add(additional).filter(|used| *used <= max || always);
        let reserved = self.used.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve);
        if !always {
            self.used.is_full.store(reserved.is_err(), Ordering::Relaxed);
        }
        reserved.map_or(Err(StoreError::Full), |_| Ok(()))
    }

    /// See [`super::VaultStore::make_room`]. Begins at nine tenths of the size, so that digests can declare a removal
    /// before there is no room, and ends at eight; at six if an object had no room.
    pub(super) async fn remove_oldest(&self, declared: Option<UnixNanos>) -> Result<Option<UnixNanos>, StoreError> {
        let Some(tenth) = self.limits.expires_beyond().map(|max| max / 10) else { return Ok(None) };
        self.used.counted.get_or_try_init(|| self.count_used_bytes()).await?;
        let is_full = self.used.is_full.load(Ordering::Relaxed);
        let mut size = self.used.bytes.load(Ordering::Relaxed);
        if !is_full && size <= 9 * tenth {
            return Ok(None);
        }
        size += if is_full { 2 * tenth } else { 0 };
        let is_declared = |time: UnixNanos| declared.is_some_and(|declared| time < declared);
        let (mut seen, mut to_declare) = (HashSet::new(), None);
        let from = UnixNanos(self.used.removed_until.load(Ordering::Relaxed));
        for (written, name) in self.chain_files_since(from).await? {
            let json = read_regular(&self.path(&name)?, MAX_DIGEST_BYTES).await.unwrap_or_default();
            let Ok(digest) = serde_json::from_slice::<ChainDigest>(&json) else { continue };
            // the lines of an eraser, which explain why keys are gone, stay
            let Some(end) = parse_time(&digest.end).filter(|_| digest.made_by.is_some()) else { continue };
            let payload = digest.objects.into_iter().map(|object| object.stored_as.unwrap_or(object.key));
            let named: Vec<String> =
                payload.chain(digest.index.map(|index| index.key)).filter(|name| is_content(name)).collect();
            // the lines of an object may be in two digests
            if size <= 8 * tenth && !named.iter().any(|name| seen.contains(name)) {
                break;
            }
            for object in named {
                let Ok(Some(metadata)) = self.metadata(&object).await else { continue };
                if self.is_held(&object).await? || !seen.insert(object.clone()) {
                    continue;
                }
                if is_declared(end) {
                    self.remove_object(&object, metadata.len()).await?;
                } else {
                    to_declare = to_declare.max(Some(end.plus(Duration::from_nanos(1))));
                }
                size = size.saturating_sub(metadata.len());
            }
            if is_declared(end) {
                self.used.removed_until.store(written.0, Ordering::Relaxed);
            }
        }
        Ok(to_declare)
    }

    /// Chain objects that were written at `from` or later, in the order of their write times.
    async fn chain_files_since(&self, from: UnixNanos) -> Result<Vec<(UnixNanos, String)>, StoreError> {
        let mut files = Vec::new();
        for name in self.list_files("chain/").await? {
            let Some(metadata) = self.metadata(&name).await? else { continue };
            files.push((modification_time(&metadata)?, name));
        }
        files.retain(|(written, _)| *written >= from);
        files.sort_unstable();
        Ok(files)
    }

    async fn remove_object(&self, name: &str, len: u64) -> Result<(), StoreError> {
        let path = self.path(name)?;
        tokio::fs::remove_file(&path).await.map_err(classify_io_error)?;
        // at once, so that an error at a later object leaves the count right
        self.change_used(|used| used.saturating_sub(len));
        self.remove_empty_folders(&path).await;
        Ok(())
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
            let Some(metadata) = self.metadata(&name).await? else { continue };
            if now.since(modification_time(&metadata)?) < keep_for {
                continue;
            }
            if !is_temporary && self.is_held(&name).await? {
                swept.held += 1;
                continue;
            }
            // a temporary file is no object, and never counted
            let len = if is_temporary { 0 } else { metadata.len() };
            self.remove_object(&name, len).await?;
            swept.objects += u64::from(!is_temporary);
            swept.bytes += len;
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
