//! `/runs`: the runs of a window, filtered and sorted; `/changes`: figures by commit or issue. A page has at most 200
//! rows, JSON at most 1,000; each row links to its trace.

use std::cmp::Reverse;
use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::overview::{RunRow, requested_window};
use super::{AdminPages, PageQuery, text};
use history::{ChangeFigures, RETENTION, RunRecord, TimeWindow, UNATTRIBUTED, changes_json, compute_changes, run_json};
use runs::json::SCHEMA;

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
    window: &'static str,
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
    runs: Vec<Arc<RunRecord>>,
}

impl RunListPage {
    pub(super) fn build(pages: &AdminPages, asked: &PageQuery) -> Self {
        let now = pages.now();
        let (word, length) = requested_window(asked);
        let sort = SORTS.iter().find(|(known, _)| *known == asked.sort).map_or("last", |(known, _)| *known);
        let within = TimeWindow::last(length, now);
        let mut runs = pages.history.all_runs();
        runs.retain(|run| {
            within.counting_time(run).is_some() && matches_filters(run, asked) && (sort != "failed" || run.is_failed())
        });
        let all = runs.len();
        runs.sort_by_key(|run| Reverse((sort_key(run, sort, now), run.at)));
        let limit = asked.limit.unwrap_or(MAX_ROWS);
        runs.truncate(limit.min(MAX_JSON_ROWS));
        let filters = [
            ("tenant", &asked.tenant),
            ("feature", &asked.feature),
            ("model", &asked.model),
            ("state", &asked.state),
            ("session", &asked.session),
            ("account", &asked.account),
        ];
        let chosen = filters.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let kept: String =
            chosen.clone().map(|(name, value)| format!("&{name}={}", text::percent_encode(value))).collect();
        let others = chosen.clone().filter(|(name, _)| *name != "state");
        let others: String = others.map(|(name, value)| format!("&{name}={}", text::percent_encode(value))).collect();
        let rows: Vec<RunRow> = runs.iter().take(MAX_ROWS).map(|run| RunRow::from_run(pages, run, now)).collect();
        Self {
            page: "runs",
            version: env!("CARGO_PKG_VERSION"),
            linked: pages.link.is_some(),
            window: word,
            windows: ["1h", "6h", "24h"]
                .map(|known| (known, format!("/runs?sort={sort}&window={known}{kept}"), known == word))
                .into(),
            sort: SORTS.iter().find(|(known, _)| *known == sort).map_or("latest", |(_, says)| *says),
            sorts: (SORTS.iter())
                .map(|(known, says)| (*says, format!("/runs?sort={known}&window={word}{kept}"), *known == sort))
                .collect(),
            filters: chosen.map(|(name, value)| (name, text::clean_name(value))).collect(),
            clear: format!("/runs?sort={sort}&window={word}"),
            states: [("all", ""), ("live", "live"), ("failed", "failed")]
                .map(|(says, state)| {
                    let part = if state.is_empty() { String::new() } else { format!("&state={state}") };
                    let href = format!("/runs?sort={sort}&window={word}{others}{part}");
                    (says, href, asked.state.as_deref().unwrap_or("") == state)
                })
                .into(),
            is_paused: asked.paused.is_some(),
            refresh_href: format!(
                "/runs?sort={sort}&window={word}{kept}{}",
                if asked.paused.is_some() { "" } else { "&paused=1" }
            ),
            left: all.saturating_sub(rows.len()),
            rows,
            all: text::format_count(all as u64),
            runs,
        }
    }

    pub(super) fn json(&self, pages: &AdminPages) -> Value {
        let one = |run: &Arc<RunRecord>| {
            let mut value = run_json(run, pages.now());
            if let Value::Object(fields) = &mut value {
                fields.insert("trace_url".into(), pages.trace_url(run).map_or(Value::Null, Value::from));
            }
            value
        };
        json!({"schema": SCHEMA, "window": self.window, "runs": self.runs.iter().map(one).collect::<Vec<_>>()})
    }
}

/// The sort key of a run; the greatest comes first.
fn sort_key(run: &RunRecord, sort: &str, now: u64) -> i128 {
    match sort {
        "cost" => run.atto,
        "time" => run.elapsed(now).into(),
        "iterations" => run.iterations.into(),
        "tokens" => run.input.saturating_add(run.output).into(),
        _ => run.at.into(),
    }
}

fn matches_filters(run: &RunRecord, asked: &PageQuery) -> bool {
    let named = |wanted: &Option<String>, name: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| wanted == name.unwrap_or(UNATTRIBUTED))
    };
    named(&asked.tenant, run.tenant.as_deref())
        && named(&asked.feature, run.feature.as_deref())
        && named(&asked.state, Some(&run.state))
        && named(&asked.session, Some(&run.session))
        && named(&asked.account, Some(&run.account))
        && asked.model.as_deref().is_none_or(|model| run.models.iter().any(|part| &*part.name == model))
}

/// Selects the attribute that runs are grouped by.
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
    pub(super) fn build(pages: &AdminPages, asked: &PageQuery) -> Self {
        let (by, name): (_, GroupingAttribute) =
            if asked.by == "issue" { ("issue", |run| &run.issue) } else { ("commit", |run| &run.commit) };
        let all = compute_changes(&pages.history.all_runs(), TimeWindow::last(RETENTION, pages.now()), name);
        let rows = (all.iter().enumerate())
            .map(|(at, one)| {
                // issues do not follow each other in time, so only commits are compared with the previous one
                let before = all.iter().skip(at + 1).find(|other| by == "commit" && other.service == one.service);
                ChangeRow::compare(one, before)
            })
            .collect();
        Self { page: "changes", version: env!("CARGO_PKG_VERSION"), by, rows, all }
    }

    pub(super) fn json(&self) -> Value {
        changes_json(self.by, &self.all)
    }
}

impl ChangeRow {
    fn compare(one: &ChangeFigures, before: Option<&ChangeFigures>) -> Self {
        let number = |what: &'static str, of: fn(&ChangeFigures) -> Option<f64>, as_text: fn(f64) -> String| {
            let shown = of(one).map_or_else(|| "–".to_owned(), as_text);
            let change = of(one).zip(before.and_then(of)).filter(|(_, before)| *before > 0.0);
            let change = change.map(|(value, before)| value / before - 1.0).filter(|change| change.abs() >= 0.005);
            let (text, way) = change.map_or((String::new(), ""), |change| {
                (text::format_percent(change.abs()), if change > 0.0 { "up" } else { "down" })
            });
            (what, shown, text, way)
        };
        Self {
            name: text::clean_name(&one.name),
            service: if one.service.is_empty() { "–".to_owned() } else { text::clean_name(&one.service) },
            first: text::format_time(one.first),
            runs: text::format_runs(one.sum.runs, one.sum.live),
            numbers: vec![
                number("iterations per run", |one| one.iterations, text::format_decimal),
                number("p95 time", |one| one.p95, text::format_seconds),
                number("failure rate", |one| one.failure, text::format_percent),
                number("tool failures", |one| one.tool_failure, text::format_percent),
                number("cost per run", |one| one.cost, text::format_dollars),
            ],
            cost: text::format_cost(one.sum.atto, one.sum.unpriced),
            exact: text::format_exact_cost(one.sum.atto, one.sum.unpriced),
        }
    }
}
