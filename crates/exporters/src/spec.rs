//! [`ExporterSpec`]: everything that the gateway asks of an exporter before it runs.
//! Invariants: no method has a default, so that a new exporter compiles only when it answers every question.
//! Neighbours: `src/components.rs` (which exporters there are), `pipeline::Exporter` (what a running one does).

use std::path::Path;
use std::sync::Arc;

use ::otlp::Signal;
use config::{ComponentId, FieldProblem};
use http::Uri;
use net::tls;
use pipeline::{Exporter, OutletSettings, Trust};

use crate::remote::Deps;

/// Where an exporter writes to; `validate`, `check` and a start look at it beforehand.
pub enum Target<'s> {
    /// A server on the network.
    Server {
        /// How it is trusted.
        tls: &'s tls::Settings,
        /// An address of it that answers HTTP/1.1; none: it speaks gRPC alone.
        http: Option<&'s Uri>,
    },
    /// A file on this machine.
    File {
        /// Where it is.
        path: &'s Path,
        /// Whether it grows for ever: then a file that exists needs no right to make files beside it.
        appends: bool,
    },
    /// The standard output.
    Output,
}

/// The settings of an exporter, as the gateway sees them.
pub trait ExporterSpec {
    /// What is valid, but should be known.
    fn notes(&self) -> &[FieldProblem];
    /// Whether it has somewhere to send `signal`.
    fn takes(&self, signal: Signal) -> bool;
    /// Where it points (`host:port`), and where it pointed before as far as the user says so; none: to nothing beyond this
    /// machine.
    fn destination(&self) -> Option<(String, &[String])>;
    /// How it is served from the spool; none = as by default.
    fn outlet(&self) -> Option<&OutletSettings>;
    /// How far it is trusted.
    fn trust(&self) -> Trust;
    /// Where it writes to.
    fn target(&self) -> Target<'_>;
    /// Builds it; connects to nothing.
    ///
    /// # Errors
    /// One line about a TLS file or missing roots.
    fn build(&self, id: &ComponentId, deps: Deps) -> Result<Arc<dyn Exporter>, String>;
}
