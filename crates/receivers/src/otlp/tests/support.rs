//! A fake inlet, and clients that control every frame.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::super::{OtlpReceiver, OtlpReceiverConfig, OtlpReceiverSettings, RunningOtlpReceiver};
use crate::http_ports::auth;
use net::testing::tasks::TestTasks;
use net::{listen, server_tls};
use otlp::Signal;
use pipeline::{Admission, ByteBudget, BytePermit, Effect, Outcome, Submission};
use telemetry::Meter;

/// Size limits of the test receiver, in bytes.
pub(super) const WIRE: usize = 64 * 1024;
pub(super) const INFLATED: usize = 256 * 1024;
/// The byte budget of the test inlet.
pub(super) const BUDGET: usize = 8 << 20;

/// An inlet that records submissions and answers with prepared outcomes.
pub(super) struct Door {
    pub(super) budget: ByteBudget,
    pub(super) outcomes: Mutex<VecDeque<Outcome>>,
    pub(super) submitted: Mutex<Vec<(Signal, Bytes, usize)>>,
    pub(super) takes: Mutex<Vec<Signal>>,
    /// The account of each submission.
    pub(super) accounts: Mutex<Vec<String>>,
    /// Bytes charged to accounts for refused bodies.
    pub(super) spent: Mutex<Vec<(String, usize)>>,
    /// Submissions wait for this many permits before they are answered.
    pub(super) gate: Option<Arc<tokio::sync::Semaphore>>,
    /// One permit for each charge that was made.
    pub(super) charged: tokio::sync::Semaphore,
    /// One permit for each submission that arrived.
    pub(super) arrived: tokio::sync::Semaphore,
}

impl Door {
    fn new(wait: Duration, gate: Option<Arc<tokio::sync::Semaphore>>) -> Arc<Self> {
        Arc::new(Self {
            budget: ByteBudget::new(BUDGET, wait),
            outcomes: Mutex::default(),
            submitted: Mutex::default(),
            takes: Mutex::new(Signal::ALL.to_vec()),
            accounts: Mutex::default(),
            spent: Mutex::default(),
            gate,
            charged: tokio::sync::Semaphore::new(0),
            arrived: tokio::sync::Semaphore::new(0),
        })
    }

    /// Takes the submissions since the last call.
    pub(super) fn taken(&self) -> Vec<(Signal, Bytes, usize)> {
        std::mem::take(&mut self.submitted.lock())
    }

    /// Waits until every byte has been returned to the budget.
    pub(super) async fn idle(&self) {
        let mut all = BytePermit::new();
        let patient = ByteBudget::clone(&self.budget).patient();
        patient.charge(&mut all, BUDGET).await.expect("every permit is dropped in the end");
    }
}

impl Admission for Door {
    fn accepts_signal(&self, signal: Signal) -> bool {
        self.takes.lock().contains(&signal)
    }

    fn admit(&self, _: &Arc<str>) -> Result<(), Outcome> {
        Ok(())
    }

    fn charge<'a>(&'a self, permit: &'a mut BytePermit, n: usize) -> BoxFuture<'a, Result<(), Outcome>> {
        Box::pin(async move {
            let charged = self.budget.charge(permit, n).await;
            self.charged.add_permits(1);
            charged
        })
    }

    fn is_crowded(&self) -> bool {
        self.budget.is_crowded()
    }

    fn submit_effects(&self, _: Vec<Effect>, _: BytePermit) -> BoxFuture<'static, Outcome> {
        Box::pin(async { Outcome::Accepted })
    }

    fn charge_refused(&self, account: &Arc<str>, bytes: usize) {
        self.spent.lock().push((account.to_string(), bytes));
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'static, Outcome> {
        assert_eq!(&*submission.receiver, "otlp/test");
        self.accounts.lock().push(submission.account.to_string());
        self.submitted.lock().push((submission.signal, submission.wire.clone(), submission.permit.bytes()));
        self.arrived.add_permits(1);
        let outcome = self.outcomes.lock().pop_front().unwrap_or(Outcome::Accepted);
        let gate = self.gate.clone();
        Box::pin(async move {
            if let Some(gate) = gate {
                gate.acquire().await.expect("open").forget();
            }
            drop(submission);
            outcome
        })
    }
}

/// A receiver on ports of the system's choice.
pub(super) struct Rig {
    pub(super) door: Arc<Door>,
    pub(super) running: RunningOtlpReceiver,
    pub(super) meter: Meter,
}

/// The settings that a test changes.
#[derive(Clone)]
pub(super) struct Knobs {
    pub(super) charge_wait: Duration,
    pub(super) gate: Option<Arc<tokio::sync::Semaphore>>,
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
            gate: None,
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
        let door = Door::new(knobs.charge_wait, knobs.gate);
        let bound =
            OtlpReceiver::build(Arc::from("otlp/test"), settings).bind().await.map_err(|error| error.to_string())?;
        let running = bound.serve(Arc::clone(&door) as Arc<dyn Admission>, TestTasks::shared(), &meter).await;
        Ok(Self { door, running, meter })
    }

    pub(super) fn grpc(&self) -> SocketAddr {
        self.running.grpc().expect("on")
    }

    pub(super) fn http(&self) -> SocketAddr {
        self.running.http().expect("on")
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
        let conn = async move {
            let _ = conn.await;
        };
        TestTasks::shared().spawn("client", Box::pin(conn));
        send.send_request(request).await
    } else {
        let (mut send, conn) = hyper::client::conn::http1::handshake(io).await.ok()?;
        let conn = async move {
            let _ = conn.await;
        };
        TestTasks::shared().spawn("client", Box::pin(conn));
        send.send_request(request).await
    };
    let (parts, body) = response.ok()?.into_parts();
    let body = body.collect().await.ok()?;
    let mut headers = parts.headers;
    headers.extend(body.trailers().cloned().unwrap_or_default());
    Some(Answer { status: parts.status, headers, body: body.to_bytes() })
}
