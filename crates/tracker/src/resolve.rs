//! [`ResolvedRuns`]: the runs of one group and their totals. Items arrive in any order, so they are assigned to runs
//! only on demand, from everything known by then. The result depends only on the set of items, and every counted item
//! is in exactly one run. `tree` holds the spans, `sum` adds up, `evaluation` decides when a run is over.

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::group::{AttributionTags, ItemGroup, TracePosition};
use super::observation::{earlier, first_nonzero, key_kind, mark, session_of_trace};
use super::run::{ItemRecord, Run, RunIdentity, RunItem, all_items};
use super::run_calls::AggregationContext;
use super::sum;
use super::timeline::{Timeline, count_steps};
use super::tree::SpanTree;

pub(super) struct ResolvedRuns<'g> {
    pub(super) group: &'g ItemGroup,
    pub(super) tree: SpanTree,
    pub(super) runs: Vec<Run>,
    /// Indexes into `runs`, as in all fields below.
    by_id: HashMap<RunIdentity, usize>,
    /// The runs in each trace, except those that [`Self::assign_uncertain_items`] opens.
    by_trace: HashMap<u32, Vec<usize>>,
    by_session: HashMap<u32, Vec<usize>>,
    /// The same runs ordered by time, as of the last [`Self::rebuild_timelines`].
    trace_timelines: HashMap<u32, Timeline>,
    session_timelines: HashMap<u32, Timeline>,
}

impl<'g> ResolvedRuns<'g> {
    pub(super) fn resolve(group: &'g ItemGroup, context: &AggregationContext) -> Self {
        let mut items: Vec<RunItem<'_>> = all_items(group).collect();
        // an order that does not depend on their arrival
        items.sort_unstable_by_key(|item| item.key);
        count_steps(items.len());
        let mut resolved = Self {
            group,
            tree: SpanTree::build(group),
            runs: Vec::new(),
            by_id: HashMap::new(),
            by_trace: HashMap::new(),
            by_session: HashMap::new(),
            trace_timelines: HashMap::new(),
            session_timelines: HashMap::new(),
        };
        resolved.open_known_runs(&items);
        let mut item_runs: Vec<Option<usize>> =
            items.iter().map(|item| resolved.certain_run(item.named_run, item.position.node)).collect();
        for (item, run) in items.iter().zip(&item_runs) {
            resolved.extend_run_times(*run, item);
        }
        resolved.assign_uncertain_items(&items, &mut item_runs);
        resolved.name_runs();
        sum::sum_runs(&mut resolved, &items, &item_runs, context);
        resolved
    }

    /// The run of an item: by the id it names and its place, otherwise by trace, session and time.
    pub(super) fn find_run(&self, named_run: u32, position: &TracePosition, session: u32, time: u64) -> Option<&Run> {
        let trace = position.trace;
        let run = self.certain_run(named_run, position.node).or_else(|| self.likely_run(trace, session, time));
        let run = run.or_else(|| self.by_id.get(&fallback_run_identity(trace, session)).copied())?;
        self.runs.get(run)
    }

    fn certain_run(&self, named_run: u32, place: u64) -> Option<usize> {
        let root = self.tree.ancestors(place).root;
        let id = match first_nonzero(named_run, self.tree.named_run(place)) {
            0 if root == 0 => return None,
            0 => RunIdentity::Root(root),
            named_run => RunIdentity::Named(named_run),
        };
        self.by_id.get(&id).copied()
    }

    fn likely_run(&self, trace: u32, session: u32, time: u64) -> Option<usize> {
        let Some(timeline) = self.trace_timelines.get(&trace) else {
            return self.session_timelines.get(&session)?.latest_under_way(time);
        };
        let by_time = || timeline.latest_under_way(time).or_else(|| timeline.latest_begun(time));
        timeline.only_run().or_else(by_time).or_else(|| timeline.first_run())
    }

    /// Rebuilds the timelines that [`Self::likely_run`] searches, from the runs' current times.
    fn rebuild_timelines(&mut self) {
        let timeline = |runs: &Vec<usize>| {
            let with_times =
                |index: usize| self.runs.get(index).map_or((0, 0, index), |run| (run.start, run.last, index));
            let mut ranked: Vec<usize> = runs.clone();
            ranked.sort_by(|a, b| self.run_rank(*a).cmp(&self.run_rank(*b)));
            Timeline::build(&ranked.into_iter().map(with_times).collect::<Vec<_>>())
        };
        let timelines =
            |runs: &HashMap<u32, Vec<usize>>| runs.iter().map(|(key, runs)| (*key, timeline(runs))).collect();
        (self.trace_timelines, self.session_timelines) = (timelines(&self.by_trace), timelines(&self.by_session));
    }

    /// Orders runs by start time, then by properties that do not depend on the order of items.
    fn run_rank(&self, index: usize) -> (u64, (&str, &str), u64) {
        self.runs.get(index).map_or((0, ("", ""), 0), |run| match run.id {
            RunIdentity::Root(place) => (run.start, ("", ""), place),
            RunIdentity::Named(key) | RunIdentity::Trace(key) | RunIdentity::Session(key) => {
                (run.start, self.group.full_text(key), 0)
            }
        })
    }

    fn open_run(&mut self, id: RunIdentity) -> usize {
        let runs = &mut self.runs;
        *self.by_id.entry(id).or_insert_with(|| {
            runs.push(Run { id, ..Run::default() });
            runs.len() - 1
        })
    }

    /// Opens the named runs, the runs of root agent invocations, and those of spans whose root was not seen; records
    /// their traces.
    fn open_known_runs(&mut self, items: &[RunItem<'_>]) {
        let group = self.group;
        for (number, key) in (1..).zip(&group.keys).filter(|(_, key)| key.kind == key_kind::RUN) {
            let run = self.open_run(RunIdentity::Named(number));
            if let Some(run) = self.runs.get_mut(run) {
                (run.start, run.last, run.session_key) = (key.first, key.last, key.session);
                (run.tags, run.touched) = (key.tags, key.touched);
            }
        }
        let mut runs_in_traces: HashSet<(u32, usize)> = HashSet::new();
        for (place, node) in group.nodes.iter() {
            let named_run = first_nonzero(node.run, self.tree.named_run(place));
            let id = if named_run != 0 { RunIdentity::Named(named_run) } else { RunIdentity::Root(place) };
            if named_run != 0 || self.tree.ancestors(place).root == place {
                runs_in_traces.insert((node.trace, self.open_run(id)));
            }
        }
        for item in items.iter().filter(|item| item.named_run != 0) {
            runs_in_traces.insert((item.position.trace, self.open_run(RunIdentity::Named(item.named_run))));
        }
        // A span whose parent has not arrived yet belongs to a run of its own trace, not to another run of its session
        // that is under way.
        let traces_with_runs: HashSet<u32> = runs_in_traces.iter().map(|(trace, _)| *trace).collect();
        let unrooted_agents: Vec<u64> = self.tree.unrooted().collect();
        let sub_agent_traces =
            unrooted_agents.into_iter().filter_map(|place| group.nodes.get(place)).map(|node| node.trace);
        let is_orphan = |item: &&RunItem<'_>| {
            let ancestors = self.tree.ancestors(item.position.node);
            item.position.is_own_span
                && item.named_run == 0
                && item.can_open_run()
                && ancestors.orphan != 0
                && ancestors.root == 0
        };
        let orphan_traces = items.iter().filter(is_orphan).map(|item| item.position.trace);
        let rootless_traces: HashSet<u32> =
            sub_agent_traces.chain(orphan_traces).filter(|trace| !traces_with_runs.contains(trace)).collect();
        for trace in rootless_traces {
            runs_in_traces.insert((trace, self.open_run(RunIdentity::Trace(trace))));
        }
        for (trace, index) in runs_in_traces.into_iter().filter(|(trace, _)| *trace != 0) {
            self.by_trace.entry(trace).or_default().push(index);
            if let Some(run) = self.runs.get_mut(index) {
                run.trace = group.first_key(run.trace, trace);
            }
        }
    }

    fn extend_run_times(&mut self, run: Option<usize>, item: &RunItem<'_>) {
        let group = self.group;
        let Some(run) = run.and_then(|run| self.runs.get_mut(run)) else { return };
        run.start = earlier(run.start, item.start);
        run.last = run.last.max(item.end);
        if !matches!(run.id, RunIdentity::Named(_)) {
            run.session_key = group.first_key(run.session_key, item.session);
        }
        let ItemRecord::Mark(mark) = item.record else { return };
        if mark.kind != mark::AGENT || self.tree.ancestors(item.position.node).root != item.position.node {
            return;
        }
        run.model = first_nonzero(run.model, mark.model);
        if run.id == RunIdentity::Root(item.position.node) {
            run.tags = AttributionTags { tenant: mark.tenant, feature: mark.feature, ..run.tags };
            run.own_session = mark.session;
        }
    }

    /// Assigns the items whose run is not certain. Items that may open a run come first, because others may belong to a
    /// run that they open.
    fn assign_uncertain_items(&mut self, items: &[RunItem<'_>], item_runs: &mut [Option<usize>]) {
        for run in 0..self.runs.len() {
            if let Some(session) = self.runs.get(run).map(|run| self.session_of(run)) {
                self.by_session.entry(session).or_default().push(run);
            }
        }
        self.rebuild_timelines();
        for (item, item_run) in items.iter().zip(item_runs.iter_mut()).filter(|(_, item_run)| item_run.is_none()) {
            *item_run = self.likely_run(item.position.trace, item.session, item.start);
            if item_run.is_none() && item.can_open_run() {
                *item_run = Some(self.open_run(fallback_run_identity(item.position.trace, item.session)));
            }
        }
        for (item, item_run) in items.iter().zip(item_runs.iter_mut()) {
            let fallback = self.by_id.get(&fallback_run_identity(item.position.trace, item.session)).copied();
            *item_run = item_run.or(fallback);
            if let Some(run) = item_run.and_then(|run| self.runs.get_mut(run))
                && let RunIdentity::Trace(key) = run.id
            {
                run.trace = key;
            }
        }
        for (item, item_run) in items.iter().zip(item_runs.iter()) {
            self.extend_run_times(*item_run, item);
        }
        self.rebuild_timelines();
    }

    fn session_of(&self, run: &Run) -> u32 {
        let by_trace = self.group.key(run.trace).map_or(0, |trace| trace.session);
        [run.own_session, run.session_key, by_trace].into_iter().fold(0, first_nonzero)
    }

    /// Sets ids, sessions and tags. The first root of a trace gets the trace's id.
    fn name_runs(&mut self) {
        let group = self.group;
        let mut ranked_roots: Vec<(u32, u64, u64, usize)> = Vec::new();
        for index in 0..self.runs.len() {
            let session = self.runs.get(index).map_or(0, |run| self.session_of(run));
            let Some(run) = self.runs.get_mut(index) else { continue };
            if let RunIdentity::Root(place) = run.id {
                ranked_roots.push((run.trace, run.start, place, index));
            }
            run.session_key = session;
            run.id_text = match run.id {
                RunIdentity::Named(key) | RunIdentity::Trace(key) | RunIdentity::Session(key) => {
                    group.key_text(key).to_owned()
                }
                RunIdentity::Root(place) => format!("{}-{place:016x}", group.key_text(run.trace)),
            };
        }
        ranked_roots.sort_unstable();
        ranked_roots.dedup_by_key(|(trace, ..)| *trace);
        for (trace, .., index) in ranked_roots {
            if let Some(run) = self.runs.get_mut(index) {
                run.id_text = group.key_text(trace).to_owned();
            }
        }
        let mut runs_per_trace: HashMap<u32, usize> = HashMap::new();
        self.runs.iter().for_each(|run| *runs_per_trace.entry(run.trace).or_default() += 1);
        for run in &mut self.runs {
            run.is_alone_in_trace = runs_per_trace.get(&run.trace) == Some(&1);
            run.session = match (run.session_key, run.trace) {
                (0, 0) => run.id_text.clone(),
                (0, trace) => session_of_trace(group.key_text(trace)),
                (session, _) => group.key_text(session).to_owned(),
            };
            if let Some(key) = group.key(run.trace) {
                run.tags = run.tags.zip(key.tags, first_nonzero);
            }
            if let Some(AttributionTags { tenant, feature, user, service, .. }) =
                group.key(run.session_key).map(|key| key.tags)
            {
                // An incident, template, commit or issue of another run of the session does not apply to this run.
                let shared = AttributionTags { tenant, feature, user, service, ..AttributionTags::default() };
                run.tags = run.tags.zip(shared, first_nonzero);
            }
            let touched =
                if run.trace == 0 { group.touched } else { group.key(run.trace).map_or(0, |key| key.touched) };
            run.touched = run.touched.max(touched);
        }
    }
}

/// The run of an item that no other run claims.
fn fallback_run_identity(trace: u32, session: u32) -> RunIdentity {
    if trace == 0 { RunIdentity::Session(session) } else { RunIdentity::Trace(trace) }
}
