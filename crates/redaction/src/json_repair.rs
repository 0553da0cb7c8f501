//! Keeps JSON documents valid. A rule may read another notation within a string (`<token>`, `'…`) and continue behind
//! the closing quote, which would break the document.
//!
//! In an object or array that parses, a hit must lie within a string, or cover a whole bare value, which then gets
//! quotes. A hit that reaches further is split into such parts; punctuation between them and keys after its first
//! string stay, and escapes are never split. A string that is itself such a document is treated the same way
//! ([`nested`]).

mod nested;

use std::ops::Range;

use super::resolve::{RedactionHit, is_placeholder};

/// Splits hits that would break the document `text`, or a document in its strings; leaves other texts alone. `known`:
/// names of placeholders.
pub(super) fn split_breaking_hits(text: &str, hits: &mut Vec<RedactionHit>, known: &dyn Fn(&str) -> bool) {
    let opens = text.trim_ascii_start().starts_with(['{', '[']);
    let whole = |hit: &RedactionHit| hit.range.start == 0 && hit.range.end == text.len();
    if hits.is_empty() || !opens || hits.iter().any(whole) {
        return;
    }
    let (fit, deeper) = (all_hits_fit(text, hits), hits.iter().any(|hit| nested::may_cross(text, hit)));
    if fit && !deeper || serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return;
    }
    if !fit {
        split_all(text, hits, known);
    }
    if deeper {
        split_in_strings(text, hits, known);
    }
}

/// Splits hits that would break documents in the strings of `text`.
fn split_in_strings(text: &str, hits: &mut Vec<RedactionHit>, known: &dyn Fn(&str) -> bool) {
    let mut parted: Vec<RedactionHit> = Vec::new();
    let mut from = 0;
    for token in JsonTokens::new(text).filter(|token| token.is_string) {
        let rest = hits.get(from..).unwrap_or_default();
        let first = from + rest.partition_point(|hit| hit.range.start < token.range.start);
        let upto = from + rest.partition_point(|hit| hit.range.end <= token.range.end);
        let here = hits.get(first..upto).unwrap_or_default();
        if !here.iter().any(|hit| nested::may_cross(text, hit)) {
            continue;
        }
        let Some(inner) = nested::DecodedString::decode(text, token.range) else { continue };
        let mut below: Vec<RedactionHit> = here.iter().map(|hit| inner.map_in(hit)).collect();
        split_breaking_hits(&inner.text, &mut below, known);
        parted.extend(hits.get(from..first).unwrap_or_default().iter().cloned());
        parted.extend(below.iter().map(|hit| inner.map_out(hit)));
        from = upto;
    }
    if from > 0 {
        parted.extend(hits.drain(..).skip(from));
        *hits = parted;
    }
}

/// Splits hits into the parts that lie in each string and bare value.
fn split_all(text: &str, hits: &mut Vec<RedactionHit>, known: &dyn Fn(&str) -> bool) {
    let mut tokens = JsonTokens::new(text).peekable();
    let mut parted: Vec<RedactionHit> = Vec::with_capacity(hits.len());
    for hit in hits.drain(..) {
        while tokens.next_if(|token| token.range.end <= hit.range.start).is_some() {}
        while let Some(token) = tokens.peek().filter(|token| token.range.start < hit.range.end) {
            add_covered_part(text, (&hit, token), known, &mut parted);
            // The next hit may lie in the same string
            if token.range.end > hit.range.end {
                break;
            }
            tokens.next();
        }
    }
    *hits = parted;
}

/// Adds the part of a token that a hit covers.
fn add_covered_part(
    text: &str,
    (hit, token): (&RedactionHit, &JsonToken),
    known: &dyn Fn(&str) -> bool,
    out: &mut Vec<RedactionHit>,
) {
    let found = text.get(token.range.clone()).unwrap_or_default();
    let (range, bare) = match token.is_string {
        true => {
            let (start, end) = (hit.range.start.max(token.range.start), hit.range.end.min(token.range.end));
            let start = escape_at(text, start).map_or(start, |escape| escape.start);
            (start..escape_at(text, end).map_or(end, |escape| escape.end), None)
        }
        false => (token.range.clone(), Some(0)),
    };
    let constant = !token.is_string && matches!(found, "true" | "false" | "null");
    // An existing placeholder stays, and so does a key that the hit ran into
    let held = range == token.range && is_placeholder(found, known)
        || token.is_string
            && hit.range.start < token.range.start
            && is_object_key(text.as_bytes().get(token.range.end + 1..).unwrap_or_default());
    let again = out.last().is_some_and(|last| last.range.end > range.start);
    if !range.is_empty() && !constant && !held && !again {
        out.push(RedactionHit { range, rule: hit.rule, added_quotes: bare });
    }
}

/// Whether a string is an object's key, given the text behind its quote.
pub(super) fn is_object_key(behind: &[u8]) -> bool {
    behind.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// Whether each hit lies within a string, or is a bare value that gets quotes.
fn all_hits_fit(text: &str, hits: &[RedactionHit]) -> bool {
    let mut tokens = JsonTokens::new(text).peekable();
    hits.iter().all(|hit| {
        while tokens.next_if(|token| token.range.end < hit.range.end).is_some() {}
        tokens.peek().is_some_and(|token| match token.is_string {
            true => {
                let whole = escape_at(text, hit.range.start).is_none() && escape_at(text, hit.range.end).is_none();
                let within = token.range.start <= hit.range.start && hit.range.end <= token.range.end;
                hit.added_quotes.is_none() && within && whole
            }
            false => hit.added_quotes == Some(0) && token.range == hit.range,
        })
    })
}

/// Returns the escape that a cut at `at` would split.
fn escape_at(text: &str, at: usize) -> Option<Range<usize>> {
    let begins = |at: usize| {
        let before = text.as_bytes().get(..=at).unwrap_or_default();
        before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
    };
    let wide = |from: &usize| text.as_bytes().get(from + 1) == Some(&b'u');
    let near = (1..=5).filter_map(|back| at.checked_sub(back));
    let from = near.into_iter().find(|from| begins(*from) && (from + 1 == at || wide(from)))?;
    Some(from..text.len().min(from + if wide(&from) { 6 } else { 2 }))
}

/// A string without its quotes, or a bare value.
struct JsonToken {
    range: Range<usize>,
    is_string: bool,
}

/// The strings and bare values of a document in order. For other texts, arbitrary ranges.
struct JsonTokens<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> JsonTokens<'t> {
    fn new(text: &'t str) -> Self {
        Self { text: text.as_bytes(), at: 0 }
    }

    /// End of the string whose content begins at `from`.
    fn string_end(&self, from: usize) -> usize {
        let mut at = from;
        loop {
            match memchr::memchr2(b'"', b'\\', self.text.get(at..).unwrap_or_default()) {
                Some(found) if self.text.get(at + found) == Some(&b'\\') => at += found + 2,
                Some(found) => return at + found,
                None => return self.text.len(),
            }
        }
    }
}

impl Iterator for JsonTokens<'_> {
    type Item = JsonToken;

    fn next(&mut self) -> Option<JsonToken> {
        let mark = |byte: &u8| b"{}[]:, \t\r\n".contains(byte);
        let rest = self.text.get(self.at..)?;
        let start = self.at + rest.iter().position(|byte| !mark(byte))?;
        if self.text.get(start) == Some(&b'"') {
            let end = self.string_end(start + 1);
            self.at = end + 1;
            return Some(JsonToken { range: start + 1..end, is_string: true });
        }
        let rest = self.text.get(start..).unwrap_or_default();
        let end = start + rest.iter().position(|byte| mark(byte) || *byte == b'"').unwrap_or(rest.len());
        self.at = end;
        Some(JsonToken { range: start..end, is_string: false })
    }
}
