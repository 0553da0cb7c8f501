//! **What**: what speaks for a conversation with a model where a key could mean something else: lists of messages, and
//! keys beside it. **Why**: `messages`, `input` and `metadata` of ordinary services are no content. **Invariants**: a
//! look at a few elements, or one search of a text. **Not here**: which keys are in doubt (`keys`, `config/dialects.yaml`).

use otlp::Value;

/// Elements of a list that are looked at.
const ELEMENTS: usize = 8;
/// What a message says beside its role.
const SAID: [&str; 3] = ["content", "parts", "tool_calls"];

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

/// Whether keys of one map say that it is a call of a model, or a message.
pub(super) fn mark<'k>(keys: impl Iterator<Item = &'k str>, mut is_mark: impl FnMut(&'k str) -> bool) -> bool {
    let (mut role, mut said) = (false, false);
    for key in keys {
        role |= key == "role";
        said |= SAID.contains(&key);
        if is_mark(key) || (role && said) {
            return true;
        }
    }
    false
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
    let text = text.trim_start_matches([' ', '=']);
    let word = text.split([',', '}', ']', ')', ';', ' ', ':', '\n']).next().unwrap_or_default().trim();
    let void = matches!(word, "" | "null" | "None" | "true" | "false" | "True" | "False");
    let bracket = text.starts_with(['{', '[', '(']);
    bracket || !(void || word.bytes().all(|byte| byte.is_ascii_digit() || b".-+eE".contains(&byte)))
}
