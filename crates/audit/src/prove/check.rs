//! Checks a proof file. Every step is reported; the first failure ends the check. The key in the file is never trusted.
//! Neighbour: the parent module makes proofs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::file::{File, Proof};
use crate::error::ReadError;
use crate::verify::anchor;
use vault::chain::digest::origin;
use vault::chain::note::{self, Checkpoint, VerifyKey};
use vault::chain::tree::{Hash, extends, includes, leaf_hash};
use vault::row::Row;

/// Result for one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Leaf of the line: `writer/epoch/number`.
    pub leaf: String,
    /// The index line.
    pub line: String,
    /// The steps that succeeded, in words.
    pub holds: Vec<String>,
    /// Whether the file's anchor was signed by a given key and contains the newest tree.
    pub anchored: bool,
}

/// Checks a proof file with public keys from another source.
///
/// # Errors
/// The first step that fails.
pub fn check(text: &str, keys: &[VerifyKey], anchor_keys: &[VerifyKey]) -> Result<Vec<Checked>, ReadError> {
    let file: File = serde_json::from_str(text)
        .map_err(|_| ReadError::damaged("it is no proof file of a version that this program knows"))?;
    if file.v != 1 || file.proofs.is_empty() {
        return Err(ReadError::damaged("it proves nothing"));
    }
    let anchor = match &file.anchor {
        Some(text) if !anchor_keys.is_empty() => {
            Some(anchor::open(text, anchor_keys).map_err(|why| ReadError::Damaged(format!("the anchor: {why}")))?)
        }
        _ => None,
    };
    let mut out = Vec::new();
    for (number, proof) in file.proofs.iter().enumerate() {
        let one = one(proof, keys, anchor.as_ref());
        let mut checked = one.map_err(|error| error.reworded(|why| format!("proof {}: {why}", number + 1)))?;
        match (&file.anchor, &anchor) {
            (Some(_), None) => checked.holds.push("not checked: the anchor (--anchor-key)".to_owned()),
            (None, _) if !anchor_keys.is_empty() => {
                checked.holds.push("not anchored: no anchor is in the file".to_owned())
            }
            _ => {}
        }
        out.push(checked);
    }
    Ok(out)
}

fn one(proof: &Proof, keys: &[VerifyKey], anchor: Option<&anchor::Anchor>) -> Result<Checked, ReadError> {
    let row: Row =
        serde_json::from_str(&proof.line).map_err(|_| ReadError::damaged("its line is not an index line"))?;
    let (first, signer) = signed(&proof.note, keys)?;
    let (newest, _) = signed(&proof.newest, keys)?;
    let mut holds = vec![format!("signed by {signer}: a tree of {} lines, {}", first.size, first.origin)];
    let tail = &row.tail;
    // a chain that abandoned its epoch has another epoch than its lines, and begins at a later line number
    let own = first.origin == origin(signer, &tail.account, &tail.writer, &tail.epoch);
    let prefix = origin(signer, &tail.account, &tail.writer, "");
    if first.origin != newest.origin || !first.origin.starts_with(&prefix) || (own && row.leaf != proof.index) {
        return Err(ReadError::damaged("the tree is not that of the line's account, writer and epoch"));
    }
    let (path, consistency) = (hashes(&proof.path)?, hashes(&proof.consistency)?);
    if !includes(&leaf_hash(proof.line.as_bytes()), proof.index, first.size, &path, &first.root) {
        return Err(ReadError::damaged("its line is not in the tree"));
    }
    holds.push(format!("its line is number {} of that tree ({} hashes)", proof.index, path.len()));
    if !extends((first.size, &first.root), (newest.size, &newest.root), &consistency) {
        return Err(ReadError::damaged("the newest tree does not begin with the one that holds its line"));
    }
    holds.push(format!("that tree is the beginning of the newest one, of {} lines", newest.size));
    match (&proof.fragment, &tail.ct_sha256) {
        (Some(fragment), Some(hash)) => {
            let bytes = STANDARD.decode(fragment).map_err(|_| ReadError::damaged("its fragment is not base64"))?;
            if kernel::hex::encode(&Sha256::digest(&bytes)) != *hash || tail.len != Some(bytes.len() as u64) {
                return Err(ReadError::damaged("its fragment is not the one that its line names"));
            }
            holds.push(format!("its fragment of {} bytes is the one that its line names", bytes.len()));
        }
        (Some(_), None) => return Err(ReadError::damaged("it has a fragment, and its line names none")),
        (None, Some(_)) => holds.push("not checked: the fragment is not in the file".to_owned()),
        (None, None) => {}
    }
    let mut is = false;
    if let Some(anchor) = anchor {
        let (said, what) = anchored(anchor, &newest, &tail.account)?;
        is = said;
        holds.push(what);
    }
    let leaf = format!("{}/{}/{:012}", tail.writer, tail.epoch, row.leaf);
    Ok(Checked { leaf, line: proof.line.clone(), holds, anchored: is })
}

/// Whether the anchor confirms the tree, with a description. It can only do so for the same tree size; comparing other
/// sizes needs the vault.
fn anchored(anchor: &anchor::Anchor, newest: &Checkpoint, account: &str) -> Result<(bool, String), ReadError> {
    let entry = anchor.entries.iter().find(|entry| {
        entry.account == account && newest.origin.ends_with(&format!("/{}/{}", entry.writer, entry.digest.epoch))
    });
    let Some(entry) = entry else { return Ok((false, format!("not in the anchor of {}: another epoch", anchor.time))) };
    if entry.tree_size != newest.size {
        let other = format!("the anchor of {} is of another size: compare it with `vault verify`", anchor.time);
        return Ok((false, other));
    }
    if STANDARD.decode(&entry.root).ok().as_deref() != Some(&newest.root[..]) {
        return Err(ReadError::damaged(format!("the anchor of {} has another tree of this size", anchor.time)));
    }
    Ok((true, format!("the newest tree is the one that was anchored at {}", anchor.time)))
}

fn signed<'k>(note: &str, keys: &'k [VerifyKey]) -> Result<(Checkpoint, &'k str), ReadError> {
    let (text, key) = note::open(note, keys)
        .ok_or_else(|| ReadError::forbidden("none of the keys given here signed its checkpoint"))?;
    let checkpoint = Checkpoint::parse(text).ok_or_else(|| ReadError::damaged("its checkpoint is none"))?;
    Ok((checkpoint, key.name()))
}

fn hashes(texts: &[String]) -> Result<Vec<Hash>, ReadError> {
    let one = |text: &String| Hash::try_from(STANDARD.decode(text).ok()?).ok();
    texts.iter().map(one).collect::<Option<_>>().ok_or_else(|| ReadError::damaged("a hash is none"))
}
