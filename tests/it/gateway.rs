//! A whole gateway in the test's process: requests in, and the output for a third party.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use config::env::{OtherMachineLookup, SubstitutionLookup};
use otlp::Signal;
use serde_json::{Value, json};
use telemetry::Meter;
use tollgate::app::build::GatewayDeps;
use tollgate::app::{RunningGateway, assemble, resolve};

use crate::client;

const AUDITOR: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

/// A configuration with every step, an admin port, and a file in place of a third party; a key of `changes` replaces
/// the same one, and `null` removes it.
pub(crate) fn configuration(folder: &Path, changes: &Value) -> String {
    fs::create_dir_all(folder.join("data")).unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    let steps = ["normalize", "cost", "runs", "vault", "redact"];
    let pipeline = json!({ "receivers": ["otlp"], "processors": steps, "exporters": ["file"] });
    let mut whole = json!({
        "receivers": { "otlp": { "protocols": { "http": { "endpoint": "127.0.0.1:0" } } } },
        "processors": {
            "normalize": {}, "cost": {}, "runs": {}, "redact": {},
            "vault": { "recipients": [AUDITOR], "store": { "directory": at("vault") }, "writer": "test" },
        },
        "exporters": { "file": { "path": at("outbound.jsonl") } },
        "extensions": { "admin": { "endpoint": "127.0.0.1:0" } },
        "spool": { "directory": at("data/spool"), "max_size": "64MiB" },
        "limits": { "shutdown": "10s" },
        "service": { "extensions": ["admin"], "pipelines": { "traces": pipeline, "logs": pipeline } },
    });
    change(&mut whole, changes);
    whole.to_string()
}

fn change(whole: &mut Value, changes: &Value) {
    let Value::Object(changes) = changes else { return whole.clone_from(changes) };
    if !whole.is_object() {
        *whole = json!({});
    }
    let known = whole.as_object_mut().unwrap();
    for (key, value) in changes {
        match value {
            Value::Null => drop(known.remove(key)),
            value => change(known.entry(key).or_insert(Value::Null), value),
        }
    }
}

/// A file with one pipeline: protocols of the OTLP receiver, an exporter, more lines, which may have an admin port.
pub(crate) fn plain(folder: &Path, protocols: &str, exporter: &str, more: &str) -> String {
    let (spool, id) = (folder.join("data/spool"), exporter.split(':').next().unwrap());
    let enabled = if more.contains("admin: {") { "extensions: [admin], " } else { "" };
    format!(
        "receivers: {{ otlp: {{ protocols: {{ {protocols} }} }} }}\nexporters:\n  {exporter}\n{more}\n\
         spool: {{ directory: '{}', max_size: 64MiB }}\n\
         service: {{ {enabled}pipelines: {{ traces: {{ receivers: [otlp], exporters: [{id}] }} }} }}\n",
        spool.display()
    )
}

/// Posts the requests to a gateway and returns what it had forwarded when it was shut down.
pub(crate) async fn forwarded(requests: Vec<(Signal, Vec<u8>)>) -> Vec<(Signal, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let app = start(&configuration(folder.path(), &json!({})), folder.path()).await;
    let otlp = address(&app, "otlp http");
    requests.into_iter().for_each(|(signal, body)| post(otlp, signal, &body));
    app.shutdown().await;
    let lines = fs::read_to_string(folder.path().join("outbound.jsonl")).unwrap();
    lines.lines().map(decode).collect()
}

/// Starts a gateway with this configuration.
pub(crate) async fn start(configuration: &str, data: &Path) -> RunningGateway {
    start_with(configuration, &OtherMachineLookup, data).await.0
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
    (signal, otlp::json::decode(signal, line.as_bytes()).unwrap())
}

/// Posts one request over a connection of its own; it must be accepted.
pub(crate) fn post(to: SocketAddr, signal: Signal, body: &[u8]) {
    let answer = client::ask(to, &format!("POST /v1/{}", signal.as_str()), client::PROTOBUF, body);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
