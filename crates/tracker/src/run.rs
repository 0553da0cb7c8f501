//! A run of a group ([`Run`]) and an item that is counted in one ([`Item`]). `resolve` assigns items to runs.

use runs::{Peaks, RunState, Totals};

use super::acts::Act;
use super::group::{Call, Mark, Spot, Tags, Tool};
use super::seen::{flag, mark};

/// Identity of a run.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Id {
    /// The dialect names the run.
    Named(u32),
    /// An agent invocation below no other.
    Root(u64),
    /// A trace without either.
    Trace(u32),
    /// A session, for items without a trace.
    Session(u32),
}

/// One run.
pub(super) struct Run {
    pub(super) id: Id,
    /// The run's id as text.
    pub(super) text: String,
    /// The session's id; `trace-…` if no item names one.
    pub(super) session: String,
    /// The session's key; 0 if no item names one.
    pub(super) session_key: u32,
    /// Numbers of names in the group.
    pub(super) tags: Tags,
    /// The model that its root names.
    pub(super) model: u16,
    /// Unix ns; 0 = unknown.
    pub(super) start: u64,
    pub(super) last: u64,
    /// Places of the agent invocation itself, sorted (a run that the dialect names may have several).
    pub(super) roots: Vec<u64>,
    /// Start and end of the roots.
    pub(super) root: Option<(u64, u64)>,
    /// The engine's running time at its last batch.
    pub(super) touched: u64,
    /// Its end was reported.
    pub(super) ended: bool,
    /// An agent invocation ended that is presumed to be the root: its parent was not seen.
    pub(super) presumed_end: bool,
    pub(super) failed: bool,
    /// The presumed root failed; it may be a sub-agent.
    pub(super) presumed_failed: bool,
    /// The root reports success.
    pub(super) okay: bool,
    /// A limit stopped it.
    pub(super) killed: bool,
    pub(super) totals: Totals,
    pub(super) peaks: Peaks,
    /// Its calls by start time.
    pub(super) acts: Vec<Act>,
    pub(super) trace: u32,
    /// No other run is in that trace.
    pub(super) alone: bool,
    /// The session that the root itself names.
    pub(super) own_session: u32,
}

/// An item that is counted or marks something.
pub(super) enum What<'g> {
    Call(&'g Call),
    Tool(&'g Tool),
    Mark(&'g Mark),
}

/// An item of a group.
pub(super) struct Item<'g> {
    pub(super) key: u64,
    /// The run that the item names; 0 = none.
    pub(super) named: u32,
    pub(super) session: u32,
    pub(super) spot: &'g Spot,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) what: What<'g>,
}

impl Run {
    /// The run's state. `unended` is the state if no end was reported. A presumed root's end does not count while the
    /// run is live.
    pub(super) fn state(&self, unended: RunState) -> RunState {
        let ended = self.ended || (self.presumed_end && unended != RunState::Live);
        match (ended, self.has_failed(unended)) {
            (true, _) if self.killed => RunState::Killed,
            (true, true) => RunState::Failed,
            (true, false) => RunState::Ended,
            (false, _) if self.killed && unended == RunState::Idle => RunState::Killed,
            // its last call failed and nothing came after it: sums count the run as failed, so the state must agree
            (false, true) if unended == RunState::Idle => RunState::Failed,
            (false, _) => unended,
        }
    }

    /// Whether the run failed as far as known; `unended` as in [`Self::state`].
    pub(super) fn has_failed(&self, unended: RunState) -> bool {
        self.failed || (self.presumed_failed && unended != RunState::Live)
    }

    /// Whether the agent invocation at a place is the run's root, not one below it.
    pub(super) fn is_root(&self, place: u64) -> bool {
        self.roots.binary_search(&place).is_ok()
    }
}

impl Item<'_> {
    /// Whether the item opens a run if there is none.
    pub(super) fn opens(&self) -> bool {
        match self.what {
            What::Call(_) => true,
            What::Tool(tool) => tool.flags & flag::RAN != 0,
            What::Mark(mark) => mark.kind == mark::TURN_END,
        }
    }
}

pub(super) fn first_nonzero<N: Default + PartialEq>(a: N, b: N) -> N {
    if a == N::default() { b } else { a }
}
