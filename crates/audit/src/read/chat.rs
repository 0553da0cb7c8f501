//! Converts model calls to the form of chat APIs (OpenAI's): `messages` with the roles system, user, assistant and
//! tool, `tool_calls` with arguments as text, answers linked by id, and `tools`. The result can be sent to a model
//! again, regardless of the client that reported the call.
//!
//! Nothing is omitted: a part without an equivalent becomes text, as JSON. Thinking, which no API accepts in this form,
//! is kept apart. A call without an id gets one, as does its answer. Neighbours: `turns` (selects the calls),
//! `messages` (text for human readers).

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use vault::call_dedup::{is_same_arguments, is_same_tool};
use vault::document::{DocumentItem, ReadPiece};

use super::entry_links::MAX_CANDIDATES;

/// A call's content in the form of chat APIs.
#[derive(Default)]
pub(super) struct ChatTranscript {
    pub(super) messages: Vec<Value>,
    pub(super) tools: Vec<Value>,
    /// The models' thinking, in order.
    pub(super) reasoning: Vec<String>,
    /// Index of the message to which parts are added.
    open_message: Option<usize>,
    /// Ids of calls that have no answer yet.
    unanswered: Vec<String>,
    /// Number of calls without an id.
    calls_without_id: usize,
}

/// An event in a conversation, for [`ChatTranscript::from_events`].
pub(super) enum ChatEvent<'i> {
    Reported(&'i DocumentItem),
    /// A sub-agent was started with this prompt.
    AgentStarted(String),
    /// A sub-agent answered the call with this id.
    AgentAnswered(Option<&'i str>, String),
}

struct ReportedToolCall<'i> {
    tool: Option<&'i str>,
    message: usize,
    /// Kinds and names of the items that reported it.
    sources: Vec<(&'i str, &'i str)>,
    /// Whether the arguments come from a key that holds the complete arguments, not a client's summary.
    is_complete: bool,
    is_answered: bool,
}

/// JSON pointer to the arguments in a call's message.
const ARGUMENTS: &str = "/tool_calls/0/function/arguments";

/// Parts of a model call, and the default role of their messages.
const CALL_PARTS: [(&str, &str); 3] = [("system", "system"), ("input", "user"), ("output", "assistant")];
const TEXT_KEYS: [&str; 3] = ["text", "content", "thinking"];

impl ChatTranscript {
    /// Converts a model call that has its own input.
    pub(super) fn from_call(item: &DocumentItem) -> Self {
        let mut chat = Self::default();
        for (part, role) in CALL_PARTS {
            chat.add_pieces(item.content.iter().filter(|piece| piece.part == part), role);
        }
        let definitions = item.content.iter().filter(|piece| piece.part == "tools");
        definitions.for_each(|piece| chat.add_definitions(&piece.value));
        chat
    }

    /// Builds a conversation for clients that report each message, tool call and result in an item of its own.
    pub(super) fn from_events(events: &[ChatEvent<'_>]) -> Self {
        let (mut chat, mut calls) = (Self::default(), HashMap::new());
        for event in events {
            let item = match event {
                ChatEvent::Reported(item) => item,
                ChatEvent::AgentStarted(prompt) => {
                    chat.open_message = None;
                    chat.append_part("user", json!({"type": "text", "text": prompt}));
                    continue;
                }
                ChatEvent::AgentAnswered(id, answer) => {
                    chat.add_answer(*id, &Value::String(answer.clone()));
                    continue;
                }
            };
            let is_tool = item.head.call == "tool";
            let pieces = |part: &'static str| item.content.iter().filter(move |piece| piece.part == part);
            let old_count = chat.messages.len();
            chat.add_pieces(pieces("system"), "system");
            chat.add_pieces(pieces("input"), "user");
            // the same prompt may be on a span and in an event
            let (old, new) = chat.messages.split_at(old_count);
            if new.iter().all(|message| old.contains(message)) {
                chat.messages.truncate(old_count);
            }
            chat.add_tool_report(item, &mut calls);
            chat.add_pieces(pieces("output").filter(|_| !is_tool), "assistant");
            pieces("tools").for_each(|piece| chat.add_definitions(&piece.value));
        }
        chat
    }

    /// Adds an item's report of a tool's call and its result. Clients report a call several times: the reports become
    /// one call, with the complete arguments if reported, and one answer. A report with another tool or other arguments
    /// is of another call even if the id is the same.
    fn add_tool_report<'i>(&mut self, item: &'i DocumentItem, calls: &mut HashMap<&'i str, Vec<ReportedToolCall<'i>>>) {
        let id = item.head.tool_call.as_deref();
        let source = (&*item.head.kind, &*item.head.name);
        let pieces = |part: &'static str| item.content.iter().filter(move |piece| piece.part == part);
        let is_complete = |piece: &&ReadPiece| {
            let key = piece.key.as_deref().unwrap_or_default();
            ["input", "arguments", "args"].iter().any(|word| key.ends_with(word))
        };
        let complete_arguments = pieces("tool_args").find(is_complete);
        let arguments = complete_arguments.or(pieces("tool_args").next());
        let result = pieces("tool_result").chain(pieces("output").filter(|_| item.head.call == "tool")).next();
        let tool = item.head.tool.as_deref().filter(|tool| !tool.is_empty());
        let is_same_call = |call: &&mut ReportedToolCall<'_>| {
            let earlier = || self.messages.get(call.message)?.pointer(ARGUMENTS);
            let differs = |arguments: &ReadPiece| {
                call.is_complete && earlier().is_some_and(|earlier| !is_same_arguments(earlier, &arguments.value))
            };
            let may_be_same_tool = call.tool.zip(tool).is_none_or(|(first, second)| is_same_tool(first, second));
            // a second report of the same kind and name is another call, whatever its id
            may_be_same_tool && !call.sources.contains(&source) && !complete_arguments.is_some_and(differs)
        };
        let known_call = id.and_then(|id| calls.get_mut(id)?.iter_mut().rev().take(MAX_CANDIDATES).find(is_same_call));
        match (known_call, arguments) {
            (Some(call), _) => {
                call.sources.push(source);
                call.tool = call.tool.or(tool);
                if let Some(complete) = complete_arguments.filter(|_| !call.is_complete) {
                    call.is_complete = true;
                    let text = self.messages.get_mut(call.message).and_then(|message| message.pointer_mut(ARGUMENTS));
                    text.into_iter().for_each(|text| *text = arguments_text(Some(&complete.value)).into());
                }
                if let Some(result) = result.filter(|_| !call.is_answered) {
                    call.is_answered = true;
                    self.add_answer(id, &result.value);
                }
                return;
            }
            (None, Some(arguments)) => {
                self.open_message = None;
                self.add_call(&json!({"id": id, "name": item.head.tool, "arguments": arguments.value}));
                if let Some(id) = id {
                    calls.entry(id).or_default().push(ReportedToolCall {
                        tool,
                        message: self.messages.len().saturating_sub(1),
                        sources: vec![source],
                        is_complete: complete_arguments.is_some(),
                        is_answered: result.is_some(),
                    });
                }
            }
            (None, None) => {}
        }
        if let Some(result) = result {
            self.add_answer(id, &result.value);
        }
    }

    /// Adds the pieces of one part, without duplicates.
    fn add_pieces<'p>(&mut self, pieces: impl Iterator<Item = &'p ReadPiece>, role: &str) {
        let (part_start, mut added) = (self.messages.len(), Vec::new());
        let mut numbered: BTreeMap<(String, u64), Map<String, Value>> = BTreeMap::new();
        for piece in pieces {
            if let Some((list, number, field)) = piece.key.as_deref().and_then(parse_numbered_key) {
                set_message_field(numbered.entry((list.to_owned(), number)).or_default(), field, &piece.value);
                continue;
            }
            let value = parse_value(&piece.value);
            if added.contains(&value) {
                continue;
            }
            let (old_count, unanswered_count) = (self.messages.len(), self.unanswered.len());
            self.open_message = None;
            self.add_value(&value, role);
            added.push(value);
            // two pieces may hold the same messages in different forms
            let (old, new) = self.messages.split_at(old_count);
            if old.get(part_start..).is_some_and(|old| !new.is_empty() && old.ends_with(new)) {
                self.messages.truncate(old_count);
                self.unanswered.truncate(unanswered_count);
            }
        }
        for message in numbered.into_values().filter(|message| !message.is_empty()) {
            self.add_message(&message, role);
        }
        self.open_message = None;
    }

    fn add_value(&mut self, value: &Value, role: &str) {
        match &parse_value(value) {
            Value::Null => {}
            Value::Array(items) => self.add_list(items, role),
            Value::Object(map) if map.get("messages").is_some_and(Value::is_array) => {
                for (key, default_role) in [("system", "system"), ("messages", role)] {
                    map.get(key).into_iter().for_each(|value| self.add_value(value, default_role));
                }
                map.get("tools").into_iter().for_each(|tools| self.add_definitions(tools));
            }
            Value::Object(map) if map.contains_key("role") => self.add_message(map, role),
            other => self.add_part(other, role),
        }
    }

    /// Adds messages, or the parts of one. Answers come first, because they must follow their calls.
    fn add_list(&mut self, items: &[Value], role: &str) {
        let are_parts = role != "assistant" && items.iter().all(|item| item.get("role").is_none());
        let (answers, rest): (Vec<&Value>, Vec<&Value>) = items.iter().partition(|item| are_parts && is_answer(item));
        // lists of these types alone are OpenAI's, which are in order
        let is_ordered =
            items.iter().all(|item| matches!(part_type(item), "function_call" | "function_call_output" | "reasoning"));
        if is_ordered {
            return items.iter().for_each(|item| self.add_part(item, role));
        }
        for item in answers.into_iter().chain(rest) {
            match item {
                Value::Object(map) if map.contains_key("role") => self.add_message(map, role),
                item => self.add_part(item, role),
            }
        }
    }

    fn add_message(&mut self, map: &Map<String, Value>, default_role: &str) {
        let role = chat_role(map.get("role").and_then(Value::as_str).unwrap_or(default_role));
        self.open_message = None;
        let thought = map.get("reasoning_content").and_then(Value::as_str);
        self.reasoning.extend(thought.map(str::to_owned));
        let body = map.get("parts").or(map.get("content")).unwrap_or(&Value::Null);
        if role == "tool" && !body.as_array().is_some_and(|parts| parts.iter().any(is_answer)) {
            let id = map.get("tool_call_id").or(map.get("id")).and_then(Value::as_str);
            return self.add_answer(id, body);
        }
        // a text with a JSON list may hold message parts; a text with a JSON object is the message itself
        let body = if body.as_str().is_some_and(|text| text.trim_start().starts_with('[')) {
            parse_value(body)
        } else {
            body.clone()
        };
        match &body {
            Value::Null => {}
            Value::Array(parts) => self.add_list(parts, role),
            other => self.add_part(other, role),
        }
        for call in map.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            self.add_call(call);
        }
        if let (Some(name), Some(at)) = (map.get("name").filter(|name| name.is_string()), self.open_message)
            && let Some(message) = self.messages.get_mut(at).and_then(Value::as_object_mut)
        {
            message.insert("name".to_owned(), name.clone());
        }
        if let Some(refusal) = map.get("refusal").and_then(Value::as_str) {
            self.append_part("assistant", json!({"type": "text", "text": refusal}));
        }
        self.open_message = None;
    }

    fn add_part(&mut self, part: &Value, role: &str) {
        let text = TEXT_KEYS.iter().find_map(|key| part.get(key).and_then(Value::as_str));
        match (part, part_type(part), text) {
            (Value::Null, ..) => {}
            (Value::String(text), ..) => self.append_part(role, json!({"type": "text", "text": text})),
            (_, "text" | "input_text" | "output_text", Some(text)) => {
                self.append_part(role, json!({"type": "text", "text": text}))
            }
            (_, "thinking" | "reasoning" | "redacted_thinking", text) => {
                self.reasoning.push(text.map_or_else(|| part.to_string(), str::to_owned));
            }
            (_, "tool_call" | "tool_use" | "function_call" | "server_tool_use", _) => self.add_call(part),
            (answer, ..) if is_answer(answer) => {
                let id =
                    ["tool_use_id", "call_id", "tool_call_id", "id"].iter().find_map(|key| part.get(key)?.as_str());
                let result = ["response", "result", "content", "output"].iter().find_map(|key| part.get(key));
                self.add_answer(id, result.unwrap_or(&Value::Null));
            }
            (_, "image_url" | "input_audio" | "file", _) => self.append_part(role, part.clone()),
            // Gemini's parts have no type
            (_, "", Some(text)) if part.get("text").is_some() => {
                self.append_part(role, json!({"type": "text", "text": text}))
            }
            (_, "", _) if part.get("functionCall").is_some() => {
                part.get("functionCall").into_iter().for_each(|call| self.add_call(call));
            }
            (_, "", _) if part.get("functionResponse").is_some() => {
                let response = part.get("functionResponse").unwrap_or(&Value::Null);
                self.add_answer(
                    response.get("id").and_then(Value::as_str),
                    response.get("response").unwrap_or(&Value::Null),
                );
            }
            _ => {
                let other = convert_image(part).unwrap_or_else(|| json!({"type": "text", "text": part.to_string()}));
                self.append_part(role, other);
            }
        }
    }

    /// The open message, if it has this role, or else a new one.
    fn find_or_add_message(&mut self, role: &str) -> Option<&mut Map<String, Value>> {
        let has_role =
            |at: &usize| self.messages.get(*at).and_then(|message| message.get("role")).is_some_and(|it| it == role);
        let at = self.open_message.filter(has_role).unwrap_or_else(|| {
            self.messages.push(json!({"role": role, "content": null}));
            self.messages.len() - 1
        });
        self.open_message = Some(at);
        self.messages.get_mut(at)?.as_object_mut()
    }

    /// Adds a part. A single text becomes a string, several parts a list.
    fn append_part(&mut self, role: &str, part: Value) {
        let Some(message) = self.find_or_add_message(chat_role(role)) else { return };
        let Some(content) = message.get_mut("content") else { return };
        *content = match (content.take(), part) {
            (Value::Null, part) if part_type(&part) == "text" => part.get("text").cloned().unwrap_or_default(),
            (Value::Null, part) => json!([part]),
            (Value::Array(mut parts), part) => {
                parts.push(part);
                Value::Array(parts)
            }
            (first, part) => json!([{"type": "text", "text": first}, part]),
        };
    }

    /// Adds a tool call in any of the known forms.
    fn add_call(&mut self, call: &Value) {
        let function = call.get("function").filter(|function| function.is_object()).unwrap_or(call);
        let id = ["call_id", "id", "tool_call_id"].iter().find_map(|key| call.get(key)?.as_str());
        let id = id.map_or_else(
            || {
                self.calls_without_id += 1;
                format!("call_{}", self.calls_without_id)
            },
            str::to_owned,
        );
        let arguments = arguments_text(["arguments", "input", "args"].iter().find_map(|key| function.get(key)));
        let name = function.get("name").and_then(Value::as_str).unwrap_or("unknown");
        let tool_call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        self.unanswered.push(id);
        let Some(message) = self.find_or_add_message("assistant") else { return };
        match message.get_mut("tool_calls").and_then(Value::as_array_mut) {
            Some(calls) => calls.push(tool_call),
            None => drop(message.insert("tool_calls".to_owned(), json!([tool_call]))),
        }
    }

    /// Adds a tool's result. Without an id it answers the first unanswered call.
    fn add_answer(&mut self, id: Option<&str>, result: &Value) {
        let at = match id {
            Some(id) => self.unanswered.iter().position(|call| call == id),
            None => (!self.unanswered.is_empty()).then_some(0),
        };
        let call = at.map(|at| self.unanswered.remove(at));
        let id = id.map(str::to_owned).or(call).unwrap_or_else(|| "unknown".to_owned());
        let parts =
            result.as_array().filter(|parts| !parts.is_empty() && parts.iter().all(|part| part_type(part) == "text"));
        let texts: Option<Vec<&str>> =
            parts.and_then(|parts| parts.iter().map(|part| part.get("text")?.as_str()).collect());
        let text = match (result, texts) {
            (_, Some(texts)) => texts.join("\n"),
            (Value::String(text), _) => text.clone(),
            (Value::Null, _) => String::new(),
            (other, _) => other.to_string(),
        };
        self.messages.push(json!({"role": "tool", "tool_call_id": id, "content": text}));
        self.open_message = None;
    }

    fn add_definitions(&mut self, value: &Value) {
        let parsed = value.as_str().and_then(|text| serde_json::from_str(text).ok());
        match parsed.as_ref().unwrap_or(value) {
            Value::Array(tools) => tools.iter().for_each(|tool| self.add_definitions(tool)),
            Value::Object(tool) => {
                let definition = match (tool.get("function"), tool.get("name")) {
                    (Some(function), _) => json!({"type": "function", "function": function}),
                    (None, Some(name)) => {
                        let mut function = Map::from_iter([("name".to_owned(), name.clone())]);
                        let parameters = tool.get("parameters").or(tool.get("input_schema"));
                        for (key, value) in [("description", tool.get("description")), ("parameters", parameters)] {
                            function.extend(value.map(|value| (key.to_owned(), value.clone())));
                        }
                        json!({"type": "function", "function": function})
                    }
                    (None, None) => Value::Object(tool.clone()),
                };
                if !self.tools.contains(&definition) {
                    self.tools.push(definition);
                }
            }
            _ => {}
        }
    }
}

fn arguments_text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The value, or the parsed content of its text if that is messages, message parts or tool definitions. Other JSON
/// text is kept as text.
fn parse_value(value: &Value) -> Value {
    let Value::String(text) = value else { return value.clone() };
    if !text.trim_start().starts_with(['[', '{']) {
        return value.clone();
    }
    let has_any = |value: &Value, keys: &[&str]| keys.iter().any(|key| value.get(key).is_some());
    let is_message_or_part =
        |value: &Value| has_any(value, &["role", "type", "parts", "functionCall", "functionResponse"]);
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(items)) if !items.is_empty() && items.iter().all(is_message_or_part) => Value::Array(items),
        Ok(object) if has_any(&object, &["role", "messages", "parts"]) => object,
        _ => value.clone(),
    }
}

fn part_type(part: &Value) -> &str {
    part.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn is_answer(part: &Value) -> bool {
    matches!(part_type(part), "tool_call_response" | "tool_result" | "function_call_output")
}

fn chat_role(role: &str) -> &'static str {
    match role {
        "system" | "developer" => "system",
        "assistant" | "model" | "ai" => "assistant",
        "tool" | "function" => "tool",
        _ => "user",
    }
}

/// An image in OpenAI's form, converted from Anthropic's or OpenTelemetry's.
fn convert_image(part: &Value) -> Option<Value> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let data_url = |kind: String, data: String| format!("data:{kind};base64,{data}");
    let url = match part_type(part) {
        "image" => {
            let source = part.get("source")?;
            text(source, "url").or_else(|| Some(data_url(text(source, "media_type")?, text(source, "data")?)))?
        }
        "blob" => {
            let kind = text(part, "mime_type").filter(|kind| kind.starts_with("image/"))?;
            data_url(kind, text(part, "content").or_else(|| text(part, "data"))?)
        }
        "uri" if text(part, "modality").is_some_and(|modality| modality == "image") => text(part, "uri")?,
        _ => return None,
    };
    Some(json!({"type": "image_url", "image_url": {"url": url}}))
}

/// Splits `gen_ai.prompt.0.content` into list, number and field.
fn parse_numbered_key(key: &str) -> Option<(&str, u64, &str)> {
    let mut part_start = 0;
    for part in key.split('.') {
        let next_start = part_start + part.len() + 1;
        if let (Ok(number), Some(list), Some(field)) = (part.parse(), key.get(..part_start), key.get(next_start..)) {
            return Some((list, number, field.strip_prefix("message.").unwrap_or(field)));
        }
        part_start = next_start;
    }
    None
}

/// Sets a message field that had an attribute key of its own.
fn set_message_field(message: &mut Map<String, Value>, field: &str, value: &Value) {
    match field.split('.').collect::<Vec<_>>()[..] {
        ["role" | "content" | "tool_call_id" | "name" | "parts" | "tool_calls" | "reasoning_content"] => {
            message.insert(field.to_owned(), value.clone());
        }
        [list @ ("tool_calls" | "contents"), number, .., last] => {
            let Some(at) = number.parse::<usize>().ok().filter(|at| *at < 1_000) else { return };
            let list = if list == "contents" { "parts" } else { list };
            let elements = message.entry(list).or_insert_with(|| json!([]));
            let Some(elements) = elements.as_array_mut() else { return };
            while elements.len() <= at {
                elements.push(json!({}));
            }
            if let Some(element) = elements.get_mut(at).and_then(Value::as_object_mut) {
                element.insert(last.to_owned(), value.clone());
            }
        }
        _ => {}
    }
}
