//! Reads a vault with the auditors' keys ([`Vault`], [`FragmentOpener`]): `vault get`, `vault replay`, `vault find`,
//! `vault diff`, `vault export`. Evidence must be readable without the gateway; stock tools can do the same.
//!
//! This module never writes to the vault, and bounds the sizes of everything that it reads. A fragment in a place where
//! it does not belong is an error. Control characters never reach a terminal. Neighbour: `erase`.

mod agents;
mod call_tree;
mod chat;
mod entry_links;
pub(crate) mod find;
mod get;
mod identities;
pub(crate) mod index;
mod key_claims;
mod masking;
mod messages;
mod opener;
mod output;
mod payload_fetch;
mod rebuild;
mod replay;
mod session;
mod session_index;
mod session_keys;
mod turns;

#[cfg(test)]
pub(crate) mod tests;

pub use crate::error::{ReadError, Result};
pub use crate::location::{StoreAccessArgs, Vault, VaultLocation};
pub use call_tree::{CallNode, SessionTurn};
pub use find::{FindResult, IndexQuery, find_signed, format_row};
pub use get::{ContentReference, LeafId, LineSelection, get, get_lines};
pub use identities::{identities, identities_in};
pub use index::{IndexLines, UnreadIndex, each_row};
pub use masking::PlaceholderFinder;
pub use opener::{BadKey, FragmentOpener, FragmentScopes, OpenFailure, OpenedDocuments, OpenedFragment};
pub(crate) use payload_fetch::UntrustedDocument;
pub use replay::replay;
pub use session::{ContentLimit, ReplayFilter, ReplayedSession, SessionTotal};
pub(crate) use session_keys::{KeyOpening, open_key};
pub use turns::{ExportFormat, ModelTurn};
