//! Extracts conversation messages from content values for human readers, in the many forms that clients use. Nothing is
//! omitted: a value of unknown form is shown as JSON. Neighbour: `chat` converts to the form of chat APIs.

use std::io::{self, Write};

use kernel::terminal::escape_unsafe;
use serde_json::{Map, Value};
use vault::document::DocumentItem;

#[derive(Clone, PartialEq, Eq)]
pub(super) struct MessagePart {
    /// The speaker, or the kind of content.
    pub(super) speaker: String,
    pub(super) text: String,
}

impl MessagePart {
    fn new(speaker: &str, text: impl Into<String>) -> Self {
        Self { speaker: speaker.to_owned(), text: text.into() }
    }

    /// Writes the message with a mark before each line.
    pub(super) fn write(&self, mark: char, out: &mut dyn Write) -> io::Result<()> {
        let mut lines = self.text.lines();
        let first_line = lines.next().unwrap_or_default();
        writeln!(out, "{mark} {:<11} {}", escape_unsafe(&self.speaker), escape_unsafe(first_line))?;
        lines.try_for_each(|line| writeln!(out, "{mark} {:<11} {}", "", escape_unsafe(line)))
    }
}

/// The messages in an item's pieces of one part, and the number of pieces that repeat another piece.
pub(super) fn part_messages(item: &DocumentItem, part: &str, speaker: &str) -> (Vec<MessagePart>, usize) {
    let (mut distinct, mut repeated): (Vec<Vec<MessagePart>>, _) = (Vec::new(), 0);
    for piece in item.content.iter().filter(|piece| piece.part == part) {
        let messages = extract_messages(&piece.value, speaker);
        if distinct.contains(&messages) { repeated += 1 } else { distinct.push(messages) }
    }
    (distinct.into_iter().flatten().collect(), repeated)
}

/// All messages in `value`; `speaker` is the speaker of those that name none.
pub(super) fn extract_messages(value: &Value, speaker: &str) -> Vec<MessagePart> {
    let mut out = Vec::new();
    match value {
        Value::String(text) if text.trim_start().starts_with(['[', '{']) => match serde_json::from_str(text) {
            Ok(parsed) => collect_messages(&parsed, speaker, &mut out),
            Err(_) => out.push(MessagePart::new(speaker, text.as_str())),
        },
        value => collect_messages(value, speaker, &mut out),
    }
    out
}

fn collect_messages(value: &Value, speaker: &str, out: &mut Vec<MessagePart>) {
    match value {
        Value::Null => {}
        Value::String(text) => out.push(MessagePart::new(speaker, text.as_str())),
        Value::Array(items) => items.iter().for_each(|item| collect_messages(item, speaker, out)),
        Value::Object(map) => collect_object(map, value, speaker, out),
        other => out.push(MessagePart::new(speaker, other.to_string())),
    }
}

fn collect_object(map: &Map<String, Value>, value: &Value, speaker: &str, out: &mut Vec<MessagePart>) {
    if let Some(messages) = map.get("messages").filter(|messages| messages.is_array()) {
        if let Some(system) = map.get("system") {
            collect_messages(system, "system", out);
        }
        collect_messages(messages, speaker, out);
        return collect_remaining_fields(map, &["messages", "system"], "request", out);
    }
    let Some(role) = map.get("role").and_then(Value::as_str) else { return out.push(convert_part(value, speaker)) };
    if let Some(thought) = map.get("reasoning_content") {
        collect_messages(thought, "thinking", out);
    }
    let body_key = if map.contains_key("parts") { "parts" } else { "content" };
    if let Some(body) = map.get(body_key) {
        collect_messages(body, role, out);
    }
    let calls = map.get("tool_calls").and_then(Value::as_array);
    out.extend(calls.into_iter().flatten().map(|call| MessagePart::new("tool call", call.to_string())));
    let calls_key = if calls.is_some() { "tool_calls" } else { "" };
    // OpenTelemetry's output messages repeat the call's finish reason, which is no part of the message
    let finish_key = if map.get("finish_reason").is_some_and(is_finish_reason) { "finish_reason" } else { "" };
    collect_remaining_fields(map, &["role", "reasoning_content", body_key, calls_key, finish_key], role, out);
}

/// Whether a value is a finish reason: a text, null, or a list of these.
fn is_finish_reason(value: &Value) -> bool {
    match value {
        Value::Null | Value::String(_) => true,
        Value::Array(reasons) => reasons.iter().all(is_finish_reason),
        _ => false,
    }
}

/// Adds the remaining fields of an object as JSON: `refusal`, `function_call`, `name`, `tool_call_id`, `tools`, …
fn collect_remaining_fields(map: &Map<String, Value>, shown: &[&str], speaker: &str, out: &mut Vec<MessagePart>) {
    let remaining = map.iter().filter(|(key, value)| !shown.contains(&key.as_str()) && !value.is_null());
    let remaining: Map<String, Value> = remaining.map(|(key, value)| (key.clone(), value.clone())).collect();
    if !remaining.is_empty() {
        out.push(MessagePart::new(speaker, Value::Object(remaining).to_string()));
    }
}

/// A part as text if it has only text, otherwise as JSON.
fn convert_part(value: &Value, speaker: &str) -> MessagePart {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
    let text = ["text", "content", "thinking"].iter().find_map(|key| value.get(key).and_then(Value::as_str));
    match (kind, text) {
        ("text" | "input_text" | "output_text", Some(text)) => MessagePart::new(speaker, text),
        ("thinking" | "reasoning", Some(text)) => MessagePart::new("thinking", text),
        ("tool_call" | "tool_use" | "function_call", _) => MessagePart::new("tool call", value.to_string()),
        ("tool_call_response" | "tool_result" | "function_call_output", _) => {
            MessagePart::new("tool result", value.to_string())
        }
        _ => MessagePart::new(speaker, value.to_string()),
    }
}
