//! Opens a spool directory: lock, recovery, removal of leftovers. Records that were read are synced before they count
//! as committed; no existing segment is appended to. Reading is in `recover`.

use std::io;
use std::sync::Arc;

use crate::disk::{Directory, Disk, DiskFile, is_full, read_exact_at};
use kernel::clock::Clock;
use kernel::rng::Rng;
use telemetry::Meter;

use super::commit::Committer;
use super::config::{MIN_SEGMENT, Settings};
use super::handle::Spool;
use super::key::SpoolKey;
use super::meters::Meters;
use super::recover::{Found, survey};
use super::room::{CUSHION, Room};
use super::status::OpenError;
use super::status::Status;
use super::upkeep::Clean;

const LOCK: &str = "lock";
const PIECE: usize = 1 << 20;
/// Attempts to survey a directory that changes meanwhile.
const LOOKS: u32 = 5;

fn cant(settings: &Settings, what: &str, error: &io::Error) -> OpenError {
    OpenError::config(format!("spool directory {} can't be {what}: {error}", settings.directory.display()))
}

fn open(
    disk: &dyn Disk,
    settings: &Settings,
    keys: &[SpoolKey],
    (clock, rng, meter): (Arc<dyn Clock>, Arc<dyn Rng>, &Meter),
) -> Result<(Arc<Spool>, Committer), OpenError> {
    let Some(key) = keys.first().cloned() else { return Err(OpenError::config("the spool has no key")) };
    let directory = disk.directory(&settings.directory).map_err(|error| cant(settings, "used", &error))?;
    let lock = match directory.lock(LOCK) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            let path = settings.directory.display();
            let remedy = "stop the gateway that runs there, or give this one another folder (`spool.directory`, or \
                `--data-dir` of the embedded default)";
            let what = format!("spool directory {path} is in use by another process: {remedy}");
            return Err(OpenError::failed(what));
        }
        Err(error) => return Err(cant(settings, "locked", &error)),
    };
    let found = survey(&directory, settings, keys)?;
    settle(&*directory, &found).map_err(|error| {
        OpenError::failed(format!("spool directory {} can't be made ready: {error}", settings.directory.display()))
    })?;
    let cushion = match directory.open(CUSHION) {
        Ok(file) => file.size().unwrap_or(0),
        Err(_) => 0,
    };
    let settings = &fitting(settings, &*directory);
    let (limit, least) = (settings.room(), 2 * settings.cushion());
    let room = Room::new(Arc::clone(&directory), Arc::clone(&clock), limit, settings.segment_size, least);
    room.active(0, 0, found.bytes);
    let meters = Meters::new(meter, settings.max_size);
    let spool = Arc::new(Spool::new(settings.clone(), found.index, room, meters, clock, rng));
    let mut committer = Committer::new(Arc::clone(&spool), directory, key, lock);
    committer.newest = (found.highest, found.newest_len);
    committer.removed = found.removed;
    committer.clean = Clean::with_cushion(cushion);
    committer.upkeep();
    if !spool.progress.lock().usable() && !spool.room.resting() {
        tracing::warn!("the spool starts without a progress file");
    }
    Ok((spool, committer))
}

/// Limits the segment size to a part of the volume: of large files on a small volume, few or none could be allocated.
/// The volume's other contents are ignored, because they may be deleted later, while the small segment size would
/// remain.
fn fitting(settings: &Settings, directory: &dyn Directory) -> Settings {
    let mut settings = settings.clone();
    let volume = directory.free().map_or(u64::MAX, |free| free.total);
    if settings.segment_size > volume / 4 {
        settings.segment_size = (volume / 16).max(MIN_SEGMENT);
        let (size, asked) = (settings.segment_size, settings.max_size);
        tracing::warn!(
            volume,
            max_size = asked,
            segment_size = size,
            "the spool's volume is small: its files are made smaller"
        );
    }
    settings
}

/// Makes the recovered records durable, and removes useless files.
fn settle(directory: &dyn Directory, found: &Found) -> io::Result<()> {
    if let Some((file, from, to)) = &found.unproven {
        prove(&**file, *from, *to)?;
    }
    for name in &found.sweep {
        directory.remove(name)?;
    }
    directory.sync()?;
    for (file, len) in &found.cut {
        // Best effort: it only frees room.
        let _ = file.set_len(*len);
    }
    Ok(())
}

/// Rewrites the last group, byte for byte, and syncs. After a failed sync the page cache may show data as clean that
/// the disk does not have; only a rewrite brings it there.
fn prove(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let mut piece = vec![0; usize::try_from(to - at).unwrap_or(PIECE).min(PIECE)];
        read_exact_at(file, at, &mut piece)?;
        match file.write_at(at, &piece) {
            Ok(written) if written == piece.len() => {}
            // The disk is full, and this file system needs room even for the same bytes; the sync must suffice.
            Ok(_) => break,
            Err(error) if is_full(&error) => break,
            Err(error) => return Err(error),
        }
        at += piece.len() as u64;
    }
    file.sync_data()
}

/// Status of a spool directory, without taking its lock or changing anything. A missing directory is not created.
fn peek(disk: &dyn Disk, settings: &Settings, keys: &[SpoolKey]) -> Result<Status, OpenError> {
    let directory = disk.existing(&settings.directory).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::no_spool(&settings.directory),
        _ => cant(settings, "used", &error),
    })?;
    let mut found = survey_beside(&directory, settings, keys)?;
    Ok(Status {
        bytes: found.bytes,
        limit: settings.max_size,
        left: settings.max_size.saturating_sub(found.bytes),
        segments: found.index.segments().count() as u64,
        records: found.index.records(),
        max_records: settings.max_records,
        next: super::transaction::Seq(found.index.next()),
        poisoned: None,
        refusing: None,
        consumers: found.index.consumers(),
    })
}

/// Surveys a directory that a running gateway may be changing: files appear and disappear between listing and reading.
/// An error counts only if all names and sizes stayed the same meanwhile.
pub(super) fn survey_beside(
    directory: &Arc<dyn Directory>,
    settings: &Settings,
    keys: &[SpoolKey],
) -> Result<Found, OpenError> {
    let names = || {
        let mut entries = directory.list().ok()?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Some(entries)
    };
    for _ in 1..LOOKS {
        let before = names();
        let found = survey(directory, settings, keys);
        if found.is_ok() || names() == before {
            return found;
        }
    }
    survey(directory, settings, keys)
}

impl Spool {
    /// Opens or recovers `settings.directory` through `disk`, and takes its lock file. The first key encrypts, all
    /// decrypt.
    ///
    /// # Errors
    /// One clear line and its exit code: no key, a missing key, a newer format, damage, another process, the disk.
    pub fn open(
        disk: Arc<dyn Disk>,
        settings: &Settings,
        keys: &[SpoolKey],
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        meter: &Meter,
    ) -> Result<(Arc<Self>, Committer), OpenError> {
        open(&*disk, settings, keys, (clock, rng, meter))
    }

    /// Status of a spool directory, without taking its lock or changing anything. A gateway may be running there; then
    /// parts of the status may be newer than others.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn peek(disk: &dyn Disk, settings: &Settings, keys: &[SpoolKey]) -> Result<Status, OpenError> {
        peek(disk, settings, keys)
    }
}
