//! A tree of slices over the compact JSON that `otlp/json` writes: numbers and escapes are shown as written, without
//! being parsed and printed again. It reads no other JSON.

use kernel::notation::{Notation, Token, Tokens};

pub(super) enum JsonNode<'a> {
    Object(Vec<(&'a str, JsonNode<'a>)>),
    List(Vec<JsonNode<'a>>),
    /// A string without its quotes, with its escapes.
    Text(&'a str),
    /// A number or boolean.
    Literal(&'a str),
}

impl<'a> JsonNode<'a> {
    /// Parses one value. `otlp/json` limits the depth.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        Self::parse(text, &mut Tokens::new(text, Notation::Json))
    }

    fn parse(text: &'a str, tokens: &mut Tokens<'_>) -> Option<Self> {
        let first = tokens.next()?;
        Self::parse_from(first, text, tokens)
    }

    fn parse_from(first: Token, text: &'a str, tokens: &mut Tokens<'_>) -> Option<Self> {
        match first {
            Token::Text { range, .. } => text.get(range).map(Self::Text),
            Token::Word(range) => text.get(range).map(Self::Literal),
            Token::Open(bracket) => {
                let (mut members, mut elements) = (Vec::new(), Vec::new());
                loop {
                    match tokens.next()? {
                        Token::Comma => {}
                        Token::Close(_) if bracket == b'{' => return Some(Self::Object(members)),
                        Token::Close(_) => return Some(Self::List(elements)),
                        Token::Text { range, .. } if bracket == b'{' => {
                            let (key, _) = (text.get(range)?, tokens.next()?);
                            members.push((key, Self::parse(text, tokens)?));
                        }
                        token => elements.push(Self::parse_from(token, text, tokens)?),
                    }
                }
            }
            Token::Close(_) | Token::Comma | Token::Colon => None,
        }
    }

    /// The members of an object; empty for other values.
    pub(super) fn members(&self) -> &[(&'a str, JsonNode<'a>)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    /// The elements of a list; empty for other values.
    pub(super) fn elements(&self) -> &[JsonNode<'a>] {
        match self {
            Self::List(elements) => elements,
            _ => &[],
        }
    }

    /// The value of the member `name`.
    pub(super) fn get(&self, name: &str) -> Option<&JsonNode<'a>> {
        self.members().iter().find(|(key, _)| *key == name).map(|(_, node)| node)
    }

    /// The text of a string, number or boolean; "" for other values.
    pub(super) fn scalar(&self) -> &'a str {
        match self {
            Self::Text(text) | Self::Literal(text) => text,
            _ => "",
        }
    }
}
