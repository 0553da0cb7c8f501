//! [`ItemGroup`]: the items of sessions and traces that were seen together. A trace may hold several sessions and a
//! session many traces; any item that names both joins them.
//! Adding an item twice, or in another order, changes nothing: every field is a minimum, a maximum or a union. Only
//! the numbers of keys and names depend on the order, so nothing compares by them. `resolve` assigns items to runs;
//! `store` finds the group of a key.

use std::cmp::Ordering;

use super::compact_map::CompactMap;
use super::observation::{
    BatchObservation, ObservedItem, ObservedKey, ObservedModelCall, earlier, flag, key_kind, mark, trouble,
};
use super::tokens::{PackedAttoUsd, PackedTokens};

pub(super) use super::group_data::{
    AttributionTags, GroupKey, ItemGroup, LifecycleMark, ModelCallRecord, PublicationRecord, SpanNode, ToolCallRecord,
    TracePosition,
};

/// Maximum number of distinct names (models, tools, tenants and so on) in one group.
const MAX_NAMES: usize = 255;
/// Replaces names beyond the maximum.
const OTHER: &str = "other";

/// The keys of an item, as numbers in its group.
#[derive(Clone, Copy)]
pub(super) struct ItemKeys {
    pub(super) trace: u32,
    pub(super) session: u32,
    pub(super) run: u32,
}

impl ItemGroup {
    pub(super) fn new(account: &str) -> Self {
        Self {
            account: account.into(),
            keys: Vec::new(),
            names: Vec::new(),
            nodes: CompactMap::default(),
            calls: CompactMap::default(),
            tools: CompactMap::default(),
            marks: CompactMap::default(),
            published: CompactMap::default(),
            contributions: Box::default(),
            received: 0,
            touched: 0,
            batch: 0,
            unfinished_runs: 0,
            named_runs: 0,
            has_trouble: false,
        }
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
            + self.contributions.len() / 40
    }

    /// The key with this number.
    pub(super) fn key(&self, number: u32) -> Option<&GroupKey> {
        self.keys.get((number as usize).checked_sub(1)?)
    }

    /// The text of the key with this number; "" if there is none.
    pub(super) fn key_text(&self, number: u32) -> &str {
        self.key(number).map_or("", |key| &key.text)
    }

    /// The name with this number; "" if there is none.
    pub(super) fn name(&self, number: u16) -> &str {
        usize::from(number).checked_sub(1).and_then(|at| self.names.get(at)).map_or("", |name| name)
    }

    /// Adds a key that the index does not hold yet; returns its number.
    pub(super) fn add_key(&mut self, id: [u8; 16], seen: &ObservedKey, within: u32) -> u32 {
        let text = seen.text.clone();
        let kind = seen.kind;
        self.named_runs = self.named_runs.saturating_add(u32::from(kind == key_kind::RUN));
        self.keys.push(GroupKey {
            id,
            kind,
            text,
            session: within,
            first: 0,
            last: 0,
            touched: 0,
            tags: AttributionTags::default(),
        });
        u32::try_from(self.keys.len()).unwrap_or(u32::MAX)
    }

    fn intern(&mut self, name: &str) -> u16 {
        let known = self.names.iter().position(|known| **known == *name);
        let at = known.unwrap_or_else(|| {
            let name = if self.names.len() < MAX_NAMES { name } else { OTHER };
            if let Some(at) = self.names.iter().position(|known| **known == *name) {
                return at;
            }
            self.names.push(name.into());
            self.names.len() - 1
        });
        u16::try_from(at + 1).unwrap_or(0)
    }

    /// Returns the name that is alphabetically first; a missing name loses.
    pub(super) fn first_name(&self, a: u16, b: u16) -> u16 {
        first_present(a, b, self.name(a) <= self.name(b))
    }

    /// Returns the key that is alphabetically first; a missing key loses.
    pub(super) fn first_key(&self, a: u32, b: u32) -> u32 {
        first_present(a, b, self.full_text(a) <= self.full_text(b))
    }

    /// The texts of a key and of its session; keys are compared by these.
    pub(super) fn full_text(&self, number: u32) -> (&str, &str) {
        (self.key_text(number), self.key(number).map_or("", |key| self.key_text(key.session)))
    }

    /// A span's own place is preferred to the span a log record was written in, and that to a trace alone.
    fn first_position(&self, a: TracePosition, b: TracePosition) -> TracePosition {
        let rank = |spot: &TracePosition| (spot.node == 0, !spot.is_own_span, spot.node);
        let trace = self.first_key(a.trace, b.trace);
        match rank(&a).cmp(&rank(&b)) {
            Ordering::Less => a,
            Ordering::Greater => b,
            Ordering::Equal => TracePosition { trace, ..a },
        }
    }

    /// Adds one item of a batch; its keys must already be in the group.
    pub(super) fn add_item(&mut self, sight: &BatchObservation, seen: &ObservedItem, ids: ItemKeys, touched: u64) {
        let mut name = |number: u32| {
            let text = (number as usize).checked_sub(1).and_then(|at| sight.names.get(at));
            text.map_or(0, |text| self.intern(text))
        };
        let tags = AttributionTags::from_attribution(&seen.attribution, &mut name);
        let (finish, error) = (name(seen.finish), name(seen.error));
        let call = seen.call.as_ref().map(|call| [name(call.model), name(call.requested_model), name(call.provider)]);
        let of_mark = name(seen.model);
        let [tool, source] = seen.tool.as_ref().map_or([0, 0], |tool| [name(tool.name), name(tool.denial_source)]);
        self.update_keys(seen, ids, touched, tags);
        self.link_trace_to_session(ids);
        self.add_place(seen, ids, source);
        let ItemKeys { trace, session, run } = ids;
        let ObservedItem { node, flags, start, end, .. } = *seen;
        let spot = TracePosition { is_own_span: node != 0 && flags & flag::SPAN != 0, node, trace };
        if let (Some(call), Some([model, asked, provider])) = (&seen.call, call) {
            let ObservedModelCall { key, price_quality: worth, buckets, atto, trouble, fallback, attempts, .. } = *call;
            let (tokens, atto) = (PackedTokens::from_buckets(&buckets), PackedAttoUsd::new(atto));
            let spot = spot.clone();
            let model_worth = if model == 0 { 0 } else { worth };
            #[rustfmt::skip]
            let new = ModelCallRecord {
                position: spot, session, run, flags, start, end, finish, model, model_quality: model_worth, price_quality: worth, tokens, atto,
                requested_model: asked, provider, tenant: tags.tenant, feature: tags.feature, error, trouble, fallback, attempts,
            };
            self.add_call(key, new);
        }
        if let Some(seen) = &seen.tool {
            let (name, alias) = if flags & (flag::IS_TOOL_CALL | flag::SPAN) == flag::IS_TOOL_CALL | flag::SPAN {
                (tool, 0)
            } else {
                (0, tool)
            };
            let (spot, args) = (spot.clone(), seen.args);
            self.add_tool(
                seen.key,
                ToolCallRecord {
                    position: spot,
                    session,
                    run,
                    flags,
                    start,
                    end,
                    name,
                    alias,
                    error,
                    denial_source: source,
                    args,
                },
            );
        }
        let mark = |kind| {
            let spot = spot.clone();
            let AttributionTags { tenant, feature, .. } = tags;
            LifecycleMark {
                kind,
                position: spot,
                session,
                run,
                flags,
                start,
                end,
                finish,
                tenant,
                feature,
                model: of_mark,
                error,
            }
        };
        if seen.mark != mark::NONE {
            let own = if node == 0 { start ^ u64::from(seen.mark) } else { node ^ u64::from(seen.mark) };
            self.add_mark(own, mark(seen.mark));
        }
        if seen.sub_agent != 0 {
            self.add_mark(seen.sub_agent, LifecycleMark { flags: flags & !flag::FAILED, ..mark(mark::SUB_AGENT) });
        }
    }

    /// The merged flags of the item's tool call; 0 if the call is not in the group.
    pub(super) fn tool_flags(&self, seen: &ObservedItem) -> u16 {
        self.tool_name_and_flags(seen).map_or(0, |(_, flags)| flags)
    }

    /// Like [`Self::heard`], with the tool's name.
    pub(super) fn tool_name_and_flags(&self, seen: &ObservedItem) -> Option<(&str, u16)> {
        let tool = self.tools.get(seen.tool.as_ref()?.key)?;
        let name = if tool.name == 0 { tool.alias } else { tool.name };
        Some((self.name(name), tool.flags))
    }

    /// Merges another group of the same account into this one. The numbers of its keys grow by the returned value.
    pub(super) fn merge(&mut self, other: Self) -> u32 {
        let shift = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        let key = |number: u32| if number == 0 { 0 } else { number.saturating_add(shift) };
        let names: Vec<u16> = other.names.iter().map(|name| self.intern(name)).collect();
        let name = |number: u16| usize::from(number).checked_sub(1).and_then(|at| names.get(at)).copied().unwrap_or(0);
        for one in other.keys {
            self.keys.push(GroupKey { session: key(one.session), tags: one.tags.map(name), ..one });
        }
        for (at, one) in other.nodes.into_entries() {
            self.add_node(
                at,
                SpanNode { trace: key(one.trace), run: key(one.run), denial_source: name(one.denial_source), ..one },
            );
        }
        let spot = |spot: &TracePosition| TracePosition { trace: key(spot.trace), ..*spot };
        for (at, one) in other.calls.into_entries() {
            let (session, run, finish, model) = (key(one.session), key(one.run), name(one.finish), name(one.model));
            let (asked, provider, error) = (name(one.requested_model), name(one.provider), name(one.error));
            let (spot, tenant, feature) = (spot(&one.position), name(one.tenant), name(one.feature));
            self.add_call(
                at,
                ModelCallRecord {
                    position: spot,
                    session,
                    run,
                    finish,
                    model,
                    requested_model: asked,
                    provider,
                    tenant,
                    feature,
                    error,
                    ..one
                },
            );
        }
        for (at, one) in other.tools.into_entries() {
            let (session, run, error, source) =
                (key(one.session), key(one.run), name(one.error), name(one.denial_source));
            let (spot, name, alias) = (spot(&one.position), name(one.name), name(one.alias));
            self.add_tool(
                at,
                ToolCallRecord { position: spot, session, run, name, alias, error, denial_source: source, ..one },
            );
        }
        for (at, one) in other.marks.into_entries() {
            let (session, run) = (key(one.session), key(one.run));
            let (finish, tenant, feature) = (name(one.finish), name(one.tenant), name(one.feature));
            let (model, error, spot) = (name(one.model), name(one.error), spot(&one.position));
            self.add_mark(
                at,
                LifecycleMark { position: spot, session, run, finish, tenant, feature, model, error, ..one },
            );
        }
        for (at, one) in other.published.into_entries() {
            let fired = self.published.get(at).map_or(0, |known| known.fired);
            self.published.insert(at, PublicationRecord { fired: one.fired | fired, ..one });
        }
        self.contributions = [&*self.contributions, &*other.contributions].concat().into();
        self.received = self.received.max(other.received);
        self.touched = self.touched.max(other.touched);
        self.batch = self.batch.max(other.batch);
        self.unfinished_runs = self.unfinished_runs.saturating_add(other.unfinished_runs);
        self.named_runs = self.named_runs.saturating_add(other.named_runs);
        shift
    }

    /// Updates times and tags of the item's keys.
    fn update_keys(&mut self, seen: &ObservedItem, ids: ItemKeys, touched: u64, tags: AttributionTags) {
        self.touched = self.touched.max(touched);
        for number in [ids.trace, ids.session, ids.run] {
            let Some(known) = self.key(number).map(|key| key.tags) else { continue };
            let tags = known.zip(tags, |a, b| self.first_name(a, b));
            let Some(key) = (number as usize).checked_sub(1).and_then(|at| self.keys.get_mut(at)) else { continue };
            key.first = earlier(key.first, seen.start);
            key.last = key.last.max(seen.end).max(seen.start);
            key.touched = key.touched.max(touched);
            key.tags = tags;
        }
    }

    /// Records which session a trace was seen with.
    fn link_trace_to_session(&mut self, ids: ItemKeys) {
        let known = self.key(ids.trace).map_or(0, |key| key.session);
        let first = self.first_key(known, ids.session);
        if let Some(key) = (ids.trace as usize).checked_sub(1).and_then(|at| self.keys.get_mut(at)) {
            key.session = first;
        }
    }

    /// Records the item's place in the trace.
    fn add_place(&mut self, seen: &ObservedItem, ids: ItemKeys, source: u16) {
        if seen.node == 0 {
            return;
        }
        let is_span = seen.flags & flag::SPAN != 0;
        let sub = seen.flags & flag::SUB_AGENT != 0;
        let node = SpanNode {
            parent: if is_span { seen.parent } else { 0 },
            trace: ids.trace,
            run: ids.run,
            iteration: seen.iteration,
            agent: is_span && seen.mark == mark::AGENT && !sub,
            denied: is_span && seen.flags & flag::DENIED != 0,
            denial_source: if is_span && seen.flags & flag::DENIED != 0 { source } else { 0 },
        };
        if is_span || node.run != 0 || node.iteration != 0 {
            self.add_node(seen.node, node);
        }
    }

    fn add_node(&mut self, at: u64, new: SpanNode) {
        let run = self.nodes.get(at).map_or(new.run, |known| self.first_key(known.run, new.run));
        let source = self
            .nodes
            .get(at)
            .map_or(new.denial_source, |known| self.first_name(known.denial_source, new.denial_source));
        match self.nodes.get_mut(at) {
            None => {
                self.nodes.insert(at, new);
            }
            Some(known) => {
                known.parent = known.parent.max(new.parent);
                known.trace = known.trace.max(new.trace);
                known.run = run;
                known.iteration = known.iteration.max(new.iteration);
                known.agent |= new.agent;
                known.denied |= new.denied;
                known.denial_source = source;
            }
        }
    }

    fn add_call(&mut self, key: u64, new: ModelCallRecord) {
        self.has_trouble |= new.trouble != trouble::NONE;
        let Some(known) = self.calls.remove(key) else {
            self.calls.insert(key, new);
            return;
        };
        let (model, model_worth) = match known.model_quality.cmp(&new.model_quality) {
            Ordering::Greater => (known.model, known.model_quality),
            Ordering::Less => (new.model, new.model_quality),
            Ordering::Equal => (self.first_name(known.model, new.model), new.model_quality),
        };
        let (worth, atto) = (known.price_quality, known.atto).max((new.price_quality, new.atto));
        let merged = ModelCallRecord {
            position: self.first_position(known.position, new.position),
            session: self.first_key(known.session, new.session),
            run: self.first_key(known.run, new.run),
            flags: merge_flags(known.flags, new.flags),
            start: earlier(known.start, new.start),
            end: known.end.max(new.end),
            finish: self.first_name(known.finish, new.finish),
            model,
            model_quality: model_worth,
            price_quality: worth,
            atto,
            tokens: known.tokens.max(new.tokens),
            requested_model: self.first_name(known.requested_model, new.requested_model),
            provider: self.first_name(known.provider, new.provider),
            tenant: self.first_name(known.tenant, new.tenant),
            feature: self.first_name(known.feature, new.feature),
            error: self.first_name(known.error, new.error),
            trouble: most_specific_trouble(known.trouble, new.trouble),
            fallback: most_specific_trouble(known.fallback, new.fallback),
            attempts: known.attempts.max(new.attempts),
        };
        self.calls.insert(key, merged);
    }

    fn add_tool(&mut self, key: u64, new: ToolCallRecord) {
        let Some(known) = self.tools.remove(key) else {
            self.tools.insert(key, new);
            return;
        };
        let merged = ToolCallRecord {
            position: self.first_position(known.position, new.position),
            session: self.first_key(known.session, new.session),
            run: self.first_key(known.run, new.run),
            flags: merge_flags(known.flags, new.flags),
            start: earlier(known.start, new.start),
            end: known.end.max(new.end),
            name: self.first_name(known.name, new.name),
            alias: self.first_name(known.alias, new.alias),
            error: self.first_name(known.error, new.error),
            denial_source: self.first_name(known.denial_source, new.denial_source),
            args: known.args.max(new.args),
        };
        self.tools.insert(key, merged);
    }

    fn add_mark(&mut self, key: u64, new: LifecycleMark) {
        let Some(known) = self.marks.remove(key) else {
            self.marks.insert(key, new);
            return;
        };
        let merged = LifecycleMark {
            kind: known.kind.max(new.kind),
            position: self.first_position(known.position, new.position),
            session: self.first_key(known.session, new.session),
            run: self.first_key(known.run, new.run),
            flags: merge_flags(known.flags, new.flags),
            start: earlier(known.start, new.start),
            end: known.end.max(new.end),
            finish: self.first_name(known.finish, new.finish),
            tenant: self.first_name(known.tenant, new.tenant),
            feature: self.first_name(known.feature, new.feature),
            model: self.first_name(known.model, new.model),
            error: self.first_name(known.error, new.error),
        };
        self.marks.insert(key, merged);
    }
}

/// Returns the more specific trouble: a named one, then "other", then none; of two named ones the lower number.
fn most_specific_trouble(a: u8, b: u8) -> u8 {
    match (a, b) {
        (trouble::NONE, other) | (other, trouble::NONE) => other,
        _ => a.min(b),
    }
}

fn first_present<N: Copy + Default + PartialEq>(a: N, b: N, a_first: bool) -> N {
    match (a, b) {
        (none, other) | (other, none) if none == N::default() => other,
        _ if a_first => a,
        _ => b,
    }
}

/// Merges flags by union, except `TURN`: tokens count as a turn's only if all records agree.
fn merge_flags(a: u16, b: u16) -> u16 {
    ((a | b) & !flag::TURN_TOKENS) | (a & b & flag::TURN_TOKENS)
}
