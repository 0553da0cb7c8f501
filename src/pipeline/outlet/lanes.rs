//! **What**: [`Lanes`]: what an outlet has read, in one line or, after an outage, in two: old and fresh. **Why**: hours of backlog
//! must not hold up what comes now, nor the other way round. **Invariants**: lanes take turns, parcel by parcel; the old one
//! ends where the fresh one began; each has its share of the window; of one signal and account no more parcels are open (on their way, or
//! waiting for another attempt) than may be on their way at once. **Not here**: reading and sending (the parent).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::otlp::Signal;
use crate::pipeline::spool::Seq;

use super::gather::{Gatherer, Group, Parcel, Part};

/// See the module. Never empty.
pub(super) struct Lanes {
    target: usize,
    window: usize,
    next: u64,
    /// Parcels that were taken and are not delivered.
    open: HashMap<Group, usize>,
    most_open: usize,
    /// The one whose turn it is first.
    all: VecDeque<Lane>,
}

struct Lane {
    id: u64,
    gatherer: Gatherer,
    /// Read up to here.
    after: Option<Seq>,
    /// Ends here.
    until: Option<Seq>,
    /// Whether the spool may have more behind `after`.
    more: bool,
    /// A read is under way.
    reading: bool,
    /// Bytes gathered and on their way.
    bytes: usize,
}

/// What is to be read next.
pub(super) struct Wanted {
    pub(super) lane: u64,
    pub(super) after: Option<Seq>,
    pub(super) until: Option<Seq>,
    pub(super) room: usize,
}

impl Lanes {
    /// One, from the beginning. Parcels of `target` bytes, `window` bytes at once, `most_open` parcels of a group.
    pub(super) fn new(target: usize, window: usize, most_open: usize) -> Self {
        let mut lanes = Self { target, window, next: 0, open: HashMap::new(), most_open, all: VecDeque::new() };
        lanes.open(None);
        lanes
    }

    fn open(&mut self, after: Option<Seq>) {
        let gatherer = Gatherer::new(self.target);
        self.all.push_back(Lane { id: self.next, gatherer, after, until: None, more: true, reading: false, bytes: 0 });
        self.next += 1;
    }

    fn lane(&mut self, id: u64) -> Option<&mut Lane> {
        self.all.iter_mut().find(|lane| lane.id == id)
    }

    /// Parts what is there (positions before `next`) from what comes, if that is not done yet.
    pub(super) fn part(&mut self, next: Seq) {
        let last = Seq(next.0.saturating_sub(1));
        let [lane] = self.all.make_contiguous() else { return };
        if lane.after.is_some_and(|after| after < last) {
            lane.until = Some(last);
            self.open(Some(last));
        }
    }

    /// The next parcel; lanes take turns.
    pub(super) fn take(&mut self, now: bool) -> Option<Parcel> {
        for _ in 0..self.all.len() {
            let (open, most) = (&self.open, self.most_open);
            let may = |signal: Signal, account: &Arc<str>| {
                open.get(&(signal, Arc::clone(account))).is_none_or(|open| *open < most)
            };
            let taken =
                self.all.front_mut().and_then(|lane| Some(Parcel { lane: lane.id, ..lane.gatherer.take(now, may)? }));
            self.all.rotate_left(1);
            if let Some(parcel) = taken {
                *self.open.entry(parcel.group()).or_default() += 1;
                return Some(parcel);
            }
        }
        None
    }

    /// Whose turn it is to be read, and how much; the read is then under way.
    pub(super) fn wanted(&mut self) -> Option<Wanted> {
        let share = self.window.div_ceil(self.all.len().max(1));
        let hungry = self.all.iter_mut().filter(|lane| lane.more && lane.bytes < share);
        let lane = hungry.min_by_key(|lane| lane.bytes)?;
        (lane.more, lane.reading) = (false, true);
        Some(Wanted { lane: lane.id, after: lane.after, until: lane.until, room: share.saturating_sub(lane.bytes) })
    }

    /// A read came to `last`; the end is known only from an empty one.
    pub(super) fn read(&mut self, id: u64, last: Option<Seq>) {
        if let Some(lane) = self.lane(id) {
            lane.reading = false;
            lane.more |= last.is_some();
            lane.after = last.or(lane.after);
        }
        self.tidy();
    }

    /// A read failed; it will be tried again.
    pub(super) fn failed(&mut self, id: u64) {
        if let Some(lane) = self.lane(id) {
            (lane.reading, lane.more) = (false, true);
        }
    }

    pub(super) fn add(&mut self, id: u64, part: Part) {
        if let Some(lane) = self.lane(id) {
            lane.bytes += part.body.len();
            lane.gatherer.add(part);
        }
    }

    pub(super) fn delivered(&mut self, id: u64, group: &Group, bytes: usize) {
        if let Some(open) = self.open.get_mut(group) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                self.open.remove(group);
            }
        }
        if let Some(lane) = self.lane(id) {
            lane.bytes = lane.bytes.saturating_sub(bytes);
        }
        self.tidy();
    }

    /// An old lane that came to its end goes.
    fn tidy(&mut self) {
        let ended = |lane: &Lane| {
            lane.until.is_some() && !lane.more && !lane.reading && lane.bytes == 0 && lane.gatherer.is_empty()
        };
        if self.all.len() > 1 && self.all.iter().any(ended) {
            self.all.retain(|lane| !ended(lane));
        }
    }

    /// The spool may have more.
    pub(super) fn more(&mut self) {
        self.all.iter_mut().for_each(|lane| lane.more = true);
    }

    /// All that is here has waited long enough.
    pub(super) fn force(&mut self) {
        self.all.iter_mut().for_each(|lane| lane.gatherer.force());
    }

    /// Whether something small waits for others to go with.
    pub(super) fn lingers(&self) -> bool {
        self.all.iter().any(|lane| lane.gatherer.lingers())
    }

    /// Whether nothing is gathered.
    pub(super) fn is_empty(&self) -> bool {
        self.all.iter().all(|lane| lane.gatherer.is_empty())
    }

    /// Whether nothing is gathered and there is nothing to read.
    pub(super) fn is_done(&self) -> bool {
        self.is_empty() && self.all.iter().all(|lane| !lane.more)
    }
}
