//! The committer's work besides committing: writes progress, reclaims segments, allocates room ahead, updates metrics.
//! Progress is synced before a segment is unlinked, and the directory after it. A failing progress file is rewritten
//! from memory and blocks reclaiming, but nothing else. Commits are in `commit`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::{DiskFile, is_full};
use crate::outcome::Reason;

use super::commit::Committer;
use super::done::named;
use super::done::take_done;
use super::progress::{Lines, Progress};
use super::record::segment_name;
use super::room::CUSHION;

/// Longest time between two syncs of the progress.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Minimum time between a failure and the next attempt.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// Interval of updating gauges.
const SHOW_EVERY: Duration = Duration::from_secs(1);
const STUFFING: usize = 64 << 10;

/// Times (monotonic) of the last actions, and the size of the cushion.
#[derive(Default)]
pub(super) struct Clean {
    synced: Duration,
    failed: Option<Duration>,
    /// Time at which a finished segment could not be unlinked.
    stuck: Option<Duration>,
    shown: Option<Duration>,
    cushion: u64,
    /// The refusal of new data has been logged.
    told_full: bool,
    /// Time of the last attempt to make the cushion.
    asked: Option<Duration>,
    /// Rewriting of records so that segments can be unlinked.
    pub(super) repacking: super::repack::Repacking,
}

impl Clean {
    /// State for a cushion of this size that exists already.
    pub(super) fn with_cushion(size: u64) -> Self {
        Self { cushion: size, ..Self::default() }
    }

    /// Whether progress can't be written, or a finished segment can't be unlinked, at the moment.
    pub(super) fn hampered(&self) -> bool {
        self.failed.is_some() || self.stuck.is_some()
    }
}

impl Committer {
    pub(super) fn upkeep(&mut self) {
        let now = self.spool.clock.monotonic();
        if self.spool.poisoned().is_some() {
            return;
        }
        self.spool.look_for_room();
        self.rotate();
        let resting = self.clean.failed.is_some_and(|failed| now.saturating_sub(failed) < TRY_AGAIN);
        if !resting {
            self.keep_progress(now);
        }
        self.spool.room.tend();
        self.fill_cushion(now);
        let shown = self.clean.shown.is_some_and(|shown| now.saturating_sub(shown) < SHOW_EVERY);
        if !shown {
            self.clean.shown = Some(now);
            self.show();
        }
    }

    /// Makes finished and transferred positions durable now. Returns false if that fails.
    pub fn keep(&mut self) -> bool {
        self.finish()
    }

    /// Makes everything durable at the end, if possible.
    pub(super) fn finish(&mut self) -> bool {
        self.write_progress();
        let failed = {
            let mut progress = self.spool.progress.lock();
            !progress.synced() && progress.sync().is_err()
        };
        if failed {
            self.write_progress();
        }
        self.reclaim();
        self.show();
        self.spool.progress.lock().synced() && self.spool.poisoned().is_none()
    }

    fn show(&mut self) {
        let status = self.spool.status();
        let full = status.refusing.is_some();
        if full != std::mem::replace(&mut self.clean.told_full, full) {
            match status.refusing {
                Some(reason) => {
                    tracing::warn!(bytes = status.bytes, limit = status.limit, "new data is refused: {}", reason.text())
                }
                None => tracing::info!("new data is taken again"),
            }
        }
        self.spool.meters.show(&status, self.spool.clock.now());
    }

    /// Closes the active segment of a refusing spool if none of its records is pending, so that it can be unlinked.
    fn rotate(&mut self) {
        let Some(active) = &self.active else { return };
        if self.spool.refusing() == Some(Reason::SpoolFull) && self.spool.index.lock().finished(active.number) {
            self.close_active();
        }
    }

    fn keep_progress(&mut self, now: Duration) {
        self.write_progress();
        let due = now.saturating_sub(self.clean.synced) >= SYNC_EVERY;
        if due {
            self.clean.synced = now;
            let mut progress = self.spool.progress.lock();
            if !progress.synced() {
                // After an error the next step rewrites the file.
                let _ = progress.sync();
            }
        }
        self.reclaim();
        self.clean.failed = if self.spool.progress.lock().usable() { None } else { Some(now) };
    }

    /// Brings the progress file up to date with memory. Not yet durable, unless the file is rewritten.
    fn write_progress(&mut self) {
        let spool = Arc::clone(&self.spool);
        let mut progress = spool.progress.lock();
        take_done(&mut spool.index.lock(), &mut self.lines);
        self.tell_synced();
        let lines = std::mem::take(&mut self.lines);
        if progress.wants_rewrite() || progress.append(&lines).is_err() {
            self.rewrite_progress(&mut progress);
        }
        spool.room.other(progress.len() + self.clean.cushion);
    }

    /// Records how much of the active segment was synced, so that damage in its last group is not mistaken for a torn
    /// tail. The line is not synced itself: it survives the process at once, and the machine after the next sync.
    fn tell_synced(&mut self) {
        if let Some(active) = &self.active
            && self.told != (active.number, active.written)
        {
            self.told = (active.number, active.written);
            self.lines.synced(active.number, active.written);
        }
    }

    fn rewrite_progress(&mut self, progress: &mut Progress) {
        let snapshot = self.snapshot();
        let Err(error) = progress.rewrite(&*self.directory, &snapshot) else { return };
        let full = is_full(&error);
        if full && self.clean.cushion > 0 && self.directory.remove(CUSHION).is_ok() {
            self.clean.cushion = 0;
            if progress.rewrite(&*self.directory, &snapshot).is_ok() {
                return;
            }
        }
        tracing::warn!(%error, "the spool's progress can't be written; segments are not reclaimed until it can");
    }

    fn tell_room(&self) {
        self.spool.room.other(self.spool.progress.lock().len() + self.clean.cushion);
    }

    /// Lines of a complete progress file.
    fn snapshot(&mut self) -> Lines {
        let index = self.spool.index.lock();
        let mut lines = Lines::default();
        let lowest = index.segments().map(|segment| segment.number).min().unwrap_or(self.newest.0 + 1);
        self.removed = self.removed.split_off(&lowest);
        lines.mark(index.next(), self.newest.0, lowest);
        for segment in index.segments().filter(|segment| segment.closed) {
            lines.closed(segment.number, segment.len);
        }
        if let Some(active) = &self.active {
            lines.synced(active.number, active.written);
        }
        for number in &self.removed {
            lines.removed(*number);
        }
        let given = index.given_runs();
        lines.given(given.iter().filter_map(|run| named(&index, run)));
        let runs = index.done_runs();
        lines.done(runs.iter().filter_map(|(who, first, count)| Some((index.name(*who)?, *first, *count))));
        lines
    }

    /// Unlinks segments without pending records.
    fn reclaim(&mut self) {
        let (gone, next) = {
            let index = self.spool.index.lock();
            (index.reclaimable(), index.next())
        };
        let now = self.spool.clock.monotonic();
        let stuck = self.clean.stuck.is_some_and(|stuck| now.saturating_sub(stuck) < TRY_AGAIN);
        if gone.is_empty() || stuck {
            return;
        }
        let lowest = {
            let index = self.spool.index.lock();
            let stays = index.segments().map(|segment| segment.number).filter(|number| !gone.contains(number)).min();
            stays.unwrap_or(self.newest.0 + 1)
        };
        let mut lines = Lines::default();
        lines.mark(next, self.newest.0, lowest);
        for number in &gone {
            lines.removed(*number);
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
                Err(error) => tracing::warn!(%error, "a finished spool file can't be removed"),
            }
        }
        if let Err(error) = self.directory.sync() {
            return self.poison(&format!("a sync of the directory failed: {error}"));
        }
        self.clean.stuck = (unlinked.len() < tried).then_some(now);
        let mut index = self.spool.index.lock();
        let bytes = unlinked.iter().map(|number| index.remove(*number)).sum();
        drop(index);
        self.spool.room.reclaimed(bytes);
    }

    /// Keeps a file that can be deleted to make room for the progress file on a full disk.
    fn fill_cushion(&mut self, now: Duration) {
        let wanted = self.spool.settings.cushion();
        let asked = self.clean.asked.is_some_and(|asked| now.saturating_sub(asked) < TRY_AGAIN);
        if self.clean.cushion > 0 || self.spool.room.resting() || self.stalled() || asked {
            return;
        }
        self.clean.asked = Some(now);
        let made = self
            .directory
            .create(CUSHION, wanted)
            .and_then(|(file, taken)| if taken { Ok(()) } else { self.stuff(&*file, wanted) });
        match made {
            Ok(()) => self.clean.cushion = wanted,
            // Best effort: a cushion that is too small only takes room. The disk is full; a later step tries again.
            Err(_) => drop(self.directory.remove(CUSHION)),
        }
        self.tell_room();
    }
    /// Fills a file with incompressible bytes, for file systems that can't allocate ahead.
    fn stuff(&self, file: &dyn DiskFile, bytes: u64) -> io::Result<()> {
        let mut piece = vec![0; STUFFING];
        let mut at = 0;
        while at < bytes {
            self.spool.rng.fill(&mut piece);
            let left = usize::try_from(bytes - at).unwrap_or(STUFFING).min(STUFFING);
            let piece = piece.get(..left).unwrap_or_default();
            if file.write_at(at, piece)? != piece.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            at += left as u64;
        }
        Ok(())
    }
}
