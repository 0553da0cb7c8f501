//! Opens a spool directory: takes its lock, recovers the records, and removes useless files. Records that were read are
//! synced before they count as committed; no existing segment is appended to. Reading is in `recover`.

use std::io;
use std::sync::Arc;

use crate::disk::{Directory, Disk, DiskFile, is_out_of_space, read_exact_at};
use kernel::clock::Clock;
use kernel::rng::Rng;
use telemetry::Meter;

use super::commit::Committer;
use super::config::{MIN_SEGMENT, SpoolSettings};
use super::index::SpoolIndex;
use super::key::SpoolKey;
use super::maintenance::MaintenanceState;
use super::read::read_records;
use super::recover::{SurveyedSpool, survey};
use super::space::{CUSHION, SpaceAllocator};
use super::spool_handle::Spool;
use super::spool_metrics::SpoolMetrics;
use super::status::{SpoolOpenError, SpoolReadError, SpoolStatus};
use super::transaction::{RecordSeq, StoredRecord};

const LOCK_FILE: &str = "lock";
const REWRITE_CHUNK: usize = 1 << 20;
/// Attempts to survey a directory that changes meanwhile.
const SURVEY_ATTEMPTS: u32 = 5;

fn directory_error(settings: &SpoolSettings, action: &str, error: &io::Error) -> SpoolOpenError {
    SpoolOpenError::config(format!("spool directory {} can't be {action}: {error}", settings.directory.display()))
}

/// Limits the segment size to a part of the volume: few or no large files could be allocated on a small volume. The
/// volume's other contents are ignored, because they may be deleted later, while the small segment size would remain.
fn fit_segment_size(settings: &SpoolSettings, directory: &dyn Directory) -> SpoolSettings {
    let mut settings = settings.clone();
    let volume = directory.free_space().map_or(u64::MAX, |free| free.total);
    if settings.segment_size > volume / 4 {
        settings.segment_size = (volume / 16).max(MIN_SEGMENT);
        tracing::warn!(
            volume,
            max_size = settings.max_size,
            segment_size = settings.segment_size,
            "the spool's volume is small, so its segment files are limited to `segment_size`"
        );
    }
    settings
}

/// Makes the recovered records durable, and removes useless files.
fn make_durable(directory: &dyn Directory, surveyed: &SurveyedSpool) -> io::Result<()> {
    if let Some((file, from, to)) = &surveyed.unproven {
        rewrite_last_group(&**file, *from, *to)?;
    }
    for name in &surveyed.useless_files {
        directory.remove(name)?;
    }
    directory.sync()?;
    for (file, len) in &surveyed.truncate {
        // Best effort: it only frees room.
        let _ = file.set_len(*len);
    }
    Ok(())
}

/// Rewrites the last group, byte for byte, and syncs. After a failed sync the page cache may show data as clean that
/// the disk does not have; only a rewrite brings it there.
fn rewrite_last_group(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut offset = from;
    while offset < to {
        let mut chunk = vec![0; usize::try_from(to - offset).unwrap_or(REWRITE_CHUNK).min(REWRITE_CHUNK)];
        read_exact_at(file, offset, &mut chunk)?;
        match file.write_at(offset, &chunk) {
            Ok(written) if written == chunk.len() => {}
            // The disk is full, and this file system needs room even for the same bytes; the sync must suffice.
            Ok(_) => break,
            Err(error) if is_out_of_space(&error) => break,
            Err(error) => return Err(error),
        }
        offset += chunk.len() as u64;
    }
    file.sync_data()
}

/// Surveys a directory that a running gateway may be changing: files appear and disappear between listing and reading.
/// An error counts only if all names and sizes stayed the same meanwhile.
pub(super) fn survey_live(
    directory: &Arc<dyn Directory>,
    settings: &SpoolSettings,
    keys: &[SpoolKey],
) -> Result<SurveyedSpool, SpoolOpenError> {
    let list_files = || {
        let mut entries = directory.list().ok()?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Some(entries)
    };
    for _ in 1..SURVEY_ATTEMPTS {
        let before = list_files();
        let result = survey(directory, settings, keys);
        if result.is_ok() || list_files() == before {
            return result;
        }
    }
    survey(directory, settings, keys)
}

/// A spool as its files were found ([`Spool::peek`]).
pub struct SpoolSnapshot {
    /// Its numbers.
    pub status: SpoolStatus,
    index: SpoolIndex,
}

impl SpoolSnapshot {
    /// As [`Spool::read`]. A running gateway may delete records meanwhile; those that were open are still read.
    ///
    /// # Errors
    /// See [`Spool::read`].
    pub fn read(
        &self,
        consumer: &str,
        after: Option<RecordSeq>,
        max_bytes: usize,
        max_records: usize,
    ) -> Result<Vec<StoredRecord>, SpoolReadError> {
        read_records(&self.index.plan_reads(consumer, None, after, max_bytes, max_records))
    }
}

impl Spool {
    /// Opens or recovers `settings.directory` through `disk`, and takes its lock file. The first key encrypts, all
    /// decrypt.
    ///
    /// # Errors
    /// One line that says what to do, with an exit code: no key, a missing key, a newer format, damage, another
    /// process, the disk.
    pub fn open(
        disk: Arc<dyn Disk>,
        settings: &SpoolSettings,
        keys: &[SpoolKey],
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        meter: &Meter,
    ) -> Result<(Arc<Self>, Committer), SpoolOpenError> {
        let Some(key) = keys.first().cloned() else {
            return Err(SpoolOpenError::config("the spool has no key: add one to `spool.keys`"));
        };
        let directory =
            disk.directory(&settings.directory).map_err(|error| directory_error(settings, "used", &error))?;
        let lock = match directory.lock(LOCK_FILE) {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                let path = settings.directory.display();
                let remedy = "stop the gateway that uses it, or set another folder for this one (`spool.directory`, or \
                    `--data-dir` of the embedded default)";
                let text = format!("spool directory {path} is in use by another process: {remedy}");
                return Err(SpoolOpenError::in_use(text));
            }
            Err(error) => return Err(directory_error(settings, "locked", &error)),
        };
        let surveyed = survey(&directory, settings, keys)?;
        make_durable(&*directory, &surveyed).map_err(|error| {
            SpoolOpenError::failed(format!(
                "spool directory {} can't be prepared for writing: {error}",
                settings.directory.display()
            ))
        })?;
        let cushion = match directory.open(CUSHION) {
            Ok(file) => file.size().unwrap_or(0),
            Err(_) => 0,
        };
        let settings = &fit_segment_size(settings, &*directory);
        let (limit, min_free) = (settings.max_allocated(), 2 * settings.cushion_size());
        let space =
            SpaceAllocator::new(Arc::clone(&directory), Arc::clone(&clock), limit, settings.segment_size, min_free);
        space.set_active(0, 0, surveyed.bytes);
        let metrics = SpoolMetrics::new(meter, settings.max_size);
        let spool = Arc::new(Spool::new(settings.clone(), surveyed.index, space, metrics, clock, rng));
        let mut committer = Committer::new(Arc::clone(&spool), directory, key, lock);
        committer.newest_number = surveyed.highest_segment;
        committer.newest_len = surveyed.newest_len;
        committer.removed = surveyed.removed;
        committer.maintenance = MaintenanceState::with_cushion(cushion);
        committer.run_maintenance();
        if !spool.progress.lock().is_usable() && !spool.space.is_waiting_for_space() {
            tracing::warn!("the spool starts without a progress file");
        }
        Ok((spool, committer))
    }

    /// A spool directory as it is, without taking its lock or changing anything (a missing directory is not created).
    /// If a gateway is running there, parts may be newer than others.
    pub fn peek(disk: &dyn Disk, settings: &SpoolSettings, keys: &[SpoolKey]) -> Result<SpoolSnapshot, SpoolOpenError> {
        let directory = disk.existing(&settings.directory).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SpoolOpenError::no_spool(&settings.directory),
            _ => directory_error(settings, "used", &error),
        })?;
        let mut surveyed = survey_live(&directory, settings, keys)?;
        let status = SpoolStatus {
            bytes: surveyed.bytes,
            limit: settings.max_size,
            available: settings.max_size.saturating_sub(surveyed.bytes),
            segments: surveyed.index.segments().count() as u64,
            records: surveyed.index.records,
            max_records: settings.max_records,
            next: RecordSeq(surveyed.index.next),
            poisoned: None,
            refusing: None,
            consumers: surveyed.index.consumers(),
        };
        Ok(SpoolSnapshot { status, index: surveyed.index })
    }
}
