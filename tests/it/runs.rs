//! Tests of runs in a whole gateway: the API behind its guard, an outcome that survives a restart, a summary that
//! reaches a third party, and the commands that query them: `top`, `report`, `alerts`, a comment on a ticket.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use kernel::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use tollgate::app::RunningGateway;

use crate::client::{self, status_and_body};
use crate::gateway;

const TOKEN: &str = "only for operators";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn configuration(folder: &Path, alerts: &Value) -> String {
    let steps = ["normalize", "cost", "runs", "vault", "redact"];
    json!({
        "receivers": { "otlp": { "protocols": { "http": { "endpoint": "127.0.0.1:0" } } } },
        "processors": { "normalize": {}, "cost": {}, "runs": { "settle": "1s" }, "redact": {}, "vault": { "store": "none" } },
        "connectors": { "runs/summaries": { "interval": "1s" } },
        "exporters": { "file": { "path": folder.join("outbound.jsonl").display().to_string() } },
        "extensions": { "admin": { "endpoint": "127.0.0.1:0", "auth": { "bearer": TOKEN }, "alerts": alerts,
            "trace_link": { "back_end": "jaeger", "base": "https://jaeger.example" } } },
        "spool": { "directory": folder.join("data/spool").display().to_string(), "max_size": "64MiB" },
        "service": { "extensions": ["admin"], "pipelines": {
            "traces": { "receivers": ["otlp"], "processors": steps, "exporters": ["file", "runs/summaries"] },
            "logs/runs": { "receivers": ["runs/summaries"], "processors": ["redact"], "exporters": ["file"] },
            "metrics/runs": { "receivers": ["runs/summaries"], "processors": ["redact"], "exporters": ["file"] },
        } },
    })
    .to_string()
}

async fn start(folder: &Path) -> (RunningGateway, SocketAddr, SocketAddr) {
    start_with(folder, &json!({})).await
}

async fn start_with(folder: &Path, alerts: &Value) -> (RunningGateway, SocketAddr, SocketAddr) {
    fs::create_dir_all(folder.join("data")).unwrap();
    let app = gateway::start(&configuration(folder, alerts), folder).await;
    let (otlp, admin) = (gateway::address(&app, "otlp http"), gateway::address(&app, "admin"));
    (app, otlp, admin)
}

/// Sends a request and returns status and body.
async fn ask(
    to: SocketAddr,
    method: &'static str,
    path: String,
    token: Option<&'static str>,
    body: String,
) -> (u16, String) {
    let asked = tokio::task::spawn_blocking(move || {
        let auth = token.map_or(String::new(), |token| format!("authorization: Bearer {token}\r\n"));
        status_and_body(&client::ask(to, &format!("{method} {path}"), &(auth + client::JSON), body.as_bytes()))
    });
    asked.await.unwrap()
}

async fn get(to: SocketAddr, path: &str) -> Value {
    let (status, body) = ask(to, "GET", path.to_owned(), Some(TOKEN), String::new()).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap_or(Value::Null)
}

/// A run that has just ended.
fn request() -> String {
    let now = SystemClock::new().now().0;
    let span = |id: &str, parent: &str, name: &str, attributes: Value| {
        let attributes: Vec<Value> = (attributes.as_object().unwrap().iter())
            .map(|(key, value)| match value {
                Value::String(text) => json!({"key": key, "value": {"stringValue": text}}),
                number => json!({"key": key, "value": {"intValue": number.to_string()}}),
            })
            .collect();
        json!({"traceId": TRACE, "spanId": id, "parentSpanId": parent, "name": name, "kind": 1,
            "startTimeUnixNano": (now - 2_000_000_000).to_string(), "endTimeUnixNano": now.to_string(), "attributes": attributes})
    };
    let root = json!({"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "openai", "session.id": "s-1", "feature": "triage",
        "user.id": "jane@example.com", "tenant.id": "acme", "work_tracker.issue_id": "OPS-7"});
    let call = json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 50, "gen_ai.input.messages": "CANARY asks"});
    let spans = [
        span("0000000000000001", "", "invoke_agent a", root),
        span("0000000000000002", "0000000000000001", "chat", call),
    ];
    json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string()
}

/// Repeats a check until it succeeds; each attempt takes a while, so the loop ends.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..100_000 {
        if holds().await {
            return;
        }
    }
    panic!("never: {what}");
}

/// The API answers only operators; an outcome is accepted and survives a restart; the run's summary and metrics reach
/// a third party once, redacted.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_from_its_spans_to_its_summary() {
    let folder = tempfile::tempdir().unwrap();
    let (app, otlp, admin) = start(folder.path()).await;
    assert_eq!(ask(otlp, "POST", "/v1/traces".into(), None, request()).await.0, 200);
    for path in ["/api/runs", "/metrics", "/"] {
        assert_eq!(ask(admin, "GET", path.into(), None, String::new()).await.0, 401, "{path}");
    }
    let run = get(admin, &format!("/api/runs/{TRACE}")).await;
    assert_eq!(
        (&run["tenant"], &run["totals"]["model_calls"], &run["totals"]["cost_usd"]),
        (&json!("acme"), &json!(1), &json!("0.00035"))
    );
    assert!(run["user"].as_str().unwrap().starts_with("h-"));
    assert_eq!(run["steps"][0]["span_id"], json!("0000000000000002"));
    let outcome = r#"{"outcome": "overridden", "confidence": 0.4}"#;
    let path = format!("/api/runs/{TRACE}/outcome");
    assert_eq!(ask(admin, "POST", path.clone(), None, outcome.into()).await.0, 401);
    assert_eq!(ask(admin, "POST", path, Some(TOKEN), outcome.into()).await.0, 200);
    assert_eq!(ask(admin, "POST", "/api/runs/nobody/outcome".into(), Some(TOKEN), outcome.into()).await.0, 404);
    let outbound = || fs::read_to_string(folder.path().join("outbound.jsonl")).unwrap_or_default();
    until("the summary and its metrics go out", async || {
        let text = outbound();
        get(admin, "/api/alerts").await;
        text.contains("tollgate.run.summary") && text.contains("agent.run.iterations")
    })
    .await;
    app.shutdown().await;
    let (app, _, admin) = start(folder.path()).await;
    let run = get(admin, &format!("/api/runs/{TRACE}")).await;
    assert_eq!(run["outcome"]["outcome"], json!("overridden"), "{run}");
    // wait long enough for a second summary to show
    let uptime = async || {
        let (_, text) = ask(admin, "GET", "/metrics".into(), Some(TOKEN), String::new()).await;
        let line = text.lines().find(|line| line.starts_with("otelcol_process_uptime ")).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    until("some seconds go by", async || uptime().await > 4.0).await;
    app.shutdown().await;
    let text = outbound();
    assert_eq!(text.matches("\"eventName\":\"tollgate.run.summary\"").count(), 1, "{text}");
    assert!(!text.contains("CANARY") && !text.contains("jane"), "{text}");
}

/// A server that answers by method and path and records requests.
struct Stub {
    at: String,
    came: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    fn new(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        let came: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&came);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read_request(&mut stream);
                let (status, body) = answer(&request);
                seen.lock().unwrap().push(request);
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                );
            }
        });
        Self { at, came }
    }

    fn last(&self) -> String {
        self.came.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    let (mut text, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut part).unwrap_or(0);
        text.extend_from_slice(&part[..length]);
        let all = String::from_utf8_lossy(&text).into_owned();
        let wanted = |head: &str| {
            let lower = head.to_lowercase();
            lower
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap())
        };
        if length == 0 || all.split_once("\r\n\r\n").is_some_and(|(head, body)| body.len() >= wanted(head)) {
            return all;
        }
    }
}

/// Success, standard output and standard error of a command.
async fn tollgate(arguments: &[&str], environment: &[(&str, &str)]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    let (code, out, complaint) = tokio::task::spawn_blocking(move || client::output(&mut command)).await.unwrap();
    (code == Some(0), out, complaint)
}

/// `top`, `report`, `check --client` and `alerts` show the gateway's data to authorised users only; a test message
/// reaches the webhook, whose address is in no response.
#[tokio::test(flavor = "multi_thread")]
async fn commands_ask_a_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Stub::new(|_| (200, String::new()));
    let url = format!("{}/services/secretpath", hook.at);
    let alerts = json!({ "url": url, "signing_key": "a key of sixteen bytes" });
    let (app, otlp, admin) = start_with(folder.path(), &alerts).await;
    let at = format!("http://{admin}");
    let known: [(&str, &str); 2] = [("TOLLGATE_ADMIN", &at), ("TOLLGATE_ADMIN_TOKEN", TOKEN)];
    let (fine, out, complaint) = tollgate(&["check", "--client"], &known).await;
    assert!(
        !fine && out.is_empty() && complaint.contains("no client has sent anything in the last 10m"),
        "{complaint}"
    );
    assert_eq!(ask(otlp, "POST", "/v1/traces".into(), None, request()).await.0, 200);
    let stranger: [(&str, &str); 2] = [("TOLLGATE_ADMIN", &at), ("TOLLGATE_ADMIN_TOKEN", "not the token at all")];
    until("top shows the run's tenant and cost", async || {
        let (fine, out, _) = tollgate(&["top", "--once"], &known).await;
        fine && out.contains("acme") && out.contains("gpt-5-mini")
    })
    .await;
    let (fine, out, complaint) = tollgate(&["check", "--client", "--within", "1h"], &known).await;
    assert!(fine && out.contains(": traces ") && out.contains(" ago; off: logs, metrics"), "{out}{complaint}");
    assert_eq!(out.lines().count(), 1, "{out}");
    let (fine, out, _) = tollgate(&["report", "--format", "json"], &known).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert!(fine && report["schema"] == json!(2) && report["groups"].is_array(), "{out}");
    let (fine, out, _) = tollgate(&["report", "--issue", "OPS-7", "--jira"], &known).await;
    assert!(fine && out.contains("0.00035") && out.contains(&format!("https://jaeger.example/trace/{TRACE}")), "{out}");
    let (fine, out, _) = tollgate(&["alerts", "list"], &known).await;
    assert!(fine && out.contains("no alerts") && out.contains("webhook: configured"), "{out}");
    assert!(!out.contains("secretpath"), "{out}");
    let (fine, out, complaint) = tollgate(&["alerts", "test"], &known).await;
    assert!(fine, "{out}{complaint}");
    let came = hook.last();
    assert!(came.starts_with("POST /services/secretpath") && came.contains("x-tollgate-signature: v1="), "{came}");
    for arguments in
        [&["top", "--once"][..], &["report"], &["check", "--client"], &["alerts", "list"], &["alerts", "test"]]
    {
        let (fine, out, complaint) = tollgate(arguments, &stranger).await;
        assert!(!fine && out.is_empty() && complaint.contains("the credentials were refused"), "{out}{complaint}");
        assert!(!complaint.contains("not the token"), "{complaint}");
    }
    app.shutdown().await;
}

/// The token of the data directory is sent to the gateway of that directory alone, not to the address in `--admin`.
#[tokio::test]
async fn the_local_token_goes_to_its_own_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let (data, token) = (folder.path().to_str().unwrap(), folder.path().join("admin.token"));
    fs::write(&token, "the-token-of-this-directory\n").unwrap();
    let gateway = Stub::new(|_| (200, "{}".to_owned()));
    let (_, port) = gateway.at.rsplit_once(':').unwrap();
    // the page's port is the second one after that of `--listen`
    let listen = format!("127.0.0.1:{}", port.parse::<u16>().unwrap() - 2);
    let send = async |more: &[&str]| {
        let command = ["alerts", "test", "--data-dir", data];
        let (fine, out, complaint) = tollgate(&[&command, more].concat(), &[]).await;
        assert!(fine, "{out}{complaint}");
        gateway.last()
    };
    let sent = "authorization: Bearer the-token-of-this-directory\r\n";
    assert!(send(&["--listen", &listen]).await.contains(sent));
    assert!(!send(&["--admin", &gateway.at]).await.contains("authorization"));
    let named = ["--admin", &gateway.at, "--admin-token-file", token.to_str().unwrap()];
    assert!(send(&named).await.contains(sent));
    let missing = ["alerts", "test", "--admin", &gateway.at, "--admin-token-file", "/none/admin.token"];
    let (fine, _, complaint) = tollgate(&missing, &[]).await;
    assert!(!fine && complaint.contains("/none/admin.token does not exist"), "{complaint}");
}

/// A comment is posted to the ticket with the right login; a refusal by Jira is reported without the login, even if
/// Jira repeats it; missing settings are named.
#[tokio::test]
async fn a_comment_on_a_ticket() {
    let gateway = Stub::new(|_| (200, json!({ "comment": "h3. what the agent did" }).to_string()));
    let (user, token) = ("bot@example.com", "jira-secret-token");
    let login = STANDARD.encode(format!("{user}:{token}"));
    let post = async |jira: &str, token: Option<&str>| {
        let mut environment =
            vec![("TOLLGATE_ADMIN", gateway.at.as_str()), ("JIRA_BASE_URL", jira), ("JIRA_USER", user)];
        environment.extend(token.map(|token| ("JIRA_API_TOKEN", token)));
        tollgate(&["report", "--issue", "OPS-7", "--jira", "--post"], &environment).await
    };
    let jira = Stub::new(|_| (201, "{}".to_owned()));
    let (fine, out, complaint) = post(&jira.at, Some(token)).await;
    assert!(fine && out.contains("posted the comment on OPS-7"), "{out}{complaint}");
    let came = jira.last();
    assert!(came.starts_with("POST /rest/api/2/issue/OPS%2D7/comment "), "{came}");
    assert!(came.contains(&format!("authorization: Basic {login}\r\n")), "{came}");
    assert!(came.ends_with(r#"{"body":"h3. what the agent did"}"#), "{came}");
    for status in [401, 403, 404, 500] {
        let (echo, plain) = (login.clone(), token.to_owned());
        let jira = Stub::new(move |_| (status, format!("Basic {echo} or {plain} may not do this")));
        let (fine, out, complaint) = post(&jira.at, Some(token)).await;
        assert!(!fine && out.is_empty(), "{status}: {out}");
        assert!(status == 401 || complaint.contains(&status.to_string()), "{complaint}");
        assert!(!complaint.contains(&login) && !complaint.contains(token), "{complaint}");
    }
    let jira = Stub::new(|_| (400, r#"{"error": "the issue is closed"}"#.to_owned()));
    assert!(post(&jira.at, Some(token)).await.2.contains("the issue is closed"));
    let (fine, _, complaint) = post(&jira.at, None).await;
    assert!(!fine && complaint.contains("JIRA_API_TOKEN is not set"), "{complaint}");
    let (fine, _, complaint) = post("http://user:hunter22@127.0.0.1:1", Some(token)).await;
    assert!(!fine && !complaint.contains("hunter22"), "{complaint}");
}

/// JSON output of `report` and `alerts` can't control a terminal: text written by a client is escaped as `\uXXXX`,
/// which reads the same.
#[tokio::test]
async fn json_of_commands_drives_no_terminal() {
    let said = json!({ "comment": "plain", "alerts": [], "status_message": "\u{9b}2J\u{202e}\u{7f}\u{2066} ok" });
    let body = said.to_string();
    assert!(body.contains('\u{9b}'), "it comes raw");
    let gateway = Stub::new(move |_| (200, body.clone()));
    for arguments in [
        &["report", "--format", "json"][..],
        &["report", "--issue", "X-1", "--format", "json"],
        &["alerts", "list", "--json"],
    ] {
        let (fine, out, complaint) = tollgate(arguments, &[("TOLLGATE_ADMIN", &gateway.at)]).await;
        assert!(fine, "{complaint}");
        assert!(out.is_ascii() && !out.contains('\u{7f}'), "{arguments:?}: {out:?}");
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), said, "{arguments:?}");
    }
}
