//! **What**: one run or session as pages, metrics and stamps see it: [`RunView`], [`SessionView`], [`Detail`].
//! **Not here**: how they come about (the crate `tracker`), their JSON ([`super::json`]).

use super::{Outcome, Totals};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunState {
    /// Nobody told its end yet.
    Live,
    /// It ended well.
    Ended,
    /// It ended with a failure.
    Failed,
    /// A limit ended it: turns, recursion, iterations.
    Killed,
    /// Nothing came of it for the idle time.
    Idle,
    /// It was given up to make room: its numbers are not complete.
    Evicted,
}

impl RunState {
    /// Every one.
    pub const ALL: [Self; 6] = [Self::Live, Self::Ended, Self::Failed, Self::Killed, Self::Idle, Self::Evicted];

    /// One word, for pages and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ended => "ended",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
        }
    }
}

/// What a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepKind {
    /// A model call.
    #[default]
    Model,
    /// A tool call.
    Tool,
}

impl StepKind {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Tool => "tool",
        }
    }
}

/// One model or tool call of a run.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// What it is.
    pub kind: StepKind,
    /// Model or tool.
    pub name: String,
    /// Its span's id; all zero where a log alone tells of it.
    pub span: [u8; 8],
    /// The span above; all zero = none, or not known.
    pub parent: [u8; 8],
    /// Unix ns; 0 = not told.
    pub start: u64,
    /// Ns.
    pub duration: u64,
    /// It failed.
    pub failed: bool,
    /// It was not allowed to run.
    pub denied: bool,
    /// A sub-agent made it.
    pub sub_agent: bool,
    /// Tokens that went in, cached ones included.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// 1e-18 USD; none = no price, or no model call.
    pub atto_usd: Option<i128>,
}

/// Calls that look like a loop.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Streak {
    /// The tool.
    pub tool: String,
    /// How many.
    pub count: u64,
}

/// What a run's calls are at most: what can't be added up.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Peaks {
    /// The call that took longest.
    pub slowest: Option<Step>,
    /// The call that cost most.
    pub most_expensive: Option<Step>,
    /// Most calls in a row of one tool with equal arguments.
    pub row: Option<Streak>,
    /// Most calls of one tool in a window of time.
    pub window: Option<Streak>,
    /// Input tokens of the first call of the run's own loop, of the last, and the most.
    pub context: [u64; 3],
}

impl Peaks {
    /// How many times the first prompt the last one is; 0 = not known.
    pub fn context_growth(&self) -> f64 {
        let [first, last, _] = self.context;
        if first == 0 { 0.0 } else { last as f64 / first as f64 }
    }
}

/// What somebody said of a run's result.
#[derive(Clone, Default, PartialEq)]
pub struct Score {
    /// What was judged.
    pub name: String,
    /// A word, or "".
    pub label: String,
    /// A number.
    pub value: Option<f64>,
}

// NaN never gets in.
impl Eq for Score {}

/// What is known of a run's result.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// A human's word.
    pub outcome: Option<Outcome>,
    /// Evaluations, at most 8.
    pub scores: Vec<Score>,
}

/// One run.
#[derive(Clone, PartialEq, Eq)]
pub struct RunView {
    /// Whose credential sent it.
    pub account: String,
    /// Id, as in `tollgate.run.id`.
    pub run: String,
    /// Id of its session.
    pub session: String,
    /// Trace id in hex; "" = none told.
    pub trace: String,
    /// Id of its root span; all zero = none told.
    pub root: [u8; 8],
    /// Whose work it was, if told.
    pub tenant: Option<String>,
    /// What it was for, if told.
    pub feature: Option<String>,
    /// Who asked for it: a keyed pseudonym.
    pub user: Option<String>,
    /// The prompt template it came from.
    pub template: Option<String>,
    /// The incident it belongs to.
    pub incident: Option<String>,
    /// `build.commit_sha`.
    pub commit: Option<String>,
    /// `work_tracker.issue_id`.
    pub issue: Option<String>,
    /// `service.name`.
    pub service: Option<String>,
    /// Where it stands.
    pub state: RunState,
    /// Its root, its end or its last model call failed.
    pub failed: bool,
    /// First event, unix ns; 0 = not told.
    pub start: u64,
    /// Last event, unix ns.
    pub last: u64,
    /// From begin to end, ns: by the root's own clock where there is one.
    pub duration: u64,
    /// What it did.
    pub totals: Totals,
    /// What stands out.
    pub peaks: Peaks,
    /// What became of it.
    pub judged: Judged,
}

/// One session.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionView {
    /// Whose credential sent it.
    pub account: String,
    /// Its id.
    pub session: String,
    /// Whose work it was, if told.
    pub tenant: Option<String>,
    /// What it was for, if told.
    pub feature: Option<String>,
    /// Who asked for it: a keyed pseudonym.
    pub user: Option<String>,
    /// Runs in it.
    pub runs: u64,
    /// A run of it failed.
    pub failed: bool,
    /// First event, unix ns.
    pub start: u64,
    /// From the first event to the last, ns.
    pub duration: u64,
    /// What its runs did.
    pub totals: Totals,
}

/// A run with its calls.
pub struct Detail {
    /// The run.
    pub view: RunView,
    /// Its calls by start, at most 2,000 (the first ones); none once its items are forgotten.
    pub steps: Option<Vec<Step>>,
    /// All its calls, also those that `steps` leaves out.
    pub step_count: u64,
}
