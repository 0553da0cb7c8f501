//! **What**: [`Group`]: what is remembered of sessions and traces that were seen together. **Why**: a trace may hold
//! several sessions and a session many traces; what belongs together is told by any item that names both.
//! **Invariants**: adding an item twice changes nothing, and the order of items changes nothing: every field is a
//! minimum, a maximum or a union. Only numbers of keys and names depend on the order, so nothing compares by them.
//! **Not here**: which run an item belongs to (`resolve`), which group a key is in (`store`).

use std::cmp::Ordering;
use std::collections::HashSet;

use super::codec::record;
use super::seen::{KeySeen, Seen, SeenCall, Sight, earlier, flag, kind, mark};
use super::table::Table;
use super::tokens::{Atto, Tokens};

/// Names of models, tools, tenants and so on that one group tells apart.
const MAX_NAMES: usize = 255;
/// What the rest is called.
const OTHER: &str = "other";

record! {
    /// Sessions and traces seen together, with all their items.
    #[derive(Clone)]
    pub(super) struct Group {
        account: Box<str>,
        /// A number of a key is its index + 1.
        keys: Vec<Key>,
        names: Vec<Box<str>>,
        /// By place.
        nodes: Table<Node>,
        calls: Table<Call>,
        tools: Table<Tool>,
        marks: Table<Mark>,
        /// Runs and sessions that were added up already: digests of their ids.
        closed: HashSet<u64>,
        /// Gateway time of the last batch, unix ns.
        received: u64,
        /// The engine's running time at the last batch.
        touched: u64,
        /// The number of the last batch.
        batch: u64,
        /// Runs that had not ended when last looked at.
        open: u32,
        /// Runs that the dialect names.
        named: u32,
    }

    /// A session, a trace or a named run.
    #[derive(Clone)]
    pub(super) struct Key {
        /// In the store's index.
        id: [u8; 16],
        kind: u8,
        text: Box<str>,
        /// Of a run: its session. Of a trace: the first session in the alphabet that was seen with it.
        within: u32,
        first: u64,
        last: u64,
        /// The engine's running time at the last batch that named it.
        touched: u64,
        tenant: u16,
        feature: u16,
    }

    /// A place in a trace: a span, or one that was only named yet.
    #[derive(Clone)]
    pub(super) struct Node {
        parent: u64,
        trace: u32,
        /// The run that an item at this place names.
        run: u32,
        iteration: u32,
        /// Whether an agent invocation stands here that may be a run's root.
        agent: bool,
        /// A tool was denied here.
        denied: bool,
    }

    /// Where an item stands.
    #[derive(Clone)]
    pub(super) struct Spot {
        /// The place is the item's own (a span), not the one it was written at.
        own: bool,
        /// 0 = not told.
        node: u64,
        trace: u32,
    }

    /// A model call.
    #[derive(Clone)]
    pub(super) struct Call {
        spot: Spot,
        session: u32,
        run: u32,
        flags: u16,
        start: u64,
        end: u64,
        finish: u16,
        model: u16,
        /// Of the record that told the model.
        model_worth: u8,
        worth: u8,
        tokens: Tokens,
        atto: Atto,
    }

    /// A tool call.
    #[derive(Clone)]
    pub(super) struct Tool {
        spot: Spot,
        session: u32,
        run: u32,
        flags: u16,
        start: u64,
        end: u64,
        /// As the tool's own span tells it.
        name: u16,
        /// As others tell it.
        alias: u16,
    }

    /// A begin or end.
    #[derive(Clone)]
    pub(super) struct Mark {
        kind: u8,
        spot: Spot,
        session: u32,
        run: u32,
        flags: u16,
        start: u64,
        end: u64,
        finish: u16,
        tenant: u16,
        feature: u16,
        model: u16,
    }
}

/// Where an item stands, in numbers of its group.
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
            closed: HashSet::new(),
            received: 0,
            touched: 0,
            batch: 0,
            open: 0,
            named: 0,
        }
    }

    /// About how much memory it takes, in units of 40 bytes.
    pub(super) fn weight(&self) -> usize {
        14 + 5 * self.keys.len()
            + self.names.len()
            + self.nodes.len()
            + 3 * self.calls.len()
            + 2 * self.tools.len()
            + 2 * self.marks.len()
    }

    /// The key of a number.
    pub(super) fn key(&self, number: u32) -> Option<&Key> {
        self.keys.get((number as usize).checked_sub(1)?)
    }

    /// The text of a key's number; "" for none.
    pub(super) fn text(&self, number: u32) -> &str {
        self.key(number).map_or("", |key| &key.text)
    }

    /// The text of a name's number; "" for none.
    pub(super) fn name(&self, number: u16) -> &str {
        usize::from(number).checked_sub(1).and_then(|at| self.names.get(at)).map_or("", |name| name)
    }

    /// Adds a key that the index does not know; returns its number.
    pub(super) fn add_key(&mut self, id: [u8; 16], seen: &KeySeen, within: u32) -> u32 {
        let text = seen.text.clone();
        let kind = seen.kind;
        self.named = self.named.saturating_add(u32::from(kind == kind::RUN));
        self.keys.push(Key { id, kind, text, within, first: 0, last: 0, touched: 0, tenant: 0, feature: 0 });
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

    /// Of two names the one that comes first in the alphabet; anything before nothing.
    fn first_name(&self, a: u16, b: u16) -> u16 {
        first_of(a, b, self.name(a) <= self.name(b))
    }

    /// Of two keys the one that comes first in the alphabet.
    pub(super) fn first_key(&self, a: u32, b: u32) -> u32 {
        first_of(a, b, self.full_text(a) <= self.full_text(b))
    }

    /// What a key is called, with its session: by this keys compare.
    pub(super) fn full_text(&self, number: u32) -> (&str, &str) {
        (self.text(number), self.key(number).map_or("", |key| self.text(key.within)))
    }

    /// A span's own place says more than where a log record was written, that more than a trace alone.
    fn first_spot(&self, a: Spot, b: Spot) -> Spot {
        let rank = |spot: &Spot| (spot.node == 0, !spot.own, spot.node);
        let trace = self.first_key(a.trace, b.trace);
        match rank(&a).cmp(&rank(&b)) {
            Ordering::Less => a,
            Ordering::Greater => b,
            Ordering::Equal => Spot { trace, ..a },
        }
    }

    /// Adds one item of a batch, whose keys are in the group.
    pub(super) fn add(&mut self, sight: &Sight, seen: &Seen, ids: Ids, touched: u64) {
        let mut name = |number: u32| {
            let text = (number as usize).checked_sub(1).and_then(|at| sight.names.get(at));
            text.map_or(0, |text| self.intern(text))
        };
        let (tenant, feature, finish) = (name(seen.tenant), name(seen.feature), name(seen.finish));
        let model = seen.call.as_ref().map_or(0, |call| name(call.model));
        let of_mark = name(seen.model);
        let tool = seen.tool.as_ref().map_or(0, |tool| name(tool.name));
        self.touch(seen, ids, touched, tenant, feature);
        self.tie(ids);
        self.place(seen, ids);
        let Ids { trace, session, run } = ids;
        let Seen { node, flags, start, end, .. } = *seen;
        let spot = Spot { own: node != 0 && flags & flag::SPAN != 0, node, trace };
        if let Some(call) = &seen.call {
            let SeenCall { key, worth, buckets, atto, .. } = *call;
            let (tokens, atto) = (Tokens::of(&buckets), Atto::of(atto));
            let spot = spot.clone();
            let model_worth = if model == 0 { 0 } else { worth };
            #[rustfmt::skip]
            let new = Call { spot, session, run, flags, start, end, finish, model, model_worth, worth, tokens, atto };
            self.add_call(key, new);
        }
        if let Some(seen) = &seen.tool {
            let (name, alias) =
                if flags & (flag::NAMED | flag::SPAN) == flag::NAMED | flag::SPAN { (tool, 0) } else { (0, tool) };
            self.add_tool(seen.key, Tool { spot: spot.clone(), session, run, flags, start, end, name, alias });
        }
        let mark = |kind| {
            let spot = spot.clone();
            Mark { kind, spot, session, run, flags, start, end, finish, tenant, feature, model: of_mark }
        };
        if seen.mark != mark::NONE {
            let own = if node == 0 { start ^ u64::from(seen.mark) } else { node ^ u64::from(seen.mark) };
            self.add_mark(own, mark(seen.mark));
        }
        if seen.sub_agent != 0 {
            self.add_mark(seen.sub_agent, Mark { flags: flags & !flag::FAILED, ..mark(mark::SUB_AGENT) });
        }
    }

    /// Takes in another group of the same account. The numbers of its keys grow by what is returned.
    pub(super) fn absorb(&mut self, other: Self) -> u32 {
        let shift = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        let key = |number: u32| if number == 0 { 0 } else { number.saturating_add(shift) };
        let names: Vec<u16> = other.names.iter().map(|name| self.intern(name)).collect();
        let name = |number: u16| usize::from(number).checked_sub(1).and_then(|at| names.get(at)).copied().unwrap_or(0);
        for one in other.keys {
            let (within, tenant, feature) = (key(one.within), name(one.tenant), name(one.feature));
            self.keys.push(Key { within, tenant, feature, ..one });
        }
        for (at, one) in other.nodes.into_entries() {
            self.add_node(at, Node { trace: key(one.trace), run: key(one.run), ..one });
        }
        let spot = |spot: &Spot| Spot { trace: key(spot.trace), ..*spot };
        for (at, one) in other.calls.into_entries() {
            let (session, run, finish, model) = (key(one.session), key(one.run), name(one.finish), name(one.model));
            self.add_call(at, Call { spot: spot(&one.spot), session, run, finish, model, ..one });
        }
        for (at, one) in other.tools.into_entries() {
            let (session, run, name, alias) = (key(one.session), key(one.run), name(one.name), name(one.alias));
            self.add_tool(at, Tool { spot: spot(&one.spot), session, run, name, alias, ..one });
        }
        for (at, one) in other.marks.into_entries() {
            let (session, run) = (key(one.session), key(one.run));
            let (finish, tenant, feature) = (name(one.finish), name(one.tenant), name(one.feature));
            let model = name(one.model);
            self.add_mark(at, Mark { spot: spot(&one.spot), session, run, finish, tenant, feature, model, ..one });
        }
        self.closed.extend(other.closed);
        self.received = self.received.max(other.received);
        self.touched = self.touched.max(other.touched);
        self.batch = self.batch.max(other.batch);
        self.open = self.open.saturating_add(other.open);
        self.named = self.named.saturating_add(other.named);
        shift
    }

    /// Tells the keys of an item who was active when.
    fn touch(&mut self, seen: &Seen, ids: Ids, touched: u64, tenant: u16, feature: u16) {
        self.touched = self.touched.max(touched);
        for number in [ids.trace, ids.session, ids.run] {
            let Some(key) = self.key(number) else { continue };
            let tenant = self.first_name(key.tenant, tenant);
            let feature = self.first_name(key.feature, feature);
            let Some(key) = (number as usize).checked_sub(1).and_then(|at| self.keys.get_mut(at)) else { continue };
            key.first = earlier(key.first, seen.start);
            key.last = key.last.max(seen.end).max(seen.start);
            key.touched = key.touched.max(touched);
            (key.tenant, key.feature) = (tenant, feature);
        }
    }

    /// Remembers which session a trace was seen with.
    fn tie(&mut self, ids: Ids) {
        let known = self.key(ids.trace).map_or(0, |key| key.within);
        let first = self.first_key(known, ids.session);
        if let Some(key) = (ids.trace as usize).checked_sub(1).and_then(|at| self.keys.get_mut(at)) {
            key.within = first;
        }
    }

    /// Remembers where the item stands.
    fn place(&mut self, seen: &Seen, ids: Ids) {
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
        };
        if is_span || node.run != 0 || node.iteration != 0 {
            self.add_node(seen.node, node);
        }
    }

    fn add_node(&mut self, at: u64, new: Node) {
        let run = self.nodes.get(at).map_or(new.run, |known| self.first_key(known.run, new.run));
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
            }
        }
    }

    fn add_call(&mut self, key: u64, new: Call) {
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
        };
        self.marks.insert(key, merged);
    }
}

fn first_of<N: Copy + Default + PartialEq>(a: N, b: N, a_first: bool) -> N {
    match (a, b) {
        (none, other) | (other, none) if none == N::default() => other,
        _ if a_first => a,
        _ => b,
    }
}

/// A call that anyone saw answered is one; tokens of a turn stay such only if nobody says that they are a call's.
fn merge_flags(a: u16, b: u16) -> u16 {
    ((a | b) & !flag::TURN) | (a & b & flag::TURN)
}
