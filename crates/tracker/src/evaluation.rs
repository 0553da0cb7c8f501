//! [`GroupEvaluation`]: the evaluation of one group: runs and sessions that are over, that changed, or that may fire an
//! alert. This is the expensive part, and it depends only on the group and on [`EvaluationInputs`], so it runs outside
//! the state's lock. The result holds no reference to the group. `state` applies it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kernel::pseudonym::IdPolicy;
use runs::{RunState, RunView, SessionView};

use super::aggregation_context::AggregationContext;
use super::alerts::{RuleContext, SessionBounds};
use super::codec::BinaryCodec;
use super::config::Settings;
use super::constants::{MAX_RECENT_RUNS, nanos};
use super::contribution::RunContribution;
use super::group::{ItemGroup, PublicationRecord};
use super::headroom::{CallHeadroom, warning_threshold};
use super::observation::mark;
use super::observe::{digest, run_digest};
use super::resolve::ResolvedRuns;
use super::run::Run;
use super::store::KeyId;
use super::view::ViewBuilder;

/// A run ended by an agent whose parent was not seen is shown as ended after its trace was quiet for this many times
/// `settle`. The agent may turn out to be a sub-agent, whose parent's span is sent when the parent ends; so everything
/// that cannot be corrected later waits for the run's own root, the end of its session, or `idle_timeout`.
const PRESUMED_END_FACTOR: u64 = 10;
/// A group of at least this weight is evaluated once per `settle`, a lighter one more often. A group counts as heavy
/// if its interval is longer than [`SUSPECT_SEARCH_INTERVAL`].
const HEAVY_WEIGHT: u64 = 400_000;

/// Interval in ns after which new items of a heavy group are searched for suspects if a ceiling may have been crossed:
/// an alert is at most this and one tick late.
pub(super) const SUSPECT_SEARCH_INTERVAL: u64 = 4_000_000_000;

/// Inputs of an evaluation beside the group.
pub(super) struct EvaluationInputs {
    /// The engine's running time.
    pub(super) running: u64,
    /// Wall clock, unix ns; 0 = not known yet.
    pub(super) wall: u64,
    /// Cost and duration above which sessions of a feature fire alerts.
    pub(super) bounds: Arc<SessionBounds>,
    pub(super) context: AggregationContext,
}

/// A view with the digest by which outcomes find it.
pub(super) struct DigestedRunView {
    pub(super) view: RunView,
    pub(super) digest: u64,
}

impl DigestedRunView {
    pub(super) fn new(view: RunView) -> Self {
        let digest = run_digest(&view.account, &view.run);
        Self { view, digest }
    }
}

/// One result of an evaluation.
pub(super) enum EvaluationFinding {
    /// A run that goes on, or got items after its end: its view if it may fire an alert. The last field: whether it is
    /// shown as ended from now on, which is recorded even if no alert fires.
    Suspect(Option<Box<DigestedRunView>>, u64, PublicationRecord, bool),
    /// A run is over.
    RunEnded(Box<DigestedRunView>, u64, PublicationRecord),
    /// A run that was published before got more items: its new view if that changed.
    RunRevised(Option<Box<DigestedRunView>>, u64, PublicationRecord),
    /// A session is over: its view, and the records to store for it and for its runs.
    SessionEnded(Box<SessionView>, (u64, PublicationRecord), Vec<(u64, PublicationRecord)>),
    /// A session goes on and exceeds its feature's bounds.
    SessionOutlier(Box<SessionView>, (u64, PublicationRecord)),
}

/// See the module documentation.
pub(super) struct GroupEvaluation {
    /// Id of the group's first key, by which the group is recognised later.
    pub(super) first_key: Option<KeyId>,
    /// The group's last batch.
    pub(super) batch: u64,
    /// Runs that are not over.
    pub(super) unfinished_runs: u32,
    /// Unfinished runs that are evicted.
    pub(super) evicted_runs: u64,
    /// When to evaluate the group again.
    pub(super) next_at: u64,
    /// All runs of the group are over: nothing came for `idle_timeout`.
    pub(super) idle: bool,
    /// In publishing order.
    pub(super) findings: Vec<EvaluationFinding>,
    /// The shares of the group's runs in the sums.
    pub(super) contributions: Vec<u8>,
    /// For an evicted group: its latest runs, the latest last; then the ids of the others.
    pub(super) retired: Vec<DigestedRunView>,
    pub(super) dropped_run_ids: Vec<String>,
    /// For a heavy group: how many calls its runs may still get before it must be evaluated.
    pub(super) headroom: Option<CallHeadroom>,
}

struct GroupEvaluator<'l> {
    group: &'l ItemGroup,
    viewer: ViewBuilder<'l>,
    inputs: &'l EvaluationInputs,
    settings: &'l Settings,
    /// By session, the time of its reported end.
    ends: HashMap<u32, u64>,
    evaluation: GroupEvaluation,
}

impl GroupEvaluation {
    /// Evaluates a group.
    pub(super) fn evaluate(
        group: &ItemGroup,
        ids: &dyn IdPolicy,
        settings: &Settings,
        eyes: &EvaluationInputs,
    ) -> Self {
        let resolved = ResolvedRuns::resolve(group, &eyes.context);
        let mut looker = GroupEvaluator::new(&resolved, ids, settings, eyes);
        let idle = looker.evaluation.idle;
        let mut sessions: BTreeMap<&str, (Vec<&Run>, bool)> = BTreeMap::new();
        for run in &resolved.runs {
            let session = sessions.entry(&run.session).or_insert((Vec::new(), true));
            session.0.push(run);
            let (is_over, unended) = looker.evaluate_run(run);
            looker.add_contribution(run, unended);
            session.1 &= is_over;
        }
        for (runs, closed) in sessions.into_values() {
            if idle || (closed && looker.is_over(&runs)) {
                looker.end_session(&runs);
            } else if looker.is_outlier(&runs) {
                let view = looker.viewer.session_view(&runs, true);
                let record = looker.session_record(&runs);
                looker.evaluation.findings.push(EvaluationFinding::SessionOutlier(Box::new(view), record));
            }
        }
        let slack = looker.headroom(&resolved);
        let mut look = looker.evaluation;
        look.headroom = slack;
        look.next_at = look.next_at.max(eyes.running.saturating_add(evaluation_interval(group, settings).max(1)));
        look
    }

    /// A partial evaluation for heavy groups whose next full one is far off: unfinished runs that break a rule which
    /// did not fire for them yet.
    pub(super) fn find_suspects(
        group: &ItemGroup,
        ids: &dyn IdPolicy,
        settings: &Settings,
        eyes: &EvaluationInputs,
    ) -> Self {
        let resolved = ResolvedRuns::resolve(group, &eyes.context);
        let mut looker = GroupEvaluator::new(&resolved, ids, settings, eyes);
        for run in &resolved.runs {
            let (key, announced) = looker.run_record(run);
            if announced.was_over(run) || looker.suspected_rules(run) & !announced.fired == 0 {
                continue;
            }
            let suspect = looker.suspect_view(run, announced.state_without_end(run));
            looker.evaluation.findings.push(EvaluationFinding::Suspect(suspect, key, announced, false));
        }
        let slack = looker.headroom(&resolved);
        GroupEvaluation { headroom: slack, ..looker.evaluation }
    }

    /// The last evaluation of a group that is evicted.
    pub(super) fn evaluate_evicted(
        group: &ItemGroup,
        ids: &dyn IdPolicy,
        settings: &Settings,
        eyes: &EvaluationInputs,
    ) -> Self {
        let resolved = ResolvedRuns::resolve(group, &eyes.context);
        let mut looker = GroupEvaluator::new(&resolved, ids, settings, eyes);
        let mut sessions: BTreeMap<&str, (Vec<&Run>, bool)> = BTreeMap::new();
        for run in &resolved.runs {
            let session = sessions.entry(&run.session).or_insert((Vec::new(), true));
            session.0.push(run);
            looker.add_contribution(run, state_when_evicted(group, run));
            let (key, announced) = looker.run_record(run);
            if announced.over_at != 0 {
                continue;
            }
            if run.ended || run.presumed_end {
                looker.finish_run(run, key, announced, RunState::Evicted);
            } else {
                session.1 = false;
                looker.evaluation.evicted_runs += 1;
            }
        }
        for (runs, _) in sessions.into_values().filter(|(_, closed)| *closed) {
            looker.end_session(&runs);
        }
        looker.retire_runs(&resolved.runs);
        looker.evaluation
    }
}

/// Minimum time between two evaluations of a group, ns. It grows with the weight, so that a constant stream of items
/// does not make a heavy group be summed up all the time.
pub(super) fn evaluation_interval(group: &ItemGroup, settings: &Settings) -> u64 {
    let weight = u64::try_from(group.weight()).unwrap_or(u64::MAX);
    nanos(settings.settle) / HEAVY_WEIGHT * weight.min(HEAVY_WEIGHT)
}

impl<'l> GroupEvaluator<'l> {
    fn new(
        resolved: &'l ResolvedRuns<'l>,
        ids: &'l dyn IdPolicy,
        settings: &'l Settings,
        eyes: &'l EvaluationInputs,
    ) -> Self {
        let group = resolved.group;
        let mut ends: HashMap<u32, u64> = HashMap::new();
        for mark in group.marks.values().filter(|mark| mark.kind == mark::SESSION_END) {
            let latest = ends.entry(mark.session).or_default();
            *latest = mark.end.max(*latest);
        }
        let idle_at = group.touched.saturating_add(nanos(settings.idle_timeout));
        let look = GroupEvaluation {
            first_key: group.keys.first().map(|key| key.id),
            batch: group.batch,
            unfinished_runs: 0,
            evicted_runs: 0,
            next_at: idle_at,
            idle: idle_at <= eyes.running,
            findings: Vec::new(),
            contributions: Vec::new(),
            retired: Vec::new(),
            dropped_run_ids: Vec::new(),
            headroom: None,
        };
        Self { group, viewer: ViewBuilder { ids, resolved }, inputs: eyes, settings, ends, evaluation: look }
    }

    /// The stored record of a run, with its key.
    fn run_record(&self, run: &Run) -> (u64, PublicationRecord) {
        (run_key(run), run_publication(self.group, run).cloned().unwrap_or_default())
    }

    /// Evaluates one run. Returns whether its end is certain, and its state if its end was not reported.
    fn evaluate_run(&mut self, run: &Run) -> (bool, RunState) {
        let (key, announced) = self.run_record(run);
        let was_over = announced.over_at != 0;
        if announced.was_over(run) {
            // an item that was assigned to this run may turn out to belong to another
            if self.contribution(run, RunState::Idle).digest() != announced.contribution_digest {
                self.revise_run(run, key, announced);
            }
            return (true, RunState::Idle);
        }
        let running = self.inputs.running;
        let quiet = |wait: u64| run.touched.saturating_add(wait).min(self.idle_at());
        let over_at = quiet(nanos(if run.ended { self.settings.settle } else { self.settings.idle_timeout }));
        let presume_at = quiet(nanos(self.settings.settle).saturating_mul(PRESUMED_END_FACTOR));
        let ended = run.ended || run.presumed_end;
        if self.evaluation.idle || (ended && over_at <= running) {
            match was_over {
                true => self.revise_run(run, key, announced),
                false => self.finish_run(run, key, announced, RunState::Idle),
            }
            return (true, RunState::Idle);
        }
        let is_presumed = run.presumed_end && !run.ended && presume_at <= running;
        let straggles = was_over && run.ended;
        let is_news = is_presumed && announced.presumed_at <= run.touched;
        let presumed_at = if is_news { running.max(1) } else { announced.presumed_at };
        let announced = PublicationRecord { presumed_at, ..announced };
        let unended = announced.state_without_end(run);
        let suspect = self.suspect_view(run, unended);
        if is_news || suspect.is_some() {
            self.evaluation.findings.push(EvaluationFinding::Suspect(suspect, key, announced, is_news));
        }
        let next = match (ended, is_presumed) {
            (false, _) => self.idle_at(),
            (true, true) => over_at,
            (true, false) => over_at.min(presume_at),
        };
        self.evaluation.next_at = self.evaluation.next_at.min(next);
        self.evaluation.unfinished_runs += u32::from(unended == RunState::Live);
        (straggles, unended)
    }

    /// The run's view, if it may fire an alert.
    fn suspect_view(&self, run: &Run, unended: RunState) -> Option<Box<DigestedRunView>> {
        let seen = || Box::new(DigestedRunView::new(self.viewer.run_view(run, unended)));
        (self.suspected_rules(run) != 0).then(seen)
    }

    fn suspected_rules(&self, run: &Run) -> u16 {
        RuleContext { limits: &self.settings.alerts, ceiling: self.ceiling(run), now: self.inputs.wall }
            .suspected_rules(run)
    }

    fn ceiling(&self, run: &Run) -> u64 {
        let feature = Some(self.group.name(run.tags.feature)).filter(|name| !name.is_empty());
        self.settings.ceiling(feature)
    }

    /// For a heavy group: how many calls its runs may still get before it must be evaluated.
    fn headroom<'r>(&self, resolved: &'r ResolvedRuns<'_>) -> Option<CallHeadroom> {
        let left = |run: &'r Run| {
            let (_, announced) = self.run_record(run);
            let (ceiling, used) = (self.ceiling(run), run.totals.iterations);
            // a limit that is already crossed fires with this evaluation
            let next =
                [warning_threshold(ceiling), ceiling].into_iter().find(|limit| used < *limit).unwrap_or(u64::MAX);
            (!announced.was_over(run)).then(|| (run, next.saturating_sub(used)))
        };
        let is_heavy = evaluation_interval(self.group, self.settings) > SUSPECT_SEARCH_INTERVAL;
        is_heavy.then(|| CallHeadroom::compute(resolved, resolved.runs.iter().filter_map(left), self.settings))
    }

    fn idle_at(&self) -> u64 {
        self.group.touched.saturating_add(nanos(self.settings.idle_timeout))
    }

    fn finish_run(&mut self, run: &Run, key: u64, announced: PublicationRecord, unended: RunState) {
        let view = self.viewer.run_view(run, unended);
        let (over_at, digest, counted) =
            (self.inputs.running.max(1), view_digest(&view), RunContribution::from_view(&view).digest());
        let announced = PublicationRecord { over_at, digest, contribution_digest: counted, ..announced };
        self.evaluation.findings.push(EvaluationFinding::RunEnded(
            Box::new(DigestedRunView::new(view)),
            key,
            announced,
        ));
    }

    /// A finished run got more items: its summary is revised, however late, so that it agrees with the sums.
    fn revise_run(&mut self, run: &Run, key: u64, announced: PublicationRecord) {
        let view = self.viewer.run_view(run, RunState::Idle);
        let digest = view_digest(&view);
        let changed = digest != announced.digest;
        let revision = announced.revision.saturating_add(u32::from(changed));
        let (over_at, counted) = (self.inputs.running, RunContribution::from_view(&view).digest());
        let view = changed.then(|| Box::new(DigestedRunView::new(view)));
        self.evaluation.findings.push(EvaluationFinding::RunRevised(
            view,
            key,
            PublicationRecord { over_at, digest, revision, contribution_digest: counted, ..announced },
        ));
    }

    fn contribution(&self, run: &Run, unended: RunState) -> RunContribution {
        RunContribution::from_view(&self.viewer.run_view(run, unended))
    }

    /// Adds the run's share in the sums, whether it is over or not.
    fn add_contribution(&mut self, run: &Run, unended: RunState) {
        self.contribution(run, unended).put(&mut self.evaluation.contributions);
    }

    /// The record of the alert rules that fired for a session.
    fn session_record(&self, runs: &[&Run]) -> (u64, PublicationRecord) {
        let session = runs.first().map_or("", |run| &run.session);
        let key = digest(&["rules", session]);
        (key, self.group.published.get(key).cloned().unwrap_or_default())
    }

    /// Publishes the runs of a session that is over, except those published with an earlier end: a session may be
    /// resumed.
    fn end_session(&mut self, runs: &[&Run]) {
        let is_new = |run: &&&Run| find_publication(self.group, "session", run).is_none();
        let new: Vec<&Run> = runs.iter().filter(is_new).copied().collect();
        if new.is_empty() {
            return;
        }
        let view = self.viewer.session_view(&new, new.len() == runs.len());
        let over = PublicationRecord { over_at: self.inputs.running.max(1), ..PublicationRecord::default() };
        let keys = new.into_iter().map(|run| (session_key(run), over.clone())).collect();
        self.evaluation.findings.push(EvaluationFinding::SessionEnded(Box::new(view), self.session_record(runs), keys));
    }

    /// A session whose runs are all closed is over if its end was reported and no run started later, or if it is a
    /// single trace.
    fn is_over(&self, runs: &[&Run]) -> bool {
        let Some(session) = runs.first().map(|run| run.session_key) else { return false };
        session == 0 || self.ends.get(&session).is_some_and(|end| runs.iter().all(|run| run.start <= *end))
    }

    /// A cheap check whether a session that goes on costs or takes more than is usual for its feature.
    fn is_outlier(&self, runs: &[&Run]) -> bool {
        let feature = runs.iter().map(|run| self.group.name(run.tags.feature)).find(|name| !name.is_empty());
        let Some((cost, seconds)) = feature.and_then(|name| self.inputs.bounds.get(&self.group.account, name)) else {
            return false;
        };
        let spent = runs.iter().fold(0_i128, |sum, run| sum.saturating_add(run.totals.atto_usd()));
        let start = runs.iter().map(|run| run.start).filter(|start| *start != 0).min().unwrap_or(0);
        let last = runs.iter().map(|run| run.last).max().unwrap_or(0);
        spent as f64 / 1e18 > cost || last.saturating_sub(start) as f64 / 1e9 > seconds
    }

    /// Keeps the runs of an evicted group visible for a while.
    fn retire_runs(&mut self, runs: &[Run]) {
        let mut runs: Vec<&Run> = runs.iter().collect();
        runs.sort_by_key(|run| (run.last, &run.id_text));
        let (rest, latest) = runs.split_at_checked(runs.len().saturating_sub(MAX_RECENT_RUNS)).unwrap_or((&[], &runs));
        let ids = self.viewer.ids;
        let id = |run: &&Run| ids.shown_id(&self.group.account, &run.id_text).into_owned();
        self.evaluation.dropped_run_ids = rest.iter().map(id).collect();
        let view = |run: &&Run| self.viewer.run_view(run, state_when_evicted(self.group, run));
        self.evaluation.retired = latest.iter().map(|run| DigestedRunView::new(view(run))).collect();
    }
}

impl PublicationRecord {
    /// Whether the run was over and nothing came into its trace since. Items between two ticks carry the time of the
    /// first tick although they arrive after its evaluations, hence the strict comparison.
    fn was_over(&self, run: &Run) -> bool {
        run.touched < self.over_at
    }

    /// The state of a run whose end was not reported. Evaluations and pages both use this method, because separate
    /// decisions came to differ.
    fn state_without_end(&self, run: &Run) -> RunState {
        let is_presumed = run.presumed_end && run.touched < self.presumed_at;
        let straggles = run.ended && self.over_at != 0;
        if self.was_over(run) || is_presumed || straggles { RunState::Idle } else { RunState::Live }
    }
}

/// The state of a run, in a group still in memory, whose end was not reported.
pub(super) fn state_without_end(group: &ItemGroup, run: &Run) -> RunState {
    run_publication(group, run).map_or(RunState::Live, |known| known.state_without_end(run))
}

/// The same for an evicted group: a run that was over before does not count as evicted.
fn state_when_evicted(group: &ItemGroup, run: &Run) -> RunState {
    let was_over = run_publication(group, run).is_some_and(|known| known.was_over(run));
    if was_over { RunState::Idle } else { RunState::Evicted }
}

/// The stored record of a run.
fn run_publication<'g>(group: &'g ItemGroup, run: &Run) -> Option<&'g PublicationRecord> {
    find_publication(group, "run", run)
}

/// The stored record of a run or of its session. Falls back to the ids derived from the trace, which a run has until
/// an item names the run or its session.
fn find_publication<'g>(group: &'g ItemGroup, of: &str, run: &Run) -> Option<&'g PublicationRecord> {
    if group.published.len() == 0 {
        return None;
    }
    let by = |session: &str, text: &str| group.published.get(digest(&[of, session, text]));
    let trace = group.key_text(run.trace);
    let by_trace = || {
        let session = format!("trace-{trace}");
        by(&run.session, trace).or_else(|| by(&session, trace)).or_else(|| by(&session, &run.id_text))
    };
    let own = by(&run.session, &run.id_text);
    if own.is_none() && run.is_alone_in_trace && !trace.is_empty() { by_trace() } else { own }
}

fn run_key(run: &Run) -> u64 {
    digest(&["run", &run.session, &run.id_text])
}

fn session_key(run: &Run) -> u64 {
    digest(&["session", &run.session, &run.id_text])
}

/// Changes when the view changes; outcomes are not included.
pub(super) fn view_digest(view: &RunView) -> u64 {
    let mut bytes = Vec::new();
    RunView { judgement: Default::default(), ..view.clone() }.put(&mut bytes);
    digest(&[&kernel::hex::encode(&bytes)])
}
