//! The admin port: `/metrics`, `/livez`, `/readyz`, the gateway's own page at `/gateway`, and the guard in front
//! of all pages of the port.
//! Host names other than IP literals, localhost and `allowed_hosts` are refused (DNS rebinding), and so are cross-site
//! POSTs. The page shows the values of `/metrics`. `net/listen` has the sockets, [`super::health`] defines readiness,
//! `crates/access/src/access_control` checks credentials and roles.

pub mod auth;
pub mod links;
pub mod oidc;
mod page;
pub mod roles;
#[cfg(test)]
mod tests;
pub mod webhook;

pub use page::mark_durations;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Health, Meter};
use config::{Endpoint, FieldProblem, PortTls, TimeSpan, address};

const MIN_KEEP_RUNS: Duration = Duration::from_secs(48 * 3600);
const MAX_KEEP_RUNS: Duration = Duration::from_secs(400 * 86_400);

kernel::with_defaults! {
    /// The `admin` extension.
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct AdminConfig {
        /// Address of the pages and `/metrics`. Default: `127.0.0.1:8888`.
        pub endpoint: String = "127.0.0.1:8888".to_owned(),
        /// Host names under which a browser may reach this port, in addition to IP literals and localhost.
        pub allowed_hosts: Vec<String>,
        /// Who may use this port: `tokens`, `certificates`, `oidc`, `bearer`, or `username` and `password`
        /// (docs/how-to/roles.md). Without this key everyone who reaches it may read; changes and `tap` need the token
        /// in the file `admin.token` of the data directory.
        pub auth: auth::AdminAuthConfig,
        /// The address at which people reach this port, such as `https://tollgate.example`. Webhook messages link to
        /// runs there, and browsers log in there (`auth.oidc`).
        pub public_url: Option<String>,
        /// How pages, reports and webhook messages link to traces.
        pub trace_link: links::TraceLinkConfig,
        /// Where the alerts that tollgate computes itself are sent.
        pub alerts: webhook::AlertWebhookConfig,
        /// How long ended runs are kept beside the spool: one small row each, with cost, counts, state and ids. Their
        /// calls are kept for 48 hours. From 48h to 400d. Default: 48 hours.
        pub keep_runs: TimeSpan = TimeSpan::seconds(48 * 3600),
        /// Certificate and key. Without this key the port serves plain text. With `client_ca_file` browsers and
        /// scrapers must present a certificate.
        pub tls: Option<PortTls>,
    }
}

/// The checked settings of the admin port.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// Address to listen on.
    pub endpoint: Endpoint,
    /// See [`AdminConfig::allowed_hosts`].
    pub allowed_hosts: Vec<String>,
    /// Who may use the port; `None`: no credential is configured.
    pub auth: Option<auth::AdminAuth>,
    /// The address at which people reach the port, without a trailing slash.
    pub public_url: Option<String>,
    /// Makes links to traces; `None`: no links.
    pub trace_link: Option<links::TraceLink>,
    /// Where alerts are sent; `None`: nowhere.
    pub alerts: Option<webhook::AlertWebhook>,
    /// See [`AdminConfig::keep_runs`].
    pub keep_runs: Duration,
    /// See [`AdminConfig::tls`].
    pub tls: Option<PortTls>,
    /// Notes on settings that are valid but that the user should know about.
    pub notes: Vec<FieldProblem>,
}

impl AdminConfig {
    /// Validates the settings.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<AdminSettings, Vec<FieldProblem>> {
        let is_invalid = |host: &String| host.is_empty() || host.contains([':', '/', ' ']);
        let mut problems: Vec<FieldProblem> = (self.allowed_hosts.iter().enumerate())
            .filter(|(_, host)| is_invalid(host))
            .map(|(index, _)| {
                FieldProblem::new(format!("allowed_hosts[{index}]"), "must be a host name without scheme and port")
            })
            .collect();
        let public_url = self.public_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
        if let Some(what) = public_url.as_deref().and_then(|url| address::parse_site(url).err()) {
            problems.push(FieldProblem::new("public_url", what));
        }
        let auth = self.auth.settings(self.requires_certificate(), public_url.as_deref(), &mut problems);
        let trace_link = self.trace_link.settings(&mut problems);
        let alerts = self.alerts.settings(&mut problems);
        let keep_runs = self.keep_runs.0;
        if !(MIN_KEEP_RUNS..=MAX_KEEP_RUNS).contains(&keep_runs) {
            problems.push(FieldProblem::new("keep_runs", "must be from 48h to 400d"));
        }
        self.tls.iter().for_each(|tls| tls.check("tls", &mut problems));
        match Endpoint::parse(&self.endpoint) {
            Ok(endpoint) if problems.is_empty() => {
                let (allowed_hosts, tls) = (self.allowed_hosts.clone(), self.tls.clone());
                let mut notes = warn_if_unlinked(alerts.is_some(), public_url.as_deref(), trace_link.is_some());
                notes.extend(self.warn_if_open(auth.is_some(), &endpoint));
                #[rustfmt::skip]
                let settings = AdminSettings {
                    endpoint, allowed_hosts, auth, public_url, trace_link, alerts, keep_runs, tls, notes,
                };
                return Ok(settings);
            }
            Ok(_) => {}
            Err(what) => problems.push(FieldProblem::new("endpoint", what)),
        }
        Err(problems)
    }

    fn requires_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some())
    }

    /// A warning if strangers may read the port. A required client certificate counts as a credential.
    fn warn_if_open(&self, has_auth: bool, endpoint: &Endpoint) -> Option<FieldProblem> {
        let what = "anyone who reaches this address can read runs, names, costs and metrics: set `auth: { bearer: \"${env:ADMIN_TOKEN}\" }`";
        (!has_auth && !self.requires_certificate() && !endpoint.is_local()).then(|| FieldProblem::new("endpoint", what))
    }
}

/// A warning if webhook messages have no link: a person who is alerted needs the run and its trace.
fn warn_if_unlinked(has_webhook: bool, public_url: Option<&str>, has_trace_link: bool) -> Vec<FieldProblem> {
    if !has_webhook || public_url.is_some() {
        return Vec::new();
    }
    let trace = if has_trace_link { "" } else { ", and `trace_link` for a link to the trace" };
    let what = format!(
        "messages have no link to the run: set `public_url` of this extension to the address at which people reach it{trace}"
    );
    vec![FieldProblem::new("alerts.url", what)]
}

/// The state that the pages show.
pub struct AdminState {
    /// Source of the metrics.
    pub meter: Meter,
    /// Source of readiness.
    pub health: Health,
    /// Formats an amount in USD as all other pages do.
    pub money: fn(f64) -> String,
}

impl AdminSettings {
    /// Whether browsers reach the port with TLS, as far as the settings say.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some() || self.public_url.as_ref().is_some_and(|url| url.starts_with("https://"))
    }

    /// Whether neither a credential nor a client certificate is required.
    pub fn is_open(&self) -> bool {
        self.auth.is_none() && self.tls.as_ref().is_none_or(|tls| tls.client_ca_file.is_none())
    }
}

/// The gateway's own routes on the admin port.
pub fn router(admin: Arc<AdminState>) -> Router {
    Router::new()
        .route("/gateway", get(gateway_page))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz).with_state(admin.health.clone()))
        .with_state(admin)
}

/// Puts the guard in front of all routes of the admin port: host names, cross-site requests, security headers.
pub fn guard_routes(routes: Router, allowed_hosts: Vec<String>) -> Router {
    routes.layer(middleware::from_fn_with_state(Arc::<[String]>::from(allowed_hosts), guard))
}

/// The routes of the `health_check` extension. `/` answers like the Collector's, which operators use for liveness:
/// whether the gateway is running, even while its spool is full, so that a sidecar does not take its pod out of
/// service. `path` is an alias of `/`.
pub fn health_router(health: Health, path: &str) -> Router {
    let paths = ["/", "/livez", "/readyz"];
    let alias = if paths.contains(&path) { Router::new() } else { Router::new().route(path, get(answer_running)) };
    let [root, live, ready] = paths;
    alias.route(root, get(answer_running)).route(live, get(livez)).route(ready, get(readyz)).with_state(health)
}

async fn gateway_page(State(admin): State<Arc<AdminState>>) -> Response {
    match page::render(&admin.meter, &admin.health.troubles(), admin.money) {
        Ok(page) => Html(page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn metrics(State(admin): State<Arc<AdminState>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], admin.meter.render())
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn answer_running(State(health): State<Health>) -> Response {
    if health.is_running() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "starting or shutting down\n").into_response()
}

async fn readyz(State(health): State<Health>) -> Response {
    if health.is_ready() {
        return "ok\n".into_response();
    }
    let troubles = health.troubles();
    let mut text: String = troubles.iter().map(|(part, why)| format!("{part}: {why}\n")).collect();
    if text.is_empty() {
        text.push_str("starting\n");
    }
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn guard(State(allowed_hosts): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let hosts: Vec<&str> = allowed_hosts.iter().map(String::as_str).collect();
    if !is_host_allowed(request.headers(), request.uri().authority().map(|a| a.host()), &hosts) {
        let text = "this host name is not allowed here; add it to `allowed_hosts` of this port\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) && is_cross_site(request.headers()) {
        return (StatusCode::FORBIDDEN, "cross-site requests are refused\n").into_response();
    }
    let mut response = next.run(request).await;
    add_security_headers(&mut response);
    response
}

/// Adds the headers that keep a page's content from other sites and from caches.
pub fn add_security_headers(response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
}

/// Whether a request names this machine: by an IP literal, localhost or one of `allowed`. Another name could be a
/// foreign one that resolves to this machine (DNS rebinding). `authority` is the host of the request's address.
pub fn is_host_allowed(headers: &HeaderMap, authority: Option<&str>, allowed: &[&str]) -> bool {
    let host = match headers.get(header::HOST).map(|host| host.to_str()) {
        Some(Ok(host)) => without_port(host),
        // A name that is not ASCII is none of those that are allowed.
        Some(Err(_)) => return false,
        // HTTP/1.0 without Host: not a browser, so no DNS rebinding.
        None => match authority {
            Some(host) => host,
            None => return true,
        },
    };
    let name = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok()
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // A bare IPv6 address has colons but no brackets, and then no port.
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (name.ends_with(']') || !name.contains(':')) =>
        {
            name
        }
        _ => host,
    }
}

/// Whether a request comes from another site: by `Sec-Fetch-Site` if the browser sends it, else by comparing Origin
/// with Host.
pub fn is_cross_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    match (text("origin"), text("host")) {
        (None, _) => false,
        (Some(origin), Some(host)) => origin.split_once("://").map(|(_, rest)| rest) != Some(host),
        (Some(_), None) => true,
    }
}
