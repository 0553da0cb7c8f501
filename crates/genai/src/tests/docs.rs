//! Generates the list of `docs/dialects.md` from `config/dialects.yaml`.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::request;

/// Above this heading the page is written by hand.
const HEADING: &str = "\n## The dialects\n";

/// The page lists every dialect. `TOLLGATE_UPDATE=1` writes it.
#[test]
fn page_is_generated() {
    let path = request::at("docs/dialects.md");
    let there = std::fs::read_to_string(&path).unwrap();
    let (head, _) = there.split_once(HEADING).unwrap();
    let page = format!("{head}{HEADING}{}", list_of_dialects(&request::case_file("config/dialects.yaml")));
    if config::env::var("TOLLGATE_UPDATE").is_some() {
        return std::fs::write(&path, &page).unwrap();
    }
    assert!(there == page, "docs/dialects.md is out of date: run with TOLLGATE_UPDATE=1");
}

fn list_of_dialects(data: &Json) -> String {
    let mut dialects: Vec<&Json> = data["dialects"].as_array().unwrap().iter().collect();
    dialects.sort_by_key(|dialect| dialect["priority"].as_u64());
    let mut out =
        "\nThe most specific dialect comes first. `a / b` means one of them; *and* joins conditions.\n\n".to_owned();
    for dialect in dialects {
        let _ = writeln!(out, "### {}\n", dialect["name"].as_str().unwrap());
        let clauses: Vec<String> = list(&dialect["detect"]).map(clause).collect();
        let _ = writeln!(out, "- recognised by {}", clauses.join("; or "));
        let calls: Vec<String> = list(&dialect["calls"]).filter(|rule| rule["role"] == "model").map(call).collect();
        let billed = if calls.is_empty() { "nothing".to_owned() } else { calls.join("; or ") };
        let _ = writeln!(out, "- a model call is {billed}");
        for (fact, word) in [("session", "session"), ("turn", "turn"), ("user", "user"), ("tenant", "tenant")] {
            line(&mut out, word, &dialect["fields"][fact]);
        }
        for (fact, word) in [
            ("input", "input tokens"),
            ("output", "output tokens"),
            ("cache_read", "read from a cache"),
            ("cache_write", "written to a cache"),
            ("reasoning", "reasoning"),
        ] {
            line(&mut out, word, &dialect["usage"][fact]);
        }
        let _ = writeln!(out, "- {}", inclusion(&dialect["usage"]));
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn list(value: &Json) -> impl Iterator<Item = &Json> {
    value.as_array().into_iter().flatten()
}

fn names(value: &Json) -> String {
    list(value).map(|name| format!("`{}`", name.as_str().unwrap())).collect::<Vec<_>>().join(" / ")
}

fn line(out: &mut String, word: &str, value: &Json) {
    if value.as_array().is_some_and(|names| !names.is_empty()) {
        let _ = writeln!(out, "- {word}: {}", names(value));
    }
}

/// The conditions in words.
fn conditions(value: &Json) -> Vec<String> {
    let mut out = Vec::new();
    for (key, word) in [
        ("scope", "scope"),
        ("not_scope", "scope is not"),
        ("schema", "schema URL"),
        ("has", "attribute"),
        ("lacks", "no attribute"),
        ("span", "span"),
        ("span_event", "span event"),
        ("log", "log event"),
        ("log_body", "log body"),
        ("metric", "metric"),
        ("operation", "operation"),
    ] {
        if value[key].is_array() {
            out.push(format!("{word} {}", names(&value[key])));
        }
    }
    out.extend(list(&value["also"]).map(|one| format!("attribute {}", names(one))));
    for (key, word) in [("resource", "resource "), ("equals", "")] {
        for (name, values) in value[key].as_object().into_iter().flatten() {
            out.push(format!("{word}`{name}` = {}", names(values)));
        }
    }
    for (key, word) in
        [("event_is_scope", "a log event named like its scope"), ("usage", "tokens"), ("root", "no parent")]
    {
        if value[key] == true {
            out.push(word.to_owned());
        }
    }
    out
}

fn clause(value: &Json) -> String {
    conditions(value).join(" *and* ")
}

fn call(value: &Json) -> String {
    let note =
        if value["on_two_signals"] == true { " (the same call comes on another signal; one is billed)" } else { "" };
    let told = conditions(value);
    if told.is_empty() { "anything".to_owned() } else { format!("{}{note}", told.join(" *and* ")) }
}

fn inclusion(usage: &Json) -> String {
    let rules = list(&usage["inclusion"]).count();
    let whether = match (&usage["input_includes_cached"], rules) {
        (Json::Bool(true), _) => "input includes cached tokens",
        (Json::Bool(false), _) => "input leaves cached tokens out",
        (_, 0) => "whether input includes cached tokens is told by the numbers, else by the provider",
        _ => "whether input includes cached tokens is told by scope, version and provider",
    };
    let reasoning = if usage["output_includes_reasoning"] == false { "; output leaves reasoning out" } else { "" };
    format!("{whether}{reasoning}")
}
