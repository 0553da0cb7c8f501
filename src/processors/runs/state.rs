//! **What**: [`State`]: all that runs remembers, and how it changes: by committed batches and by time passing.
//! **Why**: a run is added up when its end was told and its stragglers had time to come, or when nothing came for long.
//! **Invariants**: bounded; time is the engine's running time, which no step of the clock moves by more than a minute;
//! each run and each session is handed to the recorder at most once. **Not here**: metrics (`meters`).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::UnixNanos;
use crate::pseudonym::IdPolicy;
use crate::runs::{Alert, Detail, RunState, RunView, SessionView};

use super::Settings;
use super::alerts::{Alerts, Rule};
use super::codec::Code;
use super::group::{Closed, Group};
use super::history::History;
use super::measures::Measures;
use super::observe::digest;
use super::outbox::{News, Outbox};
use super::resolve::{Resolved, Run};
use super::seen::{Sight, mark};
use super::store::{Heard, Store};
use super::view::Viewer;

/// A step of the clock counts for at most this long, ns.
const MAX_STEP: u64 = 60_000_000_000;
/// Groups that one tick looks at, so that none takes long.
const LOOKS: usize = 2000;
/// Groups of which a run with a pseudonym for an id is searched.
const SEARCHED: usize = 200;
/// Items this late still change what is told of a run, ns.
const LATE: u64 = 15 * 60_000_000_000;
const VERSION: u8 = 2;

/// Hears of what is over, and of what is counted at once.
pub(super) trait Recorder {
    /// A run is over.
    fn run(&self, run: &RunView);
    /// A session is over.
    fn session(&self, session: &SessionView);
    /// Runs were given up that were not over.
    fn evicted(&self, runs: u64);
    /// A tool was called, or failed.
    fn tool(&self, heard: &Heard);
    /// A numeric attribute: measure, service, tenant, commit.
    fn measure(&self, labels: [&str; 4], value: f64);
    /// The first run of an incident is over.
    fn investigation(&self, kind: &str);
    /// News that no connector told in time.
    fn untold(&self, news: u64);
    /// An alert fires.
    fn alert(&self, alert: &Alert);
    /// A human decided otherwise.
    fn overridden(&self, kind: &str);
    /// Tool calls per investigation.
    fn tool_calls_p95(&self, kind: &str, calls: f64);
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
    pub(super) history: History,
    pub(super) measures: Measures,
    pub(super) alerts: Alerts,
    /// What connectors are still to tell.
    pub(super) outbox: Outbox,
    open: u64,
    /// Time passes: what is applied now is new, not read back from the spool.
    live: bool,
}

/// Which runs and sessions a look found to be over.
#[derive(Default)]
struct Look {
    closed: Vec<(u64, Closed)>,
    open: u32,
    next: u64,
    idle: bool,
    views: Vec<RunView>,
    /// Runs that were told before and changed: their revisions.
    revised: Vec<(RunView, u32)>,
    /// Runs that are not over and look as if somebody should know.
    suspects: Vec<RunView>,
    /// Sessions that are over (true), or stand out (false).
    sessions: Vec<(SessionView, bool)>,
}

impl State {
    pub(super) fn new(settings: Settings, ids: Arc<dyn IdPolicy>) -> Self {
        let store = Store::new(settings.max_runs);
        Self {
            settings,
            ids,
            store,
            running: 0,
            wall: None,
            history: History::default(),
            measures: Measures::default(),
            alerts: Alerts::default(),
            outbox: Outbox::default(),
            open: 0,
            live: false,
        }
    }

    /// Runs that are not over, as far as looked.
    pub(super) fn open(&self) -> u64 {
        self.open
    }

    /// Takes a committed batch in.
    pub(super) fn apply(&mut self, sight: &Sight, recorder: &dyn Recorder) {
        let live: &dyn Recorder = if self.live { recorder } else { &Silent };
        let (account, ids) = (&sight.account, Arc::clone(&self.ids));
        self.measures.apply(sight, &self.settings, |name| ids.column(account, name).into_owned(), live);
        sight.outcomes.iter().for_each(|outcome| self.history.judge(account, outcome, live));
        self.tell(Vec::new(), live);
        let (touched, gone) = self.store.apply(sight, self.running, &mut |heard| live.tool(heard));
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
        (self.wall, self.live) = (Some(now.0), true);
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
        self.warn(&look, recorder);
        for view in look.views {
            self.history.add_up(&view, recorder);
        }
        self.tell(Vec::new(), recorder);
        if look.idle {
            if let Some(group) = self.store.remove(id) {
                self.retire(&group, RunState::Idle);
            }
            return;
        }
        let (closed, open) = (look.closed, look.open);
        self.store.change(id, |group| {
            closed.into_iter().for_each(|(key, closed)| group.closed.insert(key, closed));
            group.open = open;
        });
        self.store.look_at(id, look.next.max(self.running.saturating_add(1)));
    }

    /// Lets alerts see what a look found.
    fn warn(&mut self, look: &Look, recorder: &dyn Recorder) {
        let (limits, now) = (&self.settings.alerts, self.wall.unwrap_or(0));
        let rule = |feature: Option<&str>| Rule { limits, ceiling: self.settings.ceiling(feature), now };
        let mut fired = Vec::new();
        for view in &look.suspects {
            fired.extend(self.alerts.run(view, rule(view.feature.as_deref())));
        }
        for view in &look.views {
            fired.extend(self.alerts.run(view, rule(view.feature.as_deref())));
            fired.extend(self.alerts.learn(view, rule(None)));
        }
        for (view, over) in &look.sessions {
            fired.extend(self.alerts.session(view, *over, rule(None)));
        }
        fired.iter().for_each(|alert| recorder.alert(alert));
        let revised = look.revised.iter().map(|(view, revision)| News::Run(Box::new(view.clone()), *revision));
        let over = look.views.iter().map(|view| News::Run(Box::new(view.clone()), 0));
        let sessions = look.sessions.iter().filter(|(_, over)| *over);
        let sessions = sessions.map(|(view, _)| News::Session(Box::new(view.clone())));
        let alerts = fired.into_iter().map(|alert| News::Alert(Box::new(alert)));
        let news: Vec<News> = if self.outbox.is_asked() {
            over.chain(revised).chain(sessions).chain(alerts).collect()
        } else {
            Vec::new()
        };
        self.tell(news, recorder);
    }

    /// Puts news where connectors find them.
    fn tell(&mut self, news: Vec<News>, recorder: &dyn Recorder) {
        let news = news.into_iter().chain(self.history.news.drain(..));
        let dropped = news.map(|news| self.outbox.put_in(news)).sum();
        recorder.untold(dropped);
    }

    fn look_into(&self, group: &Group, recorder: &dyn Recorder) -> Look {
        let resolved = Resolved::of(group, self.window());
        let viewer = Viewer { ids: &*self.ids, resolved: &resolved };
        let idle_at = group.touched.saturating_add(nanos(self.settings.idle_timeout));
        let idle = idle_at <= self.running;
        let mut look = Look { next: idle_at, idle, ..Look::default() };
        let limits = &self.settings.alerts;
        let mut sessions: BTreeMap<&str, (Vec<&Run>, bool)> = BTreeMap::new();
        for run in &resolved.runs {
            let session = sessions.entry(&run.session).or_insert((Vec::new(), true));
            session.0.push(run);
            let key = run_key(run);
            let settled_at = run.touched.saturating_add(nanos(self.settings.settle));
            let settled = settled_at <= self.running;
            let view = |unended| self.view(&viewer, run, unended);
            if let Some(closed) = group.closed.get(key) {
                let late = run.touched > closed.at && run.touched <= closed.at.saturating_add(LATE);
                if late && !settled {
                    look.next = look.next.min(settled_at);
                } else if late {
                    let view = view(RunState::Idle);
                    let told = fingerprint(&view);
                    let revision = closed.revision.saturating_add(u32::from(told != closed.told));
                    look.closed.push((key, Closed { at: closed.at, told, revision }));
                    if told != closed.told {
                        look.revised.push((view, revision));
                    }
                }
                continue;
            }
            if idle || (run.ended && settled) {
                let view = view(RunState::Idle);
                recorder.run(&view);
                look.closed.push((key, Closed { at: self.running, told: fingerprint(&view), revision: 0 }));
                look.views.push(view);
                continue;
            }
            session.1 = false;
            look.open += 1;
            let feature = Some(group.name(run.tags.feature)).filter(|name| !name.is_empty());
            let rule = Rule { limits, ceiling: self.settings.ceiling(feature), now: self.wall.unwrap_or(0) };
            if rule.suspects(run) {
                look.suspects.push(view(RunState::Live));
            }
            look.next = look.next.min(if run.ended { settled_at } else { idle_at });
        }
        for (runs, closed) in sessions.into_values() {
            if idle || (closed && is_over(group, &runs)) {
                let (ended, view) = end_session(&viewer, &runs, recorder);
                look.sessions.extend(view.map(|view| (view, true)));
                let closed = Closed { at: self.running, told: 0, revision: 0 };
                look.closed.extend(ended.into_iter().map(|key| (key, closed.clone())));
            } else if self.stands_out(group, &runs) {
                look.sessions.push((viewer.session(&runs, true), false));
            }
        }
        look
    }

    /// A group had to make room: what was over counts, the rest is counted as lost.
    fn give_up(&mut self, group: &Group, recorder: &dyn Recorder) {
        let resolved = Resolved::of(group, self.window());
        let viewer = Viewer { ids: &*self.ids, resolved: &resolved };
        let mut sessions: BTreeMap<&str, (Vec<&Run>, bool)> = BTreeMap::new();
        let (mut lost, mut views) = (0, Vec::new());
        for run in &resolved.runs {
            let session = sessions.entry(&run.session).or_insert((Vec::new(), true));
            session.0.push(run);
            if group.closed.get(run_key(run)).is_some() {
                continue;
            }
            if run.ended {
                let view = self.view(&viewer, run, RunState::Evicted);
                recorder.run(&view);
                views.push(view);
            } else {
                session.1 = false;
                lost += 1;
            }
        }
        let over = sessions.into_values().filter(|(_, closed)| *closed);
        let over: Vec<SessionView> = over.filter_map(|(runs, _)| end_session(&viewer, &runs, recorder).1).collect();
        recorder.evicted(lost);
        let asked = self.outbox.is_asked();
        let runs = views.iter().filter(|_| asked).map(|view| News::Run(Box::new(view.clone()), 0));
        let news = runs.chain(over.into_iter().filter(|_| asked).map(|view| News::Session(Box::new(view)))).collect();
        for view in views {
            self.history.add_up(&view, recorder);
        }
        self.tell(news, recorder);
        self.retire(group, RunState::Evicted);
    }

    /// The runs of a group that goes stay to be seen for a while.
    fn retire(&mut self, group: &Group, unended: RunState) {
        let resolved = Resolved::of(group, self.window());
        let viewer = Viewer { ids: &*self.ids, resolved: &resolved };
        let mut runs: Vec<&Run> = resolved.runs.iter().collect();
        runs.sort_by_key(|run| (run.last, &run.text));
        let views: Vec<RunView> = runs.into_iter().map(|run| self.view(&viewer, run, unended)).collect();
        for view in views {
            self.alerts.forget(&view.account, &view.run, self.wall.unwrap_or(0));
            self.history.retire(view);
        }
    }

    /// Whether a session that goes on costs or takes more than its feature is used to: cheap.
    fn stands_out(&self, group: &Group, runs: &[&Run]) -> bool {
        let feature = runs.iter().map(|run| group.name(run.tags.feature)).find(|name| !name.is_empty());
        let Some((cost, seconds)) = feature.and_then(|name| self.alerts.limits_of(name, &self.settings.alerts)) else {
            return false;
        };
        let spent = runs.iter().fold(0_i128, |sum, run| sum.saturating_add(run.totals.atto_usd()));
        let start = runs.iter().map(|run| run.start).filter(|start| *start != 0).min().unwrap_or(0);
        let last = runs.iter().map(|run| run.last).max().unwrap_or(0);
        spent as f64 / 1e18 > cost || last.saturating_sub(start) as f64 / 1e9 > seconds
    }

    /// A run as it may be shown; `unended`: where it stands if nobody told its end.
    fn view(&self, viewer: &Viewer<'_>, run: &Run, unended: RunState) -> RunView {
        let mut view = viewer.run(run, ended_state(run, unended));
        view.judged = self.history.judged(&view);
        view
    }

    /// Time in which calls of one tool are counted, ns.
    pub(super) fn window(&self) -> u64 {
        nanos(self.settings.tool_window)
    }

    /// One run; of several the latest.
    pub(super) fn find(&self, id: &str) -> Option<Detail> {
        let names = |group: &&Group| group.keys.iter().any(|key| id.starts_with(&*key.text));
        let pseudonym = id.starts_with(crate::pseudonym::PREFIX);
        let most = if pseudonym { SEARCHED } else { usize::MAX };
        for group in self.store.latest().filter(|group| pseudonym || names(group)).take(most) {
            let resolved = Resolved::of(group, self.window());
            let viewer = Viewer { ids: &*self.ids, resolved: &resolved };
            let of_id = |run: &&Run| self.ids.shown(&group.account, &run.text) == id;
            if let Some(run) = resolved.runs.iter().filter(of_id).max_by_key(|run| run.last) {
                let mut detail = viewer.detail(run, ended_state(run, RunState::Live));
                detail.view.judged = self.history.judged(&detail.view);
                return Some(detail);
            }
        }
        let view = self.history.recent.iter().rev().find(|view| view.run == id)?.clone();
        let step_count = view.totals.calls() + view.totals.failed_calls + view.totals.tool_calls();
        Some(Detail { view, steps: None, step_count })
    }

    /// The latest runs, by their last event as the gateway saw it; those that are not over come first.
    pub(super) fn recent(&self, most: usize) -> Vec<RunView> {
        let mut views = Vec::new();
        for group in self.store.latest() {
            if views.len() >= most {
                break;
            }
            let resolved = Resolved::of(group, self.window());
            let viewer = Viewer { ids: &*self.ids, resolved: &resolved };
            let mut runs: Vec<&Run> = resolved.runs.iter().collect();
            runs.sort_by_key(|run| std::cmp::Reverse((run.last, &run.text)));
            views.extend(runs.into_iter().map(|run| self.view(&viewer, run, RunState::Live)));
        }
        views.extend(self.history.recent.iter().rev().take(most.saturating_sub(views.len())).cloned());
        views.truncate(most);
        views
    }

    /// All runs that are remembered, of live and retired groups, with the sessions' ids.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<RunView> {
        self.recent(usize::MAX)
    }

    pub(super) fn save(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        self.running.put(&mut out);
        self.wall.put(&mut out);
        self.history.put(&mut out);
        self.measures.put(&mut out);
        self.alerts.put(&mut out);
        self.outbox.put(&mut out);
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
        state.history = Code::take(from)?;
        state.measures = Code::take(from)?;
        state.alerts = Code::take(from)?;
        state.outbox = Code::take(from)?;
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

fn ended_state(run: &Run, unended: RunState) -> RunState {
    match (run.ended, run.failed) {
        (true, _) if run.killed => RunState::Killed,
        (true, true) => RunState::Failed,
        (true, false) => RunState::Ended,
        (false, _) if run.killed && unended == RunState::Idle => RunState::Killed,
        (false, _) => unended,
    }
}

/// Records the runs of a session that is over, but for those that were in it when it was over before: a session may
/// be resumed. Returns what to remember of them.
fn end_session(viewer: &Viewer<'_>, runs: &[&Run], recorder: &dyn Recorder) -> (Vec<u64>, Option<SessionView>) {
    let group = viewer.resolved.group;
    let new: Vec<&Run> = runs.iter().filter(|run| group.closed.get(session_key(run)).is_none()).copied().collect();
    let view = (!new.is_empty()).then(|| viewer.session(&new, new.len() == runs.len()));
    if let Some(view) = &view {
        recorder.session(view);
    }
    (new.into_iter().map(session_key).collect(), view)
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

pub(super) fn nanos(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// By this a change is told.
fn fingerprint(view: &RunView) -> u64 {
    let mut bytes = Vec::new();
    RunView { judged: Default::default(), ..view.clone() }.put(&mut bytes);
    digest(&[&crate::hex::encode(&bytes)])
}

/// Hears nothing.
struct Silent;

impl Recorder for Silent {
    fn run(&self, _: &RunView) {}
    fn session(&self, _: &SessionView) {}
    fn evicted(&self, _: u64) {}
    fn tool(&self, _: &Heard) {}
    fn measure(&self, _: [&str; 4], _: f64) {}
    fn untold(&self, _: u64) {}
    fn alert(&self, _: &Alert) {}
    fn investigation(&self, _: &str) {}
    fn overridden(&self, _: &str) {}
    fn tool_calls_p95(&self, _: &str, _: f64) {}
}
