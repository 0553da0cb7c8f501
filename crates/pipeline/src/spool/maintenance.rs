//! The committer's work besides committing: writes progress, reclaims segments, allocates room ahead, updates metrics.
//! Progress is synced before a segment is unlinked, and the directory after it. A failing progress file is rewritten
//! from memory and blocks reclaiming, but nothing else. Commits are in `commit`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::{DiskFile, is_out_of_space};
use crate::outcome::Reason;

use super::commit::Committer;
use super::progress::{ProgressFile, ProgressLines, TAG_CLOSED, TAG_REMOVED, TAG_SYNCED, TAG_WATERMARKS};
use super::record::segment_name;
use super::space::CUSHION;

/// Longest time between two syncs of the progress.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time between a failure and the next attempt.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Interval of updating gauges.
const METRICS_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of one write when the cushion is filled.
const FILL_CHUNK: usize = 64 << 10;

/// State of the maintenance. All times are monotonic.
#[derive(Default)]
pub(super) struct MaintenanceState {
    last_progress_sync: Duration,
    /// Time at which the progress file could not be written. `None`: it can be written.
    progress_failed_at: Option<Duration>,
    /// Time at which a finished segment could not be unlinked. `None`: all could be.
    unlink_failed_at: Option<Duration>,
    metrics_updated_at: Option<Duration>,
    /// Size of the cushion; 0: there is none.
    cushion: u64,
    /// The refusal of new data has been logged.
    logged_full: bool,
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
        self.progress_failed_at.is_some() || self.unlink_failed_at.is_some()
    }
}

impl Committer {
    pub(super) fn run_maintenance(&mut self) {
        let now = self.spool.clock.monotonic();
        if self.spool.poisoned().is_some() {
            return;
        }
        self.spool.clear_record_limit();
        self.close_finished_segment();
        let failed_at = self.maintenance.progress_failed_at;
        if failed_at.is_none_or(|failed_at| now.saturating_sub(failed_at) >= RETRY_INTERVAL) {
            self.maintain_progress(now);
        }
        self.spool.space.maintain_spares();
        self.ensure_cushion(now);
        let updated_at = self.maintenance.metrics_updated_at;
        if updated_at.is_none_or(|updated_at| now.saturating_sub(updated_at) >= METRICS_INTERVAL) {
            self.maintenance.metrics_updated_at = Some(now);
            self.publish_status();
        }
    }

    /// Makes everything durable, if possible. Returns false if that fails.
    pub fn flush_all(&mut self) -> bool {
        self.write_progress();
        let has_failed = {
            let mut progress = self.spool.progress.lock();
            !progress.is_synced() && progress.sync().is_err()
        };
        if has_failed {
            self.write_progress();
        }
        self.reclaim();
        self.publish_status();
        self.spool.progress.lock().is_synced() && self.spool.poisoned().is_none()
    }

    fn publish_status(&mut self) {
        let status = self.spool.status();
        let is_full = status.refusing.is_some();
        if is_full != std::mem::replace(&mut self.maintenance.logged_full, is_full) {
            match status.refusing {
                Some(reason) => {
                    let (bytes, limit, kept_free) = (status.bytes, status.limit, self.spool.space.required_free());
                    tracing::warn!(bytes, limit, kept_free, "new data is refused: {}", reason.text())
                }
                None => tracing::info!("new data is accepted again"),
            }
        }
        self.spool.metrics.update_gauges(&status, self.spool.clock.now());
    }

    /// Closes the active segment of a refusing spool if none of its records is pending, so that it can be unlinked.
    fn close_finished_segment(&mut self) {
        let Some(active) = &self.active else { return };
        if self.spool.refusal_reason() == Some(Reason::SpoolFull) && self.spool.index.lock().is_finished(active.number)
        {
            self.close_active();
        }
    }

    fn maintain_progress(&mut self, now: Duration) {
        self.write_progress();
        if now.saturating_sub(self.maintenance.last_progress_sync) >= SYNC_INTERVAL {
            self.maintenance.last_progress_sync = now;
            let mut progress = self.spool.progress.lock();
            if !progress.is_synced() {
                // After an error the next step rewrites the file.
                let _ = progress.sync();
            }
        }
        self.reclaim();
        let is_usable = self.spool.progress.lock().is_usable();
        self.maintenance.progress_failed_at = (!is_usable).then_some(now);
    }

    /// Appends new progress to the progress file, or rewrites the file. Only a rewrite makes it durable.
    fn write_progress(&mut self) {
        let spool = Arc::clone(&self.spool);
        let mut progress = spool.progress.lock();
        spool.index.lock().take_progress(&mut self.progress_lines);
        self.record_synced();
        let lines = std::mem::take(&mut self.progress_lines);
        if progress.needs_rewrite() || progress.append(&lines).is_err() {
            self.rewrite_progress(&mut progress);
        }
        spool.space.set_progress_bytes(progress.len + self.maintenance.cushion);
    }

    /// Records how much of the active segment was synced, so that damage in its last group is not mistaken for a torn
    /// tail. The line itself is not synced at once: it survives the end of the process, but a power failure only after
    /// the next sync.
    fn record_synced(&mut self) {
        if let Some(active) = &self.active
            && self.recorded_sync != (active.number, active.written)
        {
            self.recorded_sync = (active.number, active.written);
            self.progress_lines.add_numbers(TAG_SYNCED, &[active.number, active.written]);
        }
    }

    fn rewrite_progress(&mut self, progress: &mut ProgressFile) {
        let snapshot = self.snapshot();
        let Err(error) = progress.rewrite(&*self.directory, &snapshot) else { return };
        if is_out_of_space(&error) && self.maintenance.cushion > 0 && self.directory.remove(CUSHION).is_ok() {
            self.maintenance.cushion = 0;
            if progress.rewrite(&*self.directory, &snapshot).is_ok() {
                return;
            }
        }
        tracing::warn!(%error, "the spool's progress file can't be written; no spool file is deleted until a retry succeeds");
    }

    /// Lines of a complete progress file.
    fn snapshot(&mut self) -> ProgressLines {
        let index = self.spool.index.lock();
        let mut lines = ProgressLines::default();
        let lowest = index.segments().map(|segment| segment.number).min().unwrap_or(self.newest_number + 1);
        self.removed = self.removed.split_off(&lowest);
        lines.add_numbers(TAG_WATERMARKS, &[index.next, self.newest_number, lowest]);
        for segment in index.segments().filter(|segment| segment.closed) {
            lines.add_numbers(TAG_CLOSED, &[segment.number, segment.len]);
        }
        if let Some(active) = &self.active {
            lines.add_numbers(TAG_SYNCED, &[active.number, active.written]);
        }
        for number in &self.removed {
            lines.add_numbers(TAG_REMOVED, &[*number]);
        }
        index.add_all_progress(&mut lines);
        lines
    }

    /// Unlinks segments without pending records.
    fn reclaim(&mut self) {
        let (finished, next) = {
            let index = self.spool.index.lock();
            (index.reclaimable(), index.next)
        };
        let now = self.spool.clock.monotonic();
        let failed_at = self.maintenance.unlink_failed_at;
        let is_too_early = failed_at.is_some_and(|failed_at| now.saturating_sub(failed_at) < RETRY_INTERVAL);
        if finished.is_empty() || is_too_early {
            return;
        }
        let lowest = {
            let index = self.spool.index.lock();
            let kept = index.segments().map(|segment| segment.number).filter(|number| !finished.contains(number));
            kept.min().unwrap_or(self.newest_number + 1)
        };
        let mut lines = ProgressLines::default();
        lines.add_numbers(TAG_WATERMARKS, &[next, self.newest_number, lowest]);
        for number in &finished {
            lines.add_numbers(TAG_REMOVED, &[*number]);
        }
        {
            let mut progress = self.spool.progress.lock();
            if progress.append(&lines).is_err() || progress.sync().is_err() {
                return;
            }
        }
        self.removed.extend(finished.iter().copied());
        let mut unlinked = Vec::new();
        for number in &finished {
            match self.directory.remove(&segment_name(*number)) {
                Ok(()) => unlinked.push(*number),
                Err(error) if error.kind() == io::ErrorKind::NotFound => unlinked.push(*number),
                Err(error) => {
                    tracing::warn!(%error, "a spool file that is no longer needed can't be deleted; tollgate will retry")
                }
            }
        }
        if let Err(error) = self.directory.sync() {
            return self.poison(&format!("a sync of the directory failed: {error}"));
        }
        self.maintenance.unlink_failed_at = (unlinked.len() < finished.len()).then_some(now);
        let mut index = self.spool.index.lock();
        let bytes = unlinked.iter().map(|number| index.remove(*number)).sum();
        drop(index);
        self.spool.space.subtract_closed(bytes);
    }

    /// Makes sure that there is a cushion: a file that can be deleted on a full disk, to make room for the progress
    /// file.
    fn ensure_cushion(&mut self, now: Duration) {
        let size = self.spool.settings.cushion_size();
        let last_attempt = self.maintenance.last_cushion_attempt;
        let is_too_early = last_attempt.is_some_and(|last| now.saturating_sub(last) < RETRY_INTERVAL);
        if self.maintenance.cushion > 0 || self.spool.space.is_waiting_for_space() || self.is_stalled || is_too_early {
            return;
        }
        self.maintenance.last_cushion_attempt = Some(now);
        let result = self
            .directory
            .create(CUSHION, size)
            .and_then(|(file, is_allocated)| if is_allocated { Ok(()) } else { self.fill_file(&*file, size) });
        match result {
            Ok(()) => self.maintenance.cushion = size,
            // Best effort: a cushion that is too small only takes room. A later step tries again.
            Err(_) => drop(self.directory.remove(CUSHION)),
        }
        self.spool.space.set_progress_bytes(self.spool.progress.lock().len + self.maintenance.cushion);
    }

    /// Fills a file with incompressible bytes, for file systems that can't allocate ahead.
    fn fill_file(&self, file: &dyn DiskFile, bytes: u64) -> io::Result<()> {
        let mut random = vec![0; FILL_CHUNK];
        let mut offset = 0;
        while offset < bytes {
            self.spool.rng.fill(&mut random);
            let len = usize::try_from(bytes - offset).unwrap_or(FILL_CHUNK).min(FILL_CHUNK);
            let chunk = random.get(..len).unwrap_or_default();
            if file.write_at(offset, chunk)? != chunk.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            offset += len as u64;
        }
        Ok(())
    }
}
