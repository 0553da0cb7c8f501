//! [`AttributeType`] is the type that the semantic conventions give an attribute, and converts values of another type
//! to it: clients write lists as JSON text and numbers as text, while dashboards group and sum by type.
//!
//! An unreadable value stays unchanged. A text is converted to labels only if every element is a label, so that content
//! is still judged as content. `processors/normalize` writes the converted values.

use serde::Deserialize;
use serde_json::Value as Json;

use otlp::{OwnedValue, Value};

use super::label_shape;
use super::value_paths;

/// Maximum size of a text read as a list, bytes.
const MAX_LIST_BYTES: usize = 4096;
/// Maximum size of a text read as a number, bytes.
const MAX_NUMBER_BYTES: usize = 40;

/// The conventional type of a value; [`AttributeType::Texts`] is a list of texts.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub(super) enum AttributeType {
    Int,
    Double,
    Bool,
    Text,
    Texts,
}

impl AttributeType {
    /// Converts a value to this type. `None` if it already has the type or cannot be converted.
    pub(super) fn convert(self, value: Value<'_>) -> Option<OwnedValue> {
        match (self, value) {
            (Self::Int, Value::Double(_) | Value::Str(_)) => read_whole_number(value).map(OwnedValue::Int),
            (Self::Double, Value::Int(number)) => Some(OwnedValue::Double(number as f64)),
            (Self::Double, Value::Str(text)) => read_decimal(text).map(OwnedValue::Double),
            (Self::Bool, Value::Str("true" | "True")) => Some(OwnedValue::Bool(true)),
            (Self::Bool, Value::Str("false" | "False")) => Some(OwnedValue::Bool(false)),
            (Self::Text, Value::Int(number)) => Some(OwnedValue::Str(number.to_string())),
            (Self::Text, Value::List(_)) => single_label(labels_in_list(value)?),
            (Self::Text, Value::Str(text)) if text.starts_with('[') => single_label(parse_labels(text)?),
            (Self::Texts, Value::Str(text)) => parse_labels(text).map(OwnedValue::StrList),
            (Self::Texts, Value::List(_)) if value.items().any(|item| item.as_str().is_none()) => {
                labels_in_list(value).map(OwnedValue::StrList)
            }
            _ => None,
        }
    }

    /// Converts a value found inside another one. A value that already has this type is returned too.
    pub(super) fn convert_json(self, json: &Json) -> Option<OwnedValue> {
        let value = match json {
            Json::Number(number) => {
                let whole = number.as_i64().map(Value::Int);
                whole.or_else(|| number.as_f64().map(Value::Double))?
            }
            Json::String(text) => Value::Str(text),
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Null | Json::Array(_) | Json::Object(_) => return None,
        };
        self.convert(value).or_else(|| match (self, value) {
            (Self::Int, Value::Int(number)) => Some(OwnedValue::Int(number)),
            (Self::Double, Value::Double(number)) => Some(OwnedValue::Double(number)),
            (Self::Bool, Value::Bool(truth)) => Some(OwnedValue::Bool(truth)),
            (Self::Text, Value::Str(text)) if label_shape::is_known_label(text) => {
                Some(OwnedValue::Str(text.to_owned()))
            }
            _ => None,
        })
    }
}

/// Reads `100`, `100.0` (text) and 100.0 (number).
fn read_whole_number(value: Value<'_>) -> Option<i64> {
    let Value::Str(text) = value else { return value.as_count() };
    Value::Str(text.trim()).as_count().or_else(|| Value::Double(read_decimal(text)?).as_count())
}

fn read_decimal(text: &str) -> Option<f64> {
    let text = text.trim();
    let is_number = text.len() <= MAX_NUMBER_BYTES
        && text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    text.parse().ok().filter(|number: &f64| is_number && number.is_finite())
}

/// Reads `["stop"]`, `['stop']` in Python's notation, or a single label.
fn parse_labels(text: &str) -> Option<Vec<String>> {
    if !text.starts_with(['[', '(']) {
        return (!label_shape::is_empty_value(Value::Str(text)) && label_shape::is_label(text))
            .then(|| vec![text.to_owned()]);
    }
    let Json::Array(list) = value_paths::parse(Value::Str(text)).filter(|_| text.len() <= MAX_LIST_BYTES)? else {
        return None;
    };
    all_labels(list.iter().filter(|item| !item.is_null()).map(value_paths::scalar_text))
}

fn labels_in_list(list: Value<'_>) -> Option<Vec<String>> {
    let text = |item: Value<'_>| match item {
        Value::Str(text) => Some(text.to_owned()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    };
    all_labels(list.items().filter(|item| !matches!(item, Value::Empty)).map(text))
}

/// Returns all texts if each of them is a label.
fn all_labels(texts: impl Iterator<Item = Option<String>>) -> Option<Vec<String>> {
    texts.map(|text| text.filter(|text| label_shape::is_label(text))).collect()
}

fn single_label(labels: Vec<String>) -> Option<OwnedValue> {
    let mut labels = labels.into_iter();
    labels.next().filter(|_| labels.next().is_none()).map(OwnedValue::Str)
}
