//! Judges texts of agents' items other than labels in attributes: names of spans and events, and with `privacy: strict`
//! also error texts, status messages, log bodies and numbers under unlisted keys. A name may be a sentence, and an
//! error may quote a customer.
//!
//! Replaced texts go to the vault in full. A template is forwarded once enough sessions have sent it. Attributes under
//! unlisted keys are handled in `labels`; redaction treats the texts that stay.

use std::collections::HashSet;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use genai::{Basis, ContentAt, ContentPlace, Facts, ItemFacts, Vocabulary, is_number, is_short_name};
use kernel::CONTENT;
use otlp::{Field, Node, NodeKind, OwnedValue, Payload, Value};

use super::content::{guessed, name_field, value_at};
use super::items::nodes;
use super::labels::{Asking, BODY};

#[cfg(test)]
mod tests;

/// How much of the texts on agents' items is forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Privacy {
    /// Error texts stay, redacted and cut; names stay unless they are sentences.
    #[default]
    Standard,
    /// Error texts, names, status messages and log bodies are forwarded only as templates that enough sessions have
    /// sent.
    Strict,
}

impl Privacy {
    /// The name used in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Strict => "strict",
        }
    }
}

/// Maximum number of words and bytes of a name that is accepted without proof.
const NAME: (usize, usize) = (5, 128);
/// Maximum size of a template that can be proven, bytes.
const TEMPLATE: usize = 256;
/// Maximum size of a text to make a template from, bytes; the rest of a longer text is cut off.
const MESSAGE: usize = 1024;

/// A text and its replacement.
pub(super) struct Replaced {
    place: ContentPlace,
    by: OwnedValue,
}

impl Replaced {
    /// The place of the text.
    pub(super) fn spot(&self) -> (Node, ContentAt) {
        (self.place.node, self.place.at)
    }
}

/// Writes the replacements. Must run after the content was sealed.
pub(super) fn replace(payload: &mut Payload, replaced: Vec<Replaced>) {
    for Replaced { place, by } in replaced {
        match (place.at, by) {
            (ContentAt::Attribute(id), by) => payload.replace_attribute(id, by),
            (ContentAt::Body, by) => payload.set_body(place.node, by),
            (ContentAt::Status, OwnedValue::Str(text)) => payload.set_text(place.node, Field::StatusMessage, &text),
            (ContentAt::Name, OwnedValue::Str(text)) => {
                payload.set_text(place.node, name_field(payload, place.node), &text);
            }
            // A field holds text only, and parts of a value are removed by their own edit.
            (ContentAt::Status | ContentAt::Name | ContentAt::Inside(_), _) => {}
        }
    }
}

/// Judges the texts of agents' items. Returns the replacements, each with the index of its item.
pub(super) fn judge(
    privacy: Privacy,
    vocabulary: &Vocabulary,
    asking: &mut Asking<'_>,
    payload: &Payload,
    facts: &Facts,
) -> Vec<(usize, Replaced)> {
    let mut judge = Judge {
        privacy,
        vocabulary,
        asking,
        payload,
        shared: HashSet::new(),
        content: HashSet::new(),
        out: Vec::new(),
    };
    for (at, item) in facts.items.iter().enumerate().filter(|(_, item)| item.is_agents()) {
        judge.item(at, item);
    }
    judge.out
}

struct Judge<'j, 'a> {
    privacy: Privacy,
    vocabulary: &'j Vocabulary,
    asking: &'j mut Asking<'a>,
    payload: &'j Payload,
    /// Resources and scopes already visited with an earlier item.
    shared: HashSet<Node>,
    /// Content of the current item. Only used by `strict`.
    content: HashSet<(Node, ContentAt)>,
    out: Vec<(usize, Replaced)>,
}

impl Judge<'_, '_> {
    fn item(&mut self, at: usize, item: &ItemFacts) {
        let payload = self.payload;
        if self.privacy == Privacy::Strict {
            // An unlisted body may still be forwarded as a template.
            let places =
                item.content.iter().filter(|place| place.at != ContentAt::Body || place.basis == Basis::Listed);
            self.content = places.map(|place| (place.node, place.at)).collect();
        }
        let is_renamed = item.inside.as_deref().is_some_and(|inside| inside.name.is_some());
        if !is_renamed {
            self.name(at, item, item.node);
        }
        for event in payload.children(item.node).filter(|node| payload.kind(*node) == NodeKind::Event) {
            self.name(at, item, event);
        }
        if self.privacy == Privacy::Standard {
            return;
        }
        let scope = payload.scope(item.node);
        let known = self.shared.contains(&scope) || self.vocabulary.is_known_scope(payload.text(scope, Field::Name));
        if !known {
            self.whole(at, item, guessed(scope, ContentAt::Name), "scope.name");
        }
        self.text(at, item, guessed(item.node, ContentAt::Status), "status.message");
        for error in &item.errors {
            let ContentAt::Attribute(id) = error.at else { continue };
            let Some(attribute) = payload.attribute(id) else { continue };
            // An error type is an identifier in code and says what failed.
            let is_type = attribute.key.ends_with("type") && attribute.value.as_str().is_some_and(is_type);
            if !is_type {
                self.text(at, item, guessed(error.node, error.at), attribute.key);
            }
        }
        if payload.kind(item.node) == NodeKind::LogRecord {
            self.text(at, item, guessed(item.node, ContentAt::Body), BODY);
        }
        for node in nodes(payload, item.node, &mut self.shared) {
            self.numbers(at, item, node);
        }
    }

    /// Coarsens numbers under unknown keys, which may be an age or a balance, to their order of magnitude. Dates and
    /// other texts made of numbers have to repeat.
    fn numbers(&mut self, at: usize, item: &ItemFacts, node: Node) {
        for attribute in self.payload.attributes(node) {
            let Some(coarse) = coarse(attribute.value) else { continue };
            let is_own = attribute.key.starts_with("tollgate.");
            if is_own || !self.vocabulary.is_unknown(attribute.key) {
                continue;
            }
            let place = guessed(node, ContentAt::Attribute(attribute.id));
            match coarse {
                Coarse::Bucket(by) => self.put(at, place, by),
                Coarse::Repeating => self.text(at, item, place, attribute.key),
            }
        }
    }

    fn put(&mut self, at: usize, place: ContentPlace, by: OwnedValue) {
        if !self.content.contains(&(place.node, place.at)) {
            self.out.push((at, Replaced { place, by }));
        }
    }

    fn name(&mut self, at: usize, item: &ItemFacts, node: Node) {
        let text = self.payload.text(node, name_field(self.payload, node));
        let stays = match self.privacy {
            Privacy::Standard => text.len() <= NAME.1 && is_short_name(text, NAME.0),
            Privacy::Strict => is_known(text, item),
        };
        if !stays {
            self.text(at, item, guessed(node, ContentAt::Name), "name");
        }
    }

    /// Judges a text as a whole, because a template of it would say nothing.
    fn whole(&mut self, at: usize, item: &ItemFacts, place: ContentPlace, key: &str) {
        let text = value_at(self.payload, &place).and_then(|value| value.as_str()).unwrap_or_default();
        let leaves =
            text.is_empty() || text == CONTENT || (text.len() <= TEMPLATE && self.asking.proves(key, text, item));
        if !leaves {
            self.put(at, place, OwnedValue::Str(CONTENT.to_owned()));
        }
    }

    fn text(&mut self, at: usize, item: &ItemFacts, place: ContentPlace, key: &str) {
        let by = match value_at(self.payload, &place) {
            None | Some(Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_)) => return,
            Some(Value::Str(text)) if text.is_empty() || is_known(text, item) => return,
            Some(Value::Str(text)) => {
                let template = match self.privacy {
                    Privacy::Standard => text.to_owned(),
                    Privacy::Strict => template(text),
                };
                let proven = template.len() <= TEMPLATE && self.asking.proves(key, &template, item);
                match proven {
                    true if template == text && place.at != ContentAt::Body => return,
                    true => template,
                    false => operation(text, item).map_or(CONTENT.to_owned(), |word| format!("{word} {CONTENT}")),
                }
            }
            Some(Value::Bytes(_) | Value::List(_) | Value::Map(_)) => CONTENT.to_owned(),
        };
        self.put(at, place, OwnedValue::Str(by));
    }
}

/// Adds the replaced places to the content of their items.
pub(super) fn add(facts: &mut Facts, replaced: &[(usize, Replaced)]) {
    // The replacements are in item order.
    for of_item in replaced.chunk_by(|(one, _), (other, _)| one == other) {
        let Some(item) = of_item.first().and_then(|(at, _)| facts.items.get_mut(*at)) else { continue };
        let known: HashSet<(Node, ContentAt)> = item.content.iter().map(|place| (place.node, place.at)).collect();
        let new = of_item.iter().filter(|(_, replaced)| !known.contains(&replaced.spot()));
        item.content.extend(new.map(|(_, replaced)| replaced.place));
    }
}

/// The first word of a name, if it is the item's operation.
fn operation<'t>(text: &'t str, item: &ItemFacts) -> Option<&'t str> {
    let first = text.split_whitespace().next()?;
    item.operation.as_deref().filter(|operation| first.trim_end_matches(':') == *operation).map(|_| first)
}

/// Returns true for an identifier: `ValueError`, `openai.RateLimitError`, `429`.
fn is_type(text: &str) -> bool {
    let mark = |c: char| "._:/$<>-#`".contains(c);
    text.len() <= NAME.1 && text.chars().all(|c| c.is_ascii_alphanumeric() || mark(c)) && is_short_name(text, 1)
}

/// Returns true if a text consists of words that the item's own facts hold (`execute_tool lookup`, `chat gpt-4o`), or
/// was already replaced.
fn is_known(text: &str, item: &ItemFacts) -> bool {
    let facts = [&item.operation, &item.request_model, &item.response_model, &item.tool, &item.provider];
    let known = |word: &str| facts.into_iter().any(|fact| fact.as_deref() == Some(word)) || word == CONTENT;
    !text.is_empty() && text.split_whitespace().all(known)
}

/// The coarse form of a number.
enum Coarse {
    Bucket(OwnedValue),
    /// A date, a version, a quantity or a list of numbers: these have no bucket and must repeat.
    Repeating,
}

/// The coarse form of a value. `None`: the value is forwarded unchanged.
fn coarse(value: Value<'_>) -> Option<Coarse> {
    let bucket = match value {
        Value::Int(number) => OwnedValue::Int(Some(bucket(number)).filter(|by| *by != number)?),
        Value::Double(number) => OwnedValue::Double(Some(bucket_of_double(number)).filter(|by| *by != number)?),
        Value::Str(text) if is_number(text) => match bucket_of_text(text) {
            Some(by) => OwnedValue::Str(Some(by).filter(|by| by != text)?),
            None => return Some(Coarse::Repeating),
        },
        // A list of numbers has no bucket.
        Value::List(_) => {
            let coarse = value.items().any(|item| coarse(item).is_some());
            return coarse.then_some(Coarse::Repeating);
        }
        _ => return None,
    };
    Some(Coarse::Bucket(bucket))
}

/// The bucket of a number: 1, 2 or 5 times a power of ten, rounded towards zero.
fn bucket(number: i64) -> i64 {
    let size = number.unsigned_abs();
    let power = 10_u64.pow(size.checked_ilog10().unwrap_or(0));
    let lead = match size / power {
        0 => 0,
        1 => 1,
        2..=4 => 2,
        _ => 5,
    };
    let bucket = i64::try_from(lead * power).unwrap_or(i64::MAX);
    if number < 0 { -bucket } else { bucket }
}

/// The bucket of a number with a fraction.
fn bucket_of_double(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return number;
    }
    let power = 10_f64.powi(number.abs().log10().floor() as i32);
    let lead = match number.abs() / power {
        lead if lead < 2.0 => 1.0,
        lead if lead < 5.0 => 2.0,
        _ => 5.0,
    };
    (lead * power).copysign(number)
}

/// The bucket of a number in text. `None`: the text is not a plain number.
fn bucket_of_text(text: &str) -> Option<String> {
    match text.parse::<i64>() {
        Ok(number) => Some(bucket(number).to_string()),
        Err(_) => text.parse::<f64>().ok().map(|number| bucket_of_double(number).to_string()),
    }
}

/// Makes a template: numbers, ids and quoted parts are blanked.
fn template(text: &str) -> String {
    let cut = text.get(..text.floor_char_boundary(MESSAGE)).unwrap_or_default();
    let mut out = String::with_capacity(cut.len());
    let mut rest = cut;
    while let Some(c) = rest.chars().next() {
        let quoted = matches!(c, '"' | '\'' | '`').then(|| rest.get(1..).and_then(|inner| inner.find(c))).flatten();
        if let Some(end) = quoted {
            let _ = write!(out, "{c}…{c}"); // Writing to a String cannot fail.
            rest = rest.get(end + 2..).unwrap_or_default();
            continue;
        }
        let word = rest
            .find(|c: char| c.is_whitespace() || "\"'`()[]{}<>,;=".contains(c))
            .unwrap_or(rest.len())
            .max(c.len_utf8());
        let (token, behind) = rest.split_at(word);
        let is_id = token.bytes().any(|byte| byte.is_ascii_digit() || byte == b'@') || token.len() > 32;
        out.push_str(if is_id { "#" } else { token });
        rest = behind;
    }
    if cut.len() < text.len() {
        out.push('…');
    }
    out
}
