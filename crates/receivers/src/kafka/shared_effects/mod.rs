//! The workers of a fleet tell each other the effects of `runs` and `cost`, so that every worker knows every run. These
//! processors must have the same ids on all workers. A run whose records move to another worker goes on there, and any
//! worker's page shows all of them. Effects that are shared give the same state in any order and however often they
//! come, so nothing must be fenced, and a record that two workers processed counts once.
//!
//! A worker's spool holds its effects until the topic has them; a worker that reads them commits them to its own spool,
//! with the record's offset. `sending` writes records, `reading` stores them, `told_effects` has the state. The body of
//! a record, before it is sealed:
//!
//! ```text
//! u8 version 1 | life [8] | u16 LE length | replica | an effects record as in the spool
//! ```
//! A *life* begins with an empty volume. A worker skips records of its own life, and reads those of an earlier one.

mod reading;
mod sending;
#[cfg(test)]
mod tests;
mod told_effects;

pub(super) use reading::EffectsSink;
pub use sending::{EffectsSender, EffectsSenderParts};
pub(super) use told_effects::SharedEffects;
