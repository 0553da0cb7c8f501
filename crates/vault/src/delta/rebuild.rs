//! [`ContentRebuilder`]: restores documents with whole content from documents that refer to others. The result is
//! byte-exact. A document with invalid or excessive references is an error. Documents of one object are kept in stored
//! form. Neighbour: the crate `audit` opens fragments.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::piece::{self, ContentPiece};
use otlp::write_json_text;

use super::plan::MAX_DEPTH;

/// Longest chain of references that is followed.
const MAX_REFERENCE_CHAIN: u8 = 2 * MAX_DEPTH + 2;
/// Longest value, bytes; a request of 64 MiB gives at most about 140 MiB.
const MAX_VALUE: usize = 256 << 20;
/// Rebuilt pieces kept in the cache, bytes.
const MAX_CACHED_BYTES: usize = 64 << 20;

/// Why content can't be restored.
#[derive(Debug, PartialEq, Eq)]
pub enum RebuildError {
    /// It refers to this fragment, which was not added.
    MissingFragment(String),
    /// It has an invalid reference, or is malformed.
    Damaged(&'static str),
}

const MALFORMED: RebuildError = RebuildError::Damaged("the fragment is not a document of the vault");
const MISSING_BASE: RebuildError = RebuildError::Damaged("the fragment refers to content that does not exist");
/// The result would exceed the caller's limit.
pub const TOO_LARGE: RebuildError = RebuildError::Damaged("the fragment's content is too large");

#[derive(Deserialize)]
struct StoredDocument<'a> {
    #[serde(borrow)]
    fragment: Cow<'a, str>,
    #[serde(borrow)]
    items: Vec<StoredItem<'a>>,
}

#[derive(Deserialize)]
struct StoredItem<'a> {
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct PieceReference<'a> {
    #[serde(borrow)]
    fragment: Cow<'a, str>,
    item: u32,
    piece: u32,
}

#[derive(Deserialize)]
struct ContentElement<'a> {
    #[serde(borrow)]
    part: Option<Cow<'a, str>>,
    #[serde(borrow)]
    on: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    time: Option<String>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    base: Option<PieceReference<'a>>,
    pieces: Option<u32>,
    #[serde(default)]
    json: bool,
    #[serde(default)]
    prefix_chars: usize,
    #[serde(default)]
    suffix_chars: usize,
    #[serde(borrow)]
    new: Option<Cow<'a, str>>,
}

/// Elements of an item as stored, each with the number of pieces up to its end.
type StoredElements = Vec<(u32, Arc<str>)>;
type PieceAddress = (Arc<str>, u32, u32);

/// Restores whole content (see the module).
#[derive(Default)]
pub struct ContentRebuilder {
    fragments: HashMap<Arc<str>, Vec<StoredElements>>,
    cache: HashMap<PieceAddress, Arc<str>>,
    cached_bytes: usize,
}

impl ContentRebuilder {
    /// Keeps a document, so that others may refer to it.
    ///
    /// # Errors
    /// The bytes are not a document.
    pub fn add(&mut self, plain: &[u8]) -> Result<(), RebuildError> {
        let document: StoredDocument<'_> = serde_json::from_slice(plain).map_err(|_| MALFORMED)?;
        let items: Result<Vec<StoredElements>, RebuildError> =
            document.items.iter().map(|item| Ok(parse_elements(item.content.get())?.0)).collect();
        self.fragments.insert(document.fragment.into(), items?);
        Ok(())
    }

    /// The document with whole content, at most `limit` bytes; `None` if it is whole already. The document must have
    /// been added if its items refer to each other.
    ///
    /// # Errors
    /// It refers to a document that was not added, or has an invalid reference.
    pub fn rebuild(&mut self, plain: &[u8], limit: usize) -> Result<Option<Vec<u8>>, RebuildError> {
        let document: StoredDocument<'_> = serde_json::from_slice(plain).map_err(|_| MALFORMED)?;
        let (mut out, mut done) = (Vec::with_capacity(plain.len()), 0);
        for item in &document.items {
            let text = item.content.get();
            let (stored, refers) = parse_elements(text)?;
            if !refers {
                continue;
            }
            let range = subslice_range(plain, text).ok_or(MALFORMED)?;
            out.extend_from_slice(plain.get(done..range.start).ok_or(MALFORMED)?);
            done = range.end;
            out.push(b'[');
            let mut first = true;
            for (_, element) in &stored {
                for piece in self.expand_element(element, limit)? {
                    if !std::mem::take(&mut first) {
                        out.push(b',');
                    }
                    out.extend_from_slice(piece.as_bytes());
                    if out.len() > limit {
                        return Err(TOO_LARGE);
                    }
                }
            }
            out.push(b']');
        }
        if done == 0 {
            return Ok(None);
        }
        out.extend_from_slice(plain.get(done..).ok_or(MALFORMED)?);
        if out.len() > limit { Err(TOO_LARGE) } else { Ok(Some(out)) }
    }

    /// All pieces that an element represents.
    fn expand_element(&mut self, element: &Arc<str>, limit: usize) -> Result<Vec<Arc<str>>, RebuildError> {
        let parsed: ContentElement<'_> = serde_json::from_str(element).map_err(|_| MALFORMED)?;
        let (Some(base), Some(count)) = (&parsed.base, parsed.pieces) else {
            return Ok(vec![self.resolve_piece(element, 0, 0)?]);
        };
        let stored = self.find_item(base)?;
        let end = base.piece.checked_add(count).ok_or(MISSING_BASE)?;
        if stored.last().is_none_or(|(pieces, _)| end > *pieces) {
            return Err(MISSING_BASE);
        }
        let (mut out, mut bytes) = (Vec::new(), 0);
        for nth in 0..count {
            let piece = self.resolve_piece(element, nth, 0)?;
            bytes += piece.len();
            if bytes > limit {
                return Err(TOO_LARGE);
            }
            out.push(piece);
        }
        Ok(out)
    }

    fn find_item(&self, base: &PieceReference<'_>) -> Result<&StoredElements, RebuildError> {
        let items = self
            .fragments
            .get(&*base.fragment)
            .ok_or_else(|| RebuildError::MissingFragment(base.fragment.to_string()))?;
        usize::try_from(base.item).ok().and_then(|item| items.get(item)).ok_or(MISSING_BASE)
    }

    /// The whole form of a base's piece.
    fn resolve_base(&mut self, base: &PieceReference<'_>, row: u8) -> Result<Arc<str>, RebuildError> {
        if row > MAX_REFERENCE_CHAIN {
            return Err(MISSING_BASE);
        }
        let at: PieceAddress = (Arc::from(&*base.fragment), base.item, base.piece);
        if let Some(whole) = self.cache.get(&at) {
            return Ok(Arc::clone(whole));
        }
        let stored = self.find_item(base)?;
        let found = stored.partition_point(|(end, _)| *end <= base.piece);
        let (_, element) = stored.get(found).ok_or(MISSING_BASE)?;
        let before = found.checked_sub(1).and_then(|at| stored.get(at)).map_or(0, |(end, _)| *end);
        let (element, nth) = (Arc::clone(element), base.piece - before);
        let whole = self.resolve_piece(&element, nth, row)?;
        if self.cached_bytes > MAX_CACHED_BYTES {
            self.cache.clear();
            self.cached_bytes = 0;
        }
        self.cached_bytes += whole.len();
        self.cache.insert(at, Arc::clone(&whole));
        Ok(whole)
    }

    /// Piece number `nth` of those that an element represents.
    fn resolve_piece(&mut self, element: &Arc<str>, nth: u32, row: u8) -> Result<Arc<str>, RebuildError> {
        let parsed: ContentElement<'_> = serde_json::from_str(element).map_err(|_| MALFORMED)?;
        let Some(base) = parsed.base else { return Ok(Arc::clone(element)) };
        if parsed.pieces.is_some() {
            let piece = base.piece.checked_add(nth).ok_or(MISSING_BASE)?;
            return self.resolve_base(&PieceReference { piece, ..base }, row + 1);
        }
        let whole = self.resolve_base(&base, row + 1)?;
        let earlier: ContentElement<'_> = serde_json::from_str(&whole).map_err(|_| MALFORMED)?;
        let earlier = value_text(earlier.value.ok_or(MISSING_BASE)?);
        let new = parsed.new.unwrap_or_default();
        let start = byte_offset_after(&earlier, parsed.prefix_chars).ok_or(MISSING_BASE)?;
        let suffix = match parsed.suffix_chars.checked_sub(1) {
            None => earlier.len(),
            Some(back) => earlier.char_indices().nth_back(back).ok_or(MISSING_BASE)?.0,
        };
        let (Some(start), Some(end)) = (earlier.get(..start), earlier.get(suffix..)) else { return Err(MISSING_BASE) };
        if start.len() + new.len() + end.len() > MAX_VALUE {
            return Err(TOO_LARGE);
        }
        let value = [start, &new, end].concat();
        let piece = ContentPiece {
            part: parsed.part.ok_or(MALFORMED)?,
            on: parsed.on.ok_or(MALFORMED)?,
            key: parsed.key,
            event: parsed.event,
            time: parsed.time,
        };
        let mut out = String::with_capacity(value.len() + 256);
        piece::append_unclosed(&mut out, &piece);
        out.push_str(",\"value\":");
        if parsed.json {
            out.push_str(&value)
        } else {
            write_json_text(&value, &mut out)
        }
        out.push('}');
        Ok(out.into())
    }
}

/// The elements of a content array, and whether any of them is a reference.
fn parse_elements(content: &str) -> Result<(StoredElements, bool), RebuildError> {
    let raw: Vec<&RawValue> = serde_json::from_str(content).map_err(|_| MALFORMED)?;
    let (mut stored, mut refers, mut pieces) = (StoredElements::with_capacity(raw.len()), false, 0_u32);
    for element in raw {
        let parsed: ContentElement<'_> = serde_json::from_str(element.get()).map_err(|_| MALFORMED)?;
        refers |= parsed.base.is_some();
        pieces = pieces.checked_add(parsed.pieces.unwrap_or(1)).ok_or(MALFORMED)?;
        stored.push((pieces, element.get().into()));
    }
    Ok((stored, refers))
}

/// A value as text: a text itself, or structure as JSON.
fn value_text(value: &RawValue) -> Cow<'_, str> {
    match serde_json::from_str::<String>(value.get()) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(value.get()),
    }
}

/// Byte offset after the first `chars` characters.
fn byte_offset_after(text: &str, chars: usize) -> Option<usize> {
    match chars.checked_sub(1) {
        None => Some(0),
        Some(last) => text.char_indices().nth(last).map(|(at, char)| at + char.len_utf8()),
    }
}

/// Byte range of `part`, a subslice of `whole`.
fn subslice_range(whole: &[u8], part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len()).filter(|end| *end <= whole.len())?;
    Some(start..end)
}
