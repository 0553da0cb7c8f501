//! The `otlp` receiver: OTLP over gRPC and HTTP, protobuf and JSON.
//! Responses follow the OTLP specification exactly, because clients act on them: a wrong one makes them lose data or
//! resend it for ever. Bytes are charged while they arrive and while they are inflated; an incomplete request is never
//! submitted; OK follows the engine's `Accepted`.
//! `net/listen` accepts connections, `auth` finds the account, `pipeline/` processes the request.
//!
//! A receiver goes through three states: [`Otlp`] (built, no port), [`Bound`] (ports taken), [`Running`].

mod auth;
mod config;
mod cors;
mod grpc;
mod health;
mod http;
mod meters;
mod open_error;
mod port;
mod reload;
mod reply;
mod settings;
mod told;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

pub use config::{
    Auth, Config, Cors, EnforcementPolicy, Grpc, Http, Keepalive, Protocols, ServerParameters, Tls, Transport,
};
pub use settings::{GrpcSettings, HttpSettings, Settings};

use self::auth::Clients;
use self::grpc::GrpcPort;
use self::health::HealthDoor;
use self::http::HttpPort;
use self::meters::Meters;
use self::port::{Door, Port};
use self::reload::Files;
use net::listen::{self, Serving};
use net::server_tls;
use net::{Limits, ServerTls, Sockets, Spawn};
use otlp::Signal;
use pipeline::Admission;
use telemetry::Meter;

pub use self::auth::TokensError;
pub use self::open_error::OpenError;

/// Time reserved at the end of a drain for the last responses, and the share of a shorter drain.
const LAST_ANSWERS: (Duration, u32) = (Duration::from_secs(1), 4);

/// A receiver that is not listening yet.
pub struct Otlp {
    id: Arc<str>,
    settings: Settings,
    sockets: Option<Sockets>,
}

impl Settings {
    /// Reads and checks the tokens file, if there is one, as a start would.
    ///
    /// # Errors
    /// The file can't be used.
    pub fn read_clients(&self) -> Result<(), TokensError> {
        Clients::read(self.auth.clone()).map(drop)
    }
}

impl Otlp {
    /// Creates a receiver with component id `id`, without opening a port.
    pub fn build(id: Arc<str>, settings: Settings) -> Self {
        Self { id, settings, sockets: None }
    }

    /// Takes its ports from `sockets`, where an earlier configuration may hold them.
    #[must_use]
    pub fn among(self, sockets: Option<Sockets>) -> Self {
        Self { sockets, ..self }
    }

    /// Opens the ports and reads certificates and tokens; no connection is accepted yet.
    ///
    /// # Errors
    /// An address can't be listened on, or a file can't be used.
    pub async fn bind(self) -> Result<Bound, OpenError> {
        let clients = Arc::new(Clients::read(self.settings.auth.clone())?);
        let tls = |settings: Option<server_tls::Settings>| {
            settings.map(|settings| ServerTls::read(settings).map(Arc::new)).transpose()
        };
        let tls = [
            tls(self.settings.grpc.as_ref().and_then(|grpc| grpc.tls.clone()))?,
            tls(self.settings.http.as_ref().and_then(|http| http.tls.clone()))?,
        ];
        let grpc = match &self.settings.grpc {
            Some(grpc) => Some(listen::bind_among(self.sockets.as_ref(), &grpc.endpoint).await?),
            None => None,
        };
        let http = match &self.settings.http {
            Some(http) => Some(listen::bind_among(self.sockets.as_ref(), &http.endpoint).await?),
            None => None,
        };
        let [grpc_tls, http_tls] = tls.clone();
        let grpc = grpc.map(|bound| bound.with_tls(grpc_tls));
        let http = http.map(|bound| bound.with_tls(http_tls));
        let files = Files { clients: Arc::clone(&clients), tls: tls.into_iter().flatten().collect() };
        Ok(Bound { id: self.id, settings: self.settings, clients, files, grpc, http })
    }
}

impl pipeline::Receiver for Otlp {
    fn id(&self) -> &Arc<str> {
        &self.id
    }
}

/// A receiver that holds its ports. Dropping it releases them.
pub struct Bound {
    id: Arc<str>,
    settings: Settings,
    clients: Arc<Clients>,
    files: Files,
    grpc: Option<listen::Bound>,
    http: Option<listen::Bound>,
}

impl Bound {
    /// Component id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Address of the gRPC port, if it is on.
    pub fn grpc(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().and_then(listen::Bound::address)
    }

    /// Address of the HTTP port, if it is on.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(listen::Bound::address)
    }

    /// Starts to accept connections and submits requests to `admission`; background work runs as tasks of `tasks`.
    pub async fn serve(self, admission: Arc<dyn Admission>, tasks: Arc<dyn Spawn>, meter: &Meter) -> Running {
        let (grpc_port, http_port) = (self.grpc().map(|at| at.port()), self.http().map(|at| at.port()));
        let (last_answers, ending) = watch::channel(false);
        let door = Arc::new(Door {
            id: self.id,
            trust: self.settings.trust,
            clients: self.clients,
            admission,
            tasks: Arc::clone(&tasks),
            ending,
        });
        let port = |transport, limits: Limits, other| {
            let meters = Meters::new(meter, &door.id, transport);
            Port { door: Arc::clone(&door), transport, limits, places: Arc::default(), meters, other }
        };
        let (reporter, server) = tonic_health::server::health_reporter();
        let health = Health(reporter);
        health.set(ServingStatus::Serving).await;
        let grpc = self.grpc.zip(self.settings.grpc).map(|(bound, settings)| {
            // `limits.wire` counts the message without its prefix.
            let wire = settings.limits.wire.saturating_add(reply::PREFIX);
            let port = port("grpc", Limits { wire, ..settings.limits }, http_port);
            let connections = port.meters.connections();
            let handler = GrpcPort { port, health: HealthDoor::new(server) };
            bound.serve(Arc::new(handler), settings.connections, connections, Arc::clone(&tasks))
        });
        let http = self.http.zip(self.settings.http).map(|(bound, settings)| {
            let port = port("http", settings.limits, grpc_port);
            let connections = port.meters.connections();
            let handler = HttpPort { port, paths: settings.paths, cors: settings.cors };
            bound.serve(Arc::new(handler), settings.connections, connections, tasks)
        });
        let files = self.files.follow(&door.id, self.settings.reload, &door.tasks, meter);
        Running { id: Arc::clone(&door.id), grpc, http, health, last_answers, service: None, _files: files }
    }
}

struct Health(HealthReporter);

impl Health {
    async fn set(&self, status: ServingStatus) {
        self.0.set_service_status("", status).await;
        for signal in Signal::ALL {
            self.0.set_service_status(grpc::service(signal), status).await;
        }
    }

    /// Ends the streams of watching clients; they would otherwise hold up a drain until its deadline.
    async fn end(&mut self) {
        self.0.clear_service_status("").await;
        for signal in Signal::ALL {
            self.0.clear_service_status(grpc::service(signal)).await;
        }
    }
}

/// A running receiver. Dropping it closes its ports and connections.
pub struct Running {
    id: Arc<str>,
    grpc: Option<Serving>,
    http: Option<Serving>,
    health: Health,
    /// Tells requests that wait for their outcome that they must be answered now.
    last_answers: watch::Sender<bool>,
    /// Dropping this ends the task that follows readiness.
    service: Option<watch::Sender<()>>,
    /// Dropping this ends the task that reads files again.
    _files: Option<watch::Sender<()>>,
}

impl Running {
    /// Component id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Address of the gRPC port, if it is on.
    pub fn grpc(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().and_then(Serving::address)
    }

    /// Address of the HTTP port, if it is on.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(Serving::address)
    }

    /// Sets the status that `grpc.health.v1` reports.
    pub async fn set_serving(&self, serving: bool) {
        self.health.set(if serving { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
    }

    /// Makes `grpc.health.v1` follow `ready` for as long as the receiver runs.
    #[must_use]
    pub fn following(mut self, mut ready: watch::Receiver<bool>, tasks: &dyn Spawn) -> Self {
        let health = Health(self.health.0.clone());
        let (service, mut out_of_service) = watch::channel(());
        self.service = Some(service);
        let follow = async move {
            loop {
                tokio::select! {
                    _ = out_of_service.changed() => return,
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
        self.service = None;
        self.set_serving(false).await;
        self.health.end().await;
        let drain = |port: Option<Serving>| async move {
            if let Some(port) = port {
                port.drain(grace).await;
            }
        };
        let Self { grpc, http, last_answers, .. } = self;
        let (longest, part) = LAST_ANSWERS;
        let answer = async {
            tokio::time::sleep(grace.saturating_sub(longest.min(grace / part))).await;
            last_answers.send_replace(true);
            std::future::pending::<()>().await;
        };
        let drained = async { tokio::join!(drain(grpc), drain(http)) };
        tokio::select! {
            _ = drained => {}
            () = answer => {}
        }
    }
}

#[cfg(test)]
mod tests;
