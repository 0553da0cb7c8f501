//! Conversations as clients report them, and as a chat API accepts them.

use serde_json::{Value, json};

use crate::read::chat::{ChatEvent, ChatTranscript};
use vault::document::{DocumentItem, ItemHead};

/// An item of these pieces: part, key, value.
pub(super) fn item(call: &str, pieces: &[(&str, &str, Value)]) -> DocumentItem {
    let mut item =
        serde_json::to_value(ItemHead { call: call.to_owned().into(), ..ItemHead::default() }).expect("json");
    let piece =
        |(part, key, value): &(&str, &str, Value)| json!({"part": part, "on": "span", "key": key, "value": value});
    item["content"] = pieces.iter().map(piece).collect();
    item["content_sha256"] = "".into();
    item["salt"] = "".into();
    serde_json::from_value(item).expect("an item")
}

fn call(id: &str, arguments: &str) -> Value {
    json!({"role": "assistant", "content": null,
        "tool_calls": [{"id": id, "type": "function", "function": {"name": "ls", "arguments": arguments}}]})
}

/// The conversation that all of them represent.
fn wanted() -> Value {
    json!([
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "what is here?"},
        call("c1", "{\"path\":\"/\"}"),
        {"role": "tool", "tool_call_id": "c1", "content": "notes.txt"},
        {"role": "assistant", "content": "a file"},
    ])
}

/// Checks that chat APIs would accept the messages, by the rules in their error messages.
fn is_runnable(messages: &[Value]) {
    let mut open: Vec<String> = Vec::new();
    for message in messages {
        let role = message["role"].as_str().expect("a role");
        assert!(["system", "user", "assistant", "tool"].contains(&role), "{message}");
        let content = &message["content"];
        let parts = content.as_array().map(|parts| parts.iter().all(|part| part["type"].is_string()));
        let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
        assert!(content.is_string() || parts == Some(true) || (content.is_null() && !calls.is_empty()), "{message}");
        match role {
            "tool" => {
                let id = message["tool_call_id"].as_str().expect("an id");
                let at = open.iter().position(|call| call == id).unwrap_or_else(|| panic!("{id} answers nothing"));
                open.remove(at);
            }
            _ => assert!(open.is_empty(), "{open:?} have no answer before {message}"),
        }
        for call in calls {
            assert!(
                role == "assistant" && call["type"] == "function" && call["function"]["name"].is_string(),
                "{call}"
            );
            let arguments = call["function"]["arguments"].as_str().expect("text");
            assert!(serde_json::from_str::<Value>(arguments).is_ok_and(|arguments| arguments.is_object()), "{call}");
            open.push(call["id"].as_str().expect("an id").to_owned());
        }
    }
}

fn chat_of(item: &DocumentItem) -> Value {
    let chat = ChatTranscript::from_call(item);
    is_runnable(&chat.messages);
    chat.messages.into()
}

/// One conversation in the forms of clients, as part, key and value of each piece.
const FORMS: [(&str, &str); 5] = [
    (
        "OpenTelemetry",
        r#"[["system", "gen_ai.system_instructions", [{"type": "text", "content": "be kind"}]],
            ["input", "gen_ai.input.messages", [
                {"role": "user", "parts": [{"type": "text", "content": "what is here?"}]},
                {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "ls", "arguments": {"path": "/"}}]},
                {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "notes.txt"}]}]],
            ["output", "gen_ai.output.messages", [
                {"role": "assistant", "parts": [{"type": "text", "content": "a file"}], "finish_reason": "stop"}]]]"#,
    ),
    (
        "OpenAI",
        r#"[["input", "messages", [
                {"role": "developer", "content": "be kind"},
                {"role": "user", "content": [{"type": "text", "text": "what is here?"}]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "ls", "arguments": "{\"path\":\"/\"}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "notes.txt"}]],
            ["output", "choice", {"role": "assistant", "content": "a file"}]]"#,
    ),
    (
        "Anthropic",
        r#"[["input", "request", {"system": "be kind", "messages": [
                {"role": "user", "content": "what is here?"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "ls", "input": {"path": "/"}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "notes.txt"}]}]}]}],
            ["output", "response", [{"type": "text", "text": "a file"}]]]"#,
    ),
    (
        "Responses",
        r#"[["system", "instructions", "be kind"],
            ["input", "input", [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "what is here?"}]},
                {"type": "function_call", "call_id": "c1", "id": "fc_1", "name": "ls", "arguments": "{\"path\":\"/\"}"},
                {"type": "function_call_output", "call_id": "c1", "output": "notes.txt"}]],
            ["output", "output", [
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a file"}]}]]]"#,
    ),
    (
        "Gemini",
        r#"[["system", "system_instruction", "be kind"],
            ["input", "contents", [
                {"role": "user", "parts": [{"text": "what is here?"}]},
                {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "ls", "args": {"path": "/"}}}]},
                {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "ls", "response": "notes.txt"}}]}]],
            ["output", "candidates", [{"role": "model", "parts": [{"text": "a file"}]}]]]"#,
    ),
];

fn in_numbered_keys() -> DocumentItem {
    let keys = [
        ("0.role", "system"),
        ("0.content", "be kind"),
        ("1.content", "what is here?"),
        ("2.role", "assistant"),
        ("2.tool_calls.0.id", "c1"),
        ("2.tool_calls.0.name", "ls"),
        ("2.tool_calls.0.arguments", "{\"path\":\"/\"}"),
        ("3.role", "tool"),
        ("3.tool_call_id", "c1"),
        ("3.content", "notes.txt"),
    ]
    .map(|(field, value)| (format!("gen_ai.prompt.{field}"), value));
    let mut pieces: Vec<(&str, &str, Value)> =
        keys.iter().map(|(key, value)| ("input", key.as_str(), Value::from(*value))).collect();
    pieces.push(("output", "gen_ai.completion.0.content", "a file".into()));
    item("model", &pieces)
}

/// Every client's form of a conversation, also as text, becomes the same conversation, in a form that chat APIs accept.
#[test]
fn every_form_becomes_one() {
    for (name, pieces) in FORMS {
        let pieces: Vec<(&str, &str, Value)> = serde_json::from_str(pieces).expect("pieces");
        assert_eq!(chat_of(&item("model", &pieces)), wanted(), "{name}");
        let as_text = |(part, key, value): &(&'static str, &'static str, Value)| match *part {
            "input" => (*part, *key, Value::String(value.to_string())),
            _ => (*part, *key, value.clone()),
        };
        if name == "OpenAI" {
            let pieces: Vec<_> = pieces.iter().map(as_text).collect();
            assert_eq!(chat_of(&item("model", &pieces)), wanted(), "{name}, as text");
        }
    }
    assert_eq!(chat_of(&in_numbered_keys()), wanted(), "numbered keys");
}

/// Calls without ids get ids, and their answers the same ones; two parallel calls stay one message; a user's text
/// beside an answer comes after it; duplicates appear once.
#[test]
fn calls_and_answers_belong_together() {
    let use_of = |name: &str| json!({"type": "tool_call", "name": name, "arguments": null});
    let messages = json!([
        {"role": "user", "parts": [{"type": "text", "content": "go"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "I look"}, use_of("a"), use_of("b")]},
        {"role": "user", "parts": [
            {"type": "text", "content": "and?"},
            {"type": "tool_call_response", "response": {"ok": true}},
            {"type": "tool_call_response", "response": null},
        ]},
    ]);
    let twice = item(
        "model",
        &[("input", "messages", messages.clone()), ("input", "again", Value::String(messages.to_string()))],
    );
    let function = |name: &str| json!({"name": name, "arguments": "{}"});
    assert_eq!(
        chat_of(&twice),
        json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": "I look", "tool_calls": [
                {"id": "call_1", "type": "function", "function": function("a")},
                {"id": "call_2", "type": "function", "function": function("b")}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "{\"ok\":true}"},
            {"role": "tool", "tool_call_id": "call_2", "content": ""},
            {"role": "user", "content": "and?"},
        ])
    );
}

/// Pictures and texts are parts; unknown values become text; JSON that a user wrote stays text; thinking is separate;
/// tools are functions.
#[test]
fn nothing_is_left_out() {
    let one = item(
        "model",
        &[
            (
                "input",
                "messages",
                json!([
                    {"role": "user", "content": [
                        {"type": "text", "text": "look"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                        {"type": "odd", "x": 1},
                    ]},
                    {"role": "user", "content": "{\"json\": 1}"},
                ]),
            ),
            (
                "output",
                "answer",
                json!([{"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}]),
            ),
            ("tools", "tools", json!([{"name": "ls", "description": "lists", "input_schema": {"type": "object"}}])),
        ],
    );
    assert_eq!(
        chat_of(&one),
        json!([
            {"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "text", "text": "{\"type\":\"odd\",\"x\":1}"}]},
            {"role": "user", "content": "{\"json\": 1}"},
            {"role": "assistant", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        ])
    );
    let ChatTranscript { reasoning, tools, .. } = ChatTranscript::from_call(&one);
    assert_eq!(reasoning, ["hm"]);
    let function = json!({"name": "ls", "description": "lists", "parameters": {"type": "object"}});
    assert_eq!(tools, [json!({"type": "function", "function": function})]);
}

/// A conversation reported item by item (Claude Code's events) becomes the same conversation.
#[test]
fn events_become_a_conversation() {
    let mut tool = item(
        "tool",
        &[("tool_args", "tool_input", json!({"path": "/"})), ("output", "tool_output", "notes.txt".into())],
    );
    (tool.head.tool, tool.head.tool_call) = (Some("ls".into()), Some("c1".into()));
    let told = [
        item("other", &[("system", "system_prompt", "be kind".into())]),
        item("other", &[("input", "prompt", "what is here?".into())]),
        tool,
        item("other", &[("output", "response", "a file".into())]),
    ];
    let told: Vec<ChatEvent<'_>> = told.iter().map(ChatEvent::Reported).collect();
    let chat = ChatTranscript::from_events(&told);
    is_runnable(&chat.messages);
    assert_eq!(Value::from(chat.messages), wanted());
}

/// A call reported by a decision, a span and its result's event is one call, with all its arguments, and has one
/// answer; if the same kind of item repeats an id, as from clients that give each call the same one, it is another
/// call.
#[test]
fn a_call_that_is_told_thrice_is_said_once() {
    let told = |kind: &str, name: &str, pieces: &[(&str, &str, Value)]| {
        let mut item = item("tool", pieces);
        (item.head.kind, item.head.name) = (kind.to_owned().into(), name.to_owned().into());
        (item.head.tool, item.head.tool_call) = (Some("ls".into()), Some("c1".into()));
        item
    };
    let summary = ("tool_args", "tool_parameters", json!({"first": "/"}));
    let result = ("tool_result", "output", Value::from("notes.txt"));
    let all = [
        told("log", "tool_decision", std::slice::from_ref(&summary)),
        told("span", "tool", &[summary.clone(), result.clone()]),
        told("log", "tool_result", &[summary, ("tool_args", "tool_input", json!({"path": "/"})), result.clone()]),
    ];
    let chat = ChatTranscript::from_events(&all.each_ref().map(ChatEvent::Reported));
    is_runnable(&chat.messages);
    assert_eq!(chat.messages.len(), 2, "{:#?}", chat.messages);
    assert_eq!(chat.messages[0]["tool_calls"][0]["function"]["arguments"], json!({"path": "/"}).to_string());
    let again = told("span", "tool", &[("tool_args", "tool_input", json!({"path": "/etc"})), result]);
    let chat = ChatTranscript::from_events(&[ChatEvent::Reported(&all[1]), ChatEvent::Reported(&again)]);
    assert_eq!(chat.messages.len(), 4, "{:#?}", chat.messages);
}

/// Models reuse ids: a call of another tool, or with other arguments, is another call, however it is reported;
/// shortened arguments, or a tool named by its kind in an event, don't make it another one.
#[test]
fn a_call_with_anothers_id_is_said() {
    let told = |kind: &str, tool: &str, args: Value| {
        let mut item = item("tool", &[("tool_args", "tool_input", args)]);
        (item.head.kind, item.head.name) = (kind.to_owned().into(), kind.to_owned().into());
        (item.head.tool, item.head.tool_call) = (Some(tool.to_owned().into()), Some("call_0".into()));
        item
    };
    let calls = |all: [DocumentItem; 2]| {
        let chat = ChatTranscript::from_events(&all.each_ref().map(ChatEvent::Reported));
        chat.messages.iter().map(|message| message["tool_calls"][0]["function"]["name"].clone()).collect::<Vec<_>>()
    };
    let read = || told("span", "Read", json!({"file_path": "/etc/hosts"}));
    assert_eq!(calls([read(), told("log", "Bash", json!({"full_command": "curl"}))]), ["Read", "Bash"]);
    assert_eq!(calls([read(), told("log", "Read", json!({"file_path": "/etc/passwd"}))]), ["Read", "Read"]);
    let long = "x".repeat(200);
    let whole = || told("span", "Write", json!({"text": long, "path": "/"}));
    assert_eq!(calls([whole(), told("log", "Write", json!({"text": long[..90]}).to_string().into())]), ["Write"]);
    assert_eq!(calls([told("span", "mcp__db__get", json!({})), told("log", "mcp_tool", json!({}))]), ["mcp__db__get"]);
}
