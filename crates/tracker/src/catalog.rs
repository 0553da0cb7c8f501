//! The [`RunCatalog`] of [`RunTracker`]: what pages and the API show. The state is locked only while snapshots are
//! taken, because building views takes time proportional to the size of a group. `view` builds a single view.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use runs::{
    Alert, BudgetState, InvestigationStats, MeasureAggregate, RunBudget, RunCatalog, RunDetail, RunSums, RunView,
};

use super::RunTracker;
use super::aggregation_context::AggregationContext;
use super::evaluation::{DigestedRunView, state_without_end};
use super::group::ItemGroup;
use super::resolve::ResolvedRuns;
use super::run::Run;
use super::store::KeyId;
use super::view::ViewBuilder;
use super::view_cache::CachedGroupViews;

/// When a run is searched by a pseudonym, only this many of the latest groups are searched: the pseudonym of each of
/// their ids has to be computed.
const MAX_SEARCHED_GROUPS: usize = 20_000;
/// In such a search, this many of the latest groups are resolved even if none of their ids matches.
const ALWAYS_RESOLVED_GROUPS: usize = 200;
/// Views of a group with more than this weight are cached.
const MAX_UNCACHED_WEIGHT: usize = 1000;
const MAX_CACHED_VIEWS: usize = 4096;
/// About this many groups are fetched under one lock.
const GROUPS_PER_LOCK: usize = 128;

impl RunCatalog for RunTracker {
    /// By arrival of the last event: first the runs of groups still in memory, then retired ones.
    fn recent_runs(&self, limit: usize) -> Vec<RunView> {
        let context = self.aggregation_context();
        let (mut views, mut new_cache, mut before) = (Vec::new(), HashMap::new(), None);
        while views.len() < limit {
            let groups = self.state.lock().store.latest_before(None, before, limit.clamp(1, GROUPS_PER_LOCK));
            let Some(oldest) = groups.last() else { break };
            before = Some(oldest.batch);
            for group in groups {
                if views.len() >= limit {
                    break;
                }
                let missing = limit.saturating_sub(views.len());
                let group_views = self.cached_views(&group, &context, missing, &mut new_cache);
                views.extend(group_views.views.iter().cloned());
            }
        }
        *self.view_cache.views.lock() = new_cache;
        let state = self.state.lock();
        let mut views: Vec<RunView> = views.into_iter().map(|run| state.with_judgement(run)).collect();
        views.extend(state.history.recent().rev().take(limit.saturating_sub(views.len())).cloned());
        views.truncate(limit);
        views
    }

    fn find_run_of_account(&self, account: &str, id: &str) -> Option<RunDetail> {
        let context = self.aggregation_context();
        let find_in_group = |group: &ItemGroup| {
            let resolved = ResolvedRuns::resolve(group, &context);
            let views = ViewBuilder { ids: &*self.ids, resolved: &resolved };
            let has_id = |run: &&Run| self.ids.shown_id(&group.account, &run.id_text) == id;
            let run = resolved.runs.iter().filter(has_id).max_by_key(|run| run.last)?;
            Some(views.run_detail(run, state_without_end(group, run)))
        };
        if let Some(detail) = self.search_groups(Some(account), id, find_in_group) {
            let view = self.state.lock().with_judgement(DigestedRunView::new(detail.view));
            return Some(RunDetail { view, ..detail });
        }
        let has_id = |view: &&RunView| view.run == id && view.account == account;
        let view = self.state.lock().history.recent().rev().find(has_id)?.clone();
        let step_count = view.totals.calls() + view.totals.failed_calls + view.totals.tool_calls();
        Some(RunDetail { view, steps: None, step_count })
    }

    fn accounts_with_run(&self, id: &str) -> Vec<String> {
        let context = self.aggregation_context().without_window();
        let mut accounts: BTreeSet<String> = {
            let state = self.state.lock();
            state.history.recent().filter(|view| view.run == id).map(|view| view.account.clone()).collect()
        };
        let check_group = |group: &ItemGroup| {
            if !accounts.contains(&*group.account) {
                let resolved = ResolvedRuns::resolve(group, &context);
                if resolved.runs.iter().any(|run| self.ids.shown_id(&group.account, &run.id_text) == id) {
                    accounts.insert(group.account.to_string());
                }
            }
            None::<()>
        };
        self.search_groups(None, id, check_group);
        accounts.into_iter().collect()
    }

    fn budget(&self, account: &str, id: &str) -> Option<RunBudget> {
        let view = self.find_run_of_account(account, id)?.view;
        let ceiling = self.settings.ceiling(view.feature.as_deref());
        let state = match view.totals.iterations {
            used if used >= ceiling => BudgetState::Exceeded,
            used if used.saturating_mul(5) >= ceiling.saturating_mul(4) => BudgetState::Warned,
            _ => BudgetState::Ok,
        };
        Some(RunBudget { view, ceiling, state })
    }

    fn sums(&self) -> RunSums {
        self.state.lock().history.sums()
    }

    fn investigations(&self) -> BTreeMap<String, InvestigationStats> {
        self.state.lock().history.investigations()
    }

    fn measures(&self) -> Vec<MeasureAggregate> {
        self.state.lock().measures.list()
    }

    fn alerts(&self) -> Vec<Alert> {
        self.state.lock().alerts.all()
    }
}

impl RunTracker {
    /// The views of a group's latest runs: at least `limit`, or those of all runs. Views of a heavy group are added to
    /// `new_cache`.
    fn cached_views(
        &self,
        group: &ItemGroup,
        context: &AggregationContext,
        limit: usize,
        new_cache: &mut HashMap<KeyId, CachedGroupViews>,
    ) -> CachedGroupViews {
        let heavy_key = group.keys.first().filter(|_| group.weight() > MAX_UNCACHED_WEIGHT);
        let cached = heavy_key.and_then(|first| self.view_cache.views.lock().get(&first.id).cloned());
        let cached = cached.filter(|cached| {
            (cached.batch, cached.unfinished_runs) == (group.batch, group.unfinished_runs)
                && (cached.covers_all_runs || cached.views.len() >= limit)
        });
        let group_views = cached.unwrap_or_else(|| self.build_views(group, context, limit));
        let room = MAX_CACHED_VIEWS.saturating_sub(new_cache.values().map(|cached| cached.views.len()).sum());
        if let Some(first) = heavy_key.filter(|_| group_views.views.len() <= room) {
            new_cache.insert(first.id, group_views.clone());
        }
        group_views
    }

    fn build_views(&self, group: &ItemGroup, context: &AggregationContext, limit: usize) -> CachedGroupViews {
        let resolved = ResolvedRuns::resolve(group, context);
        let builder = ViewBuilder { ids: &*self.ids, resolved: &resolved };
        let mut runs: Vec<&Run> = resolved.runs.iter().collect();
        runs.sort_by_key(|run| Reverse((run.last, &run.id_text)));
        let covers_all_runs = runs.len() <= limit;
        let view = |run: &Run| DigestedRunView::new(builder.run_view(run, state_without_end(group, run)));
        let views = Arc::new(runs.into_iter().take(limit).map(view).collect());
        CachedGroupViews { batch: group.batch, unfinished_runs: group.unfinished_runs, covers_all_runs, views }
    }

    /// Calls `visit` on groups that may hold a run with this id, latest first, until it returns a value. Groups are
    /// fetched in slices, so the lock is released in between.
    fn search_groups<T>(
        &self,
        account: Option<&str>,
        id: &str,
        mut visit: impl FnMut(&ItemGroup) -> Option<T>,
    ) -> Option<T> {
        let is_pseudonym = id.starts_with(kernel::pseudonym::PREFIX);
        let max_groups = if is_pseudonym { MAX_SEARCHED_GROUPS } else { usize::MAX };
        let (mut before, mut searched) = (None, 0);
        while searched < max_groups {
            let groups = self.state.lock().store.latest_before(account, before, GROUPS_PER_LOCK);
            before = Some(groups.last()?.batch);
            // an id made of a trace and a span may be a pseudonym as a whole, so the latest groups are all searched
            let is_recent = is_pseudonym && searched < ALWAYS_RESOLVED_GROUPS;
            searched += groups.len();
            for group in groups {
                let may_match =
                    is_recent || group.keys.iter().any(|key| id.starts_with(&*key.text) && !key.text.is_empty());
                if (may_match || (is_pseudonym && self.has_pseudonym(&group, id)))
                    && let Some(found) = visit(&group)
                {
                    return Some(found);
                }
            }
        }
        None
    }

    /// Whether `id` begins with the pseudonym of one of the group's keys.
    fn has_pseudonym(&self, group: &ItemGroup, id: &str) -> bool {
        let mut pseudonyms = self.view_cache.pseudonyms.lock();
        group.keys.iter().filter(|key| !key.text.is_empty()).any(|key| {
            if !pseudonyms.contains_key(&key.id) {
                let shown = self.ids.shown_id(&group.account, &key.text);
                let pseudonym = shown.starts_with(kernel::pseudonym::PREFIX).then(|| shown.into());
                pseudonyms.insert_for(&*group.account, key.id, pseudonym, 1);
            }
            pseudonyms.get(&key.id).and_then(Option::as_deref).is_some_and(|shown| id.starts_with(shown))
        })
    }
}
