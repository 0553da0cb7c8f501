//! **What**: the only place where a back end's answer becomes an outcome, for gRPC and HTTP. **Why**: what is retried
//! wrongly loops, what is dropped wrongly is lost. **Invariants**: retried is what OTLP lists and nothing else; a
//! refused credential or address keeps the data and alarms, and so does a web page in place of an answer; texts of a
//! back end go nowhere. **Not here**: the outlet's backoff.

use std::num::IntErrorKind;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use time::OffsetDateTime;

use kernel::clock::UnixNanos;
use net::client::AnswerError;
use otlp::status::{Code, Retry, http_retry, read_response, read_retry_info};
use pipeline::{LONGEST_WISH, Outcome, Reason};

/// Largest answer that is read, bytes (OTLP's recommendation).
pub const MAX_ANSWER: usize = 4 << 20;

/// The back end could not be reached, or not in time.
pub const UNREACHABLE: Outcome = Outcome::Retry { after: None, reason: Reason::Unavailable };

/// An answer to OTLP/HTTP: status, headers and the body as far as it was read.
pub fn http(
    status: StatusCode,
    headers: &HeaderMap,
    body: Result<&[u8], AnswerError>,
    protobuf: bool,
    now: UnixNanos,
) -> Outcome {
    match http_retry(status.as_u16()) {
        Retry::Done if is_page(headers, body, protobuf) => Outcome::Retry { after: None, reason: Reason::Denied },
        Retry::Done => match body {
            Ok(body) if protobuf => taken(body),
            Ok(_) => Outcome::Accepted,
            Err(error) => unread(error),
        },
        Retry::Yes | Retry::WithRetryInfo => {
            Outcome::Retry { after: retry_after(headers, now), reason: Reason::Unavailable }
        }
        Retry::No => match status.as_u16() {
            413 => Outcome::Refused { reason: Reason::TooLarge },
            // Not what OTLP calls retryable, but nothing is wrong with the data: it waits for the operator.
            401 | 402 | 403 | 404 | 405 | 407 | 410 | 421 | 300..=399 => {
                Outcome::Retry { after: retry_after(headers, now), reason: Reason::Denied }
            }
            _ => Outcome::Refused { reason: Reason::BadData },
        },
    }
}

/// Whether it is a page for people (a proxy's login, a front end behind a wrong path): then nobody has taken anything,
/// whatever the status says. Other words than OTLP's are no page.
fn is_page(headers: &HeaderMap, body: Result<&[u8], AnswerError>, protobuf: bool) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes().trim_ascii_start()).unwrap_or_default();
    let html = [&b"text/html"[..], b"application/xhtml"];
    let says_so = html.iter().any(|html| kind.get(..html.len()).is_some_and(|head| head.eq_ignore_ascii_case(html)));
    // No message of protobuf begins with `<`, which would end a group; one may begin with white space. Many servers
    // call whatever they say HTML, also nothing, or `OK`.
    match body {
        Ok(body) if protobuf && !says_so => body.first() == Some(&b'<'),
        Ok(body) => body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start().first() == Some(&b'<'),
        Err(_) => says_so,
    }
}

/// An answer to OTLP/gRPC: the status of its trailers (or, without one, of HTTP), and the message.
pub fn grpc(status: StatusCode, end: Option<&tonic::Status>, message: Result<&[u8], AnswerError>) -> Outcome {
    let Some(end) = end else {
        return match (message, status) {
            (Err(error), StatusCode::OK) => unread(error),
            _ => code(of_http(status), None),
        };
    };
    match Code::from_number(end.code().into()) {
        Code::Ok => message.map_or_else(unread, taken),
        other => code(other, read_retry_info(end.details()).ok().flatten()),
    }
}

fn code(code: Code, retry_info: Option<Duration>) -> Outcome {
    let after = retry_info.map(|after| after.min(LONGEST_WISH));
    match (code.retry(), code) {
        (Retry::Yes, _) => Outcome::Retry { after, reason: Reason::Unavailable },
        (Retry::WithRetryInfo, _) if after.is_some() => Outcome::Retry { after, reason: Reason::Unavailable },
        // Too large for it, as servers of gRPC say it, or no room for anything now: the outlet finds out.
        (Retry::WithRetryInfo, _) => Outcome::Retry { after: None, reason: Reason::TooLarge },
        (_, Code::Unauthenticated | Code::PermissionDenied | Code::NotFound | Code::Unimplemented) => {
            Outcome::Retry { after, reason: Reason::Denied }
        }
        _ => Outcome::Refused { reason: Reason::BadData },
    }
}

/// What an HTTP status without a gRPC status means, by gRPC's own table.
fn of_http(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        // A redirect, a refused method or content type: something else listens there.
        300..=399 | 405 | 407 | 415 => Code::Unimplemented,
        // 200 without a status: the answer was cut.
        200 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// A response to an accepted request.
fn taken(body: &[u8]) -> Outcome {
    match read_response(body) {
        Ok(Some(partial)) if partial.rejected > 0 => {
            Outcome::Partial { rejected: u64::try_from(partial.rejected).unwrap_or_default(), reason: Reason::BadData }
        }
        // A warning, full success, or a success in words of its own: the status said that it was taken.
        Ok(_) | Err(_) => Outcome::Accepted,
    }
}

/// The status said OK, the rest could not be read. Too large an answer must not lead to a retry; a cut one may hide
/// anything.
fn unread(error: AnswerError) -> Outcome {
    match error {
        AnswerError::TooLarge => Outcome::Partial { rejected: 0, reason: Reason::BadData },
        AnswerError::Cut => UNREACHABLE,
    }
}

/// A date as HTTP writes it, in any of its three forms (RFC 9110 §5.6.7).
pub fn date(text: &str) -> Option<OffsetDateTime> {
    Some(OffsetDateTime::from(httpdate::parse_http_date(text.trim()).ok()?))
}

/// Retry-After: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: UnixNanos) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => LONGEST_WISH,
        Err(_) => {
            let date = date(text)?;
            let now = OffsetDateTime::from_unix_timestamp(i64::try_from(now.seconds()).ok()?).ok()?;
            Duration::try_from(date - now).unwrap_or_default()
        }
    };
    Some(after.min(LONGEST_WISH))
}
