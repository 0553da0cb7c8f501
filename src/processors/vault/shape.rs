//! **What**: `tollgate.content.shape`: roles, part types and lengths of what went away.
//! **Why**: the trace stays useful: structure kept, text not.
//! **Invariants**: holds only words of the two lists here and numbers, whatever the content was; bounded; parsing
//! allocates nothing per text. **Not here**: token estimates (`weigh`), for which bytes are added up on the way.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::genai::Part;

use super::weigh::Shares;

/// Messages kept in a shape; the last ones count.
const MAX_MESSAGES: usize = 24;
/// Parts kept of a message.
const MAX_PARTS: usize = 12;

/// The word if it is one of ours, else `other`.
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
    /// Bytes of the input by what they are.
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

    fn push(&mut self, message: Message) {
        self.shares.message(message.role, message.text, message.results);
        if self.last.len() == MAX_MESSAGES {
            self.last.pop_front();
            self.earlier += 1;
        }
        self.last.push_back(message);
    }
}

impl Shape {
    /// Adds a value of `part`: a text (which may be JSON), or structure as JSON. `role` if it stands beside the text.
    pub(super) fn add(&mut self, part: Part, text: &str, role: Option<&str>) {
        let messages = match self.parts.iter_mut().position(|(known, _)| *known == part) {
            Some(at) => self.parts.get_mut(at),
            None => {
                self.parts.push((part, Messages::default()));
                self.parts.last_mut()
            }
        };
        let Some((_, messages)) = messages else { return };
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
                messages.earlier += found.earlier;
                for message in found.last {
                    messages.push(Message { role: message.role.or(role), ..message });
                }
            }
            _ => {
                let mut shares = Shares::default();
                shares.message(role, text.len() as u64, 0);
                self.input.place(part, &shares);
                messages.push(Message { role, ..Message::of("text", text.len() as u64) });
            }
        }
    }

    /// The attribute's text: JSON.
    pub(super) fn render(&self) -> String {
        let mut out = String::from("{");
        for (index, (part, messages)) in self.parts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(out, "{comma}\"{}\":[", part.as_str()); // a String takes everything
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

/// Messages of a JSON document: an array of messages, one message, or anything.
struct Found(Messages);
/// One element of an array of messages: a message, a part that stands alone, a plain value.
struct Element(Message);
/// Content of a message: a text, a part, an array of parts.
struct Pieces(Vec<Piece>);
/// Bytes of all texts in a value.
struct Weight(u64);
/// A word of a list, never the text itself.
struct Word<const ROLE: bool>(&'static str);

/// `Deserialize` by a visitor with these methods; numbers and the like weigh nothing.
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
        while let Some(Element(message)) = seq.next_element()? {
            found.push(message);
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

walk!(Word<true>: Word("other"); |text| Word(role_word(text));
    |seq| { while seq.next_element::<IgnoredAny>()?.is_some() {} Ok(Word("other")) };
    |map| { while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {} Ok(Word("other")) });

walk!(Word<false>: Word("other"); |text| Word(type_word(text));
    |seq| { while seq.next_element::<IgnoredAny>()?.is_some() {} Ok(Word("other")) };
    |map| { while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {} Ok(Word("other")) });

/// Keys that shape a message.
enum Key {
    Role,
    Type,
    Content,
    Calls,
    Messages,
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
                    "messages" | "choices" => Key::Messages,
                    "system" | "instructions" => Key::System,
                    "tools" | "functions" => Key::Tools,
                    _ => Key::Else,
                })
            }
        }
        deserializer.deserialize_identifier(Walk)
    }
}

/// One map: a message, a part, or the request around messages.
fn message<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Message, Option<Messages>), A::Error> {
    let (mut role, mut kind, mut rest, mut wrapped) = (None, None, 0, None::<Messages>);
    let (mut system, mut tools) = (0, 0);
    let mut pieces: Vec<Piece> = Vec::new();
    while let Some(key) = map.next_key()? {
        match key {
            Key::Role => role = Some(map.next_value::<Word<true>>()?.0),
            Key::Type => kind = Some(map.next_value::<Word<false>>()?.0),
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
    rest += system + tools;
    let mut message = Message { role, ..Message::default() };
    if let (Some(kind), None) = (kind, role) {
        // a part that stands alone: everything in it is its own
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
