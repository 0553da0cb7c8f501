//! Tests of `tollgate explain` as a user runs it, and of `docs/agent-telemetry.md`, whose table it generates:
//! `TOLLGATE_UPDATE=1 cargo test --test it explain` writes it.

use crate::client::{self, span_json};
use crate::sources::root;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value as Json, json};

fn recording(path: &str) -> PathBuf {
    root().join("tests/recordings").join(path)
}

/// Runs `tollgate explain` in an empty home folder, where it must write nothing.
fn explain(arguments: &[&str], input: impl AsRef<[u8]>) -> (String, String, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("explain")
        .args(arguments)
        .env_clear()
        .env("HOME", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_ref()).ok();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
    (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap(), status.code())
}

/// The output for a good request.
fn explained(arguments: &[&str], input: impl AsRef<[u8]>) -> String {
    let (out, err, code) = explain(arguments, input);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    out
}

/// The first request of the output as JSON.
fn request_of(arguments: &[&str], input: impl AsRef<[u8]>) -> Json {
    let out = explained(&[&["--json"][..], arguments].concat(), input);
    serde_json::from_str::<Json>(&out).unwrap()["requests"][0].take()
}

/// One span with these attributes and fields.
fn span(name: &str, attributes: &Json, more: &Json) -> Json {
    let mut span = json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": name,
        "startTimeUnixNano": "1", "endTimeUnixNano": "2", "attributes": client::attributes(attributes)});
    span.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    span
}

fn spans(spans: &[Json]) -> String {
    json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string()
}

fn recorded(path: &str) -> Json {
    request_of(&[recording(path).to_str().unwrap()], "")
}

/// For a text that is removed as a whole, the output gives the reason instead of the rules that would match; a copy of
/// a call is marked as a copy.
#[test]
fn whole_texts_and_copies_say_why() {
    let chat = |more: Json| {
        let mut attributes = json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
            "gen_ai.response.id": "r", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 10,
            "gen_ai.usage.output_tokens": 5});
        attributes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        attributes
    };
    let first = span("chat", &chat(json!({"note": "ask jane@example.com about it"})), &json!({}));
    let below = json!({"spanId": "0000000000000002", "parentSpanId": "eee19b7ec3c1b174"});
    let out = explained(&["-"], spans(&[first, span("chat", &chat(json!({})), &below)]));
    assert!(out.contains("the whole text was replaced: it is content and is now in the vault"), "{out}");
    assert!(!out.contains("by email"), "{out}");
    assert!(out.contains("price    not counted: a copy of a call that is counted elsewhere"), "{out}");
}

/// Pseudonyms equal the gateway's if its key is found; otherwise a note says that they differ.
#[test]
fn pseudonyms_are_the_gateways() {
    let request = spans(&[span("chat", &json!({"user.id": "jane"}), &json!({}))]);
    let shown = |key: Option<&str>| {
        let folder = tempfile::tempdir().unwrap();
        if let Some(key) = key {
            fs::write(folder.path().join("pseudonym.key"), key).unwrap();
        }
        let out = explained(&["-", "--data-dir", folder.path().to_str().unwrap()], &request);
        let made = out.split("\"h-").nth(1).and_then(|rest| rest.get(..32)).unwrap().to_owned();
        (made, out.contains("use a key generated for this run"))
    };
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    assert_eq!(shown(Some(key)), shown(Some(key)));
    assert!(!shown(Some(key)).1);
    assert!(shown(None).1 && shown(None).0 != shown(Some(key)).0);
}

/// All text that is forwarded.
fn after(request: &Json) -> String {
    let parts = request["items"].as_array().unwrap().iter().flat_map(|item| item["parts"].as_array().unwrap());
    let parts = parts.chain(request["resources_and_scopes"].as_array().unwrap());
    let changes = parts.flat_map(|part| part["changes"].as_array().unwrap());
    let goes_on = |change: &&Json| matches!(change["outcome"].as_str().unwrap(), "kept" | "changed" | "added");
    changes
        .filter(goes_on)
        .map(
            |change| {
                if change["outcome"] == "kept" { change["before"].to_string() } else { change["after"].to_string() }
            },
        )
        .collect::<Vec<_>>()
        .join("\n")
}

/// JSON output can't control a terminal: text written by a client is escaped and reads the same.
#[test]
fn json_drives_no_terminal() {
    let name = "a\u{9b}2J\u{202e}b";
    let out = explained(&["--json", "-"], spans(&[span(name, &json!({}), &json!({}))]));
    assert!(!out.contains(['\u{9b}', '\u{202e}']), "{out:?}");
    let said: Json = serde_json::from_str(&out).unwrap();
    assert!(said.to_string().contains(name), "{out}");
}

/// A schema URL with a query, which no real schema has, is shown as dropped.
#[test]
fn says_what_schema_urls_lose() {
    let url = "https://x.example/?by=ann.roe@example.com";
    let scope = json!({"schemaUrl": url, "scope": {"name": "s"}, "spans": [span("a", &json!({}), &json!({}))]});
    let request = json!({"resourceSpans": [{"schemaUrl": url, "resource": {}, "scopeSpans": [scope]}]}).to_string();
    let shown = request_of(&["-"], request);
    let parts = shown["resources_and_scopes"].as_array().unwrap();
    for part in parts {
        let change = part["changes"].as_array().unwrap().iter().find(|change| change["key"] == "schema_url").unwrap();
        assert_eq!(change["outcome"], "dropped", "{change}");
    }
    assert_eq!(parts.len(), 2, "resource and scope");
}

/// The status message of a failed tool is its output: it is shown as kept in the vault, not as dropped.
#[test]
fn says_where_a_failed_tools_status_went() {
    let status = json!({"status": {"code": 2, "message": "nothing found"}});
    let tool = span("execute_tool t", &json!({"gen_ai.operation.name": "execute_tool"}), &status);
    let shown = request_of(&["-"], spans(&[tool]));
    let parts = shown["items"][0]["parts"].as_array().unwrap();
    let mut changes = parts.iter().flat_map(|part| part["changes"].as_array().unwrap());
    let status = changes.find(|change| change["key"] == "status.message").unwrap();
    assert_eq!(status["outcome"], "moved_to_vault", "{status}");
}

/// For a recorded request the output gives the dialect and the reason, content by rule, token buckets, the rate row
/// and an arithmetic that adds up.
#[test]
fn says_why() {
    let request = &recorded("semconv/openai/004-traces.pb");
    assert_eq!(request["processors"], json!(["normalize", "cost", "runs", "vault", "redact"]));
    let items = request["items"].as_array().unwrap();
    let call = items.iter().find(|item| item["role"] == "model call").unwrap();
    assert_eq!(call["dialect_conditions"], json!(["scope opentelemetry.instrumentation.genai.openai"]));
    assert!(call["vault"].as_array().unwrap().iter().any(|content| content["rule"] == "listed as content"));
    let price = &call["price"];
    assert_eq!(price["status"], "priced");
    let sum: f64 = price["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["cost_usd"].as_str().unwrap().parse::<f64>().unwrap())
        .sum();
    assert!((sum - price["cost_usd"].as_str().unwrap().parse::<f64>().unwrap()).abs() < 1e-12, "{price:#}");
    assert!(price["rate_row"].is_string() && price["rate_table"].is_string());
    assert!(call["tokens"]["buckets"]["output"].as_u64().unwrap() > 0);
    assert!(!after(request).contains("CANARY-prompt"), "the prompt went to the vault");
}

/// Every recording can be explained, also from its bytes alone; text output is one stream without control characters.
#[test]
fn every_way_in() {
    let heads =
        |text: &str| text.lines().filter(|line| line.contains(" · pipeline ")).map(str::to_owned).collect::<Vec<_>>();
    for path in [
        "claude-code/json/002-traces.json",
        "claude-code/plain/002-traces.pb",
        "claude-code/plain/001-logs.pb",
        "claude-code/plain/004-metrics.pb",
    ] {
        let named = explained(&[recording(path).to_str().unwrap()], "");
        let piped = explained(&["-"], fs::read(recording(path)).unwrap());
        assert_eq!(heads(&named), heads(&piped), "{path}");
        assert!(!named.chars().any(|char| char.is_control() && char != '\n'), "{path}");
    }
    let line = fs::read_to_string(recording("claude-code/json/002-traces.json")).unwrap();
    let compact = serde_json::from_str::<Json>(&line).unwrap().to_string();
    assert_eq!(heads(&explained(&["-"], format!("{compact}\n{compact}\n"))).len(), 2, "a line is a request");
}

/// Input that is not telemetry is refused in one line that does not quote it.
#[test]
fn what_is_no_telemetry() {
    for input in [&b"SECRET"[..], b"{\"SECRET\": 1}", b"{\"resourceSpans\": [SECRET]}", b"", b" \n"] {
        let (out, err, code) = explain(&["-"], input);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert!(err.lines().count() == 1 && !err.contains("SECRET"), "{err}");
    }
    assert_eq!(explain(&["no-such-file"], "").2, Some(1));
    assert_eq!(explain(&[], "").2, Some(2));
}

/// The error of a document that goes over several lines has the line and column of the error, not the end of line 1.
#[test]
fn a_broken_document_is_refused_at_its_error() {
    let error = |input: &str| explain(&["-"], input).1;
    assert_eq!(
        error("{\n  \"resourceSpans\": [\n    {,}\n  ]\n}\n"),
        "error: -: not valid JSON: key must be a string at line 3 column 6\n"
    );
    assert_eq!(error("{bad"), "error: -: not valid JSON: key must be a string at line 1 column 2\n");
    let misplaced = error("{\n  \"resourceSpans\": [\n    7\n  ]\n}\n");
    assert!(misplaced.contains("at line 3 column 5"), "{misplaced}");
}

/// A span that the gateway rejects is not shown as fine: the reason is given, and the command fails.
#[test]
fn a_rejected_span_is_named() {
    let (out, err, code) = explain(&["-"], spans(&[span("x", &json!({}), &json!({"spanId": "12"}))]));
    assert!(
        out.contains("refused  the gateway rejects this span: `traceId` must have 32 hex digits and `spanId` 16"),
        "{out}"
    );
    assert_eq!((code, err.as_str()), (Some(1), "error: the gateway would reject 1 item: see `refused` above\n"));
}

/// A call without a price names the closest listed model and what sets a price.
#[test]
fn an_unknown_model_names_the_closest() {
    let attributes = json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-99", "gen_ai.usage.input_tokens": 10});
    let (out, err, _) = explain(&["-"], spans(&[span("chat", &attributes, &json!({}))]));
    assert!(out.contains("unpriced: unknown_model"), "{out}{err}");
    assert!(out.contains("closest listed model: openai/gpt-") && out.contains("`cost.overlays`"), "{out}");
}

/// A misspelled pipeline is answered with the list of pipelines, and one of another signal is named.
#[test]
fn an_unknown_pipeline_is_answered_with_the_list() {
    let error = |pipeline: &str| explain(&["-", "--pipeline", pipeline], span_json("x")).1;
    let unknown = error("nope");
    assert!(unknown.starts_with("error: there is no pipeline `nope`; the configuration has: `"), "{unknown}");
    assert!(unknown.contains("`logs`"), "{unknown}");
    assert_eq!(error("logs"), "error: the pipeline `logs` does not accept traces\n");
}

// --- the page ---

const PAGE: &str = "docs/agent-telemetry.md";

/// Client, recording, and the name of the item to show.
const EXAMPLE: (&str, &str, &str) = ("claude-code", "claude-code/plain/003-logs.pb", "tool_result");

/// Attributes whose values differ in each run.
const FRESH: [&str; 5] = [
    "gen_ai.payload.s3_uri",
    "gen_ai.payload.range",
    "gen_ai.payload.key_id",
    "gen_ai.payload.leaf",
    "gen_ai.payload.commitment",
];

fn cell(key: &str, value: &Json) -> String {
    if value.is_null() {
        return String::new();
    }
    if FRESH.contains(&key) || key.ends_with("_ref") {
        return "…".to_owned();
    }
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let text = text.replace('\n', " ").replace('|', "\\|").replace('`', "'");
    let cut: String = text.chars().take(72).collect();
    format!("`{cut}{}`", if cut.len() < text.len() { "…" } else { "" })
}

/// The table of an item: a row for each attribute that changed, and a last one for all others, of which none may hold
/// a canary.
fn table(path: &str, name: &str) -> String {
    let shown = recorded(path);
    // the item with the most changes shows most
    let item = shown["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["name"] == name)
        .max_by_key(|item| item["parts"][0]["changes"].as_array().unwrap().len())
        .unwrap();
    let because: Vec<&str> =
        item["dialect_conditions"].as_array().unwrap().iter().map(|why| why.as_str().unwrap()).collect();
    let [name, role, dialect] = ["name", "role", "dialect"].map(|fact| item[fact].as_str().unwrap());
    let mut out = format!("\n`{name}`, {role} (dialect `{dialect}`: {}):\n\n", because.join("; "));
    writeln!(out, "| attribute | came in | goes on |\n|---|---|---|").unwrap();
    let mut unchanged = Vec::new();
    for change in item["parts"].as_array().unwrap().iter().flat_map(|part| part["changes"].as_array().unwrap()) {
        let key = change["key"].as_str().unwrap();
        let after = match change["outcome"].as_str().unwrap() {
            "kept" => {
                assert!(!change["before"].to_string().contains("CANARY-"), "{key}");
                unchanged.push(format!("`{key}`"));
                continue;
            }
            "moved_to_vault" => "*to the vault*".to_owned(),
            "dropped" => "*dropped*".to_owned(),
            _ => cell(key, &change["after"]),
        };
        writeln!(out, "| `{key}` | {} | {after} |", cell(key, &change["before"])).unwrap();
    }
    writeln!(out, "| {} | | the same |", unchanged.join(", ")).unwrap();
    out
}

/// The page shows the current output of the program, in which no canary goes on.
#[test]
fn the_page_is_true() {
    let path = root().join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let mut wanted = page.clone();
    let (client, file, name) = EXAMPLE;
    let (begin, end) = (format!("<!-- {client}: begin -->\n"), format!("<!-- {client}: end -->"));
    let from = wanted.find(&begin).unwrap_or_else(|| panic!("{begin}")) + begin.len();
    let to = wanted.find(&end).unwrap_or_else(|| panic!("{end}"));
    wanted.replace_range(from..to, &format!("{}\n", table(file, name)));
    if std::env::var_os("TOLLGATE_UPDATE").is_some() {
        fs::write(&path, &wanted).unwrap();
        return;
    }
    assert!(page == wanted, "{PAGE} is out of date: TOLLGATE_UPDATE=1 cargo test --test it explain");
    let goes_on =
        |line: &&str| line.trim_end_matches(" |").rsplit(" | ").next().is_some_and(|cell| cell.contains("CANARY-"));
    let leaking = page.lines().find(goes_on);
    assert_eq!(leaking, None);
    assert!(page.contains("CANARY-"), "the example shows no content");
}

/// For a text that redaction changed, the output names the rule, the reason and the position, in characters of the
/// original.
#[test]
fn says_which_rule() {
    let input = spans(&[span("x", &json!({"note": "é mail bob@example.com"}), &json!({}))]);
    let shown = request_of(&["-"], &input);
    let changes = shown["items"][0]["parts"][0]["changes"].as_array().unwrap();
    let note = changes.iter().find(|change| change["key"] == "note").unwrap();
    let rule = &note["rules"][0];
    assert_eq!((&rule["placeholder"], &rule["start"], &rule["end"]), (&"[EMAIL]".into(), &7.into(), &22.into()));
    assert!(rule["rule"].is_string() && rule["certainty"].is_string(), "{rule}");
    let text = explained(&["-"], input);
    assert!(text.contains("[EMAIL] by ") && text.contains("(characters 7 to 22)"), "{text}");
}

/// An item that a `filter` drops is still shown, with the step and rule that drop it; later steps say nothing about
/// it, and forwarded items are not marked. (Regression test: the output ignored the filter.)
#[test]
fn says_what_a_filter_drops() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    let text = format!(
        "receivers: {{ otlp: {{}} }}\n\
         processors:\n  redact: {{}}\n  filter: {{ drop: [ {{ name: health, names: ['GET /health*'] }} ] }}\n  \
         filter/rest: {{ drop: [ {{ name: gets, names: ['GET *'] }} ] }}\n\
         exporters: {{ file: {{ path: '{0}/out.jsonl', trust: internal }} }}\n\
         spool: {{ directory: '{0}/spool', max_size: 64MiB }}\n\
         service: {{ pipelines: {{ traces: {{ receivers: [otlp], processors: [redact, filter, filter/rest], exporters: [file] }} }} }}\n",
        folder.path().display()
    );
    fs::write(&config, text).unwrap();
    let input = spans(&["GET /healthz", "GET /x", "POST /x"].map(|name| span(name, &json!({}), &json!({}))));
    let with = format!("--config={}", config.display());
    let request = request_of(&[&with, "-"], &input);
    assert_eq!(request["processors"], json!(["redact", "filter", "filter/rest"]));
    let dropped: Vec<Json> =
        request["items"].as_array().unwrap().iter().map(|item| item["dropped_by"].clone()).collect();
    let by = |by: &str, rule: &str| json!({"filter": by, "rule": rule});
    assert_eq!(dropped, [by("filter", "health"), by("filter/rest", "gets"), Json::Null]);
    let text = explained(&[&with, "-"], input);
    assert!(text.contains("  dropped  by filter: rule health\n"), "{text}");
}

/// A line of `tap --json` is read as the request that it contains; a file without items is answered with the formats
/// that are accepted. (Regression test: "0 items", exit 0.)
#[test]
fn a_line_of_tap_is_explained() {
    let request = span_json("chat");
    let line = format!(
        r#"{{"account":"default","items":1,"pipeline":"traces","signal":"traces","time":"x","request":{request}}}"#
    );
    let left_out = r#"{"left_out":0,"withheld":1}"#;
    for text in [line.clone(), format!("{left_out}\n{line}\n{line}\n")] {
        let out = explained(&["-"], text);
        assert!(out.contains("1 item ") && out.contains("privacy: standard"), "{out}");
    }
    for none in [r#"{"resourceSpans":[]}"#.to_owned(), format!(r#"{{"data":{request}}}"#)] {
        let (out, err, code) = explain(&["-"], none);
        assert!(code == Some(1) && err.contains("lines of `tap --json`"), "{out}{err}");
    }
}
