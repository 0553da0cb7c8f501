//! Repacking: copies quarantine records to the newest segment, where a few of them keep old segments from being
//! deleted. A segment is unlinked only when none of its records is pending, and refused items stay until an operator
//! handles them, so without repacking a few items a day would fill the spool.
//! Only quarantine records are copied, because no consumer reads them in order, and only when room is short. Of one
//! segment all are copied or none, into room reserved before, even the spool's last room: each segment frees more than
//! it costs. The old record counts until the new one is durable, so a crash may leave both, but never none. `outlet`
//! fills the quarantine, `maintenance` unlinks segments.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::commit::Committer;
use super::queue::QueuedTransaction;
use super::read::read_record;
use super::space::{ReservationPurpose, RoomReservation};
use super::status::SpoolReadError;
use super::transaction::{OnCommit, QUARANTINE, RecordSeq, SpoolRecord, StoredRecord, Transaction, bytes_to_reserve};

/// Minimum time between two attempts.
const REPACK_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum number of segments at once, because transactions wait for the repacking.
const MAX_SEGMENTS: u64 = 16;
/// Maximum pending bytes of a segment that is repacked; they are held in memory.
const MAX_SEGMENT_BYTES: u64 = 16 << 20;

/// State of the repacking.
#[derive(Default)]
pub(super) struct RepackState {
    last_attempt: Option<Duration>,
    /// Each transaction in progress has a clone.
    in_progress: Arc<()>,
    /// Segments with an unreadable record; they are not repacked.
    unreadable: BTreeSet<u64>,
    /// The spool is being closed: no more repacking is started.
    pub(super) is_closing: bool,
}

/// Why a segment can't be repacked.
enum RepackError {
    /// There is no room; try again later.
    NoRoom,
    /// A record can't be read.
    Unreadable(SpoolReadError),
}

impl Committer {
    /// If room is short, copies the quarantine records of the segments with the fewest bytes of them: of one segment,
    /// or of more with together up to a sixteenth of a segment's size.
    pub(super) fn repack(&mut self, now: Duration) {
        let repacking = &mut self.maintenance.repacking;
        let is_too_early = repacking.last_attempt.is_some_and(|last| now.saturating_sub(last) < REPACK_INTERVAL);
        let is_busy = repacking.is_closing || Arc::strong_count(&repacking.in_progress) > 1;
        // If the old segments can't be unlinked, the records would only exist twice.
        if is_too_early || is_busy || self.maintenance.is_hampered() || self.is_stalled || !self.is_room_short() {
            return;
        }
        self.maintenance.repacking.last_attempt = Some(now);
        let sparse = self.spool.index.lock().sparse_segments(QUARANTINE, MAX_SEGMENT_BYTES);
        let unreadable = &mut self.maintenance.repacking.unreadable;
        unreadable.retain(|number| sparse.iter().any(|(sparse_number, _)| sparse_number == number));
        let (mut segments, mut copied_bytes) = (0_u64, 0_u64);
        for (number, bytes) in sparse {
            let max_bytes = self.spool.settings.segment_size / 16;
            let is_enough = segments > 0 && copied_bytes.saturating_add(bytes) > max_bytes;
            if is_enough || segments == MAX_SEGMENTS {
                break;
            }
            if self.maintenance.repacking.unreadable.contains(&number) {
                continue;
            }
            match self.repack_segment(number) {
                Ok(()) => (segments, copied_bytes) = (segments + 1, copied_bytes.saturating_add(bytes)),
                Err(RepackError::NoRoom) => break,
                Err(RepackError::Unreadable(error)) => {
                    tracing::error!(segment = number, %error, "quarantined records in a spool file can't be read; the file is kept");
                    self.maintenance.repacking.unreadable.insert(number);
                }
            }
        }
        if segments > 0 {
            tracing::debug!(
                segments,
                bytes = copied_bytes,
                "quarantined records are rewritten so that old spool files can be deleted"
            );
        }
    }

    /// Whether the spool refuses data, or is more than half full.
    fn is_room_short(&self) -> bool {
        let spool = &self.spool;
        spool.refusal_reason().is_some() || spool.space.total() > spool.settings.max_size / 2
    }

    /// Queues copies of all quarantine records of a segment; the old ones are marked as done after the commit.
    fn repack_segment(&self, number: u64) -> Result<(), RepackError> {
        let plan = self.spool.index.lock().plan_segment(QUARANTINE, number);
        let mut stored =
            plan.iter().map(read_record).collect::<Result<Vec<_>, _>>().map_err(RepackError::Unreadable)?;
        // A transaction belongs to one account, and the order of accounts does not matter.
        stored.sort_by(|a, b| a.account.cmp(&b.account));
        let groups: Vec<&[StoredRecord]> = stored.chunk_by(|a, b| a.account == b.account).collect();
        let reservations = groups.iter().map(|group| {
            let bytes = group.iter().map(|stored| stored.body.len() as u64).sum();
            self.spool
                .space
                .reserve(bytes_to_reserve(group.len(), bytes), ReservationPurpose::Drain)
                .map_err(|_| RepackError::NoRoom)
        });
        let reservations = reservations.collect::<Result<Vec<RoomReservation>, _>>()?;
        for (group, reservation) in groups.into_iter().zip(reservations) {
            self.queue_copies(group, reservation);
        }
        Ok(())
    }

    /// Queues copies of records of one account.
    fn queue_copies(&self, group: &[StoredRecord], reservation: RoomReservation) {
        let Some(account) = group.first().map(|stored| Arc::clone(&stored.account)) else { return };
        let holders: Arc<[Arc<str>]> = Arc::new([QUARANTINE.into()]);
        let records = group.iter().map(|stored| {
            let holders = Arc::clone(&holders);
            SpoolRecord { kind: stored.kind, holders, body: stored.body.clone() }
        });
        let transaction = Transaction { account, records: records.collect() };
        let old_seqs: Vec<RecordSeq> = group.iter().map(|stored| stored.seq).collect();
        let bytes = reservation.bytes();
        let (spool, in_progress) = (Arc::clone(&self.spool), Arc::clone(&self.maintenance.repacking.in_progress));
        let on_commit: OnCommit = Box::new(move |result| {
            let new_seqs = result.unwrap_or_default();
            let pairs = old_seqs.iter().zip(new_seqs).map(|(old, new)| (old.0, new.0));
            spool.index.lock().end_repack(QUARANTINE, bytes, pairs);
            drop(in_progress);
        });
        self.spool.index.lock().begin_repack(QUARANTINE, bytes);
        self.spool.queue.push(QueuedTransaction { transaction, reservation, on_commit });
    }
}
