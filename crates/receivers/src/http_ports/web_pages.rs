//! Refuses requests that a web page made a browser send to a port on loopback without `auth`: under a foreign host name
//! that resolves to this machine (DNS rebinding), or from another site. Ports on other addresses are not guarded,
//! because their clients use any name.

use std::net::SocketAddr;

use http::{StatusCode, request};

use super::reply::RequestRefusal;
use otlp::status::GrpcCode;
use telemetry::admin::{is_cross_site, is_host_allowed};

#[cfg(test)]
mod tests;

/// Names under which containers and virtual machines reach loopback of their host. No public DNS has names below
/// `.internal`.
const HOST_NAMES_OF_CONTAINERS: [&str; 4] =
    ["host.docker.internal", "host.containers.internal", "host.minikube.internal", "host.lima.internal"];

/// Whether a port needs the guard.
pub(crate) fn needs_guard(has_auth: bool, address: Option<SocketAddr>) -> bool {
    !has_auth && address.is_some_and(|at| at.ip().to_canonical().is_loopback())
}

/// Refuses a request under a foreign host name, or from another site that `allows_origin` does not know.
pub(crate) fn refuse_web_page(
    parts: &request::Parts,
    allows_origin: impl Fn(&[u8]) -> bool,
) -> Result<(), RequestRefusal> {
    let authority = parts.uri.authority().map(|authority| authority.host());
    if !is_host_allowed(&parts.headers, authority, &HOST_NAMES_OF_CONTAINERS) {
        let message = "this host name is not served on loopback without `auth`: send to 127.0.0.1 or localhost, or configure `auth`";
        let status = StatusCode::MISDIRECTED_REQUEST;
        return Err(RequestRefusal::new(GrpcCode::PermissionDenied, status, "host", message));
    }
    let is_known = parts.headers.get(http::header::ORIGIN).is_some_and(|origin| allows_origin(origin.as_bytes()));
    if !is_known && is_cross_site(&parts.headers) {
        let message = "pages of other sites may not send here: see `cors`";
        return Err(RequestRefusal::new(GrpcCode::PermissionDenied, StatusCode::FORBIDDEN, "cross_site", message));
    }
    Ok(())
}
