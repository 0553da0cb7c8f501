//! Generates `docs/dialects.md` from `config/dialects.yaml`.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::request;

const HEAD: &str = "# Dialects

<!-- Made by a test from config/dialects.yaml: TOLLGATE_UPDATE=1 cargo test -p genai. Do not edit. -->

An instrumentation's dialect is what it calls things: which keys hold content, which numbers are tokens, which record is the
model call, which id is the session. tollgate recognises a dialect by its scope, by attributes and by events, on spans and on
log records; the most specific wins. An item that no dialect describes but that talks of models gets the dialect `unknown`:
every known content key, every known spelling of tokens, tokens counted on leaves only.

Content that any dialect lists is content in every dialect, and in an agent's items so is text under a key that neither a
dialect nor the semantic conventions list, until enough sessions have sent the same one (see agent-telemetry.md). Ids of
sessions, turns, users and tenants stay, as do model and tool names, finish reasons, counts and sizes. Numbers and ids that
stand only inside content (JSON, a Python dict in text, a message template) are read before it goes.

## Names that `normalize` writes

Beside what came, `normalize` writes OpenTelemetry's names for what it understood; a value of the right type that is there
already stays as it is. A value of another type is written as the conventions' type, whatever form it came in, on every item of an
agent: `finish_reasons` as JSON or Python text, `max_tokens` and `temperature` as text, ids as numbers (`types` in `config/dialects.yaml`).
Settings of a request that stand only beside or inside what is sent (Logfire's `request_data`, OpenInference's
`llm.invocation_parameters`, Langfuse's `model.parameters`, the AI SDK's `ai.settings.*`, Genkit's input) are written under
`gen_ai.request.*` (`extract`).

| `semconv` | provider | cached tokens | reasoning |
|---|---|---|---|
| `\"1.36\"` | `gen_ai.system` | none | none |
| `\"1.37\"` | `gen_ai.provider.name` | none | none |
| `\"1.40\"` | `gen_ai.provider.name` | `gen_ai.usage.cache_read.input_tokens`, `gen_ai.usage.cache_creation.input_tokens` | none |
| `latest` (default; 1.41) | `gen_ai.provider.name` | the same | `gen_ai.usage.reasoning.output_tokens` |
| `development` | `gen_ai.provider.name` | `gen_ai.usage.cache_read.input_tokens`, `gen_ai.usage.cache_write.input_tokens` | `gen_ai.usage.reasoning.output_tokens` |

In every version: `gen_ai.operation.name`, `gen_ai.request.model`, `gen_ai.response.model`, `gen_ai.response.id`,
`gen_ai.response.finish_reasons`, `gen_ai.conversation.id`, `gen_ai.tool.name`, `gen_ai.tool.call.id`,
`gen_ai.usage.input_tokens`, `gen_ai.usage.output_tokens`, `error.type` of failures. Originals stay, `gen_ai.system` beside
`gen_ai.provider.name` too. With `drop_originals: true` a dialect's own key goes once its fact stands under the name above,
and token counts that meant something else (input without cached tokens) are corrected; `gen_ai.system` and `session.id` stay
even then.

A log record whose trace and span ids stand only in attributes or in its body gets them into its own fields. Attributes that
the conventions require and nothing tells are counted: `tollgate_missing_attributes_total{dialect,attribute}`.

## How to add one

An entry in `config/dialects.yaml` (its head explains the grammar), a line in `tests/cases/dialects/list.txt`, a case with
content, usage and ids in `tests/cases/dialects/`, then `TOLLGATE_UPDATE=1 cargo test -p genai`.

## The dialects

Most specific first. `a / b` means one of them; *and* joins conditions.

";

/// The page covers every dialect. `TOLLGATE_UPDATE=1` writes it.
#[test]
fn page_is_generated() {
    let yaml = std::fs::read_to_string(request::at("config/dialects.yaml")).unwrap();
    let data: Json = config::load::data("dialects.yaml", &yaml).unwrap_or_else(|problem| panic!("{problem}"));
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
        let calls: Vec<String> = list(&dialect["calls"]).filter(|rule| rule["is"] == "model").map(call).collect();
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
    let twin = if value["twin"] == true { " (the same call comes on another signal; one is billed)" } else { "" };
    let told = conditions(value);
    if told.is_empty() { "anything".to_owned() } else { format!("{}{twin}", told.join(" *and* ")) }
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
