//! The overview page. A number is marked bad only against the threshold that is shown with it; each amount of money
//! carries its exact value. `history/figures` adds up.

use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::spark::Spark;
use super::{Asked, Pages, notice, text};
use history::{Entry, Figures, Number, Share, Stepped, Troubled, Window, figures, figures_json};
use runs::{Alert, OTHER, json as shape};
use telemetry::moved::{Moved, Vaults};
use telemetry::names::{self, Def};

/// Windows that a user can choose, with their hours.
const WINDOWS: [(&str, u64); 3] = [("1h", 1), ("6h", 6), ("24h", 24)];
const HOUR: u64 = 3_600_000_000_000;
/// Growth against yesterday from which a number is bad.
const RISE: f64 = 1.5;
/// Failure rate from which the number is bad, and the factor on yesterday's rate.
const FAILURES: f64 = 0.05;
const FAILURES_RISE: f64 = 2.0;
/// Minimum number of runs on either side of a comparison.
const ENOUGH: u64 = 30;
/// Why a number beside its threshold has no colour.
const TOO_FEW: &str = "; too few runs to judge";
/// Share of the iteration ceiling from which a run gets a warning.
const NEAR: f64 = 0.8;
/// Maximum number of alert groups and of live runs shown.
const ALERTS: usize = 12;
const LIVE: usize = 10;

/// The requested window: its name and length in nanoseconds.
pub(super) fn window(asked: &Asked) -> (&'static str, u64) {
    let known = WINDOWS.iter().find(|(word, _)| *word == asked.window).or_else(|| WINDOWS.last());
    known.map_or(("24h", 24 * HOUR), |(word, hours)| (*word, hours * HOUR))
}

/// The overview as JSON.
pub(super) fn json(pages: &Pages, asked: &Asked) -> Value {
    let now = pages.now();
    let (word, length) = window(asked);
    let figures = figures(&pages.history.all(), Window::last(length, now));
    let mut all = figures_json(&figures);
    let mut alerts = shape::alerts(&pages.board.alerts());
    let [crowded, old] = pages.history.left_out();
    if let Value::Object(fields) = &mut all {
        let linked = |runs: &[Arc<Entry>]| runs.iter().map(|run| json!(pages.trace(run))).collect::<Vec<_>>();
        fields.insert("window".into(), word.into());
        fields.insert("longest_trace_urls".into(), linked(&figures.longest).into());
        fields.insert("most_expensive_trace_urls".into(), linked(&figures.most_expensive).into());
        fields.insert("alerts".into(), alerts.get_mut("alerts").map(Value::take).unwrap_or_default());
        fields.insert("ready".into(), pages.health.troubles().is_empty().into());
        let vaults = Vaults::of(&pages.meter);
        fields.insert("privacy".into(), privacy(&vaults));
        fields.insert("moved_keys".into(), moved_keys(&vaults));
        fields.insert("runs_left_out".into(), json!({"too_many": crowded, "too_old": old}));
    }
    all
}

/// Maximum number of moved keys in JSON.
const KEYS: usize = 50;

/// The gateway's own state: readiness, the privacy profile of each vault, keys whose values moved to the vault.
pub(super) fn gateway(pages: &Pages) -> Value {
    let trouble = |(part, why): (String, &'static str)| json!({"part": part, "why": why});
    let troubles: Vec<Value> = pages.health.troubles().into_iter().map(trouble).collect();
    let vaults = Vaults::of(&pages.meter);
    json!({
        "schema": shape::SCHEMA,
        "ready": troubles.is_empty(),
        "troubles": troubles,
        "privacy": privacy(&vaults),
        "moved_keys": moved_keys(&vaults),
    })
}

/// The privacy profile of each vault step.
fn privacy(vaults: &Vaults) -> Value {
    vaults.privacies.iter().map(|(processor, profile)| (processor.clone(), Value::from(&**profile))).collect()
}

/// The keys whose values moved, most frequent first.
pub(super) fn moved_keys(vaults: &Vaults) -> Value {
    let key = |moved: &Moved| json!({"processor": moved.processor, "key": moved.key, "count": moved.count, "keep": moved.keep});
    vaults.moved.iter().take(KEYS).map(key).collect()
}

/// One of the four main numbers.
struct Card {
    title: &'static str,
    value: String,
    /// The colour of the value: `good`, `warn`, `bad` or "".
    state: &'static str,
    trend: String,
    /// Direction of the trend: "up", "down" or "".
    way: &'static str,
    threshold: String,
    /// The colour of the text beside the threshold.
    near: &'static str,
    href: String,
    label: String,
    spark: Spark,
}

/// A row of a table by cost.
pub(super) struct Cost {
    name: String,
    href: Option<String>,
    runs: String,
    tokens: String,
    cost: String,
    exact: String,
    width: String,
    unpriced: u64,
}

/// A row of a table of runs.
pub(super) struct RunRow {
    pub(super) href: String,
    pub(super) id: String,
    pub(super) state: String,
    pub(super) live: bool,
    pub(super) bad: bool,
    pub(super) tenant: String,
    pub(super) feature: String,
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
    pub(super) trace_id: String,
}

impl RunRow {
    pub(super) fn of(pages: &Pages, run: &Entry, now: u64) -> Self {
        let or_none = |name: &Option<Arc<str>>| name.as_deref().map_or_else(|| "–".to_owned(), text::name);
        let model = run.models.iter().max_by_key(|model| (model.atto, model.calls));
        Self {
            href: pages.href(&run.account, &run.run),
            id: text::id(&run.run),
            state: run.state.to_string(),
            live: run.live(),
            bad: run.failed(),
            tenant: or_none(&run.tenant),
            feature: or_none(&run.feature),
            model: model.map_or_else(|| "–".to_owned(), |model| text::name(&model.name)),
            iterations: text::count(run.iterations),
            tools: text::count(run.tool_calls),
            tool_failures: run.tool_failures,
            tokens: text::tokens(run.input.saturating_add(run.output)),
            duration: text::seconds(run.elapsed(now) as f64 / 1e9),
            cost: text::cost(run.atto, run.unpriced),
            exact: text::costs(run.atto, run.unpriced),
            unpriced: if run.atto == 0 { 0 } else { run.unpriced },
            over: run.iterations >= pages.ceiling.max(1),
            when: text::ago(run.at, now),
            at: text::time(run.at),
            trace: pages.trace(run),
            trace_id: run.trace.chars().take(8).collect(),
        }
    }
}

/// One alert: a reason to look at a run.
struct Reason {
    rule: String,
    severity: &'static str,
    what: String,
    tool: String,
    since: String,
}

/// Alerts about one run, tenant or feature.
struct AlertGroup {
    reasons: Vec<Reason>,
    about: String,
    /// Whether the alerts are about the run itself; otherwise the run is an example.
    own: bool,
    /// Cost of the run.
    cost: String,
    run: String,
    href: Option<String>,
    trace: Option<String>,
}

struct Row {
    name: String,
    detail: String,
    value: String,
    note: String,
}

struct Vital {
    what: &'static str,
    value: String,
}

#[derive(Template)]
#[template(path = "board_front.html")]
pub(super) struct Front {
    page: &'static str,
    version: &'static str,
    tracked: bool,
    linked: bool,
    window: &'static str,
    windows: Vec<(&'static str, bool)>,
    still: bool,
    again: String,
    runs: String,
    live_runs: u64,
    live_count: String,
    cost: String,
    exact: String,
    unpriced: u64,
    cards: Vec<Card>,
    /// Highest severity among the alerts.
    loudest: &'static str,
    alerts: Vec<AlertGroup>,
    alerts_left: usize,
    live: Vec<RunRow>,
    /// How many live runs are not shown; "" if none.
    live_left: String,
    most_expensive: Vec<RunRow>,
    longest: Vec<RunRow>,
    costs: Vec<(&'static str, Vec<Cost>)>,
    tools: Vec<Row>,
    denials: Vec<Row>,
    fallbacks: Vec<Row>,
    troubles: Vec<(String, &'static str)>,
    vitals: Vec<Vital>,
    left_out: String,
    /// Summary of model calls that providers refused.
    troubles_of_calls: Option<String>,
    /// Model calls without a price because their client reported no usage.
    no_usage: Option<String>,
    at: String,
}

impl Front {
    pub(super) fn of(pages: &Pages, asked: &Asked) -> Self {
        let now = pages.now();
        let (word, length) = window(asked);
        let runs = pages.history.all();
        let figures = figures(&runs, Window::last(length, now));
        let (live, live_left) = live(&runs);
        let several = pages.several();
        let rows = |runs: &[Arc<Entry>]| runs.iter().map(|run| RunRow::of(pages, run, now)).collect();
        let mut held = pages.board.alerts();
        held.retain(|alert| alert.until.is_none());
        let (alerts, alerts_left) = alert_groups(pages, &held, &runs, now);
        let tools = figures.tools.iter().map(|tool| Row {
            name: text::name(&tool.name),
            detail: format!("of {}", text::count(tool.calls)),
            value: text::count(tool.failed),
            note: if tool.denied > 0 { format!("{} denied", text::count(tool.denied)) } else { String::new() },
        });
        let denials = figures.denials.iter().map(|row| Row {
            name: text::name(&row.tool),
            detail: format!("by {}", text::name(&row.source)),
            value: text::count(row.count),
            note: String::new(),
        });
        let fallbacks = figures.fallbacks.iter().map(|row| Row {
            name: text::name(&row.reason),
            detail: format!("{}: {} → {}", text::name(&row.provider), text::name(&row.from), text::name(&row.to)),
            value: text::count(row.count),
            note: whose(row),
        });
        Self {
            page: "overview",
            version: env!("CARGO_PKG_VERSION"),
            tracked: pages.tracked,
            linked: pages.link.is_some(),
            window: word,
            windows: WINDOWS.iter().map(|(known, _)| (*known, *known == word)).collect(),
            still: asked.still.is_some(),
            again: format!("/?window={word}{}", if asked.still.is_some() { "" } else { "&still=1" }),
            runs: text::runs(figures.sum.runs, 0),
            live_runs: figures.sum.live,
            live_count: text::count(figures.sum.live),
            cost: text::cost(figures.sum.atto, figures.sum.unpriced),
            exact: text::costs(figures.sum.atto, figures.sum.unpriced),
            unpriced: figures.sum.unpriced,
            cards: cards(&figures, pages.ceiling, word),
            loudest: held.iter().map(|alert| alert.severity).max().map_or("", |severity| severity.as_str()),
            alerts,
            alerts_left,
            live: rows(&live),
            live_left: match live_left {
                0 => String::new(),
                1 => "1 more live run".to_owned(),
                more => format!("{} more live runs", text::count(more as u64)),
            },
            most_expensive: rows(&figures.most_expensive),
            longest: rows(&figures.longest),
            costs: vec![
                ("tenant", costs(&figures.by_tenant, "tenant", word, several)),
                ("model", costs(&figures.by_model, "model", word, several)),
                ("feature", costs(&figures.by_feature, "feature", word, several)),
            ],
            tools: tools.collect(),
            denials: denials.collect(),
            fallbacks: fallbacks.collect(),
            troubles: pages.health.troubles(),
            vitals: vitals(pages),
            left_out: left_out(pages.history.left_out()),
            troubles_of_calls: troubles(&figures),
            no_usage: figures.no_usage.sentence(text::name),
            at: text::time(now),
        }
    }
}

/// The tenant and prompt template for which a model fell back to another.
fn whose(row: &Stepped) -> String {
    let part = |word: &str, name: &str| (!name.is_empty()).then(|| format!("{word} {}", text::name(name)));
    [part("tenant", &row.tenant), part("template", &row.template)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// How many runs the figures leave out, and why.
fn left_out([crowded, old]: [u64; 2]) -> String {
    let mut said = String::new();
    if crowded > 0 {
        said.push_str(&format!(" · {} older runs were left out to bound memory", text::count(crowded)));
    }
    if old > 0 {
        said.push_str(&format!(" · {} runs whose times are more than 48 hours back are left out", text::count(old)));
    }
    said
}

fn trend(number: &Number, word: &str) -> (String, &'static str) {
    match number.change() {
        None => (format!("no runs in the same {word} yesterday"), ""),
        Some(change) if change.abs() < 0.005 => ("as yesterday".to_owned(), ""),
        Some(change) => {
            (format!("{} vs. yesterday", text::percent(change.abs())), if change > 0.0 { "up" } else { "down" })
        }
    }
}

/// How a number is judged and formatted.
struct Look {
    title: &'static str,
    state: &'static str,
    near: &'static str,
    as_text: fn(f64) -> String,
    /// The sort order of `/runs` that the card links to.
    sort: &'static str,
    limit: Option<f64>,
    threshold: String,
}

/// The four main numbers.
fn cards(figures: &Figures, ceiling: u64, word: &str) -> Vec<Card> {
    let slow = risen(figures, &figures.p95, "p95 time per run", "time", text::seconds);
    let dear = risen(figures, &figures.cost, "Cost per run", "cost", text::dollars);
    vec![
        card(&figures.iterations, looping(figures, ceiling), word),
        card(&figures.p95, slow, word),
        card(&figures.failure, failing(figures), word),
        card(&figures.cost, dear, word),
    ]
}

/// Judges iterations against the ceiling: the average and the highest value of one run each have a colour.
fn looping(figures: &Figures, ceiling: u64) -> Look {
    let against = |iterations: f64| match iterations / ceiling.max(1) as f64 {
        share if share >= 1.0 => "bad",
        share if share >= NEAR => "warn",
        _ => "good",
    };
    let state = figures.iterations.value.map_or("", against);
    let near = if figures.most_iterations == 0 { "" } else { against(figures.most_iterations as f64) };
    let threshold = format!("most in one run {} (ceiling {ceiling})", text::count(figures.most_iterations));
    let (title, limit) = ("Iterations per run", Some(ceiling as f64));
    Look { title, state, near, as_text: text::decimal, sort: "iterations", limit, threshold }
}

/// Judges a number that must not rise much above yesterday's.
fn risen(
    figures: &Figures,
    number: &Number,
    title: &'static str,
    sort: &'static str,
    as_text: fn(f64) -> String,
) -> Look {
    let enough = figures.sum.runs >= ENOUGH && figures.before.runs >= ENOUGH;
    let limit = number.before.map(|before| before * RISE);
    let state = match (number.value, limit) {
        (Some(value), Some(limit)) if enough && value > limit => "bad",
        (Some(_), Some(_)) if enough => "good",
        _ => "",
    };
    let waits = || "threshold: 1.5 × yesterday, once there is one".to_owned();
    let few = if enough || number.value.is_none() { "" } else { TOO_FEW };
    let threshold = limit.map_or_else(waits, |limit| format!("threshold {} (1.5 × yesterday){few}", as_text(limit)));
    Look { title, state, near: "", as_text, sort, limit, threshold }
}

/// Judges the failure rate against 5 % and twice yesterday's rate, if yesterday has enough runs.
fn failing(figures: &Figures) -> Look {
    let yesterday = figures.failure.before.filter(|_| figures.before.over() >= ENOUGH);
    let limit = yesterday.map_or(FAILURES, |before| (before * FAILURES_RISE).max(FAILURES));
    let enough = figures.sum.over() >= ENOUGH;
    let (state, few) = match figures.failure.value {
        Some(rate) if enough && rate > limit => ("bad", ""),
        Some(_) if enough => ("good", ""),
        Some(_) => ("", TOO_FEW),
        None => ("", ""),
    };
    let threshold = format!("threshold {} (5 %, or 2 × yesterday){few}", text::percent(limit));
    let (title, limit) = ("Failure rate", Some(limit));
    Look { title, state, near: "", as_text: text::percent, sort: "failed", limit, threshold }
}

fn card(number: &Number, look: Look, word: &str) -> Card {
    let Look { title, state, near, as_text, sort, limit, threshold } = look;
    let (trend, way) = trend(number, word);
    let points = number.course.iter().flatten().copied();
    let (least, greatest) =
        points.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let course = if least.is_finite() {
        format!("between {} and {}", as_text(least), as_text(greatest))
    } else {
        "no runs".to_owned()
    };
    Card {
        title,
        value: number.value.map_or_else(|| "–".to_owned(), as_text),
        state,
        trend,
        way,
        threshold,
        near,
        href: format!("/runs?sort={sort}&window={word}"),
        label: format!("{title}, course over the last {word}: {course}"),
        spark: Spark::of(&number.course, limit),
    }
}

fn costs(shares: &[Share], kind: &str, word: &str, several: bool) -> Vec<Cost> {
    let most = shares.iter().map(|share| share.sum.atto).max().unwrap_or(0).max(1);
    let row = |share: &Share| {
        let sum = &share.sum;
        let named = share.name != OTHER && share.name != history::UNATTRIBUTED;
        let several = several && named && !share.account.is_empty();
        let note = match share.names {
            more if more > 1 => format!(" ({} more)", text::count(more)),
            _ if several => format!(" · {}", text::name(&share.account)),
            _ => String::new(),
        };
        let account = if several { format!("&account={}", text::part(&share.account)) } else { String::new() };
        Cost {
            name: format!("{}{note}", text::name(&share.name)),
            href: named.then(|| format!("/runs?sort=cost&window={word}&{kind}={}{account}", text::part(&share.name))),
            runs: text::runs(sum.runs, sum.live),
            tokens: text::tokens(sum.input.saturating_add(sum.output)),
            cost: text::cost(sum.atto, sum.unpriced),
            exact: text::costs(sum.atto, sum.unpriced),
            width: format!("{:.1}", sum.atto as f64 / most as f64 * 100.0),
            unpriced: sum.unpriced,
        }
    };
    shares.iter().map(row).collect()
}

/// Groups alerts by subject, most severe first, and counts the alerts left out. A run that fires five rules is one
/// thing to look at.
fn alert_groups(pages: &Pages, held: &[Alert], runs: &[Arc<Entry>], now: u64) -> (Vec<AlertGroup>, usize) {
    let mut groups: Vec<(Vec<&Alert>, Option<&Arc<Entry>>)> = Vec::new();
    for alert in held {
        let run = notice::example(alert, runs);
        let same = |(others, other_run): &&mut (Vec<&Alert>, Option<&Arc<Entry>>)| {
            let first =
                others.first().filter(|first| first.account == alert.account && is_of_run(first) && is_of_run(alert));
            first.is_some_and(|first| match (run, other_run) {
                (Some(run), Some(other)) => run.run == other.run,
                (None, None) => (&first.run, &first.session) == (&alert.run, &alert.session),
                _ => false,
            })
        };
        match groups.iter_mut().find(same) {
            Some((alerts, _)) => alerts.push(alert),
            None => groups.push((vec![alert], run)),
        }
    }
    for (alerts, _) in &mut groups {
        alerts.sort_by_key(|alert| std::cmp::Reverse((alert.severity, alert.since)));
    }
    groups.sort_by_key(|(alerts, _)| std::cmp::Reverse(alerts.first().map(|alert| (alert.severity, alert.since))));
    let left = groups.iter().skip(ALERTS).map(|(alerts, _)| alerts.len()).sum();
    let shown = groups.iter().take(ALERTS).filter_map(|(alerts, run)| AlertGroup::of(pages, alerts, *run, now));
    (shown.collect(), left)
}

/// Whether an alert is about a run or its session rather than about all runs of a tenant or feature.
fn is_of_run(alert: &Alert) -> bool {
    !(alert.run.is_empty() && alert.session.is_empty())
}

impl AlertGroup {
    fn of(pages: &Pages, alerts: &[&Alert], run: Option<&Arc<Entry>>, now: u64) -> Option<Self> {
        let first = alerts.first()?;
        let names = [("tenant", first.tenant.as_deref()), ("feature", first.feature.as_deref())];
        let names = names.into_iter().filter_map(|(word, name)| Some(format!("{word} {}", text::name(name?))));
        let reason = |alert: &&Alert| Reason {
            rule: text::name(alert.rule),
            severity: alert.severity.as_str(),
            what: alert.measured(),
            tool: if alert.tool.is_empty() { String::new() } else { text::name(&alert.tool) },
            since: text::ago(alert.since, now),
        };
        Some(Self {
            reasons: alerts.iter().map(reason).collect(),
            about: names.collect::<Vec<_>>().join(" · "),
            own: is_of_run(first),
            cost: run.map(|run| text::cost(run.atto, run.unpriced)).unwrap_or_default(),
            run: text::id(run.map_or(&*first.run, |run| &*run.run)),
            href: run
                .map(|run| pages.href(&run.account, &run.run))
                .or_else(|| (!first.run.is_empty()).then(|| pages.href(&first.account, &first.run))),
            trace: run.and_then(|run| pages.trace(run)),
        })
    }
}

/// One sentence about the model calls that providers refused.
fn troubles(figures: &Figures) -> Option<String> {
    let all = figures.sum.calls.saturating_add(figures.failed_calls);
    let count: u64 = figures.troubles.iter().map(|row| row.count).sum();
    let row = |row: &Troubled| {
        let provider = if row.provider.is_empty() { "provider unknown".to_owned() } else { text::name(&row.provider) };
        format!("{provider} {} ({})", text::name(&row.reason), text::count(row.count))
    };
    let rows = figures.troubles.iter().map(row).collect::<Vec<_>>().join(", ");
    let (count, all) = (text::count(count), text::count(all));
    (!rows.is_empty())
        .then(|| format!("{count} of {all} model calls were refused, rate limited or overloaded: {rows}."))
}

/// The most expensive live runs, and the number of further ones.
fn live(runs: &[Arc<Entry>]) -> (Vec<Arc<Entry>>, usize) {
    let mut live: Vec<Arc<Entry>> = runs.iter().filter(|run| run.live()).map(Arc::clone).collect();
    live.sort_by_key(|run| std::cmp::Reverse((run.atto, run.at)));
    let left = live.len().saturating_sub(LIVE);
    live.truncate(LIVE);
    (live, left)
}

/// A few figures of the gateway itself; its own page has the rest.
fn vitals(pages: &Pages) -> Vec<Vital> {
    let sum = |def: &'static Def| pages.meter.values(def).iter().sum::<f64>();
    let most = |def: &'static Def| pages.meter.values(def).into_iter().fold(0.0, f64::max);
    let mib = |bytes: f64| format!("{:.1} MiB", bytes / 1_048_576.0);
    let whole = |number: f64| text::count(number.max(0.0) as u64);
    vec![
        Vital {
            what: "Spool",
            value: format!("{} of {}", mib(sum(&names::SPOOL_BYTES)), mib(sum(&names::SPOOL_LIMIT_BYTES))),
        },
        Vital { what: "Oldest waits", value: text::seconds(most(&names::SPOOL_OLDEST_SECONDS)) },
        Vital { what: "Batches waiting", value: whole(sum(&names::QUEUE_SIZE)) },
        Vital { what: "Spans sent", value: whole(sum(&names::SENT_SPANS)) },
        Vital { what: "Upload lag", value: text::seconds(most(&names::VAULT_UPLOAD_LAG)) },
        Vital { what: "Unpriced calls", value: whole(sum(&names::COST_UNPRICED)) },
        Vital { what: "Set aside", value: whole(sum(&names::SET_ASIDE) + sum(&names::QUARANTINED_ITEMS)) },
        Vital { what: "Memory", value: mib(sum(&names::RSS)) },
        Vital { what: "Up", value: text::seconds(sum(&names::UPTIME)) },
    ]
}
