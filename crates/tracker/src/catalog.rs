//! The [`RunSource`] of [`RunTracker`]: what history reads. The state is locked only while lists are copied and changed
//! groups are fetched, because resolving a group takes time proportional to its size. `view` builds a single view.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::HashSet;

use runs::{
    Alert, EndedRuns, InvestigationStats, MeasureAggregate, RunDetail, RunJudgement, RunSource, encode_run, run_key,
};

use super::RunTracker;
use super::evaluation::{GroupEvaluation, state_without_end};
use super::group::CurrentRun;
use super::resolve::ResolvedRuns;
use super::view::ViewBuilder;

/// Maximum number of calls shown of a run that is not over.
const MAX_STEPS: usize = 2000;
/// Maximum number of groups that a query brings up to date; the next evaluations do the others within seconds.
const MAX_REFRESHED_GROUPS: usize = 2000;

impl RunSource for RunTracker {
    fn enable_history(&self) {
        self.state.lock().ended.dropped = Some(self.metrics.dropped_ended_runs.clone());
    }

    fn visit_runs(&self, visit: &mut dyn FnMut(u64, Option<&[u8]>)) {
        self.refresh_current_runs();
        let (current, ended) = {
            let state = self.state.lock();
            let now = state.wall_or_max();
            let current: Vec<Arc<[CurrentRun]>> =
                state.store.groups().map(|group| Arc::clone(&group.current)).collect();
            let encode = |detail: &RunDetail| encode_run(&detail.view, now);
            let ended: Vec<_> = state.ended.iter().map(|(key, detail)| (key, detail.map(encode))).collect();
            (current, ended)
        };
        for run in current.iter().flat_map(|runs| runs.iter()) {
            visit(run.key, Some(&run.record));
        }
        ended.iter().for_each(|(key, record)| visit(*key, record.as_deref()));
    }

    fn find_runs(&self, keys: &[u64]) -> Vec<(u64, RunDetail)> {
        self.refresh_current_runs();
        let wanted: HashSet<u64> = keys.iter().copied().collect();
        let (groups, mut found) = {
            let state = self.state.lock();
            let ended = keys.iter().filter_map(|key| Some((*key, state.ended.get(*key)?.clone())));
            (state.store.find_current(&wanted), ended.collect::<Vec<_>>())
        };
        let context = self.aggregation_context();
        for group in groups {
            let resolved = ResolvedRuns::resolve(&group, &context);
            let views = ViewBuilder { ids: &*self.ids, resolved: &resolved };
            let current: HashSet<u64> = group.current.iter().map(|run| run.key).collect();
            for run in &resolved.runs {
                let key = run_key(&group.account, &self.ids.shown_id(&group.account, &run.id_text));
                if wanted.contains(&key) && current.contains(&key) {
                    let view = views.run_view(run, state_without_end(&group, run));
                    found.push((key, views.detail(run, view, MAX_STEPS)));
                }
            }
        }
        found
    }

    fn accounts(&self) -> Vec<String> {
        self.state.lock().store.accounts().map(str::to_owned).collect()
    }

    fn judgement(&self, key: u64) -> Option<RunJudgement> {
        self.state.lock().investigations.judgement(key)
    }

    fn iteration_ceiling(&self, feature: Option<&str>) -> u64 {
        self.settings.ceiling(feature)
    }

    fn take_ended(&self) -> EndedRuns {
        self.state.lock().ended.take()
    }

    fn give_back(&self, ended: EndedRuns) {
        self.state.lock().ended.give_back(ended);
    }

    fn investigations(&self) -> BTreeMap<String, InvestigationStats> {
        self.state.lock().investigations.by_agent_type()
    }

    fn measures(&self) -> Vec<MeasureAggregate> {
        self.state.lock().measures.list()
    }

    fn alerts(&self) -> Vec<Alert> {
        self.state.lock().alerts.all()
    }
}

impl RunTracker {
    /// Computes the current runs of groups that changed since their last evaluation.
    fn refresh_current_runs(&self) {
        let inputs = self.evaluation_inputs();
        for _ in 0..MAX_REFRESHED_GROUPS {
            let Some((id, group)) = self.state.lock().store.next_changed_group() else { break };
            let evaluation = GroupEvaluation::find_current_runs(&group, &inputs);
            drop(group); // the lock holder would have to copy the group on a change
            self.state.lock().replace_current(id, evaluation);
        }
    }
}
