//! **What**: [`Kind`]: the type that the conventions give an attribute, and a value of another type made into it.
//! **Why**: clients write lists as JSON text and numbers as text; a board groups and sums by type.
//! **Invariants**: what can't be read stays as it is; a text is taken for labels only if each of them is one, so that
//! content is judged as content. **Not here**: who writes it (`processors/normalize`).

use serde::Deserialize;
use serde_json::Value as Json;

use otlp::{OwnedValue, Value};

use super::inside;
use super::shape;

/// Longest text that is read as a list, bytes.
const BYTES: usize = 4096;
/// Longest text that is read as a number, bytes.
const NUMBER: usize = 40;

/// What the conventions say that a value is.
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
    /// The value as this kind; none: it is of this kind already, or nothing that can be made into it.
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

    /// The same of what stood inside another value.
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

    /// A scalar that is of this kind.
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

/// `100`, `100.0`, 100.0.
fn whole(value: Value<'_>) -> Option<i64> {
    let Value::Str(text) = value else { return value.as_count() };
    Value::Str(text.trim()).as_count().or_else(|| Value::Double(decimal(text)?).as_count())
}

fn decimal(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.len() <= NUMBER && text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    text.parse().ok().filter(|number: &f64| digits && number.is_finite())
}

/// `["stop"]`, `['stop']` in Python's notation, or one label.
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

/// All of them, if each is a label.
fn labels(texts: impl Iterator<Item = Option<String>>) -> Option<Vec<String>> {
    texts.map(|text| text.filter(|text| shape::is_label(text))).collect()
}

fn only(labels: Vec<String>) -> Option<OwnedValue> {
    let mut labels = labels.into_iter();
    labels.next().filter(|_| labels.next().is_none()).map(OwnedValue::Str)
}
