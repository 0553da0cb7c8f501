//! Checks a proof file. Every step is reported; the first failure ends the check. The key in the file is never trusted.
//! Neighbour: the parent module makes proofs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::file::{LineProof, ProofFile};
use crate::error::ReadError;
use crate::verify::anchor;
use kernel::sha256::Sha256;
use kernel::terminal::format_count;
use vault::chain::digest::checkpoint_origin;
use vault::chain::note::{self, Checkpoint, VerifyKey};
use vault::chain::tree::{NodeHash, leaf_hash, verify_consistency, verify_inclusion};
use vault::index_row::IndexRow;

/// Result for one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedProof {
    /// Leaf of the line: `writer/epoch/number`.
    pub leaf: String,
    /// The index line.
    pub line: String,
    /// The steps that succeeded, in words.
    pub passed_steps: Vec<String>,
    /// Whether the file's anchor was signed by a given key and contains the newest tree.
    pub anchored: bool,
}

/// Checks a proof file with public keys from another source.
///
/// # Errors
/// The first step that fails.
pub fn check_proof_file(
    text: &str,
    keys: &[VerifyKey],
    anchor_keys: &[VerifyKey],
) -> Result<Vec<CheckedProof>, ReadError> {
    let file: ProofFile = serde_json::from_str(text)
        .map_err(|_| ReadError::damaged("not a proof file, or of a version that this program does not support"))?;
    if file.v != 1 || file.proofs.is_empty() {
        return Err(ReadError::damaged("the file has no proofs, or an unsupported version"));
    }
    let anchor = match &file.anchor {
        Some(anchor_text) if !anchor_keys.is_empty() => Some(
            anchor::open(anchor_text, anchor_keys).map_err(|why| ReadError::Damaged(format!("the anchor: {why}")))?,
        ),
        _ => None,
    };
    let mut checked_proofs = Vec::new();
    for (number, proof) in file.proofs.iter().enumerate() {
        let mut checked = check_proof(proof, keys, anchor.as_ref())
            .map_err(|error| error.map_message(|why| format!("proof {}: {why}", number + 1)))?;
        match (&file.anchor, &anchor) {
            (Some(_), None) => checked.passed_steps.push("not checked: the anchor (give --anchor-key)".to_owned()),
            (None, _) if !anchor_keys.is_empty() => {
                checked.passed_steps.push("not anchored: the file contains no anchor".to_owned())
            }
            _ => {}
        }
        checked_proofs.push(checked);
    }
    Ok(checked_proofs)
}

fn check_proof(
    proof: &LineProof,
    keys: &[VerifyKey],
    anchor: Option<&anchor::Anchor>,
) -> Result<CheckedProof, ReadError> {
    let row: IndexRow =
        serde_json::from_str(&proof.line).map_err(|_| ReadError::damaged("its line is not an index line"))?;
    let (first_tree, signer) = open_checkpoint(&proof.note, keys)?;
    let (newest_tree, _) = open_checkpoint(&proof.newest, keys)?;
    let mut passed_steps =
        vec![format!("signed by {signer}: a tree of {}, {}", format_count(first_tree.size, "line"), first_tree.origin)];
    let tail = &row.tail;
    // after a chain left an epoch for a new one, its lines keep the old epoch's name and numbers, so these differ from
    // the epoch and the index of the tree
    let is_epoch_of_line = first_tree.origin == checkpoint_origin(signer, &tail.account, &tail.writer, &tail.epoch);
    let prefix = checkpoint_origin(signer, &tail.account, &tail.writer, "");
    if first_tree.origin != newest_tree.origin
        || !first_tree.origin.starts_with(&prefix)
        || (is_epoch_of_line && row.leaf != proof.index)
    {
        return Err(ReadError::damaged("the tree belongs to another account, writer or epoch than the line"));
    }
    let (path, consistency) = (decode_hashes(&proof.path)?, decode_hashes(&proof.consistency)?);
    if !verify_inclusion(&leaf_hash(proof.line.as_bytes()), proof.index, first_tree.size, &path, &first_tree.root) {
        return Err(ReadError::damaged("its line is not in the tree"));
    }
    passed_steps.push(format!("its line is number {} of that tree ({} hashes)", proof.index, path.len()));
    if !verify_consistency((first_tree.size, &first_tree.root), (newest_tree.size, &newest_tree.root), &consistency) {
        return Err(ReadError::damaged("the newest tree does not extend the tree that contains the line"));
    }
    passed_steps.push(format!("the newest tree, of {}, extends that tree", format_count(newest_tree.size, "line")));
    match (&proof.fragment, &tail.ct_sha256) {
        (Some(fragment), Some(hash)) => {
            let bytes = STANDARD.decode(fragment).map_err(|_| ReadError::damaged("its fragment is not base64"))?;
            if kernel::hex::encode(&Sha256::digest(&bytes)) != *hash || tail.len != Some(bytes.len() as u64) {
                return Err(ReadError::damaged("its fragment does not match the hash in its line"));
            }
            passed_steps.push(format!("its fragment of {} bytes matches the hash in its line", bytes.len()));
        }
        (Some(_), None) => return Err(ReadError::damaged("it contains a fragment, but its line names none")),
        (None, Some(_)) => passed_steps.push("not checked: the fragment is not in the file".to_owned()),
        (None, None) => {}
    }
    let mut anchored = false;
    if let Some(anchor) = anchor {
        let result = check_anchor(anchor, &newest_tree, &tail.account)?;
        anchored = result.confirms_tree;
        passed_steps.push(result.description);
    }
    let leaf = format!("{}/{}/{:012}", tail.writer, tail.epoch, row.leaf);
    Ok(CheckedProof { leaf, line: proof.line.clone(), passed_steps, anchored })
}

struct AnchorResult {
    confirms_tree: bool,
    description: String,
}

/// Compares the anchor with the tree. An anchor can only confirm a tree of the same size; other sizes need the vault.
fn check_anchor(anchor: &anchor::Anchor, newest: &Checkpoint, account: &str) -> Result<AnchorResult, ReadError> {
    let entry = anchor.entries.iter().find(|entry| {
        entry.account == account && newest.origin.ends_with(&format!("/{}/{}", entry.writer, entry.digest.epoch))
    });
    let Some(entry) = entry else {
        let description = format!("not in the anchor of {}, which covers other epochs", anchor.time);
        return Ok(AnchorResult { confirms_tree: false, description });
    };
    if entry.tree_size != newest.size {
        let description =
            format!("the anchor of {} covers another tree size: compare them with `vault verify`", anchor.time);
        return Ok(AnchorResult { confirms_tree: false, description });
    }
    if STANDARD.decode(&entry.root).ok().as_deref() != Some(&newest.root[..]) {
        return Err(ReadError::damaged(format!(
            "the anchor of {} has a different root for this tree size",
            anchor.time
        )));
    }
    let description = format!("the newest tree was anchored at {}", anchor.time);
    Ok(AnchorResult { confirms_tree: true, description })
}

fn open_checkpoint<'k>(note: &str, keys: &'k [VerifyKey]) -> Result<(Checkpoint, &'k str), ReadError> {
    let (text, key) = note::open_note(note, keys)
        .ok_or_else(|| ReadError::forbidden("its checkpoint is not signed by any of the given keys"))?;
    let checkpoint = Checkpoint::parse(text).ok_or_else(|| ReadError::damaged("its checkpoint is malformed"))?;
    Ok((checkpoint, key.name()))
}

fn decode_hashes(texts: &[String]) -> Result<Vec<NodeHash>, ReadError> {
    let decode_hash = |text: &String| NodeHash::try_from(STANDARD.decode(text).ok()?).ok();
    texts.iter().map(decode_hash).collect::<Option<_>>().ok_or_else(|| ReadError::damaged("a hash is malformed"))
}
