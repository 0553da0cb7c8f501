//! [`ViewBuilder`]: builds views of resolved runs that may be shown. Ids and names in a view have passed the id policy
//! (redaction rules, pseudonyms); users are always pseudonyms; views hold no content. The `runs` crate defines the
//! types of views.

use kernel::pseudonym::IdPolicy;
use runs::{
    ModelTotals, RunDetail, RunJudgement, RunPeaks, RunState, RunStep, RunTotals, RunView, SessionView, UNATTRIBUTED,
};

use super::group::{AttributionTags, ItemGroup};
use super::observation::first_nonzero;
use super::resolve::ResolvedRuns;
use super::run::Run;
use super::run_calls::{RunCall, span_id, trace_id};

pub(super) struct ViewBuilder<'a> {
    pub(super) ids: &'a dyn IdPolicy,
    pub(super) resolved: &'a ResolvedRuns<'a>,
}

impl ViewBuilder<'_> {
    /// `unended_state` is the run's state if no end was reported.
    pub(super) fn run_view(&self, run: &Run, unended_state: RunState) -> RunView {
        let group = self.resolved.group;
        let account = &group.account;
        let AttributionTags { template, incident, commit, issue, service, .. } = run.tags;
        RunView {
            owner: group.owner.clone(),
            account: account.to_string(),
            run: self.ids.shown_id(account, &run.id_text).into_owned(),
            session: self.ids.shown_id(account, &run.session).into_owned(),
            continues: Some(group.predecessor_of(run.session_key))
                .filter(|continued| !continued.is_empty())
                .map(|continued| self.ids.shown_id(account, continued).into_owned()),
            trace: group.key_text(run.trace).to_owned(),
            root: span_id(trace_id(group.key_text(run.trace)), run.roots.first().copied().unwrap_or(0)),
            tenant: self.shown_id(run.tags.tenant),
            feature: self.shown_label(run.tags.feature),
            user: self.user(run.tags.user),
            template: self.shown_label(template),
            incident: self.shown_id(incident),
            commit: self.shown_label(commit),
            issue: self.shown_label(issue),
            service: self.shown_label(service),
            operation: self.shown_label(run.operation),
            state: run.state(unended_state),
            failed: run.has_failed(unended_state),
            start: run.start,
            last: run.last,
            duration: duration(run),
            totals: self.totals(&run.totals),
            peaks: self.peaks(&run.peaks),
            judgement: RunJudgement::default(),
        }
    }

    /// The view with the run's calls, at most the first `max_steps`.
    pub(super) fn detail(&self, run: &Run, view: RunView, max_steps: usize) -> RunDetail {
        let step = |call: &RunCall| {
            let step = call.to_step(self.resolved.group);
            RunStep { name: self.shown_text(&step.name), ..step }
        };
        let steps = run.calls.iter().take(max_steps).map(step).collect();
        let ItemGroup { first_received, received, .. } = *self.resolved.group;
        let step_count = run.calls.len() as u64;
        RunDetail { view, steps: Some(steps), step_count, first_heard: first_received, heard: received }
    }

    /// The session of these runs (at least one). With `is_complete`, these are all its runs, and the times of its other
    /// items count too.
    pub(super) fn session_view(&self, runs: &[&Run], is_complete: bool) -> SessionView {
        let group = self.resolved.group;
        let key = runs.first().and_then(|run| group.key(run.session_key));
        let timed_key = key.filter(|_| is_complete);
        let starts = runs.iter().map(|run| run.start).chain(timed_key.map(|key| key.first));
        let start = starts.filter(|start| *start != 0).min().unwrap_or(0);
        let ends = runs.iter().map(|run| run.last).chain(timed_key.map(|key| key.last));
        let end = ends.max().unwrap_or(0);
        let own_tags = key.map(|key| key.tags).unwrap_or_default();
        let tag_of_runs = |tag: fn(&AttributionTags) -> u16| {
            let first = runs.iter().filter(|run| tag(&run.tags) != 0).min_by_key(|run| (run.start, &run.id_text));
            first.map_or(0, |run| tag(&run.tags))
        };
        let first_tag = |tag: fn(&AttributionTags) -> u16| first_nonzero(tag(&own_tags), tag_of_runs(tag));
        let mut totals = RunTotals::default();
        runs.iter().for_each(|run| totals.add(&run.totals));
        totals.other_tenants.clear();
        let is_of_run = |tenant: u16| runs.iter().any(|run| run.tags.tenant == tenant);
        let tenant = Some(own_tags.tenant).filter(|tenant| *tenant != 0 && is_of_run(*tenant));
        let tenant = tenant.unwrap_or_else(|| tag_of_runs(|tags| tags.tenant));
        for (other, share) in runs.iter().flat_map(|run| run.totals.by_tenant(self.name(run.tags.tenant))) {
            if other != self.name(tenant) && share != ModelTotals::default() {
                let other = other.unwrap_or(UNATTRIBUTED).to_owned();
                totals.other_tenants.entry(other).or_default().add(&share);
            }
        }
        let id = runs.first().map_or("", |run| &run.session);
        SessionView {
            owner: group.owner.clone(),
            account: group.account.to_string(),
            session: self.ids.shown_id(&group.account, id).into_owned(),
            tenant: self.shown_id(tenant),
            // items of sub-agents name the session too, but not its feature
            feature: self.shown_label(first_nonzero(tag_of_runs(|tags| tags.feature), own_tags.feature)),
            user: self.user(first_tag(|tags| tags.user)),
            runs: runs.len() as u64,
            failed: runs.iter().any(|run| run.has_failed(RunState::Idle)),
            start,
            duration: end.saturating_sub(start),
            totals: self.totals(&totals),
        }
    }

    fn name(&self, name: u16) -> Option<&str> {
        Some(self.resolved.group.name(name)).filter(|text| !text.is_empty())
    }

    fn shown_id(&self, name: u16) -> Option<String> {
        self.name(name).map(|text| self.ids.shown_id(&self.resolved.group.account, text).into_owned())
    }

    fn user(&self, name: u16) -> Option<String> {
        self.name(name).map(|text| self.ids.pseudonym(&self.resolved.group.account, text))
    }

    fn shown_label(&self, name: u16) -> Option<String> {
        self.name(name).map(|text| self.shown_text(text))
    }

    fn shown_text(&self, text: &str) -> String {
        self.ids.redact_column(&self.resolved.group.account, text).into_owned()
    }

    fn totals(&self, totals: &RunTotals) -> RunTotals {
        let mut shown = RunTotals::default();
        shown.add_with_names(totals, |name| self.shown_text(name));
        for (tenant, other) in &totals.other_tenants {
            let tenant = self.ids.shown_id(&self.resolved.group.account, tenant).into_owned();
            shown.other_tenants.entry(tenant).or_default().add(other);
        }
        shown
    }

    fn peaks(&self, peaks: &RunPeaks) -> RunPeaks {
        let mut shown = peaks.clone();
        for step in [&mut shown.slowest, &mut shown.most_expensive].into_iter().flatten() {
            step.name = self.shown_text(&step.name);
        }
        for streak in [&mut shown.identical_row, &mut shown.busiest_window].into_iter().flatten() {
            streak.tool = self.shown_text(&streak.tool);
        }
        shown
    }
}

/// Uses the root's own times if known. A start of 0 is unknown, so the duration is 0 too.
fn duration(run: &Run) -> u64 {
    let (start, end) = run.root.filter(|(start, _)| *start != 0).unwrap_or((run.start, run.last));
    if start == 0 { 0 } else { end.saturating_sub(start) }
}
