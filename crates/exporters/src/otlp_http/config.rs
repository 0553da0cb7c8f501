//! The `otlp_http` exporter's own keys. The keys shared with `otlp` are in `stanza`.

use http::Uri;

use crate::stanza::{Common, remote_config, with_path};
use config::FieldProblem;
use otlp::Signal;
use pipeline::Trust;

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

/// The exporter's checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The URL for each signal; the exporter does not take a signal without a URL.
    pub urls: Vec<(Signal, Uri)>,
    /// Settings shared with `otlp`.
    pub common: Common,
    /// Which telemetry the exporter may receive.
    pub trust: Trust,
}

impl Config {
    /// Validates the stanza.
    ///
    /// # Errors
    /// Every problem, with its path inside the component.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let own = [&self.traces_endpoint, &self.metrics_endpoint, &self.logs_endpoint];
        let common = self.written().resolve(&mut problems);
        let base = self.endpoint.as_deref().or(common.base.as_deref());
        let base = base.and_then(|text| read(&common, "endpoint", text, &mut problems));
        if base.as_ref().is_some_and(|base| base.query().is_some()) {
            let what = "has a query, which would be lost: give `traces_endpoint`, `metrics_endpoint`, `logs_endpoint`";
            problems.push(FieldProblem::new("endpoint", what));
        }
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
