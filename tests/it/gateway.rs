//! A whole gateway in the test's process: requests in, and the output for a third party.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use config::env::EmptyLookup;
use otlp::{Signal, json};
use tollgate::app::build::GatewayDeps;
use tollgate::app::{RunningGateway, assemble, resolve};

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
    let otlp = app.addresses().iter().find(|(what, _)| what == "otlp http").unwrap().1;
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
    let read = resolve::resolve_config("test", configuration, &EmptyLookup, data);
    let (_, valid) = read.result.map_err(|problems| read.source.render(&problems, false)).unwrap();
    let seams = GatewayDeps::system();
    RunningGateway::start(assemble::build_blueprint(valid, &seams).await.unwrap(), seams).await.unwrap()
}

fn decode(line: &str) -> (Signal, Vec<u8>) {
    let signal = if line.starts_with("{\"resourceLogs\"") { Signal::Logs } else { Signal::Traces };
    (signal, json::decode(signal, line.as_bytes()).unwrap())
}

/// Posts one request over a connection of its own; it must be accepted.
pub(crate) fn post(to: SocketAddr, signal: Signal, body: &[u8]) {
    let mut stream = TcpStream::connect(to).unwrap();
    let (signal, length) = (signal.as_str(), body.len());
    write!(stream, "POST /v1/{signal} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/x-protobuf\r\ncontent-length: {length}\r\n\r\n").unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}
