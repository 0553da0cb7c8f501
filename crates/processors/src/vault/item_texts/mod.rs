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

use genai::{
    ContentBasis, ContentLocation, ContentPlace, Facts, ItemFacts, Vocabulary, is_identifier, is_number, is_plain_name,
};
use kernel::CONTENT;
use otlp::{NodeId, NodeKind, OwnedValue, Payload, TextField, Value};

use super::content::{guessed_place, name_field, value_at};
use super::labels::{BODY_KEY, LabelCheck};
use super::session_items::item_nodes;

#[cfg(test)]
mod tests;

/// How much of the texts on agents' items is forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrivacyProfile {
    /// Error texts stay, redacted and cut; names stay unless they are sentences.
    #[default]
    Standard,
    /// Error texts, names, status messages and log bodies are forwarded only as templates that enough sessions have
    /// sent.
    Strict,
}

impl PrivacyProfile {
    /// The name used in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Strict => "strict",
        }
    }
}

/// Maximum size of an error's type.
const MAX_ERROR_TYPE_WORDS: usize = 8;
const MAX_NAME_BYTES: usize = 128;
/// Maximum size of a template that can be proven, bytes.
const MAX_TEMPLATE_BYTES: usize = 256;
/// Maximum size of a text to make a template from, bytes; the rest of a longer text is cut off.
const MAX_MESSAGE_BYTES: usize = 1024;

pub(super) struct TextReplacement {
    place: ContentPlace,
    replacement: OwnedValue,
}

impl TextReplacement {
    pub(super) fn location(&self) -> (NodeId, ContentLocation) {
        (self.place.node, self.place.at)
    }
}

/// Writes the replacements. Must run after the content was sealed.
pub(super) fn write_replacements(payload: &mut Payload, replacements: Vec<TextReplacement>) {
    for TextReplacement { place, replacement } in replacements {
        match (place.at, replacement) {
            (ContentLocation::Attribute(id), value) => payload.replace_attribute(id, value),
            (ContentLocation::Body, value) => payload.set_body(place.node, value),
            (ContentLocation::Status, OwnedValue::Str(text)) => {
                payload.set_text(place.node, TextField::StatusMessage, &text)
            }
            (ContentLocation::Name, OwnedValue::Str(text)) => {
                payload.set_text(place.node, name_field(payload, place.node), &text);
            }
            // A field holds text only, and embedded content is removed by edits of its own.
            (ContentLocation::Status | ContentLocation::Name | ContentLocation::Embedded(_), _) => {}
        }
    }
}

/// Judges the texts of agents' items. Returns the replacements, each with the index of its item.
pub(super) fn judge_texts(
    privacy: PrivacyProfile,
    vocabulary: &Vocabulary,
    label_check: &mut LabelCheck<'_>,
    payload: &Payload,
    facts: &Facts,
) -> Vec<(usize, TextReplacement)> {
    let mut judge = TextJudge {
        privacy,
        vocabulary,
        label_check,
        payload,
        shared: HashSet::new(),
        content: HashSet::new(),
        replacements: Vec::new(),
    };
    for (index, item) in facts.items.iter().enumerate().filter(|(_, item)| item.is_judged_as_agent()) {
        judge.judge_item(index, item);
    }
    judge.replacements
}

struct TextJudge<'j, 'a> {
    privacy: PrivacyProfile,
    vocabulary: &'j Vocabulary,
    label_check: &'j mut LabelCheck<'a>,
    payload: &'j Payload,
    /// Resources and scopes already visited with an earlier item.
    shared: HashSet<NodeId>,
    /// Content of the current item that is not replaced. Filled only by `strict`.
    content: HashSet<(NodeId, ContentLocation)>,
    replacements: Vec<(usize, TextReplacement)>,
}

impl TextJudge<'_, '_> {
    fn judge_item(&mut self, index: usize, item: &ItemFacts) {
        let payload = self.payload;
        if self.privacy == PrivacyProfile::Strict {
            // An unlisted body may still be forwarded as a template.
            let places = item
                .content
                .iter()
                .filter(|place| place.at != ContentLocation::Body || place.basis == ContentBasis::Listed);
            self.content = places.map(|place| (place.node, place.at)).collect();
        }
        let is_renamed = item.embedded.as_deref().is_some_and(|embedded| embedded.name.is_some());
        if !is_renamed {
            self.judge_name(index, item, item.node);
        }
        for event in payload.children(item.node).filter(|node| payload.kind(*node) == NodeKind::Event) {
            self.judge_name(index, item, event);
        }
        if self.privacy == PrivacyProfile::Standard {
            return;
        }
        let scope = payload.scope(item.node);
        let is_known =
            self.shared.contains(&scope) || self.vocabulary.is_known_scope(payload.text(scope, TextField::Name));
        if !is_known {
            self.judge_text_as_is(index, item, guessed_place(scope, ContentLocation::Name), "scope.name");
        }
        self.judge_text(index, item, guessed_place(item.node, ContentLocation::Status), "status.message");
        for error in &item.errors {
            let ContentLocation::Attribute(id) = error.at else { continue };
            let Some(attribute) = payload.attribute(id) else { continue };
            // An error type is an identifier in code and says what failed.
            let is_type = attribute.key.ends_with("type") && attribute.value.as_str().is_some_and(is_error_type);
            if !is_type {
                self.judge_text(index, item, guessed_place(error.node, error.at), attribute.key);
            }
        }
        if payload.kind(item.node) == NodeKind::LogRecord {
            self.judge_text(index, item, guessed_place(item.node, ContentLocation::Body), BODY_KEY);
        }
        for node in item_nodes(payload, item.node, &mut self.shared) {
            self.coarsen_numbers(index, item, node);
        }
    }

    /// Coarsens numbers under unknown keys, which may be an age or a balance, to their order of magnitude. Dates and
    /// other texts made of numbers have to repeat.
    fn coarsen_numbers(&mut self, index: usize, item: &ItemFacts, node: NodeId) {
        for attribute in self.payload.attributes(node) {
            let Some(coarse) = coarsen_value(attribute.value) else { continue };
            let is_own = attribute.key.starts_with("tollgate.");
            if is_own || !self.vocabulary.is_unknown(attribute.key) {
                continue;
            }
            let place = guessed_place(node, ContentLocation::Attribute(attribute.id));
            match coarse {
                CoarseValue::Bucket(bucket) => self.add_replacement(index, place, bucket),
                CoarseValue::Repeating => self.judge_text(index, item, place, attribute.key),
            }
        }
    }

    fn add_replacement(&mut self, index: usize, place: ContentPlace, replacement: OwnedValue) {
        if !self.content.contains(&(place.node, place.at)) {
            self.replacements.push((index, TextReplacement { place, replacement }));
        }
    }

    fn judge_name(&mut self, index: usize, item: &ItemFacts, node: NodeId) {
        let text = self.payload.text(node, name_field(self.payload, node));
        let stays = match self.privacy {
            PrivacyProfile::Standard => is_plain_name(text),
            PrivacyProfile::Strict => has_known_words(text, item),
        };
        if !stays {
            self.judge_text(index, item, guessed_place(node, ContentLocation::Name), "name");
        }
    }

    /// Judges a text without making a template, which would say nothing.
    fn judge_text_as_is(&mut self, index: usize, item: &ItemFacts, place: ContentPlace, key: &str) {
        let text = value_at(self.payload, &place).and_then(|value| value.as_str()).unwrap_or_default();
        let is_forwarded = text.is_empty()
            || text == CONTENT
            || (text.len() <= MAX_TEMPLATE_BYTES && self.label_check.is_proven(key, text, item));
        if !is_forwarded {
            self.add_replacement(index, place, OwnedValue::Str(CONTENT.to_owned()));
        }
    }

    fn judge_text(&mut self, index: usize, item: &ItemFacts, place: ContentPlace, key: &str) {
        let replacement = match value_at(self.payload, &place) {
            None | Some(Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_)) => return,
            Some(Value::Str(text)) if text.is_empty() || has_known_words(text, item) => return,
            Some(Value::Str(text)) => {
                let template = match self.privacy {
                    PrivacyProfile::Standard => text.to_owned(),
                    PrivacyProfile::Strict => make_template(text),
                };
                let is_proven =
                    template.len() <= MAX_TEMPLATE_BYTES && self.label_check.is_proven(key, &template, item);
                match is_proven {
                    true if template == text && place.at != ContentLocation::Body => return,
                    true => template,
                    false => {
                        leading_operation(text, item).map_or(CONTENT.to_owned(), |word| format!("{word} {CONTENT}"))
                    }
                }
            }
            Some(Value::Bytes(_) | Value::List(_) | Value::Map(_)) => CONTENT.to_owned(),
        };
        self.add_replacement(index, place, OwnedValue::Str(replacement));
    }
}

/// Adds the replaced places to the content of their items.
pub(super) fn add_to_content(facts: &mut Facts, replacements: &[(usize, TextReplacement)]) {
    // The replacements are in item order.
    for item_replacements in replacements.chunk_by(|(first, _), (second, _)| first == second) {
        let Some(item) = item_replacements.first().and_then(|(index, _)| facts.items.get_mut(*index)) else { continue };
        let known: HashSet<(NodeId, ContentLocation)> =
            item.content.iter().map(|place| (place.node, place.at)).collect();
        let added = item_replacements.iter().filter(|(_, replacement)| !known.contains(&replacement.location()));
        item.content.extend(added.map(|(_, replacement)| replacement.place));
    }
}

/// The first word of a name, if it is the item's operation.
fn leading_operation<'t>(text: &'t str, item: &ItemFacts) -> Option<&'t str> {
    let first = text.split_whitespace().next()?;
    item.operation.as_deref().filter(|operation| first.trim_end_matches(':') == *operation).map(|_| first)
}

/// Returns true for an identifier: `ValueError`, `openai.RateLimitError`, `429`.
fn is_error_type(text: &str) -> bool {
    let is_mark = |c: char| "._:/$<>-#`".contains(c);
    text.chars().all(|c| c.is_ascii_alphanumeric() || is_mark(c))
        && is_identifier(text, MAX_ERROR_TYPE_WORDS, MAX_NAME_BYTES)
}

/// Returns true if a text consists of words that the item's own facts hold (`execute_tool lookup`, `chat gpt-4o`), or
/// was already replaced.
fn has_known_words(text: &str, item: &ItemFacts) -> bool {
    let facts = [&item.operation, &item.request_model, &item.response_model, &item.tool, &item.provider];
    let is_known = |word: &str| facts.into_iter().any(|fact| fact.as_deref() == Some(word)) || word == CONTENT;
    !text.is_empty() && text.split_whitespace().all(is_known)
}

/// The coarse form of a number.
enum CoarseValue {
    /// The number to forward instead.
    Bucket(OwnedValue),
    /// A date, a version, a quantity or a list of numbers: these have no bucket and must repeat.
    Repeating,
}

/// The coarse form of a value. `None`: the value is forwarded unchanged.
fn coarsen_value(value: Value<'_>) -> Option<CoarseValue> {
    let bucket = match value {
        Value::Int(number) => OwnedValue::Int(Some(bucket(number)).filter(|coarse| *coarse != number)?),
        Value::Double(number) => OwnedValue::Double(Some(bucket_of_double(number)).filter(|coarse| *coarse != number)?),
        Value::Str(text) if is_number(text) => match bucket_of_text(text) {
            Some(coarse) => OwnedValue::Str(Some(coarse).filter(|coarse| coarse != text)?),
            None => return Some(CoarseValue::Repeating),
        },
        // A list of numbers has no bucket.
        Value::List(_) => {
            let is_coarsened = value.items().any(|item| coarsen_value(item).is_some());
            return is_coarsened.then_some(CoarseValue::Repeating);
        }
        _ => return None,
    };
    Some(CoarseValue::Bucket(bucket))
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
fn make_template(text: &str) -> String {
    let message = text.get(..text.floor_char_boundary(MAX_MESSAGE_BYTES)).unwrap_or_default();
    let mut template = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(c) = rest.chars().next() {
        let quotation_end =
            matches!(c, '"' | '\'' | '`').then(|| rest.get(1..).and_then(|quoted| quoted.find(c))).flatten();
        if let Some(end) = quotation_end {
            let _ = write!(template, "{c}…{c}"); // Writing to a String cannot fail.
            rest = rest.get(end + 2..).unwrap_or_default();
            continue;
        }
        let token_len = rest
            .find(|c: char| c.is_whitespace() || "\"'`()[]{}<>,;=".contains(c))
            .unwrap_or(rest.len())
            .max(c.len_utf8());
        let (token, remainder) = rest.split_at(token_len);
        let is_id = token.bytes().any(|byte| byte.is_ascii_digit() || byte == b'@') || token.len() > 32;
        template.push_str(if is_id { "#" } else { token });
        rest = remainder;
    }
    if message.len() < text.len() {
        template.push('…');
    }
    template
}
