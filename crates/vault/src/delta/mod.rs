//! Delta encoding of content: content that repeats earlier content of the same object refers to it.
//! [`ContentFingerprint`] and [`ItemFingerprints`] remember earlier content, [`DeltaStep`] encodes a reference, and
//! [`ContentRebuilder`] restores the whole content. Each turn repeats the whole conversation: thirty turns that grow by
//! 4 KB take 1.9 MB in full, or 0.2 MB this way.
//!
//! Rebuilt content has exactly the bytes that were hashed, and the hash proves it. Only hashes and lengths are
//! remembered, no text. At most [`MAX_DEPTH`] references follow each other. Rebuilding is bounded, whatever a document
//! claims. Neighbour: `processors/vault/context_bases` decides which earlier content may be referred to.
//!
//! An element of an item's `content` is one of three:
//!
//! - a piece with its `value`;
//! - a piece with `base` in place of `value`. Its value is the first `prefix_chars` characters of the base's value,
//!   then `new`, then the last `suffix_chars` characters of the base's value. (`prefix_len` is the number of messages
//!   or other elements in the prefix.) With `json`, the value is structure, not a text;
//! - `{"base":{…},"pieces":n}`: `n` unchanged pieces of the base's item, starting with `piece`.
//!
//! A base consists of `fragment` (its id), `item` (position in its `items`) and `piece` (position in that item's whole
//! content). It precedes the element, in the same object.

mod chunks;
mod fingerprint;
mod plan;
mod rebuild;

#[cfg(test)]
mod tests;

pub use fingerprint::ContentFingerprint;
pub use plan::{DeltaPlan, DeltaStep, ItemFingerprints, MAX_DEPTH, PieceSource};
pub use rebuild::{ContentRebuilder, RebuildError, TOO_LARGE};
