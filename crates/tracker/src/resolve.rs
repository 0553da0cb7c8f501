//! [`Resolved`]: the runs of one group and their totals. Items arrive in any order, so they are assigned to runs only
//! on demand, from everything known by then.
//! The result is a function of the set of items alone, and every counted item is in exactly one run. `tree` holds the
//! spans, `sum` adds up, `look` decides when a run is over.

use std::collections::{HashMap, HashSet};

use runs::{Peaks, Totals};

use super::group::{Call, Group, Mark, Spot, Tags, Tool};
use super::run::{Id, Item, Run, What, first_nonzero};
use super::seen::{earlier, kind, mark};
use super::sum;
use super::terms::Terms;
use super::timeline::{Timeline, count_steps};
use super::tree::Tree;

/// The runs of a group.
pub(super) struct Resolved<'g> {
    pub(super) group: &'g Group,
    pub(super) tree: Tree,
    pub(super) runs: Vec<Run>,
    by_id: HashMap<Id, usize>,
    /// The named runs and roots in each trace.
    by_trace: HashMap<u32, Vec<usize>>,
    by_session: HashMap<u32, Vec<usize>>,
    /// The same runs ordered by time, as of the last `tell_times`.
    times_of_traces: HashMap<u32, Timeline>,
    times_of_sessions: HashMap<u32, Timeline>,
}

impl<'g> Resolved<'g> {
    pub(super) fn of(group: &'g Group, terms: &Terms) -> Self {
        let items = items(group);
        count_steps(items.len());
        let mut resolved = Self {
            group,
            tree: Tree::of(group),
            runs: Vec::new(),
            by_id: HashMap::new(),
            by_trace: HashMap::new(),
            by_session: HashMap::new(),
            times_of_traces: HashMap::new(),
            times_of_sessions: HashMap::new(),
        };
        resolved.find(&items);
        let mut homes: Vec<Option<usize>> =
            items.iter().map(|item| resolved.certain(item.named, item.spot.node)).collect();
        for (item, home) in items.iter().zip(&homes) {
            resolved.widen(*home, item);
        }
        resolved.place(&items, &mut homes);
        resolved.name();
        sum::add_up(&mut resolved, &items, &homes, terms);
        resolved
    }

    /// The traces of each run.
    pub(super) fn traces_of_runs(&self) -> HashMap<Id, Vec<u32>> {
        let mut traces: HashMap<Id, Vec<u32>> = HashMap::new();
        for (trace, runs) in &self.by_trace {
            let runs = runs.iter().filter_map(|at| self.runs.get(*at));
            runs.for_each(|run| traces.entry(run.id).or_default().push(*trace));
        }
        traces
    }

    /// The run of an item: by the id it names and its place, otherwise by trace, session and time.
    pub(super) fn run_of(&self, named: u32, spot: &Spot, session: u32, at: u64) -> Option<&Run> {
        let run = self.certain(named, spot.node).or_else(|| self.likely(spot.trace, session, at));
        let run = run.or_else(|| self.by_id.get(&stray(spot.trace, session)).copied())?;
        self.runs.get(run)
    }

    fn certain(&self, named: u32, place: u64) -> Option<usize> {
        let root = self.tree.above(place).root;
        let id = match (named, self.tree.run(place)) {
            (0, 0) if root == 0 => return None,
            (0, 0) => Id::Root(root),
            (0, named) | (named, _) => Id::Named(named),
        };
        self.by_id.get(&id).copied()
    }

    fn likely(&self, trace: u32, session: u32, at: u64) -> Option<usize> {
        match self.times_of_traces.get(&trace) {
            Some(several) => {
                let by_time = || several.under_way(at).or_else(|| several.begun(at)).or_else(|| several.first());
                several.only().or_else(by_time)
            }
            None => self.times_of_sessions.get(&session)?.under_way(at),
        }
    }

    /// Rebuilds the timelines that [`Self::likely`] searches, from the runs' current times.
    fn tell_times(&mut self) {
        let timeline = |runs: &Vec<usize>| {
            let times = |run: usize| self.runs.get(run).map_or((0, 0, run), |one| (one.start, one.last, run));
            let mut ranked: Vec<usize> = runs.clone();
            ranked.sort_by(|a, b| self.rank(*a).cmp(&self.rank(*b)));
            Timeline::of(&ranked.into_iter().map(times).collect::<Vec<_>>())
        };
        let all = |by: &HashMap<u32, Vec<usize>>| by.iter().map(|(key, runs)| (*key, timeline(runs))).collect();
        (self.times_of_traces, self.times_of_sessions) = (all(&self.by_trace), all(&self.by_session));
    }

    /// Orders runs by start time, then by properties that do not depend on the order of items.
    fn rank(&self, run: usize) -> (u64, (&str, &str), u64) {
        self.runs.get(run).map_or((0, ("", ""), 0), |run| match run.id {
            Id::Root(place) => (run.start, ("", ""), place),
            Id::Named(key) | Id::Trace(key) | Id::Session(key) => (run.start, self.group.full_text(key), 0),
        })
    }

    fn open(&mut self, id: Id) -> usize {
        let runs = &mut self.runs;
        *self.by_id.entry(id).or_insert_with(|| {
            runs.push(Run {
                id,
                text: String::new(),
                session: String::new(),
                session_key: 0,
                tags: Tags::default(),
                model: 0,
                start: 0,
                last: 0,
                roots: Vec::new(),
                root: None,
                touched: 0,
                ended: false,
                presumed_end: false,
                failed: false,
                presumed_failed: false,
                okay: false,
                killed: false,
                totals: Totals::default(),
                peaks: Peaks::default(),
                acts: Vec::new(),
                trace: 0,
                alone: false,
                own_session: 0,
            });
            runs.len() - 1
        })
    }

    /// Opens the named runs and the runs of root agent invocations, and records their traces.
    fn find(&mut self, items: &[Item<'_>]) {
        let group = self.group;
        for (number, key) in (1..).zip(&group.keys).filter(|(_, key)| key.kind == kind::RUN) {
            let run = self.open(Id::Named(number));
            if let Some(run) = self.runs.get_mut(run) {
                (run.start, run.last, run.session_key) = (key.first, key.last, key.within);
                (run.tags, run.touched) = (key.tags, key.touched);
            }
        }
        let mut pairs: HashSet<(u32, usize)> = HashSet::new();
        for (place, node) in group.nodes.iter() {
            let named = first_nonzero(node.run, self.tree.run(place));
            let id = if named != 0 { Id::Named(named) } else { Id::Root(place) };
            if named != 0 || self.tree.above(place).root == place {
                pairs.insert((node.trace, self.open(id)));
            }
        }
        for item in items.iter().filter(|item| item.named != 0) {
            pairs.insert((item.spot.trace, self.open(Id::Named(item.named))));
        }
        // A span whose parent has not arrived yet belongs to a run of its own trace, not to another run of its session
        // that is under way.
        let with_runs: HashSet<u32> = pairs.iter().map(|(trace, _)| *trace).collect();
        let unrooted: Vec<u64> = self.tree.unrooted().collect();
        let sub_agents = unrooted.into_iter().filter_map(|place| group.nodes.get(place)).map(|node| node.trace);
        let is_orphan = |item: &&Item<'_>| {
            let above = self.tree.above(item.spot.node);
            item.spot.own && item.named == 0 && item.opens() && above.orphan != 0 && above.root == 0
        };
        let orphans = items.iter().filter(is_orphan).map(|item| item.spot.trace);
        let rootless: HashSet<u32> = sub_agents.chain(orphans).filter(|trace| !with_runs.contains(trace)).collect();
        for trace in rootless {
            pairs.insert((trace, self.open(Id::Trace(trace))));
        }
        for (trace, at) in pairs.into_iter().filter(|(trace, _)| *trace != 0) {
            self.by_trace.entry(trace).or_default().push(at);
            if let Some(run) = self.runs.get_mut(at) {
                run.trace = group.first_key(run.trace, trace);
            }
        }
    }

    /// Extends a run's times to include the item.
    fn widen(&mut self, run: Option<usize>, item: &Item<'_>) {
        let group = self.group;
        let Some(run) = run.and_then(|run| self.runs.get_mut(run)) else { return };
        run.start = earlier(run.start, item.start);
        run.last = run.last.max(item.end);
        if !matches!(run.id, Id::Named(_)) {
            run.session_key = group.first_key(run.session_key, item.session);
        }
        let What::Mark(mark) = item.what else { return };
        if mark.kind != mark::AGENT || self.tree.above(item.spot.node).root != item.spot.node {
            return;
        }
        run.model = first_nonzero(run.model, mark.model);
        if run.id == Id::Root(item.spot.node) {
            run.tags = Tags { tenant: mark.tenant, feature: mark.feature, ..run.tags };
            run.own_session = mark.session;
        }
    }

    /// Assigns the items that no run is certain of; items that count come first, because they may open a run.
    fn place(&mut self, items: &[Item<'_>], homes: &mut [Option<usize>]) {
        for run in 0..self.runs.len() {
            if let Some(session) = self.runs.get(run).map(|run| self.session_of(run)) {
                self.by_session.entry(session).or_default().push(run);
            }
        }
        self.tell_times();
        for (item, home) in items.iter().zip(homes.iter_mut()).filter(|(_, home)| home.is_none()) {
            *home = self.likely(item.spot.trace, item.session, item.start);
            if home.is_none() && item.opens() {
                *home = Some(self.open(stray(item.spot.trace, item.session)));
            }
        }
        for (item, home) in items.iter().zip(homes.iter_mut()) {
            let by_stray = self.by_id.get(&stray(item.spot.trace, item.session)).copied();
            *home = home.or(by_stray);
            if let Some(run) = home.and_then(|run| self.runs.get_mut(run))
                && let Id::Trace(key) = run.id
            {
                run.trace = key;
            }
        }
        for (item, home) in items.iter().zip(homes.iter()) {
            self.widen(*home, item);
        }
        self.tell_times();
    }

    fn session_of(&self, run: &Run) -> u32 {
        let by_trace = self.group.key(run.trace).map_or(0, |trace| trace.within);
        [run.own_session, run.session_key, by_trace].into_iter().fold(0, first_nonzero)
    }

    /// Sets ids, sessions and tags. The first root of a trace gets the trace's id.
    fn name(&mut self) {
        let group = self.group;
        let mut ranks: Vec<(u32, u64, u64, usize)> = Vec::new();
        for at in 0..self.runs.len() {
            let session = self.runs.get(at).map_or(0, |run| self.session_of(run));
            let Some(run) = self.runs.get_mut(at) else { continue };
            if let Id::Root(place) = run.id {
                ranks.push((run.trace, run.start, place, at));
            }
            run.session_key = session;
            run.text = match run.id {
                Id::Named(key) | Id::Trace(key) | Id::Session(key) => group.text(key).to_owned(),
                Id::Root(place) => format!("{}-{place:016x}", group.text(run.trace)),
            };
        }
        ranks.sort_unstable();
        ranks.dedup_by_key(|(trace, ..)| *trace);
        for (trace, .., at) in ranks {
            if let Some(run) = self.runs.get_mut(at) {
                run.text = group.text(trace).to_owned();
            }
        }
        let mut traces: HashMap<u32, usize> = HashMap::new();
        self.runs.iter().for_each(|run| *traces.entry(run.trace).or_default() += 1);
        for run in &mut self.runs {
            run.alone = traces.get(&run.trace) == Some(&1);
            run.session = match (run.session_key, run.trace) {
                (0, 0) => run.text.clone(),
                (0, trace) => format!("trace-{}", group.text(trace)),
                (session, _) => group.text(session).to_owned(),
            };
            if let Some(key) = group.key(run.trace) {
                run.tags = run.tags.zip(key.tags, first_nonzero);
            }
            if let Some(Tags { tenant, feature, user, service, .. }) = group.key(run.session_key).map(|key| key.tags) {
                // An incident, template, commit or issue of another run of the session does not apply to this run.
                let shared = Tags { tenant, feature, user, service, ..Tags::default() };
                run.tags = run.tags.zip(shared, first_nonzero);
            }
            let trace = group.key(run.trace).map_or(0, |key| key.touched);
            run.touched = run.touched.max(if run.trace == 0 { group.touched } else { trace });
        }
    }
}

/// All items, in an order that does not depend on their arrival.
fn items(group: &Group) -> Vec<Item<'_>> {
    let mut items = Vec::with_capacity(group.calls.len() + group.tools.len() + group.marks.len());
    items.extend(group.calls.iter().map(|(key, call)| {
        let Call { run, session, start, end, spot, .. } = call;
        Item { key, named: *run, session: *session, spot, start: *start, end: *end, what: What::Call(call) }
    }));
    items.extend(group.tools.iter().map(|(key, tool)| {
        let Tool { run, session, start, end, spot, .. } = tool;
        Item { key, named: *run, session: *session, spot, start: *start, end: *end, what: What::Tool(tool) }
    }));
    items.extend(group.marks.iter().map(|(key, mark)| {
        let Mark { run, session, start, end, spot, .. } = mark;
        Item { key, named: *run, session: *session, spot, start: *start, end: *end, what: What::Mark(mark) }
    }));
    items.sort_unstable_by_key(|item| item.key);
    items
}

/// The run of an item that no other run claims.
fn stray(trace: u32, session: u32) -> Id {
    if trace == 0 { Id::Session(session) } else { Id::Trace(trace) }
}
