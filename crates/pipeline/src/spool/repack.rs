//! **What**: stores what the quarantine holds anew, further on, where little of it holds whole segments. **Why**: a
//! segment is unlinked when nobody needs any of it, and what back ends refused stays until somebody looks at it: some
//! items a day would take the whole spool. **Invariants**: only the quarantine's records, which nobody reads in order;
//! only under pressure; all of a segment or nothing, from room that is taken before, the last one too: each segment
//! gives more back; the old record counts until the new one is durable, so that a crash may leave both, never none.
//! **Not here**: what comes into the quarantine (`outlet`), unlinking (`upkeep`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::commit::Committer;
use super::queue::Queued;
use super::read;
use super::room::{Purpose, Reservation};
use super::status::ReadError;
use super::transaction::{OnCommit, QUARANTINE, Record, Seq, Stored, Transaction, room_for};

/// No sooner after the last time.
const EVERY: Duration = Duration::from_millis(250);
/// Most segments at once: what waits to be committed waits for it.
const AT_ONCE: u64 = 16;
/// Most bytes of one segment that are held in memory for it.
const MOST: u64 = 16 << 20;

/// Where it stands.
#[derive(Default)]
pub(super) struct Repacking {
    /// When it was last looked for something.
    looked: Option<Duration>,
    /// Shared by what is on its way.
    on_its_way: Arc<()>,
    /// Segments with a record that can't be read: they stay.
    unreadable: BTreeSet<u64>,
    /// The spool is being closed: no more of it.
    pub(super) over: bool,
}

/// Why a segment stays.
enum Stays {
    /// There is no room; later.
    NoRoom,
    /// It can't be read.
    Unreadable(ReadError),
}

impl Committer {
    /// Under pressure: stores anew what keeps the emptiest segments, as much as a sixteenth of a segment, or one
    /// segment's.
    pub(super) fn repack(&mut self, now: Duration) {
        let repacking = &mut self.clean.repacking;
        let soon = repacking.looked.is_some_and(|looked| now.saturating_sub(looked) < EVERY);
        let busy = repacking.over || Arc::strong_count(&repacking.on_its_way) > 1;
        // what can't be unlinked would only be there twice
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

    /// Whether room is, or soon will be, wanted.
    fn pressed(&self) -> bool {
        let spool = &self.spool;
        spool.refusing().is_some() || spool.room.total() > spool.settings.max_size / 2
    }

    /// Queues all that the quarantine has in a segment; when it is committed, the old records are done.
    fn store_anew(&self, number: u64) -> Result<(), Stays> {
        let plan = self.spool.index.lock().plan_in(QUARANTINE, number);
        let mut stored = plan.iter().map(read::read).collect::<Result<Vec<_>, _>>().map_err(Stays::Unreadable)?;
        // a transaction is of one account; among those the order means nothing
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
