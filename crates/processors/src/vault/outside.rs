//! **What**: texts of agents' items that stand outside attributes' labels: names of spans and events, and with
//! `privacy: strict` error texts, status messages, log bodies and numbers under unlisted keys. **Why**: a name may be a
//! sentence, an error may quote what a customer said. **Invariants**: what is replaced here goes to the vault whole; a
//! template leaves once enough sessions have sent it. **Not here**: attributes under unlisted keys (`labels`),
//! redaction of what stays.

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

/// How much leaves of what nobody declared harmless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Privacy {
    /// Error texts stay, redacted and cut; names stay unless they are sentences.
    #[default]
    Standard,
    /// Error texts, names, status messages and log bodies leave as templates that enough sessions have sent, else not
    /// at all.
    Strict,
}

impl Privacy {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Strict => "strict",
        }
    }
}

/// Most words and bytes of a name that needs no proof.
const NAME: (usize, usize) = (5, 128);
/// Longest template that can be proven, bytes.
const TEMPLATE: usize = 256;
/// Longest text of which a template is made, bytes: more is no message.
const MESSAGE: usize = 1024;

/// A text that something takes the place of.
pub(super) struct Replaced {
    place: ContentPlace,
    by: OwnedValue,
}

impl Replaced {
    /// Where it stands.
    pub(super) fn spot(&self) -> (Node, ContentAt) {
        (self.place.node, self.place.at)
    }
}

/// Puts templates and marks in place of texts; after the content was sealed.
pub(super) fn replace(payload: &mut Payload, replaced: Vec<Replaced>) {
    for Replaced { place, by } in replaced {
        match (place.at, by) {
            (ContentAt::Attribute(id), by) => payload.replace_attribute(id, by),
            (ContentAt::Body, by) => payload.set_body(place.node, by),
            (ContentAt::Status, OwnedValue::Str(text)) => payload.set_text(place.node, Field::StatusMessage, &text),
            (ContentAt::Name, OwnedValue::Str(text)) => {
                payload.set_text(place.node, name_field(payload, place.node), &text);
            }
            // a field holds text, and parts of a value are taken out by its own edit
            (ContentAt::Status | ContentAt::Name | ContentAt::Inside(_), _) => {}
        }
    }
}

/// Adds the places whose texts are replaced to the content of `facts`, and gives what replaces them.
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
    /// Resources and scopes that an item before had.
    shared: HashSet<Node>,
    /// The present item's content: only `strict` asks for it.
    content: HashSet<(Node, ContentAt)>,
    out: Vec<(usize, Replaced)>,
}

impl Judge<'_, '_> {
    fn item(&mut self, at: usize, item: &ItemFacts) {
        let payload = self.payload;
        if self.privacy == Privacy::Strict {
            // an unlisted body may still leave as a template
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
            // a type is the code's word, which says what failed
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

    /// Numbers under keys that nobody knows may be somebody's age or balance: their order of magnitude stays. Dates and
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

    /// A text of which no template would be left that says anything.
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
    // they come in the order of the items
    for of_item in replaced.chunk_by(|(one, _), (other, _)| one == other) {
        let Some(item) = of_item.first().and_then(|(at, _)| facts.items.get_mut(*at)) else { continue };
        let known: HashSet<(Node, ContentAt)> = item.content.iter().map(|place| (place.node, place.at)).collect();
        let new = of_item.iter().filter(|(_, replaced)| !known.contains(&replaced.spot()));
        item.content.extend(new.map(|(_, replaced)| replaced.place));
    }
}

/// The word with which a name begins, if it is the item's operation.
fn operation<'t>(text: &'t str, item: &ItemFacts) -> Option<&'t str> {
    let first = text.split_whitespace().next()?;
    item.operation.as_deref().filter(|operation| first.trim_end_matches(':') == *operation).map(|_| first)
}

/// `ValueError`, `openai.RateLimitError`, `429`: an identifier.
fn is_type(text: &str) -> bool {
    let mark = |c: char| "._:/$<>-#`".contains(c);
    text.len() <= NAME.1 && text.chars().all(|c| c.is_ascii_alphanumeric() || mark(c)) && is_short_name(text, 1)
}

/// Whether a text is made of words that the item's own facts hold: `execute_tool lookup`, `chat gpt-4o`; or was
/// replaced before.
fn is_known(text: &str, item: &ItemFacts) -> bool {
    let facts = [&item.operation, &item.request_model, &item.response_model, &item.tool, &item.provider];
    let known = |word: &str| facts.into_iter().any(|fact| fact.as_deref() == Some(word)) || word == CONTENT;
    !text.is_empty() && text.split_whitespace().all(known)
}

/// What leaves of a value that is a number.
enum Coarse {
    Bucket(OwnedValue),
    /// A date, a version or a quantity: it has no bucket, and must repeat. A list of numbers goes whole.
    Repeating,
}

/// What leaves of a value; none: all of it.
fn coarse(value: Value<'_>) -> Option<Coarse> {
    let bucket = match value {
        Value::Int(number) => OwnedValue::Int(Some(bucket(number)).filter(|by| *by != number)?),
        Value::Double(number) => OwnedValue::Double(Some(bucket_of_double(number)).filter(|by| *by != number)?),
        Value::Str(text) if is_number(text) => match bucket_of_text(text) {
            Some(by) => OwnedValue::Str(Some(by).filter(|by| by != text)?),
            None => return Some(Coarse::Repeating),
        },
        // several numbers have no bucket
        Value::List(_) => {
            let coarse = value.items().any(|item| coarse(item).is_some());
            return coarse.then_some(Coarse::Repeating);
        }
        _ => return None,
    };
    Some(Coarse::Bucket(bucket))
}

/// A number's bucket: the next of 1, 2 and 5 times a power of ten towards zero.
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

/// The same of a number with a fraction.
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

/// The same of a text; none: it is no plain number.
fn bucket_of_text(text: &str) -> Option<String> {
    match text.parse::<i64>() {
        Ok(number) => Some(bucket(number).to_string()),
        Err(_) => text.parse::<f64>().ok().map(|number| bucket_of_double(number).to_string()),
    }
}

/// A message without what differs from one to the next: numbers, ids and quoted parts.
fn template(text: &str) -> String {
    let cut = text.get(..text.floor_char_boundary(MESSAGE)).unwrap_or_default();
    let mut out = String::with_capacity(cut.len());
    let mut rest = cut;
    while let Some(c) = rest.chars().next() {
        let quoted = matches!(c, '"' | '\'' | '`').then(|| rest.get(1..).and_then(|inner| inner.find(c))).flatten();
        if let Some(end) = quoted {
            let _ = write!(out, "{c}…{c}"); // a String takes everything
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
