//! [`Lanes`]: the records that an outlet has read, in one lane or, after an outage, in two (backlog and new data), plus
//! a separate lane for each group that is stuck while others could be sent. Backlog must not delay new data, nor the
//! reverse, and data that a back end does not accept must not fill the window.
//! Lanes take turns, parcel by parcel, and share the window; the backlog lane ends where the lane of new data starts.
//! Of one signal and account at most as many parcels are open (in flight, or waiting for another attempt) as may be in
//! flight at once.
//! A record is in exactly one place: in the range of an open parcel, gathered in one lane, or still unread by the one
//! lane that covers it; the other lanes skip what a separate lane covers. A separate lane resumes where it stopped, so
//! each record is read at most once by the common lane and once by its own. Reading and sending are in the parent
//! module; `slots` knows which groups are stuck.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::spool::Seq;
use otlp::Signal;

use super::gather::{Gatherer, Group, Held, Parcel, Part};

/// See the module. Never empty.
pub(super) struct Lanes {
    target: usize,
    window: usize,
    next: u64,
    /// Ranges of the parcels that were taken and are not yet delivered.
    open: HashMap<Group, Vec<(Seq, Seq)>>,
    most_open: usize,
    /// The front lane has the next turn.
    all: VecDeque<Lane>,
}

struct Lane {
    id: u64,
    /// If set, the lane reads only this group, from after this position on; otherwise it reads every group that has no
    /// separate lane there.
    apart: Option<(Group, Seq)>,
    gatherer: Gatherer,
    /// Position of the last record read.
    after: Option<Seq>,
    /// Position at which the lane ends.
    until: Option<Seq>,
    /// Whether the spool may have more records after `after`.
    more: bool,
    /// A read is in progress.
    reading: bool,
    /// Bytes gathered and in open parcels.
    bytes: Arc<AtomicUsize>,
}

impl Lane {
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn group(&self) -> Option<&Group> {
        self.apart.as_ref().map(|(group, _)| group)
    }

    /// Whether only this separate lane may read the record.
    fn covers(&self, group: &Group, seq: Seq) -> bool {
        let apart = self.apart.as_ref().is_some_and(|(of, behind)| of == group && seq > *behind);
        apart && self.until.is_none_or(|until| seq <= until)
    }
}

/// The next read.
pub(super) struct Wanted {
    pub(super) lane: u64,
    /// Restricts the read to this account.
    pub(super) account: Option<Arc<str>>,
    pub(super) after: Option<Seq>,
    pub(super) until: Option<Seq>,
    pub(super) room: usize,
}

impl Lanes {
    /// One lane, from the beginning of the spool. `target`: bytes of a parcel; `window`: bytes in memory; `most_open`:
    /// open parcels of one group.
    pub(super) fn new(target: usize, window: usize, most_open: usize) -> Self {
        let mut lanes = Self { target, window, next: 0, open: HashMap::new(), most_open, all: VecDeque::new() };
        lanes.open(None, None);
        lanes
    }

    fn open(&mut self, apart: Option<(Group, Seq)>, after: Option<Seq>) {
        let id = self.name();
        let (gatherer, bytes) = (Gatherer::new(self.target), Arc::default());
        self.all.push_back(Lane { id, apart, gatherer, after, until: None, more: true, reading: false, bytes });
    }

    fn name(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn lane(&mut self, id: u64) -> Option<&mut Lane> {
        self.all.iter_mut().find(|lane| lane.id == id)
    }

    /// Whether this lane reads all groups without a separate lane.
    pub(super) fn is_common(&self, id: u64) -> bool {
        self.all.iter().any(|lane| lane.id == id && lane.apart.is_none())
    }

    /// Separates backlog (positions before `next`) from new data, unless that is done already.
    pub(super) fn part(&mut self, next: Seq) {
        let last = Seq(next.0.saturating_sub(1));
        let mut common = self.all.iter_mut().filter(|lane| lane.apart.is_none());
        let (Some(lane), None) = (common.next(), common.next()) else { return };
        if lane.after.is_some_and(|after| after < last) {
            (lane.until, lane.more) = (Some(last), true);
            self.open(None, Some(last));
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
                Some(Parcel { held: Held::of(&lane.bytes, parcel.bytes), ..parcel })
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
    pub(super) fn wanted(&mut self, stuck: impl Fn(&Group) -> bool) -> Option<Wanted> {
        let awake = |lane: &Lane| lane.group().is_none_or(|group| !stuck(group));
        let share = self.window.div_ceil(self.all.iter().filter(|lane| awake(lane)).count().max(1));
        self.make_room(share, &stuck);
        let read = self.all.iter().filter(|lane| lane.apart.is_none()).filter_map(|lane| lane.after).max();
        for lane in self.all.iter_mut().filter(|lane| lane.apart.is_some() && lane.until.is_none() && awake(lane)) {
            // Records after this position are read by the common lane again.
            lane.until = read;
        }
        // Limits the separate lanes together to the window, however many there are.
        let room = self.all.iter().map(Lane::bytes).sum::<usize>() < self.window;
        let hungry = (self.all.iter_mut())
            .filter(|lane| lane.more && lane.bytes() < share && awake(lane) && (room || lane.apart.is_none()));
        let lane = hungry.min_by_key(|lane| lane.bytes())?;
        (lane.more, lane.reading) = (false, true);
        let account = lane.group().map(|(_, account)| Arc::clone(account));
        let room = share.saturating_sub(lane.bytes());
        Some(Wanted { lane: lane.id, account, after: lane.after, until: lane.until, room })
    }

    /// Moves stuck groups out of full lanes into separate ones, and empties separate lanes that are stuck.
    fn make_room(&mut self, share: usize, stuck: &impl Fn(&Group) -> bool) {
        let full = |lane: &&Lane| !lane.gatherer.is_empty() && (lane.apart.is_some() || lane.bytes() >= share);
        let groups: Vec<Group> =
            self.all.iter().filter(full).flat_map(|lane| lane.gatherer.groups()).filter(stuck).collect();
        groups.into_iter().for_each(|group| self.set_apart(group));
    }

    /// Drops the records gathered for this group; a lane of its own reads them again, with the later ones.
    fn set_apart(&mut self, group: Group) {
        let mut first: Option<Seq> = None;
        for lane in &mut self.all {
            if let Some((seq, bytes)) = lane.gatherer.shed(&group) {
                lane.bytes.fetch_sub(bytes, Ordering::Relaxed);
                first = Some(first.map_or(seq, |first| first.min(seq)));
            }
        }
        let Some(first) = first else { return };
        let behind = Seq(first.0.saturating_sub(1));
        // The new id makes the result of a read in progress invalid.
        let id = self.name();
        let known = self.all.iter_mut().find_map(|lane| match &mut lane.apart {
            Some((of, from)) if *of == group => Some((&mut *from, &mut lane.id, &mut lane.after, &mut lane.until)),
            _ => None,
        });
        if let Some((from, its, after, until)) = known {
            (*from, *its, *until) = ((*from).min(behind), id, None);
            *after = Some(after.map_or(behind, |after| after.min(behind)));
            if let Some(lane) = self.lane(id) {
                (lane.more, lane.reading) = (true, false);
            }
        } else {
            self.open(Some((group, behind)), Some(behind));
        }
    }

    /// A read ended at `last`, and its records were added. Only an empty read proves the end of the spool.
    pub(super) fn read(&mut self, id: u64, last: Option<Seq>) {
        if let Some(lane) = self.lane(id) {
            lane.reading = false;
            lane.more |= last.is_some();
            lane.after = last.or(lane.after);
        }
        self.tidy();
    }

    /// A read failed and must be repeated.
    pub(super) fn failed(&mut self, id: u64) {
        if let Some(lane) = self.lane(id) {
            (lane.reading, lane.more) = (false, true);
        }
    }

    /// Adds a record that a lane has read, unless it is in an open parcel or covered by another lane.
    pub(super) fn add(&mut self, id: u64, part: Part) {
        let (group, seq) = (part.group(), part.seq);
        let open = self.open.get(&group);
        if open.is_some_and(|open| open.iter().any(|(first, last)| (*first..=*last).contains(&seq))) {
            return;
        }
        let common = self.is_common(id);
        let covered = self.all.iter().any(|lane| (common || lane.id == id) && lane.covers(&group, seq));
        if common == covered {
            return;
        }
        if let Some(lane) = self.lane(id) {
            lane.bytes.fetch_add(part.body.len(), Ordering::Relaxed);
            lane.gatherer.add(part);
        }
    }

    /// The delivery of the parcel of this group and range has ended.
    pub(super) fn delivered(&mut self, group: &Group, range: (Seq, Seq)) {
        if let Some(open) = self.open.get_mut(group) {
            if let Some(at) = open.iter().position(|one| *one == range) {
                open.swap_remove(at);
            }
            if open.is_empty() {
                self.open.remove(group);
            }
        }
        self.tidy();
    }

    /// Removes a finished backlog lane, and a finished separate lane, unless a read in progress may still return
    /// records that it covered.
    fn tidy(&mut self) {
        let reading = self.all.iter().any(|lane| lane.reading);
        let open = &self.open;
        let ended = |lane: &Lane| {
            let at_its_end = lane.until.is_some() && !lane.more && !lane.reading && lane.gatherer.is_empty();
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
    pub(super) fn more(&mut self) {
        self.all.iter_mut().filter(|lane| lane.until.is_none()).for_each(|lane| lane.more = true);
    }

    /// Marks everything gathered as due.
    pub(super) fn force(&mut self) {
        self.all.iter_mut().for_each(|lane| lane.gatherer.force());
    }

    /// Whether a small parcel is waiting to be merged with others.
    pub(super) fn lingers(&self) -> bool {
        self.all.iter().any(|lane| lane.gatherer.lingers())
    }

    /// Whether nothing is gathered.
    pub(super) fn is_empty(&self) -> bool {
        self.all.iter().all(|lane| lane.gatherer.is_empty())
    }

    /// Whether nothing is gathered and nothing is left to read.
    pub(super) fn is_done(&self) -> bool {
        self.is_empty() && self.all.iter().all(|lane| !lane.more)
    }
}
