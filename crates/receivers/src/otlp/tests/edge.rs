//! Tests below the request handler: broken framing, invalid heads, encodings, idle connections during a drain.

use std::time::Duration;

use ::http::{Method, Version};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::sockets::{ask_on, closed, opened, read_head};
use super::support::{Rig, send};
use super::{Way, frame, request, span};
use otlp::Signal;

/// A request over a kept connection that crosses the drain of its port is answered, and the response announces that
/// the connection closes. (Regression test: the connection was closed and the request lost without a response.)
#[tokio::test]
async fn a_request_that_crosses_a_drain_is_answered() {
    let rig = Rig::new().await;
    let mut kept = TcpStream::connect(rig.http()).await.expect("connects");
    assert!(!ask_on(&mut kept).await.to_ascii_lowercase().contains("connection: close"));
    let crossing = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answer = ask_on(&mut kept).await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 200") && answer.contains("connection: close"), "{answer}");
        assert!(closed(&mut kept).await.is_empty());
    };
    tokio::join!(rig.running.drain(Duration::from_secs(60)), crossing);
}

/// A drain waits no longer than that for an idle connection.
#[tokio::test]
async fn a_connection_that_rests_does_not_hold_up_a_drain() {
    let rig = Rig::new().await;
    let mut kept = TcpStream::connect(rig.http()).await.expect("connects");
    ask_on(&mut kept).await;
    let drained = tokio::time::timeout(Duration::from_secs(20), rig.running.drain(Duration::from_secs(86_400))).await;
    assert!(drained.is_ok());
    assert!(closed(&mut kept).await.is_empty());
}

/// A chunk with an invalid length would be invalid again, so the client must not be asked to retry; a client that
/// disconnected in the middle is. (Regression test: the answer was 503 with Retry-After.)
#[tokio::test]
async fn broken_chunks_are_final() {
    let rig = Rig::new().await;
    let head = "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    for broken in ["ZZ\r\n{}\r\n0\r\n\r\n", "2\r\n{}ZZ\r\n0\r\n\r\n", "\r\n\r\n"] {
        let mut socket = opened(rig.http(), format!("{head}{broken}").as_bytes()).await;
        let answer = read_head(&mut socket).await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 400") && !answer.contains("retry-after"), "{broken:?}: {answer}");
        closed(&mut socket).await;
    }
    let mut gone = opened(rig.http(), format!("{head}2\r\n{{").as_bytes()).await;
    gone.shutdown().await.expect("half closed");
    let told = closed(&mut gone).await;
    assert!(!told.starts_with(b"HTTP/1.1 400"), "whoever went away did nothing wrong");
    let text = rig.meter.render();
    assert!(text.contains(r#"transport="http",reason="malformed",account="default"} 3"#), "{text}");
}

/// An invalid request head never reaches the port's handler, but it is counted.
#[tokio::test]
async fn heads_that_are_none_are_counted() {
    let rig = Rig::new().await;
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (head, status) in [
        ("POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-length: -2\r\n\r\n".to_owned(), "400"),
        (format!("POST /v1/traces HTTP/1.1\r\n{many}\r\n"), "431"),
        ("POST /v1/traces HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}".to_owned(), "400"),
        ("POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nhost: y\r\ncontent-length: 2\r\n\r\n{}".to_owned(), "400"),
        (format!("POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nx-long: {}\r\n\r\n", "a".repeat(200 << 10)), "431"),
    ] {
        let mut socket = opened(rig.http(), head.as_bytes()).await;
        let answer = String::from_utf8(closed(&mut socket).await).expect("a head");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    let closed = r#"connections_closed_total{receiver="otlp/test",transport="http",reason="bad_request_head"} 5"#;
    fixtures::until::until(|| rig.meter.render().contains(closed)).await;
}

/// Both protocols report a body that does not match its declared encoding; `x-gzip` means gzip (RFC 9110); gRPC
/// requires POST.
#[tokio::test]
async fn encodings_and_methods_are_what_they_say() {
    let rig = Rig::new().await;
    let plain = span(Way::Proto, 5);
    let answer =
        send(rig.http(), Version::HTTP_11, request(Way::Proto, Signal::Traces, Some("gzip")), vec![plain]).await;
    assert_eq!(answer.status, 400);
    assert!(String::from_utf8_lossy(&answer.body).contains("is not gzip although its encoding header says so"));
    let framed = frame(1, &span(Way::Grpc, 5));
    let answer =
        send(rig.grpc(), Version::HTTP_2, request(Way::Grpc, Signal::Traces, Some("zstd")), vec![framed]).await;
    let status = answer.grpc();
    let said = status.get_error_details().bad_request().map(|bad| bad.field_violations[0].description.clone());
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(said.unwrap_or_default().contains("not zstd"), "{status:?}");
    let packed = net::encoding::compress(net::ContentEncoding::Gzip, &[span(Way::Proto, 5)]).expect("compresses");
    let asked = request(Way::Proto, Signal::Traces, Some("x-gzip"));
    assert_eq!(send(rig.http(), Version::HTTP_11, asked, vec![packed]).await.status, 200);
    let mut asked = request(Way::Grpc, Signal::Traces, None);
    *asked.method_mut() = Method::GET;
    let answer = send(rig.grpc(), Version::HTTP_2, asked, vec![frame(0, &span(Way::Grpc, 5))]).await;
    assert_eq!(answer.grpc().code(), Code::Unimplemented);
}
