//! Tests of the receiver's stanza.

use serde_json::json;

use super::super::*;
use pipeline::Trust;

fn read(json: &str) -> Result<OtlpReceiverConfig, serde_json::Error> {
    serde_json::from_str(json)
}

/// The paths of all problems.
fn problems(json: &str) -> String {
    let problems = read(json).expect("readable").settings().expect_err("a problem");
    problems.into_iter().map(|problem| problem.path).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_defaults_are_the_collectors_ports_on_loopback_and_64_mib() {
    let settings = OtlpReceiverConfig::default().settings().expect("valid");
    let (grpc, http) = (settings.grpc.expect("on"), settings.http.expect("on"));
    assert_eq!(
        (grpc.endpoint.to_string(), http.endpoint.to_string()),
        ("127.0.0.1:4317".into(), "127.0.0.1:4318".into())
    );
    assert_eq!((grpc.limits.wire, grpc.limits.inflated), (64 << 20, 64 << 20));
    assert_eq!((http.limits.wire, http.limits.inflated), (64 << 20, 64 << 20));
    assert_eq!(settings.trust, Trust::ThirdParty);
}

/// Idle connections are limited on both ports, and the Collector's keys change the limits.
#[test]
fn rests_between_requests_have_an_end() {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let settings = OtlpReceiverConfig::default().settings().expect("valid");
    let (grpc, http) = (settings.grpc.expect("on").connections, settings.http.expect("on").connections);
    assert_eq!((grpc.idle, http.idle), (minutes(5), minutes(3)));
    let keys = r#"{"max_connection_idle": "1h", "time": "10s", "timeout": "2s"}"#;
    let json = format!(r#"{{"protocols": {{"grpc": {{"keepalive": {{"server_parameters": {keys}}}}}}}}}"#);
    let own = read(&json).expect("readable").settings().expect("valid").grpc.expect("on").connections;
    assert_eq!((own.idle, own.ping), (minutes(60), (Duration::from_secs(10), Duration::from_secs(2))));
    assert_eq!(problems(&json.replace("1h", "0s")), "protocols.grpc.keepalive.server_parameters.max_connection_idle");
}

#[test]
fn a_protocol_that_is_named_is_on_with_or_without_settings() {
    let on = |json: &str| {
        let settings = read(json).expect("readable").settings().expect("valid");
        (settings.grpc.is_some(), settings.http.is_some())
    };
    assert_eq!(on("{}"), (true, true));
    assert_eq!(on(r#"{"protocols": {"grpc": null}}"#), (true, false));
    assert_eq!(on(r#"{"protocols": {"http": {}}}"#), (false, true));
    assert_eq!(on(r#"{"protocols": {"grpc": {"endpoint": "[::]:4317"}, "http": null}}"#), (true, true));
    assert_eq!(problems(r#"{"protocols": {}}"#), "protocols");
}

#[test]
fn every_problem_is_found_at_once_and_unknown_keys_are_errors() {
    let json = r#"{"protocols": {
        "grpc": {"endpoint": "http://127.0.0.1:4317", "max_recv_msg_size_mib": 0, "max_connections": 0},
        "http": {"endpoint": "4318", "traces_url_path": "v1/traces", "logs_url_path": "/v1/metrics",
                 "max_request_body_size": "3GiB", "read_timeout": 0}}}"#;
    assert_eq!(
        problems(json),
        "protocols.grpc.endpoint protocols.grpc.max_recv_msg_size_mib protocols.grpc.max_connections \
         protocols.http.endpoint protocols.http.max_request_body_size protocols.http.read_timeout \
         protocols.http.traces_url_path protocols.http.logs_url_path"
    );
    let twice = r#"{"protocols": {"grpc": {"endpoint": "a:1"}, "http": {"endpoint": "a:1"}}}"#;
    assert_eq!(problems(twice), "protocols.http.endpoint");
    assert!(read(r#"{"protocols": {"grcp": {}}}"#).is_err());
    assert!(read(r#"{"protocols": {"grpc": {"tls": {}}}}"#).is_err());
}

/// All problems of `auth` are reported at once, each with its path and never with the token.
#[test]
fn auth_that_cannot_be_meant() {
    let problems = |json: serde_json::Value| {
        let config: OtlpReceiverConfig = serde_json::from_value(json!({ "auth": json })).expect("readable");
        let problems = config.settings().expect_err("refused");
        problems.iter().map(|problem| format!("{problem:?}")).collect::<Vec<_>>().join("\n")
    };
    assert!(
        problems(json!({}))
            .contains("has no credentials: set `tokens`, `tokens_file`, `basic`, `certificates`, `users` or `oidc`")
    );
    let bad = problems(json!({
        "tokens": {"a/b": ["sixteen-characters-1"], "acme": ["short", "with a blank in it"], "globex": []},
        "certificates": {"agent.example": "x y"},
        "basic": {"acme": ["no-password-at-all-1", "user:short"], "globex": []},
        "reload_interval": "0s",
    }));
    let paths = "auth.tokens.a/b auth.tokens.acme[0] auth.tokens.acme[1] auth.tokens.globex auth.basic.acme[0] \
         auth.basic.acme[1] auth.basic.globex auth.certificates auth.certificates.agent.example auth.reload_interval";
    for path in paths.split(' ') {
        assert!(bad.contains(&format!("{path:?}")), "{path} in {bad}");
    }
    assert!(!bad.contains("short\"") && !bad.contains("blank in it") && !bad.contains("sixteen-"), "{bad}");
    let twice = problems(json!({"tokens": {"a": ["sixteen-characters-1"], "b": ["sixteen-characters-1"]}}));
    assert!(twice.contains("another account"), "{twice}");
}

/// Invalid sockets, ages, prefixes and origins are reported at once; a port that is open to everyone gets a note, a
/// local one does not.
#[test]
fn sockets_ages_prefixes_and_pages() {
    let json = r#"{"protocols": {
        "grpc": {"endpoint": "otlp.sock", "transport": "unix",
                 "keepalive": {"server_parameters": {"max_connection_age_grace": "1s"}}},
        "http": {"endpoint": "unix:relative", "path_prefixes": ["x", "/a/"], "max_connection_age": 0,
                 "max_concurrent_streams": 0, "cors": {"allowed_origins": ["example.com"], "allowed_headers": ["a b"]}}}}"#;
    assert_eq!(
        problems(json),
        "protocols.grpc.endpoint protocols.grpc.keepalive.server_parameters.max_connection_age_grace \
         protocols.http.endpoint protocols.http.max_concurrent_streams protocols.http.max_connection_age \
         protocols.http.path_prefixes[0] protocols.http.path_prefixes[1] protocols.http.cors.allowed_origins[0] \
         protocols.http.cors.allowed_headers[0]"
    );
    let notes = |json: &str| {
        let settings = read(json).expect("readable").settings().expect("valid");
        settings.notes.into_iter().map(|note| note.path).collect::<Vec<_>>()
    };
    let at = |endpoint: &str, more: &str| format!(r#"{{"protocols": {{"grpc": {{"endpoint": "{endpoint}"}}}}{more}}}"#);
    let auth = r#", "auth": {"basic": {"acme": ["user:a-long-password-1"]}}"#;
    for open in ["0.0.0.0:4317", ":4317", "[::]:4317", "10.0.0.7:4317", "otlp.example.com:4317"] {
        assert_eq!(notes(&at(open, "")), ["protocols.grpc.endpoint"], "{open}");
        assert_eq!(notes(&at(open, auth)), [""; 0], "{open}");
    }
    for local in ["127.0.0.1:4317", "localhost:4317", "[::1]:4317", "unix:/run/otlp.sock"] {
        assert_eq!(notes(&at(local, "")), [""; 0], "{local}");
    }
}
