//! **What**: what counts as a label, and version comparison. **Why**: in an agent's items, text that nobody listed is
//! content unless it has the shape of a label (`docs/decisions/0001-agent-items-and-content.md`). **Not here**: numbers
//! and generated ids (`opaque`).

use otlp::Value;

/// Longest text that can be a label, bytes.
pub(super) const LABEL_BYTES: usize = 128;
/// Longest text of a key that is known to hold a label (names may have blanks), bytes.
const KNOWN_LABEL_BYTES: usize = 256;
/// Most elements of a list under a key that is known to hold labels.
const KNOWN_LABELS: usize = 64;
/// Most letters of a label in a script without blanks: more are a sentence.
const UNSPACED_LETTERS: usize = 4;
/// Most letters of a label that are not Latin.
const FOREIGN_LETTERS: usize = 16;
/// So many words joined by `+` or `%20` are a sentence.
const JOINED_WORDS: usize = 3;
/// Longest attribute key that is a name, bytes; and so many words in one are prose.
const KEY: (usize, usize) = (256, 4);

/// Whether an attribute key holds text in place of a name: never a name, and on an agent's item never one.
pub(super) fn prose_key(key: &str) -> (bool, bool) {
    let long = key.len() > KEY.0;
    (long, long || key.split_whitespace().nth(KEY.1 - 1).is_some() || (!key.is_ascii() && is_prose(key)))
}

/// What clients put where content was switched off.
const PLACEHOLDERS: [&str; 5] = ["<REDACTED>", "[REDACTED]", "[redacted]", "__REDACTED__", kernel::CONTENT];

/// Whether a client, or a gateway before this one, already left the content out.
pub(super) fn is_placeholder(text: &str) -> bool {
    PLACEHOLDERS.contains(&text)
}

/// No longer than 128 bytes, no white space, no JSON, few words, no prose in a script that has no blanks or with marks
/// for them.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= LABEL_BYTES
        && (is_placeholder(text)
            || (!text.bytes().any(|byte| byte.is_ascii_whitespace())
                && !looks_json(text)
                && !is_prose(text)
                && has_few_words(text, MARKED_WORDS.1)))
}

/// Prose without a blank of ASCII: other blanks, other scripts, words joined as forms join them.
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
        // Latin ends with its extensions; what is no letter says nothing
        foreign += usize::from(c.is_alphabetic() && !matches!(c, '\u{80}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}'));
    }
    unspaced > UNSPACED_LETTERS || foreign > FOREIGN_LETTERS || is_joined(text)
}

/// Letters of scripts that put no blanks between words, and their punctuation: Thai, Lao, Tibetan, Burmese, Khmer,
/// Chinese, Japanese.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{fff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{19e0}'..='\u{19ff}'
        | '\u{3000}'..='\u{30ff}' | '\u{3105}'..='\u{312f}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{9fff}'
        | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aa7f}' | '\u{f900}'..='\u{faff}' | '\u{ff01}'..='\u{ff9f}'
        | '\u{20000}'..='\u{3ffff}')
}

/// Whether words are joined with `+` or `%20`, or letters of other scripts are percent-encoded.
fn is_joined(text: &str) -> bool {
    if memchr::memchr2(b'+', b'%', text.as_bytes()).is_none() {
        return false;
    }
    let foreign = |escape: &str| matches!(escape.bytes().next(), Some(b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F'));
    if text.split('%').skip(1).filter(|escape| foreign(escape)).count() > 3 * UNSPACED_LETTERS {
        return true;
    }
    let word = |word: &&str| {
        let word = word.trim_matches(|c: char| !c.is_alphabetic());
        !word.is_empty() && word.chars().all(|c| c.is_alphabetic() || matches!(c, '\'' | '-' | '='))
    };
    let joined = text.split("%20").flat_map(|piece| piece.split('+'));
    joined.filter(word).count() >= JOINED_WORDS
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

/// Most words and bytes of a name that needs no proof.
const NAME: (usize, usize) = (3, 64);
/// Most names with blanks in a list.
const SPACED_NAMES: usize = 8;
/// Most words that marks hold together: in a name (`mcp__ticket_server__list_open_tickets`), and in a label, which
/// may be a host (`internal-agents-prod-alb-123.us-east-1.elb.amazonaws.com`).
const MARKED_WORDS: (usize, usize) = (10, 12);

/// Whether a text is a label, or a name of a few words.
fn is_name(text: &str) -> bool {
    let few = text.len() <= NAME.1 && is_short_name(text, NAME.0);
    (is_label(text) && is_short_name(text, 1)) || (is_known_label(text) && (few || is_label_list(text)))
}

/// Whether a name has at most so many words with blanks between them, and few that other marks join; in scripts that
/// put no blanks, a few letters.
pub fn is_short_name(text: &str, words: usize) -> bool {
    text.split_whitespace().nth(words).is_none()
        && has_few_words(text, MARKED_WORDS.0)
        && !text.split_whitespace().any(is_prose)
}

/// Whether marks join no more words than that; the parts of a path are looked at one by one.
fn has_few_words(text: &str, most: usize) -> bool {
    // parts of a UUID are none
    let word = |word: &&str| word.chars().nth(1).is_some() && word.chars().all(char::is_alphabetic);
    let is_mark = |c: char| c.is_whitespace() || "_-+.,;:|=()".contains(c);
    text.split(['/', '\\']).all(|part| part.len() < most || part.split(is_mark).filter(word).nth(most).is_none())
}

/// What a key that is known to hold names may hold: names, and short lists of them.
pub(super) fn is_name_value(value: Value<'_>) -> bool {
    let spaced = |item: &Value<'_>| item.as_str().is_some_and(|text| text.contains(char::is_whitespace));
    are_labels(value, is_name)
        && !matches!(value, Value::List(_) if value.items().filter(spaced).nth(SPACED_NAMES).is_some())
}

/// The same for a key that is known to hold ids: blanks are fine.
pub(super) fn is_known_label_value(value: Value<'_>) -> bool {
    are_labels(value, is_known_label)
}

/// Whether a value is a text of this kind, a short list of them, a number, or empty.
fn are_labels(value: Value<'_>, is_text: fn(&str) -> bool) -> bool {
    match value {
        Value::Str(text) => is_text(text),
        Value::List(_) => {
            value.items().take(KNOWN_LABELS + 1).count() <= KNOWN_LABELS
                && value.items().all(|item| !matches!(item, Value::List(_)) && are_labels(item, is_text))
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

/// Keys of names of agents, tools and models, of paths, ids and versions: what they hold is no quotation.
pub(super) fn is_name_key(key: &str) -> bool {
    const LAST: [&str; 10] =
        ["name", "model", "path", "file", "filepath", "version", "original", "id", "environment", "tool"];
    key.rsplit(['.', '_']).next().is_some_and(|last| LAST.contains(&last))
}
