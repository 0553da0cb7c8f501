//! The `otlp_http` exporter: makes one attempt to send one request over HTTP, as protobuf, for back ends and proxies
//! that don't speak gRPC. It has no queue and no retry of its own, does not follow redirects, and reads at most
//! [`MAX_RESPONSE_BYTES`] bytes of a response. `remote` has the parts shared with `otlp`, `outcome` interprets
//! statuses.

mod config;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;

pub use config::{Config, OtlpHttpSettings};

use super::outcome::{self, MAX_RESPONSE_BYTES, UNAVAILABLE};
use super::remedies::http_remedy;
use super::remote::{ExporterDeps, OtlpExporter, OtlpProtocol, RemoteExporter};
use super::spec::{BuildError, ExporterProfile, ExporterSpec};
use ::config::ComponentId;
use net::ContentEncoding;
use net::client::{self, ResponseReadError, upload_body};
use otlp::Signal;
use pipeline::{AttemptFailure, ExportRequest, Exporter, Outcome, Reason};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// How long, and up to how many bytes, the body of an error response is read.
const ERROR_BODY_LIMITS: (Duration, usize) = (Duration::from_secs(1), 64 * 1024);

pub type OtlpHttpExporter = OtlpExporter<HttpAddresses>;

pub struct HttpAddresses(Vec<(Signal, Uri)>);

impl OtlpExporter<HttpAddresses> {
    /// Creates an exporter with component id `id`. Reads TLS files; connects only when there is something to send.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(id: Arc<str>, settings: OtlpHttpSettings, deps: ExporterDeps) -> Result<Self, BuildError> {
        let destinations: Vec<&Uri> = settings.urls.iter().map(|(_, url)| url).collect();
        let remote = RemoteExporter::build(id, settings.common, false, &destinations, deps)?;
        Ok(Self { remote, trust: settings.trust, protocol: HttpAddresses(settings.urls) })
    }

    async fn evaluate_response(&self, encoding: ContentEncoding, response: Response<Incoming>) -> Outcome {
        let (parts, body) = response.into_parts();
        self.remote.note_advertised_encodings(&parts.headers, "accept-encoding");
        if parts.status == StatusCode::UNSUPPORTED_MEDIA_TYPE && self.remote.fall_back_encoding(encoding) {
            return Outcome::Retry { after: Some(Duration::ZERO), reason: Reason::Unavailable };
        }
        let body = if parts.status.is_success() {
            client::read_response(body, MAX_RESPONSE_BYTES).await
        } else {
            // An error body is read only so that the connection can be reused: status and headers decide the outcome.
            let (max_time, max_bytes) = ERROR_BODY_LIMITS;
            let read = tokio::time::timeout(max_time, client::read_response(body, max_bytes)).await;
            read.unwrap_or(Err(ResponseReadError::Truncated))
        };
        let body = body.as_ref().map(|(bytes, _)| &bytes[..]).map_err(|error| *error);
        let is_protobuf = parts.headers.get(CONTENT_TYPE).is_none_or(|value| value.as_bytes().ends_with(b"protobuf"));
        let outcome =
            outcome::http_outcome(parts.status, &parts.headers, body, is_protobuf, self.remote.deps.clock.now());
        let is_denied = matches!(outcome, Outcome::Retry { reason: Reason::Denied, .. });
        let web_page = if parts.status.is_success() && is_denied { " with a web page" } else { "" };
        let reason = format!("HTTP {}{web_page}", parts.status.as_u16());
        self.remote.log_outcome(&outcome, AttemptFailure { reason, remedy: http_remedy(parts.status) });
        outcome
    }
}

impl OtlpProtocol for HttpAddresses {
    async fn send_once(exporter: &OtlpExporter<Self>, request: &ExportRequest) -> Outcome {
        let Some((_, url)) = exporter.protocol.0.iter().find(|(signal, _)| *signal == request.signal) else {
            let reason = format!("no URL is configured for {}", request.signal.as_str());
            let remedy = "set `endpoint`, or the signal's own URL";
            exporter.remote.log_failure(Some(AttemptFailure { reason, remedy }));
            return Outcome::Retry { after: None, reason: Reason::Denied };
        };
        let encoding = exporter.remote.encoding();
        let Some(body) = exporter.remote.compress(encoding, &request.body).await else { return UNAVAILABLE };
        let mut http_request = Request::new(upload_body(Bytes::new(), body));
        *http_request.method_mut() = Method::POST;
        *http_request.uri_mut() = url.clone();
        let headers = http_request.headers_mut();
        exporter.remote.add_headers(request.signal, &request.account, headers);
        headers.insert(CONTENT_TYPE, PROTOBUF);
        headers.insert(ACCEPT, PROTOBUF);
        if encoding != ContentEncoding::Identity {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.as_str()));
        }
        match exporter.remote.send(http_request).await {
            Ok(response) => exporter.evaluate_response(encoding, response).await,
            Err(error) => exporter.remote.log_connection_error(&error),
        }
    }
}

impl ExporterSpec for OtlpHttpSettings {
    fn profile(&self) -> ExporterProfile<'_> {
        let urls: Vec<_> = self.urls.iter().map(|(_, url)| url).collect();
        ExporterProfile::remote(self.trust, &self.common, &urls, true)
    }

    fn accepts_signal(&self, signal: Signal) -> bool {
        self.urls.iter().any(|(with_url, _)| *with_url == signal)
    }

    fn build(&self, id: &ComponentId, deps: ExporterDeps) -> Result<Arc<dyn Exporter>, BuildError> {
        Ok(Arc::new(OtlpHttpExporter::build(id.to_string().into(), self.clone(), deps)?))
    }
}

#[cfg(test)]
mod tests;
