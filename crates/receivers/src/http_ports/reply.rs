//! The only place where an outcome becomes a status, for both protocols, and where responses are written. OTLP clients
//! lose data on a wrong status (a full queue answered with 500) or loop (an oversized request answered with "try
//! again").
//! `Outcome::Retry` becomes UNAVAILABLE with RetryInfo and 503 with Retry-After (RESOURCE_EXHAUSTED and 429 when over
//! an account's rate); every other status is final. Every HTTP error body is a `google.rpc.Status` in the request's
//! encoding, or in JSON if that is unknown. No text quotes payload. The engine decides the outcome.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};

use super::body_collector::CollectError;
use net::ContentEncoding;
use net::listen::ReplyBody;
use otlp::Signal;
use otlp::status::{GrpcCode, PartialSuccess, RpcStatus, response_to_json, response_to_protobuf};
use pipeline::{Outcome, Reason};

/// Retry delay if the engine gives none.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);
/// Header that lists the encodings that gRPC clients may use.
pub(crate) const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Encoding of a body, from its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    /// `application/x-protobuf`
    Protobuf,
    /// `application/protobuf`, which some clients and back ends use.
    ProtobufAlias,
    /// `application/json`
    Json,
}

impl BodyFormat {
    /// The format of the request's content type; parameters (`; charset=utf-8`) are ignored.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        [Self::Protobuf, Self::ProtobufAlias, Self::Json]
            .into_iter()
            .find(|format| essence.eq_ignore_ascii_case(format.content_type()))
    }

    /// The content type of the response, which is that of the request.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::ProtobufAlias => "application/protobuf",
            Self::Json => "application/json",
        }
    }
}

/// Number of bytes before each gRPC message: a flag and the message's length.
pub(crate) const PREFIX: usize = 5;

/// Why a request was not accepted, with everything that both protocols send about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestRefusal {
    /// gRPC code, also used in `google.rpc.Status`.
    pub(crate) code: GrpcCode,
    pub(crate) http_status: StatusCode,
    pub(crate) message: String,
    /// When the same bytes may be sent again; `Some` makes the refusal retryable.
    pub(crate) retry_after: Option<Duration>,
    /// What is wrong with the body.
    pub(crate) violation: Option<String>,
    /// Value of the metric's `reason` label.
    pub(crate) label: &'static str,
    /// An additional HTTP header (`Allow`, `Accept-Encoding`).
    pub(crate) extra_header: Option<(&'static str, &'static str)>,
}

impl RequestRefusal {
    /// A refusal by the protocol, without an engine outcome.
    pub(crate) fn new(code: GrpcCode, http: StatusCode, label: &'static str, message: impl Into<String>) -> Self {
        let (retry_after, violation, extra_header) = (None, None, None);
        Self { code, http_status: http, message: message.into(), retry_after, violation, label, extra_header }
    }

    /// The method is not POST.
    pub(crate) fn wrong_method(message: &str) -> Self {
        Self::new(GrpcCode::Unimplemented, StatusCode::METHOD_NOT_ALLOWED, "method", message)
    }

    /// The body has a form that this port does not take.
    pub(crate) fn unsupported(label: &'static str, message: impl Into<String>) -> Self {
        Self::new(GrpcCode::InvalidArgument, StatusCode::UNSUPPORTED_MEDIA_TYPE, label, message)
    }

    /// Adds an HTTP header.
    pub(crate) fn with_header(self, name: &'static str, value: &'static str) -> Self {
        Self { extra_header: Some((name, value)), ..self }
    }

    /// The body is not valid; `what` is a fixed text or an offset, never payload.
    pub(crate) fn malformed_body(what: String) -> Self {
        Self { violation: Some(what), ..Self::from_outcome(&Outcome::Refused { reason: Reason::Malformed }) }
    }

    /// The body was not received.
    pub(crate) fn body_failed(error: impl Into<CollectError>) -> Self {
        Self::from_outcome(&error.into().0)
    }

    /// The body could not be inflated. The message for a damaged body names the encoding, so that the user does not
    /// search for the fault in the data that was compressed.
    pub(crate) fn inflate_failed(encoding: ContentEncoding, CollectError(outcome): &CollectError) -> Self {
        if encoding != ContentEncoding::Identity && *outcome == (Outcome::Refused { reason: Reason::Malformed }) {
            return Self::malformed_body(format!(
                "the body is damaged, or is not {} although its encoding header says so",
                encoding.as_str()
            ));
        }
        Self::from_outcome(outcome)
    }

    /// The client's deadline has passed; a request that was already submitted is still processed.
    pub(crate) fn deadline_exceeded() -> Self {
        let refusal = Self::from_outcome(&Outcome::Retry { after: None, reason: Reason::TimedOut });
        Self { code: GrpcCode::DeadlineExceeded, ..refusal }
    }

    /// Maps an outcome to a refusal. Callers pass only outcomes that are not accepted; an accepted one would become
    /// `Lost`.
    pub(crate) fn from_outcome(outcome: &Outcome) -> Self {
        match *outcome {
            Outcome::Retry { after, reason } => {
                let (code, http) = match reason {
                    // OTLP clients retry this code only with RetryInfo, which is always sent.
                    Reason::RateLimited => (GrpcCode::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS),
                    _ => (GrpcCode::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
                };
                let after = Some(after.unwrap_or(RETRY_AFTER_DEFAULT));
                Self { retry_after: after, ..Self::new(code, http, reason.label(), reason.text()) }
            }
            Outcome::Refused { reason } => Self::from_final_reason(reason),
            Outcome::Accepted | Outcome::Partial { .. } => {
                Self::from_outcome(&Outcome::Retry { after: None, reason: Reason::Lost })
            }
        }
    }

    fn from_final_reason(reason: Reason) -> Self {
        let (code, http) = match reason {
            // Not retryable, so no RetryInfo is sent.
            Reason::TooLarge | Reason::AboveLimit => (GrpcCode::ResourceExhausted, StatusCode::PAYLOAD_TOO_LARGE),
            Reason::Malformed | Reason::BadData | Reason::BadIds | Reason::ItemTooLarge | Reason::BadItems => {
                (GrpcCode::InvalidArgument, StatusCode::BAD_REQUEST)
            }
            Reason::NoPipeline => (GrpcCode::Unimplemented, StatusCode::NOT_FOUND),
            // tollgate's own failure, and final: the same request would fail again.
            Reason::Quarantined
            | Reason::NotCleared
            | Reason::Denied
            | Reason::Unavailable
            | Reason::Overloaded
            | Reason::RateLimited
            | Reason::LowMemory
            | Reason::SpoolFull
            | Reason::PendingFull(_)
            | Reason::SpoolFailed
            | Reason::ShuttingDown
            | Reason::Lost
            | Reason::RecogniserUnavailable
            | Reason::NoRecipient
            | Reason::Disconnected
            | Reason::TimedOut => (GrpcCode::Internal, StatusCode::INTERNAL_SERVER_ERROR),
        };
        let violation = (http == StatusCode::BAD_REQUEST).then(|| reason.text().to_owned());
        Self { violation, ..Self::new(code, http, reason.label(), reason.text()) }
    }

    fn status(&self) -> RpcStatus {
        RpcStatus {
            code: self.code,
            message: self.message.clone(),
            retry_after: self.retry_after,
            violation: self.violation.clone(),
        }
    }

    /// The response on the HTTP port. It is JSON if the request's format is unknown, because a person probably reads
    /// it.
    pub(crate) fn http_response(&self, format: Option<BodyFormat>) -> Response<ReplyBody> {
        let format = format.unwrap_or(BodyFormat::Json);
        let status = self.status();
        let body = if format == BodyFormat::Json { status.to_json().into_bytes() } else { status.to_protobuf() };
        let mut response = Response::new(boxed(Full::from(body)));
        *response.status_mut() = self.http_status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        if let Some((name, value)) = self.extra_header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// The response on the gRPC port: trailers only.
    pub(crate) fn grpc_response(&self) -> Response<ReplyBody> {
        let details = if self.retry_after.is_some() || self.violation.is_some() {
            self.status().to_protobuf()
        } else {
            Vec::new()
        };
        let status = tonic::Status::with_details((self.code as i32).into(), self.message.clone(), Bytes::from(details));
        let mut response = status.into_http::<http_body_util::Empty<Bytes>>().map(boxed);
        response.headers_mut().insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(ContentEncoding::ACCEPTED));
        response
    }
}

/// Retry-After has whole seconds: rounded up, at least one.
fn whole_seconds(after: Duration) -> u64 {
    after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)).max(1)
}

/// The rejected items and the reason, if the outcome is accepted; otherwise the refusal.
pub(crate) fn partial_or_refusal(outcome: &Outcome) -> Result<Option<PartialSuccess>, RequestRefusal> {
    match *outcome {
        Outcome::Accepted => Ok(None),
        Outcome::Partial { rejected, reason } => Ok(Some(PartialSuccess {
            rejected: i64::try_from(rejected).unwrap_or(i64::MAX),
            message: reason.text().to_owned(),
        })),
        Outcome::Retry { .. } | Outcome::Refused { .. } => Err(RequestRefusal::from_outcome(outcome)),
    }
}

/// 200 with the export response, in the request's encoding.
pub(crate) fn http_ok(signal: Signal, format: BodyFormat, partial: Option<&PartialSuccess>) -> Response<ReplyBody> {
    let body = match format {
        BodyFormat::Json => response_to_json(signal, partial).into_bytes(),
        BodyFormat::Protobuf | BodyFormat::ProtobufAlias => response_to_protobuf(partial),
    };
    let mut response = Response::new(boxed(Full::from(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response
}

/// One message with the export response, and status OK in the trailers.
pub(crate) fn grpc_ok(partial: Option<&PartialSuccess>) -> Response<ReplyBody> {
    let message = response_to_protobuf(partial);
    let mut frame = BytesMut::with_capacity(message.len().saturating_add(PREFIX));
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or_default());
    frame.put_slice(&message);
    let trailers = async {
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Some(Ok(trailers))
    };
    let mut response = Response::new(boxed(Full::new(frame.freeze()).with_trailers(trailers)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(ContentEncoding::ACCEPTED));
    response
}

/// Converts any body to a response body.
pub(crate) fn boxed<B>(body: B) -> ReplyBody
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    body.map_err(Into::into).boxed_unsync()
}
