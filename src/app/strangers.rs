//! **What**: who may do more than read where the admin port asks nobody who is there: clients on this machine, and
//! those with a certificate. **Why**: a scraper needs the port on the pod's address, and then every neighbour could
//! reload, mute, judge runs and send alerts. **Not here**: credentials and cross-site requests, which come first
//! (`telemetry/admin`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Extensions, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use net::Peer;
use net::listen::Near;

/// Whether a client that the port's own guard let through is known: `guarded` if that guard asks for credentials.
pub(super) fn is_known(guarded: bool, extensions: &Extensions) -> bool {
    guarded || extensions.get::<Near>().is_some() || extensions.get::<Arc<Peer>>().is_some()
}

/// Lets strangers read, and nothing else.
pub(super) async fn only_read(State(guarded): State<bool>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if reads || is_known(guarded, request.extensions()) {
        return next.run(request).await;
    }
    let text =
        "only clients on this machine may change anything: set `extensions.admin.auth`, or `tls.client_ca_file`\n";
    (StatusCode::FORBIDDEN, text).into_response()
}
