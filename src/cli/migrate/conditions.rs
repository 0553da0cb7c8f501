//! Translates the simple conditions of a Collector's `filter` (OTTL) to rules of tollgate's: names and attributes that
//! equal a text or match a plain pattern, joined by `and`. Anything else is refused, because a rule that drops other
//! items would lose data.

use config::tree::{NodeValue, TreeNode};
use otlp::Signal;
use serde_json::{Map, Value, json};

/// The Collector's lists of conditions, with the signal of each; `None` for items that tollgate can't drop alone.
const LISTS: [(&str, Option<Signal>); 8] = [
    ("traces.span", Some(Signal::Traces)),
    ("traces.spanevent", None),
    ("logs.log_record", Some(Signal::Logs)),
    ("metrics.metric", Some(Signal::Metrics)),
    ("metrics.datapoint", Some(Signal::Metrics)),
    ("trace_conditions", Some(Signal::Traces)),
    ("log_conditions", Some(Signal::Logs)),
    ("metric_conditions", Some(Signal::Metrics)),
];

/// The key and text of a condition that is not simple.
type RefusedCondition = (&'static str, String);

/// Takes the conditions out of the body of the `filter` called `id`, and returns them as rules for `drop`.
pub(super) fn convert(id: &str, body: &mut TreeNode) -> (Vec<Value>, Vec<RefusedCondition>) {
    let (mut rules, mut refused) = (Vec::new(), Vec::new());
    let prefix: String = id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(50).collect();
    for (key, signal) in LISTS {
        let Some((_, list)) = body.remove(key) else { continue };
        let NodeValue::Seq(items) = list.value else {
            refused.push((key, "not a list".to_owned()));
            continue;
        };
        for item in items {
            let text = item.reference.or(match item.value {
                NodeValue::Str(text) => Some(text),
                _ => None,
            });
            let text = text.unwrap_or_else(|| "not a text".to_owned());
            match signal.and_then(|signal| Some((signal, parse_condition(&text)?))) {
                Some((signal, rule)) => {
                    let name = format!("{prefix}-{}", rules.len() + 1);
                    let head = json!({ "name": name, "signals": [signal.as_str()] });
                    // The Collector makes no exception for errors.
                    let tail = json!({ "include_errors": true });
                    let parts = [head, Value::Object(rule), tail];
                    rules.push(
                        parts
                            .iter()
                            .filter_map(Value::as_object)
                            .flatten()
                            .map(|(key, value)| (key.clone(), value.clone()))
                            .collect(),
                    );
                }
                None => refused.push((key, text)),
            }
        }
    }
    (rules, refused)
}

/// What a condition compares: a key of a rule (`names`, `attributes`, `resource`), and the key of an attribute.
type Field = (&'static str, Option<String>);

/// The conditions of a rule; `None` if the condition is not simple.
fn parse_condition(text: &str) -> Option<Map<String, Value>> {
    let mut rule = Map::new();
    let mut rest = text.trim();
    loop {
        let ((field, key), pattern, tail) = parse_comparison(rest)?;
        let is_new = match key {
            None => rule.insert(field.to_owned(), json!([pattern])).is_none(),
            Some(key) => {
                let attributes = rule.entry(field).or_insert_with(|| json!({}));
                attributes.as_object_mut()?.insert(key, json!(pattern)).is_none()
            }
        };
        rest = tail.trim_start();
        // A rule can't ask for two conditions on the same field.
        if !is_new || rest.is_empty() {
            return is_new.then_some(rule);
        }
        rest = rest.strip_prefix("and ")?.trim_start();
    }
}

/// Parses `FIELD == "TEXT"` or `IsMatch(FIELD, "PATTERN")` at the beginning of `text`, and returns the rest.
fn parse_comparison(text: &str) -> Option<(Field, String, &str)> {
    if let Some(arguments) = text.strip_prefix("IsMatch(") {
        let (field, rest) = parse_field(arguments.trim_start())?;
        let (regex, rest) = parse_text(rest.trim_start().strip_prefix(',')?)?;
        return Some((field, convert_regex(&regex)?, rest.trim_start().strip_prefix(')')?));
    }
    let (field, rest) = parse_field(text)?;
    let (value, rest) = parse_text(rest.trim_start().strip_prefix("==")?)?;
    // tollgate compares a number with its text, the Collector does not.
    let is_retyped = value.parse::<f64>().is_ok() || value.parse::<bool>().is_ok();
    (!value.contains('*') && !is_retyped).then_some((field, value, rest))
}

fn parse_field(text: &str) -> Option<(Field, &str)> {
    if let Some(rest) = text.strip_prefix("resource.attributes[") {
        return parse_key(rest).map(|(key, rest)| (("resource", Some(key)), rest));
    }
    let own = ["span.", "log.", "metric.", "datapoint."].iter().find_map(|context| text.strip_prefix(context));
    let text = own.unwrap_or(text);
    match text.strip_prefix("attributes[") {
        Some(rest) => parse_key(rest).map(|(key, rest)| (("attributes", Some(key)), rest)),
        None => Some((("names", None), text.strip_prefix("name")?)),
    }
}

fn parse_key(text: &str) -> Option<(String, &str)> {
    let (key, rest) = parse_text(text)?;
    Some((key, rest.trim_start().strip_prefix(']')?))
}

/// Parses a text in double quotes.
fn parse_text(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let value = values.next()?.ok()?;
    Some((value, text.get(values.byte_offset()..)?))
}

/// A regular expression as a pattern with `*`; `None` if it uses anything but anchors, `.*` and escaped punctuation.
fn convert_regex(regex: &str) -> Option<String> {
    let (start, rest) = regex.strip_prefix('^').map_or(("*", regex), |rest| ("", rest));
    let mut pattern = start.to_owned();
    let mut characters = rest.chars().peekable();
    let mut is_open = true;
    while let Some(c) = characters.next() {
        match c {
            '$' if characters.peek().is_none() => is_open = false,
            '.' if characters.next_if_eq(&'*').is_some() => pattern.push('*'),
            '\\' => pattern.push(characters.next().filter(|c| c.is_ascii_punctuation() && *c != '*')?),
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' => return None,
            c => pattern.push(c),
        }
    }
    if is_open && !pattern.ends_with('*') {
        pattern.push('*');
    }
    Some(pattern)
}
