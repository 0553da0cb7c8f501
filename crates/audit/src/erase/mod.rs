//! `vault erase`: destroys session keys at the request of two people ([`ErasureRequest`]), and records it in a chain of
//! its own. Locked objects can't be deleted, but a fragment without its key is unreadable. Keys that vanish without a
//! record must look like an attack, because they may be one.
//!
//! A signed digest announces the erasure before the first key is destroyed, and another one confirms it after the last.
//! An interrupted run is completed by the next one, with the same bytes under the same names. Nothing under legal hold
//! is touched. A request is executed once. Neighbours: the store's permissions decide who may delete; `verify` judges
//! erasures; docs/erasure.md lists what erasure does not reach.

mod execute;
pub mod request;
pub(crate) mod resolve;
#[cfg(test)]
pub(crate) mod tests;

pub use super::ledger::Ledger;
pub use super::writable_vault::WritableVault;
pub use execute::{ErasureOutcome, execute_request, resume_erasure};
pub use request::{ContentTarget, ErasureRequest};
pub use resolve::{ResolvedTarget, TargetQuery, resolve_target};
