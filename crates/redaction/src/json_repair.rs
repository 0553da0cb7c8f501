//! Keeps JSON documents valid. A rule may read another notation within a string (`<token>`, `'…`) and continue after
//! the closing quote, which would break the document.
//!
//! In a document that parses, each hit must lie within a string, or cover a whole bare value (one without
//! quotes), whose placeholder then gets quotes. A hit that reaches further is split into such parts; punctuation
//! between them, constants, and keys after its first string stay, and escapes are never split. A string that is itself
//! such a document, as the arguments of a tool call, is treated the same way. Depth is bounded, because each level
//! doubles the backslashes.

use std::ops::Range;

use kernel::notation::{Notation, Token, Tokens, escape_at};

use super::resolve::{RedactionHit, is_placeholder};
use super::scan::is_object_key;
use super::views::{DecodedView, ViewEncoding, escapes};

/// Splits hits that would break the document `text`, or a document in its strings; leaves other texts alone. `known`:
/// names of placeholders.
pub(super) fn split_breaking_hits(text: &str, hits: &mut Vec<RedactionHit>, known: &dyn Fn(&str) -> bool) {
    let may_be_json = text.trim_ascii_start().starts_with(['{', '[', '"']);
    let covers_text = |hit: &RedactionHit| hit.range.start == 0 && hit.range.end == text.len();
    if hits.is_empty() || !may_be_json || hits.iter().any(covers_text) {
        return;
    }
    let split_hits = split_by_tokens(text, hits, known);
    if split_hits != *hits && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        *hits = split_hits;
    }
}

/// The parts of hits that lie in each string and bare value.
fn split_by_tokens(text: &str, hits: &[RedactionHit], known: &dyn Fn(&str) -> bool) -> Vec<RedactionHit> {
    let (mut hits, mut split_hits) = (hits, Vec::with_capacity(hits.len()));
    for token in json_tokens(text) {
        while let [first, rest @ ..] = hits
            && first.range.end <= token.range.start
        {
            hits = rest;
        }
        if hits.first().is_none_or(|hit| hit.range.start >= token.range.end) {
            continue;
        }
        let in_token = hits.iter().take_while(|hit| hit.range.start < token.range.end);
        let mut parts: Vec<RedactionHit> = Vec::new();
        for part in in_token.filter_map(|hit| covered_part(text, hit, &token, known)) {
            if parts.last().is_none_or(|last| last.range.end <= part.range.start) {
                parts.push(part);
            }
        }
        if token.is_string
            && !parts.is_empty()
            && let Some(document) = decode_document(text, token.range)
        {
            let mut inner_hits: Vec<RedactionHit> = parts.iter().map(|hit| map_in(&document, hit)).collect();
            split_breaking_hits(&document.text, &mut inner_hits, known);
            parts = inner_hits.into_iter().filter_map(|hit| ViewEncoding::Escapes.map_claim(&document, hit)).collect();
        }
        split_hits.extend(parts);
    }
    split_hits
}

/// Decodes the string at `range` if it may be a document.
fn decode_document(text: &str, range: Range<usize>) -> Option<DecodedView> {
    let raw = text.get(range.clone()).filter(|raw| raw.starts_with(['{', '[', ' ', '\\']))?;
    let mut document = DecodedView::default();
    document.reset(range.start);
    escapes::decode(raw, &mut document);
    Some(document)
}

/// Maps a hit of the text into the decoded string; a hit that cuts an escape takes all of it.
fn map_in(document: &DecodedView, hit: &RedactionHit) -> RedactionHit {
    let added_quotes = hit.added_quotes.map(|backslashes| backslashes.saturating_sub(1) / 2);
    let range = document.map_position_in(hit.range.start, false)..document.map_position_in(hit.range.end, true);
    RedactionHit { range, rule: hit.rule, added_quotes }
}

/// The part of a token that a hit covers, if it is to be replaced.
fn covered_part(
    text: &str,
    hit: &RedactionHit,
    token: &JsonToken,
    known: &dyn Fn(&str) -> bool,
) -> Option<RedactionHit> {
    let found = text.get(token.range.clone()).unwrap_or_default();
    if !token.is_string {
        let is_constant = matches!(found, "true" | "false" | "null");
        return (!is_constant).then(|| RedactionHit {
            range: token.range.clone(),
            rule: hit.rule,
            added_quotes: Some(0),
        });
    }
    let (start, end) = (hit.range.start.max(token.range.start), hit.range.end.min(token.range.end));
    let start = escape_at(text, 0, start).map_or(start, |escape| escape.start);
    let range = start..escape_at(text, 0, end).map_or(end, |escape| escape.end);
    // An existing placeholder stays, and so does a key that the hit ran into
    let must_stay = range == token.range && is_placeholder(found, known)
        || hit.range.start < token.range.start
            && is_object_key(text.as_bytes().get(token.range.end + 1..).unwrap_or_default());
    (!range.is_empty() && !must_stay).then_some(RedactionHit { range, rule: hit.rule, added_quotes: None })
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
