//! Tests of user options (rules on and off, forms, audit, content), and of data that must survive the default rules.

use super::*;
use config::load;

fn config(text: &str) -> RedactConfig {
    load::parse_data::<RedactConfig>("redact", text).unwrap_or_else(|problem| panic!("{problem}"))
}

fn with(text: &str) -> RedactProcessor {
    processor(&config(text), &Meter::new())
}

/// Names of builds, work items, tenants, machines and models, ids, versions and hashes stay: on-call engineers need
/// them.
#[test]
fn what_must_survive() {
    let redact = processor(&RedactConfig::default(), &Meter::new());
    let kept = [
        ("build.commit_sha", "9fceb02d0ae598e95dc970b74767f19372d61af8"),
        ("build.commit_sha", "9fceb02"),
        ("deploy.environment", "production"),
        ("deployment.environment.name", "prod-eu-1"),
        ("work_tracker.issue_id", "PAY-4711"),
        ("tenant.id", "acme-42"),
        ("incident.id", "INC-2026-0042"),
        ("session.id", "0b1f4e1c-8f2d-4f60-9a51-2f6f1a1f3c11"),
        ("gen_ai.conversation.id", "conv_01HZX3V7Q8K2M4N6P8R0S2T4V6"),
        ("gen_ai.response.id", "chatcmpl-AbC123dEf456GhI789jKl"),
        ("gen_ai.tool.call.id", "toolu_01A09q90qw90lq917835lq9"),
        ("gen_ai.request.model", "claude-sonnet-4-5-20250929"),
        ("gen_ai.response.model", "gpt-4o-2024-08-06"),
        ("gen_ai.tool.name", "get_customer_phone_number"),
        ("gen_ai.agent.name", "Billing Agent"),
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("span_id", "00f067aa0ba902b7"),
        ("service.name", "checkout"),
        ("service.version", "1.2.3.4"),
        ("service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09"),
        ("telemetry.sdk.version", "1.27.0"),
        ("k8s.pod.name", "api-7d4b9c6f5-x2x9z"),
        ("k8s.pod.uid", "275ecb36-5aa8-4c2a-9c47-d8bb681b9aff"),
        ("k8s.namespace.name", "payments"),
        ("k8s.node.name", "ip-10-0-1-17.eu-west-1.compute.internal"),
        ("host.name", "ip-10-0-1-17"),
        ("host.id", "fdbf79e8af94cb7f9e8df36789187052"),
        ("container.id", "a3bf90e006b2a3bf90e006b2a3bf90e006b2a3bf90e006b2a3bf90e006b2abcd"),
        ("container.image.name", "registry.example.net/pay/api:1.2.3"),
        ("server.address", "10.1.2.3"),
        ("client.address", "192.168.1.7"),
        ("net.peer.ip", "172.16.0.9"),
        ("process.pid", "4242"),
        ("http.request.method", "GET"),
        ("url.path", "/v1/items/4155550132"),
        ("code.function.name", "user.login"),
        ("exception.type", "java.net.SocketTimeoutException"),
        ("work_tracker.issue_id", "ABC-1234"),
        ("k8s.pod.ip", "10.1.2.3"),
        ("gen_ai.tool.name", "mcp__jira__get_issue"),
    ];
    for (key, value) in kept {
        assert_eq!(string_after(&redact, key, value).as_deref(), Some(value), "{key}");
    }
}

/// An attribute's key determines how its value is read, on every signal; ids do not become shared placeholders.
#[test]
fn keys_of_attributes_count() {
    let redact = processor(&RedactConfig::default(), &Meter::new());
    for (key, value, wanted) in [
        // an address of four numbers may be a version; nothing else that a rule matches is one
        ("service.version", MAIL, "[EMAIL]"),
        ("user.full_name", "zorblatt quux", "[PERSON]"),
        ("enduser.email", "jane@intranet", "[EMAIL]"),
        ("app.date_of_birth", "3 May 1990", "[DATE_OF_BIRTH]"),
    ] {
        assert_eq!(string_after(&redact, key, value).as_deref(), Some(wanted), "{key}");
    }
    for (key, name) in [("user.id", MAIL), ("process.owner", "jane.roe")] {
        let id = string_after(&redact, key, name).unwrap_or_default();
        assert!(id.starts_with("h-"), "{key}: {id}");
    }
}

/// A rule can be turned off, keep allowed matches, insert a pseudonym of the account, or replace the whole text.
#[test]
fn rules_do_what_they_are_told() {
    let text = "from jane@example.com to bob@example.org";
    let after = |options: &str| string_after(&with(options), "note", text);
    assert_eq!(after("{}").as_deref(), Some("from [EMAIL] to [EMAIL]"));
    assert_eq!(after("{options: {email: {on: false}}}").as_deref(), Some(text));
    let allowed = after(r"{options: {email: {allow: ['.*@example\.org']}}}");
    assert_eq!(allowed.as_deref(), Some("from [EMAIL] to bob@example.org"));
    assert_eq!(after("{options: {email: {as: drop}}}").as_deref(), Some("[EMAIL]"));
    let keyed = after("{options: {email: {as: pseudonym}}}").unwrap_or_default();
    let wanted = |mail: &str| format!("[EMAIL:{}]", &ids().pseudonym("default", mail)[..18]);
    assert_eq!(keyed, format!("from {} to {}", wanted("jane@example.com"), wanted("bob@example.org")));
    assert_eq!(string_after(&with("{options: {email: {as: pseudonym}}}"), "note", &keyed), Some(keyed));
    let own = "{custom: [{name: CASE, pattern: 'case-[0-9]+'}], options: {case: {as: drop}}}";
    assert_eq!(string_after(&with(own), "note", "see case-7 now").as_deref(), Some("[CASE]"));
    let wrong = config("{options: {emial: {on: false}}}").settings().err().unwrap_or_default();
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].message.contains("did you mean `email`"), "{}", wrong[0].message);
    assert!(config("{options: {email: {allow: ['.*']}}}").settings().is_err(), "an allow list of everything");
}

/// A text over the size limit is replaced unread in any place; ids keep their keyed form; both are counted.
#[test]
fn what_is_too_long_is_closed() {
    let meter = Meter::new();
    let redact = processor(&config("{max_scan_bytes: 1024}"), &meter);
    let long = format!("{MAIL} {}", "x ".repeat(600));
    assert_eq!(string_after(&redact, "note", &long).as_deref(), Some("[UNSCANNED]"));
    assert_eq!(string_after(&redact, "exception.stacktrace", &long).as_deref(), Some("[UNSCANNED]"));
    assert!(string_after(&redact, "session.id", &long).is_some_and(|id| id.starts_with("h-")));
    let (after, _) = pass(&redact, Signal::Traces, span_with(vec![text(&long, "x")]));
    assert!(!String::from_utf8_lossy(&after).contains("jane"));
    assert_eq!(string_after(&redact, "note", "[UNSCANNED]").as_deref(), Some("[UNSCANNED]"));
    let told = meter.render();
    assert!(told.contains("tollgate_redact_unscanned_values_total{signal=\"traces\"} 4"), "{told}");
}

/// Text nested deeper than `max_depth` is replaced and counted; a depth over the limit is refused.
#[test]
fn what_is_too_deep_is_closed() {
    let meter = Meter::new();
    let redact = processor(&config("{max_depth: 1}"), &meter);
    let nested =
        (0..4).fold(format!("password=hunter2!x {MAIL}"), |text, _| serde_json::json!({"a": text}).to_string());
    let after = string_after(&redact, "note", &nested).unwrap_or_default();
    assert!(!after.contains("hunter2") && !after.contains("jane") && after.contains("[UNSCANNED]"), "{after}");
    assert!(meter.render().contains("tollgate_redact_unscanned_values_total{signal=\"traces\"} 1"));
    assert!(config("{max_depth: 9}").settings().is_err());
    assert!(config("{max_scan_bytes: 1}").settings().is_err());
}

/// Private addresses and spelled-out mail addresses follow the options.
#[test]
fn choices_reach_the_rules() {
    let lan = "10.44.2.31";
    assert_eq!(string_after(&with("{}"), "client.address", lan).as_deref(), Some(lan));
    for key in ["client.address", "net.peer.ip", "server.address", "note"] {
        let after = string_after(&with("{private_addresses: redact}"), key, lan);
        assert_eq!(after.as_deref(), Some("[IP_ADDRESS]"), "{key}");
    }
    let spelt = "mail jane at example dot com";
    assert_eq!(string_after(&with("{}"), "note", spelt).as_deref(), Some(spelt));
    assert_eq!(string_after(&with("{spelled_emails: true}"), "note", spelt).as_deref(), Some("mail [EMAIL]"));
}

/// With the option set, items record findings and their lengths; never on data points; a second pass changes nothing.
#[test]
fn lengths_are_told_on_request() {
    let redact = with("{record_lengths: true, max_scan_bytes: 1024}");
    let wire = span_with(vec![
        text("a", MAIL),
        text("b", &format!("ssn 219-09-9998 and {MAIL}")),
        text("c", &"x".repeat(2000)),
    ]);
    let (once, _) = pass(&redact, Signal::Traces, wire.clone());
    let Some(Value::StringValue(told)) = attributes_of(&once).remove("tollgate.content.shape") else { panic!("told") };
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let wanted = serde_json::json!({"redacted": [{"type": "EMAIL", "bytes": 16}, {"type": "SSN", "bytes": 11}, {"type": "EMAIL", "bytes": 16}, {"type": "UNSCANNED", "bytes": 2000}]});
    assert_eq!(told, wanted);
    assert!(pass(&redact, Signal::Traces, once.clone()).0 == once);
    assert!(!attributes_of(&pass(&with("{}"), Signal::Traces, wire).0).contains_key("tollgate.content.shape"));
    let json = serde_json::json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "unit": "1",
        "sum": {"aggregationTemporality": 1, "dataPoints": [{"timeUnixNano": "1", "asInt": "1", "attributes": [{"key": "who", "value": {"stringValue": MAIL}}]}]}}]}]}]});
    let request: ExportMetricsServiceRequest = serde_json::from_value(json).expect("request");
    let (bytes, _) = pass(&redact, Signal::Metrics, request.encode_to_vec());
    assert!(!String::from_utf8_lossy(&bytes).contains("tollgate.content.shape"));
}

/// Audit mode counts findings and changes nothing; the batch is not cleared.
#[test]
fn an_audit_only_counts() {
    let meter = Meter::new();
    let redact = processor(&config("{mode: audit}"), &meter);
    let wire = span_with(vec![text("note", MAIL), text("http.request.header.authorization", "Bearer x")]);
    let (after, clearance) = pass(&redact, Signal::Traces, wire.clone());
    assert_eq!(after, wire);
    assert_eq!((clearance.text, clearance.content), (TextState::Raw, ContentState::Kept));
    let told = meter.render();
    assert!(told.contains("tollgate_redactions_total{rule=\"email\",signal=\"traces\"} 1"), "{told}");
    assert!(told.contains("place=\"value\"") && told.contains("tollgate_redact_dropped_attributes_total"), "{told}");
}

/// With `content: allow` content passes, redacted, and counts as cleared; otherwise it does not.
#[test]
fn content_passes_where_somebody_allows_it() {
    let wire = || span_with(vec![text("gen_ai.prompt", &format!("write to {MAIL}"))]);
    let (_, clearance) = pass(&with("{}"), Signal::Traces, wire());
    assert_eq!(clearance.content, ContentState::Kept);
    let (after, clearance) = pass(&with("{content: allow}"), Signal::Traces, wire());
    assert_eq!((clearance.text, clearance.content), (TextState::Redacted, ContentState::Stripped));
    let after = String::from_utf8_lossy(&after).into_owned();
    assert!(after.contains("write to [EMAIL]"), "{after}");
}
