//! Decides whether a text has the shape of a label, and compares versions. `words` counts words, `key_shapes` knows the
//! shapes of listed keys, `opaque` recognises numbers and generated ids.

use std::borrow::Cow;

use otlp::Value;

use super::opaque::is_opaque;
pub(super) use super::opaque::is_placeholder;
use super::words::{self, LISTS};

/// Maximum size of a label, bytes.
pub(super) const LABEL_BYTES: usize = 128;
/// Maximum size of a value under a key known to hold labels (names may contain blanks), bytes.
const KNOWN_LABEL_BYTES: usize = 256;
/// Maximum size of an attribute key that is a name, bytes.
const MAX_KEY_BYTES: usize = 256;
/// Maximum number of words in an attribute key that is a name: with blanks, without, and if a list knows the key
/// (`llm.output_messages.{i}.message.tool_calls.{j}.tool_call.function.name`).
const MAX_SPACED_KEY_WORDS: usize = 3;
const MAX_KEY_WORDS: usize = 8;
const MAX_LISTED_KEY_WORDS: usize = 12;

/// Whether an attribute key is prose rather than a name.
#[derive(Clone, Copy, Default)]
pub(super) struct KeyProse {
    pub(super) on_any_item: bool,
    pub(super) on_agent_item: bool,
}

/// Judges a key. `is_listed`: a list knows it or its namespace.
pub(super) fn judge_key_prose(key: &str, is_listed: bool) -> KeyProse {
    let max_words = match (key.contains(char::is_whitespace), is_listed) {
        (true, _) => MAX_SPACED_KEY_WORDS,
        (false, true) => MAX_LISTED_KEY_WORDS,
        (false, false) => MAX_KEY_WORDS,
    };
    let is_long = key.len() > MAX_KEY_BYTES;
    KeyProse { on_any_item: is_long, on_agent_item: is_long || !words::fits_words(key, max_words, MAX_KEY_BYTES) }
}

/// Returns true for an opaque value or an identifier of at most 128 bytes and three words, besides neutral ones.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= LABEL_BYTES
        && !text.bytes().any(|byte| byte.is_ascii_whitespace())
        && !looks_like_json(text)
        && (is_opaque(text) || words::is_identifier(text, words::MAX_NAME_WORDS, LABEL_BYTES))
}

/// Returns true if a value is empty or a placeholder, so that there is nothing to vault.
pub(super) fn is_empty_value(value: Value<'_>) -> bool {
    match value {
        Value::Empty => true,
        Value::Str(text) => text.is_empty() || is_placeholder(text),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(_) => value.items().next().is_none(),
        Value::Map(_) => value.entries().next().is_none(),
        Value::Bool(_) | Value::Int(_) | Value::Double(_) => false,
    }
}

/// Returns true if a value can only be a label or a number.
pub(super) fn is_label_value(value: Value<'_>) -> bool {
    match value {
        Value::Str(text) => is_label(text),
        Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Empty => true,
        Value::Bytes(_) | Value::List(_) | Value::Map(_) => is_empty_value(value),
    }
}

/// Returns true if a text may be a label under a key known to hold labels: blanks are allowed.
pub(super) fn is_known_label(text: &str) -> bool {
    // `["tool_calls"]`: some emitters write every list as JSON text.
    let is_label_list = || list_from_json(text).is_some_and(|list| list.iter().all(|one| is_label(one)));
    text.len() <= KNOWN_LABEL_BYTES && !text.contains(['\n', '\r']) && (!looks_like_json(text) || is_label_list())
}

/// The texts of a list that is written as JSON.
pub(super) fn list_from_json(text: &str) -> Option<Vec<Cow<'_, str>>> {
    serde_json::from_str(text).ok().filter(|_| text.starts_with('['))
}

fn looks_like_json(text: &str) -> bool {
    let text = text.trim();
    let ends = (text.as_bytes().first(), text.as_bytes().last());
    text.len() > 2 && matches!(ends, (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')))
}

/// Returns true if `version` satisfies `rule` (`>=1.2`, `<=0.1.12`, `<2`, `>1`, `0.30.x`, exact). An unreadable version
/// satisfies no rule.
pub(super) fn version_satisfies(rule: &str, version: &str) -> bool {
    let split = rule.find(|c: char| c.is_ascii_digit()).unwrap_or(rule.len());
    let Some((operator, bound)) = rule.split_at_checked(split) else { return false };
    let Some(numbers) = version_numbers(version) else { return false };
    if let Some(stem) = bound.strip_suffix(".x") {
        return version_numbers(stem).is_some_and(|stem| numbers.starts_with(&stem));
    }
    let Some(bound) = version_numbers(bound) else { return false };
    // `1.2` is `1.2.0`.
    let significant = |list: &[u64]| list.iter().rposition(|number| *number > 0).map_or(0, |last| last + 1);
    let order = numbers.iter().take(significant(&numbers)).cmp(bound.iter().take(significant(&bound)));
    match operator {
        ">=" => order.is_ge(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        "<" => order.is_lt(),
        _ => order.is_eq(),
    }
}

/// `1.2.3b0` → [1, 2, 3]. `None` if the version does not begin with a number.
fn version_numbers(version: &str) -> Option<Vec<u64>> {
    let version = version.trim_start_matches('v');
    let numbers = version.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let numbers: Vec<u64> = numbers.split('.').map_while(|number| number.parse().ok()).collect();
    Some(numbers).filter(|numbers| !numbers.is_empty())
}

/// Returns true for keys that hold names of agents, tools and models, paths, ids or versions: their values are not
/// quotations of content.
pub(super) fn is_name_key(key: &str) -> bool {
    key.rsplit(['.', '_']).next().is_some_and(|last| LISTS.name_keys.contains(last))
}
