//! Refuses requests that a web page made a browser send to a port on loopback without `auth`: under a foreign host name
//! that resolves to this machine (DNS rebinding), or from another site. Ports on other addresses are not guarded,
//! because their pages and clients use any name.

use std::net::SocketAddr;

use http::{StatusCode, header, request};

use super::reply::RequestRefusal;
use otlp::status::GrpcCode;
use telemetry::admin::{is_cross_site, is_host_allowed};

#[cfg(test)]
mod tests;

/// Whether a port needs the guard.
pub(crate) fn needs_guard(has_auth: bool, address: Option<SocketAddr>) -> bool {
    !has_auth && address.is_some_and(|at| at.ip().to_canonical().is_loopback())
}

/// Refuses a browser's request under a foreign host name, or from another site, unless `allows_origin` knows the page.
/// SDKs and proxies may use any host name: only browsers send `Origin`, with every POST (Fetch standard, section 3.1).
pub(crate) fn refuse_web_page(
    parts: &request::Parts,
    allows_origin: impl Fn(&[u8]) -> bool,
) -> Result<(), RequestRefusal> {
    let origin = parts.headers.get(header::ORIGIN);
    if origin.is_some_and(|origin| allows_origin(origin.as_bytes())) {
        return Ok(());
    }
    let authority = parts.uri.authority().map(|authority| authority.host());
    if origin.is_some() && !is_host_allowed(&parts.headers, authority, &[]) {
        let message = "browsers may send here only under 127.0.0.1 or localhost, or with `cors` or `auth`";
        let status = StatusCode::MISDIRECTED_REQUEST;
        return Err(RequestRefusal::new(GrpcCode::PermissionDenied, status, "host", message));
    }
    if is_cross_site(&parts.headers) {
        let message = "pages of other sites may not send here: see `cors`";
        return Err(RequestRefusal::new(GrpcCode::PermissionDenied, StatusCode::FORBIDDEN, "cross_site", message));
    }
    Ok(())
}
