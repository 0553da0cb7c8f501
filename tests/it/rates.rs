//! Tests of external rate tables: a look-up allocates nothing, and `tollgate rates` works as a user runs it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rates::{CallCircumstances, RateQuery, RateTable, Unit};
use serde_json::Value as Json;

/// Pricing a call with an id seen before allocates nothing, whatever the form of the id and its circumstances.
#[test]
fn a_look_up_allocates_nothing() {
    let table = RateTable::builtin().unwrap_or_else(|error| panic!("{}", error.0));
    let batch =
        CallCircumstances { service_tier: Some("batch"), inference_geo: Some("us"), ..CallCircumstances::default() };
    let calls = [
        (Some("openai"), ["gpt-5-mini-2025-08-07", "gpt-5-mini"], CallCircumstances::default()),
        (Some("anthropic"), ["claude-sonnet-5", ""], batch),
        (None, ["us.anthropic.claude-sonnet-4-5-20250929-v1:0", ""], CallCircumstances::default()),
        (Some("azure.ai.openai"), ["our-deployment", "gpt-5-mini"], CallCircumstances::default()),
        (Some("openai"), ["nobody", ""], CallCircumstances::default()),
    ];
    let price = |at: usize| {
        let (provider, models, circumstances) = &calls[at];
        let query =
            RateQuery { provider: *provider, models, time: 1_795_132_800_000_000_000, circumstances: *circumstances };
        table.row(&query, 300_000).map(|row| row.price(Unit::CacheWrite1h)).is_ok()
    };
    for (at, call) in calls.iter().enumerate() {
        price(at);
        let made = allocation_counter::measure(|| assert_eq!(price(at), at != 4));
        assert_eq!(made.count_total, 0, "{}", call.1[0]);
    }
    // self-check: getting the row's name as text allocates
    let named = allocation_counter::measure(|| {
        let query = RateQuery {
            provider: Some("openai"),
            models: &["gpt-5-mini"],
            time: 1_795_132_800_000_000_000,
            circumstances: CallCircumstances::default(),
        };
        assert!(table.row(&query, 1).is_ok_and(|row| !row.name().is_empty()));
    });
    assert!(named.count_total > 0);
}

fn tollgate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate")).args(arguments).current_dir(folder).output().unwrap()
}

fn json(output: &Output) -> Json {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A table with one model, whose output costs `price` since November.
fn table(version: u8, price: &str) -> String {
    format!(
        "schema: 1\nversion: \"{version}\"\ncurrency: USD\nper_tokens: 1000000\nproviders: {{openai: {{models: [{{id: gpt-x, rates: [{{to: \"2026-11-01T00:00:00Z\", price: {{input: \"1.25\", output: \"10\"}}}}, {{from: \"2026-11-01T00:00:00Z\", price: {{input: \"1.25\", output: \"{price}\"}}}}]}}]}}}}\n"
    )
}

/// The guards refuse a jump of prices; a call is priced under both windows of the new table.
#[test]
fn from_a_table_to_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("old.yaml"), table(1, "10")).unwrap();
    fs::write(at("new.yaml"), table(2, "40")).unwrap();
    let run = |arguments: &[&str]| tollgate(folder.path(), arguments);

    let refused = run(&["rates", "diff", "old.yaml", "new.yaml"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stdout).contains("changed by more than a factor of three"));
    assert!(run(&["rates", "diff", "old.yaml", "new.yaml", "--accept", "openai/gpt-x"]).status.success());
    let older = run(&["rates", "diff", "new.yaml", "old.yaml", "--accept", "openai/gpt-x", "--accept", "*"]);
    assert!(String::from_utf8_lossy(&older.stdout).contains("refusal  *: version 1 is older than version 2 in use"));

    let span = |id: u64, nanos: u64| {
        format!(
            r#"{{"name":"chat","traceId":"{:032x}","spanId":"{id:016x}","startTimeUnixNano":"{nanos}","attributes":[
            {{"key":"gen_ai.operation.name","value":{{"stringValue":"chat"}}}},{{"key":"gen_ai.provider.name","value":{{"stringValue":"openai"}}}},
            {{"key":"gen_ai.request.model","value":{{"stringValue":"gpt-x"}}}},{{"key":"gen_ai.usage.input_tokens","value":{{"intValue":"1000"}}}},
            {{"key":"gen_ai.usage.output_tokens","value":{{"intValue":"100"}}}},{{"key":"tollgate.cost.usd","value":{{"stringValue":"0.00225"}}}}]}}"#,
            1
        )
    };
    let (before, after) = (span(2, 1_793_000_000_000_000_000), span(3, 1_795_000_000_000_000_000));
    let request = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{before},{after}]}}]}}]}}"#);
    fs::write(at("traces.json"), request).unwrap();
    let report = json(&run(&["rates", "reprice", "--rates", "new.yaml", "traces.json", "--json"]));
    let figures: Vec<(&str, &str)> = (report["calls"].as_array().unwrap().iter())
        .map(|call| (call["new_usd"].as_str().unwrap(), call["delta_usd"].as_str().unwrap()))
        .collect();
    assert_eq!(figures, [("0.00225", "0"), ("0.00525", "0.003")], "{report}");
    assert_eq!((&report["old_usd"], &report["new_usd"]), (&"0.0045".into(), &"0.0075".into()));
    let late = json(&run(&[
        "rates",
        "reprice",
        "--rates",
        "new.yaml",
        "traces.json",
        "--json",
        "--from",
        "2026-11-01T01:00:00+01:00",
    ]));
    assert_eq!(late["calls"].as_array().map(Vec::len), Some(1));

    let shown = json(&run(&["rates", "show", "gpt-x", "--rates", "new.yaml", "--json"]));
    assert_eq!(shown["models"][0]["windows"].as_array().map(Vec::len), Some(2), "{shown}");
    let none = run(&["rates", "show", "gpt-5-mimi"]);
    assert!(!none.status.success() && String::from_utf8_lossy(&none.stderr).contains("openai/gpt-5-mini"));
}

/// A fee is per use: its price has its own unit, not that of tokens.
#[test]
fn each_price_has_its_unit() {
    let folder = tempfile::tempdir().unwrap();
    let shown = String::from_utf8(tollgate(folder.path(), &["rates", "show", "gpt-4o"]).stdout).unwrap();
    let with = |start: &str| shown.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or_default();
    assert!(with("fee web_search").ends_with("USD per 1,000 uses"), "{shown}");
    assert!(with("input").ends_with("USD per million tokens"), "{shown}");
}

/// Usage errors, missing files and invalid tables end like in every command, and name the place.
#[test]
fn what_is_wrong_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let table = "schema: 1\nversion: b\ncurrency: USD\nper_tokens: 1000000\nproviders:\n  p:\n    models:\n      - {id: m, rates: [{price: {input: \"-1\"}}]}\n";
    fs::write(folder.path().join("bad.yaml"), table).unwrap();
    for (arguments, code, word) in [
        (&["rates", "reprice"][..], 2, "pass either OTLP files or --store, which reads the index of a vault"),
        (&["rates", "show", "--rates", "none.yaml"], 1, "none.yaml"),
        (&["rates", "show", "--rates", "bad.yaml"], 1, "bad.yaml:8:"),
        (&["rates", "diff", "builtin", "bad.yaml"], 1, "bad.yaml:8:"),
    ] {
        let output = tollgate(folder.path(), arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && text.contains(word), "{arguments:?}: {text}");
    }
}
