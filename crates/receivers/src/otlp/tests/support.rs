//! A receiver before a fake engine, and clients that control every frame.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic_health::pb::health_client::HealthClient;

use super::super::{OtlpReceiver, OtlpReceiverConfig, OtlpReceiverSettings, RunningOtlpReceiver};
use crate::http_ports::auth;
use fixtures::until::until;
use kernel::clock::{ManualClock, UnixNanos};
use net::testing::tasks::TestTasks;
use net::{SharedServices, listen, server_tls};
use pipeline::ByteBudget;
use pipeline::accounts::RateLimits;
use pipeline::testing::fake_engine::FakeEngine;
use telemetry::Meter;

/// Size limits of the test receiver, in bytes.
pub(super) const WIRE: usize = 64 * 1024;
pub(super) const INFLATED: usize = 256 * 1024;
/// The byte budget of the test inlet.
pub(super) const BUDGET: usize = 8 << 20;

/// A receiver on ports of the system's choice.
pub(super) struct Rig {
    pub(super) engine: Arc<FakeEngine>,
    /// The clock of the accounts' rates.
    pub(super) clock: Arc<ManualClock>,
    pub(super) running: RunningOtlpReceiver,
    /// The ports of gRPC and HTTP.
    ports: [Option<SocketAddr>; 2],
    pub(super) meter: Meter,
}

/// The settings that a test changes.
#[derive(Clone)]
pub(super) struct Knobs {
    pub(super) charge_wait: Duration,
    pub(super) holds_answers: bool,
    pub(super) rates: RateLimits,
    pub(super) body_idle: Duration,
    pub(super) body_total: Duration,
    pub(super) connections: listen::PortSettings,
    pub(super) auth: Option<auth::AuthSettings>,
    pub(super) tls: Option<server_tls::ServerTlsSettings>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            charge_wait: Duration::from_millis(20),
            holds_answers: false,
            rates: RateLimits::default(),
            body_idle: Duration::from_secs(30),
            body_total: Duration::from_secs(30),
            connections: listen::PortSettings::default(),
            auth: None,
            tls: None,
        }
    }
}

impl Rig {
    pub(super) async fn new() -> Self {
        Self::with(Knobs::default()).await
    }

    pub(super) async fn with(knobs: Knobs) -> Self {
        Self::try_with(knobs).await.expect("ports and files")
    }

    pub(super) async fn try_with(knobs: Knobs) -> Result<Self, String> {
        let settings = settings(&knobs);
        let meter = Meter::new();
        let (budget, clock) = (ByteBudget::new(BUDGET, knobs.charge_wait), ManualClock::at(UnixNanos(0)));
        let (engine, inlet) = FakeEngine::start("otlp/test", budget, knobs.rates, clock.clone());
        engine.holds_answers.store(knobs.holds_answers, Ordering::SeqCst);
        let services = SharedServices { clock: clock.clone(), ..net::testing::services() };
        let receiver = OtlpReceiver::build(Arc::from("otlp/test"), settings).with_oidc(services);
        let bound = receiver.bind().await.map_err(|error| error.to_string())?;
        let ports = [bound.grpc(), bound.http()];
        let running = bound.serve(inlet, TestTasks::shared(), &meter).await;
        Ok(Self { engine, clock, running, ports, meter })
    }

    /// Waits until every byte has been returned to the budget.
    pub(super) async fn idle(&self) {
        until(|| self.engine.budget.in_use() == 0).await;
    }

    /// Waits until as many requests wait for their answers.
    pub(super) async fn held(&self, count: usize) {
        until(|| self.engine.held_count() == count).await;
    }

    pub(super) fn grpc(&self) -> SocketAddr {
        self.ports[0].expect("on")
    }

    pub(super) fn http(&self) -> SocketAddr {
        self.ports[1].expect("on")
    }

    pub(super) async fn health_client(&self) -> HealthClient<tonic::transport::Channel> {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", self.grpc())).expect("a URL");
        HealthClient::new(channel.connect().await.expect("connects"))
    }
}

fn settings(knobs: &Knobs) -> OtlpReceiverSettings {
    let mut settings = OtlpReceiverConfig::default().settings().expect("the defaults are valid");
    let any = net::Endpoint::parse("127.0.0.1:0").expect("an endpoint");
    let grpc = settings.grpc.as_mut().expect("on");
    let http = settings.http.as_mut().expect("on");
    for (endpoint, limits, connections) in [
        (&mut grpc.endpoint, &mut grpc.limits, &mut grpc.connections),
        (&mut http.endpoint, &mut http.limits, &mut http.connections),
    ] {
        *endpoint = any.clone();
        limits.wire = WIRE;
        limits.inflated = INFLATED;
        limits.idle = knobs.body_idle;
        limits.total = knobs.body_total;
        *connections = knobs.connections.clone();
    }
    (grpc.tls, http.tls) = (knobs.tls.clone(), knobs.tls.clone());
    (settings.auth, settings.reload) = (knobs.auth.clone(), Duration::from_millis(20));
    settings
}

/// A complete response.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The gRPC status, from trailers or trailers-only headers.
    pub(super) fn grpc(&self) -> tonic::Status {
        tonic::Status::from_header_map(&self.headers).expect("a gRPC status")
    }
}

/// Sends one request on a connection of its own; each element of `frames` is sent as a separate frame.
pub(super) async fn send(at: SocketAddr, version: Version, request: Request<()>, frames: Vec<Bytes>) -> Answer {
    let socket = TcpStream::connect(at).await.expect("connects");
    send_over(socket, version, request, frames).await.expect("an answer")
}

/// Sends one request over an open connection; `None` if the connection ends without a response.
pub(super) async fn send_over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    socket: S,
    version: Version,
    request: Request<()>,
    frames: Vec<Bytes>,
) -> Option<Answer> {
    let io = TokioIo::new(socket);
    let frames = frames.into_iter().map(|frame| Ok::<_, std::convert::Infallible>(http_body::Frame::data(frame)));
    let request = request.map(|()| StreamBody::new(futures_util::stream::iter(frames)));
    let response = if version == Version::HTTP_2 {
        let (mut send, conn) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.ok()?;
        TestTasks::shared().spawn("client", Box::pin(conn.map(drop)));
        send.send_request(request).await
    } else {
        let (mut send, conn) = hyper::client::conn::http1::handshake(io).await.ok()?;
        TestTasks::shared().spawn("client", Box::pin(conn.map(drop)));
        send.send_request(request).await
    };
    let (parts, body) = response.ok()?.into_parts();
    let body = body.collect().await.ok()?;
    let mut headers = parts.headers;
    headers.extend(body.trailers().cloned().unwrap_or_default());
    Some(Answer { status: parts.status, headers, body: body.to_bytes() })
}
