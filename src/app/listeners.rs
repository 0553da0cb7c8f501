//! The [`Listener`]s of the receivers, and [`WebListener`] for admin and health pages. The accept loop is in
//! `net/listen`, the answers in `receivers` and `telemetry/admin`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;

use access::page_port::{serve_pages, watch_certificates};
use budgets::BudgetDesk;
use config::Endpoint;
use kernel::clock::Clock;
use net::listen;
use net::server_tls;
use net::{BindError, RetainedSockets, ServerTls, SharedServices};
use pipeline::Receiver as _;
use receivers::ReceiverOpenError;
use receivers::claude_code_hooks::ClaudeCodeHooksReceiver;
use receivers::kafka::{KafkaReceiver, KafkaReceiverContext};
use receivers::otlp::OtlpReceiver;

use super::build::{BoundListener, DrainListener, Listener, ListenerResources};
use super::start_error::StartError;

/// How long a connection to a page may be idle. Idle connections must not block the kubelet's probe.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the listener of a receiver.
fn bound_receiver<F: Future<Output = DrainListener> + Send + 'static>(
    addresses: Vec<(String, SocketAddr)>,
    serve: impl FnOnce(ListenerResources) -> F + Send + 'static,
) -> BoundListener {
    BoundListener { addresses, stays_until_end: false, serve: Box::new(|resources| Box::pin(serve(resources))) }
}

fn drain_with<F: Future<Output = ()> + Send + 'static>(
    drain: impl FnOnce(Duration) -> F + Send + 'static,
) -> DrainListener {
    Box::new(|grace| Box::pin(drain(grace)))
}

pub fn listen_for_otlp(receiver: OtlpReceiver) -> Listener {
    Box::pin(async move {
        let id = Arc::clone(receiver.id());
        let bound = receiver.bind().await.map_err(|error| open_error(error, &format!("receivers.{id}.protocols")))?;
        let ports = [("grpc", bound.grpc()), ("http", bound.http())];
        let ports = ports.into_iter().filter_map(|(transport, at)| Some((format!("{id} {transport}"), at?)));
        Ok(bound_receiver(ports.collect(), move |resources| async move {
            let inlet = resources.inlet.for_receiver(&id);
            let tasks = Arc::clone(&resources.tasks);
            let running = bound.serve(inlet, resources.tasks, &resources.meter).await;
            let running = running.follow_readiness(resources.health.watch_readiness(), &*tasks);
            drain_with(|grace| running.drain(grace))
        }))
    })
}

pub(super) fn listen_for_hooks(
    receiver: ClaudeCodeHooksReceiver,
    clock: Arc<dyn Clock>,
    desk: Option<Arc<dyn BudgetDesk>>,
) -> Listener {
    Box::pin(async move {
        let id = Arc::clone(receiver.id());
        let bound = receiver.bind().await.map_err(|error| open_error(error, &format!("receivers.{id}")))?;
        let bound = bound.with_budgets(desk);
        let addresses = bound.address().map(|address| (id.to_string(), address)).into_iter().collect();
        Ok(bound_receiver(addresses, move |resources| async move {
            let inlet = resources.inlet.for_receiver(&id);
            let running = bound.serve(inlet, resources.tasks, clock, &resources.meter);
            drain_with(|grace| running.drain(grace))
        }))
    })
}

/// A receiver that reads from Kafka: it has no port, and stops with the receivers that have one.
pub(super) fn read_from_kafka(receiver: KafkaReceiver, services: SharedServices) -> Listener {
    let serve = move |resources: ListenerResources| async move {
        let inlet = resources.inlet.for_receiver(receiver.id());
        let running = receiver.serve(KafkaReceiverContext { inlet, services });
        drain_with(|grace| running.drain(grace))
    };
    Box::pin(async move { Ok(bound_receiver(Vec::new(), serve)) })
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

impl WebListener {
    pub fn listen(self) -> Listener {
        Box::pin(async move {
            let Self { name, endpoint, router, idle_timeout, sockets, tls } = self;
            let tls = tls.map(ServerTls::read).transpose();
            let tls = tls.map_err(|why| StartError::new(format!("extensions.{name}.{why}")))?.map(Arc::new);
            let bound = listen::bind_reusing(sockets.as_ref(), &endpoint).await;
            let bound = bound.map_err(|error| bind_error(error, &format!("extensions.{name}")))?.with_tls(tls.clone());
            let addresses = bound.address().map(|at| (name.to_owned(), at)).into_iter().collect();
            let serve = move |ListenerResources { tasks, meter, .. }: ListenerResources| async move {
                let reload = tls.map(|tls| watch_certificates(name, tls, &meter, &tasks));
                let serving = serve_pages(bound, router, name, idle_timeout, &meter, tasks);
                drain_with(|grace| async move {
                    // Certificates are reloaded until it is dropped.
                    let _reload = reload;
                    serving.drain(grace).await;
                })
            };
            Ok(BoundListener { stays_until_end: true, ..bound_receiver(addresses, serve) })
        })
    }
}
