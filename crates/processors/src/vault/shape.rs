//! `tollgate.content.shape`: roles, part types and lengths of the content that was removed, so that the trace keeps its
//! structure without the text.
//!
//! It holds only numbers and words of the two lists below, whatever the content was; it is bounded, and parsing
//! allocates nothing per text. Bytes for token estimates (`input_shares`) are summed up on the way.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use genai::ContentPart;

use super::input_shares::InputShares;

/// Maximum number of messages in a shape; the last ones are kept.
const MAX_MESSAGES: usize = 24;
/// Maximum number of parts kept of a message.
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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ShapePiece {
    kind: &'static str,
    bytes: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct MessageShape {
    role: Option<&'static str>,
    parts: Vec<ShapePiece>,
    more_parts: u64,
    /// Bytes of tool results, and of everything else.
    result_bytes: u64,
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
        if self.parts.len() < MAX_PARTS { self.parts.push(piece) } else { self.more_parts += 1 }
    }

    fn of(kind: &'static str, bytes: u64) -> Self {
        let mut message = Self::default();
        message.add(ShapePiece { kind, bytes });
        message
    }
}

/// The shape of one item's content.
#[derive(Default)]
pub(super) struct ContentShape {
    parts: Vec<(ContentPart, MessageShapes)>,
    /// Bytes of the input by category.
    pub(super) input: InputShares,
}

#[derive(Default)]
struct MessageShapes {
    last: VecDeque<MessageShape>,
    earlier_count: u64,
    shares: InputShares,
}

impl MessageShapes {
    fn of(message: MessageShape) -> Self {
        let mut messages = Self::default();
        messages.push(message);
        messages
    }

    fn extend(&mut self, more: Self) {
        self.earlier_count += more.earlier_count;
        let shares = (more.earlier_count > 0).then_some(more.shares);
        match shares {
            // Messages dropped from `more.last` count too, so its shares are used.
            Some(shares) => {
                let before = std::mem::take(&mut self.shares);
                more.last.into_iter().for_each(|message| self.push(message));
                self.shares = before;
                self.shares.append(&shares);
            }
            None => more.last.into_iter().for_each(|message| self.push(message)),
        }
    }

    fn push(&mut self, message: MessageShape) {
        if !message.is_answer {
            self.shares.add_message(message.role, message.text_bytes, message.result_bytes);
        }
        if self.last.len() == MAX_MESSAGES {
            self.last.pop_front();
            self.earlier_count += 1;
        }
        self.last.push_back(message);
    }
}

impl ContentShape {
    /// Adds a value of `part`: a text (which may be JSON), or structure as JSON. `role` is the role given beside the
    /// text, if any.
    pub(super) fn add(&mut self, part: ContentPart, text: &str, role: Option<&str>) {
        let role = role.map(role_word);
        let structured = text.trim_start().starts_with(['[', '{']);
        match structured.then(|| serde_json::from_str::<DocumentMessages>(text)) {
            Some(Ok(DocumentMessages(found))) => {
                let mut shares = found.shares;
                if role.is_some() {
                    shares = InputShares::default();
                    shares.add_message(role, found.shares.non_result_bytes(), found.shares.results);
                }
                self.input.add_part(part, &shares);
                let Some(messages) = self.messages_of(part) else { return };
                messages.earlier_count += found.earlier_count;
                for message in found.last {
                    messages.push(MessageShape { role: message.role.or(role), ..message });
                }
            }
            _ => {
                let mut shares = InputShares::default();
                shares.add_message(role, text.len() as u64, 0);
                self.input.add_part(part, &shares);
                let Some(messages) = self.messages_of(part) else { return };
                messages.push(MessageShape { role, ..MessageShape::of("text", text.len() as u64) });
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
        let at = self.parts.iter().position(|(known, _)| *known == part).unwrap_or_else(|| {
            self.parts.push((part, MessageShapes::default()));
            self.parts.len() - 1
        });
        self.parts.get_mut(at).map(|(_, messages)| messages)
    }

    /// The attribute's value: JSON.
    pub(super) fn render(&self) -> String {
        let mut out = String::from("{");
        for (index, (part, messages)) in self.parts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(out, "{comma}\"{}\":[", part.as_str()); // Writing to a String cannot fail.
            if messages.earlier_count > 0 {
                let _ = write!(out, "{{\"earlier\":{}}},", messages.earlier_count);
            }
            for (index, message) in messages.last.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                render_message(message, &mut out);
            }
            out.push(']');
        }
        out.push('}');
        out
    }
}

fn render_message(message: &MessageShape, out: &mut String) {
    out.push('{');
    if let Some(role) = message.role {
        let _ = write!(out, "\"role\":\"{role}\",");
    }
    out.push_str("\"parts\":[");
    for (index, piece) in message.parts.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(out, "{comma}{{\"type\":\"{}\",\"bytes\":{}}}", piece.kind, piece.bytes);
    }
    out.push(']');
    if message.more_parts > 0 {
        let _ = write!(out, ",\"more\":{}", message.more_parts);
    }
    out.push('}');
}

/// The messages of a JSON document: an array of messages, one message, or any other value.
struct DocumentMessages(MessageShapes);
/// One element of an array of messages: a message, a lone part, or a plain value.
struct ArrayElement(MessageShape);
/// Content of a message: a text, a part, or an array of parts.
struct ContentPieces(Vec<ShapePiece>);
/// Bytes of all texts in a value.
struct TextBytes(u64);
/// A list element that may itself be a list of messages.
struct ListEntry(MessageShapes);
/// A role: a listed word, never the text itself.
struct RoleWord(&'static str);
/// The value of `type`: the type of a part, or (in LangChain) the role.
struct TypeWord(&'static str, Option<&'static str>);
/// Whether an event's name is that of an answer.
struct AnswerEvent(bool);

/// Implements `Deserialize` through a visitor with these methods. Numbers, booleans and nulls have no weight.
macro_rules! walk {
    ($type:ty: $empty:expr; |$text:ident| $on_text:expr; |$seq:ident| $on_seq:expr; |$map:ident| $on_map:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Walk;
                impl<'de> Visitor<'de> for Walk {
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
                    fn visit_bool<E>(self, _: bool) -> Result<$type, E> {
                        Ok($empty)
                    }
                    fn visit_i64<E>(self, _: i64) -> Result<$type, E> {
                        Ok($empty)
                    }
                    fn visit_u64<E>(self, _: u64) -> Result<$type, E> {
                        Ok($empty)
                    }
                    fn visit_f64<E>(self, _: f64) -> Result<$type, E> {
                        Ok($empty)
                    }
                    fn visit_unit<E>(self) -> Result<$type, E> {
                        Ok($empty)
                    }
                }
                deserializer.deserialize_any(Walk)
            }
        }
    };
}

walk!(DocumentMessages: DocumentMessages(MessageShapes::default());
    |text| DocumentMessages(MessageShapes::of(MessageShape::of("text", text.len() as u64)));
    |seq| {
        let mut found = MessageShapes::default();
        while let Some(ListEntry(entry)) = seq.next_element()? {
            found.extend(entry);
        }
        Ok(DocumentMessages(found))
    };
    |map| {
        let (message, wrapped) = read_message(&mut map)?;
        Ok(DocumentMessages(wrapped.unwrap_or_else(|| MessageShapes::of(message))))
    }
);

walk!(ArrayElement: ArrayElement(MessageShape::of("json", 0));
    |text| ArrayElement(MessageShape::of("text", text.len() as u64));
    |seq| {
        let mut bytes = 0;
        while let Some(TextBytes(more)) = seq.next_element()? {
            bytes += more;
        }
        Ok(ArrayElement(MessageShape::of("json", bytes)))
    };
    |map| read_message(&mut map).map(|(message, _)| ArrayElement(message))
);

walk!(ListEntry: ListEntry(MessageShapes::of(MessageShape::of("json", 0)));
    |text| ListEntry(MessageShapes::of(MessageShape::of("text", text.len() as u64)));
    |seq| {
        let mut found = MessageShapes::default();
        while let Some(ListEntry(entry)) = seq.next_element()? {
            found.extend(entry);
        }
        Ok(ListEntry(found))
    };
    |map| {
        let (message, wrapped) = read_message(&mut map)?;
        Ok(ListEntry(wrapped.unwrap_or_else(|| MessageShapes::of(message))))
    }
);

walk!(ContentPieces: ContentPieces(Vec::new());
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

walk!(TextBytes: TextBytes(0);
    |text| TextBytes(text.len() as u64);
    |seq| {
        let mut bytes = 0;
        while let Some(TextBytes(more)) = seq.next_element()? {
            bytes += more;
        }
        Ok(TextBytes(bytes))
    };
    |map| {
        let mut bytes = 0;
        while let Some((_, TextBytes(more))) = map.next_entry::<IgnoredAny, TextBytes>()? {
            bytes += more;
        }
        Ok(TextBytes(bytes))
    }
);

walk!(RoleWord: RoleWord("other"); |text| RoleWord(role_word(text));
    |seq| { while seq.next_element::<IgnoredAny>()?.is_some() {} Ok(RoleWord("other")) };
    |map| { while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {} Ok(RoleWord("other")) });

walk!(TypeWord: TypeWord("other", None); |text| type_of(text);
    |seq| { while seq.next_element::<IgnoredAny>()?.is_some() {} Ok(TypeWord("other", None)) };
    |map| { while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {} Ok(TypeWord("other", None)) });

walk!(AnswerEvent: AnswerEvent(false); |text| AnswerEvent(text == "gen_ai.choice");
    |seq| { while seq.next_element::<IgnoredAny>()?.is_some() {} Ok(AnswerEvent(false)) };
    |map| { while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {} Ok(AnswerEvent(false)) });

fn type_of(word: &str) -> TypeWord {
    let role = matches!(word, "human" | "ai" | "system" | "tool").then(|| role_word(word));
    TypeWord(
        type_word(match word {
            "tool-call" => "tool_call",
            "tool-result" => "tool_result",
            word => word,
        }),
        role,
    )
}

/// Keys that determine the shape of a message.
enum ShapeKey {
    Role,
    Type,
    Content,
    Calls,
    Messages,
    /// A message inside a wrapper.
    Message,
    /// A part without a type, identified by its key.
    Named(&'static str),
    Event,
    System,
    Tools,
    Else,
}

impl<'de> Deserialize<'de> for ShapeKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl Visitor<'_> for Walk {
            type Value = ShapeKey;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, key: &str) -> Result<ShapeKey, E> {
                Ok(match key {
                    "role" => ShapeKey::Role,
                    "type" => ShapeKey::Type,
                    "content" | "parts" => ShapeKey::Content,
                    "tool_calls" => ShapeKey::Calls,
                    "messages" | "choices" | "generations" | "candidates" => ShapeKey::Messages,
                    "system" | "instructions" => ShapeKey::System,
                    "tools" | "functions" => ShapeKey::Tools,
                    "message" | "kwargs" => ShapeKey::Message,
                    "text" => ShapeKey::Named("text"),
                    "functionCall" | "function_call" | "toolUse" => ShapeKey::Named("tool_call"),
                    "functionResponse" | "function_response" | "toolResult" => ShapeKey::Named("tool_result"),
                    "event.name" => ShapeKey::Event,
                    _ => ShapeKey::Else,
                })
            }
        }
        deserializer.deserialize_identifier(Walk)
    }
}

/// Reads one map: a message, a part, or the request around messages.
fn read_message<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(MessageShape, Option<MessageShapes>), A::Error> {
    let (mut role, mut kind, mut rest, mut wrapped) = (None, None, 0, None::<MessageShapes>);
    let (mut system, mut tools, mut answer) = (0, 0, false);
    let (mut inner, mut named, mut named_bytes) = (None::<MessageShape>, None, 0);
    let mut pieces: Vec<ShapePiece> = Vec::new();
    while let Some(key) = map.next_key()? {
        match key {
            ShapeKey::Role => role = Some(map.next_value::<RoleWord>()?.0),
            ShapeKey::Type => {
                let TypeWord(word, of) = map.next_value()?;
                (kind, role) = if of.is_some() { (kind, role.or(of)) } else { (Some(word), role) };
            }
            ShapeKey::Message => inner = Some(map.next_value::<ArrayElement>()?.0),
            ShapeKey::Named(what) => {
                named = Some(what);
                named_bytes += map.next_value::<TextBytes>()?.0;
            }
            ShapeKey::Event => answer = map.next_value::<AnswerEvent>()?.0,
            ShapeKey::Content => pieces.extend(map.next_value::<ContentPieces>()?.0),
            ShapeKey::Calls => {
                let calls = map.next_value::<ContentPieces>()?.0;
                pieces.extend(calls.into_iter().map(|piece| ShapePiece { kind: "tool_call", ..piece }));
            }
            ShapeKey::Messages => wrapped = Some(map.next_value::<DocumentMessages>()?.0),
            ShapeKey::System => system += map.next_value::<TextBytes>()?.0,
            ShapeKey::Tools => tools += map.next_value::<TextBytes>()?.0,
            ShapeKey::Else => rest += map.next_value::<TextBytes>()?.0,
        }
    }
    if let Some(messages) = &mut wrapped {
        (messages.shares.system, messages.shares.tools) =
            (messages.shares.system + system, messages.shares.tools + tools);
    }
    if let Some(inner) = inner.filter(|inner| inner.role.is_some()) {
        return Ok((MessageShape { is_answer: answer, ..inner }, wrapped));
    }
    match named {
        Some(what) if kind.is_none() => pieces.push(ShapePiece { kind: what, bytes: named_bytes }),
        _ => rest += named_bytes,
    }
    rest += system + tools;
    let mut message = MessageShape { role, is_answer: answer, ..MessageShape::default() };
    if let (Some(kind), None) = (kind, role) {
        // A lone part: all bytes in the map belong to it.
        let inside: u64 = pieces.iter().map(|piece| piece.bytes).sum();
        message.add(ShapePiece { kind, bytes: rest + inside });
        return Ok((message, wrapped));
    }
    pieces.into_iter().for_each(|piece| message.add(piece));
    if rest > 0 || message.parts.is_empty() {
        message.add(ShapePiece { kind: "json", bytes: rest });
    }
    Ok((message, wrapped))
}
