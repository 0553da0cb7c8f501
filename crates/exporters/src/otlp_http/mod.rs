//! The `otlp_http` exporter: makes one attempt to send one request over HTTP, as protobuf, for back ends and proxies
//! that speak nothing else.
//! It has no queue, retry or metrics of its own, does not follow redirects, and reads at most [`MAX_ANSWER`] bytes of
//! a response. `remote` has the parts shared with `otlp`, `verdict` interprets statuses.

mod config;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;

pub use config::{Config, Settings};

use super::remote::{Deps, Remote};
use super::spec::{BuildError, ExporterSpec, Profile};
use super::verdict::{self, MAX_ANSWER, UNREACHABLE};
use ::config::ComponentId;
use net::Encoding;
use net::client::{self, AnswerError, upload};
use otlp::Signal;
use pipeline::{ExportRequest, Exporter, Outcome, Reason, Trust};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// How long, and up to how many bytes, the body of an error response is read.
const ERROR_READ: (Duration, usize) = (Duration::from_secs(1), 64 * 1024);

/// The `otlp_http` exporter.
pub struct OtlpHttp {
    remote: Remote,
    trust: Trust,
    urls: Vec<(Signal, Uri)>,
}

impl OtlpHttp {
    /// Creates an exporter with component id `id`. Reads TLS files; connects only when there is something to send.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(id: Arc<str>, settings: Settings, deps: Deps) -> Result<Self, BuildError> {
        let destinations: Vec<&Uri> = settings.urls.iter().map(|(_, url)| url).collect();
        let remote = Remote::build(id, settings.common, false, &destinations, deps)?;
        Ok(Self { remote, trust: settings.trust, urls: settings.urls })
    }

    async fn attempt(&self, request: &ExportRequest) -> Outcome {
        let Some((_, url)) = self.urls.iter().find(|(signal, _)| *signal == request.signal) else {
            self.remote.complain(Some(format!("no URL for {}", request.signal.as_str())));
            return Outcome::Retry { after: None, reason: Reason::Denied };
        };
        let encoding = self.remote.encoding();
        let Some(body) = self.remote.compress(encoding, &request.body).await else { return UNREACHABLE };
        let mut sent = Request::new(upload(Bytes::new(), body));
        *sent.method_mut() = Method::POST;
        *sent.uri_mut() = url.clone();
        let headers = sent.headers_mut();
        self.remote.headers(request.signal, &request.account, headers);
        headers.insert(CONTENT_TYPE, PROTOBUF);
        headers.insert(ACCEPT, PROTOBUF);
        if encoding != Encoding::Identity {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.as_str()));
        }
        match self.remote.send(sent).await {
            Ok(response) => self.judge(encoding, response).await,
            Err(error) => {
                self.remote.complain(Some(error.to_string()));
                UNREACHABLE
            }
        }
    }

    async fn judge(&self, used: Encoding, response: Response<Incoming>) -> Outcome {
        let (parts, body) = response.into_parts();
        self.remote.advertised(&parts.headers, "accept-encoding");
        if parts.status == StatusCode::UNSUPPORTED_MEDIA_TYPE && self.remote.step_down(used) {
            return Outcome::Retry { after: Some(Duration::ZERO), reason: Reason::Unavailable };
        }
        let body = if parts.status.is_success() {
            client::read(body, MAX_ANSWER).await
        } else {
            // An error body is read only so that the connection can be reused; the status alone decides the outcome.
            let rest = tokio::time::timeout(ERROR_READ.0, client::read(body, ERROR_READ.1)).await;
            rest.unwrap_or(Err(AnswerError::Cut))
        };
        let body = body.as_ref().map(|(bytes, _)| &bytes[..]).map_err(|error| *error);
        let protobuf = parts.headers.get(CONTENT_TYPE).is_none_or(|value| value.as_bytes().ends_with(b"protobuf"));
        let outcome = verdict::http(parts.status, &parts.headers, body, protobuf, self.remote.deps.clock.now());
        let denied = matches!(outcome, Outcome::Retry { reason: Reason::Denied, .. });
        let page = if parts.status.is_success() && denied { " with a web page" } else { "" };
        let status = format!("HTTP {}{page}", parts.status.as_u16());
        self.remote.report(&outcome, status);
        outcome
    }
}

impl ExporterSpec for Settings {
    fn profile(&self) -> Profile<'_> {
        let urls: Vec<_> = self.urls.iter().map(|(_, url)| url).collect();
        Profile::remote(self.trust, &self.common, &urls, true)
    }

    fn takes(&self, signal: Signal) -> bool {
        self.urls.iter().any(|(known, _)| *known == signal)
    }

    fn build(&self, id: &ComponentId, deps: Deps) -> Result<Arc<dyn Exporter>, BuildError> {
        Ok(Arc::new(OtlpHttp::build(id.to_string().into(), self.clone(), deps)?))
    }
}

impl Exporter for OtlpHttp {
    fn id(&self) -> &Arc<str> {
        &self.remote.id
    }

    fn trust(&self) -> Trust {
        self.trust
    }

    fn max_request_bytes(&self) -> usize {
        self.remote.common.max_request_bytes
    }

    fn send<'a>(&'a self, request: &'a ExportRequest) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let sent = self.remote.totals(request).await;
            let outcome = match sent.on_the_wire(request) {
                Ok(request) => self.remote.timed(self.attempt(request)).await,
                Err(outcome) => outcome,
            };
            sent.end(outcome)
        })
    }
}

#[cfg(test)]
mod tests;
