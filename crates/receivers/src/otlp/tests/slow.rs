//! Tests of slow uploads, while other clients wait for room and while none does, and of connections that are asked to
//! leave.

use std::time::Duration;

use ::http::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::sockets::{ask_on, closed, offered, opened, post_head};
use super::support::{BUDGET, Knobs, Rig, send};
use super::{Way, request, span};
use fixtures::until::until;
use net::listen::PortSettings;
use otlp::Signal;
use pipeline::BytePermit;

/// Longer than the interval in which an upload's speed is measured.
const SLOW: Duration = Duration::from_millis(2600);

/// Starts an upload of 9,000 bytes, of which 1,900 have arrived and are charged.
async fn begun(rig: &Rig) -> TcpStream {
    let mut slow = opened(rig.http(), &post_head(9000, "")).await;
    let before = rig.engine.budget.in_use();
    slow.write_all(&[b' '; 1900]).await.expect("writes");
    until(|| rig.engine.budget.in_use() >= before + 1900).await;
    slow
}

/// Once another client waits for the bytes of a slow upload, the upload is ended like any slow body and the waiting
/// client is served. (Regression test: the slow upload kept its bytes until its own deadline, and the other client was
/// asked to retry.)
#[tokio::test]
async fn a_slow_upload_makes_room_for_others() {
    let rig = Rig::with(Knobs { charge_wait: Duration::from_secs(20), ..Knobs::default() }).await;
    let mut rest = BytePermit::new();
    rig.engine.budget.charge(&mut rest, BUDGET - 2000).await.expect("room");
    let mut slow = begun(&rig).await;
    let other =
        send(rig.http(), Version::HTTP_11, request(Way::Json, Signal::Traces, None), vec![span(Way::Json, 900)]);
    let ended = async {
        let mut answer = [0; 12];
        let read = tokio::time::timeout(Duration::from_secs(10), slow.read_exact(&mut answer)).await;
        read.expect("soon").expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 503");
    };
    let (other, ()) = tokio::join!(other, ended);
    assert_eq!(other.status, 200);
    assert!(rig.meter.render().contains(r#"reason="timed_out",account="default"} 1"#), "{}", rig.meter.render());
}

/// A slow upload that no client waits for may continue.
#[tokio::test]
async fn a_slow_upload_alone_is_not_ended() {
    let rig = Rig::new().await;
    let mut rest = BytePermit::new();
    rig.engine.budget.charge(&mut rest, BUDGET - 20_000).await.expect("room");
    let mut slow = begun(&rig).await;
    let mut answer = [0; 12];
    let early = tokio::time::timeout(SLOW, slow.read_exact(&mut answer)).await;
    assert!(early.is_err(), "nobody waits");
    let body = span(Way::Json, 900);
    slow.write_all(&[&body[..], &vec![b' '; 9000 - 1900 - body.len()]].concat()).await.expect("writes");
    let read = tokio::time::timeout(Duration::from_secs(10), slow.read_exact(&mut answer)).await;
    read.expect("soon").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
}

/// Slow uploads can't occupy every connection of a port: once a client waits for one, as many uploads are ended as
/// needed and the others continue. (Regression test: new clients were closed at once for as long as the uploads took.)
#[tokio::test]
async fn slow_uploads_give_up_a_place() {
    let connections = PortSettings { max_connections: 2, ..PortSettings::default() };
    let rig = Rig::with(Knobs { connections, ..Knobs::default() }).await;
    let mut slow = [begun(&rig).await, begun(&rig).await];
    let mut early = TcpStream::connect(rig.http()).await.expect("connects");
    let told = early.read(&mut [0]).await;
    assert!(told.is_err() || told.is_ok_and(|read| read == 0), "nobody is slow yet");
    tokio::time::sleep(SLOW).await;
    let asked = send(rig.http(), Version::HTTP_11, request(Way::Json, Signal::Traces, None), vec![span(Way::Json, 9)]);
    let answer = tokio::time::timeout(Duration::from_secs(10), asked).await.expect("soon");
    assert_eq!(answer.status, 200);
    let text = rig.meter.render();
    assert!(
        text.contains(r#"reason="timed_out",account="default"} 1"#) && text.contains(r#"reason="limit"} 1"#),
        "{text}"
    );
    let (mut first, mut second) = ([0; 12], [0; 12]);
    let [one, other] = &mut slow;
    let told = tokio::select! {
        told = one.read_exact(&mut first) => told.map(|_| first),
        told = other.read_exact(&mut second) => told.map(|_| second),
    };
    assert_eq!(&told.expect("an answer"), b"HTTP/1.1 503");
}

/// An idle HTTP/2 connection makes room, too, even if its client does not react to GOAWAY. (Regression test: if the
/// waits end before such a connection is closed, the new client is closed at once.)
#[tokio::test]
async fn who_rests_and_does_not_answer_makes_room() {
    let connections = PortSettings { max_connections: 1, ..PortSettings::default() };
    let rig = Rig::with(Knobs { connections, ..Knobs::default() }).await;
    let (_resting, _) = offered(rig.http()).await;
    let mut new = TcpStream::connect(rig.http()).await.expect("connects");
    assert!(ask_on(&mut new).await.starts_with("HTTP/1.1 200"));
}

/// An old HTTP/1.1 connection is never closed while its client may be about to send: its next response announces the
/// close. (Regression test: it was closed while idle, and a crossing request was reset.)
#[tokio::test]
async fn an_old_connection_of_http_1_is_told_in_an_answer() {
    let connections =
        PortSettings { age: Some((Duration::from_millis(100), Duration::from_secs(600))), ..PortSettings::default() };
    let rig = Rig::with(Knobs { connections, ..Knobs::default() }).await;
    let mut stream = TcpStream::connect(rig.http()).await.expect("connects");
    assert!(!ask_on(&mut stream).await.contains("connection: close"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let head = ask_on(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("connection: close"), "{head}");
    closed(&mut stream).await;
    assert!(rig.meter.render().contains(r#"transport="http",reason="age"} 1"#), "{}", rig.meter.render());
}
