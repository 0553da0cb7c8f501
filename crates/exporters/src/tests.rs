//! Tests of the parts shared by both exporters: verdicts, presets, and both exporters against tollgate's own receiver.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::outcome;
use super::preset::{Preset, PresetKeys};
use super::remote::ExporterDeps;
use kafka::SessionPartitioner;
use kernel::clock::{ManualClock, UnixNanos};
use kernel::pseudonym::Pseudonymizer;
use kernel::secret::Secret;
use net::client::ResponseReadError;
use net::encoding::{InflateStep, Inflater};
use net::rope::Rope;
use net::testing::tasks::TestTasks;
use net::{ContentEncoding, ProxyRules, SharedServices};
use otlp::Signal;
use otlp::status::{GrpcCode, PartialSuccess, RpcStatus, response_to_protobuf};
use pipeline::accounts::RateLimits;
use pipeline::testing::fake_engine::FakeEngine;
use pipeline::{ByteBudget, ExportRequest, Exporter, Outcome, OutletSettings, Reason};
use receivers::otlp as receiver;
use telemetry::Meter;

/// Services for building exporters; `env` holds the proxy variables.
pub(super) fn deps(env: &[(&str, String)]) -> ExporterDeps {
    let var = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let proxies = Arc::new(ProxyRules::from_env(&var).unwrap());
    let hasher = Pseudonymizer::new(&Secret::new("a key for tests of exporters".to_owned()));
    let partitioner = Arc::new(SessionPartitioner::new(["session.id".to_owned()], hasher));
    let services = SharedServices { clock: ManualClock::at(NOW), proxies, ..net::testing::services() };
    ExporterDeps { services, partitioner }
}

/// A request of `size` bytes that compresses well.
pub(super) fn request(signal: Signal, size: usize) -> ExportRequest {
    ExportRequest { signal, account: Arc::from("default"), body: vec![b'x'; size].into(), items: 1 }
}

/// The body of a received request, inflated.
pub(super) fn inflated(encoding: Option<&str>, body: &Bytes) -> Bytes {
    let encoding = ContentEncoding::parse(encoding.unwrap_or_default()).unwrap();
    let mut rope = Rope::default();
    rope.push(body.clone());
    let mut inflater = Inflater::new(encoding, rope, 64 << 20).unwrap();
    while inflater.step(1 << 20).unwrap() == InflateStep::More {}
    inflater.into_bytes()
}

/// 1994-11-06 08:49:37 UTC.
const NOW: UnixNanos = UnixNanos(784_111_777_000_000_000);

fn retry(after: Option<u64>, reason: Reason) -> Outcome {
    Outcome::Retry { after: after.map(Duration::from_secs), reason }
}

fn http(status: u16, headers: &[(&'static str, &str)], body: Result<&[u8], ResponseReadError>) -> Outcome {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().unwrap());
    }
    outcome::http_outcome(StatusCode::from_u16(status).unwrap(), &map, body, true, NOW)
}

/// OTLP/HTTP: only 429, 502, 503 and 504 are retried as passing failures. Statuses that the operator must fix keep the
/// data waiting; statuses that blame the data refuse it.
#[test]
fn each_http_status_has_one_outcome() {
    for status in 100..600 {
        let want = match status {
            200..=299 => Outcome::Accepted,
            429 | 502 | 503 | 504 => retry(None, Reason::Unavailable),
            300..=399 | 401..=405 | 407 | 410 | 421 => retry(None, Reason::Denied),
            413 => Outcome::Refused { reason: Reason::TooLarge },
            _ => Outcome::Refused { reason: Reason::BadData },
        };
        assert_eq!(http(status, &[], Ok(b"")), want, "{status}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date_and_never_for_ever() {
    for (text, seconds) in [
        ("3", Some(3)),
        (" 0 ", Some(0)),
        ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
        ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
        ("Mon, 07 Nov 1994 08:49:37 GMT", Some(3600)),
        ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10)),
        ("Sun Nov  6 08:49:47 1994", Some(10)),
        ("99999999999", Some(3600)),
        ("18446744073709551616", Some(3600)),
        ("soon", None),
        ("-1", None),
    ] {
        assert_eq!(http(503, &[("retry-after", text)], Ok(b"")), retry(seconds, Reason::Unavailable), "{text}");
    }
}

#[test]
fn partial_success_ends_a_delivery_and_a_warning_is_success() {
    let partial = |rejected| response_to_protobuf(Some(&PartialSuccess { rejected, message: "secret text".into() }));
    let rejected = Outcome::Partial { rejected: 3, reason: Reason::BadData };
    assert_eq!(http(200, &[], Ok(&partial(3))), rejected);
    assert_eq!(http(200, &[], Ok(&partial(0))), Outcome::Accepted);
    assert_eq!(http(200, &[], Ok(b"not protobuf")), Outcome::Accepted);
    assert_eq!(
        outcome::http_outcome(StatusCode::OK, &HeaderMap::new(), Ok(&partial(3)), false, NOW),
        Outcome::Accepted
    );
    // Too large to read: the data was accepted and must not be sent again. Cut off: the result is unknown.
    let unreadable = Outcome::Partial { rejected: 0, reason: Reason::BadData };
    assert_eq!(http(200, &[], Err(ResponseReadError::TooLarge)), unreadable);
    assert_eq!(http(200, &[], Err(ResponseReadError::Truncated)), retry(None, Reason::Unavailable));
    assert_eq!(http(400, &[], Err(ResponseReadError::Truncated)), Outcome::Refused { reason: Reason::BadData });

    let ok = tonic::Status::new(tonic::Code::Ok, "");
    assert_eq!(outcome::grpc_outcome(StatusCode::OK, Some(&ok), Ok(&partial(3))), rejected);
    assert_eq!(outcome::grpc_outcome(StatusCode::OK, Some(&ok), Ok(b"")), Outcome::Accepted);
    assert_eq!(outcome::grpc_outcome(StatusCode::OK, None, Err(ResponseReadError::TooLarge)), unreadable);
}

/// A proxy's login page, or a front end that answers 200 on every path, has not accepted anything: the data must stay
/// in the spool and the failure must be reported. A success body in another format counts as a success.
#[test]
fn a_page_for_people_is_no_delivery() {
    let page = b"\n<!doctype html><title>Sign in</title>";
    let answer = |kind: Option<&str>, body: Result<&[u8], ResponseReadError>| {
        let mut headers = HeaderMap::new();
        kind.iter().for_each(|kind| drop(headers.insert("content-type", kind.parse().unwrap())));
        let protobuf = kind.is_none_or(|kind| kind.ends_with("protobuf"));
        outcome::http_outcome(StatusCode::OK, &headers, body, protobuf, NOW)
    };
    let denied = retry(None, Reason::Denied);
    for kind in [Some("text/html; charset=utf-8"), Some("Text/HTML"), Some("text/plain"), Some("application/xml")] {
        assert_eq!(answer(kind, Ok(page)), denied, "{kind:?}");
    }
    for kind in [None, Some("application/x-protobuf")] {
        assert_eq!(answer(kind, Ok(page.trim_ascii_start())), denied, "{kind:?}");
    }
    // the inner message has 60 bytes, so the encoding begins with a line end and `<`
    let sixty = response_to_protobuf(Some(&PartialSuccess { rejected: 3, message: "x".repeat(56) }));
    assert_eq!(sixty.get(..2), Some(&b"\n<"[..]));
    let partial = Outcome::Partial { rejected: 3, reason: Reason::BadData };
    assert_eq!(
        (answer(None, Ok(&sixty)), answer(Some("application/x-protobuf"), Ok(&sixty))),
        (partial.clone(), partial)
    );
    for body in [Err(ResponseReadError::TooLarge), Err(ResponseReadError::Truncated)] {
        assert_eq!(answer(Some("text/html"), body), denied);
    }
    // a body that a framework merely labels as HTML is still a success
    for kind in [Some("text/html"), Some("text/plain"), Some("application/json"), Some("application/x-protobuf"), None]
    {
        for body in [&b""[..], b"OK", b"{}"] {
            assert_eq!(answer(kind, Ok(body)), Outcome::Accepted, "{kind:?}");
        }
    }
}

/// OTLP/gRPC follows the specification's table; the outlet resolves RESOURCE_EXHAUSTED without RetryInfo.
#[test]
fn each_grpc_code_has_one_outcome() {
    for number in 0..=17 {
        let code = GrpcCode::from_number(number);
        let want = |after| match number {
            0 => Outcome::Accepted,
            1 | 4 | 10 | 11 | 14 | 15 => retry(after, Reason::Unavailable),
            8 if after.is_some() => retry(after, Reason::Unavailable),
            8 => retry(None, Reason::TooLarge),
            5 | 7 | 12 | 16 => retry(after, Reason::Denied),
            _ => Outcome::Refused { reason: Reason::BadData },
        };
        let bare = tonic::Status::new(number.into(), "");
        assert_eq!(outcome::grpc_outcome(StatusCode::OK, Some(&bare), Ok(b"")), want(None), "{number}");
        let details =
            RpcStatus { code, message: String::new(), retry_after: Some(Duration::from_secs(7)), violation: None };
        let with = tonic::Status::with_details(number.into(), "", details.to_protobuf().into());
        assert_eq!(
            outcome::grpc_outcome(StatusCode::OK, Some(&with), Ok(b"")),
            want(Some(7)),
            "{number} with RetryInfo"
        );
    }
}

#[test]
fn an_http_answer_to_grpc_is_read_by_grpcs_table() {
    let outcome = |status: u16| outcome::grpc_outcome(StatusCode::from_u16(status).unwrap(), None, Ok(b""));
    for status in [200, 429, 502, 503, 504] {
        assert_eq!(outcome(status), retry(None, Reason::Unavailable), "{status}");
    }
    for status in [301, 401, 403, 404, 405, 407, 415] {
        assert_eq!(outcome(status), retry(None, Reason::Denied), "{status}");
    }
    for status in [400, 500] {
        assert_eq!(outcome(status), Outcome::Refused { reason: Reason::BadData }, "{status}");
    }
}

/// The Collector's queue and retry keys reach the outlet for both exporters; a number of items is not read as a size.
#[test]
fn queue_and_retry_become_the_outlets_settings() {
    let json = |more: &str| {
        let keys = format!(r#"{{"endpoint": "http://127.0.0.1:1", {more}}}"#);
        serde_json::from_str::<serde_json::Value>(&keys).unwrap()
    };
    let grpc = |more: &str| serde_json::from_value::<super::otlp::Config>(json(more)).unwrap().settings();
    let http = |more: &str| serde_json::from_value::<super::otlp_http::Config>(json(more)).unwrap().settings();
    let all = r#""sending_queue": {"num_consumers": 7, "read_ahead": "1MiB",
        "batch": {"flush_timeout": "50ms", "sizer": "bytes", "min_size": 5000, "max_size": "64KiB"}},
        "retry_on_failure": {"initial_interval": "1s", "max_interval": "2s"}"#;
    let standard = OutletSettings::default();
    for (common, more) in [(grpc(all).unwrap().common, "grpc"), (http(all).unwrap().common, "http")] {
        let got = common.outlet;
        assert_eq!((got.consumers, got.window_bytes, got.merge_bytes), (7, 1 << 20, 5000), "{more}");
        assert_eq!((got.linger, common.max_request_bytes), (Duration::from_millis(50), 64 << 10), "{more}");
        assert_eq!((got.retry_initial, got.retry_max), (Duration::from_secs(1), Duration::from_secs(2)), "{more}");
    }
    let plain = grpc(r#""trust": "internal""#).unwrap().common;
    assert_eq!((plain.outlet.linger, plain.outlet.retry_max), (standard.linger, standard.retry_max));
    assert!(plain.notes.is_empty());
    let items = grpc(r#""sending_queue": {"batch": {"min_size": 8192, "max_size": 10000}}"#).unwrap().common;
    assert_eq!((items.outlet.merge_bytes, items.max_request_bytes), (standard.merge_bytes, 4 << 20));
    assert_eq!(items.notes.len(), 2);
    let own = grpc(r#""max_request_size": "1MiB""#).unwrap().common;
    let split = http(r#""sending_queue": {"batch": {"sizer": "bytes", "max_size": "64KiB"}}"#).unwrap().common;
    let preset = http(r#""preset": "signoz", "ingestion_key": "k""#).unwrap().common;
    let sizes = [plain, own, split, preset].map(|common| common.max_request_bytes);
    let wanted = [4 << 20, 1 << 20, 64 << 10, 4 << 20];
    assert_eq!(sizes, wanted);
    let bad = r#""sending_queue": {"num_consumers": 0, "read_ahead": 0,
        "batch": {"sizer": "bytes", "min_size": 5000, "max_size": 4000}},
        "retry_on_failure": {"initial_interval": "0s", "max_interval": "0s"}"#;
    let paths: Vec<String> = grpc(bad).unwrap_err().into_iter().map(|problem| problem.path).collect();
    let wrong = "sending_queue.num_consumers sending_queue.read_ahead sending_queue.batch.max_size";
    assert_eq!(paths.join(" "), format!("{wrong} retry_on_failure.initial_interval"));
    let bad = r#""retry_on_failure": {"initial_interval": "3s", "max_interval": "2s"}"#;
    assert_eq!(http(bad).unwrap_err()[0].path, "retry_on_failure.max_interval");
}

fn asked<'a>(region: Option<&'a str>, key: Option<&'a Secret>, dataset: Option<&'a str>) -> PresetKeys<'a> {
    PresetKeys { region, api_key: key, ingestion_key: None, dataset, own_endpoint: false }
}

#[test]
fn honeycomb_knows_its_regions_and_when_a_dataset_is_wanted() {
    let modern = Secret::new("hcaik_0123".into());
    let classic = Secret::new("0123456789abcdef0123456789abcdef".into());
    let resolve = |asked| Preset::Honeycomb.resolve(asked);
    let us = resolve(asked(None, Some(&modern), None)).unwrap();
    assert_eq!(us.base_url.as_deref(), Some("https://api.honeycomb.io:443"));
    let names: Vec<&str> = us.headers.iter().map(|header| header.name).collect();
    assert_eq!((names, us.accepts_zstd), (vec!["x-honeycomb-team"], true));
    let eu = resolve(asked(Some("eu"), Some(&modern), Some("agents"))).unwrap();
    assert_eq!(eu.base_url.as_deref(), Some("https://api.eu1.honeycomb.io:443"));
    assert_eq!((eu.headers[1].name, eu.headers[1].only_signal), ("x-honeycomb-dataset", Some(Signal::Logs)));
    let old = resolve(asked(None, Some(&classic), Some("agents"))).unwrap();
    assert_eq!(old.headers[1].only_signal, None);
    let keys = |found: Vec<(&'static str, &str)>| found.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(resolve(asked(None, Some(&classic), None)).unwrap_err()), ["dataset"]);
    assert_eq!(keys(resolve(asked(Some("mars"), None, None)).unwrap_err()), ["region", "api_key"]);
}

#[test]
fn signoz_needs_a_region_and_a_key_in_the_cloud_and_neither_at_home() {
    let key = Secret::new("k".into());
    let cloud = |region, ingestion_key| PresetKeys { ingestion_key, ..asked(region, None, None) };
    let resolve = |asked| Preset::Signoz.resolve(asked);
    for region in ["us", "eu", "in", "in2"] {
        let resolved = resolve(cloud(Some(region), Some(&key))).unwrap();
        assert_eq!(resolved.base_url, Some(format!("https://ingest.{region}.signoz.cloud:443")));
        assert_eq!(resolved.headers[0].name, "signoz-ingestion-key");
    }
    let home = resolve(PresetKeys { own_endpoint: true, ..cloud(None, None) }).unwrap();
    assert_eq!((home.base_url, home.headers.len()), (None, 0));
    let keys = |found: Vec<(&'static str, &str)>| found.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(resolve(cloud(None, None)).unwrap_err()), ["region", "ingestion_key"]);
    assert_eq!(keys(resolve(asked(Some("eu"), Some(&key), None)).unwrap_err()), ["api_key", "ingestion_key"]);
}

/// A tollgate receiver accepts what each exporter sends, and the response comes back; zstd is used after the first
/// request.
#[tokio::test]
async fn exporters_and_the_receiver_understand_each_other() {
    let mut settings = receiver::OtlpReceiverConfig::default().settings().unwrap();
    let any = net::Endpoint::parse("127.0.0.1:0").unwrap();
    settings.grpc.as_mut().unwrap().endpoint = any.clone();
    settings.http.as_mut().unwrap().endpoint = any;
    let budget = ByteBudget::new(64 << 20, Duration::from_secs(10));
    let (engine, inlet) =
        FakeEngine::start("otlp", budget, RateLimits::default(), Arc::new(kernel::clock::SystemClock::new()));
    let bound = receiver::OtlpReceiver::build(Arc::from("otlp"), settings).bind().await.unwrap();
    let (grpc, http) = (bound.grpc().unwrap(), bound.http().unwrap());
    let running = bound.serve(inlet, TestTasks::shared(), &Meter::new()).await;
    let grpc = serde_json::json!({ "endpoint": format!("http://{grpc}") });
    let grpc: super::otlp::Config = serde_json::from_value(grpc).unwrap();
    let grpc = super::remote::OtlpExporter::build(Arc::from("otlp"), grpc.settings().unwrap(), deps(&[])).unwrap();
    let http = serde_json::json!({ "endpoint": format!("http://{http}") });
    let http: super::otlp_http::Config = serde_json::from_value(http).unwrap();
    let http = super::remote::OtlpExporter::build(Arc::from("otlp_http"), http.settings().unwrap(), deps(&[])).unwrap();
    let exporters: [&dyn Exporter; 2] = [&grpc, &http];
    for exporter in exporters {
        for (signal, size) in [(Signal::Traces, 10), (Signal::Metrics, 100_000), (Signal::Logs, 3_000_000)] {
            let sent = request(signal, size);
            let partial = |reason| Outcome::Partial { rejected: 1, reason };
            engine.outcomes.lock().push_back(partial(Reason::Quarantined));
            assert_eq!(exporter.send(&sent).await, partial(Reason::BadData));
            let [received] = &engine.take_requests()[..] else { panic!("one request") };
            assert!(received.signal == signal && received.wire == sent.body.joined());
        }
    }
    running.drain(Duration::from_secs(10)).await;
}
