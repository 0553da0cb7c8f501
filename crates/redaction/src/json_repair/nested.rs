//! Documents in the strings of a document: the arguments of a tool call are JSON in JSON, and their readers parse the
//! inner document too. A string is decoded only if it may be a document and has hits. Depth is bounded, because each
//! level doubles the backslashes. The parent module splits the hits.

use std::ops::Range;

use kernel::notation::decode_escape;

use super::super::resolve::RedactionHit;
use super::super::views::DecodedView;

/// Decodes the string at `range` if it may be a document.
pub(super) fn decode(text: &str, range: Range<usize>) -> Option<DecodedView> {
    let raw = text.get(range.clone()).filter(|raw| raw.starts_with(['{', '[', ' ', '\\']))?;
    let mut document = DecodedView::default();
    document.reset(range.start);
    let mut is_valid = true;
    let next = |from: usize| Some(from + memchr::memchr(b'\\', raw.as_bytes().get(from..)?)?);
    document.decode(raw, next, |at| {
        let (character, len) = decode_escape(raw.get(at..).unwrap_or_default());
        is_valid &= character.is_some();
        Ok((len, character))
    });
    is_valid.then_some(document)
}

/// Maps a hit of the text into the decoded string; a hit that cuts an escape takes all of it.
pub(super) fn map_in(document: &DecodedView, hit: &RedactionHit) -> RedactionHit {
    let added_quotes = hit.added_quotes.map(|backslashes| backslashes.saturating_sub(1) / 2);
    let range = document.map_position_in(hit.range.start, false)..document.map_position_in(hit.range.end, true);
    RedactionHit { range, rule: hit.rule, added_quotes }
}
