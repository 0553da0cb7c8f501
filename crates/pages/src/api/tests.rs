//! The API over a board of few runs: its schema, its errors, the outcomes it stores.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use ::runs::testing::runs::{self as made, Made, NOW};
use ::runs::{RunPeaks, RunState, RunStep, RunTotals, RunView};
use genai::CallTokenBuckets;
use kernel::clock::{ManualClock, UnixNanos};

fn view() -> RunView {
    let mut totals = RunTotals { iterations: 4, ..RunTotals::default() };
    totals.add_call(
        "gpt",
        CallTokenBuckets { input: 10, cache_read: 5, output: 2, ..CallTokenBuckets::default() },
        Some(1_500_000_000_000_000),
    );
    totals.add_call("gpt", CallTokenBuckets::default(), None);
    totals.tool("grep").ok = 3;
    totals.add_denial("Bash", "hook", 1);
    totals.add_fallback(["refusal", "openai", "gpt", "mini"], 2);
    (totals.reads, totals.writes) = (3, 2);
    RunView {
        run: "run <1>".into(),
        session: "s".into(),
        root: [0, 0, 0, 0, 0, 0, 0, 9],
        user: Some("h-1".into()),
        state: RunState::Killed,
        failed: true,
        start: NOW - 1_500_000_000,
        last: NOW,
        duration: 1_500_000_000,
        totals,
        peaks: RunPeaks { context: [100, 250, 300], ..RunPeaks::default() },
        ..made::ended("", 0, 0)
    }
}

fn board() -> RunBoard {
    let of = |account: &str, run: &str| RunView { account: account.into(), run: run.into(), ..view() };
    let views = [of("default", "run <1>"), of("default", "run 2"), of("ours", "shared"), of("theirs", "shared")];
    let runs = views.into_iter().map(|view| (view, vec![RunStep::default()])).collect();
    RunBoard { sources: vec![Arc::new(Made { runs, ..Made::default() })], ..RunBoard::default() }
}

#[derive(Default)]
struct Heard(Mutex<Vec<(String, RunJudgement)>>);

impl JudgementStore for Heard {
    fn store_judgement<'a>(
        &'a self,
        account: &'a str,
        id: &'a str,
        judgement: RunJudgement,
    ) -> BoxFuture<'a, Result<(), JudgementError>> {
        Box::pin(async move {
            match id {
                "busy" => Err(JudgementError::NotStoredNow),
                "nobody" => Err(JudgementError::UnknownRun),
                _ => {
                    let whose = if account == "default" { id.to_owned() } else { format!("{account}/{id}") };
                    self.0.lock().push((whose, judgement));
                    Ok(())
                }
            }
        })
    }
}

fn api() -> (Router, Arc<Heard>) {
    let heard = Arc::<Heard>::default();
    let services = net::SharedServices { clock: ManualClock::at(UnixNanos(NOW)), ..net::testing::services() };
    (router(RunsApi { board: board(), judge: Arc::<Heard>::clone(&heard), services }), heard)
}

async fn ask(router: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn get(router: &Router, path: &str) -> (StatusCode, Value) {
    ask(router, Request::get(path).body(Body::empty()).unwrap()).await
}

/// The fields that clients rely on, with their forms: exact money, RFC 3339, seconds, null for unknown values.
#[tokio::test]
async fn the_schema_of_a_run() {
    let (api, _) = api();
    let (status, run) = get(&api, "/api/runs/run%20%3C1%3E").await;
    assert_eq!(status, StatusCode::OK);
    for (pointer, expected) in [
        ("/schema", json!(2)),
        ("/id", json!("run <1>")),
        ("/trace_id", json!("0af7651916cd43dd8448eb211c80319c")),
        ("/root_span_id", json!("0000000000000009")),
        ("/state", json!("killed")),
        ("/start", json!("2027-01-15T07:59:58.500000000Z")),
        ("/last", json!("2027-01-15T08:00:00.000000000Z")),
        ("/feature", Value::Null),
        ("/duration_seconds", json!(1.5)),
        ("/totals/model_calls", json!(2)),
        ("/totals/unpriced_calls", json!(1)),
        ("/totals/cost_usd", json!("0.0015")),
        ("/totals/tokens/input_total", json!(15)),
        ("/totals/tools/grep/ok", json!(3)),
        ("/totals/read_write_ratio", json!(1.5)),
        ("/totals/permission_denials", json!([{"tool": "Bash", "source": "hook", "count": 1}])),
        ("/totals/fallbacks/0/reason", json!("refusal")),
        ("/context/growth", json!(2.5)),
        ("/outcome", Value::Null),
        ("/steps/0/span_id", Value::Null),
        ("/step_count", json!(1)),
    ] {
        assert_eq!(run.pointer(pointer), Some(&expected), "{pointer} in {run}");
    }
    assert_eq!(get(&api, "/api/runs/other").await.0, StatusCode::NOT_FOUND);
}

/// Lists obey their limit and filters.
#[tokio::test]
async fn lists() {
    let (api, _) = api();
    let count = |answer: Value, key: &str| answer[key].as_array().unwrap().len();
    assert_eq!(count(get(&api, "/api/runs").await.1, "runs"), 4);
    assert_eq!(count(get(&api, "/api/runs?limit=2").await.1, "runs"), 2);
    assert_eq!(count(get(&api, "/api/runs?tenant=acme&state=killed&session=s&service=agents").await.1, "runs"), 4);
    assert_eq!(count(get(&api, "/api/runs?tenant=globex").await.1, "runs"), 0);
    assert_eq!(count(get(&api, "/api/sessions").await.1, "sessions"), 3);
    let (_, budget) = get(&api, "/api/runs/run%20%3C1%3E/budget").await;
    assert_eq!((&budget["state"], &budget["iterations_left"]), (&json!("ok"), &json!(46)));
    let (_, sums) = get(&api, "/api/sums").await;
    assert_eq!((&sums["all"]["runs"], &sums["all"]["killed"]), (&json!(4), &json!(4)));
    let (_, cases) = get(&api, "/api/investigations").await;
    assert_eq!(cases["by_agent_type"], json!({}));
    for path in ["/api/measures", "/api/alerts"] {
        assert_eq!(get(&api, path).await, (StatusCode::OK, json!({"schema": 2, path.trim_start_matches("/api/"): []})));
    }
    assert_eq!(get(&api, "/api/runs?limit=many").await.0, StatusCode::BAD_REQUEST);
}

/// An outcome is either stored completely or refused with a reason.
#[tokio::test]
async fn outcomes() {
    let (api, heard) = api();
    let post = |id: &'static str, body: &'static str| {
        let api = api.clone();
        let (id, query) = id.split_once('?').map_or((id, String::new()), |(id, query)| (id, format!("?{query}")));
        async move {
            let path = format!("/api/runs/{id}/outcome{query}");
            ask(&api, Request::post(path).body(Body::from(body)).unwrap()).await.0
        }
    };
    let good = r#"{"outcome": "overridden", "confidence": 0.7, "resolution_seconds": 90}"#;
    assert_eq!(post("run%202", good).await, StatusCode::OK);
    assert_eq!(post("run%202", r#"{"outcome": "confirmed"}"#).await, StatusCode::OK);
    for bad in [
        "",
        "[]",
        r#"{"outcome": "maybe"}"#,
        r#"{"outcome": "confirmed", "confidence": 2}"#,
        r#"{"outcome": "confirmed", "confidence": -0.1}"#,
        r#"{"outcome": "confirmed", "resolution_seconds": -1}"#,
        r#"{"outcome": "confirmed", "resolution_seconds": 1e99}"#,
        r#"{"outcome": "confirmed", "note": "x"}"#,
    ] {
        assert_eq!(post("run%202", bad).await, StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(post("nobody", good).await, StatusCode::NOT_FOUND);
    assert_eq!(post("busy?account=default", good).await, StatusCode::SERVICE_UNAVAILABLE);
    let heard: Vec<(String, RunJudgement)> = heard.0.lock().clone();
    assert_eq!(heard.len(), 2);
    let (id, outcome) = (&heard[0].0, heard[0].1.outcome.unwrap());
    assert_eq!(
        (&**id, outcome.verdict, outcome.confidence, outcome.resolution_seconds),
        ("run 2", OutcomeVerdict::Overridden, Some(0.7), Some(90.0))
    );
    let long = Body::from(vec![b' '; 5000]);
    let status = ask(&api, Request::post("/api/runs/run%202/outcome").body(long).unwrap()).await.0;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// Evaluations are stored all together, or refused with a reason.
#[tokio::test]
async fn evaluations() {
    let (api, heard) = api();
    let post = |id: &str, body: String| {
        let request = Request::post(format!("/api/runs/{id}/evaluations")).body(Body::from(body)).unwrap();
        let api = api.clone();
        async move { ask(&api, request).await }
    };
    let one = r#"{"name": "correctness", "score": 0.8, "label": "good", "annotator_kind": "HUMAN"}"#;
    let few = r#"[{"name": "Answer Relevance", "score": -1}, {"name": "tone", "label": "not polite"}]"#;
    for good in [one, few] {
        assert_eq!(post("run%202", good.into()).await, (StatusCode::OK, json!({"stored": true})), "{good}");
    }
    let many = |count: usize| format!("[{}]", vec![r#"{"name":"n","score":1}"#; count].join(","));
    assert_eq!(post("run%202", many(20)).await.0, StatusCode::OK);
    let stored: Vec<usize> = heard.0.lock().iter().map(|(_, judgement)| judgement.scores.len()).collect();
    assert_eq!(stored, [1, 2, 20]);
    let first = heard.0.lock()[0].clone();
    assert!(first.0 == "run 2" && first.1.outcome.is_none());
    let score = &first.1.scores[0];
    assert_eq!((&*score.name, score.value, &*score.label), ("correctness", Some(0.8), "good"));
    assert_eq!(score.kind, Some(AnnotatorKind::Human));
    let long = "x".repeat(200);
    for bad in [
        "".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        many(21),
        r#"{"score": 1}"#.to_owned(),
        r#"{"name": "", "score": 1}"#.to_owned(),
        r#"{"name": "n"}"#.to_owned(),
        r#"{"name": "n", "label": ""}"#.to_owned(),
        r#"{"name": "n", "score": "1"}"#.to_owned(),
        r#"{"name": "n", "score": 1e16}"#.to_owned(),
        r#"{"name": "n", "score": 1e999}"#.to_owned(),
        r#"{"name": "n", "score": NaN}"#.to_owned(),
        r#"{"name": "n", "score": 1, "explanation": "x"}"#.to_owned(),
        r#"{"name": "n", "score": 1, "annotator_kind": "ROBOT"}"#.to_owned(),
        r#"{"name": "n", "label": "the answer invents CANARY patients"}"#.to_owned(),
        r#"{"name": "n", "label": "CANARY\nnext"}"#.to_owned(),
        r#"{"name": "the answer invents CANARY patients", "score": 1}"#.to_owned(),
        format!(r#"{{"name": "{long}", "score": 1}}"#),
        format!(r#"[{one}, {{"name": "n", "label": "{long}"}}]"#),
    ] {
        let (status, answer) = post("run%202", bad.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.len() > 20 && !error.contains("CANARY"), "{answer}");
    }
    assert_eq!(heard.0.lock().len(), 3);
    assert_eq!(post("nobody", one.into()).await.0, StatusCode::NOT_FOUND);
    let busy = Request::post("/api/runs/busy/evaluations?account=default").body(Body::from(one)).unwrap();
    let (status, answer) = ask(&api, busy).await;
    assert_eq!(
        (status, &answer["error"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("nothing can be stored now: retry in a few seconds"))
    );
    assert_eq!(post("shared", one.into()).await.0, StatusCode::CONFLICT);
    assert_eq!(post("run%202", " ".repeat(5000)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

/// Two accounts have a run of the same id: an outcome never goes to the wrong account; a request that names the account
/// is served.
#[tokio::test]
async fn an_id_of_two_accounts() {
    let (api, heard) = api();
    for path in ["/api/runs/shared", "/api/runs/shared/budget"] {
        let (status, answer) = get(&api, path).await;
        assert_eq!((status, &answer["accounts"]), (StatusCode::CONFLICT, &json!(["ours", "theirs"])));
        assert!(answer["error"].as_str().unwrap().contains("?account="), "{answer}");
    }
    let post = |path: &str| Request::post(path).body(Body::from(r#"{"outcome": "confirmed"}"#)).unwrap();
    let (status, _) = ask(&api, post("/api/runs/shared/outcome")).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(heard.0.lock().is_empty());
    let (status, _) = ask(&api, post("/api/runs/shared/outcome?account=theirs")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(heard.0.lock()[0].0, "theirs/shared");
}
