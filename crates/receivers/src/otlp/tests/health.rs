//! Tests of `grpc.health.v1` and its abuse: it needs no credential and is outside the byte budget.

use std::convert::Infallible;
use std::time::Duration;

use ::http::Request;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;

use super::support::{Knobs, Rig};
use net::testing::tasks::TestTasks;

/// Sends these bytes as a health check and then stays silent with the stream open.
async fn unfinished(rig: &Rig, bytes: Vec<u8>) -> tonic::Status {
    let socket = TcpStream::connect(rig.grpc()).await.expect("connects");
    let (mut send, conn) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("handshake");
    let conn = async move {
        let _ = conn.await;
    };
    TestTasks::shared().spawn("client", Box::pin(conn));
    let frames = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(bytes)))]).chain(stream::pending());
    let request = Request::post("http://test/grpc.health.v1.Health/Check").header("content-type", "application/grpc");
    let answer = send.send_request(request.body(StreamBody::new(frames)).expect("a request")).await.expect("an answer");
    let (parts, body) = answer.into_parts();
    let mut headers = parts.headers;
    if let Ok(body) = body.collect().await {
        headers.extend(body.trailers().cloned().unwrap_or_default());
    }
    tonic::Status::from_header_map(&headers).expect("a gRPC status")
}

/// A message that announces too large a size is refused before it arrives, one that is larger than announced as soon
/// as that shows, and one that does not arrive times out like other bodies. (Regression test: tonic waits for up to 4
/// MiB of each, without limit.)
#[tokio::test]
async fn a_health_request_is_small_and_comes_in_time() {
    let rig = Rig::new().await;
    let answer = |bytes| tokio::time::timeout(Duration::from_secs(20), unfinished(&rig, bytes));
    for bytes in [vec![0, 0, 0x40, 0, 0], vec![0, 0, 0, 0x10, 1], [&[0, 0, 0, 0x10, 0][..], &[10; 4097]].concat()] {
        let status = answer(bytes).await.expect("at once: bodies have 30 s");
        assert_eq!(status.code(), Code::ResourceExhausted, "{}", status.message());
    }
    for (body_idle, body_total) in [(50, 60_000), (60_000, 50)] {
        let (body_idle, body_total) = (Duration::from_millis(body_idle), Duration::from_millis(body_total));
        let rig = Rig::with(Knobs { body_idle, body_total, ..Knobs::default() }).await;
        let status = tokio::time::timeout(Duration::from_secs(20), unfinished(&rig, vec![0, 0, 0])).await;
        assert_eq!(status.expect("an end").code(), Code::Unavailable);
    }
}

/// Each watch is a connection that is never idle. Their number is limited, and one more replaces the oldest, so that
/// strangers can't lock others out. (Regression test: without the limit any number is accepted; with a limit that
/// refuses, the last client is locked out.)
#[tokio::test]
async fn only_so_many_watch_health_and_the_oldest_goes() {
    let rig = Rig::new().await;
    let request = || HealthCheckRequest { service: String::new() };
    let mut watching = std::collections::VecDeque::new();
    for _ in 0..33 {
        let mut client = rig.health_client().await;
        let mut told = client.watch(request()).await.expect("watches").into_inner();
        assert_eq!(told.message().await.expect("told").map(|answer| answer.status), Some(1));
        watching.push_back((client, told));
    }
    let (mut oldest, mut told) = watching.pop_front().expect("the first");
    let end = tokio::time::timeout(Duration::from_secs(20), told.message()).await.expect("ended");
    assert_eq!(end.map(drop).map_err(|status| status.code()), Err(Code::Unavailable));
    assert_eq!(oldest.check(request()).await.expect("answered").into_inner().status, 1);
    let (_, next) = watching.front_mut().expect("the second");
    assert!(tokio::time::timeout(Duration::from_millis(300), next.message()).await.is_err(), "it goes on");
}
