//! The `otlp` exporter: makes one attempt to send one request over gRPC.
//! gRPC framing is written by hand over the pooled HTTP client: tonic's channel compresses with gzip level 6 (measured
//! at a multiple of level 1's time) and spawns when it is built.
//! The exporter has no queue and no retry of its own and reads at most [`MAX_RESPONSE_BYTES`] bytes of a response.
//! `remote` has the parts shared with `otlp_http`, `outcome` interprets statuses.

mod config;

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use hyper::body::Incoming;

pub use config::{Config, OtlpGrpcSettings};

use super::outcome::{self, MAX_RESPONSE_BYTES, UNAVAILABLE};
use super::remedies::grpc_remedy;
use super::remote::{ExporterDeps, OtlpExporter, OtlpProtocol, RemoteExporter};
use super::spec::{BuildError, ExporterProfile, ExporterSpec};
use super::stanza::with_path;
use ::config::ComponentId;
use net::ContentEncoding;
use net::client::{self, ResponseReadError, upload_body};
use net::encoding::{InflateStep, Inflater};
use net::rope::Rope;
use otlp::Signal;
use pipeline::{AttemptFailure, ExportRequest, Exporter, Outcome, Reason};

pub type OtlpGrpcExporter = OtlpExporter<GrpcAddresses>;

/// Export addresses, in the order of [`Signal::ALL`].
pub struct GrpcAddresses([Uri; 3]);

impl OtlpExporter<GrpcAddresses> {
    /// Creates an exporter with component id `id`. Reads TLS files; connects only when there is something to send.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(id: Arc<str>, settings: OtlpGrpcSettings, deps: ExporterDeps) -> Result<Self, BuildError> {
        let [traces, metrics, logs] = Signal::ALL.map(|signal| with_path(&settings.endpoint, grpc_path(signal)));
        let (Some(traces), Some(metrics), Some(logs)) = (traces, metrics, logs) else {
            return Err(BuildError::Endpoint);
        };
        let remote = RemoteExporter::build(id, settings.common, true, &[&settings.endpoint], deps)?;
        Ok(Self { remote, trust: settings.trust, protocol: GrpcAddresses([traces, metrics, logs]) })
    }

    fn uri(&self, signal: Signal) -> &Uri {
        let GrpcAddresses([traces, metrics, logs]) = &self.protocol;
        match signal {
            Signal::Traces => traces,
            Signal::Metrics => metrics,
            Signal::Logs => logs,
        }
    }

    async fn evaluate_response(&self, encoding: ContentEncoding, response: Response<Incoming>) -> Outcome {
        let (parts, body) = response.into_parts();
        self.remote.note_advertised_encodings(&parts.headers, "grpc-accept-encoding");
        let (message, trailers) = match client::read_response(body, MAX_RESPONSE_BYTES + 5).await {
            Ok((bytes, trailers)) => (Ok(bytes), trailers),
            Err(error) => (Err(error), HeaderMap::new()),
        };
        let status =
            tonic::Status::from_header_map(&trailers).or_else(|| tonic::Status::from_header_map(&parts.headers));
        let is_encoding_refused = status.as_ref().is_some_and(|status| status.code() == tonic::Code::Unimplemented);
        if is_encoding_refused && self.remote.fall_back_encoding(encoding) {
            return Outcome::Retry { after: Some(std::time::Duration::ZERO), reason: Reason::Unavailable };
        }
        let message = message.and_then(|message| unframe_message(message, &parts.headers));
        let outcome = outcome::grpc_outcome(parts.status, status.as_ref(), message.as_deref().map_err(|error| *error));
        let failure = match status {
            None => AttemptFailure {
                reason: format!("HTTP {} without a gRPC status", parts.status.as_u16()),
                remedy: "the server does not answer like a gRPC server: check the port, or use `otlp_http`",
            },
            Some(status) => AttemptFailure {
                reason: format!("gRPC status {:?}", status.code()),
                remedy: grpc_remedy(status.code()),
            },
        };
        self.remote.log_outcome(&outcome, failure);
        outcome
    }
}

fn grpc_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
}

/// The `grpc-timeout` value: milliseconds, or seconds if eight digits can't hold the milliseconds.
fn grpc_timeout(timeout: std::time::Duration) -> String {
    match timeout.as_millis() {
        millis @ 0..=99_999_999 => format!("{millis}m"),
        _ => format!("{}S", timeout.as_secs().min(99_999_999)),
    }
}

/// The message of a unary response; empty if there is none.
fn unframe_message(mut framed: Bytes, headers: &HeaderMap) -> Result<Bytes, ResponseReadError> {
    let Some((prefix, _)) = framed.split_first_chunk::<5>() else { return Ok(Bytes::new()) };
    let is_compressed = prefix.first() == Some(&1);
    let message = framed.split_off(5);
    let encoding = headers.get("grpc-encoding").and_then(|value| value.to_str().ok()).and_then(ContentEncoding::parse);
    match (is_compressed, encoding) {
        (false, _) => Ok(message),
        (true, None) => Err(ResponseReadError::TooLarge),
        (true, Some(encoding)) => inflate_message(encoding, message),
    }
}

/// A message that can't be inflated within the limit counts as too large: the data was accepted all the same.
fn inflate_message(encoding: ContentEncoding, message: Bytes) -> Result<Bytes, ResponseReadError> {
    let mut rope = Rope::default();
    rope.push(message);
    let mut inflater = Inflater::new(encoding, rope, MAX_RESPONSE_BYTES).map_err(|_| ResponseReadError::TooLarge)?;
    while inflater.step(64 * 1024).map_err(|_| ResponseReadError::TooLarge)? == InflateStep::More {}
    Ok(inflater.into_bytes())
}

impl OtlpProtocol for GrpcAddresses {
    async fn send_once(exporter: &OtlpExporter<Self>, request: &ExportRequest) -> Outcome {
        let encoding = exporter.remote.encoding();
        let Some(body) = exporter.remote.compress(encoding, &request.body).await else { return UNAVAILABLE };
        let Ok(length) = u32::try_from(body.len()) else { return Outcome::Refused { reason: Reason::TooLarge } };
        let mut prefix = BytesMut::with_capacity(5);
        prefix.put_u8(u8::from(encoding != ContentEncoding::Identity));
        prefix.put_u32(length);
        let mut http_request = Request::new(upload_body(prefix.freeze(), body));
        *http_request.method_mut() = Method::POST;
        *http_request.version_mut() = http::Version::HTTP_2;
        *http_request.uri_mut() = exporter.uri(request.signal).clone();
        let headers = http_request.headers_mut();
        exporter.remote.add_headers(request.signal, &request.account, headers);
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip,zstd"));
        if encoding != ContentEncoding::Identity {
            headers.insert("grpc-encoding", HeaderValue::from_static(encoding.as_str()));
        }
        if let Ok(timeout) = HeaderValue::from_str(&grpc_timeout(exporter.remote.common.timeout)) {
            headers.insert("grpc-timeout", timeout);
        }
        match exporter.remote.send(http_request).await {
            Ok(response) => exporter.evaluate_response(encoding, response).await,
            Err(error) => exporter.remote.log_connection_error(&error),
        }
    }
}

impl ExporterSpec for OtlpGrpcSettings {
    fn profile(&self) -> ExporterProfile<'_> {
        ExporterProfile::remote(self.trust, &self.common, &[&self.endpoint], false)
    }

    fn accepts_signal(&self, _: Signal) -> bool {
        true
    }

    fn build(&self, id: &ComponentId, deps: ExporterDeps) -> Result<Arc<dyn Exporter>, BuildError> {
        Ok(Arc::new(OtlpGrpcExporter::build(id.to_string().into(), self.clone(), deps)?))
    }
}

#[cfg(test)]
mod tests;
