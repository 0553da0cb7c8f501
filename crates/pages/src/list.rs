//! `/runs`: the runs of a window, filtered and sorted; `/changes`: figures by commit or issue. A page has at most 200
//! rows, JSON at most 1,000; each row links to its trace.

use std::cmp::Reverse;
use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::front::{RunRow, window};
use super::{Asked, Pages, text};
use history::{Changed, Entry, KEEP, UNATTRIBUTED, Window, changes, changes_json, entry_json};
use runs::json::SCHEMA;

/// Maximum rows of a page, and of JSON.
const ROWS: usize = 200;
const MOST: usize = 1000;
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
pub(super) struct List {
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
    still: bool,
    again: String,
    rows: Vec<RunRow>,
    all: String,
    left: usize,
    runs: Vec<Arc<Entry>>,
}

impl List {
    pub(super) fn of(pages: &Pages, asked: &Asked) -> Self {
        let now = pages.now();
        let (word, length) = window(asked);
        let sort = SORTS.iter().find(|(known, _)| *known == asked.sort).map_or("last", |(known, _)| *known);
        let within = Window::last(length, now);
        let mut runs = pages.history.all();
        runs.retain(|run| within.place(run).is_some() && fits(run, asked) && (sort != "failed" || run.failed()));
        let all = runs.len();
        runs.sort_by_key(|run| Reverse((place(run, sort, now), run.at)));
        let limit = asked.limit.unwrap_or(ROWS);
        runs.truncate(limit.min(MOST));
        let filters = [
            ("tenant", &asked.tenant),
            ("feature", &asked.feature),
            ("model", &asked.model),
            ("state", &asked.state),
            ("session", &asked.session),
            ("account", &asked.account),
        ];
        let chosen = filters.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let kept: String = chosen.clone().map(|(name, value)| format!("&{name}={}", text::part(value))).collect();
        let others = chosen.clone().filter(|(name, _)| *name != "state");
        let others: String = others.map(|(name, value)| format!("&{name}={}", text::part(value))).collect();
        let rows: Vec<RunRow> = runs.iter().take(ROWS).map(|run| RunRow::of(pages, run, now)).collect();
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
            filters: chosen.map(|(name, value)| (name, text::name(value))).collect(),
            clear: format!("/runs?sort={sort}&window={word}"),
            states: [("all", ""), ("live", "live"), ("failed", "failed")]
                .map(|(says, state)| {
                    let part = if state.is_empty() { String::new() } else { format!("&state={state}") };
                    let href = format!("/runs?sort={sort}&window={word}{others}{part}");
                    (says, href, asked.state.as_deref().unwrap_or("") == state)
                })
                .into(),
            still: asked.still.is_some(),
            again: format!(
                "/runs?sort={sort}&window={word}{kept}{}",
                if asked.still.is_some() { "" } else { "&still=1" }
            ),
            left: all.saturating_sub(rows.len()),
            rows,
            all: text::count(all as u64),
            runs,
        }
    }

    pub(super) fn json(&self, pages: &Pages) -> Value {
        let one = |run: &Arc<Entry>| {
            let mut value = entry_json(run);
            if let Value::Object(fields) = &mut value {
                fields.insert("trace_url".into(), pages.trace(run).map_or(Value::Null, Value::from));
            }
            value
        };
        json!({"schema": SCHEMA, "window": self.window, "runs": self.runs.iter().map(one).collect::<Vec<_>>()})
    }
}

/// The sort key of a run; the greatest comes first.
fn place(run: &Entry, sort: &str, now: u64) -> i128 {
    match sort {
        "cost" => run.atto,
        "time" => run.elapsed(now).into(),
        "iterations" => run.iterations.into(),
        "tokens" => run.input.saturating_add(run.output).into(),
        _ => run.at.into(),
    }
}

fn fits(run: &Entry, asked: &Asked) -> bool {
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
type Name = fn(&Entry) -> &Option<Arc<str>>;

/// A commit or issue on the page.
struct Row {
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
pub(super) struct Changes {
    page: &'static str,
    version: &'static str,
    by: &'static str,
    rows: Vec<Row>,
    all: Vec<Changed>,
}

impl Changes {
    pub(super) fn of(pages: &Pages, asked: &Asked) -> Self {
        let (by, name): (_, Name) =
            if asked.by == "issue" { ("issue", |run| &run.issue) } else { ("commit", |run| &run.commit) };
        let all = changes(&pages.history.all(), Window::last(KEEP, pages.now()), name);
        let rows = (all.iter().enumerate())
            .map(|(at, one)| {
                // issues do not follow each other in time, so only commits are compared with the previous one
                let before = all.iter().skip(at + 1).find(|other| by == "commit" && other.service == one.service);
                Row::of(one, before)
            })
            .collect();
        Self { page: "changes", version: env!("CARGO_PKG_VERSION"), by, rows, all }
    }

    pub(super) fn json(&self) -> Value {
        changes_json(self.by, &self.all)
    }
}

impl Row {
    fn of(one: &Changed, before: Option<&Changed>) -> Self {
        let number = |what: &'static str, of: fn(&Changed) -> Option<f64>, as_text: fn(f64) -> String| {
            let shown = of(one).map_or_else(|| "–".to_owned(), as_text);
            let change = of(one).zip(before.and_then(of)).filter(|(_, before)| *before > 0.0);
            let change = change.map(|(value, before)| value / before - 1.0).filter(|change| change.abs() >= 0.005);
            let (text, way) = change.map_or((String::new(), ""), |change| {
                (text::percent(change.abs()), if change > 0.0 { "up" } else { "down" })
            });
            (what, shown, text, way)
        };
        Self {
            name: text::name(&one.name),
            service: if one.service.is_empty() { "–".to_owned() } else { text::name(&one.service) },
            first: text::time(one.first),
            runs: text::runs(one.sum.runs, one.sum.live),
            numbers: vec![
                number("iterations per run", |one| one.iterations, text::decimal),
                number("p95 time", |one| one.p95, text::seconds),
                number("failure rate", |one| one.failure, text::percent),
                number("tool failures", |one| one.tool_failure, text::percent),
                number("cost per run", |one| one.cost, text::dollars),
            ],
            cost: text::cost(one.sum.atto, one.sum.unpriced),
            exact: text::costs(one.sum.atto, one.sum.unpriced),
        }
    }
}
