//! `/budgets` and `/api/budgets`: what each key of a budget has used, most used first, who was stopped and when, and
//! grants. [`BudgetBoard`] has the lines that the viewer may see (`limits`), at most 1,000; the crate `budgets` has the
//! sums and answers. Keys are cleaned for pages and unchanged in JSON.

use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::{AdminPages, PageQuery, text};
use budgets::{BudgetDesk, BudgetLine, Grant, Measure, Scope};
use kernel::calendar::{cut_to_minutes, rfc3339};
use kernel::clock::UnixNanos;
use runs::json::{SCHEMA, time};

#[cfg(test)]
pub(crate) mod tests;

/// Maximum number of rows on the page, and on the overview.
const MAX_ROWS: usize = 200;
const MAX_LINES: usize = 1000;
pub(super) const MAX_OVERVIEW_ROWS: usize = 3;

/// Whether a viewer may see a line.
type LinePermit = dyn Fn(&BudgetLine) -> bool + Send + Sync;

/// The budgets of a gateway.
#[derive(Clone, Default)]
pub struct BudgetBoard {
    /// `None`: no budgets are configured.
    pub desk: Option<Arc<dyn BudgetDesk>>,
    /// The reader sees these lines. `None`: all.
    pub(crate) permit: Option<Arc<LinePermit>>,
}

impl BudgetBoard {
    pub fn new(desk: Option<Arc<dyn BudgetDesk>>) -> Self {
        Self { desk, permit: None }
    }

    /// Whether the sums are those of all workers of a fleet.
    fn knows_fleet(&self) -> bool {
        self.desk.as_ref().is_some_and(|desk| desk.knows_fleet())
    }

    /// The lines that the reader may see, most used first.
    fn lines(&self) -> Vec<BudgetLine> {
        let Some(desk) = &self.desk else { return Vec::new() };
        let is_permitted = |line: &&BudgetLine| self.permit.as_ref().is_none_or(|permit| permit(line));
        desk.lines().iter().filter(is_permitted).take(MAX_LINES).cloned().collect()
    }
}

pub(super) fn budgets_json(pages: &AdminPages) -> Value {
    let lines: Vec<Value> = pages.budgets.lines().iter().map(line_json).collect();
    let knows = if pages.budgets.knows_fleet() { "fleet" } else { "gateway" };
    json!({"schema": SCHEMA, "knows": knows, "budgets": lines})
}

/// How much of a limit is used, 1.0 = all.
fn share(spent: i128, limit: i128) -> f64 {
    spent.max(0) as f64 / limit.max(1) as f64
}

/// A time in minutes, in UTC.
fn minutes(at: u64) -> String {
    cut_to_minutes(&rfc3339(UnixNanos(at)))
}

fn line_json(line: &BudgetLine) -> Value {
    let use_json = |(measure, spent, limit): &(Measure, i128, i128)| {
        json!({"measure": measure.as_str(), "spent": measure.decimal(*spent), "limit": measure.decimal(*limit),
            "share": share(*spent, *limit)})
    };
    let grant_json = |grant: &Grant| {
        json!({"budget": grant.budget, "measure": grant.measure.as_str(), "extra": grant.measure.decimal(grant.extra),
            "until": time(grant.until), "granted_by": grant.granted_by, "reason": grant.reason})
    };
    let (uses, grants) = (line.uses.iter().map(use_json), line.grants.iter().map(grant_json));
    json!({"account": line.account, "budget": line.budget, "scope": line.scope.as_str(), "key": line.key,
        "period": line.period.as_str(), "until": time(line.until), "known_since": time(line.known_since),
        "action": line.action.as_str(), "shadow": line.shadow, "uses": uses.collect::<Vec<_>>(), "share": line.share,
        "warnings": line.warnings, "over": line.is_over, "stops": line.stops, "last_stop": time(line.last_stop),
        "grants": grants.collect::<Vec<_>>(), "session_id": line.names.session, "user": line.names.user,
        "tenant": line.names.tenant, "feature": line.names.feature, "service": line.names.service})
}

/// How much of one limit is used, as a bar.
pub(super) struct UseBar {
    pub(super) value: String,
    pub(super) percent: String,
    pub(super) width: String,
    /// The colour: `bad` at the limit, `warn` above a warning, or "".
    pub(super) state: &'static str,
}

/// A key of a budget on a page.
pub(super) struct BudgetRow {
    pub(super) key: String,
    pub(super) href: Option<String>,
    pub(super) scope: &'static str,
    pub(super) budget: String,
    pub(super) action: &'static str,
    pub(super) is_shadow: bool,
    pub(super) is_over: bool,
    pub(super) bars: Vec<UseBar>,
    pub(super) facts: Vec<String>,
    pub(super) grants: Vec<String>,
}

impl BudgetRow {
    fn from_line(pages: &AdminPages, line: &BudgetLine) -> Self {
        let bar = |(measure, spent, limit): &(Measure, i128, i128)| {
            let share = share(*spent, *limit);
            let state = match share {
                share if share >= 1.0 => "bad",
                share if line.warnings > 0 && share >= line.share => "warn",
                _ => "",
            };
            let (value, percent) = (measure.of_limit(*spent, *limit), text::format_percent(share));
            UseBar { value, percent, width: format!("{:.1}", share.min(1.0) * 100.0), state }
        };
        let [key, account] = [&line.key, &line.account].map(|text| text::percent_encode(text));
        let scope = line.scope.as_str();
        Self {
            key: text::clean_id(&line.key),
            href: match line.scope {
                Scope::Run => Some(pages.run_href(&line.account, &line.key)),
                Scope::User | Scope::Issue | Scope::Account => None,
                _ => Some(format!("/runs?sort=cost&{scope}={key}&account={account}")),
            },
            scope,
            budget: text::clean_name(&line.budget),
            action: line.action.as_str(),
            is_shadow: line.shadow,
            is_over: line.is_over,
            bars: line.uses.iter().map(bar).collect(),
            facts: facts(pages, line),
            grants: line.grants.iter().map(grant_sentence).collect(),
        }
    }
}

fn facts(pages: &AdminPages, line: &BudgetLine) -> Vec<String> {
    let name = |what: &str, name: &Option<String>| Some(format!("{what} {}", text::clean_name(name.as_deref()?)));
    let at = |what: &str, at: u64| (at > 0).then(|| format!("{what} {}", minutes(at)));
    let stopped = if line.shadow { "would have stopped or asked" } else { "stopped or asked" };
    let last = text::format_age(line.last_stop, pages.now());
    let facts = [
        (line.stops > 0).then(|| format!("{stopped} {} ×, last {last}", text::format_count(line.stops))),
        at("resets", line.until),
        at("sum incomplete: counted since", line.known_since),
        pages.has_several_accounts().then(|| format!("account {}", text::clean_name(&line.account))),
        name("user", &line.names.user),
        name("tenant", &line.names.tenant),
        name("feature", &line.names.feature),
        name("service", &line.names.service),
    ];
    facts.into_iter().flatten().collect()
}

fn grant_sentence(grant: &Grant) -> String {
    let (extra, until) = (grant.measure.decimal(grant.extra), minutes(grant.until));
    let (unit, granted_by, reason) =
        (grant.measure.unit(), text::clean_name(&grant.granted_by), text::clean_id(&grant.reason));
    format!("{extra} {unit} more until {until}, by {granted_by}: {reason}")
}

/// The keys that have used most, and the number of the others.
pub(super) fn first_rows(pages: &AdminPages, limit: usize) -> (Vec<BudgetRow>, usize) {
    let lines = pages.budgets.lines();
    let rows = lines.iter().take(limit).map(|line| BudgetRow::from_line(pages, line)).collect();
    (rows, lines.len().saturating_sub(limit))
}

#[derive(Template)]
#[template(path = "board_budgets.html")]
pub(super) struct BudgetsPage {
    page: &'static str,
    version: &'static str,
    is_paused: bool,
    refresh_href: &'static str,
    is_configured: bool,
    knows_fleet: bool,
    budgets: Vec<BudgetRow>,
    left: usize,
}

impl BudgetsPage {
    pub(super) fn build(pages: &AdminPages, query: &PageQuery) -> Self {
        let (budgets, left) = first_rows(pages, MAX_ROWS);
        let (is_paused, is_configured) = (query.paused.is_some(), pages.budgets.desk.is_some());
        let refresh_href = if is_paused { "/budgets" } else { "/budgets?paused=1" };
        let (page, version) = ("budgets", env!("CARGO_PKG_VERSION"));
        let knows_fleet = pages.budgets.knows_fleet();
        Self { page, version, is_paused, refresh_href, is_configured, knows_fleet, budgets, left }
    }
}
