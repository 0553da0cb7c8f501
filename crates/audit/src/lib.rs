//! The auditor's side of the vault: finds, opens, replays, verifies, packs, holds and erases its content.
//!
//! This crate trusts no writer, only signatures by the keys that the caller gives. It reads through
//! [`vault::store::VaultReader`], so that a folder and S3 behave alike. It writes (holds, erasures, key copies) only at
//! the request of a named person. `cli` has the commands `tollgate vault …` and their page. Neighbour: `vault` writes
//! the data that this crate reads. A running gateway never calls this crate.

mod chains;
pub mod cli;
pub mod compact;
pub mod erase;
mod error;
pub mod evidence;
pub mod folders;
pub mod hold;
pub mod ledger;
mod location;
pub mod openings;
pub mod read;
pub mod rewrap;
pub mod shares;
pub mod signed_index;
pub mod signed_request;
pub mod verify;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
