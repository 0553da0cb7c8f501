//! The `otlp` (gRPC) exporter's own keys. The keys shared with `otlp_http` are in `stanza`.

use std::marker::PhantomData;

use http::Uri;

use crate::remote::OtlpSettings;
use crate::stanza::{RemoteSettings, remote_config, with_path};
use config::FieldProblem;
use otlp::Signal;

remote_config! {
    /// Sends OTLP over gRPC.
    timeout = 5;
    /// `host:port`, or a URL with `https://`, or `http://` for plain text.
    endpoint;
}

/// OTLP over gRPC.
#[derive(Clone, Copy, Debug)]
pub struct GrpcProtocol;

pub type OtlpGrpcSettings = OtlpSettings<GrpcProtocol>;

impl Config {
    /// Validates the stanza.
    ///
    /// # Errors
    /// Every problem, with its path inside the component.
    pub fn settings(&self) -> Result<OtlpGrpcSettings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let mut common = self.written().resolve(&mut problems);
        let text = self.endpoint.as_deref().or(common.preset_url.as_deref());
        let endpoint = text.map(|text| parse_endpoint(&common, text));
        match endpoint {
            Some(Ok(endpoint)) if problems.is_empty() => {
                common.note_plain_text(self.trust, "endpoint", &endpoint);
                let url = |signal| Some((signal, with_path(&endpoint, grpc_path(signal))?));
                let Some(urls) = Signal::ALL.into_iter().map(url).collect() else {
                    return Err(vec![FieldProblem::new("endpoint", "the signal's path can't be appended to it")]);
                };
                return Ok(OtlpGrpcSettings { urls, common, trust: self.trust, protocol: PhantomData });
            }
            Some(Err(what)) => problems.push(FieldProblem::new("endpoint", what)),
            None if self.preset.is_none() => {
                problems.push(FieldProblem::new("endpoint", "is missing: set the back end's `host:port`"));
            }
            Some(Ok(_)) | None => {}
        }
        Err(problems)
    }
}

fn parse_endpoint(common: &RemoteSettings, text: &str) -> Result<Uri, String> {
    let text = text.strip_prefix("dns:///").unwrap_or(text);
    let uri = common.parse_url(text, false)?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err("must not have a path or query with gRPC: write `host:port`, or use `otlp_http`".to_owned());
    }
    // With a scheme, a missing port means the scheme's default port.
    if uri.port_u16().is_none() && !text.contains("://") {
        return Err("must have a port: write `host:port`, such as `collector:4317`".to_owned());
    }
    Ok(uri)
}

fn grpc_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
}
