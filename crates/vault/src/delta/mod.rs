//! **What**: content that repeats earlier content of the same object refers to it: what is remembered to see that
//! ([`Print`], [`Told`]), how it is said ([`Step`]), and how whole content comes back ([`Rebuilder`]). **Why**: each
//! turn repeats the whole conversation: thirty turns that grow by 4 KB are 1.9 MB, or 0.2 MB this way. **Invariants**:
//! exact: rebuilt content has the bytes that were hashed, and the hash proves it; what is remembered are hashes and
//! lengths, no text; nothing refers to more than [`MAX_DEPTH`] others in a row; whatever a document claims, rebuilding
//! it is bounded. **Not here**: which earlier content may be referred to (`processors/vault/bases`).
//!
//! An element of an item's `content` is one of three:
//!
//! - a piece with its `value`;
//! - a piece with `base` in place of it: text `prefix_chars` characters from the base's value, then `new`, then the
//!   last `suffix_chars` of the base's value (`prefix_len` counts messages and other elements); `json`: the value is
//!   structure, not a text;
//! - `{"base":{…},"pieces":n}`: `n` pieces of the base's item, from `piece` on, as they are there.
//!
//! A base is `fragment` (its id), `item` (position in its `items`) and `piece` (position in that item's whole content).
//! It lies in the same object, before.

mod chunks;
mod plan;
mod print;
mod rebuild;

#[cfg(test)]
mod tests;

pub use plan::{MAX_DEPTH, Plan, Source, Step, Told};
pub use print::Print;
pub use rebuild::{LARGE, Rebuilder, Unbuilt};
