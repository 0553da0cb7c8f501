//! Impossible counts, and counts in unusual notations: each has one defined result, and none is silently priced wrong.

use serde_json::{Value as Json, json};

use super::{attributes, build, chat, one, run};
use genai::testing::request;
use otlp::Signal;

fn priced(usd: &str) -> Json {
    json!({"status": "priced", "usd": usd})
}

fn flagged(usd: &str, flag: &str) -> Json {
    json!({"status": "priced", "usd": usd, "flags": [flag]})
}

fn bad() -> Json {
    json!({"status": "unpriced", "reason": "bad_usage"})
}

/// The result for the first item, in a case's notation.
fn said(payload: otlp::Payload) -> Json {
    let stamped = attributes(&run(&build(), payload, 1), 0);
    let mut out = json!({});
    for key in ["status", "usd", "reason", "flags"] {
        if let Some(value) = stamped.get(&format!("tollgate.cost.{key}")) {
            out[key] = value.clone();
        }
    }
    assert!(out["status"] != "unpriced" || !stamped.contains_key("gen_ai.usage.cost"));
    out
}

/// Every unusual way to write a count, one at a time.
#[test]
fn odd_counts() {
    const INPUT: &str = "gen_ai.usage.input_tokens";
    const CACHED: &str = "gen_ai.usage.cache_read.input_tokens";
    let cases = [
        (INPUT, json!("1000"), priced("0.00035")),
        (INPUT, json!(1000.0), priced("0.00035")),
        (INPUT, json!(1000.5), bad()),
        (INPUT, json!(-1), bad()),
        (INPUT, json!("-1"), bad()),
        (INPUT, json!("many"), bad()),
        (INPUT, json!("1e3"), bad()),
        (INPUT, json!(1e300), bad()),
        (INPUT, json!("99999999999999999999"), bad()),
        (INPUT, json!(true), bad()),
        // More than any real call has.
        (INPUT, json!(i64::MAX), bad()),
        (INPUT, json!((1_u64 << 40) + 1), bad()),
        (INPUT, json!(1_u64 << 40), priced("274877.907044")),
        (INPUT, json!(0), priced("0.0001")),
        (CACHED, json!(400), priced("0.00026")),
        (CACHED, json!(-400), bad()),
        // More cached tokens than input: the input cannot include them.
        (CACHED, json!(2000), flagged("0.0004", "inclusion_conflict")),
        // The old spelling beside the new one.
        ("gen_ai.usage.prompt_tokens", json!(1000), priced("0.00035")),
        ("gen_ai.usage.prompt_tokens", json!(2000), flagged("0.00035", "usage_conflict")),
        ("gen_ai.usage.completion_tokens", json!(51), flagged("0.00035", "usage_conflict")),
        ("gen_ai.request.model", json!("  GPT-5-Mini "), priced("0.00035")),
        ("gen_ai.request.model", json!("gpt-5 mini"), json!({"status": "unpriced", "reason": "unknown_model"})),
        ("gen_ai.request.model", json!("gрt-5-mini"), json!({"status": "unpriced", "reason": "unknown_model"})),
        ("gen_ai.request.model", json!("x".repeat(100_000)), json!({"status": "unpriced", "reason": "no_model"})),
        // A part larger than its whole: reasoning is then separate from the output; the other parts are errors.
        ("gen_ai.usage.reasoning.output_tokens", json!(60), flagged("0.00047", "inclusion_conflict")),
        ("gen_ai.usage.audio.input_tokens", json!(2000), bad()),
        ("gen_ai.usage.image.input_tokens", json!(2000), bad()),
        ("gen_ai.usage.audio.output_tokens", json!(60), bad()),
        ("gen_ai.usage.audio.cache_read.input_tokens", json!(5), bad()),
        // An unlisted qualifier, region or date prevents a match; a known path, mark or date is ignored.
        ("gen_ai.request.model", json!("gpt-5-mini-turbo"), json!({"status": "unpriced", "reason": "unknown_model"})),
        ("gen_ai.request.model", json!("eu.gpt-5-mini"), json!({"status": "unpriced", "reason": "unknown_model"})),
        ("gen_ai.request.model", json!("gpt-5-mini-2031-01-01"), flagged("0.00035", "date_dropped")),
        ("gen_ai.request.model", json!("openai/gpt-5-mini"), priced("0.00035")),
        ("gen_ai.provider.name", json!("ollama"), json!({"status": "unpriced", "reason": "unknown_provider"})),
    ];
    let mut failed = Vec::new();
    for (key, value, expected) in cases {
        let mut call = chat("r1", 50);
        call["attributes"][key] = value.clone();
        let got = said(one(call));
        if got != expected {
            let value: String = value.to_string().chars().take(40).collect();
            failed.push(format!("{key} = {value}: {got} instead of {expected}"));
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// A count that is not a number.
#[test]
fn not_a_number() {
    for number in ["NaN", "Infinity", "-Infinity"] {
        let text = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"chat","traceId":"{:032x}","spanId":"{:016x}","startTimeUnixNano":"1795000000000000000","attributes":[
            {{"key":"gen_ai.operation.name","value":{{"stringValue":"chat"}}}},{{"key":"gen_ai.provider.name","value":{{"stringValue":"openai"}}}},
            {{"key":"gen_ai.request.model","value":{{"stringValue":"gpt-5-mini"}}}},{{"key":"gen_ai.usage.output_tokens","value":{{"intValue":"5"}}}},
            {{"key":"gen_ai.usage.input_tokens","value":{{"doubleValue":"{number}"}}}}]}}]}}]}}]}}"#,
            1, 2
        );
        assert_eq!(said(request::from_json(Signal::Traces, &text)), bad(), "{number}");
    }
}
