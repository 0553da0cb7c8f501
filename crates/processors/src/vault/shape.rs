//! `tollgate.content.shape`: roles, part types and lengths of the content that was removed, so that the trace keeps its
//! structure without the text.
//!
//! It holds only numbers, roles and part types from the lists below, whatever the content was; it is bounded, and
//! parsing allocates nothing per text. Bytes for token estimates (`input_shares`) are summed up on the way.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use genai::ContentPart;

use super::input_shares::InputShares;

/// Maximum number of messages in a shape; the last ones are kept.
const MAX_MESSAGES: usize = 24;
/// Maximum number of parts in a message's shape.
const MAX_PARTS: usize = 12;

/// Defines a function that returns a listed word unchanged and `other` for any other word.
macro_rules! words {
    ($name:ident: $($word:literal)*) => {
        fn $name(word: &str) -> &'static str {
            match word { $($word => $word,)* _ => "other" }
        }
    };
}

words!(role_word: "system" "developer" "user" "human" "assistant" "ai" "model" "tool" "function");
words!(type_word: "text" "input_text" "output_text" "tool_call" "tool_call_response" "tool_use" "tool_result" "function"
    "function_call" "function_call_output" "thinking" "redacted_thinking" "reasoning" "image" "image_url" "input_image"
    "audio" "input_audio" "video" "file" "document" "blob" "uri" "refusal" "json");

/// A part of a message: its type and size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ShapePiece {
    kind: &'static str,
    bytes: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct MessageShape {
    role: Option<&'static str>,
    parts: Vec<ShapePiece>,
    /// Number of parts beyond [`MAX_PARTS`].
    omitted_parts: u64,
    /// Bytes of tool results.
    result_bytes: u64,
    /// Bytes of everything else.
    text_bytes: u64,
    /// A model's answer that is listed among its input.
    is_answer: bool,
}

impl MessageShape {
    fn add(&mut self, piece: ShapePiece) {
        match piece.kind {
            "tool_result" | "tool_call_response" | "function_call_output" => self.result_bytes += piece.bytes,
            _ => self.text_bytes += piece.bytes,
        }
        if self.parts.len() < MAX_PARTS { self.parts.push(piece) } else { self.omitted_parts += 1 }
    }

    fn from_piece(kind: &'static str, bytes: u64) -> Self {
        let mut message = Self::default();
        message.add(ShapePiece { kind, bytes });
        message
    }

    fn render(&self, out: &mut String) -> fmt::Result {
        out.push('{');
        if let Some(role) = self.role {
            write!(out, "\"role\":\"{role}\",")?;
        }
        out.push_str("\"parts\":[");
        for (index, ShapePiece { kind, bytes }) in self.parts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(out, "{comma}{{\"type\":\"{kind}\",\"bytes\":{bytes}}}")?;
        }
        out.push(']');
        if self.omitted_parts > 0 {
            write!(out, ",\"more\":{}", self.omitted_parts)?;
        }
        out.write_char('}')
    }
}

#[derive(Default)]
pub(super) struct ContentShape {
    parts: Vec<(ContentPart, MessageShapes)>,
    /// Bytes of the input by category.
    pub(super) input: InputShares,
}

#[derive(Default)]
struct MessageShapes {
    /// The newest messages, at most [`MAX_MESSAGES`].
    newest: VecDeque<MessageShape>,
    /// Number of messages before them.
    earlier_count: u64,
    /// Bytes of all messages, and of system instructions and tool definitions beside them.
    shares: InputShares,
}

impl MessageShapes {
    fn from_message(message: MessageShape) -> Self {
        let mut messages = Self::default();
        messages.push(message);
        messages
    }

    fn extend(&mut self, later: Self) {
        self.earlier_count += later.earlier_count;
        let earlier_shares = self.shares;
        later.newest.into_iter().for_each(|message| self.push(message));
        if later.earlier_count > 0 {
            // Messages that are not in `later.newest` count too.
            self.shares = earlier_shares;
            self.shares.append(&later.shares);
        }
    }

    fn push(&mut self, message: MessageShape) {
        if !message.is_answer {
            self.shares.add_message(message.role, message.text_bytes, message.result_bytes);
        }
        if self.newest.len() == MAX_MESSAGES {
            self.newest.pop_front();
            self.earlier_count += 1;
        }
        self.newest.push_back(message);
    }
}

impl ContentShape {
    /// Adds a value of `part`: a text (which may be JSON), or structure as JSON. `role` is the role given beside the
    /// text, if any.
    pub(super) fn add(&mut self, part: ContentPart, text: &str, role: Option<&str>) {
        let role = role.map(role_word);
        let is_structure = text.trim_start().starts_with(['[', '{']);
        match is_structure.then(|| serde_json::from_str::<DocumentMessages>(text)) {
            Some(Ok(DocumentMessages(document))) => {
                let mut shares = document.shares;
                if role.is_some() {
                    shares = InputShares::default();
                    shares.add_message(role, document.shares.non_result_bytes(), document.shares.results);
                }
                self.input.add_part(part, &shares);
                let Some(messages) = self.messages_of(part) else { return };
                messages.earlier_count += document.earlier_count;
                for message in document.newest {
                    messages.push(MessageShape { role: message.role.or(role), ..message });
                }
            }
            _ => {
                let mut shares = InputShares::default();
                shares.add_message(role, text.len() as u64, 0);
                self.input.add_part(part, &shares);
                let Some(messages) = self.messages_of(part) else { return };
                messages.push(MessageShape { role, ..MessageShape::from_piece("text", text.len() as u64) });
            }
        }
    }

    /// Adds a message that was spread over several attributes: pieces with type and bytes.
    pub(super) fn add_flattened(&mut self, part: ContentPart, role: Option<&str>, pieces: &[(&'static str, u64)]) {
        let mut message = MessageShape { role: role.map(role_word), ..MessageShape::default() };
        pieces.iter().for_each(|(kind, bytes)| message.add(ShapePiece { kind, bytes: *bytes }));
        let mut shares = InputShares::default();
        shares.add_message(message.role, message.text_bytes, message.result_bytes);
        self.input.add_part(part, &shares);
        if let Some(messages) = self.messages_of(part) {
            messages.push(message);
        }
    }

    fn messages_of(&mut self, part: ContentPart) -> Option<&mut MessageShapes> {
        let index = self.parts.iter().position(|(known, _)| *known == part).unwrap_or_else(|| {
            self.parts.push((part, MessageShapes::default()));
            self.parts.len() - 1
        });
        self.parts.get_mut(index).map(|(_, messages)| messages)
    }

    /// The attribute's value: JSON.
    pub(super) fn render(&self) -> String {
        let mut out = String::with_capacity(256);
        // writing to a text never fails
        let _ = self.render_parts(&mut out);
        out
    }

    fn render_parts(&self, out: &mut String) -> fmt::Result {
        out.push('{');
        for (index, (part, messages)) in self.parts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(out, "{comma}\"{}\":[", part.as_str())?;
            if messages.earlier_count > 0 {
                write!(out, "{{\"earlier\":{}}}", messages.earlier_count)?;
            }
            for (index, message) in messages.newest.iter().enumerate() {
                out.push_str(if index > 0 || messages.earlier_count > 0 { "," } else { "" });
                message.render(out)?;
            }
            out.push(']');
        }
        out.write_char('}')
    }
}

/// The messages of a JSON document: an array of messages, one message, or any other value.
struct DocumentMessages(MessageShapes);
/// One element of a message's content: a part, a message, or a plain value.
struct ArrayElement(MessageShape);
/// Content of a message: a text, a part, or an array of parts.
struct ContentPieces(Vec<ShapePiece>);
/// Size of all texts in a value, bytes.
struct TextBytes(u64);
/// One element of a document's array.
enum ListEntry {
    Message(MessageShape),
    Messages(MessageShapes),
}
/// What a word means as a role, as a `type` and as an event's name: listed words, never the text itself.
struct KnownWord {
    role: &'static str,
    kind: &'static str,
    /// Some roles are values of `type` in LangChain.
    role_of_type: Option<&'static str>,
    is_answer: bool,
}

impl KnownWord {
    fn new(word: &str) -> Self {
        let (role, kind) = match word {
            "tool-call" => ("other", "tool_call"),
            "tool-result" => ("other", "tool_result"),
            word => (role_word(word), type_word(word)),
        };
        let role_of_type = Some(role).filter(|role| matches!(*role, "human" | "ai" | "system" | "tool"));
        Self { role, kind, role_of_type, is_answer: word == "gen_ai.choice" }
    }
}

/// Implements `Deserialize` through a visitor. Numbers, booleans and nulls become `$empty`.
macro_rules! deserialize_with {
    ($type:ty: $empty:expr; |$text:ident| $on_text:expr; |$seq:ident| $on_seq:expr; |$map:ident| $on_map:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ShapeVisitor;
                impl<'de> Visitor<'de> for ShapeVisitor {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("JSON")
                    }
                    fn visit_str<E>(self, $text: &str) -> Result<$type, E> {
                        Ok($on_text)
                    }
                    fn visit_seq<A: SeqAccess<'de>>(self, mut $seq: A) -> Result<$type, A::Error> {
                        $on_seq
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut $map: A) -> Result<$type, A::Error> {
                        $on_map
                    }
                    visit_scalars_as!($empty);
                }
                deserializer.deserialize_any(ShapeVisitor)
            }
        }
    };
}

deserialize_with!(DocumentMessages: DocumentMessages(MessageShapes::default());
    |text| DocumentMessages(MessageShapes::from_message(MessageShape::from_piece("text", text.len() as u64)));
    |seq| read_messages(&mut seq).map(DocumentMessages);
    |map| {
        let (message, wrapped) = read_message(&mut map)?;
        Ok(DocumentMessages(wrapped.unwrap_or_else(|| MessageShapes::from_message(message))))
    }
);

deserialize_with!(ListEntry: ListEntry::Message(MessageShape::from_piece("json", 0));
    |text| ListEntry::Message(MessageShape::from_piece("text", text.len() as u64));
    |seq| read_messages(&mut seq).map(ListEntry::Messages);
    |map| {
        let (message, wrapped) = read_message(&mut map)?;
        Ok(wrapped.map_or(ListEntry::Message(message), ListEntry::Messages))
    }
);

deserialize_with!(ArrayElement: ArrayElement(MessageShape::from_piece("json", 0));
    |text| ArrayElement(MessageShape::from_piece("text", text.len() as u64));
    |seq| {
        let mut bytes = 0;
        while let Some(TextBytes(inner)) = seq.next_element()? {
            bytes += inner;
        }
        Ok(ArrayElement(MessageShape::from_piece("json", bytes)))
    };
    |map| read_message(&mut map).map(|(message, _)| ArrayElement(message))
);

deserialize_with!(ContentPieces: ContentPieces(Vec::new());
    |text| ContentPieces(vec![ShapePiece { kind: "text", bytes: text.len() as u64 }]);
    |seq| {
        let mut pieces = Vec::new();
        while let Some(ArrayElement(message)) = seq.next_element()? {
            pieces.extend(message.parts);
        }
        Ok(ContentPieces(pieces))
    };
    |map| read_message(&mut map).map(|(message, _)| ContentPieces(message.parts))
);

deserialize_with!(TextBytes: TextBytes(0);
    |text| TextBytes(text.len() as u64);
    |seq| {
        let mut bytes = 0;
        while let Some(TextBytes(inner)) = seq.next_element()? {
            bytes += inner;
        }
        Ok(TextBytes(bytes))
    };
    |map| {
        let mut bytes = 0;
        while let Some((_, TextBytes(inner))) = map.next_entry::<IgnoredAny, TextBytes>()? {
            bytes += inner;
        }
        Ok(TextBytes(bytes))
    }
);

deserialize_with!(KnownWord: KnownWord::new(""); |text| KnownWord::new(text);
    |seq| { while seq.next_element::<IgnoredAny>()?.is_some() {} Ok(KnownWord::new("")) };
    |map| { while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {} Ok(KnownWord::new("")) });

/// Keys that determine the shape of a message.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ShapeKey {
    Role,
    Type,
    #[serde(alias = "parts")]
    Content,
    ToolCalls,
    #[serde(alias = "choices", alias = "generations", alias = "candidates")]
    Messages,
    /// A message inside a wrapper.
    #[serde(alias = "kwargs")]
    Message,
    /// A part without a type, whose key gives its type; so are the next two.
    Text,
    #[serde(alias = "functionCall", alias = "toolUse")]
    FunctionCall,
    #[serde(alias = "functionResponse", alias = "toolResult")]
    FunctionResponse,
    #[serde(rename = "event.name")]
    EventName,
    #[serde(alias = "instructions")]
    System,
    #[serde(alias = "functions")]
    Tools,
    #[serde(other)]
    Other,
}

/// Reads an array of messages, or of lists of them.
fn read_messages<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<MessageShapes, A::Error> {
    let mut messages = MessageShapes::default();
    while let Some(entry) = seq.next_element()? {
        match entry {
            ListEntry::Message(message) => messages.push(message),
            ListEntry::Messages(inner) => messages.extend(inner),
        }
    }
    Ok(messages)
}

/// Reads one map: a message, a part, or the request around messages. Returns it as a message, and the messages that it
/// wraps.
fn read_message<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(MessageShape, Option<MessageShapes>), A::Error> {
    let (mut role, mut kind, mut other_bytes, mut wrapped) = (None, None, 0, None::<MessageShapes>);
    let (mut system_bytes, mut tool_bytes, mut is_answer) = (0, 0, false);
    let (mut inner_message, mut part_kind, mut part_bytes) = (None::<MessageShape>, None, 0);
    let mut message = MessageShape::default();
    while let Some(key) = map.next_key()? {
        match key {
            ShapeKey::Role => role = Some(map.next_value::<KnownWord>()?.role),
            ShapeKey::Type => {
                let word: KnownWord = map.next_value()?;
                match word.role_of_type {
                    Some(_) => role = role.or(word.role_of_type),
                    None => kind = Some(word.kind),
                }
            }
            ShapeKey::Message => inner_message = Some(map.next_value::<ArrayElement>()?.0),
            ShapeKey::Text | ShapeKey::FunctionCall | ShapeKey::FunctionResponse => {
                part_kind = Some(match key {
                    ShapeKey::FunctionCall => "tool_call",
                    ShapeKey::FunctionResponse => "tool_result",
                    _ => "text",
                });
                part_bytes += map.next_value::<TextBytes>()?.0;
            }
            ShapeKey::EventName => is_answer = map.next_value::<KnownWord>()?.is_answer,
            ShapeKey::Content => map.next_value::<ContentPieces>()?.0.into_iter().for_each(|piece| message.add(piece)),
            ShapeKey::ToolCalls => {
                let calls = map.next_value::<ContentPieces>()?.0;
                calls.into_iter().for_each(|piece| message.add(ShapePiece { kind: "tool_call", ..piece }));
            }
            ShapeKey::Messages => wrapped = Some(map.next_value::<DocumentMessages>()?.0),
            ShapeKey::System => system_bytes += map.next_value::<TextBytes>()?.0,
            ShapeKey::Tools => tool_bytes += map.next_value::<TextBytes>()?.0,
            ShapeKey::Other => other_bytes += map.next_value::<TextBytes>()?.0,
        }
    }
    if let Some(messages) = &mut wrapped {
        messages.shares.system += system_bytes;
        messages.shares.tools += tool_bytes;
    }
    if let Some(inner) = inner_message.filter(|inner| inner.role.is_some()) {
        return Ok((MessageShape { is_answer, ..inner }, wrapped));
    }
    match part_kind {
        Some(key_kind) if kind.is_none() => message.add(ShapePiece { kind: key_kind, bytes: part_bytes }),
        _ => other_bytes += part_bytes,
    }
    other_bytes += system_bytes + tool_bytes;
    if let (Some(kind), None) = (kind, role) {
        // A lone part: all bytes in the map belong to it.
        let bytes = other_bytes + message.text_bytes + message.result_bytes;
        return Ok((MessageShape { is_answer, ..MessageShape::from_piece(kind, bytes) }, wrapped));
    }
    (message.role, message.is_answer) = (role, is_answer);
    if other_bytes > 0 || message.parts.is_empty() {
        message.add(ShapePiece { kind: "json", bytes: other_bytes });
    }
    Ok((message, wrapped))
}
