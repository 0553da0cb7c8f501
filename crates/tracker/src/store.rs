//! [`GroupStore`]: all groups, indexed by their keys, by their last batch, and by when to evaluate them. A group is
//! copied when it changes while a snapshot is in use, so snapshots are read without a lock. Invariants: at most the
//! configured number of groups, and memory in proportion. Dormant groups (all runs over) are evicted first, then the
//! longest quiet group of the account with the most. A group that grows too large is evicted as well. `state` handles
//! evicted groups.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use pipeline::claims::ClaimKey;

use super::group::{ItemGroup, ItemKeys};
use super::headroom::{CallHeadroom, HeadroomWatch};
use super::observation::{BatchObservation, ObservedItem, ObservedKey, flag, key_kind};
use super::schedule::Schedule;

/// Average memory of one run in units of [`ItemGroup::pattern_weight`]: 256 MB for 100,000 runs.
const UNITS_PER_RUN: usize = 64;
/// Maximum units of one group.
const MAX_GROUP_UNITS: usize = 400_000;
/// Maximum number of dormant groups, and their maximum units: 4 MB.
const MAX_DORMANT: usize = 1000;
const MAX_DORMANT_UNITS: usize = 100_000;

/// Id of a key: digest of account, kind and text.
pub(super) type KeyId = [u8; 16];

/// A tool call, or a failure of one, seen for the first time.
pub(super) struct NewToolCall {
    /// The tool's name as sent; may be "".
    pub(super) tool: Box<str>,
    /// It ran, and no earlier record had said so.
    pub(super) ran: bool,
    /// It failed, and no earlier record had said so.
    pub(super) failed: bool,
}

impl NewToolCall {
    fn detect(before: u16, group: &ItemGroup, seen: &ObservedItem) -> Option<Self> {
        let (name, after) = group.tool_name_and_flags(seen)?;
        let new = |flag: u16| before & flag == 0 && after & flag != 0;
        let ran = new(flag::TOOL_RAN);
        let failed = after & flag::TOOL_RAN != 0 && (new(flag::FAILED) || (ran && after & flag::FAILED != 0));
        (ran || failed).then(|| Self { tool: name.into(), ran, failed })
    }
}

/// The groups of one account.
#[derive(Default)]
struct AccountGroups {
    /// Groups by the number of their last batch.
    by_last_batch: BTreeSet<(u64, u32)>,
    units: usize,
}

/// Groups whose runs are all over, kept so that a run which resumes later is recognised.
#[derive(Default)]
struct DormantGroups {
    /// By the number of the last batch.
    order: BTreeSet<(u64, u32)>,
    /// The number of the last batch and the group's weight.
    entries: HashMap<u32, (u64, usize)>,
    units: usize,
}

impl DormantGroups {
    fn insert(&mut self, id: u32, group: &ItemGroup) {
        self.remove(id);
        self.order.insert((group.batch, id));
        self.entries.insert(id, (group.batch, group.weight()));
        self.units += group.weight();
    }

    fn remove(&mut self, id: u32) {
        if let Some((batch, weight)) = self.entries.remove(&id) {
            self.order.remove(&(batch, id));
            self.units = self.units.saturating_sub(weight);
        }
    }

    fn oldest(&self) -> Option<u32> {
        self.order.first().map(|(_, id)| *id)
    }
}

/// All groups.
pub(super) struct GroupStore {
    groups: Vec<Option<Arc<ItemGroup>>>,
    free: Vec<u32>,
    /// Group, and number of the key in that group.
    index: HashMap<KeyId, (u32, u32)>,
    accounts: BTreeMap<Box<str>, AccountGroups>,
    /// Number of groups.
    count: usize,
    evaluations: Schedule,
    /// Heavy groups whose next evaluation is far off: see [`super::look::Look::suspects`].
    suspect_searches: Schedule,
    /// For these groups, the calls that arrived since the last evaluation.
    watches: HashMap<u32, HeadroomWatch>,
    dormant: DormantGroups,
    units: usize,
    limit: usize,
    /// Number of the latest batch.
    batch: u64,
}

impl GroupStore {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            groups: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            accounts: BTreeMap::new(),
            count: 0,
            evaluations: Schedule::default(),
            suspect_searches: Schedule::default(),
            watches: HashMap::new(),
            dormant: DormantGroups::default(),
            units: 0,
            limit,
            batch: 0,
        }
    }

    /// Number of groups.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, id: u32) -> Option<&ItemGroup> {
        self.groups.get(id as usize)?.as_deref()
    }

    /// The current state of a group, unaffected by later changes.
    pub(super) fn snapshot(&self, id: u32) -> Option<Arc<ItemGroup>> {
        self.groups.get(id as usize)?.clone()
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &ItemGroup> {
        self.groups.iter().filter_map(|group| group.as_deref())
    }

    /// Numbers of groups by their last batch, latest first; with `before`, only those whose last batch was earlier.
    fn ids_by_batch(&self, account: Option<&str>, before: Option<u64>) -> impl Iterator<Item = u32> {
        let before = (before.unwrap_or(u64::MAX), 0);
        let one = account.map(|account| self.accounts.get(account).into_iter());
        let all = account.is_none().then(|| self.accounts.values());
        let owned = one.into_iter().flatten().chain(all.into_iter().flatten());
        let mut accounts: Vec<_> = owned.map(|owned| owned.by_last_batch.range(..before).rev().peekable()).collect();
        std::iter::from_fn(move || {
            let next = accounts.iter_mut().enumerate().filter_map(|(at, groups)| Some((**groups.peek()?, at)));
            let (_, at) = next.max()?;
            accounts.get_mut(at)?.next().map(|(_, id)| *id)
        })
    }

    /// About `most` groups with a last batch before `batch` (`None`: the latest), of one account or of all.
    pub(super) fn latest_before(&self, account: Option<&str>, batch: Option<u64>, most: usize) -> Vec<Arc<ItemGroup>> {
        let groups = self.ids_by_batch(account, batch).filter_map(|id| self.snapshot(id));
        let mut chosen: Vec<Arc<ItemGroup>> = Vec::new();
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
    fn update_account(&mut self, id: u32, account: &str, [before, after]: [u64; 2], [lighter, heavier]: [usize; 2]) {
        self.units = (self.units + heavier).saturating_sub(lighter);
        let Some(owned) = self.accounts.get_mut(account) else { return };
        owned.units = (owned.units + heavier).saturating_sub(lighter);
        // most items of a batch go into the same group, so this is usually unchanged
        if before != after {
            owned.by_last_batch.remove(&(before, id));
            owned.by_last_batch.insert((after, id));
        }
    }

    /// Changes a group in place; its keys must stay the same.
    pub(super) fn modify_group(&mut self, id: u32, change: impl FnOnce(&mut ItemGroup)) {
        if let Some(Some(group)) = self.groups.get_mut(id as usize) {
            change(Arc::make_mut(group));
        }
    }

    /// Schedules an evaluation; the earlier of two times counts.
    pub(super) fn schedule_evaluation(&mut self, id: u32, at: u64) {
        self.evaluations.schedule(id, at);
    }

    /// Schedules a search for suspects, unless a watch shows that there can be none.
    pub(super) fn schedule_suspect_search(&mut self, id: u32, at: u64) {
        if self.watches.get(&id).is_none_or(HeadroomWatch::is_due) {
            self.suspect_searches.schedule(id, at);
        }
    }

    /// Ends the evaluation of a watched group; `slack` is `None` if the group is not heavy. `again`: when to search
    /// for suspects if new items may have made some.
    pub(super) fn finish_watch(&mut self, id: u32, slack: Option<CallHeadroom>, again: u64) {
        let Some(slack) = slack else {
            self.watches.remove(&id);
            return;
        };
        self.watches.entry(id).or_insert_with(HeadroomWatch::already_due).end_evaluation(slack);
        self.schedule_suspect_search(id, again);
    }

    /// Drops the watch of a group whose evaluation had no result.
    pub(super) fn drop_watch(&mut self, id: u32) {
        self.watches.remove(&id);
    }

    fn begin_watch(&mut self, id: u32) {
        self.watches.get_mut(&id).into_iter().for_each(HeadroomWatch::begin_evaluation);
    }

    /// Removes and returns one group that is due for evaluation.
    pub(super) fn next_due_group(&mut self, now: u64) -> Option<u32> {
        let id = self.evaluations.pop_due(now)?;
        // an evaluation finds suspects too
        self.suspect_searches.cancel(id);
        self.begin_watch(id);
        Some(id)
    }

    /// Removes and returns one group that is due for a search for suspects.
    pub(super) fn next_suspect_group(&mut self, now: u64) -> Option<u32> {
        let id = self.suspect_searches.pop_due(now)?;
        self.begin_watch(id);
        Some(id)
    }

    /// Applies a batch. Returns the groups it touched, and those evicted to make room. `hear` is called once for each
    /// tool call and once for each failure of one.
    pub(super) fn apply(
        &mut self,
        sight: &BatchObservation,
        now: u64,
        hear: &mut dyn FnMut(NewToolCall),
    ) -> (Vec<u32>, Vec<ItemGroup>) {
        let ids = key_ids(sight);
        let (mut touched, mut gone) = (HashSet::new(), Vec::new());
        self.batch += 1;
        for seen in &sight.items {
            let Some(id) = self.find_or_create_group(sight, seen, &ids, &mut touched) else { continue };
            self.dormant.remove(id);
            let number = |at: u32| (at as usize).checked_sub(1).and_then(|at| ids.get(at));
            let local = |at: u32| number(at).and_then(|key| self.index.get(key)).map_or(0, |(_, local)| *local);
            let numbers = ItemKeys { trace: local(seen.trace), session: local(seen.session), run: local(seen.run) };
            let Some(Some(group)) = self.groups.get_mut(id as usize) else { continue };
            let group = Arc::make_mut(group);
            let (before, received) = (group.weight(), group.received.max(sight.received));
            let last = std::mem::replace(&mut group.batch, self.batch);
            let before_tool = group.tool_flags(seen);
            group.add_item(sight, seen, numbers, now);
            if let Some(watch) = self.watches.get_mut(&id) {
                watch.count_item(seen, numbers);
            }
            if let Some(heard) = NewToolCall::detect(before_tool, group, seen) {
                hear(heard);
            }
            group.received = received;
            let after = group.weight();
            self.update_account(id, &sight.account, [last, self.batch], [before, after]);
            touched.insert(id);
            if after > MAX_GROUP_UNITS {
                touched.remove(&id);
                gone.extend(self.remove(id));
            }
        }
        gone.extend(self.make_room(&mut touched));
        let mut touched: Vec<u32> = touched.into_iter().collect();
        touched.sort_unstable();
        (touched, gone)
    }

    fn make_room(&mut self, touched: &mut HashSet<u32>) -> Vec<ItemGroup> {
        let mut gone = Vec::new();
        let most = self.limit.saturating_mul(UNITS_PER_RUN).max(MAX_GROUP_UNITS);
        while self.len() > self.limit || self.units > most {
            let many = self.len() > self.limit;
            let size = |owned: &&AccountGroups| if many { owned.by_last_batch.len() } else { owned.units };
            let quietest = || {
                let fullest = self.accounts.values().max_by_key(size);
                fullest.and_then(|owned| owned.by_last_batch.first()).map(|(_, id)| *id)
            };
            let Some(id) = self.dormant.oldest().or_else(quietest) else { break };
            touched.remove(&id);
            gone.extend(self.remove(id));
        }
        gone
    }

    /// Marks a group as dormant: all its runs are over, and nothing came for long. It is kept in case one resumes.
    pub(super) fn mark_dormant(&mut self, id: u32) {
        if let Some(Some(group)) = self.groups.get(id as usize) {
            self.dormant.insert(id, group);
        }
    }

    /// Removes and returns dormant groups above the maximum.
    pub(super) fn evict_excess_dormant(&mut self) -> Vec<ItemGroup> {
        let mut gone = Vec::new();
        while self.dormant.order.len() > MAX_DORMANT || self.dormant.units > MAX_DORMANT_UNITS {
            let Some(id) = self.dormant.oldest() else { break };
            gone.extend(self.remove(id));
        }
        gone
    }

    /// The group of an item. All keys of the item are in it afterwards; groups are merged if necessary.
    fn find_or_create_group(
        &mut self,
        sight: &BatchObservation,
        seen: &ObservedItem,
        ids: &[KeyId],
        touched: &mut HashSet<u32>,
    ) -> Option<u32> {
        let run = (seen.run as usize).checked_sub(1).and_then(|at| sight.keys.get(at));
        let within = run.map_or(0, |run| run.session);
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
                Some(home) => self.merge_groups(home, group, touched),
            });
        }
        if numbers.is_empty() {
            return None;
        }
        let home = home.unwrap_or_else(|| self.insert(ItemGroup::new(&sight.account)));
        for at in numbers {
            let (Some(id), Some(key)) = (ids.get(at), sight.keys.get(at)) else { continue };
            if self.index.contains_key(id) {
                continue;
            }
            let session = (key.session as usize).checked_sub(1).and_then(|at| ids.get(at));
            let within = session.and_then(|id| self.index.get(id)).map_or(0, |(_, local)| *local);
            let Some(Some(group)) = self.groups.get_mut(home as usize) else { continue };
            let group = Arc::make_mut(group);
            let before = group.weight();
            let local = group.add_key(*id, key, within);
            let (batch, weights) = (group.batch, [before, group.weight()]);
            self.update_account(home, &sight.account, [batch, batch], weights);
            self.index.insert(*id, (home, local));
        }
        Some(home)
    }

    /// Merges two groups; the lighter goes into the heavier.
    fn merge_groups(&mut self, a: u32, b: u32, touched: &mut HashSet<u32>) -> u32 {
        let size = |id| self.get(id).map_or(0, ItemGroup::weight);
        let (keep, go) = if size(a) >= size(b) { (a, b) } else { (b, a) };
        let (due, suspected) = (self.evaluations.time_of(go), self.suspect_searches.time_of(go));
        let Some(other) = self.remove(go) else { return keep };
        let Some(Some(group)) = self.groups.get_mut(keep as usize) else { return keep };
        let group = Arc::make_mut(group);
        let (before, last) = (group.weight(), group.batch);
        let moved: Vec<KeyId> = other.keys.iter().map(|key| key.id).collect();
        let shift = group.merge(other);
        for (local, id) in (shift.saturating_add(1)..).zip(moved) {
            self.index.insert(id, (keep, local));
        }
        let (account, batches) = (group.account.clone(), [last, group.batch]);
        let weights = [before, group.weight()];
        self.update_account(keep, &account, batches, weights);
        if touched.remove(&go) {
            touched.insert(keep);
        }
        due.into_iter().for_each(|at| self.schedule_evaluation(keep, at));
        suspected.into_iter().for_each(|at| self.suspect_searches.schedule(keep, at));
        // the keys have new numbers, so the watch no longer matches
        self.watches.remove(&keep);
        keep
    }

    /// Inserts a whole group, whose keys no other group has.
    pub(super) fn insert(&mut self, group: impl Into<Arc<ItemGroup>>) -> u32 {
        let group: Arc<ItemGroup> = group.into();
        let id = self.free.pop().unwrap_or_else(|| {
            self.groups.push(None);
            u32::try_from(self.groups.len() - 1).unwrap_or(u32::MAX)
        });
        for (local, key) in (1..).zip(&group.keys).filter(|(_, key)| key.kind != key_kind::NONE) {
            self.index.insert(key.id, (id, local));
        }
        if !self.accounts.contains_key(&*group.account) {
            self.accounts.insert((*group.account).into(), AccountGroups::default());
        }
        if let Some(owned) = self.accounts.get_mut(&*group.account) {
            owned.by_last_batch.insert((group.batch, id));
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
    pub(super) fn remove(&mut self, id: u32) -> Option<ItemGroup> {
        let group = self.groups.get_mut(id as usize)?.take()?;
        self.dormant.remove(id);
        for key in &group.keys {
            self.index.remove(&key.id);
        }
        if let Some(owned) = self.accounts.get_mut(&*group.account) {
            owned.by_last_batch.remove(&(group.batch, id));
            owned.units = owned.units.saturating_sub(group.weight());
            if owned.by_last_batch.is_empty() {
                self.accounts.remove(&*group.account);
            }
        }
        self.count = self.count.saturating_sub(1);
        self.evaluations.cancel(id);
        self.suspect_searches.cancel(id);
        self.watches.remove(&id);
        self.units = self.units.saturating_sub(group.weight());
        self.free.push(id);
        Some(Arc::unwrap_or_clone(group))
    }

    /// The groups of these keys.
    pub(super) fn groups_of(&self, ids: &[KeyId]) -> Vec<Arc<ItemGroup>> {
        let mut done = HashSet::new();
        let places = ids.iter().filter_map(|id| self.index.get(id)).filter(|(group, _)| done.insert(*group));
        places.filter_map(|(group, _)| self.snapshot(*group)).collect()
    }

    /// The group of a key, and the key's number in it.
    pub(super) fn find_key(&self, id: &KeyId) -> Option<(u32, u32)> {
        self.index.get(id).copied()
    }
}

/// The index ids of a batch's keys, in order.
pub(super) fn key_ids(sight: &BatchObservation) -> Vec<KeyId> {
    sight.keys.iter().map(|key| key_id(&sight.account, key, &sight.keys)).collect()
}

fn key_id(account: &str, key: &ObservedKey, keys: &[ObservedKey]) -> KeyId {
    let within = (key.session as usize).checked_sub(1).and_then(|at| keys.get(at)).map_or("", |session| &*session.text);
    let within = if key.kind == key_kind::RUN { within } else { "" };
    ClaimKey::from_parts(&[account.as_bytes(), &[key.kind], within.as_bytes(), key.text.as_bytes()]).to_bytes()
}
