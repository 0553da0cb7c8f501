//! Decides who may use a route of the admin port: credentials have roles (`telemetry/admin/auth`), routes need one
//! (`route_roles`). On a port without credentials everyone may read; changes and `tap` need the token in the data
//! directory and a client on this machine, because a scraper's port must not let its neighbours reload or mute. Host
//! names and cross-site requests are checked before, in `telemetry/admin`.

mod route_roles;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use kernel::secret::Secret;
use net::ClientCertificateNames;
use net::listen::LocalClient;
use telemetry::admin::auth::AdminAuth;
use telemetry::admin::roles::Role;

use route_roles::{RouteAccess, find_access};

/// The credentials that the admin port accepts.
pub(super) struct AccessControl {
    /// `extensions.admin.auth`.
    auth: Option<AdminAuth>,
    /// The token in the data directory; it counts only without `auth`.
    local_token: Option<AdminAuth>,
}

impl AccessControl {
    /// Accepts the configured credentials, or else the token in the data directory.
    pub(super) fn new(auth: Option<AdminAuth>, local_token: Option<&Secret>) -> Self {
        Self { auth, local_token: local_token.map(AdminAuth::from_token) }
    }

    /// The answer to a request that may not pass; `None` if it may.
    fn refuse(&self, request: &Request) -> Option<Response> {
        let access = match request.extensions().get::<MatchedPath>() {
            // An unknown path: 404, but only for clients that may read.
            None => RouteAccess::Needs(Role::Viewer),
            Some(path) => match find_access(request.method(), path.as_str()) {
                Some(access) => access,
                None => return Some(StatusCode::METHOD_NOT_ALLOWED.into_response()),
            },
        };
        let RouteAccess::Needs(role) = access else { return None };
        match &self.auth {
            Some(auth) => refuse_by_credential(auth, role, request),
            None => self.refuse_on_open_port(role, request),
        }
    }

    fn refuse_on_open_port(&self, role: Role, request: &Request) -> Option<Response> {
        // The port requires a certificate of a configured authority: with no `auth`, that gives every role.
        if role == Role::Viewer || request.extensions().get::<Arc<ClientCertificateNames>>().is_some() {
            return None;
        }
        if request.extensions().get::<LocalClient>().is_none() {
            let text = "only clients on this machine may do this: to allow others, set `extensions.admin.auth` or `tls.client_ca_file`\n";
            return Some((StatusCode::FORBIDDEN, text).into_response());
        }
        let roles = self.local_token.as_ref().and_then(|token| token.find_roles(request.headers(), &[]));
        if roles.unwrap_or_default().has(role) {
            return None;
        }
        let text = format!(
            "this needs the role `{}`: send `authorization: Bearer TOKEN` with the token in the file `admin.token` of the data directory, or set `extensions.admin.auth`\n",
            role.as_str()
        );
        Some(unauthorized("Bearer realm=\"tollgate\"", text))
    }
}

fn refuse_by_credential(auth: &AdminAuth, role: Role, request: &Request) -> Option<Response> {
    let certificate = request.extensions().get::<Arc<ClientCertificateNames>>();
    let names = certificate.map_or(&[][..], |certificate| &certificate.names);
    match auth.find_roles(request.headers(), names) {
        None => Some(unauthorized(auth.challenge(), "the credential is missing or wrong\n".to_owned())),
        Some(roles) if roles.has(role) => None,
        Some(_) => {
            let text = format!("this needs the role `{}`, which the credential does not have\n", role.as_str());
            Some((StatusCode::FORBIDDEN, text).into_response())
        }
    }
}

fn unauthorized(challenge: &'static str, text: String) -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], text).into_response()
}

/// Puts the check of credentials and roles in front of `routes`.
pub(super) fn check_routes(routes: Router, access: AccessControl) -> Router {
    routes.layer(middleware::from_fn_with_state(Arc::new(access), check_role))
}

async fn check_role(State(access): State<Arc<AccessControl>>, request: Request, next: Next) -> Response {
    match access.refuse(&request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}
