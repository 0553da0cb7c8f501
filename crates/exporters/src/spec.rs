//! [`ExporterSpec`]: everything that the gateway needs to know about an exporter before it runs.
//! No method has a default, so a new exporter compiles only when it implements all of them. `src/components.rs` lists
//! the exporters; `pipeline::Exporter` is a running one.

use std::path::Path;
use std::sync::Arc;

use ::otlp::Signal;
use config::{ComponentId, FieldProblem};
use http::Uri;
use kafka::{BrokerError, BrokerSettings, SessionPartitioner};
use net::SharedServices;
use net::tls::{self, TlsError};
use pipeline::{Exporter, OutletSettings, Trust};

/// Why an exporter can't be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BuildError {
    /// A TLS file can't be used, or root certificates are missing.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No client of Kafka can be made.
    #[error(transparent)]
    Kafka(#[from] BrokerError),
}

/// What exporters are built with.
#[derive(Clone)]
pub struct ExporterDeps {
    pub services: SharedServices,
    /// Sorts items by session, for Kafka's partitions.
    pub partitioner: Arc<SessionPartitioner>,
}

/// Where an exporter writes. `validate`, `check` and the start of the gateway examine the target beforehand.
pub enum ExportTarget<'s> {
    Server {
        tls: &'s tls::ClientTlsSettings,
        /// A URL of the server that answers HTTP/1.1; `None` if the server speaks gRPC only.
        http: Option<&'s Uri>,
    },
    /// Topics of Kafka.
    Brokers {
        brokers: &'s BrokerSettings,
        topics: Vec<Arc<str>>,
        /// Whether a topic is used that can lose acknowledged records.
        allow_weak_durability: bool,
        /// Largest record that may be written if its request does not compress, in bytes.
        max_record: u64,
    },
    /// A file on this machine.
    File {
        path: &'s Path,
        /// Whether the file is only appended to: then an existing file needs no permission to create files beside it.
        appends: bool,
    },
    Output,
}

/// What the gateway needs to know about any exporter. It is a struct so that an exporter can't leave out a field.
pub struct ExporterProfile<'s> {
    /// Which telemetry the exporter may receive.
    pub trust: Trust,
    /// Where the exporter writes.
    pub target: ExportTarget<'s>,
    /// The `host:port` that the exporter sends to, and the earlier ones listed in `moved_from`; `None` if it stays on
    /// this machine.
    pub destination: Option<(String, &'s [String])>,
    /// How the spool serves the exporter; `None`: the defaults.
    pub outlet: Option<&'s OutletSettings>,
    /// Notes on a valid configuration that the user should see.
    pub notes: &'s [FieldProblem],
}

impl<'s> ExporterProfile<'s> {
    /// The profile of an exporter that writes on this machine.
    pub fn local(trust: Trust, target: ExportTarget<'s>) -> Self {
        Self { trust, target, destination: None, outlet: None, notes: &[] }
    }
}

/// An exporter's settings, as the gateway uses them.
pub trait ExporterSpec {
    /// The properties that every exporter has.
    fn profile(&self) -> ExporterProfile<'_>;
    /// Whether the exporter has a destination for `signal`.
    fn accepts_signal(&self, signal: Signal) -> bool;
    /// Builds the exporter without connecting to anything.
    ///
    /// # Errors
    /// See [`BuildError`].
    fn build(&self, id: &ComponentId, deps: ExporterDeps) -> Result<Arc<dyn Exporter>, BuildError>;
}
