//! [`Room`]: allocation of disk space. A full disk must be noticed before the ticket, never after it.
//! All files together stay within the limit. Reserved bytes fit into files whose room is already allocated (twice over,
//! because a segment's last bytes may be too few for the next transaction) or, if the file system can't allocate ahead,
//! into the free space that the volume reports.
//! New data never takes the volume's last bytes and files: checkpoints and chain positions need them before old data
//! can go, and more of them the more effects wait for the next checkpoint. Writing is in `commit`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::disk::{Directory, DiskFile, Free, is_full};
use crate::outcome::Reason;
use kernel::clock::Clock;

use super::config::MAX_SEGMENT;
use super::record::SEGMENT_HEADER;

/// Prefix of files that wait to become segments.
pub(super) const SPARE: &str = "spare-";
/// A file that is deleted to make room for the progress file on a full disk.
pub(super) const CUSHION: &str = "cushion";
/// Minimum time between a report that the disk is full and the next attempt.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// While the volume has this much more than must stay free, it is not queried at each reservation.
const ASK_EVERY: u64 = 1 << 20;
/// Number of files that must stay available on the volume.
const LOW_FILES: u64 = 16;

/// Purpose of a reservation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// New data.
    Accept,
    /// Records that are needed before older data can be processed. They leave half of the room kept for draining.
    Prepare,
    /// Records that release older data. They may take all the room kept for draining.
    Drain,
}

/// A file that waits to become a segment.
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) size: u64,
}

/// Room taken for one transaction; returned when dropped.
pub struct Reservation {
    room: Arc<Room>,
    bytes: u64,
    /// The reservation got its own file, so it is not part of `Inner::reserved`.
    own: bool,
    /// The file for a transaction that is larger than a segment.
    spare: Option<Spare>,
}

impl Reservation {
    /// Bytes taken.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the reservation has its own file.
    pub(super) fn has_own_file(&self) -> bool {
        self.spare.is_some()
    }

    /// Takes the reservation's own file, if it has one.
    pub(super) fn take_own_file(&mut self) -> Option<Spare> {
        let spare = self.spare.take()?;
        let mut inner = self.room.inner.lock();
        inner.own = inner.own.saturating_sub(spare.size);
        Some(spare)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut inner = self.room.inner.lock();
        if !self.own {
            inner.reserved = inner.reserved.saturating_sub(self.bytes);
        }
        if let Some(spare) = self.spare.take() {
            inner.own = inner.own.saturating_sub(spare.size);
            inner.spares.push(spare);
        }
    }
}

/// Accounts for the disk space of the spool.
pub(super) struct Room {
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    limit: u64,
    segment: u64,
    /// Minimum of the bytes that new data leaves free on the volume.
    least: u64,
    /// Size of other files on the volume that will be rewritten next to the old version.
    beside: AtomicU64,
    /// By how much those may have grown since.
    grown: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Bytes of closed segments.
    closed: u64,
    /// Size of the active segment, and its unused bytes.
    active: u64,
    active_free: u64,
    /// Bytes of progress file and cushion.
    other: u64,
    spares: Vec<Spare>,
    /// Bytes of files that belong to reservations.
    own: u64,
    reserved: u64,
    next_spare: u64,
    /// The file system can't allocate ahead.
    unsure: bool,
    /// Monotonic time before which new data does not query the disk again, and the last refusal.
    again: Option<(Duration, Reason)>,
    /// The same for the other purposes, which may take room that new data may not.
    again_to_drain: Option<(Duration, Reason)>,
    /// Last query of the volume's free space, if the file system can't allocate ahead.
    looked: Option<Duration>,
    /// The volume is queried again once more than this must stay free.
    asked_for: u64,
    /// Reason and size of the last refused reservation.
    refusing: Option<(Reason, u64)>,
}

impl Inner {
    fn total(&self) -> u64 {
        let spares: u64 = self.spares.iter().map(|spare| spare.size).sum();
        self.closed + self.active + self.other + spares + self.own
    }

    /// Bytes that can be written without allocating more.
    fn taken(&self) -> u64 {
        let spares: u64 = self.spares.iter().map(|spare| spare.size.saturating_sub(SEGMENT_HEADER as u64)).sum();
        // A transaction with its own file ends the active segment early.
        if self.own > 0 { spares } else { spares + self.active_free }
    }
}

impl Room {
    /// All files stay within `limit`; new data leaves at least `least` bytes free on the volume.
    pub(super) fn new(
        directory: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
        limit: u64,
        segment: u64,
        least: u64,
    ) -> Arc<Self> {
        let (beside, grown, inner) = (AtomicU64::default(), AtomicU64::default(), Mutex::new(Inner::default()));
        Arc::new(Self { directory, clock, limit, segment, least, beside, grown, inner })
    }

    /// Sets the size of other files on the volume (`bytes`), which will be rewritten next to the old version to let old
    /// data go.
    pub(super) fn spare(&self, bytes: u64) {
        self.beside.store(bytes, Ordering::Relaxed);
    }

    /// Sets the possible growth of those files since they were written.
    pub(super) fn grown(&self, bytes: u64) {
        self.grown.store(bytes, Ordering::Relaxed);
    }

    /// Upper bound of the next version of those files.
    fn next_beside(&self) -> u64 {
        self.beside.load(Ordering::Relaxed).saturating_add(self.grown.load(Ordering::Relaxed))
    }

    /// Bytes that new data leaves free on the volume: twice the next version of the other files, because
    /// [`Purpose::Prepare`] takes some of it.
    fn leaves(&self) -> u64 {
        self.next_beside().saturating_mul(2).max(self.least)
    }

    /// Takes room for `bytes`.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64, purpose: Purpose) -> Result<Reservation, Reason> {
        if bytes.saturating_add(SEGMENT_HEADER as u64) > (self.limit / 2).min(MAX_SEGMENT) {
            return Err(Reason::TooLarge);
        }
        let mut inner = self.inner.lock();
        let result = self.try_reserve(&mut inner, bytes, purpose);
        if purpose == Purpose::Accept {
            inner.refusing = result.as_ref().err().map(|reason| (*reason, bytes));
        }
        let spare = result?;
        let own = spare.is_some();
        if !own {
            inner.reserved += bytes;
        }
        drop(inner);
        Ok(Reservation { room: Arc::clone(self), bytes, own, spare })
    }

    /// Allocated room that is kept for draining.
    fn kept(&self) -> u64 {
        self.segment / 4
    }

    fn try_reserve(&self, inner: &mut Inner, bytes: u64, purpose: Purpose) -> Result<Option<Spare>, Reason> {
        let size = bytes + SEGMENT_HEADER as u64;
        if size > self.segment {
            let spare = self.allocate(inner, size, purpose)?;
            inner.own += size;
            return Ok(Some(spare));
        }
        let kept = match purpose {
            Purpose::Accept => self.kept(),
            Purpose::Prepare => self.kept() / 2,
            Purpose::Drain => 0,
        };
        let want = inner.reserved.saturating_add(bytes).saturating_mul(2).saturating_add(kept);
        while inner.taken() < want {
            let file =
                if purpose == Purpose::Accept { self.segment } else { self.file_to_drain(inner, want, purpose)? };
            let spare = self.allocate(inner, file, purpose)?;
            inner.spares.push(spare);
        }
        match purpose {
            Purpose::Accept if inner.unsure => self.look(inner, want)?,
            Purpose::Accept if self.leaves() > inner.asked_for => self.ask(inner)?,
            Purpose::Prepare | Purpose::Drain if inner.unsure => self.free_above(inner, want, 0)?,
            _ => {}
        }
        Ok(None)
    }

    /// Size of the next file for draining. A start closes the active segment and cuts its tail, which held the room for
    /// draining; afterwards that room may be the rest of the limit or of the volume, smaller than a segment. The file
    /// leaves free what the other files need (unless that is missing anyway) and a little for the spool's own progress.
    /// Only [`Purpose::Drain`] takes even that, and no more than it must.
    fn file_to_drain(&self, inner: &Inner, want: u64, purpose: Purpose) -> Result<u64, Reason> {
        self.rested(inner, purpose)?;
        let within = self.limit.saturating_sub(inner.total());
        let free = self.directory.free().map_or(u64::MAX, |free| free.bytes);
        let least = want.saturating_sub(inner.taken()).saturating_add(SEGMENT_HEADER as u64);
        let next = self.next_beside().saturating_add(self.least / 2);
        let takes_all = purpose == Purpose::Drain || free < next;
        match within.min(free.saturating_sub(next)).min(self.segment) {
            left if left >= least => Ok(left),
            _ if takes_all && within.min(free) >= least => Ok(least),
            _ => Err(Reason::SpoolFull),
        }
    }

    /// Allocates a file of `size` bytes.
    fn allocate(&self, inner: &mut Inner, size: u64, purpose: Purpose) -> Result<Spare, Reason> {
        if inner.total().saturating_add(size) > self.limit {
            return Err(Reason::SpoolFull);
        }
        self.rarely(inner, purpose, |inner| self.make(inner, size, purpose))
    }

    fn make(&self, inner: &mut Inner, size: u64, purpose: Purpose) -> Result<Spare, Reason> {
        let name = format!("{SPARE}{}", inner.next_spare);
        inner.next_spare += 1;
        match self.directory.create(&name, size) {
            Ok((file, taken)) => {
                inner.unsure |= !taken;
                let enough = match purpose {
                    Purpose::Accept if taken => self.leaves_enough(inner),
                    _ if taken => Ok(()),
                    _ => self.free_above(inner, size, self.on_top(purpose)),
                };
                if enough.is_err() {
                    // Best effort: the next start removes leftovers.
                    let _ = self.directory.remove(&name);
                }
                enough.map(|()| Spare { name, file, size })
            }
            Err(error) if is_full(&error) => Err(Reason::SpoolFull),
            Err(error) => {
                tracing::warn!(%error, "the spool can't make a file");
                Err(Reason::SpoolFailed)
            }
        }
    }

    /// Margin for file systems that can't allocate ahead: only the space above what is left to other files is certain.
    fn on_top(&self, purpose: Purpose) -> u64 {
        if purpose == Purpose::Accept { self.segment.max(self.leaves()) } else { 0 }
    }

    /// The last refusal, if it is too early to query the disk again.
    fn rested(&self, inner: &Inner, purpose: Purpose) -> Result<(), Reason> {
        let now = self.clock.monotonic();
        match if purpose == Purpose::Accept { inner.again } else { inner.again_to_drain } {
            Some((until, reason)) if now < until => Err(reason),
            _ => Ok(()),
        }
    }

    /// Queries the disk, unless it refused a moment ago.
    fn rarely<T>(
        &self,
        inner: &mut Inner,
        purpose: Purpose,
        ask: impl FnOnce(&mut Inner) -> Result<T, Reason>,
    ) -> Result<T, Reason> {
        self.rested(inner, purpose)?;
        let said = ask(inner);
        let until = self.clock.monotonic().saturating_add(ASK_AGAIN);
        let again = said.as_ref().err().map(|reason| (until, *reason));
        *if purpose == Purpose::Accept { &mut inner.again } else { &mut inner.again_to_drain } = again;
        said
    }

    /// Whether the volume still has what other files need to let old data go. A volume that does not report it counts
    /// as having it.
    fn leaves_enough(&self, inner: &mut Inner) -> Result<(), Reason> {
        let leaves = self.leaves();
        let free = self.directory.free().unwrap_or(Free { bytes: u64::MAX, total: u64::MAX, files: u64::MAX });
        if free.bytes < leaves || free.files < LOW_FILES {
            return Err(Reason::SpoolFull);
        }
        inner.asked_for = leaves.saturating_add(ASK_EVERY).min(free.bytes);
        Ok(())
    }

    /// Queries the volume, because more must stay free than at the last query.
    fn ask(&self, inner: &mut Inner) -> Result<(), Reason> {
        self.rarely(inner, Purpose::Accept, |inner| self.leaves_enough(inner))
    }

    /// Whether the volume has room for `more` and `on_top`, and for some files.
    fn free_above(&self, inner: &mut Inner, more: u64, on_top: u64) -> Result<(), Reason> {
        let free = self.directory.free().map_err(|_| Reason::SpoolFailed)?;
        inner.looked = Some(self.clock.monotonic());
        let enough = free.bytes >= more.saturating_add(on_top) && free.files >= LOW_FILES;
        if enough { Ok(()) } else { Err(Reason::SpoolFull) }
    }

    /// Queries the volume now and then, if the file system can't allocate ahead.
    fn look(&self, inner: &mut Inner, want: u64) -> Result<(), Reason> {
        self.rarely(inner, Purpose::Accept, |inner| {
            let lately = inner.looked.is_some_and(|looked| self.clock.monotonic().saturating_sub(looked) < ASK_AGAIN);
            if lately && inner.refusing.is_none() {
                return Ok(());
            }
            self.free_above(inner, want, self.on_top(Purpose::Accept))
        })
    }

    /// The smallest file that holds a transaction of `bytes`; a new one if there is none.
    pub(super) fn take(&self, bytes: u64) -> Result<Spare, Reason> {
        let size = bytes.saturating_add(SEGMENT_HEADER as u64);
        let mut inner = self.inner.lock();
        let fits = inner.spares.iter().enumerate().filter(|(_, spare)| spare.size >= size);
        if let Some((at, _)) = fits.min_by_key(|(_, spare)| spare.size) {
            return Ok(inner.spares.swap_remove(at));
        }
        self.allocate(&mut inner, size.max(self.segment), Purpose::Drain)
    }

    /// Sets size and unused bytes of the new active segment. The one before now takes `closed` bytes.
    pub(super) fn active(&self, size: u64, free: u64, closed: u64) {
        let mut inner = self.inner.lock();
        inner.active = size;
        inner.active_free = free;
        inner.closed += closed;
    }

    /// Sets the unused bytes of the active segment.
    pub(super) fn left(&self, free: u64) {
        self.inner.lock().active_free = free;
    }

    /// Closed segments of `bytes` were unlinked.
    pub(super) fn reclaimed(&self, bytes: u64) {
        let mut inner = self.inner.lock();
        inner.closed = inner.closed.saturating_sub(bytes);
    }

    /// Sets the bytes of progress file and cushion together.
    pub(super) fn other(&self, bytes: u64) {
        self.inner.lock().other = bytes;
    }

    /// Whether the disk was full, and it is too early to try again.
    pub(super) fn resting(&self) -> bool {
        self.rested(&self.inner.lock(), Purpose::Accept).is_err()
    }

    /// Bytes that new data may take before it is refused: of the limit, and of the volume as far as that is reported.
    pub(super) fn takes(&self) -> u64 {
        let free = self.directory.free().map_or(u64::MAX, |free| free.bytes).saturating_sub(self.leaves());
        let inner = self.inner.lock();
        // Files have a fixed size; a smaller rest is not used.
        let more = self.limit.saturating_sub(inner.total()).min(free) / self.segment.max(1) * self.segment;
        more.saturating_add(inner.taken().saturating_sub(inner.reserved.saturating_add(self.kept())))
    }

    /// Bytes of all files.
    pub(super) fn total(&self) -> u64 {
        self.inner.lock().total()
    }

    /// Reason of the last refusal, until a reservation succeeds.
    pub(super) fn refusing(&self) -> Option<Reason> {
        self.inner.lock().refusing.map(|(reason, _)| reason)
    }

    /// Ends a refusal once the refused reservation would fit, even if none is attempted.
    fn look_again(&self, inner: &mut Inner) {
        let Some((_, bytes)) = inner.refusing else { return };
        match self.try_reserve(inner, bytes, Purpose::Accept) {
            Ok(spare) => {
                inner.refusing = None;
                if let Some(spare) = spare {
                    inner.own = inner.own.saturating_sub(spare.size);
                    inner.spares.push(spare);
                }
            }
            Err(reason) => inner.refusing = Some((reason, bytes)),
        }
    }

    /// Allocates room ahead, so that reservations rarely have to, and frees what is too much.
    pub(super) fn tend(&self) {
        let mut inner = self.inner.lock();
        self.look_again(&mut inner);
        let ahead = if inner.active > 0 { 2 * self.kept() } else { 0 };
        let want = inner.reserved.saturating_mul(2).saturating_add(ahead);
        if inner.taken() < want && inner.refusing.is_none() {
            if let Ok(spare) = self.allocate(&mut inner, self.segment, Purpose::Accept) {
                inner.spares.push(spare);
            }
            return;
        }
        let spare_bytes = |inner: &Inner| inner.spares.iter().map(|spare| spare.size).max();
        while let Some(largest) = spare_bytes(&inner) {
            let without = inner.taken().saturating_sub(largest);
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
