//! The `otlp` exporter: makes one attempt to send one request over gRPC.
//! gRPC framing is written by hand over the pooled HTTP client: tonic's channel compresses with gzip level 6 (measured
//! at a multiple of level 1's time) and spawns when it is built.
//! The exporter has no queue and no retry of its own and reads at most [`MAX_RESPONSE_BYTES`] bytes of a response.
//! `remote` has the parts shared with `otlp_http`, `outcome` interprets statuses.

mod config;

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Version, response};
use hyper::body::Incoming;

pub use config::{Config, GrpcProtocol, OtlpGrpcSettings};

use super::outcome::{self, MAX_RESPONSE_BYTES};
use super::remedies::grpc_remedy;
use super::remote::{OtlpProtocol, RemoteExporter};
use net::ContentEncoding;
use net::client::{self, ResponseReadError};
use net::encoding::{InflateStep, Inflater};
use net::rope::Rope;
use pipeline::{AttemptFailure, Outcome, Reason};

/// Number of bytes before each gRPC message: a flag and the message's length.
const PREFIX: usize = 5;

/// The `grpc-timeout` value: milliseconds, or seconds if eight digits can't hold the milliseconds.
fn grpc_timeout(timeout: Duration) -> String {
    match timeout.as_millis() {
        millis @ 0..=99_999_999 => format!("{millis}m"),
        _ => format!("{}S", timeout.as_secs().min(99_999_999)),
    }
}

/// The message of a unary response; empty if there is none.
fn unframe_message(mut framed: Bytes, headers: &HeaderMap) -> Result<Bytes, ResponseReadError> {
    let Some((prefix, _)) = framed.split_first_chunk::<PREFIX>() else { return Ok(Bytes::new()) };
    let is_compressed = prefix.first() == Some(&1);
    let message = framed.split_off(PREFIX);
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

impl OtlpProtocol for GrpcProtocol {
    const VERSION: Version = Version::HTTP_2;
    const ENCODING_HEADERS: [&'static str; 2] = ["grpc-encoding", "grpc-accept-encoding"];

    fn frame(encoding: ContentEncoding, length: usize) -> Option<Bytes> {
        let mut prefix = BytesMut::with_capacity(PREFIX);
        prefix.put_u8(u8::from(encoding != ContentEncoding::Identity));
        prefix.put_u32(u32::try_from(length).ok()?);
        Some(prefix.freeze())
    }

    fn add_headers(timeout: Duration, headers: &mut HeaderMap) {
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip,zstd"));
        if let Ok(timeout) = HeaderValue::from_str(&grpc_timeout(timeout)) {
            headers.insert("grpc-timeout", timeout);
        }
    }

    async fn evaluate_response(
        remote: &RemoteExporter,
        encoding: ContentEncoding,
        head: response::Parts,
        body: Incoming,
    ) -> Outcome {
        let (message, trailers) = match client::read_response(body, MAX_RESPONSE_BYTES + PREFIX).await {
            Ok((bytes, trailers)) => (Ok(bytes), trailers),
            Err(error) => (Err(error), HeaderMap::new()),
        };
        let status =
            tonic::Status::from_header_map(&trailers).or_else(|| tonic::Status::from_header_map(&head.headers));
        let is_encoding_refused = status.as_ref().is_some_and(|status| status.code() == tonic::Code::Unimplemented);
        if is_encoding_refused && remote.fall_back_encoding(encoding) {
            return Outcome::Retry { after: Some(Duration::ZERO), reason: Reason::Unavailable };
        }
        let message = message.and_then(|message| unframe_message(message, &head.headers));
        let outcome = outcome::grpc_outcome(head.status, status.as_ref(), message.as_deref().map_err(|error| *error));
        let failure = match status {
            None => AttemptFailure {
                reason: format!("HTTP {} without a gRPC status", head.status.as_u16()),
                remedy: "the server does not answer like a gRPC server: check the port, or use `otlp_http`",
            },
            Some(status) => AttemptFailure {
                reason: format!("gRPC status {:?}", status.code()),
                remedy: grpc_remedy(status.code()),
            },
        };
        remote.log_outcome(&outcome, failure);
        outcome
    }
}

#[cfg(test)]
mod tests;
