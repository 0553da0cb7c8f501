//! An item is what it shows: neither its service's name nor a lost event name takes a call's price away. Every golden
//! case is tried.

use serde_json::{Value as Json, json};

use super::super::usage::split_tokens;
use super::super::{ItemFacts, read_facts};
use super::{buckets, builtin};
use crate::testing::request;

/// Names of clients that a dialect is recognised by, and ordinary ones beside them.
const SERVICES: &str = "opencode codex-search codex_cli_rs gemini-cli claude-code unknown_service helicone-proxy shop";

fn groups(case: &mut Json) -> Vec<&mut Json> {
    if case["groups"].is_array() { case["groups"].as_array_mut().unwrap().iter_mut().collect() } else { vec![case] }
}

/// Changes golden cases in each of the `ways`. The items with tokens of which `is_tried` stay billed or not, with the
/// same tokens, and `show` the same.
fn stay_the_same(
    is_case: impl Fn(&Json) -> bool,
    ways: &[&str],
    change: impl Fn(&mut Json, &str),
    is_tried: impl Fn(&ItemFacts) -> bool,
    show: impl Fn(&ItemFacts) -> Json,
    at_least: usize,
) {
    let (vocabulary, mut tried, mut failed) = (builtin(), 0, Vec::new());
    let is_billed = |item: &ItemFacts| item.billable && item.usage.has_billed_tokens() && split_tokens(item).is_ok();
    for (name, case) in request::cases("tests/cases/dialects").iter().filter(|(_, case)| is_case(case)) {
        let facts = |case: &Json| read_facts(&vocabulary, &request::payload(case)).items;
        let before = facts(case);
        for way in ways {
            let mut changed = case.clone();
            groups(&mut changed).into_iter().for_each(|group| change(group, way));
            let pairs = before.iter().zip(facts(&changed)).enumerate();
            for (at, (before, after)) in pairs.filter(|(_, (item, _))| item.usage.is_reported() && is_tried(item)) {
                tried += 1;
                if is_billed(before) != is_billed(&after)
                    || buckets(before) != buckets(&after)
                    || show(before) != show(&after)
                {
                    let dialects = (before.dialect.unwrap_or("-"), after.dialect.unwrap_or("-"));
                    failed.push(format!("{name}, item {at}, {way}: {dialects:?}"));
                }
            }
        }
    }
    assert!(tried > at_least, "{tried}");
    assert!(failed.is_empty(), "{} of {tried}:\n{}", failed.len(), failed.join("\n"));
}

/// Must not regress: a call stays the same call, with the same tokens, whatever its service is called.
#[test]
fn by_any_service_name() {
    let services: Vec<&str> = SERVICES.split(' ').collect();
    let first_words: Vec<&str> = services.iter().filter_map(|known| known.split(['-', '_']).next()).collect();
    let rename = |group: &mut Json, service: &str| {
        let own = group["resource"]["service.name"].as_str().unwrap_or("");
        if !["cowork", "qwen-code"].contains(&own) && !first_words.iter().any(|word| own.starts_with(*word)) {
            group["resource"]["service.name"] = json!(service);
        }
    };
    let show = |item: &ItemFacts| json!([item.request_model, item.provider]);
    stay_the_same(|_| true, &services, rename, |_| true, show, 700);
}

/// Must not regress: a log record of a call that lost its event name on the way is still that call, on both signals.
#[test]
fn without_its_event_name() {
    let lose = |group: &mut Json, way: &str| {
        for item in group["items"].as_array_mut().unwrap() {
            let keeps_body = way == "another word" && item["body"].is_string();
            let attributes = item["attributes"].as_object_mut();
            let Some(attributes) = attributes.filter(|attributes| attributes.contains_key("event.name")) else {
                continue;
            };
            if keeps_body {
                attributes.insert("event.name".to_owned(), json!("log"));
                continue;
            }
            attributes.remove("event.name");
            if way == "overwritten" {
                let place = json!("event otel/src/events/session_telemetry.rs:863");
                attributes.insert("event.name".to_owned(), place);
            }
            item["event_name"] = Json::Null;
            item["body"] = if way == "in no body" { json!("") } else { Json::Null };
        }
    };
    let named = ["claude-code-native", "codex-cli", "gemini-cli"];
    let is_tried = |item: &ItemFacts| item.billable && item.dialect.is_some_and(|dialect| named.contains(&dialect));
    let show = |item: &ItemFacts| json!(item.on_two_signals);
    let ways = ["overwritten", "missing", "in no body", "another word"];
    stay_the_same(|case| case["signal"] == "logs", &ways, lose, is_tried, show, 10);
}
