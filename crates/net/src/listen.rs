//! The accept loop of every server in tollgate: bind, accept, serve HTTP/1.1 and HTTP/2 on one socket, drain. Neither
//! hyper nor tonic closes a client that connects and stays silent. At most [`PortSettings::max_connections`] are open;
//! beyond that the longest idle connections make room, else slow uploads. A connection is closed if no first request
//! came by the deadline, and when it is idle longer than [`PortSettings::idle`], even if it answers pings. Bytes that
//! no handler read yet are outside the byte budget; [`max_unread_bytes`] limits them. [`RequestHandler`] answers
//! requests, `activity` tracks idle connections, `server_tls` has certificates.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::activity::{self, CloseReason, ConnectionActivity, IdleWatcher, PortConnections};
use super::client_address::ClientAddress;
pub use super::reply::ReplyBody;
use super::reply::ReplyBodyError;
use super::server_tls::{ClientCertificateNames, ServerTls};
use super::slow_uploads::SlowUploads;
use super::socket::{BindError, ConnectionStream, ListenSocket, RetainedSockets, is_forwarded};
use super::spawn::{HyperTasks, Spawn};
use config::Endpoint;
use telemetry::{Counter, Gauge, Meter, names};

/// How many bytes a client may send ahead.
#[derive(Clone, Copy)]
struct FlowControlWindow {
    /// HTTP/2 flow-control windows.
    stream: u32,
    connection: u32,
    /// Largest HTTP/2 frame; an incomplete one is buffered until the rest arrives.
    frame: u32,
    /// HTTP/1.1 read buffer; also limits the size of a request's head.
    read: usize,
}

/// Measured: with smaller windows the round-trip time limits the throughput.
const WIDE_WINDOW: FlowControlWindow =
    FlowControlWindow { stream: 1 << 20, connection: 4 << 20, frame: 256 * 1024, read: 256 * 1024 };
/// HTTP/2's defaults; a connection's window can't be smaller.
const NARROW_WINDOW: FlowControlWindow =
    FlowControlWindow { stream: 65_535, connection: 65_535, frame: 16_384, read: 64 * 1024 };
/// Number of connections of a port with [`WIDE_WINDOW`]; further ones get [`NARROW_WINDOW`].
const WIDE_CONNECTIONS: usize = 32;
const MAX_STREAMS: u32 = 256;
/// Maximum header bytes of one request.
const MAX_HEADERS: u32 = 64 * 1024;
/// Pause after an accept that failed because file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time for a refused or silent connection to close gracefully.
const CLOSE_WAIT: Duration = Duration::from_millis(200);
/// When the port drains: how long a connected client may still send its first bytes, and an HTTP/1 client its next
/// request, because they may already be on their way.
const DRAIN_WAIT: Duration = Duration::from_millis(500);
/// How often the accept loop waits for a slot of connections that were asked to make room, and how long each time.
const ROOM_CHECKS: usize = 5;
const ROOM_CHECK_WAIT: Duration = Duration::from_millis(100);
/// The first of these waits: by then an idle HTTP/1.1 connection is gone. HTTP/2 waits for the client's answer, up to
/// [`CLOSE_WAIT`].
const HTTP1_CLOSE_WAIT: Duration = Duration::from_millis(5);
/// How long the client of an idle HTTP/2 connection may take to answer GOAWAY. Requests that crossed it are answered
/// first.
const GOAWAY_WAIT: Duration = Duration::from_secs(5);

/// Maximum number of unread bytes that clients of a port with `connections` connections may have sent: a window and a
/// frame each (an HTTP/1.1 buffer is smaller), 213 MiB with 1024 connections. It does not include the heads of
/// requests in progress, up to `MAX_HEADERS` each.
pub const fn max_unread_bytes(connections: usize) -> usize {
    const fn bytes_each(window: FlowControlWindow) -> usize {
        window.connection as usize + window.frame as usize
    }
    let wide = if connections < WIDE_CONNECTIONS { connections } else { WIDE_CONNECTIONS };
    wide * bytes_each(WIDE_WINDOW) + (connections - wide) * bytes_each(NARROW_WINDOW)
}

/// Answers requests. Shared by all connections of a port.
pub trait RequestHandler: Send + Sync + 'static {
    /// The response to one request. The future is dropped when the client disconnects.
    fn handle(self: Arc<Self>, request: Request<Incoming>) -> BoxFuture<'static, Response<ReplyBody>>;
    /// Tracks slow uploads of the port. The default suits a handler that reads no bodies that could be slow.
    fn slow_uploads(&self) -> Arc<SlowUploads> {
        Arc::default()
    }
}

kernel::with_defaults! {
    /// Limits and timers of a port's connections.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PortSettings {
        /// Maximum number of connections. One more replaces an idle one, or else a slow upload; if there is neither, it
        /// is closed at once.
        pub max_connections: usize = 1024,
        /// Maximum number of concurrent streams on one HTTP/2 connection.
        pub max_streams: u32 = MAX_STREAMS,
        /// Maximum time from accept to the first complete request head.
        pub first_request: Duration = Duration::from_secs(10),
        /// Maximum idle time of a connection between requests (for HTTP/2: without an active stream, then GOAWAY
        /// follows), and maximum time for a later HTTP/1.1 request's head.
        pub idle: Duration = Duration::from_secs(180),
        /// Interval of HTTP/2 pings to a silent peer, and how long one may stay unanswered.
        pub ping: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20)),
        /// Maximum age of a connection, varied by a tenth, and how long requests in progress may still take then. It
        /// makes clients spread over gateways that were added later.
        pub age: Option<(Duration, Duration)>,
    }
}

#[derive(Clone)]
pub struct PortMetrics {
    pub open: Gauge,
    /// Connections closed at once, because there were too many and none was idle.
    pub over_limit: Counter,
    /// Connections closed to make room, because they were idle longest.
    pub evicted: Counter,
    /// Connections closed because no first request came before the deadline.
    pub no_request: Counter,
    /// Connections closed because they were idle too long between requests.
    pub idle: Counter,
    /// Connections closed because they reached their maximum age.
    pub aged: Counter,
    /// Connections closed because the TLS handshake failed or took too long.
    pub handshake: Counter,
    /// Connections closed because of an invalid HTTP/1.1 head: unreadable, too long, or without `Host`.
    pub bad_head: Counter,
}

impl PortMetrics {
    /// The metrics of the port of `receiver` (a component, or the name of a page) that speaks `transport`.
    pub fn new(meter: &Meter, receiver: &str, transport: &str) -> Self {
        let labels = [("receiver", receiver), ("transport", transport)];
        let closed = |reason| {
            let labels = [("receiver", receiver), ("transport", transport), ("reason", reason)];
            meter.counter(&names::RECEIVER_CONNECTIONS_CLOSED, &labels)
        };
        Self {
            open: meter.gauge(&names::RECEIVER_CONNECTIONS, &labels),
            over_limit: closed("limit"),
            evicted: closed("evicted"),
            no_request: closed("no_request"),
            idle: closed("idle"),
            aged: closed("age"),
            handshake: closed("handshake"),
            bad_head: closed("bad_request_head"),
        }
    }
}

/// A bound port that does not accept connections yet.
pub struct BoundPort {
    socket: ListenSocket,
    tls: Option<Arc<ServerTls>>,
}

/// Opens the port of `endpoint`, or creates its unix socket.
///
/// # Errors
/// The address can't be listened on.
pub async fn bind(endpoint: &Endpoint) -> Result<BoundPort, BindError> {
    Ok(BoundPort { socket: ListenSocket::listen(endpoint).await?, tls: None })
}

/// Opens the port, reusing a socket among `sockets` if there is one.
///
/// # Errors
/// As [`bind`].
pub async fn bind_reusing(sockets: Option<&RetainedSockets>, endpoint: &Endpoint) -> Result<BoundPort, BindError> {
    match sockets {
        None => bind(endpoint).await,
        Some(sockets) => Ok(BoundPort { socket: sockets.bind(endpoint).await?, tls: None }),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PortPhase {
    Serve,
    Drain,
    Kill,
}

/// A port in service. Dropping it closes the port and every connection.
pub struct RunningPort {
    phase: watch::Sender<PortPhase>,
    /// Closed when the accept loop has ended.
    accepting: watch::Receiver<()>,
    slots: Arc<Semaphore>,
    max_connections: u32,
}

impl RunningPort {
    /// Stops accepting connections, waits up to `grace` for requests in progress and closes the rest. Returns when no
    /// connection is left.
    pub async fn drain(mut self, grace: Duration) {
        self.phase.send_replace(PortPhase::Drain);
        // The accept loop must have ended first, so that every accepted connection holds its slot.
        while self.accepting.changed().await.is_ok() {}
        let all_closed = Arc::clone(&self.slots).acquire_many_owned(self.max_connections);
        if tokio::time::timeout(grace, all_closed).await.is_err() {
            self.phase.send_replace(PortPhase::Kill);
            let _ = self.slots.acquire_many(self.max_connections).await;
        }
    }
}

struct PortState<H> {
    handler: Arc<H>,
    tls: Option<Arc<ServerTls>>,
    settings: PortSettings,
    metrics: PortMetrics,
    tasks: Arc<dyn Spawn>,
    wide: auto::Builder<HyperTasks>,
    narrow: auto::Builder<HyperTasks>,
    slots: Arc<Semaphore>,
    connections: Arc<PortConnections>,
    slow_uploads: Arc<SlowUploads>,
    wide_slots: Arc<Semaphore>,
    /// Number of connections so far; used to spread their maximum ages.
    accepted: AtomicU32,
}

impl BoundPort {
    /// The bound address, with the port that the system chose if 0 was asked for. `None` for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.socket.address()
    }

    /// Serves the port inside TLS. Requests carry the client's [`ClientCertificateNames`] among their extensions if it
    /// presented a certificate.
    #[must_use]
    pub fn with_tls(self, tls: Option<Arc<ServerTls>>) -> Self {
        Self { tls, ..self }
    }

    /// Accepts and serves connections as tasks of `tasks`.
    pub fn serve<H: RequestHandler>(
        self,
        handler: Arc<H>,
        settings: PortSettings,
        metrics: PortMetrics,
        tasks: Arc<dyn Spawn>,
    ) -> RunningPort {
        let (phase, phase_receiver) = watch::channel(PortPhase::Serve);
        let max_connections = u32::try_from(settings.max_connections).unwrap_or(u32::MAX).min(1 << 20);
        let slots = Arc::new(Semaphore::new(max_connections as usize));
        let requests = HyperTasks::new(Arc::clone(&tasks), "request");
        let port = PortState {
            wide: connection_builder(&settings, WIDE_WINDOW, requests.clone()),
            narrow: connection_builder(&settings, NARROW_WINDOW, requests),
            slow_uploads: handler.slow_uploads(),
            handler,
            tls: self.tls,
            settings,
            metrics,
            tasks: Arc::clone(&tasks),
            slots: Arc::clone(&slots),
            connections: Arc::default(),
            wide_slots: Arc::new(Semaphore::new(WIDE_CONNECTIONS)),
            accepted: AtomicU32::new(0),
        };
        let (accept_guard, accepting) = watch::channel(());
        let accept = accept_connections(Arc::new(port), self.socket, phase_receiver);
        let until_ended = async move {
            let _accept_guard = accept_guard;
            accept.await;
        };
        tasks.spawn("accept", Box::pin(until_ended));
        RunningPort { phase, accepting, slots, max_connections }
    }
}

fn connection_builder(
    settings: &PortSettings,
    window: FlowControlWindow,
    tasks: HyperTasks,
) -> auto::Builder<HyperTasks> {
    let mut builder = auto::Builder::new(tasks);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.idle)
        .max_buf_size(window.read)
        .max_headers(128);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(window.stream)
        .initial_connection_window_size(window.connection)
        .max_frame_size(window.frame)
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(settings.ping.0)
        .keep_alive_timeout(settings.ping.1);
    builder
}

async fn accept_connections<H: RequestHandler>(
    port: Arc<PortState<H>>,
    socket: ListenSocket,
    mut phase: watch::Receiver<PortPhase>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = wait_for_phase(&mut phase, PortPhase::Drain) => return,
            accepted = socket.accept() => accepted,
        };
        let Ok(stream) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(slot) = port.acquire_slot().await else {
            port.metrics.over_limit.increment(1);
            continue;
        };
        let tracking = activity::track_connection(&port.connections);
        let connection = serve_connection(Arc::clone(&port), stream, phase.clone(), (slot, tracking));
        port.tasks.spawn("connection", Box::pin(connection));
    }
}

/// Waits until the port is at least in phase `until`; a dropped [`RunningPort`] counts as killed.
async fn wait_for_phase(phase: &mut watch::Receiver<PortPhase>, until: PortPhase) {
    let _ = phase.wait_for(|phase| *phase == PortPhase::Kill || *phase == until).await;
}

async fn serve_connection<H: RequestHandler>(
    port: Arc<PortState<H>>,
    ConnectionStream { bytes, ip }: ConnectionStream,
    mut phase: watch::Receiver<PortPhase>,
    (slot, (activity, mut idle_watcher)): (OwnedSemaphorePermit, (ConnectionActivity, IdleWatcher)),
) {
    port.metrics.open.increment(1.0);
    let mut kill = phase.clone();
    let served = async {
        let Some(tls) = &port.tls else {
            return serve_stream(&port, bytes, (None, ip), (activity, idle_watcher), phase).await;
        };
        let handshake = tokio::select! {
            result = tokio::time::timeout(port.settings.first_request, tls.acceptor().accept(bytes)) => result,
            () = idle_watcher.wait_until_crowded() => {
                port.metrics.evicted.increment(1);
                return;
            }
            () = async {
                wait_for_phase(&mut phase, PortPhase::Drain).await;
                tokio::time::sleep(DRAIN_WAIT).await;
            } => return,
        };
        match handshake {
            Ok(Ok(stream)) => {
                let peer = ClientCertificateNames::from_connection(stream.get_ref().1).map(Arc::new);
                serve_stream(&port, stream, (peer, ip), (activity, idle_watcher), phase).await;
            }
            failed => {
                port.metrics.handshake.increment(1);
                let why = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "it took too long".to_owned(),
                };
                tracing::debug!(why, "a TLS handshake failed");
            }
        }
    };
    tokio::select! {
        () = served => {}
        () = wait_for_phase(&mut kill, PortPhase::Kill) => {}
    }
    port.metrics.open.decrement(1.0);
    drop(slot);
}

async fn serve_stream<H: RequestHandler, S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    port: &PortState<H>,
    stream: S,
    (peer, ip): (Option<Arc<ClientCertificateNames>>, IpAddr),
    (activity, mut idle_watcher): (ConnectionActivity, IdleWatcher),
    mut phase: watch::Receiver<PortPhase>,
) {
    let wide_slot = Arc::clone(&port.wide_slots).try_acquire_owned().ok();
    let builder = if wide_slot.is_some() { &port.wide } else { &port.narrow };
    let aged = Arc::new(AtomicBool::new(false));
    let service = {
        let (handler, bad_heads) = (Arc::clone(&port.handler), port.metrics.bad_head.clone());
        let (phase, aged) = (phase.clone(), Arc::clone(&aged));
        hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let in_progress = activity.begin_request(request.version());
            attach_client_info(&mut request, peer.as_ref(), ip);
            let http1 = (request.version() < Version::HTTP_2).then(|| (phase.clone(), Arc::clone(&aged)));
            let reply = handle_or_refuse(Arc::clone(&handler), request, &bad_heads);
            async move {
                let mut reply = reply.await;
                if http1
                    .is_some_and(|(phase, aged)| *phase.borrow() != PortPhase::Serve || aged.load(Ordering::Relaxed))
                {
                    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, std::convert::Infallible>(in_progress.track_response(reply))
            }
        })
    };
    let mut conn = pin!(builder.serve_connection(TokioIo::new(stream), service).into_owned());
    let PortSettings { first_request, idle, .. } = port.settings;
    let closable = idle_watcher.wait_until_closable();
    let too_old = async {
        let grace = port.wait_for_max_age().await;
        // The next HTTP/1 response then carries `connection: close`
        aged.store(true, Ordering::Relaxed);
        closable.await;
        grace
    };
    let reason = tokio::select! {
        ended = conn.as_mut() => {
            port.count_ended(ended.err().as_ref(), &aged);
            return;
        }
        grace = too_old => {
            port.metrics.aged.increment(1);
            conn.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(grace, conn).await;
            return;
        }
        reason = idle_watcher.wait_for_close_reason(first_request, idle) => reason,
        () = wait_for_phase(&mut phase, PortPhase::Drain) => {
            tokio::select! {
                _ = conn.as_mut() => return,
                _ = tokio::time::timeout(DRAIN_WAIT, idle_watcher.wait_until_closable()) => {}
            }
            conn.as_mut().graceful_shutdown();
            let _ = conn.await;
            return;
        }
    };
    conn.as_mut().graceful_shutdown();
    // A request that crossed the shutdown is answered first: the connection stays until it is quiet for that long.
    let (counter, quiet) = match reason {
        CloseReason::NoRequest => (&port.metrics.no_request, None),
        CloseReason::Idle => (&port.metrics.idle, Some(GOAWAY_WAIT.min(idle))),
        CloseReason::Evicted => (&port.metrics.evicted, Some(CLOSE_WAIT)),
    };
    counter.increment(1);
    let time_up = async {
        match quiet {
            Some(time) => idle_watcher.wait_until_idle_for(time).await,
            None => tokio::time::sleep(CLOSE_WAIT).await,
        }
    };
    tokio::select! {
        _ = conn => {}
        () = time_up => {}
    }
}

/// Attaches the client's certificate and address to the request.
fn attach_client_info(request: &mut Request<Incoming>, peer: Option<&Arc<ClientCertificateNames>>, ip: IpAddr) {
    if let Some(peer) = peer {
        request.extensions_mut().insert(Arc::clone(peer));
    }
    let address = ClientAddress { ip, is_forwarded: ip.is_loopback() && is_forwarded(request.headers()) };
    request.extensions_mut().insert(address);
}

/// Why an HTTP/1 request head must be refused; hyper checks the rules of HTTP/2.
fn find_head_fault(request: &Request<Incoming>) -> Option<(StatusCode, &'static str)> {
    if request.version() >= Version::HTTP_2 {
        return None;
    }
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len().saturating_add(value.len())).sum();
    if bytes > MAX_HEADERS as usize {
        return Some((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the header fields are larger than 64 KiB\n"));
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    let is_single =
        hosts.next().is_none() && host.is_none_or(|host| !host.as_bytes().iter().any(|byte| b" /,@".contains(byte)));
    let is_valid = is_single && (host.is_some() || request.version() < Version::HTTP_11);
    (!is_valid).then_some((
        StatusCode::BAD_REQUEST,
        "an HTTP/1.1 request must have exactly one valid `Host` field (RFC 9112, section 3.2)\n",
    ))
}

/// The handler's response, or a refusal if the head is invalid.
fn handle_or_refuse<H: RequestHandler>(
    handler: Arc<H>,
    request: Request<Incoming>,
    bad_heads: &Counter,
) -> BoxFuture<'static, Response<ReplyBody>> {
    let Some(fault) = find_head_fault(&request) else { return handler.handle(request) };
    bad_heads.increment(1);
    Box::pin(std::future::ready(refusal_response(fault)))
}

/// A refusal, after which the connection closes: bytes after an invalid head can't be trusted.
fn refusal_response((status, text): (StatusCode, &'static str)) -> Response<ReplyBody> {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

impl<H> PortState<H> {
    /// A slot for one more connection. `None` if all are taken by connections that are in use.
    async fn acquire_slot(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Some(slot);
        }
        let mut slot = pin!(Arc::clone(&self.slots).acquire_owned());
        let mut idle_leaving = false;
        for round in 0..ROOM_CHECKS {
            idle_leaving = idle_leaving && self.connections.has_leaving() || self.connections.ask_idle_to_leave();
            // `has_leaving` is checked again because a request may have crossed the call. An HTTP/2 connection whose
            // upload was ended becomes idle, and is asked in the next round.
            if !idle_leaving && !self.slow_uploads.ask_to_end() {
                return None;
            }
            let wait = if idle_leaving && round == 0 { HTTP1_CLOSE_WAIT } else { ROOM_CHECK_WAIT };
            let acquired = tokio::time::timeout(wait, slot.as_mut()).await;
            self.slow_uploads.withdraw_ask();
            if let Ok(slot) = acquired {
                return slot.ok();
            }
        }
        None
    }

    /// Counts why a connection ended by itself: after its last response, or because of an invalid head.
    fn count_ended(&self, error: Option<&ReplyBodyError>, aged: &AtomicBool) {
        let is_head_fault = |error: &ReplyBodyError| error.downcast_ref().is_some_and(hyper::Error::is_parse);
        self.metrics.bad_head.increment(error.is_some_and(is_head_fault).into());
        self.metrics.aged.increment(aged.load(Ordering::Relaxed).into());
    }

    /// Completes when a connection that begins now reaches its maximum age; returns the grace for its requests in
    /// progress.
    async fn wait_for_max_age(&self) -> Duration {
        let Some((age, grace)) = self.settings.age else { return std::future::pending().await };
        // Multiples of the golden ratio are spread evenly, however many there are.
        let position = self.accepted.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9);
        let spread = f64::from(position) / f64::from(u32::MAX);
        tokio::time::sleep(age.mul_f64(0.9 + spread * 0.2)).await;
        grace
    }
}
