//! Decides which parts of an address stay on an agent's item: scheme, host and port, and each path segment and
//! parameter that is an id, a number or a common word of a route. Clients put whole conversations into query strings,
//! while on-call engineers need the route.
//!
//! The result is ASCII and bounded, and applying the function again changes nothing. `keys.addresses` in
//! `config/dialects.yaml` lists the keys that hold addresses.

use super::opaque::{is_encoded_text, is_opaque};
use super::words::{LISTS, WordCount, fits_words, split_words};

/// Replacement for a removed part.
pub(super) const REMOVED_MARK: &str = "[…]";
/// Maximum size of the result, bytes.
const MAX_ADDRESS_BYTES: usize = 2 << 10;
/// Maximum size of a scheme, a piece (path segment, parameter name or value) and a host, bytes.
const MAX_SCHEME_BYTES: usize = 32;
const MAX_PIECE_BYTES: usize = 64;
const MAX_HOST_BYTES: usize = 255;
/// Maximum length of an unknown word in letters: a longer one may be several words run together.
const MAX_UNKNOWN_WORD_LETTERS: usize = 12;
/// Maximum number of words in a piece, known words included.
const MAX_PIECE_WORDS: usize = 6;
/// A piece with more words than this may have at most one unknown word.
const MAX_FREE_WORDS: usize = 4;
/// Maximum number of unknown words in a path and its parameters. More could be a sentence, and then no unknown word
/// stays.
const MAX_UNKNOWN_WORDS: usize = 4;
/// A host with this many words in one label, or this many in total, is a sentence.
const SENTENCE_LABEL_WORDS: usize = 5;
const SENTENCE_HOST_WORDS: usize = 12;
/// Maximum size of a span's name, bytes, and number of its words, in all and before an address.
const MAX_NAME_BYTES: usize = 128;
const MAX_SPAN_WORDS: usize = 5;
const MAX_WORDS_BEFORE_ADDRESS: usize = 3;
/// Schemes whose addresses are content as a whole.
const OPAQUE_SCHEMES: [&str; 6] = ["data", "javascript", "vbscript", "blob", "mailto", "tel"];

/// The position of a piece within an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PiecePosition {
    /// A path segment or a parameter's name.
    Name,
    Value,
}

/// The part of an address under `key` that stays. `None` if all of it stays.
pub(super) fn shorten_address(key: &str, text: &str) -> Option<String> {
    let write = |keep_unknown_words| {
        let mut writer = RouteWriter { keep_unknown_words, ..RouteWriter::default() };
        writer.write(key, text);
        writer
    };
    let writer = write(true);
    let mut out = if writer.unknown_words_kept > MAX_UNKNOWN_WORDS { write(false).out } else { writer.out };
    if out.len() > MAX_ADDRESS_BYTES {
        let room = out.floor_char_boundary(MAX_ADDRESS_BYTES - REMOVED_MARK.len());
        // Cut between pieces, not within one.
        let room = out.get(..room).and_then(|head| head.rfind(['/', '&', '?', '#'])).map_or(0, |at| at + 1);
        out.truncate(room);
        out.push_str(REMOVED_MARK);
    }
    (out != text).then_some(out)
}

#[derive(Default)]
struct RouteWriter {
    out: String,
    /// Whether unknown words may stay.
    keep_unknown_words: bool,
    /// Number of unknown words that stayed.
    unknown_words_kept: usize,
}

impl RouteWriter {
    fn write(&mut self, key: &str, text: &str) {
        match key.rsplit(['.', '_']).next() {
            Some("query") => self.write_query(text),
            Some("string") if key.ends_with("query_string") => self.write_query(text),
            Some("fragment") => self.write_piece(text, PiecePosition::Value),
            _ => self.write_address(text),
        }
    }

    fn write_address(&mut self, text: &str) {
        let (before, fragment) = split_at_mark(text, '#');
        let (path, parameters) = split_at_mark(before, '?');
        let is_opaque_scheme = |scheme: &str| OPAQUE_SCHEMES.iter().any(|one| scheme.trim().eq_ignore_ascii_case(one));
        if path.split_once(':').is_some_and(|(scheme, _)| is_opaque_scheme(scheme)) {
            self.out.push_str(REMOVED_MARK);
            return;
        }
        let path = match path.split_once(":/") {
            Some((scheme, rest)) if is_scheme(scheme) => {
                let rest = rest.trim_start_matches('/');
                let slashes = path.len() - scheme.len() - rest.len();
                let (authority, tail) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                self.out.push_str(path.get(..scheme.len() + slashes.min(MAX_ADDRESS_BYTES)).unwrap_or(scheme));
                self.out.push_str(if is_host(host) { host } else { REMOVED_MARK });
                tail
            }
            _ => path,
        };
        self.write_joined(path, '/', |writer, segment| writer.write_piece(segment, PiecePosition::Name));
        if let Some(parameters) = parameters {
            self.out.push('?');
            self.write_query(parameters);
        }
        if let Some(fragment) = fragment {
            self.out.push('#');
            self.write_piece(fragment, PiecePosition::Value);
        }
    }

    fn write_query(&mut self, text: &str) {
        let rest = text.strip_prefix('?');
        self.out.extend(rest.map(|_| '?'));
        self.write_joined(rest.unwrap_or(text), '&', |writer, parameter| {
            let (name, value) = split_at_mark(parameter, '=');
            // A parameter without a name is a value.
            writer.write_piece(name, if value.is_some() { PiecePosition::Name } else { PiecePosition::Value });
            if let Some(value) = value {
                writer.out.push('=');
                writer.write_piece(value, PiecePosition::Value);
            }
        });
    }

    /// Writes the pieces between `mark` with `write_part`, until the result is too long.
    fn write_joined(&mut self, text: &str, mark: char, mut write_part: impl FnMut(&mut Self, &str)) {
        for (index, part) in text.split(mark).enumerate() {
            if index > 0 {
                self.out.push(mark);
            }
            if self.out.len() > MAX_ADDRESS_BYTES {
                return;
            }
            write_part(self, part);
        }
    }

    /// Writes a piece, or [`REMOVED_MARK`] if it may not stay.
    fn write_piece(&mut self, text: &str, position: PiecePosition) {
        let unknown = if is_template(text) { Some(0) } else { count_unknown_words(text, position) };
        let stays =
            unknown.filter(|unknown| *unknown == 0 || (position == PiecePosition::Name && self.keep_unknown_words));
        self.unknown_words_kept += stays.unwrap_or(0);
        self.out.push_str(if stays.is_some() { text } else { REMOVED_MARK });
    }
}

fn split_at_mark(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_SCHEME_BYTES
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn is_host(text: &str) -> bool {
    let count_words = |text: &str| split_words(text).filter(|word| word.len() > 1).count();
    text.len() <= MAX_HOST_BYTES
        && text.split('.').all(|label| count_words(label) < SENTENCE_LABEL_WORDS)
        && count_words(text) < SENTENCE_HOST_WORDS
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
}

/// Returns true for a route template (`{id}`, `:id`, `<int:id>`, `*`) or a placeholder.
fn is_template(text: &str) -> bool {
    let between = |open: char, close: char| text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    let is_name = |name: &str| count_unknown_words(name, PiecePosition::Name).is_some();
    // `[EMAIL]`, `[PERSON:h-0123456789abcdef]`
    let is_placeholder = |text: &str| {
        let (name, pseudonym) = split_at_mark(text, ':');
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        text.len() <= MAX_PIECE_BYTES
            && !name.is_empty()
            && split_words(name).count() < SENTENCE_LABEL_WORDS
            && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
            && pseudonym.is_none_or(|text| text.strip_prefix("h-").is_some_and(is_hex))
    };
    text == REMOVED_MARK
        || text.bytes().all(|byte| byte == b'*')
        || between('[', ']').is_some_and(is_placeholder)
        || between('{', '}').is_some_and(is_name)
        || between('<', '>').is_some_and(is_name)
        || text.strip_prefix(':').is_some_and(is_name)
}

/// The number of unknown words in a piece. `None`: the piece never stays, whatever the rest of the address holds.
fn count_unknown_words(text: &str, position: PiecePosition) -> Option<usize> {
    if LISTS.route.contains(text) {
        return Some(0);
    }
    let decoded;
    let text = match text.contains('%') {
        true => {
            decoded = decode_percent_escapes(text)?;
            &decoded
        }
        false => text,
    };
    if is_opaque(text) {
        return Some(0);
    }
    // Names may be `ids[]`; names and values may be `models/gemini:generateContent` or `claude@20250929`.
    let marks: &[char] =
        if position == PiecePosition::Name { &['[', ']', ':', '@', '$', ','] } else { &[':', '@', ','] };
    let in_alphabet =
        text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b) || marks.contains(&b.into()));
    // `user:password@…`
    let has_credentials = text.split_once('@').is_some_and(|(before, _)| before.contains(':'));
    let not_all_lowercase = text.bytes().any(|byte| !byte.is_ascii_lowercase());
    if text.len() > MAX_PIECE_BYTES || !in_alphabet || has_credentials || (not_all_lowercase && is_encoded_text(text)) {
        return None;
    }
    let (mut words, mut unknown) = (0, 0);
    // A part that is all of the text was judged before: the text is not opaque here.
    let is_judged = |part: &str, whole: &str| part.len() == whole.len() || !is_opaque(part);
    for whole in text.split(marks).filter(|part| is_judged(part, text)) {
        for part in whole.split(['-', '_', '.', '~']).filter(|part| is_judged(part, whole)) {
            let has_digit = part.bytes().any(|byte| byte.is_ascii_digit());
            for word in split_words(part) {
                let known =
                    LISTS.route.contains_in_any_case(word) || (word.len() == 1 && (has_digit || text.len() == 1));
                words += 1;
                unknown += usize::from(!known && (word.len() > 1 || position == PiecePosition::Value));
                if !known && word.len() > MAX_UNKNOWN_WORD_LETTERS {
                    return None;
                }
            }
        }
    }
    (words <= MAX_FREE_WORDS || (words <= MAX_PIECE_WORDS && unknown < 2)).then_some(unknown)
}

/// Returns true if an address holds only a scheme, a host, ids, numbers and words of a route.
pub fn is_route(text: &str) -> bool {
    shorten_address("", text).is_none()
}

/// Returns true for the name of a span or event that is an operation: five words, a few more that are neutral around
/// one blank (`execute_tool get_issue`), or an address that stays, behind at most three words (`GET /users/{id}`).
pub fn is_plain_name(text: &str) -> bool {
    let (before, last) = text.rsplit_once(' ').unwrap_or(("", text));
    if last.starts_with('/') || last.contains("://") {
        return text.len() <= MAX_NAME_BYTES
            && fits_words(before, MAX_WORDS_BEFORE_ADDRESS, MAX_NAME_BYTES)
            && is_route(last);
    }
    let fits = |count: WordCount| {
        count.words <= MAX_SPAN_WORDS
            || (count.blanks <= 1 && count.telling <= MAX_SPAN_WORDS && count.words <= 2 * MAX_SPAN_WORDS)
    };
    WordCount::of(text, MAX_NAME_BYTES).is_some_and(fits)
}

/// Decodes percent escapes of printable ASCII. `None` for any other escape, including a blank.
fn decode_percent_escapes(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let byte = u8::from_str_radix(after.get(..2)?, 16).ok().filter(u8::is_ascii_graphic)?;
        out.push(char::from(byte));
        rest = after.get(2..)?;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests;
