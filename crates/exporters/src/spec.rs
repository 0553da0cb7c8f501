//! [`ExporterSpec`]: everything that the gateway asks of an exporter before it runs.
//! Invariants: no method has a default, so that a new exporter compiles only when it answers every question.
//! Neighbours: `src/components.rs` (which exporters there are), `pipeline::Exporter` (what a running one does).

use std::path::Path;
use std::sync::Arc;

use ::otlp::Signal;
use config::{ComponentId, FieldProblem};
use http::Uri;
use net::tls::{self, TlsError};
use pipeline::{Exporter, OutletSettings, Trust};

use crate::remote::Deps;
use crate::stanza::{Common, destination};

/// Why an exporter can't be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BuildError {
    /// A TLS file that can't be used, or missing roots.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The signal's path can't be appended to the endpoint.
    #[error("the endpoint takes no path")]
    Endpoint,
}

/// Where an exporter writes to; `validate`, `check` and a start look at it beforehand.
pub enum Target<'s> {
    /// A server on the network.
    Server {
        /// TLS settings of the connection.
        tls: &'s tls::Settings,
        /// A URL of it that answers HTTP/1.1; none if it speaks gRPC only.
        http: Option<&'s Uri>,
    },
    /// A file on this machine.
    File {
        /// Where it is.
        path: &'s Path,
        /// Whether it only grows: then an existing file needs no permission to make files beside it.
        appends: bool,
    },
    /// The standard output.
    Output,
}

/// What the gateway needs to know of any exporter. A struct, so that one that leaves out a field does not compile.
pub struct Profile<'s> {
    /// How far it is trusted.
    pub trust: Trust,
    /// Where it writes to.
    pub target: Target<'s>,
    /// The `host:port` it sends to, and the earlier ones that the user names (`moved_from`); none: it stays on this
    /// machine.
    pub destination: Option<(String, &'s [String])>,
    /// How the spool serves it; none: the defaults.
    pub outlet: Option<&'s OutletSettings>,
    /// Notes on a valid configuration that the user should see.
    pub notes: &'s [FieldProblem],
}

impl<'s> Profile<'s> {
    /// Of one that writes on this machine.
    pub fn local(trust: Trust, target: Target<'s>) -> Self {
        Self { trust, target, destination: None, outlet: None, notes: &[] }
    }

    /// Of one that sends OTLP to a server at `urls`; `http`: the first of them answers HTTP/1.1.
    pub fn remote(trust: Trust, common: &'s Common, urls: &[&'s Uri], http: bool) -> Self {
        Self {
            trust,
            target: Target::Server { tls: &common.tls, http: urls.first().copied().filter(|_| http) },
            destination: Some((destination(urls.iter().copied()), &common.moved_from)),
            outlet: Some(&common.outlet),
            notes: &common.notes,
        }
    }
}

/// The settings of an exporter, as the gateway sees them.
pub trait ExporterSpec {
    /// What is asked of all alike.
    fn profile(&self) -> Profile<'_>;
    /// Whether it has somewhere to send `signal`.
    fn takes(&self, signal: Signal) -> bool;
    /// Builds it; connects to nothing.
    ///
    /// # Errors
    /// See [`BuildError`].
    fn build(&self, id: &ComponentId, deps: Deps) -> Result<Arc<dyn Exporter>, BuildError>;
}
