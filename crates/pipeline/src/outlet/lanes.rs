//! [`ReadLanes`]: the records that an outlet has read, in one lane or, after an outage, in two (backlog and new data),
//! plus a separate lane for each group that is stuck while others could be sent. Backlog must not delay new data, nor
//! the reverse, and data that a back end does not accept must not fill the window. Lanes take turns, parcel by parcel,
//! and share the window; the backlog lane ends where the lane of new data starts. Of one signal and account at most as
//! many parcels are open (in flight, or waiting for another attempt) as may be in flight at once. A record is in
//! exactly one place: in the range of an open parcel, gathered in one lane, or still unread by the one lane that covers
//! it; the other lanes skip what a separate lane covers. A separate lane resumes where it stopped, so each record is
//! read at most once by the common lane and once by its own. Reading and sending are in the parent module; `slots`
//! knows which groups are stuck.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::spool::RecordSeq;
use otlp::Signal;

use super::gather::{Parcel, ParcelGatherer, ParcelGroup, ParcelPart, WindowBytes};

/// See the module. Never empty.
pub(super) struct ReadLanes {
    target: usize,
    window: usize,
    next: u64,
    /// Ranges of the parcels that were taken and are not yet delivered.
    open: HashMap<ParcelGroup, Vec<(RecordSeq, RecordSeq)>>,
    most_open: usize,
    /// The front lane has the next turn.
    all: VecDeque<ReadLane>,
}

struct ReadLane {
    id: u64,
    /// If set, the lane reads only this group, from after this position on; otherwise it reads every group that has no
    /// separate lane there.
    own_group: Option<(ParcelGroup, RecordSeq)>,
    gatherer: ParcelGatherer,
    /// Position of the last record read.
    after: Option<RecordSeq>,
    /// Position at which the lane ends.
    until: Option<RecordSeq>,
    /// Whether the spool may have more records after `after`.
    may_have_more: bool,
    /// A read is in progress.
    reading: bool,
    /// Bytes gathered and in open parcels.
    bytes: Arc<AtomicUsize>,
}

impl ReadLane {
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn group(&self) -> Option<&ParcelGroup> {
        self.own_group.as_ref().map(|(group, _)| group)
    }

    /// Whether only this separate lane may read the record.
    fn is_exclusive_for(&self, group: &ParcelGroup, seq: RecordSeq) -> bool {
        let apart = self.own_group.as_ref().is_some_and(|(of, behind)| of == group && seq > *behind);
        apart && self.until.is_none_or(|until| seq <= until)
    }
}

/// The next read.
pub(super) struct ReadRequest {
    pub(super) lane: u64,
    /// Restricts the read to this account.
    pub(super) account: Option<Arc<str>>,
    pub(super) after: Option<RecordSeq>,
    pub(super) until: Option<RecordSeq>,
    pub(super) room: usize,
}

impl ReadLanes {
    /// One lane, from the beginning of the spool. `target`: bytes of a parcel; `window`: bytes in memory; `most_open`:
    /// open parcels of one group.
    pub(super) fn new(target: usize, window: usize, most_open: usize) -> Self {
        let mut lanes = Self { target, window, next: 0, open: HashMap::new(), most_open, all: VecDeque::new() };
        lanes.open_lane(None, None);
        lanes
    }

    fn open_lane(&mut self, apart: Option<(ParcelGroup, RecordSeq)>, after: Option<RecordSeq>) {
        let id = self.next_id();
        let (gatherer, bytes) = (ParcelGatherer::new(self.target), Arc::default());
        self.all.push_back(ReadLane {
            id,
            own_group: apart,
            gatherer,
            after,
            until: None,
            may_have_more: true,
            reading: false,
            bytes,
        });
    }

    fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn lane_mut(&mut self, id: u64) -> Option<&mut ReadLane> {
        self.all.iter_mut().find(|lane| lane.id == id)
    }

    /// Whether this lane reads all groups without a separate lane.
    pub(super) fn is_common(&self, id: u64) -> bool {
        self.all.iter().any(|lane| lane.id == id && lane.own_group.is_none())
    }

    /// Separates backlog (positions before `next`) from new data, unless that is done already.
    pub(super) fn split_backlog(&mut self, next: RecordSeq) {
        let last = RecordSeq(next.0.saturating_sub(1));
        let mut common = self.all.iter_mut().filter(|lane| lane.own_group.is_none());
        let (Some(lane), None) = (common.next(), common.next()) else { return };
        if lane.after.is_some_and(|after| after < last) {
            (lane.until, lane.may_have_more) = (Some(last), true);
            self.open_lane(None, Some(last));
        }
    }

    /// The next parcel; lanes take turns.
    pub(super) fn take(&mut self, now: bool) -> Option<Parcel> {
        for _ in 0..self.all.len() {
            let (open, most) = (&self.open, self.most_open);
            let may = |signal: Signal, account: &Arc<str>| {
                open.get(&(signal, Arc::clone(account))).is_none_or(|open| open.len() < most)
            };
            let taken = self.all.front_mut().and_then(|lane| {
                let parcel = lane.gatherer.take(now, may)?;
                Some(Parcel { window_bytes: WindowBytes::already_counted(&lane.bytes, parcel.bytes), ..parcel })
            });
            self.all.rotate_left(1);
            if let Some(parcel) = taken {
                self.open.entry(parcel.group()).or_default().push(parcel.range);
                return Some(parcel);
            }
        }
        None
    }

    /// The next read and its size; it counts as in progress from now on. Separate lanes of groups that are `stuck` are
    /// not read.
    pub(super) fn next_read(&mut self, stuck: impl Fn(&ParcelGroup) -> bool) -> Option<ReadRequest> {
        let awake = |lane: &ReadLane| lane.group().is_none_or(|group| !stuck(group));
        let share = self.window.div_ceil(self.all.iter().filter(|lane| awake(lane)).count().max(1));
        self.separate_stuck_groups(share, &stuck);
        let read = self.all.iter().filter(|lane| lane.own_group.is_none()).filter_map(|lane| lane.after).max();
        for lane in self.all.iter_mut().filter(|lane| lane.own_group.is_some() && lane.until.is_none() && awake(lane)) {
            // Records after this position are read by the common lane again.
            lane.until = read;
        }
        // Limits the separate lanes together to the window, however many there are.
        let room = self.all.iter().map(ReadLane::bytes).sum::<usize>() < self.window;
        let hungry = (self.all.iter_mut()).filter(|lane| {
            lane.may_have_more && lane.bytes() < share && awake(lane) && (room || lane.own_group.is_none())
        });
        let lane = hungry.min_by_key(|lane| lane.bytes())?;
        (lane.may_have_more, lane.reading) = (false, true);
        let account = lane.group().map(|(_, account)| Arc::clone(account));
        let room = share.saturating_sub(lane.bytes());
        Some(ReadRequest { lane: lane.id, account, after: lane.after, until: lane.until, room })
    }

    /// Moves stuck groups out of full lanes into separate ones, and empties separate lanes that are stuck.
    fn separate_stuck_groups(&mut self, share: usize, stuck: &impl Fn(&ParcelGroup) -> bool) {
        let full = |lane: &&ReadLane| !lane.gatherer.is_empty() && (lane.own_group.is_some() || lane.bytes() >= share);
        let groups: Vec<ParcelGroup> =
            self.all.iter().filter(full).flat_map(|lane| lane.gatherer.groups()).filter(stuck).collect();
        groups.into_iter().for_each(|group| self.separate_group(group));
    }

    /// Drops the records gathered for this group; a lane of its own reads them again, with the later ones.
    fn separate_group(&mut self, group: ParcelGroup) {
        let mut first: Option<RecordSeq> = None;
        for lane in &mut self.all {
            if let Some((seq, bytes)) = lane.gatherer.remove_group(&group) {
                lane.bytes.fetch_sub(bytes, Ordering::Relaxed);
                first = Some(first.map_or(seq, |first| first.min(seq)));
            }
        }
        let Some(first) = first else { return };
        let behind = RecordSeq(first.0.saturating_sub(1));
        // The new id makes the result of a read in progress invalid.
        let id = self.next_id();
        let known = self.all.iter_mut().find_map(|lane| match &mut lane.own_group {
            Some((of, from)) if *of == group => Some((&mut *from, &mut lane.id, &mut lane.after, &mut lane.until)),
            _ => None,
        });
        if let Some((from, its, after, until)) = known {
            (*from, *its, *until) = ((*from).min(behind), id, None);
            *after = Some(after.map_or(behind, |after| after.min(behind)));
            if let Some(lane) = self.lane_mut(id) {
                (lane.may_have_more, lane.reading) = (true, false);
            }
        } else {
            self.open_lane(Some((group, behind)), Some(behind));
        }
    }

    /// A read ended at `last`, and its records were added. Only an empty read proves the end of the spool.
    pub(super) fn finish_read(&mut self, id: u64, last: Option<RecordSeq>) {
        if let Some(lane) = self.lane_mut(id) {
            lane.reading = false;
            lane.may_have_more |= last.is_some();
            lane.after = last.or(lane.after);
        }
        self.remove_finished();
    }

    /// A read failed and must be repeated.
    pub(super) fn retry_read(&mut self, id: u64) {
        if let Some(lane) = self.lane_mut(id) {
            (lane.reading, lane.may_have_more) = (false, true);
        }
    }

    /// Adds a record that a lane has read, unless it is in an open parcel or covered by another lane.
    pub(super) fn add(&mut self, id: u64, part: ParcelPart) {
        let (group, seq) = (part.group(), part.seq);
        let open = self.open.get(&group);
        if open.is_some_and(|open| open.iter().any(|(first, last)| (*first..=*last).contains(&seq))) {
            return;
        }
        let common = self.is_common(id);
        let covered = self.all.iter().any(|lane| (common || lane.id == id) && lane.is_exclusive_for(&group, seq));
        if common == covered {
            return;
        }
        if let Some(lane) = self.lane_mut(id) {
            lane.bytes.fetch_add(part.body.len(), Ordering::Relaxed);
            lane.gatherer.add(part);
        }
    }

    /// The delivery of the parcel of this group and range has ended.
    pub(super) fn finish_parcel(&mut self, group: &ParcelGroup, range: (RecordSeq, RecordSeq)) {
        if let Some(open) = self.open.get_mut(group) {
            if let Some(at) = open.iter().position(|one| *one == range) {
                open.swap_remove(at);
            }
            if open.is_empty() {
                self.open.remove(group);
            }
        }
        self.remove_finished();
    }

    /// Removes a finished backlog lane, and a finished separate lane, unless a read in progress may still return
    /// records that it covered.
    fn remove_finished(&mut self) {
        let reading = self.all.iter().any(|lane| lane.reading);
        let open = &self.open;
        let ended = |lane: &ReadLane| {
            let at_its_end = lane.until.is_some() && !lane.may_have_more && !lane.reading && lane.gatherer.is_empty();
            let rest = match lane.group() {
                None => lane.bytes() > 0,
                Some(group) => {
                    let mut open = open.get(group).into_iter().flatten();
                    reading || open.any(|(first, _)| lane.until.is_none_or(|until| *first <= until))
                }
            };
            at_its_end && !rest
        };
        if self.all.len() > 1 && self.all.iter().any(ended) {
            self.all.retain(|lane| !ended(lane));
        }
    }

    /// The spool may have more records, which are after the end of any lane that has one.
    pub(super) fn expect_more(&mut self) {
        self.all.iter_mut().filter(|lane| lane.until.is_none()).for_each(|lane| lane.may_have_more = true);
    }

    /// Marks everything gathered as due.
    pub(super) fn mark_all_due(&mut self) {
        self.all.iter_mut().for_each(|lane| lane.gatherer.mark_all_due());
    }

    /// Whether a small parcel is waiting to be merged with others.
    pub(super) fn is_lingering(&self) -> bool {
        self.all.iter().any(|lane| lane.gatherer.is_lingering())
    }

    /// Whether nothing is gathered.
    pub(super) fn is_empty(&self) -> bool {
        self.all.iter().all(|lane| lane.gatherer.is_empty())
    }

    /// Whether nothing is gathered and nothing is left to read.
    pub(super) fn is_done(&self) -> bool {
        self.is_empty() && self.all.iter().all(|lane| !lane.may_have_more)
    }
}
