//! A run of a group ([`Run`]) and an item that is counted in one ([`RunItem`]). `resolve` assigns items to runs.

use runs::{RunPeaks, RunState, RunTotals, StepKind};

use super::group::{
    AttributionTags, GroupRecord, ItemGroup, LifecycleMark, ModelCallRecord, SummedCalls, ToolCallRecord, TracePosition,
};
use super::observation::{flag, mark};
use super::run_calls::RunCall;
use super::sorted_map::SortedMap;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum RunIdentity {
    /// The dialect names the run: number of its key.
    Named(u32),
    /// An agent invocation below no other: its place.
    Root(u64),
    /// The items of a trace that belong to neither: number of the trace's key.
    Trace(u32),
    /// The same for items without a trace: number of the session's key.
    Session(u32),
}

impl Default for RunIdentity {
    fn default() -> Self {
        Self::Session(0)
    }
}

#[derive(Default)]
pub(super) struct Run {
    pub(super) id: RunIdentity,
    pub(super) id_text: String,
    /// The session's id; `trace-…` if no item names one.
    pub(super) session: String,
    /// The session's key; 0 if no item names one.
    pub(super) session_key: u32,
    pub(super) tags: AttributionTags,
    /// The model that its root names.
    pub(super) model: u16,
    /// Earliest start and latest end of its items, unix ns; 0 = unknown.
    pub(super) start: u64,
    pub(super) last: u64,
    /// Places of the agent invocation itself, sorted (a run that the dialect names may have several).
    pub(super) roots: Vec<u64>,
    /// Start and end of the roots.
    pub(super) root: Option<(u64, u64)>,
    /// The engine's running time at its last batch.
    pub(super) touched: u64,
    pub(super) ended: bool,
    /// An agent invocation ended that is presumed to be the root: its parent was not seen.
    pub(super) presumed_end: bool,
    pub(super) failed: bool,
    /// The presumed root failed; it may be a sub-agent.
    pub(super) presumed_failed: bool,
    /// The root reports success.
    pub(super) succeeded: bool,
    /// A limit stopped it.
    pub(super) killed: bool,
    pub(super) totals: RunTotals,
    pub(super) peaks: RunPeaks,
    /// By start time.
    pub(super) calls: Vec<RunCall>,
    pub(super) trace: u32,
    /// No other run is in that trace.
    pub(super) is_alone_in_trace: bool,
    /// The session that the root itself names.
    pub(super) own_session: u32,
    /// The operation of the request or job that it is part of.
    pub(super) operation: u16,
}

/// An item that is counted or marks something.
pub(super) enum ItemRecord<'g> {
    Call(&'g ModelCallRecord),
    Tool(&'g ToolCallRecord),
    Mark(&'g LifecycleMark),
    Summed(&'g SummedCalls),
}

pub(super) struct RunItem<'g> {
    pub(super) key: u64,
    /// The run that the item names; 0 = none.
    pub(super) named_run: u32,
    pub(super) session: u32,
    pub(super) position: &'g TracePosition,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) record: ItemRecord<'g>,
}

impl Run {
    /// The run's state. `unended_state` is the state if no end was reported. A presumed root's end does not count while
    /// the run is live.
    pub(super) fn state(&self, unended_state: RunState) -> RunState {
        let has_ended = self.ended || (self.presumed_end && unended_state != RunState::Live);
        match (has_ended, self.has_failed(unended_state)) {
            (true, _) if self.killed => RunState::Killed,
            (true, true) => RunState::Failed,
            (true, false) => RunState::Ended,
            (false, _) if self.killed && unended_state == RunState::Idle => RunState::Killed,
            // its last call failed and nothing came after it: sums count the run as failed, so the state must agree
            (false, true) if unended_state == RunState::Idle => RunState::Failed,
            (false, _) => unended_state,
        }
    }

    /// Whether the run failed as far as known; `unended_state` as in [`Self::state`].
    pub(super) fn has_failed(&self, unended_state: RunState) -> bool {
        self.failed || (self.presumed_failed && unended_state != RunState::Live)
    }

    /// Whether the agent invocation at a place is the run's root, not one below it.
    pub(super) fn is_root(&self, place: u64) -> bool {
        self.roots.binary_search(&place).is_ok()
    }
}

impl RunItem<'_> {
    /// The item as a call, as far as its place and time say.
    pub(super) fn to_call(&self, kind: StepKind, group: &ItemGroup) -> RunCall {
        let Self { key, start, end, position, .. } = *self;
        let parent = match position.is_own_span {
            true => group.nodes.get(position.node).map_or(0, |node| node.parent),
            // a log record was written in the span above it
            false => position.node,
        };
        RunCall { kind, key, start, end, position: *position, parent, ..RunCall::default() }
    }

    /// Whether the item opens a run if there is none.
    pub(super) fn can_open_run(&self) -> bool {
        match self.record {
            ItemRecord::Call(_) | ItemRecord::Summed(_) => true,
            ItemRecord::Tool(tool) => tool.flags & flag::TOOL_RAN != 0,
            ItemRecord::Mark(mark) => mark.kind == mark::TURN_END,
        }
    }
}

/// All items of a group that belong to a run, in no order.
pub(super) fn all_items(group: &ItemGroup) -> impl Iterator<Item = RunItem<'_>> {
    fn items<'g, T>(
        records: &'g SortedMap<GroupRecord<T>>,
        record_of: fn(&'g GroupRecord<T>) -> ItemRecord<'g>,
    ) -> impl Iterator<Item = RunItem<'g>> {
        records.iter().map(move |(key, record)| {
            let GroupRecord { run, session, start, end, ref position, .. } = *record;
            RunItem { key, named_run: run, session, position, start, end, record: record_of(record) }
        })
    }
    let is_counted = |item: &RunItem<'_>| !matches!(item.record, ItemRecord::Mark(mark) if mark.ends_trace());
    let calls = items(&group.calls, ItemRecord::Call).chain(items(&group.tools, ItemRecord::Tool));
    let marks = items(&group.marks, ItemRecord::Mark).filter(is_counted);
    calls.chain(marks).chain(items(&group.summed, ItemRecord::Summed))
}
