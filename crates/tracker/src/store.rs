//! [`GroupStore`]: all groups, indexed by their keys, by their last batch, and by when to evaluate them. A group is
//! copied when it changes while a snapshot is in use, so snapshots are read without a lock. Invariants: at most as many
//! groups as configured runs, and memory in proportion. Dormant groups (all runs over) are evicted first, then the
//! longest quiet group of the account with the most groups or memory. A group that grows too large is evicted as well.
//! `state` handles evicted groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::{HashMap, HashSet, HashSetExt as _};

use kernel::sha256::Sha256;
use runs::RunOwner;

use super::group::{BatchNames, ItemGroup, ItemKeys};
use super::observation::{BatchObservation, ObservedItem, ObservedKey, flag, key_kind, numbered};

/// Average memory of one run in units of [`ItemGroup::weight`]: 256 MB for 100,000 runs.
const UNITS_PER_RUN: usize = 64;
const MAX_GROUP_UNITS: usize = 400_000;
/// Above this weight a group takes no further keys, so that a session is not evicted because it has many runs.
const MAX_KEYED_UNITS: usize = MAX_GROUP_UNITS / 4 * 3;
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
    /// Position of its item in the batch.
    pub(super) item: usize,
}

#[derive(Default)]
pub(super) struct AppliedBatch {
    pub(super) touched: Vec<u32>,
    /// Groups evicted for room.
    pub(super) evicted: Vec<ItemGroup>,
    /// Items whose calls were only summed, because their group is full.
    pub(super) summed: u64,
    /// Tool calls and failures of such that its items report first.
    pub(super) tool_calls: Vec<NewToolCall>,
}

impl NewToolCall {
    /// A tool call of which a full group keeps only the sum: each record that is the call itself counts.
    fn of_summed(observation: &BatchObservation, item: &ObservedItem) -> Option<Self> {
        let tool = numbered(&observation.names, item.tool.as_ref()?.name)?;
        let failed = item.flags & flag::FAILED != 0;
        item.is_tool_run().then(|| Self { tool: tool.clone(), ran: true, failed, item: 0 })
    }

    /// `flags_before`: the tool call's flags before the item was added to the group.
    fn detect(flags_before: u32, group: &ItemGroup, item: &ObservedItem) -> Option<Self> {
        let call = group.tool_call(item)?;
        let is_new = |flag: u32| flags_before & flag == 0 && call.flags & flag != 0;
        let ran = is_new(flag::TOOL_RAN);
        let failed =
            call.flags & flag::TOOL_RAN != 0 && (is_new(flag::FAILED) || (ran && call.flags & flag::FAILED != 0));
        (ran || failed).then(|| Self { tool: group.name(call.any_name()).into(), ran, failed, item: 0 })
    }
}

/// Where an item of a batch belongs.
#[derive(Clone, Copy)]
struct ItemPlace {
    /// The item's trace, session and run, as numbers of the batch.
    keys: [u32; 3],
    id: u32,
    /// The same keys as numbers in the group.
    numbers: ItemKeys,
}

#[derive(Default)]
struct AccountGroups {
    by_last_batch: BTreeSet<(u64, u32)>,
    units: usize,
}

/// When to work on which group. A group has at most one time, the earliest requested.
#[derive(Default)]
struct Schedule {
    /// The engine's running time at which each group is due, and the group, earliest first.
    due: BTreeSet<(u64, u32)>,
    /// The same times by group.
    times: HashMap<u32, u64>,
}

impl Schedule {
    fn time_of(&self, id: u32) -> Option<u64> {
        self.times.get(&id).copied()
    }

    /// Schedules a group; the earlier of two times counts.
    fn schedule(&mut self, id: u32, at: u64) {
        if self.time_of(id).is_some_and(|known| known <= at) {
            return;
        }
        self.cancel(id);
        self.due.insert((at, id));
        self.times.insert(id, at);
    }

    fn ids(&self) -> impl ExactSizeIterator<Item = u32> {
        self.times.keys().copied()
    }

    fn earliest(&self) -> Option<u32> {
        self.due.first().map(|(_, id)| *id)
    }

    /// Removes and returns one group that is due.
    fn pop_due(&mut self, now: u64) -> Option<u32> {
        let &(_, id) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.cancel(id);
        Some(id)
    }

    fn cancel(&mut self, id: u32) {
        if let Some(at) = self.times.remove(&id) {
            self.due.remove(&(at, id));
        }
    }
}

#[derive(Default)]
pub(super) struct GroupStore {
    groups: Vec<Option<Arc<ItemGroup>>>,
    /// Group ids that are not in use.
    free: Vec<u32>,
    /// By key id, the key's group and its number in that group.
    index: HashMap<KeyId, (u32, u32)>,
    accounts: BTreeMap<Box<str>, AccountGroups>,
    count: usize,
    evaluations: Schedule,
    /// Groups that changed since their current runs were computed.
    changed: BTreeSet<u32>,
    /// Groups whose runs are all over, kept so that a run which resumes later is recognised; by their last batch.
    dormant: Schedule,
    units: usize,
    max_groups: usize,
    batch: u64,
}

impl GroupStore {
    pub(super) fn new(max_groups: usize) -> Self {
        Self { max_groups, ..Self::default() }
    }

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

    /// Changes a group in place, and the sizes that depend on it. The keys that it had must stay the same.
    pub(super) fn change_group<T>(&mut self, id: u32, change: impl FnOnce(&mut ItemGroup) -> T) -> Option<T> {
        let group = Arc::make_mut(self.groups.get_mut(id as usize)?.as_mut()?);
        let (old_batch, old_weight) = (group.batch, group.weight());
        let changed = change(group);
        let new_weight = group.weight();
        self.units = (self.units + new_weight).saturating_sub(old_weight);
        if let Some(groups) = self.accounts.get_mut(&*group.account) {
            groups.units = (groups.units + new_weight).saturating_sub(old_weight);
            // most items of a batch go into the same group, so this is usually unchanged
            if old_batch != group.batch {
                groups.by_last_batch.remove(&(old_batch, id));
                groups.by_last_batch.insert((group.batch, id));
            }
        }
        Some(changed)
    }

    pub(super) fn schedule_evaluation(&mut self, id: u32, at: u64) {
        self.evaluations.schedule(id, at);
    }

    /// Removes and returns one group whose current runs are not up to date.
    pub(super) fn next_changed_group(&mut self) -> Option<(u32, Arc<ItemGroup>)> {
        let id = self.changed.pop_first()?;
        Some((id, self.snapshot(id)?))
    }

    pub(super) fn mark_changed(&mut self, id: u32) {
        self.changed.insert(id);
    }

    /// Removes and returns one group that is due for evaluation.
    pub(super) fn next_due_group(&mut self, now: u64) -> Option<(u32, Arc<ItemGroup>)> {
        let id = self.evaluations.pop_due(now)?;
        self.changed.remove(&id);
        Some((id, self.snapshot(id)?))
    }

    /// Applies a batch that `owner` committed.
    pub(super) fn apply(&mut self, keyed: &KeyedBatch<'_>, (owner, now): (&RunOwner, u64)) -> AppliedBatch {
        let observation = keyed.observation;
        let (mut touched, mut applied) = (HashSet::new(), AppliedBatch::default());
        let (mut last_place, mut names) = (None::<ItemPlace>, BatchNames::new(observation));
        self.batch += 1;
        for (position, item) in observation.items.iter().enumerate() {
            let Some(place) = self.find_place(keyed, item, last_place, &mut touched) else { continue };
            let ItemPlace { id, numbers, .. } = place;
            if last_place.replace(place).is_none_or(|last| last.id != id) {
                names.forget();
            }
            self.dormant.cancel(id);
            let batch = self.batch;
            let added = self.change_group(id, |group| {
                let flags_before = group.tool_call(item).map_or(0, |call| call.flags);
                group.batch = batch;
                let is_summed = group.add_item(observation, item, numbers, now, &mut names);
                group.set_owner(owner, observation.received);
                if group.first_received == 0 {
                    group.first_received = observation.received;
                }
                group.received = group.received.max(observation.received);
                let new_call = match is_summed {
                    true => NewToolCall::of_summed(observation, item),
                    false => NewToolCall::detect(flags_before, group, item),
                };
                (new_call, is_summed, group.weight())
            });
            let Some((new_call, is_summed, weight)) = added else { continue };
            applied.summed += u64::from(is_summed);
            applied.tool_calls.extend(new_call.map(|call| NewToolCall { item: position, ..call }));
            touched.insert(id);
            if weight > MAX_GROUP_UNITS {
                touched.remove(&id);
                applied.evicted.extend(self.remove(id));
                last_place = None;
            }
        }
        applied.evicted.extend(self.make_room(&mut touched));
        self.changed.extend(&touched);
        applied.touched = touched.into_iter().collect();
        applied.touched.sort_unstable();
        applied
    }

    /// The place of an item. `last`: that of the item before, whose keys and group it usually shares.
    fn find_place(
        &mut self,
        keyed: &KeyedBatch<'_>,
        item: &ObservedItem,
        last: Option<ItemPlace>,
        touched: &mut HashSet<u32>,
    ) -> Option<ItemPlace> {
        let keys = [item.trace, item.session, item.run];
        if let Some(last) = last.filter(|last| last.keys == keys) {
            return Some(last);
        }
        let id = self.find_or_create_group(keyed, item, touched)?;
        let [trace, session, run] = keys.map(|key| self.place_of(keyed, key).map_or(0, |(_, number)| number));
        Some(ItemPlace { keys, id, numbers: ItemKeys { trace, session, run } })
    }

    /// The group of a batch's key, and the key's number in it.
    pub(super) fn place_of(&self, batch: &KeyedBatch<'_>, key: u32) -> Option<(u32, u32)> {
        self.find_key(numbered(&batch.ids, key)?)
    }

    fn make_room(&mut self, touched: &mut HashSet<u32>) -> Vec<ItemGroup> {
        let mut evicted = Vec::new();
        let max_units = self.max_groups.saturating_mul(UNITS_PER_RUN).max(MAX_GROUP_UNITS);
        while self.len() > self.max_groups || self.units > max_units {
            let has_too_many = self.len() > self.max_groups;
            let size = |groups: &&AccountGroups| if has_too_many { groups.by_last_batch.len() } else { groups.units };
            let longest_quiet = || {
                let fullest = self.accounts.values().max_by_key(size);
                fullest.and_then(|groups| groups.by_last_batch.first()).map(|(_, id)| *id)
            };
            let Some(id) = self.dormant.earliest().or_else(longest_quiet) else { break };
            touched.remove(&id);
            evicted.extend(self.remove(id));
        }
        evicted
    }

    /// Marks a group as dormant: all its runs are over, and nothing came for long. It is kept in case one resumes.
    pub(super) fn mark_dormant(&mut self, id: u32) {
        if let Some(batch) = self.get(id).map(|group| group.batch) {
            self.dormant.schedule(id, batch);
        }
    }

    /// Removes and returns dormant groups above the maximum.
    pub(super) fn evict_excess_dormant(&mut self) -> Vec<ItemGroup> {
        let mut evicted: Vec<ItemGroup> = Vec::new();
        let mut units: usize = self.dormant.ids().filter_map(|id| self.get(id)).map(ItemGroup::weight).sum();
        while self.dormant.ids().len() > MAX_DORMANT || units > MAX_DORMANT_UNITS {
            let Some(group) = self.dormant.earliest().and_then(|id| self.remove(id)) else { break };
            units = units.saturating_sub(group.weight());
            evicted.push(group);
        }
        evicted
    }

    /// The group of an item. All keys of the item are in it afterwards; groups are merged if necessary.
    fn find_or_create_group(
        &mut self,
        KeyedBatch { observation, ids }: &KeyedBatch<'_>,
        item: &ObservedItem,
        touched: &mut HashSet<u32>,
    ) -> Option<u32> {
        let session_of_run = numbered(&observation.keys, item.run).map_or(0, |run| run.session);
        // A run refers to its session, so the session is added first.
        let keys = [item.trace, item.session, session_of_run, item.run];
        if keys == [0; 4] {
            return None;
        }
        let mut found = None;
        for id in keys.iter().filter_map(|key| numbered(ids, *key)) {
            let Some((group, _)) = self.find_key(id) else { continue };
            found = Some(match found {
                None => group,
                Some(found) if found == group => found,
                Some(found) => self.merge_groups(found, group, touched),
            });
        }
        let group_id = found.unwrap_or_else(|| self.insert(ItemGroup::new(&observation.account)));
        for key in keys {
            let (Some(id), Some(key)) = (numbered(ids, key), numbered(&observation.keys, key)) else { continue };
            // a group as heavy as this takes no further traces; their calls are found by the session
            let is_heavy = self.get(group_id).is_some_and(|group| group.weight() >= MAX_KEYED_UNITS);
            if self.index.contains_key(id) || is_heavy {
                continue;
            }
            let session = numbered(ids, key.session).and_then(|id| self.find_key(id)).map_or(0, |(_, number)| number);
            if let Some(number) = self.change_group(group_id, |group| group.add_key(*id, key, session)) {
                self.index.insert(*id, (group_id, number));
            }
        }
        Some(group_id)
    }

    /// Merges two groups; the lighter goes into the heavier. Returns the id of the merged group.
    fn merge_groups(&mut self, a: u32, b: u32, touched: &mut HashSet<u32>) -> u32 {
        let weight = |id| self.get(id).map_or(0, ItemGroup::weight);
        let (kept, removed) = if weight(a) >= weight(b) { (a, b) } else { (b, a) };
        let evaluation_at = self.evaluations.time_of(removed);
        let Some(other) = self.remove(removed) else { return kept };
        let moved_keys: Vec<KeyId> = other.keys.iter().map(|key| key.id).collect();
        let Some(shift) = self.change_group(kept, |group| group.merge(other)) else { return kept };
        for (number, id) in (shift.saturating_add(1)..).zip(moved_keys) {
            self.index.insert(id, (kept, number));
        }
        if touched.remove(&removed) {
            touched.insert(kept);
        }
        evaluation_at.into_iter().for_each(|at| self.schedule_evaluation(kept, at));
        self.changed.insert(kept);
        kept
    }

    /// Inserts a whole group, whose keys no other group has.
    pub(super) fn insert(&mut self, group: impl Into<Arc<ItemGroup>>) -> u32 {
        let group: Arc<ItemGroup> = group.into();
        let id = self.free.pop().unwrap_or_else(|| {
            self.groups.push(None);
            u32::try_from(self.groups.len() - 1).unwrap_or(u32::MAX)
        });
        for (number, key) in (1..).zip(&group.keys) {
            self.index.insert(key.id, (id, number));
        }
        let groups = self.accounts.entry((*group.account).into()).or_default();
        groups.by_last_batch.insert((group.batch, id));
        groups.units += group.weight();
        self.count += 1;
        self.batch = self.batch.max(group.batch);
        self.units += group.weight();
        if let Some(slot) = self.groups.get_mut(id as usize) {
            *slot = Some(group);
        }
        id
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<ItemGroup> {
        let group = self.groups.get_mut(id as usize)?.take()?;
        self.dormant.cancel(id);
        for key in &group.keys {
            self.index.remove(&key.id);
        }
        if let Some(groups) = self.accounts.get_mut(&*group.account) {
            groups.by_last_batch.remove(&(group.batch, id));
            groups.units = groups.units.saturating_sub(group.weight());
            if groups.by_last_batch.is_empty() {
                self.accounts.remove(&*group.account);
            }
        }
        self.count = self.count.saturating_sub(1);
        self.evaluations.cancel(id);
        self.changed.remove(&id);
        self.units = self.units.saturating_sub(group.weight());
        self.free.push(id);
        Some(Arc::unwrap_or_clone(group))
    }

    /// The groups of these keys, each once.
    pub(super) fn groups_of(&self, ids: &[KeyId]) -> Vec<Arc<ItemGroup>> {
        let mut seen = HashSet::new();
        let groups = ids.iter().filter_map(|id| self.index.get(id)).filter(|(group, _)| seen.insert(*group));
        groups.filter_map(|(group, _)| self.snapshot(*group)).collect()
    }

    /// Records in a session's group which session it continues.
    pub(super) fn set_continued(&mut self, session: &KeyId, continued: &str) {
        let Some((id, number)) = self.find_key(session) else { return };
        if self.get(id).is_some_and(|group| group.predecessor_of(number) != continued) {
            self.change_group(id, |group| group.set_continued(number, continued));
            self.changed.insert(id);
        }
    }

    /// The groups in which a run with one of these keys is not over.
    pub(super) fn find_current(&self, keys: &HashSet<u64>) -> Vec<Arc<ItemGroup>> {
        let has_run = |group: &&Arc<ItemGroup>| group.current.iter().any(|run| keys.contains(&run.key));
        self.groups.iter().flatten().filter(has_run).cloned().collect()
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = &str> {
        self.accounts.keys().map(|account| &**account)
    }

    pub(super) fn find_key(&self, id: &KeyId) -> Option<(u32, u32)> {
        self.index.get(id).copied()
    }
}

/// A batch with the index ids of its keys, in order.
pub(super) struct KeyedBatch<'o> {
    pub(super) observation: &'o BatchObservation,
    pub(super) ids: Vec<KeyId>,
}

impl<'o> KeyedBatch<'o> {
    pub(super) fn new(observation: &'o BatchObservation) -> Self {
        let session = |key: &ObservedKey| observation.key_text(key.session).unwrap_or("");
        let id = |key: &ObservedKey| key_id(&observation.account, key.kind, session(key), &key.text);
        Self { observation, ids: observation.keys.iter().map(id).collect() }
    }
}

/// The index id of a key; a run is known within its session.
pub(super) fn key_id(account: &str, kind: u8, session: &str, text: &str) -> KeyId {
    let session = if kind == key_kind::RUN { session } else { "" };
    Sha256::short_list(&[account.as_bytes(), &[kind], session.as_bytes(), text.as_bytes()])
}
