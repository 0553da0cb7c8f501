//! The overview page. A number is marked bad only against the threshold that is shown with it; each amount of money
//! carries its exact value. `history/figures` adds up.

use std::cmp::Reverse;

use askama::Template;
use serde_json::{Map, Value, json};

use super::alert_message::ExampleRuns;
use super::budgets::{BudgetRow, MAX_OVERVIEW_ROWS, first_rows};
use super::sparkline::Sparkline;
use super::{AdminPages, PageQuery, text};
use history::{CostShare, FigureBuilder, TimeWindow, WindowFigures, WindowMetric, figures_json};
use rates::SeatUse;
use runs::{Alert, FirstRuns, OTHER, RunView, UNATTRIBUTED, json as to_json};
use telemetry::moved_keys::VaultSummary;
use telemetry::names::{self, MetricDefinition};
use telemetry::notices::find_notices;
use telemetry::unpriced_calls::UnpricedCalls;
use telemetry::{MetricSeries, SeriesValue};

/// Windows that a user can choose, with their hours.
const WINDOWS: [(&str, u64); 3] = [("1h", 1), ("6h", 6), ("24h", 24)];
const HOUR: u64 = 3_600_000_000_000;
/// A number is bad if it is above this multiple of yesterday's.
const MAX_GROWTH: f64 = 1.5;
/// A failure rate is bad if it is above both this rate and this multiple of yesterday's rate.
const MAX_FAILURE_RATE: f64 = 0.05;
const MAX_FAILURE_GROWTH: f64 = 2.0;
/// Minimum number of runs for a number to be judged; compared numbers need as many yesterday.
const MIN_RUNS: u64 = 30;
/// Note beside a threshold that was not applied.
const TOO_FEW_RUNS: &str = "; too few runs to judge";
/// Share of the iteration ceiling from which a run gets a warning.
const WARNING_SHARE: f64 = 0.8;
/// Maximum number of alert groups and of live runs shown.
const MAX_ALERT_GROUPS: usize = 12;
const MAX_LIVE_RUNS: usize = 10;

/// The requested window: its name and length in nanoseconds.
pub(super) fn requested_window(query: &PageQuery) -> (&'static str, u64) {
    let window = WINDOWS.iter().find(|(name, _)| *name == query.window).or_else(|| WINDOWS.last());
    window.map_or(("24h", 24 * HOUR), |(name, hours)| (*name, hours * HOUR))
}

pub(super) fn overview_json(pages: &AdminPages, query: &PageQuery) -> Value {
    let now = pages.now();
    let (window, window_nanos) = requested_window(query);
    let mut figures = FigureBuilder::new(TimeWindow::last(window_nanos, now));
    pages.runs.visit_runs(figures.from(), &mut |run| figures.add(run));
    let figures = figures.finish();
    let mut overview = figures_json(&figures);
    let mut alerts = to_json::alerts(&pages.runs.alerts());
    if let Value::Object(fields) = &mut overview {
        let trace_urls = |runs: &[RunView]| runs.iter().map(|run| json!(pages.trace_url(run))).collect::<Vec<_>>();
        fields.insert("window".into(), window.into());
        fields.insert("longest_trace_urls".into(), trace_urls(&figures.longest).into());
        fields.insert("most_expensive_trace_urls".into(), trace_urls(&figures.most_expensive).into());
        fields.insert("alerts".into(), alerts.get_mut("alerts").map(Value::take).unwrap_or_default());
        fields.insert("ready".into(), pages.health.troubles().is_empty().into());
        add_vault_fields(fields, pages);
        fields.insert("calls_without_price".into(), unpriced_calls_json(pages));
        fields.insert("seats".into(), seats_json(pages));
        fields.insert(
            "first_chunks".into(),
            ModelFirstChunk::most_called(pages).iter().map(ModelFirstChunk::json).collect(),
        );
    }
    overview
}

/// Maximum number of rows of calls without a price.
const MAX_UNPRICED_CALLS: usize = 20;

/// The gateway's own state: readiness, problems (also those that leave it ready), and the fields of
/// [`add_vault_fields`].
pub(super) fn gateway_json(pages: &AdminPages) -> Value {
    let trouble = |(part, why): (String, &'static str)| json!({"component": part, "reason": why});
    let troubles = pages.health.troubles();
    let is_ready = troubles.is_empty();
    let problems: Vec<Value> = troubles.into_iter().chain(find_notices(&pages.services.meter)).map(trouble).collect();
    let mut gateway = json!({
        "schema": to_json::SCHEMA,
        "ready": is_ready,
        "problems": problems,
        "calls_without_price": unpriced_calls_json(pages),
    });
    if let Value::Object(fields) = &mut gateway {
        add_vault_fields(fields, pages);
    }
    gateway
}

/// The calls without a price since the gateway started, most calls first.
fn unpriced_calls_json(pages: &AdminPages) -> Value {
    let row = |calls: UnpricedCalls| {
        json!({"provider": calls.provider, "model": calls.model, "reason": calls.reason, "nearest": calls.nearest,
            "count": calls.count, "price_config": calls.config_line})
    };
    UnpricedCalls::from_meter(&pages.services.meter).into_iter().take(MAX_UNPRICED_CALLS).map(row).collect()
}

/// Adds what the vault steps report: the privacy profile of each, keys whose values moved (most frequent first),
/// undeclared agents, and the lines of configuration to paste.
pub(super) fn add_vault_fields(fields: &mut Map<String, Value>, pages: &AdminPages) {
    let vaults = VaultSummary::from_meter(&pages.services.meter);
    let profile = |(processor, profile): (String, String)| (processor, Value::from(profile));
    fields.insert("privacy".into(), vaults.privacy_profiles.into_iter().map(profile).collect());
    fields.insert("moved_keys".into(), json!(vaults.moved_keys));
    fields.insert("keep_config".into(), vaults.keep_lines.into());
    fields.insert("undeclared_agents".into(), json!(vaults.undeclared_agents));
    fields.insert("agents_config".into(), vaults.agents_lines.into());
}

/// When streamed answers of one model began, since the gateway started.
struct ModelFirstChunk {
    provider: String,
    model: String,
    calls: u64,
    /// 95 of 100 began within this time, in seconds: the bound of a bucket.
    p95_within: f64,
}

/// Maximum number of models whose answers are timed.
const MAX_TIMED_MODELS: usize = 5;

impl ModelFirstChunk {
    /// The models with most calls.
    fn most_called(pages: &AdminPages) -> Vec<Self> {
        let read = |series: MetricSeries| {
            let SeriesValue::Histogram(histogram) = &series.value else { return None };
            let reading = histogram.read();
            let label = |name: &str| series.label(name).to_owned();
            let (p95_within, calls) = (reading.percentile_bound(0.95)?, reading.counts.iter().sum());
            Some(Self { provider: label("provider"), model: label("model"), calls, p95_within })
        };
        let mut models: Vec<Self> =
            pages.services.meter.series(&names::FIRST_CHUNK).into_iter().filter_map(read).collect();
        models.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.model.cmp(&b.model)));
        models.truncate(MAX_TIMED_MODELS);
        models
    }

    fn json(&self) -> Value {
        let Self { provider, model, calls, p95_within } = self;
        json!({"provider": provider, "model": model, "calls": calls, "p95_within_seconds": p95_within})
    }

    fn row(&self) -> CountRow {
        let value = match self.p95_within.is_finite() {
            true => format!("within {}", text::format_seconds(self.p95_within)),
            false => "over 10 min".to_owned(),
        };
        let detail = format!("{} calls", text::format_count(self.calls));
        CountRow { name: text::clean_name(&self.model), detail, value, note: String::new() }
    }
}

/// One of the four main numbers.
struct MetricCard {
    title: &'static str,
    value: String,
    /// The colour of the value: `good`, `warn`, `bad` or "".
    state: &'static str,
    trend: String,
    /// Direction of the trend: "up", "down" or "".
    direction: &'static str,
    threshold: String,
    /// The colour of the text beside the threshold.
    threshold_state: &'static str,
    href: String,
    label: String,
    spark: Sparkline,
}

pub(super) struct CostRow {
    name: String,
    href: Option<String>,
    runs: String,
    tokens: String,
    cost: String,
    exact: String,
    payable: String,
    cache_savings: String,
    width: String,
    unpriced: u64,
}

pub(super) struct RunRow {
    /// Address of the run's page.
    pub(super) href: String,
    pub(super) title: String,
    pub(super) id: String,
    pub(super) state: String,
    pub(super) live: bool,
    pub(super) bad: bool,
    pub(super) tenant: String,
    /// Its service, and the list of that service's runs.
    pub(super) service: String,
    pub(super) service_href: String,
    pub(super) model: String,
    pub(super) iterations: String,
    pub(super) tools: String,
    pub(super) tool_failures: u64,
    pub(super) tokens: String,
    pub(super) duration: String,
    pub(super) cost: String,
    pub(super) exact: String,
    /// Number of calls missing from the cost, if there is a cost.
    pub(super) unpriced: u64,
    /// The run reached the iteration ceiling.
    pub(super) over: bool,
    pub(super) when: String,
    pub(super) at: String,
    pub(super) trace: Option<String>,
}

impl RunRow {
    pub(super) fn from_run(pages: &AdminPages, run: &RunView, now: u64) -> Self {
        let or_none = |name: &Option<String>| name.as_deref().map_or_else(|| "–".to_owned(), text::clean_name);
        let totals = &run.totals;
        let (cost, unpriced) = (totals.atto_usd(), totals.unpriced());
        let model = totals.models.iter().max_by_key(|(_, model)| (model.atto_usd, model.calls));
        let service = text::percent_encode(run.service.as_deref().unwrap_or(UNATTRIBUTED));
        Self {
            href: pages.run_href(&run.account, &run.run),
            title: text::clean_id(&run.title()),
            id: text::clean_id(&run.run),
            state: text::format_state(run.state.as_str()).to_owned(),
            live: run.state.is_live(),
            bad: run.state.is_failed(),
            tenant: or_none(&run.tenant),
            service: or_none(&run.service),
            service_href: format!("/runs?service={service}"),
            model: model.map_or_else(|| "–".to_owned(), |(name, _)| text::clean_name(name)),
            iterations: text::format_count(totals.iterations),
            tools: text::format_count(totals.tool_calls()),
            tool_failures: totals.tool_failures(),
            tokens: text::format_tokens(totals.input_tokens().saturating_add(totals.tokens().output)),
            duration: text::format_seconds(run.duration as f64 / 1e9),
            cost: totals.format_cost(),
            exact: text::format_exact_cost(cost, unpriced),
            unpriced: if cost == 0 { 0 } else { unpriced },
            over: totals.iterations >= pages.iteration_ceiling.max(1),
            when: text::format_age(run.last, now),
            at: text::format_time(run.last),
            trace: pages.trace_url(run),
        }
    }
}

struct AlertReason {
    rule: String,
    severity: &'static str,
    what: String,
    tool: String,
    since: String,
}

/// Alerts about one run, or one alert about a tenant or feature.
struct AlertGroup {
    reasons: Vec<AlertReason>,
    about: String,
    /// Whether the alerts are about the run or its session; otherwise the run is an example.
    own: bool,
    cost: String,
    run: String,
    href: Option<String>,
    trace: Option<String>,
}

struct CountRow {
    name: String,
    detail: String,
    value: String,
    note: String,
}

impl CountRow {
    fn new(name: &str, detail: String, count: u64, note: String) -> Self {
        Self { name: text::clean_name(name), detail, value: text::format_count(count), note }
    }
}

#[derive(Template)]
#[template(path = "board_front.html")]
pub(super) struct OverviewPage {
    page: &'static str,
    version: &'static str,
    tracked: bool,
    linked: bool,
    window: &'static str,
    windows: Vec<(&'static str, bool)>,
    is_paused: bool,
    refresh_href: String,
    runs: String,
    live_runs: u64,
    live_count: String,
    cost: String,
    exact: String,
    payable: String,
    cache_savings: String,
    unpriced: u64,
    cards: Vec<MetricCard>,
    /// Highest severity among the alerts.
    highest_severity: &'static str,
    alerts: Vec<AlertGroup>,
    alerts_left: usize,
    live: Vec<RunRow>,
    /// How many live runs are not shown; "" if none.
    live_left: String,
    most_expensive: Vec<RunRow>,
    longest: Vec<RunRow>,
    costs: Vec<(&'static str, Vec<CostRow>)>,
    tools: Vec<CountRow>,
    denials: Vec<CountRow>,
    fallbacks: Vec<CountRow>,
    first_chunks: Vec<CountRow>,
    unpriced_calls: Vec<CountRow>,
    troubles: Vec<(String, &'static str)>,
    /// Problems of a gateway that is ready.
    notices: Vec<(String, &'static str)>,
    /// The configuration lines that declare undeclared agents.
    agents_lines: Vec<String>,
    /// A few figures of the gateway itself, with their names.
    vitals: Vec<(&'static str, String)>,
    /// Summary of model calls that providers refused.
    troubles_of_calls: Option<String>,
    /// Model calls without a price because their client reported no usage.
    no_usage: Option<String>,
    seats: Vec<CountRow>,
    budgets: Vec<BudgetRow>,
    at: String,
}

/// Maximum number of seats shown, and in JSON.
const MAX_SEATS: [usize; 2] = [10, 1000];

fn seats_json(pages: &AdminPages) -> Value {
    let row = |seat: SeatUse| {
        json!({"month": seat.key.month, "plan": seat.key.plan, "user": seat.key.user, "seat_usd": seat.price.to_string(),
            "api_equivalent_usd": seat.used.to_string(), "reaches_seat_price": seat.used >= seat.price})
    };
    pages.seats.iter().flat_map(|seats| seats.uses().into_iter().take(MAX_SEATS[1])).map(row).collect()
}

fn seat_rows(pages: &AdminPages) -> Vec<CountRow> {
    let month = rates::month_of(pages.now());
    let row = |SeatUse { key, price, used }: SeatUse| {
        let [used_text, price_text] = [used, price].map(|usd| runs::amounts::format_usd(usd.0));
        let note = if used >= price { "worth its price" } else { "below its price" }.to_owned();
        let (name, detail) = (text::clean_name(&key.user), text::clean_name(&key.plan));
        CountRow { name, detail, value: format!("{used_text} of {price_text}"), note }
    };
    let seats = pages.seats.iter().flat_map(|seats| seats.uses());
    seats.filter(|seat| seat.key.month == month).take(MAX_SEATS[0]).map(row).collect()
}

impl OverviewPage {
    pub(super) fn build(pages: &AdminPages, query: &PageQuery) -> Self {
        let now = pages.now();
        let (window, window_nanos) = requested_window(query);
        let mut firing = pages.runs.alerts();
        firing.retain(|alert| alert.until.is_none());
        let (mut figures, mut examples) =
            (FigureBuilder::new(TimeWindow::last(window_nanos, now)), ExampleRuns::new(&firing));
        let mut live = FirstRuns::new(MAX_LIVE_RUNS);
        pages.runs.visit_runs(figures.from(), &mut |run| {
            figures.add(run);
            examples.add(run);
            if run.state.is_live() {
                live.add(Reverse((run.total().atto_usd, run.last)), run);
            }
        });
        let live_left = live.count.saturating_sub(MAX_LIVE_RUNS);
        let (figures, examples) = (figures.finish(), examples.finish());
        let has_several_accounts = pages.has_several_accounts();
        let rows = |runs: &[RunView]| runs.iter().map(|run| RunRow::from_run(pages, run, now)).collect();
        let (alerts, alerts_left) = alert_groups(pages, &firing, &examples, now);
        let tools = figures.tools.iter().map(|([name], tool)| {
            let note =
                if tool.denied > 0 { format!("{} denied", text::format_count(tool.denied)) } else { String::new() };
            CountRow::new(name, format!("of {}", text::format_count(tool.calls())), tool.failed, note)
        });
        let denials = figures.denials.iter().map(|([tool, source], count)| {
            CountRow::new(tool, format!("by {}", text::clean_name(source)), *count, String::new())
        });
        let fallbacks = figures.fallbacks.iter().map(|([reason, provider, from, to, tenant, template], count)| {
            let [provider, from, to] = [provider, from, to].map(|name| text::clean_name(name));
            CountRow::new(reason, format!("{provider}: {from} → {to}"), *count, fallback_context(tenant, template))
        });
        let highest = firing.iter().map(|alert| alert.severity()).max();
        Self {
            page: "overview",
            version: env!("CARGO_PKG_VERSION"),
            tracked: pages.tracked,
            linked: pages.link.is_some(),
            window,
            windows: WINDOWS.iter().map(|(name, _)| (*name, *name == window)).collect(),
            is_paused: query.paused.is_some(),
            refresh_href: format!("/?window={window}{}", if query.paused.is_some() { "" } else { "&paused=1" }),
            runs: text::format_runs(figures.sum.runs, 0),
            live_runs: figures.sum.live,
            live_count: text::format_count(figures.sum.live),
            cost: text::format_cost(figures.sum.atto_usd, figures.sum.unpriced),
            exact: text::format_exact_cost(figures.sum.atto_usd, figures.sum.unpriced),
            payable: text::format_payable(figures.sum.payable(), figures.sum.atto_usd),
            cache_savings: text::format_cache_savings(figures.sum.saved_atto_usd),
            unpriced: figures.sum.unpriced,
            cards: build_cards(&figures, pages.iteration_ceiling, window),
            highest_severity: highest.map_or("", |severity| severity.as_str()),
            alerts,
            alerts_left,
            live: rows(&live.into_views()),
            live_left: match live_left {
                0 => String::new(),
                1 => "1 more live run".to_owned(),
                more => format!("{} more live runs", text::format_count(more as u64)),
            },
            most_expensive: rows(&figures.most_expensive),
            longest: rows(&figures.longest),
            costs: vec![
                ("tenant", cost_rows(&figures.by_tenant, "tenant", window, has_several_accounts)),
                ("model", cost_rows(&figures.by_model, "model", window, has_several_accounts)),
                ("feature", cost_rows(&figures.by_feature, "feature", window, has_several_accounts)),
            ],
            tools: tools.collect(),
            denials: denials.collect(),
            fallbacks: fallbacks.collect(),
            first_chunks: ModelFirstChunk::most_called(pages).iter().map(ModelFirstChunk::row).collect(),
            unpriced_calls: unpriced_rows(pages),
            troubles: pages.health.troubles(),
            notices: find_notices(&pages.services.meter),
            agents_lines: VaultSummary::from_meter(&pages.services.meter).agents_lines,
            vitals: if pages.runs.permit.is_none() { gateway_vitals(pages) } else { Vec::new() },
            troubles_of_calls: troubles_sentence(&figures),
            no_usage: figures.no_usage.sentence(text::clean_name),
            seats: seat_rows(pages),
            budgets: first_rows(pages, MAX_OVERVIEW_ROWS).0,
            at: text::format_time(now),
        }
    }
}

/// The calls without a price: the reason, and the line of configuration that gives them one or the closest model.
fn unpriced_rows(pages: &AdminPages) -> Vec<CountRow> {
    let row = |calls: UnpricedCalls| {
        let nearest = format!("closest listed model: {}", calls.nearest);
        let note = calls.config_line.or(Some(nearest).filter(|_| !calls.nearest.is_empty()));
        let detail = format!("{} · {}", text::clean_name(&calls.provider), calls.reason.replace('_', " "));
        CountRow::new(&calls.model, detail, calls.count, note.unwrap_or_default())
    };
    UnpricedCalls::from_meter(&pages.services.meter).into_iter().take(MAX_UNPRICED_CALLS).map(row).collect()
}

/// The tenant and prompt template for which a model fell back to another.
fn fallback_context(tenant: &str, template: &str) -> String {
    let part = |word: &str, name: &str| (!name.is_empty()).then(|| format!("{word} {}", text::clean_name(name)));
    [part("tenant", tenant), part("template", template)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn describe_trend(number: &WindowMetric, window: &str) -> (String, &'static str) {
    match number.change() {
        None => (format!("no runs in the same {window} yesterday"), ""),
        Some(change) if change.abs() < 0.005 => ("same as yesterday".to_owned(), ""),
        Some(change) => {
            (format!("{} vs. yesterday", text::format_percent(change.abs())), if change > 0.0 { "up" } else { "down" })
        }
    }
}

/// The limit of a number, as a person reads it; the colours of the value and of the text beside the limit.
struct Judgement {
    limit: Option<f64>,
    threshold: String,
    state: &'static str,
    threshold_state: &'static str,
}

type FormatFigure = fn(f64) -> String;

/// The four main numbers.
fn build_cards(figures: &WindowFigures, ceiling: u64, window: &str) -> Vec<MetricCard> {
    let card = |number: &WindowMetric, title, sort, as_text: fn(f64) -> String, judgement| {
        build_card(number, (title, sort), as_text, judgement, window)
    };
    let judge = |number: &WindowMetric, as_text| judge_growth(figures, number, as_text);
    let (seconds, dollars) = (text::format_seconds as FormatFigure, text::format_dollars as FormatFigure);
    let (iterations, failures) = (judge_iterations(figures, ceiling), judge_failures(figures));
    vec![
        card(&figures.iterations, "Iterations per run", "iterations", text::format_decimal, iterations),
        card(&figures.p95, "p95 time per run", "time", seconds, judge(&figures.p95, seconds)),
        card(&figures.failure, "Failure rate", "failed", text::format_percent, failures),
        card(&figures.cost, "Cost per run", "cost", dollars, judge(&figures.cost, dollars)),
    ]
}

/// Judges iterations against the ceiling: the average and the highest value of one run each have a colour.
fn judge_iterations(figures: &WindowFigures, ceiling: u64) -> Judgement {
    let judge = |iterations: f64| match iterations / ceiling.max(1) as f64 {
        share if share >= 1.0 => "bad",
        share if share >= WARNING_SHARE => "warn",
        _ => "good",
    };
    let state = figures.iterations.value.map_or("", judge);
    let threshold_state = if figures.most_iterations == 0 { "" } else { judge(figures.most_iterations as f64) };
    let threshold = format!("highest in one run {} (ceiling {ceiling})", text::format_count(figures.most_iterations));
    Judgement { limit: Some(ceiling as f64), threshold, state, threshold_state }
}

/// Judges a number that must not rise much above yesterday's.
fn judge_growth(figures: &WindowFigures, number: &WindowMetric, as_text: fn(f64) -> String) -> Judgement {
    let has_enough_runs = figures.sum.runs >= MIN_RUNS && figures.yesterday.runs >= MIN_RUNS;
    let limit = number.yesterday.map(|before| before * MAX_GROWTH);
    let state = match (number.value, limit) {
        (Some(value), Some(limit)) if has_enough_runs && value > limit => "bad",
        (Some(_), Some(_)) if has_enough_runs => "good",
        _ => "",
    };
    let text_without_limit = || "threshold: 1.5 × yesterday (no runs yesterday)".to_owned();
    let note = if has_enough_runs || number.value.is_none() { "" } else { TOO_FEW_RUNS };
    let threshold =
        limit.map_or_else(text_without_limit, |limit| format!("threshold {} (1.5 × yesterday){note}", as_text(limit)));
    Judgement { limit, threshold, state, threshold_state: "" }
}

/// Judges the failure rate against 5 % and twice yesterday's rate, if yesterday has enough runs.
fn judge_failures(figures: &WindowFigures) -> Judgement {
    let yesterday = figures.failure.yesterday.filter(|_| figures.yesterday.finished() >= MIN_RUNS);
    let limit = yesterday.map_or(MAX_FAILURE_RATE, |before| (before * MAX_FAILURE_GROWTH).max(MAX_FAILURE_RATE));
    let has_enough_runs = figures.sum.finished() >= MIN_RUNS;
    let (state, note) = match figures.failure.value {
        Some(rate) if has_enough_runs && rate > limit => ("bad", ""),
        Some(_) if has_enough_runs => ("good", ""),
        Some(_) => ("", TOO_FEW_RUNS),
        None => ("", ""),
    };
    let threshold = format!("threshold {} (5 %, or 2 × yesterday){note}", text::format_percent(limit));
    Judgement { limit: Some(limit), threshold, state, threshold_state: "" }
}

fn build_card(
    number: &WindowMetric,
    (title, sort): (&'static str, &str),
    as_text: fn(f64) -> String,
    judgement: Judgement,
    window: &str,
) -> MetricCard {
    let Judgement { limit, threshold, state, threshold_state } = judgement;
    let (trend, direction) = describe_trend(number, window);
    let points = number.series.iter().flatten().copied();
    let (lowest, highest) =
        points.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let range = if lowest.is_finite() {
        format!("between {} and {}", as_text(lowest), as_text(highest))
    } else {
        "no runs".to_owned()
    };
    MetricCard {
        title,
        value: number.value.map_or_else(|| "–".to_owned(), as_text),
        state,
        trend,
        direction,
        threshold,
        threshold_state,
        href: format!("/runs?sort={sort}&window={window}"),
        label: format!("{title}, values over the last {window}: {range}"),
        spark: Sparkline::draw(&number.series, limit),
    }
}

fn cost_rows(shares: &[CostShare], kind: &str, window: &str, has_several_accounts: bool) -> Vec<CostRow> {
    let max_cost = shares.iter().map(|share| share.sum.atto_usd).max().unwrap_or(0).max(1);
    let row = |share: &CostShare| {
        let sum = &share.sum;
        let is_named = share.name != OTHER && share.name != runs::UNATTRIBUTED;
        let shows_account = has_several_accounts && is_named && !share.account.is_empty();
        let note = match share.names {
            more if more > 1 => format!(" ({} more)", text::format_count(more)),
            _ if shows_account => format!(" · {}", text::clean_name(&share.account)),
            _ => String::new(),
        };
        let account =
            if shows_account { format!("&account={}", text::percent_encode(&share.account)) } else { String::new() };
        CostRow {
            name: format!("{}{note}", text::clean_name(&share.name)),
            href: is_named.then(|| {
                format!("/runs?sort=cost&window={window}&{kind}={}{account}", text::percent_encode(&share.name))
            }),
            runs: text::format_runs(sum.runs, sum.live),
            tokens: text::format_tokens(sum.input().saturating_add(sum.tokens.output)),
            cost: text::format_cost(sum.atto_usd, sum.unpriced),
            exact: text::format_exact_cost(sum.atto_usd, sum.unpriced),
            payable: text::format_payable(sum.payable(), sum.atto_usd),
            cache_savings: text::format_cache_savings(sum.saved_atto_usd),
            width: format!("{:.1}", sum.atto_usd as f64 / max_cost as f64 * 100.0),
            unpriced: sum.unpriced,
        }
    };
    shares.iter().map(row).collect()
}

/// Groups the alerts of one run, most severe first, and counts the alerts left out. A run that fires five rules is one
/// thing to look at.
fn alert_groups(
    pages: &AdminPages,
    firing: &[Alert],
    examples: &[Option<RunView>],
    now: u64,
) -> (Vec<AlertGroup>, usize) {
    let mut groups: Vec<(Vec<&Alert>, Option<&RunView>)> = Vec::new();
    for (alert, run) in firing.iter().zip(examples) {
        let run = run.as_ref();
        let has_same_subject = |(others, other_run): &&mut (Vec<&Alert>, Option<&RunView>)| {
            let first =
                others.first().filter(|first| first.account == alert.account && is_of_run(first) && is_of_run(alert));
            first.is_some_and(|first| match (run, other_run) {
                (Some(run), Some(other)) => run.run == other.run,
                (None, None) => (&first.run, &first.session) == (&alert.run, &alert.session),
                _ => false,
            })
        };
        match groups.iter_mut().find(has_same_subject) {
            Some((alerts, _)) => alerts.push(alert),
            None => groups.push((vec![alert], run)),
        }
    }
    for (alerts, _) in &mut groups {
        alerts.sort_by_key(|alert| std::cmp::Reverse((alert.severity(), alert.since)));
    }
    groups.sort_by_key(|(alerts, _)| std::cmp::Reverse(alerts.first().map(|alert| (alert.severity(), alert.since))));
    let not_shown = groups.iter().skip(MAX_ALERT_GROUPS).map(|(alerts, _)| alerts.len()).sum();
    let shown = groups
        .iter()
        .take(MAX_ALERT_GROUPS)
        .filter_map(|(alerts, run)| AlertGroup::from_alerts(pages, alerts, *run, now));
    (shown.collect(), not_shown)
}

/// Whether an alert is about a run or its session rather than about all runs of a tenant or feature.
fn is_of_run(alert: &Alert) -> bool {
    !(alert.run.is_empty() && alert.session.is_empty())
}

impl AlertGroup {
    fn from_alerts(pages: &AdminPages, alerts: &[&Alert], run: Option<&RunView>, now: u64) -> Option<Self> {
        let first = alerts.first()?;
        let names = [("tenant", first.tenant.as_deref()), ("feature", first.feature.as_deref())];
        let names = names.into_iter().filter_map(|(word, name)| Some(format!("{word} {}", text::clean_name(name?))));
        let reason = |alert: &&Alert| AlertReason {
            rule: text::clean_name(alert.rule.as_str()),
            severity: alert.severity().as_str(),
            what: alert.measurement_text(),
            tool: if alert.tool.is_empty() { String::new() } else { text::clean_name(&alert.tool) },
            since: text::format_age(alert.since, now),
        };
        Some(Self {
            reasons: alerts.iter().map(reason).collect(),
            about: names.collect::<Vec<_>>().join(" · "),
            own: is_of_run(first),
            cost: run.map_or_else(String::new, |run| run.totals.format_cost()),
            run: run.map_or_else(|| text::clean_id(&first.run), |run| text::clean_id(&run.title())),
            href: run
                .map(|run| pages.run_href(&run.account, &run.run))
                .or_else(|| (!first.run.is_empty()).then(|| pages.run_href(&first.account, &first.run))),
            trace: run.and_then(|run| pages.trace_url(run)),
        })
    }
}

/// One sentence about the model calls that providers refused.
fn troubles_sentence(figures: &WindowFigures) -> Option<String> {
    let all = figures.sum.calls.saturating_add(figures.sum.failed_calls);
    let count: u64 = figures.troubles.iter().map(|(_, count)| count).sum();
    let row = |([reason, provider], count): &([Box<str>; 2], u64)| {
        let provider = if provider.is_empty() { "provider unknown".to_owned() } else { text::clean_name(provider) };
        format!("{provider} {} ({})", text::clean_name(reason), text::format_count(*count))
    };
    let rows = figures.troubles.iter().map(row).collect::<Vec<_>>().join(", ");
    let (count, all) = (text::format_count(count), text::format_count(all));
    (!rows.is_empty())
        .then(|| format!("{count} of {all} model calls were refused, rate limited or overloaded: {rows}."))
}

/// A few figures of the gateway itself; its own page has the rest.
fn gateway_vitals(pages: &AdminPages) -> Vec<(&'static str, String)> {
    let sum = |def: &'static MetricDefinition| pages.services.meter.values(def).iter().sum::<f64>();
    let max = |def: &'static MetricDefinition| pages.services.meter.values(def).into_iter().fold(0.0, f64::max);
    let mib = |bytes: f64| format!("{:.1} MiB", bytes / 1_048_576.0);
    let count_text = |number: f64| text::format_count(number.max(0.0) as u64);
    vec![
        ("Spool", format!("{} of {}", mib(sum(&names::SPOOL_BYTES)), mib(sum(&names::SPOOL_LIMIT_BYTES)))),
        ("Oldest record", text::format_seconds(max(&names::SPOOL_OLDEST_SECONDS))),
        ("Batches waiting", count_text(sum(&names::QUEUE_SIZE))),
        ("Spans sent", count_text(sum(&names::SENT_SPANS))),
        ("Upload lag", text::format_seconds(max(&names::VAULT_UPLOAD_LAG))),
        ("Unpriced calls", count_text(sum(&names::COST_UNPRICED))),
        ("Quarantined", count_text(sum(&names::SET_ASIDE) + sum(&names::QUARANTINED_ITEMS))),
        ("Memory", mib(sum(&names::RSS))),
        ("Uptime", text::format_seconds(sum(&names::UPTIME))),
    ]
}
