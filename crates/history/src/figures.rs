//! [`compute_figures`]: aggregates of the runs in a window, with those of the same window a day before;
//! [`compute_changes`]: aggregates by commit or issue. A finished run belongs to the window of its last event; a live
//! run belongs to the window that ends now, with everything it did so far. `run_sum` alone defines how much
//! a run adds to a sum. Counts and cost are exact. An average over no runs is `None`, never zero. Pages are made in
//! `pages`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::entry::{RunModelUsage, RunRecord, RunToolUsage};
use super::usage::CallsWithoutUsage;

use genai::CallTokenBuckets;
use runs::{UNATTRIBUTED, UsageSum};

pub const DAY: u64 = 24 * 3_600_000_000_000;
/// Steps of a sparkline, the series of values through a window.
const SPARKLINE_STEPS: usize = 24;
/// Names in a table; the others are added up as `other`.
const MAX_NAMES: usize = 10;
const MAX_RUN_ROWS: usize = 10;
/// Rows of tables of tools, denials and fallbacks.
const MAX_TABLE_ROWS: usize = 12;

/// A time window, unix ns: after `from`, up to `to`.
#[derive(Clone, Copy)]
pub struct TimeWindow {
    /// Start (exclusive).
    pub from: u64,
    /// End (inclusive).
    pub to: u64,
}

impl TimeWindow {
    pub fn last(length: u64, now: u64) -> Self {
        Self { from: now.saturating_sub(length), to: now }
    }

    fn contains(&self, at: u64) -> bool {
        at > self.from && at <= self.to
    }

    /// Time at which a run counts in the window, if it does: its last event once it is over, the window's end while it
    /// is live.
    pub fn counting_time(&self, run: &RunRecord) -> Option<u64> {
        if run.is_live() { Some(self.to) } else { Some(run.at).filter(|at| self.contains(*at)) }
    }

    /// The same window a day before.
    fn day_before(&self) -> Self {
        Self { from: self.from.saturating_sub(DAY), to: self.to.saturating_sub(DAY) }
    }

    fn step_index(&self, at: u64) -> Option<usize> {
        let length = u128::from(self.to.saturating_sub(self.from));
        let elapsed = u128::from(at.checked_sub(self.from)?.checked_sub(1)?);
        let step = (elapsed * SPARKLINE_STEPS as u128).checked_div(length)?;
        usize::try_from(step).ok().filter(|step| *step < SPARKLINE_STEPS)
    }
}

/// One number: now, a day before, and as a series.
#[derive(Clone, Default)]
pub struct WindowMetric {
    /// Value of the window; `None` without runs.
    pub value: Option<f64>,
    /// Value of the same window a day before.
    pub yesterday: Option<f64>,
    /// Series of values through the window.
    pub series: Vec<Option<f64>>,
}

impl WindowMetric {
    /// Relative change since the day before; `None` if there was nothing then.
    pub fn change(&self) -> Option<f64> {
        let (value, yesterday) = (self.value?, self.yesterday?);
        (yesterday > 0.0).then(|| value / yesterday - 1.0)
    }
}

/// The numbers of one run, live or over. The sum's input tokens include cached ones.
fn run_sum(run: &RunRecord) -> UsageSum {
    UsageSum {
        runs: 1,
        live: u64::from(run.is_live()),
        failed: u64::from(run.is_failed()),
        iterations: run.iterations,
        calls: run.calls,
        failed_calls: run.failed_calls,
        tool_calls: run.tool_calls,
        tool_failures: run.tool_failures,
        tokens: CallTokenBuckets { input: run.input, output: run.output, ..CallTokenBuckets::default() },
        atto_usd: run.atto,
        unpriced: run.unpriced,
        ..UsageSum::default()
    }
}

/// The run's numbers without the parts of other tenants.
fn own_sum(run: &RunRecord) -> UsageSum {
    let mut own = run_sum(run);
    run.others.iter().for_each(|other| own.subtract(&usage_sum(other)));
    own
}

fn usage_sum(part: &RunModelUsage) -> UsageSum {
    UsageSum {
        calls: part.calls,
        tokens: CallTokenBuckets { input: part.input, output: part.output, ..CallTokenBuckets::default() },
        atto_usd: part.atto,
        unpriced: part.unpriced,
        ..UsageSum::default()
    }
}

/// The numbers of one model's or other tenant's part of a run.
fn part_sum(run: &RunRecord, part: &RunModelUsage) -> UsageSum {
    let UsageSum { runs, live, failed, .. } = run_sum(run);
    UsageSum { runs, live, failed, ..usage_sum(part) }
}

/// Sum over some runs.
pub(super) fn sum_runs<'r>(runs: impl IntoIterator<Item = &'r RunRecord>) -> UsageSum {
    let mut sum = UsageSum::default();
    runs.into_iter().for_each(|run| sum.add(&run_sum(run)));
    sum
}

/// The part of one tenant, model or feature.
#[derive(Clone, Default)]
pub struct CostShare {
    /// Account that owns the name (tenants and features); "" for models, which all accounts share.
    pub account: String,
    /// Name of the tenant, model or feature.
    pub name: String,
    /// Number of names that this row adds up.
    pub names: u64,
    /// Numbers of the part.
    pub sum: UsageSum,
}

impl CostShare {
    fn new(account: &str, name: &str, sum: UsageSum) -> Self {
        Self { account: account.to_owned(), name: name.to_owned(), names: 1, sum }
    }

    fn add(&mut self, other: &Self) {
        self.names += other.names;
        self.sum.add(&other.sum);
    }
}

/// Names that occurred together, and how often; most frequent first.
pub type NameCounts<const N: usize> = Vec<([String; N], u64)>;

/// The figures of a window, as a page shows them.
pub struct WindowFigures {
    pub window: TimeWindow,
    /// Sum over all runs, live ones up to now.
    pub sum: UsageSum,
    /// The same a day before.
    pub yesterday: UsageSum,
    /// Iterations per run.
    pub iterations: WindowMetric,
    /// Maximum iterations of one run.
    pub most_iterations: u64,
    /// 95th percentile of seconds per run; of live runs, up to their last event.
    pub p95: WindowMetric,
    /// Share of finished runs that failed or were killed.
    pub failure: WindowMetric,
    /// USD per run.
    pub cost: WindowMetric,
    /// By tenant, most expensive first: ten rows, `other`, `unattributed`.
    pub by_tenant: Vec<CostShare>,
    pub by_model: Vec<CostShare>,
    pub by_feature: Vec<CostShare>,
    /// Tools with failures or denials, most first.
    pub tools: Vec<RunToolUsage>,
    /// Denied permissions: tool, source of the denial.
    pub denials: NameCounts<2>,
    /// Model calls that were refused, rate-limited or overloaded: reason, provider.
    pub troubles: NameCounts<2>,
    /// Fallbacks: reason, provider and name of the model that did not answer, the model that did, and the run's tenant
    /// and prompt template ("" = unknown).
    pub fallbacks: NameCounts<6>,
    /// Model calls whose client reported no usage.
    pub no_usage: CallsWithoutUsage,
    /// Longest runs, including live ones.
    pub longest: Vec<Arc<RunRecord>>,
    /// Most expensive runs, including live ones.
    pub most_expensive: Vec<Arc<RunRecord>>,
}

#[derive(Default)]
struct RunTally {
    sum: UsageSum,
    durations: Vec<u64>,
}

impl RunTally {
    fn add(&mut self, run: &RunRecord) {
        self.sum.add(&run_sum(run));
        self.durations.push(run.duration);
    }

    fn average(count: u64, sum: f64) -> Option<f64> {
        (count > 0).then(|| sum / count as f64)
    }

    fn iterations(&self) -> Option<f64> {
        Self::average(self.sum.runs, self.sum.iterations as f64)
    }

    /// `None` if no run is over: the result of a live run is unknown.
    fn failure(&self) -> Option<f64> {
        Self::average(self.sum.finished(), self.sum.failed as f64)
    }

    /// `None` if nothing has a price.
    fn cost(&self) -> Option<f64> {
        let atto = runs::amounts::cost_if_priced(self.sum.atto_usd, self.sum.unpriced)?;
        Self::average(self.sum.runs, atto as f64 / 1e18)
    }

    /// Nearest rank, in seconds.
    fn p95(&mut self) -> Option<f64> {
        let rank = (self.durations.len() * 95).div_ceil(100).checked_sub(1)?;
        let (_, value, _) = self.durations.select_nth_unstable(rank);
        Some(*value as f64 / 1e9)
    }
}

/// Computes the figures of `runs` in `window`.
pub fn compute_figures(runs: &[Arc<RunRecord>], window: TimeWindow) -> WindowFigures {
    let (mut current, mut day_before) = (RunTally::default(), RunTally::default());
    let mut steps: Vec<RunTally> = (0..SPARKLINE_STEPS).map(|_| RunTally::default()).collect();
    let yesterday = window.day_before();
    let mut counted: Vec<&Arc<RunRecord>> = Vec::new();
    for run in runs {
        if let Some(at) = window.counting_time(run) {
            current.add(run);
            counted.push(run);
            window.step_index(at).and_then(|step| steps.get_mut(step)).into_iter().for_each(|step| step.add(run));
        } else if yesterday.contains(run.at) {
            day_before.add(run);
        }
    }
    let metric = |value, yesterday, series| WindowMetric { value, yesterday, series };
    let series = |value: fn(&RunTally) -> Option<f64>| steps.iter().map(value).collect();
    let iterations = metric(current.iterations(), day_before.iterations(), series(RunTally::iterations));
    let failure = metric(current.failure(), day_before.failure(), series(RunTally::failure));
    let cost = metric(current.cost(), day_before.cost(), series(RunTally::cost));
    let p95 = metric(current.p95(), day_before.p95(), steps.iter_mut().map(RunTally::p95).collect());
    let features = counted.iter().map(|run| share_of_run(run, &run.feature, run_sum(run)));
    let models = counted.iter().flat_map(|run| run.models.iter().map(move |model| (run, model)));
    let models = models.map(|(run, model)| CostShare::new("", &model.name, part_sum(run, model)));
    let denials = counted.iter().flat_map(|run| &run.denials);
    let denials = denials.map(|(tool, source, count)| ([&**tool, &**source], *count));
    let troubles = counted.iter().flat_map(|run| &run.troubles);
    let troubles = troubles.map(|(names, count)| (names.each_ref().map(|name| &**name), *count));
    WindowFigures {
        window,
        sum: current.sum,
        yesterday: day_before.sum,
        most_iterations: counted.iter().map(|run| run.iterations).max().unwrap_or(0),
        iterations,
        p95,
        failure,
        cost,
        by_tenant: top_shares(counted.iter().flat_map(|run| tenant_shares(run))),
        by_model: top_shares(models),
        by_feature: top_shares(features),
        tools: top_tools(&counted),
        denials: top_counts(denials),
        troubles: top_counts(troubles),
        fallbacks: top_counts(counted.iter().flat_map(|run| named_fallbacks(run))),
        no_usage: CallsWithoutUsage::from_runs(counted.iter().map(|run| &***run)),
        longest: first_runs(&counted, |run| Reverse((run.duration, run.at))),
        most_expensive: first_runs(&counted, |run| Reverse((run.atto, run.at))),
    }
}

fn first_runs<K: Ord>(runs: &[&Arc<RunRecord>], rank: impl Fn(&RunRecord) -> K) -> Vec<Arc<RunRecord>> {
    let mut runs: Vec<&Arc<RunRecord>> = runs.to_vec();
    if runs.len() > MAX_RUN_ROWS {
        runs.select_nth_unstable_by_key(MAX_RUN_ROWS, |run| rank(run));
        runs.truncate(MAX_RUN_ROWS);
    }
    runs.sort_by_key(|run| rank(run));
    runs.into_iter().map(Arc::clone).collect()
}

fn share_of_run(run: &RunRecord, name: &Option<Arc<str>>, sum: UsageSum) -> CostShare {
    let (account, name) = name.as_deref().map_or(("", UNATTRIBUTED), |name| (&*run.account, name));
    CostShare::new(account, name, sum)
}

fn tenant_shares(run: &RunRecord) -> impl Iterator<Item = CostShare> + '_ {
    let own_share = share_of_run(run, &run.tenant, own_sum(run));
    let others = run.others.iter();
    let others = others.map(|other| {
        // Accounts share the row of what belongs to no tenant.
        let account = if &*other.name == UNATTRIBUTED { "" } else { &*run.account };
        CostShare::new(account, &other.name, part_sum(run, other))
    });
    std::iter::once(own_share).chain(others)
}

/// Sums by name, most expensive first; names beyond ten are added up as `other`; runs without a name come last.
fn top_shares(shares: impl Iterator<Item = CostShare>) -> Vec<CostShare> {
    let mut by_name: HashMap<(String, String), CostShare> = HashMap::new();
    let mut other = CostShare { name: runs::OTHER.to_owned(), ..CostShare::default() };
    for share in shares {
        // Names that the tracker had to merge into `other` are added to the row `other` below.
        let was_merged = share.name == runs::OTHER;
        let key = if was_merged { Default::default() } else { (share.account.clone(), share.name.clone()) };
        match by_name.get_mut(&key) {
            Some(sum) => {
                sum.add(&share);
                sum.names = 1;
            }
            None => {
                by_name.insert(key, share);
            }
        }
    }
    let unnamed = by_name.remove(&(String::new(), UNATTRIBUTED.to_owned()));
    let merged = by_name.remove(&Default::default());
    let mut rows: Vec<CostShare> = by_name.into_values().collect();
    let rank = |share: &CostShare| (Reverse(share.sum.atto_usd), Reverse(share.sum.runs));
    rows.sort_by(|a, b| (rank(a), &a.name, &a.account).cmp(&(rank(b), &b.name, &b.account)));
    let rest = rows.split_off(rows.len().min(MAX_NAMES));
    rest.iter().chain(&merged).for_each(|share| other.add(share));
    rows.extend((other.names > 0).then_some(other));
    rows.extend(unnamed);
    rows
}

fn top_tools(runs: &[&Arc<RunRecord>]) -> Vec<RunToolUsage> {
    let mut by_name: HashMap<&str, RunToolUsage> = HashMap::new();
    for usage in runs.iter().flat_map(|run| &run.tools) {
        let add = |tool: &mut RunToolUsage| {
            tool.calls += usage.calls;
            tool.failed += usage.failed;
            tool.denied += usage.denied;
        };
        by_name.entry(&usage.name).and_modify(add).or_insert_with(|| usage.clone());
    }
    let mut rows: Vec<RunToolUsage> = by_name.into_values().filter(|tool| tool.failed + tool.denied > 0).collect();
    rows.sort_by(|a, b| {
        (Reverse(a.failed), Reverse(a.denied), &a.name).cmp(&(Reverse(b.failed), Reverse(b.denied), &b.name))
    });
    rows.truncate(MAX_TABLE_ROWS);
    rows
}

fn named_fallbacks(run: &RunRecord) -> impl Iterator<Item = ([&str; 6], u64)> {
    let [tenant, template] = [&run.tenant, &run.template].map(|name| name.as_deref().unwrap_or(""));
    run.fallbacks.iter().map(move |([reason, provider, from, to], count)| {
        ([&**reason, &**provider, &**from, &**to, tenant, template], *count)
    })
}

fn top_counts<'r, const N: usize>(counts: impl Iterator<Item = ([&'r str; N], u64)>) -> NameCounts<N> {
    let mut sums: BTreeMap<[&str; N], u64> = BTreeMap::new();
    counts.for_each(|(names, count)| *sums.entry(names).or_default() += count);
    let mut rows: NameCounts<N> = sums.into_iter().map(|(names, count)| (names.map(str::to_owned), count)).collect();
    rows.sort_by_key(|(_, count)| Reverse(*count));
    rows.truncate(MAX_TABLE_ROWS);
    rows
}

/// Runs of one commit or issue.
pub struct ChangeFigures {
    /// The commit or issue.
    pub name: String,
    /// `service.name` of its runs; "" = unknown.
    pub service: String,
    /// First event of its first run, unix ns.
    pub first: u64,
    pub last: u64,
    /// Sum over its runs, live ones up to now.
    pub sum: UsageSum,
    /// Iterations per run.
    pub iterations: Option<f64>,
    /// 95th percentile of time per run, s.
    pub p95: Option<f64>,
    /// Share of finished runs that failed or were killed.
    pub failure: Option<f64>,
    /// USD per run.
    pub cost: Option<f64>,
    /// Share of tool calls that failed.
    pub tool_failure: Option<f64>,
}

/// Maximum number of commits or issues listed; the latest ones.
const MAX_CHANGES: usize = 50;

/// Runs of the window by commit or issue (`name`) and service, newest first.
pub fn compute_changes(
    runs: &[Arc<RunRecord>],
    window: TimeWindow,
    name: fn(&RunRecord) -> &Option<Arc<str>>,
) -> Vec<ChangeFigures> {
    let mut groups: BTreeMap<(&str, &str), Vec<&RunRecord>> = BTreeMap::new();
    for run in runs.iter().filter(|run| window.counting_time(run).is_some()) {
        if let Some(name) = name(run) {
            groups.entry((name, run.service.as_deref().unwrap_or(""))).or_default().push(run);
        }
    }
    let mut rows: Vec<ChangeFigures> =
        groups.into_iter().map(|((name, service), runs)| change_figures(name, service, &runs)).collect();
    rows.sort_by(|a, b| (Reverse(a.first), &a.name, &a.service).cmp(&(Reverse(b.first), &b.name, &b.service)));
    rows.truncate(MAX_CHANGES);
    rows
}

fn change_figures(name: &str, service: &str, runs: &[&RunRecord]) -> ChangeFigures {
    let mut tally = RunTally::default();
    runs.iter().for_each(|run| tally.add(run));
    let starts = runs.iter().map(|run| if run.start == 0 { run.at } else { run.start });
    ChangeFigures {
        name: name.to_owned(),
        service: service.to_owned(),
        first: starts.min().unwrap_or(0),
        last: runs.iter().map(|run| run.at).max().unwrap_or(0),
        iterations: tally.iterations(),
        failure: tally.failure(),
        cost: tally.cost(),
        p95: tally.p95(),
        tool_failure: RunTally::average(tally.sum.tool_calls, tally.sum.tool_failures as f64),
        sum: tally.sum,
    }
}
