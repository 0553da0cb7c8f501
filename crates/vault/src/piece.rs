//! **What**: one element of an item's content ([`Piece`]) and how its head is written. **Why**: documents and
//! references between them (`delta`) both write it. **Not here**: whole documents (`document`).

use std::borrow::Cow;

use serde::Serialize;

/// One piece of content, without its value.
#[derive(Serialize)]
pub struct Piece<'a> {
    /// Part of the conversation.
    pub part: Cow<'a, str>,
    /// `span`, `log`, `body`, `event`, `link`, `scope` or `resource`.
    pub on: Cow<'a, str>,
    /// Attribute key.
    pub key: Option<Cow<'a, str>>,
    /// Name of the event it stood on.
    pub event: Option<Cow<'a, str>>,
    /// Time of that event.
    pub time: Option<String>,
}

/// Appends a struct's JSON without its closing brace.
pub(super) fn open<T: Serialize>(out: &mut String, value: &T) {
    append(out, value);
    out.pop();
}

pub(super) fn append<T: Serialize + ?Sized>(out: &mut String, value: &T) {
    // strings and numbers with string keys: can't fail
    out.push_str(&serde_json::to_string(value).unwrap_or_default());
}
