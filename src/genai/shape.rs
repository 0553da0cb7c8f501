//! **What**: what counts as a label, and version comparison. **Why**: in an agent's items, text that nobody listed is
//! content unless it has the shape of a label (design §5).

use crate::otlp::Value;

/// Longest text that can be a label, bytes.
pub(super) const LABEL_BYTES: usize = 128;
/// Longest text of a key that is known to hold a label (names may have blanks), bytes.
const KNOWN_LABEL_BYTES: usize = 256;
/// Most elements of a list under a key that is known to hold labels.
const KNOWN_LABELS: usize = 64;

/// What clients put where content was switched off.
const PLACEHOLDERS: [&str; 4] = ["<REDACTED>", "[REDACTED]", "[redacted]", "__REDACTED__"];

/// Whether a client already left the content out.
pub(super) fn is_placeholder(text: &str) -> bool {
    PLACEHOLDERS.contains(&text)
}

/// No longer than 128 bytes, no white space, no JSON.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= LABEL_BYTES && (is_placeholder(text) || (!text.chars().any(char::is_whitespace) && !looks_json(text)))
}

/// Whether a value says nothing, so that there is nothing to vault.
pub(super) fn is_void(value: Value<'_>) -> bool {
    match value {
        Value::Empty => true,
        Value::Str(text) => text.is_empty() || is_placeholder(text),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(_) => value.items().next().is_none(),
        Value::Map(_) => value.entries().next().is_none(),
        Value::Bool(_) | Value::Int(_) | Value::Double(_) => false,
    }
}

/// Whether a value can't be anything but a label or a number.
pub(super) fn is_label_value(value: Value<'_>) -> bool {
    match value {
        Value::Str(text) => is_label(text),
        Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Empty => true,
        Value::Bytes(_) | Value::List(_) | Value::Map(_) => is_void(value),
    }
}

/// What a key that is known to hold labels may hold: blanks are fine.
pub(super) fn is_known_label(text: &str) -> bool {
    text.len() <= KNOWN_LABEL_BYTES && !text.contains(['\n', '\r']) && (!looks_json(text) || is_label_list(text))
}

/// `["tool_calls"]`: some emitters write every list as JSON text.
fn is_label_list(text: &str) -> bool {
    text.starts_with('[')
        && serde_json::from_str::<Vec<std::borrow::Cow<'_, str>>>(text)
            .is_ok_and(|list| list.iter().all(|one| is_label(one)))
}

/// The same for a key that is known to hold labels: blanks and short lists are fine.
pub(super) fn is_known_label_value(value: Value<'_>) -> bool {
    match value {
        Value::Str(text) => is_known_label(text),
        Value::List(_) => {
            value.items().take(KNOWN_LABELS + 1).count() <= KNOWN_LABELS
                && value.items().all(|item| !matches!(item, Value::List(_)) && is_known_label_value(item))
        }
        Value::Bytes(_) | Value::Map(_) => is_void(value),
        Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Empty => true,
    }
}

fn looks_json(text: &str) -> bool {
    let text = text.trim();
    let pair = (text.as_bytes().first(), text.as_bytes().last());
    text.len() > 2 && matches!(pair, (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')))
}

/// Whether `version` satisfies `rule` (`>=1.2`, `<=0.1.12`, `<2`, `>1`, `0.30.x`, exact). An unreadable version
/// satisfies nothing.
pub(super) fn version_fits(rule: &str, version: &str) -> bool {
    let split = rule.find(|c: char| c.is_ascii_digit()).unwrap_or(rule.len());
    let Some((operator, bound)) = rule.split_at_checked(split) else { return false };
    let Some(have) = numbers(version) else { return false };
    if let Some(stem) = bound.strip_suffix(".x") {
        return numbers(stem).is_some_and(|stem| have.starts_with(&stem));
    }
    let Some(bound) = numbers(bound) else { return false };
    let length = have.len().max(bound.len());
    let pad = |list: &[u64]| -> Vec<u64> { list.iter().copied().chain(std::iter::repeat(0)).take(length).collect() };
    let order = pad(&have).cmp(&pad(&bound));
    match operator {
        ">=" => order.is_ge(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        "<" => order.is_lt(),
        _ => order.is_eq(),
    }
}

/// `1.2.3b0` → [1, 2, 3]; None when it does not begin with a number.
fn numbers(version: &str) -> Option<Vec<u64>> {
    let mut out = Vec::new();
    for part in version.trim_start_matches('v').split('.') {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let Some(number) = part.get(..digits).and_then(|digits| digits.parse().ok()) else { break };
        out.push(number);
        if digits < part.len() {
            break;
        }
    }
    (!out.is_empty()).then_some(out)
}
