//! The committer's work besides committing: writes progress, reclaims segments, allocates room ahead, updates metrics.
//! Progress is synced before a segment is unlinked, and the directory after it. A failing progress file is rewritten
//! from memory and blocks reclaiming, but nothing else. Commits are in `commit`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::{DiskFile, is_out_of_space};
use crate::outcome::Reason;

use super::commit::Committer;
use super::progress::{ProgressFile, ProgressLines};
use super::progress_lines::name_transfer;
use super::progress_lines::take_progress_lines;
use super::record::segment_name;
use super::space::CUSHION;

/// Longest time between two syncs of the progress.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time between a failure and the next attempt.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Interval of updating gauges.
const METRICS_INTERVAL: Duration = Duration::from_secs(1);
const FILL_CHUNK: usize = 64 << 10;

/// Times (monotonic) of the last actions, and the size of the cushion.
#[derive(Default)]
pub(super) struct MaintenanceState {
    synced: Duration,
    failed: Option<Duration>,
    /// Time at which a finished segment could not be unlinked.
    unlink_failed: Option<Duration>,
    shown: Option<Duration>,
    cushion: u64,
    /// The refusal of new data has been logged.
    logged_full: bool,
    /// Time of the last attempt to make the cushion.
    last_cushion_attempt: Option<Duration>,
    /// Rewriting of records so that segments can be unlinked.
    pub(super) repacking: super::repack::RepackState,
}

impl MaintenanceState {
    /// State for a cushion of this size that exists already.
    pub(super) fn with_cushion(size: u64) -> Self {
        Self { cushion: size, ..Self::default() }
    }

    /// Whether progress can't be written, or a finished segment can't be unlinked, at the moment.
    pub(super) fn is_hampered(&self) -> bool {
        self.failed.is_some() || self.unlink_failed.is_some()
    }
}

impl Committer {
    pub(super) fn run_maintenance(&mut self) {
        let now = self.spool.clock.monotonic();
        if self.spool.poisoned().is_some() {
            return;
        }
        self.spool.clear_record_limit();
        self.rotate();
        let resting = self.maintenance.failed.is_some_and(|failed| now.saturating_sub(failed) < RETRY_INTERVAL);
        if !resting {
            self.maintain_progress(now);
        }
        self.spool.room.maintain_spares();
        self.fill_cushion(now);
        let shown = self.maintenance.shown.is_some_and(|shown| now.saturating_sub(shown) < METRICS_INTERVAL);
        if !shown {
            self.maintenance.shown = Some(now);
            self.publish_status();
        }
    }

    /// Makes finished and transferred positions durable now. Returns false if that fails.
    pub fn sync_progress(&mut self) -> bool {
        self.flush_all()
    }

    /// Makes everything durable at the end, if possible.
    pub(super) fn flush_all(&mut self) -> bool {
        self.write_progress();
        let failed = {
            let mut progress = self.spool.progress.lock();
            !progress.is_synced() && progress.sync().is_err()
        };
        if failed {
            self.write_progress();
        }
        self.reclaim();
        self.publish_status();
        self.spool.progress.lock().is_synced() && self.spool.poisoned().is_none()
    }

    fn publish_status(&mut self) {
        let status = self.spool.status();
        let full = status.refusing.is_some();
        if full != std::mem::replace(&mut self.maintenance.logged_full, full) {
            match status.refusing {
                Some(reason) => {
                    tracing::warn!(bytes = status.bytes, limit = status.limit, "new data is refused: {}", reason.text())
                }
                None => tracing::info!("new data is accepted again"),
            }
        }
        self.spool.meters.update_gauges(&status, self.spool.clock.now());
    }

    /// Closes the active segment of a refusing spool if none of its records is pending, so that it can be unlinked.
    fn rotate(&mut self) {
        let Some(active) = &self.active else { return };
        if self.spool.refusal_reason() == Some(Reason::SpoolFull) && self.spool.index.lock().is_finished(active.number)
        {
            self.close_active();
        }
    }

    fn maintain_progress(&mut self, now: Duration) {
        self.write_progress();
        let due = now.saturating_sub(self.maintenance.synced) >= SYNC_INTERVAL;
        if due {
            self.maintenance.synced = now;
            let mut progress = self.spool.progress.lock();
            if !progress.is_synced() {
                // After an error the next step rewrites the file.
                let _ = progress.sync();
            }
        }
        self.reclaim();
        self.maintenance.failed = if self.spool.progress.lock().is_usable() { None } else { Some(now) };
    }

    /// Brings the progress file up to date with memory. Not yet durable, unless the file is rewritten.
    fn write_progress(&mut self) {
        let spool = Arc::clone(&self.spool);
        let mut progress = spool.progress.lock();
        take_progress_lines(&mut spool.index.lock(), &mut self.lines);
        self.record_synced();
        let lines = std::mem::take(&mut self.lines);
        if progress.needs_rewrite() || progress.append(&lines).is_err() {
            self.rewrite_progress(&mut progress);
        }
        spool.room.set_progress_bytes(progress.len() + self.maintenance.cushion);
    }

    /// Records how much of the active segment was synced, so that damage in its last group is not mistaken for a torn
    /// tail. The line is not synced itself: it survives the process at once, and the machine after the next sync.
    fn record_synced(&mut self) {
        if let Some(active) = &self.active
            && self.recorded_sync != (active.number, active.written)
        {
            self.recorded_sync = (active.number, active.written);
            self.lines.add_synced(active.number, active.written);
        }
    }

    fn rewrite_progress(&mut self, progress: &mut ProgressFile) {
        let snapshot = self.snapshot();
        let Err(error) = progress.rewrite(&*self.directory, &snapshot) else { return };
        let full = is_out_of_space(&error);
        if full && self.maintenance.cushion > 0 && self.directory.remove(CUSHION).is_ok() {
            self.maintenance.cushion = 0;
            if progress.rewrite(&*self.directory, &snapshot).is_ok() {
                return;
            }
        }
        tracing::warn!(%error, "the spool's progress file can't be written; no spool file is deleted until a retry succeeds");
    }

    fn record_file_sizes(&self) {
        self.spool.room.set_progress_bytes(self.spool.progress.lock().len() + self.maintenance.cushion);
    }

    /// Lines of a complete progress file.
    fn snapshot(&mut self) -> ProgressLines {
        let index = self.spool.index.lock();
        let mut lines = ProgressLines::default();
        let lowest = index.segments().map(|segment| segment.number).min().unwrap_or(self.newest.0 + 1);
        self.removed = self.removed.split_off(&lowest);
        lines.add_watermarks(index.next(), self.newest.0, lowest);
        for segment in index.segments().filter(|segment| segment.closed) {
            lines.add_closed(segment.number, segment.len);
        }
        if let Some(active) = &self.active {
            lines.add_synced(active.number, active.written);
        }
        for number in &self.removed {
            lines.add_removed(*number);
        }
        let given = index.transfer_runs();
        lines.add_transfers(given.iter().filter_map(|run| name_transfer(&index, run)));
        let runs = index.done_runs();
        lines.add_done(runs.iter().filter_map(|(who, first, count)| Some((index.name(*who)?, *first, *count))));
        lines
    }

    /// Unlinks segments without pending records.
    fn reclaim(&mut self) {
        let (gone, next) = {
            let index = self.spool.index.lock();
            (index.reclaimable(), index.next())
        };
        let now = self.spool.clock.monotonic();
        let stuck = self.maintenance.unlink_failed.is_some_and(|stuck| now.saturating_sub(stuck) < RETRY_INTERVAL);
        if gone.is_empty() || stuck {
            return;
        }
        let lowest = {
            let index = self.spool.index.lock();
            let stays = index.segments().map(|segment| segment.number).filter(|number| !gone.contains(number)).min();
            stays.unwrap_or(self.newest.0 + 1)
        };
        let mut lines = ProgressLines::default();
        lines.add_watermarks(next, self.newest.0, lowest);
        for number in &gone {
            lines.add_removed(*number);
        }
        {
            let mut progress = self.spool.progress.lock();
            if progress.append(&lines).is_err() || progress.sync().is_err() {
                return;
            }
        }
        self.removed.extend(gone.iter().copied());
        let (mut unlinked, tried) = (Vec::new(), gone.len());
        for number in gone {
            match self.directory.remove(&segment_name(number)) {
                Ok(()) => unlinked.push(number),
                Err(error) if error.kind() == io::ErrorKind::NotFound => unlinked.push(number),
                Err(error) => {
                    tracing::warn!(%error, "a spool file that is no longer needed can't be deleted; tollgate will retry")
                }
            }
        }
        if let Err(error) = self.directory.sync() {
            return self.poison(&format!("a sync of the directory failed: {error}"));
        }
        self.maintenance.unlink_failed = (unlinked.len() < tried).then_some(now);
        let mut index = self.spool.index.lock();
        let bytes = unlinked.iter().map(|number| index.remove(*number)).sum();
        drop(index);
        self.spool.room.subtract_closed(bytes);
    }

    /// Keeps a file that can be deleted to make room for the progress file on a full disk.
    fn fill_cushion(&mut self, now: Duration) {
        let wanted = self.spool.settings.cushion();
        let asked =
            self.maintenance.last_cushion_attempt.is_some_and(|asked| now.saturating_sub(asked) < RETRY_INTERVAL);
        if self.maintenance.cushion > 0 || self.spool.room.is_waiting_for_space() || self.is_stalled() || asked {
            return;
        }
        self.maintenance.last_cushion_attempt = Some(now);
        let made = self
            .directory
            .create(CUSHION, wanted)
            .and_then(|(file, taken)| if taken { Ok(()) } else { self.fill_file(&*file, wanted) });
        match made {
            Ok(()) => self.maintenance.cushion = wanted,
            // Best effort: a cushion that is too small only takes room. The disk is full; a later step tries again.
            Err(_) => drop(self.directory.remove(CUSHION)),
        }
        self.record_file_sizes();
    }
    /// Fills a file with incompressible bytes, for file systems that can't allocate ahead.
    fn fill_file(&self, file: &dyn DiskFile, bytes: u64) -> io::Result<()> {
        let mut piece = vec![0; FILL_CHUNK];
        let mut at = 0;
        while at < bytes {
            self.spool.rng.fill(&mut piece);
            let left = usize::try_from(bytes - at).unwrap_or(FILL_CHUNK).min(FILL_CHUNK);
            let piece = piece.get(..left).unwrap_or_default();
            if file.write_at(at, piece)? != piece.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            at += left as u64;
        }
        Ok(())
    }
}
