//! The pages of the admin port: `/` (the overview), `/runs`, `/runs/{id}`, `/changes`, `/report`, and the same as
//! JSON, with `/api/gateway`. An operator who is woken at night sees which agent is at fault, what it costs, and where
//! its trace is.
//! Pages are rendered on the server, without script or external resources; everything is escaped, and names are cut
//! and cleaned. Before each response history reads the tracker, so that figures are current and include live runs; the
//! browser refreshes pages that may change. Each number is two clicks from a trace. `telemetry/admin` has access
//! control and security headers, `history` and `runs` have the data.

mod front;
mod list;
pub mod notice;
mod report;
mod run;
mod spark;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use history::{Entry, Failures, History, Store};
use kernel::clock::Clock;
use kernel::hex;
use net::{Spawn, spawn::blocking};
use runs::Board;
use telemetry::admin::links::{Target, TraceLink};
use telemetry::{Health, Meter};

/// The history file, once it is open.
pub type Shelf = Arc<Mutex<Option<Store>>>;

/// The data and services that the pages need.
pub struct Pages {
    /// The runs of the last 48 hours.
    pub history: Arc<History>,
    /// Spans that failed.
    pub failures: Arc<Failures>,
    /// The history file.
    pub shelf: Shelf,
    /// The tracker: calls of a run, alerts.
    pub board: Arc<dyn Board>,
    /// Whether any pipeline tracks runs.
    pub tracked: bool,
    /// Iterations at which a run should stop.
    pub ceiling: u64,
    /// Makes links to traces.
    pub link: Option<TraceLink>,
    /// Prefix of the vault's object names, if it may be shown.
    pub vault: Option<String>,
    /// The gateway's own metrics.
    pub meter: Meter,
    /// Readiness.
    pub health: Health,
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// Runs slow work on blocking threads.
    pub tasks: Arc<dyn Spawn>,
    /// Whether runs of several accounts were seen; then a run id alone may be ambiguous.
    pub several: AtomicBool,
}

/// The routes, to be placed behind the admin port's guard.
pub fn router(pages: Arc<Pages>) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/runs", get(list))
        .route("/runs/{id}", get(run))
        .route("/changes", get(changes))
        .route("/report", get(report))
        .route("/api/gateway", get(gateway))
        .route("/report/issue/{id}", get(issue))
        .with_state(pages)
}

/// Query parameters.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    window: String,
    sort: String,
    tenant: Option<String>,
    feature: Option<String>,
    model: Option<String>,
    state: Option<String>,
    session: Option<String>,
    /// Selects the account if several have a run with the same id.
    account: Option<String>,
    by: String,
    since: String,
    limit: Option<usize>,
    samples: Option<usize>,
    /// Turns off automatic refresh.
    still: Option<String>,
}

/// Whether the client is a program rather than a browser.
fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    accept.contains("application/json") && !accept.contains("text/html")
}

fn page(template: &impl Template) -> Response {
    template
        .render()
        .map_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response(), |page| Html(page).into_response())
}

/// Refresh interval of pages whose numbers may change, in seconds.
const AGAIN: &str = "2";

/// Renders a page that the browser refreshes by itself, unless `still` is set.
fn changing(template: &impl Template, still: bool) -> Response {
    let mut page = page(template);
    if !still {
        page.headers_mut().insert(header::REFRESH, header::HeaderValue::from_static(AGAIN));
    }
    page
}

fn answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response()
}

fn refused(status: StatusCode, why: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{}\n", json!({"error": why}))).into_response()
}

type Site = State<Arc<Pages>>;

/// Runs `make` on a blocking thread, after updating history, so that no socket is held up.
async fn made(pages: &Arc<Pages>, make: impl FnOnce(&Pages) -> Response + Send + 'static) -> Response {
    let site = Arc::clone(pages);
    let make = move || {
        site.history.look(&*site.board, site.now());
        site.count_accounts();
        make(&site)
    };
    let made = blocking(&*pages.tasks, "page", make).await;
    made.unwrap_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response())
}

async fn front(State(pages): Site, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    let program = wants_json(&headers);
    made(&pages, move |pages| match program {
        true => answer(&front::json(pages, &asked)),
        false => changing(&front::Front::of(pages, &asked), asked.still.is_some()),
    })
    .await
}

async fn list(State(pages): Site, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    let program = wants_json(&headers);
    made(&pages, move |pages| {
        let list = list::List::of(pages, &asked);
        if program { answer(&list.json(pages)) } else { changing(&list, asked.still.is_some()) }
    })
    .await
}

async fn run(State(pages): Site, Path(id): Path<String>, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    let program = wants_json(&headers);
    let still = asked.still.is_some();
    made(&pages, move |pages| match pages.whose(asked.account, &id).map(|account| pages.detail(&account?, &id)) {
        Err(accounts) if !program => {
            (StatusCode::CONFLICT, page(&run::Whose::of(pages, &id, &accounts))).into_response()
        }
        Err(accounts) => {
            let names: Vec<&str> = accounts.iter().map(String::as_str).collect();
            let why = "several accounts have a run of this id: add ?account= and one of ";
            refused(StatusCode::CONFLICT, &format!("{why}{}", names.join(", ")))
        }
        Ok(run) => shown(pages, run, program, still),
    })
    .await
}

fn shown(pages: &Pages, run: Option<Value>, program: bool, still: bool) -> Response {
    match run {
        None if program => refused(StatusCode::NOT_FOUND, "no run has this id"),
        None => (StatusCode::NOT_FOUND, page(&run::Unknown)).into_response(),
        Some(detail) if program => answer(&detail),
        Some(detail) => {
            let run = run::Run::of(pages, &detail, still);
            changing(&run, still || !run.is_live())
        }
    }
}

async fn changes(State(pages): Site, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    let program = wants_json(&headers);
    made(&pages, move |pages| {
        let changes = list::Changes::of(pages, &asked);
        if program { answer(&changes.json()) } else { page(&changes) }
    })
    .await
}

async fn report(State(pages): Site, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    let program = wants_json(&headers);
    made(&pages, move |pages| report::report(pages, &asked, program)).await
}

async fn gateway(State(pages): Site) -> Response {
    made(&pages, |pages| answer(&front::gateway(pages))).await
}

async fn issue(State(pages): Site, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let program = wants_json(&headers);
    made(&pages, move |pages| report::issue(pages, &id, program)).await
}

impl Pages {
    fn now(&self) -> u64 {
        self.clock.now().0
    }

    /// The link to a run's trace.
    fn trace(&self, run: &Entry) -> Option<String> {
        let span = if run.root == [0; 8] { String::new() } else { hex::encode(&run.root) };
        let service = run.service.as_deref().unwrap_or("");
        self.link.as_ref()?.url(&Target { trace: &run.trace, span: &span, start: run.start, end: run.at, service })
    }

    /// Whether runs of more than one account were seen.
    fn several(&self) -> bool {
        self.several.load(Ordering::Relaxed)
    }

    /// Checks for a second account; once one was found, the result stays true.
    fn count_accounts(&self) {
        if !self.several() {
            let all = self.history.all();
            let first = all.first().map(|run| &run.account);
            self.several.store(all.iter().any(|run| Some(&run.account) != first), Ordering::Relaxed);
        }
    }

    /// The address of a run's page.
    fn href(&self, account: &str, run: &str) -> String {
        let whose = if self.several() { format!("?account={}", text::part(account)) } else { String::new() };
        format!("/runs/{}{whose}", text::part(run))
    }

    /// The account of a run; the candidates as an error if none is given and several have this id.
    fn whose(&self, account: Option<String>, id: &str) -> Result<Option<String>, BTreeSet<String>> {
        if account.is_some() {
            return Ok(account);
        }
        let all = self.history.accounts(id).into_iter().chain(self.board.accounts(id));
        let mut all: BTreeSet<String> = all.collect();
        if all.len() > 1 { Err(all) } else { Ok(all.pop_first()) }
    }

    /// A run with its calls, from the tracker or from the history file.
    fn detail(&self, account: &str, id: &str) -> Option<Value> {
        let kept = self.history.find_of(account, id);
        let live = self.board.run_of(account, id);
        let mut value = match live.filter(|detail| detail.steps.is_some() || kept.is_none()) {
            Some(detail) => runs::json::detail(&detail),
            None => self.kept(kept.as_deref()?),
        };
        let trace = kept.as_deref().and_then(|run| self.trace(run));
        let session: Vec<Value> = kept.iter().flat_map(|run| self.turns(run)).collect();
        if let Value::Object(fields) = &mut value {
            fields.insert("trace_url".into(), trace.map_or(Value::Null, Value::from));
            fields.insert("session_runs".into(), session.into());
        }
        Some(value)
    }

    /// A run as stored in the history file, in the form of the tracker's JSON; without a stored form, the data in
    /// memory.
    fn kept(&self, run: &Entry) -> Value {
        let written = self.shelf.lock().as_ref().and_then(|store| store.detail(run));
        let written = written.and_then(|text| serde_json::from_str::<Value>(&text).ok()).map(runs::json::renewed);
        written.unwrap_or_else(|| history::entry_json(run))
    }

    /// Runs of the same session in order of time: its turns.
    fn turns(&self, run: &Entry) -> Vec<Value> {
        /// Maximum number of turns shown.
        const MOST: usize = 200;
        let mut all: Vec<Arc<Entry>> = self.history.all();
        all.retain(|one| one.session == run.session && one.account == run.account);
        all.sort_by(|a, b| (a.start, &a.run).cmp(&(b.start, &b.run)));
        all.iter().take(MOST).map(|one| history::entry_json(one)).collect()
    }
}
