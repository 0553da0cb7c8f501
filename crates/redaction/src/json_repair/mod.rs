//! Keeps JSON documents valid. A rule may read another notation within a string (`<token>`, `'…`) and continue after
//! the closing quote, which would break the document.
//!
//! In an object or array that parses, each hit must lie within a string, or cover a whole bare value (one without
//! quotes), whose placeholder then gets quotes. A hit that reaches further is split into such parts; punctuation
//! between them, constants, and keys after its first string stay, and escapes are never split. A string that is itself
//! such a document is treated the same way ([`nested`]).

mod nested;

use std::ops::Range;

use kernel::notation::{Notation, Token, Tokens, escape_at};

use super::resolve::{RedactionHit, is_placeholder};
use super::scan::is_object_key;

/// Splits hits that would break the document `text`, or a document in its strings; leaves other texts alone. `known`:
/// names of placeholders.
pub(super) fn split_breaking_hits(text: &str, hits: &mut Vec<RedactionHit>, known: &dyn Fn(&str) -> bool) {
    let may_be_json = text.trim_ascii_start().starts_with(['{', '[']);
    let covers_text = |hit: &RedactionHit| hit.range.start == 0 && hit.range.end == text.len();
    if hits.is_empty() || !may_be_json || hits.iter().any(covers_text) {
        return;
    }
    let all_fit = all_hits_fit(text, hits);
    let any_crosses = hits.iter().any(|hit| nested::may_cross(text, hit));
    if all_fit && !any_crosses || serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return;
    }
    if !all_fit {
        split_all(text, hits, known);
    }
    if any_crosses {
        split_in_strings(text, hits, known);
    }
}

/// Splits hits that would break documents in the strings of `text`.
fn split_in_strings(text: &str, hits: &mut Vec<RedactionHit>, known: &dyn Fn(&str) -> bool) {
    let mut split_hits: Vec<RedactionHit> = Vec::new();
    let mut from = 0;
    for token in json_tokens(text).filter(|token| token.is_string) {
        let rest = hits.get(from..).unwrap_or_default();
        let first = from + rest.partition_point(|hit| hit.range.start < token.range.start);
        let end = from + rest.partition_point(|hit| hit.range.end <= token.range.end);
        let hits_in_string = hits.get(first..end).unwrap_or_default();
        if !hits_in_string.iter().any(|hit| nested::may_cross(text, hit)) {
            continue;
        }
        let Some(document) = nested::decode(text, token.range) else { continue };
        let mut inner_hits: Vec<RedactionHit> =
            hits_in_string.iter().map(|hit| nested::map_in(&document, hit)).collect();
        split_breaking_hits(&document.text, &mut inner_hits, known);
        split_hits.extend(hits.get(from..first).unwrap_or_default().iter().cloned());
        split_hits.extend(inner_hits.iter().map(|hit| nested::map_out(&document, hit)));
        from = end;
    }
    if from > 0 {
        split_hits.extend(hits.drain(..).skip(from));
        *hits = split_hits;
    }
}

/// Splits hits into the parts that lie in each string and bare value.
fn split_all(text: &str, hits: &mut Vec<RedactionHit>, known: &dyn Fn(&str) -> bool) {
    let mut tokens = json_tokens(text).peekable();
    let mut split_hits: Vec<RedactionHit> = Vec::with_capacity(hits.len());
    for hit in hits.drain(..) {
        while tokens.next_if(|token| token.range.end <= hit.range.start).is_some() {}
        while let Some(token) = tokens.peek().filter(|token| token.range.start < hit.range.end) {
            add_covered_part(text, (&hit, token), known, &mut split_hits);
            // The next hit may lie in the same string
            if token.range.end > hit.range.end {
                break;
            }
            tokens.next();
        }
    }
    *hits = split_hits;
}

/// Adds the part of a token that a hit covers.
fn add_covered_part(
    text: &str,
    (hit, token): (&RedactionHit, &JsonToken),
    known: &dyn Fn(&str) -> bool,
    out: &mut Vec<RedactionHit>,
) {
    let found = text.get(token.range.clone()).unwrap_or_default();
    let (range, added_quotes) = match token.is_string {
        true => {
            let (start, end) = (hit.range.start.max(token.range.start), hit.range.end.min(token.range.end));
            let start = escape_at(text, 0, start).map_or(start, |escape| escape.start);
            (start..escape_at(text, 0, end).map_or(end, |escape| escape.end), None)
        }
        false => (token.range.clone(), Some(0)),
    };
    let is_constant = !token.is_string && matches!(found, "true" | "false" | "null");
    // An existing placeholder stays, and so does a key that the hit ran into
    let must_stay = range == token.range && is_placeholder(found, known)
        || token.is_string
            && hit.range.start < token.range.start
            && is_object_key(text.as_bytes().get(token.range.end + 1..).unwrap_or_default());
    let overlaps_last = out.last().is_some_and(|last| last.range.end > range.start);
    if !range.is_empty() && !is_constant && !must_stay && !overlaps_last {
        out.push(RedactionHit { range, rule: hit.rule, added_quotes });
    }
}

/// Whether each hit lies within a string, or is a bare value that gets quotes.
fn all_hits_fit(text: &str, hits: &[RedactionHit]) -> bool {
    let mut tokens = json_tokens(text).peekable();
    hits.iter().all(|hit| {
        while tokens.next_if(|token| token.range.end < hit.range.end).is_some() {}
        tokens.peek().is_some_and(|token| match token.is_string {
            true => {
                let keeps_escapes =
                    escape_at(text, 0, hit.range.start).is_none() && escape_at(text, 0, hit.range.end).is_none();
                let is_within = token.range.start <= hit.range.start && hit.range.end <= token.range.end;
                hit.added_quotes.is_none() && is_within && keeps_escapes
            }
            false => hit.added_quotes == Some(0) && token.range == hit.range,
        })
    })
}

/// A string without its quotes, or a bare value.
struct JsonToken {
    range: Range<usize>,
    is_string: bool,
}

/// The strings and bare values of a document in order. For other texts, arbitrary ranges.
fn json_tokens(text: &str) -> impl Iterator<Item = JsonToken> {
    Tokens::new(text, Notation::Json).filter_map(|token| match token {
        Token::Text { range, .. } => Some(JsonToken { range, is_string: true }),
        Token::Word(range) => Some(JsonToken { range, is_string: false }),
        _ => None,
    })
}
