//! Tests of what is remembered of traces across requests.

use super::*;

/// Logs without trace and session are matched for repeated content only with their own service.
#[test]
fn logs_without_a_trace_are_their_services() {
    let bench = Bench::new();
    let said = "my left knee hurts badly since last tuesday morning";
    let log = |service: &str, body: Json| {
        let case = json!({"signal": "logs", "resource": {"service.name": service}, "items": [{"body": body}]});
        bench.processed(&case)
    };
    let first = log("shop", json!({"role": "user", "content": said}));
    first.effects.iter().for_each(|effect| bench.processor.apply(effect));
    let quotes = |service: &str| log(service, json!(format!("refused: {said}"))).echoes.is_some();
    assert!(quotes("shop") && !quotes("clinic"));
}

/// A tool call is linked to the model call that requested it: in one request, and in a later one after the commit.
#[test]
fn tools_know_who_asked() {
    let bench = Bench::new();
    let output = json!([{"role": "assistant", "parts": [{"type": "text", "content": "ok"},
        {"type": "tool_call", "id": "call_1", "name": "t", "arguments": {"id": "call_9"}}]}]);
    let openai = json!({"choices": [{"message": {"tool_calls": [{"id": "call_2", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}]});
    let responses = json!([{"type": "function_call", "id": "fc_3", "call_id": "call_3", "name": "f"}, {"type": "tool_result", "id": "call_4"}]);
    let chat = |span: &str, output: &Json| {
        json!({"name": "chat m", "trace": 1, "span": span, "attributes": {"gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m", "gen_ai.output.messages": output.to_string()}})
    };
    let tool = |id: &str| {
        json!({"name": "execute_tool t", "trace": 1, "span": 5, "attributes": {"gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "t", "gen_ai.tool.call.id": id}})
    };
    let pass = |items: Vec<Json>, commit: bool| -> Vec<Option<String>> {
        let batch = bench.processed(&json!({ "items": items }));
        if commit {
            batch.effects.iter().for_each(|effect| bench.processor.apply(effect));
        }
        let items: Vec<_> = batch.payload.items().collect();
        items.iter().map(|node| batch.payload.get_str(*node, "tollgate.tool.requested_by").map(str::to_owned)).collect()
    };
    let calls = || {
        vec![chat("00000000000000a1", &output), chat("00000000000000a2", &openai), chat("00000000000000a3", &responses)]
    };
    let tools = || ["call_1", "call_2", "call_3", "call_4", "call_9"].map(tool).to_vec();
    let expected = [Some("00000000000000a1"), Some("00000000000000a2"), Some("00000000000000a3"), None, None]
        .map(|by| by.map(str::to_owned));
    let together = pass(tools().into_iter().chain(calls()).collect(), false);
    assert_eq!(together.get(..5), Some(&expected[..]));
    assert_eq!(pass(tools(), true), vec![None; 5], "not committed");
    pass(calls(), true);
    assert_eq!(pass(tools(), true), expected);
    // A flood of another account forgets none of them.
    bench.processor.tool_requests.remember("large".into(), &(0..100_000).map(|hash| (hash, [9; 8])).collect());
    assert_eq!(pass(tools(), true), expected);
}

/// An error text that will be cut is in the vault in full and still on the item; one that is forwarded whole is not
/// vaulted.
#[test]
fn long_error_texts_are_kept_whole() {
    let long = "stack ".repeat(3_000);
    let span = |text: &str| {
        json!({"name": "invoke_agent t", "attributes": {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "t",
        "exception.stacktrace": text, "error": true}})
    };
    let out = Bench::new().pass(&json!({ "items": [span(&long), span("short")] }));
    assert_eq!(out.attributes(0)["exception.stacktrace"], long, "cut later");
    assert_eq!(out.documents.len(), 1);
    let piece = &out.documents[0].items[0].content[0];
    assert_eq!((piece.key.as_deref(), piece.value.as_str()), (Some("exception.stacktrace"), Some(long.as_str())));
    assert_eq!(out.documents[0].items.len(), 1);
    assert!(!out.attributes(1).contains_key("gen_ai.payload.s3_uri"));
}

/// `leave: redacted` seals the original of every part and shape of content, and leaves the text for the redaction step.
#[test]
fn every_part_may_stay_for_redaction() {
    let mut bench = Bench::with(LeftContent::Redacted, true);
    let keys = [
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
    ];
    let mut span = chat("s", "acme", "x");
    for key in keys {
        span["attributes"][key] = json!("[{\"role\":\"user\",\"content\":\"REDACTME now\"}]");
    }
    let out = bench.pass(&json!({ "items": [span] }));
    let attributes = out.attributes(0);
    for key in keys {
        assert_eq!(attributes[key], "[X]", "{key}");
    }
    assert!(attributes.contains_key("gen_ai.payload.s3_uri") && attributes.contains_key("gen_ai.tool.call.result_ref"));
    assert!(!out.leaks("REDACTME") && out.opened.matches("REDACTME").count() == keys.len());
}
