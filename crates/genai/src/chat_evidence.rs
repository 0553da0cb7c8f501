//! Evidence that an ambiguous key holds part of a model conversation: lists of messages, and the neighbours of an
//! entry. An ordinary service's `messages`, `input` or `text` is not content; a model provider's answer is, even if an
//! ordinary service logs it.
//!
//! Each check looks at a few elements or searches a text once. The ambiguous keys are defined in `keys` and
//! `config/dialects.yaml`.

use std::collections::BTreeMap;

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
/// Key of the name in front of a printed object's bracket, as in `HumanMessage(…)`.
pub(super) const OBJECT_NAME: &str = "()";
/// The text of `["speaker", "text"]` is treated as if it had this key.
pub(super) const SAID: &str = "content";

/// The text of an entry, or [`STRUCTURE_STAND_IN`] for a map or list.
pub(super) fn entry_text(value: Value<'_>) -> &str {
    match value {
        Value::Str(text) => text,
        Value::Map(_) | Value::List(_) => STRUCTURE_STAND_IN,
        _ => "",
    }
}

/// The shapes by which the maps of a chat are recognised, from `config/dialects.yaml`.
pub(super) struct ChatShapes {
    /// The values of `type` that mark a message part.
    pub(super) types: HashSet<Box<str>>,
    /// Speakers of `["speaker", "text"]`.
    pub(super) pair_speakers: Vec<String>,
    conditions: Vec<ShapeCondition>,
    /// The conditions of each shape, and whether the shape shows only that the map names a speaker.
    shapes: Vec<(u128, bool)>,
}

/// A map meets the condition by an entry with this key and one of the values, in any case.
struct ShapeCondition {
    key: Box<str>,
    /// Empty: any. `*`: any text, map or list that is not empty.
    values: Vec<String>,
    bit: u128,
}

impl ShapeCondition {
    fn is_met(&self, key: &str, text: &str) -> bool {
        let is_value = |value: &String| (value == "*" && !text.is_empty()) || value.eq_ignore_ascii_case(text);
        self.key.eq_ignore_ascii_case(key) && (self.values.is_empty() || self.values.iter().any(is_value))
    }
}

impl ChatShapes {
    /// `shapes`: keys (`a|b`: one of them) with their values, and whether the shape only names a speaker. At most 128
    /// keys in all.
    pub(super) fn new<'d>(
        types: &[String],
        pair_speakers: &[String],
        shapes: impl Iterator<Item = (&'d BTreeMap<String, Vec<String>>, bool)>,
    ) -> Self {
        let types = types.iter().map(|kind| kind.as_str().into()).collect();
        let mut out = Self { types, pair_speakers: pair_speakers.to_vec(), conditions: Vec::new(), shapes: Vec::new() };
        let mut bit = 1_u128;
        for (shape, is_speaker) in shapes {
            let mut mask = 0;
            for (names, values) in shape {
                let condition = |key: &str| ShapeCondition { key: key.into(), values: values.clone(), bit };
                out.conditions.extend(names.split('|').map(condition));
                mask |= bit;
                bit = bit.saturating_mul(2);
            }
            out.shapes.push((mask, is_speaker));
        }
        out
    }

    /// The evidence from the entries of one map (values as returned by [`entry_text`]). `is_mark`: returns true for a
    /// key that marks a model call.
    pub(super) fn collect_evidence<'k>(
        &self,
        entries: impl Iterator<Item = (&'k str, &'k str)>,
        mut is_mark: impl FnMut(&'k str) -> bool,
    ) -> ChatEvidence {
        let (mut evidence, mut met) = (ChatEvidence::default(), 0);
        for (key, text) in entries {
            let conditions = self.conditions.iter().filter(|condition| condition.is_met(key, text));
            met |= conditions.fold(0, |mask, condition| mask | condition.bit);
            evidence.model_call |= is_mark(key);
        }
        for (_, is_speaker) in self.shapes.iter().filter(|(mask, _)| met & mask == *mask) {
            evidence.speaker_role |= is_speaker;
            evidence.chat_shape |= !is_speaker;
        }
        evidence
    }
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
