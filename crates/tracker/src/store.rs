//! **What**: [`Store`]: all groups, found by their keys, by how long they were quiet, and by when to look at them
//! again. A group that somebody still looks at is copied when it changes, so that nobody has to look at it under a
//! lock. **Invariants**: at most the configured number of groups and a memory to match; dormant groups go first (all
//! their runs are over), then of the account that has most the one that was quiet longest; a group that grows too large
//! is given up too. **Not here**: what is done with a group that goes (`state`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use pipeline::claims::ClaimKey;

use super::group::{Group, Ids};
use super::schedule::Schedule;
use super::seen::{KeySeen, Seen, Sight, flag, kind};
use super::slack::{Slack, Watch};

/// Memory of one run, on average, in units of [`Group::weight`]: with 100,000 runs 256 MB.
const UNITS_PER_RUN: usize = 64;
/// Most units of one group.
const MAX_GROUP: usize = 400_000;
/// Dormant groups that are kept, and their units: 4 MB.
const DORMANT: usize = 1000;
const DORMANT_UNITS: usize = 100_000;

/// Id of a key: digest of account, kind and text.
pub(super) type KeyId = [u8; 16];

/// News of a tool call.
pub(super) struct Heard {
    /// The tool, as sent; may be "".
    pub(super) tool: Box<str>,
    /// It ran, and nobody had said so before.
    pub(super) ran: bool,
    /// It failed, likewise.
    pub(super) failed: bool,
}

impl Heard {
    fn of(before: u16, group: &Group, seen: &Seen) -> Option<Self> {
        let (name, after) = group.heard_of(seen)?;
        let new = |flag: u16| before & flag == 0 && after & flag != 0;
        let ran = new(flag::RAN);
        let failed = after & flag::RAN != 0 && (new(flag::FAILED) || (ran && after & flag::FAILED != 0));
        (ran || failed).then(|| Self { tool: name.into(), ran, failed })
    }
}

/// The groups of one account.
#[derive(Default)]
struct Owned {
    /// By the number of the last batch.
    quiet: BTreeSet<(u64, u32)>,
    units: usize,
}

/// Groups whose runs are all over: kept so that a run that goes on later is still the same run.
#[derive(Default)]
struct Dormant {
    /// By the number of the last batch.
    order: BTreeSet<(u64, u32)>,
    /// That number, and the group's weight.
    known: HashMap<u32, (u64, usize)>,
    units: usize,
}

impl Dormant {
    fn insert(&mut self, id: u32, group: &Group) {
        self.remove(id);
        self.order.insert((group.batch, id));
        self.known.insert(id, (group.batch, group.weight()));
        self.units += group.weight();
    }

    fn remove(&mut self, id: u32) {
        if let Some((batch, weight)) = self.known.remove(&id) {
            self.order.remove(&(batch, id));
            self.units = self.units.saturating_sub(weight);
        }
    }

    fn oldest(&self) -> Option<u32> {
        self.order.first().map(|(_, id)| *id)
    }
}

/// All groups.
pub(super) struct Store {
    groups: Vec<Option<Arc<Group>>>,
    free: Vec<u32>,
    /// Group and number in the group.
    index: HashMap<KeyId, (u32, u32)>,
    accounts: BTreeMap<Box<str>, Owned>,
    /// How many groups.
    count: usize,
    looks: Schedule,
    /// Of heavy groups whose next look is far: see [`super::look::Look::suspects`].
    suspected: Schedule,
    /// Of these, what came since they were looked at.
    watches: HashMap<u32, Watch>,
    dormant: Dormant,
    units: usize,
    limit: usize,
    /// Number of the latest batch.
    batch: u64,
}

impl Store {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            groups: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            accounts: BTreeMap::new(),
            count: 0,
            looks: Schedule::default(),
            suspected: Schedule::default(),
            watches: HashMap::new(),
            dormant: Dormant::default(),
            units: 0,
            limit,
            batch: 0,
        }
    }

    /// Number of groups.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, id: u32) -> Option<&Group> {
        self.groups.get(id as usize)?.as_deref()
    }

    /// A group as it is now, to look at for as long as one likes.
    pub(super) fn snapshot(&self, id: u32) -> Option<Arc<Group>> {
        self.groups.get(id as usize)?.clone()
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter_map(|group| group.as_deref())
    }

    /// Numbers of groups by their last batch, the latest first; `before`: of those whose last batch was earlier.
    fn by_batch(&self, account: Option<&str>, before: Option<u64>) -> impl Iterator<Item = u32> {
        let before = (before.unwrap_or(u64::MAX), 0);
        let one = account.map(|account| self.accounts.get(account).into_iter());
        let all = account.is_none().then(|| self.accounts.values());
        let owned = one.into_iter().flatten().chain(all.into_iter().flatten());
        let mut accounts: Vec<_> = owned.map(|owned| owned.quiet.range(..before).rev().peekable()).collect();
        std::iter::from_fn(move || {
            let next = accounts.iter_mut().enumerate().filter_map(|(at, groups)| Some((**groups.peek()?, at)));
            let (_, at) = next.max()?;
            accounts.get_mut(at)?.next().map(|(_, id)| *id)
        })
    }

    /// Some of those whose last batch was earlier; `None`: the latest; of an account, or of all.
    pub(super) fn latest_before(&self, account: Option<&str>, batch: Option<u64>, most: usize) -> Vec<Arc<Group>> {
        let groups = self.by_batch(account, batch).filter_map(|id| self.snapshot(id));
        let mut chosen: Vec<Arc<Group>> = Vec::new();
        for group in groups {
            // those of one batch stay together
            if chosen.len() >= most && chosen.last().is_some_and(|last| last.batch != group.batch) {
                break;
            }
            chosen.push(group);
        }
        chosen
    }

    /// A group was quiet since one batch and is since another; its weight changed.
    fn moved(&mut self, id: u32, account: &str, [before, after]: [u64; 2], [lighter, heavier]: [usize; 2]) {
        self.units = (self.units + heavier).saturating_sub(lighter);
        let Some(owned) = self.accounts.get_mut(account) else { return };
        owned.units = (owned.units + heavier).saturating_sub(lighter);
        // the items of one batch mostly go into one group
        if before != after {
            owned.quiet.remove(&(before, id));
            owned.quiet.insert((after, id));
        }
    }

    /// Changes a group in place (its keys stay).
    pub(super) fn change(&mut self, id: u32, change: impl FnOnce(&mut Group)) {
        if let Some(Some(group)) = self.groups.get_mut(id as usize) {
            change(Arc::make_mut(group));
        }
    }

    /// When to look at a group; the earlier of two wishes.
    pub(super) fn look_at(&mut self, id: u32, at: u64) {
        self.looks.ask(id, at);
    }

    /// When to look for suspects in a group, if no look comes first and there can be some.
    pub(super) fn suspect_at(&mut self, id: u32, at: u64) {
        if self.watches.get(&id).is_none_or(Watch::is_due) {
            self.suspected.ask(id, at);
        }
    }

    /// What a look found of a group that is watched, `None`: it is not heavy. `again`: when to look for suspects if
    /// some can have come meanwhile.
    pub(super) fn end_watch(&mut self, id: u32, slack: Option<Slack>, again: u64) {
        let Some(slack) = slack else {
            self.watches.remove(&id);
            return;
        };
        self.watches.entry(id).or_insert_with(Watch::unknown).end(slack);
        self.suspect_at(id, again);
    }

    /// A look was begun and nothing came of it.
    pub(super) fn unwatch(&mut self, id: u32) {
        self.watches.remove(&id);
    }

    fn begin_watch(&mut self, id: u32) {
        self.watches.get_mut(&id).into_iter().for_each(Watch::begin);
    }

    /// Takes one group off the list whose time has come.
    pub(super) fn next_due(&mut self, now: u64) -> Option<u32> {
        let id = self.looks.next(now)?;
        // a look finds suspects too
        self.suspected.forget(id);
        self.begin_watch(id);
        Some(id)
    }

    /// The same of those in which to look for suspects.
    pub(super) fn next_suspected(&mut self, now: u64) -> Option<u32> {
        let id = self.suspected.next(now)?;
        self.begin_watch(id);
        Some(id)
    }

    /// Adds a batch. Returns the groups it touched, and those that were given up to make room.
    /// `hear` is told of each tool call and each failure of one, once.
    pub(super) fn apply(&mut self, sight: &Sight, now: u64, hear: &mut dyn FnMut(Heard)) -> (Vec<u32>, Vec<Group>) {
        let ids = key_ids(sight);
        let (mut touched, mut gone) = (HashSet::new(), Vec::new());
        self.batch += 1;
        for seen in &sight.items {
            let Some(id) = self.home(sight, seen, &ids, &mut touched) else { continue };
            self.dormant.remove(id);
            let number = |at: u32| (at as usize).checked_sub(1).and_then(|at| ids.get(at));
            let local = |at: u32| number(at).and_then(|key| self.index.get(key)).map_or(0, |(_, local)| *local);
            let numbers = Ids { trace: local(seen.trace), session: local(seen.session), run: local(seen.run) };
            let Some(Some(group)) = self.groups.get_mut(id as usize) else { continue };
            let group = Arc::make_mut(group);
            let (before, received) = (group.weight(), group.received.max(sight.received));
            let last = std::mem::replace(&mut group.batch, self.batch);
            let before_tool = group.heard(seen);
            group.add(sight, seen, numbers, now);
            if let Some(watch) = self.watches.get_mut(&id) {
                watch.add(seen, numbers);
            }
            if let Some(heard) = Heard::of(before_tool, group, seen) {
                hear(heard);
            }
            group.received = received;
            let after = group.weight();
            self.moved(id, &sight.account, [last, self.batch], [before, after]);
            touched.insert(id);
            if after > MAX_GROUP {
                touched.remove(&id);
                gone.extend(self.remove(id));
            }
        }
        gone.extend(self.make_room(&mut touched));
        let mut touched: Vec<u32> = touched.into_iter().collect();
        touched.sort_unstable();
        (touched, gone)
    }

    fn make_room(&mut self, touched: &mut HashSet<u32>) -> Vec<Group> {
        let mut gone = Vec::new();
        let most = self.limit.saturating_mul(UNITS_PER_RUN).max(MAX_GROUP);
        while self.len() > self.limit || self.units > most {
            let many = self.len() > self.limit;
            let size = |owned: &&Owned| if many { owned.quiet.len() } else { owned.units };
            let quietest = || {
                let fullest = self.accounts.values().max_by_key(size);
                fullest.and_then(|owned| owned.quiet.first()).map(|(_, id)| *id)
            };
            let Some(id) = self.dormant.oldest().or_else(quietest) else { break };
            touched.remove(&id);
            gone.extend(self.remove(id));
        }
        gone
    }

    /// All runs of a group are over, and nothing came for long: it is kept in case one goes on.
    pub(super) fn put_to_rest(&mut self, id: u32) {
        if let Some(Some(group)) = self.groups.get(id as usize) {
            self.dormant.insert(id, group);
        }
    }

    /// Takes out the dormant groups that are too many.
    pub(super) fn drain_dormant(&mut self) -> Vec<Group> {
        let mut gone = Vec::new();
        while self.dormant.order.len() > DORMANT || self.dormant.units > DORMANT_UNITS {
            let Some(id) = self.dormant.oldest() else { break };
            gone.extend(self.remove(id));
        }
        gone
    }

    /// The group of an item, which all its keys are in afterwards.
    fn home(&mut self, sight: &Sight, seen: &Seen, ids: &[KeyId], touched: &mut HashSet<u32>) -> Option<u32> {
        let run = (seen.run as usize).checked_sub(1).and_then(|at| sight.keys.get(at));
        let within = run.map_or(0, |run| run.within);
        // A run comes after its session, which it refers to.
        let numbers: Vec<usize> = [seen.trace, seen.session, within, seen.run]
            .into_iter()
            .filter_map(|number| (number as usize).checked_sub(1))
            .collect();
        let mut home = None;
        for id in numbers.iter().filter_map(|at| ids.get(*at)) {
            let Some((group, _)) = self.index.get(id).copied() else { continue };
            home = Some(match home {
                None => group,
                Some(home) if home == group => home,
                Some(home) => self.join(home, group, touched),
            });
        }
        if numbers.is_empty() {
            return None;
        }
        let home = home.unwrap_or_else(|| self.insert(Group::new(&sight.account)));
        for at in numbers {
            let (Some(id), Some(key)) = (ids.get(at), sight.keys.get(at)) else { continue };
            if self.index.contains_key(id) {
                continue;
            }
            let session = (key.within as usize).checked_sub(1).and_then(|at| ids.get(at));
            let within = session.and_then(|id| self.index.get(id)).map_or(0, |(_, local)| *local);
            let Some(Some(group)) = self.groups.get_mut(home as usize) else { continue };
            let group = Arc::make_mut(group);
            let before = group.weight();
            let local = group.add_key(*id, key, within);
            let (batch, weights) = (group.batch, [before, group.weight()]);
            self.moved(home, &sight.account, [batch, batch], weights);
            self.index.insert(*id, (home, local));
        }
        Some(home)
    }

    /// Makes one of two groups; the smaller goes into the larger.
    fn join(&mut self, a: u32, b: u32, touched: &mut HashSet<u32>) -> u32 {
        let size = |id| self.get(id).map_or(0, Group::weight);
        let (keep, go) = if size(a) >= size(b) { (a, b) } else { (b, a) };
        let (due, suspected) = (self.looks.time_of(go), self.suspected.time_of(go));
        let Some(other) = self.remove(go) else { return keep };
        let Some(Some(group)) = self.groups.get_mut(keep as usize) else { return keep };
        let group = Arc::make_mut(group);
        let (before, last) = (group.weight(), group.batch);
        let moved: Vec<KeyId> = other.keys.iter().map(|key| key.id).collect();
        let shift = group.absorb(other);
        for (local, id) in (shift.saturating_add(1)..).zip(moved) {
            self.index.insert(id, (keep, local));
        }
        let (account, batches) = (group.account.clone(), [last, group.batch]);
        let weights = [before, group.weight()];
        self.moved(keep, &account, batches, weights);
        if touched.remove(&go) {
            touched.insert(keep);
        }
        due.into_iter().for_each(|at| self.look_at(keep, at));
        suspected.into_iter().for_each(|at| self.suspected.ask(keep, at));
        // keys have other numbers now
        self.watches.remove(&keep);
        keep
    }

    /// Takes in a whole group, whose keys no other has.
    pub(super) fn insert(&mut self, group: impl Into<Arc<Group>>) -> u32 {
        let group: Arc<Group> = group.into();
        let id = self.free.pop().unwrap_or_else(|| {
            self.groups.push(None);
            u32::try_from(self.groups.len() - 1).unwrap_or(u32::MAX)
        });
        for (local, key) in (1..).zip(&group.keys).filter(|(_, key)| key.kind != kind::NONE) {
            self.index.insert(key.id, (id, local));
        }
        if !self.accounts.contains_key(&*group.account) {
            self.accounts.insert((*group.account).into(), Owned::default());
        }
        if let Some(owned) = self.accounts.get_mut(&*group.account) {
            owned.quiet.insert((group.batch, id));
            owned.units += group.weight();
        }
        self.count += 1;
        self.batch = self.batch.max(group.batch);
        self.units += group.weight();
        if let Some(place) = self.groups.get_mut(id as usize) {
            *place = Some(group);
        }
        id
    }

    /// Takes a group out.
    pub(super) fn remove(&mut self, id: u32) -> Option<Group> {
        let group = self.groups.get_mut(id as usize)?.take()?;
        self.dormant.remove(id);
        for key in &group.keys {
            self.index.remove(&key.id);
        }
        if let Some(owned) = self.accounts.get_mut(&*group.account) {
            owned.quiet.remove(&(group.batch, id));
            owned.units = owned.units.saturating_sub(group.weight());
            if owned.quiet.is_empty() {
                self.accounts.remove(&*group.account);
            }
        }
        self.count = self.count.saturating_sub(1);
        self.looks.forget(id);
        self.suspected.forget(id);
        self.watches.remove(&id);
        self.units = self.units.saturating_sub(group.weight());
        self.free.push(id);
        Some(Arc::unwrap_or_clone(group))
    }

    /// The groups that these keys are in.
    pub(super) fn groups_of(&self, ids: &[KeyId]) -> Vec<Arc<Group>> {
        let mut done = HashSet::new();
        let places = ids.iter().filter_map(|id| self.index.get(id)).filter(|(group, _)| done.insert(*group));
        places.filter_map(|(group, _)| self.snapshot(*group)).collect()
    }

    /// The group of a key, and the key's number in it.
    pub(super) fn find(&self, id: &KeyId) -> Option<(u32, u32)> {
        self.index.get(id).copied()
    }
}

/// What the index has for the keys of a batch, in their order.
pub(super) fn key_ids(sight: &Sight) -> Vec<KeyId> {
    sight.keys.iter().map(|key| key_id(&sight.account, key, &sight.keys)).collect()
}

fn key_id(account: &str, key: &KeySeen, keys: &[KeySeen]) -> KeyId {
    let within = (key.within as usize).checked_sub(1).and_then(|at| keys.get(at)).map_or("", |session| &*session.text);
    let within = if key.kind == kind::RUN { within } else { "" };
    ClaimKey::of(&[account.as_bytes(), &[key.kind], within.as_bytes(), key.text.as_bytes()]).to_bytes()
}
