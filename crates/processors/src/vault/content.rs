//! Reads an item's content into the form of a vault document: pieces with their places, and their shape. Reads only;
//! every content place yields one piece. `genai` decides what content is; `gather` seals it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use genai::{Basis, ContentAt, ContentPlace, ItemFacts, Part, is_number};
use kernel::CONTENT;
use otlp::{Field, Node, NodeKind, Payload, Value};
use vault::document::{Content, Piece};
use vault::names;

use super::shape::Shape;

/// Reads an item's content places into the document form.
pub(super) fn read_content<'p>(payload: &'p Payload, item: &ItemFacts) -> (Content<'p>, Shape) {
    let (mut content, mut shape, mut json) = (Content::default(), Shape::default(), String::new());
    let places = &item.content;
    let mut flat: BTreeMap<(Part, &str, u64), Flat> = BTreeMap::new();
    let mut whole = None;
    for place in places {
        if let ContentAt::Inside(at) = place.at {
            let part = item.inside.as_deref().and_then(|inside| inside.parts.get(at as usize));
            let Some(part) = part else { continue };
            match serde_json::from_str::<String>(&part.value) {
                Ok(text) => shape.add(place.part, &text, None),
                Err(_) => shape.add(place.part, &part.value, None),
            }
            content.push(place.part, &piece(payload, place, Some(&part.key)), &part.value, None);
            continue;
        }
        let (key, value) = match place.at {
            ContentAt::Body => (None, payload.body(place.node)),
            ContentAt::Status => (Some(STATUS_MESSAGE), value_at(payload, place)),
            ContentAt::Name | ContentAt::Inside(_) => (Some(NAME), value_at(payload, place)),
            ContentAt::Attribute(id) => {
                let attribute = payload.attribute(id);
                (attribute.map(|attribute| attribute.key), attribute.map(|attribute| attribute.value))
            }
        };
        let Some(value) = value else { continue };
        json.clear();
        value.write_json(&mut json);
        if let Some((stem, index, rest)) =
            key.filter(|_| matches!(place.part, Part::Input | Part::Output)).and_then(indexed)
        {
            flat.entry((place.part, stem, index)).or_default().add(rest, value);
            content.push(place.part, &piece(payload, place, key), &json, value.as_str());
            continue;
        }
        match value {
            Value::Str(text) => {
                let before = shape.input;
                shape.add(place.part, text, role(payload, place.node, key, places.len()));
                whole = whole.or((key == Some(WHOLE)).then_some(before));
            }
            _ => shape.add(place.part, &json, None),
        }
        content.push(place.part, &piece(payload, place, key), &json, value.as_str());
    }
    // `input.value` repeats the messages that have attributes of their own; count them only once.
    if let Some(before) = whole.filter(|_| flat.keys().any(|(part, ..)| *part == Part::Input)) {
        shape.input = before;
    }
    for ((part, ..), message) in flat {
        shape.flat(part, message.role.as_deref(), &message.pieces);
    }
    (content, shape)
}

/// `llm.input_messages.3.message.content` → the part before the index, the index, the part after it.
fn indexed(key: &str) -> Option<(&str, u64, &str)> {
    let (stem, rest) = ["llm.input_messages.", "llm.output_messages.", "gen_ai.prompt.", "gen_ai.completion."]
        .into_iter()
        .find_map(|stem| Some((stem, key.strip_prefix(stem)?)))?;
    let (index, rest) = rest.split_once('.')?;
    Some((stem, index.parse().ok()?, rest))
}

/// A message spread over several attributes.
#[derive(Default)]
struct Flat {
    role: Option<String>,
    pieces: Vec<(&'static str, u64)>,
}

impl Flat {
    fn add(&mut self, rest: &str, value: Value<'_>) {
        let bytes = value.as_str().map_or(0, |text| text.len() as u64);
        match rest.rsplit('.').next().unwrap_or(rest) {
            "role" => self.role = value.as_str().map(str::to_owned),
            "type" | "id" | "tool_call_id" | "finish_reason" | "mime_type" => {}
            _ if rest.contains("tool_calls.") => self.pieces.push(("tool_call", bytes)),
            "content" | "text" => self.pieces.push(("text", bytes)),
            _ => self.pieces.push(("json", bytes)),
        }
    }
}

/// The key under which OpenInference repeats the whole request. It is the first of an item's content.
const WHOLE: &str = "input.value";
/// Keys for a status message and for a span's name in a document.
const STATUS_MESSAGE: &str = "status.message";
const NAME: &str = "name";

/// The role given beside a flattened message's content (`….message.content`, `….message.role`).
fn role<'a>(payload: &'a Payload, node: Node, key: Option<&str>, places: usize) -> Option<&'a str> {
    // The lookup is linear in the node's attributes, so it is not done for thousands of messages.
    let stem = key.filter(|_| places <= 64)?.strip_suffix("content")?;
    payload.get_str(node, &format!("{stem}role"))
}

fn piece<'a>(payload: &'a Payload, place: &ContentPlace, key: Option<&'a str>) -> Piece<'a> {
    let on = match (place.at, payload.kind(place.node)) {
        (ContentAt::Body, _) => "body",
        (_, NodeKind::Span) => "span",
        (_, NodeKind::LogRecord) => "log",
        (_, NodeKind::Event) => "event",
        (_, NodeKind::Link) => "link",
        (_, NodeKind::Scope) => "scope",
        (_, NodeKind::Resource) => "resource",
        _ => "other",
    };
    let event = on == "event";
    Piece {
        part: Cow::Borrowed(place.part.as_str()),
        on: Cow::Borrowed(on),
        key: key.map(Cow::Borrowed),
        event: event.then(|| Cow::Borrowed(payload.text(place.node, Field::Name))),
        time: event.then(|| names::rfc3339(kernel::clock::UnixNanos(payload.time(place.node)))),
    }
}

/// The field that holds a node's name.
pub(super) fn name_field(payload: &Payload, node: Node) -> Field {
    match payload.kind(node) {
        NodeKind::LogRecord => Field::EventName,
        _ => Field::Name,
    }
}

/// The current value of a place.
pub(super) fn value_at<'p>(payload: &'p Payload, place: &ContentPlace) -> Option<Value<'p>> {
    match place.at {
        ContentAt::Attribute(id) => payload.attribute(id).map(|attribute| attribute.value),
        ContentAt::Body => payload.body(place.node),
        ContentAt::Name => Some(Value::Str(payload.text(place.node, name_field(payload, place.node)))),
        ContentAt::Inside(_) => None,
        ContentAt::Status => {
            Some(payload.text(place.node, Field::StatusMessage)).filter(|text| !text.is_empty()).map(Value::Str)
        }
    }
}

/// A content place that no list names.
pub(super) fn guessed(node: Node, at: ContentAt) -> ContentPlace {
    ContentPlace { node, at, part: Part::Other, basis: Basis::Guessed }
}

/// Returns true if a place still holds content, as when the facts were read. A vault step replaces a name by the item's
/// operation and [`CONTENT`].
pub(super) fn is_left(payload: &Payload, place: &ContentPlace, operation: Option<&str>) -> bool {
    let is_mark = |text: &str| {
        let before = text.strip_suffix(CONTENT).map(|before| before.trim_end().trim_end_matches(':'));
        before.is_some_and(|before| before.is_empty() || operation == Some(before))
    };
    match value_at(payload, place) {
        // A vault step may have replaced a number with a coarser number.
        None | Some(Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_)) => false,
        Some(Value::Str(text)) => !text.is_empty() && !is_mark(text) && !is_number(text),
        Some(Value::Bytes(_) | Value::List(_) | Value::Map(_)) => true,
    }
}
