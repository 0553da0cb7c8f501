//! Impossible counts, and counts in unusual notations: each has one defined result, and none is silently priced wrong.

use serde_json::{Value as Json, json};

use super::{attributes, build, case_file, chat, one, run};
use genai::testing::request;
use otlp::Signal;

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
    let cases: Vec<Json> = case_file("tests/cases/odd-counts.yaml");
    let set = |key: &str, value: &Json| {
        let mut call = chat("r1", 50);
        call["attributes"][key] = value.clone();
        said(one(call))
    };
    let said = cases.iter().map(|case| (case, set(case["key"].as_str().unwrap(), &case["value"])));
    let failed: Vec<_> = said.filter(|(case, got)| case["expect"] != *got).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let long = set("gen_ai.request.model", &"x".repeat(100_000).into());
    assert_eq!(long, json!({"status": "unpriced", "reason": "no_model"}));
}

/// A count that is not a number.
#[test]
fn not_a_number() {
    let bad_usage = json!({"status": "unpriced", "reason": "bad_usage"});
    for number in ["NaN", "Infinity", "-Infinity"] {
        let text = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"chat","traceId":"{:032x}","spanId":"{:016x}","startTimeUnixNano":"1795000000000000000","attributes":[
            {{"key":"gen_ai.operation.name","value":{{"stringValue":"chat"}}}},{{"key":"gen_ai.provider.name","value":{{"stringValue":"openai"}}}},
            {{"key":"gen_ai.request.model","value":{{"stringValue":"gpt-5-mini"}}}},{{"key":"gen_ai.usage.output_tokens","value":{{"intValue":"5"}}}},
            {{"key":"gen_ai.usage.input_tokens","value":{{"doubleValue":"{number}"}}}}]}}]}}]}}]}}"#,
            1, 2
        );
        assert_eq!(said(request::from_json(Signal::Traces, &text)), bad_usage, "{number}");
    }
}
