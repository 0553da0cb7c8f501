//! Tests of reloads while files that the configuration names can't be used, and of a shutdown while clients wait.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;

use super::sockets::{over_tls, trusting};
use super::{Running, place};
use crate::client::span;
use crate::gateway;
use fakes::tls::{Authority, pem_file};

const TOKEN: &str = "a-token-of-thirty-two-characters";

/// Ports with a certificate and tokens, an admin port with the certificate, an exporter with its own CA.
fn configuration(folder: &Path, certificate: &str, tokens: &str, grpc: &str) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    let tls = format!("tls: {{ cert_file: '{}', key_file: '{}' }}", at(certificate), at("server.key"));
    let ca = format!("tls: {{ ca_file: '{}' }}", at("back-end.pem"));
    gateway::plain(
        folder,
        &format!("{grpc} http: {{ endpoint: 'localhost:0', {tls} }}"),
        &format!("otlp_http: {{ endpoint: 'https://127.0.0.1:9', trust: internal, {ca} }}"),
        &format!("extensions: {{ admin: {{ endpoint: '127.0.0.1:0', {tls} }} }}\nlimits: {{ shutdown: 1s }}"),
    )
    .replace("otlp: { ", &format!("otlp: {{ auth: {{ tokens_file: '{}' }}, ", at(tokens)))
}

pub(super) fn request(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The whole response over TLS.
fn ask(to: SocketAddr, trusting: &Arc<ClientConfig>, path: &str, body: &[u8]) -> String {
    let mut stream = over_tls(to, trusting).unwrap();
    stream.write_all(&request(path, body)).unwrap();
    let (mut answer, mut some) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut some) {
        answer.extend_from_slice(&some[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Writes a server's certificate and key, a back end's authority and tokens.
fn files(folder: &tempfile::TempDir, authority: &Authority) -> Arc<ClientConfig> {
    let made = authority.issue("localhost");
    pem_file(folder, "server.pem", "CERTIFICATE", &made.certificate);
    pem_file(folder, "server.key", "PRIVATE KEY", &made.key);
    pem_file(folder, "back-end.pem", "CERTIFICATE", &authority.certificate);
    fs::write(folder.path().join("tokens"), format!("acme {TOKEN}\n")).unwrap();
    trusting(&[authority])
}

/// A file that the running configuration names as well is invalid or missing when a reload is requested: the reload is
/// refused, logged and counted, and the gateway continues; once the file is repaired, the next reload succeeds.
/// (Regression test: the running round was ended first, neither configuration could be started, and the process exited
/// with 1.)
#[test]
fn a_reload_with_a_broken_file_ends_nothing() {
    let (folder, config) = place();
    let authority = Authority::new();
    let trusting = files(&folder, &authority);
    fs::write(&config, configuration(folder.path(), "server.pem", "tokens", "")).unwrap();
    let gateway = Running::start(&config, &[]);
    let (http, admin) = (gateway.address("otlp http"), gateway.address("admin"));
    let serves = || {
        let answer = ask(http, &trusting, "POST /v1/traces", &span("r"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    serves();
    let another = authority.issue("localhost");
    pem_file(&folder, "another.key", "PRIVATE KEY", &another.key);
    let key_of_another = fs::read(folder.path().join("another.key")).unwrap();
    let broken: [(&str, Option<&[u8]>, &str); 7] = [
        ("server.pem", Some(b"garbage"), "contains no certificate"),
        ("server.pem", None, "tls.cert_file: can't read"),
        ("server.key", Some(&key_of_another), "does not match the certificate in"),
        ("tokens", None, "auth.tokens_file: can't read"),
        ("tokens", Some(b"only\n"), "a line must be an account, a space and a token"),
        ("back-end.pem", None, "tls.ca_file: can't read"),
        ("data/spool.key", None, "spool.key is missing"),
    ];
    for (count, (file, text, told)) in (1..).zip(broken) {
        let path = folder.path().join(file);
        let good = fs::read(&path).unwrap();
        text.map_or_else(|| fs::remove_file(&path), |text| fs::write(&path, text)).unwrap();
        gateway.signal("HUP");
        let line = gateway.line("the new configuration can't be used; the previous one keeps running");
        assert!(line.contains(told) && !line.contains(TOKEN), "{file}: {line}");
        serves();
        let counted = format!("\ntollgate_config_reload_failures_total {count}\n");
        // the line stands in the log before it is counted
        let is_counted = || ask(admin, &trusting, "GET /metrics", b"").contains(&counted);
        assert!(
            (0..50).any(|_| is_counted() || {
                std::thread::sleep(Duration::from_millis(100));
                false
            }),
            "{file}"
        );
        let mut private = fs::OpenOptions::new();
        let mut file = private.write(true).create(true).truncate(true);
        if path.ends_with("spool.key") {
            file = std::os::unix::fs::OpenOptionsExt::mode(file, 0o600);
        }
        file.open(&path).unwrap().write_all(&good).unwrap();
    }
    fs::write(&config, configuration(folder.path(), "server.pem", "tokens", "grpc: { endpoint: '127.0.0.1:0' },"))
        .unwrap();
    gateway.signal("HUP");
    gateway.address("otlp grpc");
    assert_eq!(gateway.address("otlp http"), http, "the same port");
    serves();
    assert_eq!(gateway.end(), Some(0));
}

/// A watched configuration that was refused because of a file it names is applied once that file is repaired, although
/// its own text did not change: it may be what requires tokens of clients. Repairing only some of the files is not
/// enough, and the wait does not fill the log. (Regression test: only the text and `${file:…}` were watched, so the
/// port stayed open to everyone until someone requested a reload.)
#[test]
fn a_refused_configuration_is_taken_once_its_files_are_there() {
    let (folder, config) = place();
    let trusting = files(&folder, &Authority::new());
    let closed = configuration(folder.path(), "server.pem", "tokens", "");
    let open = closed.replace(&format!("auth: {{ tokens_file: '{}' }}, ", folder.path().join("tokens").display()), "");
    assert_ne!(open, closed);
    fs::write(&config, open).unwrap();
    let gateway = Running::start(&config, &["--watch"]);
    let (http, admin) = (gateway.address("otlp http"), gateway.address("admin"));
    let status = || {
        let mut stream = over_tls(http, &trusting).unwrap();
        let head = "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        String::from_utf8_lossy(&status).into_owned()
    };
    let tokens = fs::read(folder.path().join("tokens")).unwrap();
    let back_end = fs::read(folder.path().join("back-end.pem")).unwrap();
    ["tokens", "back-end.pem"].into_iter().for_each(|file| fs::remove_file(folder.path().join(file)).unwrap());
    fs::write(&config, &closed).unwrap();
    let line = gateway.line("the new configuration can't be used; the previous one keeps running");
    assert!(line.contains("auth.tokens_file: can't read") && line.contains("tls.ca_file: can't read"), "{line}");
    assert_eq!(status(), "HTTP/1.1 200");
    fs::write(folder.path().join("tokens"), &tokens).unwrap();
    gateway.silent("can't", Duration::from_secs(4));
    fs::write(folder.path().join("back-end.pem"), &back_end).unwrap();
    gateway.line("usable now");
    assert_eq!(gateway.address("otlp http"), http);
    assert_eq!(status(), "HTTP/1.1 401");
    let metrics = ask(admin, &trusting, "GET /metrics", b"");
    assert!(metrics.contains("\ntollgate_config_reload_failures_total 1\n"), "{metrics}");
    gateway.silent("reloading the configuration", Duration::from_secs(3));
    assert_eq!(gateway.end(), Some(0));
}

/// The next configuration names other, valid files but can't be started, and the files of the previous one are gone:
/// the previous one runs again with the certificate and tokens that it had. (Regression test: it was started from its
/// files, and the process exited.)
#[test]
fn what_runs_again_has_what_it_had() {
    let (folder, config) = place();
    let trusting = files(&folder, &Authority::new());
    fs::write(&config, configuration(folder.path(), "server.pem", "tokens", "")).unwrap();
    let gateway = Running::start(&config, &[]);
    let (http, admin) = (gateway.address("otlp http"), gateway.address("admin"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let grpc = format!("grpc: {{ endpoint: '{}' }},", taken.local_addr().unwrap());
    for (from, to) in [("server.pem", "moved.pem"), ("tokens", "moved")] {
        fs::rename(folder.path().join(from), folder.path().join(to)).unwrap();
    }
    fs::write(&config, configuration(folder.path(), "moved.pem", "moved", &grpc)).unwrap();
    gateway.signal("HUP");
    gateway.line("the new configuration can't be started; restarting the previous one");
    assert_eq!((gateway.address("otlp http"), gateway.address("admin")), (http, admin));
    let answer = ask(http, &trusting, "POST /v1/traces", &span("r"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let metrics = ask(admin, &trusting, "GET /metrics", b"");
    assert!(metrics.contains("\ntollgate_config_reload_failures_total 1\n"), "{metrics}");
    drop(taken);
    gateway.signal("HUP");
    gateway.address("otlp grpc");
    assert_eq!(gateway.end(), Some(0));
}

/// A gateway whose back end accepts connections and never answers, so that clients wait for their delivery.
pub(super) fn waiting(folder: &Path, protocol: &str) -> (Running, TcpListener) {
    fs::create_dir_all(folder.join("data")).unwrap();
    let config = folder.join("config.yaml");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = silent.local_addr().unwrap();
    let exporter = format!("otlp_http: {{ endpoint: 'http://{to}', trust: internal, ack: delivered }}");
    let protocol = format!("{protocol}: {{ endpoint: '127.0.0.1:0' }}");
    let text = gateway::plain(folder, &protocol, &exporter, "limits: { shutdown: 2s }");
    fs::write(&config, text).unwrap();
    (Running::start(&config, &[]), silent)
}

/// A client that waits for a delivery when the gateway is shut down is asked to retry. (Regression test: its
/// connection was cut without a response, which some clients treat as a loss.)
#[test]
fn who_waits_for_a_delivery_is_answered_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, silent) = waiting(folder.path(), "http");
    let mut stream = TcpStream::connect(gateway.address("otlp http")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(&request("POST /v1/traces", &span("r"))).unwrap();
    // the request is in the spool and being sent
    let back_end = silent.accept().unwrap();
    let code = gateway.end();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("the gateway is shutting down"), "{answer}");
    assert_eq!(code, Some(0));
    drop(back_end);
}

/// The same over gRPC: UNAVAILABLE with a retry delay, on which every client retries. (Regression test: `Socket
/// closed`.)
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_over_grpc_is_answered_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, silent) = waiting(folder.path(), "grpc");
    let stream = tokio::net::TcpStream::connect(gateway.address("otlp grpc")).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let message = span("r");
    let body = [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
    let request = http::Request::post("http://test/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let waits = tokio::spawn(async move {
        let (head, body) = client.send_request(request).await.unwrap().into_parts();
        let mut told = head.headers;
        told.extend(body.collect().await.unwrap().trailers().cloned().unwrap_or_default());
        told
    });
    // the request is in the spool and being sent
    let (back_end, code) =
        tokio::task::spawn_blocking(move || (silent.accept().unwrap(), gateway.end())).await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(60), waits).await.unwrap().unwrap();
    let unavailable = tonic::Code::Unavailable as i32;
    assert_eq!(told["grpc-status"], unavailable.to_string(), "{told:?}");
    assert!(
        told["grpc-message"].to_str().unwrap().replace("%20", " ").contains("the gateway is shutting down"),
        "{told:?}"
    );
    assert!(told.contains_key("grpc-status-details-bin"), "when to come again (RetryInfo): {told:?}");
    assert_eq!(code, Some(0));
    drop(back_end);
}

/// A certificate that peers refuse does not prevent the start, but is logged at the start and at each reload.
/// (Regression test: the log said nothing, and clients noticed first.)
#[test]
fn a_certificate_that_is_over_stands_in_the_log() {
    let (folder, config) = place();
    let authority = Authority::new();
    files(&folder, &authority);
    let over = authority.issue_for("localhost", ["200101000000Z", "210101000000Z"]);
    pem_file(&folder, "server.pem", "CERTIFICATE", &over.certificate);
    pem_file(&folder, "server.key", "PRIVATE KEY", &over.key);
    fs::write(&config, configuration(folder.path(), "server.pem", "tokens", "")).unwrap();
    let gateway = Running::start(&config, &[]);
    let told = || {
        let line = gateway.line("a certificate has expired or expires soon: renew it");
        assert!(line.contains("WARN"), "{line}");
        assert!(line.contains("server.pem: its certificate expired on 2021-01-01, "), "{line}");
    };
    told();
    gateway.address("otlp http");
    gateway.signal("HUP");
    told();
    gateway.address("otlp http");
    assert_eq!(gateway.end(), Some(0));
}

/// How often `text` occurs in a process's memory; `None` if this test may not read it.
fn in_memory(process: u32, text: &str) -> Option<usize> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let memory = fs::File::open(format!("/proc/{process}/mem")).ok()?;
    let found = maps.lines().filter(|line| line.contains(" rw")).map(|line| {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut part = vec![0; usize::try_from(to - from).unwrap()];
        // some ranges belong to the kernel
        memory.read_exact_at(&mut part, from).map_or(0, |()| memchr::memmem::find_iter(&part, text).count())
    });
    Some(found.sum())
}

/// The key of a replaced configuration is in no memory once the next one runs, because nothing can go back to it.
/// (Regression test: it was kept for as long as the next configuration ran.)
#[test]
fn keys_are_forgotten_once_others_are_in_use() {
    let (folder, config) = place();
    let key = folder.path().join("key");
    let text = super::configuration(folder.path(), "one.jsonl", false);
    fs::write(&config, text + &format!("pseudonyms: {{ key: '${{file:{}}}' }}\n", key.display())).unwrap();
    let (first, second) = ("first-".to_owned() + &"q7Zx".repeat(8), "second-".to_owned() + &"w9Yv".repeat(8));
    fs::write(&key, &first).unwrap();
    let gateway = Running::start(&config, &[]);
    gateway.address("otlp http");
    let of = |text: &str| in_memory(gateway.child.id(), text);
    // without root, the memory of a process that hides it can't be read
    let Some(known) = of(&first) else { return };
    assert!(known > 0, "it is in use");
    fs::write(&key, &second).unwrap();
    gateway.signal("HUP");
    gateway.address("otlp http");
    let forgotten = (0..10).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        of(&first) == Some(0)
    });
    assert!(forgotten && of(&second) > Some(0), "{:?} {:?}", of(&first), of(&second));
    assert_eq!(gateway.end(), Some(0));
}
