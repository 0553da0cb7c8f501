//! Anchors: the newest digest of every writer, signed by another party and kept elsewhere. A chain alone can't show
//! that its end was cut off or that its key was stolen; an anchor can. The signed checkpoint covers an RFC 6962 tree of
//! the entries' lines. Storing anchors is up to the user.

use serde::{Deserialize, Serialize};

use vault::chain::digest::DigestLink;
use vault::chain::note::{self, Checkpoint, SigningKey, VerifyKey};
use vault::chain::tree::{Frontier, leaf_hash};

use super::report::ChainHead;

/// The newest digest of one writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorEntry {
    /// Time of the anchor, RFC 3339.
    pub time: String,
    /// Account whose lines it covers.
    pub account: String,
    pub writer: String,
    pub digest: DigestLink,
    /// Number of leaves.
    pub tree_size: u64,
    /// Root of the tree, base64.
    pub root: String,
}

/// Builds an anchor file: a line of JSON for each entry, an empty line, and the signed checkpoint.
pub fn make(heads: &[ChainHead], time: &str, key: &SigningKey) -> String {
    let (mut lines, mut tree) = (String::new(), Frontier::default());
    for head in heads {
        let ChainHead { account, writer, digest, tree_size, root, .. } = head.clone();
        let entry = AnchorEntry { time: time.to_owned(), account, writer, digest, tree_size, root };
        let line = serde_json::to_string(&entry).unwrap_or_default(); // strings and numbers: can't fail
        tree.push(leaf_hash(line.as_bytes()));
        lines.push_str(&line);
        lines.push('\n');
    }
    let origin = format!("{}/anchor", key.public().name());
    let checkpoint = Checkpoint { origin, size: tree.size(), root: tree.root() };
    format!("{lines}\n{}", key.sign_note(&checkpoint.text()))
}

/// Opens an anchor and checks its signature; returns its entries.
///
/// # Errors
/// The anchor is malformed, or none of the keys signed it.
pub fn open(text: &str, keys: &[VerifyKey]) -> Result<Vec<AnchorEntry>, &'static str> {
    if keys.is_empty() {
        return Err("no public key to check the anchor: give --anchor-key");
    }
    let (lines, signed) = text.split_once("\n\n").ok_or("it is not an anchor file")?;
    let (note, key) = note::open_note(signed, keys).ok_or("none of the given keys signed it")?;
    let checkpoint = Checkpoint::parse(note).ok_or("its checkpoint is malformed")?;
    let (mut tree, mut entries) = (Frontier::default(), Vec::new());
    for line in lines.lines() {
        tree.push(leaf_hash(line.as_bytes()));
        entries.push(serde_json::from_str::<AnchorEntry>(line).map_err(|_| "an entry is malformed")?);
    }
    let expected = Checkpoint { origin: format!("{}/anchor", key.name()), size: tree.size(), root: tree.root() };
    if checkpoint != expected {
        return Err("its entries differ from the signed ones");
    }
    Ok(entries)
}
