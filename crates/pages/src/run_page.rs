//! The page of one run: its figures, the turns of its session, and the tree of its calls. It is made from the JSON of
//! the run alone, whether that comes from the tracker or from the history file. Calls with cyclic or unknown parents
//! appear at the top level. The page shows no content.

use std::collections::{BTreeSet, HashMap, HashSet};

use askama::Template;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{AdminPages, text};
use runs::amounts::NO_PRICE;
use runs::run_title;

/// Maximum depth of the drawn tree.
const MAX_DEPTH: usize = 12;

#[derive(Template)]
#[template(path = "board_unknown.html")]
pub(super) struct UnknownRunPage;

impl UnknownRunPage {
    const PAGE: &'static str = "runs";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
}

/// The page shown when several accounts have a run with this id.
#[derive(Template)]
#[template(path = "board_whose.html")]
pub(super) struct AccountChoicePage {
    page: &'static str,
    version: &'static str,
    id: String,
    runs: Vec<(String, String)>,
}

impl AccountChoicePage {
    pub(super) fn build(pages: &AdminPages, id: &str, accounts: &BTreeSet<String>) -> Self {
        let run = |account: &String| (text::clean_name(account), pages.run_href(account, id));
        let runs = accounts.iter().map(run).collect();
        Self { page: "runs", version: env!("CARGO_PKG_VERSION"), id: text::clean_id(id), runs }
    }
}

struct CallRow {
    depth: usize,
    kind: &'static str,
    /// Number of the iteration that begins with this call; 0 if none does.
    iteration: u64,
    name: String,
    note: String,
    bad: bool,
    tokens: String,
    duration: String,
    cost: String,
    /// Position on the time line: start and width, in thousandths.
    from: String,
    width: String,
}

struct TurnRow {
    number: usize,
    href: String,
    current: bool,
    state: String,
    bad: bool,
    iterations: String,
    cost: String,
    duration: String,
}

#[derive(Template)]
#[template(path = "board_run.html")]
pub(super) struct RunPage {
    page: &'static str,
    version: &'static str,
    title: String,
    id: String,
    state: String,
    live: bool,
    bad: bool,
    trace: Option<String>,
    trace_id: String,
    linked: bool,
    facts: Vec<(&'static str, String)>,
    numbers: Vec<(&'static str, String, String)>,
    tokens: Vec<(&'static str, String)>,
    turns: Vec<TurnRow>,
    calls: Vec<CallRow>,
    left: u64,
    known: bool,
    is_paused: bool,
    refresh_href: String,
    /// The active alerts: severity, rule, measured value.
    alerts: Vec<(&'static str, String, String)>,
}

fn parse_nanos(value: &Value) -> Option<u64> {
    let at = OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos()).ok()
}

fn count_or_zero(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Formats an amount of money, and the exact amount; "no price" if there is none.
fn format_money(value: &Value) -> (String, String) {
    let exact = value.as_str().and_then(|exact| Some((exact, text::format_dollars(exact.parse().ok()?))));
    exact.map_or_else(|| (NO_PRICE.to_owned(), String::new()), |(exact, shown)| (shown, format!("{exact} USD")))
}

impl RunPage {
    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    pub(super) fn build(pages: &AdminPages, run: &Value, paused: bool) -> Self {
        let read_name = |key: &str| {
            let name = run[key].as_str().filter(|name| !name.is_empty())?;
            Some(if matches!(key, "id" | "session_id") { text::clean_id(name) } else { text::clean_name(name) })
        };
        let totals = if run["totals"].is_object() { &run["totals"] } else { run };
        let state = run["state"].as_str().unwrap_or("").to_owned();
        let (calls, known) = run["steps"].as_array().map_or((Vec::new(), false), |steps| (call_rows(steps, run), true));
        let account_fact = pages.has_several_accounts().then_some(("Account", "account"));
        let facts = [
            ("Session", "session_id"),
            ("Tenant", "tenant"),
            ("Feature", "feature"),
            ("User", "user"),
            ("Service", "service"),
            ("Operation", "operation"),
            ("Commit", "commit_sha"),
            ("Issue", "issue_id"),
            ("Incident", "incident"),
            ("Prompt template", "prompt_template"),
            ("Counted by", "replica"),
        ];
        let mut facts: Vec<(&'static str, String)> =
            facts.into_iter().chain(account_fact).filter_map(|(label, key)| Some((label, read_name(key)?))).collect();
        let start = parse_nanos(&run["start"]).unwrap_or(0);
        facts.push(("Started (UTC)", text::format_time(start)));
        let elapsed = run["duration_seconds"].as_f64().unwrap_or(0.0);
        Self {
            page: "runs",
            version: env!("CARGO_PKG_VERSION"),
            title: text::clean_id(&run_title(["service", "operation", "feature"].map(|key| run[key].as_str()))),
            id: read_name("id").unwrap_or_default(),
            live: state == "live",
            bad: matches!(&*state, "failed" | "killed"),
            state: text::format_state(&state).to_owned(),
            trace: run["trace_url"].as_str().map(str::to_owned),
            trace_id: run["trace_id"].as_str().unwrap_or("").to_owned(),
            linked: pages.link.is_some(),
            facts,
            numbers: figure_rows(run, totals, elapsed),
            tokens: token_rows(run, totals),
            turns: turn_rows(pages, run),
            is_paused: paused,
            refresh_href: refresh_href(pages, run, paused),
            alerts: active_alerts(pages, run),
            left: count_or_zero(&run["step_count"]).saturating_sub(calls.len() as u64),
            calls,
            known,
        }
    }
}

/// The address of this page with automatic refresh turned on or off.
fn refresh_href(pages: &AdminPages, run: &Value, paused: bool) -> String {
    let href = pages.run_href(run["account"].as_str().unwrap_or(""), run["id"].as_str().unwrap_or(""));
    let paused_query = if href.contains('?') { "&paused=1" } else { "?paused=1" };
    if paused { href } else { format!("{href}{paused_query}") }
}

/// The active alerts about a run or its session.
fn active_alerts(pages: &AdminPages, run: &Value) -> Vec<(&'static str, String, String)> {
    let mut alerts = pages.runs.alerts();
    alerts.retain(|alert| {
        let of_run = !alert.run.is_empty() && run["id"] == *alert.run;
        let of_session = alert.run.is_empty() && !alert.session.is_empty() && run["session_id"] == *alert.session;
        alert.until.is_none() && run["account"] == *alert.account && (of_run || of_session)
    });
    alerts
        .iter()
        .map(|alert| (alert.severity().as_str(), text::clean_name(alert.rule.as_str()), alert.measurement_text()))
        .collect()
}

fn figure_rows(run: &Value, totals: &Value, elapsed: f64) -> Vec<(&'static str, String, String)> {
    let count_note = |what: &str, key: &str| match count_or_zero(&totals[key]) {
        0 => String::new(),
        failed => format!("{} {what}", text::format_count(failed)),
    };
    let (cost, exact) = format_money(&totals["cost_usd"]);
    let unpriced = count_note("calls without a price", "unpriced_calls");
    let slowest = &run["slowest_step"];
    let slowest = slowest["name"].as_str().map(|name| {
        let seconds = slowest["duration_seconds"].as_f64().unwrap_or(0.0);
        format!("slowest call: {}, {}", text::clean_name(name), text::format_seconds(seconds))
    });
    let streak = &run["identical_calls_in_a_row"];
    let (identical_calls, tool) = (count_or_zero(&streak["count"]), streak["tool"].as_str());
    let streak = tool
        .filter(|_| identical_calls > 2)
        .map(|tool| format!("{identical_calls} {} in a row", text::clean_name(tool)));
    let mut figures = vec![
        ("Cost", cost, if unpriced.is_empty() { exact } else { unpriced }),
        ("Time", text::format_seconds(elapsed), slowest.unwrap_or_default()),
        ("Iterations", text::format_count(count_or_zero(&totals["iterations"])), streak.unwrap_or_default()),
        (
            "Model calls",
            text::format_count(count_or_zero(&totals["model_calls"])),
            count_note("failed", "failed_model_calls"),
        ),
        (
            "Tool calls",
            text::format_count(count_or_zero(&totals["tool_calls"])),
            count_note("failed", "failed_tool_calls"),
        ),
    ];
    if let agents @ 1.. = count_or_zero(&totals["sub_agents"]) {
        figures.push(("Sub-agents", text::format_count(agents), "their cost and calls are included".to_owned()));
    }
    figures
}

fn token_rows(run: &Value, totals: &Value) -> Vec<(&'static str, String)> {
    let counts = &totals["tokens"];
    if !counts.is_object() {
        let totals_only = [("Input, all", "input_tokens"), ("Output", "output_tokens")];
        return totals_only.map(|(what, key)| (what, text::format_count(count_or_zero(&run[key])))).into();
    }
    let sources = [
        ("Input, fresh", "input"),
        ("Input, from cache", "cache_read"),
        ("Written to cache, 5 min", "cache_write_5m"),
        ("Written to cache, 1 h", "cache_write_1h"),
        ("Output, answers", "output"),
        ("Output, reasoning", "reasoning"),
    ];
    let rows = sources.map(|(what, key)| (what, text::format_count(count_or_zero(&counts[key]))));
    let context = &run["context"];
    let growth = context["growth"].as_f64().filter(|growth| *growth > 0.0);
    let context = growth.map(|growth| {
        let [first, last] = ["first", "last"].map(|key| text::format_tokens(count_or_zero(&context[key])));
        ("Context, first → last prompt", format!("{first} → {last} ({growth:.1} ×)"))
    });
    rows.into_iter().chain(context).collect()
}

fn turn_rows(pages: &AdminPages, run: &Value) -> Vec<TurnRow> {
    let turns = run["session_runs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let to_row = |(index, turn_json): (usize, &Value)| {
        let (id, state) = (turn_json["id"].as_str().unwrap_or(""), turn_json["state"].as_str().unwrap_or(""));
        TurnRow {
            number: index + 1,
            href: pages.run_href(turn_json["account"].as_str().unwrap_or(""), id),
            current: run["id"].as_str() == Some(id),
            state: text::format_state(state).to_owned(),
            bad: matches!(state, "failed" | "killed"),
            iterations: text::format_count(count_or_zero(&turn_json["iterations"])),
            cost: format_money(&turn_json["cost_usd"]).0,
            duration: text::format_seconds(turn_json["duration_seconds"].as_f64().unwrap_or(0.0)),
        }
    };
    turns.iter().enumerate().map(to_row).collect()
}

/// Lists the calls as a tree in order of time: a call is below the call of its parent span, and a tool call is below
/// the model call before it.
fn call_rows(steps: &[Value], run: &Value) -> Vec<CallRow> {
    let spans: HashMap<&str, usize> =
        steps.iter().enumerate().filter_map(|(at, step)| Some((step["span_id"].as_str()?, at))).collect();
    let parent_index = |at: usize| {
        let parent = steps.get(at).and_then(|step| step["parent_span_id"].as_str());
        parent.and_then(|parent| spans.get(parent)).copied().filter(|parent_index| *parent_index != at)
    };
    let depth = |at: usize| {
        let (mut depth, mut seen, mut current) = (0, HashSet::from([at]), at);
        while let Some(parent) = parent_index(current).filter(|parent| depth < MAX_DEPTH && seen.insert(*parent)) {
            (depth, current) = (depth + 1, parent);
        }
        depth
    };
    let times =
        steps.iter().filter_map(|step| Some((parse_nanos(&step["start"])?, step["duration_seconds"].as_f64()?)));
    let first_start = times.clone().map(|(start, _)| start).chain(parse_nanos(&run["start"])).min().unwrap_or(0);
    let ends = times.map(|(start, seconds)| start.saturating_sub(first_start) as f64 / 1e9 + seconds);
    let total_seconds = ends.chain(run["duration_seconds"].as_f64()).fold(0.001, f64::max);
    let mut iteration = 0;
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by_key(|at| (steps.get(*at).and_then(|step| parse_nanos(&step["start"])).unwrap_or(0), *at));
    let mut calls = Vec::new();
    for at in order {
        let Some(step) = steps.get(at) else { continue };
        let is_model = step["kind"].as_str() == Some("model");
        let is_sub_agent = step["sub_agent"].as_bool().unwrap_or(false);
        // a failed call is retried within the same iteration
        let failed = step["failed"].as_bool().unwrap_or(false);
        let begins_iteration = is_model && !is_sub_agent && !failed && depth(at) == 0;
        iteration += u64::from(begins_iteration);
        let min_depth = usize::from(!begins_iteration && iteration > 0) + usize::from(is_sub_agent && depth(at) == 0);
        let thousandths = |seconds: f64| format!("{:.1}", (seconds / total_seconds * 1000.0).clamp(0.0, 1000.0));
        let seconds = step["duration_seconds"].as_f64().unwrap_or(0.0);
        let offset_seconds =
            parse_nanos(&step["start"]).map_or(0.0, |start| start.saturating_sub(first_start) as f64 / 1e9);
        let flag = |key: &str| step[key].as_bool().unwrap_or(false);
        let note = match (flag("failed"), flag("denied")) {
            (_, true) => "denied",
            (true, _) => "failed",
            _ => "",
        };
        let counts = [count_or_zero(&step["input_tokens"]), count_or_zero(&step["output_tokens"])];
        calls.push(CallRow {
            depth: depth(at).max(min_depth),
            kind: if is_model { "model" } else { "tool" },
            iteration: if begins_iteration { iteration } else { 0 },
            name: text::clean_name(step["name"].as_str().unwrap_or("")),
            note: note.to_owned(),
            bad: !note.is_empty(),
            tokens: if is_model {
                format!("{} → {}", text::format_tokens(counts[0]), text::format_tokens(counts[1]))
            } else {
                String::new()
            },
            duration: text::format_seconds(seconds),
            // an unanswered model call, and a call that is not a model call, show no cost
            cost: if step["cost_usd"].is_null() && (!is_model || flag("failed")) {
                String::new()
            } else {
                format_money(&step["cost_usd"]).0
            },
            from: thousandths(offset_seconds),
            width: format!("{:.1}", (seconds / total_seconds * 1000.0).clamp(2.0, 1000.0)),
        });
    }
    calls
}
