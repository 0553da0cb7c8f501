//! `/login` with a form for a token or the password, where no identity provider logs browsers in, and `/logout`, also
//! after a login at a provider. The form needs no script. `telemetry/admin` refuses POSTs of other sites; the cookie
//! names a session and holds nothing of the token.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Form, Query, State};
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::refusals::RefusalRecorder;
use crate::sessions::BrowserSessions;
use kernel::secret::Secret;
use net::ClientAddress;
use telemetry::admin::auth::{AdminAuth, KnownClient};
use telemetry::admin::roles::Role;

/// Longest path to return to, in bytes.
const MAX_PATH_BYTES: usize = 1024;
/// Largest body of a form, in bytes.
const MAX_FORM_BYTES: usize = 8192;

/// The form of a port.
pub(crate) struct LoginForm {
    pub(crate) auth: AdminAuth,
    pub(crate) sessions: Arc<BrowserSessions>,
    pub(crate) refusals: Arc<RefusalRecorder>,
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
        Self { auth, sessions: Arc::new(sessions), refusals }
    }

    /// The owner of `secret`; else the counted reason and the text.
    fn find_owner(&self, secret: &str) -> Result<KnownClient, (&'static str, &'static str)> {
        // Copying may add space around a secret; a secret may also begin or end with some.
        let owner = self.auth.find_secret_owner(secret).or_else(|| self.auth.find_secret_owner(secret.trim()));
        let client = owner.ok_or(("wrong_credential", "This token is not known here."))?;
        let refused = ("forbidden", "This token reads the metrics alone, no page.");
        client.roles.has(Role::Viewer).then_some(client).ok_or(refused)
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
    headers: HeaderMap,
    Form(fields): Form<LoginFields>,
) -> Response {
    match form.find_owner(fields.token.expose()) {
        Ok(client) => {
            let mut response = Redirect::to(query.path()).into_response();
            form.sessions.begin(&mut response, &headers, client, None);
            response
        }
        Err((reason, text)) => {
            form.refusals.count(reason, ClientAddress::of(&extensions));
            render_form(StatusCode::FORBIDDEN, query.path(), Some(text))
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
