//! `/budgets` and `/api/budgets`: what each key of a budget has used, most consumed first, who was stopped and when, and
//! grants. [`BudgetBoard`] has the lines that the viewer may see (`limits`), at most 1,000; the crate `budgets` has the
//! sums and answers. Keys are cleaned for pages and unchanged in JSON.

use std::cmp::Reverse;
use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::{AdminPages, PageQuery, text};
use budgets::{Action, BudgetDesk, BudgetLine, Grant, Measure, Scope};
use runs::amounts::format_usd;
use runs::json::{SCHEMA, time};

#[cfg(test)]
pub(crate) mod tests;

/// Maximum number of rows on a page, and in its short lists.
const MAX_ROWS: usize = 200;
const MAX_STOPPED: usize = 20;
const MAX_OVERVIEW_ROWS: usize = 3;

/// Whether a viewer may see a line.
pub(crate) type LinePermit = dyn Fn(&BudgetLine) -> bool + Send + Sync;

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

    /// The lines that the reader may see, most consumed first.
    fn lines(&self) -> Vec<BudgetLine> {
        let mut lines = self.desk.as_ref().map_or_else(Vec::new, |desk| desk.lines());
        lines.retain(|line| self.permit.as_ref().is_none_or(|permit| permit(line)));
        lines
    }
}

pub(super) fn budgets_json(pages: &AdminPages) -> Value {
    let lines: Vec<Value> = pages.budgets.lines().iter().map(line_json).collect();
    let knows_fleet = pages.budgets.desk.as_ref().is_some_and(|desk| desk.knows_fleet());
    json!({"schema": SCHEMA, "knows_fleet": knows_fleet, "budgets": lines})
}

fn line_json(line: &BudgetLine) -> Value {
    let use_json = |(measure, spent, limit): &(Measure, i128, i128)| json!({"measure": measure.as_str(), "spent": measure.decimal(*spent), "limit": measure.decimal(*limit)});
    let grant_json = |grant: &Grant| {
        json!({"budget": grant.budget, "measure": grant.measure.as_str(), "extra": grant.measure.decimal(grant.extra),
            "until": time(grant.until), "who": grant.who, "why": grant.why})
    };
    let names = &line.names;
    json!({
        "account": line.account,
        "budget": line.budget,
        "scope": line.scope.as_str(),
        "key": line.key,
        "period": line.period.as_str(),
        "until": time(line.until),
        "known_since": time(line.known_since),
        "action": line.action.as_str(),
        "shadow": line.shadow,
        "uses": line.uses.iter().map(use_json).collect::<Vec<_>>(),
        "share": line.share,
        "warnings": line.warnings,
        "over": line.is_over,
        "stops": line.stops,
        "last_stop": time(line.last_stop),
        "grants": line.grants.iter().map(grant_json).collect::<Vec<_>>(),
        "run_id": names.run,
        "session_id": names.session,
        "user": names.user,
        "tenant": names.tenant,
        "feature": names.feature,
        "issue": names.issue,
        "service": names.service,
    })
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
    /// Words with the class of their colour.
    pub(super) pills: Vec<(&'static str, &'static str)>,
    pub(super) bars: Vec<UseBar>,
    pub(super) facts: Vec<String>,
    pub(super) grants: Vec<String>,
    /// When and how often it was stopped; "" if never.
    pub(super) stopped: String,
}

impl BudgetRow {
    fn from_line(pages: &AdminPages, line: &BudgetLine, now: u64) -> Self {
        let bar = |(measure, spent, limit): &(Measure, i128, i128)| {
            let share = (*spent).max(0) as f64 / (*limit).max(1) as f64;
            let state = match share {
                share if share >= 1.0 => "bad",
                share if line.warnings > 0 && share >= line.share => "warn",
                _ => "",
            };
            UseBar {
                value: format!("{} of {}", format_measure(*measure, *spent), format_limit(*measure, *limit)),
                percent: text::format_percent(share),
                width: format!("{:.1}", share.min(1.0) * 100.0),
                state,
            }
        };
        let stopped = match (line.stops, line.shadow) {
            (0, _) => String::new(),
            (stops, shadow) => {
                let what = if shadow { "would have been stopped" } else { "stopped or asked" };
                let times = if stops == 1 { "once".to_owned() } else { format!("{} times", text::format_count(stops)) };
                format!("{what} {times}, last {}", text::format_age(line.last_stop, now))
            }
        };
        let action = if line.action == Action::Notify { "notifies" } else { line.action.as_str() };
        let pills = [("", action), ("live", "shadow"), ("bad", "at the limit")];
        let is_shown = [true, line.shadow, line.is_over];
        Self {
            key: text::clean_id(&line.key),
            href: key_href(pages, line),
            scope: line.scope.as_str(),
            budget: text::clean_name(&line.budget),
            pills: pills.into_iter().zip(is_shown).filter(|(_, is_shown)| *is_shown).map(|(pill, _)| pill).collect(),
            bars: line.uses.iter().map(bar).collect(),
            facts: facts(pages, line),
            grants: line.grants.iter().map(grant_sentence).collect(),
            stopped,
        }
    }
}

/// The page or list of runs behind a key.
fn key_href(pages: &AdminPages, line: &BudgetLine) -> Option<String> {
    let list = |parameter: &str| {
        let [key, account] = [&line.key, &line.account].map(|text| text::percent_encode(text));
        Some(format!("/runs?sort=cost&{parameter}={key}&account={account}"))
    };
    match line.scope {
        Scope::Run => Some(pages.run_href(&line.account, &line.key)),
        Scope::Session => list("session"),
        Scope::Tenant => list("tenant"),
        Scope::Feature => list("feature"),
        Scope::User | Scope::Issue | Scope::Account => None,
    }
}

fn facts(pages: &AdminPages, line: &BudgetLine) -> Vec<String> {
    let names = &line.names;
    let name = |what: &str, name: &Option<String>| Some(format!("{what} {}", text::clean_name(name.as_deref()?)));
    let is_account = line.scope == Scope::Account;
    let facts = [
        (line.until > 0).then(|| format!("this {} until {} UTC", line.period.as_str(), text::format_time(line.until))),
        (line.known_since > 0).then(|| format!("incomplete: known since {} UTC", text::format_time(line.known_since))),
        (pages.has_several_accounts() && !is_account).then(|| format!("account {}", text::clean_name(&line.account))),
        name("user", &names.user),
        name("tenant", &names.tenant),
        name("feature", &names.feature),
        name("service", &names.service),
    ];
    facts.into_iter().flatten().collect()
}

fn grant_sentence(grant: &Grant) -> String {
    let extra = format_limit(grant.measure, grant.extra);
    let until = text::format_time(grant.until);
    format!("{extra} more until {until} UTC, by {}: {}", text::clean_name(&grant.who), text::clean_id(&grant.why))
}

fn format_measure(measure: Measure, number: i128) -> String {
    if measure == Measure::Amount { format_usd(number) } else { measure.decimal(number) }
}

/// With its unit.
fn format_limit(measure: Measure, number: i128) -> String {
    let unit =
        if measure == Measure::Amount { String::new() } else { format!(" {}", measure.as_str().replace('_', " ")) };
    format_measure(measure, number) + &unit
}

/// The rows of the overview: the keys that have used most.
pub(super) fn overview_rows(pages: &AdminPages) -> Vec<BudgetRow> {
    let (lines, now) = (pages.budgets.lines(), pages.now());
    lines.iter().take(MAX_OVERVIEW_ROWS).map(|line| BudgetRow::from_line(pages, line, now)).collect()
}

#[derive(Template)]
#[template(path = "board_budgets.html")]
pub(super) struct BudgetsPage {
    page: &'static str,
    version: &'static str,
    is_paused: bool,
    refresh_href: &'static str,
    is_configured: bool,
    budgets: Vec<BudgetRow>,
    left: usize,
    stopped: Vec<BudgetRow>,
}

impl BudgetsPage {
    pub(super) fn build(pages: &AdminPages, query: &PageQuery) -> Self {
        let (lines, now, is_paused) = (pages.budgets.lines(), pages.now(), query.paused.is_some());
        let row = |line: &BudgetLine| BudgetRow::from_line(pages, line, now);
        let mut stopped: Vec<&BudgetLine> = lines.iter().filter(|line| line.stops > 0).collect();
        stopped.sort_by_key(|line| Reverse(line.last_stop));
        Self {
            page: "budgets",
            version: env!("CARGO_PKG_VERSION"),
            is_paused,
            refresh_href: if is_paused { "/budgets" } else { "/budgets?paused=1" },
            is_configured: pages.budgets.desk.is_some(),
            budgets: lines.iter().take(MAX_ROWS).map(row).collect(),
            left: lines.len().saturating_sub(MAX_ROWS),
            stopped: stopped.into_iter().take(MAX_STOPPED).map(row).collect(),
        }
    }
}
