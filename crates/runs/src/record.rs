//! [`RunRecord`]: one run as a scan of a hundred thousand reads it. A run that is not over (in the tracker) and one
//! that is (in history's file) have one stored form, [`encode_run`]: a record lends its names from there, [`FirstRuns`]
//! copies the few runs that a page shows, and [`decode_run`] makes their owned [`RunView`]. Names and ids are those
//! that may be shown, so a third party may see all of them; counts and cost are exact.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::totals::{ModelTotals, RunWork, ToolTotals, unstored_amounts};
use super::view::{RunJudgement, RunPeaks, RunState, RunView};

/// The stored form of a view taken at `now`, without maxima and judgement. Later times are those of a clock that is
/// ahead; without a plausible time, the last event is now.
pub fn encode_run(view: &RunView, now: u64) -> Vec<u8> {
    let last = match view.last.max(view.start) {
        0 => now,
        last => last.min(now),
    };
    let (start, peaks, judgement) = (view.start.min(now), RunPeaks::default(), RunJudgement::default());
    let stored = RunView { start, last, peaks, judgement, ..view.clone() };
    // Not in a view's own stored form: the first two, and at the end, where older forms end, what plans cover, what
    // caching saved, and the work. If all of it is nothing, nothing is at the end.
    let amounts: Vec<i128> = stored.totals.clone().unstored_mut().map(|atto| *atto).collect();
    let bytes = postcard::to_allocvec(&(&view.operation, &view.continues, stored)).unwrap_or_default();
    let has_amounts = !bytes.is_empty() && amounts.iter().any(|atto| *atto != 0);
    if has_amounts { postcard::to_extend(&amounts, bytes).unwrap_or_default() } else { bytes }
}

/// Slices of the stored form: its fields in their order, up to the last one that a scan needs.
#[derive(Deserialize)]
pub struct RunRecord<'a> {
    /// The whole stored form.
    #[serde(skip)]
    pub bytes: &'a [u8],
    _operation: Option<&'a str>,
    /// The session that its session continues.
    pub continues: Option<&'a str>,
    pub account: &'a str,
    pub run: &'a str,
    pub session: &'a str,
    /// A trace of the run, in hex; "" = none.
    pub trace: &'a str,
    _root: [u8; 8],
    pub tenant: Option<&'a str>,
    pub feature: Option<&'a str>,
    /// User who requested the run: a pseudonym.
    pub user: Option<&'a str>,
    pub template: Option<&'a str>,
    pub incident: Option<&'a str>,
    /// `build.commit_sha`.
    pub commit: Option<&'a str>,
    /// `work_tracker.issue_id`.
    pub issue: Option<&'a str>,
    /// `service.name`.
    pub service: Option<&'a str>,
    pub state: RunState,
    /// It failed, as far as known.
    pub failed: bool,
    /// Start, unix ns; 0 = unknown.
    pub start: u64,
    /// Last event, unix ns.
    pub last: u64,
    /// From start to end, ns.
    pub duration: u64,
    #[serde(borrow)]
    pub models: Vec<(&'a str, ModelTotals)>,
    /// Model calls that were not answered.
    pub failed_calls: u64,
    _retries: u64,
    pub tools: Vec<(&'a str, ToolTotals)>,
    /// Iterations of the agent's loop.
    pub iterations: u64,
    _sub_agents: u64,
    _finish_reasons: Vec<(&'a str, u64)>,
    _errors: Vec<(&'a str, u64)>,
    /// [reason, provider] and number of model calls that were refused, rate-limited or overloaded.
    pub troubles: Vec<([&'a str; 2], u64)>,
    /// [reason, provider, from, to] and number of fallbacks.
    pub fallbacks: Vec<([&'a str; 4], u64)>,
    /// [tool, source of the denial] and number of denials.
    pub denials: Vec<([&'a str; 2], u64)>,
    _reads: u64,
    /// Tool calls that change something.
    pub writes: u64,
    _model_changes: u64,
    /// Parts that calls of other tenants than the run's took.
    pub other_tenants: Vec<(&'a str, ModelTotals)>,
    _peaks: RunPeaks,
    _judgement: RunJudgement,
    /// What edits changed, and the length of the last message.
    #[serde(skip)]
    pub work: RunWork,
}

impl<'a> RunRecord<'a> {
    /// `None`: the bytes are not what [`encode_run`] makes.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (mut record, amounts) = postcard::take_from_bytes::<Self>(bytes).ok()?;
        let parts = record.models.iter_mut().chain(&mut record.other_tenants).map(|(_, part)| part);
        set_amounts(amounts, unstored_amounts(parts, &mut record.work))?;
        Some(Self { bytes, ..record })
    }

    /// The sum over its models.
    pub fn total(&self) -> ModelTotals {
        ModelTotals::sum(self.models.iter().map(|(_, model)| model))
    }
}

/// The view in a stored form.
pub fn decode_run(bytes: &[u8]) -> Option<RunView> {
    let ((operation, continues, mut view), amounts): ((_, _, RunView), _) = postcard::take_from_bytes(bytes).ok()?;
    set_amounts(amounts, view.totals.unstored_mut())?;
    Some(RunView { operation, continues, ..view })
}

/// Sets the amounts at the end of a stored form.
fn set_amounts<'p>(end: &[u8], amounts: impl Iterator<Item = &'p mut i128>) -> Option<()> {
    if !end.is_empty() {
        let stored: Vec<i128> = postcard::from_bytes(end).ok()?;
        amounts.zip(stored).for_each(|(amount, atto)| *amount = atto);
    }
    Some(())
}

/// The runs of a scan that come first by a rank, of equal ones those that were added first. Only they are copied.
pub struct FirstRuns<R> {
    limit: usize,
    /// Number of runs that were added.
    pub count: usize,
    runs: BTreeMap<(R, usize), Box<[u8]>>,
}

impl<R: Ord> FirstRuns<R> {
    /// At most `limit` runs.
    pub fn new(limit: usize) -> Self {
        Self { limit, count: 0, runs: BTreeMap::new() }
    }

    pub fn add(&mut self, rank: R, run: &RunRecord<'_>) {
        self.count += 1;
        if self.runs.len() >= self.limit {
            if self.runs.last_key_value().is_none_or(|((last, _), _)| *last <= rank) {
                return;
            }
            self.runs.pop_last();
        }
        self.runs.insert((rank, self.count), run.bytes.into());
    }

    pub fn into_views(self) -> Vec<RunView> {
        self.runs.into_values().filter_map(|bytes| decode_run(&bytes)).collect()
    }
}

/// A rank that puts the largest first, and of equal ones the latest.
pub type LargestFirst = Reverse<(i128, u64)>;
