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

/// A model call with a conversation as a client records it, and the messages that chat APIs accept in its place.
#[derive(serde::Deserialize)]
struct ChatCase {
    name: String,
    pieces: Vec<(String, String, Value)>,
    chat: Option<Value>,
    #[serde(default)]
    reasoning: Vec<String>,
    #[serde(default)]
    tools: Vec<Value>,
}

fn cases() -> Vec<ChatCase> {
    let text = include_str!("../../../../../tests/cases/chat/transcripts.yaml");
    config::load::parse_data("transcripts.yaml", text).unwrap_or_else(|problem| panic!("{problem}"))
}

/// The conversation that every client's form represents: that of the first case.
fn wanted() -> Value {
    cases().remove(0).chat.expect("a conversation")
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
            let function = &call["function"];
            assert!(role == "assistant" && call["type"] == "function" && function["name"].is_string(), "{call}");
            let arguments = function["arguments"].as_str().expect("text");
            assert!(serde_json::from_str::<Value>(arguments).is_ok_and(|arguments| arguments.is_object()), "{call}");
            open.push(call["id"].as_str().expect("an id").to_owned());
        }
    }
}

/// Every client's form of a conversation, also as text, becomes the same conversation, in a form that chat APIs accept;
/// nothing is left out, and what belongs together stays together (`transcripts.yaml` has the cases).
#[test]
fn every_form_becomes_a_chat() {
    for ChatCase { name, pieces, chat, reasoning, tools } in cases() {
        let pieces: Vec<_> =
            pieces.iter().map(|(part, key, value)| (part.as_str(), key.as_str(), value.clone())).collect();
        let transcript = ChatTranscript::from_call(&item("model", &pieces));
        is_runnable(&transcript.messages);
        assert_eq!(Value::from(transcript.messages), chat.unwrap_or_else(wanted), "{name}");
        assert_eq!((transcript.reasoning, transcript.tools), (reasoning, tools), "{name}");
    }
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
