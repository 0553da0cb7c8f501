//! The runs that pages and the API show: the latest ones ([`RunViewCache::recent_runs`]) or one by id
//! ([`RunViewCache::find_run`]). The state is locked only while snapshots are taken, because building views takes time
//! proportional to their size. Views of heavy groups are cached until the group changes; the cache is bounded. `view`
//! builds a single view.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

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
/// Of these, this many are resolved whatever their ids are.
const ALWAYS_RESOLVED_GROUPS: usize = 200;
/// Maximum number of keys with a cached pseudonym.
const MAX_CACHED_PSEUDONYMS: usize = 50_000;
/// Weight from which a group's views are cached, and the maximum number of cached views.
const HEAVY_WEIGHT: usize = 1000;
const MAX_CACHED_VIEWS: usize = 4096;
/// Minimum number of groups in one snapshot.
const MIN_SNAPSHOT_GROUPS: usize = 128;

/// Context for building views.
#[derive(Clone, Copy)]
pub(super) struct ViewContext<'a> {
    pub(super) ids: &'a dyn IdPolicy,
    pub(super) context: &'a AggregationContext,
}

/// Cached views of the latest runs of a group, as of one batch.
#[derive(Clone)]
struct CachedGroupViews {
    batch: u64,
    /// Number of open runs at that time: a run may become "ended" without another batch.
    open: u32,
    /// Whether the views cover all runs of the group.
    covers_all_runs: bool,
    views: Arc<Vec<(RunView, u64)>>,
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct RunViewCache {
    views: Mutex<HashMap<KeyId, CachedGroupViews>>,
    /// Pseudonym of a key's text, or `None` if the text is shown as it is. Cached, because computing them dominates a
    /// search.
    pseudonyms: Mutex<HashMap<KeyId, Option<Box<str>>>>,
}

impl RunViewCache {
    /// The latest runs by arrival of their last event: first those of groups still in memory, then retired ones.
    pub(super) fn recent_runs(&self, state: &Mutex<TrackerState>, with: ViewContext<'_>, most: usize) -> Vec<RunView> {
        let (mut views, mut kept, mut before) = (Vec::new(), HashMap::new(), None);
        while views.len() < most {
            let groups = state.lock().store.latest_before(None, before, most.clamp(1, MIN_SNAPSHOT_GROUPS));
            let Some(last) = groups.last() else { break };
            before = Some(last.batch);
            for group in groups {
                if views.len() >= most {
                    break;
                }
                let glance = self.cached_views(&group, with, most.saturating_sub(views.len()), &mut kept);
                views.extend(glance.views.iter().cloned());
            }
        }
        *self.views.lock() = kept;
        let state = state.lock();
        for (view, digest) in &mut views {
            view.judgement = state.history.judgement(*digest);
        }
        let mut views: Vec<RunView> = views.into_iter().map(|(view, _)| view).collect();
        views.extend(state.history.recent().rev().take(most.saturating_sub(views.len())).cloned());
        views.truncate(most);
        views
    }

    fn cached_views(
        &self,
        group: &ItemGroup,
        with: ViewContext<'_>,
        most: usize,
        kept: &mut HashMap<KeyId, CachedGroupViews>,
    ) -> CachedGroupViews {
        let heavy = group.keys.first().filter(|_| group.weight() > HEAVY_WEIGHT);
        let known = heavy.and_then(|first| self.views.lock().get(&first.id).cloned());
        let known = known.filter(|one| {
            (one.batch, one.open) == (group.batch, group.unfinished_runs)
                && (one.covers_all_runs || one.views.len() >= most)
        });
        let glance = known.unwrap_or_else(|| CachedGroupViews::build(group, with, most));
        let room = MAX_CACHED_VIEWS.saturating_sub(kept.values().map(|one| one.views.len()).sum());
        if let Some(first) = heavy.filter(|_| glance.views.len() <= room) {
            kept.insert(first.id, glance.clone());
        }
        glance
    }

    /// The latest run with this id; `account` restricts the search.
    pub(super) fn find_run(
        &self,
        state: &Mutex<TrackerState>,
        with: ViewContext<'_>,
        account: Option<&str>,
        id: &str,
    ) -> Option<RunDetail> {
        let look = |group: &ItemGroup| {
            let resolved = ResolvedRuns::resolve(group, with.context);
            let viewer = ViewBuilder { ids: with.ids, resolved: &resolved };
            let of_id = |run: &&Run| with.ids.shown_id(&group.account, &run.id_text) == id;
            let run = resolved.runs.iter().filter(of_id).max_by_key(|run| run.last)?;
            Some(viewer.run_detail(run, state_without_end(group, run)))
        };
        if let Some(mut detail) = self.search_groups(state, with, account, id, look) {
            let digest = super::observe::run_digest(&detail.view.account, &detail.view.run);
            detail.view.judgement = state.lock().history.judgement(digest);
            return Some(detail);
        }
        let of_id = |view: &&RunView| view.run == id && account.is_none_or(|account| view.account == account);
        let view = state.lock().history.recent().rev().find(of_id)?.clone();
        let step_count = view.totals.calls() + view.totals.failed_calls + view.totals.tool_calls();
        Some(RunDetail { view, steps: None, step_count })
    }

    /// The accounts that have a run with this id.
    pub(super) fn accounts_with_run(
        &self,
        state: &Mutex<TrackerState>,
        with: ViewContext<'_>,
        id: &str,
    ) -> Vec<String> {
        let terms = with.context.without_window();
        let mut accounts: BTreeSet<String> = {
            let state = state.lock();
            state.history.recent().filter(|view| view.run == id).map(|view| view.account.clone()).collect()
        };
        let look = |group: &ItemGroup| {
            if !accounts.contains(&*group.account) {
                let resolved = ResolvedRuns::resolve(group, &terms);
                if resolved.runs.iter().any(|run| with.ids.shown_id(&group.account, &run.id_text) == id) {
                    accounts.insert(group.account.to_string());
                }
            }
            None::<()>
        };
        self.search_groups(state, with, None, id, look);
        accounts.into_iter().collect()
    }

    /// Calls `look` on groups that may hold a run with this id, latest first, until it returns a value. Groups are
    /// fetched in slices, so the lock is released in between.
    fn search_groups<T>(
        &self,
        state: &Mutex<TrackerState>,
        with: ViewContext<'_>,
        account: Option<&str>,
        id: &str,
        mut look: impl FnMut(&ItemGroup) -> Option<T>,
    ) -> Option<T> {
        let pseudonym = id.starts_with(kernel::pseudonym::PREFIX);
        let most = if pseudonym { MAX_SEARCHED_GROUPS } else { usize::MAX };
        let (mut before, mut searched) = (None, 0);
        while searched < most {
            let groups = state.lock().store.latest_before(account, before, MIN_SNAPSHOT_GROUPS);
            before = Some(groups.last()?.batch);
            // an id made of a trace and a span may be a pseudonym as a whole, so the latest groups are all searched
            let near = pseudonym && searched < ALWAYS_RESOLVED_GROUPS;
            searched += groups.len();
            for group in groups {
                let named = near || group.keys.iter().any(|key| id.starts_with(&*key.text) && !key.text.is_empty());
                if (named || (pseudonym && self.has_pseudonym(&group, with, id)))
                    && let Some(found) = look(&group)
                {
                    return Some(found);
                }
            }
        }
        None
    }

    /// Whether `id` begins with the pseudonym of one of the group's keys.
    fn has_pseudonym(&self, group: &ItemGroup, with: ViewContext<'_>, id: &str) -> bool {
        let mut known = self.pseudonyms.lock();
        if known.len() > MAX_CACHED_PSEUDONYMS {
            known.clear();
        }
        group.keys.iter().filter(|key| !key.text.is_empty()).any(|key| {
            let shown = known.entry(key.id).or_insert_with(|| {
                let shown = with.ids.shown_id(&group.account, &key.text);
                shown.starts_with(kernel::pseudonym::PREFIX).then(|| shown.into())
            });
            shown.as_deref().is_some_and(|shown| id.starts_with(shown))
        })
    }
}

impl CachedGroupViews {
    fn build(group: &ItemGroup, with: ViewContext<'_>, most: usize) -> Self {
        let resolved = ResolvedRuns::resolve(group, with.context);
        let viewer = ViewBuilder { ids: with.ids, resolved: &resolved };
        let mut runs: Vec<&Run> = resolved.runs.iter().collect();
        runs.sort_by_key(|run| Reverse((run.last, &run.id_text)));
        let whole = runs.len() <= most;
        let view = |run: &Run| {
            let DigestedRunView { view, digest } =
                DigestedRunView::new(viewer.run_view(run, state_without_end(group, run)));
            (view, digest)
        };
        let views = Arc::new(runs.into_iter().take(most).map(view).collect());
        Self { batch: group.batch, open: group.unfinished_runs, covers_all_runs: whole, views }
    }
}
