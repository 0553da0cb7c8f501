//! [`Store`]: all groups, indexed by their keys, by their last batch, and by when to evaluate them. A group is copied
//! when it changes while a snapshot is in use, so snapshots are read without a lock.
//! Invariants: at most the configured number of groups, and memory in proportion. Dormant groups (all runs over) are
//! evicted first, then the longest quiet group of the account with the most. A group that grows too large is evicted
//! as well. `state` handles evicted groups.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use pipeline::claims::ClaimKey;

use super::group::{Group, Ids};
use super::schedule::Schedule;
use super::seen::{KeySeen, Seen, Sight, flag, kind};
use super::slack::{Slack, Watch};

/// Average memory of one run in units of [`Group::weight`]: 256 MB for 100,000 runs.
const UNITS_PER_RUN: usize = 64;
/// Maximum units of one group.
const MAX_GROUP: usize = 400_000;
/// Maximum number of dormant groups, and their maximum units: 4 MB.
const DORMANT: usize = 1000;
const DORMANT_UNITS: usize = 100_000;

/// Id of a key: digest of account, kind and text.
pub(super) type KeyId = [u8; 16];

/// A tool call, or a failure of one, seen for the first time.
pub(super) struct Heard {
    /// The tool's name as sent; may be "".
    pub(super) tool: Box<str>,
    /// It ran, and no earlier record had said so.
    pub(super) ran: bool,
    /// It failed, and no earlier record had said so.
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
    /// Groups by the number of their last batch.
    quiet: BTreeSet<(u64, u32)>,
    units: usize,
}

/// Groups whose runs are all over, kept so that a run which resumes later is recognised.
#[derive(Default)]
struct Dormant {
    /// By the number of the last batch.
    order: BTreeSet<(u64, u32)>,
    /// The number of the last batch and the group's weight.
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
    /// Group, and number of the key in that group.
    index: HashMap<KeyId, (u32, u32)>,
    accounts: BTreeMap<Box<str>, Owned>,
    /// Number of groups.
    count: usize,
    looks: Schedule,
    /// Heavy groups whose next evaluation is far off: see [`super::look::Look::suspects`].
    suspected: Schedule,
    /// For these groups, the calls that arrived since the last evaluation.
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

    /// The current state of a group, unaffected by later changes.
    pub(super) fn snapshot(&self, id: u32) -> Option<Arc<Group>> {
        self.groups.get(id as usize)?.clone()
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter_map(|group| group.as_deref())
    }

    /// Numbers of groups by their last batch, latest first; with `before`, only those whose last batch was earlier.
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

    /// About `most` groups with a last batch before `batch` (`None`: the latest), of one account or of all.
    pub(super) fn latest_before(&self, account: Option<&str>, batch: Option<u64>, most: usize) -> Vec<Arc<Group>> {
        let groups = self.by_batch(account, batch).filter_map(|id| self.snapshot(id));
        let mut chosen: Vec<Arc<Group>> = Vec::new();
        for group in groups {
            // groups of one batch stay together, because the next slice starts at an earlier batch
            if chosen.len() >= most && chosen.last().is_some_and(|last| last.batch != group.batch) {
                break;
            }
            chosen.push(group);
        }
        chosen
    }

    /// Updates the account after a group's last batch or weight changed.
    fn moved(&mut self, id: u32, account: &str, [before, after]: [u64; 2], [lighter, heavier]: [usize; 2]) {
        self.units = (self.units + heavier).saturating_sub(lighter);
        let Some(owned) = self.accounts.get_mut(account) else { return };
        owned.units = (owned.units + heavier).saturating_sub(lighter);
        // most items of a batch go into the same group, so this is usually unchanged
        if before != after {
            owned.quiet.remove(&(before, id));
            owned.quiet.insert((after, id));
        }
    }

    /// Changes a group in place; its keys must stay the same.
    pub(super) fn change(&mut self, id: u32, change: impl FnOnce(&mut Group)) {
        if let Some(Some(group)) = self.groups.get_mut(id as usize) {
            change(Arc::make_mut(group));
        }
    }

    /// Schedules an evaluation; the earlier of two times counts.
    pub(super) fn look_at(&mut self, id: u32, at: u64) {
        self.looks.ask(id, at);
    }

    /// Schedules a search for suspects, unless a watch shows that there can be none.
    pub(super) fn suspect_at(&mut self, id: u32, at: u64) {
        if self.watches.get(&id).is_none_or(Watch::is_due) {
            self.suspected.ask(id, at);
        }
    }

    /// Ends the evaluation of a watched group; `slack` is `None` if the group is not heavy. `again`: when to search
    /// for suspects if new items may have made some.
    pub(super) fn end_watch(&mut self, id: u32, slack: Option<Slack>, again: u64) {
        let Some(slack) = slack else {
            self.watches.remove(&id);
            return;
        };
        self.watches.entry(id).or_insert_with(Watch::unknown).end(slack);
        self.suspect_at(id, again);
    }

    /// Drops the watch of a group whose evaluation had no result.
    pub(super) fn unwatch(&mut self, id: u32) {
        self.watches.remove(&id);
    }

    fn begin_watch(&mut self, id: u32) {
        self.watches.get_mut(&id).into_iter().for_each(Watch::begin);
    }

    /// Removes and returns one group that is due for evaluation.
    pub(super) fn next_due(&mut self, now: u64) -> Option<u32> {
        let id = self.looks.next(now)?;
        // an evaluation finds suspects too
        self.suspected.forget(id);
        self.begin_watch(id);
        Some(id)
    }

    /// Removes and returns one group that is due for a search for suspects.
    pub(super) fn next_suspected(&mut self, now: u64) -> Option<u32> {
        let id = self.suspected.next(now)?;
        self.begin_watch(id);
        Some(id)
    }

    /// Applies a batch. Returns the groups it touched, and those evicted to make room. `hear` is called once for each
    /// tool call and once for each failure of one.
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

    /// Marks a group as dormant: all its runs are over, and nothing came for long. It is kept in case one resumes.
    pub(super) fn put_to_rest(&mut self, id: u32) {
        if let Some(Some(group)) = self.groups.get(id as usize) {
            self.dormant.insert(id, group);
        }
    }

    /// Removes and returns dormant groups above the maximum.
    pub(super) fn drain_dormant(&mut self) -> Vec<Group> {
        let mut gone = Vec::new();
        while self.dormant.order.len() > DORMANT || self.dormant.units > DORMANT_UNITS {
            let Some(id) = self.dormant.oldest() else { break };
            gone.extend(self.remove(id));
        }
        gone
    }

    /// The group of an item. All keys of the item are in it afterwards; groups are merged if necessary.
    fn home(&mut self, sight: &Sight, seen: &Seen, ids: &[KeyId], touched: &mut HashSet<u32>) -> Option<u32> {
        let run = (seen.run as usize).checked_sub(1).and_then(|at| sight.keys.get(at));
        let within = run.map_or(0, |run| run.within);
        // A run refers to its session, so the session is added first.
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

    /// Merges two groups; the lighter goes into the heavier.
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
        // the keys have new numbers, so the watch no longer matches
        self.watches.remove(&keep);
        keep
    }

    /// Inserts a whole group, whose keys no other group has.
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

    /// Removes a group.
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

    /// The groups of these keys.
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

/// The index ids of a batch's keys, in order.
pub(super) fn key_ids(sight: &Sight) -> Vec<KeyId> {
    sight.keys.iter().map(|key| key_id(&sight.account, key, &sight.keys)).collect()
}

fn key_id(account: &str, key: &KeySeen, keys: &[KeySeen]) -> KeyId {
    let within = (key.within as usize).checked_sub(1).and_then(|at| keys.get(at)).map_or("", |session| &*session.text);
    let within = if key.kind == kind::RUN { within } else { "" };
    ClaimKey::of(&[account.as_bytes(), &[key.kind], within.as_bytes(), key.text.as_bytes()]).to_bytes()
}
