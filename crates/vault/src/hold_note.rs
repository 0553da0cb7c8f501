//! Notes of legal holds: their format, where they lie, which of a session's are in force. A folder is held by its notes
//! alone, so that the store reads them too. Neighbours: `store::hold` (what a hold does to objects), the crate `audit`
//! (who sets, releases and lists holds).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Where notes lie, below the vault's prefix.
pub const FOLDER: &str = "holds/";

/// Largest note that is read, bytes.
pub const MAX_NOTE: u64 = 1 << 20;

/// A note: a hold was set, or released.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The format, 2.
    pub v: u8,
    /// Account, as names have it.
    pub account: String,
    /// Tenant, as names have it.
    pub tenant: String,
    /// Session, as names have it.
    pub session: String,
    /// Set, else released.
    pub set: bool,
    /// Who did it.
    pub by: String,
    /// Why.
    pub why: String,
    /// When, RFC 3339.
    pub at: String,
    /// Of one that sets: random, so that nobody tells its hash who has not read it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Of one that releases: SHA-256 of the notes that hold no more, hex.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<String>,
}

/// A note's bytes; none of one that is too large to be one.
pub fn bounded(bytes: Bytes) -> Bytes {
    if bytes.len() as u64 > MAX_NOTE { Bytes::new() } else { bytes }
}

/// The number of a note, by the name of its file.
pub fn number(file: &str) -> Option<u64> {
    let number: u64 = file.strip_suffix(".json")?.parse().ok()?;
    (file == format!("{number:020}.json")).then_some(number)
}

/// Of the notes of a session those that hold, with their hashes: what sets, or can't be read, and was not released by
/// its hash.
pub fn in_force(notes: &BTreeMap<u64, Bytes>) -> Vec<(String, Option<Hold>)> {
    let read =
        |bytes: &Bytes| (kernel::hex::encode(&Sha256::digest(bytes)), serde_json::from_slice::<Hold>(bytes).ok());
    let mut all: Vec<(String, Option<Hold>)> = notes.values().map(read).collect();
    let released = all.iter().filter_map(|(_, note)| note.as_ref()).filter(|note| !note.set);
    let released: BTreeSet<String> = released.flat_map(|note| note.releases.iter().cloned()).collect();
    all.retain(|(hash, note)| note.as_ref().is_none_or(|note| note.set) && !released.contains(hash));
    all
}
