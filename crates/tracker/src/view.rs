//! [`Viewer`]: builds the views that may be shown from resolved runs. Ids and names have passed the id policy
//! (redaction rules, pseudonyms); users are always pseudonyms; views hold no content. The `runs` crate defines their
//! types.

use kernel::pseudonym::IdPolicy;
use runs::{Detail, Judged, Peaks, RunState, RunView, SessionView, Step, Totals};

use super::acts::trace_id;
use super::group::Tags;
use super::resolve::Resolved;
use super::run::{Run, first_nonzero};
use super::seen::span_at;

/// Maximum number of steps shown for one run.
const STEPS: usize = 2000;

/// Builds views.
pub(super) struct Viewer<'a> {
    pub(super) ids: &'a dyn IdPolicy,
    pub(super) resolved: &'a Resolved<'a>,
}

impl Viewer<'_> {
    /// `unended` is the run's state if no end was reported.
    pub(super) fn run(&self, run: &Run, unended: RunState) -> RunView {
        let group = self.resolved.group;
        let account = &group.account;
        let Tags { template, incident, commit, issue, service, .. } = run.tags;
        let place = run.roots.iter().min().copied().filter(|place| *place != 0);
        let root = place.zip(trace_id(group, run.trace)).map_or([0; 8], |(place, trace)| span_at(trace, place));
        RunView {
            account: account.to_string(),
            run: self.ids.shown(account, &run.text).into_owned(),
            session: self.ids.shown(account, &run.session).into_owned(),
            trace: group.text(run.trace).to_owned(),
            root,
            tenant: self.id(run.tags.tenant),
            feature: self.word(run.tags.feature),
            user: self.user(run.tags.user),
            template: self.word(template),
            incident: self.id(incident),
            commit: self.word(commit),
            issue: self.word(issue),
            service: self.word(service),
            state: run.state(unended),
            failed: run.has_failed(unended),
            start: run.start,
            last: run.last,
            duration: duration(run),
            totals: self.totals(&run.totals),
            peaks: self.peaks(&run.peaks),
            judged: Judged::default(),
        }
    }

    /// The run with its calls.
    pub(super) fn detail(&self, run: &Run, unended: RunState) -> Detail {
        let steps = run.acts.iter().take(STEPS).map(|act| self.step(act.step(self.resolved.group))).collect();
        Detail { view: self.run(run, unended), steps: Some(steps), step_count: run.acts.len() as u64 }
    }

    /// The session of these runs (at least one); `whole`: they are all its runs.
    pub(super) fn session(&self, runs: &[&Run], whole: bool) -> SessionView {
        let mut totals = Totals::default();
        let group = self.resolved.group;
        let key = runs.first().and_then(|run| group.key(run.session_key));
        let told = |time: u64| (time != 0).then_some(time);
        let times = key.filter(|_| whole);
        let starts = runs.iter().map(|run| run.start).chain(times.map(|key| key.first)).filter_map(told);
        let lasts = runs.iter().map(|run| run.last).chain(times.map(|key| key.last));
        let (start, last) = (starts.min().unwrap_or(0), lasts.max().unwrap_or(0));
        let own = key.map(|key| key.tags).unwrap_or_default();
        let of_runs = |name: fn(&Tags) -> u16| {
            let told = runs.iter().filter(|run| name(&run.tags) != 0).min_by_key(|run| (run.start, &run.text));
            told.map_or(0, |run| name(&run.tags))
        };
        let first = |name: fn(&Tags) -> u16| first_nonzero(name(&own), of_runs(name));
        for run in runs {
            totals.add(&run.totals);
            totals.others.clear();
        }
        let tenant = first(|tags| tags.tenant);
        for (whose, share) in runs.iter().flat_map(|run| run.totals.by_tenant(self.name(run.tags.tenant))) {
            if let Some(whose) = whose.filter(|whose| Some(*whose) != self.name(tenant)) {
                totals.others.entry(whose.to_owned()).or_default().add(&share);
            }
        }
        let id = runs.first().map_or("", |run| &run.session);
        SessionView {
            account: group.account.to_string(),
            session: self.ids.shown(&group.account, id).into_owned(),
            tenant: self.id(tenant),
            // items of sub-agents name the session too, but not its feature
            feature: self.word(first_nonzero(of_runs(|tags| tags.feature), own.feature)),
            user: self.user(first(|tags| tags.user)),
            runs: runs.len() as u64,
            failed: runs.iter().any(|run| run.has_failed(RunState::Idle)),
            start,
            duration: last.saturating_sub(start),
            totals: self.totals(&totals),
        }
    }

    fn name(&self, name: u16) -> Option<&str> {
        Some(self.resolved.group.name(name)).filter(|text| !text.is_empty())
    }

    fn id(&self, name: u16) -> Option<String> {
        self.name(name).map(|text| self.ids.shown(&self.resolved.group.account, text).into_owned())
    }

    fn user(&self, name: u16) -> Option<String> {
        self.name(name).map(|text| self.ids.pseudonym(&self.resolved.group.account, text))
    }

    fn word(&self, name: u16) -> Option<String> {
        self.name(name).map(|text| self.column(text))
    }

    fn column(&self, text: &str) -> String {
        self.ids.column(&self.resolved.group.account, text).into_owned()
    }

    fn totals(&self, totals: &Totals) -> Totals {
        let mut shown = Totals::default();
        shown.add_names(totals, |name| self.column(name));
        for (tenant, other) in &totals.others {
            let tenant = self.ids.shown(&self.resolved.group.account, tenant).into_owned();
            shown.others.entry(tenant).or_default().add(other);
        }
        shown
    }

    fn step(&self, step: Step) -> Step {
        Step { name: self.column(&step.name), ..step }
    }

    fn peaks(&self, peaks: &Peaks) -> Peaks {
        let mut shown = peaks.clone();
        for step in [&mut shown.slowest, &mut shown.most_expensive].into_iter().flatten() {
            step.name = self.column(&step.name);
        }
        for streak in [&mut shown.row, &mut shown.window].into_iter().flatten() {
            streak.tool = self.column(&streak.tool);
        }
        shown
    }
}

/// Uses the root's own times if known. A start of 0 is unknown, so the duration is 0 too.
fn duration(run: &Run) -> u64 {
    let (start, end) = run.root.filter(|(start, _)| *start != 0).unwrap_or((run.start, run.last));
    if start == 0 { 0 } else { end.saturating_sub(start) }
}
