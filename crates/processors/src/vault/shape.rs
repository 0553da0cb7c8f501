//! `tollgate.content.shape`: roles, part types and lengths of the content that was removed, so that the trace keeps its
//! structure without the text.
//!
//! It holds only numbers and words of the two lists below, whatever the content was; it is bounded, and parsing
//! allocates nothing per text. Bytes for token estimates (`weigh`) are summed up on the way.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use genai::Part;

use super::weigh::Shares;

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
struct Piece {
    kind: &'static str,
    bytes: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Message {
    role: Option<&'static str>,
    parts: Vec<Piece>,
    more: u64,
    /// Bytes of tool results, and of everything else.
    results: u64,
    text: u64,
    /// A model's answer that is listed among its input.
    answer: bool,
}

impl Message {
    fn add(&mut self, piece: Piece) {
        match piece.kind {
            "tool_result" | "tool_call_response" | "function_call_output" => self.results += piece.bytes,
            _ => self.text += piece.bytes,
        }
        if self.parts.len() < MAX_PARTS { self.parts.push(piece) } else { self.more += 1 }
    }

    fn of(kind: &'static str, bytes: u64) -> Self {
        let mut message = Self::default();
        message.add(Piece { kind, bytes });
        message
    }
}

/// The shape of one item's content.
#[derive(Default)]
pub(super) struct Shape {
    parts: Vec<(Part, Messages)>,
    /// Bytes of the input by category.
    pub(super) input: Shares,
}

#[derive(Default)]
struct Messages {
    last: VecDeque<Message>,
    earlier: u64,
    shares: Shares,
}

impl Messages {
    fn of(message: Message) -> Self {
        let mut messages = Self::default();
        messages.push(message);
        messages
    }

    fn extend(&mut self, more: Self) {
        self.earlier += more.earlier;
        let shares = (more.earlier > 0).then_some(more.shares);
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

    fn push(&mut self, message: Message) {
        if !message.answer {
            self.shares.message(message.role, message.text, message.results);
        }
        if self.last.len() == MAX_MESSAGES {
            self.last.pop_front();
            self.earlier += 1;
        }
        self.last.push_back(message);
    }
}

impl Shape {
    /// Adds a value of `part`: a text (which may be JSON), or structure as JSON. `role` is the role given beside the
    /// text, if any.
    pub(super) fn add(&mut self, part: Part, text: &str, role: Option<&str>) {
        let role = role.map(role_word);
        let structured = text.trim_start().starts_with(['[', '{']);
        match structured.then(|| serde_json::from_str::<Found>(text)) {
            Some(Ok(Found(found))) => {
                let mut shares = found.shares;
                if role.is_some() {
                    shares = Shares::default();
                    shares.message(role, found.shares.text(), found.shares.results);
                }
                self.input.place(part, &shares);
                let Some(messages) = self.of(part) else { return };
                messages.earlier += found.earlier;
                for message in found.last {
                    messages.push(Message { role: message.role.or(role), ..message });
                }
            }
            _ => {
                let mut shares = Shares::default();
                shares.message(role, text.len() as u64, 0);
                self.input.place(part, &shares);
                let Some(messages) = self.of(part) else { return };
                messages.push(Message { role, ..Message::of("text", text.len() as u64) });
            }
        }
    }

    /// Adds a message that was spread over several attributes: pieces with type and bytes.
    pub(super) fn flat(&mut self, part: Part, role: Option<&str>, pieces: &[(&'static str, u64)]) {
        let mut message = Message { role: role.map(role_word), ..Message::default() };
        pieces.iter().for_each(|(kind, bytes)| message.add(Piece { kind, bytes: *bytes }));
        let mut shares = Shares::default();
        shares.message(message.role, message.text, message.results);
        self.input.place(part, &shares);
        if let Some(messages) = self.of(part) {
            messages.push(message);
        }
    }

    fn of(&mut self, part: Part) -> Option<&mut Messages> {
        let at = self.parts.iter().position(|(known, _)| *known == part).unwrap_or_else(|| {
            self.parts.push((part, Messages::default()));
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
            if messages.earlier > 0 {
                let _ = write!(out, "{{\"earlier\":{}}},", messages.earlier);
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

fn render_message(message: &Message, out: &mut String) {
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
    if message.more > 0 {
        let _ = write!(out, ",\"more\":{}", message.more);
    }
    out.push('}');
}

/// The messages of a JSON document: an array of messages, one message, or any other value.
struct Found(Messages);
/// One element of an array of messages: a message, a lone part, or a plain value.
struct Element(Message);
/// Content of a message: a text, a part, or an array of parts.
struct Pieces(Vec<Piece>);
/// Bytes of all texts in a value.
struct Weight(u64);
/// A list element that may itself be a list of messages.
struct Entry(Messages);
/// A role: a listed word, never the text itself.
struct Role(&'static str);
/// The value of `type`: the type of a part, or (in LangChain) the role.
struct Type(&'static str, Option<&'static str>);
/// Whether an event's name is that of an answer.
struct Answer(bool);

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

walk!(Found: Found(Messages::default());
    |text| Found(Messages::of(Message::of("text", text.len() as u64)));
    |seq| {
        let mut found = Messages::default();
        while let Some(Entry(entry)) = seq.next_element()? {
            found.extend(entry);
        }
        Ok(Found(found))
    };
    |map| {
        let (message, wrapped) = message(&mut map)?;
        Ok(Found(wrapped.unwrap_or_else(|| Messages::of(message))))
    }
);

walk!(Element: Element(Message::of("json", 0));
    |text| Element(Message::of("text", text.len() as u64));
    |seq| {
        let mut bytes = 0;
        while let Some(Weight(more)) = seq.next_element()? {
            bytes += more;
        }
        Ok(Element(Message::of("json", bytes)))
    };
    |map| message(&mut map).map(|(message, _)| Element(message))
);

walk!(Entry: Entry(Messages::of(Message::of("json", 0)));
    |text| Entry(Messages::of(Message::of("text", text.len() as u64)));
    |seq| {
        let mut found = Messages::default();
        while let Some(Entry(entry)) = seq.next_element()? {
            found.extend(entry);
        }
        Ok(Entry(found))
    };
    |map| {
        let (message, wrapped) = message(&mut map)?;
        Ok(Entry(wrapped.unwrap_or_else(|| Messages::of(message))))
    }
);

walk!(Pieces: Pieces(Vec::new());
    |text| Pieces(vec![Piece { kind: "text", bytes: text.len() as u64 }]);
    |seq| {
        let mut pieces = Vec::new();
        while let Some(Element(message)) = seq.next_element()? {
            pieces.extend(message.parts);
        }
        Ok(Pieces(pieces))
    };
    |map| message(&mut map).map(|(message, _)| Pieces(message.parts))
);

walk!(Weight: Weight(0);
    |text| Weight(text.len() as u64);
    |seq| {
        let mut bytes = 0;
        while let Some(Weight(more)) = seq.next_element()? {
            bytes += more;
        }
        Ok(Weight(bytes))
    };
    |map| {
        let mut bytes = 0;
        while let Some((_, Weight(more))) = map.next_entry::<IgnoredAny, Weight>()? {
            bytes += more;
        }
        Ok(Weight(bytes))
    }
);

walk!(Role: Role("other"); |text| Role(role_word(text));
    |seq| { while seq.next_element::<IgnoredAny>()?.is_some() {} Ok(Role("other")) };
    |map| { while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {} Ok(Role("other")) });

walk!(Type: Type("other", None); |text| type_of(text);
    |seq| { while seq.next_element::<IgnoredAny>()?.is_some() {} Ok(Type("other", None)) };
    |map| { while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {} Ok(Type("other", None)) });

walk!(Answer: Answer(false); |text| Answer(text == "gen_ai.choice");
    |seq| { while seq.next_element::<IgnoredAny>()?.is_some() {} Ok(Answer(false)) };
    |map| { while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {} Ok(Answer(false)) });

fn type_of(word: &str) -> Type {
    let role = matches!(word, "human" | "ai" | "system" | "tool").then(|| role_word(word));
    Type(
        type_word(match word {
            "tool-call" => "tool_call",
            "tool-result" => "tool_result",
            word => word,
        }),
        role,
    )
}

/// Keys that determine the shape of a message.
enum Key {
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

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl Visitor<'_> for Walk {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                Ok(match key {
                    "role" => Key::Role,
                    "type" => Key::Type,
                    "content" | "parts" => Key::Content,
                    "tool_calls" => Key::Calls,
                    "messages" | "choices" | "generations" | "candidates" => Key::Messages,
                    "system" | "instructions" => Key::System,
                    "tools" | "functions" => Key::Tools,
                    "message" | "kwargs" => Key::Message,
                    "text" => Key::Named("text"),
                    "functionCall" | "function_call" | "toolUse" => Key::Named("tool_call"),
                    "functionResponse" | "function_response" | "toolResult" => Key::Named("tool_result"),
                    "event.name" => Key::Event,
                    _ => Key::Else,
                })
            }
        }
        deserializer.deserialize_identifier(Walk)
    }
}

/// Reads one map: a message, a part, or the request around messages.
fn message<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Message, Option<Messages>), A::Error> {
    let (mut role, mut kind, mut rest, mut wrapped) = (None, None, 0, None::<Messages>);
    let (mut system, mut tools, mut answer) = (0, 0, false);
    let (mut inner, mut named, mut named_bytes) = (None::<Message>, None, 0);
    let mut pieces: Vec<Piece> = Vec::new();
    while let Some(key) = map.next_key()? {
        match key {
            Key::Role => role = Some(map.next_value::<Role>()?.0),
            Key::Type => {
                let Type(word, of) = map.next_value()?;
                (kind, role) = if of.is_some() { (kind, role.or(of)) } else { (Some(word), role) };
            }
            Key::Message => inner = Some(map.next_value::<Element>()?.0),
            Key::Named(what) => {
                named = Some(what);
                named_bytes += map.next_value::<Weight>()?.0;
            }
            Key::Event => answer = map.next_value::<Answer>()?.0,
            Key::Content => pieces.extend(map.next_value::<Pieces>()?.0),
            Key::Calls => {
                let calls = map.next_value::<Pieces>()?.0;
                pieces.extend(calls.into_iter().map(|piece| Piece { kind: "tool_call", ..piece }));
            }
            Key::Messages => wrapped = Some(map.next_value::<Found>()?.0),
            Key::System => system += map.next_value::<Weight>()?.0,
            Key::Tools => tools += map.next_value::<Weight>()?.0,
            Key::Else => rest += map.next_value::<Weight>()?.0,
        }
    }
    if let Some(messages) = &mut wrapped {
        (messages.shares.system, messages.shares.tools) =
            (messages.shares.system + system, messages.shares.tools + tools);
    }
    if let Some(inner) = inner.filter(|inner| inner.role.is_some()) {
        return Ok((Message { answer, ..inner }, wrapped));
    }
    match named {
        Some(what) if kind.is_none() => pieces.push(Piece { kind: what, bytes: named_bytes }),
        _ => rest += named_bytes,
    }
    rest += system + tools;
    let mut message = Message { role, answer, ..Message::default() };
    if let (Some(kind), None) = (kind, role) {
        // A lone part: all bytes in the map belong to it.
        let inside: u64 = pieces.iter().map(|piece| piece.bytes).sum();
        message.add(Piece { kind, bytes: rest + inside });
        return Ok((message, wrapped));
    }
    pieces.into_iter().for_each(|piece| message.add(piece));
    if rest > 0 || message.parts.is_empty() {
        message.add(Piece { kind: "json", bytes: rest });
    }
    Ok((message, wrapped))
}
