//! The only place where a back end's response, gRPC or HTTP, becomes an outcome. A wrong retry loops; a wrong refusal
//! loses data.
//! Only statuses that OTLP calls retryable, and responses that were cut off, count as a passing failure. A refused
//! credential or address, or a web page in place of a response, keeps the data and sets `tollgate_exporter_denied`. No
//! text of a back end is passed on. `pipeline/outlet` backs off.

use std::num::IntErrorKind;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use time::OffsetDateTime;

use kernel::clock::UnixNanos;
use net::client::ResponseReadError;
use otlp::status::{GrpcCode, RetryRule, http_retry_rule, read_response, read_retry_info};
use pipeline::{MAX_RETRY_AFTER, Outcome, Reason};

/// Largest response that is read, in bytes (OTLP's recommendation).
pub const MAX_RESPONSE_BYTES: usize = 4 << 20;

/// To be retried: the request could not be sent, or its response did not arrive.
pub const UNAVAILABLE: Outcome = Outcome::Retry { after: None, reason: Reason::Unavailable };

/// The outcome of an OTLP/HTTP response: status, headers and as much of the body as was read.
pub fn http_outcome(
    status: StatusCode,
    headers: &HeaderMap,
    body: Result<&[u8], ResponseReadError>,
    is_protobuf: bool,
    now: UnixNanos,
) -> Outcome {
    match http_retry_rule(status.as_u16()) {
        RetryRule::Done if is_web_page(headers, body, is_protobuf) => {
            Outcome::Retry { after: None, reason: Reason::Denied }
        }
        RetryRule::Done => match body {
            Ok(body) if is_protobuf => accepted_body_outcome(body),
            Ok(_) => Outcome::Accepted,
            Err(error) => unread_body_outcome(error),
        },
        RetryRule::Yes | RetryRule::WithRetryInfo => {
            Outcome::Retry { after: parse_retry_after(headers, now), reason: Reason::Unavailable }
        }
        RetryRule::No => match status.as_u16() {
            413 => Outcome::Refused { reason: Reason::TooLarge },
            // OTLP does not call these retryable, but the data is not at fault: it waits until the operator fixes the
            // destination.
            401 | 402 | 403 | 404 | 405 | 407 | 410 | 421 | 300..=399 => {
                Outcome::Retry { after: parse_retry_after(headers, now), reason: Reason::Denied }
            }
            _ => Outcome::Refused { reason: Reason::BadData },
        },
    }
}

/// Whether the response is a web page (a proxy's login, a front end behind a wrong path). Then the back end has not
/// accepted anything, whatever the status says. A response in another non-OTLP format does not count as a page.
fn is_web_page(headers: &HeaderMap, body: Result<&[u8], ResponseReadError>, is_protobuf: bool) -> bool {
    let content_type =
        headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes().trim_ascii_start()).unwrap_or_default();
    let html_types = [&b"text/html"[..], b"application/xhtml"];
    let is_labelled_html = html_types
        .iter()
        .any(|html| content_type.get(..html.len()).is_some_and(|start| start.eq_ignore_ascii_case(html)));
    // No protobuf message begins with `<` (it would end a group), but one may begin with white space. Many servers
    // label every response as HTML, even an empty one or `OK`.
    match body {
        Ok(body) if is_protobuf && !is_labelled_html => body.first() == Some(&b'<'),
        Ok(body) => body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start().first() == Some(&b'<'),
        Err(_) => is_labelled_html,
    }
}

/// The outcome of an OTLP/gRPC response: the status in its trailers (or the HTTP status if there is none) and the
/// message.
pub fn grpc_outcome(
    status: StatusCode,
    grpc_status: Option<&tonic::Status>,
    message: Result<&[u8], ResponseReadError>,
) -> Outcome {
    let Some(grpc_status) = grpc_status else {
        return match (message, status) {
            (Err(error), StatusCode::OK) => unread_body_outcome(error),
            _ => code_outcome(http_status_to_code(status), None),
        };
    };
    match GrpcCode::from_number(grpc_status.code().into()) {
        GrpcCode::Ok => message.map_or_else(unread_body_outcome, accepted_body_outcome),
        code => code_outcome(code, read_retry_info(grpc_status.details()).ok().flatten()),
    }
}

fn code_outcome(code: GrpcCode, retry_info: Option<Duration>) -> Outcome {
    let after = retry_info.map(|after| after.min(MAX_RETRY_AFTER));
    match (code.retry(), code) {
        (RetryRule::Yes, _) => Outcome::Retry { after, reason: Reason::Unavailable },
        (RetryRule::WithRetryInfo, _) if after.is_some() => Outcome::Retry { after, reason: Reason::Unavailable },
        // gRPC servers use this status both for "too large" and for "no room now"; the outlet finds out which.
        (RetryRule::WithRetryInfo, _) => Outcome::Retry { after: None, reason: Reason::TooLarge },
        (_, GrpcCode::Unauthenticated | GrpcCode::PermissionDenied | GrpcCode::NotFound | GrpcCode::Unimplemented) => {
            Outcome::Retry { after, reason: Reason::Denied }
        }
        _ => Outcome::Refused { reason: Reason::BadData },
    }
}

/// Maps an HTTP status without a gRPC status to a gRPC code, using gRPC's own table.
fn http_status_to_code(status: StatusCode) -> GrpcCode {
    match status.as_u16() {
        400 => GrpcCode::Internal,
        401 => GrpcCode::Unauthenticated,
        403 => GrpcCode::PermissionDenied,
        404 => GrpcCode::Unimplemented,
        429 | 502 | 503 | 504 => GrpcCode::Unavailable,
        // A redirect or a refused method or content type: some other service listens there.
        300..=399 | 405 | 407 | 415 => GrpcCode::Unimplemented,
        // 200 without a gRPC status: the response was cut off.
        200 => GrpcCode::Unavailable,
        _ => GrpcCode::Unknown,
    }
}

/// The outcome of the response body to an accepted request.
fn accepted_body_outcome(body: &[u8]) -> Outcome {
    match read_response(body) {
        Ok(Some(partial)) if partial.rejected > 0 => {
            Outcome::Partial { rejected: u64::try_from(partial.rejected).unwrap_or_default(), reason: Reason::BadData }
        }
        // A warning, full success, or an unreadable success body: the status already said that the data was accepted.
        Ok(_) | Err(_) => Outcome::Accepted,
    }
}

/// The outcome when the status was OK but the body could not be read. An oversized body must not cause a retry; a body
/// that was cut off may hide any result.
fn unread_body_outcome(error: ResponseReadError) -> Outcome {
    match error {
        ResponseReadError::TooLarge => Outcome::Partial { rejected: 0, reason: Reason::BadData },
        ResponseReadError::Truncated => UNAVAILABLE,
    }
}

/// Parses an HTTP date in any of its three forms (RFC 9110 §5.6.7).
pub fn parse_http_date(text: &str) -> Option<OffsetDateTime> {
    Some(OffsetDateTime::from(httpdate::parse_http_date(text.trim()).ok()?))
}

/// Parses Retry-After: seconds or a date, capped at [`MAX_RETRY_AFTER`].
fn parse_retry_after(headers: &HeaderMap, now: UnixNanos) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => MAX_RETRY_AFTER,
        Err(_) => {
            let date = parse_http_date(text)?;
            let now = OffsetDateTime::from_unix_timestamp(i64::try_from(now.seconds()).ok()?).ok()?;
            Duration::try_from(date - now).unwrap_or_default()
        }
    };
    Some(after.min(MAX_RETRY_AFTER))
}
