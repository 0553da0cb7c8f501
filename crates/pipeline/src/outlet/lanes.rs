//! **What**: [`Lanes`]: what an outlet has read, in one line or, after an outage, in two: old and fresh; and a line
//! apart for each group that is stuck while others could go. **Why**: hours of backlog must not hold up what comes now,
//! nor the other way round; nor may what a back end does not take fill the window, and keep from it what it would take.
//! **Invariants**: lanes take turns, parcel by parcel; the old one ends where the fresh one began; each has its share
//! of the window; of one signal and account no more parcels are open (on their way, or waiting for another attempt)
//! than may be on their way at once. A record is in one place: in an open parcel's range, gathered in one lane, or
//! behind where the one lane that has to read it stands: what a lane apart covers the others leave out. A lane apart
//! goes on where it stopped, so that each record is read once for the others' sake, and once for its own. **Not here**:
//! reading and sending (the parent), who is stuck (`slots`).

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
    /// Ranges of the parcels that were taken and are not delivered.
    open: HashMap<Group, Vec<(Seq, Seq)>>,
    most_open: usize,
    /// The one whose turn it is first.
    all: VecDeque<Lane>,
}

struct Lane {
    id: u64,
    /// Only of this group, and whatever of it lies behind the position: `None`: of all that have no lane apart.
    apart: Option<(Group, Seq)>,
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
    bytes: Arc<AtomicUsize>,
}

impl Lane {
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn group(&self) -> Option<&Group> {
        self.apart.as_ref().map(|(group, _)| group)
    }

    /// Whether this lane has to read the record, whoever comes by it.
    fn covers(&self, group: &Group, seq: Seq) -> bool {
        let apart = self.apart.as_ref().is_some_and(|(of, behind)| of == group && seq > *behind);
        apart && self.until.is_none_or(|until| seq <= until)
    }
}

/// What is to be read next.
pub(super) struct Wanted {
    pub(super) lane: u64,
    /// Only of this one.
    pub(super) account: Option<Arc<str>>,
    pub(super) after: Option<Seq>,
    pub(super) until: Option<Seq>,
    pub(super) room: usize,
}

impl Lanes {
    /// One, from the beginning. Parcels of `target` bytes, `window` bytes at once, `most_open` parcels of a group.
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

    /// Whether this lane reads for all that have none apart.
    pub(super) fn is_common(&self, id: u64) -> bool {
        self.all.iter().any(|lane| lane.id == id && lane.apart.is_none())
    }

    /// Parts what is there (positions before `next`) from what comes, if that is not done yet.
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

    /// Whose turn it is to be read, and how much; the read is then under way. Of whom is `stuck` nothing is read for
    /// itself.
    pub(super) fn wanted(&mut self, stuck: impl Fn(&Group) -> bool) -> Option<Wanted> {
        let awake = |lane: &Lane| lane.group().is_none_or(|group| !stuck(group));
        let share = self.window.div_ceil(self.all.iter().filter(|lane| awake(lane)).count().max(1));
        self.make_room(share, &stuck);
        let read = self.all.iter().filter(|lane| lane.apart.is_none()).filter_map(|lane| lane.after).max();
        for lane in self.all.iter_mut().filter(|lane| lane.apart.is_some() && lane.until.is_none() && awake(lane)) {
            // what comes behind goes with the others again
            lane.until = read;
        }
        // lanes apart together keep within the window, however many they are
        let room = self.all.iter().map(Lane::bytes).sum::<usize>() < self.window;
        let hungry = (self.all.iter_mut())
            .filter(|lane| lane.more && lane.bytes() < share && awake(lane) && (room || lane.apart.is_none()));
        let lane = hungry.min_by_key(|lane| lane.bytes())?;
        (lane.more, lane.reading) = (false, true);
        let account = lane.group().map(|(_, account)| Arc::clone(account));
        let room = share.saturating_sub(lane.bytes());
        Some(Wanted { lane: lane.id, account, after: lane.after, until: lane.until, room })
    }

    /// Where a lane is full, whoever is stuck there leaves it for a lane apart; a lane apart that is stuck holds
    /// nothing.
    fn make_room(&mut self, share: usize, stuck: &impl Fn(&Group) -> bool) {
        let full = |lane: &&Lane| !lane.gatherer.is_empty() && (lane.apart.is_some() || lane.bytes() >= share);
        let groups: Vec<Group> =
            self.all.iter().filter(full).flat_map(|lane| lane.gatherer.groups()).filter(stuck).collect();
        groups.into_iter().for_each(|group| self.set_apart(group));
    }

    /// What is gathered of this group is read again, in a lane of its own, with what comes.
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
        // a read that is under way for it says nothing any more
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

    /// A read came to `last`, and all of it was added; the end is known only from an empty one.
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

    /// What a lane has read; what is open or another lane's is left out.
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

    /// A parcel of this group, over this range, is at its end.
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

    /// An old lane that came to its end goes, and a lane apart, unless a read is under way that may still come by what
    /// it covered.
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

    /// The spool may have more; nothing comes before where a lane ends.
    pub(super) fn more(&mut self) {
        self.all.iter_mut().filter(|lane| lane.until.is_none()).for_each(|lane| lane.more = true);
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
