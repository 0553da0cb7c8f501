//! One run or session as pages, metrics and stamps see it: [`RunView`], [`SessionView`], [`RunDetail`]. The crate
//! `tracker` makes them; their JSON is in [`super::json`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::key::run_key;
use super::totals::RunTotals;

kernel::word_enum! {
    #[derive(Serialize, Deserialize)]
    pub RunState {
        /// No end is known yet.
        Live = "live",
        /// Ended without a failure.
        Ended = "ended",
        /// Ended with a failure.
        Failed = "failed",
        /// Ended by a limit: turns, recursion, iterations.
        Killed = "killed",
        /// No end arrived, and no event for the idle time.
        Idle = "idle",
        /// Evicted from memory to make room: the numbers are incomplete.
        Evicted = "evicted",
    }
}

impl RunState {
    /// Whether no end of the run is known yet.
    pub fn is_live(self) -> bool {
        self == Self::Live
    }

    /// Whether the run failed or was ended by a limit.
    pub fn is_failed(self) -> bool {
        matches!(self, Self::Failed | Self::Killed)
    }
}

kernel::word_enum! {
    #[derive(Default, Serialize, Deserialize)]
    pub StepKind {
        #[default]
        Model = "model",
        Tool = "tool",
    }
}

/// Maximum number of calls that history keeps of one run.
pub const MAX_KEPT_STEPS: usize = 500;

/// One model or tool call of a run.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStep {
    pub kind: StepKind,
    /// Name of the model or tool.
    pub name: String,
    /// Span id; all zero if only a log reported the call.
    pub span: [u8; 8],
    /// Id of the parent span; all zero = none, or unknown.
    pub parent: [u8; 8],
    /// Start, unix ns; 0 = unknown.
    pub start: u64,
    pub duration: u64,
    pub failed: bool,
    /// The call was not allowed to run.
    pub denied: bool,
    /// A sub-agent made the call.
    pub sub_agent: bool,
    /// Input tokens, including cached ones.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Cost, 1e-18 USD; `None` = no price, or no model call.
    pub atto_usd: Option<i128>,
}

/// Repeated calls of one tool, which look like a loop.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallStreak {
    pub tool: String,
    pub count: u64,
}

/// Maxima over a run's calls, which can't be added up.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPeaks {
    /// The call that took longest.
    pub slowest: Option<RunStep>,
    pub most_expensive: Option<RunStep>,
    /// Longest series of consecutive calls of one tool with equal arguments.
    pub identical_row: Option<CallStreak>,
    /// Largest number of calls of one tool within a time window.
    pub busiest_window: Option<CallStreak>,
    /// Input tokens of the first and the last call of the run's own loop, and the maximum.
    pub context: [u64; 3],
}

impl RunPeaks {
    /// Ratio of the last prompt to the first; 0 = unknown.
    pub fn context_growth(&self) -> f64 {
        let [first, last, _] = self.context;
        if first == 0 { 0.0 } else { last as f64 / first as f64 }
    }
}

kernel::word_enum! {
    /// Who judged, in OpenInference's words.
    pub AnnotatorKind {
        Human = "HUMAN",
        Llm = "LLM",
        Code = "CODE",
    }
}

/// One evaluation of a run. Name and label are names, never content.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredScore", into = "StoredScore")]
pub struct EvaluationScore {
    /// Name of the evaluated property.
    pub name: String,
    pub label: String,
    pub value: Option<f64>,
    pub kind: Option<AnnotatorKind>,
}

// Values are never NaN.
impl Eq for EvaluationScore {}

/// Name, label, value. The kind follows the label, behind a character that no label has: older forms end there.
type StoredScore = (String, String, Option<f64>);
const KIND_SEPARATOR: char = '\u{1f}';

impl From<StoredScore> for EvaluationScore {
    fn from((name, mut label, value): StoredScore) -> Self {
        let at = label.find(KIND_SEPARATOR).unwrap_or(label.len());
        let kind = AnnotatorKind::parse(label.split_off(at).trim_start_matches(KIND_SEPARATOR));
        Self { name, label, value, kind }
    }
}

impl From<EvaluationScore> for StoredScore {
    fn from(score: EvaluationScore) -> Self {
        let kind = score.kind.map(|kind| format!("{KIND_SEPARATOR}{}", kind.as_str())).unwrap_or_default();
        (score.name, score.label + &kind, score.value)
    }
}

impl EvaluationScore {
    /// Maximum size of a name or label, bytes.
    const MAX_NAME_BYTES: usize = 128;
    /// Larger values would swallow all others in a sum of doubles.
    pub const MAX_VALUE: f64 = 1e15;

    /// Whether a text may be the name or the label of an evaluation. Others may be content.
    pub fn is_name(text: &str) -> bool {
        !text.is_empty()
            && text.len() <= Self::MAX_NAME_BYTES
            && !text.chars().any(char::is_control)
            && genai::is_name(text)
    }

    /// Whether it says something.
    pub fn is_complete(&self) -> bool {
        !self.name.is_empty() && (self.value.is_some() || !self.label.is_empty())
    }
}

/// Verdict of a human on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutcomeVerdict {
    /// The human confirmed the agent's result.
    Confirmed,
    /// A human decided otherwise.
    Overridden,
}

impl OutcomeVerdict {
    /// The verdict as written in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Overridden => "overridden",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "confirmed" | "confirm" => Some(Self::Confirmed),
            "overridden" | "override" | "overriden" => Some(Self::Overridden),
            _ => None,
        }
    }
}

/// The result of a run as a human judges it.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RunOutcome {
    /// Confirmed or overridden.
    pub verdict: OutcomeVerdict,
    /// The agent's confidence, 0 to 1.
    pub confidence: Option<f64>,
    /// Seconds until the matter was resolved.
    pub resolution_seconds: Option<f64>,
}

// Values are never NaN.
impl Eq for RunOutcome {}

/// Maximum number of evaluations of a run, and of those that one item or request reports.
pub const MAX_SCORES: usize = 20;

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunJudgement {
    /// Verdict of a human.
    pub outcome: Option<RunOutcome>,
    /// Evaluations, one of each name, at most [`MAX_SCORES`].
    pub scores: Vec<EvaluationScore>,
}

/// The replica of a fleet that counts a run in its metrics and sends its alerts: the one that got its latest item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RunOwner {
    /// This replica.
    #[default]
    Here,
    /// The replica with this name.
    Replica(Arc<str>),
}

impl RunOwner {
    /// Whether it is this replica.
    pub fn is_here(&self) -> bool {
        *self == Self::Here
    }

    /// The other replica's name.
    pub fn replica(&self) -> Option<&str> {
        match self {
            Self::Here => None,
            Self::Replica(name) => Some(name),
        }
    }
}

/// The order of the fields is that of [`super::RunRecord`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// The replica that counts it.
    #[serde(skip)]
    pub owner: RunOwner,
    /// Account of the credential that sent it.
    pub account: String,
    /// Run id, as in `tollgate.run.id`.
    pub run: String,
    pub session: String,
    /// The session that its session continues under a new id, if that was recognised.
    #[serde(skip)]
    pub continues: Option<String>,
    /// Trace id in hex; "" = unknown.
    pub trace: String,
    /// Id of its root span; all zero = unknown.
    pub root: [u8; 8],
    /// Tenant for which the run worked, if known.
    pub tenant: Option<String>,
    /// Feature for which the run worked, if known.
    pub feature: Option<String>,
    /// User who requested the run: a keyed pseudonym.
    pub user: Option<String>,
    pub template: Option<String>,
    /// Incident to which the run belongs.
    pub incident: Option<String>,
    /// `build.commit_sha`.
    pub commit: Option<String>,
    /// `work_tracker.issue_id`.
    pub issue: Option<String>,
    /// `service.name`.
    pub service: Option<String>,
    /// Route or name of the span that is the root of its trace, if that is no agent: the request or job that it is
    /// part of.
    #[serde(skip)]
    pub operation: Option<String>,
    pub state: RunState,
    /// The root, the end or the last model call failed.
    pub failed: bool,
    /// First event, unix ns; 0 = unknown.
    pub start: u64,
    /// Last event, unix ns.
    pub last: u64,
    /// From start to end, ns; by the root's own clock if there is a root.
    pub duration: u64,
    /// Sums over its calls.
    pub totals: RunTotals,
    /// Maxima over its calls.
    pub peaks: RunPeaks,
    pub judgement: RunJudgement,
}

impl RunView {
    pub fn key(&self) -> u64 {
        run_key(&self.account, &self.run)
    }

    /// What a person calls the run: its service, the request or job that it is part of, and its agent.
    pub fn title(&self) -> String {
        let names = [&self.service, &self.operation, &self.feature];
        let mut names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
        names.dedup();
        if names.is_empty() { "unnamed run".to_owned() } else { names.join(" · ") }
    }
}

impl RunDetail {
    /// This run, whose group was evicted, and the part of it that came later. A part whose calls are all known was only
    /// sent again.
    pub fn with_later_part(self, later: Self) -> Self {
        let (known, new) = (self.steps.as_deref().unwrap_or_default(), later.steps.as_deref().unwrap_or_default());
        let is_known = |step: &RunStep| step.span != [0; 8] && known.iter().any(|known| known.span == step.span);
        if !new.is_empty() && new.iter().all(is_known) {
            return Self { first_heard: later.first_heard, heard: later.heard, ..self };
        }
        let (earlier, view) = (self.view, later.view);
        let mut totals = earlier.totals;
        totals.add(&view.totals);
        let start = [earlier.start, view.start].into_iter().filter(|start| *start != 0).min().unwrap_or(0);
        let last = earlier.last.max(view.last);
        let view = RunView {
            tenant: view.tenant.or(earlier.tenant),
            feature: view.feature.or(earlier.feature),
            user: view.user.or(earlier.user),
            template: view.template.or(earlier.template),
            incident: view.incident.or(earlier.incident),
            commit: view.commit.or(earlier.commit),
            issue: view.issue.or(earlier.issue),
            service: view.service.or(earlier.service),
            operation: view.operation.or(earlier.operation),
            continues: view.continues.or(earlier.continues),
            failed: view.failed || earlier.failed,
            start,
            last,
            duration: if start == 0 { 0 } else { last.saturating_sub(start) },
            totals,
            ..view
        };
        let (steps, later_steps) = (self.steps.unwrap_or_default(), later.steps.unwrap_or_default());
        let steps: Vec<RunStep> = steps.into_iter().chain(later_steps).take(MAX_KEPT_STEPS).collect();
        Self {
            view,
            steps: Some(steps).filter(|steps| !steps.is_empty()),
            step_count: self.step_count + later.step_count,
            ..later
        }
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// The replica that counts it.
    #[serde(skip)]
    pub owner: RunOwner,
    /// Account of the credential that sent it.
    pub account: String,
    pub session: String,
    /// Tenant for which the session worked, if known.
    pub tenant: Option<String>,
    /// Feature for which the session worked, if known.
    pub feature: Option<String>,
    /// User who requested it: a keyed pseudonym.
    pub user: Option<String>,
    pub runs: u64,
    pub failed: bool,
    /// First event, unix ns.
    pub start: u64,
    /// From the first event to the last, ns.
    pub duration: u64,
    /// Sums over its runs.
    pub totals: RunTotals,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct RunDetail {
    pub view: RunView,
    /// Calls by start, the first ones; `None` if they were not kept.
    pub steps: Option<Vec<RunStep>>,
    /// Number of all calls, including those that `steps` leaves out.
    pub step_count: u64,
    /// Times of the first and the last batch of its group, unix ns; 0: unknown. A run that goes on after its group was
    /// evicted has a group that begins later.
    pub first_heard: u64,
    pub heard: u64,
}
