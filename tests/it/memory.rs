//! Tests of a gateway near its memory limit: it refuses requests and recovers by itself. (`tests/peers/run.sh faults
//! storm` tests real overload.)

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use super::reload::Running;
use crate::client::{PROTOBUF, ask, span};
use crate::gateway;

fn start(folder: &Path, protocol: &str, limits: &str) -> Running {
    fs::create_dir_all(folder.join("data")).unwrap();
    let exporter = format!("file: {{ path: '{}', trust: internal }}", folder.join("out.jsonl").display());
    let more = "extensions: { admin: { endpoint: '127.0.0.1:0' } }";
    let more = format!("{more}\nlimits: {{ shutdown: 1s, {limits} }}");
    let text = gateway::plain(folder, &format!("http: {{ endpoint: '127.0.0.1:0', {protocol} }}"), &exporter, &more);
    fs::write(folder.join("config.yaml"), text).unwrap();
    Running::start(&folder.join("config.yaml"), &[])
}

fn get(admin: SocketAddr, path: &str) -> String {
    ask(admin, &format!("GET {path}"), "", b"")
}

fn metric(admin: SocketAddr, name: &str) -> f64 {
    let text = get(admin, "/metrics");
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

fn post(to: SocketAddr, body: &[u8]) -> String {
    ask(to, "POST /v1/traces", PROTOBUF, body)
}

/// While a request that is still arriving takes most of the memory, new requests get a retry delay; once it is gone,
/// they are accepted without any intervention.
#[test]
fn short_memory_refuses_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let wide = "max_request_body_size: 250MiB, max_wire_size: 250MiB";
    let gateway = start(folder.path(), wide, "memory: 128MiB, in_flight: 4GiB");
    let (http, admin) = (gateway.address("otlp http"), gateway.address("admin"));
    assert_eq!(metric(admin, "tollgate_memory_limit_bytes"), 134_217_728.0);
    let mut slow = TcpStream::connect(http).unwrap();
    write!(slow, "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\ncontent-length: 262144000\r\n\r\n").unwrap();
    let mut left = 240;
    while metric(admin, "tollgate_memory_pressure") < 1.0 {
        if left > 0 {
            slow.write_all(&vec![b'x'; 1 << 20]).unwrap();
            left -= 1;
        }
    }
    gateway.line("short: ");
    let answer = post(http, &span("one"));
    let lower = answer.to_ascii_lowercase();
    assert!(answer.starts_with("HTTP/1.1 503") && lower.contains("retry-after: 2\r\n"), "{answer}");
    assert!(answer.contains("the gateway is low on memory"), "a Status that says why: {answer}");
    drop(slow);
    // Each attempt is a new request; the first ones may still meet the large request's memory.
    while !post(http, &span("one")).starts_with("HTTP/1.1 200") {}
    let text = get(admin, "/metrics");
    let counted = "tollgate_receiver_rejections_total{receiver=\"otlp\",transport=\"http\",reason=\"low_memory\",";
    assert!(text.lines().any(|line| line.starts_with(counted) && !line.ends_with(" 0")), "{text}");
    assert_eq!(gateway.end(), Some(0));
}

/// A request that could never fit is refused for good, which the start log announces; a smaller one is accepted.
#[test]
fn a_small_limit_lowers_the_largest_request() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(folder.path(), "max_request_body_size: 32MiB", "memory: 128MiB");
    let log = gateway.line("requests larger than this are refused because they would not fit in memory");
    assert!(log.contains("1048576"), "{log}");
    let http = gateway.address("otlp http");
    assert!(post(http, &vec![b'x'; 2 << 20]).starts_with("HTTP/1.1 413"));
    assert!(post(http, &span("one")).starts_with("HTTP/1.1 200"));
    assert_eq!(gateway.end(), Some(0));
}
