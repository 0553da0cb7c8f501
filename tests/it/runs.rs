//! Tests of runs in a whole gateway: the API behind its guard, an outcome that survives a restart, a summary that
//! reaches a third party, and the commands that query them: `top`, `report`, `alerts`, a comment on a ticket.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fakes::sink::{Answer, Seen, Sink};
use fixtures::until::until;
use kernel::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use tollgate::app::RunningGateway;

use crate::client::{self, status_and_body};
use crate::gateway;

const TOKEN: &str = "only for operators";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn configuration(folder: &Path, alerts: &Value) -> String {
    let summaries = json!({ "receivers": ["runs/summaries"], "processors": ["redact"], "exporters": ["file"] });
    let changes = json!({
        "processors": { "runs": { "settle": "1s" }, "vault": { "recipients": null, "writer": null, "store": "none" } },
        "connectors": { "runs/summaries": { "interval": "1s" } },
        "extensions": { "admin": { "auth": { "bearer": TOKEN }, "alerts": alerts,
            "trace_link": { "back_end": "jaeger", "base": "https://jaeger.example" } } },
        "service": { "pipelines": {
            "traces": { "exporters": ["file", "runs/summaries"] }, "logs": null,
            "logs/runs": summaries, "metrics/runs": summaries,
        } },
    });
    gateway::configuration(folder, &changes)
}

async fn start(folder: &Path) -> (RunningGateway, SocketAddr, SocketAddr) {
    start_with(folder, &json!({})).await
}

async fn start_with(folder: &Path, alerts: &Value) -> (RunningGateway, SocketAddr, SocketAddr) {
    let app = gateway::start(&configuration(folder, alerts), folder).await;
    let (otlp, admin) = (gateway::address(&app, "otlp http"), gateway::address(&app, "admin"));
    (app, otlp, admin)
}

/// Sends a request and returns status and body.
fn ask(to: SocketAddr, target: &str, token: Option<&str>, body: &str) -> (u16, String) {
    let auth = token.map_or(String::new(), |token| format!("authorization: Bearer {token}\r\n"));
    status_and_body(&client::ask(to, target, &(auth + client::JSON), body.as_bytes()))
}

fn get(to: SocketAddr, path: &str) -> Value {
    let (status, body) = ask(to, &format!("GET {path}"), Some(TOKEN), "");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap_or(Value::Null)
}

/// A run that has just ended.
fn request() -> String {
    let now = SystemClock::new().now().0;
    let span = |id: &str, parent: &str, name: &str, attributes: Value| {
        json!({"traceId": TRACE, "spanId": id, "parentSpanId": parent, "name": name, "kind": 1,
            "startTimeUnixNano": (now - 2_000_000_000).to_string(), "endTimeUnixNano": now.to_string(), "attributes": client::attributes(&attributes)})
    };
    let root = json!({"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "openai", "session.id": "s-1", "feature": "triage",
        "user.id": "jane@example.com", "tenant.id": "acme", "work_tracker.issue_id": "OPS-7"});
    let call = json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 50, "gen_ai.input.messages": "CANARY asks"});
    // with text where a label belongs
    let judge = json!({"openinference.span.kind": "EVALUATOR", "annotations.0.annotation.name": "relevance",
        "annotations.0.annotation.score": 0.5, "annotations.0.annotation.explanation": "CANARY",
        "annotations.0.annotation.label": "the CANARY answer misses what the user asked for",
        "annotations.1.annotation.name": "reviewer", "annotations.1.annotation.label": "jane@example.com"});
    let spans = [
        span("0000000000000001", "", "invoke_agent a", root),
        span("0000000000000002", "0000000000000001", "chat", call),
        span("0000000000000003", "0000000000000001", "judge", judge),
    ];
    json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string()
}

/// The API answers only operators; an outcome is accepted and survives a restart; the run's summary and metrics reach
/// a third party once, redacted.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_from_its_spans_to_its_summary() {
    let folder = tempfile::tempdir().unwrap();
    let (app, otlp, admin) = start(folder.path()).await;
    assert_eq!(ask(otlp, "POST /v1/traces", None, &request()).0, 200);
    for path in ["/api/runs", "/metrics", "/"] {
        assert_eq!(ask(admin, &format!("GET {path}"), None, "").0, 401, "{path}");
    }
    let run = get(admin, &format!("/api/runs/{TRACE}"));
    assert_eq!(
        (&run["tenant"], &run["totals"]["model_calls"], &run["totals"]["cost_usd"]),
        (&json!("acme"), &json!(1), &json!("0.00035"))
    );
    assert!(run["user"].as_str().unwrap().starts_with("h-"));
    assert_eq!(run["steps"][0]["span_id"], json!("0000000000000002"));
    let outcome = r#"{"outcome": "overridden", "confidence": 0.4}"#;
    let target = format!("POST /api/runs/{TRACE}/outcome");
    assert_eq!(ask(admin, &target, None, outcome).0, 401);
    assert_eq!(ask(admin, &target, Some(TOKEN), outcome).0, 200);
    assert_eq!(ask(admin, "POST /api/runs/nobody/outcome", Some(TOKEN), outcome).0, 404);
    let evaluation = r#"[{"name": "correctness", "score": 0.8, "label": "good", "annotator_kind": "HUMAN"}]"#;
    let target = format!("POST /api/runs/{TRACE}/evaluations");
    assert_eq!(ask(admin, &target, None, evaluation).0, 401);
    for _ in 0..2 {
        assert_eq!(ask(admin, &target, Some(TOKEN), evaluation).0, 200);
    }
    assert_eq!(ask(admin, &target, Some(TOKEN), r#"{"name": "correctness"}"#).0, 400);
    assert_eq!(ask(admin, "POST /api/runs/nobody/evaluations", Some(TOKEN), evaluation).0, 404);
    let (_, metrics) = ask(admin, "GET /metrics", Some(TOKEN), "");
    let counted = r#"agent_evaluations_total{name="correctness",label="good",tenant="acme",feature="triage"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    let (_, page) = ask(admin, &format!("GET /runs/{TRACE}"), Some(TOKEN), "");
    assert!(page.contains("<td>correctness</td><td>good</td><td class=\"n\">0.8</td><td>HUMAN</td>"), "{page}");
    let outbound = || fs::read_to_string(folder.path().join("outbound.jsonl")).unwrap_or_default();
    // the summary and its metrics go out
    until(|| {
        let text = outbound();
        text.contains("tollgate.run.summary")
            && text.contains("agent.run.iterations")
            && text.contains("agent.evaluation.score")
    })
    .await;
    app.shutdown().await;
    let (app, _, admin) = start(folder.path()).await;
    let run = get(admin, &format!("/api/runs/{TRACE}"));
    assert_eq!(run["outcome"]["outcome"], json!("overridden"), "{run}");
    let own = json!({"name": "correctness", "label": "good", "value": 0.8, "kind": "HUMAN"});
    let redacted = run["evaluations"][1].clone();
    assert!(redacted["name"] == "reviewer" && redacted["label"].as_str().is_some_and(|label| !label.contains("jane")));
    let of_span = json!({"name": "relevance", "label": null, "value": 0.5, "kind": null});
    assert_eq!(run["evaluations"], json!([of_span, redacted, own]), "the label of the first is text");
    // wait long enough for a second summary to show
    let uptime = || {
        let (_, text) = ask(admin, "GET /metrics", Some(TOKEN), "");
        let line = text.lines().find(|line| line.starts_with("otelcol_process_uptime ")).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    until(|| uptime() > 4.0).await;
    app.shutdown().await;
    let text = outbound();
    assert_eq!(text.matches("\"eventName\":\"tollgate.run.summary\"").count(), 1, "{text}");
    assert!(!text.contains("CANARY") && !text.contains("jane"), "{text}");
}

/// A server that answers every request with this.
struct Stub {
    at: String,
    sink: Sink,
}

impl Stub {
    async fn new(status: u16, body: &str) -> Self {
        let answer = Answer::http(status).body(body.to_owned());
        let sink = Sink::new(None, std::iter::repeat_n(answer, 100)).await;
        Self { at: format!("http://{}", sink.address), sink }
    }

    fn last(&self) -> Seen {
        self.sink.seen().pop().unwrap()
    }
}

/// Success, standard output and standard error of a command.
fn tollgate(arguments: &[&str], environment: &[(&str, &str)]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    let (code, out, complaint) = client::output(&mut command);
    (code == Some(0), out, complaint)
}

/// `top`, `report`, `check --client` and `alerts` show the gateway's data to authorised users only; a test message
/// reaches the webhook, whose address is in no response.
#[tokio::test(flavor = "multi_thread")]
async fn commands_ask_a_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Stub::new(200, "").await;
    let url = format!("{}/services/secretpath", hook.at);
    let alerts = json!({ "url": url, "signing_key": "a key of sixteen bytes" });
    let (app, otlp, admin) = start_with(folder.path(), &alerts).await;
    let at = format!("http://{admin}");
    let known: [(&str, &str); 2] = [("TOLLGATE_ADMIN", &at), ("TOLLGATE_ADMIN_TOKEN", TOKEN)];
    let (fine, out, complaint) = tollgate(&["check", "--client"], &known);
    assert!(!fine && out.is_empty(), "{complaint}");
    assert!(complaint.contains("no client has sent anything in the last 10m"), "{complaint}");
    assert_eq!(ask(otlp, "POST /v1/traces", None, &request()).0, 200);
    let stranger: [(&str, &str); 2] = [("TOLLGATE_ADMIN", &at), ("TOLLGATE_ADMIN_TOKEN", "not the token at all")];
    until(|| {
        let (fine, out, _) = tollgate(&["top", "--once"], &known);
        // the whole id, for `/runs/ID`
        let names_run = out.lines().any(|line| line.starts_with(&format!("{TRACE} ")));
        fine && out.contains("acme") && out.contains("gpt-5-mini") && names_run
    })
    .await;
    let (fine, out, complaint) = tollgate(&["check", "--client", "--within", "1h"], &known);
    assert!(fine && out.contains(": traces ") && out.contains(" ago; off: logs, metrics"), "{out}{complaint}");
    assert_eq!(out.lines().count(), 1, "{out}");
    let (fine, out, _) = tollgate(&["report", "--format", "json"], &known);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert!(fine && report["schema"] == json!(2) && report["groups"].is_array(), "{out}");
    let (fine, out, _) = tollgate(&["report", "--issue", "OPS-7", "--jira"], &known);
    assert!(fine && out.contains("0.00035") && out.contains(&format!("https://jaeger.example/trace/{TRACE}")), "{out}");
    let (fine, out, _) = tollgate(&["alerts", "list"], &known);
    assert!(fine && out.contains("no alerts") && out.contains("webhook: configured"), "{out}");
    assert!(!out.contains("secretpath"), "{out}");
    let (fine, out, complaint) = tollgate(&["alerts", "test"], &known);
    assert!(fine, "{out}{complaint}");
    let came = hook.last();
    assert_eq!((came.method.as_str(), came.uri.path()), ("POST", "/services/secretpath"));
    assert!(came.header("x-tollgate-signature").unwrap().starts_with("v1="));
    for arguments in
        [&["top", "--once"][..], &["report"], &["check", "--client"], &["alerts", "list"], &["alerts", "test"]]
    {
        let (fine, out, complaint) = tollgate(arguments, &stranger);
        assert!(!fine && out.is_empty() && complaint.contains("the credentials were refused"), "{out}{complaint}");
        assert!(!complaint.contains("not the token"), "{complaint}");
    }
    app.shutdown().await;
}

/// The token of the data directory is sent to the gateway of that directory alone, not to the address in `--admin`.
#[tokio::test(flavor = "multi_thread")]
async fn the_local_token_goes_to_its_own_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let (data, token) = (folder.path().to_str().unwrap(), folder.path().join("admin.token"));
    fs::write(&token, "the-token-of-this-directory\n").unwrap();
    let gateway = Stub::new(200, "{}").await;
    let (_, port) = gateway.at.rsplit_once(':').unwrap();
    // the page's port is the second one after that of `--listen`
    let listen = format!("127.0.0.1:{}", port.parse::<u16>().unwrap() - 2);
    let send = |more: &[&str]| {
        let command = ["alerts", "test", "--data-dir", data];
        let (fine, out, complaint) = tollgate(&[&command, more].concat(), &[]);
        assert!(fine, "{out}{complaint}");
        gateway.last().header("authorization").map(str::to_owned)
    };
    let sent = Some("Bearer the-token-of-this-directory".to_owned());
    assert_eq!(send(&["--listen", &listen]), sent);
    assert_eq!(send(&["--admin", &gateway.at]), None);
    let named = ["--admin", &gateway.at, "--admin-token-file", token.to_str().unwrap()];
    assert_eq!(send(&named), sent);
    let missing = ["alerts", "test", "--admin", &gateway.at, "--admin-token-file", "/none/admin.token"];
    let (fine, _, complaint) = tollgate(&missing, &[]);
    assert!(!fine && complaint.contains("/none/admin.token does not exist"), "{complaint}");
}

/// `report` asks for one sample of each group, which shows its kind.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_has_one_sample_of_a_group() {
    let gateway = Stub::new(200, "{}").await;
    let samples = |more: &[&str]| {
        let (fine, out, complaint) = tollgate(&[&["report", "--admin", &gateway.at], more].concat(), &[]);
        assert!(fine, "{out}{complaint}");
        gateway.last().uri.query().unwrap().split('&').find(|one| one.starts_with("samples=")).unwrap().to_owned()
    };
    assert_eq!([samples(&[]), samples(&["--samples", "5"])], ["samples=1", "samples=5"]);
}

/// A comment is posted to the ticket with the right login; a refusal by Jira is reported without the login, even if
/// Jira repeats it; missing settings are named.
#[tokio::test(flavor = "multi_thread")]
async fn a_comment_on_a_ticket() {
    let gateway = Stub::new(200, r#"{"comment": "h3. what the agent did"}"#).await;
    let (user, token) = ("bot@example.com", "jira-secret-token");
    let login = STANDARD.encode(format!("{user}:{token}"));
    let post = |jira: &str, token: Option<&str>| {
        let mut environment =
            vec![("TOLLGATE_ADMIN", gateway.at.as_str()), ("JIRA_BASE_URL", jira), ("JIRA_USER", user)];
        environment.extend(token.map(|token| ("JIRA_API_TOKEN", token)));
        tollgate(&["report", "--issue", "OPS-7", "--jira", "--post"], &environment)
    };
    let jira = Stub::new(201, "{}").await;
    let (fine, out, complaint) = post(&jira.at, Some(token));
    assert!(fine && out.contains("posted the comment on OPS-7"), "{out}{complaint}");
    let came = jira.last();
    assert_eq!((came.method.as_str(), came.uri.path()), ("POST", "/rest/api/2/issue/OPS%2D7/comment"));
    assert_eq!(came.header("authorization"), Some(&*format!("Basic {login}")));
    assert_eq!(came.body, r#"{"body":"h3. what the agent did"}"#);
    for status in [401, 403, 404, 500] {
        let jira = Stub::new(status, &format!("Basic {login} or {token} may not do this")).await;
        let (fine, out, complaint) = post(&jira.at, Some(token));
        assert!(!fine && out.is_empty(), "{status}: {out}");
        assert!(status == 401 || complaint.contains(&status.to_string()), "{complaint}");
        assert!(!complaint.contains(&login) && !complaint.contains(token), "{complaint}");
    }
    let jira = Stub::new(400, r#"{"error": "the issue is closed"}"#).await;
    assert!(post(&jira.at, Some(token)).2.contains("the issue is closed"));
    let (fine, _, complaint) = post(&jira.at, None);
    assert!(!fine && complaint.contains("JIRA_API_TOKEN is not set"), "{complaint}");
    let (fine, _, complaint) = post("http://user:hunter22@127.0.0.1:1", Some(token));
    assert!(!fine && !complaint.contains("hunter22"), "{complaint}");
}

/// JSON output of `report` and `alerts` can't control a terminal: text written by a client is escaped as `\uXXXX`,
/// which reads the same.
#[tokio::test(flavor = "multi_thread")]
async fn json_of_commands_drives_no_terminal() {
    let said = json!({ "comment": "plain", "alerts": [], "status_message": "\u{9b}2J\u{202e}\u{7f}\u{2066} ok" });
    let body = said.to_string();
    assert!(body.contains('\u{9b}'), "it comes raw");
    let gateway = Stub::new(200, &body).await;
    for arguments in [
        &["report", "--format", "json"][..],
        &["report", "--issue", "X-1", "--format", "json"],
        &["alerts", "list", "--json"],
    ] {
        let (fine, out, complaint) = tollgate(arguments, &[("TOLLGATE_ADMIN", &gateway.at)]);
        assert!(fine, "{complaint}");
        assert!(out.is_ascii() && !out.contains('\u{7f}'), "{arguments:?}: {out:?}");
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), said, "{arguments:?}");
    }
}
