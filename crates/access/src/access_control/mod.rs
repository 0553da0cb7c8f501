//! Decides who may use a route of the admin port or of `vault serve`: credentials have roles (`telemetry/admin/auth`,
//! `oidc`), routes need one (`route_roles`). On a port without credentials everyone may read; changes and `tap` need
//! the token in the data directory and a client on this machine, because a scraper's port must not let its neighbours
//! reload or drain. Host names and cross-site requests are checked before, in `telemetry/admin`.

mod route_roles;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};

use crate::login_form::{LoginForm, form_router, login_path};
use crate::oidc::{OidcClient, OidcRefusal, login_router};
use crate::refusals::RefusalRecorder;
use crate::sessions::BrowserSessions;
use kernel::clock::Clock;
use kernel::rng::Rng;
use kernel::secret::Secret;
use net::{ClientAddress, ClientCertificateNames};
use telemetry::Meter;
use telemetry::admin::auth::{AdminAuth, KnownClient};
use telemetry::admin::roles::Role;

use route_roles::{AUDIT_ROUTES, ROUTES, RouteAccess, RouteRow, find_access};

/// The header that a script on the port's own page sets with a change. A page of another site can't set it.
const CSRF_HEADER: &str = "x-tollgate-csrf";

/// The credentials that a port accepts, and what its routes need.
#[derive(Clone)]
pub struct AccessControl {
    routes: &'static [RouteRow],
    /// `extensions.admin.auth`.
    auth: Option<AdminAuth>,
    /// The token in the data directory; it counts only without `auth`.
    local_token: Option<AdminAuth>,
    /// The identity provider of `auth`.
    oidc: Option<Arc<OidcClient>>,
    /// How browsers log in without the provider.
    form: Option<Arc<LoginForm>>,
    refusals: Arc<RefusalRecorder>,
}

impl AccessControl {
    /// Accepts the configured credentials, or else the token in the data directory. `oidc` is the client of the
    /// identity provider in `auth`.
    pub fn new(
        auth: Option<AdminAuth>,
        local_token: Option<&Secret>,
        oidc: Option<Arc<OidcClient>>,
        meter: &Meter,
    ) -> Self {
        let (refusals, form) = (Arc::new(RefusalRecorder::new(meter)), None);
        Self { routes: ROUTES, auth, local_token: local_token.map(AdminAuth::from_token), oidc, form, refusals }
    }

    /// Accepts these credentials on the routes of `vault serve`.
    pub fn for_audit_page(auth: AdminAuth, oidc: Option<Arc<OidcClient>>) -> Self {
        Self { routes: AUDIT_ROUTES, ..Self::new(Some(auth), None, oidc, &Meter::new()) }
    }

    /// Lets browsers log in with a token or a password, unless they log in at the identity provider. `is_secure`: they
    /// reach the port with TLS.
    #[must_use]
    pub fn with_login_form(self, is_secure: bool, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        let auth = self.auth.clone().filter(|auth| auth.has_secrets() && self.login_provider().is_none());
        let sessions = BrowserSessions::new(is_secure, clock, rng);
        let form = auth.map(|auth| Arc::new(LoginForm::new(auth, sessions, Arc::clone(&self.refusals))));
        Self { form, ..self }
    }

    /// The identity provider, if browsers log in there.
    fn login_provider(&self) -> Option<&Arc<OidcClient>> {
        self.oidc.as_ref().filter(|oidc| oidc.has_login())
    }

    fn sessions(&self) -> Option<&BrowserSessions> {
        let of_form = self.form.as_ref().map(|form| &*form.sessions);
        of_form.or_else(|| self.login_provider().map(|oidc| &*oidc.sessions))
    }

    /// The client of a request that may pass, if the route or the port asks who it is; else the answer.
    async fn admit(&self, request: &Parts) -> Result<Option<KnownClient>, Box<Response>> {
        let access = match request.extensions.get::<MatchedPath>() {
            // An unknown path: 404, but only for clients that may read.
            None => RouteAccess::Needs(Role::Viewer),
            Some(path) => match find_access(self.routes, &request.method, path.as_str()) {
                Some(access) => access,
                None => return Err(Box::new(StatusCode::METHOD_NOT_ALLOWED.into_response())),
            },
        };
        let role = match access {
            RouteAccess::Open => return Ok(None),
            RouteAccess::Needs(role) => role,
            RouteAccess::Filtered => Role::Viewer,
        };
        let Some(auth) = &self.auth else {
            return self.refuse_on_open_port(role, request).map_or(Ok(None), |refusal| Err(Box::new(refusal)));
        };
        let client = self.find_client(auth, request).await?;
        let text = match client.roles.has(role) {
            true if access == RouteAccess::Filtered || client.roles.limits.is_empty() => return Ok(Some(client)),
            true => "this is not limited to the runs that the credential may see (`auth.limits`)\n".to_owned(),
            false => format!("this needs the role `{}`, which the credential does not have\n", role.as_str()),
        };
        Err(Box::new((StatusCode::FORBIDDEN, text).into_response()))
    }

    fn refuse_on_open_port(&self, role: Role, request: &Parts) -> Option<Response> {
        // The port requires a certificate of a configured authority: with no `auth`, that gives every role.
        if matches!(role, Role::Scraper | Role::Viewer)
            || request.extensions.get::<Arc<ClientCertificateNames>>().is_some()
        {
            return None;
        }
        if !ClientAddress::of(&request.extensions).is_local() {
            let text = "only clients on this machine may do this: to allow others, set `extensions.admin.auth` or `tls.client_ca_file`\n";
            return Some((StatusCode::FORBIDDEN, text).into_response());
        }
        let client = self.local_token.as_ref().and_then(|token| token.find_client(&request.headers, &[]));
        if client.is_some_and(|client| client.roles.has(role)) {
            return None;
        }
        let text = format!(
            "this needs the role `{}`: send `authorization: Bearer TOKEN` with the token in the file `admin.token` of the data directory, or set `extensions.admin.auth`\n",
            role.as_str()
        );
        Some(unauthorized("Bearer realm=\"tollgate\"", text))
    }

    /// The client: by its `authorization` header if it sends one, else by its session or its certificate.
    async fn find_client(&self, auth: &AdminAuth, request: &Parts) -> Result<KnownClient, Box<Response>> {
        let headers = &request.headers;
        let certificate = request.extensions.get::<Arc<ClientCertificateNames>>();
        let names = certificate.map_or(&[][..], |certificate| &certificate.names);
        if let Some(client) = auth.find_client(headers, names) {
            return Ok(client);
        }
        let refused = || {
            let text = "the credential is missing or wrong\n".to_owned();
            Box::new(unauthorized(auth.challenge(), text))
        };
        if headers.contains_key(header::AUTHORIZATION) {
            let oidc = self.oidc.as_ref().ok_or_else(refused)?;
            let token = bearer_token(headers).ok_or_else(refused)?;
            return oidc.find_token_client(token).await.map_err(|why| match why {
                OidcRefusal::Invalid | OidcRefusal::UnknownKey => refused(),
                OidcRefusal::Unavailable => {
                    let text = "the identity provider does not answer, so the token can't be verified\n";
                    Box::new((StatusCode::SERVICE_UNAVAILABLE, text).into_response())
                }
            });
        }
        let is_read = matches!(request.method, Method::GET | Method::HEAD);
        let sessions = self.sessions().ok_or_else(refused)?;
        match sessions.find_client(headers) {
            Some(_) if !is_read && !is_from_own_page(headers) => {
                let text = format!("a change from a browser needs the header `{CSRF_HEADER}`\n");
                Err(Box::new((StatusCode::FORBIDDEN, text).into_response()))
            }
            Some(client) => Ok(client),
            None if is_read && wants_html(headers) => {
                let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
                Err(Box::new(Redirect::to(&login_path(path)).into_response()))
            }
            None => Err(refused()),
        }
    }
}

/// The token of the only `authorization` header, if its scheme is Bearer.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a browser says, or only a script of this port's page could have sent, that a change is its own.
fn is_from_own_page(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin") || headers.contains_key(CSRF_HEADER)
}

fn wants_html(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|text| text.contains("text/html"))
}

fn unauthorized(challenge: &'static str, text: String) -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], text).into_response()
}

/// Adds the routes of logins to `routes`, and puts the check of credentials and roles in front of all.
pub fn check_routes(routes: Router, access: AccessControl) -> Router {
    let form = access.form.clone().map(form_router);
    let login = form.or_else(|| access.login_provider().cloned().map(login_router));
    routes.merge(login.unwrap_or_default()).layer(middleware::from_fn_with_state(Arc::new(access), check_role))
}

async fn check_role(State(access): State<Arc<AccessControl>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match access.admit(&parts).await {
        Err(refusal) => {
            access.refusals.record(&parts, &refusal);
            *refusal
        }
        Ok(client) => {
            client.and_then(|client| parts.extensions.insert(client));
            next.run(Request::from_parts(parts, body)).await
        }
    }
}
