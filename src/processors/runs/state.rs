//! **What**: [`State`]: all that runs remembers, and how it changes: by committed batches and by time passing.
//! **Why**: a run is added up when its end was told and its stragglers had time to come, or when nothing came for long.
//! **Invariants**: bounded; time is the engine's running time, which no step of the clock moves by more than a minute;
//! each run and each session is handed to the recorder at most once. **Not here**: metrics (`meters`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::clock::UnixNanos;
use crate::pseudonym::IdPolicy;

use super::Settings;
use super::codec::Code;
use super::group::Group;
use super::observe::digest;
use super::resolve::{Resolved, Run};
use super::seen::{Sight, mark};
use super::store::Store;
use super::view::{RunState, RunView, SessionView, Sum, Viewer};

/// Runs that are over and still shown.
const RECENT: usize = 1000;
/// Tenants or models that sums tell apart.
const SUMS: usize = 200;
/// What the rest is called.
const OTHER: &str = "other";
/// What has no name.
const UNATTRIBUTED: &str = "unattributed";
/// A step of the clock counts for at most this long, ns.
const MAX_STEP: u64 = 60_000_000_000;
/// Groups that one tick looks at, so that none takes long.
const LOOKS: usize = 2000;
const VERSION: u8 = 1;

/// Hears of what is over.
pub(super) trait Recorder {
    /// A run is over.
    fn run(&self, run: &RunView);
    /// A session is over.
    fn session(&self, session: &SessionView);
    /// Runs were given up that were not over.
    fn evicted(&self, runs: u64);
}

/// Everything.
pub(super) struct State {
    settings: Settings,
    ids: Arc<dyn IdPolicy>,
    pub(super) store: Store,
    /// Time that passed while the engine ran, ns.
    running: u64,
    /// The clock at the last tick.
    wall: Option<u64>,
    recent: VecDeque<RunView>,
    by_tenant: BTreeMap<String, Sum>,
    by_model: BTreeMap<String, Sum>,
    open: u64,
}

/// Which runs and sessions a look found to be over.
struct Look {
    closed: Vec<u64>,
    open: u32,
    next: u64,
    idle: bool,
    views: Vec<RunView>,
}

impl State {
    pub(super) fn new(settings: Settings, ids: Arc<dyn IdPolicy>) -> Self {
        let store = Store::new(settings.max_runs);
        let (by_tenant, by_model) = (BTreeMap::new(), BTreeMap::new());
        Self { settings, ids, store, running: 0, wall: None, recent: VecDeque::new(), by_tenant, by_model, open: 0 }
    }

    /// Runs that are not over, as far as looked.
    pub(super) fn open(&self) -> u64 {
        self.open
    }

    /// Takes a committed batch in.
    pub(super) fn apply(&mut self, sight: &Sight, recorder: &dyn Recorder) {
        let (touched, gone) = self.store.apply(sight, self.running);
        let settle = nanos(self.settings.settle);
        for id in touched {
            self.store.look_at(id, self.running.saturating_add(settle));
        }
        for group in gone {
            self.give_up(&group, recorder);
        }
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self, now: UnixNanos, recorder: &dyn Recorder) {
        let passed = self.wall.map_or(0, |wall| now.0.saturating_sub(wall)).min(MAX_STEP);
        self.wall = Some(now.0);
        self.running = self.running.saturating_add(passed);
        for _ in 0..LOOKS {
            let Some(id) = self.store.next_due(self.running) else { break };
            self.look(id, recorder);
        }
        self.open = self.store.groups().map(|group| u64::from(group.open)).sum();
    }

    fn look(&mut self, id: u32, recorder: &dyn Recorder) {
        let Some(group) = self.store.get(id) else { return };
        let look = self.look_into(group, recorder);
        for view in look.views {
            self.add_up(&view);
        }
        if look.idle {
            if let Some(group) = self.store.remove(id) {
                self.retire(&group, RunState::Idle);
            }
            return;
        }
        let (closed, open) = (look.closed, look.open);
        self.store.change(id, |group| {
            group.closed.extend(closed);
            group.open = open;
        });
        self.store.look_at(id, look.next.max(self.running.saturating_add(1)));
    }

    fn look_into(&self, group: &Group, recorder: &dyn Recorder) -> Look {
        let resolved = Resolved::of(group);
        let viewer = Viewer { ids: &*self.ids, resolved: &resolved };
        let idle_at = group.touched.saturating_add(nanos(self.settings.idle_timeout));
        let idle = idle_at <= self.running;
        let mut look = Look { closed: Vec::new(), open: 0, next: idle_at, idle, views: Vec::new() };
        let mut sessions: BTreeMap<&str, (Vec<&Run>, bool)> = BTreeMap::new();
        for run in &resolved.runs {
            let session = sessions.entry(&run.session).or_insert((Vec::new(), true));
            session.0.push(run);
            let key = run_key(run);
            if group.closed.contains(&key) {
                continue;
            }
            let settled_at = run.touched.saturating_add(nanos(self.settings.settle));
            if idle || (run.ended && settled_at <= self.running) {
                let view = viewer.run(run, ended_state(run, RunState::Idle));
                recorder.run(&view);
                look.views.push(view);
                look.closed.push(key);
                continue;
            }
            session.1 = false;
            look.open += 1;
            look.next = look.next.min(if run.ended { settled_at } else { idle_at });
        }
        for (runs, closed) in sessions.into_values() {
            if idle || (closed && is_over(group, &runs)) {
                look.closed.extend(end_session(&viewer, &runs, recorder));
            }
        }
        look
    }

    /// A group had to make room: what was over counts, the rest is counted as lost.
    fn give_up(&mut self, group: &Group, recorder: &dyn Recorder) {
        let resolved = Resolved::of(group);
        let viewer = Viewer { ids: &*self.ids, resolved: &resolved };
        let mut sessions: BTreeMap<&str, (Vec<&Run>, bool)> = BTreeMap::new();
        let (mut lost, mut views) = (0, Vec::new());
        for run in &resolved.runs {
            let session = sessions.entry(&run.session).or_insert((Vec::new(), true));
            session.0.push(run);
            if group.closed.contains(&run_key(run)) {
                continue;
            }
            if run.ended {
                let view = viewer.run(run, ended_state(run, RunState::Evicted));
                recorder.run(&view);
                views.push(view);
            } else {
                session.1 = false;
                lost += 1;
            }
        }
        for (runs, _) in sessions.into_values().filter(|(_, closed)| *closed) {
            end_session(&viewer, &runs, recorder);
        }
        recorder.evicted(lost);
        for view in views {
            self.add_up(&view);
        }
        self.retire(group, RunState::Evicted);
    }

    /// The runs of a group that goes stay to be seen for a while.
    fn retire(&mut self, group: &Group, unended: RunState) {
        let resolved = Resolved::of(group);
        let viewer = Viewer { ids: &*self.ids, resolved: &resolved };
        let mut runs: Vec<&Run> = resolved.runs.iter().collect();
        runs.sort_by_key(|run| (run.last, &run.text));
        for run in runs {
            self.recent.push_back(viewer.run(run, ended_state(run, unended)));
        }
        self.recent.drain(..self.recent.len().saturating_sub(RECENT));
    }

    fn add_up(&mut self, view: &RunView) {
        let tenant = view.tenant.as_deref().unwrap_or(UNATTRIBUTED);
        sum_of(&mut self.by_tenant, tenant).add(view.failed, view.totals.tool_calls(), &view.totals);
        for (name, model) in &view.totals.models {
            let mut part = super::tally::Totals::default();
            part.models.insert(name.clone(), *model);
            sum_of(&mut self.by_model, name).add(view.failed, 0, &part);
        }
    }

    /// The latest runs, by their last event as the gateway saw it; those that are not over come first.
    pub(super) fn recent(&self, most: usize) -> Vec<RunView> {
        let mut views = Vec::new();
        for group in self.store.latest() {
            if views.len() >= most {
                break;
            }
            let resolved = Resolved::of(group);
            let viewer = Viewer { ids: &*self.ids, resolved: &resolved };
            let mut runs: Vec<&Run> = resolved.runs.iter().collect();
            runs.sort_by_key(|run| std::cmp::Reverse((run.last, &run.text)));
            views.extend(runs.into_iter().map(|run| viewer.run(run, ended_state(run, RunState::Live))));
        }
        views.extend(self.recent.iter().rev().take(most.saturating_sub(views.len())).cloned());
        views.truncate(most);
        views
    }

    /// All runs that are remembered, of live and retired groups, with the sessions' ids.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<RunView> {
        self.recent(usize::MAX)
    }

    pub(super) fn sums(&self) -> (BTreeMap<String, Sum>, BTreeMap<String, Sum>) {
        (self.by_tenant.clone(), self.by_model.clone())
    }

    pub(super) fn save(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        self.running.put(&mut out);
        self.wall.put(&mut out);
        self.recent.len().put(&mut out);
        self.recent.iter().for_each(|view| view.put(&mut out));
        self.by_tenant.put(&mut out);
        self.by_model.put(&mut out);
        self.store.len().put(&mut out);
        self.store.groups().for_each(|group| group.put(&mut out));
        out
    }

    /// What [`State::save`] gave, with the settings of today. `None`: damaged, or of another version.
    pub(super) fn load(settings: Settings, ids: Arc<dyn IdPolicy>, saved: &[u8]) -> Option<Self> {
        let (&VERSION, mut rest) = saved.split_first()? else { return None };
        let from = &mut rest;
        let mut state = Self::new(settings, ids);
        state.running = Code::take(from)?;
        state.wall = Code::take(from)?;
        state.recent = Vec::take(from)?.into();
        state.by_tenant = Code::take(from)?;
        state.by_model = Code::take(from)?;
        let groups: Vec<Group> = Code::take(from)?;
        if !from.is_empty() {
            return None;
        }
        for group in groups {
            state.open += u64::from(group.open);
            let id = state.store.insert(group);
            state.store.look_at(id, state.running);
        }
        Some(state)
    }
}

/// The entry of a name, of which there are not too many.
fn sum_of<'m>(sums: &'m mut BTreeMap<String, Sum>, name: &str) -> &'m mut Sum {
    let name = if sums.len() < SUMS || sums.contains_key(name) { name } else { OTHER };
    sums.entry(name.to_owned()).or_default()
}

fn ended_state(run: &Run, unended: RunState) -> RunState {
    match (run.ended, run.failed) {
        (true, true) => RunState::Failed,
        (true, false) => RunState::Ended,
        (false, _) => unended,
    }
}

/// Records the runs of a session that is over, but for those that were in it when it was over before: a session may
/// be resumed. Returns what to remember of them.
fn end_session(viewer: &Viewer<'_>, runs: &[&Run], recorder: &dyn Recorder) -> Vec<u64> {
    let group = viewer.resolved.group;
    let new: Vec<&Run> = runs.iter().filter(|run| !group.closed.contains(&session_key(run))).copied().collect();
    if !new.is_empty() {
        recorder.session(&viewer.session(&new, new.len() == runs.len()));
    }
    new.into_iter().map(session_key).collect()
}

fn run_key(run: &Run) -> u64 {
    digest(&["run", &run.session, &run.text])
}

fn session_key(run: &Run) -> u64 {
    digest(&["session", &run.session, &run.text])
}

/// A session whose runs are all closed is over when its end was told and none began later, or when it is one trace.
fn is_over(group: &Group, runs: &[&Run]) -> bool {
    let Some(session) = runs.first().map(|run| run.session_key) else { return false };
    let ends = group.marks.values().filter(|mark| mark.kind == mark::SESSION_END && mark.session == session);
    let end = ends.map(|mark| mark.end).max();
    session == 0 || end.is_some_and(|end| runs.iter().all(|run| run.start <= end))
}

fn nanos(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
