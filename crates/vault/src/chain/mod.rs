//! The chain: an RFC 6962 tree over a writer's index lines ([`tree`]), signed checkpoints ([`note`]), digests that list
//! the stored objects ([`digest`]), and a writer's current position ([`position`]). If anything that a digest covers is
//! deleted, changed, reordered or cut out, an auditor who trusts no one detects it (docs/vault.md).
//!
//! The code here is pure. Formats are those of RFC 6962 and of C2SP signed notes and checkpoints, so that other tools
//! can verify them; a leaf is an index line without its line feed. Neighbours: `uploader` decides when digests are
//! written; the crate `audit` verifies them.

pub mod digest;
pub mod erasures;
pub mod note;
pub mod position;
pub mod tree;

#[cfg(test)]
mod tests;
