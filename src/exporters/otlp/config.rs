//! **What**: the `otlp` exporter (gRPC) as a user writes it. **Not here**: what both exporters share (`remote`).

use std::collections::BTreeMap;

use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ByteSize, FieldProblem, Span};
use crate::exporters::preset::{Asked, Preset};
use crate::exporters::remote::{Common, Compression, Tls, Written};
use crate::pipeline::Trust;
use crate::secret::Secret;

/// Sends OTLP over gRPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `host:port`, or with `https://` or `http://` (plain).
    pub endpoint: Option<String>,
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
            preset: None,
            region: None,
            api_key: None,
            ingestion_key: None,
            dataset: None,
            headers: BTreeMap::new(),
            compression: Compression::default(),
            timeout: Span::seconds(5),
            tls: Tls::default(),
            max_request_size: None,
            trust: Trust::default(),
        }
    }
}

/// The exporter's settings. Valid by construction.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `https://host:port` or `http://host:port`.
    pub endpoint: Uri,
    /// What both exporters share.
    pub common: Common,
    /// What it may be given.
    pub trust: Trust,
}

impl Config {
    /// Checks what was written.
    ///
    /// # Errors
    /// Every problem, with its path inside the component.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let written = Written {
            preset: self.preset,
            asked: Asked {
                region: self.region.as_deref(),
                api_key: self.api_key.as_ref(),
                ingestion_key: self.ingestion_key.as_ref(),
                dataset: self.dataset.as_deref(),
                own_endpoint: self.endpoint.is_some(),
            },
            headers: &self.headers,
            compression: self.compression,
            timeout: self.timeout,
            tls: &self.tls,
            max_request_size: self.max_request_size,
        };
        let common = written.resolve(&mut problems);
        let text = self.endpoint.as_deref().or(common.base.as_deref());
        let endpoint = text.map(|text| address(&common, text));
        match endpoint {
            Some(Ok(endpoint)) if problems.is_empty() => return Ok(Settings { endpoint, common, trust: self.trust }),
            Some(Err(what)) => problems.push(FieldProblem::new("endpoint", what)),
            None if self.preset.is_none() => {
                problems.push(FieldProblem::new("endpoint", "is missing: where to send, `host:port`"));
            }
            Some(Ok(_)) | None => {}
        }
        Err(problems)
    }
}

fn address(common: &Common, text: &str) -> Result<Uri, &'static str> {
    let text = text.strip_prefix("dns:///").unwrap_or(text);
    let uri = common.url(text, false)?;
    if !matches!(uri.path(), "" | "/") {
        return Err("has a path, which gRPC does not: write `host:port`, or use `otlp_http`");
    }
    // With a scheme the port is that of the scheme.
    if uri.port_u16().is_none() && !text.contains("://") {
        return Err("has no port: write `host:port`, such as `collector:4317`");
    }
    Ok(uri)
}
