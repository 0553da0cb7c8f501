//! `/runs`: the runs of a window, filtered and sorted; `/changes`: figures by commit or issue. A page has at most 200
//! rows, JSON at most 1,000; each row links to its trace.

use std::cmp::Reverse;

use askama::Template;
use serde_json::{Value, json};

use super::overview::{RunRow, requested_window};
use super::report::parse_since;
use super::{AdminPages, PageQuery, text};
use history::{ChangeFigures, ChangeName, RETENTION, RunAverages, TimeWindow, changes_json, compute_changes, run_json};
use runs::json::SCHEMA;
use runs::{RunRecord, RunView};

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
    runs: Vec<RunView>,
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
        let limit = query.limit.unwrap_or(MAX_ROWS).min(MAX_JSON_ROWS);
        let runs = pages.runs.first_runs(time_window.from, limit, |run| {
            let is_wanted = time_window.counting_time(run).is_some()
                && query.filter.matches(run)
                && (sort != "failed" || run.state.is_failed());
            is_wanted.then(|| Reverse((sort_key(run, sort), run.last)))
        });
        let (run_count, runs) = (runs.count, runs.into_views());
        let set_filters = query.filter.names();
        let filters_except = |left_out: &str| -> String {
            let kept = set_filters.clone().filter(|(name, _)| *name != left_out);
            kept.map(|(name, value)| format!("&{name}={}", text::percent_encode(value))).collect()
        };
        let shown_state = set_filters.clone().find(|(name, _)| *name == "state").map_or("", |(_, state)| state);
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
            filters: set_filters.clone().map(|(name, value)| (name, text::clean_name(value))).collect(),
            clear: format!("/runs?sort={sort}&{period}"),
            states: [("all", ""), ("live", "live"), ("failed", "failed")]
                .map(|(label, state)| {
                    let state_query = if state.is_empty() { String::new() } else { format!("&state={state}") };
                    let href = format!("/runs?sort={sort}&{period}{query_without_state}{state_query}");
                    (label, href, state == shown_state)
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
        let run_with_link = |run: &RunView| {
            let mut value = run_json(run);
            if let Value::Object(fields) = &mut value {
                fields.insert("trace_url".into(), pages.trace_url(run).into());
            }
            value
        };
        let count = self.left + self.rows.len();
        json!({"schema": SCHEMA, "window": self.window, "count": count, "runs": self.runs.iter().map(run_with_link).collect::<Vec<_>>()})
    }
}

/// The sort key of a run; the greatest comes first.
fn sort_key(run: &RunRecord<'_>, sort: &str) -> i128 {
    match sort {
        "cost" => run.total().atto_usd,
        "time" => run.duration.into(),
        "iterations" => run.iterations.into(),
        "tokens" => run.total().all_tokens().into(),
        _ => run.last.into(),
    }
}

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
        let (by, name): (_, ChangeName) =
            if query.by == "issue" { ("issue", |run| run.issue) } else { ("commit", |run| run.commit) };
        let all = compute_changes(&pages.runs, pages.now().saturating_sub(RETENTION), name);
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
        let row = |name: &'static str, pick: fn(&RunAverages) -> Option<f64>, as_text: fn(f64) -> String| {
            let value = pick(&figures.averages);
            let value_text = value.map_or_else(|| "–".to_owned(), as_text);
            let before = before.and_then(|before| pick(&before.averages)).filter(|before| *before > 0.0);
            let change = value.zip(before).map(|(value, before)| value / before - 1.0);
            let change = change.filter(|change| change.abs() >= 0.005);
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
                row("iterations per run", |runs| runs.iterations, text::format_decimal),
                row("p95 time", |runs| runs.p95, text::format_seconds),
                row("failure rate", |runs| runs.failure, text::format_percent),
                row("tool failures", |runs| runs.tool_failure, text::format_percent),
                row("cost per run", |runs| runs.cost, text::format_dollars),
            ],
            cost: text::format_cost(figures.sum.atto_usd, figures.sum.unpriced),
            exact: text::format_exact_cost(figures.sum.atto_usd, figures.sum.unpriced),
        }
    }
}
