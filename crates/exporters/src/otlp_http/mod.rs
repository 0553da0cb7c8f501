//! The `otlp_http` exporter: makes one attempt to send one request over HTTP, as protobuf, for back ends and proxies
//! that don't speak gRPC. It has no queue and no retry of its own, does not follow redirects, and reads at most
//! [`MAX_RESPONSE_BYTES`] bytes of a response. `remote` has the parts shared with `otlp`, `outcome` interprets
//! statuses.

mod config;

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode, Version, response};
use hyper::body::Incoming;

pub use config::{Config, HttpProtocol, OtlpHttpSettings};

use super::outcome::{self, MAX_RESPONSE_BYTES};
use super::remedies::http_remedy;
use super::remote::{OtlpProtocol, RemoteExporter};
use net::ContentEncoding;
use net::client::{self, ResponseReadError};
use pipeline::{AttemptFailure, Outcome, Reason};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// How long, and up to how many bytes, the body of an error response is read.
const ERROR_BODY_LIMITS: (Duration, usize) = (Duration::from_secs(1), 64 * 1024);

impl OtlpProtocol for HttpProtocol {
    const VERSION: Version = Version::HTTP_11;
    const ENCODING_HEADERS: [&'static str; 2] = ["content-encoding", "accept-encoding"];

    fn frame(_: ContentEncoding, _: usize) -> Option<Bytes> {
        Some(Bytes::new())
    }

    fn add_headers(_: Duration, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, PROTOBUF);
        headers.insert(ACCEPT, PROTOBUF);
    }

    async fn evaluate_response(
        remote: &RemoteExporter,
        encoding: ContentEncoding,
        head: response::Parts,
        body: Incoming,
    ) -> Outcome {
        if head.status == StatusCode::UNSUPPORTED_MEDIA_TYPE && remote.fall_back_encoding(encoding) {
            return Outcome::Retry { after: Some(Duration::ZERO), reason: Reason::Unavailable };
        }
        let body = if head.status.is_success() {
            client::read_response(body, MAX_RESPONSE_BYTES).await
        } else {
            // An error body is read only so that the connection can be reused: status and headers decide the outcome.
            let (max_time, max_bytes) = ERROR_BODY_LIMITS;
            let read = tokio::time::timeout(max_time, client::read_response(body, max_bytes)).await;
            read.unwrap_or(Err(ResponseReadError::Truncated))
        };
        let body = body.as_ref().map(|(bytes, _)| &bytes[..]).map_err(|error| *error);
        let is_protobuf = head.headers.get(CONTENT_TYPE).is_none_or(|value| value.as_bytes().ends_with(b"protobuf"));
        let outcome =
            outcome::http_outcome(head.status, &head.headers, body, is_protobuf, remote.deps.services.clock.now());
        let is_denied = matches!(outcome, Outcome::Retry { reason: Reason::Denied, .. });
        let web_page = if head.status.is_success() && is_denied { " with a web page" } else { "" };
        let reason = format!("HTTP {}{web_page}", head.status.as_u16());
        remote.log_outcome(&outcome, AttemptFailure { reason, remedy: http_remedy(head.status) });
        outcome
    }
}

#[cfg(test)]
mod tests;
