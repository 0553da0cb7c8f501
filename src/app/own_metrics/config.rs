//! `service.telemetry.metrics` as a user writes it, in the Collector's spelling. `collector_metrics` handles what a
//! Collector's file may contain besides.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::components::ExporterSettings;
use config::{FieldProblem, Millis, TimeSpan};
use exporters::stanza::{ClientTlsConfig, Compression};
use exporters::{otlp, otlp_http};
use kernel::secret::Secret;
use pipeline::Trust;

/// `service.telemetry.metrics:`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OwnMetricsConfig {
    /// Back ends that get tollgate's own metrics, each as `- periodic: { interval: 60s, exporter: { otlp: { protocol:
    /// http/protobuf, endpoint: … } } }`. `/metrics` of the extension `admin` serves them in any case.
    pub readers: Vec<MetricsReaderConfig>,
}

/// One back end for own metrics.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsReaderConfig {
    /// Sends at intervals.
    pub periodic: PeriodicReaderConfig,
}

kernel::with_defaults! {
    /// `periodic:`
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct PeriodicReaderConfig {
        /// Time between two exports: `60s`, or milliseconds.
        pub interval: Millis = Millis(Duration::from_secs(60)),
        /// Time limit from sending to the complete answer: `30s`, or milliseconds.
        pub timeout: Millis = Millis(Duration::from_secs(30)),
        /// The back end.
        pub exporter: ReaderExporterConfig,
    }
}

/// `exporter:`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReaderExporterConfig {
    /// An OTLP back end.
    pub otlp: ReaderOtlpConfig,
}

/// The transport of OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OtlpProtocol {
    /// Protobuf over HTTP.
    #[default]
    #[serde(rename = "http/protobuf")]
    Http,
    /// gRPC.
    #[serde(rename = "grpc")]
    Grpc,
}

/// `otlp:`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReaderOtlpConfig {
    /// `http/protobuf` or `grpc`.
    pub protocol: OtlpProtocol,
    /// URL (without a path: `/v1/metrics` is appended), or `host:port` for gRPC.
    pub endpoint: Option<String>,
    /// Headers sent with every request.
    pub headers: BTreeMap<String, Secret>,
    /// Compression of requests.
    pub compression: Compression,
    /// Uses plain text instead of TLS, for an endpoint without a scheme.
    pub insecure: bool,
    /// PEM file of the certificates to trust instead of the system's.
    pub certificate: Option<PathBuf>,
    /// PEM file of the client's certificate chain.
    pub client_certificate: Option<PathBuf>,
    /// PEM file of the client's private key.
    pub client_key: Option<PathBuf>,
}

#[derive(Clone)]
pub struct MetricsReaderSettings {
    /// Time between two exports.
    pub interval: Duration,
    pub exporter: ExporterSettings,
}

impl OwnMetricsConfig {
    /// Validates the configuration.
    ///
    /// # Errors
    /// Every problem, with its path below `service.telemetry`.
    pub fn settings(&self) -> Result<Vec<MetricsReaderSettings>, Vec<FieldProblem>> {
        let (mut readers, mut problems) = (Vec::new(), Vec::new());
        for (index, MetricsReaderConfig { periodic }) in self.readers.iter().enumerate() {
            let path = format!("metrics.readers[{index}].periodic");
            if periodic.interval.0 < Duration::from_millis(100) {
                problems.push(FieldProblem::new(format!("{path}.interval"), "must be at least 100 ms"));
            }
            if periodic.timeout.0.is_zero() {
                problems.push(FieldProblem::new(format!("{path}.timeout"), "must be more than zero"));
            }
            match periodic.exporter.otlp.exporter_settings(TimeSpan(periodic.timeout.0)) {
                Ok(exporter) => readers.push(MetricsReaderSettings { interval: periodic.interval.0, exporter }),
                Err(errors) => problems.extend(errors.into_iter().map(|problem| {
                    let field = match problem.path.as_str() {
                        "metrics_endpoint" => "endpoint",
                        "tls.ca_file" => "certificate",
                        "tls.cert_file" => "client_certificate",
                        "tls.key_file" => "client_key",
                        "tls.insecure" => "insecure",
                        other => other,
                    };
                    FieldProblem::new(format!("{path}.exporter.otlp.{field}"), problem.message)
                })),
            }
        }
        if problems.is_empty() { Ok(readers) } else { Err(problems) }
    }
}

impl ReaderOtlpConfig {
    fn exporter_settings(&self, timeout: TimeSpan) -> Result<ExporterSettings, Vec<FieldProblem>> {
        let tls = ClientTlsConfig {
            insecure: self.insecure,
            ca_file: self.certificate.clone(),
            cert_file: self.client_certificate.clone(),
            key_file: self.client_key.clone(),
            ..ClientTlsConfig::default()
        };
        let (headers, compression, trust) = (self.headers.clone(), self.compression, Trust::Internal);
        if self.protocol == OtlpProtocol::Grpc {
            let endpoint = self.endpoint.clone();
            let config =
                otlp::Config { endpoint, headers, compression, timeout, tls, trust, ..otlp::Config::default() };
            return config.settings().map(ExporterSettings::Otlp);
        }
        let without_scheme = self
            .endpoint
            .as_deref()
            .map(|text| text.split_once("://").map_or(text, |(_, without_scheme)| without_scheme));
        let has_path = without_scheme
            .and_then(|without_scheme| without_scheme.split_once('/'))
            .is_some_and(|(_, path)| !path.is_empty());
        let (metrics_endpoint, endpoint) =
            if has_path { (self.endpoint.clone(), None) } else { (None, self.endpoint.clone()) };
        let config = otlp_http::Config {
            endpoint,
            metrics_endpoint,
            headers,
            compression,
            timeout,
            tls,
            trust,
            ..otlp_http::Config::default()
        };
        config.settings().map(ExporterSettings::OtlpHttp)
    }
}
