//! Tests that no protocol field is forgotten: private text in each field, by the official descriptors.

use std::collections::BTreeSet;

use super::*;
use opentelemetry_proto::tonic::common::v1::EntityRef;
use opentelemetry_proto::tonic::resource::v1::Resource;
use otlp::testing::fields::requests_with;

/// Every string or bytes field that telemetry can contain, except span and trace ids. When a field is added to the
/// schema, add it here after considering what it may contain.
const FIELDS: &[&str] = &[
    "common.v1.AnyValue.bytes_value",
    "common.v1.AnyValue.string_value",
    "common.v1.EntityRef.description_keys",
    "common.v1.EntityRef.id_keys",
    "common.v1.EntityRef.schema_url",
    "common.v1.EntityRef.type",
    "common.v1.InstrumentationScope.name",
    "common.v1.InstrumentationScope.version",
    "common.v1.KeyValue.key",
    "logs.v1.LogRecord.event_name",
    "logs.v1.LogRecord.severity_text",
    "logs.v1.ResourceLogs.schema_url",
    "logs.v1.ScopeLogs.schema_url",
    "metrics.v1.Metric.description",
    "metrics.v1.Metric.name",
    "metrics.v1.Metric.unit",
    "metrics.v1.ResourceMetrics.schema_url",
    "metrics.v1.ScopeMetrics.schema_url",
    "trace.v1.ResourceSpans.schema_url",
    "trace.v1.ScopeSpans.schema_url",
    "trace.v1.Span.Event.name",
    "trace.v1.Span.Link.trace_state",
    "trace.v1.Span.name",
    "trace.v1.Span.trace_state",
    "trace.v1.Status.message",
];

/// Paths that must be among those tested: places that are easily forgotten, in the protocol's own names.
const WAYS: &[&str] = &[
    "resource_spans/resource/attributes/key",
    "resource_spans/resource/attributes/value/string_value",
    "resource_spans/resource/entity_refs/id_keys",
    "resource_spans/scope_spans/scope/attributes/value/string_value",
    "resource_spans/scope_spans/spans/attributes/value/array_value/values/string_value",
    "resource_spans/scope_spans/spans/attributes/value/kvlist_value/values/key",
    "resource_spans/scope_spans/spans/attributes/value/kvlist_value/values/value/bytes_value",
    "resource_spans/scope_spans/spans/events/attributes/value/string_value",
    "resource_spans/scope_spans/spans/links/attributes/value/string_value",
    "resource_logs/scope_logs/log_records/attributes/value/bytes_value",
    "resource_logs/scope_logs/log_records/body/kvlist_value/values/key",
    "resource_logs/scope_logs/log_records/body/string_value",
    "resource_metrics/scope_metrics/metrics/metadata/value/string_value",
    "resource_metrics/scope_metrics/metrics/gauge/data_points/exemplars/filtered_attributes/value/string_value",
    "resource_metrics/scope_metrics/metrics/exponential_histogram/data_points/attributes/value/string_value",
    "resource_metrics/scope_metrics/metrics/histogram/data_points/attributes/key",
    "resource_metrics/scope_metrics/metrics/sum/data_points/attributes/value/array_value/values/string_value",
    "resource_metrics/scope_metrics/metrics/summary/data_points/attributes/value/string_value",
];

/// The list above equals the protocol's fields.
#[test]
fn every_field_is_named() {
    let requests = requests_with(MAIL.as_bytes());
    let there: BTreeSet<&str> = requests.iter().map(|(_, field, ..)| field.as_str()).collect();
    let named: BTreeSet<&str> = FIELDS.iter().copied().collect();
    assert_eq!(there, named);
    let ways: BTreeSet<&str> = requests.iter().map(|(_, _, way, _)| way.as_str()).collect();
    for way in WAYS {
        assert!(ways.contains(way), "{way}");
    }
}

/// With a mail address and a key in each field, neither is forwarded on any signal, and the result is valid OTLP, which
/// a second pass does not change.
#[test]
fn nothing_private_leaves_any_field() {
    let private = format!("to {MAIL} with ghp_16C7e42F292c6912E7710c838347Ae178B4a");
    for (signal, _, way, request) in requests_with(private.as_bytes()) {
        let (bytes, clearance) = pass(by_default(), signal, request);
        assert!(pass(by_default(), signal, bytes.clone()).0 == bytes, "{way}");
        let left = String::from_utf8_lossy(&bytes);
        assert!(!left.contains("jane") && !left.contains("example.com") && !left.contains("ghp_"), "{way}: {left}");
        assert!(clearance.text == TextState::Redacted && Payload::parse(signal, Bytes::from(bytes)).is_ok(), "{way}");
    }
}

fn shown_number(redact: &RedactProcessor, key: &str, value: Value) -> String {
    let after = attributes_after(redact, vec![kv(key, value)]);
    match after[0].value.clone().and_then(|value| value.value).expect("a value") {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// Numbers are as private as the same digits in a string: under a key that marks them as private, or as card numbers;
/// in lists and maps too. Numbers that dashboards count stay numbers.
#[test]
fn private_numbers_become_placeholders() {
    for (key, number, wanted) in [
        ("x", 4_111_111_111_111_111, "[CREDIT_CARD]"),
        ("payment.card_number", 4_111_111_111_111_111, "[CREDIT_CARD]"),
        ("phone", 4_155_550_132, "[PHONE]"),
        ("customer.ssn", 219_099_998, "[SSN]"),
        ("password", 48_291_355, "[PASSWORD]"),
        ("app.password", 48_291_355, "[PASSWORD]"),
    ] {
        assert_eq!(shown_number(by_default(), key, Value::IntValue(number)), wanted, "{key}");
        assert_eq!(shown_number(by_default(), key, Value::DoubleValue(number as f64)), wanted, "{key}, a double");
        let shown = shown_number(by_default(), key, list_of(Value::IntValue(number)));
        assert!(shown.contains(wanted) && !shown.contains(&number.to_string()), "{shown}");
        let shown =
            shown_number(by_default(), "a", map(vec![kv(key, Value::IntValue(number)), kv("n", Value::IntValue(7))]));
        assert!(shown.contains(wanted) && shown.contains("IntValue(7)"), "{shown}");
    }
    for (key, number) in [
        ("gen_ai.usage.input_tokens", 123_456),
        ("max_tokens", 4_096_000),
        ("token", 48_291_355),
        ("server.port", 443),
        ("duration_ms", 1_763_628_543_123),
        ("order_id", 4_111_111_111_111_111),
        ("dd.trace_id", 4_872_472_213_245_830_845),
        ("x", 4_872_472_213_245_830_845),
        ("x", 4_111_111_111_111_112),
        ("group.id", 48_291_355),
        ("password_length", 482_913),
        ("http.response.body.size", 4_155_550_132),
    ] {
        assert_eq!(shown_number(by_default(), key, Value::IntValue(number)), number.to_string(), "{key}");
    }
    let twice = attributes_after(
        by_default(),
        attributes_after(by_default(), vec![kv("phone", Value::IntValue(4_155_550_132))]),
    );
    assert_eq!(twice, vec![text("phone", "[PHONE]")], "a second pass changes nothing");
}

/// An attribute whose key marks it as secret is removed as a whole, in a list or map too; words about secrets stay.
#[test]
fn secret_keys_of_attributes() {
    for (key, value) in [
        ("app.password", "Tr0ub4dor3w"),
        ("db.password", "hunter22"),
        ("client_secret", "q8w7e6r5t4y3u2i1"),
        ("api_key", "q8w7e6r5t4y3u2i1"),
    ] {
        let shown = string_after(by_default(), key, value).expect("kept");
        assert!(shown.starts_with('[') && !shown.contains(value), "{key}: {shown}");
        for holder in [list_of(Value::StringValue(value.to_owned())), map(vec![text(key, value)])] {
            let after = format!("{:?}", attributes_after(by_default(), vec![kv(key, holder)]));
            assert!(!after.contains(value), "{after}");
        }
    }
    for (key, value) in [
        ("auth.method", "password"),
        ("gen_ai.token.type", "input"),
        ("token_endpoint", "https://id.example.com/oauth2/token"),
        ("k8s.secret.name", "db-credentials"),
        ("session.id", "sess-42"),
        ("messaging.message.key", "order-7"),
        ("order_id", "4111111111111111"),
    ] {
        assert_eq!(string_after(by_default(), key, value).as_deref(), Some(value), "{key}");
    }
}

/// A sentence under a key of machines and programs becomes the content mark, in lists too; their names stay.
#[test]
fn sentences_are_no_names_of_machines() {
    let sentence = "please tell Maria Huber about her diagnosis";
    for key in ["host.name", "net.host.name", "process.executable.name", "session.host"] {
        assert_eq!(string_after(by_default(), key, sentence).as_deref(), Some("[CONTENT]"), "{key}");
        assert_eq!(string_after(by_default(), key, &"a".repeat(300)).as_deref(), Some("[CONTENT]"), "{key}");
        for name in [
            "ip-10-0-0-7.eu-west-1.compute.internal",
            "internal-agents-prod-alb-123.us-east-1.elb.amazonaws.com",
            "web-7f9c6d8b5-x2x4z",
            "claude",
            "Google Chrome Helper (Renderer)",
        ] {
            assert_ne!(string_after(by_default(), key, name).as_deref(), Some("[CONTENT]"), "{key} {name}");
        }
    }
    let list = list_of(Value::StringValue(sentence.to_owned()));
    let shown = format!("{:?}", attributes_after(by_default(), vec![kv("host.name", list)]));
    assert!(shown.contains("[CONTENT]") && !shown.contains("Maria"), "{shown}");
}

/// References to entities hold a type and attribute keys; sentences there become the content mark.
#[test]
fn entity_references_hold_keys() {
    let reference = |[kind, id, description, schema]: [&str; 4]| EntityRef {
        schema_url: schema.to_owned(),
        r#type: kind.to_owned(),
        id_keys: vec![id.to_owned()],
        description_keys: vec![description.to_owned()],
    };
    let after = |sent: EntityRef| {
        let mut request = ExportTraceServiceRequest::decode(&span_with(Vec::new())[..]).expect("decodes");
        request.resource_spans[0].resource = Some(Resource { entity_refs: vec![sent], ..Resource::default() });
        let (bytes, _) = pass(by_default(), Signal::Traces, request.encode_to_vec());
        let request = ExportTraceServiceRequest::decode(&bytes[..]).expect("decodes");
        request.resource_spans[0].resource.clone().expect("a resource").entity_refs[0].clone()
    };
    let schema = "https://opentelemetry.io/schemas/1.41.0";
    let good = reference(["service.instance", "service.instance.id", "k8s.pod.label.app_kubernetes_io/name", schema]);
    assert_eq!(after(good.clone()), good);
    let mark = "[CONTENT]";
    assert_eq!(after(reference(["please tell Maria Huber"; 4])), reference([mark; 4]));
    let joined = "please_tell_Maria_Huber_about_her_diagnosis_and_its_cure_today";
    assert_eq!(after(reference(["host", joined, &"k".repeat(300), ""])), reference(["host", mark, mark, ""]));
}
