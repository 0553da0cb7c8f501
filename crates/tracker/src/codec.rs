//! The byte form of effects and checkpoints: postcard, in which small integers take one byte.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Appends an encoded value. Values here can always be encoded; of one that could not, a part would be appended.
pub(super) fn put(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    let _ = postcard::to_extend(value, Appender(out));
}

/// Bytes after those of a buffer that belongs to others too.
struct Appender<'o>(&'o mut Vec<u8>);

impl Extend<u8> for Appender<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
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
