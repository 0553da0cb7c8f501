//! Tests of `tollgate tap` with a whole gateway.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use otlp::{Signal, json};
use tollgate::app::RunningGateway;

use super::gateway;
use crate::client::{ask, attributes, tollgate};
use crate::manual::{check_shown, examples};
use crate::sources::{File, blocks_of};
use fakes::tls::{Authority, pem_file};

/// A pipeline for third parties and one that does not redact; an admin port.
async fn started(folder: &std::path::Path, admin: serde_json::Value) -> RunningGateway {
    let inside = folder.join("inside.jsonl");
    let changes = serde_json::json!({
        "exporters": { "file/inside": { "path": inside, "trust": "internal" } },
        "extensions": { "admin": admin },
        "service": { "pipelines": {
            "traces": { "processors": ["vault", "redact"] },
            "traces/inside": { "receivers": ["otlp"], "processors": ["vault"], "exporters": ["file/inside"] },
            "logs": null,
        } },
    });
    gateway::start(&gateway::configuration(folder, &changes), folder).await
}

/// The token that the gateway of [`started`] made for changes and `tap`.
fn local_token(folder: &std::path::Path) -> String {
    fs::read_to_string(folder.join("data/admin.token")).unwrap().trim().to_owned()
}

fn tap(admin: SocketAddr, arguments: &[&str], token: Option<&str>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["tap", "--admin", &format!("http://{admin}")]).args(arguments).env_clear();
    command.envs(token.map(|token| ("TOLLGATE_ADMIN_TOKEN", token)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits up to a minute for so many connected clients; the processes `taps`, which are those clients, must keep
/// running.
fn until_looking(admin: SocketAddr, lookers: &str, more: &str, taps: &mut [&mut Child]) {
    let began = Instant::now();
    while !ask(admin, "GET /metrics", more, b"").contains(&format!("\ntollgate_tap_clients {lookers}\n")) {
        assert!(taps.iter_mut().all(|tap| tap.try_wait().unwrap().is_none()), "a tap ended before it looked");
        assert!(began.elapsed() < Duration::from_secs(60), "not {lookers} look on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn span(service: &str, name: &str) -> Vec<u8> {
    let text = serde_json::json!({ "resourceSpans": [{
        "resource": { "attributes": attributes(&serde_json::json!({ "service.name": service })) },
        "scopeSpans": [{ "spans": [{
            "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": name,
            "attributes": attributes(&serde_json::json!({
                "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o",
                "gen_ai.input.messages": "[{\"role\":\"user\",\"content\":\"the secret of the canary\"}]",
            })),
        }] }],
    }] });
    json::decode(Signal::Traces, text.to_string().as_bytes()).unwrap()
}

/// Passing requests are shown in their outgoing form: redacted, without content, with references filled in, as JSON
/// without a terminal and as a tree with `--pretty`. Requests that third parties may not see are withheld and counted;
/// other services are left out; `--limit` ends the command.
#[tokio::test(flavor = "multi_thread")]
async fn tap_shows_what_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let app = started(folder.path(), serde_json::json!({ "endpoint": "127.0.0.1:0" })).await;
    let (admin, otlp) = (gateway::address(&app, "admin"), gateway::address(&app, "otlp http"));
    let token = local_token(folder.path());
    let mut lines = tap(admin, &["--service", "agents", "--limit", "2"], Some(&token));
    let mut text = tap(admin, &["--pretty", "--pipeline", "traces", "--limit", "3"], Some(&token));
    until_looking(admin, "2", "", &mut [&mut lines, &mut text]);
    for (service, name) in [("agents", "ask anna@example.com"), ("others", "x"), ("agents", "second")] {
        gateway::post(otlp, Signal::Traces, &span(service, name));
    }
    let [lines, text] = [lines, text].map(|child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    });
    for secret in ["canary", "anna@", "\"others\""] {
        assert!(!lines.contains(secret), "{secret}: {lines}");
    }
    let all: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let requests: Vec<_> = all.iter().filter(|line| line["request"].is_object()).collect();
    assert_eq!(requests.len(), 2, "{lines}");
    assert!(all.iter().any(|line| line["withheld"].as_u64() > Some(0)), "{lines}");
    let first = requests[0];
    assert_eq!([&first["pipeline"], &first["account"], &first["signal"]], ["traces", "default", "traces"]);
    assert_eq!(first["items"], 1);
    let spans = first["request"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0].to_string();
    assert!(spans.contains("[EMAIL]") && spans.contains("gen_ai.payload.s3_uri"), "{spans}");
    assert!(spans.contains("file://"), "references are filled in: {spans}");
    let file = folder.path().join("tapped.jsonl");
    fs::write(&file, &lines).unwrap();
    let (code, explained, said) = tollgate(&["explain", "--json", file.to_str().unwrap(), "--data-dir=none"]);
    assert!(code == Some(0) && explained.contains("\"from_gateway\": true"), "{explained}{said}");
    assert!(text.contains(" traces account=default traces: 1 span,") && text.contains("[EMAIL]"), "{text}");
    assert!(text.contains("others") && !text.contains("canary") && !text.contains("anna@"), "{text}");
    for line in ["  resourceSpans #0", "        -> service.name: \"agents\"", "      spans #0", "        name: second"]
    {
        assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
    }
    app.shutdown().await;
}

/// A client without credentials sees nothing; a gateway that shuts down is not held up by connected clients and tells
/// them.
#[tokio::test(flavor = "multi_thread")]
async fn tap_needs_the_ports_credentials_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let token = "a-long-enough-token";
    let admin = serde_json::json!({ "endpoint": "127.0.0.1:0", "auth": { "bearer": token } });
    let app = started(folder.path(), admin).await;
    let admin = gateway::address(&app, "admin");
    let refused = tap(admin, &[], None).wait_with_output().unwrap();
    let mut looking = tap(admin, &[], Some(token));
    until_looking(admin, "1", &format!("authorization: Bearer {token}\r\n"), &mut [&mut looking]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the credentials were refused"), "{refused:?}");
    app.shutdown().await;
    let mut said = String::new();
    BufReader::new(looking.stderr.take().unwrap()).read_line(&mut said).unwrap();
    let code = looking.wait().unwrap().code();
    assert!(
        code == Some(0)
            && said.contains("the gateway ended the stream: it is shutting down or reloading its configuration"),
        "{code:?} {said}"
    );
}

/// Commands that query a running gateway find it by its configuration: the port, the trusted certificates and the
/// credentials. `--admin` takes precedence. (Regression test: `--config` was accepted, but 127.0.0.1:8888 was
/// queried.)
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_says_where_its_gateway_is() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let made = authority.issue("gateway.example");
    let leaf = fs::read_to_string(pem_file(&folder, "leaf.pem", "CERTIFICATE", &made.certificate)).unwrap();
    let root = fs::read_to_string(pem_file(&folder, "root.pem", "CERTIFICATE", &authority.certificate)).unwrap();
    let chain = folder.path().join("chain.pem");
    fs::write(&chain, leaf + &root).unwrap();
    let key = pem_file(&folder, "server.key", "PRIVATE KEY", &made.key);
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (port, nobody) = (free(), free());
    let admin = serde_json::json!({
        "endpoint": format!("0.0.0.0:{port}"),
        "tls": { "cert_file": chain, "key_file": key },
        "auth": { "bearer": "a-long-enough-token" },
    });
    let app = started(folder.path(), admin.clone()).await;
    let write = |name: &str, admin: serde_json::Value, enabled: &[&str]| {
        let path = folder.path().join(name);
        let text = serde_json::json!({
            "receivers": { "otlp": { "protocols": { "http": { "endpoint": "127.0.0.1:0" } } } },
            "exporters": { "debug": { "trust": "internal" } },
            "extensions": { "admin": admin },
            "spool": { "directory": folder.path().join("other/spool") },
            "service": { "extensions": enabled, "pipelines": { "traces": { "receivers": ["otlp"], "exporters": ["debug"] } } },
        });
        fs::write(&path, text.to_string()).unwrap();
        format!("--config={}", path.display())
    };
    let known = write("known.yaml", admin, &["admin"]);
    let away = write("away.yaml", serde_json::json!({ "endpoint": format!("127.0.0.1:{nobody}") }), &["admin"]);
    let without = write("without.yaml", serde_json::json!({}), &[]);
    let elsewhere = format!("http://127.0.0.1:{nobody}/");
    let at_nobody = format!("127.0.0.1:{nobody}");
    for command in [&["alerts", "list"][..], &["report", "--format", "json"], &["top", "--once"]] {
        let (code, _, said) = tollgate(&[command, &[&known]].concat());
        assert_eq!(code, Some(0), "{command:?}: {said}");
    }
    for command in [&["tap"][..], &["alerts", "list"], &["alerts", "test"], &["report"], &["top", "--once"]] {
        for (more, told) in [
            (&[&*away][..], [at_nobody.as_str(), ""]),
            (&[&*without], ["no admin port", "--admin"]),
            (&[&*known, "--admin", &elsewhere], [&at_nobody, ""]),
        ] {
            let (code, _, said) = tollgate(&[command, more].concat());
            assert!(code == Some(1) && told.iter().all(|part| said.contains(part)), "{command:?} {more:?}: {said}");
        }
    }
    app.shutdown().await;
}

/// If nothing at all may be shown, `tap` must say so: silence would mean that nothing passes.
#[tokio::test(flavor = "multi_thread")]
async fn tap_tells_what_is_withheld() {
    let folder = tempfile::tempdir().unwrap();
    let app = started(folder.path(), serde_json::json!({ "endpoint": "127.0.0.1:0" })).await;
    let (admin, otlp) = (gateway::address(&app, "admin"), gateway::address(&app, "otlp http"));
    let mut child = tap(admin, &["--json", "--pipeline", "traces/inside"], Some(&local_token(folder.path())));
    until_looking(admin, "1", "", &mut [&mut child]);
    gateway::post(otlp, Signal::Traces, &span("agents", "x"));
    let out = BufReader::new(child.stdout.take().unwrap());
    let (tell, lines) = mpsc::channel();
    std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| drop(tell.send(line))));
    let line = lines.recv_timeout(Duration::from_secs(60));
    child.kill().unwrap();
    child.wait().unwrap();
    let line: serde_json::Value = serde_json::from_str(&line.expect("nothing is told")).unwrap();
    assert_eq!(line, serde_json::json!({ "left_out": 0, "withheld": 1 }));
    app.shutdown().await;
}

/// The commands shown in docs/operations.md produce the output shown.
#[tokio::test(flavor = "multi_thread")]
async fn the_manuals_examples_run() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let block = blocks_of("console", &File::read("docs/operations.md").text).remove(0);
    let examples = examples(&block);
    for wanted in ["tap ", "schema", "completions ", "explain ", "test "] {
        assert!(
            examples.iter().any(|(command, _)| format!("{command} ").starts_with(wanted)),
            "no example of {wanted}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let app = started(folder.path(), serde_json::json!({ "endpoint": "127.0.0.1:0" })).await;
    let (admin, otlp) = (gateway::address(&app, "admin"), gateway::address(&app, "otlp http"));
    for (command, expected) in examples {
        let arguments: Vec<&str> = command.split_whitespace().collect();
        let mut run = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        run.args(&arguments).current_dir(root).env_clear().env("HOME", folder.path());
        run.env("TOLLGATE_ADMIN_TOKEN_FILE", folder.path().join("data/admin.token"));
        let mut child = run.env("TOLLGATE_ADMIN", format!("http://{admin}")).stdout(Stdio::piped()).spawn().unwrap();
        if arguments[0] == "tap" {
            until_looking(admin, "1", "", &mut [&mut child]);
            gateway::post(otlp, Signal::Traces, &span("agents", "ask anna@example.com"));
        }
        let output = child.wait_with_output().unwrap();
        if arguments[0] == "tap" {
            // wait for the client to leave, or the next one would be counted as connected too early
            until_looking(admin, "0", "", &mut []);
        }
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command}: {shown}");
        check_shown(command, &expected, &shown);
    }
    app.shutdown().await;
}
