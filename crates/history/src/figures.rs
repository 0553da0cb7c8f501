//! [`FigureBuilder`]: aggregates of the runs in a window, with those of the same window a day before;
//! [`compute_changes`]: aggregates by commit or issue. A finished run belongs to the window of its last event; a live
//! run belongs to the window that ends now, with everything it did so far. `UsageSum::of_run` alone defines how much
//! a run adds to a sum. Counts and cost are exact. An average over no runs is `None`, never zero. Pages are made in
//! `pages`.

use std::cmp::Reverse;

use super::board::RunBoard;
use super::failures::DAY;
use super::name_sums::{NameCounts, NameSums};
use super::usage::CallsWithoutUsage;
use runs::{FirstRuns, LargestFirst, RunRecord, RunView, ToolTotals, UNATTRIBUTED, UsageSum};

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
    pub fn counting_time(&self, run: &RunRecord<'_>) -> Option<u64> {
        if run.state.is_live() { Some(self.to) } else { Some(run.last).filter(|at| self.contains(*at)) }
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
    pub tools: Vec<([Box<str>; 1], ToolTotals)>,
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
    pub longest: Vec<RunView>,
    /// Most expensive runs, including live ones.
    pub most_expensive: Vec<RunView>,
}

#[derive(Clone, Default)]
struct RunTally {
    sum: UsageSum,
    durations: Vec<u64>,
}

/// Averages over runs; `None`: over nothing.
#[derive(Default)]
pub struct RunAverages {
    /// Iterations per run.
    pub iterations: Option<f64>,
    /// 95th percentile of time per run, s: the nearest rank.
    pub p95: Option<f64>,
    /// Share of finished runs that failed or were killed: the result of a live run is unknown.
    pub failure: Option<f64>,
    /// USD per run; `None` if nothing has a price.
    pub cost: Option<f64>,
    /// Share of tool calls that failed.
    pub tool_failure: Option<f64>,
}

impl RunTally {
    fn add(&mut self, run: &RunRecord<'_>, sum: &UsageSum) {
        self.sum.add(sum);
        self.durations.push(run.duration);
    }

    fn averages(&mut self) -> RunAverages {
        let sum = &self.sum;
        let average = |count: u64, sum: f64| (count > 0).then(|| sum / count as f64);
        let cost = runs::amounts::cost_if_priced(sum.atto_usd, sum.unpriced);
        let rank = (self.durations.len() * 95).div_ceil(100).checked_sub(1);
        RunAverages {
            iterations: average(sum.runs, sum.iterations as f64),
            p95: rank.map(|rank| *self.durations.select_nth_unstable(rank).1 as f64 / 1e9),
            failure: average(sum.finished(), sum.failed as f64),
            cost: cost.and_then(|atto| average(sum.runs, atto as f64 / 1e18)),
            tool_failure: average(sum.tool_calls, sum.tool_failures as f64),
        }
    }
}

/// Adds up runs one by one.
pub struct FigureBuilder {
    window: TimeWindow,
    yesterday: TimeWindow,
    current: RunTally,
    day_before: RunTally,
    steps: Vec<RunTally>,
    most_iterations: u64,
    /// By account and name, as models and features.
    tenants: NameSums<2, UsageSum>,
    models: NameSums<2, UsageSum>,
    features: NameSums<2, UsageSum>,
    tools: NameSums<1, ToolTotals>,
    denials: NameSums<2, u64>,
    troubles: NameSums<2, u64>,
    fallbacks: NameSums<6, u64>,
    no_usage: NameSums<2, u64>,
    longest: FirstRuns<LargestFirst>,
    most_expensive: FirstRuns<LargestFirst>,
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
            tenants: NameSums::default(),
            models: NameSums::default(),
            features: NameSums::default(),
            tools: NameSums::default(),
            denials: NameSums::default(),
            troubles: NameSums::default(),
            fallbacks: NameSums::default(),
            no_usage: NameSums::default(),
            longest: FirstRuns::new(MAX_RUN_ROWS),
            most_expensive: FirstRuns::new(MAX_RUN_ROWS),
        }
    }

    /// Begin of the time whose runs the figures need, unix ns.
    pub fn from(&self) -> u64 {
        self.yesterday.from
    }

    pub fn add(&mut self, run: &RunRecord<'_>) {
        let Some(at) = self.window.counting_time(run) else {
            if self.yesterday.contains(run.last) {
                self.day_before.add(run, &UsageSum::of_run(run));
            }
            return;
        };
        let sum = UsageSum::of_run(run);
        self.current.add(run, &sum);
        let step = self.window.step_index(at).and_then(|step| self.steps.get_mut(step));
        step.into_iter().for_each(|step| step.add(run, &sum));
        self.most_iterations = self.most_iterations.max(run.iterations);
        for (tenant, share) in sum.by_tenant(run) {
            self.tenants.entry(owned_name(run, tenant)).add(&share);
        }
        self.features.entry(owned_name(run, run.feature)).add(&sum);
        for (model, share) in &run.models {
            self.models.entry(["", model]).add(&UsageSum::of_share(run, share));
            if share.no_usage > 0 {
                *self.no_usage.entry([model, run.service.unwrap_or("")]) += share.no_usage;
            }
        }
        for (tool, usage) in &run.tools {
            self.tools.entry([tool]).add(usage);
        }
        run.denials.iter().for_each(|(names, count)| *self.denials.entry(*names) += count);
        run.troubles.iter().for_each(|(names, count)| *self.troubles.entry(*names) += count);
        for ([reason, provider, from, to], count) in &run.fallbacks {
            let [tenant, template] = [run.tenant, run.template].map(Option::unwrap_or_default);
            *self.fallbacks.entry([reason, provider, from, to, tenant, template]) += count;
        }
        self.longest.add(Reverse((run.duration.into(), run.last)), run);
        self.most_expensive.add(Reverse((sum.atto_usd, run.last)), run);
    }

    pub fn finish(mut self) -> WindowFigures {
        let (current, day_before) = (self.current.averages(), self.day_before.averages());
        let steps: Vec<RunAverages> = self.steps.iter_mut().map(RunTally::averages).collect();
        let metric = |value: fn(&RunAverages) -> Option<f64>| WindowMetric {
            value: value(&current),
            yesterday: value(&day_before),
            series: steps.iter().map(value).collect(),
        };
        let mut tools = self.tools.into_ranked(|tool| (Reverse(tool.failed), Reverse(tool.denied)));
        tools.retain(|(_, tool)| tool.failed + tool.denied > 0);
        tools.truncate(MAX_TABLE_ROWS);
        WindowFigures {
            window: self.window,
            most_iterations: self.most_iterations,
            iterations: metric(|runs| runs.iterations),
            p95: metric(|runs| runs.p95),
            failure: metric(|runs| runs.failure),
            cost: metric(|runs| runs.cost),
            by_tenant: top_shares(self.tenants),
            by_model: top_shares(self.models),
            by_feature: top_shares(self.features),
            tools,
            denials: self.denials.into_most_frequent(MAX_TABLE_ROWS).0,
            troubles: self.troubles.into_most_frequent(MAX_TABLE_ROWS).0,
            fallbacks: self.fallbacks.into_most_frequent(MAX_TABLE_ROWS).0,
            no_usage: CallsWithoutUsage::from_counts(self.no_usage),
            longest: self.longest.into_views(),
            most_expensive: self.most_expensive.into_views(),
            sum: self.current.sum,
            yesterday: self.day_before.sum,
        }
    }
}

/// The account and name under which a run's part is added up. Parts without a name are one share of all accounts.
fn owned_name<'r>(run: &RunRecord<'r>, name: Option<&'r str>) -> [&'r str; 2] {
    name.map_or(["", UNATTRIBUTED], |name| [run.account, name])
}

/// The most expensive names first; names beyond ten are added up as `other`; runs without a name come last.
fn top_shares(sums: NameSums<2, UsageSum>) -> Vec<CostShare> {
    let (mut rows, mut unnamed) = (Vec::new(), None);
    let mut other = CostShare { name: runs::OTHER.to_owned(), ..CostShare::default() };
    for ([account, name], sum) in sums.into_ranked(|sum| (Reverse(sum.atto_usd), Reverse(sum.runs))) {
        let share = CostShare { account: account.into(), name: name.into(), names: 1, sum };
        match &*share.name {
            // names that the tracker had to merge
            runs::OTHER => other.add(&share),
            UNATTRIBUTED if share.account.is_empty() => unnamed = Some(share),
            _ if rows.len() < MAX_NAMES => rows.push(share),
            _ => other.add(&share),
        }
    }
    rows.extend((other.names > 0).then_some(other));
    rows.extend(unnamed);
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
    pub averages: RunAverages,
}

/// Maximum number of commits or issues listed; the latest ones.
const MAX_CHANGES: usize = 50;

/// The commit or issue of a run.
pub type ChangeName = for<'r> fn(&RunRecord<'r>) -> Option<&'r str>;

/// Runs of which the gateway heard later than `from`, by commit or issue (`name`) and service, newest first.
pub fn compute_changes(runs: &RunBoard, from: u64, name: ChangeName) -> Vec<ChangeFigures> {
    /// The runs, and the times of their first and last event.
    #[derive(Default)]
    struct ChangeTally(RunTally, Option<u64>, u64);
    let mut changes: NameSums<2, ChangeTally> = NameSums::default();
    runs.visit_runs(from, &mut |run| {
        let Some(name) = name(run) else { return };
        let ChangeTally(tally, first, last) = changes.entry([name, run.service.unwrap_or("")]);
        tally.add(run, &UsageSum::of_run(run));
        let start = if run.start == 0 { run.last } else { run.start };
        *first = Some(first.map_or(start, |first| first.min(start)));
        *last = run.last.max(*last);
    });
    let mut rows = changes.into_ranked(|ChangeTally(_, first, _)| Reverse(*first));
    rows.truncate(MAX_CHANGES);
    let figures = rows.into_iter().map(|([name, service], ChangeTally(mut tally, first, last))| {
        let (name, service) = (name.into(), service.into());
        ChangeFigures { name, service, first: first.unwrap_or(0), last, averages: tally.averages(), sum: tally.sum }
    });
    figures.collect()
}
