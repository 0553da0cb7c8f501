//! `/api/…` on the admin port: runs, sessions, budgets, sums, investigations, measures and alerts as JSON, and a POST
//! for the outcome of a run. Answers have the form of [`super::json`]; ids are looked up and never printed as HTML;
//! bodies are at most 4 KiB. The admin port's guard authorises requests.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Board, Judge, NotTaken, Outcome, Verdict, json as shape};
use net::{Spawn, spawn::blocking};

/// Default and maximum number of runs in one answer.
const RUNS: usize = 100;
const MOST: usize = 1000;
/// Largest request body, in bytes.
const BODY: usize = 4096;

/// State of the routes.
#[derive(Clone)]
pub struct Api {
    /// Answers queries.
    pub board: Arc<dyn Board>,
    /// Stores outcomes.
    pub judge: Arc<dyn Judge>,
    /// Runs queries off the socket threads, because one may go through all live runs.
    pub tasks: Arc<dyn Spawn>,
}

/// The routes.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/api/runs", get(runs))
        .route("/api/runs/{id}", get(run))
        .route("/api/runs/{id}/budget", get(budget))
        .route("/api/runs/{id}/outcome", post(outcome))
        .route("/api/sessions", get(sessions))
        .route("/api/sums", get(sums))
        .route("/api/investigations", get(investigations))
        .route("/api/measures", get(measures))
        .route("/api/alerts", get(alerts))
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(api)
}

/// Query parameters of `/api/runs`.
#[derive(Deserialize)]
struct Wanted {
    limit: Option<usize>,
    tenant: Option<String>,
    feature: Option<String>,
    state: Option<String>,
    session: Option<String>,
    incident: Option<String>,
}

impl Wanted {
    fn list(&self, board: &dyn Board) -> Vec<super::RunView> {
        let all = self.tenant.is_none() && self.feature.is_none() && self.state.is_none();
        let all = all && self.session.is_none() && self.incident.is_none();
        let limit = self.limit.unwrap_or(RUNS).min(MOST);
        let mut views = board.recent(if all { limit } else { MOST });
        let fits =
            |wanted: &Option<String>, has: Option<&str>| wanted.as_deref().is_none_or(|wanted| has == Some(wanted));
        views.retain(|view| {
            fits(&self.tenant, view.tenant.as_deref())
                && fits(&self.feature, view.feature.as_deref())
                && fits(&self.state, Some(view.state.as_str()))
                && fits(&self.session, Some(&view.session))
                && fits(&self.incident, view.incident.as_deref())
        });
        views.truncate(limit);
        views
    }
}

/// An answer in JSON.
struct Json(Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.to_string()).into_response()
    }
}

fn problem(status: StatusCode, what: &str) -> Response {
    (status, Json(json!({"error": what}))).into_response()
}

fn found(answer: Option<Value>) -> Response {
    match answer {
        Some(answer) => Json(answer).into_response(),
        None => problem(StatusCode::NOT_FOUND, "no run has this id"),
    }
}

/// Makes an answer off the socket threads.
async fn made(api: Api, make: impl FnOnce(&Api) -> Response + Send + 'static) -> Response {
    let tasks = Arc::clone(&api.tasks);
    let made = blocking(&*tasks, "runs", move || make(&api)).await;
    made.unwrap_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response())
}

async fn runs(State(api): State<Api>, Query(wanted): Query<Wanted>) -> Response {
    made(api, move |api| Json(shape::runs(&wanted.list(&*api.board))).into_response()).await
}

async fn sessions(State(api): State<Api>, Query(wanted): Query<Wanted>) -> Response {
    made(api, move |api| Json(shape::sessions(&wanted.list(&*api.board))).into_response()).await
}

/// Selects the account, if several have a run of the same id.
#[derive(Deserialize)]
struct Whose {
    account: Option<String>,
}

impl Whose {
    /// The account, or the answer if there is none or more than one.
    fn of(self, api: &Api, id: &str) -> Result<String, Box<Response>> {
        if let Some(account) = self.account {
            return Ok(account);
        }
        let accounts = api.board.accounts(id);
        match &*accounts {
            [] => Err(Box::new(found(None))),
            [only] => Ok(only.clone()),
            _ => {
                let why = "several accounts have a run of this id: add ?account=NAME";
                let answer = Json(json!({"error": why, "accounts": accounts}));
                Err(Box::new((StatusCode::CONFLICT, answer).into_response()))
            }
        }
    }
}

async fn run(State(api): State<Api>, Path(id): Path<String>, Query(whose): Query<Whose>) -> Response {
    let look = move |api: &Api| match whose.of(api, &id) {
        Ok(account) => found(api.board.run_of(&account, &id).as_ref().map(shape::detail)),
        Err(answer) => *answer,
    };
    made(api, look).await
}

async fn budget(State(api): State<Api>, Path(id): Path<String>, Query(whose): Query<Whose>) -> Response {
    let look = move |api: &Api| match whose.of(api, &id) {
        Ok(account) => found(api.board.budget(&account, &id).as_ref().map(shape::budget)),
        Err(answer) => *answer,
    };
    made(api, look).await
}

async fn sums(State(api): State<Api>) -> Response {
    Json(shape::sums(&api.board.sums())).into_response()
}

async fn investigations(State(api): State<Api>) -> Response {
    Json(shape::investigations(&api.board.investigations())).into_response()
}

async fn measures(State(api): State<Api>) -> Response {
    Json(shape::measures(&api.board.measures())).into_response()
}

async fn alerts(State(api): State<Api>) -> Response {
    Json(shape::alerts(&api.board.alerts())).into_response()
}

/// `{"outcome": "confirmed" | "overridden", "confidence": 0…1, "resolved_in": seconds}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    outcome: String,
    confidence: Option<f64>,
    resolved_in: Option<f64>,
}

impl Posted {
    fn read(body: &[u8]) -> Result<Outcome, &'static str> {
        let Ok(posted) = serde_json::from_slice::<Self>(body) else {
            return Err(
                "expected {\"outcome\": \"confirmed\" or \"overridden\", \"confidence\": …, \"resolved_in\": …}",
            );
        };
        let Some(verdict) = Verdict::parse(&posted.outcome) else {
            return Err("`outcome` must be \"confirmed\" or \"overridden\"");
        };
        if posted.confidence.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err("`confidence` must be from 0 to 1");
        }
        if posted.resolved_in.is_some_and(|seconds| !(0.0..=1e9).contains(&seconds)) {
            return Err("`resolved_in` must be seconds, from 0 to 1000000000");
        }
        Ok(Outcome { verdict, confidence: posted.confidence, resolved_in: posted.resolved_in })
    }
}

async fn outcome(State(api): State<Api>, Path(id): Path<String>, Query(whose): Query<Whose>, body: Bytes) -> Response {
    let outcome = match Posted::read(&body) {
        Ok(outcome) => outcome,
        Err(what) => return problem(StatusCode::BAD_REQUEST, what),
    };
    let (asked, run) = (api.clone(), id.clone());
    let account = match blocking(&*api.tasks, "runs", move || whose.of(&asked, &run)).await {
        Some(Ok(account)) => account,
        Some(Err(answer)) => return *answer,
        None => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    match api.judge.judge(&account, &id, outcome).await {
        Ok(()) => Json(json!({"taken": true})).into_response(),
        Err(NotTaken::Unknown) => problem(StatusCode::NOT_FOUND, "no run has this id"),
        Err(NotTaken::Later) => {
            let answer = problem(StatusCode::SERVICE_UNAVAILABLE, "the outcome can't be stored now");
            ([(header::RETRY_AFTER, "5")], answer).into_response()
        }
    }
}
