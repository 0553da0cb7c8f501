//! [`Group`]: the items of sessions and traces that were seen together. A trace may hold several sessions and a
//! session many traces; any item that names both joins them.
//! Adding an item twice, or in another order, changes nothing: every field is a minimum, a maximum or a union. Only
//! the numbers of keys and names depend on the order, so nothing compares by them. `resolve` assigns items to runs;
//! `store` finds the group of a key.

use std::cmp::Ordering;

use super::seen::{KeySeen, Seen, SeenCall, Sight, earlier, flag, kind, mark, trouble};
use super::table::Table;
use super::tokens::{Atto, Tokens};

pub(super) use super::items::{Announced, Call, Group, Key, Mark, Node, Spot, Tags, Tool};

/// Maximum number of distinct names (models, tools, tenants and so on) in one group.
const MAX_NAMES: usize = 255;
/// Replaces names beyond the maximum.
const OTHER: &str = "other";

/// The keys of an item, as numbers in its group.
#[derive(Clone, Copy)]
pub(super) struct Ids {
    pub(super) trace: u32,
    pub(super) session: u32,
    pub(super) run: u32,
}

impl Group {
    pub(super) fn new(account: &str) -> Self {
        Self {
            account: account.into(),
            keys: Vec::new(),
            names: Vec::new(),
            nodes: Table::default(),
            calls: Table::default(),
            tools: Table::default(),
            marks: Table::default(),
            announced: Table::default(),
            counted: Box::default(),
            received: 0,
            touched: 0,
            batch: 0,
            open: 0,
            named: 0,
            troubled: false,
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
            + self.announced.len()
            + self.counted.len() / 40
    }

    /// The key with this number.
    pub(super) fn key(&self, number: u32) -> Option<&Key> {
        self.keys.get((number as usize).checked_sub(1)?)
    }

    /// The text of the key with this number; "" if there is none.
    pub(super) fn text(&self, number: u32) -> &str {
        self.key(number).map_or("", |key| &key.text)
    }

    /// The name with this number; "" if there is none.
    pub(super) fn name(&self, number: u16) -> &str {
        usize::from(number).checked_sub(1).and_then(|at| self.names.get(at)).map_or("", |name| name)
    }

    /// Adds a key that the index does not hold yet; returns its number.
    pub(super) fn add_key(&mut self, id: [u8; 16], seen: &KeySeen, within: u32) -> u32 {
        let text = seen.text.clone();
        let kind = seen.kind;
        self.named = self.named.saturating_add(u32::from(kind == kind::RUN));
        self.keys.push(Key { id, kind, text, within, first: 0, last: 0, touched: 0, tags: Tags::default() });
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
        first_of(a, b, self.name(a) <= self.name(b))
    }

    /// Returns the key that is alphabetically first; a missing key loses.
    pub(super) fn first_key(&self, a: u32, b: u32) -> u32 {
        first_of(a, b, self.full_text(a) <= self.full_text(b))
    }

    /// The texts of a key and of its session; keys are compared by these.
    pub(super) fn full_text(&self, number: u32) -> (&str, &str) {
        (self.text(number), self.key(number).map_or("", |key| self.text(key.within)))
    }

    /// A span's own place is preferred to the span a log record was written in, and that to a trace alone.
    fn first_spot(&self, a: Spot, b: Spot) -> Spot {
        let rank = |spot: &Spot| (spot.node == 0, !spot.own, spot.node);
        let trace = self.first_key(a.trace, b.trace);
        match rank(&a).cmp(&rank(&b)) {
            Ordering::Less => a,
            Ordering::Greater => b,
            Ordering::Equal => Spot { trace, ..a },
        }
    }

    /// Adds one item of a batch; its keys must already be in the group.
    pub(super) fn add(&mut self, sight: &Sight, seen: &Seen, ids: Ids, touched: u64) {
        let mut name = |number: u32| {
            let text = (number as usize).checked_sub(1).and_then(|at| sight.names.get(at));
            text.map_or(0, |text| self.intern(text))
        };
        let tags = Tags::of(&seen.who, &mut name);
        let (finish, error) = (name(seen.finish), name(seen.error));
        let call = seen.call.as_ref().map(|call| [name(call.model), name(call.asked), name(call.provider)]);
        let of_mark = name(seen.model);
        let [tool, source] = seen.tool.as_ref().map_or([0, 0], |tool| [name(tool.name), name(tool.source)]);
        self.touch(seen, ids, touched, tags);
        self.tie(ids);
        self.place(seen, ids, source);
        let Ids { trace, session, run } = ids;
        let Seen { node, flags, start, end, .. } = *seen;
        let spot = Spot { own: node != 0 && flags & flag::SPAN != 0, node, trace };
        if let (Some(call), Some([model, asked, provider])) = (&seen.call, call) {
            let SeenCall { key, worth, buckets, atto, trouble, fallback, attempts, .. } = *call;
            let (tokens, atto) = (Tokens::of(&buckets), Atto::of(atto));
            let spot = spot.clone();
            let model_worth = if model == 0 { 0 } else { worth };
            #[rustfmt::skip]
            let new = Call {
                spot, session, run, flags, start, end, finish, model, model_worth, worth, tokens, atto,
                asked, provider, tenant: tags.tenant, feature: tags.feature, error, trouble, fallback, attempts,
            };
            self.add_call(key, new);
        }
        if let Some(seen) = &seen.tool {
            let (name, alias) =
                if flags & (flag::NAMED | flag::SPAN) == flag::NAMED | flag::SPAN { (tool, 0) } else { (0, tool) };
            let (spot, args) = (spot.clone(), seen.args);
            self.add_tool(seen.key, Tool { spot, session, run, flags, start, end, name, alias, error, source, args });
        }
        let mark = |kind| {
            let spot = spot.clone();
            let Tags { tenant, feature, .. } = tags;
            Mark { kind, spot, session, run, flags, start, end, finish, tenant, feature, model: of_mark, error }
        };
        if seen.mark != mark::NONE {
            let own = if node == 0 { start ^ u64::from(seen.mark) } else { node ^ u64::from(seen.mark) };
            self.add_mark(own, mark(seen.mark));
        }
        if seen.sub_agent != 0 {
            self.add_mark(seen.sub_agent, Mark { flags: flags & !flag::FAILED, ..mark(mark::SUB_AGENT) });
        }
    }

    /// The merged flags of the item's tool call; 0 if the call is not in the group.
    pub(super) fn heard(&self, seen: &Seen) -> u16 {
        self.heard_of(seen).map_or(0, |(_, flags)| flags)
    }

    /// Like [`Self::heard`], with the tool's name.
    pub(super) fn heard_of(&self, seen: &Seen) -> Option<(&str, u16)> {
        let tool = self.tools.get(seen.tool.as_ref()?.key)?;
        let name = if tool.name == 0 { tool.alias } else { tool.name };
        Some((self.name(name), tool.flags))
    }

    /// Merges another group of the same account into this one. The numbers of its keys grow by the returned value.
    pub(super) fn absorb(&mut self, other: Self) -> u32 {
        let shift = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        let key = |number: u32| if number == 0 { 0 } else { number.saturating_add(shift) };
        let names: Vec<u16> = other.names.iter().map(|name| self.intern(name)).collect();
        let name = |number: u16| usize::from(number).checked_sub(1).and_then(|at| names.get(at)).copied().unwrap_or(0);
        for one in other.keys {
            self.keys.push(Key { within: key(one.within), tags: one.tags.map(name), ..one });
        }
        for (at, one) in other.nodes.into_entries() {
            self.add_node(at, Node { trace: key(one.trace), run: key(one.run), source: name(one.source), ..one });
        }
        let spot = |spot: &Spot| Spot { trace: key(spot.trace), ..*spot };
        for (at, one) in other.calls.into_entries() {
            let (session, run, finish, model) = (key(one.session), key(one.run), name(one.finish), name(one.model));
            let (asked, provider, error) = (name(one.asked), name(one.provider), name(one.error));
            let (spot, tenant, feature) = (spot(&one.spot), name(one.tenant), name(one.feature));
            self.add_call(
                at,
                Call { spot, session, run, finish, model, asked, provider, tenant, feature, error, ..one },
            );
        }
        for (at, one) in other.tools.into_entries() {
            let (session, run, error, source) = (key(one.session), key(one.run), name(one.error), name(one.source));
            let (spot, name, alias) = (spot(&one.spot), name(one.name), name(one.alias));
            self.add_tool(at, Tool { spot, session, run, name, alias, error, source, ..one });
        }
        for (at, one) in other.marks.into_entries() {
            let (session, run) = (key(one.session), key(one.run));
            let (finish, tenant, feature) = (name(one.finish), name(one.tenant), name(one.feature));
            let (model, error, spot) = (name(one.model), name(one.error), spot(&one.spot));
            self.add_mark(at, Mark { spot, session, run, finish, tenant, feature, model, error, ..one });
        }
        for (at, one) in other.announced.into_entries() {
            let fired = self.announced.get(at).map_or(0, |known| known.fired);
            self.announced.insert(at, Announced { fired: one.fired | fired, ..one });
        }
        self.counted = [&*self.counted, &*other.counted].concat().into();
        self.received = self.received.max(other.received);
        self.touched = self.touched.max(other.touched);
        self.batch = self.batch.max(other.batch);
        self.open = self.open.saturating_add(other.open);
        self.named = self.named.saturating_add(other.named);
        shift
    }

    /// Updates times and tags of the item's keys.
    fn touch(&mut self, seen: &Seen, ids: Ids, touched: u64, tags: Tags) {
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
    fn tie(&mut self, ids: Ids) {
        let known = self.key(ids.trace).map_or(0, |key| key.within);
        let first = self.first_key(known, ids.session);
        if let Some(key) = (ids.trace as usize).checked_sub(1).and_then(|at| self.keys.get_mut(at)) {
            key.within = first;
        }
    }

    /// Records the item's place in the trace.
    fn place(&mut self, seen: &Seen, ids: Ids, source: u16) {
        if seen.node == 0 {
            return;
        }
        let is_span = seen.flags & flag::SPAN != 0;
        let sub = seen.flags & flag::SUB != 0;
        let node = Node {
            parent: if is_span { seen.parent } else { 0 },
            trace: ids.trace,
            run: ids.run,
            iteration: seen.iteration,
            agent: is_span && seen.mark == mark::AGENT && !sub,
            denied: is_span && seen.flags & flag::DENIED != 0,
            source: if is_span && seen.flags & flag::DENIED != 0 { source } else { 0 },
        };
        if is_span || node.run != 0 || node.iteration != 0 {
            self.add_node(seen.node, node);
        }
    }

    fn add_node(&mut self, at: u64, new: Node) {
        let run = self.nodes.get(at).map_or(new.run, |known| self.first_key(known.run, new.run));
        let source = self.nodes.get(at).map_or(new.source, |known| self.first_name(known.source, new.source));
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
                known.source = source;
            }
        }
    }

    fn add_call(&mut self, key: u64, new: Call) {
        self.troubled |= new.trouble != trouble::NONE;
        let Some(known) = self.calls.remove(key) else {
            self.calls.insert(key, new);
            return;
        };
        let (model, model_worth) = match known.model_worth.cmp(&new.model_worth) {
            Ordering::Greater => (known.model, known.model_worth),
            Ordering::Less => (new.model, new.model_worth),
            Ordering::Equal => (self.first_name(known.model, new.model), new.model_worth),
        };
        let (worth, atto) = (known.worth, known.atto).max((new.worth, new.atto));
        let merged = Call {
            spot: self.first_spot(known.spot, new.spot),
            session: self.first_key(known.session, new.session),
            run: self.first_key(known.run, new.run),
            flags: merge_flags(known.flags, new.flags),
            start: earlier(known.start, new.start),
            end: known.end.max(new.end),
            finish: self.first_name(known.finish, new.finish),
            model,
            model_worth,
            worth,
            atto,
            tokens: known.tokens.max(new.tokens),
            asked: self.first_name(known.asked, new.asked),
            provider: self.first_name(known.provider, new.provider),
            tenant: self.first_name(known.tenant, new.tenant),
            feature: self.first_name(known.feature, new.feature),
            error: self.first_name(known.error, new.error),
            trouble: surest(known.trouble, new.trouble),
            fallback: surest(known.fallback, new.fallback),
            attempts: known.attempts.max(new.attempts),
        };
        self.calls.insert(key, merged);
    }

    fn add_tool(&mut self, key: u64, new: Tool) {
        let Some(known) = self.tools.remove(key) else {
            self.tools.insert(key, new);
            return;
        };
        let merged = Tool {
            spot: self.first_spot(known.spot, new.spot),
            session: self.first_key(known.session, new.session),
            run: self.first_key(known.run, new.run),
            flags: merge_flags(known.flags, new.flags),
            start: earlier(known.start, new.start),
            end: known.end.max(new.end),
            name: self.first_name(known.name, new.name),
            alias: self.first_name(known.alias, new.alias),
            error: self.first_name(known.error, new.error),
            source: self.first_name(known.source, new.source),
            args: known.args.max(new.args),
        };
        self.tools.insert(key, merged);
    }

    fn add_mark(&mut self, key: u64, new: Mark) {
        let Some(known) = self.marks.remove(key) else {
            self.marks.insert(key, new);
            return;
        };
        let merged = Mark {
            kind: known.kind.max(new.kind),
            spot: self.first_spot(known.spot, new.spot),
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
fn surest(a: u8, b: u8) -> u8 {
    match (a, b) {
        (trouble::NONE, other) | (other, trouble::NONE) => other,
        _ => a.min(b),
    }
}

fn first_of<N: Copy + Default + PartialEq>(a: N, b: N, a_first: bool) -> N {
    match (a, b) {
        (none, other) | (other, none) if none == N::default() => other,
        _ if a_first => a,
        _ => b,
    }
}

/// Merges flags by union, except `TURN`: tokens count as a turn's only if all records agree.
fn merge_flags(a: u16, b: u16) -> u16 {
    ((a | b) & !flag::TURN) | (a & b & flag::TURN)
}
