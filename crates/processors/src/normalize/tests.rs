//! Tests of the processor: names are written, values kept, stamps removed, and counts made only after the commit.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::{NormalizeConfig, NormalizeProcessor};
use crate::testing::{assert_shows, attributes, origin, received};
use genai::testing::builtin::vocabulary;
use genai::testing::request;
use otlp::Payload;
use pipeline::{Batch, BatchOrigin, Processor, Trust};
use telemetry::Meter;

pub(super) fn build(meter: &Meter) -> NormalizeProcessor {
    NormalizeProcessor::new("normalize".into(), &NormalizeConfig::default().settings().unwrap(), vocabulary(), meter)
}

/// A batch of a case after the processor.
fn processed(processor: &NormalizeProcessor, case: &Json, trust: Trust) -> Batch {
    let mut batch = Batch::new(Arc::new(BatchOrigin { trust, ..origin() }), request::payload(case));
    processor.process(&mut batch).unwrap();
    batch
}

/// A client's payload, or tollgate's own, after the processor, as a back end receives it.
fn sent_on(processor: &NormalizeProcessor, case: &Json) -> Payload {
    let trust = if case["trust"] == "internal" { Trust::Internal } else { Trust::ThirdParty };
    received(&processed(processor, case, trust))
}

/// Every golden case of the dialects: the attributes listed in `set` are present afterwards, and existing ones are
/// unchanged.
#[test]
fn golden_cases() {
    let processor = build(&Meter::new());
    let mut failed = Vec::new();
    let mut compared = 0;
    for (name, case) in request::cases("tests/cases/dialects") {
        let before = request::payload(&case);
        let after = sent_on(&processor, &case);
        let none = Vec::new();
        let expected = case["expect"].as_array().unwrap_or(&none).iter();
        for ((then, now), expected) in before.items().zip(after.items()).zip(expected) {
            let (then, now) = (attributes(&before, then), attributes(&after, now));
            let set = expected["set"].as_object();
            for (key, value) in set.into_iter().flatten() {
                compared += 1;
                if now.get(key) != Some(value) && !value.is_null() || value.is_null() && now.contains_key(key) {
                    failed.push(format!("{name}: {key} is {:?} instead of {value}", now.get(key)));
                }
            }
            for (key, value) in &then {
                let mended = set.is_some_and(|set| set.contains_key(key));
                if now.get(key) != Some(value) && !mended {
                    failed.push(format!("{name}: {key} changed"));
                }
            }
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
    assert!(compared > 20, "{compared}");
}

fn with(config: &str) -> NormalizeProcessor {
    let config: NormalizeConfig = serde_json::from_str(config).unwrap();
    NormalizeProcessor::new("normalize".into(), &config.settings().unwrap(), vocabulary(), &Meter::new())
}

fn written(processor: &NormalizeProcessor, case: &Json) -> Map<String, Json> {
    let after = sent_on(processor, case);
    attributes(&after, after.items().next().unwrap())
}

fn hooks_call() -> Json {
    json!({"scope": {"name": "claude_code_hooks"}, "items": [{"name": "claude_code.llm_call", "trace": 1, "span": 1,
        "attributes": {"session.id": "s1", "gen_ai.system": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5",
        "agent.stop_reason": "end_turn", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 200,
        "gen_ai.usage.cache_read_tokens": 9000, "gen_ai.usage.cache_creation_tokens": 500}}]})
}

/// Each version of the conventions gets its own names, and no existing attribute is lost.
#[test]
fn names_by_version() {
    let key = |config: &str, key: &str| written(&with(config), &hooks_call()).get(key).cloned();
    let (read, created) = ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_creation.input_tokens");
    for (config, provider, read_tokens, created_tokens, newest) in [
        (r#"{"semconv":"1.36"}"#, None, None, None, None),
        (r#"{"semconv":"1.37"}"#, Some(json!("anthropic")), None, None, None),
        (r#"{"semconv":"1.40"}"#, Some(json!("anthropic")), Some(json!(9000)), Some(json!(500)), None),
        ("{}", Some(json!("anthropic")), Some(json!(9000)), Some(json!(500)), Some(json!(500))),
        (r#"{"semconv":"development"}"#, Some(json!("anthropic")), Some(json!(9000)), None, Some(json!(500))),
    ] {
        assert_eq!(key(config, "gen_ai.provider.name"), provider, "{config}");
        assert_eq!(key(config, read), read_tokens, "{config}");
        assert_eq!(key(config, created), created_tokens, "{config}");
        assert_eq!(key(config, "gen_ai.usage.cache_write.input_tokens"), newest, "{config}");
        for (kept, value) in [
            ("gen_ai.system", json!("anthropic")),
            ("gen_ai.usage.cache_read_tokens", json!(9000)),
            ("agent.stop_reason", json!("end_turn")),
        ] {
            assert_eq!(key(config, kept), Some(value), "{config} {kept}");
        }
    }
}

/// With `drop_originals` only current names with their current meaning stay, plus the older names that dashboards still
/// read.
#[test]
fn originals_go_if_asked() {
    let (mut call, thinking) = (hooks_call(), "gen_ai.usage.thinkingTokens");
    call["items"][0]["attributes"][thinking] = json!(20);
    let after = written(&with(r#"{"drop_originals":true}"#), &call);
    for gone in ["gen_ai.usage.cache_read_tokens", "gen_ai.usage.cache_creation_tokens", "agent.stop_reason", thinking]
    {
        assert!(!after.contains_key(gone), "{gone}");
    }
    for (key, value) in [
        ("gen_ai.usage.input_tokens", json!(9510)),
        ("gen_ai.usage.cache_read.input_tokens", json!(9000)),
        ("gen_ai.usage.reasoning.output_tokens", json!(20)),
        ("gen_ai.response.finish_reasons", json!(["end_turn"])),
        ("gen_ai.system", json!("anthropic")),
        ("gen_ai.provider.name", json!("anthropic")),
        ("session.id", json!("s1")),
        ("gen_ai.conversation.id", json!("s1")),
    ] {
        assert_eq!(after.get(key), Some(&value), "{key}");
    }
}

/// Trace and span ids found only in attributes or a body fill the record's own fields, if they are valid.
#[test]
fn ids_fill_the_records_own_fields() {
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let body = json!({"event": "agent_decision", "session_id": "s", "action_type": "call", "trace_id": trace, "span_id": span});
    let parent = format!("00-{trace}-{span}-01");
    let cases = [
        (json!({"body": "agent_decision", "attributes": {"trace_id": trace, "span_id": span}}), true),
        (json!({"body": body}), true),
        (json!({"body": body.to_string()}), true),
        (json!({"body": "agent_decision", "attributes": {"traceparent": parent}}), true),
        (
            json!({"body": "agent_decision", "attributes": {"trace_id": "4bf92f35-77b3-4da6-a3ce-929d0e0e4736", "span_id": span}}),
            true,
        ),
        (json!({"body": "agent_decision", "attributes": {"trace_id": "no id", "span_id": "0000000000000000"}}), false),
        (json!({"body": "ordinary", "attributes": {"trace_id": trace, "span_id": span}}), false),
    ];
    for (item, filled) in cases {
        let after = sent_on(&build(&Meter::new()), &json!({"signal": "logs", "items": [item]}));
        let node = after.items().next().unwrap();
        let ids = (kernel::hex::encode(after.trace_id(node)), kernel::hex::encode(after.span_id(node)));
        let expected = if filled { (trace, span) } else { ("", "") };
        assert_eq!((ids.0.as_str(), ids.1.as_str()), expected, "{item}");
    }
    let own = json!({"signal": "logs", "items": [{"body": "agent_decision", "trace": 7, "span": 8, "attributes": {"trace_id": trace}}]});
    let after = sent_on(&build(&Meter::new()), &own);
    assert!(kernel::hex::encode(after.trace_id(after.items().next().unwrap())).ends_with('7'));
}

/// Required attributes that are missing are counted after the commit, by dialect and attribute.
#[test]
fn missing_attributes_are_counted() {
    let meter = Meter::new();
    let processor = build(&meter);
    let case = json!({"items": [
        {"name": "model", "trace": 1, "span": 1, "attributes": {"input_tokens": 1, "output_tokens": 1, "model": "m"}},
        {"name": "execute_tool", "trace": 1, "span": 2, "status": "error", "attributes": {"gen_ai.operation.name": "execute_tool"}},
    ]});
    processor.apply(&processed(&processor, &case, Trust::ThirdParty).effects[0]);
    let text = meter.render();
    for (attribute, dialect) in [
        ("gen_ai.provider.name", "plain-vocabulary"),
        ("gen_ai.tool.name", "otel-semconv-1.28-1.36"),
        ("error.type", "otel-semconv-1.28-1.36"),
    ] {
        let line = format!("tollgate_missing_attributes_total{{dialect=\"{dialect}\",attribute=\"{attribute}\"}} 1");
        assert!(text.contains(&line), "{line}\n{text}");
    }
}

/// A client cannot set attributes reserved for tollgate; an upstream tollgate can.
#[test]
fn stamps_of_clients_are_removed() {
    let case = json!({
        "resource": {"tollgate.x": 1, "service.name": "a"},
        "scope": {"name": "s", "attributes": {"tollgate.y": 1}},
        "items": [{"name": "model", "attributes": {"input_tokens": 1, "tollgate.cost.usd": "9", "tollgatekeeper": 1},
            "events": [{"name": "e", "attributes": {"tollgate.z": 1}}]}],
    });
    let meter = Meter::new();
    let processor = build(&meter);
    let untrusted = processed(&processor, &case, Trust::ThirdParty);
    let after = received(&untrusted);
    let keys: Vec<String> = after.nodes().flat_map(|node| after.attributes(node)).map(|a| a.key.to_owned()).collect();
    assert!(!keys.iter().any(|key| key.starts_with("tollgate.")), "{keys:?}");
    assert!(keys.iter().any(|key| key == "tollgatekeeper"));
    assert!(!meter.render().contains("tollgate_client_stamps_removed_total{processor=\"normalize\"} 4"));
    processor.apply(&untrusted.effects[0]);
    assert_shows(&meter, "tollgate_client_stamps_removed_total{processor=\"normalize\"} 4");
    assert!(meter.render().contains("tollgate_dialect_items_total{dialect=\"plain-vocabulary\",signal=\"traces\"} 1"));

    let after = received(&processed(&processor, &case, Trust::Internal));
    assert_eq!(
        after.nodes().flat_map(|node| after.attributes(node)).filter(|a| a.key.starts_with("tollgate.")).count(),
        4
    );
}

/// A damaged stored effect is ignored.
#[test]
fn unreadable_effects_are_ignored() {
    let processor = build(&Meter::new());
    let mut effect = processed(&processor, &json!({"items": [{"name": "x"}]}), Trust::ThirdParty).effects.remove(0);
    effect.body.truncate(3);
    processor.apply(&effect);
}

/// A text that goes to the vault because it is not a label must not reappear under a name written by tollgate.
#[test]
fn content_is_not_copied() {
    let processor = build(&Meter::new());
    let case = json!({"signal": "traces", "items": [{"name": "chat x", "trace": 1, "span": 2, "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
        "langfuse.session.id": "CANARY one asks to move money", "gen_ai.usage.input_tokens": 1}}]});
    let facts = genai::read_facts(&processor.vocabulary, &request::payload(&case));
    let content = facts.items.iter().map(|item| item.content.len()).sum::<usize>();
    let after = sent_on(&processor, &case);
    let attributes = attributes(&after, after.items().next().unwrap());
    let holding = attributes.values().filter(|value| value.to_string().contains("CANARY")).count();
    assert_eq!((holding, content <= 1), (1, true), "{attributes:?}");
}
