//! **What**: one accept loop for every server of ours: bind, accept, serve HTTP/1.1 and HTTP/2 on one socket, drain.
//! **Why**: neither hyper nor tonic closes a client that connects and stays silent, and both ports must behave alike.
//! **Invariants**: at most [`Settings::max_connections`] at once; a connection without a first request is closed at
//! the deadline, whatever it sent; after [`Serving::drain`] none is left. **Not here**: what is answered ([`Handler`]).

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::endpoint::Endpoint;
use super::spawn::{HyperTasks, Spawn};
use crate::telemetry::{Counter, Gauge};

/// HTTP/2 flow control and frames as measured: with small windows a link's round trip bounds the rate.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
const MAX_FRAME: u32 = 256 * 1024;
const MAX_STREAMS: u32 = 256;
/// Header bytes of one request.
const MAX_HEADERS: u32 = 64 * 1024;
/// HTTP/1.1 read buffer; also bounds a request's head.
const READ_BUFFER: usize = 256 * 1024;
/// Rest after an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time for a refused or silent connection to close in order.
const CLOSE_WAIT: Duration = Duration::from_millis(200);

/// A body of an answer.
pub type ReplyBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Answers requests. Shared by all connections of a port.
pub trait Handler: Send + Sync + 'static {
    /// The answer to one request. Dropped when the client goes away.
    fn handle(self: Arc<Self>, request: Request<Incoming>) -> BoxFuture<'static, Response<ReplyBody>>;
}

/// How connections are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Connections at once; one more is closed at once.
    pub max_connections: usize,
    /// Streams at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// From accept to the first whole request head.
    pub first_request: Duration,
    /// Longest rest of an HTTP/1.1 connection between requests, and of a later request's head.
    pub idle: Duration,
    /// HTTP/2 pings to a silent peer, and how long one may stay unanswered.
    pub ping: (Duration, Duration),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_streams: MAX_STREAMS,
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(180),
            ping: (Duration::from_secs(30), Duration::from_secs(20)),
        }
    }
}

/// What a port counts.
#[derive(Clone)]
pub struct Meters {
    /// Open connections.
    pub open: Gauge,
    /// Closed at once: too many.
    pub over_limit: Counter,
    /// Closed at the first-request deadline.
    pub silent: Counter,
}

/// A bound port, not yet accepting.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// Takes the port of `endpoint`.
///
/// # Errors
/// One line with the address and the reason.
pub async fn bind(endpoint: &Endpoint) -> Result<Bound, String> {
    let failed = |error: io::Error| format!("can't listen on {endpoint}: {}", reason(&error));
    let listener = match endpoint.literal() {
        Some(address) => TcpListener::bind(address).await,
        None => TcpListener::bind((endpoint.host(), endpoint.port())).await,
    };
    let listener = listener.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Bound { listener, address })
}

/// An I/O error in a user's words, without the number.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied (ports below 1024 need a privilege)".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        _ => error.to_string(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serve,
    Drain,
    Kill,
}

/// A port in service. Dropping it closes the port and every connection.
pub struct Serving {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    slots: Arc<Semaphore>,
    all: u32,
}

impl Serving {
    /// The address as bound (the port is the system's choice when 0 was asked for).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets requests in hand be answered for up to `grace`, closes the rest. Returns when no
    /// connection is left.
    pub async fn drain(self, grace: Duration) {
        self.phase.send_replace(Phase::Drain);
        let gone = Arc::clone(&self.slots).acquire_many_owned(self.all);
        if tokio::time::timeout(grace, gone).await.is_err() {
            self.phase.send_replace(Phase::Kill);
            let _ = self.slots.acquire_many(self.all).await;
        }
    }
}

struct Port<H> {
    handler: Arc<H>,
    settings: Settings,
    meters: Meters,
    tasks: Arc<dyn Spawn>,
    builder: auto::Builder<HyperTasks>,
    slots: Arc<Semaphore>,
}

impl Bound {
    /// The address as bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts and serves through tasks of `tasks`.
    pub fn serve<H: Handler>(
        self,
        handler: Arc<H>,
        settings: Settings,
        meters: Meters,
        tasks: Arc<dyn Spawn>,
    ) -> Serving {
        let (phase, watched) = watch::channel(Phase::Serve);
        let all = u32::try_from(settings.max_connections).unwrap_or(u32::MAX).min(1 << 20);
        let slots = Arc::new(Semaphore::new(all as usize));
        let builder = builder(&settings, HyperTasks::new(Arc::clone(&tasks), "request"));
        let port = Port { handler, settings, meters, tasks: Arc::clone(&tasks), builder, slots: Arc::clone(&slots) };
        tasks.spawn("accept", Box::pin(accept(Arc::new(port), self.listener, watched)));
        Serving { address: self.address, phase, slots, all }
    }
}

fn builder(settings: &Settings, tasks: HyperTasks) -> auto::Builder<HyperTasks> {
    let mut builder = auto::Builder::new(tasks);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.idle)
        .max_buf_size(READ_BUFFER)
        .max_headers(128);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(settings.ping.0)
        .keep_alive_timeout(settings.ping.1);
    builder
}

async fn accept<H: Handler>(port: Arc<Port<H>>, listener: TcpListener, mut phase: watch::Receiver<Phase>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ended(&mut phase, Phase::Drain) => return,
        };
        let Ok((socket, _peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&port.slots).try_acquire_owned() else {
            port.meters.over_limit.increment(1);
            continue;
        };
        let _ = socket.set_nodelay(true);
        let connection = connection(Arc::clone(&port), socket, phase.clone(), slot);
        port.tasks.spawn("connection", Box::pin(connection));
    }
}

/// Waits until the port is at least in phase `until`; a dropped [`Serving`] counts as killed.
async fn ended(phase: &mut watch::Receiver<Phase>, until: Phase) {
    let _ = phase.wait_for(|phase| *phase == Phase::Kill || *phase == until).await;
}

async fn connection<H: Handler>(
    port: Arc<Port<H>>,
    socket: TcpStream,
    mut phase: watch::Receiver<Phase>,
    slot: OwnedSemaphorePermit,
) {
    port.meters.open.increment(1.0);
    let seen = Arc::new(AtomicBool::new(false));
    let service = {
        let (seen, handler) = (Arc::clone(&seen), Arc::clone(&port.handler));
        hyper::service::service_fn(move |request| {
            seen.store(true, Ordering::Relaxed);
            let reply = Arc::clone(&handler).handle(request);
            async move { Ok::<_, std::convert::Infallible>(reply.await) }
        })
    };
    let mut conn = pin!(port.builder.serve_connection(TokioIo::new(socket), service).into_owned());
    let mut kill = phase.clone();
    let served = async {
        tokio::select! {
            _ = conn.as_mut() => return,
            () = silence(&seen, port.settings.first_request) => port.meters.silent.increment(1),
            () = ended(&mut phase, Phase::Drain) => {
                conn.as_mut().graceful_shutdown();
                let _ = conn.await;
                return;
            }
        }
        conn.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(CLOSE_WAIT, conn).await;
    };
    tokio::select! {
        () = served => {}
        () = ended(&mut kill, Phase::Kill) => {}
    }
    port.meters.open.decrement(1.0);
    drop(slot);
}

/// Ends at the deadline if no request was seen by then; else never.
async fn silence(seen: &AtomicBool, deadline: Duration) {
    tokio::time::sleep(deadline).await;
    if seen.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}
