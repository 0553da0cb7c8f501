//! A configuration as types: as written ([`TypedConfig`]), and as validated settings ([`ValidSettings`]). `resolve`
//! turns one into the other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::configured_component::{ConfiguredComponent, kafka_receivers};
use super::limits::LimitsConfig;
use super::own_metrics::config::{MetricsReaderSettings, OwnMetricsConfig};
use crate::components::{
    ConnectorConfig, ConnectorSettings, ExporterConfig, ExporterSettings, ExtensionConfig, ExtensionSettings,
    ProcessorConfig, ProcessorSettings, ReceiverConfig, ReceiverSettings,
};
use ::vault::chain::digest::GatewayIdentity;
use config::file::{ConfigFile, PipelineConfig};
use kernel::key_source::{KeySource, LazyKey};
use kernel::pseudonym::FIRST_EPOCH;
use kernel::secret::Secret;
use net::{LastGoodValue, server_tls};
use pipeline::spool;
use telemetry::logging;

kernel::with_defaults! {
    /// `pseudonyms:`
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct PseudonymsConfig {
        /// Key of the keyed pseudonyms `h-…`, at least 16 bytes (`openssl rand -base64 32`): a text, `{ kms: … }` or
        /// `{ command: […] }`. Use the same on all replicas. Default: generated beside the spool.
        pub key: Option<KeySource>,
        /// Which key this is: 1 for the first, 2 after the first rotation. Pseudonyms name a later epoch than the
        /// first: `h-02…`. Use the same on all replicas.
        pub epoch: u8 = FIRST_EPOCH,
    }
}

/// `service.telemetry:`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// tollgate's own log.
    pub logs: LogsConfig,
    /// tollgate's own metrics.
    pub metrics: OwnMetricsConfig,
}

/// `service.telemetry.logs:`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogsConfig {
    /// Least severity that is logged: `debug`, `info`, `warn` or `error`.
    pub level: logging::LogLevel,
}

/// A configuration as written, with all components typed.
pub struct TypedConfig {
    pub receivers: Vec<ConfiguredComponent<ReceiverConfig>>,
    pub processors: Vec<ConfiguredComponent<ProcessorConfig>>,
    pub exporters: Vec<ConfiguredComponent<ExporterConfig>>,
    pub connectors: Vec<ConfiguredComponent<ConnectorConfig>>,
    pub extensions: Vec<ConfiguredComponent<ExtensionConfig>>,
    pub spool: spool::SpoolConfig,
    pub pseudonyms: PseudonymsConfig,
    pub limits: LimitsConfig,
    pub telemetry: TelemetryConfig,
    /// The rest of the file, with positions.
    pub file: ConfigFile,
}

/// Validated settings of a whole configuration, with the components that are used.
#[derive(Clone)]
pub struct ValidSettings {
    pub receivers: Vec<ConfiguredComponent<ReceiverSettings>>,
    pub processors: Vec<ConfiguredComponent<ProcessorSettings>>,
    pub exporters: Vec<ConfiguredComponent<ExporterSettings>>,
    pub connectors: Vec<ConfiguredComponent<ConnectorSettings>>,
    pub extensions: Vec<ConfiguredComponent<ExtensionSettings>>,
    pub spool: spool::SpoolSettings,
    /// The spool's keys; empty if they are in a key file.
    pub spool_keys: Vec<LazyKey<spool::SpoolKey>>,
    /// The key for pseudonyms; `None` if it is in a key file.
    pub pseudonym_key: Option<LazyKey<Secret>>,
    pub pseudonym_epoch: u8,
    /// Limits of memory and accounts.
    pub limits: LimitsConfig,
    /// Level of tollgate's own log.
    pub log_level: logging::LogLevel,
    /// Back ends that get tollgate's own metrics.
    pub own_metrics: Vec<MetricsReaderSettings>,
    /// The pipelines, after `forward` has joined them.
    pub pipelines: Vec<PipelineConfig>,
    /// The admin port's certificates as last read.
    pub admin_certificates: LastGoodValue<server_tls::BuiltServerConfig>,
    /// This program with this configuration, for digests.
    pub identity: GatewayIdentity,
    /// Which settings are placeholders; none in a file without errors.
    pub placeholders: PlaceholderSettings,
}

impl ValidSettings {
    /// The part in a fleet: an edge writes to Kafka, a worker reads from it; `gateway` without Kafka.
    pub fn fleet_role(&self) -> &'static str {
        let is_edge = self.exporters.iter().any(|exporter| matches!(exporter.value, ExporterSettings::Kafka(_)));
        match kafka_receivers(&self.receivers).next() {
            Some(_) => "worker",
            None if is_edge => "edge",
            None => "gateway",
        }
    }
}

/// Marks settings that are placeholders for invalid ones, so that the rest of a faulty file can still be checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaceholderSettings {
    pub spool: bool,
    pub keys: bool,
    /// Settings of components may be incomplete, or whole components may be missing.
    pub components: bool,
}
