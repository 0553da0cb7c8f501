//! [`ContentRebuilder`]: restores whole content in documents that refer to earlier documents. The result is byte-exact.
//! A document with invalid or excessive references is an error. Documents of one object are kept in stored form.
//! Neighbour: the crate `audit` opens fragments.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::piece::{self, ContentPiece};
use kernel::bounded_map::{AccountHash, BoundedMap};
use otlp::write_json_text;

use super::plan::MAX_DEPTH;

/// Longest chain of references that is followed.
const MAX_REFERENCE_CHAIN: u8 = 2 * MAX_DEPTH + 2;
/// Longest value; a request of 64 MiB gives at most about 140 MiB.
const MAX_VALUE_BYTES: usize = 256 << 20;
/// Limit for rebuilt pieces in the cache. A larger piece is rebuilt each time.
const MAX_CACHED_BYTES: usize = 64 << 20;

/// Why content can't be restored.
#[derive(Debug, PartialEq, Eq)]
pub enum RebuildError {
    /// The document refers to this fragment, which was not added.
    MissingFragment(String),
    /// The document has an invalid reference, or is malformed.
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
/// Fragment, item and piece, as in [`PieceReference`].
type PieceAddress = (Arc<str>, u32, u32);

/// Restores whole content (see the module).
#[derive(Default)]
pub struct ContentRebuilder {
    fragments: HashMap<Arc<str>, Vec<StoredElements>>,
    cache: BoundedMap<PieceAddress, Arc<str>, MAX_CACHED_BYTES>,
}

impl ContentRebuilder {
    /// Keeps a document, so that others may refer to it.
    pub fn add(&mut self, plain: &[u8]) -> Result<(), RebuildError> {
        let document: StoredDocument<'_> = serde_json::from_slice(plain).map_err(|_| MALFORMED)?;
        let items: Result<Vec<StoredElements>, RebuildError> =
            document.items.iter().map(|item| Ok(parse_elements(item.content.get())?.0)).collect();
        self.fragments.insert(document.fragment.into(), items?);
        Ok(())
    }

    /// The document with whole content, at most `limit` bytes; `None` if its content is whole already. The document
    /// must have been added if its items refer to each other.
    ///
    /// # Errors
    /// The document refers to one that was not added, or has an invalid reference.
    pub fn rebuild(&mut self, plain: &[u8], limit: usize) -> Result<Option<Vec<u8>>, RebuildError> {
        let document: StoredDocument<'_> = serde_json::from_slice(plain).map_err(|_| MALFORMED)?;
        let (mut out, mut copied_to) = (Vec::with_capacity(plain.len()), 0);
        for item in &document.items {
            let content = item.content.get();
            let (elements, has_references) = parse_elements(content)?;
            if !has_references {
                continue;
            }
            let range = subslice_range(plain, content).ok_or(MALFORMED)?;
            out.extend_from_slice(plain.get(copied_to..range.start).ok_or(MALFORMED)?);
            copied_to = range.end;
            out.push(b'[');
            let mut is_first = true;
            for (_, element) in &elements {
                for piece in self.expand_element(element, limit)? {
                    if !std::mem::take(&mut is_first) {
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
        if copied_to == 0 {
            return Ok(None);
        }
        out.extend_from_slice(plain.get(copied_to..).ok_or(MALFORMED)?);
        if out.len() > limit { Err(TOO_LARGE) } else { Ok(Some(out)) }
    }

    /// All pieces that an element represents.
    fn expand_element(&mut self, element: &Arc<str>, limit: usize) -> Result<Vec<Arc<str>>, RebuildError> {
        let parsed: ContentElement<'_> = serde_json::from_str(element).map_err(|_| MALFORMED)?;
        let (Some(base), Some(count)) = (&parsed.base, parsed.pieces) else {
            return Ok(vec![self.resolve_piece(element, 0, 0)?]);
        };
        let base_elements = self.find_item(base)?;
        let end = base.piece.checked_add(count).ok_or(MISSING_BASE)?;
        if base_elements.last().is_none_or(|(piece_count, _)| end > *piece_count) {
            return Err(MISSING_BASE);
        }
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        for nth in 0..count {
            let piece = self.resolve_piece(element, nth, 0)?;
            bytes += piece.len();
            if bytes > limit {
                return Err(TOO_LARGE);
            }
            pieces.push(piece);
        }
        Ok(pieces)
    }

    fn find_item(&self, base: &PieceReference<'_>) -> Result<&StoredElements, RebuildError> {
        let items = self
            .fragments
            .get(&*base.fragment)
            .ok_or_else(|| RebuildError::MissingFragment(base.fragment.to_string()))?;
        usize::try_from(base.item).ok().and_then(|item| items.get(item)).ok_or(MISSING_BASE)
    }

    /// The whole form of a base's piece, which was reached over `depth` references.
    fn resolve_base(&mut self, base: &PieceReference<'_>, depth: u8) -> Result<Arc<str>, RebuildError> {
        if depth > MAX_REFERENCE_CHAIN {
            return Err(MISSING_BASE);
        }
        let address: PieceAddress = (Arc::from(&*base.fragment), base.item, base.piece);
        if let Some(whole) = self.cache.get(&address) {
            return Ok(Arc::clone(whole));
        }
        let elements = self.find_item(base)?;
        let index = elements.partition_point(|(end, _)| *end <= base.piece);
        let (_, element) = elements.get(index).ok_or(MISSING_BASE)?;
        let start = index.checked_sub(1).and_then(|before| elements.get(before)).map_or(0, |(end, _)| *end);
        let (element, nth) = (Arc::clone(element), base.piece - start);
        let whole = self.resolve_piece(&element, nth, depth)?;
        if whole.len() <= MAX_CACHED_BYTES {
            self.cache.insert_for(AccountHash::NONE, address, Arc::clone(&whole), whole.len());
        }
        Ok(whole)
    }

    /// Piece number `nth` of those that an element represents.
    fn resolve_piece(&mut self, element: &Arc<str>, nth: u32, depth: u8) -> Result<Arc<str>, RebuildError> {
        let parsed: ContentElement<'_> = serde_json::from_str(element).map_err(|_| MALFORMED)?;
        let Some(base) = parsed.base else { return Ok(Arc::clone(element)) };
        if parsed.pieces.is_some() {
            let piece = base.piece.checked_add(nth).ok_or(MISSING_BASE)?;
            return self.resolve_base(&PieceReference { piece, ..base }, depth + 1);
        }
        let base_piece = self.resolve_base(&base, depth + 1)?;
        let base_element: ContentElement<'_> = serde_json::from_str(&base_piece).map_err(|_| MALFORMED)?;
        let base_value = value_text(base_element.value.ok_or(MISSING_BASE)?);
        let new = parsed.new.unwrap_or_default();
        let prefix_end = byte_offset_after(&base_value, parsed.prefix_chars).ok_or(MISSING_BASE)?;
        let suffix_start = match parsed.suffix_chars.checked_sub(1) {
            None => base_value.len(),
            Some(back) => base_value.char_indices().nth_back(back).ok_or(MISSING_BASE)?.0,
        };
        let (Some(prefix), Some(suffix)) = (base_value.get(..prefix_end), base_value.get(suffix_start..)) else {
            return Err(MISSING_BASE);
        };
        if prefix.len() + new.len() + suffix.len() > MAX_VALUE_BYTES {
            return Err(TOO_LARGE);
        }
        let value = [prefix, &new, suffix].concat();
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
    let raw_elements: Vec<&RawValue> = serde_json::from_str(content).map_err(|_| MALFORMED)?;
    let (mut elements, mut has_references, mut pieces) =
        (StoredElements::with_capacity(raw_elements.len()), false, 0_u32);
    for element in raw_elements {
        let parsed: ContentElement<'_> = serde_json::from_str(element.get()).map_err(|_| MALFORMED)?;
        has_references |= parsed.base.is_some();
        pieces = pieces.checked_add(parsed.pieces.unwrap_or(1)).ok_or(MALFORMED)?;
        elements.push((pieces, element.get().into()));
    }
    Ok((elements, has_references))
}

/// A value as text: unquoted if it is a text, otherwise its JSON.
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
