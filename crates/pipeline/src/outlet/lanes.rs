//! [`ReadLanes`]: the reading positions of an outlet. There is one common lane or, after an outage, two (backlog and
//! new data, which must not delay each other), and a separate lane for each stuck group, i.e. signal and account whose
//! data the back end does not accept, so that this data does not fill the window.
//! Lanes take turns, parcel by parcel, and share the window. Of one group at most as many parcels are open (in flight,
//! or waiting for another attempt) as may be in flight at once. A record is in exactly one place: in an open parcel,
//! gathered in one lane, or still unread by the one lane that covers it; common lanes skip what a separate lane covers.
//! A separate lane resumes where it stopped, so each record is read at most twice: by a common lane and by a separate
//! one, unless the lanes start again. Reading and sending are in the parent module; `slots` knows the stuck groups.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::spool::RecordSeq;
use otlp::Signal;

use super::gather::{Parcel, ParcelGatherer, ParcelGroup, ParcelPart, WindowBytes};

/// See the module. Never empty.
pub(super) struct ReadLanes {
    parcel_bytes: usize,
    window_bytes: usize,
    last_id: u64,
    /// Positions of the parcels that were taken and are not yet delivered, each in order.
    open_parcels: HashMap<ParcelGroup, Vec<Vec<RecordSeq>>>,
    /// The bytes of open parcels that were taken before the lanes last started again.
    earlier_bytes: Vec<Arc<AtomicUsize>>,
    max_open_per_group: usize,
    /// The front lane has the next turn.
    lanes: VecDeque<ReadLane>,
}

struct ReadLane {
    id: u64,
    /// For a separate lane: the only group that it reads, and the position after which it reads it. A common lane
    /// (`None`) reads what no separate lane covers.
    own_group: Option<(ParcelGroup, RecordSeq)>,
    gatherer: ParcelGatherer,
    /// Position of the last record read.
    last_read: Option<RecordSeq>,
    /// Position of the last record of the lane, if the lane ends.
    until: Option<RecordSeq>,
    /// The spool may have more records after `last_read`.
    may_have_more: bool,
    /// A read is in progress.
    is_reading: bool,
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
        let is_own = self.own_group.as_ref().is_some_and(|(own, after)| own == group && seq > *after);
        is_own && self.until.is_none_or(|until| seq <= until)
    }
}

/// The next read.
pub(super) struct ReadRequest {
    pub(super) lane: u64,
    /// Restricts the read to this account.
    pub(super) account: Option<Arc<str>>,
    pub(super) after: Option<RecordSeq>,
    pub(super) until: Option<RecordSeq>,
    pub(super) max_bytes: usize,
}

impl ReadLanes {
    /// One common lane, from the beginning of the spool. `parcel_bytes`: desired size of a parcel; `window_bytes`:
    /// bytes in memory.
    pub(super) fn new(parcel_bytes: usize, window_bytes: usize, max_open_per_group: usize) -> Self {
        let (open_parcels, lanes) = (HashMap::new(), VecDeque::new());
        let (last_id, earlier_bytes) = (0, Vec::new());
        let mut new =
            Self { parcel_bytes, window_bytes, last_id, open_parcels, earlier_bytes, max_open_per_group, lanes };
        new.open_lane(None, None);
        new
    }

    /// Starts reading at the first pending record again, because records were moved: some may stand at positions that
    /// the lanes have passed, others may be gone from what the lanes gathered. Open parcels go on, and are not read
    /// again.
    pub(super) fn restart(&mut self) {
        for ReadLane { gatherer, bytes, .. } in self.lanes.drain(..) {
            bytes.fetch_sub(gatherer.bytes(), Ordering::Relaxed);
            self.earlier_bytes.push(bytes);
        }
        // Only open parcels hold them now.
        self.earlier_bytes.retain(|bytes| Arc::strong_count(bytes) > 1);
        self.open_lane(None, None);
    }

    /// Opens a lane that reads from after this position on.
    fn open_lane(&mut self, own_group: Option<(ParcelGroup, RecordSeq)>, after: Option<RecordSeq>) {
        let id = self.next_id();
        self.lanes.push_back(ReadLane {
            id,
            own_group,
            gatherer: ParcelGatherer::new(self.parcel_bytes),
            last_read: after,
            until: None,
            may_have_more: true,
            is_reading: false,
            bytes: Arc::default(),
        });
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn lane_mut(&mut self, id: u64) -> Option<&mut ReadLane> {
        self.lanes.iter_mut().find(|lane| lane.id == id)
    }

    pub(super) fn is_common(&self, id: u64) -> bool {
        self.lanes.iter().any(|lane| lane.id == id && lane.own_group.is_none())
    }

    /// Separates backlog (positions before `next`) from new data, unless that is done already. The backlog lane ends
    /// where the lane of new data starts.
    pub(super) fn split_backlog(&mut self, next: RecordSeq) {
        let last = RecordSeq(next.0.saturating_sub(1));
        let mut common = self.lanes.iter_mut().filter(|lane| lane.own_group.is_none());
        let (Some(lane), None) = (common.next(), common.next()) else { return };
        if lane.last_read.is_some_and(|seq| seq < last) {
            (lane.until, lane.may_have_more) = (Some(last), true);
            self.open_lane(None, Some(last));
        }
    }

    /// Takes the next parcel, from lane after lane in turn. With `at_once`, small parcels do not wait to be merged.
    pub(super) fn take(&mut self, at_once: bool) -> Option<Parcel> {
        for _ in 0..self.lanes.len() {
            let (open_parcels, max_open) = (&self.open_parcels, self.max_open_per_group);
            let may_send = |signal: Signal, account: &Arc<str>| {
                open_parcels.get(&(signal, Arc::clone(account))).is_none_or(|open| open.len() < max_open)
            };
            let parcel = self.lanes.front_mut().and_then(|lane| {
                let parcel = lane.gatherer.take(at_once, may_send)?;
                Some(Parcel { window_bytes: WindowBytes::already_counted(&lane.bytes, parcel.bytes), ..parcel })
            });
            self.lanes.rotate_left(1);
            if let Some(parcel) = parcel {
                self.open_parcels.entry(parcel.group()).or_default().push(parcel.seqs.clone());
                return Some(parcel);
            }
        }
        None
    }

    /// Begins the next read, if a lane needs one. Separate lanes of groups for which `is_stuck` holds are not read.
    pub(super) fn begin_read(&mut self, is_stuck: impl Fn(&ParcelGroup) -> bool) -> Option<ReadRequest> {
        let is_active = |lane: &ReadLane| lane.group().is_none_or(|group| !is_stuck(group));
        let earlier_bytes: usize = self.earlier_bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum();
        let window_bytes = self.window_bytes.saturating_sub(earlier_bytes);
        let share = window_bytes.div_ceil(self.lanes.iter().filter(|lane| is_active(lane)).count().max(1));
        self.separate_stuck_groups(share, &is_stuck);
        let common_lanes = self.lanes.iter().filter(|lane| lane.own_group.is_none());
        let last_common_read = common_lanes.filter_map(|lane| lane.last_read).max();
        for lane in &mut self.lanes {
            if lane.own_group.is_some() && lane.until.is_none() && is_active(lane) {
                // The group is no longer stuck: a common lane reads its records after this position again.
                lane.until = last_common_read;
            }
        }
        // Limits the separate lanes together to the window, however many there are.
        let has_room = self.lanes.iter().map(ReadLane::bytes).sum::<usize>() < window_bytes;
        let readable = (self.lanes.iter_mut()).filter(|lane| {
            lane.may_have_more && lane.bytes() < share && is_active(lane) && (has_room || lane.own_group.is_none())
        });
        let lane = readable.min_by_key(|lane| lane.bytes())?;
        (lane.may_have_more, lane.is_reading) = (false, true);
        let account = lane.group().map(|(_, account)| Arc::clone(account));
        let max_bytes = share.saturating_sub(lane.bytes());
        Some(ReadRequest { lane: lane.id, account, after: lane.last_read, until: lane.until, max_bytes })
    }

    /// Moves stuck groups out of full lanes into separate ones, and empties separate lanes that are stuck.
    fn separate_stuck_groups(&mut self, share: usize, is_stuck: &impl Fn(&ParcelGroup) -> bool) {
        let is_affected =
            |lane: &&ReadLane| !lane.gatherer.is_empty() && (lane.own_group.is_some() || lane.bytes() >= share);
        let groups: Vec<ParcelGroup> =
            self.lanes.iter().filter(is_affected).flat_map(|lane| lane.gatherer.groups()).filter(is_stuck).collect();
        groups.into_iter().for_each(|group| self.separate_group(group));
    }

    /// Drops the records gathered for this group. Its own lane will read them again, and the later ones.
    fn separate_group(&mut self, group: ParcelGroup) {
        let mut first: Option<RecordSeq> = None;
        for lane in &mut self.lanes {
            if let Some((seq, bytes)) = lane.gatherer.remove_group(&group) {
                lane.bytes.fetch_sub(bytes, Ordering::Relaxed);
                first = Some(first.map_or(seq, |first| first.min(seq)));
            }
        }
        let Some(first) = first else { return };
        let before_first = RecordSeq(first.0.saturating_sub(1));
        let new_id = self.next_id();
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.group() == Some(&group)) else {
            return self.open_lane(Some((group, before_first)), Some(before_first));
        };
        if let Some((_, after)) = &mut lane.own_group {
            *after = before_first.min(*after);
        }
        // With a new id, the result of a read in progress is ignored.
        lane.id = new_id;
        lane.last_read = Some(lane.last_read.map_or(before_first, |seq| seq.min(before_first)));
        (lane.until, lane.may_have_more, lane.is_reading) = (None, true, false);
    }

    /// A read ended, and its records were added; `last` is the last one. Only an empty read proves that there are no
    /// more records.
    pub(super) fn finish_read(&mut self, id: u64, last: Option<RecordSeq>) {
        if let Some(lane) = self.lane_mut(id) {
            lane.is_reading = false;
            lane.may_have_more |= last.is_some();
            lane.last_read = last.or(lane.last_read);
        }
        self.remove_finished();
    }

    /// A read failed and must be repeated.
    pub(super) fn retry_read(&mut self, id: u64) {
        if let Some(lane) = self.lane_mut(id) {
            (lane.is_reading, lane.may_have_more) = (false, true);
        }
    }

    /// Adds a record that a lane has read, unless it is in an open parcel or covered by another lane.
    pub(super) fn add(&mut self, id: u64, part: ParcelPart) {
        let (group, seq) = (part.group(), part.seq);
        let mut open_parcels = self.open_parcels.get(&group).into_iter().flatten();
        if open_parcels.any(|seqs| seqs.binary_search(&seq).is_ok()) {
            return;
        }
        // A common lane takes what no separate lane covers, a separate lane only what it covers itself.
        let is_common = self.is_common(id);
        let is_covered =
            self.lanes.iter().any(|lane| (is_common || lane.id == id) && lane.is_exclusive_for(&group, seq));
        if is_common == is_covered {
            return;
        }
        if let Some(lane) = self.lane_mut(id) {
            lane.bytes.fetch_add(part.body.len(), Ordering::Relaxed);
            lane.gatherer.add(part);
        }
    }

    /// The delivery of the parcel of this group with this first position has ended. Returns its positions.
    pub(super) fn finish_parcel(&mut self, group: &ParcelGroup, first: RecordSeq) -> Vec<RecordSeq> {
        let mut finished = Vec::new();
        if let Some(open) = self.open_parcels.get_mut(group) {
            if let Some(index) = open.iter().position(|seqs| seqs.first() == Some(&first)) {
                finished = open.swap_remove(index);
            }
            if open.is_empty() {
                self.open_parcels.remove(group);
            }
        }
        self.remove_finished();
        finished
    }

    /// Removes lanes that have come to their end: a backlog lane once its parcels are delivered, a separate lane once
    /// no open parcel and no read in progress may hold records that it covers.
    fn remove_finished(&mut self) {
        let is_any_reading = self.lanes.iter().any(|lane| lane.is_reading);
        let open_parcels = &self.open_parcels;
        let is_finished = |lane: &ReadLane| {
            let is_read = lane.until.is_some() && !lane.may_have_more && !lane.is_reading && lane.gatherer.is_empty();
            let is_in_use = match lane.group() {
                None => lane.bytes() > 0,
                Some(group) => {
                    let mut seqs = open_parcels.get(group).into_iter().flatten().flatten();
                    is_any_reading || seqs.any(|seq| lane.until.is_none_or(|until| *seq <= until))
                }
            };
            is_read && !is_in_use
        };
        if self.lanes.len() > 1 && self.lanes.iter().any(is_finished) {
            self.lanes.retain(|lane| !is_finished(lane));
        }
    }

    /// The spool may have more records, which are new and so beyond the end of the lanes that end.
    pub(super) fn expect_more(&mut self) {
        self.lanes.iter_mut().filter(|lane| lane.until.is_none()).for_each(|lane| lane.may_have_more = true);
    }

    /// Marks everything gathered as due.
    pub(super) fn mark_all_due(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.gatherer.mark_all_due());
    }

    /// Whether a small parcel is waiting to be merged with others.
    pub(super) fn is_lingering(&self) -> bool {
        self.lanes.iter().any(|lane| lane.gatherer.is_lingering())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.gatherer.is_empty())
    }

    /// Whether nothing is gathered and nothing is left to read.
    pub(super) fn is_done(&self) -> bool {
        self.is_empty() && self.lanes.iter().all(|lane| !lane.may_have_more)
    }
}
