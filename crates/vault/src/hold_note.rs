//! Notes of legal holds: their format, their place in the vault, and which notes of a session are in force. Only the
//! notes decide whether a folder is held, so the store reads them too. Neighbours: `store::hold` (how a hold affects
//! objects), the crate `audit` (sets, releases and lists holds).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kernel::sha256::Sha256;
use serde::{Deserialize, Serialize};

/// Folder of the notes, below the vault's prefix.
pub const HOLDS_FOLDER: &str = "holds/";

/// Size of the largest note that is read, bytes.
pub const MAX_NOTE_BYTES: u64 = 1 << 20;

/// A note that a hold was set or released.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldNote {
    /// Version of the format: 2.
    pub v: u8,
    /// Account, as it appears in object names.
    pub account: String,
    /// Tenant, as it appears in object names.
    pub tenant: String,
    /// Session, as it appears in object names.
    pub session: String,
    /// Whether the note sets a hold; otherwise it releases holds.
    pub set: bool,
    /// Who set or released the hold.
    pub by: String,
    /// The reason given.
    pub why: String,
    /// Time of the note, RFC 3339.
    pub at: String,
    /// Random, in a note that sets a hold: only someone who has read the note can know its hash.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// In a note that releases: SHA-256 of the notes whose holds end, hex.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<String>,
}

/// A note's bytes, or no bytes if they exceed [`MAX_NOTE_BYTES`].
pub fn drop_oversized(bytes: Bytes) -> Bytes {
    if bytes.len() as u64 > MAX_NOTE_BYTES { Bytes::new() } else { bytes }
}

pub fn note_number(file: &str) -> Option<u64> {
    let number: u64 = file.strip_suffix(".json")?.parse().ok()?;
    (file == format!("{number:020}.json")).then_some(number)
}

/// The notes of a session that are in force, with their hashes: notes that set a hold or can't be parsed, and whose
/// hash no other note releases.
pub fn active_holds(notes: &BTreeMap<u64, Bytes>) -> Vec<(String, Option<HoldNote>)> {
    let parse =
        |bytes: &Bytes| (kernel::hex::encode(&Sha256::digest(bytes)), serde_json::from_slice::<HoldNote>(bytes).ok());
    let mut holds: Vec<(String, Option<HoldNote>)> = notes.values().map(parse).collect();
    let releases = holds.iter().filter_map(|(_, note)| note.as_ref()).filter(|note| !note.set);
    let released_hashes: BTreeSet<String> = releases.flat_map(|note| note.releases.iter().cloned()).collect();
    holds.retain(|(hash, note)| note.as_ref().is_none_or(|note| note.set) && !released_hashes.contains(hash));
    holds
}
