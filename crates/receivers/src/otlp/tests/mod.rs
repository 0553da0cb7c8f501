//! The receiver over real sockets before a fake engine, for gRPC, HTTP protobuf and HTTP JSON. `tests/it/otlp.rs` has
//! the checklist of an OTLP server, for a whole gateway.

mod clients;
mod config;
mod edge;
mod health;
mod identities;
mod slow;
mod sockets;
mod support;

use std::time::Duration;

use ::http::{Request, Version};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1 as logs;
use opentelemetry_proto::tonic::collector::metrics::v1 as metrics;
use opentelemetry_proto::tonic::collector::trace::v1 as traces;
use prost::Message as _;
use tonic::Code;
use tonic_types::StatusExt as _;

use self::support::{Answer, BUDGET, INFLATED, Knobs, Rig, WIRE, send};
use super::*;
use net::ContentEncoding;
use net::encoding::compress;
use pipeline::{BytePermit, Outcome, Reason};

/// The three encodings of the same request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Grpc,
    Proto,
    Json,
}

const WAYS: [Way; 3] = [Way::Grpc, Way::Proto, Way::Json];

/// One span with a name of `size` bytes.
fn span(way: Way, size: usize) -> Bytes {
    let name = "n".repeat(size);
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"{name}"}}]}}]}}]}}"#);
    if way == Way::Json {
        return Bytes::from(json);
    }
    let request: traces::ExportTraceServiceRequest = serde_json::from_str(&json).expect("a request");
    Bytes::from(request.encode_to_vec())
}

fn request(way: Way, signal: Signal, encoding: Option<&str>) -> Request<()> {
    let request = Request::post(match way {
        Way::Grpc => format!("http://test/{}/Export", grpc::grpc_service_name(signal)),
        Way::Proto | Way::Json => format!("/v1/{}", signal.as_str()),
    });
    let request = match way {
        Way::Grpc => request.header("content-type", "application/grpc").header("te", "trailers"),
        Way::Proto => request.header("content-type", "application/x-protobuf").header("host", "localhost"),
        Way::Json => request.header("content-type", "application/json").header("host", "localhost"),
    };
    let request = match encoding {
        Some(encoding) if way == Way::Grpc => request.header("grpc-encoding", encoding),
        Some(encoding) => request.header("content-encoding", encoding),
        None => request,
    };
    request.body(()).expect("a request")
}

/// Sends `body` (already encoded) as one request.
async fn post(rig: &Rig, way: Way, signal: Signal, encoding: Option<&str>, body: Bytes) -> Answer {
    let request = request(way, signal, encoding);
    if way == Way::Grpc {
        let flag = u8::from(encoding.is_some_and(|encoding| encoding != "identity"));
        return send(rig.grpc(), Version::HTTP_2, request, vec![frame(flag, &body)]).await;
    }
    // Chunked, so that the receiver finds the size while the body arrives, not from a declared length.
    let pieces = body.chunks(10_000).map(Bytes::copy_from_slice).collect();
    send(rig.http(), Version::HTTP_11, request, pieces).await
}

/// A gRPC message with its prefix.
fn frame(flag: u8, message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a test's message").to_be_bytes();
    Bytes::from([&[flag], &length[..], message].concat())
}

/// The refusal that OTLP requires.
#[derive(Clone, Copy)]
struct Refused {
    code: Code,
    http: u16,
    /// RetryInfo, and Retry-After in seconds.
    after: Option<(Duration, &'static str)>,
}

fn check_refused(name: &str, way: Way, answer: &Answer, want: Refused) {
    if way == Way::Grpc {
        let status = answer.grpc();
        assert_eq!(answer.status, 200, "{name} {way:?}");
        assert_eq!(status.code(), want.code, "{name} {way:?}: {}", status.message());
        let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
        assert_eq!(retry, want.after.map(|after| after.0), "{name} {way:?}");
        assert_eq!(status.get_details_bad_request().is_some(), want.code == Code::InvalidArgument, "{name}");
        assert!(!status.message().is_empty());
        return;
    }
    assert_eq!(answer.status.as_u16(), want.http, "{name} {way:?}");
    assert_eq!(answer.header("retry-after"), want.after.map(|after| after.1), "{name} {way:?}");
    if way == Way::Json {
        assert_eq!(answer.header("content-type"), Some("application/json"), "{name}");
        let status: serde_json::Value = serde_json::from_slice(&answer.body).expect("a JSON status");
        assert_eq!(status["code"], i32::from(want.code), "{name}");
        assert_ne!(status["message"].as_str().unwrap_or_default(), "", "{name}");
        let kinds: Vec<&str> =
            status["details"].as_array().into_iter().flatten().filter_map(|d| d["@type"].as_str()).collect();
        assert_eq!(kinds.iter().any(|kind| kind.ends_with("RetryInfo")), want.after.is_some(), "{name}");
    } else {
        assert_eq!(answer.header("content-type"), Some("application/x-protobuf"), "{name}");
        let status = tonic_types::pb::Status::decode(answer.body.clone()).expect("a google.rpc.Status");
        assert_eq!(status.code, i32::from(want.code), "{name}");
        assert!(!status.message.is_empty(), "{name}");
        assert_eq!(otlp::status::read_retry_info(&answer.body), Ok(want.after.map(|after| after.0)), "{name}");
    }
}

/// Full success is an empty response in each encoding. (`tests/it/otlp.rs` has partial success.)
fn check_ok(name: &str, way: Way, answer: &Answer) {
    assert_eq!(answer.status, 200, "{name} {way:?}");
    let (content_type, body): (_, &[u8]) = match way {
        Way::Grpc => ("application/grpc", &[0; 5]),
        Way::Proto => ("application/x-protobuf", b""),
        Way::Json => ("application/json", b"{}"),
    };
    assert_eq!((answer.header("content-type"), &answer.body[..]), (Some(content_type), body), "{name} {way:?}");
    assert!(way != Way::Grpc || answer.grpc().code() == Code::Ok, "{name}: {}", answer.grpc().message());
}

#[tokio::test]
async fn every_signal_goes_in_as_what_it_is_and_its_items_are_counted() {
    let rig = Rig::new().await;
    let log = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a"}},{}]}]}]}"#;
    let metric = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","sum":{"dataPoints":[{"asInt":"1"},{"asInt":"2"},{"asInt":"3"}]}}]}]}]}"#;
    let log_wire = serde_json::from_str::<logs::ExportLogsServiceRequest>(log).expect("logs").encode_to_vec();
    let metric_wire =
        serde_json::from_str::<metrics::ExportMetricsServiceRequest>(metric).expect("metrics").encode_to_vec();
    for way in WAYS {
        for (signal, json, wire) in [(Signal::Logs, log, &log_wire), (Signal::Metrics, metric, &metric_wire)] {
            let body = if way == Way::Json { Bytes::from(json) } else { Bytes::from(wire.clone()) };
            let answer = post(&rig, way, signal, None, body).await;
            assert_eq!(answer.status, 200);
            let taken = rig.engine.take_requests();
            let (own, charged) = (taken[0].wire.len(), taken[0].charged);
            assert_eq!((taken[0].signal, own, charged), (signal, wire.len(), wire.len()), "{way:?}");
        }
    }
    let text = rig.meter.render();
    for line in [
        r#"otelcol_receiver_accepted_log_records_total{receiver="otlp/test",transport="grpc"} 2"#,
        r#"otelcol_receiver_accepted_log_records_total{receiver="otlp/test",transport="http"} 4"#,
        r#"otelcol_receiver_accepted_metric_points_total{receiver="otlp/test",transport="http"} 6"#,
        r#"otelcol_receiver_requests_total{receiver="otlp/test",transport="http",outcome="success"} 4"#,
        r#"tollgate_receiver_answer_duration_seconds_count{receiver="otlp/test",transport="grpc",outcome="success"} 2"#,
        r#"tollgate_receiver_answer_duration_seconds_count{receiver="otlp/test",transport="http",outcome="success"} 4"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn each_outcome_has_the_one_status_that_otlp_gives_it() {
    let rig = Rig::new().await;
    let second = Duration::from_secs(1);
    let half = Duration::from_millis(1500);
    let refused = |reason| Outcome::Refused { reason };
    let retry = |after, reason| Outcome::Retry { after, reason };
    let table = [
        (retry(Some(half), Reason::SpoolFull), Code::Unavailable, 503, Some((half, "2"))),
        (retry(None, Reason::Lost), Code::Unavailable, 503, Some((second, "1"))),
        (retry(Some(Duration::ZERO), Reason::ShuttingDown), Code::Unavailable, 503, Some((Duration::ZERO, "1"))),
        (retry(None, Reason::Denied), Code::Unavailable, 503, Some((second, "1"))),
        (refused(Reason::Malformed), Code::InvalidArgument, 400, None),
        (refused(Reason::BadData), Code::InvalidArgument, 400, None),
        (refused(Reason::TooLarge), Code::ResourceExhausted, 413, None),
        (refused(Reason::Quarantined), Code::Internal, 500, None),
    ];
    for way in WAYS {
        for (outcome, code, http, after) in &table {
            rig.engine.outcomes.lock().push_back(outcome.clone());
            let answer = post(&rig, way, Signal::Traces, None, span(way, 5)).await;
            check_refused(&format!("{outcome:?}"), way, &answer, Refused { code: *code, http: *http, after: *after });
        }
    }
    let text = rig.meter.render();
    assert!(text.contains(r#"otelcol_receiver_failed_spans_total{receiver="otlp/test",transport="grpc"} 2"#), "{text}");
    assert!(
        text.contains(r#"otelcol_receiver_refused_spans_total{receiver="otlp/test",transport="grpc"} 6"#),
        "{text}"
    );
    assert!(
        text.contains(
            r#"rejections_total{receiver="otlp/test",transport="grpc",reason="spool_full",account="default"} 1"#
        ),
        "{text}"
    );
    let measured = r#"answer_duration_seconds_count{receiver="otlp/test",transport="http",outcome="refused"} 16"#;
    assert!(text.contains(measured), "{text}");
}

/// The time of an answer includes the engine's: an answer that waits for a slow disk must not look fast.
#[tokio::test]
async fn an_answer_takes_as_long_as_the_engine() {
    let rig = Rig::with(Knobs { holds_answers: true, ..Knobs::default() }).await;
    let answer = post(&rig, Way::Grpc, Signal::Traces, None, span(Way::Grpc, 5));
    let release = async {
        rig.held(1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        rig.engine.answer_held();
    };
    let (answer, ()) = tokio::join!(answer, release);
    assert_eq!(answer.status, 200);
    let text = rig.meter.render();
    let within = |le: &str| format!(r#"receiver="otlp/test",transport="grpc",outcome="success",le="{le}"}} 0"#);
    assert!(text.contains(&within("0.25")), "{text}");
}

#[tokio::test]
async fn a_full_byte_budget_is_overload_on_both_protocols() {
    let rig = Rig::new().await;
    let mut all = BytePermit::new();
    rig.engine.budget.charge(&mut all, BUDGET - 100).await.expect("room");
    let second = Duration::from_secs(1);
    let want = Refused { code: Code::Unavailable, http: 503, after: Some((second, "1")) };
    for way in WAYS {
        // Over the budget while the body arrives, and while it is inflated.
        let answer = post(&rig, way, Signal::Traces, None, span(way, 1000)).await;
        check_refused("collect", way, &answer, want);
        let small = compress(ContentEncoding::Zstd, &[span(way, 50_000)]).expect("compresses");
        assert!(small.len() < 95, "{}", small.len());
        let answer = post(&rig, way, Signal::Traces, Some("zstd"), small).await;
        check_refused("inflate", way, &answer, want);
    }
    assert!(rig.engine.take_requests().is_empty());
    drop(all);
    rig.idle().await;
}

#[tokio::test]
async fn compressed_requests_are_inflated_several_members_too() {
    let rig = Rig::new().await;
    for way in WAYS {
        for size in [5, 100_000] {
            let body = span(way, size);
            for (encoding, token) in [
                (ContentEncoding::Gzip, "gzip"),
                (ContentEncoding::Zstd, "zstd"),
                (ContentEncoding::Deflate, "deflate"),
            ] {
                let packed = compress(encoding, std::slice::from_ref(&body)).expect("compresses");
                check_ok(token, way, &post(&rig, way, Signal::Traces, Some(token), packed).await);
                let taken = rig.engine.take_requests();
                assert_eq!(taken[0].wire, span(Way::Proto, size), "{way:?} {token}");
                assert_eq!(taken[0].charged, taken[0].wire.len(), "the permit holds the request's bytes, no more");
            }
            let (head, tail) = body.split_at(body.len() / 2);
            for encoding in [ContentEncoding::Gzip, ContentEncoding::Zstd] {
                let mut members = compress(encoding, &[Bytes::copy_from_slice(head)]).expect("compresses").to_vec();
                members.extend_from_slice(&compress(encoding, &[Bytes::copy_from_slice(tail)]).expect("compresses"));
                let token = Some(encoding.as_str());
                check_ok("members", way, &post(&rig, way, Signal::Traces, token, Bytes::from(members)).await);
                assert_eq!(rig.engine.take_requests()[0].wire, span(Way::Proto, size), "{way:?} {encoding:?}");
            }
        }
        let body = span(way, 5);
        check_ok("identity", way, &post(&rig, way, Signal::Traces, Some("identity"), body).await);
        assert_eq!(rig.engine.take_requests()[0].wire, span(Way::Proto, 5), "{way:?}");
    }
    rig.idle().await;
}

#[tokio::test]
async fn oversize_before_and_after_decompression_is_too_large_and_never_retryable() {
    let rig = Rig::new().await;
    let want = Refused { code: Code::ResourceExhausted, http: 413, after: None };
    for way in WAYS {
        let answer = post(&rig, way, Signal::Traces, None, span(way, WIRE + 1)).await;
        check_refused("wire", way, &answer, want);
        for encoding in [ContentEncoding::Gzip, ContentEncoding::Zstd, ContentEncoding::Deflate] {
            // A decompression bomb, far over the limit: inflating stops at the limit.
            let packed = compress(encoding, &[Bytes::from(vec![b' '; 5 << 20])]).expect("compresses");
            let token = encoding.as_str();
            assert!(packed.len() < WIRE, "{token}: {}", packed.len());
            let answer = post(&rig, way, Signal::Traces, Some(token), packed).await;
            check_refused(token, way, &answer, want);
            // One byte over the limit, and exactly at it.
            let over = compress(encoding, &[Bytes::from(vec![b' '; INFLATED + 1])]).expect("compresses");
            let answer = post(&rig, way, Signal::Traces, Some(token), over).await;
            check_refused("one over", way, &answer, want);
            if way != Way::Json {
                let at = compress(encoding, &[Bytes::from(vec![b' '; INFLATED])]).expect("compresses");
                check_ok("at", way, &post(&rig, way, Signal::Traces, Some(token), at).await);
                assert_eq!(rig.engine.take_requests()[0].wire.len(), INFLATED);
            }
        }
    }
    assert!(rig.engine.take_requests().is_empty());
    rig.idle().await;
}

#[tokio::test]
async fn cut_and_damaged_streams_are_malformed() {
    let rig = Rig::new().await;
    let want = Refused { code: Code::InvalidArgument, http: 400, after: None };
    for way in WAYS {
        for encoding in [ContentEncoding::Gzip, ContentEncoding::Zstd, ContentEncoding::Deflate] {
            let token = Some(encoding.as_str());
            let packed = compress(encoding, &[span(way, 2000)]).expect("compresses");
            for cut in [1, packed.len() / 2, packed.len() - 1] {
                let answer = post(&rig, way, Signal::Traces, token, packed.slice(..cut)).await;
                check_refused(&format!("{encoding:?} cut at {cut}"), way, &answer, want);
            }
            let mut damaged = packed.to_vec();
            damaged.extend_from_slice(b"more");
            let answer = post(&rig, way, Signal::Traces, token, Bytes::from(damaged)).await;
            check_refused(&format!("{encoding:?} with a tail"), way, &answer, want);
            let answer = post(&rig, way, Signal::Traces, token, span(way, 10)).await;
            check_refused(&format!("not {encoding:?}"), way, &answer, want);
        }
    }
    let answer =
        post(&rig, Way::Json, Signal::Traces, None, Bytes::from_static(b"{\"resourceSpans\":\"SECRET\"}")).await;
    check_refused("JSON", Way::Json, &answer, want);
    assert!(!String::from_utf8_lossy(&answer.body).contains("SECRET"));
    assert!(rig.engine.take_requests().is_empty());
    rig.idle().await;
}

/// An empty text is not valid JSON, and a text below the limit may become too large a request.
#[tokio::test]
async fn json_is_refused_for_what_it_is() {
    let rig = Rig::new().await;
    let malformed = Refused { code: Code::InvalidArgument, http: 400, after: None };
    let too_large = Refused { code: Code::ResourceExhausted, http: 413, after: None };
    // Numbers take more room in protobuf than in this text: two bytes each here, eight there.
    let numbers = |count: usize| {
        let zeros = vec!["0"; count].join(",");
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{"bucketCounts":[{zeros}]}}]}}}}]}}]}}]}}"#
        )
    };
    let grown = numbers(INFLATED / 8);
    assert!(grown.len() < INFLATED);
    let cut = numbers(INFLATED / 8).replace("]}]}", "]}]");
    let table: [(&str, &str, Option<Refused>); 7] = [
        ("no text", "", Some(malformed)),
        ("white space", " \n", Some(malformed)),
        ("null", "null", Some(malformed)),
        ("a list", "[]", Some(malformed)),
        ("an object", "{}", None),
        ("grows", &grown, Some(too_large)),
        ("grows and is cut behind it", &cut, Some(too_large)),
    ];
    for (name, text, want) in table {
        for token in [None, Some("gzip")] {
            let body = Bytes::from(text.to_owned());
            let body = if token.is_some() {
                compress(ContentEncoding::Gzip, std::slice::from_ref(&body)).expect("compresses")
            } else {
                body
            };
            if body.len() > WIRE {
                continue;
            }
            let answer = post(&rig, Way::Json, Signal::Metrics, token, body).await;
            match want {
                Some(want) => check_refused(name, Way::Json, &answer, want),
                None => check_ok(name, Way::Json, &answer),
            }
        }
    }
    let body = compress(ContentEncoding::Gzip, &[Bytes::from(numbers(INFLATED / 8 - 100))]).expect("compresses");
    check_ok("grows enough", Way::Json, &post(&rig, Way::Json, Signal::Metrics, Some("gzip"), body).await);
    assert_eq!(rig.engine.take_requests().len(), 1);
    rig.idle().await;
}

#[tokio::test]
async fn zstd_windows_over_8_mib_are_refused() {
    let rig = Rig::new().await;
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.window_log(27).expect("a window");
    std::io::Write::write_all(&mut encoder, &span(Way::Proto, 1000)).expect("writes");
    let packed = Bytes::from(encoder.finish().expect("ends"));
    let answer = post(&rig, Way::Proto, Signal::Traces, Some("zstd"), packed).await;
    check_refused("window", Way::Proto, &answer, Refused { code: Code::InvalidArgument, http: 400, after: None });
}

#[tokio::test]
async fn an_unknown_encoding_is_named_with_what_is_spoken() {
    let rig = Rig::new().await;
    let answer = post(&rig, Way::Grpc, Signal::Traces, Some("snappy"), span(Way::Grpc, 5)).await;
    check_refused("grpc", Way::Grpc, &answer, Refused { code: Code::Unimplemented, http: 200, after: None });
    assert_eq!(answer.header("grpc-accept-encoding"), Some("identity,gzip,deflate,zstd"));
    for (way, token) in [(Way::Proto, "snappy"), (Way::Json, "gzip, zstd")] {
        let answer = post(&rig, way, Signal::Traces, Some(token), span(way, 5)).await;
        assert_eq!(answer.status, 415);
        assert_eq!(answer.header("accept-encoding"), Some("gzip, zstd, deflate, identity"));
        assert!(String::from_utf8_lossy(&answer.body).contains("gzip"), "{way:?}");
    }
}

/// A query changes nothing, and a refused method names the right one, in both versions of HTTP. (`tests/it/otlp.rs` has
/// the rows on content types and paths.)
#[tokio::test]
async fn queries_and_methods() {
    let rig = Rig::new().await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for (method, path, status) in [("POST", "/v1/traces?x=1", 200), ("POST", "/", 404), ("PUT", "/v1/traces", 405)]
        {
            let uri = if version == Version::HTTP_2 { format!("http://localhost{path}") } else { path.to_owned() };
            let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
            let request = if version == Version::HTTP_11 { request.header("host", "localhost") } else { request };
            let body = vec![Bytes::from_static(b"{}")];
            let answer = send(rig.http(), version, request.body(()).expect("a request"), body).await;
            assert_eq!(answer.status.as_u16(), status, "{version:?} {method} {path}");
            assert_eq!(answer.header("allow"), (status == 405).then_some("POST"), "{version:?} {method} {path}");
        }
    }
}

#[tokio::test]
async fn grpc_on_the_http_port_and_the_reverse_say_which_port_was_meant() {
    let rig = Rig::new().await;
    let request = request(Way::Grpc, Signal::Traces, None);
    let answer = send(rig.http(), Version::HTTP_2, request, vec![frame(0, &span(Way::Grpc, 5))]).await;
    let status = answer.grpc();
    assert_eq!(status.code(), Code::Unimplemented);
    let port = rig.grpc().port();
    assert_eq!(status.message(), format!("this is the OTLP/HTTP port; OTLP/gRPC is served on port {port}"));

    let port = rig.http().port();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let request = Request::post("http://test/v1/traces").header("content-type", "application/json");
        let request = request.header("host", "localhost").body(()).expect("a request");
        let answer = send(rig.grpc(), version, request, vec![span(Way::Json, 5)]).await;
        assert_eq!(answer.status, 415, "final: a retry would find the same port");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("a JSON status");
        let message = format!("this is the OTLP/gRPC port; OTLP/HTTP is served on port {port}");
        assert_eq!(body["message"], message, "{version:?}");
    }
    assert!(rig.engine.take_requests().is_empty());
}

#[tokio::test]
async fn grpc_framing_that_is_not_one_whole_message_is_malformed() {
    let rig = Rig::new().await;
    let body = span(Way::Grpc, 5);
    let whole = frame(0, &body);
    let two = Bytes::from([whole.clone(), whole.clone()].concat());
    let table: Vec<(&str, Vec<Bytes>)> = vec![
        ("no message", vec![]),
        ("half a prefix", vec![whole.slice(..3)]),
        ("cut", vec![whole.slice(..whole.len() - 1)]),
        ("two messages", vec![two]),
        ("compressed without an encoding", vec![frame(1, &body)]),
        ("unknown flag", vec![frame(2, &body)]),
    ];
    for (name, frames) in table {
        let answer = send(rig.grpc(), Version::HTTP_2, request(Way::Grpc, Signal::Traces, None), frames).await;
        check_refused(name, Way::Grpc, &answer, Refused { code: Code::InvalidArgument, http: 200, after: None });
    }
    assert!(rig.engine.take_requests().is_empty());
    let bytes: Vec<Bytes> = whole.chunks(1).map(Bytes::copy_from_slice).collect();
    let answer = send(rig.grpc(), Version::HTTP_2, request(Way::Grpc, Signal::Traces, None), bytes).await;
    check_ok("byte by byte", Way::Grpc, &answer);
    assert_eq!(rig.engine.take_requests()[0].wire, body);
}

#[tokio::test]
async fn a_declared_length_over_the_limit_is_refused_before_the_body_comes() {
    let rig = Rig::new().await;
    let head = Bytes::from([&[0_u8][..], &u32::MAX.to_be_bytes()[..]].concat());
    let answer = send(rig.grpc(), Version::HTTP_2, request(Way::Grpc, Signal::Traces, None), vec![head]).await;
    check_refused("grpc", Way::Grpc, &answer, Refused { code: Code::ResourceExhausted, http: 200, after: None });
}

#[tokio::test]
async fn the_clients_deadline_ends_the_wait_and_not_the_work() {
    let rig = Rig::with(Knobs { holds_answers: true, ..Knobs::default() }).await;
    let (mut parts, ()) = request(Way::Grpc, Signal::Traces, None).into_parts();
    let body = vec![frame(0, &span(Way::Grpc, 5))];
    // On a busy machine the shorter timeouts may end before the request is submitted.
    for limit in ["20m", "200m", "2S", "20S"] {
        parts.headers.insert("grpc-timeout", limit.parse().expect("a value"));
        let answer = send(rig.grpc(), Version::HTTP_2, Request::from_parts(parts.clone(), ()), body.clone()).await;
        assert_eq!(answer.grpc().code(), Code::DeadlineExceeded);
        if !rig.engine.requests.lock().is_empty() {
            break;
        }
    }
    assert_eq!(rig.engine.take_requests().len(), 1, "it was handed in all the same");
    parts.headers.insert("grpc-timeout", "soon".parse().expect("a value"));
    let answer = send(rig.grpc(), Version::HTTP_2, Request::from_parts(parts, ()), body).await;
    assert_eq!(answer.grpc().code(), Code::InvalidArgument);
}

#[test]
fn grpc_timeouts_are_read_as_grpc_writes_them() {
    let read = |text: &str| {
        let mut headers = ::http::HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().expect("a value"));
        grpc::parse_timeout(&headers).ok().flatten()
    };
    assert_eq!(read("1H"), Some(Duration::from_secs(3600)));
    assert_eq!(read("2M"), Some(Duration::from_secs(120)));
    assert_eq!(read("10S"), Some(Duration::from_secs(10)));
    assert_eq!(read("99999999u"), Some(Duration::from_micros(99_999_999)));
    assert_eq!(read("5n"), Some(Duration::from_nanos(5)));
    for wrong in ["", "S", "1", "999999999S", "-1S", "1s", "1.5S", "1é"] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}
