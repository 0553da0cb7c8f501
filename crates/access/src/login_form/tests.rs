//! Browsers that log in with a token or a password. (`tests/it/strangers.rs` has the same with sockets.)

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::routing::any;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::access_control::{AccessControl, check_routes};
use kernel::clock::{Clock as _, ManualClock, SystemClock};
use kernel::rng::SystemRng;
use telemetry::Meter;
use telemetry::admin::{AdminConfig, guard_routes};

const VIEWER: &str = "a token of viewers";

/// A port of the gateway, as it is built for one round.
struct Port {
    router: Router,
    clock: Arc<ManualClock>,
    meter: Meter,
}

fn start(config: Value) -> Port {
    let config: AdminConfig = serde_json::from_value(config).unwrap();
    let settings = config.settings().unwrap();
    let (clock, meter, is_secure) = (ManualClock::at(SystemClock::new().now()), Meter::new(), settings.is_secure());
    let access = AccessControl::new(settings.auth, None, None, &meter).with_login_form(
        is_secure,
        Arc::clone(&clock) as _,
        Arc::new(SystemRng),
    );
    let pages =
        ["/runs", "/metrics", "/-/reload"].into_iter().fold(Router::new(), |pages, path| pages.route(path, any(path)));
    Port { router: guard_routes(check_routes(pages, access), settings.allowed_hosts), clock, meter }
}

fn tokens() -> Value {
    json!({ "auth": { "tokens": { "scraper": ["a token of scrapers"], "viewer": [VIEWER], "operator": ["a token of operators"] } } })
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    /// Name and value of the session's cookie that the answer sets, and its attributes.
    fn cookie(&self) -> Option<(String, String)> {
        let cookie = self.headers.get(header::SET_COOKIE)?.to_str().unwrap();
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        Some((pair.to_owned(), attributes.to_owned()))
    }
}

/// A request of a browser from an address: `METHOD PATH`, more headers, body.
async fn browse(port: &Port, from: &str, asked: &str, headers: &[(&str, &str)], body: String) -> Answer {
    let (method, path) = asked.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost:8888");
    if !headers.iter().any(|(name, _)| *name == "accept") {
        request = request.header("accept", "text/html");
    }
    for (name, value) in headers.iter().chain(&[("content-type", "application/x-www-form-urlencoded")]) {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::from(body)).unwrap();
    request.extensions_mut().insert(ClientAddress { ip: from.parse().unwrap(), is_forwarded: false });
    let answer = port.router.clone().oneshot(request).await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let text = String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Answer { status, headers, text }
}

async fn get(port: &Port, path: &str, cookie: &str) -> Answer {
    browse(port, "10.0.0.1", &format!("GET {path}"), &[("cookie", cookie)], String::new()).await
}

async fn log_in(port: &Port, from: &str, token: &str) -> Answer {
    let body = format!("token={}", utf8_percent_encode(token, NON_ALPHANUMERIC));
    browse(port, from, "POST /login?next=%2Fruns%3Fsince%3D1h", &[], body).await
}

/// A browser is sent to the form, comes back to the page it asked for with a session of its token's roles, and logs
/// out. The cookie holds nothing of the token, and the form names the path safely.
#[tokio::test]
async fn a_token_logs_a_browser_in() {
    let port = start(tokens());
    let sent = get(&port, "/runs?since=1h", "").await;
    let to = sent.headers.get(header::LOCATION).unwrap().to_str().unwrap();
    assert_eq!((sent.status, to), (StatusCode::SEE_OTHER, "/login?next=%2Fruns%3Fsince%3D1h"));
    let form = get(&port, "/login?next=%2Fruns%3Fq%3D%22%3E%3Cscript%3E", "").await;
    assert!(form.text.contains("action=\"/login?next=%2Fruns%3Fq%3D%22%3E%3Cscript%3E\""), "{}", form.text);
    // without it, browsers send `Origin: null` over plain HTTP, which is refused
    assert!(form.text.contains("<meta name=\"referrer\" content=\"same-origin\">"), "{}", form.text);
    assert!(form.text.contains("type=\"password\"") && !form.text.contains("<script"), "{}", form.text);
    let answer = log_in(&port, "10.0.0.1", VIEWER).await;
    assert_eq!(
        (answer.status, &answer.headers[header::LOCATION]),
        (StatusCode::SEE_OTHER, &"/runs?since=1h".parse().unwrap())
    );
    let (cookie, attributes) = answer.cookie().unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Max-Age=28800");
    let hash = kernel::hex::encode(&kernel::sha256::Sha256::digest(VIEWER));
    assert!(!cookie.contains("viewers") && !cookie.contains(&hash[..8]), "{cookie}");
    assert_eq!(get(&port, "/runs", &cookie).await.status, StatusCode::OK);
    let change = browse(
        &port,
        "10.0.0.1",
        "POST /-/reload",
        &[("cookie", &cookie), ("sec-fetch-site", "same-origin")],
        String::new(),
    )
    .await;
    assert_eq!(change.status, StatusCode::FORBIDDEN, "a viewer");
    let again = log_in(&port, "10.0.0.1", VIEWER).await.cookie().unwrap().0;
    assert_ne!(again, cookie, "each session is its own");
    let out = browse(&port, "10.0.0.1", "POST /logout", &[("cookie", &cookie)], String::new()).await;
    assert_eq!((out.status, out.cookie().unwrap().0.as_str()), (StatusCode::OK, "tollgate="));
    assert_eq!(get(&port, "/runs", &cookie).await.status, StatusCode::SEE_OTHER);
    assert_eq!(get(&port, "/runs", &again).await.status, StatusCode::OK);
    port.clock.advance(Duration::from_secs(8 * 3600));
    assert_eq!(get(&port, "/runs", &again).await.status, StatusCode::SEE_OTHER, "after eight hours");
}

/// A session needs a right token that may read pages. Other sites can't send the form, a path of another host is not
/// returned to, and neither the page nor a metric shows the token. Programs still get 401.
#[tokio::test]
async fn a_wrong_token_opens_nothing() {
    let port = start(tokens());
    for (token, text) in [("not a known token", "not known"), ("", "not known"), ("a token of scrapers", "no page")] {
        let answer = log_in(&port, "10.0.0.1", token).await;
        assert_eq!((answer.status, answer.cookie()), (StatusCode::FORBIDDEN, None), "{token}");
        assert!(answer.text.contains(text) && !answer.text.contains("a token of"), "{}", answer.text);
    }
    let send = async |asked: &str, headers: &[(&str, &str)], body: &str| {
        browse(&port, "10.0.0.1", asked, headers, body.to_owned()).await
    };
    let right = "token=a+token+of+operators";
    for foreign in [("sec-fetch-site", "cross-site"), ("origin", "null"), ("origin", "https://evil.example")] {
        let answer = send("POST /login", &[foreign], right).await;
        assert_eq!((answer.status, answer.cookie()), (StatusCode::FORBIDDEN, None), "{foreign:?}");
    }
    for next in ["%2F%2Fevil.example", "https%3A%2F%2Fevil.example", "%2F%5Cevil.example"] {
        let answer = send(&format!("POST /login?next={next}"), &[("origin", "http://localhost:8888")], right).await;
        assert_eq!(answer.headers[header::LOCATION], "/", "{next}");
    }
    assert_eq!(
        send("POST /login", &[], &format!("token={}", "x".repeat(9000))).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let program = send("GET /runs", &[("accept", "*/*")], "").await;
    assert_eq!(
        (program.status, &program.headers[header::WWW_AUTHENTICATE]),
        (StatusCode::UNAUTHORIZED, &"Bearer realm=\"tollgate\"".parse().unwrap())
    );
    let metrics = port.meter.render();
    for (reason, count) in [("wrong_credential", 2), ("forbidden", 1), ("no_credential", 1)] {
        let line = format!("tollgate_admin_rejections_total{{reason=\"{reason}\",from=\"private\"}} {count}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}

/// Behind an ingress everybody has one address: guesses from there must not lock the others out. Colleagues share a
/// token: the 21st browser must not end a session, and a browser that logs in again has one session, not two.
#[tokio::test]
async fn others_keep_their_login() {
    let port = start(tokens());
    for guess in 0..50 {
        let status = log_in(&port, "10.0.0.1", &format!("a guess, number {guess}")).await.status;
        assert_eq!(status, StatusCode::FORBIDDEN, "{guess}");
    }
    let (first, _) = log_in(&port, "10.0.0.1", VIEWER).await.cookie().unwrap();
    for _ in 0..30 {
        assert_eq!(log_in(&port, "10.0.0.1", VIEWER).await.status, StatusCode::SEE_OTHER);
    }
    assert_eq!(get(&port, "/runs", &first).await.status, StatusCode::OK);
    let body = format!("token={}", utf8_percent_encode(VIEWER, NON_ALPHANUMERIC));
    let again = browse(&port, "10.0.0.1", "POST /login", &[("cookie", &first)], body).await.cookie().unwrap().0;
    assert_eq!(get(&port, "/runs", &first).await.status, StatusCode::SEE_OTHER);
    assert_eq!(get(&port, "/runs", &again).await.status, StatusCode::OK);
}

/// Space around a pasted token does no harm, and a secret that ends with a space is found as it is.
#[tokio::test]
async fn space_at_an_end_of_a_secret() {
    let port = start(json!({ "auth": { "tokens": { "viewer": [VIEWER, " a spacious token "] } } }));
    for token in [VIEWER, " a token of viewers\n", " a spacious token "] {
        assert_eq!(log_in(&port, "10.0.0.1", token).await.status, StatusCode::SEE_OTHER, "{token:?}");
    }
    assert_eq!(log_in(&port, "10.0.0.1", "a spacious token").await.status, StatusCode::FORBIDDEN);
}

/// A reload builds the port anew: a session of a token that was removed must not outlive it, nor does any other.
#[tokio::test]
async fn a_reload_ends_sessions() {
    let before = start(tokens());
    let (cookie, _) = log_in(&before, "10.0.0.1", VIEWER).await.cookie().unwrap();
    assert_eq!(get(&before, "/runs", &cookie).await.status, StatusCode::OK);
    let after = start(json!({ "auth": { "tokens": { "viewer": ["another token of viewers"] } } }));
    assert_eq!(get(&after, "/runs", &cookie).await.status, StatusCode::SEE_OTHER);
    assert_eq!(log_in(&after, "10.0.0.1", VIEWER).await.status, StatusCode::FORBIDDEN);
}

/// With TLS the cookie is `Secure` and belongs to this host alone. The configured user logs in with the password. Where
/// no browser could have a token, there is no form, and an open port needs none.
#[tokio::test]
async fn ports_have_the_form_they_need() {
    let secure = start(json!({
        "public_url": "https://gate.example", "auth": { "username": "op", "password": "correct horse" },
    }));
    let (cookie, attributes) = log_in(&secure, "10.0.0.1", "correct horse").await.cookie().unwrap();
    assert!(cookie.starts_with("__Host-tollgate=") && attributes.ends_with("; Secure"), "{cookie} {attributes}");
    assert_eq!(get(&secure, "/runs", &cookie).await.status, StatusCode::OK);
    assert_eq!(log_in(&secure, "10.0.0.1", "op:correct horse").await.status, StatusCode::FORBIDDEN);
    let certificates = start(json!({
        "tls": { "cert_file": "c", "key_file": "k", "client_ca_file": "a" },
        "auth": { "certificates": { "viewer": ["ops.example"] } },
    }));
    assert_eq!(get(&certificates, "/runs", "").await.status, StatusCode::UNAUTHORIZED);
    let open = start(json!({}));
    assert_eq!(get(&open, "/runs", "").await.status, StatusCode::OK);
    for port in [&certificates, &open] {
        assert_ne!(log_in(port, "10.0.0.1", VIEWER).await.status, StatusCode::SEE_OTHER);
    }
}
