//! **What**: what speaks for a conversation with a model where a key could mean something else: lists of messages, and
//! entries beside it. **Why**: `messages`, `input` and `text` of ordinary services are no content; a provider's answer
//! that an ordinary service logs is. **Invariants**: a look at a few elements, or one search of a text. **Not here**:
//! which keys are in doubt (`keys`, `config/dialects.yaml`).

use std::collections::HashSet;

use otlp::Value;

/// What must speak for an entry to be content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Nothing more.
    Nothing,
    /// A neighbour of a call of a model.
    Call,
    /// The shape of its map: a message, a part of one, a chunk, a call of a tool.
    Chat,
    /// A speaker's role in its map.
    Spoken,
}

/// What the entries of one map say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// It belongs to a call of a model.
    pub call: bool,
    /// It is a message, a part of one, a chunk of a stream, or a call of a tool.
    pub chat: bool,
    /// It names a speaker.
    pub spoken: bool,
}

impl Marks {
    /// Whether that is enough.
    pub fn settle(self, doubt: Doubt) -> bool {
        match doubt {
            Doubt::Nothing => true,
            Doubt::Call => self.call || self.chat,
            Doubt::Chat => self.chat,
            Doubt::Spoken => self.spoken,
        }
    }
}

/// Elements of a list that are looked at.
const ELEMENTS: usize = 8;
/// What a message says beside its role.
const SAID: [&str; 4] = ["content", "parts", "tool_calls", "text"];
/// What a part of a message begins with, where parts have no type (Gemini, Bedrock).
const UNTYPED: [&str; 8] = [
    "text",
    "inlineData",
    "inline_data",
    "functionCall",
    "function_call",
    "functionResponse",
    "function_response",
    "thought",
];

/// Whether a value is a list of messages, or one.
pub(super) fn are_messages(value: Value<'_>) -> bool {
    match value {
        Value::Str(text) => is_messages(text),
        Value::List(_) => value.items().take(ELEMENTS).any(is_message),
        _ => is_message(value),
    }
}

fn is_message(value: Value<'_>) -> bool {
    let has = |keys: &[&str]| value.entries().any(|(key, _)| keys.contains(&key));
    matches!(value, Value::Map(_)) && has(&["role"]) && has(&SAID)
}

/// Whether structure in text is a list of messages, or one.
pub(super) fn is_messages(text: &str) -> bool {
    let text = text.trim_start();
    // `"role": "user"`, `'role': 'user'`, `Message(role='user')`
    let has = |key: &str| {
        text.match_indices(key).any(|(at, _)| {
            let (before, behind) = (text.get(..at).unwrap_or(""), text.get(at + key.len()..).unwrap_or(""));
            before.ends_with(['"', '\'', '(', ' ', ',']) && behind.starts_with(['"', '\'', '=', '\\'])
        })
    };
    text.starts_with(['[', '{']) && SAID.into_iter().any(has) && (has("role") || text.contains("Message("))
}

/// Whether a value is a list of parts of a message; `types`: of parts.
pub(super) fn are_parts(value: Value<'_>, types: &HashSet<Box<str>>) -> bool {
    let typed =
        |(key, value): (&str, Value<'_>)| is_type(key) && value.as_str().is_some_and(|text| types.contains(text));
    let is_part = |part: Value<'_>| part.entries().any(|(key, value)| UNTYPED.contains(&key) || typed((key, value)));
    matches!(value, Value::List(_)) && value.items().take(ELEMENTS).any(is_part)
}

/// Whether structure in text is a list of parts of a message.
pub(super) fn is_parts(text: &str, types: &HashSet<Box<str>>) -> bool {
    let inside = |text: &str, open: char| text.trim_start().strip_prefix(open).map(|rest| rest.trim_start().to_owned());
    let Some(map) = inside(text, '[').and_then(|list| inside(&list, '{')) else { return false };
    let first = word(&map);
    // `"type":`, not a part of a longer word
    let whole = |(at, key): (usize, &str)| {
        let before = map.as_bytes().get(at.checked_sub(1)?).is_some_and(|byte| matches!(byte, b'"' | b'\''));
        map.get(at + key.len()..).filter(|behind| before && behind.starts_with(['"', '\'', '\\']))
    };
    let typed = ["type", "kind"].into_iter().flat_map(|key| map.match_indices(key));
    UNTYPED.contains(&first) || typed.filter_map(whole).any(|behind| types.contains(word(behind)))
}

/// The word that comes next, behind quotes, blanks and `:` or `=`.
fn word(text: &str) -> &str {
    /// No type is longer, bytes.
    const LONGEST: usize = 64;
    let text = text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default();
    let text = text.trim_start_matches(['"', '\'', '\\', ' ', ':', '=']);
    text.split(['"', '\'', '\\', ',', '}']).next().unwrap_or_default()
}

/// Whether the key says what kind of piece its map is.
fn is_type(key: &str) -> bool {
    matches!(key, "type" | "object" | "kind")
}

/// What stands for structure in place of a text.
pub(super) const STRUCTURE: &str = "{";

/// What an entry says: its text, or that it is structure.
pub(super) fn said(value: Value<'_>) -> &str {
    match value {
        Value::Str(text) => text,
        Value::Map(_) | Value::List(_) => STRUCTURE,
        _ => "",
    }
}

/// Whether what stands under a key tells whether its map is a piece of a chat.
pub(super) fn is_telling(key: &str) -> bool {
    is_type(key) || is_any(key, &["role", "delta"]) || is_any(key, &STOPS)
}

/// Keys of a reason to stop, and the reasons.
const STOPS: [&str; 4] = ["finish_reason", "finishReason", "stop_reason", "stopReason"];
const REASONS: [&str; 18] = [
    "stop",
    "length",
    "tool_calls",
    "tool-calls",
    "content_filter",
    "content-filter",
    "function_call",
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "safety",
    "recitation",
    "complete",
    "eos_token",
    "eos",
];
/// Who speaks in a conversation with a model.
const ROLES: [&str; 14] = [
    "role_user",
    "role_agent",
    "user",
    "assistant",
    "system",
    "tool",
    "model",
    "developer",
    "human",
    "ai",
    "function",
    "bot",
    "chatbot",
    "agent",
];

fn is_any(word: &str, words: &[&str]) -> bool {
    words.iter().any(|one| one.eq_ignore_ascii_case(word))
}

/// What the entries of one map (what [`said`] gives) say of it. `types`: of pieces of a chat; `is_mark`: whether a key
/// marks a call of a model. Keys count in any case.
pub(super) fn marks<'k>(
    entries: impl Iterator<Item = (&'k str, &'k str)>,
    types: &HashSet<Box<str>>,
    mut is_mark: impl FnMut(&'k str) -> bool,
) -> Marks {
    let (mut marks, mut has) = (Marks::default(), [false; 8]);
    let [role, said, delta, chunk, name, arguments, uri, resource] = &mut has;
    for (key, text) in entries {
        *role |= is_any(key, &["role"]) && is_any(text, &ROLES);
        *delta |= key == "delta" && !text.is_empty();
        *chunk |= matches!(key, "index" | "item_id" | "output_index");
        *name |= is_any(key, &["name"]);
        *arguments |= is_any(key, &["arguments"]);
        *uri |= key == "uri";
        // of MCP; its type may be left out
        *resource |= matches!(key, "mimeType" | "mime_type" | "text" | "blob");
        *said |= is_any(key, &SAID);
        marks.chat |= (is_type(key) && types.contains(text)) || (STOPS.contains(&key) && is_any(text, &REASONS));
        marks.call |= is_mark(key);
    }
    marks.chat |= (*role && *said) || (*delta && *chunk) || (*name && *arguments) || (*uri && *resource);
    marks.spoken = *role;
    marks
}

/// Longest key that text is searched for, bytes.
const KEY: usize = 128;

/// Whether a key stands in a text that can't be read, followed by `:` or `=` and something to say.
pub(super) fn mentions(text: &str, mut is_listed: impl FnMut(&str) -> bool) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    let mut rest = text;
    while let Some((before, behind)) = rest.find([':', '=']).and_then(|at| rest.split_at_checked(at)) {
        rest = behind.get(1..).unwrap_or_default();
        let before = before.trim_end_matches(['"', '\'', '\\', ' ']);
        let key = before.rsplit(|c| !is_name(c)).next().unwrap_or_default();
        if !key.is_empty() && key.len() <= KEY && says(rest) && is_listed(key) {
            return true;
        }
    }
    false
}

/// Whether what begins here is more than a number or `None`.
fn says(text: &str) -> bool {
    /// No number is longer, bytes.
    const LONGEST: usize = 64;
    let text = text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default().trim_start_matches([' ', '=']);
    let word = text.split([',', '}', ']', ')', ';', ' ', ':', '\n', '=']).next().unwrap_or_default().trim();
    let void = matches!(word, "" | "null" | "None" | "true" | "false" | "True" | "False");
    let bracket = text.starts_with(['{', '[', '(']);
    bracket || !(void || word.bytes().all(|byte| byte.is_ascii_digit() || b".-+eE".contains(&byte)))
}
