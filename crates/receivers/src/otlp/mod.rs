//! **What**: the `otlp` receiver: OTLP over gRPC and HTTP, protobuf and JSON.
//! **Why**: the specification's answers to the letter, because clients act on them: what is answered wrongly is lost
//! or sent for ever. **Invariants**: bytes are charged while they arrive and while they inflate; a request that was
//! not whole is never handed in; OK follows the engine's `Accepted`. **Not here**: the accept loop (`net/listen`),
//! what becomes of a request (`pipeline/`), whose it is (`auth`).
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

/// Time for the last answers of a drain, and its part of one that is short.
const LAST_ANSWERS: (Duration, u32) = (Duration::from_secs(1), 4);

/// A receiver that is not listening yet.
pub struct Otlp {
    id: Arc<str>,
    settings: Settings,
    sockets: Option<Sockets>,
}

impl Settings {
    /// Reads the tokens file, if there is one, as a start would.
    ///
    /// # Errors
    /// The file can't be used.
    pub fn read_clients(&self) -> Result<(), TokensError> {
        Clients::read(self.auth.clone()).map(drop)
    }
}

impl Otlp {
    /// A receiver with component id `id`. Takes no port.
    pub fn build(id: Arc<str>, settings: Settings) -> Self {
        Self { id, settings, sockets: None }
    }

    /// The same with ports among `sockets`.
    #[must_use]
    pub fn among(self, sockets: Option<Sockets>) -> Self {
        Self { sockets, ..self }
    }

    /// Takes the ports and reads certificates and tokens; nothing is accepted yet.
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

/// A receiver that holds its ports. Dropping it gives them back.
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

    /// The gRPC port's address, if on.
    pub fn grpc(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().and_then(listen::Bound::address)
    }

    /// The HTTP port's address, if on.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(listen::Bound::address)
    }

    /// Starts to accept, into `admission`, through tasks of `tasks`.
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
            // The prefix of the message is not part of it.
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

    /// Ends the streams of those who watch: they have no end of their own, and would hold up a drain to its deadline.
    async fn end(&mut self) {
        self.0.clear_service_status("").await;
        for signal in Signal::ALL {
            self.0.clear_service_status(grpc::service(signal)).await;
        }
    }
}

/// A receiver in service. Dropping it closes its ports and connections.
pub struct Running {
    id: Arc<str>,
    grpc: Option<Serving>,
    http: Option<Serving>,
    health: Health,
    /// Tells requests that wait for their outcome to be answered.
    last_answers: watch::Sender<bool>,
    /// Dropped with this: ends the task that follows readiness.
    service: Option<watch::Sender<()>>,
    /// The same of the one that reads files again.
    _files: Option<watch::Sender<()>>,
}

impl Running {
    /// Component id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The gRPC port's address, if on.
    pub fn grpc(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().and_then(Serving::address)
    }

    /// The HTTP port's address, if on.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(Serving::address)
    }

    /// What `grpc.health.v1` answers from now on.
    pub async fn set_serving(&self, serving: bool) {
        self.health.set(if serving { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
    }

    /// Lets `grpc.health.v1` answer what `ready` says for as long as this port is in service.
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

    /// Stops accepting, lets requests in hand be answered for up to `grace`, closes the rest. Who waits for an outcome
    /// by then (a delivery that takes its time) is told a moment before to come again.
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
