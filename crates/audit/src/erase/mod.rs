//! `vault erase`: destroys session keys at the request of two people ([`ErasureRequest`]) and records the erasure in a
//! chain of its own. Locked objects can't be deleted, but a fragment without its key is unreadable. A signed digest
//! announces the erasure before the first key is destroyed and another one confirms the erasure after the last, so that
//! `verify` can report keys that vanish without a record. The next run completes an interrupted one with the same bytes
//! under the same names. No object under legal hold is destroyed, and no request is executed twice. Neighbours:
//! `verify::key_lines` judges erasures; docs/erasure.md lists the copies of content that erasure does not reach.

mod execute;
pub mod request;
pub(crate) mod resolve;
#[cfg(test)]
pub(crate) mod tests;

pub use super::ledger::Ledger;
pub use super::location::WritableVault;
pub use execute::{ErasureOutcome, execute_request, resume_erasure};
pub use request::{ContentTarget, ErasureRequest};
pub use resolve::{ResolvedTarget, TargetQuery, resolve_target};
