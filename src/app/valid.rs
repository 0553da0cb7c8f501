//! **What**: a configuration as types: as it was written ([`Typed`]), and as settings that are valid ([`Valid`]).
//! **Not here**: how one becomes the other (`resolve`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::own::config::{Metrics, Reading};
use super::placed::Placed;
use crate::components::{
    ConnectorConfig, ConnectorSettings, ExporterConfig, ExporterSettings, ExtensionConfig, ExtensionSettings,
    ProcessorConfig, ProcessorSettings, ReceiverConfig, ReceiverSettings,
};
use config::file::{File, Pipeline};
use kernel::secret::Secret;
use net::{Kept, server_tls};
use pipeline::spool;
use telemetry::logging;

/// `pseudonyms:`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pseudonyms {
    /// Key of the keyed pseudonyms `h-…`, the same on all replicas; made beside the spool without it.
    pub key: Option<Secret>,
}

/// `service.telemetry:`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// tollgate's own log.
    pub logs: Logs,
    /// tollgate's own metrics.
    pub metrics: Metrics,
}

/// `service.telemetry.logs:`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    /// `debug`, `info`, `warn` or `error`.
    pub level: logging::Level,
}

/// The typed file.
pub struct Typed {
    /// Receivers.
    pub receivers: Vec<Placed<ReceiverConfig>>,
    /// Processors.
    pub processors: Vec<Placed<ProcessorConfig>>,
    /// Exporters.
    pub exporters: Vec<Placed<ExporterConfig>>,
    /// Connectors.
    pub connectors: Vec<Placed<ConnectorConfig>>,
    /// Extensions.
    pub extensions: Vec<Placed<ExtensionConfig>>,
    /// `spool:`
    pub spool: spool::Config,
    /// `pseudonyms:`
    pub pseudonyms: Pseudonyms,
    /// `limits:`
    pub limits: Limits,
    /// `service.telemetry:`
    pub telemetry: Telemetry,
    /// The rest, with places.
    pub file: File,
}

/// Valid settings of everything.
#[derive(Clone)]
pub struct Valid {
    /// Receivers that pipelines use.
    pub receivers: Vec<Placed<ReceiverSettings>>,
    /// Processors that pipelines use.
    pub processors: Vec<Placed<ProcessorSettings>>,
    /// Exporters that pipelines use.
    pub exporters: Vec<Placed<ExporterSettings>>,
    /// Connectors that pipelines use.
    pub connectors: Vec<Placed<ConnectorSettings>>,
    /// Extensions that are enabled.
    pub extensions: Vec<Placed<ExtensionSettings>>,
    /// The spool.
    pub spool: spool::Settings,
    /// Its keys; empty = a key file.
    pub spool_keys: Vec<spool::SpoolKey>,
    /// The pseudonym key; none = a key file.
    pub pseudonym_key: Option<Secret>,
    /// Bounds.
    pub limits: Limits,
    /// Own log level.
    pub log_level: logging::Level,
    /// Who is sent own metrics.
    pub own_metrics: Vec<Reading>,
    /// Pipelines.
    pub pipelines: Vec<Pipeline>,
    /// What the files of the admin port's TLS said last.
    pub admin_files: Kept<server_tls::Made>,
    /// Nothing, of a file without errors.
    pub stands_in: StandsIn,
}

/// What is not as it is written, because that can't be used: it stands in, so that the rest can be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StandsIn {
    /// The spool's settings, and its keys.
    pub spool: bool,
    /// The spool's keys.
    pub keys: bool,
    /// What components say may be missing from their settings, or a component altogether.
    pub components: bool,
}
