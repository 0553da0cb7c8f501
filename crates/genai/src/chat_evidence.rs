//! Evidence that an ambiguous key holds part of a model conversation: lists of messages, and the neighbours of an
//! entry. An ordinary service's `messages`, `input` or `text` is not content; a model provider's answer is, even if an
//! ordinary service logs it.
//!
//! Each check looks at a few elements or searches a text once. The ambiguous keys are defined in `keys` and
//! `config/dialects.yaml`.

use foldhash::HashSet;

use otlp::Value;

/// Evidence from the entries of one map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ChatEvidence {
    /// The map belongs to a model call.
    pub model_call: bool,
    /// The map is a message, a message part, a chunk of a stream, or a tool call.
    pub chat_shape: bool,
    /// The map names a speaker.
    pub speaker_role: bool,
}

/// Maximum number of list elements checked.
const MAX_ELEMENTS: usize = 8;
/// Keys of a message's content, beside its role.
const MESSAGE_CONTENT_KEYS: [&str; 4] = ["content", "parts", "tool_calls", "text"];
/// Returns true for keys of message parts in APIs whose parts have no type (Gemini, Bedrock). In text, only a part's
/// first key counts.
fn is_untyped_part_key(key: &str) -> bool {
    let is_call = matches!(key, "functionCall" | "function_call" | "functionResponse" | "function_response");
    is_call || matches!(key, "text" | "inlineData" | "inline_data" | "thought")
}

/// Returns true for a message or a list of messages.
pub(super) fn is_message_value(value: Value<'_>) -> bool {
    match value {
        Value::Str(text) => is_message_text(text),
        Value::List(_) => value.items().take(MAX_ELEMENTS).any(is_message),
        _ => is_message(value),
    }
}

fn is_message(value: Value<'_>) -> bool {
    let has = |keys: &[&str]| value.entries().any(|(key, _)| keys.contains(&key));
    matches!(value, Value::Map(_)) && has(&["role"]) && has(&MESSAGE_CONTENT_KEYS)
}

/// Returns true if a text that holds structure (JSON, a Python dict) is a message or a list of messages.
pub(super) fn is_message_text(text: &str) -> bool {
    let text = text.trim_start();
    // `"role": "user"`, `'role': 'user'`, `Message(role='user')`
    let has = |key: &str| {
        text.match_indices(key).any(|(at, _)| {
            let (before, after) = (text.get(..at).unwrap_or(""), text.get(at + key.len()..).unwrap_or(""));
            before.ends_with(['"', '\'', '(', ' ', ',']) && after.starts_with(['"', '\'', '=', '\\'])
        })
    };
    text.starts_with(['[', '{'])
        && MESSAGE_CONTENT_KEYS.into_iter().any(has)
        && (has("role") || text.contains("Message("))
}

/// Returns true for a list of message parts. `types`: the values of `type` that mark a part.
pub(super) fn is_part_list_value(value: Value<'_>, types: &HashSet<Box<str>>) -> bool {
    let typed =
        |(key, value): (&str, Value<'_>)| is_type(key) && value.as_str().is_some_and(|text| types.contains(text));
    let is_part = |part: Value<'_>| part.entries().any(|(key, value)| is_untyped_part_key(key) || typed((key, value)));
    matches!(value, Value::List(_)) && value.items().take(MAX_ELEMENTS).any(is_part)
}

/// Returns true if structure in text is a list of message parts.
pub(super) fn is_part_list_text(text: &str, types: &HashSet<Box<str>>) -> bool {
    let list = text.trim_start().strip_prefix('[');
    let Some(map) = list.and_then(|list| list.trim_start().strip_prefix('{')).map(str::trim_start) else {
        return false;
    };
    // `"type":` as a whole key, not as part of a longer word.
    let after_whole_key = |(at, key): (usize, &str)| {
        let opening_quote = map.as_bytes().get(at.checked_sub(1)?).is_some_and(|byte| matches!(byte, b'"' | b'\''));
        map.get(at + key.len()..).filter(|after| opening_quote && after.starts_with(['"', '\'', '\\']))
    };
    let type_keys = ["type", "kind"].into_iter().flat_map(|key| map.match_indices(key));
    is_untyped_part_key(next_word(map))
        || type_keys.filter_map(after_whole_key).any(|after| types.contains(next_word(after)))
}

/// The next word, after quotes, blanks and `:` or `=`.
fn next_word(text: &str) -> &str {
    /// Maximum size of a type, bytes.
    const MAX_TYPE_BYTES: usize = 64;
    let text = text.get(..text.floor_char_boundary(MAX_TYPE_BYTES)).unwrap_or_default();
    let text = text.trim_start_matches(['"', '\'', '\\', ' ', ':', '=']);
    text.split(['"', '\'', '\\', ',', '}']).next().unwrap_or_default()
}

/// Returns true for a key that holds the type of its map.
fn is_type(key: &str) -> bool {
    matches!(key, "type" | "object" | "kind")
}

/// Stands for a map or list where a text is expected: only that it is not empty counts.
pub(super) const STRUCTURE_STAND_IN: &str = "{";

/// The text of an entry, or [`STRUCTURE_STAND_IN`] for a map or list.
pub(super) fn entry_text(value: Value<'_>) -> &str {
    match value {
        Value::Str(text) => text,
        Value::Map(_) | Value::List(_) => STRUCTURE_STAND_IN,
        _ => "",
    }
}

/// Returns true if the value under this key can show that its map is a piece of a chat.
pub(super) fn is_evidence_key(key: &str) -> bool {
    is_type(key) || matches_any(key, ["role", "delta"]) || matches_any(key, STOP_REASON_KEYS)
}

/// Keys of a stop reason, and the known reasons.
const STOP_REASON_KEYS: [&str; 4] = ["finish_reason", "finishReason", "stop_reason", "stopReason"];
const STOP_REASONS: &str = "stop length tool_calls tool-calls content_filter content-filter function_call end_turn \
    max_tokens stop_sequence tool_use pause_turn refusal safety recitation complete eos_token eos";
/// Roles in a conversation with a model.
const ROLES: &str =
    "role_user role_agent user assistant system tool model developer human ai function bot chatbot agent";

fn matches_any<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> bool {
    words.into_iter().any(|one| one.eq_ignore_ascii_case(word))
}

/// The evidence from the entries of one map (values as returned by [`entry_text`]). `types`: types of chat pieces;
/// `is_mark`: returns true for a key that marks a model call. Keys of roles and content match in any case.
pub(super) fn collect_evidence<'k>(
    entries: impl Iterator<Item = (&'k str, &'k str)>,
    types: &HashSet<Box<str>>,
    mut is_mark: impl FnMut(&'k str) -> bool,
) -> ChatEvidence {
    let (mut evidence, mut has) = (ChatEvidence::default(), [false; 8]);
    let [role, content, delta, chunk_index, name, arguments, uri, resource] = &mut has;
    for (key, text) in entries {
        *role |= key.eq_ignore_ascii_case("role") && matches_any(text, ROLES.split(' '));
        *delta |= key == "delta" && !text.is_empty();
        *chunk_index |= matches!(key, "index" | "item_id" | "output_index");
        *name |= key.eq_ignore_ascii_case("name");
        *arguments |= key.eq_ignore_ascii_case("arguments");
        *uri |= key == "uri";
        // MCP resource contents, whose type may be left out.
        *resource |= matches!(key, "mimeType" | "mime_type" | "text" | "blob");
        *content |= matches_any(key, MESSAGE_CONTENT_KEYS);
        evidence.chat_shape |= (is_type(key) && types.contains(text))
            || (STOP_REASON_KEYS.contains(&key) && matches_any(text, STOP_REASONS.split(' ')));
        evidence.model_call |= is_mark(key);
    }
    evidence.chat_shape |=
        (*role && *content) || (*delta && *chunk_index) || (*name && *arguments) || (*uri && *resource);
    evidence.speaker_role = *role;
    evidence
}

/// Maximum size of a key searched for in text, bytes.
const MAX_KEY_BYTES: usize = 128;

/// Returns true if a text that can't be parsed contains a listed key, followed by `:` or `=` and a value with content.
pub(super) fn mentions_listed_key(text: &str, mut is_listed: impl FnMut(&str) -> bool) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    let mut rest = text;
    while let Some((before, from_mark)) = rest.find([':', '=']).and_then(|at| rest.split_at_checked(at)) {
        rest = from_mark.get(1..).unwrap_or_default();
        let before = before.trim_end_matches(['"', '\'', '\\', ' ']);
        let key = before.rsplit(|c| !is_name(c)).next().unwrap_or_default();
        if !key.is_empty() && key.len() <= MAX_KEY_BYTES && has_content_value(rest) && is_listed(key) {
            return true;
        }
    }
    false
}

/// Returns true if the value that begins here is more than a number, a boolean or `None`.
fn has_content_value(text: &str) -> bool {
    /// Maximum size of a number, bytes.
    const MAX_NUMBER_BYTES: usize = 64;
    let text =
        text.get(..text.floor_char_boundary(MAX_NUMBER_BYTES)).unwrap_or_default().trim_start_matches([' ', '=']);
    let word = text.split([',', '}', ']', ')', ';', ' ', ':', '\n', '=']).next().unwrap_or_default().trim();
    let is_empty = matches!(word, "" | "null" | "None" | "true" | "false" | "True" | "False");
    let is_structure = text.starts_with(['{', '[', '(']);
    is_structure || !(is_empty || word.bytes().all(|byte| byte.is_ascii_digit() || b".-+eE".contains(&byte)))
}
