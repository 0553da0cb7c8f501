//! The auditor's side of the vault: finds, opens, replays, verifies, proves, holds and erases its content.
//!
//! Nothing here trusts a writer, only bytes, signatures and the keys that the caller gives. Reading goes through
//! [`vault::store::VaultReader`], so that a folder and S3 behave alike. Writes (holds, erasures, copies of keys) happen
//! only at a named person's request. Neighbours: `vault` writes the data that is read here; `src/cli` prints results. A
//! running gateway never calls this crate.

mod chains;
pub mod erase;
mod error;
pub mod evidence;
mod folders;
pub mod hold;
pub mod ledger;
mod location;
pub mod parquet;
pub mod prove;
pub mod read;
pub mod rewrap;
pub mod signed_index;
pub mod verify;
pub mod writable_vault;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
