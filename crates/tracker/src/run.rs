//! **What**: a run of a group ([`Run`]) and an item that is counted in one ([`Item`]). **Not here**: which item is
//! whose (`resolve`).

use runs::{Peaks, RunState, Totals};

use super::acts::Act;
use super::group::{Call, Mark, Spot, Tags, Tool};
use super::seen::{flag, mark};

/// What makes a run one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Id {
    /// The dialect names it.
    Named(u32),
    /// An agent invocation that stands under no other.
    Root(u64),
    /// A trace without either.
    Trace(u32),
    /// A session, for what has no trace.
    Session(u32),
}

/// One run.
pub(super) struct Run {
    pub(super) id: Id,
    /// Its id as text.
    pub(super) text: String,
    /// Its session's id; `trace-…` where none is told.
    pub(super) session: String,
    /// The session's key; 0 where none is told.
    pub(super) session_key: u32,
    /// Names of the group.
    pub(super) tags: Tags,
    /// The model that its root names.
    pub(super) model: u16,
    /// Unix ns; 0 = not told.
    pub(super) start: u64,
    pub(super) last: u64,
    /// Places of the agent invocation itself, sorted (a run that the dialect names may have more than one).
    pub(super) roots: Vec<u64>,
    /// Its times.
    pub(super) root: Option<(u64, u64)>,
    /// The engine's running time at its last batch.
    pub(super) touched: u64,
    /// Its end was told.
    pub(super) ended: bool,
    /// An agent invocation ended that is its root as far as anybody knows: its parent was not seen.
    pub(super) presumed_end: bool,
    pub(super) failed: bool,
    /// So says that agent invocation, which may be a sub-agent's.
    pub(super) presumed_failed: bool,
    /// It says that all went well.
    pub(super) okay: bool,
    /// A limit ended it.
    pub(super) killed: bool,
    pub(super) totals: Totals,
    pub(super) peaks: Peaks,
    /// Its calls by begin.
    pub(super) acts: Vec<Act>,
    pub(super) trace: u32,
    /// No other run is in that trace.
    pub(super) alone: bool,
    /// The session that the root itself tells.
    pub(super) own_session: u32,
}

/// What is counted, or marks something.
pub(super) enum What<'g> {
    Call(&'g Call),
    Tool(&'g Tool),
    Mark(&'g Mark),
}

/// An item of a group.
pub(super) struct Item<'g> {
    pub(super) key: u64,
    /// The run that it names.
    pub(super) named: u32,
    pub(super) session: u32,
    pub(super) spot: &'g Spot,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) what: What<'g>,
}

impl Run {
    /// Where it stands; `unended`: if nobody told its end. That of an agent whose parent was not seen is none yet while
    /// the run is live.
    pub(super) fn state(&self, unended: RunState) -> RunState {
        let ended = self.ended || (self.presumed_end && unended != RunState::Live);
        match (ended, self.has_failed(unended)) {
            (true, _) if self.killed => RunState::Killed,
            (true, true) => RunState::Failed,
            (true, false) => RunState::Ended,
            (false, _) if self.killed && unended == RunState::Idle => RunState::Killed,
            // its last call failed and nothing came any more: sums count it as failed, so all that go by the state must
            (false, true) if unended == RunState::Idle => RunState::Failed,
            (false, _) => unended,
        }
    }

    /// Whether it failed as far as it is known, if this is where a run without an end stands.
    pub(super) fn has_failed(&self, unended: RunState) -> bool {
        self.failed || (self.presumed_failed && unended != RunState::Live)
    }

    /// Whether the agent invocation at a place is the run's own, not one below it.
    pub(super) fn is_root(&self, place: u64) -> bool {
        self.roots.binary_search(&place).is_ok()
    }
}

impl Item<'_> {
    /// Whether it makes a run where there is none.
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
