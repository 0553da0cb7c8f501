//! The `otlp_http` exporter against servers in this process.

use std::sync::Arc;

use http::Method;

use super::*;
use crate::remote::OtlpExporter;
use crate::spec::ExporterSpec as _;
use crate::tests::{deps, inflated, request};
use fakes::sink::{Answer, Proxy, Seen, Sink};
use fakes::tls::{Authority, pem_file};
use kernel::clock::{Clock, ManualClock, UnixNanos};
use otlp::Signal;
use otlp::status::{PartialSuccess, response_to_protobuf};
use pipeline::{ExportRequest, Exporter as _};

fn config(json: serde_json::Value) -> Config {
    serde_json::from_value(json).unwrap()
}

fn build(json: serde_json::Value, env: &[(&str, String)]) -> OtlpExporter<HttpProtocol> {
    OtlpExporter::build(Arc::from("otlp_http/test"), config(json).settings().unwrap(), deps(env)).unwrap()
}

fn plain(sink: &Sink) -> OtlpExporter<HttpProtocol> {
    build(serde_json::json!({ "endpoint": format!("http://{}", sink.address) }), &[])
}

const AGAIN: Outcome = Outcome::Retry { after: None, reason: Reason::Unavailable };

#[tokio::test]
async fn each_signal_goes_to_its_path_as_protobuf_with_the_users_headers() {
    let sink = Sink::new(None, []).await;
    let own = format!("http://{}/own", sink.address);
    let json = serde_json::json!({
        "endpoint": format!("http://{}/otlp/", sink.address), "logs_endpoint": own, "headers": { "X-Key": "abc" },
    });
    let exporter = build(json, &[]);
    for (signal, path) in
        [(Signal::Traces, "/otlp/v1/traces"), (Signal::Metrics, "/otlp/v1/metrics"), (Signal::Logs, "/own")]
    {
        let sent = request(signal, 200_000);
        assert_eq!(exporter.send(&sent).await, Outcome::Accepted);
        let seen = &sink.seen()[0];
        assert_eq!((seen.uri.path(), &seen.method), (path, &Method::POST));
        assert_eq!(seen.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(seen.header("content-encoding"), Some("gzip"));
        assert_eq!(seen.header("x-key"), Some("abc"));
        assert!(seen.header("content-length").is_some(), "not chunked: some back ends can't read that");
        assert_eq!(inflated(Some("gzip"), &seen.body), sent.body.joined());
    }
}

/// Headers of one account are sent with its data only, and override the common ones.
#[tokio::test]
async fn each_account_has_its_headers() {
    let sink = Sink::new(None, []).await;
    let exporter = build(
        serde_json::json!({
            "endpoint": format!("http://{}", sink.address), "headers": { "x-team": "all", "x-other": "kept" },
            "account_headers": { "acme": { "X-Team": "acme", "x-scope-orgid": "7" } },
        }),
        &[],
    );
    for (account, team, org) in [("acme", "acme", Some("7")), ("globex", "all", None)] {
        let sent = ExportRequest { account: account.into(), ..request(Signal::Traces, 10) };
        assert_eq!(exporter.send(&sent).await, Outcome::Accepted);
        let seen = &sink.seen()[0];
        assert_eq!((seen.header("x-team"), seen.header("x-scope-orgid")), (Some(team), org), "{account}");
        assert_eq!(seen.header("x-other"), Some("kept"));
    }
    let wrong = config(serde_json::json!({ "endpoint": "http://a", "account_headers": { "acme": { "host": "b" } } }));
    let problems = wrong.settings().expect_err("refused");
    assert_eq!(problems[0].path, "account_headers.acme.host");
}

/// Status, headers and body reach `outcome`, whose own tests have every status; each is one attempt.
#[tokio::test]
async fn answers_become_outcomes_by_the_table() {
    let partial = response_to_protobuf(Some(&PartialSuccess { rejected: 2, message: "no".into() }));
    let ten_seconds = Outcome::Retry { after: Some(Duration::from_secs(10)), reason: Reason::Unavailable };
    let denied = Outcome::Retry { after: None, reason: Reason::Denied };
    let text = "<html>login</html>";
    for (answer, outcome) in [
        (Answer::http(200), Outcome::Accepted),
        (Answer::http(200).with("content-type", "text/html").body(text), denied.clone()),
        (Answer::http(200).body(partial.clone()), Outcome::Partial { rejected: 2, reason: Reason::BadData }),
        (
            Answer::http(200).body(vec![0; MAX_RESPONSE_BYTES + 1]),
            Outcome::Partial { rejected: 0, reason: Reason::BadData },
        ),
        (Answer::http(503).with("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"), ten_seconds),
        (Answer::http(400).body("SECRET"), Outcome::Refused { reason: Reason::BadData }),
        (Answer::http(302).with("location", "http://example.test/"), denied),
    ] {
        let sink = Sink::new(None, [answer.clone()]).await;
        assert_eq!(plain(&sink).send(&request(Signal::Traces, 10)).await, outcome, "{}", answer.status);
        assert_eq!(sink.seen().len(), 1, "one attempt");
    }
}

#[tokio::test]
async fn compression_follows_what_the_back_end_says() {
    let tokens = |seen: Vec<Seen>| -> Vec<String> {
        seen.iter().map(|seen| seen.header("content-encoding").unwrap_or("none").to_owned()).collect()
    };
    let now = Outcome::Retry { after: Some(Duration::ZERO), reason: Reason::Unavailable };
    let sink = Sink::new(None, [Answer::http(200).with("accept-encoding", "gzip, zstd")]).await;
    let clock = ManualClock::at(UnixNanos(1_700_000_000_000_000_000));
    let settings = config(serde_json::json!({ "endpoint": format!("http://{}", sink.address) })).settings().unwrap();
    let mut deps = deps(&[]);
    deps.services.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let exporter = OtlpExporter::build(Arc::from("otlp_http/test"), settings, deps).unwrap();
    for _ in 0..2 {
        assert_eq!(exporter.send(&request(Signal::Traces, 1000)).await, Outcome::Accepted);
    }
    assert_eq!(tokens(sink.seen()), ["gzip", "zstd"]);
    sink.answer(Answer::http(415));
    sink.answer(Answer::http(415));
    sink.answer(Answer::http(415));
    assert_eq!(exporter.send(&request(Signal::Traces, 1000)).await, now);
    assert_eq!(exporter.send(&request(Signal::Traces, 1000)).await, now);
    let refused = Outcome::Refused { reason: Reason::BadData };
    assert_eq!(exporter.send(&request(Signal::Traces, 1000)).await, refused, "it was not the compression");
    assert_eq!(tokens(sink.seen()), ["zstd", "gzip", "none"]);
    // The refusal may have come from a proxy that is gone: the encoding is tried again after an hour. (Regression
    // test: the exporter used to send uncompressed until the next reload.)
    for seconds in [3599, 1] {
        clock.advance(Duration::from_secs(seconds));
        assert_eq!(exporter.send(&request(Signal::Traces, 1000)).await, Outcome::Accepted);
    }
    assert_eq!(tokens(sink.seen()), ["none", "gzip"]);
}

#[tokio::test]
async fn tls_speaks_http2_where_the_server_does() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = pem_file(&folder, "ca.pem", "CERTIFICATE", &authority.certificate);
    for alpn in ["h2", "http/1.1"] {
        let mut server = (*authority.server("localhost", false)).clone();
        server.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let sink = Sink::new(Some(Arc::new(server)), []).await;
        let endpoint = format!("https://localhost:{}", sink.address.port());
        let exporter = build(serde_json::json!({ "endpoint": endpoint, "tls": { "ca_file": ca } }), &[]);
        assert_eq!(exporter.send(&request(Signal::Traces, 10)).await, Outcome::Accepted);
        let want = if alpn == "h2" { http::Version::HTTP_2 } else { http::Version::HTTP_11 };
        assert_eq!(sink.seen()[0].version, want);
        // Without the CA file the server must not be trusted.
        let exporter = build(serde_json::json!({ "endpoint": endpoint }), &[]);
        assert_eq!(exporter.send(&request(Signal::Traces, 10)).await, AGAIN);
        assert!(sink.seen().is_empty());
    }
}

#[tokio::test]
async fn https_goes_through_a_tunnel_and_http_through_the_proxy_itself() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = pem_file(&folder, "ca.pem", "CERTIFICATE", &authority.certificate);
    let sink = Sink::new(Some(authority.server("backend.test", false)), []).await;
    let proxy = Proxy::to(sink.address).await;
    let through = [("HTTPS_PROXY", format!("http://{}", proxy.address))];
    let json = serde_json::json!({ "endpoint": "https://backend.test", "tls": { "ca_file": ca } });
    assert_eq!(build(json, &through).send(&request(Signal::Traces, 10)).await, Outcome::Accepted);
    assert!(proxy.heads()[0].starts_with("CONNECT backend.test:443 HTTP/1.1\r\n"));
    assert_eq!(sink.seen()[0].header("proxy-authorization"), None);

    let forward = Sink::new(None, []).await;
    let through = [("HTTP_PROXY", format!("http://user:pass@{}", forward.address))];
    let json = serde_json::json!({ "endpoint": "http://backend.test:4318" });
    assert_eq!(build(json, &through).send(&request(Signal::Traces, 10)).await, Outcome::Accepted);
    let seen = forward.seen();
    assert_eq!(seen[0].uri.to_string(), "http://backend.test:4318/v1/traces");
    assert_eq!(seen[0].header("proxy-authorization"), Some("Basic dXNlcjpwYXNz"));
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let sink = Sink::new(None, []).await;
    let exporter = plain(&sink);
    for _ in 0..5 {
        assert_eq!(exporter.send(&request(Signal::Logs, 10)).await, Outcome::Accepted);
    }
    assert_eq!(sink.connections(), 1);
}

#[tokio::test]
async fn a_signal_without_a_url_waits_for_the_operator() {
    let sink = Sink::new(None, []).await;
    let json = serde_json::json!({ "traces_endpoint": format!("http://{}/x", sink.address) });
    let settings = config(json.clone()).settings().unwrap();
    assert!(settings.accepts_signal(Signal::Traces) && !settings.accepts_signal(Signal::Logs));
    let exporter = build(json, &[]);
    let denied = Outcome::Retry { after: None, reason: Reason::Denied };
    assert_eq!(exporter.send(&request(Signal::Logs, 10)).await, denied);
    assert_eq!(exporter.send(&request(Signal::Traces, 10)).await, Outcome::Accepted);
}

#[test]
fn urls_are_checked() {
    let paths = |json: serde_json::Value| -> Vec<String> {
        config(json).settings().err().unwrap_or_default().into_iter().map(|problem| problem.path).collect()
    };
    assert_eq!(paths(serde_json::json!({})), ["endpoint"]);
    assert_eq!(
        paths(serde_json::json!({ "endpoint": "collector:4318", "logs_endpoint": "ftp://a/" })),
        ["endpoint", "logs_endpoint"]
    );
    let cloud = config(serde_json::json!({ "preset": "honeycomb", "api_key": "k" })).settings().unwrap();
    let urls: Vec<String> = cloud.urls.iter().map(|(_, url)| url.to_string()).collect();
    assert_eq!(urls[0], "https://api.honeycomb.io:443/v1/traces");
    assert_eq!(urls.len(), 3);
}
