//! Usage cases from the test suites of public pricing libraries (`tests/cases/cost/suites.yaml`), sent as the spans
//! that instrumentations create for such calls: a call costs the same in every vocabulary.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::{attributes, build_with, case_file, configured, run, time_of};
use genai::testing::request;
use telemetry::Meter;

/// One vocabulary's attribute names for the counts of a case.
#[derive(Deserialize)]
struct Voice {
    name: String,
    scope: String,
    provider: String,
    model: String,
    counts: BTreeMap<String, String>,
    /// Providers to use it for; empty = all.
    of: Vec<String>,
}

fn span(case: &Json, voice: &Voice, at: usize) -> Json {
    let call = &case["call"];
    let provider = call["provider"].as_str().unwrap_or("");
    let mut attributes = Map::new();
    if !provider.is_empty() {
        attributes.insert(voice.provider.clone(), provider.into());
    }
    attributes.insert(voice.model.clone(), call["model"].clone());
    for (count, key) in &voice.counts {
        if let Some(number) = call["usage"].get(count) {
            attributes.insert(key.clone(), number.clone());
        }
    }
    let operation = call["operation"].as_str().unwrap_or("chat");
    match voice.name.as_str() {
        "openinference" => {
            attributes.insert("openinference.span.kind".into(), "LLM".into());
            let (short, long) = (&call["usage"]["cache_write_5m"], &call["usage"]["cache_write_1h"]);
            if !short.is_null() {
                let split = json!({"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long});
                let answer = json!({"usage": {"cache_creation": split}}).to_string();
                attributes.insert("output.value".into(), answer.into());
            }
        }
        "openllmetry" => drop(attributes.insert("llm.request.type".into(), operation.into())),
        _ => drop(attributes.insert("gen_ai.operation.name".into(), operation.into())),
    }
    if let Some(tier) = call["tier"].as_str() {
        attributes.insert("gen_ai.response.service_tier".into(), tier.into());
    }
    let scope = if voice.of.is_empty() { voice.scope.clone() } else { format!("{}{provider}", voice.scope) };
    let seconds = time_of(call) as f64 / 1e9;
    json!({"scope": {"name": scope, "version": "0.50.0"}, "items": [{"name": format!("{operation} m"), "trace": at + 1, "span": 1,
        "start": seconds, "attributes": attributes}]})
}

/// Every case, in every vocabulary that can express it, costs what the suite says.
#[test]
fn suites_in_every_vocabulary() {
    let mut cases = request::cases("tests/cases/cost");
    cases.retain(|(name, _)| name.starts_with("suites.yaml"));
    assert!(cases.len() >= 70, "{}", cases.len());
    let (mut sent, mut failed) = (0, Vec::new());
    let voices: Vec<Voice> = case_file("tests/cases/voices.yaml");
    for voice in &voices {
        for (at, (name, case)) in cases.iter().enumerate() {
            let provider = case["call"]["provider"].as_str().unwrap_or("");
            let told = case["voices"].as_array().is_none_or(|list| list.iter().any(|one| *one == voice.name));
            if !told || !(voice.of.is_empty() || voice.of.iter().any(|of| of == provider)) {
                continue;
            }
            let fees = case["call"]["fees"].as_bool().unwrap_or(false);
            if fees && voice.name != "semconv" {
                continue;
            }
            let settings = configured(|config| config.fees = fees);
            let batch = run(&build_with(&settings, &Meter::new()), request::payload(&span(case, voice, at)), 1);
            let got = attributes(&batch, 0);
            for (key, expected) in [("tollgate.cost.usd", "usd"), ("tollgate.cost.reason", "reason")] {
                let (got, expected) = (got.get(key).unwrap_or(&Json::Null), &case["expect"][expected]);
                if !expected.is_null() && got != expected {
                    failed.push(format!("{name}, {}: {got} instead of {expected}", voice.name));
                }
            }
            sent += 1;
        }
    }
    assert!(failed.is_empty(), "{} of {sent}:\n{}", failed.len(), failed.join("\n"));
    assert!(sent >= 110, "{sent}");
}
