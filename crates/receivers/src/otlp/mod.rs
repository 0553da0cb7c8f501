//! The `otlp` receiver: OTLP over gRPC and HTTP, protobuf and JSON.
//! Responses follow the OTLP specification exactly, because clients act on them: a wrong one makes them lose data or
//! resend it for ever. Bytes are charged while they arrive and while they are inflated; an incomplete request is never
//! submitted; OK follows the engine's `Accepted` or `Partial`.
//! `net/listen` accepts connections, `http_ports/auth` finds the account, `pipeline/` processes the request.
//!
//! A receiver goes through three states: [`OtlpReceiver`] (built, no port), [`BoundOtlpReceiver`] (ports taken),
//! [`RunningOtlpReceiver`].

mod config;
mod cors;
mod grpc;
mod health;
mod http;
mod settings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

pub use config::{
    AuthConfig, CorsConfig, GrpcConfig, HttpConfig, KeepaliveConfig, KeepaliveEnforcementPolicy,
    KeepaliveServerParameters, OtlpReceiverConfig, ProtocolsConfig, Tls, Transport,
};
pub use settings::{GrpcSettings, HttpSettings, OtlpReceiverSettings};

use self::grpc::GrpcPort;
use self::health::HealthEndpoint;
use self::http::HttpPort;
use crate::http_ports::web_pages::needs_guard;
use crate::http_ports::{
    AcceptedClients, PortReceiver, ReceiverContext, ReceiverMetrics, ReceiverOpenError, ReceiverPort, ReloadableFiles,
    drain_ports, reply,
};
use net::listen::{self, RunningPort};
use net::{BodyLimits, Spawn};
use otlp::Signal;
use pipeline::ReceiverInlet;
use telemetry::Meter;

/// Where OTLP clients set their credential.
const CREDENTIAL_PLACE: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// A receiver that is not listening yet.
pub type OtlpReceiver = PortReceiver<OtlpReceiverSettings>;

impl PortReceiver<OtlpReceiverSettings> {
    /// Opens the ports and reads certificates and tokens; no connection is accepted yet.
    ///
    /// # Errors
    /// An address can't be listened on, or a file can't be used.
    pub async fn bind(self) -> Result<BoundOtlpReceiver, ReceiverOpenError> {
        let clients = self.read_clients(self.settings.auth.clone(), CREDENTIAL_PLACE)?;
        let (grpc, grpc_tls) = match &self.settings.grpc {
            Some(grpc) => Some(self.open(&grpc.endpoint, grpc.tls.clone()).await?),
            None => None,
        }
        .unzip();
        let (http, http_tls) = match &self.settings.http {
            Some(http) => Some(self.open(&http.endpoint, http.tls.clone()).await?),
            None => None,
        }
        .unzip();
        let tls = [grpc_tls, http_tls].into_iter().flatten().flatten().collect();
        let files = ReloadableFiles { clients: Arc::clone(&clients), tls };
        Ok(BoundOtlpReceiver { id: self.id, settings: self.settings, clients, files, grpc, http })
    }
}

/// A receiver that holds its ports. Dropping it releases them.
pub struct BoundOtlpReceiver {
    id: Arc<str>,
    settings: OtlpReceiverSettings,
    clients: Arc<AcceptedClients>,
    files: ReloadableFiles,
    grpc: Option<listen::BoundPort>,
    http: Option<listen::BoundPort>,
}

impl BoundOtlpReceiver {
    /// Address of the gRPC port, if it is on.
    pub fn grpc(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().and_then(listen::BoundPort::address)
    }

    /// Address of the HTTP port, if it is on.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(listen::BoundPort::address)
    }

    /// Starts to accept connections and submits requests to `inlet`; `tasks` spawns background work.
    pub async fn serve(self, inlet: ReceiverInlet, tasks: Arc<dyn Spawn>, meter: &Meter) -> RunningOtlpReceiver {
        let (grpc_port, http_port) = (self.grpc().map(|at| at.port()), self.http().map(|at| at.port()));
        let guards_http = needs_guard(self.clients.has_auth(), self.http());
        let (answer_now, drain_ending) = watch::channel(false);
        let context = Arc::new(ReceiverContext {
            id: self.id,
            trust: self.settings.trust,
            clients: self.clients,
            inlet,
            tasks: Arc::clone(&tasks),
            drain_ending,
        });
        let port = |transport, limits: BodyLimits, other_port| {
            let meters = ReceiverMetrics::new(meter, &context.id, transport);
            ReceiverPort {
                context: Arc::clone(&context),
                limits,
                upload_slots: Arc::default(),
                meters,
                other_port,
                // A browser can't send gRPC.
                guards_browsers: transport == "http" && guards_http,
            }
        };
        let (reporter, server) = tonic_health::server::health_reporter();
        let health = ServingHealth(reporter);
        health.set(ServingStatus::Serving).await;
        let grpc = self.grpc.zip(self.settings.grpc).map(|(bound, settings)| {
            // `limits.wire` counts the message without its prefix.
            let wire = settings.limits.wire.saturating_add(reply::PREFIX);
            let port = port("grpc", BodyLimits { wire, ..settings.limits }, http_port);
            let connections = port.meters.connection_meters();
            let handler = GrpcPort { port, health: HealthEndpoint::new(server) };
            bound.serve(Arc::new(handler), settings.connections, connections, Arc::clone(&tasks))
        });
        let http = self.http.zip(self.settings.http).map(|(bound, settings)| {
            let port = port("http", settings.limits, grpc_port);
            let connections = port.meters.connection_meters();
            let handler = HttpPort { port, paths: settings.paths, cors: settings.cors };
            bound.serve(Arc::new(handler), settings.connections, connections, tasks)
        });
        let files = self.files.watch_files(&context.id, self.settings.reload, &context.tasks, meter);
        RunningOtlpReceiver { grpc, http, health, answer_now, readiness_task: None, _files: files }
    }
}

struct ServingHealth(HealthReporter);

impl ServingHealth {
    async fn set(&self, status: ServingStatus) {
        self.0.set_service_status("", status).await;
        for signal in Signal::ALL {
            self.0.set_service_status(grpc::grpc_service_name(signal), status).await;
        }
    }

    /// Ends the streams of watching clients; they would otherwise hold up a drain until its deadline.
    async fn end_watches(&mut self) {
        self.0.clear_service_status("").await;
        for signal in Signal::ALL {
            self.0.clear_service_status(grpc::grpc_service_name(signal)).await;
        }
    }
}

/// A running receiver. Dropping it closes its ports and connections.
pub struct RunningOtlpReceiver {
    grpc: Option<RunningPort>,
    http: Option<RunningPort>,
    health: ServingHealth,
    /// Tells requests that wait for their outcome that they must be answered now.
    answer_now: watch::Sender<bool>,
    /// Dropping this ends the task that follows readiness.
    readiness_task: Option<watch::Sender<()>>,
    /// Dropping this ends the task that reads files again.
    _files: Option<watch::Sender<()>>,
}

impl RunningOtlpReceiver {
    /// Sets the status that `grpc.health.v1` reports.
    pub async fn set_serving(&self, serving: bool) {
        self.health.set(if serving { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
    }

    /// Makes `grpc.health.v1` follow `ready` for as long as the receiver runs.
    #[must_use]
    pub fn follow_readiness(mut self, mut ready: watch::Receiver<bool>, tasks: &dyn Spawn) -> Self {
        let health = ServingHealth(self.health.0.clone());
        let (stop, mut stopped) = watch::channel(());
        self.readiness_task = Some(stop);
        let follow = async move {
            loop {
                tokio::select! {
                    _ = stopped.changed() => return,
                    changed = ready.changed() => if changed.is_err() { return },
                }
                let serving = *ready.borrow_and_update();
                health.set(if serving { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
            }
        };
        tasks.spawn("grpc health", Box::pin(follow));
        self
    }

    /// Stops accepting connections, waits up to `grace` for requests in progress, and closes the rest. Shortly before
    /// that, a client that still waits for an outcome (such as a slow delivery) is asked to retry.
    pub async fn drain(mut self, grace: Duration) {
        self.readiness_task = None;
        self.set_serving(false).await;
        self.health.end_watches().await;
        let Self { grpc, http, answer_now, .. } = self;
        drain_ports(grpc.into_iter().chain(http), &answer_now, grace).await;
    }
}

#[cfg(test)]
mod tests;
