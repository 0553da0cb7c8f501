//! [`FigureBuilder`]: aggregates of the runs in a window, with those of the same window a day before;
//! [`compute_changes`]: aggregates by commit or issue. A finished run belongs to the window of its last event; a live
//! run belongs to the window that ends now, with everything it did so far. `UsageSum::of_run` alone defines how much
//! a run adds to a sum. Counts and cost are exact. An average over no runs is `None`, never zero. Pages are made in
//! `pages`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::usage::CallsWithoutUsage;
use runs::{RunRecord, ToolTotals, UNATTRIBUTED, UsageSum};

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
    pub tools: Vec<(Arc<str>, ToolTotals)>,
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
    pub longest: Vec<RunRecord>,
    /// Most expensive runs, including live ones.
    pub most_expensive: Vec<RunRecord>,
}

#[derive(Clone, Default)]
struct RunTally {
    sum: UsageSum,
    durations: Vec<u64>,
}

impl RunTally {
    fn add(&mut self, run: &RunRecord, sum: &UsageSum) {
        self.sum.add(sum);
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

/// Sums by account and name.
type ShareSums = HashMap<(Arc<str>, Arc<str>), UsageSum>;

/// Adds up runs one by one.
pub struct FigureBuilder {
    window: TimeWindow,
    yesterday: TimeWindow,
    current: RunTally,
    day_before: RunTally,
    steps: Vec<RunTally>,
    most_iterations: u64,
    tenants: ShareSums,
    models: ShareSums,
    features: ShareSums,
    tools: HashMap<Arc<str>, ToolTotals>,
    denials: BTreeMap<[Arc<str>; 2], u64>,
    troubles: BTreeMap<[Arc<str>; 2], u64>,
    fallbacks: BTreeMap<[Arc<str>; 6], u64>,
    no_usage: BTreeMap<(Arc<str>, Arc<str>), u64>,
    longest: TopRuns,
    most_expensive: TopRuns,
    nobody: Arc<str>,
}

impl FigureBuilder {
    pub fn new(window: TimeWindow) -> Self {
        Self {
            window,
            yesterday: window.day_before(),
            current: RunTally::default(),
            day_before: RunTally::default(),
            steps: vec![RunTally::default(); SPARKLINE_STEPS],
            most_iterations: 0,
            tenants: HashMap::new(),
            models: HashMap::new(),
            features: HashMap::new(),
            tools: HashMap::new(),
            denials: BTreeMap::new(),
            troubles: BTreeMap::new(),
            fallbacks: BTreeMap::new(),
            no_usage: BTreeMap::new(),
            longest: TopRuns::default(),
            most_expensive: TopRuns::default(),
            nobody: "".into(),
        }
    }

    /// Begin of the time whose runs the figures need, unix ns.
    pub fn from(&self) -> u64 {
        self.yesterday.from
    }

    pub fn add(&mut self, run: &RunRecord) {
        let Some(at) = self.window.counting_time(run) else {
            if self.yesterday.contains(run.at) {
                self.day_before.add(run, &UsageSum::of_run(run));
            }
            return;
        };
        let sum = UsageSum::of_run(run);
        self.current.add(run, &sum);
        let step = self.window.step_index(at).and_then(|step| self.steps.get_mut(step));
        step.into_iter().for_each(|step| step.add(run, &sum));
        self.most_iterations = self.most_iterations.max(run.iterations);
        for (tenant, share) in UsageSum::of_tenants(run) {
            let key = self.owned_name(run, tenant);
            add_share(&mut self.tenants, key, &share);
        }
        let key = self.owned_name(run, run.feature.as_ref());
        add_share(&mut self.features, key, &sum);
        for (model, share) in &run.models {
            let key = (Arc::clone(&self.nobody), Arc::clone(model));
            add_share(&mut self.models, key, &UsageSum::of_share(run, share));
            if share.no_usage > 0 {
                let service = run.service.as_ref().unwrap_or(&self.nobody);
                *self.no_usage.entry((Arc::clone(model), Arc::clone(service))).or_default() += share.no_usage;
            }
        }
        for (tool, usage) in &run.tools {
            self.tools.entry(Arc::clone(tool)).or_default().add(usage);
        }
        run.denials.iter().for_each(|(names, count)| *self.denials.entry(names.clone()).or_default() += count);
        run.troubles.iter().for_each(|(names, count)| *self.troubles.entry(names.clone()).or_default() += count);
        for ([reason, provider, from, to], count) in &run.fallbacks {
            let [tenant, template] = [&run.tenant, &run.template].map(|name| name.as_ref().unwrap_or(&self.nobody));
            let names = [reason, provider, from, to, tenant, template].map(Arc::clone);
            *self.fallbacks.entry(names).or_default() += count;
        }
        self.longest.add(run.duration.into(), run);
        self.most_expensive.add(sum.atto_usd, run);
    }

    /// The account and name of a share. What belongs to nobody is one share of all accounts.
    fn owned_name(&self, run: &RunRecord, name: Option<&Arc<str>>) -> (Arc<str>, Arc<str>) {
        match name {
            Some(name) => (Arc::clone(&run.account), Arc::clone(name)),
            None => (Arc::clone(&self.nobody), UNATTRIBUTED.into()),
        }
    }

    pub fn finish(mut self) -> WindowFigures {
        let (current, day_before, steps) = (&mut self.current, &mut self.day_before, &mut self.steps);
        let metric = |value, yesterday, series| WindowMetric { value, yesterday, series };
        let p95 = metric(current.p95(), day_before.p95(), steps.iter_mut().map(RunTally::p95).collect());
        let series = |value: fn(&RunTally) -> Option<f64>| steps.iter().map(value).collect();
        WindowFigures {
            window: self.window,
            most_iterations: self.most_iterations,
            iterations: metric(current.iterations(), day_before.iterations(), series(RunTally::iterations)),
            failure: metric(current.failure(), day_before.failure(), series(RunTally::failure)),
            cost: metric(current.cost(), day_before.cost(), series(RunTally::cost)),
            p95,
            by_tenant: top_shares(self.tenants),
            by_model: top_shares(self.models),
            by_feature: top_shares(self.features),
            tools: top_tools(self.tools),
            denials: top_counts(self.denials),
            troubles: top_counts(self.troubles),
            fallbacks: top_counts(self.fallbacks),
            no_usage: CallsWithoutUsage::from_counts(self.no_usage),
            longest: self.longest.into_runs(),
            most_expensive: self.most_expensive.into_runs(),
            sum: self.current.sum,
            yesterday: self.day_before.sum,
        }
    }
}

fn add_share(sums: &mut ShareSums, key: (Arc<str>, Arc<str>), share: &UsageSum) {
    sums.entry(key).or_default().add(share);
}

/// The runs with the largest values, the largest first; of equal ones the latest.
#[derive(Default)]
struct TopRuns(Vec<((i128, u64), RunRecord)>);

impl TopRuns {
    fn add(&mut self, value: i128, run: &RunRecord) {
        let rank = (value, run.at);
        let place = self.0.partition_point(|(other, _)| *other >= rank);
        if place < MAX_RUN_ROWS {
            self.0.truncate(MAX_RUN_ROWS - 1);
            self.0.insert(place, (rank, run.clone()));
        }
    }

    fn into_runs(self) -> Vec<RunRecord> {
        self.0.into_iter().map(|(_, run)| run).collect()
    }
}

/// The most expensive names first; names beyond ten are added up as `other`; runs without a name come last.
fn top_shares(sums: ShareSums) -> Vec<CostShare> {
    let (mut rows, mut unnamed) = (Vec::new(), None);
    let mut other = CostShare { name: runs::OTHER.to_owned(), ..CostShare::default() };
    for ((account, name), sum) in sums {
        let share = CostShare { account: account.to_string(), name: name.to_string(), names: 1, sum };
        match &*share.name {
            // names that the tracker had to merge
            runs::OTHER => other.add(&share),
            UNATTRIBUTED if account.is_empty() => unnamed = Some(share),
            _ => rows.push(share),
        }
    }
    let rank = |share: &CostShare| (Reverse(share.sum.atto_usd), Reverse(share.sum.runs));
    rows.sort_by(|a, b| (rank(a), &a.name, &a.account).cmp(&(rank(b), &b.name, &b.account)));
    let rest = rows.split_off(rows.len().min(MAX_NAMES));
    rest.iter().for_each(|share| other.add(share));
    rows.extend((other.names > 0).then_some(other));
    rows.extend(unnamed);
    rows
}

fn top_tools(tools: HashMap<Arc<str>, ToolTotals>) -> Vec<(Arc<str>, ToolTotals)> {
    let mut rows: Vec<_> = tools.into_iter().filter(|(_, tool)| tool.failed + tool.denied > 0).collect();
    rows.sort_by(|(a_name, a), (b_name, b)| {
        (Reverse(a.failed), Reverse(a.denied), a_name).cmp(&(Reverse(b.failed), Reverse(b.denied), b_name))
    });
    rows.truncate(MAX_TABLE_ROWS);
    rows
}

fn top_counts<const N: usize>(sums: BTreeMap<[Arc<str>; N], u64>) -> NameCounts<N> {
    let mut rows: NameCounts<N> =
        sums.into_iter().map(|(names, count)| (names.map(|name| name.to_string()), count)).collect();
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

/// Runs by commit or issue (`name`) and service, newest first.
pub fn compute_changes(runs: &[RunRecord], name: fn(&RunRecord) -> &Option<Arc<str>>) -> Vec<ChangeFigures> {
    let mut groups: BTreeMap<(&str, &str), Vec<&RunRecord>> = BTreeMap::new();
    for run in runs {
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
    runs.iter().for_each(|run| tally.add(run, &UsageSum::of_run(run)));
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
