//! [`SpaceAllocator`]: allocation of disk space. A full disk must be noticed before the ticket, never after it.
//! All files together stay within the limit. Reserved bytes fit into files whose room is already allocated (twice over,
//! because a segment's last bytes may be too few for the next transaction) or, if the file system can't allocate ahead,
//! into the free space that the volume reports.
//! New data never takes the volume's last bytes and files: checkpoints and chain positions need them before old data
//! can go, and more of them the more effects wait for the next checkpoint. Writing is in `commit`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::disk::{Directory, DiskFile, FreeSpace, is_out_of_space};
use crate::outcome::Reason;
use kernel::clock::Clock;

use super::config::MAX_SEGMENT;
use super::record::SEGMENT_HEADER;

/// Prefix of files that wait to become segments.
pub(super) const SPARE: &str = "spare-";
/// A file that is deleted to make room for the progress file on a full disk.
pub(super) const CUSHION: &str = "cushion";
/// Minimum time between a report that the disk is full and the next attempt.
const QUERY_RETRY: Duration = Duration::from_millis(250);
/// While the volume has this much more than must stay free, it is not queried at each reservation.
const QUERY_MARGIN: u64 = 1 << 20;
/// Number of files that must stay available on the volume.
const MIN_FREE_FILES: u64 = 16;

/// Purpose of a reservation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ReservationPurpose {
    /// New data.
    Accept,
    /// Records that are needed before older data can be processed. They leave half of the room kept for draining.
    Prepare,
    /// Records that release older data. They may take all the room kept for draining.
    Drain,
}

/// A file that waits to become a segment.
pub(super) struct SpareFile {
    pub(super) name: String,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) size: u64,
}

/// Room taken for one transaction; returned when dropped.
pub struct RoomReservation {
    room: Arc<SpaceAllocator>,
    bytes: u64,
    /// The reservation got its own file, so it is not part of `Inner::reserved`.
    has_file: bool,
    /// The file for a transaction that is larger than a segment.
    spare: Option<SpareFile>,
}

impl RoomReservation {
    /// Bytes taken.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the reservation has its own file.
    pub(super) fn has_own_file(&self) -> bool {
        self.spare.is_some()
    }

    /// Takes the reservation's own file, if it has one.
    pub(super) fn take_own_file(&mut self) -> Option<SpareFile> {
        let spare = self.spare.take()?;
        let mut inner = self.room.inner.lock();
        inner.owned_bytes = inner.owned_bytes.saturating_sub(spare.size);
        Some(spare)
    }
}

impl Drop for RoomReservation {
    fn drop(&mut self) {
        let mut inner = self.room.inner.lock();
        if !self.has_file {
            inner.reserved = inner.reserved.saturating_sub(self.bytes);
        }
        if let Some(spare) = self.spare.take() {
            inner.owned_bytes = inner.owned_bytes.saturating_sub(spare.size);
            inner.spares.push(spare);
        }
    }
}

/// Accounts for the disk space of the spool.
pub(super) struct SpaceAllocator {
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    limit: u64,
    segment: u64,
    /// Minimum of the bytes that new data leaves free on the volume.
    min_free: u64,
    /// Size of other files on the volume that will be rewritten next to the old version.
    rewritten_bytes: AtomicU64,
    /// By how much those may have grown since.
    rewritten_growth: AtomicU64,
    inner: Mutex<SpaceAccount>,
}

#[derive(Default)]
struct SpaceAccount {
    /// Bytes of closed segments.
    closed: u64,
    /// Size of the active segment, and its unused bytes.
    active: u64,
    active_free: u64,
    /// Bytes of progress file and cushion.
    progress_bytes: u64,
    spares: Vec<SpareFile>,
    /// Bytes of files that belong to reservations.
    owned_bytes: u64,
    reserved: u64,
    next_spare: u64,
    /// The file system can't allocate ahead.
    cannot_allocate: bool,
    /// Monotonic time before which new data does not query the disk again, and the last refusal.
    retry_at: Option<(Duration, Reason)>,
    /// The same for the other purposes, which may take room that new data may not.
    drain_retry_at: Option<(Duration, Reason)>,
    /// Last query of the volume's free space, if the file system can't allocate ahead.
    last_query: Option<Duration>,
    /// The volume is queried again once more than this must stay free.
    checked_free: u64,
    /// Reason and size of the last refused reservation.
    last_refusal: Option<(Reason, u64)>,
}

impl SpaceAccount {
    fn total(&self) -> u64 {
        let spares: u64 = self.spares.iter().map(|spare| spare.size).sum();
        self.closed + self.active + self.progress_bytes + spares + self.owned_bytes
    }

    /// Bytes that can be written without allocating more.
    fn writable_bytes(&self) -> u64 {
        let spares: u64 = self.spares.iter().map(|spare| spare.size.saturating_sub(SEGMENT_HEADER as u64)).sum();
        // A transaction with its own file ends the active segment early.
        if self.owned_bytes > 0 { spares } else { spares + self.active_free }
    }
}

impl SpaceAllocator {
    /// All files stay within `limit`; new data leaves at least `least` bytes free on the volume.
    pub(super) fn new(
        directory: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
        limit: u64,
        segment: u64,
        least: u64,
    ) -> Arc<Self> {
        let (beside, grown, inner) = (AtomicU64::default(), AtomicU64::default(), Mutex::new(SpaceAccount::default()));
        Arc::new(Self {
            directory,
            clock,
            limit,
            segment,
            min_free: least,
            rewritten_bytes: beside,
            rewritten_growth: grown,
            inner,
        })
    }

    /// Sets the size of other files on the volume (`bytes`), which will be rewritten next to the old version to let old
    /// data go.
    pub(super) fn set_rewritten_bytes(&self, bytes: u64) {
        self.rewritten_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Sets the possible growth of those files since they were written.
    pub(super) fn set_rewritten_growth(&self, bytes: u64) {
        self.rewritten_growth.store(bytes, Ordering::Relaxed);
    }

    /// Upper bound of the next version of those files.
    fn next_rewritten_bytes(&self) -> u64 {
        self.rewritten_bytes.load(Ordering::Relaxed).saturating_add(self.rewritten_growth.load(Ordering::Relaxed))
    }

    /// Bytes that new data leaves free on the volume: twice the next version of the other files, because
    /// [`ReservationPurpose::Prepare`] takes some of it.
    fn required_free(&self) -> u64 {
        self.next_rewritten_bytes().saturating_mul(2).max(self.min_free)
    }

    /// Takes room for `bytes`.
    pub(super) fn reserve(
        self: &Arc<Self>,
        bytes: u64,
        purpose: ReservationPurpose,
    ) -> Result<RoomReservation, Reason> {
        if bytes.saturating_add(SEGMENT_HEADER as u64) > (self.limit / 2).min(MAX_SEGMENT) {
            return Err(Reason::TooLarge);
        }
        let mut inner = self.inner.lock();
        let result = self.try_reserve(&mut inner, bytes, purpose);
        if purpose == ReservationPurpose::Accept {
            inner.last_refusal = result.as_ref().err().map(|reason| (*reason, bytes));
        }
        let spare = result?;
        let own = spare.is_some();
        if !own {
            inner.reserved += bytes;
        }
        drop(inner);
        Ok(RoomReservation { room: Arc::clone(self), bytes, has_file: own, spare })
    }

    /// Allocated room that is kept for draining.
    fn drain_reserve(&self) -> u64 {
        self.segment / 4
    }

    fn try_reserve(
        &self,
        inner: &mut SpaceAccount,
        bytes: u64,
        purpose: ReservationPurpose,
    ) -> Result<Option<SpareFile>, Reason> {
        let size = bytes + SEGMENT_HEADER as u64;
        if size > self.segment {
            let spare = self.allocate_file(inner, size, purpose)?;
            inner.owned_bytes += size;
            return Ok(Some(spare));
        }
        let kept = match purpose {
            ReservationPurpose::Accept => self.drain_reserve(),
            ReservationPurpose::Prepare => self.drain_reserve() / 2,
            ReservationPurpose::Drain => 0,
        };
        let want = inner.reserved.saturating_add(bytes).saturating_mul(2).saturating_add(kept);
        while inner.writable_bytes() < want {
            let file = if purpose == ReservationPurpose::Accept {
                self.segment
            } else {
                self.drain_file_size(inner, want, purpose)?
            };
            let spare = self.allocate_file(inner, file, purpose)?;
            inner.spares.push(spare);
        }
        match purpose {
            ReservationPurpose::Accept if inner.cannot_allocate => self.query_if_unsure(inner, want)?,
            ReservationPurpose::Accept if self.required_free() > inner.checked_free => {
                self.query_required_free(inner)?
            }
            ReservationPurpose::Prepare | ReservationPurpose::Drain if inner.cannot_allocate => {
                self.check_free_space(inner, want, 0)?
            }
            _ => {}
        }
        Ok(None)
    }

    /// Size of the next file for draining. A start closes the active segment and cuts its tail, which held the room for
    /// draining; afterwards that room may be the rest of the limit or of the volume, smaller than a segment. The file
    /// leaves free what the other files need (unless that is missing anyway) and a little for the spool's own progress.
    /// Only [`ReservationPurpose::Drain`] takes even that, and no more than it must.
    fn drain_file_size(&self, inner: &SpaceAccount, want: u64, purpose: ReservationPurpose) -> Result<u64, Reason> {
        self.recent_refusal(inner, purpose)?;
        let within = self.limit.saturating_sub(inner.total());
        let free = self.directory.free_space().map_or(u64::MAX, |free| free.bytes);
        let least = want.saturating_sub(inner.writable_bytes()).saturating_add(SEGMENT_HEADER as u64);
        let next = self.next_rewritten_bytes().saturating_add(self.min_free / 2);
        let takes_all = purpose == ReservationPurpose::Drain || free < next;
        match within.min(free.saturating_sub(next)).min(self.segment) {
            left if left >= least => Ok(left),
            _ if takes_all && within.min(free) >= least => Ok(least),
            _ => Err(Reason::SpoolFull),
        }
    }

    /// Allocates a file of `size` bytes.
    fn allocate_file(
        &self,
        inner: &mut SpaceAccount,
        size: u64,
        purpose: ReservationPurpose,
    ) -> Result<SpareFile, Reason> {
        if inner.total().saturating_add(size) > self.limit {
            return Err(Reason::SpoolFull);
        }
        self.query_if_due(inner, purpose, |inner| self.create_file(inner, size, purpose))
    }

    fn create_file(
        &self,
        inner: &mut SpaceAccount,
        size: u64,
        purpose: ReservationPurpose,
    ) -> Result<SpareFile, Reason> {
        let name = format!("{SPARE}{}", inner.next_spare);
        inner.next_spare += 1;
        match self.directory.create(&name, size) {
            Ok((file, taken)) => {
                inner.cannot_allocate |= !taken;
                let enough = match purpose {
                    ReservationPurpose::Accept if taken => self.check_required_free(inner),
                    _ if taken => Ok(()),
                    _ => self.check_free_space(inner, size, self.required_margin(purpose)),
                };
                if enough.is_err() {
                    // Best effort: the next start removes leftovers.
                    let _ = self.directory.remove(&name);
                }
                enough.map(|()| SpareFile { name, file, size })
            }
            Err(error) if is_out_of_space(&error) => Err(Reason::SpoolFull),
            Err(error) => {
                tracing::warn!(%error, "the spool can't create a file");
                Err(Reason::SpoolFailed)
            }
        }
    }

    /// Margin for file systems that can't allocate ahead: only the space above what is left to other files is certain.
    fn required_margin(&self, purpose: ReservationPurpose) -> u64 {
        if purpose == ReservationPurpose::Accept { self.segment.max(self.required_free()) } else { 0 }
    }

    /// The last refusal, if it is too early to query the disk again.
    fn recent_refusal(&self, inner: &SpaceAccount, purpose: ReservationPurpose) -> Result<(), Reason> {
        let now = self.clock.monotonic();
        match if purpose == ReservationPurpose::Accept { inner.retry_at } else { inner.drain_retry_at } {
            Some((until, reason)) if now < until => Err(reason),
            _ => Ok(()),
        }
    }

    /// Queries the disk, unless it refused a moment ago.
    fn query_if_due<T>(
        &self,
        inner: &mut SpaceAccount,
        purpose: ReservationPurpose,
        ask: impl FnOnce(&mut SpaceAccount) -> Result<T, Reason>,
    ) -> Result<T, Reason> {
        self.recent_refusal(inner, purpose)?;
        let said = ask(inner);
        let until = self.clock.monotonic().saturating_add(QUERY_RETRY);
        let again = said.as_ref().err().map(|reason| (until, *reason));
        *if purpose == ReservationPurpose::Accept { &mut inner.retry_at } else { &mut inner.drain_retry_at } = again;
        said
    }

    /// Whether the volume still has what other files need to let old data go. A volume that does not report it counts
    /// as having it.
    fn check_required_free(&self, inner: &mut SpaceAccount) -> Result<(), Reason> {
        let leaves = self.required_free();
        let free =
            self.directory.free_space().unwrap_or(FreeSpace { bytes: u64::MAX, total: u64::MAX, files: u64::MAX });
        if free.bytes < leaves || free.files < MIN_FREE_FILES {
            return Err(Reason::SpoolFull);
        }
        inner.checked_free = leaves.saturating_add(QUERY_MARGIN).min(free.bytes);
        Ok(())
    }

    /// Queries the volume, because more must stay free than at the last query.
    fn query_required_free(&self, inner: &mut SpaceAccount) -> Result<(), Reason> {
        self.query_if_due(inner, ReservationPurpose::Accept, |inner| self.check_required_free(inner))
    }

    /// Whether the volume has room for `more` and `on_top`, and for some files.
    fn check_free_space(&self, inner: &mut SpaceAccount, more: u64, on_top: u64) -> Result<(), Reason> {
        let free = self.directory.free_space().map_err(|_| Reason::SpoolFailed)?;
        inner.last_query = Some(self.clock.monotonic());
        let enough = free.bytes >= more.saturating_add(on_top) && free.files >= MIN_FREE_FILES;
        if enough { Ok(()) } else { Err(Reason::SpoolFull) }
    }

    /// Queries the volume now and then, if the file system can't allocate ahead.
    fn query_if_unsure(&self, inner: &mut SpaceAccount, want: u64) -> Result<(), Reason> {
        self.query_if_due(inner, ReservationPurpose::Accept, |inner| {
            let lately =
                inner.last_query.is_some_and(|looked| self.clock.monotonic().saturating_sub(looked) < QUERY_RETRY);
            if lately && inner.last_refusal.is_none() {
                return Ok(());
            }
            self.check_free_space(inner, want, self.required_margin(ReservationPurpose::Accept))
        })
    }

    /// The smallest file that holds a transaction of `bytes`; a new one if there is none.
    pub(super) fn take_file(&self, bytes: u64) -> Result<SpareFile, Reason> {
        let size = bytes.saturating_add(SEGMENT_HEADER as u64);
        let mut inner = self.inner.lock();
        let fits = inner.spares.iter().enumerate().filter(|(_, spare)| spare.size >= size);
        if let Some((at, _)) = fits.min_by_key(|(_, spare)| spare.size) {
            return Ok(inner.spares.swap_remove(at));
        }
        self.allocate_file(&mut inner, size.max(self.segment), ReservationPurpose::Drain)
    }

    /// Sets size and unused bytes of the new active segment. The one before now takes `closed` bytes.
    pub(super) fn set_active(&self, size: u64, free: u64, closed: u64) {
        let mut inner = self.inner.lock();
        inner.active = size;
        inner.active_free = free;
        inner.closed += closed;
    }

    /// Sets the unused bytes of the active segment.
    pub(super) fn set_active_free(&self, free: u64) {
        self.inner.lock().active_free = free;
    }

    /// Closed segments of `bytes` were unlinked.
    pub(super) fn subtract_closed(&self, bytes: u64) {
        let mut inner = self.inner.lock();
        inner.closed = inner.closed.saturating_sub(bytes);
    }

    /// Sets the bytes of progress file and cushion together.
    pub(super) fn set_progress_bytes(&self, bytes: u64) {
        self.inner.lock().progress_bytes = bytes;
    }

    /// Whether the disk was full, and it is too early to try again.
    pub(super) fn is_waiting_for_space(&self) -> bool {
        self.recent_refusal(&self.inner.lock(), ReservationPurpose::Accept).is_err()
    }

    /// Bytes that new data may take before it is refused: of the limit, and of the volume as far as that is reported.
    pub(super) fn available_bytes(&self) -> u64 {
        let free = self.directory.free_space().map_or(u64::MAX, |free| free.bytes).saturating_sub(self.required_free());
        let inner = self.inner.lock();
        // Files have a fixed size; a smaller rest is not used.
        let more = self.limit.saturating_sub(inner.total()).min(free) / self.segment.max(1) * self.segment;
        more.saturating_add(inner.writable_bytes().saturating_sub(inner.reserved.saturating_add(self.drain_reserve())))
    }

    /// Bytes of all files.
    pub(super) fn total(&self) -> u64 {
        self.inner.lock().total()
    }

    /// Reason of the last refusal, until a reservation succeeds.
    pub(super) fn refusal_reason(&self) -> Option<Reason> {
        self.inner.lock().last_refusal.map(|(reason, _)| reason)
    }

    /// Ends a refusal once the refused reservation would fit, even if none is attempted.
    fn retry_refused(&self, inner: &mut SpaceAccount) {
        let Some((_, bytes)) = inner.last_refusal else { return };
        match self.try_reserve(inner, bytes, ReservationPurpose::Accept) {
            Ok(spare) => {
                inner.last_refusal = None;
                if let Some(spare) = spare {
                    inner.owned_bytes = inner.owned_bytes.saturating_sub(spare.size);
                    inner.spares.push(spare);
                }
            }
            Err(reason) => inner.last_refusal = Some((reason, bytes)),
        }
    }

    /// Allocates room ahead, so that reservations rarely have to, and frees what is too much.
    pub(super) fn maintain_spares(&self) {
        let mut inner = self.inner.lock();
        self.retry_refused(&mut inner);
        let ahead = if inner.active > 0 { 2 * self.drain_reserve() } else { 0 };
        let want = inner.reserved.saturating_mul(2).saturating_add(ahead);
        if inner.writable_bytes() < want && inner.last_refusal.is_none() {
            if let Ok(spare) = self.allocate_file(&mut inner, self.segment, ReservationPurpose::Accept) {
                inner.spares.push(spare);
            }
            return;
        }
        let spare_bytes = |inner: &SpaceAccount| inner.spares.iter().map(|spare| spare.size).max();
        while let Some(largest) = spare_bytes(&inner) {
            let without = inner.writable_bytes().saturating_sub(largest);
            if without < want || (largest <= self.segment && without < want.saturating_add(self.segment)) {
                return;
            }
            let Some(at) = inner.spares.iter().position(|spare| spare.size == largest) else { return };
            let spare = inner.spares.swap_remove(at);
            // Best effort: the next start removes leftovers.
            let _ = self.directory.remove(&spare.name);
        }
    }
}
