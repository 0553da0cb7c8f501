//! A whole gateway in the test's process: requests in, and the output for a third party.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use config::env::{EmptyLookup, SubstitutionLookup};
use otlp::{Signal, json};
use telemetry::Meter;
use tollgate::app::build::GatewayDeps;
use tollgate::app::{RunningGateway, assemble, resolve};

use crate::client;

/// A configuration with every step and a file in place of a third party.
fn configuration(folder: &Path) -> String {
    let public = vault::keygen::generate_auditor_key(&folder.join("auditor.key")).unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    let steps = ["normalize", "cost", "runs", "vault", "redact"];
    let pipeline =
        |steps: &[&str]| serde_json::json!({ "receivers": ["otlp"], "processors": steps, "exporters": ["file"] });
    serde_json::json!({
        "receivers": { "otlp": { "protocols": { "http": { "endpoint": "127.0.0.1:0" } } } },
        "processors": {
            "normalize": {}, "cost": {}, "runs": {}, "redact": {},
            "vault": { "recipients": [public], "store": { "directory": at("vault") }, "writer": "test" },
        },
        "exporters": { "file": { "path": at("outbound.jsonl") } },
        "spool": { "directory": at("data/spool"), "max_size": "64MiB" },
        "limits": { "shutdown": "10s" },
        "service": { "pipelines": { "traces": pipeline(&steps), "logs": pipeline(&steps) } },
    })
    .to_string()
}

/// Posts the requests to a gateway and returns what it had forwarded when it was shut down.
pub(crate) async fn forwarded(requests: Vec<(Signal, Vec<u8>)>) -> Vec<(Signal, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("data")).unwrap();
    let app = start(&configuration(folder.path()), folder.path()).await;
    let otlp = address(&app, "otlp http");
    let posted = tokio::task::spawn_blocking(move || {
        for (signal, body) in requests {
            post(otlp, signal, &body);
        }
    });
    posted.await.unwrap();
    app.shutdown().await;
    let lines = fs::read_to_string(folder.path().join("outbound.jsonl")).unwrap();
    lines.lines().map(decode).collect()
}

/// Starts a gateway with this configuration.
pub(crate) async fn start(configuration: &str, data: &Path) -> RunningGateway {
    start_with(configuration, &EmptyLookup, data).await.0
}

/// The same with variables and files; returns its metrics, too.
pub(crate) async fn start_with(
    configuration: &str,
    lookup: &dyn SubstitutionLookup,
    data: &Path,
) -> (RunningGateway, Meter) {
    let read = resolve::resolve_config("test", configuration, lookup, data);
    let (_, valid) = read.result.map_err(|problems| read.source.render(&problems, false)).unwrap();
    let deps = GatewayDeps::system();
    let meter = deps.meter.clone();
    (RunningGateway::start(assemble::build_blueprint(valid, &deps).await.unwrap(), deps).await.unwrap(), meter)
}

/// The address of one of a gateway's ports.
pub(crate) fn address(app: &RunningGateway, of: &str) -> SocketAddr {
    app.addresses().iter().find(|(what, _)| what == of).unwrap().1
}

fn decode(line: &str) -> (Signal, Vec<u8>) {
    let signal = if line.starts_with("{\"resourceLogs\"") { Signal::Logs } else { Signal::Traces };
    (signal, json::decode(signal, line.as_bytes()).unwrap())
}

/// Posts one request over a connection of its own; it must be accepted.
pub(crate) fn post(to: SocketAddr, signal: Signal, body: &[u8]) {
    let answer = client::ask(to, &format!("POST /v1/{}", signal.as_str()), client::PROTOBUF, body);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
