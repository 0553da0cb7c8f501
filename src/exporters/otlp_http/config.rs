//! **What**: the `otlp_http` exporter as a user writes it. **Not here**: what both exporters share (`remote`).

use std::collections::BTreeMap;

use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ByteSize, FieldProblem, Span};
use crate::exporters::preset::{Asked, Preset};
use crate::exporters::remote::{Common, Compression, Tls, Written, with_path};
use crate::otlp::Signal;
use crate::pipeline::Trust;
use crate::secret::Secret;

/// Sends OTLP over HTTP, as protobuf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Base URL; `/v1/traces`, `/v1/metrics` and `/v1/logs` are put after it.
    pub endpoint: Option<String>,
    /// URL of traces, whole.
    pub traces_endpoint: Option<String>,
    /// URL of metrics, whole.
    pub metrics_endpoint: Option<String>,
    /// URL of logs, whole.
    pub logs_endpoint: Option<String>,
    /// A back end known by name.
    pub preset: Option<Preset>,
    /// Region of the preset.
    pub region: Option<String>,
    /// API key of the preset `honeycomb`.
    pub api_key: Option<Secret>,
    /// Ingestion key of the preset `signoz`.
    pub ingestion_key: Option<Secret>,
    /// Dataset of the preset `honeycomb`: for Classic keys, and for logs without a service name.
    pub dataset: Option<String>,
    /// Headers of every request.
    pub headers: BTreeMap<String, Secret>,
    /// Compression of requests.
    pub compression: Compression,
    /// From sending to the whole answer.
    pub timeout: Span,
    /// TLS of the connection.
    pub tls: Tls,
    /// Largest request before compression; larger batches are split. 4 MiB, or the preset's, without this key.
    pub max_request_size: Option<ByteSize>,
    /// `third_party` gets only what is stripped and redacted; `internal` gets everything.
    pub trust: Trust,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: None,
            traces_endpoint: None,
            metrics_endpoint: None,
            logs_endpoint: None,
            preset: None,
            region: None,
            api_key: None,
            ingestion_key: None,
            dataset: None,
            headers: BTreeMap::new(),
            compression: Compression::default(),
            timeout: Span::seconds(30),
            tls: Tls::default(),
            max_request_size: None,
            trust: Trust::default(),
        }
    }
}

/// The exporter's settings. Valid by construction.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where each signal goes; a signal without a URL is not taken.
    pub urls: Vec<(Signal, Uri)>,
    /// What both exporters share.
    pub common: Common,
    /// What it may be given.
    pub trust: Trust,
}

impl Settings {
    /// Whether there is a URL for `signal`.
    pub fn takes(&self, signal: Signal) -> bool {
        self.urls.iter().any(|(known, _)| *known == signal)
    }
}

impl Config {
    /// Checks what was written.
    ///
    /// # Errors
    /// Every problem, with its path inside the component.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let own = [&self.traces_endpoint, &self.metrics_endpoint, &self.logs_endpoint];
        let written = Written {
            preset: self.preset,
            asked: Asked {
                region: self.region.as_deref(),
                api_key: self.api_key.as_ref(),
                ingestion_key: self.ingestion_key.as_ref(),
                dataset: self.dataset.as_deref(),
                own_endpoint: self.endpoint.is_some() || own.iter().any(|own| own.is_some()),
            },
            headers: &self.headers,
            compression: self.compression,
            timeout: self.timeout,
            tls: &self.tls,
            max_request_size: self.max_request_size,
        };
        let common = written.resolve(&mut problems);
        let base = self.endpoint.as_deref().or(common.base.as_deref());
        let base = base.and_then(|text| read(&common, "endpoint", text, &mut problems));
        let mut urls = Vec::new();
        for (signal, own) in Signal::ALL.into_iter().zip(own) {
            let key = format!("{}_endpoint", signal.as_str());
            let url = match own {
                Some(text) => read(&common, &key, text, &mut problems),
                None => base.as_ref().and_then(|base| with_path(base, &format!("/v1/{}", signal.as_str()))),
            };
            urls.extend(url.map(|url| (signal, url)));
        }
        if urls.is_empty() && problems.is_empty() {
            problems.push(FieldProblem::new("endpoint", "is missing: the URL to send to, or a `preset`"));
        }
        if problems.is_empty() { Ok(Settings { urls, common, trust: self.trust }) } else { Err(problems) }
    }
}

fn read(common: &Common, key: &str, text: &str, problems: &mut Vec<FieldProblem>) -> Option<Uri> {
    common.url(text, true).map_err(|what| problems.push(FieldProblem::new(key, what))).ok()
}
