//! Generates `docs/dialects.md` from `config/dialects.yaml`.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::request;

const HEAD: &str = "# Dialects

<!-- Made by a test from config/dialects.yaml: TOLLGATE_UPDATE=1 cargo test -p genai. Do not edit. -->

A dialect is the set of names that one instrumentation uses: which keys hold content, which numbers are tokens, which
record is the model call, which id is the session. tollgate recognises a dialect by its scope, by attributes and by
events, on spans and on log records; the most specific dialect wins. An item that no other dialect matches, but whose
keys belong to model calls (such as `gen_ai.*` or `llm.*`), gets the dialect `unknown`: every known content key and
every known spelling of tokens apply, and tokens are counted on leaves only.

A key that any dialect lists as content is content in every dialect. In an agent's items, text is also content if
neither a dialect nor the semantic conventions list its key, until enough sessions have sent the same text (see
[agent telemetry](agent-telemetry.md)). Ids of sessions, turns, users and tenants stay, as do model and tool names,
finish reasons, counts and sizes. If numbers and ids occur only inside content (JSON, a Python dict in text, a message
template), they are read before the content is removed.

## Names that `normalize` writes

`normalize` adds OpenTelemetry's names beside the client's. An existing value of the right type stays as it is. On every
item of an agent, a value of another type is converted to the conventions' type: `finish_reasons` as JSON or Python
text, `max_tokens` and `temperature` as text, ids as numbers (`types` in `config/dialects.yaml`). Some clients report
the settings of a request only beside or inside its content (Logfire's `request_data`, OpenInference's
`llm.invocation_parameters`, Langfuse's `model.parameters`, the AI SDK's `ai.settings.*`, Genkit's input). `normalize`
writes these settings under `gen_ai.request.*` (`extract`).

| `semconv` | provider | cached tokens | reasoning |
|---|---|---|---|
| `\"1.36\"` | `gen_ai.system` | none | none |
| `\"1.37\"` | `gen_ai.provider.name` | none | none |
| `\"1.40\"` | `gen_ai.provider.name` | `gen_ai.usage.cache_read.input_tokens`, `gen_ai.usage.cache_creation.input_tokens` | none |
| `latest` (default; 1.41) | `gen_ai.provider.name` | the same | `gen_ai.usage.reasoning.output_tokens` |
| `development` | `gen_ai.provider.name` | `gen_ai.usage.cache_read.input_tokens`, `gen_ai.usage.cache_write.input_tokens` | `gen_ai.usage.reasoning.output_tokens` |

In every version, `normalize` writes `gen_ai.operation.name`, `gen_ai.request.model`, `gen_ai.response.model`,
`gen_ai.response.id`, `gen_ai.response.finish_reasons`, `gen_ai.conversation.id`, `gen_ai.tool.name`,
`gen_ai.tool.call.id`, `gen_ai.usage.input_tokens`, `gen_ai.usage.output_tokens`, and `error.type` of failures. The
client's own keys stay, `gen_ai.system` beside `gen_ai.provider.name` too. With `drop_originals: true`, a dialect's own
key is removed once its value is under the name above, and token counts with another meaning (input without cached
tokens) are corrected. `gen_ai.system` and `session.id` stay even then.

If a log record has its trace and span ids only in attributes or in its body, `normalize` copies them into its own
fields. Attributes that the conventions require but that are missing are counted:
`tollgate_missing_attributes_total{dialect,attribute}`.

## How to add one

1. Add an entry in `config/dialects.yaml` (its head explains the grammar).
2. Add a line in `tests/cases/dialects/list.txt`, and a case with content, usage and ids in `tests/cases/dialects/`.
3. Run `TOLLGATE_UPDATE=1 cargo test -p genai`.

## The dialects

The most specific dialect comes first. `a / b` means one of them; *and* joins conditions.

";

/// The page covers every dialect. `TOLLGATE_UPDATE=1` writes it.
#[test]
fn page_is_generated() {
    let yaml = std::fs::read_to_string(request::at("config/dialects.yaml")).unwrap();
    let data: Json = config::load::parse_data("dialects.yaml", &yaml).unwrap_or_else(|problem| panic!("{problem}"));
    let (page, path) = (page(&data), request::at("docs/dialects.md"));
    if config::env::var("TOLLGATE_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(there == page, "docs/dialects.md is out of date: run with TOLLGATE_UPDATE=1");
}

fn page(data: &Json) -> String {
    let mut dialects: Vec<&Json> = data["dialects"].as_array().unwrap().iter().collect();
    dialects.sort_by_key(|dialect| dialect["priority"].as_u64());
    let mut out = HEAD.to_owned();
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
