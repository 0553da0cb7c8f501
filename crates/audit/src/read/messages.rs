//! Extracts conversation messages from content values for human readers, in the many forms that clients use. Nothing is
//! left out: a value of unknown form is shown as JSON. Neighbour: `chat` converts to the form of chat APIs.

use serde_json::{Map, Value};

/// One message or part of a message.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// The speaker, or the kind of content.
    pub(super) who: String,
    pub(super) text: String,
}

impl Said {
    fn new(who: &str, text: impl Into<String>) -> Self {
        Self { who: who.to_owned(), text: text.into() }
    }
}

/// Everything said in `value`; `who` is the speaker if the value names none.
pub(super) fn said(value: &Value, who: &str) -> Vec<Said> {
    let mut out = Vec::new();
    match value {
        Value::String(text) if text.trim_start().starts_with(['[', '{']) => match serde_json::from_str(text) {
            Ok(parsed) => walk(&parsed, who, &mut out),
            Err(_) => out.push(Said::new(who, text.as_str())),
        },
        value => walk(value, who, &mut out),
    }
    out
}

fn walk(value: &Value, who: &str, out: &mut Vec<Said>) {
    match value {
        Value::Null => {}
        Value::String(text) => out.push(Said::new(who, text.as_str())),
        Value::Array(items) => items.iter().for_each(|item| walk(item, who, out)),
        Value::Object(map) => object(map, value, who, out),
        other => out.push(Said::new(who, other.to_string())),
    }
}

fn object(map: &Map<String, Value>, whole: &Value, who: &str, out: &mut Vec<Said>) {
    if let Some(messages) = map.get("messages").filter(|messages| messages.is_array()) {
        if let Some(system) = map.get("system") {
            walk(system, "system", out);
        }
        walk(messages, who, out);
        return rest(map, &["messages", "system"], "request", out);
    }
    let Some(role) = map.get("role").and_then(Value::as_str) else { return out.push(part(whole, who)) };
    if let Some(thought) = map.get("reasoning_content") {
        walk(thought, "thinking", out);
    }
    let body = if map.contains_key("parts") { "parts" } else { "content" };
    if let Some(body) = map.get(body) {
        walk(body, role, out);
    }
    let calls = map.get("tool_calls").and_then(Value::as_array);
    out.extend(calls.into_iter().flatten().map(|call| Said::new("tool call", call.to_string())));
    let calls = if calls.is_some() { "tool_calls" } else { "" };
    // OpenTelemetry's output messages include the finish reason, which the call has too: it is no part of what was said
    let stopped = if map.get("finish_reason").is_some_and(is_reason) { "finish_reason" } else { "" };
    rest(map, &["role", "reasoning_content", body, calls, stopped], role, out);
}

/// Whether a value is a finish reason: a text, null, or a list of these.
fn is_reason(value: &Value) -> bool {
    match value {
        Value::Null | Value::String(_) => true,
        Value::Array(reasons) => reasons.iter().all(is_reason),
        _ => false,
    }
}

/// Adds the remaining fields of an object as JSON: `refusal`, `function_call`, `name`, `tool_call_id`, `tools`, …
fn rest(map: &Map<String, Value>, shown: &[&str], who: &str, out: &mut Vec<Said>) {
    let left = map.iter().filter(|(key, value)| !shown.contains(&key.as_str()) && !value.is_null());
    let left: Map<String, Value> = left.map(|(key, value)| (key.clone(), value.clone())).collect();
    if !left.is_empty() {
        out.push(Said::new(who, Value::Object(left).to_string()));
    }
}

/// A part as text if it has only text, otherwise as JSON.
fn part(value: &Value, who: &str) -> Said {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
    let text = ["text", "content", "thinking"].iter().find_map(|key| value.get(key).and_then(Value::as_str));
    match (kind, text) {
        ("text" | "input_text" | "output_text", Some(text)) => Said::new(who, text),
        ("thinking" | "reasoning", Some(text)) => Said::new("thinking", text),
        ("tool_call" | "tool_use" | "function_call", _) => Said::new("tool call", value.to_string()),
        ("tool_call_response" | "tool_result" | "function_call_output", _) => {
            Said::new("tool result", value.to_string())
        }
        _ => Said::new(who, value.to_string()),
    }
}
