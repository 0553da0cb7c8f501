//! [`ContentPiece`]: one element of an item's content, without its value. `document` writes pieces, and `delta` writes
//! them again when it restores whole content.

use std::borrow::Cow;

use serde::Serialize;

/// The head of a piece of content (see the module).
#[derive(Serialize)]
pub struct ContentPiece<'a> {
    /// Part of the conversation.
    pub part: Cow<'a, str>,
    /// Place in the item: `span`, `log`, `body`, `event`, `link`, `scope` or `resource`.
    pub on: Cow<'a, str>,
    /// Attribute key.
    pub key: Option<Cow<'a, str>>,
    /// Name of the event that carried the piece.
    pub event: Option<Cow<'a, str>>,
    /// Time of that event.
    pub time: Option<String>,
}

/// Appends a struct's JSON without its closing brace.
pub(super) fn append_unclosed<T: Serialize>(out: &mut String, value: &T) {
    append_json(out, value);
    out.pop();
}

pub(super) fn append_json<T: Serialize + ?Sized>(out: &mut String, value: &T) {
    // strings and numbers with string keys: serialising can't fail
    out.push_str(&serde_json::to_string(value).unwrap_or_default());
}
