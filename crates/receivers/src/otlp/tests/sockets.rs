//! Tests of connections that misbehave, and of the end of a port.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;

use super::super::*;
use super::support::{Knobs, Rig, WIRE};
use super::{Way, span};
use fixtures::until::until;
use net::listen::PortSettings;

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until the other side closes; an aborted connection counts as closed.
pub(super) async fn closed(socket: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    let _ = socket.read_to_end(&mut read).await;
    read
}

/// A new connection on which these bytes were sent.
pub(super) async fn opened(at: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(at).await.expect("connects");
    socket.write_all(bytes).await.expect("writes");
    socket
}

/// The response to an empty request on an open connection.
pub(super) async fn ask_on(socket: &mut TcpStream) -> String {
    let request = [&post_head(2, "")[..], b"{}"].concat();
    socket.write_all(&request).await.expect("writes");
    read_head(socket).await
}

#[tokio::test]
async fn connections_without_a_first_request_are_closed_whatever_they_sent() {
    let connections = PortSettings { first_request: Duration::from_millis(50), ..PortSettings::default() };
    let rig = Rig::with(Knobs { connections, ..Knobs::default() }).await;
    // Nothing, half a head, part of a preface, a preface without a request, the beginning of TLS.
    let table: [&[u8]; 5] =
        [b"", b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\n", b"PRI * HT", H2_PREFACE, b"\x16\x03\x01"];
    for at in [rig.grpc(), rig.http()] {
        for bytes in table {
            closed(&mut opened(at, bytes).await).await;
        }
    }
    let text = rig.meter.render();
    assert!(
        text.contains(r#"connections_closed_total{receiver="otlp/test",transport="grpc",reason="no_request"}"#),
        "{text}"
    );
    assert!(rig.engine.take_requests().is_empty());
}

/// Begins a request whose body is not complete yet.
async fn busy(at: SocketAddr) -> TcpStream {
    opened(at, &[&post_head(2, "")[..], b"{"].concat()).await
}

/// A connection with a request in progress keeps its place; a new connection is closed at once.
#[tokio::test]
async fn a_connection_over_the_cap_is_closed_and_the_others_go_on() {
    let connections = PortSettings { max_connections: 1, ..PortSettings::default() };
    let rig = Rig::with(Knobs { connections, ..Knobs::default() }).await;
    let mut first = busy(rig.http()).await;
    until(|| rig.engine.budget.in_use() > 0).await;
    let mut second = TcpStream::connect(rig.http()).await.expect("connects");
    assert!(closed(&mut second).await.is_empty());
    first.write_all(b"}").await.expect("still served");
    assert!(read_head(&mut first).await.starts_with("HTTP/1.1 200"));
    let text = rig.meter.render();
    assert!(text.contains(r#"reason="limit"} 1"#) && text.contains(r#"reason="evicted"} 0"#), "{text}");
}

/// Idle connections, whether or not they ever sent a request, can't occupy all places: the one that was idle longest
/// makes room, and none with a request in progress does. (Regression test: every new client was closed until the idle
/// connections timed out.)
#[tokio::test]
async fn whoever_rests_longest_makes_room() {
    for silent in [false, true] {
        let connections = PortSettings { max_connections: 3, ..PortSettings::default() };
        let rig = Rig::with(Knobs { connections, ..Knobs::default() }).await;
        let mut working = busy(rig.http()).await;
        until(|| rig.engine.budget.in_use() > 0).await;
        let mut resting = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(rig.http()).await.expect("connects");
            if !silent {
                ask_on(&mut stream).await;
            }
            resting.push(stream);
        }
        let mut new = TcpStream::connect(rig.http()).await.expect("connects");
        assert!(ask_on(&mut new).await.starts_with("HTTP/1.1 200"));
        let [longest, other] = &mut resting[..] else { panic!("two") };
        closed(longest).await;
        assert!(ask_on(other).await.starts_with("HTTP/1.1 200"), "still served");
        working.write_all(b"}").await.expect("still served");
        assert!(read_head(&mut working).await.starts_with("HTTP/1.1 200"));
        let text = rig.meter.render();
        assert!(text.contains(r#"reason="evicted"} 1"#) && text.contains(r#"reason="limit"} 0"#), "{text}");
    }
}

/// An HTTP/2 connection whose client answers pings; `window` limits how much of each response it reads.
async fn client(at: SocketAddr, window: u32) -> Http2 {
    let io = TokioIo::new(TcpStream::connect(at).await.expect("connects"));
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window).handshake(io).await.expect("handshake")
}

type Body = http_body_util::Full<bytes::Bytes>;
type Http2 = (
    hyper::client::conn::http2::SendRequest<Body>,
    hyper::client::conn::http2::Connection<TokioIo<TcpStream>, Body, TokioExecutor>,
);

fn one_span() -> ::http::Request<Body> {
    super::request(Way::Grpc, Signal::Traces, None).map(|()| super::frame(0, &span(Way::Grpc, 5)).into())
}

/// An idle limit between requests that is short enough for a test, with pings in between.
fn restless() -> PortSettings {
    let ping = (Duration::from_millis(10), Duration::from_secs(60));
    PortSettings { idle: Duration::from_millis(60), ping, ..PortSettings::default() }
}

fn closed_as_idle(rig: &Rig, transport: &str) -> String {
    let name = "tollgate_receiver_connections_closed_total";
    let line = format!(r#"{name}{{receiver="otlp/test",transport="{transport}",reason="idle"}} "#);
    let text = rig.meter.render();
    text.lines().find_map(|text| text.strip_prefix(&line)).unwrap_or_default().to_owned()
}

/// A client can't hold a connection for ever by answering pings or by not reading its responses. The connection is
/// closed with GOAWAY, because the client would see any other end as an error.
#[tokio::test]
async fn a_connection_that_rests_too_long_is_closed_in_order() {
    let rig = Rig::with(Knobs { connections: restless(), ..Knobs::default() }).await;
    let (mut requests, mut conn) = client(rig.grpc(), 1 << 16).await;
    let answer = tokio::select! {
        answer = requests.send_request(one_span()) => answer.expect("an answer"),
        ended = &mut conn => panic!("closed before its answer: {ended:?}"),
    };
    drop(answer);
    conn.await.expect("told to go");
    assert_eq!(closed_as_idle(&rig, "grpc"), "1");

    let (mut requests, mut conn) = client(rig.grpc(), 0).await;
    let answer = tokio::select! {
        answer = requests.send_request(one_span()) => answer.expect("the head of an answer"),
        ended = &mut conn => panic!("closed before its answer: {ended:?}"),
    };
    let _ = conn.await;
    assert_eq!(closed_as_idle(&rig, "grpc"), "2");
    drop(answer);
}

/// An old connection is closed gracefully: a request in progress is answered first, unless it takes longer than the
/// grace.
#[tokio::test]
async fn an_old_connection_is_closed_in_order() {
    let with_grace = async |grace| {
        let connections = PortSettings { age: Some((Duration::from_millis(500), grace)), ..PortSettings::default() };
        Rig::with(Knobs { connections, holds_answers: true, ..Knobs::default() }).await
    };
    let rig = with_grace(Duration::from_secs(600)).await;
    let (mut requests, conn) = client(rig.grpc(), 1 << 16).await;
    let sent = requests.send_request(one_span());
    let told = async {
        rig.held(1).await;
        // Longer than the maximum age: the connection is asked to leave meanwhile.
        until(|| rig.meter.render().contains(r#"reason="age"} 1"#)).await;
        rig.engine.answer_held();
    };
    // The client may see the end in the same moment as the response that came before it.
    let (answer, (), ended) = tokio::join!(sent, told, conn);
    assert_eq!(answer.expect("an answer").status(), 200);
    ended.expect("told to go");
    let rig = with_grace(Duration::from_millis(20)).await;
    let (mut requests, conn) = client(rig.grpc(), 1 << 16).await;
    let (cut, _) = tokio::join!(requests.send_request(one_span()), conn);
    assert!(cut.is_err(), "nobody opens the gate");
    assert!(rig.meter.render().contains(r#"transport="grpc",reason="age"} 1"#), "{}", rig.meter.render());
}

/// A request that takes longer than any idle limit is not idle: other connections become idle three times in the
/// meantime.
#[tokio::test]
async fn a_request_in_hand_is_no_rest() {
    let rig = Rig::with(Knobs { connections: restless(), holds_answers: true, ..Knobs::default() }).await;
    let (mut requests, mut conn) = client(rig.grpc(), 1 << 16).await;
    let others = async {
        rig.held(1).await;
        for _ in 0..3 {
            // Refused before its body is read.
            let (mut requests, conn) = client(rig.grpc(), 1 << 16).await;
            let nothing = ::http::Request::post("http://test/x.Y/Export").header("content-type", "application/grpc");
            let nothing = requests.send_request(nothing.body(Body::default()).expect("a request"));
            let (_, ended) = tokio::join!(nothing, conn);
            ended.expect("told to go");
        }
        assert_eq!(closed_as_idle(&rig, "grpc"), "3");
        rig.engine.answer_held();
    };
    let sent = requests.send_request(one_span());
    let both = async { tokio::join!(sent, others).0 };
    let answer = tokio::select! {
        answer = both => answer.expect("an answer"),
        ended = &mut conn => panic!("closed with a request in hand: {ended:?}"),
    };
    assert_eq!(answer.status(), 200);
    conn.await.expect("told to go, later");
}

/// Reads the stream window that the server offers.
pub(super) async fn offered(at: SocketAddr) -> (TcpStream, u32) {
    let mut socket = opened(at, H2_PREFACE).await;
    let mut head = [0; 9];
    socket.read_exact(&mut head).await.expect("a frame");
    assert_eq!(head[3], 4, "SETTINGS come first");
    let mut settings = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    socket.read_exact(&mut settings).await.expect("the frame");
    let window = settings.chunks_exact(6).find(|setting| setting[..2] == [0, 4]);
    (socket, window.map_or(65_535, |setting| u32::from_be_bytes(setting[2..].try_into().expect("four bytes"))))
}

/// Windows are memory outside the byte budget: only some connections get wide ones, and closed connections return
/// them.
#[tokio::test]
async fn only_so_many_connections_may_send_far_ahead() {
    let rig = Rig::new().await;
    let mut wide = Vec::new();
    for _ in 0..32 {
        let (socket, window) = offered(rig.http()).await;
        assert_eq!(window, 1 << 20);
        wide.push(socket);
    }
    assert_eq!(offered(rig.http()).await.1, 65_535);
    assert_eq!(net::listen::max_unread_bytes(1024), 32 * ((4 << 20) + (256 << 10)) + 992 * (65_535 + (16 << 10)));
    drop(wide.pop());
    while offered(rig.http()).await.1 != 1 << 20 {}
}

/// The head of a JSON POST with `length` bytes of body to follow.
pub(super) fn post_head(length: usize, more: &str) -> Vec<u8> {
    format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more}\r\n"
    )
    .into_bytes()
}

/// Reads the head and body of one response with a content length.
pub(super) async fn read_head(socket: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let mut byte = [0];
        socket.read_exact(&mut byte).await.expect("an answer");
        read.push(byte[0]);
        if read.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let text = String::from_utf8(read).expect("a head");
    let length = text
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ").and_then(|n| n.parse::<usize>().ok()));
    let mut body = vec![0; length.unwrap_or(0)];
    socket.read_exact(&mut body).await.expect("the body");
    text + &String::from_utf8_lossy(&body)
}

#[tokio::test]
async fn a_client_that_stops_within_a_body_is_told_to_come_again_and_nothing_is_handed_in() {
    for knobs in [
        Knobs { body_idle: Duration::from_millis(50), ..Knobs::default() },
        Knobs { body_total: Duration::from_millis(50), ..Knobs::default() },
    ] {
        let rig = Rig::with(knobs).await;
        let mut socket = opened(rig.http(), &post_head(1000, "")).await;
        socket.write_all(b"{\"resourceSpans\":").await.expect("writes");
        let answer = String::from_utf8_lossy(&closed(&mut socket).await).into_owned();
        assert!(answer.starts_with("HTTP/1.1 503"), "408 would be dropped by OTLP clients: {answer}");
        assert!(answer.contains("retry-after: 1"), "{answer}");
        assert!(rig.engine.take_requests().is_empty());
        rig.idle().await;
    }
}

#[tokio::test]
async fn a_client_gone_within_a_body_leaves_nothing_behind() {
    let rig = Rig::new().await;
    let body = span(Way::Json, 500);
    let socket = opened(rig.http(), &[&post_head(body.len(), "")[..], &body[..100]].concat()).await;
    until(|| rig.engine.budget.in_use() > 0).await;
    drop(socket);
    rig.idle().await;

    // The same on the gRPC port: a message that does not end, then no connection.
    let part = super::frame(0, &span(Way::Grpc, 500)).slice(..100);
    let frames = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(Frame::data(part))])
        .chain(futures_util::stream::pending());
    let request = super::request(Way::Grpc, Signal::Traces, None).map(|()| StreamBody::new(frames));
    let io = TokioIo::new(TcpStream::connect(rig.grpc()).await.expect("connects"));
    let (mut client, conn) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("handshake");
    tokio::select! {
        _ = conn => panic!("the server closed"),
        _ = client.send_request(request) => panic!("answered"),
        () = until(|| rig.engine.budget.in_use() > 0) => {}
    }
    drop(client);
    rig.idle().await;
    assert!(rig.engine.take_requests().is_empty());
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_refused_before_it_sends() {
    let rig = Rig::new().await;
    let mut socket = opened(rig.http(), &post_head(WIRE + 1, "expect: 100-continue\r\n")).await;
    let answer = String::from_utf8_lossy(&closed(&mut socket).await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

    let mut socket = opened(rig.http(), &post_head(2, "expect: 100-continue\r\n")).await;
    assert!(read_head(&mut socket).await.starts_with("HTTP/1.1 100"));
    socket.write_all(b"{}").await.expect("writes");
    assert!(read_head(&mut socket).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_sends_too_much_at_once_still_reads_413() {
    let rig = Rig::new().await;
    let mut socket = opened(rig.http(), &post_head(2 * WIRE, "")).await;
    socket.write_all(&vec![b' '; 2 * WIRE]).await.expect("the whole body is taken");
    assert!(read_head(&mut socket).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn a_drain_answers_what_is_in_hand_and_closes_the_ports() {
    let rig = Rig::with(Knobs { holds_answers: true, ..Knobs::default() }).await;
    let (grpc, http) = (rig.grpc(), rig.http());
    let body = span(Way::Json, 5);
    let mut socket = opened(http, &[&post_head(body.len(), "")[..], &body[..]].concat()).await;
    rig.held(1).await;
    let drain = rig.running.drain(Duration::from_secs(60));
    let client = async {
        rig.engine.answer_held();
        assert!(read_head(&mut socket).await.starts_with("HTTP/1.1 200"));
        assert!(closed(&mut socket).await.is_empty());
    };
    tokio::join!(drain, client);
    assert!(TcpStream::connect(grpc).await.is_err());
    assert!(TcpStream::connect(http).await.is_err());
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_with_a_request_still_in_hand() {
    let rig = Rig::with(Knobs { holds_answers: true, ..Knobs::default() }).await;
    let body = span(Way::Json, 5);
    let mut half = opened(rig.http(), &post_head(body.len(), "")).await;
    let mut whole = opened(rig.http(), &[&post_head(body.len(), "")[..], &body[..]].concat()).await;
    rig.held(1).await;
    rig.running.drain(Duration::from_secs(4)).await;
    assert!(closed(&mut half).await.is_empty());
    assert!(closed(&mut whole).await.starts_with(b"HTTP/1.1 503"), "who waits for an outcome is told to come again");
}

#[tokio::test]
async fn health_is_answered_by_service_and_follows_the_gateway() {
    let rig = Rig::new().await;
    let mut client = rig.health_client().await;
    let mut ask = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        client.check(request).await.map(|answer| answer.into_inner().status).map_err(|status| status.code())
    };
    let traces = "opentelemetry.proto.collector.trace.v1.TraceService";
    assert_eq!((ask("").await, ask(traces).await), (Ok(1), Ok(1)));
    assert_eq!(ask("unknown").await, Err(tonic::Code::NotFound));
    rig.running.set_serving(false).await;
    assert_eq!((ask("").await, ask(traces).await), (Ok(2), Ok(2)));
}

/// A watch of the health service has no end of its own: a drain must end it instead of waiting for the deadline.
#[tokio::test]
async fn a_watch_does_not_hold_up_a_drain() {
    let rig = Rig::new().await;
    let mut client = rig.health_client().await;
    let request = HealthCheckRequest { service: String::new() };
    let mut told = client.watch(request).await.expect("watches").into_inner();
    assert_eq!(told.message().await.expect("told").map(|answer| answer.status), Some(1));
    // A drain that waited for the watch would take a day.
    let drained = rig.running.drain(Duration::from_secs(86_400));
    let seen = async {
        let mut last = None;
        while let Ok(Some(answer)) = told.message().await {
            last = Some(answer.status);
        }
        drop((told, client));
        last
    };
    assert_eq!(tokio::join!(drained, seen).1, Some(2), "told that it does not serve any more, then ended");
}
