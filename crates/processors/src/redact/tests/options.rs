//! Tests of user options (rules on and off, forms, audit, content), and of data that must survive the default rules.

use super::*;
use crate::testing::case_file;

/// Names of builds, work items, tenants, machines and models, ids, versions and hashes stay: on-call engineers need
/// them.
#[test]
fn what_must_survive() {
    let kept: std::collections::BTreeMap<String, Vec<String>> = case_file("tests/cases/kept-attributes.yaml");
    for (key, value) in kept.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value))) {
        assert_eq!(string_after(by_default(), key, value).as_ref(), Some(value), "{key}");
    }
}

/// An attribute's key determines how its value is read, on every signal; ids do not become shared placeholders.
#[test]
fn keys_of_attributes_count() {
    for (key, value, wanted) in [
        // an address of four numbers may be a version; nothing else that a rule matches is one
        ("service.version", MAIL, "[EMAIL]"),
        ("user.full_name", "zorblatt quux", "[PERSON]"),
        ("enduser.email", "jane@intranet", "[EMAIL]"),
        ("app.date_of_birth", "3 May 1990", "[DATE_OF_BIRTH]"),
    ] {
        assert_eq!(string_after(by_default(), key, value).as_deref(), Some(wanted), "{key}");
    }
    for (key, name) in [("user.id", MAIL), ("process.owner", "jane.roe")] {
        let id = string_after(by_default(), key, name).unwrap_or_default();
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

/// Private addresses follow the option.
#[test]
fn choices_reach_the_rules() {
    let lan = "10.44.2.31";
    assert_eq!(string_after(&with("{}"), "client.address", lan).as_deref(), Some(lan));
    for key in ["client.address", "net.peer.ip", "server.address", "note"] {
        let after = string_after(&with("{private_addresses: redact}"), key, lan);
        assert_eq!(after.as_deref(), Some("[IP_ADDRESS]"), "{key}");
    }
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
    let point = serde_json::json!({"signal": "metrics", "items": [{"metric": "m", "attributes": {"who": MAIL}}]});
    assert!(!sent_on(&redact, &point).contains("tollgate.content.shape"));
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
