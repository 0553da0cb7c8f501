//! `/api/…` on the admin port: runs, sessions, budgets, sums, investigations, measures and alerts as JSON, and POSTs
//! for the outcome and evaluations of a run. Answers have the form of `runs::json`; ids are looked up and never printed
//! as HTML; bodies are at most 4 KiB. The admin port's guard authorises requests.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::limits::{PageState, Seen, limit_board};
use history::{RETENTION, RunBoard, RunFilter};
use net::{SharedServices, spawn::run_blocking};
use runs::{
    AnnotatorKind, EvaluationScore, JudgementError, JudgementStore, MAX_SCORES, OutcomeVerdict, RunJudgement,
    RunOutcome, RunView, json as to_json,
};
use telemetry::admin::auth::KnownClient;

/// Default and maximum number of runs in one answer.
const DEFAULT_RUNS: usize = 100;
const MAX_RUNS: usize = 1000;
/// Largest request body, in bytes.
const MAX_BODY_BYTES: usize = 4096;

/// State of the routes.
#[derive(Clone)]
pub struct RunsApi {
    pub board: RunBoard,
    pub judge: Arc<dyn JudgementStore>,
    pub services: SharedServices,
}

pub fn router(api: RunsApi) -> Router {
    Router::new()
        .route("/api/runs", list(to_json::runs))
        .route("/api/runs/{id}", one(|board, account, id| Some(to_json::detail(&board.find_run(account, id)?))))
        .route("/api/runs/{id}/budget", one(|board, account, id| Some(to_json::budget(&board.budget(account, id)?))))
        .route("/api/runs/{id}/outcome", judge(OutcomeRequest::parse))
        .route("/api/runs/{id}/evaluations", judge(EvaluationRequest::parse))
        .route("/api/sessions", list(to_json::sessions))
        .route("/api/sums", all(|board, from| to_json::sums(&board.sums(from))))
        .route("/api/investigations", all(|board, _| to_json::investigations(&board.investigations())))
        .route("/api/measures", all(|board, _| to_json::measures(&board.measures())))
        .route("/api/alerts", all(|board, _| to_json::alerts(&board.alerts())))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(api)
}

/// Query parameters of `/api/runs`.
#[derive(Deserialize)]
struct RunQuery {
    limit: Option<usize>,
    #[serde(flatten)]
    filter: RunFilter,
}

impl RunsApi {
    /// Begin of the time whose runs are shown, unix ns.
    fn from(&self) -> u64 {
        self.services.clock.now().0.saturating_sub(RETENTION)
    }
}

impl PageState for RunsApi {
    fn limited_to(&self, client: &KnownClient) -> Self {
        Self { board: limit_board(&self.board, client), ..self.clone() }
    }
}

struct JsonResponse(Value);

impl IntoResponse for JsonResponse {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.to_string()).into_response()
    }
}

fn error_response(status: StatusCode, what: &str) -> Response {
    (status, JsonResponse(json!({"error": what}))).into_response()
}

fn json_or_not_found(answer: Option<Value>) -> Response {
    match answer {
        Some(answer) => JsonResponse(answer).into_response(),
        None => error_response(StatusCode::NOT_FOUND, "no run has this id"),
    }
}

/// Makes an answer off the socket threads, because a query may go through all live runs.
async fn respond_off_thread(api: RunsApi, make: impl FnOnce(&RunsApi) -> Response + Send + 'static) -> Response {
    let tasks = Arc::clone(&api.services.tasks);
    let response = run_blocking(&*tasks, "runs", move || make(&api)).await;
    response.unwrap_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response())
}

/// Answers with runs that match the query's filter.
fn list(make: fn(&[RunView]) -> Value) -> MethodRouter<RunsApi> {
    get(move |Seen(api): Seen<RunsApi>, Query(query): Query<RunQuery>| {
        respond_off_thread(api, move |api| {
            let limit = query.limit.unwrap_or(DEFAULT_RUNS).min(MAX_RUNS);
            let runs = api.board.latest_runs(api.from(), limit, &query.filter).into_iter();
            JsonResponse(make(&runs.map(|detail| detail.view).collect::<Vec<_>>())).into_response()
        })
    })
}

/// Answers about one run, given its account and id.
fn one(find: fn(&RunBoard, &str, &str) -> Option<Value>) -> MethodRouter<RunsApi> {
    get(move |Seen(api): Seen<RunsApi>, Path(id): Path<String>, Query(query): Query<AccountQuery>| {
        respond_off_thread(api, move |api| match query.resolve_account(api, &id) {
            Ok(account) => json_or_not_found(find(&api.board, &account, &id)),
            Err(answer) => *answer,
        })
    })
}

/// Answers with figures of all runs, or of those later than a time.
fn all(make: fn(&RunBoard, u64) -> Value) -> MethodRouter<RunsApi> {
    get(move |Seen(api): Seen<RunsApi>| {
        respond_off_thread(api, move |api| JsonResponse(make(&api.board, api.from())).into_response())
    })
}

/// Selects the account, if several have a run of the same id.
#[derive(Deserialize)]
struct AccountQuery {
    account: Option<String>,
}

impl AccountQuery {
    /// The account, or the error response if no account or more than one has the run.
    fn resolve_account(self, api: &RunsApi, id: &str) -> Result<String, Box<Response>> {
        match api.board.resolve_account(self.account, id) {
            Ok(account) => account.ok_or_else(|| Box::new(json_or_not_found(None))),
            Err(accounts) => {
                let why = "several accounts have a run of this id: add ?account=NAME";
                let answer = JsonResponse(json!({"error": why, "accounts": accounts}));
                Err(Box::new((StatusCode::CONFLICT, answer).into_response()))
            }
        }
    }
}

/// `{"outcome": "confirmed" | "overridden", "confidence": 0…1, "resolution_seconds": seconds}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomeRequest {
    outcome: String,
    confidence: Option<f64>,
    resolution_seconds: Option<f64>,
}

impl OutcomeRequest {
    fn parse(body: &[u8]) -> Result<RunJudgement, &'static str> {
        let Ok(posted) = serde_json::from_slice::<Self>(body) else {
            return Err(
                "expected {\"outcome\": \"confirmed\" or \"overridden\", \"confidence\": …, \"resolution_seconds\": …}",
            );
        };
        let Some(verdict) = OutcomeVerdict::parse(&posted.outcome) else {
            return Err("`outcome` must be \"confirmed\" or \"overridden\"");
        };
        if posted.confidence.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err("`confidence` must be from 0 to 1");
        }
        if posted.resolution_seconds.is_some_and(|seconds| !(0.0..=1e9).contains(&seconds)) {
            return Err("`resolution_seconds` must be seconds, from 0 to 1000000000");
        }
        let Self { confidence, resolution_seconds, .. } = posted;
        let outcome = Some(RunOutcome { verdict, confidence, resolution_seconds });
        Ok(RunJudgement { outcome, scores: Vec::new() })
    }
}

/// `{"name": "correctness", "score": 0.8, "label": "good", "annotator_kind": "HUMAN"}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvaluationRequest {
    name: String,
    score: Option<f64>,
    label: Option<String>,
    annotator_kind: Option<String>,
}

impl EvaluationRequest {
    /// Parses one evaluation or a list.
    fn parse(body: &[u8]) -> Result<RunJudgement, &'static str> {
        let shape =
            "expected {\"name\": …, \"score\": a number, \"label\": …, \"annotator_kind\": …}, or a list of these";
        let list = match serde_json::from_slice(body).map_err(|_| shape)? {
            Value::Array(list) => list,
            one => vec![one],
        };
        if !(1..=MAX_SCORES).contains(&list.len()) {
            return Err("expected 1 to 20 evaluations");
        }
        let to_score = |one| serde_json::from_value::<Self>(one).map_err(|_| shape)?.into_score();
        let scores = list.into_iter().map(to_score).collect::<Result<_, _>>()?;
        Ok(RunJudgement { outcome: None, scores })
    }

    fn into_score(self) -> Result<EvaluationScore, &'static str> {
        let label = self.label.unwrap_or_default();
        if !EvaluationScore::is_name(&self.name) {
            return Err("`name` must be a name: at most three words and 128 bytes");
        }
        if !label.is_empty() && !EvaluationScore::is_name(&label) {
            return Err("`label` must be a label, no text: at most three words and 128 bytes");
        }
        if self.score.is_some_and(|score| score.abs() > EvaluationScore::MAX_VALUE) {
            return Err("`score` must be at most 1000000000000000");
        }
        let kind = match self.annotator_kind {
            Some(word) => Some(AnnotatorKind::parse(&word).ok_or("`annotator_kind` must be HUMAN, LLM or CODE")?),
            None => None,
        };
        let score = EvaluationScore { name: self.name, label, value: self.score, kind };
        score.is_complete().then_some(score).ok_or("an evaluation needs a `score` or a `label`")
    }
}

/// Stores the judgement that a client reports of a run.
fn judge(parse: fn(&[u8]) -> Result<RunJudgement, &'static str>) -> MethodRouter<RunsApi> {
    post(move |Seen(api): Seen<RunsApi>, Path(id): Path<String>, Query(query): Query<AccountQuery>, body: Bytes| {
        store_judgement(api, id, query, parse(&body))
    })
}

async fn store_judgement(
    api: RunsApi,
    id: String,
    query: AccountQuery,
    judgement: Result<RunJudgement, &'static str>,
) -> Response {
    let judgement = match judgement {
        Ok(judgement) => judgement,
        Err(what) => return error_response(StatusCode::BAD_REQUEST, what),
    };
    let (api_clone, run_id) = (api.clone(), id.clone());
    let account =
        match run_blocking(&*api.services.tasks, "runs", move || query.resolve_account(&api_clone, &run_id)).await {
            Some(Ok(account)) => account,
            Some(Err(answer)) => return *answer,
            None => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        };
    match api.judge.store_judgement(&account, &id, judgement).await {
        Ok(()) => JsonResponse(json!({"stored": true})).into_response(),
        Err(JudgementError::UnknownRun) => error_response(StatusCode::NOT_FOUND, "no run has this id"),
        Err(JudgementError::NotStoredNow) => {
            let answer =
                error_response(StatusCode::SERVICE_UNAVAILABLE, "nothing can be stored now: retry in a few seconds");
            ([(header::RETRY_AFTER, "5")], answer).into_response()
        }
    }
}
