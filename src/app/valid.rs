//! A configuration as types: as written ([`Typed`]), and as validated settings ([`Valid`]). `resolve` turns one into
//! the other.

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
    /// Key of the keyed pseudonyms `h-…`; use the same on all replicas. Default: generated beside the spool.
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
    /// Least severity that is logged: `debug`, `info`, `warn` or `error`.
    pub level: logging::Level,
}

/// A configuration with all components typed.
pub struct Typed {
    /// Receivers under `receivers:`.
    pub receivers: Vec<Placed<ReceiverConfig>>,
    /// Processors under `processors:`.
    pub processors: Vec<Placed<ProcessorConfig>>,
    /// Exporters under `exporters:`.
    pub exporters: Vec<Placed<ExporterConfig>>,
    /// Connectors under `connectors:`.
    pub connectors: Vec<Placed<ConnectorConfig>>,
    /// Extensions under `extensions:`.
    pub extensions: Vec<Placed<ExtensionConfig>>,
    /// `spool:`
    pub spool: spool::Config,
    /// `pseudonyms:`
    pub pseudonyms: Pseudonyms,
    /// `limits:`
    pub limits: Limits,
    /// `service.telemetry:`
    pub telemetry: Telemetry,
    /// The rest of the file, with positions.
    pub file: File,
}

/// Validated settings of a whole configuration.
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
    /// Settings of the spool.
    pub spool: spool::Settings,
    /// The spool's keys; empty if they are in a key file.
    pub spool_keys: Vec<spool::SpoolKey>,
    /// The key for pseudonyms; `None` if it is in a key file.
    pub pseudonym_key: Option<Secret>,
    /// Limits of memory and accounts.
    pub limits: Limits,
    /// Level of tollgate's own log.
    pub log_level: logging::Level,
    /// Back ends that get tollgate's own metrics.
    pub own_metrics: Vec<Reading>,
    /// The pipelines, after `forward` has joined them.
    pub pipelines: Vec<Pipeline>,
    /// The admin port's certificates as last read.
    pub admin_files: Kept<server_tls::Made>,
    /// Which settings are placeholders; none in a file without errors.
    pub stands_in: StandsIn,
}

/// Marks settings that are placeholders for invalid ones, so that the rest of a faulty file can still be checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StandsIn {
    /// The spool's settings and keys.
    pub spool: bool,
    /// The spool's keys.
    pub keys: bool,
    /// Settings of components may be incomplete, or whole components may be missing.
    pub components: bool,
}
