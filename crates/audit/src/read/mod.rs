//! Reads a vault with the auditors' keys ([`Vault`], [`Opener`]): `vault get`, `vault replay`, `find`, `diff`,
//! `export`. Evidence must be readable without the gateway, and everything here can also be done with stock tools.
//!
//! This module only reads, and bounds all sizes. A fragment in a place where it does not belong is an error. Control
//! characters never reach a terminal. Neighbours: `prove` (proofs), `erase` (erasure).

mod agents;
mod aside;
mod chat;
mod claims;
pub(crate) mod find;
mod fragments;
mod get;
mod hidden;
mod identities;
pub(crate) mod index;
mod inside;
mod keys;
mod lines;
mod links;
mod messages;
mod opener;
mod replay;
mod report;
mod session;
mod shut;
mod text;
mod tree;
mod turns;
mod whole;

#[cfg(test)]
mod tests;

pub use crate::error::ReadError;
pub use crate::location::{Location, Vault};
pub(crate) use aside::Hashes;
pub use find::{Found, Query, find, find_in, find_in_signed, find_signed, shown};
pub use get::{Leaf, Lines, Wanted, get, get_lines};
pub use hidden::Finds;
pub use identities::{identities, identities_in};
pub use index::{Missed, each_row, each_row_of, each_signed_row, each_unsigned_row};
pub(crate) use inside::Inside;
pub(crate) use keys::open_key;
pub use opener::{Opened, Opener, Places};
pub use replay::replay;
pub use session::{Content, Filter, Replay, Total};
pub use shut::{BadKey, Shut};
pub use tree::{Call, TurnOf};
pub use turns::{Format, Turn};
