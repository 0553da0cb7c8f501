//! The processor: names written, values kept, stamps removed, counted after the commit only.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::{Config, Normalize};
use crate::clock::UnixNanos;
use crate::genai::Vocabulary;
use crate::otlp::{Node, Payload, UnknownFields, Value};
use crate::pipeline::{Batch, Origin, Processor, Trust};
use crate::telemetry::Meter;
use crate::testing::request;

fn build(meter: &Meter) -> Normalize {
    let vocabulary = Arc::new(Vocabulary::builtin().unwrap_or_else(|error| panic!("{}", error.0)));
    Normalize::new("normalize".into(), &Config::default().settings().unwrap(), vocabulary, meter)
}

fn batch(payload: Payload, trust: Trust) -> Batch {
    let origin = Origin {
        account: "default".into(),
        receiver: "otlp".into(),
        trust,
        received: UnixNanos(0),
        id: [1; 16],
        repeat: false,
    };
    Batch::new(Arc::new(origin), payload)
}

/// Encoded and read again, so that tests see what goes out.
fn out(batch: &Batch) -> Payload {
    let bytes = batch.payload.encode(UnknownFields::Keep).unwrap_or_else(|error| panic!("{}", error.what)).bytes;
    Payload::parse(batch.payload.signal(), bytes.into()).unwrap_or_else(|error| panic!("{}", error.what))
}

fn attributes(payload: &Payload, node: Node) -> Map<String, Json> {
    payload.attributes(node).map(|attribute| (attribute.key.to_owned(), plain(attribute.value))).collect()
}

fn plain(value: Value<'_>) -> Json {
    let mut text = String::new();
    value.write_json(&mut text);
    serde_json::from_str(&text).unwrap()
}

/// Every golden case of the dialects: what its `set` names is there afterwards, and what came is unchanged.
#[test]
fn golden_cases() {
    let processor = build(&Meter::new());
    let mut failed = Vec::new();
    let mut compared = 0;
    for (name, case) in request::cases("tests/cases/dialects") {
        let before = request::payload(&case);
        let mut batch = batch(request::payload(&case), Trust::ThirdParty);
        processor.process(&mut batch).unwrap();
        let after = out(&batch);
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

/// A client can't stamp what only tollgate may; an upstream tollgate can.
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
    let mut untrusted = batch(request::payload(&case), Trust::ThirdParty);
    processor.process(&mut untrusted).unwrap();
    let after = out(&untrusted);
    let keys: Vec<String> = after.nodes().flat_map(|node| after.attributes(node)).map(|a| a.key.to_owned()).collect();
    assert!(!keys.iter().any(|key| key.starts_with("tollgate.")), "{keys:?}");
    assert!(keys.iter().any(|key| key == "tollgatekeeper"));
    assert!(!meter.render().contains("tollgate_client_stamps_removed_total{processor=\"normalize\"} 4"));
    processor.apply(&untrusted.effects[0]);
    assert!(
        meter.render().contains("tollgate_client_stamps_removed_total{processor=\"normalize\"} 4"),
        "{}",
        meter.render()
    );
    assert!(meter.render().contains("tollgate_dialect_items_total{dialect=\"plain-vocabulary\",signal=\"traces\"} 1"));

    let mut trusted = batch(request::payload(&case), Trust::Internal);
    processor.process(&mut trusted).unwrap();
    let after = out(&trusted);
    assert_eq!(
        after.nodes().flat_map(|node| after.attributes(node)).filter(|a| a.key.starts_with("tollgate.")).count(),
        4
    );
}

/// A broken effect on disk is ignored.
#[test]
fn unreadable_effects_are_ignored() {
    let processor = build(&Meter::new());
    let mut batch = batch(request::payload(&json!({"items": [{"name": "x"}]})), Trust::ThirdParty);
    processor.process(&mut batch).unwrap();
    let mut effect = batch.effects.remove(0);
    effect.body.truncate(3);
    processor.apply(&effect);
}

/// A text that goes to the vault because it is no label must not come back under a name of ours.
#[test]
fn content_is_not_copied() {
    let processor = build(&Meter::new());
    let case = json!({"signal": "traces", "items": [{"name": "chat x", "trace": 1, "span": 2, "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
        "langfuse.session.id": "CANARY one asks to move money", "gen_ai.usage.input_tokens": 1}}]});
    let mut batch = batch(request::payload(&case), Trust::ThirdParty);
    let facts = crate::genai::facts_of(&processor.vocabulary, &mut batch);
    let content = facts.items.iter().map(|item| item.content.len()).sum::<usize>();
    processor.process(&mut batch).unwrap();
    let after = out(&batch);
    let attributes = attributes(&after, after.items().next().unwrap());
    let holding = attributes.values().filter(|value| value.to_string().contains("CANARY")).count();
    assert_eq!((holding, content <= 1), (1, true), "{attributes:?}");
}
