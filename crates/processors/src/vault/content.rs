//! Reads an item's content into the form of a vault document: pieces with their places, and their shape. Reads only;
//! every content place that still has a value yields one piece. `genai` decides what content is; `sealing` seals it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use genai::{ContentBasis, ContentLocation, ContentPart, ContentPlace, ItemFacts, is_number};
use kernel::CONTENT;
use otlp::{NodeId, NodeKind, Payload, TextField, Value};
use vault::document::{ContentPiece, ItemContent};
use vault::object_names;

use super::shape::ContentShape;

/// Reads an item's content places into the document form.
pub(super) fn read_content<'p>(payload: &'p Payload, item: &ItemFacts) -> (ItemContent<'p>, ContentShape) {
    let (mut content, mut shape, mut json) = (ItemContent::default(), ContentShape::default(), String::new());
    let mut flattened: BTreeMap<(ContentPart, &str, u64), FlattenedMessage> = BTreeMap::new();
    let mut input_without_request = None;
    for place in &item.content {
        if let ContentLocation::Embedded(at) = place.at {
            let part = item.embedded.as_deref().and_then(|embedded| embedded.parts.get(at as usize));
            let Some(part) = part else { continue };
            match serde_json::from_str::<String>(&part.value) {
                Ok(text) => shape.add(place.part, &text, None),
                Err(_) => shape.add(place.part, &part.value, None),
            }
            content.push(place.part, &read_piece(payload, place, Some(&part.key)), &part.value, None);
            continue;
        }
        let Some(value) = place.value(payload) else { continue };
        let key = place.at.key(payload).filter(|_| place.at != ContentLocation::Body);
        json.clear();
        value.write_json(&mut json);
        if let Some((stem, index, rest)) =
            key.filter(|_| matches!(place.part, ContentPart::Input | ContentPart::Output)).and_then(split_indexed_key)
        {
            flattened.entry((place.part, stem, index)).or_default().add(rest, value);
            content.push(place.part, &read_piece(payload, place, key), &json, value.as_str());
            continue;
        }
        match value {
            Value::Str(text) => {
                if key == Some(WHOLE_REQUEST_KEY) {
                    input_without_request.get_or_insert(shape.input);
                }
                shape.add(place.part, text, flattened_role(payload, place.node, key, item.content.len()));
            }
            _ => shape.add(place.part, &json, None),
        }
        content.push(place.part, &read_piece(payload, place, key), &json, value.as_str());
    }
    // `input.value` repeats the messages that have attributes of their own, so these are counted only once.
    if flattened.keys().any(|(part, ..)| *part == ContentPart::Input) {
        shape.input = input_without_request.unwrap_or(shape.input);
    }
    for ((part, ..), message) in flattened {
        shape.add_flattened(part, message.role.as_deref(), &message.pieces);
    }
    (content, shape)
}

/// Splits `llm.input_messages.3.message.content` into the part before the index, the index, and the part after it.
fn split_indexed_key(key: &str) -> Option<(&str, u64, &str)> {
    let (stem, rest) = ["llm.input_messages.", "llm.output_messages.", "gen_ai.prompt.", "gen_ai.completion."]
        .into_iter()
        .find_map(|stem| Some((stem, key.strip_prefix(stem)?)))?;
    let (index, rest) = rest.split_once('.')?;
    Some((stem, index.parse().ok()?, rest))
}

/// A message spread over several attributes.
#[derive(Default)]
struct FlattenedMessage {
    role: Option<String>,
    /// Type and bytes of each piece.
    pieces: Vec<(&'static str, u64)>,
}

impl FlattenedMessage {
    /// Adds an attribute of the message. `name`: its key after the index.
    fn add(&mut self, name: &str, value: Value<'_>) {
        let bytes = value.as_str().map_or(0, |text| text.len() as u64);
        match name.rsplit('.').next().unwrap_or(name) {
            "role" => self.role = value.as_str().map(str::to_owned),
            "type" | "id" | "tool_call_id" | "finish_reason" | "mime_type" => {}
            _ if name.contains("tool_calls.") => self.pieces.push(("tool_call", bytes)),
            "content" | "text" => self.pieces.push(("text", bytes)),
            _ => self.pieces.push(("json", bytes)),
        }
    }
}

/// The key under which OpenInference repeats the whole request. It is the first of an item's content.
const WHOLE_REQUEST_KEY: &str = "input.value";

/// Maximum number of content places of an item whose roles are looked up, because each lookup is linear in the
/// attributes.
const MAX_ROLE_LOOKUPS: usize = 64;

/// The role given beside a flattened message's content (`….message.content`, `….message.role`).
fn flattened_role<'a>(payload: &'a Payload, node: NodeId, key: Option<&str>, place_count: usize) -> Option<&'a str> {
    let stem = key.filter(|_| place_count <= MAX_ROLE_LOOKUPS)?.strip_suffix("content")?;
    payload.get_str(node, &format!("{stem}role"))
}

fn read_piece<'a>(payload: &'a Payload, place: &ContentPlace, key: Option<&'a str>) -> ContentPiece<'a> {
    let on = match (place.at, payload.kind(place.node)) {
        (ContentLocation::Body, _) => "body",
        (_, NodeKind::Span) => "span",
        (_, NodeKind::LogRecord) => "log",
        (_, NodeKind::Event) => "event",
        (_, NodeKind::Link) => "link",
        (_, NodeKind::Scope) => "scope",
        (_, NodeKind::Resource) => "resource",
        _ => "other",
    };
    let is_event = on == "event";
    ContentPiece {
        part: Cow::Borrowed(place.part.as_str()),
        on: Cow::Borrowed(on),
        key: key.map(Cow::Borrowed),
        event: is_event.then(|| Cow::Borrowed(payload.text(place.node, TextField::Name))),
        time: is_event.then(|| object_names::rfc3339(kernel::clock::UnixNanos(payload.time(place.node)))),
    }
}

/// A content place that no list names.
pub(super) fn guessed_place(node: NodeId, at: ContentLocation) -> ContentPlace {
    ContentPlace { node, at, part: ContentPart::Other, basis: ContentBasis::Guessed }
}

/// Returns true if a place still holds content, as when the facts were read. A vault step replaces a name by the item's
/// operation and [`CONTENT`].
pub(super) fn is_still_content(payload: &Payload, place: &ContentPlace, operation: Option<&str>) -> bool {
    let is_mark = |text: &str| {
        let prefix = text.strip_suffix(CONTENT).map(|prefix| prefix.trim_end().trim_end_matches(':'));
        prefix.is_some_and(|prefix| prefix.is_empty() || operation == Some(prefix))
    };
    match place.value(payload) {
        // A number is not content any more: a vault step may have replaced it with a coarser one.
        None | Some(Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_)) => false,
        Some(Value::Str(text)) => !text.is_empty() && !is_mark(text) && !is_number(text),
        Some(Value::Bytes(_) | Value::List(_) | Value::Map(_)) => true,
    }
}
