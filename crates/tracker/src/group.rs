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
    price_quality, trouble,
};
use super::tokens::{PackedAttoUsd, PackedTokens};

pub(super) use super::group_data::{
    AttributionTags, CurrentRun, GroupKey, ItemGroup, LifecycleMark, ModelCallRecord, PublicationRecord, SpanNode,
    SummedCalls, ToolCallRecord, TracePosition,
};

/// Maximum number of items that are kept one by one; of further calls only sums are kept.
pub(super) const MAX_ITEMS: usize = 20_000;
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

/// Adds a record to a map of the group. A record that is known already is merged with the new one: of the fields before
/// the semicolon, the alphabetically first name is kept.
macro_rules! add_record {
    ($group:ident.$records:ident, $key:ident, $known:ident, $new:ident => $kind:ident {
        $($name:ident),*; $($field:ident: $value:expr,)*
    }) => {
        let record = match $group.$records.get($key).cloned() {
            None => $new,
            Some($known) => $kind {
                session: $group.first_key($known.session, $new.session),
                run: $group.first_key($known.run, $new.run),
                flags: merge_flags($known.flags, $new.flags),
                start: earlier($known.start, $new.start),
                end: $known.end.max($new.end),
                $($name: $group.first_name($known.$name, $new.$name),)*
                $($field: $value,)*
                position: $group.first_position($known.position, $new.position),
            },
        };
        $group.$records.insert($key, record);
    };
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
    pub(super) fn continued_by(&self, session: u32) -> &str {
        let found = self.continued.iter().find(|(known, _)| *known == session);
        found.map_or("", |(_, continued)| continued)
    }

    pub(super) fn set_continued(&mut self, session: u32, continued: &str) {
        let others = std::mem::take(&mut self.continued).into_iter().filter(|(known, _)| *known != session);
        self.continued = others.chain([(session, continued.into())]).collect();
    }

    /// Whether further calls are only summed.
    pub(super) fn is_full(&self) -> bool {
        self.nodes.len().max(self.calls.len() + self.tools.len()) >= MAX_ITEMS
    }

    pub(super) fn key(&self, number: u32) -> Option<&GroupKey> {
        self.keys.get((number as usize).checked_sub(1)?)
    }

    /// The text of the key with this number; "" if there is none.
    pub(super) fn key_text(&self, number: u32) -> &str {
        self.key(number).map_or("", |key| &key.text)
    }

    /// The name with this number; "" if there is none.
    pub(super) fn name(&self, number: u16) -> &str {
        usize::from(number).checked_sub(1).and_then(|index| self.names.get(index)).map_or("", |name| name)
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
        let rank = |position: &TracePosition| (position.node == 0, !position.is_own_span, position.node);
        let trace = self.first_key(a.trace, b.trace);
        match rank(&a).cmp(&rank(&b)) {
            Ordering::Less => a,
            Ordering::Greater => b,
            Ordering::Equal => TracePosition { trace, ..a },
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
        let tags = AttributionTags::from_attribution(&item.attribution, &mut name);
        let (finish, error) = (name(item.finish), name(item.error));
        let call_names =
            item.call.as_ref().map(|call| [name(call.model), name(call.requested_model), name(call.provider)]);
        let mark_model = name(item.model);
        let [tool_name, denial_source] =
            item.tool.as_ref().map_or([0, 0], |tool| [name(tool.name), name(tool.denial_source)]);
        self.update_keys(item, ids, touched, tags);
        self.link_trace_to_session(ids);
        let is_full = self.is_full();
        if !is_full || self.nodes.get(item.node).is_some() || item.mark != mark::NONE {
            self.add_item_node(item, ids, denial_source);
        }
        let is_new_call = |call: &ObservedModelCall| self.calls.get(call.key).is_none();
        let is_new_tool = |tool: &ObservedToolCall| self.tools.get(tool.key).is_none();
        if is_full && (item.call.as_ref().is_some_and(is_new_call) || item.tool.as_ref().is_some_and(is_new_tool)) {
            let name = call_names.map_or(tool_name, |[model, ..]| model);
            self.sum_item(item, ids, tags.tenant, name);
            return true;
        }
        let ItemKeys { trace, session, run } = ids;
        let ObservedItem { node, flags, start, end, .. } = *item;
        let AttributionTags { tenant, feature, .. } = tags;
        let position = || TracePosition { is_own_span: node != 0 && flags & flag::SPAN != 0, node, trace };
        if let (Some(call), Some([model, requested_model, provider])) = (&item.call, call_names) {
            let ObservedModelCall { price_quality, trouble, fallback, attempts, .. } = *call;
            #[rustfmt::skip]
            let new = ModelCallRecord {
                position: position(), session, run, flags, start, end, finish, model, price_quality,
                model_quality: if model == 0 { 0 } else { price_quality },
                tokens: PackedTokens::from_buckets(&call.buckets), atto: PackedAttoUsd::new(call.atto),
                requested_model, provider, tenant, feature, error, trouble, fallback, attempts,
            };
            self.add_call(call.key, new);
        }
        if let Some(tool) = &item.tool {
            let tool_span = flag::IS_TOOL_CALL | flag::SPAN;
            let (name, alias) = if flags & tool_span == tool_span { (tool_name, 0) } else { (0, tool_name) };
            #[rustfmt::skip]
            let new = ToolCallRecord {
                position: position(), session, run, flags, start, end, name, alias, error, denial_source,
                args: tool.args,
            };
            self.add_tool(tool.key, new);
        }
        #[rustfmt::skip]
        let new_mark = |kind, flags| LifecycleMark {
            kind, position: position(), session, run, flags, start, end, finish, tenant, feature, model: mark_model,
            error,
        };
        let has_room = self.marks.len() < MAX_ITEMS;
        if item.mark != mark::NONE && has_room {
            self.add_mark(mark_key(item), new_mark(item.mark, flags));
        }
        if item.sub_agent != 0 && has_room {
            self.add_mark(item.sub_agent, new_mark(mark::SUB_AGENT, flags & !flag::FAILED));
        }
        false
    }

    /// Adds an item's call to the sums of its trace, session, run, tenant and name, as it was charged.
    fn sum_item(&mut self, item: &ObservedItem, ids: ItemKeys, tenant: u16, name: u16) {
        let ItemKeys { trace, session, run } = ids;
        let mut sum = SummedCalls {
            position: TracePosition { trace, ..TracePosition::default() },
            session,
            run,
            start: item.start,
            end: item.end,
            tenant,
            name,
            ..SummedCalls::default()
        };
        if let Some(call) = &item.call {
            sum.add_call(call, item.flags);
        } else if item.flags & (flag::TOOL_RAN | flag::IS_TOOL_CALL) == flag::TOOL_RAN | flag::IS_TOOL_CALL {
            let outcome = match item.flags {
                flags if flags & flag::DENIED != 0 => &mut sum.tool.denied,
                flags if flags & flag::FAILED != 0 => &mut sum.tool.failed,
                _ => &mut sum.tool.ok,
            };
            *outcome += 1;
        }
        self.add_summed(sum, item.call.is_some());
    }

    fn add_summed(&mut self, new: SummedCalls, is_model: bool) {
        let (session, run) = (self.key_text(new.session), self.key_text(new.run));
        let kind = if is_model { "model" } else { "tool" };
        let key = digest(&[
            kind,
            self.key_text(new.position.trace),
            session,
            run,
            self.name(new.tenant),
            self.name(new.name),
        ]);
        match self.summed.get_mut(key) {
            Some(known) => known.add(&new),
            None => self.summed.insert(key, new),
        }
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

    /// The merged flags of the item's tool call; 0 if the call is not in the group.
    pub(super) fn tool_flags(&self, item: &ObservedItem) -> u32 {
        self.tool_name_and_flags(item).map_or(0, |(_, flags)| flags)
    }

    /// Like [`Self::tool_flags`], with the tool's name.
    pub(super) fn tool_name_and_flags(&self, item: &ObservedItem) -> Option<(&str, u32)> {
        let tool = self.tools.get(item.tool.as_ref()?.key)?;
        let name = if tool.name == 0 { tool.alias } else { tool.name };
        Some((self.name(name), tool.flags))
    }

    /// Merges another group of the same account into this one. The numbers of its keys grow by the returned value.
    pub(super) fn merge(&mut self, other: Self) -> u32 {
        let shift = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        let key = |number: u32| if number == 0 { 0 } else { number.saturating_add(shift) };
        let names: Vec<u16> = other.names.iter().map(|name| self.intern(name)).collect();
        let name =
            |number: u16| usize::from(number).checked_sub(1).and_then(|index| names.get(index)).copied().unwrap_or(0);
        let position = |old: &TracePosition| TracePosition { trace: key(old.trace), ..*old };
        for old in other.keys {
            self.keys.push(GroupKey { session: key(old.session), tags: old.tags.map(name), ..old });
        }
        for (place, old) in other.nodes.into_entries() {
            let (trace, run, denial_source) = (key(old.trace), key(old.run), name(old.denial_source));
            self.add_node(place, SpanNode { trace, run, denial_source, ..old });
        }
        /// A record of the other group with the numbers that its keys and names have in this one.
        macro_rules! renumbered {
            ($kind:ident, $old:ident, $($name:ident),*) => {
                $kind {
                    position: position(&$old.position),
                    session: key($old.session),
                    run: key($old.run),
                    $($name: name($old.$name),)*
                    ..$old
                }
            };
        }
        for (call_key, old) in other.calls.into_entries() {
            let call =
                renumbered!(ModelCallRecord, old, finish, model, requested_model, provider, tenant, feature, error);
            self.add_call(call_key, call);
        }
        for (call_key, old) in other.tools.into_entries() {
            self.add_tool(call_key, renumbered!(ToolCallRecord, old, name, alias, error, denial_source));
        }
        for (mark_key, old) in other.marks.into_entries() {
            self.add_mark(mark_key, renumbered!(LifecycleMark, old, finish, tenant, feature, model, error));
        }
        for (record_key, old) in other.published.into_entries() {
            let fired = self.published.get(record_key).map_or(0, |known| known.fired);
            self.published.insert(record_key, PublicationRecord { fired: old.fired | fired, ..old });
        }
        for (_, old) in other.summed.into_entries() {
            let is_model = old.model != ModelTotals::default() || old.failed_calls != 0;
            let summed = SummedCalls {
                position: position(&old.position),
                session: key(old.session),
                run: key(old.run),
                tenant: name(old.tenant),
                name: name(old.name),
                ..old
            };
            self.add_summed(summed, is_model);
        }
        self.set_current(self.current.iter().chain(&*other.current).cloned().collect());
        let moved = other.continued.into_iter().map(|(session, continued)| (key(session), continued));
        self.continued = std::mem::take(&mut self.continued).into_iter().chain(moved).collect();
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
            let Some(key) = (number as usize).checked_sub(1).and_then(|index| self.keys.get_mut(index)) else {
                continue;
            };
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
        if let Some(key) = (ids.trace as usize).checked_sub(1).and_then(|index| self.keys.get_mut(index)) {
            key.session = session;
        }
    }

    /// Records the item's place in the trace.
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
        let Some(known) = self.nodes.get(place) else {
            self.nodes.insert(place, new);
            return;
        };
        let run = self.first_key(known.run, new.run);
        let denial_source = self.first_name(known.denial_source, new.denial_source);
        if let Some(known) = self.nodes.get_mut(place) {
            known.parent = known.parent.max(new.parent);
            known.trace = known.trace.max(new.trace);
            known.run = run;
            known.iteration = known.iteration.max(new.iteration);
            known.agent |= new.agent;
            known.denied |= new.denied;
            known.denial_source = denial_source;
        }
    }

    fn add_call(&mut self, key: u64, new: ModelCallRecord) {
        self.has_trouble |= new.trouble != trouble::NONE;
        add_record!(self.calls, key, known, new => ModelCallRecord {
            finish, requested_model, provider, feature, error;
            tenant: of_better((known.price_quality, known.tenant), (new.price_quality, new.tenant), |a, b| {
                self.first_name(a, b)
            }),
            model: of_better((known.model_quality, known.model), (new.model_quality, new.model), |a, b| {
                self.first_name(a, b)
            }),
            model_quality: known.model_quality.max(new.model_quality),
            price_quality: known.price_quality.max(new.price_quality),
            atto: (known.price_quality, known.atto).max((new.price_quality, new.atto)).1,
            tokens: known.tokens.max(new.tokens),
            trouble: most_specific_trouble(known.trouble, new.trouble),
            fallback: most_specific_trouble(known.fallback, new.fallback),
            attempts: known.attempts.max(new.attempts),
        });
    }

    fn add_tool(&mut self, key: u64, new: ToolCallRecord) {
        add_record!(self.tools, key, known, new => ToolCallRecord {
            name, alias, error, denial_source;
            args: known.args.max(new.args),
        });
    }

    fn add_mark(&mut self, key: u64, new: LifecycleMark) {
        add_record!(self.marks, key, known, new => LifecycleMark {
            finish, tenant, feature, model, error;
            kind: known.kind.max(new.kind),
        });
    }
}

impl SummedCalls {
    /// Adds a call by its own record alone: of several records of one call, the cost step charged one.
    fn add_call(&mut self, call: &ObservedModelCall, flags: u32) {
        let is_counted = match call.price_quality {
            price_quality::CHANGE => {
                self.model.atto_usd = self.model.atto_usd.saturating_add(call.atto);
                return;
            }
            price_quality::PRICED | price_quality::UNPRICED => true,
            price_quality::UNKNOWN => flags & flag::SPAN != 0,
            _ => false,
        };
        if !is_counted {
            return;
        }
        let is_priced = call.price_quality == price_quality::PRICED;
        // a price that came late says only that the call has not failed
        let is_answered = flags & flag::ANSWERED != 0 || (is_priced && flags & flag::FAILED == 0);
        let answered = u64::from(is_answered);
        self.failed_calls += 1 - answered;
        self.iterations += if flags & (flag::OUTSIDE_LOOP | flag::SUB_AGENT) == 0 { answered } else { 0 };
        self.model.add(&ModelTotals {
            calls: answered,
            tokens: call.buckets,
            atto_usd: if is_priced { call.atto } else { 0 },
            unpriced: if is_priced { 0 } else { answered },
            no_usage: if flags & flag::NO_USAGE != 0 { answered } else { 0 },
        });
    }

    fn add(&mut self, other: &Self) {
        self.start = earlier(self.start, other.start);
        self.end = self.end.max(other.end);
        self.iterations += other.iterations;
        self.failed_calls += other.failed_calls;
        self.model.add(&other.model);
        self.tool.add(&other.tool);
    }
}

pub(super) fn mark_key(item: &ObservedItem) -> u64 {
    let place = if item.node == 0 { item.start } else { item.node };
    place ^ u64::from(item.mark)
}

/// Returns the more specific trouble: a named one, then "other", then none; of two named ones the lower number.
fn most_specific_trouble(a: u8, b: u8) -> u8 {
    match (a, b) {
        (trouble::NONE, trouble) | (trouble, trouble::NONE) => trouble,
        _ => a.min(b),
    }
}

/// The name in the record of better quality; of two equal ones, what `tie` returns.
pub(super) fn of_better(known: (u8, u16), new: (u8, u16), tie: impl FnOnce(u16, u16) -> u16) -> u16 {
    match known.0.cmp(&new.0) {
        Ordering::Greater => known.1,
        Ordering::Less => new.1,
        Ordering::Equal => tie(known.1, new.1),
    }
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
