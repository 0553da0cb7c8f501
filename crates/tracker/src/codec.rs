//! The byte form of effects and checkpoints: postcard, in which small integers take one byte.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Appends an encoded value. Values here can always be encoded; if one could not, `out` would be emptied.
pub(super) fn put(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    *out = postcard::to_extend(value, std::mem::take(out)).unwrap_or_default();
}

/// Encodes values as a list.
pub(super) fn put_list<T: Serialize>(values: impl Iterator<Item = T>, out: &mut Vec<u8>) {
    put(&values.collect::<Vec<T>>(), out);
}

/// Decodes a value from the front of `from` and removes its bytes. `None`: the bytes are no such value.
pub(super) fn take<T: DeserializeOwned>(from: &mut &[u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(from).ok()?;
    *from = rest;
    Some(value)
}
