//! [`ContentPiece`]: one element of an item's content, without its value. `document` writes pieces, and `delta` writes
//! them again when it restores whole content.

use std::borrow::Cow;

use serde::Serialize;

/// The head of a piece of content (see the module).
#[derive(Serialize)]
pub struct ContentPiece<'a> {
    pub part: Cow<'a, str>,
    /// Place in the item: `span`, `log`, `body`, `event`, `link`, `scope` or `resource`.
    pub on: Cow<'a, str>,
    pub key: Option<Cow<'a, str>>,
    /// Name of the event that carried the piece.
    pub event: Option<Cow<'a, str>>,
    pub time: Option<String>,
}

/// Appends a struct's JSON without its closing brace.
pub(super) fn append_unclosed<T: Serialize>(out: &mut String, value: &T) {
    append_json(out, value);
    out.pop();
}

pub(super) fn append_json<T: Serialize + ?Sized>(out: &mut String, value: &T) {
    let mut json = Vec::with_capacity(1024);
    // strings and numbers with string keys: serialising can't fail, and JSON is UTF-8
    let _ = serde_json::to_writer(&mut json, value);
    out.push_str(std::str::from_utf8(&json).unwrap_or_default());
}
