//! `/runs`: the runs of a window, filtered and sorted; `/changes`: figures by commit or issue. A page has at most 200
//! rows, JSON at most 1,000; each row links to its trace.

use std::cmp::Reverse;
use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::overview::{RunRow, requested_window};
use super::report::parse_since;
use super::{AdminPages, PageQuery, text};
use history::{ChangeFigures, RETENTION, TimeWindow, changes_json, compute_changes, run_json};
use runs::json::SCHEMA;
use runs::{RunRecord, UNATTRIBUTED};

/// Maximum rows of a page, and of JSON.
const MAX_ROWS: usize = 200;
const MAX_JSON_ROWS: usize = 1000;
/// Sort orders: the parameter's value and its label on the page.
const SORTS: [(&str, &str); 6] = [
    ("last", "latest"),
    ("cost", "most expensive"),
    ("time", "longest"),
    ("iterations", "most iterations"),
    ("tokens", "most tokens"),
    ("failed", "failed"),
];

#[derive(Template)]
#[template(path = "board_runs.html")]
pub(super) struct RunListPage {
    page: &'static str,
    version: &'static str,
    linked: bool,
    window: String,
    windows: Vec<(&'static str, String, bool)>,
    sort: &'static str,
    sorts: Vec<(&'static str, String, bool)>,
    filters: Vec<(&'static str, String)>,
    clear: String,
    /// Filters by state: all runs, live ones, failed ones.
    states: Vec<(&'static str, String, bool)>,
    is_paused: bool,
    refresh_href: String,
    rows: Vec<RunRow>,
    all: String,
    left: usize,
    runs: Vec<RunRecord>,
}

impl RunListPage {
    /// `None`: `since` is invalid.
    pub(super) fn build(pages: &AdminPages, query: &PageQuery) -> Option<Self> {
        let now = pages.now();
        let (window, window_nanos) = match &*query.since {
            "" => requested_window(query),
            since => (since, parse_since(since, pages.keep_runs)?),
        };
        let period = if query.since.is_empty() { format!("window={window}") } else { format!("since={window}") };
        let sort = SORTS.iter().find(|(name, _)| *name == query.sort).map_or("last", |(name, _)| *name);
        let time_window = TimeWindow::last(window_nanos, now);
        let mut runs = pages.runs.select_runs(time_window.from, |run| {
            time_window.counting_time(run).is_some()
                && matches_filters(run, query)
                && (sort != "failed" || run.is_failed())
        });
        let run_count = runs.len();
        runs.sort_by_cached_key(|run| Reverse((sort_key(run, sort), run.at)));
        let limit = query.limit.unwrap_or(MAX_ROWS);
        runs.truncate(limit.min(MAX_JSON_ROWS));
        let filters = [
            ("tenant", &query.tenant),
            ("feature", &query.feature),
            ("service", &query.service),
            ("model", &query.model),
            ("state", &query.state),
            ("session", &query.session),
            ("account", &query.account),
        ];
        let set_filters = filters.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let filters_except = |left_out: &str| -> String {
            let kept = set_filters.clone().filter(|(name, _)| *name != left_out);
            kept.map(|(name, value)| format!("&{name}={}", text::percent_encode(value))).collect()
        };
        let (filter_query, query_without_state) = (filters_except(""), filters_except("state"));
        let rows: Vec<RunRow> = runs.iter().take(MAX_ROWS).map(|run| RunRow::from_run(pages, run, now)).collect();
        Some(Self {
            page: "runs",
            version: env!("CARGO_PKG_VERSION"),
            linked: pages.link.is_some(),
            window: window.to_owned(),
            windows: ["1h", "6h", "24h"]
                .map(|name| (name, format!("/runs?sort={sort}&window={name}{filter_query}"), name == window))
                .into(),
            sort: SORTS.iter().find(|(name, _)| *name == sort).map_or("latest", |(_, label)| *label),
            sorts: (SORTS.iter())
                .map(|(name, label)| (*label, format!("/runs?sort={name}&{period}{filter_query}"), *name == sort))
                .collect(),
            filters: set_filters.map(|(name, value)| (name, text::clean_name(value))).collect(),
            clear: format!("/runs?sort={sort}&{period}"),
            states: [("all", ""), ("live", "live"), ("failed", "failed")]
                .map(|(label, state)| {
                    let state_query = if state.is_empty() { String::new() } else { format!("&state={state}") };
                    let href = format!("/runs?sort={sort}&{period}{query_without_state}{state_query}");
                    (label, href, query.state.as_deref().unwrap_or("") == state)
                })
                .into(),
            is_paused: query.paused.is_some(),
            refresh_href: format!(
                "/runs?sort={sort}&{period}{filter_query}{}",
                if query.paused.is_some() { "" } else { "&paused=1" }
            ),
            left: run_count.saturating_sub(rows.len()),
            rows,
            all: text::format_count(run_count as u64),
            runs,
        })
    }

    pub(super) fn json(&self, pages: &AdminPages) -> Value {
        let run_with_link = |run: &RunRecord| {
            let mut value = run_json(run);
            if let Value::Object(fields) = &mut value {
                fields.insert("trace_url".into(), pages.trace_url(run).map_or(Value::Null, Value::from));
            }
            value
        };
        json!({"schema": SCHEMA, "window": self.window, "runs": self.runs.iter().map(run_with_link).collect::<Vec<_>>()})
    }
}

/// The sort key of a run; the greatest comes first.
fn sort_key(run: &RunRecord, sort: &str) -> i128 {
    match sort {
        "cost" => run.total().atto_usd,
        "time" => run.duration.into(),
        "iterations" => run.iterations.into(),
        "tokens" => run.total().all_tokens().into(),
        _ => run.at.into(),
    }
}

fn matches_filters(run: &RunRecord, query: &PageQuery) -> bool {
    let matches = |wanted: &Option<String>, name: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| wanted == name.unwrap_or(UNATTRIBUTED))
    };
    matches(&query.tenant, run.tenant.as_deref())
        && matches(&query.feature, run.feature.as_deref())
        && matches(&query.service, run.service.as_deref())
        && matches(&query.state, Some(run.state.as_str()))
        && matches(&query.session, Some(&run.session))
        && matches(&query.account, Some(&run.account))
        && query.model.as_deref().is_none_or(|model| run.models.iter().any(|(name, _)| **name == *model))
}

type GroupingAttribute = fn(&RunRecord) -> &Option<Arc<str>>;

/// A commit or issue on the page.
struct ChangeRow {
    name: String,
    service: String,
    first: String,
    runs: String,
    /// Figures with their name, value, change, and direction against the previous row of the same service.
    numbers: Vec<(&'static str, String, String, &'static str)>,
    cost: String,
    exact: String,
}

#[derive(Template)]
#[template(path = "board_changes.html")]
pub(super) struct ChangesPage {
    page: &'static str,
    version: &'static str,
    by: &'static str,
    rows: Vec<ChangeRow>,
    all: Vec<ChangeFigures>,
}

impl ChangesPage {
    pub(super) fn build(pages: &AdminPages, query: &PageQuery) -> Self {
        let (by, attribute): (_, GroupingAttribute) =
            if query.by == "issue" { ("issue", |run| &run.issue) } else { ("commit", |run| &run.commit) };
        let from = pages.now().saturating_sub(RETENTION);
        let all = compute_changes(&pages.runs.select_runs(from, |run| attribute(run).is_some()), attribute);
        let rows = (all.iter().enumerate())
            .map(|(index, change)| {
                // Issues do not follow each other in time, so only commits are compared with the one before.
                let before = all.iter().skip(index + 1).find(|other| by == "commit" && other.service == change.service);
                ChangeRow::compare(change, before)
            })
            .collect();
        Self { page: "changes", version: env!("CARGO_PKG_VERSION"), by, rows, all }
    }

    pub(super) fn json(&self) -> Value {
        changes_json(self.by, &self.all)
    }
}

impl ChangeRow {
    fn compare(figures: &ChangeFigures, before: Option<&ChangeFigures>) -> Self {
        let row = |name: &'static str, pick: fn(&ChangeFigures) -> Option<f64>, as_text: fn(f64) -> String| {
            let value_text = pick(figures).map_or_else(|| "–".to_owned(), as_text);
            let change = pick(figures).zip(before.and_then(pick)).filter(|(_, before)| *before > 0.0);
            let change = change.map(|(value, before)| value / before - 1.0).filter(|change| change.abs() >= 0.005);
            let (text, direction) = change.map_or((String::new(), ""), |change| {
                (text::format_percent(change.abs()), if change > 0.0 { "up" } else { "down" })
            });
            (name, value_text, text, direction)
        };
        Self {
            name: text::clean_name(&figures.name),
            service: if figures.service.is_empty() { "–".to_owned() } else { text::clean_name(&figures.service) },
            first: text::format_time(figures.first),
            runs: text::format_runs(figures.sum.runs, figures.sum.live),
            numbers: vec![
                row("iterations per run", |figures| figures.iterations, text::format_decimal),
                row("p95 time", |figures| figures.p95, text::format_seconds),
                row("failure rate", |figures| figures.failure, text::format_percent),
                row("tool failures", |figures| figures.tool_failure, text::format_percent),
                row("cost per run", |figures| figures.cost, text::format_dollars),
            ],
            cost: text::format_cost(figures.sum.atto_usd, figures.sum.unpriced),
            exact: text::format_exact_cost(figures.sum.atto_usd, figures.sum.unpriced),
        }
    }
}
