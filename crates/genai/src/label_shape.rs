//! Decides whether a text has the shape of a label, and compares versions. On an agent's item, unlisted text without
//! the shape of a label is content (`docs/decisions/0001-agent-items-and-content.md`). `opaque` recognises numbers and
//! generated ids.

use otlp::Value;

/// Maximum size of a label, bytes.
pub(super) const LABEL_BYTES: usize = 128;
/// Maximum size of a value under a key known to hold labels (names may contain blanks), bytes.
const KNOWN_LABEL_BYTES: usize = 256;
/// Maximum number of list elements under a key known to hold labels.
const MAX_KNOWN_LABELS: usize = 64;
/// Maximum number of letters of a label in a script without blanks: more are a sentence.
const MAX_UNSPACED_LETTERS: usize = 4;
/// Maximum number of non-Latin letters of a label.
const MAX_FOREIGN_LETTERS: usize = 16;
/// This many words joined by `+` or `%20` are a sentence.
const SENTENCE_JOINED_WORDS: usize = 3;
/// Maximum size of an attribute key that is a name, bytes.
const MAX_KEY_BYTES: usize = 256;
/// Maximum number of words in an attribute key that is a name.
const MAX_KEY_WORDS: usize = 3;

/// Whether an attribute key is prose rather than a name.
#[derive(Clone, Copy, Default)]
pub(super) struct KeyProse {
    pub(super) on_any_item: bool,
    pub(super) on_agent_item: bool,
}

pub(super) fn judge_key_prose(key: &str) -> KeyProse {
    let is_long = key.len() > MAX_KEY_BYTES;
    let has_many_words = || key.split_whitespace().nth(MAX_KEY_WORDS).is_some();
    let on_agent_item = is_long || has_many_words() || (!key.is_ascii() && is_prose(key));
    KeyProse { on_any_item: is_long, on_agent_item }
}

/// Placeholders that clients write where content capture was switched off.
const PLACEHOLDERS: [&str; 5] = ["<REDACTED>", "[REDACTED]", "[redacted]", "__REDACTED__", kernel::CONTENT];

/// Returns true if the content was already removed by the client or by an earlier gateway.
pub(super) fn is_placeholder(text: &str) -> bool {
    PLACEHOLDERS.contains(&text)
}

/// Returns true for a text of at most 128 bytes without white space, that is neither JSON nor prose and has few words.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= LABEL_BYTES
        && (is_placeholder(text)
            || (!text.bytes().any(|byte| byte.is_ascii_whitespace())
                && !looks_like_json(text)
                && !is_prose(text)
                && has_few_words(text, MAX_JOINED_LABEL_WORDS)))
}

/// Detects prose that contains no ASCII blank: other blanks, scripts without blanks, words joined as in URL-encoded
/// forms.
fn is_prose(text: &str) -> bool {
    if text.is_ascii() {
        return is_joined(text);
    }
    let (mut foreign, mut unspaced) = (0, 0);
    for c in text.chars().filter(|c| !c.is_ascii()) {
        if c.is_whitespace() || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}') {
            return true;
        }
        unspaced += usize::from(is_unspaced(c));
        // The ranges cover Latin with its extensions. Characters that are not letters do not count.
        foreign += usize::from(c.is_alphabetic() && !matches!(c, '\u{80}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}'));
    }
    unspaced > MAX_UNSPACED_LETTERS || foreign > MAX_FOREIGN_LETTERS || is_joined(text)
}

/// Returns true for letters and punctuation of scripts that put no blanks between words: Thai, Lao, Tibetan, Burmese,
/// Khmer, Chinese, Japanese.
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{fff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{19e0}'..='\u{19ff}'
        | '\u{3000}'..='\u{30ff}' | '\u{3105}'..='\u{312f}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{9fff}'
        | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aa7f}' | '\u{f900}'..='\u{faff}' | '\u{ff01}'..='\u{ff9f}'
        | '\u{20000}'..='\u{3ffff}')
}

/// Returns true if words are joined with `+` or `%20`, or letters of other scripts are percent-encoded.
fn is_joined(text: &str) -> bool {
    if memchr::memchr2(b'+', b'%', text.as_bytes()).is_none() {
        return false;
    }
    let is_foreign_byte = |escape: &str| matches!(escape.bytes().next(), Some(b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F'));
    if text.split('%').skip(1).filter(|escape| is_foreign_byte(escape)).count() > 3 * MAX_UNSPACED_LETTERS {
        return true;
    }
    let is_word = |word: &&str| {
        let word = word.trim_matches(|c: char| !c.is_alphabetic());
        !word.is_empty() && word.chars().all(|c| c.is_alphabetic() || matches!(c, '\'' | '-' | '='))
    };
    let joined = text.split("%20").flat_map(|piece| piece.split('+'));
    joined.filter(is_word).count() >= SENTENCE_JOINED_WORDS
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
    text.len() <= KNOWN_LABEL_BYTES && !text.contains(['\n', '\r']) && (!looks_like_json(text) || is_label_list(text))
}

/// `["tool_calls"]`: some emitters write every list as JSON text.
fn is_label_list(text: &str) -> bool {
    text.starts_with('[')
        && serde_json::from_str::<Vec<std::borrow::Cow<'_, str>>>(text)
            .is_ok_and(|list| list.iter().all(|one| is_label(one)))
}

/// Maximum number of words and bytes of a name with blanks that is accepted without further evidence.
const MAX_NAME_WORDS: usize = 3;
const MAX_NAME_BYTES: usize = 64;
/// Maximum number of names with blanks in a list.
const MAX_SPACED_NAMES: usize = 8;
/// Maximum number of words joined by punctuation in a name (`mcp__ticket_server__list_open_tickets`).
const MAX_JOINED_NAME_WORDS: usize = 10;
/// The same in a label, which may be a host (`internal-agents-prod-alb-123.us-east-1.elb.amazonaws.com`).
const MAX_JOINED_LABEL_WORDS: usize = 12;

/// Returns true for a label, or a name of a few words.
fn is_name(text: &str) -> bool {
    let is_short = text.len() <= MAX_NAME_BYTES && is_short_name(text, MAX_NAME_WORDS);
    (is_label(text) && is_short_name(text, 1)) || (is_known_label(text) && (is_short || is_label_list(text)))
}

/// Returns true if a name has at most `words` words separated by blanks, and few joined by punctuation; in scripts
/// without blanks, a few letters.
pub fn is_short_name(text: &str, words: usize) -> bool {
    text.split_whitespace().nth(words).is_none()
        && has_few_words(text, MAX_JOINED_NAME_WORDS)
        && !text.split_whitespace().any(is_prose)
}

/// Returns true if punctuation joins at most `max_words` words. The segments of a path are checked one by one.
fn has_few_words(text: &str, max_words: usize) -> bool {
    if text.is_ascii() {
        let is_mark = |byte: &u8| char::from(*byte).is_whitespace() || b"_-+.,;:|=()".contains(byte);
        let is_word = |word: &&[u8]| word.len() > 1 && word.iter().all(u8::is_ascii_alphabetic);
        let mut parts = text.as_bytes().split(|byte| matches!(byte, b'/' | b'\\'));
        return parts
            .all(|part| part.len() < max_words || part.split(is_mark).filter(is_word).nth(max_words).is_none());
    }
    // The parts of a UUID are not words.
    let is_word = |word: &&str| word.chars().nth(1).is_some() && word.chars().all(char::is_alphabetic);
    let is_mark = |c: char| c.is_whitespace() || "_-+.,;:|=()".contains(c);
    text.split(['/', '\\'])
        .all(|part| part.len() < max_words || part.split(is_mark).filter(is_word).nth(max_words).is_none())
}

/// Returns true if a value fits a key known to hold names: a name or a short list of names.
pub(super) fn is_name_value(value: Value<'_>) -> bool {
    let has_blank = |item: &Value<'_>| item.as_str().is_some_and(|text| text.contains(char::is_whitespace));
    are_labels(value, is_name)
        && !matches!(value, Value::List(_) if value.items().filter(has_blank).nth(MAX_SPACED_NAMES).is_some())
}

/// Returns true if a value fits a key known to hold ids: blanks are allowed.
pub(super) fn is_known_label_value(value: Value<'_>) -> bool {
    are_labels(value, is_known_label)
}

/// Returns true for a text that passes `is_text`, a short list of such texts, a number, or an empty value.
fn are_labels(value: Value<'_>, is_text: fn(&str) -> bool) -> bool {
    match value {
        Value::Str(text) => is_text(text),
        Value::List(_) => {
            value.items().take(MAX_KNOWN_LABELS + 1).count() <= MAX_KNOWN_LABELS
                && value.items().all(|item| !matches!(item, Value::List(_)) && are_labels(item, is_text))
        }
        Value::Bytes(_) | Value::Map(_) => is_empty_value(value),
        Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Empty => true,
    }
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
    let length = numbers.len().max(bound.len());
    let pad = |list: &[u64]| -> Vec<u64> { list.iter().copied().chain(std::iter::repeat(0)).take(length).collect() };
    let order = pad(&numbers).cmp(&pad(&bound));
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

/// Returns true for keys that hold names of agents, tools and models, paths, ids or versions: their values are not
/// quotations of content.
pub(super) fn is_name_key(key: &str) -> bool {
    const NAME_KEY_SUFFIXES: [&str; 10] =
        ["name", "model", "path", "file", "filepath", "version", "original", "id", "environment", "tool"];
    key.rsplit(['.', '_']).next().is_some_and(|last| NAME_KEY_SUFFIXES.contains(&last))
}
