//! **What**: `vault erase`: destroys session keys at the request of two people ([`Request`]), and says so in a chain of
//! its own. **Why**: what is under lock can't be deleted, but a fragment without its key is noise; and keys that vanish
//! without a word look like an attack, because they may be one. **Invariants**: what is about to be destroyed stands in
//! a signed digest before the first key goes, that it is done after the last; a run that ended anywhere is finished by
//! the next one, with the same bytes under the same names; nothing under legal hold is touched; a request is executed
//! once. **Not here**: who may delete (the store's rights), what else remembers (docs/erasure.md says what erasure does
//! not reach), judging erasures (`verify`).

mod execute;
pub mod request;
pub(crate) mod resolve;
#[cfg(test)]
pub(crate) mod tests;

pub use super::ledger::Ledger;
pub use super::place::Place;
pub use execute::{Executed, execute, resume};
pub use request::{Request, Target};
pub use resolve::{Asked, Resolved, resolve};
