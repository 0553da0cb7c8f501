//! **What**: the chain: an RFC 6962 tree over a writer's index lines ([`tree`]), signed checkpoints ([`note`]), digests
//! that name what was stored ([`digest`]), and where a writer stands ([`position`]).
//! **Why**: what a digest covers can't be deleted, changed, reordered or cut out without being noticed by someone who
//! trusts nobody (docs/vault.md).
//! **Invariants**: pure; the formats are those of RFC 6962 and of C2SP signed notes and checkpoints, so that others'
//! tools verify them; a leaf is an index line without its line feed.
//! **Not here**: when digests are written (`uploader`), walking back through them (`verify`).

pub mod digest;
pub mod erasures;
pub mod note;
pub mod position;
pub mod tree;

#[cfg(test)]
mod tests;
