//! Tests of the admin port without sockets.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::super::samples::parse_samples;
use super::super::{Health, Meter, names};
use super::{AdminState, health_router, router};

fn admin() -> (Arc<AdminState>, Meter, Health) {
    let (meter, health) = (Meter::new(), Health::new());
    let admin = AdminState {
        meter: meter.clone(),
        health: health.clone(),
        allowed_hosts: vec!["gate.example".to_owned()],
        auth: None,
        money: |usd| format!("${usd:.3}"),
    };
    (Arc::new(admin), meter, health)
}

async fn ask(admin: &Arc<AdminState>, request: Request<Body>) -> (StatusCode, String) {
    let response = router(Arc::clone(admin), Router::new()).oneshot(request).await.expect("answer");
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
    let samples = parse_samples(&metrics);
    assert!(samples.iter().any(|sample| sample.label("exporter") == label));
    let mut shown = 0;
    for row in page.split("<tr>").skip(1) {
        let metric = row.split("title=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("metric");
        let value =
            row.split("<td class=\"n\" title=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("value");
        assert!(samples.iter().any(|sample| sample.name == metric && sample.value == value), "{metric} {value}");
        shown += 1;
    }
    assert!(shown >= 3 && page.contains(">1,234<") && page.contains(">77<") && page.contains(">4,096<"));
    // an amount is not shown as a binary fraction, and an uptime not in microseconds
    assert!(page.contains(">$2.025<") && page.contains(">12,346<"), "{page}");
    assert!(page.contains("vault: { labels: { keep: [team] } }") && page.contains(">2,000<"), "{page}");
    assert!(page.contains("privacy <b>strict</b>"), "{page}");
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

/// With `auth` only probes are answered without a known password or token.
#[tokio::test]
async fn who_may_read() {
    let config: super::AdminConfig = serde_json::from_value(serde_json::json!({
        "auth": {"username": "op", "password": "correct horse", "bearer": "battery staple"}}))
    .expect("config");
    let settings = config.settings().ok().unwrap();
    let (open, _, health) = admin();
    health.set("gateway", None);
    let admin = AdminState {
        auth: settings.auth,
        meter: open.meter.clone(),
        health,
        allowed_hosts: Vec::new(),
        money: open.money,
    };
    let admin = Arc::new(admin);
    let more = || Router::new().route("/api/x", axum::routing::get(|| async { "x" }));
    let status = |path: &'static str, value: Option<&'static str>| {
        let admin = Arc::clone(&admin);
        async move {
            let mut request = get(path, "localhost");
            if let Some(value) = value {
                request.headers_mut().insert("authorization", value.parse().expect("header"));
            }
            let answer = router(admin, more()).oneshot(request).await.expect("answer");
            (answer.status(), answer.headers().get("www-authenticate").is_some())
        }
    };
    let refused = (StatusCode::UNAUTHORIZED, true);
    for path in ["/gateway", "/metrics", "/api/x"] {
        assert_eq!(status(path, None).await, refused, "{path}");
        assert_eq!(status(path, Some("Bearer battery stapler")).await, refused);
        assert_eq!(status(path, Some("Basic b3A6d3Jvbmcgb25lIQ==")).await, refused);
        assert_eq!(status(path, Some("Basic !!")).await, refused);
        assert_eq!(status(path, Some("Bearer battery staple")).await, (StatusCode::OK, false));
        // op:correct horse
        assert_eq!(status(path, Some("basic b3A6Y29ycmVjdCBob3JzZQ==")).await, (StatusCode::OK, false));
    }
    assert_eq!(status("/livez", None).await.0, StatusCode::OK);
    assert_ne!(status("/readyz", None).await.0, StatusCode::UNAUTHORIZED);
}

/// A short secret and an incomplete login are each reported with their path.
#[test]
fn bad_auth() {
    let config = serde_json::json!({"auth": {"username": "a:b", "bearer": "short"}});
    let config: super::AdminConfig = serde_json::from_value(config).expect("config");
    let paths: Vec<String> = config.settings().err().unwrap().into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, ["auth", "auth.username", "auth.bearer"]);
}

/// Values that a page reads directly equal those of `/metrics`.
#[test]
fn values_are_those_of_metrics() {
    let meter = Meter::new();
    let sent = |exporter: &str| meter.counter(&names::SENT_SPANS, &[("exporter", exporter)]);
    sent("a").increment(3);
    sent("b").increment(4);
    sent("a").increment(2);
    meter.gauge(&names::QUEUE_SIZE, &[("exporter", "a")]).increment(5.0);
    meter.gauge(&names::QUEUE_SIZE, &[("exporter", "a")]).decrement(1.5);
    meter.gauge(&names::RSS, &[]).set(4096.0);
    meter.counter(&names::RECEIVER_ACCEPTED_LOGS, &[]).increment(1);
    let samples = parse_samples(&meter.render());
    for def in [&names::SENT_SPANS, &names::QUEUE_SIZE, &names::RSS] {
        let mut said: Vec<f64> =
            samples.iter().filter(|sample| sample.name == def.name).map(|one| one.number()).collect();
        let mut values = meter.values(def);
        said.sort_by(f64::total_cmp);
        values.sort_by(f64::total_cmp);
        assert!(!said.is_empty() && said == values, "{}: {said:?} {values:?}", def.name);
    }
    assert_eq!(meter.values(&names::RECEIVER_ACCEPTED_LOGS), [1.0]);
}
