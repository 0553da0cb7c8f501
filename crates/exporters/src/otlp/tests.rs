//! The `otlp` exporter against servers in this process.

use std::sync::Arc;

use http::Method;

use super::*;
use crate::remote::OtlpExporter;
use crate::stanza::Compression;
use crate::tests::{deps, inflated, request};
use fakes::sink::{Answer, Proxy, Seen, Sink};
use fakes::tls::{Authority, pem_file};
use otlp::Signal;
use otlp::status::{GrpcCode, PartialSuccess, RpcStatus, response_to_protobuf};
use pipeline::{Exporter, Trust};

fn config(json: serde_json::Value) -> Config {
    serde_json::from_value(json).unwrap()
}

fn build(json: serde_json::Value, env: &[(&str, String)]) -> OtlpExporter<GrpcProtocol> {
    OtlpExporter::build(Arc::from("otlp/test"), config(json).settings().unwrap(), deps(env)).unwrap()
}

fn plain(sink: &Sink) -> OtlpExporter<GrpcProtocol> {
    build(serde_json::json!({ "endpoint": format!("http://{}", sink.address) }), &[])
}

fn ok() -> Answer {
    Answer::grpc(0, b"")
}

/// The message of a received request, inflated.
fn message(seen: &Seen) -> Bytes {
    let (prefix, rest) = seen.body.split_at(5);
    let length = u32::from_be_bytes(prefix[1..].try_into().unwrap());
    assert_eq!(length as usize, rest.len());
    assert_eq!(prefix[0] == 1, seen.header("grpc-encoding").is_some());
    inflated(seen.header("grpc-encoding"), &seen.body.slice(5..))
}

const AGAIN: Outcome = Outcome::Retry { after: None, reason: Reason::Unavailable };

#[tokio::test]
async fn each_signal_goes_to_its_own_method_with_the_headers_of_grpc_and_of_the_user() {
    let sink = Sink::new(None, [ok(), ok(), ok(), ok()]).await;
    let endpoint = format!("http://{}", sink.address);
    let json = serde_json::json!({ "endpoint": endpoint, "headers": { "X-Key": "abc" }, "timeout": "7s" });
    let exporter = build(json, &[]);
    for (signal, service) in [(Signal::Traces, "trace"), (Signal::Metrics, "metrics"), (Signal::Logs, "logs")] {
        let sent = request(signal, 200_000);
        assert_eq!(exporter.send(&sent).await, Outcome::Accepted);
        let seen = &sink.seen()[0];
        assert!(seen.uri.path().starts_with(&format!("/opentelemetry.proto.collector.{service}.v1.")));
        assert!(seen.uri.path().ends_with("Service/Export"));
        assert_eq!((seen.version, &seen.method), (http::Version::HTTP_2, &Method::POST));
        assert_eq!(seen.header("content-type"), Some("application/grpc"));
        assert_eq!(seen.header("te"), Some("trailers"));
        assert_eq!(seen.header("grpc-timeout"), Some("7000m"));
        assert_eq!(seen.header("grpc-encoding"), Some("gzip"));
        assert_eq!(seen.header("x-key"), Some("abc"));
        assert!(seen.header("user-agent").unwrap().starts_with("tollgate/"));
        assert_eq!(message(seen), sent.body.joined());
    }
    assert_eq!(exporter.send(&request(Signal::Logs, 0)).await, Outcome::Accepted, "an empty message too");
    assert_eq!((exporter.max_request_bytes(), exporter.trust()), (4 << 20, Trust::ThirdParty));
}

/// Status, trailers and message reach `outcome`, whose own tests have every code.
#[tokio::test]
async fn answers_become_outcomes_by_the_table() {
    let partial = response_to_protobuf(Some(&PartialSuccess { rejected: 2, message: "no".into() }));
    let delay = Some(Duration::from_millis(2500));
    let details =
        RpcStatus { code: GrpcCode::Unavailable, message: "busy".into(), retry_after: delay, violation: None };
    let details = base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, details.to_protobuf());
    let detailed = |code| Answer::grpc_failure(code).with("grpc-status-details-bin", &details);
    let refused = |reason| Outcome::Refused { reason };
    let retry = |after, reason| Outcome::Retry { after, reason };
    for (answer, outcome) in [
        (ok(), Outcome::Accepted),
        (Answer::grpc(0, &partial), Outcome::Partial { rejected: 2, reason: Reason::BadData }),
        (Answer::grpc_failure(14), AGAIN),
        (Answer::grpc(14, b""), AGAIN),
        (detailed(14), retry(delay, Reason::Unavailable)),
        (detailed(8), retry(delay, Reason::Unavailable)),
        (Answer::grpc_failure(8), Outcome::Retry { after: None, reason: Reason::TooLarge }),
        (Answer::grpc_failure(3), refused(Reason::BadData)),
        (Answer::http(404), retry(None, Reason::Denied)),
        (Answer::grpc(0, &vec![0; MAX_RESPONSE_BYTES + 1]), Outcome::Partial { rejected: 0, reason: Reason::BadData }),
    ] {
        let sink = Sink::new(None, [answer]).await;
        assert_eq!(plain(&sink).send(&request(Signal::Traces, 10)).await, outcome);
    }
}

#[tokio::test]
async fn a_compressed_answer_is_inflated_within_the_cap() {
    let partial = response_to_protobuf(Some(&PartialSuccess { rejected: 2, message: "no".into() }));
    let bomb = vec![0; MAX_RESPONSE_BYTES + 1];
    for (message, rejected) in [(partial, 2), (bomb, 0)] {
        let packed = net::encoding::compress(ContentEncoding::Gzip, &[Bytes::from(message)]).unwrap();
        let mut answer = Answer::grpc(0, &packed).with("grpc-encoding", "gzip");
        let mut body = answer.body.to_vec();
        body[0] = 1;
        answer.body = Bytes::from(body);
        let sink = Sink::new(None, [answer]).await;
        let outcome = plain(&sink).send(&request(Signal::Traces, 10)).await;
        assert_eq!(outcome, Outcome::Partial { rejected, reason: Reason::BadData });
    }
}

#[tokio::test]
async fn compression_follows_what_the_back_end_says() {
    let encodings = |seen: Vec<Seen>| seen.iter().map(|seen| seen.header("grpc-encoding").map(str::to_owned)).collect();
    let now = Outcome::Retry { after: Some(Duration::ZERO), reason: Reason::Unavailable };
    // Up: the server advertises zstd.
    let says = ok().with("grpc-accept-encoding", "identity,gzip,zstd");
    let sink = Sink::new(None, [says, ok()]).await;
    let exporter = plain(&sink);
    for _ in 0..2 {
        assert_eq!(exporter.send(&request(Signal::Traces, 1000)).await, Outcome::Accepted);
    }
    let seen: Vec<Option<String>> = encodings(sink.seen());
    assert_eq!(seen, [Some("gzip".into()), Some("zstd".into())]);
    // Down: the server refuses each encoding in turn; once none is left, the address must be wrong.
    let sink = Sink::new(None, [Answer::grpc_failure(12), ok()]).await;
    let exporter = plain(&sink);
    assert_eq!(exporter.send(&request(Signal::Traces, 1000)).await, now);
    assert_eq!(exporter.send(&request(Signal::Traces, 1000)).await, Outcome::Accepted);
    sink.answer(Answer::grpc_failure(12));
    let denied = Outcome::Retry { after: None, reason: Reason::Denied };
    assert_eq!(exporter.send(&request(Signal::Traces, 1000)).await, denied);
    let seen: Vec<Option<String>> = encodings(sink.seen());
    assert_eq!(seen, [Some("gzip".into()), None, None]);
    // With a fixed `compression` no other encoding is tried.
    for (compression, token) in [(Compression::Zstd, Some("zstd")), (Compression::None, None)] {
        let sink = Sink::new(None, [Answer::grpc_failure(12)]).await;
        let endpoint = format!("http://{}", sink.address);
        let exporter = build(serde_json::json!({ "endpoint": endpoint, "compression": compression }), &[]);
        let sent = request(Signal::Traces, 100_000);
        assert_eq!(exporter.send(&sent).await, denied);
        let seen = sink.seen();
        assert_eq!((seen[0].header("grpc-encoding"), message(&seen[0])), (token, sent.body.joined()));
    }
}

#[tokio::test]
async fn tls_trusts_the_ca_file_and_checks_the_name() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = pem_file(&folder, "ca.pem", "CERTIFICATE", &authority.certificate);
    let other = pem_file(&folder, "other.pem", "CERTIFICATE", &Authority::new().certificate);
    for (host, tls, outcome) in [
        ("localhost", serde_json::json!({ "ca_file": ca }), Outcome::Accepted),
        ("backend.test", serde_json::json!({ "ca_file": ca }), AGAIN),
        (
            "backend.test",
            serde_json::json!({ "ca_file": ca, "server_name_override": "backend.test" }),
            Outcome::Accepted,
        ),
        ("localhost", serde_json::json!({ "ca_file": other }), AGAIN),
    ] {
        let sink = Sink::new(Some(authority.server(host, false)), [ok()]).await;
        let endpoint = format!("localhost:{}", sink.address.port());
        let exporter = build(serde_json::json!({ "endpoint": endpoint, "tls": tls }), &[]);
        assert_eq!(exporter.send(&request(Signal::Traces, 10)).await, outcome, "{host} {tls}");
        assert_eq!(sink.seen().len(), usize::from(outcome == Outcome::Accepted));
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let client = authority.issue("gateway");
    let ca = pem_file(&folder, "ca.pem", "CERTIFICATE", &authority.certificate);
    let cert = pem_file(&folder, "cert.pem", "CERTIFICATE", &client.certificate);
    let key = pem_file(&folder, "key.pem", "PRIVATE KEY", &client.key);
    let sink = Sink::new(Some(authority.server("localhost", true)), [ok()]).await;
    let endpoint = format!("localhost:{}", sink.address.port());
    let with = serde_json::json!({ "ca_file": ca, "cert_file": cert, "key_file": key });
    for (tls, outcome) in [(with, Outcome::Accepted), (serde_json::json!({ "ca_file": ca }), AGAIN)] {
        let exporter = build(serde_json::json!({ "endpoint": endpoint, "tls": tls }), &[]);
        assert_eq!(exporter.send(&request(Signal::Traces, 10)).await, outcome);
    }
}

#[test]
fn tls_files_that_cannot_be_used_are_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, empty) = (folder.path().join("missing.pem"), folder.path().join("empty.pem"));
    std::fs::write(&empty, "not a certificate SECRET").unwrap();
    for (file, what) in [(&missing, "No such file"), (&empty, "contains no certificate")] {
        let json = serde_json::json!({ "endpoint": "a:1", "tls": { "ca_file": file } });
        let settings = config(json).settings().unwrap();
        let error = OtlpExporter::build(Arc::from("otlp"), settings, deps(&[])).err().unwrap().to_string();
        assert!(error.starts_with("tls.ca_file: ") && error.contains(what), "{error}");
        assert!(!error.contains("SECRET") && !error.contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_gets_connect_and_sees_ciphertext() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = pem_file(&folder, "ca.pem", "CERTIFICATE", &authority.certificate);
    let sink = Sink::new(Some(authority.server("backend.test", false)), [ok()]).await;
    let proxy = Proxy::to(sink.address).await;
    let through = [("HTTPS_PROXY", format!("http://user:pass@{}", proxy.address))];
    let json = serde_json::json!({ "endpoint": "backend.test:4317", "tls": { "ca_file": ca } });
    assert_eq!(build(json, &through).send(&request(Signal::Traces, 10)).await, Outcome::Accepted);
    let heads = proxy.heads();
    assert!(heads[0].starts_with("CONNECT backend.test:4317 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].to_lowercase().contains("proxy-authorization: basic dxnlcjpwyxnz"), "{heads:?}");

    // Plain gRPC can't be forwarded by a proxy, so it is tunnelled too.
    let sink = Sink::new(None, [ok(), ok()]).await;
    let proxy = Proxy::to(sink.address).await;
    let through = [("https_proxy", format!("http://{}", proxy.address))];
    let json = serde_json::json!({ "endpoint": "http://backend.test:4317" });
    assert_eq!(build(json, &through).send(&request(Signal::Traces, 10)).await, Outcome::Accepted);
    assert_eq!(proxy.heads().len(), 1);
    // Loopback never goes through a proxy.
    let json = serde_json::json!({ "endpoint": format!("http://{}", sink.address) });
    assert_eq!(build(json, &through).send(&request(Signal::Traces, 10)).await, Outcome::Accepted);
    assert!(proxy.heads().is_empty());
}

#[tokio::test]
async fn a_back_end_that_is_not_there_or_does_not_answer_is_tried_again() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let exporter = build(serde_json::json!({ "endpoint": format!("http://{gone}") }), &[]);
    assert_eq!(exporter.send(&request(Signal::Traces, 10)).await, AGAIN);
    let sink = Sink::new(None, [Answer { hang: true, ..ok() }]).await;
    let json = serde_json::json!({ "endpoint": format!("http://{}", sink.address), "timeout": "50ms" });
    let late = Outcome::Retry { after: None, reason: Reason::TimedOut };
    assert_eq!(build(json, &[]).send(&request(Signal::Traces, 10)).await, late);
}

#[test]
fn what_contradicts_itself_is_a_problem_and_all_are_found_at_once() {
    let paths = |json: serde_json::Value| -> Vec<String> {
        config(json).settings().err().unwrap_or_default().into_iter().map(|problem| problem.path).collect()
    };
    assert_eq!(paths(serde_json::json!({})), ["endpoint"]);
    assert_eq!(
        paths(serde_json::json!({
            "endpoint": "https://a:1", "api_key": "k", "timeout": 0, "max_request_size": 10,
            "headers": { "bad name": "x", "x-ok": "line\nend", "te": "x" },
            "tls": { "insecure": true, "insecure_skip_verify": true, "cert_file": "c", "server_name_override": "a b" },
        })),
        "api_key|headers.bad name|headers.te|headers.x-ok|timeout|max_request_size|tls.insecure_skip_verify|\
         tls.key_file|tls.server_name_override|endpoint"
            .split('|')
            .collect::<Vec<_>>()
    );
    for wrong in ["a", "http://a:1/v1", "ftp://a:1", "http://u:p@a:1", "a b:1", "http://:1"] {
        assert_eq!(paths(serde_json::json!({ "endpoint": wrong })), ["endpoint"], "{wrong}");
    }
    let plain_with_ca = serde_json::json!({ "endpoint": "http://a:1", "tls": { "ca_file": "x" } });
    assert_eq!(paths(plain_with_ca), ["endpoint"], "nothing goes out in clear by accident");
    for right in ["a:1", "https://a:1", "http://a:1", "[::1]:4317", "dns:///a:1", "https://a:1/", "https://a"] {
        assert!(paths(serde_json::json!({ "endpoint": right })).is_empty(), "{right}");
    }
    assert!(serde_json::from_str::<Config>(r#"{"endpont": "a:1"}"#).is_err());
}

#[test]
fn secrets_are_never_shown() {
    let json = serde_json::json!({ "preset": "honeycomb", "api_key": "SECRET1", "headers": { "x-a": "SECRET2" } });
    let config = config(json);
    let settings = config.settings().unwrap();
    let shown = format!("{config:?} {settings:?} {}", serde_json::to_string(&config).unwrap());
    assert!(!shown.contains("SECRET"), "{shown}");
}

#[tokio::test]
async fn the_preset_fills_what_is_not_written() {
    let sink = Sink::new(None, [ok(), ok()]).await;
    let json = serde_json::json!({
        "preset": "honeycomb", "api_key": "hcaik_1", "dataset": "agents",
        "endpoint": format!("http://{}", sink.address), "headers": { "X-Honeycomb-Team": "own" },
    });
    let exporter = build(json, &[]);
    assert_eq!(exporter.max_request_bytes(), 5_000_000);
    for signal in [Signal::Traces, Signal::Logs] {
        assert_eq!(exporter.send(&request(signal, 10)).await, Outcome::Accepted);
    }
    let seen = sink.seen();
    assert_eq!(seen[0].header("x-honeycomb-team"), Some("own"), "what is written wins");
    assert_eq!(seen[0].header("grpc-encoding"), Some("zstd"));
    assert_eq!((seen[0].header("x-honeycomb-dataset"), seen[1].header("x-honeycomb-dataset")), (None, Some("agents")));
    let cloud = config(serde_json::json!({ "preset": "signoz", "region": "eu", "ingestion_key": "k" }));
    assert_eq!(cloud.settings().unwrap().urls[0].1.host(), Some("ingest.eu.signoz.cloud"));
}
