//! The runs that pages and the API show: the latest ones ([`RunViewCache::recent_runs`]) or one by id
//! ([`RunViewCache::find_run`]). The state is locked only while snapshots are taken, because building views takes time
//! proportional to the size of a group. Views of heavy groups are cached until the group changes; the cache is bounded.
//! `view` builds a single view.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use kernel::bounded_map::BoundedMap;
use kernel::pseudonym::IdPolicy;
use runs::{RunDetail, RunView};

use super::aggregation_context::AggregationContext;
use super::evaluation::{DigestedRunView, state_without_end};
use super::group::ItemGroup;
use super::resolve::ResolvedRuns;
use super::run::Run;
use super::state::TrackerState;
use super::store::KeyId;
use super::view::ViewBuilder;

/// When a run is searched by a pseudonym, only this many of the latest groups are searched: the pseudonym of each of
/// their ids has to be computed.
const MAX_SEARCHED_GROUPS: usize = 20_000;
/// In such a search, this many of the latest groups are resolved even if none of their ids matches.
const ALWAYS_RESOLVED_GROUPS: usize = 200;
/// Maximum number of keys with a cached pseudonym.
const MAX_CACHED_PSEUDONYMS: usize = 50_000;
/// Views of a group with more than this weight are cached.
const MAX_UNCACHED_WEIGHT: usize = 1000;
const MAX_CACHED_VIEWS: usize = 4096;
/// About this many groups are fetched under one lock.
const GROUPS_PER_LOCK: usize = 128;

#[derive(Clone, Copy)]
pub(super) struct ViewContext<'a> {
    pub(super) ids: &'a dyn IdPolicy,
    pub(super) aggregation: &'a AggregationContext,
}

/// Cached views of the latest runs of a group, as of one batch.
#[derive(Clone)]
struct CachedGroupViews {
    batch: u64,
    /// Number of unfinished runs at that time: a run may become "ended" without another batch.
    unfinished_runs: u32,
    covers_all_runs: bool,
    views: Arc<Vec<(RunView, u64)>>,
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct RunViewCache {
    views: Mutex<HashMap<KeyId, CachedGroupViews>>,
    /// Pseudonym of a key's text, or `None` if the text is shown as it is. Cached, because computing them dominates a
    /// search.
    pseudonyms: Mutex<BoundedMap<KeyId, Option<Box<str>>, MAX_CACHED_PSEUDONYMS>>,
}

impl RunViewCache {
    /// The latest runs by arrival of their last event: first those of groups still in memory, then retired ones.
    pub(super) fn recent_runs(
        &self,
        state: &Mutex<TrackerState>,
        context: ViewContext<'_>,
        limit: usize,
    ) -> Vec<RunView> {
        let (mut views, mut new_cache, mut before) = (Vec::new(), HashMap::new(), None);
        while views.len() < limit {
            let groups = state.lock().store.latest_before(None, before, limit.clamp(1, GROUPS_PER_LOCK));
            let Some(oldest) = groups.last() else { break };
            before = Some(oldest.batch);
            for group in groups {
                if views.len() >= limit {
                    break;
                }
                let group_views = self.cached_views(&group, context, limit.saturating_sub(views.len()), &mut new_cache);
                views.extend(group_views.views.iter().cloned());
            }
        }
        *self.views.lock() = new_cache;
        let state = state.lock();
        for (view, digest) in &mut views {
            view.judgement = state.history.judgement(*digest);
        }
        let mut views: Vec<RunView> = views.into_iter().map(|(view, _)| view).collect();
        views.extend(state.history.recent().rev().take(limit.saturating_sub(views.len())).cloned());
        views.truncate(limit);
        views
    }

    /// The views of a group's latest runs: at least `limit`, or those of all runs. Views of a heavy group are added to
    /// `new_cache`.
    fn cached_views(
        &self,
        group: &ItemGroup,
        context: ViewContext<'_>,
        limit: usize,
        new_cache: &mut HashMap<KeyId, CachedGroupViews>,
    ) -> CachedGroupViews {
        let heavy_key = group.keys.first().filter(|_| group.weight() > MAX_UNCACHED_WEIGHT);
        let cached = heavy_key.and_then(|first| self.views.lock().get(&first.id).cloned());
        let cached = cached.filter(|cached| {
            (cached.batch, cached.unfinished_runs) == (group.batch, group.unfinished_runs)
                && (cached.covers_all_runs || cached.views.len() >= limit)
        });
        let group_views = cached.unwrap_or_else(|| CachedGroupViews::build(group, context, limit));
        let room = MAX_CACHED_VIEWS.saturating_sub(new_cache.values().map(|cached| cached.views.len()).sum());
        if let Some(first) = heavy_key.filter(|_| group_views.views.len() <= room) {
            new_cache.insert(first.id, group_views.clone());
        }
        group_views
    }

    /// The latest run with this id; `account` restricts the search.
    pub(super) fn find_run(
        &self,
        state: &Mutex<TrackerState>,
        context: ViewContext<'_>,
        account: Option<&str>,
        id: &str,
    ) -> Option<RunDetail> {
        let find_in_group = |group: &ItemGroup| {
            let resolved = ResolvedRuns::resolve(group, context.aggregation);
            let views = ViewBuilder { ids: context.ids, resolved: &resolved };
            let has_id = |run: &&Run| context.ids.shown_id(&group.account, &run.id_text) == id;
            let run = resolved.runs.iter().filter(has_id).max_by_key(|run| run.last)?;
            Some(views.run_detail(run, state_without_end(group, run)))
        };
        if let Some(mut detail) = self.search_groups(state, context, account, id, find_in_group) {
            let digest = super::observe::run_digest(&detail.view.account, &detail.view.run);
            detail.view.judgement = state.lock().history.judgement(digest);
            return Some(detail);
        }
        let has_id = |view: &&RunView| view.run == id && account.is_none_or(|account| view.account == account);
        let view = state.lock().history.recent().rev().find(has_id)?.clone();
        let step_count = view.totals.calls() + view.totals.failed_calls + view.totals.tool_calls();
        Some(RunDetail { view, steps: None, step_count })
    }

    /// The accounts that have a run with this id.
    pub(super) fn accounts_with_run(
        &self,
        state: &Mutex<TrackerState>,
        context: ViewContext<'_>,
        id: &str,
    ) -> Vec<String> {
        let aggregation = context.aggregation.without_window();
        let mut accounts: BTreeSet<String> = {
            let state = state.lock();
            state.history.recent().filter(|view| view.run == id).map(|view| view.account.clone()).collect()
        };
        let check_group = |group: &ItemGroup| {
            if !accounts.contains(&*group.account) {
                let resolved = ResolvedRuns::resolve(group, &aggregation);
                if resolved.runs.iter().any(|run| context.ids.shown_id(&group.account, &run.id_text) == id) {
                    accounts.insert(group.account.to_string());
                }
            }
            None::<()>
        };
        self.search_groups(state, context, None, id, check_group);
        accounts.into_iter().collect()
    }

    /// Calls `visit` on groups that may hold a run with this id, latest first, until it returns a value. Groups are
    /// fetched in slices, so the lock is released in between.
    fn search_groups<T>(
        &self,
        state: &Mutex<TrackerState>,
        context: ViewContext<'_>,
        account: Option<&str>,
        id: &str,
        mut visit: impl FnMut(&ItemGroup) -> Option<T>,
    ) -> Option<T> {
        let is_pseudonym = id.starts_with(kernel::pseudonym::PREFIX);
        let max_groups = if is_pseudonym { MAX_SEARCHED_GROUPS } else { usize::MAX };
        let (mut before, mut searched) = (None, 0);
        while searched < max_groups {
            let groups = state.lock().store.latest_before(account, before, GROUPS_PER_LOCK);
            before = Some(groups.last()?.batch);
            // an id made of a trace and a span may be a pseudonym as a whole, so the latest groups are all searched
            let is_recent = is_pseudonym && searched < ALWAYS_RESOLVED_GROUPS;
            searched += groups.len();
            for group in groups {
                let may_match =
                    is_recent || group.keys.iter().any(|key| id.starts_with(&*key.text) && !key.text.is_empty());
                if (may_match || (is_pseudonym && self.has_pseudonym(&group, context, id)))
                    && let Some(found) = visit(&group)
                {
                    return Some(found);
                }
            }
        }
        None
    }

    /// Whether `id` begins with the pseudonym of one of the group's keys.
    fn has_pseudonym(&self, group: &ItemGroup, context: ViewContext<'_>, id: &str) -> bool {
        let mut pseudonyms = self.pseudonyms.lock();
        group.keys.iter().filter(|key| !key.text.is_empty()).any(|key| {
            if !pseudonyms.contains_key(&key.id) {
                let shown = context.ids.shown_id(&group.account, &key.text);
                let pseudonym = shown.starts_with(kernel::pseudonym::PREFIX).then(|| shown.into());
                pseudonyms.insert_for(&*group.account, key.id, pseudonym, 1);
            }
            pseudonyms.get(&key.id).and_then(Option::as_deref).is_some_and(|shown| id.starts_with(shown))
        })
    }
}

impl CachedGroupViews {
    fn build(group: &ItemGroup, context: ViewContext<'_>, limit: usize) -> Self {
        let resolved = ResolvedRuns::resolve(group, context.aggregation);
        let builder = ViewBuilder { ids: context.ids, resolved: &resolved };
        let mut runs: Vec<&Run> = resolved.runs.iter().collect();
        runs.sort_by_key(|run| Reverse((run.last, &run.id_text)));
        let covers_all_runs = runs.len() <= limit;
        let view = |run: &Run| {
            let DigestedRunView { view, digest } =
                DigestedRunView::new(builder.run_view(run, state_without_end(group, run)));
            (view, digest)
        };
        let views = Arc::new(runs.into_iter().take(limit).map(view).collect());
        Self { batch: group.batch, unfinished_runs: group.unfinished_runs, covers_all_runs, views }
    }
}
