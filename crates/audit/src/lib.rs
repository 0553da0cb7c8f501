//! The auditor's side of the vault: finds, opens, replays, verifies, proves, puts on hold and erases its content.
//!
//! Invariants: trusts no writer, only bytes, signatures and the keys it is given; reads through
//! [`vault::store::VaultReader`], so that a folder and S3 look alike; writes only what a named person asked for (holds,
//! erasures, copies of keys). Neighbours: `vault` writes what is read here; `src/cli` prints it. A running gateway
//! never calls this crate.

mod chains;
pub mod erase;
mod error;
pub mod evidence;
mod folders;
pub mod hold;
pub mod ledger;
mod location;
pub mod parquet;
pub mod place;
pub mod prove;
pub mod read;
pub mod rewrap;
pub mod signed;
pub mod verify;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
