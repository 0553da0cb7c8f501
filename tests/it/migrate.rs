//! A usual Collector file, migrated by the binary and run as a gateway before a fake back end.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output};

use config::env::{SubstitutionFileError, SubstitutionLookup};
use fakes::sink::Sink;
use otlp::{Signal, json};
use tollgate::app::build::GatewayDeps;
use tollgate::app::{RunningGateway, assemble, resolve};

use crate::{client, gateway};

const COLLECTOR: &str = r#"
receivers:
  otlp:
    protocols:
      grpc: { endpoint: 127.0.0.1:0 }
      http: { endpoint: 127.0.0.1:0 }
processors:
  memory_limiter: { check_interval: 1s, limit_mib: 512 }
  batch:
  filter: { error_mode: ignore, traces: { span: ['attributes["url.path"] == "/healthz"'] } }
  attributes: { actions: [{ key: deployment.environment, value: production, action: insert }] }
exporters:
  otlp_http:
    endpoint: BACKEND
    headers: { x-honeycomb-team: "${HONEYCOMB_API_KEY}" }
service:
  pipelines:
    traces: { receivers: [otlp], processors: [memory_limiter, filter, attributes, batch], exporters: [otlp_http] }
"#;

const PROMPT: &str = "Why does the invoice of Rosalind Wexford fail?";

struct Environment {
    auditor: String,
    folder: String,
}

impl SubstitutionLookup for Environment {
    fn var(&self, name: &str) -> Option<String> {
        match name {
            "AUDITOR_PUBLIC_KEY" => Some(self.auditor.clone()),
            "TOLLGATE_DATA_DIR" => Some(self.folder.clone()),
            "HONEYCOMB_API_KEY" => Some("hcaik-0123456789abcdef".to_owned()),
            _ => None,
        }
    }

    fn read_file(&self, _: &str) -> Result<String, SubstitutionFileError> {
        Err(SubstitutionFileError::Missing)
    }
}

impl Environment {
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let names = ["AUDITOR_PUBLIC_KEY", "TOLLGATE_DATA_DIR", "HONEYCOMB_API_KEY"];
        command.args(arguments).env_clear().envs(names.map(|name| (name, self.var(name).unwrap())));
        command.output().unwrap()
    }
}

fn trace() -> String {
    let span = |id: &str, name: &str, attributes: serde_json::Value| {
        serde_json::json!({
            "traceId": "5b8aa5a2d2c872e8321cf37308d69df2", "spanId": id, "name": name, "kind": 2,
            "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000001000000000", "attributes": client::attributes(&attributes)
        })
    };
    let messages = format!(r#"[{{"role":"user","parts":[{{"type":"text","content":"{PROMPT}"}}]}}]"#);
    let chat = serde_json::json!({ "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o",
        "gen_ai.input.messages": messages });
    serde_json::json!({ "resourceSpans": [{
        "resource": { "attributes": client::attributes(&serde_json::json!({ "service.name": "shop" })) },
        "scopeSpans": [{ "spans": [
            span("051581bf3cb55c11", "GET /healthz", serde_json::json!({ "url.path": "/healthz" })),
            span("051581bf3cb55c12", "GET /orders", serde_json::json!({ "url.path": "/orders" })),
            span("051581bf3cb55c13", "chat gpt-4o", chat),
        ] }],
    }] })
    .to_string()
}

fn has_object(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() { has_object(&path) } else { path.extension().is_some_and(|extension| extension == "agev") }
    })
}

/// The result is valid and complete. Of a health check, an ordinary request and a model call, the back end gets the
/// last two, with the inserted attribute and without the prompt, which is in the vault beside the spool. (With the
/// rule, the step `attributes` or the vault removed from the result, the test fails.)
#[tokio::test(flavor = "multi_thread")]
async fn a_usual_collectors_file_becomes_a_gateway() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new(None, []).await);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let auditor = vault::keygen::generate_auditor_key(&folder.path().join("auditor.key")).unwrap();
    let environment = Environment { auditor, folder: at("data") };
    fs::create_dir_all(folder.path().join("data")).unwrap();
    fs::write(at("collector.yaml"), COLLECTOR.replace("BACKEND", &format!("http://{}", sink.address))).unwrap();
    let migrated = environment.run(&["migrate", &at("collector.yaml"), "--output", &at("tollgate.yaml")]);
    assert!(migrated.status.success() && migrated.stderr.is_empty(), "{}", String::from_utf8_lossy(&migrated.stderr));
    for options in [&["--file-only"][..], &[]] {
        let valid = environment.run(&[&["validate", "--config", &at("tollgate.yaml")], options].concat());
        assert!(valid.status.success(), "{}", String::from_utf8_lossy(&valid.stderr));
    }
    let text = fs::read_to_string(at("tollgate.yaml")).unwrap();
    let words = text.split_whitespace().filter(|word| *word != "#").collect::<Vec<_>>().join(" ");
    assert!(words.contains("in a folder beside the spool") && text.contains("tollgate vault keygen"), "{text}");

    let read = resolve::resolve_config("tollgate.yaml", &text, &environment, folder.path());
    let (_, mut valid) = read.result.map_err(|problems| read.source.render(&problems, false)).unwrap();
    // Tests beside this one use the port of `admin`.
    valid.extensions.clear();
    let seams = GatewayDeps::system();
    let app = RunningGateway::start(assemble::build_blueprint(valid, &seams).await.unwrap(), seams).await.unwrap();
    let otlp = gateway::address(&app, "otlp http");
    client::post_traces(otlp, &trace());
    app.shutdown().await;

    let seen = sink.seen();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|one| one.header("x-honeycomb-team") == Some("hcaik-0123456789abcdef")));
    let sent: Vec<String> = seen.iter().map(|one| json_of(one.header("content-encoding"), &one.body)).collect();
    let sent = sent.concat();
    assert!(!sent.contains("healthz"), "{sent}");
    for name in ["GET /orders", "chat gpt-4o"] {
        assert_eq!(sent.matches(&format!("\"name\":\"{name}\"")).count(), 1, "{name}: {sent}");
    }
    assert_eq!(
        sent.matches("\"deployment.environment\",\"value\":{\"stringValue\":\"production\"}").count(),
        2,
        "{sent}"
    );
    assert!(!sent.contains("Wexford") && !sent.contains("invoice"), "{sent}");
    assert!(has_object(&folder.path().join("data/vault")));
}

fn json_of(encoding: Option<&str>, body: &[u8]) -> String {
    let mut plain = Vec::new();
    match encoding {
        Some("gzip") => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut plain).unwrap()),
        other => {
            assert_eq!(other, None);
            plain.extend_from_slice(body);
        }
    }
    let mut text = String::new();
    json::encode(Signal::Traces, &plain, &mut text).unwrap();
    text
}
