//! **What**: what of an address stays on an agent's item: scheme, host and port, and each path segment and each
//! parameter that has the shape of an id, a number or a short word. **Why**: clients put whole conversations into
//! queries, and on-call engineers need routes. **Invariants**: a second pass changes nothing; the result is bounded;
//! ASCII only. **Not here**: which keys hold addresses (`keys.addresses` in `config/dialects.yaml`).

/// What stands in place of what does not stay.
pub(super) const GONE: &str = "[…]";
/// Longest result, bytes.
const LONGEST: usize = 2 << 10;
/// Longest word, id and host, bytes.
const WORD: usize = 32;
const ID: usize = 64;
const HOST: usize = 255;
/// More lower-case letters in a row are words, in what is longer than a word may be.
const RUN: usize = 12;
/// So many words joined by dashes are a sentence: in a path or a name (`invoke-with-response-stream` is none), in a
/// value.
const JOINED: (usize, usize) = (5, 3);
/// So many words joined by full stops are; and so many in the segments of a path, or in a host.
const DOTTED: usize = 5;
const SEGMENTS: usize = 12;
/// Schemes whose addresses are content themselves.
const OPAQUE: [&str; 6] = ["data", "javascript", "vbscript", "blob", "mailto", "tel"];

/// What joins words.
const MARKS: &[char] = &['-', '_', '+', ' ', ',', ':', '@', '.', '~'];

/// Where a piece stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A segment of a path, the name of a parameter.
    Name,
    Value,
}

/// What stays of an address under `key`, if that is less.
pub(super) fn shown(key: &str, text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len().min(LONGEST));
    match key.rsplit(['.', '_']).next() {
        Some("query") => query(text, &mut out),
        Some("string") if key.ends_with("query_string") => query(text, &mut out),
        Some("fragment") => out.push_str(piece(text, Place::Value)),
        _ => address(text, &mut out),
    }
    if out.len() > LONGEST {
        let room = out.floor_char_boundary(LONGEST - GONE.len());
        // not within a piece
        let room = out.get(..room).and_then(|head| head.rfind(['/', '&', '?', '#'])).map_or(0, |at| at + 1);
        out.truncate(room);
        out.push_str(GONE);
    }
    (out != text).then_some(out)
}

fn address(text: &str, out: &mut String) {
    let (before, fragment) = split(text, '#');
    let (path, parameters) = split(before, '?');
    let opaque = |scheme: &str| OPAQUE.iter().any(|one| scheme.trim().eq_ignore_ascii_case(one));
    if path.split_once(':').is_some_and(|(scheme, _)| opaque(scheme)) {
        out.push_str(GONE);
        return;
    }
    let path = match path.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            out.push_str(scheme);
            out.push_str("://");
            out.push_str(if is_host(host) { host } else { GONE });
            path
        }
        _ => path,
    };
    let mut room = SEGMENTS;
    joined(path, '/', out, |segment, out| {
        room = room.saturating_sub(words(segment, MARKS));
        out.push_str(if room > 0 { piece(segment, Place::Name) } else { GONE });
    });
    if let Some(parameters) = parameters {
        out.push('?');
        query(parameters, out);
    }
    if let Some(fragment) = fragment {
        out.push('#');
        out.push_str(piece(fragment, Place::Value));
    }
}

fn query(text: &str, out: &mut String) {
    let text = match text.strip_prefix('?') {
        Some(rest) => {
            out.push('?');
            rest
        }
        None => text,
    };
    joined(text, '&', out, |parameter, out| {
        let (name, value) = split(parameter, '=');
        // without a name it is a value
        out.push_str(piece(name, if value.is_some() { Place::Name } else { Place::Value }));
        if let Some(value) = value {
            out.push('=');
            out.push_str(piece(value, Place::Value));
        }
    });
}

/// Each of the pieces between `mark`, until the result is too long.
fn joined(text: &str, mark: char, out: &mut String, mut each: impl FnMut(&str, &mut String)) {
    for (index, part) in text.split(mark).enumerate() {
        if index > 0 {
            out.push(mark);
        }
        if out.len() > LONGEST {
            return;
        }
        each(part, out);
    }
}

fn split(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, behind)| (before, Some(behind)))
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= WORD
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn is_host(text: &str) -> bool {
    text.len() <= HOST
        && text.split('.').all(|label| words(label, &['-', '_']) < JOINED.0)
        && words(text, MARKS) < SEGMENTS
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
}

/// The piece, or what stands in its place.
fn piece(text: &str, place: Place) -> &str {
    if is_template(text) || is_plain(text, place) { text } else { GONE }
}

/// `{id}`, `:id`, `<int:id>`, `*` of a route; a placeholder.
fn is_template(text: &str) -> bool {
    let inner = |open: char, close: char| text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    let name = |name: &str| is_plain(name, Place::Name);
    // `[EMAIL]`, `[PERSON:h-0123456789abcdef]`
    let placeholder = |text: &str| {
        let (name, pseudonym) = split(text, ':');
        let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        text.len() <= ID
            && !name.is_empty()
            && words(name, &['_']) < JOINED.0
            && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
            && pseudonym.is_none_or(|text| text.strip_prefix("h-").is_some_and(hex))
    };
    text == GONE
        || text.bytes().all(|byte| byte == b'*')
        || inner('[', ']').is_some_and(placeholder)
        || inner('{', '}').is_some_and(name)
        || inner('<', '>').is_some_and(name)
        || text.strip_prefix(':').is_some_and(name)
}

/// Whether all that a piece is made of are ids, numbers and short words, and no sentence.
fn is_plain(text: &str, place: Place) -> bool {
    let decoded;
    let text = match text.contains('%') {
        true => match decode(text) {
            Some(text) => {
                decoded = text;
                &decoded
            }
            None => return false,
        },
        false => text,
    };
    // of a name `ids[]`, of both `models/gemini:generateContent` and `claude@20250929`
    let marks: &[char] = if place == Place::Name { &['[', ']', ':', '@', '$', ','] } else { &[':', '@', ','] };
    let limit = if place == Place::Name { JOINED.0 } else { JOINED.1 };
    text.len() <= ID
        && words(text, &['-', '_', '+', ' ', ',', ':', '@']) < limit
        && words(text, MARKS) < limit.max(DOTTED)
        && text.split(marks).all(|part| part.is_empty() || is_word(part) || is_id(part))
}

/// With what is percent-encoded and ASCII; a blank counts as none of the alphabet.
fn decode(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('%') {
        out.push_str(before);
        let byte = u8::from_str_radix(behind.get(..2)?, 16).ok().filter(u8::is_ascii_graphic)?;
        out.push(char::from(byte));
        rest = behind.get(2..)?;
    }
    out.push_str(rest);
    Some(out)
}

fn in_alphabet(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
}

fn is_word(text: &str) -> bool {
    text.len() <= WORD && in_alphabet(text)
}

/// Longer than a word, with digits, and no row of letters that could be words.
fn is_id(text: &str) -> bool {
    let mut runs = text.split(|c: char| !c.is_ascii_lowercase());
    text.len() <= ID
        && in_alphabet(text)
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && runs.all(|run| run.len() <= RUN)
}

/// Pieces between `marks` that are letters alone.
fn words(text: &str, marks: &[char]) -> usize {
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic());
    text.split(marks).filter(is_word).count()
}

#[cfg(test)]
mod tests;
