//! Tests of a whole gateway with an external recogniser: a server in the test's process that speaks Presidio's API and
//! can misbehave.

use std::fs;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use config::env::OtherMachineLookup;
use serde_json::{Value as Json, json};
use telemetry::Meter;
use tollgate::app::RunningGateway;

use crate::{client, gateway};

/// How the server handles a call.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    /// Reports each `Zqx Vorn` as a person.
    Work,
    /// Answers 500.
    Fail,
    /// Keeps the connection open without a response.
    Hang,
}

/// A server with Presidio's API.
struct Analyzer {
    address: SocketAddr,
    does: Arc<Mutex<Does>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Analyzer {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, does) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Does::Work)));
        let (asked, hung) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<TcpStream>>>::default());
        let (told, seen) = (Arc::clone(&does), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (told, seen, hung) = (Arc::clone(&told), Arc::clone(&seen), Arc::clone(&hung));
                thread::spawn(move || serve(stream.unwrap(), &told, &seen, &hung));
            }
        });
        Self { address, does, asked }
    }

    fn does(&self, what: Does) {
        *self.does.lock().unwrap() = what;
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Waits up to a minute for the first call.
    fn until_asked(&self) {
        let began = Instant::now();
        while self.asked().is_empty() {
            assert!(began.elapsed() < Duration::from_secs(60), "it was not asked");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Answers the call of a connection.
fn serve(stream: TcpStream, does: &Mutex<Does>, asked: &Mutex<Vec<String>>, hung: &Mutex<Vec<TcpStream>>) {
    let mut stream = BufReader::new(stream);
    let Ok(body) = serde_json::from_slice::<Json>(&client::read_request(&mut stream)) else { return };
    let texts: Vec<String> = serde_json::from_value(body["text"].clone()).unwrap();
    asked.lock().unwrap().extend(texts.clone());
    let mut stream = stream.into_inner();
    let (status, answer) = match *does.lock().unwrap() {
        Does::Work => (200, json!(texts.iter().map(|text| found(text)).collect::<Vec<_>>())),
        Does::Fail => (500, json!({"error": "no"})),
        Does::Hang => return hung.lock().unwrap().push(stream),
    };
    let answer = answer.to_string();
    let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", answer.len());
    stream.write_all((head + &answer).as_bytes()).unwrap();
}

fn found(text: &str) -> Vec<Json> {
    let chars = |at: usize| text[..at].chars().count();
    let found = text.match_indices("Zqx Vorn").map(|(at, name)| (chars(at), chars(at + name.len())));
    found.map(|(start, end)| json!({"entity_type": "PERSON", "start": start, "end": end, "score": 0.9})).collect()
}

fn configuration(folder: &Path, analyzer: &Analyzer, more: &Json) -> String {
    let mut recogniser =
        json!({ "endpoint": format!("http://{}", analyzer.address), "trust": "internal", "timeout": "30s" });
    recogniser.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let changes = json!({ "processors": { "redact": { "recogniser": recogniser } }, "limits": { "shutdown": "1s" } });
    gateway::configuration(folder, &changes)
}

async fn start(folder: &Path, analyzer: &Analyzer, more: &Json) -> (RunningGateway, SocketAddr, Meter) {
    let configuration = configuration(folder, analyzer, more);
    let (app, meter) = gateway::start_with(&configuration, &OtherMachineLookup, folder).await;
    let otlp = gateway::address(&app, "otlp http");
    (app, otlp, meter)
}

/// A model call whose prompt and note mention the same person.
fn request(number: u32) -> Vec<u8> {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let prompt = r#"[{"role":"user","parts":[{"type":"text","content":"prompt of Zqx Vorn, CANARY"}]}]"#;
    let call = json!({
        "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": format!("b7ad6b71692{number:05}"), "name": "chat m",
        "startTimeUnixNano": "1", "endTimeUnixNano": "2",
        "status": {"code": 2, "message": "😀 asked by Zqx Vorn, mail a@example.com"},
        "attributes": [
            text("gen_ai.operation.name", "chat"), text("gen_ai.request.model", "m"), text("gen_ai.provider.name", "openai"),
            text("gen_ai.input.messages", prompt), text("unlisted.text", "prose of Zqx Vorn CANARY"),
        ],
    });
    let plain = json!({
        "traceId": "1af7651916cd43dd8448eb211c80319c", "spanId": format!("c7ad6b71692{number:05}"), "name": "GET /",
        "startTimeUnixNano": "1", "endTimeUnixNano": "2",
        "attributes": [text("note", "é met Zqx Vorn there"), text("user.id", "Zqx Vorn")],
    });
    let other = json!({"resourceSpans": [
        {"scopeSpans": [{"spans": [call]}]}, {"scopeSpans": [{"spans": [plain]}]}]});
    other.to_string().into_bytes()
}

/// Posts a request and returns the whole response.
fn post(to: SocketAddr, body: &[u8]) -> String {
    client::ask(to, "POST /v1/traces", client::JSON, body)
}

fn outbound(folder: &Path) -> String {
    fs::read_to_string(folder.join("outbound.jsonl")).unwrap_or_default()
}

/// Texts that stay must be sent to the recogniser and lose what it names; content must never reach it. While it fails,
/// clients are asked to retry and nothing is forwarded; once it works again, nothing was lost or counted twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_and_goes_on() {
    let (folder, analyzer) = (tempfile::tempdir().unwrap(), Analyzer::new());
    let (app, otlp, meter) = start(folder.path(), &analyzer, &json!({})).await;
    assert!(post(otlp, &request(1)).starts_with("HTTP/1.1 200"));
    let asked = analyzer.asked();
    assert_eq!(asked, ["😀 asked by Zqx Vorn, mail a@example.com", "é met Zqx Vorn there"], "no content");
    analyzer.does(Does::Fail);
    let refused = post(otlp, &request(2));
    assert!(refused.starts_with("HTTP/1.1 503") && refused.to_lowercase().contains("retry-after: 5"), "{refused}");
    assert!(!refused.contains("Zqx"), "{refused}");
    analyzer.does(Does::Work);
    assert!(post(otlp, &request(2)).starts_with("HTTP/1.1 200"));
    app.shutdown().await;
    let out = outbound(folder.path());
    assert_eq!(
        (out.matches("😀 asked by [PERSON], mail [EMAIL]").count(), out.matches("é met [PERSON] there").count()),
        (2, 2)
    );
    assert!(!out.contains("CANARY") && !analyzer.asked().concat().contains("CANARY"));
    let metrics = meter.render();
    for line in [
        "tollgate_recogniser_calls_total{processor=\"redact\",outcome=\"answered\"} 2",
        "tollgate_recogniser_calls_total{processor=\"redact\",outcome=\"failed\"} 1",
        "tollgate_recogniser_unanswered_requests_total{processor=\"redact\"} 1",
        "tollgate_redactions_total{rule=\"recogniser_person\",signal=\"traces\"} 4",
        "tollgate_work_parked_requests 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

/// With `unscanned`, a failing recogniser must cost only the texts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unscanned_goes_on_without_the_texts() {
    let (folder, analyzer) = (tempfile::tempdir().unwrap(), Analyzer::new());
    analyzer.does(Does::Fail);
    let (app, otlp, _) = start(folder.path(), &analyzer, &json!({"on_error": "unscanned"})).await;
    assert!(post(otlp, &request(1)).starts_with("HTTP/1.1 200"));
    app.shutdown().await;
    let out = outbound(folder.path());
    assert_eq!(out.matches("\"[UNSCANNED]\"").count(), 2, "{out}");
    assert!(!out.contains("Zqx Vorn there") && !out.contains("asked by"), "{out}");
}

/// A gateway that is shut down while a recogniser hangs must end in time, forward nothing of that request, and ask its
/// client to retry or close the connection; requests accepted before are delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_does_not_wait_for_ever() {
    let (folder, analyzer) = (tempfile::tempdir().unwrap(), Analyzer::new());
    let (app, otlp, _) = start(folder.path(), &analyzer, &json!({})).await;
    assert!(post(otlp, &request(1)).starts_with("HTTP/1.1 200"));
    analyzer.does(Does::Hang);
    analyzer.asked();
    let waits = thread::spawn(move || post(otlp, &request(2)));
    analyzer.until_asked();
    app.shutdown().await;
    let told = waits.join().unwrap();
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 503"), "{told}");
    assert_eq!(outbound(folder.path()).matches("é met [PERSON] there").count(), 1);
}

/// A client that disconnects while its request waits must lose nothing: the same bytes are answered with OK and
/// counted once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_loses_nothing() {
    let (folder, analyzer) = (tempfile::tempdir().unwrap(), Analyzer::new());
    analyzer.does(Does::Hang);
    let (app, otlp, _) = start(folder.path(), &analyzer, &json!({"timeout": "1s", "on_error": "unscanned"})).await;
    let body = request(1);
    let mut stream = TcpStream::connect(otlp).unwrap();
    let head = format!("POST /v1/traces HTTP/1.1\r\nhost: localhost\r\n{}content-length: ", client::JSON);
    write!(stream, "{head}{}\r\n\r\n", body.len()).unwrap();
    stream.write_all(&body).unwrap();
    analyzer.until_asked();
    drop(stream);
    assert!(post(otlp, &body).starts_with("HTTP/1.1 200"));
    assert!(analyzer.asked().is_empty(), "the same request is not asked about twice");
    app.shutdown().await;
    assert_eq!(outbound(folder.path()).matches("\"GET /\"").count(), 1);
}

/// `redact` must measure with the configured recogniser, and report nothing for a text without its answer.
#[test]
fn a_file_is_redacted_with_the_recogniser() {
    let (folder, analyzer) = (tempfile::tempdir().unwrap(), Analyzer::new());
    let (config, input) = (folder.path().join("config.yaml"), folder.path().join("in.jsonl"));
    fs::write(&config, configuration(folder.path(), &analyzer, &json!({}))).unwrap();
    fs::write(&input, "{\"id\":1,\"text\":\"é Zqx Vorn, a@example.com\"}\n{\"id\":2,\"text\":\"\"}\n").unwrap();
    let redact = || {
        let files =
            ["redact", "--input", input.to_str().unwrap(), "--output", "-", "--config", config.to_str().unwrap()];
        Command::new(env!("CARGO_BIN_EXE_tollgate")).args(files).output().unwrap()
    };
    let out = redact();
    let lines: Vec<Json> =
        out.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let spans = json!([{"start": 2, "end": 10, "type": "PERSON"}, {"start": 12, "end": 25, "type": "EMAIL"}]);
    assert_eq!(lines[0], json!({"id": 1, "redacted": "é [PERSON], [EMAIL]", "spans": spans}), "{out:?}");
    analyzer.does(Does::Fail);
    let out = redact();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && out.stdout.is_empty() && said.contains("line 1"), "{said}");
    assert!(!said.contains("Vorn"), "{said}");
}

/// `explain` must ask the recogniser as the gateway does and name it as the rule; without an answer it says so.
#[test]
fn explain_names_the_recogniser() {
    let (folder, analyzer) = (tempfile::tempdir().unwrap(), Analyzer::new());
    let config = folder.path().join("config.yaml");
    fs::write(&config, configuration(folder.path(), &analyzer, &json!({}))).unwrap();
    let explain = || {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["--config", config.to_str().unwrap(), "explain", "--json", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&request(1)).unwrap();
        child.wait_with_output().unwrap()
    };
    let out = explain();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let shown: Json = serde_json::from_slice(&out.stdout).unwrap();
    let shown = shown.to_string();
    let wanted = r#"{"rule":"recogniser_person","placeholder":"[PERSON]","certainty":"found by the external recogniser","start":6,"end":14}"#;
    assert!(shown.contains(wanted), "{shown}");
    analyzer.does(Does::Fail);
    let out = explain();
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("the external recogniser did not check the texts"));
}
