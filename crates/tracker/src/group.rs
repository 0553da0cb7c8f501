//! [`ItemGroup`]: the items of sessions and traces that were seen together. A trace may hold several sessions and a
//! session many traces; any item that names both joins them.
//! Adding an item twice, or in another order, changes nothing: every field is a minimum, a maximum or a union. Only
//! the numbers of keys and names depend on the order, so results never compare these numbers. `resolve` assigns items
//! to runs; `store` finds the group of a key.

use std::cmp::Ordering;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use runs::{ModelTotals, OTHER, RunOwner, digest};

use super::observation::{
    BatchObservation, ObservedItem, ObservedKey, ObservedModelCall, ObservedToolCall, earlier, flag, key_kind, mark,
    numbered, price_quality, trouble,
};
use super::tokens::PackedTokens;

pub(super) use super::group_data::*;

/// Maximum number of items that are kept one by one; of further calls only sums are kept.
pub(super) const MAX_ITEMS: usize = 20_000;
/// Maximum number of a group's sessions of which it is known which ones they continue.
const MAX_CONTINUED: usize = 64;
/// Maximum number of distinct names (models, tools, tenants and so on) in one group; further ones become [`OTHER`].
const MAX_NAMES: usize = 255;

/// The keys of an item, as numbers in its group.
#[derive(Clone, Copy)]
pub(super) struct ItemKeys {
    pub(super) trace: u32,
    pub(super) session: u32,
    pub(super) run: u32,
}

/// The names of a batch as numbers in the group that its items are added to.
pub(super) struct BatchNames {
    /// Numbers of earlier rounds are those of other groups.
    round: u32,
    /// By name: the round in which it was last used, and its number.
    numbers: Vec<(u32, u16)>,
}

impl BatchNames {
    pub(super) fn new(observation: &BatchObservation) -> Self {
        Self { round: 0, numbers: vec![(0, 0); observation.names.len()] }
    }

    /// The next items go into another group.
    pub(super) fn forget(&mut self) {
        self.round = self.round.saturating_add(1);
    }
}

impl ItemGroup {
    pub(super) fn new(account: &str) -> Self {
        Self { account: account.into(), ..Self::default() }
    }

    /// Approximate memory use, in units of 40 bytes.
    pub(super) fn weight(&self) -> usize {
        14 + 5 * self.keys.len()
            + self.names.len()
            + self.nodes.len()
            + 3 * self.calls.len()
            + 2 * self.tools.len()
            + 2 * self.marks.len()
            + self.published.len()
            + 3 * self.continued.len()
            + 4 * self.summed.len()
            + self.current_weight
    }

    pub(super) fn set_current(&mut self, current: Arc<[CurrentRun]>) {
        self.current_weight = current.iter().map(|run| 1 + run.record.len() / 40).sum();
        self.current = current;
    }

    /// The group after a start: the last changes may not be in history's file.
    pub(super) fn with_uncertain_history(mut self) -> Self {
        let written = std::mem::take(&mut self.written);
        self.maybe_written = [&*self.maybe_written, &*written].concat().into();
        self
    }

    /// Keys of the runs that history has, or may have.
    pub(super) fn known_to_history(&self) -> impl Iterator<Item = u64> {
        self.written.iter().chain(&self.maybe_written).copied()
    }

    /// The session that this session continues; "" = none.
    pub(super) fn predecessor_of(&self, session: u32) -> &str {
        let found = self.continued.iter().find(|(known, _)| *known == session);
        found.map_or("", |(_, continued)| continued)
    }

    /// Sessions, and the session that each continues.
    pub(super) fn continued_sessions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.continued.iter().map(|(session, continued)| (self.key_text(*session), &**continued))
    }

    pub(super) fn set_continued(&mut self, session: u32, continued: &str) {
        let others = std::mem::take(&mut self.continued).into_iter().filter(|(known, _)| *known != session);
        self.continued = [(session, continued.into())].into_iter().chain(others).take(MAX_CONTINUED).collect();
    }

    /// Whether further calls are only summed.
    pub(super) fn is_full(&self) -> bool {
        self.nodes.len().max(self.calls.len() + self.tools.len()) >= MAX_ITEMS
    }

    pub(super) fn key(&self, number: u32) -> Option<&GroupKey> {
        numbered(&self.keys, number)
    }

    fn key_mut(&mut self, number: u32) -> Option<&mut GroupKey> {
        self.keys.get_mut((number as usize).checked_sub(1)?)
    }

    /// The text of the key with this number; "" if there is none.
    pub(super) fn key_text(&self, number: u32) -> &str {
        self.key(number).map_or("", |key| &key.text)
    }

    /// The name with this number; "" if there is none.
    pub(super) fn name(&self, number: u16) -> &str {
        numbered(&self.names, number.into()).map_or("", |name| name)
    }

    /// Adds a key that the group does not hold yet; returns its number. `session` is the number of a run's session.
    pub(super) fn add_key(&mut self, id: [u8; 16], key: &ObservedKey, session: u32) -> u32 {
        self.named_runs = self.named_runs.saturating_add(u32::from(key.kind == key_kind::RUN));
        self.keys.push(GroupKey { id, kind: key.kind, text: key.text.clone(), session, ..GroupKey::default() });
        u32::try_from(self.keys.len()).unwrap_or(u32::MAX)
    }

    /// The number of a name; adds the name if necessary.
    fn intern(&mut self, name: &str) -> u16 {
        let known = self.names.iter().position(|known| **known == *name);
        let index = known.unwrap_or_else(|| {
            let name = if self.names.len() < MAX_NAMES { name } else { OTHER };
            self.names.iter().position(|known| **known == *name).unwrap_or_else(|| {
                self.names.push(name.into());
                self.names.len() - 1
            })
        });
        u16::try_from(index + 1).unwrap_or(0)
    }

    /// Returns the name that is alphabetically first; a missing name loses.
    pub(super) fn first_name(&self, a: u16, b: u16) -> u16 {
        if a == b { a } else { first_present(a, b, || self.name(a) <= self.name(b)) }
    }

    /// Returns the key that is alphabetically first; a missing key loses.
    pub(super) fn first_key(&self, a: u32, b: u32) -> u32 {
        if a == b { a } else { first_present(a, b, || self.full_text(a) <= self.full_text(b)) }
    }

    /// The texts of a key and of its session; keys are compared by these.
    pub(super) fn full_text(&self, number: u32) -> (&str, &str) {
        (self.key_text(number), self.key(number).map_or("", |key| self.key_text(key.session)))
    }

    /// Returns the better known position: a span of its own, then the span a log record was written in, then a trace
    /// alone.
    fn first_position(&self, a: TracePosition, b: TracePosition) -> TracePosition {
        let rank = |position: TracePosition| (position.node == 0, !position.is_own_span, position.node);
        match rank(a).cmp(&rank(b)) {
            Ordering::Less => a,
            Ordering::Greater => b,
            Ordering::Equal => TracePosition { trace: self.first_key(a.trace, b.trace), ..a },
        }
    }

    /// A record of an item, completed from the one that the group has.
    fn completed<T: RecordDetail>(&self, known: Option<&GroupRecord<T>>, new: GroupRecord<T>) -> GroupRecord<T> {
        let Some(known) = known else { return new };
        GroupRecord {
            position: self.first_position(known.position, new.position),
            session: self.first_key(known.session, new.session),
            run: self.first_key(known.run, new.run),
            flags: merge_flags(known.flags, new.flags),
            start: earlier(known.start, new.start),
            end: known.end.max(new.end),
            detail: known.detail.complete(new.detail, |a, b| self.first_name(a, b)),
        }
    }

    /// Adds one item of a batch; its keys must already be in the group. Returns whether its call was only summed.
    pub(super) fn add_item(
        &mut self,
        observation: &BatchObservation,
        item: &ObservedItem,
        ids: ItemKeys,
        touched: u64,
        names: &mut BatchNames,
    ) -> bool {
        let current = names.round;
        let mut name = |number: u32| {
            let Some(index) = (number as usize).checked_sub(1) else { return 0 };
            let (Some(text), Some(known)) = (observation.names.get(index), names.numbers.get_mut(index)) else {
                return 0;
            };
            if known.0 != current {
                *known = (current, self.intern(text));
            }
            known.1
        };
        let tags = item.attribution.map(&mut name);
        let (finish, error) = (name(item.finish), name(item.error));
        let call_names =
            item.call.as_ref().map(|call| [name(call.model), name(call.requested_model), name(call.provider)]);
        let mark_model = name(item.model);
        let [tool_name, denial_source] =
            item.tool.as_ref().map_or([0, 0], |tool| [name(tool.name), name(tool.denial_source)]);
        self.update_keys(item, ids, touched, tags);
        self.link_trace_to_session(ids);
        let is_full = self.is_full();
        // a group that is too heavy took no key for the trace, so the item can be no part of a run of its own
        let has_place = item.trace == 0 || ids.trace != 0;
        if has_place && (!is_full || self.nodes.get(item.node).is_some() || item.mark != mark::NONE) {
            self.add_item_node(item, ids, denial_source);
        }
        let ItemKeys { trace, session, run } = ids;
        let ObservedItem { node, flags, start, end, .. } = *item;
        let AttributionTags { tenant, feature, .. } = tags;
        let position = TracePosition { is_own_span: node != 0 && flags & flag::SPAN != 0, node, trace };
        let place = GroupRecord { position, session, run, flags, start, end, detail: () };
        let length = [item.work.characters, item.work.words];
        let summary = if length == [0; 2] { (0, [0; 2]) } else { (end, length) };
        let event = |kind| MarkedEvent { kind, tenant, feature, model: mark_model, error, summary };
        // runs of which calls are only summed still end
        let has_room = has_place && self.marks.len() < 2 * MAX_ITEMS;
        if item.mark != mark::NONE && has_room {
            self.add_mark(mark_key(item), place.with(event(item.mark)));
        }
        if item.sub_agent != 0 && has_room {
            let mark = place.with(event(mark::SUB_AGENT));
            self.add_mark(item.sub_agent, LifecycleMark { flags: flags & !flag::FAILED, ..mark });
        }
        let is_new_call = |call: &ObservedModelCall| self.calls.get(call.key).is_none();
        let is_new_tool = |tool: &ObservedToolCall| self.tools.get(tool.key).is_none();
        if is_full && (item.call.as_ref().is_some_and(is_new_call) || item.tool.as_ref().is_some_and(is_new_tool)) {
            let name = call_names.map_or(tool_name, |[model, ..]| model);
            self.sum_item(item, ids, tags.tenant, name);
            return true;
        }
        if let (Some(call), Some([model, requested_model, provider])) = (&item.call, call_names) {
            let ObservedModelCall { price_quality, trouble, fallback, attempts, .. } = *call;
            let model_quality = if model == 0 { 0 } else { price_quality };
            let (tokens, atto, saved) =
                (PackedTokens::from_buckets(&call.buckets), call.atto.into(), call.saved.into());
            #[rustfmt::skip]
            let new = ModelCall {
                finish, model, model_quality, price_quality, tokens, atto, saved, requested_model, provider, tenant,
                feature, error, trouble, fallback, attempts,
            };
            self.add_call(call.key, place.with(new));
        }
        if let Some(tool) = &item.tool {
            let tool_span = flag::IS_TOOL_CALL | flag::SPAN;
            let (name, alias) = if flags & tool_span == tool_span { (tool_name, 0) } else { (0, tool_name) };
            let (args, lines) = (tool.args, [item.work.lines_added, item.work.lines_removed]);
            self.add_tool(tool.key, place.with(ToolCall { name, alias, error, denial_source, args, lines }));
        }
        false
    }

    /// Adds an item's call to the sums of its trace, session, run, tenant and name, as it was charged.
    fn sum_item(&mut self, item: &ObservedItem, ids: ItemKeys, tenant: u16, name: u16) {
        let ItemKeys { trace, session, run } = ids;
        let mut sums = CallSums { tenant, name, ..CallSums::default() };
        if let Some(call) = &item.call {
            sums.add_call(call, item.flags);
        } else if item.is_tool_run() {
            let outcome = match item.flags {
                flags if flags & flag::DENIED != 0 => &mut sums.tool.denied,
                flags if flags & flag::FAILED != 0 => &mut sums.tool.failed,
                _ => &mut sums.tool.ok,
            };
            *outcome += 1;
            sums.work.lines = [item.work.lines_added, item.work.lines_removed].map(i128::from);
        }
        let position = TracePosition { trace, ..TracePosition::default() };
        let is_root = item.node != 0 && item.parent == 0 && item.flags & flag::SPAN != 0;
        let is_outside = item.flags & (flag::OUTSIDE_LOOP | flag::SUB_AGENT) != 0;
        let flags = item.flags & flag::COVERED
            | if is_root { flag::ENDED } else { 0 }
            | if is_outside { flag::OUTSIDE_LOOP } else { 0 };
        self.add_summed(SummedCalls { position, session, run, flags, start: item.start, end: item.end, detail: sums });
    }

    /// Adds calls to those that agree in place, names and kind. Failed ones are apart, so that the latest call of a run
    /// is known; covered ones, so that what plans cover is.
    fn add_summed(&mut self, new: SummedCalls) {
        let [trace, session, run] = [new.position.trace, new.session, new.run].map(|key| self.key_text(key));
        let kind = match (&new.model, new.failed_calls) {
            (model, 0) if *model == ModelTotals::default() => "tool",
            (model, 1..) if model.calls == 0 => "failed",
            _ => "model",
        };
        let has = |flag: u32, name| if new.flags & flag != 0 { name } else { "" };
        let (covered, outside) = (has(flag::COVERED, "covered"), has(flag::OUTSIDE_LOOP, "outside"));
        let [tenant, name] = [new.tenant, new.name].map(|name| self.name(name));
        let key = digest(&[kind, covered, outside, trace, session, run, tenant, name]);
        self.summed.insert(key, self.completed(self.summed.get(key), new));
    }

    /// By session, the latest time of its reported ends.
    pub(super) fn session_ends(&self) -> HashMap<u32, u64> {
        let mut ends = HashMap::new();
        for mark in self.marks.values().filter(|mark| mark.kind == mark::SESSION_END) {
            let latest: &mut u64 = ends.entry(mark.session).or_default();
            *latest = mark.end.max(*latest);
        }
        ends
    }

    /// What the stored forms of records lack: what caching saved of each call and sum, where older lists end, then the
    /// lines of tool calls and sums and the lengths of last messages. Empty if all of it is nothing.
    pub(super) fn unstored(&self) -> Vec<i128> {
        let calls = self.calls.values().map(|call| call.saved.amount());
        let saved = calls.chain(self.summed.values().map(|sums| sums.model.saved_atto_usd));
        let lines = self.tools.values().flat_map(|tool| tool.lines.map(i128::from));
        let lines = lines.chain(self.summed.values().flat_map(|sums| sums.work.lines));
        let summaries = self.marks.values().flat_map(|mark| {
            let (at, [characters, words]) = mark.summary;
            [at.into(), characters.into(), words.into()]
        });
        let unstored: Vec<i128> = saved.chain(lines).chain(summaries).collect();
        if unstored.iter().all(|amount| *amount == 0) { Vec::new() } else { unstored }
    }

    /// Sets what [`Self::unstored`] returned.
    pub(super) fn set_unstored(&mut self, unstored: Vec<i128>) {
        fn next<N: TryFrom<i128> + Default>(unstored: &mut impl Iterator<Item = i128>) -> N {
            unstored.next().and_then(|amount| amount.try_into().ok()).unwrap_or_default()
        }
        let from = &mut unstored.into_iter();
        self.calls.values_mut().for_each(|call| call.detail.saved = next::<i128>(from).into());
        self.summed.values_mut().for_each(|sums| sums.detail.model.saved_atto_usd = next(from));
        self.tools.values_mut().for_each(|tool| tool.detail.lines = [next(from), next(from)]);
        self.summed.values_mut().for_each(|sums| sums.detail.work.lines = [next(from), next(from)]);
        self.marks.values_mut().for_each(|mark| mark.detail.summary = (next(from), [next(from), next(from)]));
    }

    /// The item's tool call, as all its records so far report it.
    pub(super) fn tool_call(&self, item: &ObservedItem) -> Option<&ToolCallRecord> {
        self.tools.get(item.tool.as_ref()?.key)
    }

    /// Merges another group of the same account into this one. The numbers of its keys grow by the returned value.
    pub(super) fn merge(&mut self, other: Self) -> u32 {
        let shift = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        let key = |number: u32| if number == 0 { 0 } else { number.saturating_add(shift) };
        let names: Vec<u16> = other.names.iter().map(|name| self.intern(name)).collect();
        let name = |number: u16| numbered(&names, number.into()).copied().unwrap_or(0);
        for old in other.keys {
            self.keys.push(GroupKey { session: key(old.session), tags: old.tags.map(name), ..old });
        }
        for (place, old) in other.nodes.into_entries() {
            let (trace, run, denial_source) = (key(old.trace), key(old.run), name(old.denial_source));
            self.add_node(place, SpanNode { trace, run, denial_source, ..old });
        }
        fn renumbered<T: RecordDetail>(
            mut record: GroupRecord<T>,
            key: impl Fn(u32) -> u32,
            name: impl Fn(u16) -> u16,
        ) -> GroupRecord<T> {
            record.position.trace = key(record.position.trace);
            (record.session, record.run) = (key(record.session), key(record.run));
            record.detail.names_mut().for_each(|number| *number = name(*number));
            record
        }
        for (call_key, call) in other.calls.into_entries() {
            self.add_call(call_key, renumbered(call, key, name));
        }
        for (tool_key, tool) in other.tools.into_entries() {
            self.add_tool(tool_key, renumbered(tool, key, name));
        }
        for (mark_key, mark) in other.marks.into_entries() {
            self.add_mark(mark_key, renumbered(mark, key, name));
        }
        for (record_key, old) in other.published.into_entries() {
            let fired = self.published.get(record_key).map_or(0, |known| known.fired);
            self.published.insert(record_key, PublicationRecord { fired: old.fired | fired, ..old });
        }
        for (_, sums) in other.summed.into_entries() {
            self.add_summed(renumbered(sums, key, name));
        }
        self.set_current(self.current.iter().chain(&*other.current).cloned().collect());
        let moved = other.continued.into_iter().map(|(session, continued)| (key(session), continued));
        self.continued = std::mem::take(&mut self.continued).into_iter().chain(moved).take(MAX_CONTINUED).collect();
        self.written = [&*self.written, &*other.written].concat().into();
        self.maybe_written = [&*self.maybe_written, &*other.maybe_written].concat().into();
        self.set_owner(&other.owner, other.received);
        self.first_received = earlier(self.first_received, other.first_received);
        self.received = self.received.max(other.received);
        self.touched = self.touched.max(other.touched);
        self.batch = self.batch.max(other.batch);
        self.unfinished_runs = self.unfinished_runs.saturating_add(other.unfinished_runs);
        self.named_runs = self.named_runs.saturating_add(other.named_runs);
        shift
    }

    /// Gives the group to the owner of a batch that came at `received`, if it is the latest. All replicas compare the
    /// same times, so they agree.
    pub(super) fn set_owner(&mut self, owner: &RunOwner, received: u64) {
        let is_latest = received > self.received || (received == self.received && owner.is_here());
        if is_latest && self.owner != *owner {
            self.owner = owner.clone();
        }
    }

    fn update_keys(&mut self, item: &ObservedItem, ids: ItemKeys, touched: u64, tags: AttributionTags) {
        self.touched = self.touched.max(touched);
        for number in [ids.trace, ids.session, ids.run] {
            let Some(known) = self.key(number).map(|key| key.tags) else { continue };
            let tags = known.zip(tags, |a, b| self.first_name(a, b));
            let Some(key) = self.key_mut(number) else { continue };
            key.first = earlier(key.first, item.start);
            key.last = key.last.max(item.end).max(item.start);
            key.touched = key.touched.max(touched);
            key.tags = tags;
        }
    }

    /// Records which session a trace was seen with.
    fn link_trace_to_session(&mut self, ids: ItemKeys) {
        let known = self.key(ids.trace).map_or(0, |key| key.session);
        let session = self.first_key(known, ids.session);
        if let Some(key) = self.key_mut(ids.trace) {
            key.session = session;
        }
    }

    fn add_item_node(&mut self, item: &ObservedItem, ids: ItemKeys, denial_source: u16) {
        if item.node == 0 {
            return;
        }
        let is_span = item.flags & flag::SPAN != 0;
        let is_sub_agent = item.flags & flag::SUB_AGENT != 0;
        let denied = is_span && item.flags & flag::DENIED != 0;
        let node = SpanNode {
            parent: if is_span { item.parent } else { 0 },
            trace: ids.trace,
            run: ids.run,
            iteration: item.iteration,
            agent: is_span && item.mark == mark::AGENT && !is_sub_agent,
            denied,
            denial_source: if denied { denial_source } else { 0 },
        };
        if is_span || node.run != 0 || node.iteration != 0 {
            self.add_node(item.node, node);
        }
    }

    fn add_node(&mut self, place: u64, new: SpanNode) {
        let node = self.nodes.get(place).map_or(new, |known| SpanNode {
            parent: known.parent.max(new.parent),
            trace: known.trace.max(new.trace),
            run: self.first_key(known.run, new.run),
            iteration: known.iteration.max(new.iteration),
            agent: known.agent || new.agent,
            denied: known.denied || new.denied,
            denial_source: self.first_name(known.denial_source, new.denial_source),
        });
        self.nodes.insert(place, node);
    }

    fn add_call(&mut self, key: u64, new: ModelCallRecord) {
        self.has_trouble |= new.trouble != trouble::NONE;
        self.calls.insert(key, self.completed(self.calls.get(key), new));
    }

    fn add_tool(&mut self, key: u64, new: ToolCallRecord) {
        self.tools.insert(key, self.completed(self.tools.get(key), new));
    }

    fn add_mark(&mut self, key: u64, new: LifecycleMark) {
        self.marks.insert(key, self.completed(self.marks.get(key), new));
    }
}

impl CallSums {
    /// Adds a call by its own record alone: of several records of one call, the cost step charged one.
    fn add_call(&mut self, call: &ObservedModelCall, flags: u32) {
        if call.price_quality == price_quality::CHANGE {
            self.model.atto_usd = self.model.atto_usd.saturating_add(call.atto);
            self.model.saved_atto_usd = self.model.saved_atto_usd.saturating_add(call.saved);
            return;
        }
        let Some(is_answered) = call.is_answered(flags) else { return };
        let (is_priced, answered) = (call.price_quality == price_quality::PRICED, u64::from(is_answered));
        self.failed_calls += 1 - answered;
        self.iterations += if flags & (flag::OUTSIDE_LOOP | flag::SUB_AGENT) == 0 { answered } else { 0 };
        self.model.add(&ModelTotals {
            calls: answered,
            tokens: call.buckets,
            atto_usd: if is_priced { call.atto } else { 0 },
            covered_atto_usd: 0,
            saved_atto_usd: if is_priced { call.saved } else { 0 },
            unpriced: if is_priced { 0 } else { answered },
            no_usage: if flags & flag::NO_USAGE != 0 { answered } else { 0 },
        });
    }
}

pub(super) fn mark_key(item: &ObservedItem) -> u64 {
    let place = if item.node == 0 { item.start } else { item.node };
    place ^ u64::from(item.mark)
}

/// Returns `a` or `b` as `a_first` says; if one of them is missing, the other one.
fn first_present<N: Copy + Default + PartialEq>(a: N, b: N, a_first: impl FnOnce() -> bool) -> N {
    let missing = N::default();
    if b == missing || (a != missing && a_first()) { a } else { b }
}

/// Merges flags by union, except `TURN_TOKENS`: tokens count as a turn's only if all records agree.
fn merge_flags(a: u32, b: u32) -> u32 {
    ((a | b) & !flag::TURN_TOKENS) | (a & b & flag::TURN_TOKENS)
}
