//! The checklist of an OTLP server, one row for each box, over real sockets and a whole gateway: gRPC, HTTP with
//! protobuf, HTTP with JSON. Clients act on these responses: they decide what is resent and what is dropped.

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use net::ContentEncoding;
use net::encoding::compress;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use otlp::{Signal, json};
use prost::Message;
use telemetry::Meter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tollgate::app::RunningGateway;
use tonic_types::StatusExt;

use super::config::Everything;
use super::gateway;

/// The three encodings of the same request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Grpc,
    Proto,
    Json,
}
use Way::{Grpc, Json, Proto};
const ALL: &[Way] = &[Grpc, Proto, Json];
const HTTP: &[Way] = &[Proto, Json];

/// A gateway that writes forwarded data to a file.
struct Gateway {
    app: RunningGateway,
    folder: tempfile::TempDir,
    meter: Meter,
}

const TOKEN: &str = "acme-token-0123456789";

fn receiver(folder: &Path) -> serde_json::Value {
    let at = |name: &str| format!("unix:{}", folder.join(name).display());
    serde_json::json!({
        "otlp": {
            "protocols": {
                "grpc": { "endpoint": "127.0.0.1:0", "max_recv_msg_size_mib": 1, "max_wire_size": "256KiB" },
                "http": {
                    "endpoint": "127.0.0.1:0", "max_request_body_size": "1MiB", "max_wire_size": "256KiB",
                    "cors": { "allowed_origins": ["https://*.example.com"], "max_age": 600 },
                },
            },
        },
        "otlp/known": {
            "protocols": { "grpc": { "endpoint": "127.0.0.1:0" }, "http": { "endpoint": "127.0.0.1:0" } },
            "auth": { "tokens": { "acme": [TOKEN] }, "basic": { "langfuse": ["pk-lf-0123:sk-lf-0123456789abcdef"] } },
        },
        "otlp/all": {
            "protocols": { "grpc": { "endpoint": "127.0.0.1:0" }, "http": { "endpoint": "127.0.0.1:0" } },
        },
        "otlp/local": { "protocols": {
            "grpc": { "endpoint": folder.join("grpc.sock"), "transport": "unix" }, "http": { "endpoint": at("http.sock") },
        } },
    })
}

impl Gateway {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("data")).unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let receivers = ["otlp", "otlp/known", "otlp/local", "otlp/all"];
        let configuration = serde_json::json!({
            "receivers": receiver(folder.path()),
            "exporters": { "file": { "path": at("outbound.jsonl"), "trust": "internal" } },
            "spool": { "directory": at("data/spool"), "max_size": "64MiB" },
            "limits": {
                "shutdown": "10s", "max_item_size": "20KiB",
                "accounts": { "acme": { "requests_per_second": 0.01, "burst": "100s" } },
            },
            "service": { "pipelines": {
                "traces": { "receivers": receivers, "exporters": ["file"] },
                "logs": { "receivers": ["otlp/all"], "exporters": ["file"] },
                "metrics": { "receivers": ["otlp/all"], "exporters": ["file"] },
            } },
        });
        let (app, meter) = gateway::start_with(&configuration.to_string(), &Everything, folder.path()).await;
        Self { app, folder, meter }
    }

    fn at(&self, receiver: &str, way: Way) -> SocketAddr {
        let name = format!("{receiver} {}", if way == Grpc { "grpc" } else { "http" });
        gateway::address(&self.app, &name)
    }

    /// Shuts the gateway down and returns the names of all forwarded spans.
    async fn forwarded(self) -> Vec<String> {
        self.app.shutdown().await;
        let lines = std::fs::read_to_string(self.folder.path().join("outbound.jsonl")).unwrap_or_default();
        let requests = lines.lines().map(|line| json::decode(Signal::Traces, line.as_bytes()).unwrap());
        let requests = requests.map(|wire| ExportTraceServiceRequest::decode(&wire[..]).unwrap());
        let spans = requests.flat_map(|request| request.resource_spans).flat_map(|spans| spans.scope_spans);
        spans.flat_map(|spans| spans.spans).map(|span| span.name).collect()
    }
}

const TRACE: &str = "5B8EFFF798038103D269B633813FC60C";

/// One span in JSON, with ids, its name and further members.
fn span(name: &str, more: &str) -> String {
    span_of(TRACE, "eee19b7ec3c1b174", name, more)
}

fn span_of(trace: &str, id: &str, name: &str, more: &str) -> String {
    format!(r#"{{"traceId":"{trace}","spanId":"{id}","name":"{name}"{more}}}"#)
}

fn request(spans: &[String]) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, spans.join(","))
}

/// The request of one row.
struct Ask {
    signal: Signal,
    /// The request as JSON; converted to protobuf for the other encodings.
    json: String,
    /// Additional headers.
    headers: &'static [(&'static str, &'static str)],
    /// Sent byte for byte instead of `json`.
    raw: Option<Vec<u8>>,
    encoding: Option<&'static str>,
    /// Replaces the usual path.
    path: Option<&'static str>,
    method: &'static str,
    content_type: Option<&'static str>,
    authorization: Option<&'static str>,
    receiver: &'static str,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            signal: Signal::Traces,
            json: request(&[span("one", "")]),
            headers: &[],
            raw: None,
            encoding: None,
            path: None,
            method: "POST",
            content_type: None,
            authorization: None,
            receiver: "otlp",
        }
    }
}

/// The response that OTLP requires.
#[derive(Clone, Copy)]
enum Want {
    Full,
    /// Rejected spans, and a part of the message.
    Partial(i64, &'static str),
    /// gRPC code, HTTP status, whether the same bytes may be resent, a part of the message.
    Refused(tonic::Code, u16, bool, &'static str),
}
use Want::{Full as Whole, Partial, Refused};

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn usual(way: Way, ask: &Ask) -> Request<Full<Bytes>> {
    let mut body = ask.raw.clone().unwrap_or_else(|| match way {
        Json => ask.json.clone().into_bytes(),
        Grpc | Proto => json::decode(ask.signal, ask.json.as_bytes()).unwrap(),
    });
    if let Some(encoding) = ask.encoding.and_then(ContentEncoding::parse) {
        body = compress(encoding, &[Bytes::from(body)]).unwrap().to_vec();
    }
    let path = ask.path.unwrap_or(match (way, ask.signal) {
        (Grpc, Signal::Traces) => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        (Grpc, Signal::Metrics) => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        (Grpc, Signal::Logs) => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        (Proto | Json, Signal::Traces) => "/v1/traces",
        (Proto | Json, Signal::Metrics) => "/v1/metrics",
        (Proto | Json, Signal::Logs) => "/v1/logs",
    });
    let content_type = ask.content_type.unwrap_or(match way {
        Grpc => "application/grpc",
        Proto => "application/x-protobuf",
        Json => "application/json",
    });
    let mut request = Request::builder().method(ask.method);
    if !content_type.is_empty() {
        request = request.header("content-type", content_type);
    }
    for (name, value) in ask.headers {
        request = request.header(*name, *value);
    }
    if way == Grpc {
        let flag = u8::from(ask.encoding.is_some_and(|encoding| encoding != "identity"));
        body = [&[flag], &u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat();
        request = request.uri(format!("http://test{path}")).header("te", "trailers");
    } else {
        request = request.uri(path).header("host", "localhost");
    }
    if let Some(encoding) = ask.encoding {
        request = request.header(if way == Grpc { "grpc-encoding" } else { "content-encoding" }, encoding);
    }
    if let Some(shown) = ask.authorization {
        request = request.header("authorization", shown);
    }
    request.body(Full::new(Bytes::from(body))).unwrap()
}

/// Sends one request on a connection of its own.
async fn send<S>(stream: S, version: Version, request: Request<Full<Bytes>>) -> Answer
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let response = if version == Version::HTTP_2 {
        let (mut send, conn) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(conn);
        send.send_request(request).await
    } else {
        let (mut send, conn) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(conn);
        send.send_request(request).await
    };
    let (parts, body) = response.unwrap().into_parts();
    let body = body.collect().await.unwrap();
    let mut headers = parts.headers;
    headers.extend(body.trailers().cloned().unwrap_or_default());
    Answer { status: parts.status, headers, body: body.to_bytes() }
}

fn version(way: Way) -> Version {
    if way == Grpc { Version::HTTP_2 } else { Version::HTTP_11 }
}

async fn ask(gateway: &Gateway, way: Way, ask: &Ask) -> Answer {
    let stream = TcpStream::connect(gateway.at(ask.receiver, way)).await.unwrap();
    send(stream, version(way), usual(way, ask)).await
}

/// `None` if fully accepted, else how many items were rejected and why. The protobuf responses of the three signals
/// have the same form.
fn partial(way: Way, signal: Signal, answer: &Answer) -> Option<(i64, String)> {
    if way == Json {
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let partial = body.get("partialSuccess")?;
        let name = match signal {
            Signal::Traces => "rejectedSpans",
            Signal::Metrics => "rejectedDataPoints",
            Signal::Logs => "rejectedLogRecords",
        };
        let rejected = partial[name].as_str().unwrap().parse().unwrap();
        return Some((rejected, partial["errorMessage"].as_str().unwrap().to_owned()));
    }
    let message = if way == Grpc { answer.body.slice(5..) } else { answer.body.clone() };
    let partial = ExportTraceServiceResponse::decode(message).unwrap().partial_success?;
    Some((partial.rejected_spans, partial.error_message))
}

/// The expected content type of the response: that of the request, or JSON for people if the request's type is
/// unknown.
fn kind(way: Way, ask: &Ask) -> &'static str {
    match (way, ask.content_type) {
        (Grpc, _) => "application/grpc",
        (Proto, Some("application/protobuf")) => "application/protobuf",
        (Proto, _) => "application/x-protobuf",
        (Json, _) => "application/json",
    }
}

fn check(row: &str, way: Way, asked: &Ask, answer: &Answer, want: Want) {
    let name = format!("{row}, {way:?}");
    let content_type = kind(way, asked);
    assert_eq!(answer.header("content-encoding"), "", "{name}: never compressed, so never against the client's wish");
    assert!(answer.body.len() < 4 << 10, "{name}: an answer of {} bytes", answer.body.len());
    let (code, http, again, says) = match want {
        Whole | Partial(..) => {
            assert_eq!(answer.status, 200, "{name}: {:?}", answer.body);
            assert!(way != Grpc || answer.header("grpc-status") == "0", "{name}: {}", answer.header("grpc-message"));
            assert_eq!(answer.header("content-type"), content_type, "{name}");
            let found = partial(way, asked.signal, answer);
            match want {
                Partial(rejected, says) => {
                    let (found, message) = found.unwrap_or_else(|| panic!("{name}: nothing was rejected"));
                    assert_eq!(found, rejected, "{name}");
                    assert!(message.contains(says), "{name}: {message}");
                }
                _ => assert_eq!(found, None, "{name}: full success leaves partial_success unset"),
            }
            return;
        }
        Refused(code, http, again, says) => (code, http, again, says),
    };
    let status = if way == Grpc {
        let status = tonic::Status::from_header_map(&answer.headers).unwrap_or_else(|| panic!("{name}: no status"));
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(status.get_details_retry_info().is_some(), again, "{name}: RetryInfo");
        (status.code(), status.message().to_owned())
    } else {
        assert_eq!(answer.status.as_u16(), http, "{name}: {:?}", answer.body);
        assert_eq!(!answer.header("retry-after").is_empty(), again, "{name}: Retry-After");
        assert_eq!(answer.header("content-type"), content_type, "{name}");
        let (status, details) = if content_type == "application/json" {
            let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            let code = i32::try_from(status["code"].as_i64().unwrap()).unwrap();
            let details = status["details"].to_string();
            ((code.into(), status["message"].as_str().unwrap().to_owned()), details)
        } else {
            let status = tonic_types::pb::Status::decode(answer.body.clone()).unwrap();
            let details = status.details.iter().map(|detail| &*detail.type_url).collect();
            ((status.code.into(), status.message), details)
        };
        assert_eq!(details.contains("google.rpc.BadRequest"), http == 400, "{name}: BadRequest in {details}");
        status
    };
    assert_eq!(status.0, code, "{name}: {}", status.1);
    assert!(status.1.contains(says), "{name}: {}", status.1);
}

type Row = (&'static str, &'static [Way], Ask, Want);

/// The rows on requests: encodings, sizes, content types, paths. (`crates/otlp/src/json/tests` has the JSON spellings.)
fn boxes_of_requests() -> Vec<Row> {
    let encoded = |encoding| Ask { encoding: Some(encoding), ..Ask::default() };
    let large = request(&[span(&"n".repeat(300 << 10), "")]);
    let bomb = Ask { json: request(&[span(&"n".repeat(2 << 20), "")]), ..encoded("gzip") };
    let base64 = span_of("W47/95gDgQPSabYzgT/GDA==", "7uGbfsPBsXQ=", "one", "");
    let typed = |content_type| Ask { content_type: Some(content_type), ..Ask::default() };
    let invalid = |says| Refused(tonic::Code::InvalidArgument, 400, false, says);
    let mut unknown_field = json::decode(Signal::Traces, request(&[span("one", "")]).as_bytes()).unwrap();
    // field 1000, four bytes
    unknown_field.extend_from_slice(b"\xc2\x3e\x04what");
    let too_large = Refused(tonic::Code::ResourceExhausted, 413, false, "larger than the limit");
    vec![
        ("full success", ALL, Ask::default(), Whole),
        ("`none`", ALL, encoded("identity"), Whole),
        ("`gzip`", ALL, encoded("gzip"), Whole),
        ("zstd", ALL, encoded("zstd"), Whole),
        ("deflate", ALL, encoded("deflate"), Whole),
        ("limit before decompression", ALL, Ask { json: large, ..Ask::default() }, too_large),
        ("limit after decompression", ALL, bomb, too_large),
        ("an empty request succeeds", ALL, Ask { json: "{}".to_owned(), ..Ask::default() }, Whole),
        ("bad data is final", &[Grpc, Proto], Ask { raw: Some(b"\x0a\xff".to_vec()), ..Ask::default() }, invalid("")),
        (
            "bad JSON is final",
            &[Json],
            Ask { raw: Some(b"{\"resourceSpans\":[".to_vec()), ..Ask::default() },
            invalid(""),
        ),
        ("parameters of a content type", &[Json], typed("application/json; charset=utf-8"), Whole),
        ("parameters of a content type", &[Proto], typed("application/x-protobuf; proto=1"), Whole),
        ("the content type's other name", &[Proto], typed("application/protobuf"), Whole),
        ("a content type in any case", &[Json], typed("Application/JSON"), Whole),
        ("compressed answers wanted", ALL, Ask { headers: &[("accept-encoding", "gzip")], ..Ask::default() }, Whole),
        ("envelopes without items", ALL, Ask { json: request(&[]), ..Ask::default() }, Whole),
        ("no envelope's content", ALL, Ask { json: r#"{"resourceSpans":[{}]}"#.to_owned(), ..Ask::default() }, Whole),
        ("unknown fields of protobuf", &[Grpc, Proto], Ask { raw: Some(unknown_field), ..Ask::default() }, Whole),
        ("gRPC's other content type", &[Grpc], typed("application/grpc+proto"), Whole),
        ("a prefix of other clients", HTTP, Ask { path: Some("/api/public/otel/v1/traces"), ..Ask::default() }, Whole),
        ("ids in base64 are none", &[Json], Ask { json: request(&[base64]), ..Ask::default() }, invalid("")),
    ]
}

/// The rows on refusals, and on single refused items.
fn boxes_of_answers() -> Vec<Row> {
    let spans = |spans: &[String]| Ask { json: request(spans), ..Ask::default() };
    let (short, zero) =
        (span_of("abcd", "eee19b7ec3c1b174", "short", ""), span_of(TRACE, "0000000000000000", "zero", ""));
    let large = span(&"l".repeat(30 << 10), "");
    let path = |path| Ask { path: Some(path), ..Ask::default() };
    let known = |authorization| Ask { receiver: "otlp/known", authorization, ..Ask::default() };
    let metrics = || Ask { signal: Signal::Metrics, json: "{}".to_owned(), ..Ask::default() };
    let many: Vec<_> = (0..900).map(|_| span_of("ab", "cd", "short", "")).collect();
    let typed = |content_type| Ask { content_type: Some(content_type), ..Ask::default() };
    let wrong_type = Refused(tonic::Code::InvalidArgument, 415, false, "application/json");
    let unimplemented = |http, says| Refused(tonic::Code::Unimplemented, http, false, says);
    let unknown = Refused(tonic::Code::Unauthenticated, 401, false, "");
    vec![
        ("ids are refused one by one", ALL, spans(&[span("kept", ""), short.clone(), zero.clone()]), Partial(2, "ids")),
        ("sizes are refused one by one", ALL, spans(&[large.clone(), span("kept", "")]), Partial(1, "max_item_size")),
        ("several reasons at once", ALL, spans(&[large, span("kept", ""), short.clone()]), Partial(2, "larger")),
        ("all are refused", ALL, spans(&[short, zero]), Partial(2, "ids")),
        ("however many are refused, the answer is small", ALL, spans(&many), Partial(900, "ids")),
        ("a signal that nobody takes", ALL, metrics(), unimplemented(404, "no pipeline")),
        ("an unknown service", &[Grpc], path("/a.B/Export"), unimplemented(0, "unknown service")),
        ("an unknown path", HTTP, path("/v2/traces"), Refused(tonic::Code::NotFound, 404, false, "/v1/traces")),
        ("another method", HTTP, Ask { method: "PUT", ..Ask::default() }, unimplemented(405, "POST")),
        ("an unknown content type", &[Json], typed("text/plain"), wrong_type),
        ("no content type", &[Json], typed(""), wrong_type),
        ("no credential", ALL, known(None), unknown),
        ("a wrong credential", ALL, known(Some("Bearer acme-token-9999999999")), unknown),
        ("a wrong password", ALL, known(Some("Basic cGstbGYtMDEyMzp3cm9uZw==")), unknown),
        ("a user and password", ALL, known(Some("basic cGstbGYtMDEyMzpzay1sZi0wMTIzNDU2Nzg5YWJjZGVm")), Whole),
        // The burst is one request: the first of the three requests is accepted, the others get a retry delay.
        ("a known token", &[Grpc], known(Some("Bearer acme-token-0123456789")), Whole),
        (
            "over the account's rate",
            ALL,
            known(Some("Bearer acme-token-0123456789")),
            Refused(tonic::Code::ResourceExhausted, 429, true, "the account exceeded its rate limit"),
        ),
    ]
}

/// Checks each row. (Verified to fail: without `without_refused` in the worker the rows on items fail; with 503 for a
/// rate limit the last one does.)
#[tokio::test(flavor = "multi_thread")]
async fn each_box_of_the_checklist() {
    let gateway = Gateway::start().await;
    let rows: Vec<Row> = boxes_of_requests().into_iter().chain(boxes_of_answers()).collect();
    assert!(rows.len() >= 35, "{}", rows.len());
    for (row, ways, what, want) in &rows {
        for way in *ways {
            check(row, *way, what, &ask(&gateway, *way, what).await, *want);
        }
    }
    let text = gateway.meter.render();
    for line in [
        r#"tollgate_dropped_items_total{signal="traces",reason="bad_ids"} 2715"#,
        r#"tollgate_dropped_items_total{signal="traces",reason="item_too_large"} 6"#,
        r#"tollgate_account_limited_requests_total{account="acme"} 3"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let names = gateway.forwarded().await;
    assert_eq!(names.iter().filter(|name| *name == "kept").count(), 9, "the rest of each batch is forwarded");
    assert!(names.iter().all(|name| name == "kept" || name == "one"), "{names:?}");
}

/// A unix socket serves the same protocols as a port; its file is removed with it.
#[tokio::test(flavor = "multi_thread")]
async fn unix_sockets_serve_all_ways() {
    let gateway = Gateway::start().await;
    let path = |way| gateway.folder.path().join(if way == Grpc { "grpc.sock" } else { "http.sock" });
    for way in [Grpc, Proto, Json] {
        let stream = UnixStream::connect(path(way)).await.unwrap();
        let ask = Ask::default();
        check("unix", way, &ask, &send(stream, version(way), usual(way, &ask)).await, Whole);
    }
    let stream = UnixStream::connect(path(Proto)).await.unwrap();
    check("h2c", Proto, &Ask::default(), &send(stream, Version::HTTP_2, h2(Proto)).await, Whole);
    let paths = [path(Grpc), path(Proto)];
    assert_eq!(gateway.forwarded().await.len(), 4);
    assert!(paths.iter().all(|path| !path.exists()));
}

/// The usual request in the form that HTTP/2 needs.
fn h2(way: Way) -> Request<Full<Bytes>> {
    let mut request = usual(way, &Ask::default());
    request.headers_mut().remove("host");
    *request.uri_mut() = "http://localhost/v1/traces".parse().unwrap();
    request
}

/// HTTP/2 without TLS works on the HTTP port as on gRPC's; concurrent calls on one connection do not wait for each
/// other.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_several_calls_at_once() {
    let gateway = Gateway::start().await;
    for way in [Proto, Grpc] {
        let usual = || if way == Grpc { usual(Grpc, &Ask::default()) } else { h2(Proto) };
        let stream = TcpStream::connect(gateway.at("otlp", way)).await.unwrap();
        let (mut client, conn) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(conn);
        let (parts, body) = usual().into_parts();
        let whole = body.collect().await.unwrap().to_bytes();
        let (slow, arriving) = tokio::sync::mpsc::channel::<Bytes>(4);
        let frames = futures_util::stream::unfold(arriving, |mut arriving| async {
            let data = arriving.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(http_body::Frame::data(data)), arriving))
        });
        let body = http_body_util::StreamBody::new(frames);
        let first = tokio::spawn(client.send_request(Request::from_parts(parts, BodyExt::boxed_unsync(body))));
        slow.send(whole.slice(..7)).await.unwrap();
        let second = client.send_request(usual().map(|body| body.boxed_unsync())).await.unwrap();
        let is_fine = async |answer: http::Response<hyper::body::Incoming>| {
            let (head, body) = answer.into_parts();
            let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
            head.status == 200 && (way != Grpc || trailers["grpc-status"] == "0")
        };
        assert!(is_fine(second).await, "the one that is whole is answered first");
        assert!(!first.is_finished());
        slow.send(whole.slice(7..)).await.unwrap();
        drop(slow);
        assert!(is_fine(first.await.unwrap().unwrap()).await);
    }
    assert_eq!(gateway.forwarded().await.len(), 4);
}

/// Pages of allowed origins get the CORS headers for sending and for reading responses and refusals; other pages get
/// none. Without `cors` no page does.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_allowed_origins_may_send() {
    let gateway = Gateway::start().await;
    let from = |origin: &str, method: &'static str| {
        let mut request = usual(Json, &Ask { method, ..Ask::default() });
        request.headers_mut().insert("origin", origin.parse().unwrap());
        if method == "OPTIONS" {
            request.headers_mut().insert("access-control-request-method", "POST".parse().unwrap());
            *request.body_mut() = Full::default();
        }
        request
    };
    let to = async |receiver: &str, request| {
        send(TcpStream::connect(gateway.at(receiver, Json)).await.unwrap(), Version::HTTP_11, request).await
    };
    let (good, bad) = ("https://app.example.com", "https://example.com.evil.test");
    let asked = to("otlp", from(good, "OPTIONS")).await;
    assert_eq!(asked.status, 204);
    assert_eq!(asked.header("access-control-allow-origin"), good);
    assert_eq!(asked.header("access-control-allow-methods"), "POST");
    assert!(asked.header("access-control-allow-headers").contains("content-type"));
    assert_eq!(asked.header("access-control-max-age"), "600");
    for method in ["POST", "PUT"] {
        let answer = to("otlp", from(good, method)).await;
        assert_eq!(answer.header("access-control-allow-origin"), good, "refusals can be read, too");
        assert_eq!(answer.header("vary"), "origin");
        let answer = to("otlp", from(bad, method)).await;
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    assert_eq!(to("otlp", from(bad, "OPTIONS")).await.header("access-control-allow-origin"), "");
    let none = to("otlp/known", from(good, "OPTIONS")).await;
    assert_eq!((none.status.as_u16(), none.header("access-control-allow-origin")), (405, ""));
    gateway.forwarded().await;
}

/// The same request for each signal, with two items; the second one is too large if `large`.
fn of_signal(signal: Signal, large: bool) -> Ask {
    let text = if large { "l".repeat(30 << 10) } else { "small".to_owned() };
    let json = match signal {
        Signal::Traces => request(&[span("one", ""), span(&text, "")]),
        Signal::Logs => format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"stringValue":"one"}}}},{{"body":{{"stringValue":"{text}"}}}}]}}]}}]}}"#
        ),
        Signal::Metrics => format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":[{{"asInt":"1"}},{{"asInt":"2","attributes":[{{"key":"k","value":{{"stringValue":"{text}"}}}}]}}]}}}}]}}]}}]}}"#
        ),
    };
    Ask { signal, json, receiver: "otlp/all", ..Ask::default() }
}

/// Each signal has its own service, path and name for rejected items.
#[tokio::test(flavor = "multi_thread")]
async fn each_signal_counts_its_own_kind() {
    let gateway = Gateway::start().await;
    for signal in Signal::ALL {
        for way in ALL {
            let (small, large) = (of_signal(signal, false), of_signal(signal, true));
            check("all is taken", *way, &small, &ask(&gateway, *way, &small).await, Whole);
            let want = Partial(1, "max_item_size");
            check("one is rejected", *way, &large, &ask(&gateway, *way, &large).await, want);
        }
    }
    gateway.app.shutdown().await;
}
