//! Restricts an admin port without credentials: clients that are neither on this machine nor have a certificate may
//! only read. A scraper needs the port on the pod's address, and without this any neighbour could reload, mute, set
//! outcomes of runs and send alerts. Credentials and cross-site requests are checked before, in `telemetry/admin`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Extensions, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use net::ClientCertificateNames;
use net::listen::LocalClient;

/// Whether a client that passed the port's guard is trusted to change things; `guarded` if that guard checks
/// credentials.
pub(super) fn is_trusted(guarded: bool, extensions: &Extensions) -> bool {
    guarded || extensions.get::<LocalClient>().is_some() || extensions.get::<Arc<ClientCertificateNames>>().is_some()
}

/// Lets unknown clients read, and refuses everything else.
pub(super) async fn refuse_untrusted_changes(State(guarded): State<bool>, request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if is_read || is_trusted(guarded, request.extensions()) {
        return next.run(request).await;
    }
    let text = "only clients on this machine may make changes: to allow others, set `extensions.admin.auth` or `tls.client_ca_file`\n";
    (StatusCode::FORBIDDEN, text).into_response()
}
