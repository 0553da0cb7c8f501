//! The API over a board of one run: its schema, its errors, the outcomes it stores.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::api::{RunsApi, router};
use super::*;
use genai::CallTokenBuckets;

struct One;

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
        start: 1_795_166_000_000_000_000,
        last: 0,
        duration: 1_500_000_000,
        totals,
        peaks: RunPeaks { context: [100, 250, 300], ..RunPeaks::default() },
        ..testing::runs::ended("", 0, 0)
    }
}

impl RunCatalog for One {
    fn recent_runs(&self, most: usize) -> Vec<RunView> {
        vec![view(); most.min(3)]
    }

    fn find_run_of_account(&self, account: &str, id: &str) -> Option<RunDetail> {
        let detail = RunDetail { view: view(), steps: Some(vec![RunStep::default()]), step_count: 1 };
        Some(detail).filter(|detail| id == "run <1>" && detail.view.account == account)
    }

    fn accounts_with_run(&self, id: &str) -> Vec<String> {
        match id {
            "nobody" => Vec::new(),
            "shared" => vec!["ours".into(), "theirs".into()],
            _ => vec!["default".into()],
        }
    }

    fn budget(&self, _: &str, id: &str) -> Option<RunBudget> {
        (id == "run <1>").then(|| RunBudget { view: view(), ceiling: 5, state: BudgetState::Warned })
    }

    fn sums(&self) -> RunSums {
        let mut sums = RunSums::default();
        sums.all.add_run(&view());
        sums
    }

    fn investigations(&self) -> BTreeMap<String, InvestigationStats> {
        BTreeMap::from([(
            "sre".to_owned(),
            InvestigationStats { count: 3, judged: 2, overridden: 1, ..InvestigationStats::default() },
        )])
    }

    fn measures(&self) -> Vec<MeasureAggregate> {
        Vec::new()
    }

    fn alerts(&self) -> Vec<Alert> {
        Vec::new()
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<(String, RunOutcome)>>);

impl OutcomeStore for Heard {
    fn store_outcome<'a>(
        &'a self,
        account: &'a str,
        id: &'a str,
        outcome: RunOutcome,
    ) -> BoxFuture<'a, Result<(), OutcomeError>> {
        Box::pin(async move {
            match id {
                "busy" => Err(OutcomeError::NotStoredNow),
                "nobody" => Err(OutcomeError::UnknownRun),
                _ => {
                    let whose = if account == "default" { id.to_owned() } else { format!("{account}/{id}") };
                    self.0.lock().push((whose, outcome));
                    Ok(())
                }
            }
        })
    }
}

fn api() -> (Router, Arc<Heard>) {
    let heard = Arc::<Heard>::default();
    let tasks = net::testing::tasks::TestTasks::shared();
    (router(RunsApi { board: Arc::new(One), judge: Arc::<Heard>::clone(&heard), tasks }), heard)
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
        ("/start", json!("2026-11-20T09:13:20.000000000Z")),
        ("/last", Value::Null),
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
    assert_eq!(count(get(&api, "/api/runs").await.1, "runs"), 3);
    assert_eq!(count(get(&api, "/api/runs?limit=2").await.1, "runs"), 2);
    assert_eq!(count(get(&api, "/api/runs?tenant=acme&state=killed&session=s").await.1, "runs"), 3);
    assert_eq!(count(get(&api, "/api/runs?tenant=globex").await.1, "runs"), 0);
    assert_eq!(count(get(&api, "/api/sessions").await.1, "sessions"), 1);
    let (_, budget) = get(&api, "/api/runs/run%20%3C1%3E/budget").await;
    assert_eq!((&budget["state"], &budget["iterations_left"]), (&json!("warned"), &json!(1)));
    let (_, sums) = get(&api, "/api/sums").await;
    assert_eq!((&sums["all"]["runs"], &sums["all"]["killed"]), (&json!(1), &json!(1)));
    let (_, cases) = get(&api, "/api/investigations").await;
    assert_eq!(cases["by_agent_type"]["sre"]["override_rate"], json!(0.5));
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
        async move { ask(&api, Request::post(format!("/api/runs/{id}/outcome")).body(Body::from(body)).unwrap()).await.0 }
    };
    let good = r#"{"outcome": "overridden", "confidence": 0.7, "resolution_seconds": 90}"#;
    assert_eq!(post("r", good).await, StatusCode::OK);
    assert_eq!(post("r", r#"{"outcome": "confirmed"}"#).await, StatusCode::OK);
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
        assert_eq!(post("r", bad).await, StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(post("nobody", good).await, StatusCode::NOT_FOUND);
    assert_eq!(post("busy", good).await, StatusCode::SERVICE_UNAVAILABLE);
    let heard: Vec<(String, RunOutcome)> = heard.0.lock().clone();
    assert_eq!(heard.len(), 2);
    let (id, outcome) = &heard[0];
    assert_eq!(
        (&**id, outcome.verdict, outcome.confidence, outcome.resolution_seconds),
        ("r", OutcomeVerdict::Overridden, Some(0.7), Some(90.0))
    );
    let long = Body::from(vec![b' '; 5000]);
    let status = ask(&api, Request::post("/api/runs/r/outcome").body(long).unwrap()).await.0;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
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

/// Money for people: rounded half up from the exact amount, two significant digits for small amounts, never $0 for
/// unpriced cost. ($2.025 was "$2.02" beside three times "$0.68".)
#[test]
fn money_misleads_nobody() {
    use crate::amounts::{format_cost, format_dollars, format_seconds, format_usd};
    const MILLI: i128 = 1_000_000_000_000_000;
    let amounts = [
        (0, "$0"),
        (675 * MILLI, "$0.675"),
        (2025 * MILLI, "$2.025"),
        (500 * MILLI, "$0.50"),
        (5 * MILLI, "$0.005"),
        (10 * MILLI, "$0.01"),
        (99_900_000_000_000_000, "$0.10"),
        (2_149 * MILLI / 1000, "$0.0021"),
        (123 * MILLI / 1_000_000, "$0.00000012"),
        (1, "< $0.00000001"),
        (10_720 * MILLI, "$10.72"),
        (12_345 * MILLI, "$12.35"),
        (1_234_500 * MILLI, "$1,235"),
        (-2025 * MILLI, "-$2.025"),
    ];
    for (atto, shown) in amounts {
        assert_eq!(format_usd(atto), shown);
    }
    assert_eq!(
        (format_dollars(2.025).as_str(), format_dollars(0.1 + 0.2).as_str(), format_dollars(0.0).as_str()),
        ("$2.025", "$0.30", "$0")
    );
    assert_eq!([format_cost(0, 0), format_cost(0, 2), format_cost(500 * MILLI, 2)], ["$0", "no price", "$0.50"]);
    assert_eq!(
        [format_seconds(30.0 * 86_400.0), format_seconds(0.25), format_seconds(3700.0)],
        ["30 d", "250 ms", "1 h 1 min"]
    );
}

/// An alert states its value with a unit and the multiple of the limit, whatever the rule.
#[test]
fn alerts_say_what_was_measured() {
    let said =
        |rule, value, threshold| Alert { value, threshold, ..testing::runs::alert(rule, "r", 1) }.measurement_text();
    assert_eq!(said("session_cost", 0.01, 0.005), "$0.01, 2 × the limit of $0.005");
    assert_eq!(said("iteration_ceiling", 60.0, 50.0), "60 iterations, 1.2 × the limit of 50");
    assert_eq!(said("session_duration", 7200.0, 3600.0), "2 h, 2 × the limit of 1 h");
    assert_eq!(said("run_overdue", 3661.0, 3600.0), "1 h 1 min, 1.02 × the limit of 1 h");
    assert_eq!(said("cost_per_run_drift", 1.8, 1.5), "1.8 × the earlier cost per run (limit 1.5 ×)");
    assert_eq!(said("limit_hit", 1.0, 0.0), "a limit ended the run");
    let alerts = json::alerts(&[testing::runs::alert("iteration_ceiling", "r", 1)]);
    assert_eq!((&alerts["alerts"][0]["unit"], &alerts["alerts"][0]["multiple"]), (&json!("count"), &json!(1.4)));
}

/// Token buckets are disjoint: reasoning is not part of the output. The cost of unpriced calls is null, not 0; and
/// stored data of the earlier schema is converted to the same.
#[test]
fn tokens_are_disjoint_and_no_price_is_null() {
    let mut sum = RunTotals::default();
    sum.add_call("m", CallTokenBuckets { input: 10, output: 7, reasoning: 5, ..CallTokenBuckets::default() }, None);
    let value = json::totals(&sum);
    for tokens in [&value["tokens"], &value["models"]["m"]["tokens"]] {
        assert_eq!(
            (&tokens["output"], &tokens["reasoning"], &tokens["output_total"]),
            (&json!(2), &json!(5), &json!(7))
        );
    }
    assert_eq!((&value["cost_usd"], &value["unpriced_calls"]), (&Value::Null, &json!(1)));
    let tokens = json!({"input": 10, "output": 7, "reasoning": 5});
    let old = json!({"tokens": tokens, "cost_usd": "0", "unpriced_calls": 1});
    let old =
        json!({"schema": 1, "totals": {"tokens": tokens, "cost_usd": "0", "unpriced_calls": 1, "models": {"m": old}}});
    let new = json::upgrade_schema(old);
    assert_eq!((&new["totals"]["tokens"]["output"], &new["totals"]["cost_usd"]), (&json!(2), &Value::Null));
    assert_eq!(new["totals"]["models"]["m"]["tokens"]["output"], 2);
    assert_eq!(json::upgrade_schema(new.clone()), new);
}
