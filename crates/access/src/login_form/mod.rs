//! `/login` with a form for a token or the password, where no identity provider logs browsers in, and `/logout`, also
//! after a login at a provider. The form needs no script. `telemetry/admin` refuses POSTs of other sites; the cookie names a session and
//! holds nothing of the token. Wrong attempts are limited for each network.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Form, Query, State};
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::refusals::RefusalRecorder;
use crate::sessions::BrowserSessions;
use kernel::bounded_map::BoundedMap;
use kernel::secret::Secret;
use net::ClientAddress;
use telemetry::admin::auth::{AdminAuth, KnownClient};
use telemetry::admin::roles::Role;

/// Longest path to return to, in bytes.
const MAX_PATH_BYTES: usize = 1024;
/// Largest body of a form, in bytes.
const MAX_FORM_BYTES: usize = 8192;
/// Wrong attempts of a network within [`ATTEMPTS_WINDOW`]; after them its attempts are refused until the window ends.
const MAX_WRONG_ATTEMPTS: u32 = 10;
const ATTEMPTS_WINDOW: Duration = Duration::from_secs(60);
/// Networks whose wrong attempts are remembered.
const MAX_NETWORKS: usize = 4096;

/// Beginning of the window (monotonic), and wrong attempts since.
type WrongAttempts = (Duration, u32);

/// The form of a port.
pub(crate) struct LoginForm {
    pub(crate) auth: AdminAuth,
    pub(crate) sessions: Arc<BrowserSessions>,
    pub(crate) refusals: Arc<RefusalRecorder>,
    wrong: Mutex<BoundedMap<IpAddr, WrongAttempts, MAX_NETWORKS>>,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    /// The address that the form is sent to.
    action: &'a str,
    problem: Option<&'a str>,
    is_logout: bool,
}

#[derive(Deserialize)]
pub(crate) struct LoginQuery {
    next: Option<String>,
}

impl LoginQuery {
    /// The path to return to.
    pub(crate) fn path(&self) -> &str {
        local_path(self.next.as_deref().unwrap_or("/"))
    }
}

/// The path, if it stays on this port; else `/`. Browsers read `//` and `/\` as another host.
pub(crate) fn local_path(path: &str) -> &str {
    let is_local = path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains('\\')
        && path.len() <= MAX_PATH_BYTES
        && path.bytes().all(|byte| byte.is_ascii_graphic());
    if is_local { path } else { "/" }
}

/// The address of the login that returns to `path`.
pub(crate) fn login_path(path: &str) -> String {
    format!("/login?next={}", utf8_percent_encode(path, NON_ALPHANUMERIC))
}

/// The routes of the form; they are open, because a browser without a session needs them.
pub(crate) fn form_router(form: Arc<LoginForm>) -> Router {
    let sessions = Arc::clone(&form.sessions);
    Router::new()
        .route("/login", get(show_form).post(check_form))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .with_state(form)
        .merge(logout_router(sessions))
}

/// `/logout` of browsers with these sessions.
pub(crate) fn logout_router(sessions: Arc<BrowserSessions>) -> Router {
    Router::new().route("/logout", get(ask_logout).post(logout)).with_state(sessions)
}

impl LoginForm {
    pub(crate) fn new(auth: AdminAuth, sessions: BrowserSessions, refusals: Arc<RefusalRecorder>) -> Self {
        Self { auth, sessions: Arc::new(sessions), refusals, wrong: Mutex::default() }
    }

    /// The owner of `secret`, which a client at `address` sent; else the counted reason, the status and the text.
    fn find_owner(
        &self,
        secret: &str,
        address: ClientAddress,
    ) -> Result<KnownClient, (&'static str, StatusCode, &'static str)> {
        // The lock is held meanwhile, so that attempts at once can't exceed the limit.
        let (now, mut wrong) = (self.sessions.clock.monotonic(), self.wrong.lock());
        let network = network_of(address.ip);
        let (began, count) = wrong.get(&network).copied().unwrap_or_default();
        let (began, count) = if now.saturating_sub(began) < ATTEMPTS_WINDOW { (began, count) } else { (now, 0) };
        if count >= MAX_WRONG_ATTEMPTS {
            let text = "Too many wrong attempts from your network. Wait a minute, then try again.";
            return Err(("too_many_attempts", StatusCode::TOO_MANY_REQUESTS, text));
        }
        let Some(client) = self.auth.find_secret_owner(secret) else {
            wrong.insert(network, (began, count.saturating_add(1)));
            return Err(("wrong_credential", StatusCode::FORBIDDEN, "This token is not known here."));
        };
        if client.roles.has(Role::Viewer) {
            return Ok(client);
        }
        Err(("forbidden", StatusCode::FORBIDDEN, "This token reads the metrics alone, no page."))
    }
}

/// Clients with IPv6 have a network of 64 bits to choose addresses from.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
    }
}

fn render_form(status: StatusCode, path: &str, problem: Option<&str>) -> Response {
    render(status, &LoginPage { action: &login_path(path), problem, is_logout: false })
}

fn render(status: StatusCode, page: &LoginPage<'_>) -> Response {
    match page.render() {
        Ok(page) => (status, Html(page)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn show_form(Query(query): Query<LoginQuery>) -> Response {
    render_form(StatusCode::OK, query.path(), None)
}

#[derive(Deserialize)]
struct LoginFields {
    token: Secret,
}

async fn check_form(
    State(form): State<Arc<LoginForm>>,
    Query(query): Query<LoginQuery>,
    extensions: Extensions,
    Form(fields): Form<LoginFields>,
) -> Response {
    let address = ClientAddress::of(&extensions);
    match form.find_owner(fields.token.expose().trim(), address) {
        Ok(client) => {
            let mut response = Redirect::to(query.path()).into_response();
            form.sessions.begin(&mut response, client, u64::MAX);
            response
        }
        Err((reason, status, text)) => {
            form.refusals.count(reason, address);
            render_form(status, query.path(), Some(text))
        }
    }
}

async fn ask_logout() -> Response {
    render(StatusCode::OK, &LoginPage { action: "/logout", problem: None, is_logout: true })
}

async fn logout(State(sessions): State<Arc<BrowserSessions>>, headers: HeaderMap) -> Response {
    let mut response = "logged out of tollgate\n".into_response();
    sessions.end(&mut response, &headers);
    response
}
