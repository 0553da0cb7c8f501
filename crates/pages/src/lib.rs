//! The pages of the admin port: `/` (the overview), `/runs`, `/runs/{id}`, `/budgets`, `/changes`, `/report`, the same
//! as JSON, `/api/gateway` and `/api/clients`. At night, the pages show an operator which agent is at fault, its cost
//! and its trace.
//! Pages are rendered on the server, without script or external resources; everything is escaped, and names are cut
//! and cleaned. Pages read live runs from the tracker and ended ones from history's file; the browser refreshes pages
//! that may change. Each number is at most two clicks from a trace. `telemetry/admin` has
//! access control and security headers, `history` and `runs` have the data.

pub mod alert_message;
pub mod api;
mod budgets;
mod limits;
pub mod mcp;
mod overview;
mod report;
mod run_list;
mod run_page;
mod sparkline;
mod text;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde::Deserialize;
use serde_json::{Value, json};

pub use budgets::BudgetBoard;
use history::{ClientTable, FailedSpans, RETENTION, RunBoard, RunFilter};
use kernel::hex;
use limits::{PageState, Seen, limit_board, limit_budgets};
use net::{SharedServices, spawn::run_blocking};
use rates::SeatSums;
use runs::{RunDetail, RunView, UsageSum};
use telemetry::admin::auth::KnownClient;
use telemetry::admin::links::{TraceLink, TraceTarget};
use telemetry::{Health, Meter};

/// The data and services that the pages need.
#[derive(Clone)]
pub struct AdminPages {
    pub runs: RunBoard,
    /// How long runs are kept, ns.
    pub keep_runs: u64,
    pub failures: Arc<FailedSpans>,
    /// Clients that sent lately.
    pub clients: Arc<ClientTable>,
    /// Whether any pipeline tracks runs.
    pub tracked: bool,
    /// Iterations at which a run should stop.
    pub iteration_ceiling: u64,
    pub link: Option<TraceLink>,
    /// The use of seats, of each step `cost` whose plans give seats a price.
    pub seats: Vec<Arc<SeatSums>>,
    pub budgets: BudgetBoard,
    /// Prefix of the vault's object names, if it may be shown.
    pub vault: Option<String>,
    pub services: SharedServices,
    pub health: Health,
}

/// The routes, to be placed behind the admin port's guard.
pub fn router(pages: Arc<AdminPages>) -> Router {
    Router::new()
        .route("/", page(overview_page))
        .route("/runs", page(list))
        .route("/runs/{id}", get(run))
        .route("/budgets", page(budgets_page))
        .route("/changes", page(changes))
        .route("/report", page(report::report_response))
        .route("/api/gateway", get(gateway))
        .route("/api/clients", get(clients))
        .route("/api/budgets", get(budgets))
        .route("/report/issue/{id}", get(issue))
        .with_state(pages)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PageQuery {
    window: String,
    sort: String,
    #[serde(flatten)]
    filter: RunFilter,
    by: String,
    since: String,
    limit: Option<usize>,
    samples: Option<usize>,
    /// Turns off automatic refresh.
    paused: Option<String>,
}

/// Whether the client is a program rather than a browser.
fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    accept.contains("application/json") && !accept.contains("text/html")
}

fn render_page(template: &impl Template) -> Response {
    template
        .render()
        .map_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response(), |page| Html(page).into_response())
}

/// Refresh interval of pages whose numbers may change, in seconds.
const REFRESH_SECONDS: &str = "2";

/// Renders a page that the browser refreshes by itself, unless `paused` is set.
fn render_refreshing_page(template: &impl Template, paused: bool) -> Response {
    let mut page = render_page(template);
    if !paused {
        page.headers_mut().insert(header::REFRESH, header::HeaderValue::from_static(REFRESH_SECONDS));
    }
    page
}

fn json_response(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response()
}

fn json_error(status: StatusCode, why: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{}\n", json!({"error": why}))).into_response()
}

type PagesState = Seen<Arc<AdminPages>>;

/// Runs `build_response` on a blocking thread, so that no socket is held up.
async fn respond_with(
    pages: &Arc<AdminPages>,
    build_response: impl FnOnce(&AdminPages) -> Response + Send + 'static,
) -> Response {
    let owned = Arc::clone(pages);
    let response = run_blocking(&*pages.services.tasks, "page", move || build_response(&owned)).await;
    response.unwrap_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response())
}

/// A page, for a browser or as JSON.
fn page(build: fn(&AdminPages, &PageQuery, bool) -> Response) -> MethodRouter<Arc<AdminPages>> {
    get(move |Seen(pages): PagesState, Query(query): Query<PageQuery>, headers: HeaderMap| async move {
        respond_with(&pages, move |pages| build(pages, &query, wants_json(&headers))).await
    })
}

fn overview_page(pages: &AdminPages, query: &PageQuery, as_json: bool) -> Response {
    match as_json {
        true => json_response(&overview::overview_json(pages, query)),
        false => render_refreshing_page(&overview::OverviewPage::build(pages, query), query.paused.is_some()),
    }
}

fn list(pages: &AdminPages, query: &PageQuery, as_json: bool) -> Response {
    let Some(list) = run_list::RunListPage::build(pages, query) else {
        let days = pages.keep_runs / history::DAY;
        let why = format!("`since` must be a number with m, h or d, up to {days}d (`admin.keep_runs`)");
        return json_error(StatusCode::BAD_REQUEST, &why);
    };
    if as_json { json_response(&list.json(pages)) } else { render_refreshing_page(&list, query.paused.is_some()) }
}

async fn run(
    Seen(pages): PagesState,
    Path(id): Path<String>,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Response {
    let as_json = wants_json(&headers);
    let paused = query.paused.is_some();
    respond_with(&pages, move |pages| {
        match pages.runs.resolve_account(query.filter.account, &id).map(|account| pages.runs.find_run(&account?, &id)) {
            Err(accounts) if !as_json => {
                (StatusCode::CONFLICT, render_page(&run_page::AccountChoicePage::build(pages, &id, &accounts)))
                    .into_response()
            }
            Err(accounts) => {
                let why = "several accounts have a run with this id: add ?account= with one of ";
                json_error(StatusCode::CONFLICT, &format!("{why}{}", accounts.join(", ")))
            }
            Ok(None) if as_json => json_error(StatusCode::NOT_FOUND, "no run has this id"),
            Ok(None) => (StatusCode::NOT_FOUND, render_page(&run_page::UnknownRunPage)).into_response(),
            Ok(Some(run)) if as_json => json_response(&pages.run_json(&run)),
            Ok(Some(run)) => {
                let is_live = run.view.state.is_live();
                render_refreshing_page(&run_page::RunPage::build(pages, &run, paused), paused || !is_live)
            }
        }
    })
    .await
}

fn changes(pages: &AdminPages, query: &PageQuery, as_json: bool) -> Response {
    let changes = run_list::ChangesPage::build(pages, query);
    if as_json { json_response(&changes.json()) } else { render_page(&changes) }
}

fn budgets_page(pages: &AdminPages, query: &PageQuery, as_json: bool) -> Response {
    match as_json {
        true => json_response(&budgets::budgets_json(pages)),
        false => render_refreshing_page(&budgets::BudgetsPage::build(pages, query), query.paused.is_some()),
    }
}

async fn budgets(Seen(pages): PagesState) -> Response {
    respond_with(&pages, |pages| json_response(&budgets::budgets_json(pages))).await
}

async fn gateway(Seen(pages): PagesState) -> Response {
    respond_with(&pages, |pages| json_response(&overview::gateway_json(pages))).await
}

/// The clients that sent since the start, as JSON without text of theirs.
async fn clients(Seen(pages): PagesState) -> Response {
    json_response(&pages.clients.to_json(pages.now()))
}

async fn issue(Seen(pages): PagesState, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let as_json = wants_json(&headers);
    respond_with(&pages, move |pages| report::issue_response(pages, &id, as_json)).await
}

impl PageState for Arc<AdminPages> {
    fn limited_to(&self, client: &KnownClient) -> Self {
        let runs = limit_board(&self.runs, client);
        let services = SharedServices { meter: Meter::new(), ..self.services.clone() };
        let (failures, clients, seats) = Default::default();
        let budgets = limit_budgets(self, &runs, client);
        Self::new(AdminPages { runs, budgets, services, failures, clients, seats, ..AdminPages::clone(self) })
    }
}

impl AdminPages {
    fn now(&self) -> u64 {
        self.services.clock.now().0
    }

    fn trace_url(&self, run: &RunView) -> Option<String> {
        let span = if run.root == [0; 8] { String::new() } else { hex::encode(&run.root) };
        let (end, service) = (run.last.max(run.start), run.service.as_deref().unwrap_or(""));
        self.link.as_ref()?.url(&TraceTarget { trace: &run.trace, span: &span, start: run.start, end, service })
    }

    /// Whether several accounts have runs; then a run's id alone may be ambiguous.
    fn has_several_accounts(&self) -> bool {
        self.runs.accounts().len() > 1
    }

    fn run_href(&self, account: &str, run: &str) -> String {
        format!("/runs/{}?account={}", text::percent_encode(run), text::percent_encode(account))
    }

    /// A run with its calls, and the runs of its session.
    fn run_json(&self, run: &RunDetail) -> Value {
        let mut value = runs::json::detail(run);
        if let Value::Object(fields) = &mut value {
            fields.insert("trace_url".into(), self.trace_url(&run.view).into());
            fields.insert("session_runs".into(), self.session_turns(&run.view).iter().map(history::run_json).collect());
            let story = self.story(&run.view).into_iter();
            let story = story.map(|(session, sum)| json!({"session_id": session, "sum": runs::json::sum(&sum)}));
            fields.insert("story".into(), story.collect());
        }
        value
    }

    /// The sessions that continue each other, up to that of the run; empty if it continues none.
    fn story(&self, run: &RunView) -> Vec<(String, UsageSum)> {
        let from = self.now().saturating_sub(RETENTION);
        run.continues.as_ref().map_or(Vec::new(), |_| self.runs.story(&run.account, &run.session, from))
    }

    /// Runs of the same session in order of time: its turns.
    fn session_turns(&self, run: &RunView) -> Vec<RunView> {
        /// Maximum number of turns shown.
        const MAX_TURNS: usize = 200;
        let from = self.now().saturating_sub(RETENTION);
        let turns = self.runs.first_runs(from, MAX_TURNS, |turn| {
            let is_turn = turn.session == run.session && turn.account == run.account;
            is_turn.then(|| (turn.start, turn.run.to_owned()))
        });
        turns.into_views()
    }
}
