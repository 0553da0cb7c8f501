//! Tests of the admin port without sockets.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::super::{Health, Meter, names};
use super::auth::AdminAuth;
use super::roles::{Role, RoleSet};
use super::{AdminConfig, AdminState, guard_routes, health_router, router};

fn admin() -> (Arc<AdminState>, Meter, Health) {
    let (meter, health) = (Meter::new(), Health::new());
    let admin = AdminState { meter: meter.clone(), health: health.clone(), money: |usd| format!("${usd:.3}") };
    (Arc::new(admin), meter, health)
}

async fn ask(admin: &Arc<AdminState>, request: Request<Body>) -> (StatusCode, String) {
    let routes = guard_routes(router(Arc::clone(admin)), vec!["gate.example".to_owned()]);
    let response = routes.oneshot(request).await.expect("answer");
    let status = response.status();
    let body = response.into_body().collect().await.expect("body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn get(path: &str, host: &str) -> Request<Body> {
    Request::get(path).header("host", host).body(Body::empty()).expect("request")
}

/// Only IP literals, localhost and configured host names are answered, so that DNS rebinding gets nothing.
#[tokio::test]
async fn foreign_hosts_are_refused() {
    let (admin, ..) = admin();
    for host in ["127.0.0.1:8888", "[::1]:8888", "localhost", "LOCALHOST:1", "gate.example:8888", "10.0.0.7"] {
        assert_eq!(ask(&admin, get("/livez", host)).await.0, StatusCode::OK, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8888", ""] {
        assert_eq!(ask(&admin, get("/metrics", host)).await.0, StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
    // Bytes that are no ASCII name no host. They once counted as a missing header.
    let mut request = get("/metrics", "x");
    let host = axum::http::HeaderValue::from_bytes("\u{24db}ocalhost".as_bytes()).expect("a header");
    request.headers_mut().insert("host", host);
    assert_eq!(ask(&admin, request).await.0, StatusCode::MISDIRECTED_REQUEST);
}

/// A page of another site can't make a browser post here.
#[tokio::test]
async fn cross_site_posts_are_refused() {
    let (admin, ..) = admin();
    let post = |name: &str, value: &str| {
        Request::post("/livez").header("host", "localhost").header(name, value).body(Body::empty()).expect("request")
    };
    assert_eq!(ask(&admin, post("sec-fetch-site", "cross-site")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask(&admin, post("origin", "https://evil.example")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask(&admin, post("origin", "http://localhost")).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

/// The port is ready only while every part reports that it is fine; otherwise the reason is shown.
#[tokio::test]
async fn readiness_tells_why() {
    let (admin, _, health) = admin();
    assert_eq!(ask(&admin, get("/readyz", "localhost")).await.0, StatusCode::SERVICE_UNAVAILABLE);
    health.set("spool", None);
    assert_eq!(ask(&admin, get("/readyz", "localhost")).await.0, StatusCode::OK);
    health.set("spool", Some("can't be written"));
    let (status, text) = ask(&admin, get("/readyz", "localhost")).await;
    assert_eq!((status, text.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "spool: can't be written\n"));
}

/// Every value on the page is in `/metrics` under the name that the page gives, and hostile labels are escaped.
#[tokio::test]
async fn the_page_says_what_metrics_say() {
    let (admin, meter, health) = admin();
    health.set("spool", None);
    let label = "<script>\"x\\y\n";
    meter.counter(&names::SENT_SPANS, &[("exporter", label)]).increment(1234);
    meter.counter(&names::RECEIVER_ACCEPTED_LOGS, &[("receiver", "otlp"), ("transport", "grpc")]).increment(77);
    meter.gauge(&names::SPOOL_BYTES, &[]).set(4096.0);
    meter.gauge(&names::COST_USD, &[("model", "m")]).set(2.025_000_000_000_000_4);
    meter.gauge(&names::UPTIME, &[]).set(12_345.678_912_3);
    meter.counter(&names::VAULT_MOVED_VALUES, &[("processor", "vault"), ("key", "team")]).increment(2000);
    meter.gauge(&names::VAULT_PRIVACY, &[("processor", "vault"), ("profile", "strict")]).set(1.0);
    let (_, metrics) = ask(&admin, get("/metrics", "localhost")).await;
    let (status, page) = ask(&admin, get("/gateway", "localhost")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!page.contains("<script>"), "{page}");
    assert!(metrics.contains("{exporter=\"<script>\\\"x\\\\y\\n\"} 1234\n"), "{metrics}");
    let is_sample = |line: &str, metric: &str, value: &str| {
        line.split(['{', ' ']).next() == Some(metric) && line.rsplit(' ').next() == Some(value)
    };
    let mut shown = 0;
    for row in page.split("<tr>").skip(1) {
        let metric = row.split("title=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("metric");
        let value =
            row.split("<td class=\"n\" title=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("value");
        assert!(metrics.lines().any(|line| is_sample(line, metric, value)), "{metric} {value}");
        shown += 1;
    }
    assert!(shown >= 3 && page.contains(">1,234<") && page.contains(">77<") && page.contains(">4,096<"));
    // an amount is not shown as a binary fraction, and an uptime not in microseconds
    assert!(page.contains(">$2.025<") && page.contains(">12,346<"), "{page}");
    assert!(page.contains("vault: { labels: { keep: [team] } }") && page.contains(">2,000<"), "{page}");
    assert!(page.contains("privacy <b>strict</b>") && !page.contains("not declared"), "{page}");
    let labels = [("processor", "vault"), ("service", "shop"), ("closed", "true")];
    meter.gauge(&names::UNDECLARED_AGENT_SERVICES, &labels).set(1.0);
    let (_, page) = ask(&admin, get("/gateway", "localhost")).await;
    assert!(page.contains("vault: { agents: { services: [shop] } }"), "{page}");
}

/// The page has median and p95 of each step of a batch over the last two intervals, not since the start: a back end
/// that is slow now must not hide behind a fast week. Data that nothing reads is a line at the top.
#[tokio::test]
async fn the_page_has_the_times_of_the_last_minutes() {
    let (admin, meter, _) = admin();
    let times = [
        (&names::RECEIVER_ANSWER_SECONDS, vec![("receiver", "otlp"), ("transport", "grpc")]),
        (&names::COMMIT_SECONDS, vec![]),
        (&names::SEND_SECONDS, vec![("exporter", "otlp/x"), ("outcome", "accepted")]),
        (&names::VAULT_PUT_SECONDS, vec![("processor", "vault"), ("outcome", "written")]),
    ];
    let record = |seconds: f64, count: usize| {
        for (metric, labels) in &times {
            (0..count).for_each(|_| meter.histogram(metric, labels).record(seconds));
        }
    };
    let row = async |metric: &str| {
        let (_, page) = ask(&admin, get("/gateway", "localhost")).await;
        let row =
            page.split("<tr>").find(|row| row.contains(metric)).map(|row| row.split("</tr>").next().unwrap_or(""));
        row.map(|row| row.replace("&#60;", "<")).unwrap_or_default()
    };
    record(0.004, 1000);
    assert!(row(names::SEND_SECONDS.name).await.contains("≤ 0.005 s · ≤ 0.005 s"), "since the start");
    super::mark_durations(&meter);
    super::mark_durations(&meter);
    assert_eq!(row(names::SEND_SECONDS.name).await, "", "nothing was sent lately");
    record(0.2, 90);
    record(700.0, 10);
    for (metric, labels) in &times {
        let row = row(metric.name).await;
        assert!(row.contains("≤ 0.25 s · over 10 min"), "{row}");
        assert!(row.contains("\"100 times\"") && labels.iter().all(|(_, value)| row.contains(value)), "{row}");
    }
    super::mark_durations(&meter);
    assert!(row(names::COMMIT_SECONDS.name).await.contains("over 10 min"), "the interval before counts");
    super::mark_durations(&meter);
    assert_eq!(row(names::COMMIT_SECONDS.name).await, "");
    meter.gauge(&names::SPOOL_UNREAD_SECONDS, &[("consumer", "otlp/<old>")]).set(7200.0);
    let (_, page) = ask(&admin, get("/gateway", "localhost")).await;
    assert!(page.contains("otlp/&#60;old&#62;: data waits for it in the spool, and nothing reads it"), "{page}");
    assert!(page.contains(">7,200<") && !page.contains("otlp/<old>"), "{page}");
}

/// On the `health_check` port `/` reports whether the gateway runs and `/readyz` whether it accepts data, under any
/// host name; nothing else is served. A full spool must not make `/` fail: an operator's liveness probe would restart
/// the pod again and again.
#[tokio::test]
async fn the_health_port_is_readiness_alone() {
    let health = Health::new();
    let ask = async |path: &str| {
        let response =
            health_router(health.clone(), "/probes/alive").oneshot(get(path, "probe.example")).await.expect("answer");
        response.status()
    };
    assert_eq!((ask("/").await, ask("/livez").await), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK));
    health.set("spool", None);
    health.set("gateway", None);
    assert_eq!((ask("/").await, ask("/readyz").await), (StatusCode::OK, StatusCode::OK));
    assert_eq!(ask("/probes/alive").await, StatusCode::OK);
    health.set("spool", Some("the spool is full"));
    assert_eq!((ask("/").await, ask("/readyz").await), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
    health.set("spool", None);
    // a reload does not count as the end, but the next shutdown does
    health.announce_next_round();
    health.set("gateway", Some("shutting down"));
    assert_eq!((ask("/").await, ask("/readyz").await), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
    health.begin_round();
    assert_eq!(ask("/").await, StatusCode::OK);
    health.set("gateway", None);
    health.set("gateway", Some("shutting down"));
    assert_eq!((ask("/").await, ask("/livez").await), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK));
    assert_eq!(ask("/metrics").await, StatusCode::NOT_FOUND);
    // the alias path, as in a Collector configuration
    assert_eq!(ask("/probes/alive").await, StatusCode::SERVICE_UNAVAILABLE);
}

fn auth_problems(auth: &serde_json::Value) -> Vec<String> {
    let config: AdminConfig = serde_json::from_value(serde_json::json!({ "auth": auth })).expect("config");
    config.settings().err().unwrap_or_default().into_iter().map(|problem| problem.path).collect()
}

fn read_auth(config: serde_json::Value) -> AdminAuth {
    let config: AdminConfig = serde_json::from_value(config).expect("config");
    config.settings().ok().and_then(|settings| settings.auth).expect("auth")
}

/// The roles of a client that sends these `authorization` headers and a certificate with these names.
fn roles(auth: &AdminAuth, values: &[&str], names: &[&str]) -> Option<Vec<Role>> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("authorization", value.parse().expect("header"));
    }
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let found = auth.find_client(&headers, &names)?.roles;
    Some(Role::ALL.into_iter().filter(|role| found.has(*role)).collect())
}

/// A user, a token and a name in a certificate have their roles, every role may read the metrics, and anything else has none. A
/// wrong header is not repaired by a certificate.
#[test]
fn credentials_have_roles() {
    use Role::{Operator, Scraper, Tapper, Viewer};
    let auth = read_auth(serde_json::json!({
        "tls": { "cert_file": "c", "key_file": "k", "client_ca_file": "a" },
        "auth": {
            "username": "op", "password": "correct horse", "bearer": "battery staple",
            "tokens": {
                "scraper": ["token of scrapers"],
                "viewer": ["token of viewers"],
                "operator": ["token of operators", "token of both"],
                "tapper": ["token of tappers", "token of both"],
            },
            "certificates": {
                "scraper": ["prometheus.example"], "operator": ["ops.example"], "tapper": ["spiffe://example/tap"],
            },
        },
    }));
    let all = Some(Role::ALL.to_vec());
    for (value, expected) in [
        ("Bearer battery staple", all.clone()),
        // op:correct horse
        ("basic b3A6Y29ycmVjdCBob3JzZQ==", all.clone()),
        ("Bearer token of scrapers", Some(vec![Scraper])),
        ("Bearer token of viewers", Some(vec![Scraper, Viewer])),
        ("bearer token of operators", Some(vec![Scraper, Viewer, Operator])),
        ("Bearer token of tappers", Some(vec![Scraper, Viewer, Tapper])),
        ("Bearer token of both", all.clone()),
        ("Bearer battery stapler", None),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic b3A6d3Jvbmcgb25lIQ==", None),
        ("Basic !!", None),
        ("Digest battery staple", None),
        ("", None),
    ] {
        assert_eq!(roles(&auth, &[value], &[]), expected, "{value}");
        assert_eq!(roles(&auth, &[value], &["ops.example"]), expected, "{value} with a certificate");
        assert_eq!(roles(&auth, &[value, "Bearer battery staple"], &[]), None, "two headers");
    }
    assert_eq!(roles(&auth, &[], &[]), None);
    assert_eq!(roles(&auth, &[], &["else.example"]), None);
    assert_eq!(roles(&auth, &[], &["else.example", "ops.example"]), Some(vec![Scraper, Viewer, Operator]));
    assert_eq!(roles(&auth, &[], &["prometheus.example"]), Some(vec![Scraper]));
    assert_eq!(roles(&auth, &[], &["spiffe://example/tap", "ops.example"]), all);
    assert!(!RoleSet::default().has(Scraper));
}

/// The limits of a client with several credentials are a union, and stay beside a role without a limit: a client in two
/// groups must not lose them. (Shown to fail without `limits` in `RoleSet::add`.)
#[test]
fn limits_stay_beside_roles() {
    let auth = read_auth(serde_json::json!({
        "tls": { "cert_file": "c", "key_file": "k", "client_ca_file": "a" },
        "auth": {
            "certificates": {
                "operator": ["ops.example"], "acme": ["ann.example"], "own": ["ann.example", "bob.example"],
            },
            "limits": {
                "acme": { "tenants": ["acme"] }, "own": { "accounts": ["default"], "own_sessions": true },
            },
        },
    }));
    let client = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        auth.find_client(&HeaderMap::new(), &names).expect("a client")
    };
    let sees = |names: &[&str], account: &str, tenant: &str, is_own: bool| {
        client(names).roles.limits.iter().any(|limit| limit.permits(account, tenant, || is_own))
    };
    for names in [&["ann.example"][..], &["ann.example", "ops.example"], &["ops.example", "bob.example", "ann.example"]]
    {
        assert!(sees(names, "other", "acme", false) && sees(names, "default", "globex", true), "{names:?}");
        assert!(!sees(names, "other", "globex", true) && !sees(names, "default", "globex", false), "{names:?}");
    }
    assert!(!sees(&["bob.example"], "default", "acme", false) && sees(&["bob.example"], "default", "acme", true));
    assert!(client(&["ops.example"]).roles.limits.is_empty());
    let ann = client(&["ann.example"]).roles;
    assert!(ann.has(Role::Viewer) && !ann.has(Role::Operator));
}

/// A limit that would show all or nothing, or that has no user to show the runs of, is refused; so is an unknown name.
#[test]
fn bad_limits() {
    for (limits, path, said) in [
        (serde_json::json!({ "a": {} }), "limits.a", "must have `accounts`"),
        (serde_json::json!({ "a": { "tenants": [] } }), "limits.a", "no empty list"),
        (serde_json::json!({ "a": { "tenants": ["a"], "accounts": [] } }), "limits.a", "no empty list"),
        (serde_json::json!({ "a": { "own_sessions": true } }), "tokens.a", "names no user"),
        (
            serde_json::json!({ "a": { "tenants": ["a"] }, "viewer": { "tenants": ["a"] } }),
            "limits.viewer",
            "no role has",
        ),
        (serde_json::json!({ "b": { "tenants": ["a"] } }), "tokens.a", "a name in `auth.limits`"),
    ] {
        let auth = serde_json::json!({ "tokens": { "a": ["long enough a token"] }, "limits": limits });
        let config: AdminConfig = serde_json::from_value(serde_json::json!({ "auth": auth })).expect("config");
        let problems = config.settings().expect_err("refused");
        let texts: Vec<_> = problems.iter().map(|problem| (&*problem.path, &*problem.message)).collect();
        assert!(texts.len() == 1 && texts[0].0 == format!("auth.{path}") && texts[0].1.contains(said), "{texts:?}");
    }
}

/// Each problem is reported with its path. An empty list must not open the port, and names of certificates that are
/// never checked must not seem to protect it.
#[test]
fn bad_auth() {
    let auth = serde_json::json!({"username": "a:b", "bearer": "short"});
    assert_eq!(auth_problems(&auth), ["auth", "auth.username", "auth.bearer"]);
    let auth = serde_json::json!({"tokens": {"viewer": [], "tapper": ["long enough a token", "short"]}});
    assert_eq!(auth_problems(&auth), ["auth.tokens.tapper[1]", "auth.tokens.viewer"]);
    let auth = serde_json::json!({"certificates": {"operator": ["ops.example"]}});
    assert_eq!(auth_problems(&auth), ["auth.certificates"]);
    let auth = serde_json::json!({"tokens": {"admin": ["long enough a token"]}});
    assert_eq!(auth_problems(&auth), ["auth.tokens.admin"]);
}
