//! The `otlp` exporter: makes one attempt to send one request over gRPC.
//! gRPC framing is written by hand over the pooled HTTP client: tonic's channel compresses with gzip level 6 (measured
//! at a multiple of level 1's time) and spawns when it is built.
//! The exporter has no queue, retry or metrics of its own and reads at most [`MAX_ANSWER`] bytes of a response.
//! `remote` has the parts shared with `otlp_http`, `verdict` interprets statuses.

mod config;

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use hyper::body::Incoming;

pub use config::{Config, Settings};

use super::remote::{Deps, Remote};
use super::spec::{BuildError, ExporterSpec, Profile};
use super::stanza::with_path;
use super::verdict::{self, MAX_ANSWER, UNREACHABLE};
use ::config::ComponentId;
use net::Encoding;
use net::client::{self, AnswerError, upload};
use net::encoding::{Inflater, Step};
use net::rope::Rope;
use otlp::Signal;
use pipeline::{ExportRequest, Exporter, Outcome, Reason, Trust};

/// The `otlp` exporter.
pub struct Otlp {
    remote: Remote,
    trust: Trust,
    paths: [Uri; 3],
}

impl Otlp {
    /// Creates an exporter with component id `id`. Reads TLS files; connects only when there is something to send.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(id: Arc<str>, settings: Settings, deps: Deps) -> Result<Self, BuildError> {
        let [traces, metrics, logs] = Signal::ALL.map(|signal| with_path(&settings.endpoint, path(signal)));
        let (Some(traces), Some(metrics), Some(logs)) = (traces, metrics, logs) else {
            return Err(BuildError::Endpoint);
        };
        let remote = Remote::build(id, settings.common, true, &[&settings.endpoint], deps)?;
        Ok(Self { remote, trust: settings.trust, paths: [traces, metrics, logs] })
    }

    fn uri(&self, signal: Signal) -> &Uri {
        let [traces, metrics, logs] = &self.paths;
        match signal {
            Signal::Traces => traces,
            Signal::Metrics => metrics,
            Signal::Logs => logs,
        }
    }

    async fn attempt(&self, request: &ExportRequest) -> Outcome {
        let encoding = self.remote.encoding();
        let Some(body) = self.remote.compress(encoding, &request.body).await else { return UNREACHABLE };
        let Ok(length) = u32::try_from(body.len()) else { return Outcome::Refused { reason: Reason::TooLarge } };
        let mut prefix = BytesMut::with_capacity(5);
        prefix.put_u8(u8::from(encoding != Encoding::Identity));
        prefix.put_u32(length);
        let mut sent = Request::new(upload(prefix.freeze(), body));
        *sent.method_mut() = Method::POST;
        *sent.version_mut() = http::Version::HTTP_2;
        *sent.uri_mut() = self.uri(request.signal).clone();
        let headers = sent.headers_mut();
        self.remote.headers(request.signal, &request.account, headers);
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip,zstd"));
        if encoding != Encoding::Identity {
            headers.insert("grpc-encoding", HeaderValue::from_static(encoding.as_str()));
        }
        if let Ok(timeout) = HeaderValue::from_str(&grpc_timeout(self.remote.common.timeout)) {
            headers.insert("grpc-timeout", timeout);
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
        self.remote.advertised(&parts.headers, "grpc-accept-encoding");
        let (message, trailers) = match client::read(body, MAX_ANSWER + 5).await {
            Ok((bytes, trailers)) => (Ok(bytes), trailers),
            Err(error) => (Err(error), HeaderMap::new()),
        };
        let end = tonic::Status::from_header_map(&trailers).or_else(|| tonic::Status::from_header_map(&parts.headers));
        let refused = end.as_ref().is_some_and(|end| end.code() == tonic::Code::Unimplemented);
        if refused && self.remote.step_down(used) {
            return Outcome::Retry { after: Some(std::time::Duration::ZERO), reason: Reason::Unavailable };
        }
        let message = message.and_then(|message| unframe(message, &parts.headers));
        let outcome = verdict::grpc(parts.status, end.as_ref(), message.as_deref().map_err(|error| *error));
        let status = end.map_or_else(|| format!("HTTP {}", parts.status.as_u16()), |end| format!("{:?}", end.code()));
        self.remote.report(&outcome, status);
        outcome
    }
}

fn path(signal: Signal) -> &'static str {
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
fn unframe(mut answer: Bytes, headers: &HeaderMap) -> Result<Bytes, AnswerError> {
    let Some((prefix, _)) = answer.split_first_chunk::<5>() else { return Ok(Bytes::new()) };
    let compressed = prefix.first() == Some(&1);
    let message = answer.split_off(5);
    let encoding = headers.get("grpc-encoding").and_then(|value| value.to_str().ok()).and_then(Encoding::parse);
    match (compressed, encoding) {
        (false, _) => Ok(message),
        (true, None) => Err(AnswerError::TooLarge),
        (true, Some(encoding)) => inflate(encoding, message),
    }
}

/// A message that can't be inflated within the limit is reported as too large: accepted, but not readable.
fn inflate(encoding: Encoding, message: Bytes) -> Result<Bytes, AnswerError> {
    let mut rope = Rope::default();
    rope.push(message);
    let mut inflater = Inflater::new(encoding, rope, MAX_ANSWER).map_err(|_| AnswerError::TooLarge)?;
    while inflater.step(64 * 1024).map_err(|_| AnswerError::TooLarge)? == Step::More {}
    Ok(inflater.into_bytes())
}

impl ExporterSpec for Settings {
    fn profile(&self) -> Profile<'_> {
        Profile::remote(self.trust, &self.common, &[&self.endpoint], false)
    }

    fn takes(&self, _: Signal) -> bool {
        true
    }

    fn build(&self, id: &ComponentId, deps: Deps) -> Result<Arc<dyn Exporter>, BuildError> {
        Ok(Arc::new(Otlp::build(id.to_string().into(), self.clone(), deps)?))
    }
}

impl Exporter for Otlp {
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
