//! [`SpaceAllocator`]: allocates disk space in advance, because a full disk must be noticed before a batch's ticket.
//! All files together stay within the limit. Reserved bytes fit into files whose room is already allocated (twice over,
//! because the end of a segment may be too small for the next transaction) or, if the file system can't allocate ahead,
//! into the free space that the volume reports.
//! New data never takes the volume's last bytes and files: old data can only be deleted after checkpoints and chain
//! positions were written, and a checkpoint is larger the more effects wait for it. Writing is in `commit`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::disk::{Directory, DiskFile, FreeSpace, is_out_of_space};
use crate::outcome::Reason;
use kernel::clock::Clock;

use super::config::MAX_SEGMENT;
use super::record::SEGMENT_HEADER;

/// Prefix of the names of files that wait to become segments.
pub(super) const SPARE_PREFIX: &str = "spare-";
/// A file that is deleted to make room for the progress file on a full disk.
pub(super) const CUSHION: &str = "cushion";
/// Minimum time between a report that the disk is full and the next attempt.
const QUERY_RETRY: Duration = Duration::from_millis(250);
/// The volume is not queried at each reservation while it has this much more free space than it must have.
const QUERY_MARGIN: u64 = 1 << 20;
/// Number of files that must stay available on the volume.
const MIN_FREE_FILES: u64 = 16;

/// Purpose of a reservation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ReservationPurpose {
    /// New data.
    Accept,
    /// Records that are needed before older data can be processed. They may take half of the room kept for draining.
    Prepare,
    /// Records that release older data. They may take all of the room kept for draining.
    Drain,
}

/// A file that waits to become a segment.
pub(super) struct SpareFile {
    pub(super) name: String,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) size: u64,
}

/// Room for one transaction; returned when dropped.
pub struct RoomReservation {
    space: Arc<SpaceAllocator>,
    bytes: u64,
    /// The bytes are part of [`SpaceAccount::reserved`]; false if the reservation got a file of its own.
    is_shared: bool,
    /// The file of its own, for a transaction that is larger than a segment, until that is taken.
    own_file: Option<SpareFile>,
}

impl RoomReservation {
    /// Bytes reserved.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn has_own_file(&self) -> bool {
        self.own_file.is_some()
    }

    /// Takes the reservation's own file, if it has one.
    pub(super) fn take_own_file(&mut self) -> Option<SpareFile> {
        let file = self.own_file.take()?;
        let mut account = self.space.account.lock();
        account.owned_bytes = account.owned_bytes.saturating_sub(file.size);
        Some(file)
    }
}

impl Drop for RoomReservation {
    fn drop(&mut self) {
        let mut account = self.space.account.lock();
        if self.is_shared {
            account.reserved = account.reserved.saturating_sub(self.bytes);
        }
        if let Some(file) = self.own_file.take() {
            account.owned_bytes = account.owned_bytes.saturating_sub(file.size);
            account.spares.push(file);
        }
    }
}

/// See the module.
pub(super) struct SpaceAllocator {
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    /// Maximum bytes of all files.
    limit: u64,
    segment_size: u64,
    /// Minimum of the bytes that new data leaves free on the volume.
    min_free: u64,
    /// Size of other files on the volume (the checkpoint) that are rewritten next to their old version.
    rewritten_bytes: AtomicU64,
    /// By how much their next version may be larger.
    rewritten_growth: AtomicU64,
    account: Mutex<SpaceAccount>,
}

#[derive(Default)]
struct SpaceAccount {
    /// Bytes of closed segments.
    closed_bytes: u64,
    /// Size of the active segment, and its unused bytes.
    active_size: u64,
    active_free: u64,
    /// Bytes of progress file and cushion.
    progress_bytes: u64,
    spares: Vec<SpareFile>,
    /// Bytes of files that belong to reservations.
    owned_bytes: u64,
    /// Bytes of reservations without a file of their own.
    reserved: u64,
    next_spare: u64,
    /// The file system can't allocate ahead.
    cannot_allocate: bool,
    /// Time (monotonic) before which the disk is not asked again for room for new data, and its last refusal.
    retry_at: Option<(Duration, Reason)>,
    /// The same for the other purposes, for which there may be room when there is none for new data.
    drain_retry_at: Option<(Duration, Reason)>,
    /// Time (monotonic) of the last query of the volume's free space, if the file system can't allocate ahead.
    last_query: Option<Duration>,
    /// The volume is queried again once more than this must stay free on it.
    checked_free: u64,
    /// Reason and bytes of the last reservation for new data, if it was refused.
    last_refusal: Option<(Reason, u64)>,
}

impl SpaceAccount {
    fn total(&self) -> u64 {
        let spares: u64 = self.spares.iter().map(|spare| spare.size).sum();
        self.closed_bytes + self.active_size + self.progress_bytes + spares + self.owned_bytes
    }

    /// Bytes that can be written to segments without allocating more.
    fn writable_bytes(&self) -> u64 {
        let spares: u64 = self.spares.iter().map(|spare| spare.size.saturating_sub(SEGMENT_HEADER as u64)).sum();
        // A transaction with its own file ends the active segment early.
        if self.owned_bytes > 0 { spares } else { spares + self.active_free }
    }
}

impl SpaceAllocator {
    /// All files stay within `limit`; new data leaves at least `min_free` bytes free on the volume.
    pub(super) fn new(
        directory: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
        limit: u64,
        segment_size: u64,
        min_free: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            directory,
            clock,
            limit,
            segment_size,
            min_free,
            rewritten_bytes: AtomicU64::default(),
            rewritten_growth: AtomicU64::default(),
            account: Mutex::default(),
        })
    }

    /// Sets the size of other files on the volume that must be rewritten, next to their old version, before old data
    /// can be deleted.
    pub(super) fn set_rewritten_bytes(&self, bytes: u64) {
        self.rewritten_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Sets by how much the next version of these files may be larger.
    pub(super) fn set_rewritten_growth(&self, bytes: u64) {
        self.rewritten_growth.store(bytes, Ordering::Relaxed);
    }

    /// Upper bound of the size of these files' next version.
    fn next_rewritten_bytes(&self) -> u64 {
        self.rewritten_bytes.load(Ordering::Relaxed).saturating_add(self.rewritten_growth.load(Ordering::Relaxed))
    }

    /// Bytes that new data leaves free on the volume: twice the next version of the other files, because
    /// [`ReservationPurpose::Prepare`] takes some of them.
    pub(super) fn required_free(&self) -> u64 {
        self.next_rewritten_bytes().saturating_mul(2).max(self.min_free)
    }

    /// Reserves room for `bytes`.
    pub(super) fn reserve(
        self: &Arc<Self>,
        bytes: u64,
        purpose: ReservationPurpose,
    ) -> Result<RoomReservation, Reason> {
        if bytes.saturating_add(SEGMENT_HEADER as u64) > (self.limit / 2).min(MAX_SEGMENT) {
            return Err(Reason::TooLarge);
        }
        let mut account = self.account.lock();
        let result = self.try_reserve(&mut account, bytes, purpose);
        if purpose == ReservationPurpose::Accept {
            account.last_refusal = result.as_ref().err().map(|reason| (*reason, bytes));
        }
        let own_file = result?;
        let is_shared = own_file.is_none();
        if is_shared {
            account.reserved += bytes;
        }
        drop(account);
        Ok(RoomReservation { space: Arc::clone(self), bytes, is_shared, own_file })
    }

    /// Allocated room that is kept for draining, i.e. for records that release older data.
    fn drain_reserve(&self) -> u64 {
        self.segment_size / 4
    }

    /// Makes sure that there is room for `bytes`; allocates a file of its own if they are more than a segment.
    fn try_reserve(
        &self,
        account: &mut SpaceAccount,
        bytes: u64,
        purpose: ReservationPurpose,
    ) -> Result<Option<SpareFile>, Reason> {
        let size = bytes + SEGMENT_HEADER as u64;
        if size > self.segment_size {
            let own_file = self.allocate_file(account, size, purpose)?;
            account.owned_bytes += size;
            return Ok(Some(own_file));
        }
        let kept_free = match purpose {
            ReservationPurpose::Accept => self.drain_reserve(),
            ReservationPurpose::Prepare => self.drain_reserve() / 2,
            ReservationPurpose::Drain => 0,
        };
        let needed = account.reserved.saturating_add(bytes).saturating_mul(2).saturating_add(kept_free);
        while account.writable_bytes() < needed {
            let file_size = if purpose == ReservationPurpose::Accept {
                self.segment_size
            } else {
                self.drain_file_size(account, needed, purpose)?
            };
            let spare = self.allocate_file(account, file_size, purpose)?;
            account.spares.push(spare);
        }
        match purpose {
            ReservationPurpose::Accept if account.cannot_allocate => self.query_free_space(account, needed)?,
            ReservationPurpose::Accept if self.required_free() > account.checked_free => {
                // More must stay free than at the last query.
                self.query_if_due(account, purpose, |account| self.check_required_free(account))?
            }
            ReservationPurpose::Prepare | ReservationPurpose::Drain if account.cannot_allocate => {
                self.check_free_space(account, needed)?
            }
            _ => {}
        }
        Ok(None)
    }

    /// Size of the next file for draining. It may be smaller than a segment: a start closes the active segment and
    /// truncates it, so the room kept in it for draining may now be only the rest of the limit or of the volume.
    /// The file leaves free what the other files need, and a little for the spool's own progress, unless that is
    /// missing anyway. Only [`ReservationPurpose::Drain`] may take even that, but no more than it needs.
    fn drain_file_size(&self, account: &SpaceAccount, needed: u64, purpose: ReservationPurpose) -> Result<u64, Reason> {
        self.check_retry_time(account, purpose)?;
        let below_limit = self.limit.saturating_sub(account.total());
        let free = self.directory.free_space().map_or(u64::MAX, |free| free.bytes);
        let min_size = needed.saturating_sub(account.writable_bytes()).saturating_add(SEGMENT_HEADER as u64);
        let kept_free = self.next_rewritten_bytes().saturating_add(self.min_free / 2);
        let may_take_all = purpose == ReservationPurpose::Drain || free < kept_free;
        match below_limit.min(free.saturating_sub(kept_free)).min(self.segment_size) {
            size if size >= min_size => Ok(size),
            _ if may_take_all && below_limit.min(free) >= min_size => Ok(min_size),
            _ => Err(Reason::SpoolFull),
        }
    }

    /// Allocates a file of `size` bytes.
    fn allocate_file(
        &self,
        account: &mut SpaceAccount,
        size: u64,
        purpose: ReservationPurpose,
    ) -> Result<SpareFile, Reason> {
        if account.total().saturating_add(size) > self.limit {
            return Err(Reason::SpoolFull);
        }
        self.query_if_due(account, purpose, |account| self.create_file(account, size, purpose))
    }

    fn create_file(
        &self,
        account: &mut SpaceAccount,
        size: u64,
        purpose: ReservationPurpose,
    ) -> Result<SpareFile, Reason> {
        let name = format!("{SPARE_PREFIX}{}", account.next_spare);
        account.next_spare += 1;
        match self.directory.create(&name, size) {
            Ok((file, is_allocated)) => {
                account.cannot_allocate |= !is_allocated;
                let check = match purpose {
                    ReservationPurpose::Accept if is_allocated => self.check_required_free(account),
                    _ if is_allocated => Ok(()),
                    _ => self.check_free_space(account, size.saturating_add(self.required_margin(purpose))),
                };
                if check.is_err() {
                    // Best effort: the next start removes spare files.
                    let _ = self.directory.remove(&name);
                }
                check.map(|()| SpareFile { name, file, size })
            }
            Err(error) if is_out_of_space(&error) => Err(Reason::SpoolFull),
            Err(error) => {
                tracing::warn!(%error, "the spool can't create a file");
                Err(Reason::SpoolFailed)
            }
        }
    }

    /// Free space that must be left after a reservation if the file system can't allocate ahead: other files may take
    /// space in the meantime.
    fn required_margin(&self, purpose: ReservationPurpose) -> u64 {
        if purpose == ReservationPurpose::Accept { self.segment_size.max(self.required_free()) } else { 0 }
    }

    /// Returns the last refusal as an error if it is too early to query the disk again.
    fn check_retry_time(&self, account: &SpaceAccount, purpose: ReservationPurpose) -> Result<(), Reason> {
        let now = self.clock.monotonic();
        match if purpose == ReservationPurpose::Accept { account.retry_at } else { account.drain_retry_at } {
            Some((until, reason)) if now < until => Err(reason),
            _ => Ok(()),
        }
    }

    /// Queries the disk with `query`, unless it refused a moment ago.
    fn query_if_due<T>(
        &self,
        account: &mut SpaceAccount,
        purpose: ReservationPurpose,
        query: impl FnOnce(&mut SpaceAccount) -> Result<T, Reason>,
    ) -> Result<T, Reason> {
        self.check_retry_time(account, purpose)?;
        let result = query(account);
        let until = self.clock.monotonic().saturating_add(QUERY_RETRY);
        let retry_at = result.as_ref().err().map(|reason| (until, *reason));
        match purpose {
            ReservationPurpose::Accept => account.retry_at = retry_at,
            ReservationPurpose::Prepare | ReservationPurpose::Drain => account.drain_retry_at = retry_at,
        }
        result
    }

    /// Checks that the volume still has the free space that new data must leave. A volume that does not report its free
    /// space passes.
    fn check_required_free(&self, account: &mut SpaceAccount) -> Result<(), Reason> {
        let required = self.required_free();
        let free =
            self.directory.free_space().unwrap_or(FreeSpace { bytes: u64::MAX, total: u64::MAX, files: u64::MAX });
        if free.bytes < required || free.files < MIN_FREE_FILES {
            return Err(Reason::SpoolFull);
        }
        account.checked_free = required.saturating_add(QUERY_MARGIN).min(free.bytes);
        Ok(())
    }

    /// Checks that the volume has room for `bytes` and for some files.
    fn check_free_space(&self, account: &mut SpaceAccount, bytes: u64) -> Result<(), Reason> {
        let free = self.directory.free_space().map_err(|_| Reason::SpoolFailed)?;
        account.last_query = Some(self.clock.monotonic());
        if free.bytes >= bytes && free.files >= MIN_FREE_FILES { Ok(()) } else { Err(Reason::SpoolFull) }
    }

    /// Queries the volume, but not too often, because the file system can't allocate ahead.
    fn query_free_space(&self, account: &mut SpaceAccount, needed: u64) -> Result<(), Reason> {
        self.query_if_due(account, ReservationPurpose::Accept, |account| {
            let now = self.clock.monotonic();
            let is_recent = account.last_query.is_some_and(|last| now.saturating_sub(last) < QUERY_RETRY);
            if is_recent && account.last_refusal.is_none() {
                return Ok(());
            }
            self.check_free_space(account, needed.saturating_add(self.required_margin(ReservationPurpose::Accept)))
        })
    }

    /// Takes the smallest spare file that holds a transaction of `bytes`; creates one if there is none.
    pub(super) fn take_file(&self, bytes: u64) -> Result<SpareFile, Reason> {
        let size = bytes.saturating_add(SEGMENT_HEADER as u64);
        let mut account = self.account.lock();
        let large_enough = account.spares.iter().enumerate().filter(|(_, spare)| spare.size >= size);
        if let Some((index, _)) = large_enough.min_by_key(|(_, spare)| spare.size) {
            return Ok(account.spares.swap_remove(index));
        }
        self.allocate_file(&mut account, size.max(self.segment_size), ReservationPurpose::Drain)
    }

    /// Sets size and unused bytes of the new active segment; adds `newly_closed` to the bytes of closed segments.
    pub(super) fn set_active(&self, size: u64, free: u64, newly_closed: u64) {
        let mut account = self.account.lock();
        account.active_size = size;
        account.active_free = free;
        account.closed_bytes += newly_closed;
    }

    pub(super) fn set_active_free(&self, free: u64) {
        self.account.lock().active_free = free;
    }

    /// Subtracts the bytes of closed segments that were unlinked.
    pub(super) fn subtract_closed(&self, bytes: u64) {
        let mut account = self.account.lock();
        account.closed_bytes = account.closed_bytes.saturating_sub(bytes);
    }

    /// Sets the bytes of progress file and cushion together.
    pub(super) fn set_progress_bytes(&self, bytes: u64) {
        self.account.lock().progress_bytes = bytes;
    }

    /// Whether the disk was full, and it is too early to try again.
    pub(super) fn is_waiting_for_space(&self) -> bool {
        self.check_retry_time(&self.account.lock(), ReservationPurpose::Accept).is_err()
    }

    /// Bytes that new data may take before it is refused because of the limit or of the volume's free space, if that is
    /// reported.
    pub(super) fn available_bytes(&self) -> u64 {
        let free = self.directory.free_space().map_or(u64::MAX, |free| free.bytes).saturating_sub(self.required_free());
        let account = self.account.lock();
        let new_files = self.limit.saturating_sub(account.total()).min(free) / self.segment_size.max(1);
        let not_available = account.reserved.saturating_add(self.drain_reserve());
        (new_files * self.segment_size).saturating_add(account.writable_bytes().saturating_sub(not_available))
    }

    pub(super) fn total(&self) -> u64 {
        self.account.lock().total()
    }

    /// Reason of the last refusal, until a reservation succeeds.
    pub(super) fn refusal_reason(&self) -> Option<Reason> {
        self.account.lock().last_refusal.map(|(reason, _)| reason)
    }

    /// Ends a refusal once the refused reservation would fit, even if none is attempted.
    fn retry_refused(&self, account: &mut SpaceAccount) {
        let Some((_, bytes)) = account.last_refusal else { return };
        match self.try_reserve(account, bytes, ReservationPurpose::Accept) {
            Ok(own_file) => {
                account.last_refusal = None;
                if let Some(file) = own_file {
                    account.owned_bytes = account.owned_bytes.saturating_sub(file.size);
                    account.spares.push(file);
                }
            }
            Err(reason) => account.last_refusal = Some((reason, bytes)),
        }
    }

    /// Allocates room ahead, so that reservations rarely have to, and frees what is too much.
    pub(super) fn maintain_spares(&self) {
        let mut account = self.account.lock();
        self.retry_refused(&mut account);
        let ahead = if account.active_size > 0 { 2 * self.drain_reserve() } else { 0 };
        let wanted = account.reserved.saturating_mul(2).saturating_add(ahead);
        if account.writable_bytes() < wanted && account.last_refusal.is_none() {
            if let Ok(spare) = self.allocate_file(&mut account, self.segment_size, ReservationPurpose::Accept) {
                account.spares.push(spare);
            }
            return;
        }
        let largest_size = |account: &SpaceAccount| account.spares.iter().map(|spare| spare.size).max();
        while let Some(size) = largest_size(&account) {
            let without = account.writable_bytes().saturating_sub(size);
            if without < wanted || (size <= self.segment_size && without < wanted.saturating_add(self.segment_size)) {
                return;
            }
            let Some(index) = account.spares.iter().position(|spare| spare.size == size) else { return };
            let spare = account.spares.swap_remove(index);
            // Best effort: the next start removes spare files.
            let _ = self.directory.remove(&spare.name);
        }
    }
}
