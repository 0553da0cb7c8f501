//! An item is what it shows: neither its service's name nor a lost event name takes a call's price away. Every golden
//! case is tried.

use serde_json::{Value as Json, json};

use super::super::usage::split_tokens;
use super::super::{ItemFacts, Vocabulary, read_facts};
use super::{buckets, builtin};
use crate::testing::request;

/// Names of clients that a dialect is recognised by, and ordinary ones beside them.
const SERVICES: [&str; 8] = [
    "opencode",
    "codex-search",
    "codex_cli_rs",
    "gemini-cli",
    "claude-code",
    "unknown_service",
    "helicone-proxy",
    "shop",
];

fn is_billed(item: &ItemFacts) -> bool {
    item.billable && item.usage.has_billed_tokens() && split_tokens(item).is_ok()
}

fn facts(vocabulary: &Vocabulary, case: &Json) -> Vec<ItemFacts> {
    read_facts(vocabulary, &request::payload(case)).items
}

fn groups(case: &mut Json) -> Vec<&mut Json> {
    if case["groups"].is_array() { case["groups"].as_array_mut().unwrap().iter_mut().collect() } else { vec![case] }
}

/// Must not regress: a call stays the same call, with the same tokens, whatever its service is called.
#[test]
fn by_any_service_name() {
    let vocabulary = builtin();
    let (mut tried, mut failed) = (0, Vec::new());
    for (name, case) in &request::cases("tests/cases/dialects") {
        let before = facts(&vocabulary, case);
        for service in SERVICES {
            let mut renamed = case.clone();
            for group in groups(&mut renamed) {
                let own = group["resource"]["service.name"].as_str().unwrap_or("").to_owned();
                let first_word = |known: &str| known.split(['-', '_']).next().unwrap_or("").to_owned();
                if own != "cowork" && !SERVICES.iter().any(|known| own.starts_with(&first_word(known))) {
                    group["resource"]["service.name"] = json!(service);
                }
            }
            for (at, (before, after)) in before.iter().zip(facts(&vocabulary, &renamed)).enumerate() {
                if before.usage.is_reported() {
                    tried += 1;
                    let same = is_billed(before) == is_billed(&after)
                        && buckets(before) == buckets(&after)
                        && (&before.request_model, &before.provider) == (&after.request_model, &after.provider);
                    if !same {
                        let dialects = (before.dialect.unwrap_or("-"), after.dialect.unwrap_or("-"));
                        failed.push(format!("{name}, item {at}, service {service}: {dialects:?}"));
                    }
                }
            }
        }
    }
    assert!(tried > 700, "{tried}");
    assert!(failed.is_empty(), "{} of {tried}:\n{}", failed.len(), failed.join("\n"));
}

/// Must not regress: a log record of a call that lost its event name on the way is still that call, on both its signals.
#[test]
fn without_its_event_name() {
    let vocabulary = builtin();
    let (mut tried, mut failed) = (0, Vec::new());
    for (name, case) in request::cases("tests/cases/dialects").iter().filter(|(_, case)| case["signal"] == "logs") {
        let before = facts(&vocabulary, case);
        for (way, event_name, body) in [
            ("overwritten", json!("event otel/src/events/session_telemetry.rs:863"), Json::Null),
            ("missing", Json::Null, Json::Null),
            ("in no body", Json::Null, json!("")),
        ] {
            let mut lost = case.clone();
            for item in groups(&mut lost).into_iter().flat_map(|group| group["items"].as_array_mut().unwrap()) {
                let attributes = item["attributes"].as_object_mut();
                if let Some(attributes) = attributes.filter(|attributes| attributes.contains_key("event.name")) {
                    attributes.remove("event.name");
                    if event_name.is_string() {
                        attributes.insert("event.name".to_owned(), event_name.clone());
                    }
                    item["event_name"] = Json::Null;
                    item["body"] = body.clone();
                }
            }
            for (at, (before, after)) in before.iter().zip(facts(&vocabulary, &lost)).enumerate() {
                let named = ["claude-code-native", "codex-cli", "gemini-cli"];
                if is_billed(before) && before.dialect.is_some_and(|dialect| named.contains(&dialect)) {
                    tried += 1;
                    let same = is_billed(&after)
                        && buckets(before) == buckets(&after)
                        && before.on_two_signals == after.on_two_signals;
                    if !same {
                        failed.push(format!("{name}, item {at}, {way}: {:?}", after.dialect));
                    }
                }
            }
        }
    }
    assert!(tried > 10, "{tried}");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
