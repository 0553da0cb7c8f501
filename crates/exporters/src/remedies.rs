//! What an operator can do about a back end's refusal, by its status. `outcome` decides whether the data is retried.

use http::StatusCode;
use tonic::Code;

/// The remedy for a failed OTLP/HTTP request.
pub(crate) fn http_remedy(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => {
            "the URL leads to a web page instead of an OTLP endpoint: check its path, and proxies that require a login"
        }
        300..=399 => "the server redirects, which tollgate does not follow: set the final URL, often with `https://`",
        401 => "check the credentials (`headers`): the back end does not know them, or they have expired",
        402 => "check the contract or quota of the account at the back end",
        403 => "give the credentials (`headers`) the permission to write this signal",
        404 | 405 | 410 | 421 => {
            "check the URL's host, port and path: there is no OTLP endpoint (usually `/v1/traces`), or not for this signal"
        }
        407 => "set the proxy's user and password in HTTPS_PROXY or HTTP_PROXY",
        413 => "lower `max_request_size` to the limit of the back end or of a proxy before it",
        415 => "the server does not accept OTLP as protobuf: check the URL, and set `compression: none`",
        429 => "the back end limits the rate: wait, or raise its limit",
        502..=504 => "a proxy before the back end does not reach it, or it is overloaded: check the back end",
        500..=599 => "the back end has an internal error: look into its log",
        _ => "the server refuses the request: check the URL and the back end's log",
    }
}

/// The remedy for a failed OTLP/gRPC request.
pub(crate) fn grpc_remedy(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => {
            "check the credentials (`headers`): the back end does not know them, or they have expired"
        }
        Code::PermissionDenied => "give the credentials (`headers`) the permission to write this signal",
        Code::NotFound | Code::Unimplemented => {
            "the server has no OTLP service for this signal: check the host, the port and the back end's receivers"
        }
        Code::Unavailable | Code::ResourceExhausted | Code::Aborted | Code::Cancelled | Code::DeadlineExceeded => {
            "the back end is overloaded or not ready: wait, then look into its log"
        }
        Code::Internal | Code::Unknown | Code::DataLoss => "the back end has an internal error: look into its log",
        _ => "the server refuses the request: check the endpoint and the back end's log",
    }
}
