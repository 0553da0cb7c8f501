//! Who may use which route of the admin port. (`tests/it/strangers.rs` has the same with sockets.)

use std::collections::BTreeSet;
use std::fs;

use axum::body::Body;
use axum::http::{Method, Request};
use axum::routing::any;
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use super::route_roles::{AUDIT_ROUTES, ROUTES};
use super::*;
use telemetry::admin::AdminConfig;

const ALL_TOKEN: &str = "a token of every role";
const LOCAL_TOKEN: &str = "the token in the file";

/// A port with a token for each role, named after the role, and one certificate.
fn configured() -> AccessControl {
    let config: AdminConfig = serde_json::from_value(json!({
        "tls": { "cert_file": "c", "key_file": "k", "client_ca_file": "a" },
        "auth": {
            "bearer": ALL_TOKEN,
            "tokens": {
                "scraper": ["a token of scraper"], "viewer": ["a token of viewer"],
                "operator": ["a token of operator"], "tapper": ["a token of tapper"],
                "acme": ["a limited token"],
            },
            "certificates": { "operator": ["ops.example"] },
            "limits": { "acme": { "tenants": ["acme"] } },
        },
    }))
    .unwrap();
    AccessControl::new(config.settings().unwrap().auth, None, None, &Meter::new())
}

/// The same credentials on the page of `vault serve`.
fn audit_page() -> AccessControl {
    AccessControl { routes: AUDIT_ROUTES, ..configured() }
}

fn without_token() -> AccessControl {
    AccessControl::new(None, None, None, &Meter::new())
}

fn open_port() -> AccessControl {
    AccessControl::new(None, Some(&Secret::new(LOCAL_TOKEN.to_owned())), None, &Meter::new())
}

/// A client of the port.
#[derive(Clone, Default)]
struct Client {
    token: Option<String>,
    certificate: Option<&'static str>,
    is_local: bool,
}

/// The status and text for a request to stubs of all routes.
async fn ask(access: AccessControl, method: &Method, path: &str, client: Client) -> (StatusCode, String) {
    let paths: BTreeSet<&str> = access.routes.iter().map(|(_, path, _)| *path).collect();
    let stubs = paths.into_iter().fold(Router::new(), |routes, path| routes.route(path, any(async || "done")));
    let mut request = Request::builder().method(method).uri(path.replace(['{', '}'], "x"));
    if let Some(token) = client.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut request = request.body(Body::empty()).unwrap();
    if let Some(name) = client.certificate {
        let names = ClientCertificateNames { names: vec![name.to_owned()] };
        request.extensions_mut().insert(Arc::new(names));
    }
    if client.is_local {
        request.extensions_mut().insert(ClientAddress { ip: [127, 0, 0, 1].into(), is_forwarded: false });
    }
    let answer = check_routes(stubs, access).oneshot(request).await.unwrap();
    let status = answer.status();
    let challenged = answer.headers().contains_key(header::WWW_AUTHENTICATE);
    assert_eq!(challenged, status == StatusCode::UNAUTHORIZED, "{method} {path}");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn with_token(token: &str) -> Client {
    Client { token: Some(token.to_owned()), ..Client::default() }
}

/// Each refused request is counted by its reason, so that guesses at a password are seen; an answered one is not. (Shown
/// to fail without `record`: no such metric.)
#[tokio::test]
async fn refusals_are_counted() {
    let meter = Meter::new();
    let access = || AccessControl { refusals: Arc::new(RefusalRecorder::new(&meter)), ..configured() };
    for token in ["a guess", "another guess", "a token of viewer", "a token of operator"] {
        ask(access(), &Method::POST, "/-/reload", with_token(token)).await;
    }
    ask(access(), &Method::GET, "/metrics", Client::default()).await;
    let text = meter.render();
    for (reason, count) in [("wrong_credential", 2), ("forbidden", 1), ("no_credential", 1)] {
        let line = format!("tollgate_admin_rejections_total{{reason=\"{reason}\",from=\"public\"}} {count}");
        assert!(text.contains(&line), "{line}: {text}");
    }
    assert!(!text.contains("guess"), "{text}");
}

impl RouteAccess {
    /// The role that a client needs.
    fn role(self) -> Option<Role> {
        match self {
            Self::Open => None,
            Self::Needs(role) => Some(role),
            Self::Filtered => Some(Role::Viewer),
        }
    }
}

/// The roles whose routes a client with `role` may use.
fn included_roles(role: Role) -> Vec<Role> {
    match role {
        Role::Scraper => vec![role],
        Role::Viewer => vec![Role::Scraper, role],
        Role::Operator | Role::Tapper => vec![Role::Scraper, Role::Viewer, role],
    }
}

/// Every route with every credential: 401 without a known one, 403 that names the role without that role.
#[tokio::test]
async fn each_route_needs_its_role() {
    check_each_route(configured).await;
    check_each_route(audit_page).await;
}

async fn check_each_route(configured: fn() -> AccessControl) {
    for (method, path, access) in configured().routes {
        let strangers = [Client::default(), with_token("not a known token"), with_token(""), with_token(LOCAL_TOKEN)];
        for stranger in strangers {
            let (status, text) = ask(configured(), method, path, stranger).await;
            if *access == RouteAccess::Open {
                assert_eq!(status, StatusCode::OK, "{method} {path}");
                continue;
            }
            assert_eq!((status, &*text), (StatusCode::UNAUTHORIZED, "the credential is missing or wrong\n"), "{path}");
        }
        assert_eq!(ask(configured(), method, path, with_token(ALL_TOKEN)).await.0, StatusCode::OK, "{method} {path}");
        let certificate = |name| Client { certificate: Some(name), ..Client::default() };
        let clients = Role::ALL.map(|role| (role, with_token(&format!("a token of {}", role.as_str()))));
        for (role, client) in clients.into_iter().chain([(Role::Operator, certificate("ops.example"))]) {
            let (status, text) = ask(configured(), method, path, client).await;
            match access.role() {
                Some(needed) if !included_roles(role).contains(&needed) => {
                    assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path} {role:?}");
                    assert!(text.contains(&format!("the role `{}`", needed.as_str())), "{text}");
                }
                _ => assert_eq!(status, StatusCode::OK, "{method} {path} {role:?}"),
            }
        }
        if *access != RouteAccess::Open {
            let (status, _) = ask(configured(), method, path, certificate("else.example")).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
        }
    }
}

/// A limited viewer has the open routes and those that are filtered for it. `/api/measures` and the like add up the runs
/// of all, and `vault serve` filters nothing. (Shown to fail without the look at `limits` in `admit`: `/metrics`.)
#[tokio::test]
async fn limited_viewers_have_filtered_routes_alone() {
    for access_of in [configured, audit_page] {
        for (method, path, access) in access_of().routes {
            let (status, text) = ask(access_of(), method, path, with_token("a limited token")).await;
            match (access, access.role()) {
                (RouteAccess::Open | RouteAccess::Filtered, _) => assert_eq!(status, StatusCode::OK, "{method} {path}"),
                (_, role) => {
                    assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}");
                    let is_read = matches!(role, Some(Role::Scraper | Role::Viewer));
                    assert!(text.contains(if is_read { "`auth.limits`" } else { "the role `" }), "{path}: {text}");
                }
            }
        }
        assert_eq!(
            ask(access_of(), &Method::GET, "/new", with_token("a limited token")).await.0,
            StatusCode::FORBIDDEN
        );
    }
    assert!(AUDIT_ROUTES.iter().all(|(.., access)| *access != RouteAccess::Filtered));
}

/// On a port without `auth` everyone may read. Changes and `tap` need the token in the data directory, also from
/// neighbours in the same pod, and a client on this machine; a verified certificate is enough.
#[tokio::test]
async fn an_open_port_is_for_reading() {
    let local = |token: Option<&str>| Client { token: token.map(str::to_owned), is_local: true, ..Client::default() };
    for (method, path, access) in ROUTES {
        let is_read = matches!(access.role(), None | Some(Role::Scraper | Role::Viewer));
        let expected = |refused: StatusCode| if is_read { StatusCode::OK } else { refused };
        for token in [None, Some("not the token in the file"), Some(""), Some(ALL_TOKEN)] {
            let (status, text) = ask(open_port(), method, path, local(token)).await;
            assert_eq!(status, expected(StatusCode::UNAUTHORIZED), "{method} {path} {token:?}");
            assert!(is_read || text.contains("`admin.token`"), "{text}");
        }
        assert_eq!(ask(open_port(), method, path, local(Some(LOCAL_TOKEN))).await.0, StatusCode::OK, "{method} {path}");
        for client in [Client::default(), with_token(LOCAL_TOKEN)] {
            let (status, _) = ask(open_port(), method, path, client).await;
            assert_eq!(status, expected(StatusCode::FORBIDDEN), "{method} {path}");
        }
        let certificate = Client { certificate: Some("any.example"), ..Client::default() };
        assert_eq!(ask(without_token(), method, path, certificate).await.0, StatusCode::OK);
        let (status, _) = ask(without_token(), method, path, local(Some(LOCAL_TOKEN))).await;
        assert_eq!(status, expected(StatusCode::UNAUTHORIZED), "no token was read");
    }
}

/// A method without a row is closed to every role, although its path is known and the route would answer.
#[tokio::test]
async fn a_route_without_a_row_is_closed() {
    for (method, path) in [(Method::PUT, "/api/runs"), (Method::GET, "/-/reload"), (Method::DELETE, "/livez")] {
        let (status, _) = ask(configured(), &method, path, with_token(ALL_TOKEN)).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
    }
    assert_eq!(ask(configured(), &Method::HEAD, "/runs", with_token("a token of viewer")).await.0, StatusCode::OK);
    assert_eq!(ask(configured(), &Method::HEAD, "/runs", Client::default()).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(configured(), &Method::GET, "/unknown", Client::default()).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(configured(), &Method::GET, "/unknown", with_token(ALL_TOKEN)).await.0, StatusCode::NOT_FOUND);
    let scraper = with_token("a token of scraper");
    assert_eq!(ask(configured(), &Method::GET, "/unknown", scraper).await.0, StatusCode::FORBIDDEN);
}

/// The sources whose routers are merged into the admin port's.
fn admin_sources() -> Vec<String> {
    let sources = [
        "crates/telemetry/src/admin/mod.rs",
        "crates/pages/src/api/mod.rs",
        "crates/pages/src/lib.rs",
        "crates/pages/src/mcp/mod.rs",
        "crates/access/src/oidc/login.rs",
        "crates/access/src/login_form/mod.rs",
    ];
    let mut paths = sources.map(fixtures::at).to_vec();
    let mut folders = vec![fixtures::at("src/app")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.file_stem().is_some_and(|name| name == "tests");
            match path.is_dir() {
                _ if is_test => {}
                true => folders.push(path),
                false if path.extension() == Some("rs".as_ref()) => paths.push(path),
                false => {}
            }
        }
    }
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// The routes that a source adds to a router: `METHOD PATH`.
fn routes_in(source: &str) -> Vec<String> {
    let text: String = source.chars().filter(|letter| !letter.is_whitespace()).collect();
    let mut found = Vec::new();
    for call in text.split(".route(").skip(1) {
        let mut depth = 1;
        let end = call.find(|letter| {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
            depth == 0
        });
        let (path, handlers) = call[..end.unwrap()].split_once(',').unwrap();
        let path = match path.strip_prefix('"') {
            Some(literal) => literal.trim_end_matches('"').to_owned(),
            None if path.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_') => {
                let value = text.split(&format!("const{path}:&str=\"")).nth(1).expect("a constant of the same file");
                value.split('"').next().unwrap().to_owned()
            }
            // the health check's port, which has no roles
            None => continue,
        };
        let handlers = format!(".{handlers}");
        // a helper of the same source that makes the handler of one method
        let helper = handlers[1..].split('(').next().unwrap();
        let made = text.split(&format!("fn{helper}(")).nth(1).and_then(|made| made.split_once('{'));
        let made = made.filter(|(head, _)| head.contains("->MethodRouter<")).map_or("", |(_, body)| body);
        let methods = ["get", "post", "put", "delete", "patch", "any"];
        let named =
            |method: &&str| handlers.contains(&format!(".{method}(")) || made.starts_with(&format!("{method}("));
        let named: Vec<&str> = methods.into_iter().filter(named).collect();
        assert!(!named.is_empty(), "{path}: no method is read from `{handlers}`");
        found.extend(named.iter().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    found
}

/// A route that changes something needs the role operator, one that shows traffic or content the role tapper; only
/// probes and logins need none, and a scraper has `/metrics` alone. `vault serve` changes nothing. (Shown to fail with `/-/reload` for viewers.)
#[test]
fn rows_have_the_right_role() {
    for (method, path, access) in ROUTES.iter().chain(AUDIT_ROUTES) {
        let expected = match *path {
            "/livez" | "/readyz" | "/login" | "/callback" | "/logout" => None,
            "/metrics" => Some(Role::Scraper),
            "/api/tap" | "/session" => Some(Role::Tapper),
            "/mcp" => Some(Role::Viewer),
            _ if *method != Method::GET => Some(Role::Operator),
            _ => Some(Role::Viewer),
        };
        assert_eq!(access.role(), expected, "{method} {path}");
    }
    assert!(
        AUDIT_ROUTES.iter().all(|(method, path, _)| *method == Method::GET || ["/login", "/logout"].contains(path))
    );
}

/// Each route in the sources has one row, and each row a route. (Shown to fail without the row of `/changes`.)
#[test]
fn every_route_has_a_row() {
    let in_sources: BTreeSet<String> = admin_sources().iter().flat_map(|source| routes_in(source)).collect();
    let rows: BTreeSet<String> = ROUTES.iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    assert_eq!(rows.len(), ROUTES.len(), "a row is there twice");
    assert_eq!(in_sources, rows);
}
