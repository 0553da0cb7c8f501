//! Tests of the admin port of a whole gateway with remote clients.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::gateway;

/// A client that connects from an address other than the machine's own (such as 127.0.0.6, which sidecars use), or
/// whose request a proxy forwarded, can neither read nor change anything; a local one can. (Verified to fail without
/// the layer, and with every peer treated as local.)
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_from_elsewhere_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir_all(folder.path().join("data")).unwrap();
    let configuration = json!({
        "receivers": { "otlp": { "protocols": { "http": { "endpoint": "127.0.0.1:0" } } } },
        "exporters": { "file": { "path": at("out.jsonl"), "trust": "internal" } },
        "extensions": { "admin": { "endpoint": "127.0.0.1:0" } },
        "spool": { "directory": at("data/spool"), "max_size": "64MiB" },
        "limits": { "shutdown": "10s" },
        "service": { "extensions": ["admin"], "pipelines": { "traces": { "receivers": ["otlp"], "exporters": ["file"] } } },
    });
    let app = gateway::start(&configuration.to_string(), folder.path()).await;
    let admin = app.addresses().iter().find(|(what, _)| what == "admin").unwrap().1;
    let ask = async |from: &str, asked: &str, more: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(admin).await.unwrap();
        let head =
            format!("{asked} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n{more}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    let (near, far) = ("127.0.0.1", "127.0.0.6");
    // no webhook is configured
    assert_eq!(ask(near, "POST /api/alerts/test", "").await, 404);
    for asked in ["POST /api/alerts/test", "DELETE /api/alerts/limit_hit/mute", "GET /api/tap"] {
        assert_eq!(ask(far, asked, "").await, 403, "{asked}");
        for header in [
            "x-forwarded-for: 10.0.0.9",
            "forwarded: for=10.0.0.9",
            "via: 1.1 x",
            "x-real-ip: 10.0.0.9",
            "x-envoy-internal: true",
        ] {
            assert_eq!(ask(near, asked, &format!("{header}\r\n")).await, 403, "{asked} {header}");
        }
    }
    assert_eq!(ask(far, "GET /metrics", "").await, 200);
    app.shutdown().await;
}
