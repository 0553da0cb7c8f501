//! Repacking: rewrites quarantine records further on, where a few of them keep whole segments alive. A segment is
//! unlinked only when none of its records is pending, and refused items stay until an operator handles them, so a few
//! items a day would fill the spool.
//! Only quarantine records are moved, because no consumer reads them in order, and only under pressure. Of a segment
//! all of them are moved or none, into room reserved before, the last room included: each segment frees more than it
//! costs. The old record counts until the new one is durable, so a crash may leave both, but never none. `outlet` fills
//! the quarantine, `maintenance` unlinks segments.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::commit::Committer;
use super::queue::QueuedTransaction;
use super::read;
use super::space::{ReservationPurpose, RoomReservation};
use super::status::SpoolReadError;
use super::transaction::{OnCommit, QUARANTINE, RecordSeq, SpoolRecord, StoredRecord, Transaction, bytes_to_reserve};

/// Minimum time between two attempts.
const REPACK_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum number of segments at once, because transactions that wait for a commit wait for it.
const MAX_SEGMENTS: u64 = 16;
/// Maximum bytes of one segment held in memory for it.
const MAX_SEGMENT_BYTES: u64 = 16 << 20;

/// State of the repacking.
#[derive(Default)]
pub(super) struct RepackState {
    /// Time of the last attempt.
    last_attempt: Option<Duration>,
    /// Cloned by each transaction in progress.
    in_progress: Arc<()>,
    /// Segments with an unreadable record, which are not repacked.
    unreadable: BTreeSet<u64>,
    /// The spool is being closed: start no more.
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
    /// Under pressure, rewrites the records that keep the emptiest segments: one segment's records, or more up to a
    /// sixteenth of a segment's size.
    pub(super) fn repack(&mut self, now: Duration) {
        let repacking = &mut self.maintenance.repacking;
        let soon = repacking.last_attempt.is_some_and(|looked| now.saturating_sub(looked) < REPACK_INTERVAL);
        let busy = repacking.is_closing || Arc::strong_count(&repacking.in_progress) > 1;
        // If the old segments can't be unlinked, the records would only exist twice.
        if soon || busy || self.maintenance.is_hampered() || self.is_stalled() || !self.is_under_pressure() {
            return;
        }
        self.maintenance.repacking.last_attempt = Some(now);
        let sparse = self.spool.index.lock().sparse_segments(QUARANTINE, MAX_SEGMENT_BYTES);
        let unreadable = &mut self.maintenance.repacking.unreadable;
        unreadable.retain(|number| sparse.iter().any(|(sparse, _)| sparse == number));
        let (mut segments, mut moved) = (0_u64, 0_u64);
        for (number, bytes) in sparse {
            let much = segments > 0 && moved.saturating_add(bytes) > self.spool.settings.segment_size / 16;
            if much || segments == MAX_SEGMENTS {
                break;
            }
            if self.maintenance.repacking.unreadable.contains(&number) {
                continue;
            }
            match self.repack_segment(number) {
                Ok(()) => (segments, moved) = (segments + 1, moved.saturating_add(bytes)),
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
                bytes = moved,
                "quarantined records are rewritten so that old spool files can be deleted"
            );
        }
    }

    /// Whether room is needed now or soon.
    fn is_under_pressure(&self) -> bool {
        let spool = &self.spool;
        spool.refusal_reason().is_some() || spool.room.total() > spool.settings.max_size / 2
    }

    /// Queues copies of all quarantine records of a segment; the old ones are marked as done after the commit.
    fn repack_segment(&self, number: u64) -> Result<(), RepackError> {
        let plan = self.spool.index.lock().plan_segment(QUARANTINE, number);
        let mut stored = plan.iter().map(read::read).collect::<Result<Vec<_>, _>>().map_err(RepackError::Unreadable)?;
        // A transaction belongs to one account, and the order of accounts does not matter.
        stored.sort_by(|one, other| one.account.cmp(&other.account));
        let groups: Vec<&[StoredRecord]> = stored.chunk_by(|one, next| one.account == next.account).collect();
        let reserved = groups.iter().map(|group| {
            let bytes = group.iter().map(|stored| stored.body.len() as u64).sum();
            self.spool
                .room
                .reserve(bytes_to_reserve(group.len(), bytes), ReservationPurpose::Drain)
                .map_err(|_| RepackError::NoRoom)
        });
        let reserved = reserved.collect::<Result<Vec<RoomReservation>, _>>()?;
        for (group, reservation) in groups.into_iter().zip(reserved) {
            self.queue_copies(group, reservation);
        }
        Ok(())
    }

    fn queue_copies(&self, group: &[StoredRecord], reservation: RoomReservation) {
        let Some(account) = group.first().map(|stored| Arc::clone(&stored.account)) else { return };
        let holders: Arc<[Arc<str>]> = Arc::new([QUARANTINE.into()]);
        let records = group.iter().map(|stored| {
            let holders = Arc::clone(&holders);
            SpoolRecord { kind: stored.kind, holders, body: stored.body.clone() }
        });
        let transaction = Transaction { account, records: records.collect() };
        let before: Vec<RecordSeq> = group.iter().map(|stored| stored.seq).collect();
        let bytes = reservation.bytes();
        let (spool, mark) = (Arc::clone(&self.spool), Arc::clone(&self.maintenance.repacking.in_progress));
        let on_commit: OnCommit = Box::new(move |result| {
            let now = result.unwrap_or_default();
            let pairs = before.iter().zip(now).map(|(before, now)| (before.0, now.0));
            spool.index.lock().end_repack(QUARANTINE, bytes, pairs);
            drop(mark);
        });
        self.spool.index.lock().begin_repack(QUARANTINE, bytes);
        self.spool.queue.push(QueuedTransaction { transaction, reservation, on_commit });
    }
}
