//! [`Kind`] is the type that the semantic conventions give an attribute, and converts values of another type to it:
//! clients write lists as JSON text and numbers as text, while dashboards group and sum by type.
//!
//! An unreadable value stays unchanged. A text is converted to labels only if every element is a label, so that content
//! is still judged as content. `processors/normalize` writes the converted values.

use serde::Deserialize;
use serde_json::Value as Json;

use otlp::{OwnedValue, Value};

use super::inside;
use super::shape;

/// Maximum size of a text read as a list, bytes.
const BYTES: usize = 4096;
/// Maximum size of a text read as a number, bytes.
const NUMBER: usize = 40;

/// The conventional type of a value.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Int,
    Double,
    Bool,
    Text,
    Texts,
}

impl Kind {
    /// Converts a value to this type. `None` if it already has the type or cannot be converted.
    pub(super) fn mended(self, value: Value<'_>) -> Option<OwnedValue> {
        match (self, value) {
            (Self::Int, Value::Double(_) | Value::Str(_)) => whole(value).map(OwnedValue::Int),
            (Self::Double, Value::Int(number)) => Some(OwnedValue::Double(number as f64)),
            (Self::Double, Value::Str(text)) => decimal(text).map(OwnedValue::Double),
            (Self::Bool, Value::Str("true" | "True")) => Some(OwnedValue::Bool(true)),
            (Self::Bool, Value::Str("false" | "False")) => Some(OwnedValue::Bool(false)),
            (Self::Text, Value::Int(number)) => Some(OwnedValue::Str(number.to_string())),
            (Self::Text, Value::List(_)) => only(labels_of(value)?),
            (Self::Text, Value::Str(text)) if text.starts_with('[') => only(labels_in(text)?),
            (Self::Texts, Value::Str(text)) => labels_in(text).map(OwnedValue::StrList),
            (Self::Texts, Value::List(_)) if value.items().any(|item| item.as_str().is_none()) => {
                labels_of(value).map(OwnedValue::StrList)
            }
            _ => None,
        }
    }

    /// Converts a value found inside another one. A value that already has this type is returned too.
    pub(super) fn of_json(self, json: &Json) -> Option<OwnedValue> {
        let value = match json {
            Json::Number(number) => {
                let whole = number.as_i64().map(Value::Int);
                whole.or_else(|| number.as_f64().map(Value::Double))?
            }
            Json::String(text) => Value::Str(text),
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Null | Json::Array(_) | Json::Object(_) => return None,
        };
        self.mended(value).or_else(|| self.fits(value))
    }

    /// Returns the scalar if it already has this type.
    fn fits(self, value: Value<'_>) -> Option<OwnedValue> {
        match (self, value) {
            (Self::Int, Value::Int(number)) => Some(OwnedValue::Int(number)),
            (Self::Double, Value::Double(number)) => Some(OwnedValue::Double(number)),
            (Self::Bool, Value::Bool(truth)) => Some(OwnedValue::Bool(truth)),
            (Self::Text, Value::Str(text)) if shape::is_known_label(text) => Some(OwnedValue::Str(text.to_owned())),
            _ => None,
        }
    }
}

/// Reads `100`, `100.0` (text) and 100.0 (number).
fn whole(value: Value<'_>) -> Option<i64> {
    let Value::Str(text) = value else { return value.as_count() };
    Value::Str(text.trim()).as_count().or_else(|| Value::Double(decimal(text)?).as_count())
}

fn decimal(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.len() <= NUMBER && text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    text.parse().ok().filter(|number: &f64| digits && number.is_finite())
}

/// Reads `["stop"]`, `['stop']` in Python's notation, or a single label.
fn labels_in(text: &str) -> Option<Vec<String>> {
    if !text.starts_with(['[', '(']) {
        return (!shape::is_void(Value::Str(text)) && shape::is_label(text)).then(|| vec![text.to_owned()]);
    }
    let Json::Array(list) = inside::parse(Value::Str(text)).filter(|_| text.len() <= BYTES)? else { return None };
    labels(list.iter().filter(|item| !item.is_null()).map(inside::text))
}

fn labels_of(list: Value<'_>) -> Option<Vec<String>> {
    let text = |item: Value<'_>| match item {
        Value::Str(text) => Some(text.to_owned()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    };
    labels(list.items().filter(|item| !matches!(item, Value::Empty)).map(text))
}

/// Returns all texts if each of them is a label.
fn labels(texts: impl Iterator<Item = Option<String>>) -> Option<Vec<String>> {
    texts.map(|text| text.filter(|text| shape::is_label(text))).collect()
}

fn only(labels: Vec<String>) -> Option<OwnedValue> {
    let mut labels = labels.into_iter();
    labels.next().filter(|_| labels.next().is_none()).map(OwnedValue::Str)
}
