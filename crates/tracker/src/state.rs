//! [`State`]: everything the tracker remembers, and how committed batches and passing time change it. A run is summed
//! up when its end was reported and late items had time to arrive, or when nothing came for long.
//! Bounded. Time is the engine's running time, which a jump of the clock moves by a minute at most. Each run and each
//! session is handed to the recorder at most once. `meters` keeps the metrics.

use std::collections::HashMap;
use std::sync::Arc;

use kernel::clock::UnixNanos;
use runs::{Alert, RunView, SessionView};

use super::alerts::{Alerts, Rule};
use super::bounds::nanos;
use super::codec::Code;
use super::config::Settings;
use super::group::{Announced, Group};
use super::history::History;
use super::look::{self, Eyes, Found, Look, SUSPECTS, Seen};
use super::measures::Measures;
use super::outbox::{News, Outbox};
use super::recorder::Recorder;
use super::seen::Sight;
use super::store::{Heard, Store};
use super::terms::Terms;

/// Maximum time that one step of the clock counts for, ns.
const MAX_STEP: u64 = 60_000_000_000;
/// New items are evaluated after this time, ns: sums, pages and alerts lag by this and one tick at most.
const LAG: u64 = 1_000_000_000;
const VERSION: u8 = 7;

/// See the module documentation.
pub(super) struct State {
    settings: Settings,
    pub(super) store: Store,
    /// Time that passed while the engine ran, ns.
    running: u64,
    /// Wall clock at the last tick.
    wall: Option<u64>,
    pub(super) history: History,
    pub(super) measures: Measures,
    pub(super) alerts: Alerts,
    /// News that connectors still have to emit.
    pub(super) outbox: Outbox,
    open: u64,
    /// Set by the first tick: effects applied from then on are new, not replayed from the spool.
    live: bool,
}

/// Follow-up work of an applied batch.
pub(super) struct Applied {
    /// Tool calls to count.
    pub(super) heard: Vec<Heard>,
    /// Groups evicted to make room.
    pub(super) gone: Vec<Group>,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        let store = Store::new(settings.max_runs);
        Self {
            settings,
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

    /// Unfinished runs, as of their groups' last evaluation.
    pub(super) fn open(&self) -> u64 {
        self.open
    }

    /// Applies a committed batch. `shown` holds the names of its measures as they may be shown.
    pub(super) fn apply(&mut self, sight: &Sight, shown: &HashMap<u32, String>, recorder: &dyn Recorder) -> Applied {
        let live: &dyn Recorder = if self.live { recorder } else { &Silent };
        self.measures.apply(sight, &self.settings, shown, live);
        sight.outcomes.iter().for_each(|outcome| self.history.judge(&sight.account, outcome, live));
        self.tell(Vec::new(), live);
        let (mut heard, alive) = (Vec::new(), self.live);
        let mut hear = |one: Heard| heard.extend(alive.then_some(one));
        let (touched, gone) = self.store.apply(sight, self.running, &mut hear);
        let lag = nanos(self.settings.settle).min(LAG);
        for id in touched {
            let rest = self.store.get(id).map_or(0, |group| look::rest(group, &self.settings));
            self.store.look_at(id, self.running.saturating_add(lag.max(rest)));
            if rest > SUSPECTS {
                self.store.suspect_at(id, self.running.saturating_add(SUSPECTS));
            }
        }
        Applied { heard, gone }
    }

    /// Advances the running time to the wall clock `now`.
    pub(super) fn pass(&mut self, now: UnixNanos) {
        // Time during which no process ran does not count, so replayed batches are as recent as when they arrived.
        let before = self.wall.filter(|_| self.live);
        let passed = before.map_or(0, |wall| now.0.saturating_sub(wall)).min(MAX_STEP);
        (self.wall, self.live) = (Some(now.0), true);
        self.running = self.running.saturating_add(passed);
    }

    /// The inputs of evaluations until time passes.
    pub(super) fn eyes(&mut self, terms: Terms) -> Eyes {
        let bounds = self.alerts.bounds(&self.settings.alerts);
        Eyes { running: self.running, wall: self.wall.unwrap_or(0), bounds, terms }
    }

    /// The next group to evaluate.
    pub(super) fn next_due(&mut self) -> Option<(u32, Arc<Group>)> {
        loop {
            let id = self.store.next_due(self.running)?;
            if let Some(group) = self.store.snapshot(id) {
                return Some((id, group));
            }
        }
    }

    /// The next group to search for suspects.
    pub(super) fn next_suspected(&mut self) -> Option<(u32, Arc<Group>)> {
        loop {
            let id = self.store.next_suspected(self.running)?;
            if let Some(group) = self.store.snapshot(id) {
                return Some((id, group));
            }
        }
    }

    /// Recounts unfinished runs.
    pub(super) fn count(&mut self) {
        self.open = self.store.groups().map(|group| u64::from(group.open)).sum();
    }

    /// Whether an evaluation is still valid: the group is the same, and if it is to become dormant, nothing was added
    /// to it since.
    fn holds(&self, id: u32, look: &Look) -> bool {
        let same = self.store.get(id).filter(|group| group.keys.first().map(|key| key.id) == look.first);
        same.is_some_and(|group| !look.idle || group.batch == look.batch)
    }

    /// Applies a part of an evaluation, as if it preceded everything that was added to the group since. Returns false
    /// if the group was merged into another or became active again; it is then evaluated when it is due.
    pub(super) fn take(&mut self, id: u32, look: &Look, part: Vec<Found>, recorder: &dyn Recorder) -> bool {
        if !self.holds(id, look) {
            self.store.unwatch(id);
            return false;
        }
        let announced = self.tell_of(part, true, recorder);
        if !announced.is_empty() {
            self.store.change(id, |group| {
                announced.into_iter().for_each(|(key, one)| group.announced.insert(key, one));
            });
        }
        true
    }

    /// Completes an evaluation whose parts were all applied.
    pub(super) fn end_look(&mut self, id: u32, look: Look) {
        if !self.holds(id, &look) {
            self.store.unwatch(id);
            return;
        }
        if let Some(group) = self.store.get(id) {
            self.history.count(&group.account, &group.counted, &look.counted);
        }
        let counted = look.counted.into_boxed_slice();
        self.store.change(id, |group| (group.open, group.counted) = (look.open, counted));
        if look.idle {
            self.store.unwatch(id);
            self.store.put_to_rest(id);
            return;
        }
        self.store.look_at(id, look.next);
        self.store.end_watch(id, look.slack, self.running.saturating_add(SUSPECTS));
    }

    /// Completes a search for suspects whose results were applied.
    pub(super) fn end_suspects(&mut self, id: u32, look: Look) {
        match self.holds(id, &look) {
            true => self.store.end_watch(id, look.slack, self.running.saturating_add(SUSPECTS)),
            false => self.store.unwatch(id),
        }
    }

    /// Passes results on to alerts, history and connectors. Returns the records to store for runs and sessions.
    /// `alive`: the group is kept, so more items may come.
    fn tell_of(&mut self, found: Vec<Found>, alive: bool, recorder: &dyn Recorder) -> Vec<(u64, Announced)> {
        let mut announced: Vec<(u64, Announced)> = Vec::new();
        let (mut over, mut more, mut sessions, mut alerts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for one in found {
            match one {
                Found::Suspect(seen, key, mut known, is_presumed) => {
                    let before = known.fired;
                    if let Some(seen) = seen {
                        alerts.extend(self.warn(&self.judged(*seen), false, &mut known.fired));
                    }
                    announced.extend((is_presumed || known.fired != before).then_some((key, known)));
                }
                Found::Over(seen, key, mut end) => {
                    let (digest, view) = (seen.digest, self.judged(*seen));
                    recorder.run(&view);
                    if alive {
                        alerts.extend(self.warn(&view, true, &mut end.fired));
                    }
                    self.history.investigate(&view, digest, recorder);
                    let (revision, is_new) = self.outbox.revision(&view, 0);
                    end.revision = revision;
                    if revision > 0 && is_new {
                        more.push(News::Run(Box::new(view.clone()), revision));
                    }
                    announced.push((key, end));
                    over.push(News::Run(Box::new(view), 0));
                }
                Found::More(seen, key, mut end) => {
                    if let Some(seen) = seen {
                        let (digest, view) = (seen.digest, self.judged(*seen));
                        alerts.extend(self.fired_late(&view, &mut end.fired));
                        self.history.investigate(&view, digest, recorder);
                        let (revision, is_new) = self.outbox.revision(&view, end.revision);
                        end.revision = revision;
                        more.extend(is_new.then(|| News::Run(Box::new(view), revision)));
                    }
                    announced.push((key, end));
                }
                Found::Session(view, (key, mut known), keys) => {
                    recorder.session(&view);
                    if alive {
                        alerts.extend(self.warn_of(&view, true, &mut known.fired));
                    }
                    announced.extend(keys.into_iter().chain([(key, known)]));
                    sessions.push(News::Session(view));
                }
                Found::Outstanding(view, (key, mut known)) => {
                    let before = known.fired;
                    alerts.extend(self.warn_of(&view, false, &mut known.fired));
                    announced.extend((known.fired != before).then_some((key, known)));
                }
            }
        }
        self.history.figure(recorder);
        alerts.iter().for_each(|alert| recorder.alert(alert));
        let alerts = alerts.into_iter().map(|alert| News::Alert(Box::new(alert)));
        let asked = self.outbox.is_asked();
        let news = over.into_iter().chain(more).chain(sessions).chain(alerts).filter(|_| asked).collect();
        self.tell(news, recorder);
        announced
    }

    /// Evaluates the alert rules for a run.
    fn warn(&mut self, view: &RunView, over: bool, fired: &mut u16) -> Vec<Alert> {
        let ceiling = self.settings.ceiling(view.feature.as_deref());
        let rule = Rule { limits: &self.settings.alerts, ceiling, now: self.wall.unwrap_or(0) };
        let mut new = self.alerts.run(view, over, fired, rule);
        if over {
            new.extend(self.alerts.learn(view, rule));
        }
        new
    }

    /// The same for a run that was over before.
    fn fired_late(&mut self, view: &RunView, fired: &mut u16) -> Vec<Alert> {
        let ceiling = self.settings.ceiling(view.feature.as_deref());
        let rule = Rule { limits: &self.settings.alerts, ceiling, now: self.wall.unwrap_or(0) };
        self.alerts.run(view, true, fired, rule)
    }

    /// Evaluates the alert rules for a session.
    fn warn_of(&mut self, view: &SessionView, over: bool, fired: &mut u16) -> Vec<Alert> {
        let rule = Rule { limits: &self.settings.alerts, ceiling: u64::MAX, now: self.wall.unwrap_or(0) };
        self.alerts.session(view, over, fired, rule)
    }

    fn judged(&self, seen: Seen) -> RunView {
        RunView { judged: self.history.judged(seen.digest), ..seen.view }
    }

    /// Puts news into the outbox.
    fn tell(&mut self, news: Vec<News>, recorder: &dyn Recorder) {
        let news = news.into_iter().chain(self.history.news.drain(..));
        let dropped = self.outbox.put_in(news.collect());
        recorder.untold(dropped);
    }

    /// Applies the last evaluation of an evicted group: finished runs are published, the others are counted as
    /// evicted.
    pub(super) fn give_up(&mut self, group: &Group, mut look: Look, recorder: &dyn Recorder) {
        let found = std::mem::take(&mut look.found);
        self.tell_of(found, false, recorder);
        self.history.count(&group.account, &group.counted, &look.counted);
        recorder.evicted(look.lost);
        self.retire(look);
    }

    /// Keeps the runs of an evicted group visible for a while.
    fn retire(&mut self, look: Look) {
        let now = self.wall.unwrap_or(0);
        let account = look.retired.first().map(|seen| seen.view.account.clone()).unwrap_or_default();
        look.forgotten.iter().for_each(|run| self.alerts.forget(&account, run, now));
        for seen in look.retired {
            self.alerts.forget(&seen.view.account, &seen.view.run, now);
            let digest = seen.digest;
            let view = self.judged(seen);
            self.history.retire(view, digest);
        }
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

    /// Restores the result of [`State::save`] under the current settings. `None`: damaged, or of another version.
    pub(super) fn load(settings: Settings, saved: &[u8]) -> Option<Self> {
        let (&VERSION, mut rest) = saved.split_first()? else { return None };
        let from = &mut rest;
        let mut state = Self::new(settings);
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

/// A recorder that ignores all events.
struct Silent;

impl Recorder for Silent {
    fn run(&self, _: &RunView) {}
    fn session(&self, _: &SessionView) {}
    fn evicted(&self, _: u64) {}
    fn measure(&self, _: &str, _: [&str; 4], _: f64) {}
    fn untold(&self, _: u64) {}
    fn alert(&self, _: &Alert) {}
    fn investigation(&self, _: &str, _: &str) {}
    fn overridden(&self, _: &str, _: &str) {}
    fn tool_calls_p95(&self, _: &str, _: &str, _: f64) {}
}
