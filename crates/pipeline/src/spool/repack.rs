//! Repacking: rewrites quarantine records further on, where a few of them keep whole segments alive. A segment is
//! unlinked only when none of its records is pending, and refused items stay until an operator handles them, so a few
//! items a day would fill the spool.
//! Only quarantine records are moved, because no consumer reads them in order, and only under pressure. Of a segment
//! all of them are moved or none, into room reserved before, the last room included: each segment frees more than it
//! costs. The old record counts until the new one is durable, so a crash may leave both, but never none. `outlet` fills
//! the quarantine, `upkeep` unlinks segments.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::commit::Committer;
use super::queue::Queued;
use super::read;
use super::room::{Purpose, Reservation};
use super::status::ReadError;
use super::transaction::{OnCommit, QUARANTINE, Record, Seq, Stored, Transaction, room_for};

/// Minimum time between two attempts.
const EVERY: Duration = Duration::from_millis(250);
/// Maximum number of segments at once, because transactions that wait for a commit wait for it.
const AT_ONCE: u64 = 16;
/// Maximum bytes of one segment held in memory for it.
const MOST: u64 = 16 << 20;

/// State of the repacking.
#[derive(Default)]
pub(super) struct Repacking {
    /// Time of the last attempt.
    looked: Option<Duration>,
    /// Cloned by each transaction in progress.
    on_its_way: Arc<()>,
    /// Segments with an unreadable record, which are not repacked.
    unreadable: BTreeSet<u64>,
    /// The spool is being closed: start no more.
    pub(super) over: bool,
}

/// Why a segment can't be repacked.
enum Stays {
    /// There is no room; try again later.
    NoRoom,
    /// A record can't be read.
    Unreadable(ReadError),
}

impl Committer {
    /// Under pressure, rewrites the records that keep the emptiest segments: one segment's records, or more up to a
    /// sixteenth of a segment's size.
    pub(super) fn repack(&mut self, now: Duration) {
        let repacking = &mut self.clean.repacking;
        let soon = repacking.looked.is_some_and(|looked| now.saturating_sub(looked) < EVERY);
        let busy = repacking.over || Arc::strong_count(&repacking.on_its_way) > 1;
        // If the old segments can't be unlinked, the records would only exist twice.
        if soon || busy || self.clean.hampered() || self.stalled() || !self.pressed() {
            return;
        }
        self.clean.repacking.looked = Some(now);
        let sparse = self.spool.index.lock().sparse(QUARANTINE, MOST);
        let unreadable = &mut self.clean.repacking.unreadable;
        unreadable.retain(|number| sparse.iter().any(|(sparse, _)| sparse == number));
        let (mut segments, mut moved) = (0_u64, 0_u64);
        for (number, bytes) in sparse {
            let much = segments > 0 && moved.saturating_add(bytes) > self.spool.settings.segment_size / 16;
            if much || segments == AT_ONCE {
                break;
            }
            if self.clean.repacking.unreadable.contains(&number) {
                continue;
            }
            match self.store_anew(number) {
                Ok(()) => (segments, moved) = (segments + 1, moved.saturating_add(bytes)),
                Err(Stays::NoRoom) => break,
                Err(Stays::Unreadable(error)) => {
                    tracing::error!(segment = number, %error, "what the quarantine holds in a spool file can't be read: the file stays");
                    self.clean.repacking.unreadable.insert(number);
                }
            }
        }
        if segments > 0 {
            tracing::debug!(
                segments,
                bytes = moved,
                "what the quarantine holds is stored anew, so that spool files can go"
            );
        }
    }

    /// Whether room is needed now or soon.
    fn pressed(&self) -> bool {
        let spool = &self.spool;
        spool.refusing().is_some() || spool.room.total() > spool.settings.max_size / 2
    }

    /// Queues copies of all quarantine records of a segment; the old ones are marked as done after the commit.
    fn store_anew(&self, number: u64) -> Result<(), Stays> {
        let plan = self.spool.index.lock().plan_in(QUARANTINE, number);
        let mut stored = plan.iter().map(read::read).collect::<Result<Vec<_>, _>>().map_err(Stays::Unreadable)?;
        // A transaction belongs to one account, and the order of accounts does not matter.
        stored.sort_by(|one, other| one.account.cmp(&other.account));
        let groups: Vec<&[Stored]> = stored.chunk_by(|one, next| one.account == next.account).collect();
        let reserved = groups.iter().map(|group| {
            let bytes = group.iter().map(|stored| stored.body.len() as u64).sum();
            self.spool.room.reserve(room_for(group.len(), bytes), Purpose::Drain).map_err(|_| Stays::NoRoom)
        });
        let reserved = reserved.collect::<Result<Vec<Reservation>, _>>()?;
        for (group, reservation) in groups.into_iter().zip(reserved) {
            self.queue_anew(group, reservation);
        }
        Ok(())
    }

    fn queue_anew(&self, group: &[Stored], reservation: Reservation) {
        let Some(account) = group.first().map(|stored| Arc::clone(&stored.account)) else { return };
        let holders: Arc<[Arc<str>]> = Arc::new([QUARANTINE.into()]);
        let records = group.iter().map(|stored| {
            let holders = Arc::clone(&holders);
            Record { kind: stored.kind, holders, body: stored.body.clone() }
        });
        let transaction = Transaction { account, records: records.collect() };
        let before: Vec<Seq> = group.iter().map(|stored| stored.seq).collect();
        let bytes = reservation.bytes();
        let (spool, mark) = (Arc::clone(&self.spool), Arc::clone(&self.clean.repacking.on_its_way));
        let on_commit: OnCommit = Box::new(move |result| {
            let now = result.unwrap_or_default();
            let pairs = before.iter().zip(now).map(|(before, now)| (before.0, now.0));
            spool.index.lock().stored_anew(QUARANTINE, bytes, pairs);
            drop(mark);
        });
        self.spool.index.lock().store_anew(QUARANTINE, bytes);
        self.spool.queue.push(Queued { transaction, reservation, on_commit });
    }
}
