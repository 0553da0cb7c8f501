//! Judges texts of closed items other than attributes: names of spans and events, and with `privacy: strict` also
//! error texts, status messages, log bodies and numbers under unlisted keys. A name may be a sentence, and an error may
//! quote a customer.
//!
//! Replaced texts go to the vault in full. `genai` judges the attributes; redaction treats the texts that stay.

use std::collections::HashSet;
use std::fmt::LowerExp;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use genai::{ContentLocation, ContentPlace, Facts, ItemFacts, Vocabulary, is_identifier, is_number, is_plain_name};
use kernel::CONTENT;
use otlp::{NodeId, NodeKind, OwnedValue, Payload, Value};

use super::content::guessed_place;
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
    /// Only names made of words that other attributes of the item hold stay; no error text, status message or log body.
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
            (at, OwnedValue::Str(text)) => {
                let field = at.field(payload, place.node);
                field.into_iter().for_each(|field| payload.set_text(place.node, field, &text));
            }
            // A field holds text only, and embedded content is removed by edits of its own.
            _ => {}
        }
    }
}

/// Judges the texts of closed items. Returns the replacements, each with the index of its item.
pub(super) fn judge_texts(
    privacy: PrivacyProfile,
    vocabulary: &Vocabulary,
    payload: &Payload,
    facts: &Facts,
) -> Vec<(usize, TextReplacement)> {
    let mut judge = TextJudge {
        privacy,
        vocabulary,
        payload,
        shared: HashSet::new(),
        judged_scopes: HashSet::new(),
        content: HashSet::new(),
        replacements: Vec::new(),
    };
    for (index, item) in facts.items.iter().enumerate().filter(|(_, item)| item.closed) {
        judge.judge_item(index, item);
    }
    judge.replacements
}

struct TextJudge<'j> {
    privacy: PrivacyProfile,
    vocabulary: &'j Vocabulary,
    payload: &'j Payload,
    /// Resources and scopes already visited with an earlier item.
    shared: HashSet<NodeId>,
    judged_scopes: HashSet<NodeId>,
    /// Content of the current item that is not replaced. Filled only by `strict`.
    content: HashSet<(NodeId, ContentLocation)>,
    replacements: Vec<(usize, TextReplacement)>,
}

impl TextJudge<'_> {
    fn judge_item(&mut self, index: usize, item: &ItemFacts) {
        let payload = self.payload;
        if self.privacy == PrivacyProfile::Strict {
            self.content = item.content.iter().map(|place| (place.node, place.at)).collect();
        }
        let is_renamed = item.embedded.as_deref().is_some_and(|embedded| embedded.name.is_some());
        if !is_renamed {
            self.judge_name(index, item, item.node);
        }
        for event in payload.children(item.node).filter(|node| payload.kind(*node) == NodeKind::Event) {
            self.judge_name(index, item, event);
        }
        let scope = payload.scope(item.node);
        if item.of_agent_resource && self.judged_scopes.insert(scope) {
            self.judge_name(index, item, scope);
        }
        if self.privacy == PrivacyProfile::Standard {
            return;
        }
        self.judge_text(index, item, guessed_place(item.node, ContentLocation::Status));
        for error in &item.errors {
            let ContentLocation::Attribute(id) = error.at else { continue };
            let Some(attribute) = payload.attribute(id) else { continue };
            // An error type is an identifier in code and says what failed.
            let is_type = attribute.key.ends_with("type") && attribute.value.as_str().is_some_and(is_error_type);
            if !is_type {
                self.judge_text(index, item, guessed_place(error.node, error.at));
            }
        }
        if payload.kind(item.node) == NodeKind::LogRecord && !self.is_event_name(item) {
            self.judge_text(index, item, guessed_place(item.node, ContentLocation::Body));
        }
        let shared = [payload.resource(item.node), scope];
        for node in item_nodes(payload, item.node, &mut self.shared) {
            if item.of_agent_resource || !shared.contains(&node) {
                self.coarsen_numbers(index, node);
            }
        }
    }

    /// Returns true if a log's body is only the name of its event, perhaps after the dialect's prefix.
    fn is_event_name(&self, item: &ItemFacts) -> bool {
        let body = self.payload.body(item.node).and_then(|body| body.as_str());
        let event = item.event.as_deref().filter(|event| !event.is_empty());
        body.zip(event).and_then(|(body, event)| body.strip_suffix(event)).is_some_and(|prefix| !prefix.contains(' '))
    }

    /// Coarsens numbers under unknown keys, which may be an age or a balance, to their order of magnitude. Dates and
    /// other texts made of numbers go.
    fn coarsen_numbers(&mut self, index: usize, node: NodeId) {
        for attribute in self.payload.attributes(node) {
            let Some(coarse) = coarsen_value(attribute.value) else { continue };
            let is_own = attribute.key.starts_with("tollgate.");
            if is_own || !self.vocabulary.is_unknown(attribute.key) {
                continue;
            }
            let place = guessed_place(node, ContentLocation::Attribute(attribute.id));
            self.add_replacement(index, place, coarse);
        }
    }

    fn add_replacement(&mut self, index: usize, place: ContentPlace, replacement: OwnedValue) {
        if !self.content.contains(&(place.node, place.at)) {
            self.replacements.push((index, TextReplacement { place, replacement }));
        }
    }

    /// Judges the name of a span, an event or a scope. The name of a scope that a dialect knows stays.
    fn judge_name(&mut self, index: usize, item: &ItemFacts, node: NodeId) {
        let name = self.payload.text(node, self.payload.name_field(node));
        let is_plain = self.privacy == PrivacyProfile::Standard && is_plain_name(name);
        if !is_plain && !self.vocabulary.is_known_scope(self.payload, node) {
            self.judge_text(index, item, guessed_place(node, ContentLocation::Name));
        }
    }

    /// Replaces a text that is not made of words that the item's own facts hold.
    fn judge_text(&mut self, index: usize, item: &ItemFacts, place: ContentPlace) {
        let replacement = match place.value(self.payload) {
            None | Some(Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_)) => return,
            Some(Value::Str(text)) if text.is_empty() || has_known_words(text, item) => return,
            Some(Value::Str(text)) => {
                leading_operation(text, item).map_or(CONTENT.to_owned(), |word| format!("{word} {CONTENT}"))
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

/// The coarse form of a value. A date, a version, a quantity or a list of numbers has none but [`CONTENT`]. `None`: the
/// value is forwarded unchanged.
fn coarsen_value(value: Value<'_>) -> Option<OwnedValue> {
    Some(match value {
        Value::Int(number) => OwnedValue::Int(Some(bucket(number)).filter(|coarse| *coarse != number)?),
        Value::Double(number) => OwnedValue::Double(exact_bucket(number).filter(|coarse| *coarse != number)?),
        Value::Str(text) if is_number(text) => {
            let coarse = text.parse::<f64>().ok().and_then(exact_bucket).map(|coarse| coarse.to_string());
            OwnedValue::Str(Some(coarse.unwrap_or(CONTENT.to_owned())).filter(|coarse| coarse != text)?)
        }
        Value::List(_) => {
            let is_coarsened = value.items().any(|item| coarsen_value(item).is_some());
            is_coarsened.then(|| OwnedValue::Str(CONTENT.to_owned()))?
        }
        _ => return None,
    })
}

fn bucket(number: i64) -> i64 {
    exact_bucket(number).map_or(number, |coarse| coarse as i64)
}

/// The bucket of a number: 1, 2 or 5 times a power of ten, rounded towards zero. `None`: the number is not finite.
fn exact_bucket(number: impl LowerExp) -> Option<f64> {
    let text = format!("{number:e}");
    let digits = text.trim_start_matches('-');
    let lead = match digits.as_bytes().first()? {
        b'0' => 0,
        b'1' => 1,
        b'2'..=b'4' => 2,
        _ => 5,
    };
    let sign = if digits.len() < text.len() { "-" } else { "" };
    let (_, power) = digits.split_once('e')?;
    format!("{sign}{lead}e{power}").parse().ok()
}
