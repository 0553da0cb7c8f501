//! The role that each route of the admin port and of `vault serve` needs. A route without a row is answered with 405,
//! so that a new route is closed until someone decides; a test compares the rows with the routes in the sources.

use axum::http::Method;

use telemetry::admin::roles::Role;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteAccess {
    /// Everyone: the probes, and the routes with which a browser logs in.
    Open,
    /// Clients with this role, unless their view is limited.
    Needs(Role),
    /// Viewers. The route shows a limited one the runs that it may see, and nothing made of others.
    Filtered,
}

const OPEN: RouteAccess = RouteAccess::Open;
const SCRAPER: RouteAccess = RouteAccess::Needs(Role::Scraper);
const VIEWER: RouteAccess = RouteAccess::Needs(Role::Viewer);
const FILTERED: RouteAccess = RouteAccess::Filtered;
const OPERATOR: RouteAccess = RouteAccess::Needs(Role::Operator);
const TAPPER: RouteAccess = RouteAccess::Needs(Role::Tapper);

/// A route: method, path as its router writes it, access. GET includes HEAD.
pub(super) type RouteRow = (Method, &'static str, RouteAccess);

/// Every route of the admin port.
pub(super) const ROUTES: &[RouteRow] = &[
    (Method::GET, "/livez", OPEN),
    (Method::GET, "/readyz", OPEN),
    (Method::GET, "/login", OPEN),
    (Method::POST, "/login", OPEN),
    (Method::GET, "/callback", OPEN),
    (Method::GET, "/logout", OPEN),
    (Method::POST, "/logout", OPEN),
    (Method::GET, "/", FILTERED),
    (Method::GET, "/runs", FILTERED),
    (Method::GET, "/runs/{id}", FILTERED),
    (Method::GET, "/budgets", FILTERED),
    (Method::GET, "/changes", FILTERED),
    (Method::GET, "/report", VIEWER),
    (Method::GET, "/report/issue/{id}", FILTERED),
    (Method::GET, "/gateway", VIEWER),
    (Method::GET, "/metrics", SCRAPER),
    (Method::GET, "/api/gateway", VIEWER),
    (Method::GET, "/api/clients", VIEWER),
    (Method::GET, "/api/runs", FILTERED),
    (Method::GET, "/api/runs/{id}", FILTERED),
    (Method::GET, "/api/runs/{id}/budget", FILTERED),
    (Method::POST, "/api/runs/{id}/outcome", OPERATOR),
    (Method::POST, "/api/runs/{id}/evaluations", OPERATOR),
    (Method::GET, "/api/sessions", FILTERED),
    (Method::GET, "/api/sums", FILTERED),
    (Method::GET, "/api/budgets", FILTERED),
    (Method::GET, "/api/investigations", VIEWER),
    (Method::GET, "/api/measures", VIEWER),
    (Method::GET, "/api/alerts", FILTERED),
    (Method::GET, "/api/alerts/webhook", VIEWER),
    (Method::POST, "/api/alerts/test", OPERATOR),
    (Method::GET, "/api/tap", TAPPER),
    // only asks routes above, each with its own row
    (Method::POST, "/mcp", FILTERED),
    (Method::POST, "/-/reload", OPERATOR),
    (Method::GET, "/-/drain", VIEWER),
    (Method::POST, "/-/drain", OPERATOR),
    (Method::POST, "/-/spool", OPERATOR),
    (Method::POST, "/-/erasures", OPERATOR),
    (Method::POST, "/-/budgets/grants", OPERATOR),
];

/// Every route of `vault serve --access`. Index lines are for viewers, opened content for tappers.
pub(super) const AUDIT_ROUTES: &[RouteRow] = &[
    (Method::GET, "/login", OPEN),
    (Method::POST, "/login", OPEN),
    (Method::GET, "/callback", OPEN),
    (Method::GET, "/logout", OPEN),
    (Method::POST, "/logout", OPEN),
    (Method::GET, "/", VIEWER),
    (Method::GET, "/verification", VIEWER),
    (Method::GET, "/session", TAPPER),
];

/// The access of a route; `None` if it has no row.
pub(super) fn find_access(rows: &[RouteRow], method: &Method, path: &str) -> Option<RouteAccess> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    rows.iter().find(|(known, route, _)| known == method && *route == path).map(|(.., access)| *access)
}
