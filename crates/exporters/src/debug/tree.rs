//! A tree of slices over the compact JSON that `otlp/json` writes: numbers and escapes are shown as written, without
//! being parsed and printed again. It reads no other JSON.

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
        let mut rest = text;
        let node = parse_value(&mut rest)?;
        rest.is_empty().then_some(node)
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

fn parse_value<'a>(rest: &mut &'a str) -> Option<JsonNode<'a>> {
    if take_char(rest, '{') {
        let mut members = Vec::new();
        while !take_char(rest, '}') {
            take_char(rest, ',');
            let key = parse_string(rest)?;
            if !take_char(rest, ':') {
                return None;
            }
            members.push((key, parse_value(rest)?));
        }
        return Some(JsonNode::Object(members));
    }
    if take_char(rest, '[') {
        let mut elements = Vec::new();
        while !take_char(rest, ']') {
            take_char(rest, ',');
            elements.push(parse_value(rest)?);
        }
        return Some(JsonNode::List(elements));
    }
    if rest.starts_with('"') {
        return parse_string(rest).map(JsonNode::Text);
    }
    let (literal, after) = rest.split_at_checked(rest.find([',', '}', ']']).unwrap_or(rest.len()))?;
    *rest = after;
    (!literal.is_empty()).then_some(JsonNode::Literal(literal))
}

/// Removes `wanted` from the front of `rest`; false if it is not there.
fn take_char(rest: &mut &str, wanted: char) -> bool {
    let after = rest.strip_prefix(wanted);
    *rest = after.unwrap_or(rest);
    after.is_some()
}

fn parse_string<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let inside = rest.strip_prefix('"')?;
    let mut is_escaped = false;
    let end = inside.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })?;
    let (text, after) = inside.split_at_checked(end)?;
    *rest = after.strip_prefix('"')?;
    Some(text)
}
