//! Implements [`Listener`] for the receivers, and [`WebListener`] for admin and health pages. The accept loop is
//! in `net/listen`, the answers in `receivers` and `telemetry/admin`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use access::page_port::{serve_pages, watch_certificates};
use config::Endpoint;
use kernel::clock::Clock;
use net::listen::{self, RunningPort};
use net::server_tls;
use net::{BindError, RetainedSockets, ServerTls};
use receivers::ReceiverOpenError;
use receivers::claude_code_hooks::{BoundClaudeCodeHooks, ClaudeCodeHooksReceiver, RunningClaudeCodeHooks};
use receivers::kafka::{EffectsSender, KafkaReceiver, KafkaReceiverContext, RunningKafkaReceiver};
use receivers::otlp::{self, OtlpReceiver};

use super::build::{BackgroundTask, BoundListener, Listener, ListenerResources, ServingListener};
use super::start_error::StartError;

/// How long a connection to a page may be idle. Idle connections must not block the kubelet's probe.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

impl Listener for OtlpReceiver {
    fn bind(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn BoundListener>, StartError>> {
        let id = Arc::clone(pipeline::Receiver::id(&*self));
        Box::pin(async move {
            let bound = OtlpReceiver::bind(*self).await;
            let bound = bound.map_err(|error| open_error(error, &format!("receivers.{id}.protocols")))?;
            Ok(Box::new(BoundReceiver { id, bound }) as Box<dyn BoundListener>)
        })
    }
}

pub(super) struct HooksListener {
    pub(super) receiver: ClaudeCodeHooksReceiver,
    /// Source of time.
    pub(super) clock: Arc<dyn Clock>,
}

impl Listener for HooksListener {
    fn bind(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn BoundListener>, StartError>> {
        Box::pin(async move {
            let Self { receiver, clock } = *self;
            let id = Arc::clone(pipeline::Receiver::id(&receiver));
            let bound = receiver.bind().await.map_err(|error| open_error(error, &format!("receivers.{id}")))?;
            Ok(Box::new(BoundHooksListener { bound, clock }) as Box<dyn BoundListener>)
        })
    }
}

struct BoundHooksListener {
    bound: BoundClaudeCodeHooks,
    clock: Arc<dyn Clock>,
}

impl BoundListener for BoundHooksListener {
    fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.bound.address().map(|address| (self.bound.id().to_string(), address)).into_iter().collect()
    }

    fn serve(self: Box<Self>, resources: ListenerResources) -> BoxFuture<'static, Box<dyn ServingListener>> {
        Box::pin(async move {
            let Self { bound, clock } = *self;
            let inlet = resources.inlet.for_receiver(bound.id());
            Box::new(bound.serve(inlet, resources.tasks, clock, &resources.meter)) as Box<dyn ServingListener>
        })
    }
}

impl ServingListener for RunningClaudeCodeHooks {
    fn drain(self: Box<Self>, grace: Duration) -> BoxFuture<'static, ()> {
        Box::pin(RunningClaudeCodeHooks::drain(*self, grace))
    }
}

/// A receiver that reads from Kafka: it has no port, and stops with the receivers that have one.
pub(super) struct KafkaListener {
    pub(super) receiver: KafkaReceiver,
    /// Source of time.
    pub(super) clock: Arc<dyn Clock>,
}

impl Listener for KafkaListener {
    fn bind(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn BoundListener>, StartError>> {
        Box::pin(async move { Ok(self as Box<dyn BoundListener>) })
    }
}

impl BoundListener for KafkaListener {
    fn addresses(&self) -> Vec<(String, SocketAddr)> {
        Vec::new()
    }

    fn serve(self: Box<Self>, resources: ListenerResources) -> BoxFuture<'static, Box<dyn ServingListener>> {
        Box::pin(async move {
            let Self { receiver, clock } = *self;
            let inlet = resources.inlet.for_receiver(pipeline::Receiver::id(&receiver));
            let ListenerResources { tasks, meter, .. } = resources;
            Box::new(receiver.serve(KafkaReceiverContext { inlet, tasks, clock, meter })) as Box<dyn ServingListener>
        })
    }
}

impl ServingListener for RunningKafkaReceiver {
    fn drain(self: Box<Self>, grace: Duration) -> BoxFuture<'static, ()> {
        Box::pin(RunningKafkaReceiver::drain(*self, grace))
    }
}

impl BackgroundTask for EffectsSender {
    fn name(&self) -> &'static str {
        "shared effects"
    }

    fn run(self: Arc<Self>, stop: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
        Box::pin(async move { Self::run(&self, stop).await })
    }
}

/// The error for a receiver that can't be opened; `place` has its addresses.
fn open_error(error: ReceiverOpenError, place: &str) -> StartError {
    match error {
        ReceiverOpenError::Port(port) => bind_error(port, place),
        other => other.into(),
    }
}

/// The error for a port that can't be bound, with a remedy.
fn bind_error(error: BindError, place: &str) -> StartError {
    StartError::new(format!("{error}; set another `endpoint` there")).with_place(place)
}

struct BoundReceiver {
    id: Arc<str>,
    bound: otlp::BoundOtlpReceiver,
}

impl BoundListener for BoundReceiver {
    fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let ports = [("grpc", self.bound.grpc()), ("http", self.bound.http())];
        ports
            .into_iter()
            .filter_map(|(transport, address)| Some((format!("{} {transport}", self.id), address?)))
            .collect()
    }

    fn serve(self: Box<Self>, resources: ListenerResources) -> BoxFuture<'static, Box<dyn ServingListener>> {
        Box::pin(async move {
            let inlet = resources.inlet.for_receiver(&self.id);
            let tasks = Arc::clone(&resources.tasks);
            let running = self.bound.serve(inlet, resources.tasks, &resources.meter).await;
            let running = running.follow_readiness(resources.health.watch_readiness(), &*tasks);
            Box::new(running) as Box<dyn ServingListener>
        })
    }
}

impl ServingListener for otlp::RunningOtlpReceiver {
    fn drain(self: Box<Self>, grace: Duration) -> BoxFuture<'static, ()> {
        Box::pin(otlp::RunningOtlpReceiver::drain(*self, grace))
    }
}

/// Pages on a port of their own; it stays open until the end of a shutdown.
pub struct WebListener {
    /// Name for logs and metrics: `admin`, `health_check`.
    pub name: &'static str,
    /// The address to listen on.
    pub endpoint: Endpoint,
    pub router: Router,
    /// Time limit from accept to the request, and between requests; see [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// The store of sockets that keeps the port over reloads, if any.
    pub sockets: Option<RetainedSockets>,
    /// Certificate and key, if the port has TLS.
    pub tls: Option<server_tls::ServerTlsSettings>,
}

impl Listener for WebListener {
    fn bind(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn BoundListener>, StartError>> {
        Box::pin(async move {
            let Self { name, endpoint, router, idle_timeout, sockets, tls } = *self;
            let tls = tls.map(ServerTls::read).transpose();
            let tls = tls.map_err(|why| StartError::new(format!("extensions.{name}.{why}")))?.map(Arc::new);
            let bound = listen::bind_reusing(sockets.as_ref(), &endpoint).await;
            let bound = bound.map_err(|error| bind_error(error, &format!("extensions.{name}")))?.with_tls(tls.clone());
            Ok(Box::new(BoundWebListener { name, router, idle_timeout, bound, tls }) as Box<dyn BoundListener>)
        })
    }
}

struct BoundWebListener {
    name: &'static str,
    router: Router,
    idle_timeout: Duration,
    bound: listen::BoundPort,
    tls: Option<Arc<ServerTls>>,
}

impl BoundListener for BoundWebListener {
    fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.bound.address().map(|at| (self.name.to_owned(), at)).into_iter().collect()
    }

    fn serve(self: Box<Self>, resources: ListenerResources) -> BoxFuture<'static, Box<dyn ServingListener>> {
        Box::pin(async move {
            let reload = self.tls.map(|tls| watch_certificates(self.name, tls, &resources.meter, &resources.tasks));
            let serving =
                serve_pages(self.bound, self.router, self.name, self.idle_timeout, &resources.meter, resources.tasks);
            Box::new(ServingWebListener { serving, _reload: reload }) as Box<dyn ServingListener>
        })
    }

    fn stays_until_end(&self) -> bool {
        true
    }
}

struct ServingWebListener {
    serving: RunningPort,
    /// Stops reloading certificates when it is dropped.
    _reload: Option<watch::Sender<()>>,
}

impl ServingListener for ServingWebListener {
    fn drain(self: Box<Self>, grace: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.serving.drain(grace))
    }
}
