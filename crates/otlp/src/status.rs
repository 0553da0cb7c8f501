//! Replies: the partial success of an export, `google.rpc.Status`, status codes and their retryability. Receivers
//! answer and exporters decide by the same tables (OTLP specification 1.10, `protocol/otlp`).
//! Texts are our own or a back end's, never payload. `receivers/http_ports` and `exporters` map reasons to statuses.

use std::fmt::Write;
use std::time::Duration;

use super::malformed::MalformedOtlp;
use super::signal::Signal;
use super::value_json::write_json_text;
use super::wire::{self, FieldCursor, LEN, VARINT};

/// A gRPC status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are gRPC's own")]
pub enum GrpcCode {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

/// Whether a client may retry after a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryRule {
    /// The data was accepted.
    Done,
    /// Retry later.
    Yes,
    /// Retry later if the server sent RetryInfo; otherwise drop.
    WithRetryInfo,
    /// Drop.
    No,
}

/// Every gRPC code with its name and its retry rule in OTLP.
pub const CODES: [(GrpcCode, &str, RetryRule); 17] = [
    (GrpcCode::Ok, "OK", RetryRule::Done),
    (GrpcCode::Cancelled, "CANCELLED", RetryRule::Yes),
    (GrpcCode::Unknown, "UNKNOWN", RetryRule::No),
    (GrpcCode::InvalidArgument, "INVALID_ARGUMENT", RetryRule::No),
    (GrpcCode::DeadlineExceeded, "DEADLINE_EXCEEDED", RetryRule::Yes),
    (GrpcCode::NotFound, "NOT_FOUND", RetryRule::No),
    (GrpcCode::AlreadyExists, "ALREADY_EXISTS", RetryRule::No),
    (GrpcCode::PermissionDenied, "PERMISSION_DENIED", RetryRule::No),
    (GrpcCode::ResourceExhausted, "RESOURCE_EXHAUSTED", RetryRule::WithRetryInfo),
    (GrpcCode::FailedPrecondition, "FAILED_PRECONDITION", RetryRule::No),
    (GrpcCode::Aborted, "ABORTED", RetryRule::Yes),
    (GrpcCode::OutOfRange, "OUT_OF_RANGE", RetryRule::Yes),
    (GrpcCode::Unimplemented, "UNIMPLEMENTED", RetryRule::No),
    (GrpcCode::Internal, "INTERNAL", RetryRule::No),
    (GrpcCode::Unavailable, "UNAVAILABLE", RetryRule::Yes),
    (GrpcCode::DataLoss, "DATA_LOSS", RetryRule::Yes),
    (GrpcCode::Unauthenticated, "UNAUTHENTICATED", RetryRule::No),
];

impl GrpcCode {
    /// The code with this number; unknown numbers are `Unknown`, as in gRPC.
    pub fn from_number(number: i32) -> Self {
        let found = CODES.iter().find(|(code, ..)| *code as i32 == number);
        found.map_or(Self::Unknown, |(code, ..)| *code)
    }

    /// The name in the specification, e.g. `UNAVAILABLE`.
    pub fn name(self) -> &'static str {
        CODES.iter().find(|(code, ..)| *code == self).map_or("UNKNOWN", |(_, name, _)| name)
    }

    /// Whether a client may retry.
    pub fn retry(self) -> RetryRule {
        CODES.iter().find(|(code, ..)| *code == self).map_or(RetryRule::No, |(.., retry)| *retry)
    }
}

/// The HTTP statuses after which OTLP/HTTP clients retry.
pub const RETRYABLE_HTTP: [u16; 4] = [429, 502, 503, 504];

/// Whether a client may retry after an HTTP status.
pub fn http_retry_rule(status: u16) -> RetryRule {
    match status {
        200..=299 => RetryRule::Done,
        status if RETRYABLE_HTTP.contains(&status) => RetryRule::Yes,
        _ => RetryRule::No,
    }
}

/// A `google.rpc.Status` to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcStatus {
    /// The code.
    pub code: GrpcCode,
    /// For developers, in English.
    pub message: String,
    /// Sent as RetryInfo.
    pub retry_after: Option<Duration>,
    /// Sent as BadRequest: the fault in the body.
    pub violation: Option<String>,
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

impl RpcStatus {
    /// Encodes to protobuf, for `grpc-status-details-bin` and bodies of `application/x-protobuf`.
    pub fn to_protobuf(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, 1, self.code as u64);
        put_text(&mut out, 2, &self.message);
        if let Some(after) = self.retry_after {
            let (mut duration, mut info) = (Vec::new(), Vec::new());
            put_number(&mut duration, 1, after.as_secs());
            put_number(&mut duration, 2, u64::from(after.subsec_nanos()));
            wire::put_bytes(&mut info, 1, &duration);
            put_detail(&mut out, RETRY_INFO, &info);
        }
        if let Some(fault) = &self.violation {
            let (mut violation, mut request) = (Vec::new(), Vec::new());
            put_text(&mut violation, 1, "body");
            put_text(&mut violation, 2, fault);
            wire::put_bytes(&mut request, 1, &violation);
            put_detail(&mut out, BAD_REQUEST, &request);
        }
        out
    }

    /// Encodes to JSON, for bodies of `application/json`.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        let _ = write!(out, "{{\"code\":{},\"message\":", self.code as u8);
        write_json_text(&self.message, &mut out);
        let mut separator = ",\"details\":[";
        if let Some(after) = self.retry_after {
            let (seconds, nanos) = (after.as_secs(), after.subsec_nanos());
            let _ = write!(out, "{separator}{{\"@type\":\"{RETRY_INFO}\",\"retryDelay\":\"{seconds}");
            match nanos {
                0 => {}
                nanos if nanos % 1_000_000 == 0 => drop(write!(out, ".{:03}", nanos / 1_000_000)),
                nanos => drop(write!(out, ".{nanos:09}")),
            }
            out.push_str("s\"}");
            separator = ",";
        }
        if let Some(fault) = &self.violation {
            let _ = write!(out, "{separator}{{\"@type\":\"{BAD_REQUEST}\",\"fieldViolations\":[");
            out.push_str("{\"field\":\"body\",\"description\":");
            write_json_text(fault, &mut out);
            out.push_str("}]}");
            separator = ",";
        }
        out.push_str(if separator == "," { "]}" } else { "}" });
        out
    }
}

/// The retry delay in a server's `google.rpc.Status` (protobuf). `None` without RetryInfo; a RetryInfo without a delay
/// is zero.
///
/// # Errors
/// If the bytes are not such a message.
pub fn read_retry_info(status: &[u8]) -> Result<Option<Duration>, MalformedOtlp> {
    let mut cursor = FieldCursor::new(status, 0, status.len());
    while let Some(field) = cursor.next()? {
        if (field.number, field.wire) != (3, LEN) {
            continue;
        }
        let (mut type_url, mut value): (&[u8], &[u8]) = (&[], &[]);
        let mut any = FieldCursor::new(status, field.body, field.end);
        while let Some(field) = any.next()? {
            match (field.number, field.wire) {
                (1, LEN) => type_url = field.span().slice(status),
                (2, LEN) => value = field.span().slice(status),
                _ => {}
            }
        }
        if type_url.ends_with(b"/google.rpc.RetryInfo") {
            return retry_delay(value).map(Some);
        }
    }
    Ok(None)
}

/// The `google.protobuf.Duration` of a RetryInfo; a negative one is zero.
fn retry_delay(info: &[u8]) -> Result<Duration, MalformedOtlp> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut cursor = FieldCursor::new(info, 0, info.len());
    while let Some(field) = cursor.next()? {
        if (field.number, field.wire) != (1, LEN) {
            continue;
        }
        let mut inner = FieldCursor::new(info, field.body, field.end);
        while let Some(field) = inner.next()? {
            let number = || wire::read_varint(field.span().slice(info), 0).map_or(0, |(number, _)| number as i64);
            match (field.number, field.wire) {
                (1, VARINT) => seconds = number(),
                (2, VARINT) => nanos = number(),
                _ => {}
            }
        }
    }
    let non_negative = |number: i64| u64::try_from(number).unwrap_or_default();
    Ok(Duration::from_secs(non_negative(seconds)).saturating_add(Duration::from_nanos(non_negative(nanos))))
}

/// Appends an `Any` to the details of a Status.
fn put_detail(out: &mut Vec<u8>, type_url: &str, value: &[u8]) {
    let mut any = Vec::new();
    put_text(&mut any, 1, type_url);
    wire::put_bytes(&mut any, 2, value);
    wire::put_bytes(out, 3, &any);
}

/// A server's answer to an export that was accepted in part. No `Debug`: a back end's message may quote what it
/// received.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PartialSuccess {
    /// Number of rejected spans, points or records; 0 with a message is a warning.
    pub rejected: i64,
    /// The reason, in English.
    pub message: String,
}

/// Encodes an `Export*ServiceResponse` to protobuf. `None` is full success: no bytes.
pub fn response_to_protobuf(partial: Option<&PartialSuccess>) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(partial) = partial {
        let mut body = Vec::new();
        put_number(&mut body, 1, partial.rejected as u64);
        put_text(&mut body, 2, &partial.message);
        wire::put_bytes(&mut out, 1, &body);
    }
    out
}

/// Encodes an `Export*ServiceResponse` of `signal` to JSON. `None` is full success: `{}`.
pub fn response_to_json(signal: Signal, partial: Option<&PartialSuccess>) -> String {
    let Some(partial) = partial else { return "{}".to_owned() };
    let name = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Metrics => "rejectedDataPoints",
        Signal::Logs => "rejectedLogRecords",
    };
    let mut out = format!("{{\"partialSuccess\":{{\"{name}\":\"{}\",\"errorMessage\":", partial.rejected);
    write_json_text(&partial.message, &mut out);
    out.push_str("}}");
    out
}

/// Decodes an `Export*ServiceResponse`. `None` is full success, as is an empty partial success.
///
/// # Errors
/// If the bytes are not such a response.
pub fn read_response(body: &[u8]) -> Result<Option<PartialSuccess>, MalformedOtlp> {
    let mut partial = PartialSuccess::default();
    let mut cursor = FieldCursor::new(body, 0, body.len());
    while let Some(field) = cursor.next()? {
        if (field.number, field.wire) != (1, LEN) {
            continue;
        }
        let mut inner = FieldCursor::new(body, field.body, field.end);
        while let Some(field) = inner.next()? {
            let bytes = field.span().slice(body);
            match (field.number, field.wire) {
                (1, VARINT) => partial.rejected = wire::read_varint(bytes, 0).map_or(0, |(number, _)| number as i64),
                (2, LEN) => partial.message = String::from_utf8_lossy(bytes).into_owned(),
                _ => {}
            }
        }
    }
    Ok(Some(partial).filter(|partial| *partial != PartialSuccess::default()))
}

/// Appends a number field, unless it is 0, as in proto3.
fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        wire::put_tag(out, number, VARINT);
        wire::put_varint(out, value);
    }
}

fn put_text(out: &mut Vec<u8>, number: u32, text: &str) {
    if !text.is_empty() {
        wire::put_bytes(out, number, text.as_bytes());
    }
}
