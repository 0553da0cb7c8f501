//! Tests of a whole gateway's overview page: its figures equal those of `/metrics`, of the report, and a manual count.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use kernel::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use tollgate::app::RunningGateway;

use crate::client::{self, JSON, attributes, status_and_body};
use crate::gateway;

/// Number of runs, of which every fourth fails, and iterations of each.
const RUNS: u64 = 12;
const ITERATIONS: u64 = 3;

async fn start(folder: &Path) -> RunningGateway {
    let soon = json!({ "processors": { "runs": { "settle": "1s" } } });
    gateway::start(&gateway::configuration(folder, &soon), folder).await
}

fn ask(to: SocketAddr, request: &str, body: &[u8]) -> String {
    let (status, body) =
        status_and_body(&client::ask(to, request, &format!("accept: application/json\r\n{JSON}"), body));
    assert_eq!(status, 200, "{request}: {body}");
    body
}

fn front(admin: SocketAddr) -> Value {
    serde_json::from_str(&ask(admin, "GET /", b"")).unwrap()
}

fn telemetry(now: u64) -> Value {
    let spans = (0..RUNS).flat_map(|run| {
        let (trace, root) = (format!("{:032x}", run + 1), format!("{:016x}", 1000 * (run + 1)));
        let (start, second) = (now - 60_000_000_000 * (run + 1), 1_000_000_000);
        let failed = run % 4 == 0;
        let mut spans = vec![json!({
            "traceId": trace, "spanId": root, "name": "invoke_agent triage", "kind": 1,
            "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 10 * second).to_string(),
            "status": if failed { json!({ "code": 2, "message": "gave up" }) } else { json!({}) },
            "attributes": attributes(&json!({ "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "triage",
                "gen_ai.conversation.id": format!("c{run}") })),
        })];
        for call in 0..ITERATIONS {
            let at = start + call * 2 * second;
            spans.push(json!({
                "traceId": trace, "spanId": format!("{:016x}", 1000 * (run + 1) + call + 1), "parentSpanId": root,
                "name": "chat claude-sonnet-4-5", "kind": 3,
                "startTimeUnixNano": at.to_string(), "endTimeUnixNano": (at + second).to_string(),
                "attributes": attributes(&json!({ "gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic",
                    "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.conversation.id": format!("c{run}"),
                    "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100 })),
            }));
        }
        spans
    });
    let resource = json!({ "attributes": attributes(&json!({ "service.name": "agents", "tenant.id": "acme" })) });
    json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "scope": {}, "spans": spans.collect::<Vec<_>>() }] }] })
}

/// The sum of a metric's samples in the text of `/metrics` whose labels contain `label`.
fn sum_samples(metrics: &str, name: &str, label: &str) -> f64 {
    let values = metrics.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, labels) = series.split_once('{').unwrap_or((series, ""));
        (found == name && labels.contains(label)).then(|| value.parse::<f64>().unwrap())
    });
    values.sum()
}

/// The page, `/metrics`, the report and a manual count agree, and the page shows the same after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_metrics_and_report_agree() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await;
    let (otlp, admin) = (gateway::address(&app, "otlp http"), gateway::address(&app, "admin"));
    ask(otlp, "POST /v1/traces", telemetry(SystemClock::new().now().0).to_string().as_bytes());
    let began = Instant::now();
    let (page, metrics, report) = loop {
        let (page, metrics) = (front(admin), ask(admin, "GET /metrics", b""));
        let counted = sum_samples(&metrics, "agent_runs_total", "");
        if (page["runs"].as_u64(), counted) == (Some(RUNS), RUNS as f64) {
            // read again: the first text may have been written while the last runs were counted
            break (page, ask(admin, "GET /metrics", b""), ask(admin, "GET /report?by=name", b""));
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{page}\n{metrics}");
    };
    let sum = |name: &str| sum_samples(&metrics, name, "");
    let failed = sum_samples(&metrics, "agent_runs_total", "state=\"failed\"");
    // manual count: 3 of 12 fail; 3 calls of 1000 and 100 tokens at 3 and 15 USD per million
    assert_eq!((page["failed_runs"].as_u64(), failed), (Some(3), 3.0));
    assert_eq!((page["iterations"].as_u64(), sum("agent_run_iterations_sum")), (Some(36), 36.0));
    assert_eq!(page["iterations_per_run"]["value"], 3.0);
    assert_eq!(
        (page["failure_rate"]["value"].as_f64(), page["p95_seconds_per_run"]["value"].as_f64()),
        (Some(0.25), Some(10.0))
    );
    assert_eq!(page["cost_usd"], "0.162");
    assert!((sum("agent_run_cost_usd_sum") - 0.162).abs() < 1e-9);
    assert_eq!(sum("agent_run_duration_seconds_sum"), 120.0);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["spans"], 3);
    assert_eq!(report["groups"][0]["by"]["name"], "invoke_agent triage");
    app.shutdown().await;
    let app = start(folder.path()).await;
    let admin = gateway::address(&app, "admin");
    let (again, report) = (front(admin), ask(admin, "GET /report?by=name", b""));
    for key in ["runs", "failed_runs", "iterations", "cost_usd", "by_tenant", "by_model"] {
        assert_eq!(again[key], page[key], "{key} after a restart");
    }
    assert_eq!(serde_json::from_str::<Value>(&report).unwrap()["spans"], 3, "failures after a restart");
    app.shutdown().await;
}

/// A tool call that arrives right after a start is counted: only what was restored is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tool_calls_of_the_first_second_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await;
    let (otlp, admin) = (gateway::address(&app, "otlp http"), gateway::address(&app, "admin"));
    let now = SystemClock::new().now().0;
    let span = json!({
        "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "execute_tool grep", "kind": 1,
        "startTimeUnixNano": (now - 2_000_000_000).to_string(), "endTimeUnixNano": (now - 1_000_000_000).to_string(),
        "attributes": attributes(&json!({ "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "grep",
            "gen_ai.tool.call.id": "call-1", "gen_ai.conversation.id": "c1" })),
    });
    let request = json!({ "resourceSpans": [{ "resource": {}, "scopeSpans": [{ "scope": {}, "spans": [span] }] }] });
    ask(otlp, "POST /v1/traces", request.to_string().as_bytes());
    assert_eq!(sum_samples(&ask(admin, "GET /metrics", b""), "agent_tool_calls_total", ""), 1.0);
    app.shutdown().await;
}
