//! The `otlp_http` exporter's own keys. The keys shared with `otlp` are in `stanza`.

use std::marker::PhantomData;

use http::Uri;

use crate::remote::OtlpSettings;
use crate::stanza::{RemoteSettings, remote_config, with_path};
use config::FieldProblem;
use otlp::Signal;

remote_config! {
    /// Sends OTLP over HTTP, encoded as protobuf.
    timeout = 30;
    /// Base URL; tollgate appends `/v1/traces`, `/v1/metrics` and `/v1/logs`.
    endpoint;
    /// Complete URL for traces; overrides `endpoint`.
    traces_endpoint;
    /// Complete URL for metrics; overrides `endpoint`.
    metrics_endpoint;
    /// Complete URL for logs; overrides `endpoint`.
    logs_endpoint;
}

/// OTLP over HTTP, as protobuf.
#[derive(Clone, Copy, Debug)]
pub struct HttpProtocol;

pub type OtlpHttpSettings = OtlpSettings<HttpProtocol>;

impl Config {
    /// Validates the stanza.
    ///
    /// # Errors
    /// Every problem, with its path inside the component.
    pub fn settings(&self) -> Result<OtlpHttpSettings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let signal_urls = [&self.traces_endpoint, &self.metrics_endpoint, &self.logs_endpoint];
        let mut common = self.written().resolve(&mut problems);
        let base = self.endpoint.as_deref().or(common.preset_url.as_deref());
        let base = base.and_then(|text| read_url(&common, "endpoint", text, &mut problems));
        if base.as_ref().is_some_and(|base| base.query().is_some()) {
            let what = "must not have a query: set `traces_endpoint`, `metrics_endpoint` and `logs_endpoint` instead";
            problems.push(FieldProblem::new("endpoint", what));
        }
        if let Some(base) = &base {
            common.note_plain_text(self.trust, "endpoint", base);
        }
        let mut urls = Vec::new();
        for (signal, signal_url) in Signal::ALL.into_iter().zip(signal_urls) {
            let key = format!("{}_endpoint", signal.as_str());
            let url = match signal_url {
                Some(text) => {
                    let url = read_url(&common, &key, text, &mut problems);
                    url.inspect(|url| common.note_plain_text(self.trust, &key, url))
                }
                None => base.as_ref().and_then(|base| with_path(base, &format!("/v1/{}", signal.as_str()))),
            };
            urls.extend(url.map(|url| (signal, url)));
        }
        if urls.is_empty() && problems.is_empty() {
            problems.push(FieldProblem::new("endpoint", "is missing: set the URL to send to, or a `preset`"));
        }
        let settings = OtlpHttpSettings { urls, common, trust: self.trust, protocol: PhantomData };
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }
}

fn read_url(common: &RemoteSettings, key: &str, text: &str, problems: &mut Vec<FieldProblem>) -> Option<Uri> {
    common.parse_url(text, true).map_err(|what| problems.push(FieldProblem::new(key, what))).ok()
}
