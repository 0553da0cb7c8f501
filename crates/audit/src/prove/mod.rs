//! Proofs that a third party can check without the vault: [`prove`] makes them, `check` checks them. They allow
//! handing over evidence one record at a time, to people who may see no other record.
//!
//! A proof contains the index line itself. It is compared with the chain while it is made. A session's proof covers its
//! signed lines and reports which may be missing. Checking needs only the file and public keys. Neighbours: `verify`
//! (the whole vault), `verify/anchor` (anchors).
//!
//! docs/vault.md has the steps for checking a proof with other tools.

mod check;
mod file;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::chains::{ChainId, ChainScope, EpochsByChain, list_chains};
use super::error::{ReadError, several_accounts_error};
use super::location::Vault;
use super::read::{FragmentHashes, LeafId, UnreadIndex, each_signed_row, each_unsigned_row, index};
use super::signed_index::SignedIndex;
use vault::chain::digest::{ChainDigest, IndexReference};
use vault::chain::note::{self, Checkpoint, VerifyKey};
use vault::chain::tree::{Frontier, NodeHash, ProofBuilder, consistency_ranges, inclusion_ranges, leaf_hash};
use vault::index_row::IndexRow;
use vault::object_names::{SIGNATURE_SUFFIX, account_segment, digest_name};
use vault::store::ObjectKind;

pub use check::{CheckedProof, check_proof_file};
pub use file::{LineProof, ProofFile};

/// Foreign objects in place of digests that are skipped before an epoch is given up.
const MAX_FOREIGN_DIGESTS: usize = 100;
/// Most lines proved at once.
const MAX_LEAVES: usize = if cfg!(test) { 100 } else { 10_000 };

/// Most turn ids listed in the error for an unknown turn.
const MAX_LISTED_TURNS: usize = 20;

/// The lines to prove.
#[derive(Clone, Debug, Default)]
pub struct ProofRequest {
    /// Only this account. Lines are numbered by account, so it is required if several accounts have matching lines.
    pub account: Option<String>,
    /// Leaves as `writer/epoch/number`, as on the span.
    pub leaves: Vec<String>,
    /// All lines of this session.
    pub session: Option<String>,
    /// Only the session's turn with this id from the client (`turn.id`); most clients send none.
    pub turn_id: Option<String>,
    /// Leave out the fragments and prove only the lines.
    pub lines_only: bool,
    /// The content of an anchor file to include.
    pub anchor: Option<String>,
}

/// A proof file, and what it may lack.
#[derive(Clone, Debug)]
pub struct ProofResult {
    /// The proof file.
    pub file: ProofFile,
    /// For a session: places that may have unproved lines, a line each; with any, the file may cover only a part.
    pub possibly_missing: Vec<String>,
    /// Other remarks: unreadable parts that can't affect this session, or unsigned lines.
    pub remarks: Vec<String>,
}

/// Account as in object names, writer, and epoch of the lines.
type EpochId = (String, String, String);

/// The lines to prove, by log.
#[derive(Default)]
struct LinesToProve {
    numbers: BTreeMap<EpochId, BTreeSet<u64>>,
    possibly_missing: Vec<String>,
    remarks: Vec<String>,
}

/// Makes a proof file.
///
/// # Errors
/// There is no such line, or the chain does not contain it.
pub async fn prove(vault: &Vault, wanted: &ProofRequest, keys: &[VerifyKey]) -> Result<ProofResult, ReadError> {
    let found = list_chains(vault, ChainScope { account: wanted.account.as_deref(), writer: None }).await?;
    let LinesToProve { numbers, possibly_missing: missed, remarks: told } =
        select_lines(vault, wanted, keys, &found).await?;
    let (mut proofs, mut signer) = (Vec::new(), None);
    for ((account, writer, of), numbers) in numbers {
        let line = ChainId { account, writer };
        let epochs = found
            .get(&line)
            .ok_or_else(|| ReadError::not_found(format!("no chain of {}/{}", line.account, line.writer)))?;
        let mut left: BTreeSet<u64> = numbers;
        let own = epochs.iter().filter(|(name, _)| **name == of);
        for (name, digests) in own.chain(epochs.iter().filter(|(name, _)| **name != of)) {
            if left.is_empty() {
                break;
            }
            let mut epoch = EpochProver { vault, line: &line, name, line_epoch: &of, keys, signer: &mut signer };
            epoch.prove_lines(digests, &mut left, &mut proofs).await?;
        }
        if let Some(number) = left.first() {
            let missing = format!(
                "{}/{of}/{number:012} is not in any digest yet: try again in a few minutes, or check the leaf",
                line.writer
            );
            return Err(ReadError::NotFound(missing));
        }
    }
    if !wanted.lines_only {
        for proof in &mut proofs {
            proof.fragment = fetch_fragment(vault, &proof.line).await?.map(|bytes| STANDARD.encode(bytes));
        }
    }
    let key =
        signer.ok_or_else(|| ReadError::not_found("no lines were selected to prove: give leaves or a session"))?;
    let file = ProofFile { v: 1, key, proofs, anchor: wanted.anchor.clone() };
    Ok(ProofResult { file, possibly_missing: missed, remarks: told })
}

async fn select_lines(
    vault: &Vault,
    wanted: &ProofRequest,
    keys: &[VerifyKey],
    found: &EpochsByChain,
) -> Result<LinesToProve, ReadError> {
    let mut logs = LinesToProve::default();
    for leaf in &wanted.leaves {
        let LeafId { writer, epoch, number } = LeafId::parse(leaf)?;
        // the span does not name the account, and each account numbers its lines from 0
        let has = |(line, epochs): &(&ChainId, &_)| line.writer == writer && BTreeMap::contains_key(*epochs, &epoch);
        let accounts: Vec<&str> = found.iter().filter(has).map(|(line, _)| line.account.as_str()).collect();
        match accounts[..] {
            [] => return Err(ReadError::not_found(format!("no chain of {writer}/{epoch}"))),
            [account] => drop(logs.numbers.entry((account.to_owned(), writer, epoch)).or_default().insert(number)),
            _ => return Err(several_accounts_error(leaf, &accounts)),
        }
    }
    if wanted.session.is_some() {
        select_session_lines(vault, wanted, keys, &mut logs).await?;
    }
    Ok(logs)
}

impl ProofRequest {
    fn matches(&self, row: &IndexRow) -> bool {
        row.tail.session_id == self.session && (self.turn_id.is_none() || row.tail.turn == self.turn_id)
    }

    /// The error message if no line matches.
    fn no_match_message(&self, name: &str, told: &BTreeSet<String>) -> String {
        let Some(id) = &self.turn_id else { return format!("no signed line of {name} in the index") };
        let told = if told.is_empty() {
            "the client reported no turn ids: give the leaves instead (`vault replay --json` lists them for each turn)"
                .to_owned()
        } else {
            format!("the client reported {}", told.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
        };
        format!("no signed line of {name} in the index has the turn id {id:?}; {told}")
    }
}

/// Adds the session's lines from objects that signed digests name. A writer must neither be able to replace a line, nor
/// to block a proof.
async fn select_session_lines(
    vault: &Vault,
    wanted: &ProofRequest,
    keys: &[VerifyKey],
    logs: &mut LinesToProve,
) -> Result<(), ReadError> {
    let account = wanted.account.as_deref();
    let signed = SignedIndex::read(vault, keys, account).await?;
    let (mut count, mut accounts, mut turns) = (0, BTreeSet::new(), BTreeSet::new());
    // days of arrival, by account: the oldest in the index, and the session's first
    let (mut oldest, mut first) = (BTreeMap::new(), BTreeMap::new());
    let sooner = |days: &mut BTreeMap<String, String>, row: &IndexRow| {
        let day = row.tail.ingest_ts.get(..10).unwrap_or_default();
        match days.get_mut(&row.tail.account) {
            Some(known) if day < known.as_str() => day.clone_into(known),
            Some(_) => {}
            None => drop(days.insert(row.tail.account.clone(), day.to_owned())),
        }
    };
    let mut each = |row: IndexRow| {
        sooner(&mut oldest, &row);
        if !wanted.matches(&row) {
            turns.extend(
                row.tail.turn.filter(|_| row.tail.session_id == wanted.session && turns.len() < MAX_LISTED_TURNS),
            );
            return;
        }
        sooner(&mut first, &row);
        let tail = row.tail;
        count += 1;
        if count <= MAX_LEAVES {
            let log = (account_segment(&tail.account), tail.writer, tail.epoch);
            logs.numbers.entry(log).or_default().insert(row.leaf);
        }
        accounts.insert(tail.account);
    };
    let UnreadIndex { unreadable: closed, older_missing: older } =
        each_signed_row(vault, account, &|_| true, &signed, &mut each).await?;
    let mut unsigned = 0_u64;
    // unreadable unsigned objects can't be missing from a proof, because no digest names them
    let mut each = |_: &str, row: IndexRow| unsigned += u64::from(wanted.matches(&row));
    each_unsigned_row(vault, account, &|_| true, &signed, &mut each).await?;
    logs.possibly_missing.extend(closed.into_iter().chain(signed.unreadable().iter().cloned()));
    // a session that begins with the oldest index day may have begun earlier
    let edge = first.is_empty() || first.iter().any(|(account, day)| oldest.get(account) == Some(day));
    if edge { &mut logs.possibly_missing } else { &mut logs.remarks }.extend(older);
    let name = format!("the session {:?}", wanted.session.as_deref().unwrap_or_default());
    if unsigned > 0 {
        logs.remarks.push(format!(
            "{unsigned} lines of {name} are not signed by a given key: signed by someone else, not signed yet, or planted"
        ));
    }
    if accounts.len() > 1 {
        return Err(several_accounts_error(&name, accounts));
    }
    if count > MAX_LEAVES {
        return Err(ReadError::invalid(format!(
            "{name} has {count} lines, but at most {MAX_LEAVES} can be proved at once: give --turn-id, or the leaves (`vault find --json` lists them)"
        )));
    }
    if count == 0 {
        let all = [
            vec![wanted.no_match_message(&name, &turns)],
            std::mem::take(&mut logs.possibly_missing),
            std::mem::take(&mut logs.remarks),
        ];
        return Err(ReadError::NotFound(all.concat().join("\nnot proved: ")));
    }
    Ok(())
}

/// The tree being read.
struct EpochProver<'a> {
    vault: &'a Vault,
    line: &'a ChainId,
    name: &'a str,
    line_epoch: &'a str,
    keys: &'a [VerifyKey],
    signer: &'a mut Option<String>,
}

/// A line whose proof is being built.
struct PendingProof {
    number: u64,
    index: u64,
    line: String,
    note: String,
    path: ProofBuilder,
    consistency: ProofBuilder,
}

impl EpochProver<'_> {
    /// Proves those lines of `left` that are in this epoch.
    async fn prove_lines(
        &mut self,
        digests: &BTreeSet<u64>,
        left: &mut BTreeSet<u64>,
        proofs: &mut Vec<LineProof>,
    ) -> Result<(), ReadError> {
        // foreign objects may have been planted after the genuine digests
        let mut signed = None;
        let mut strange = None;
        for n in digests.iter().rev().take(MAX_FOREIGN_DIGESTS) {
            match self.read_digest(*n).await {
                Ok(digest) => {
                    signed = Some((*n, digest));
                    break;
                }
                Err(why) => drop(strange.get_or_insert(why)),
            }
        }
        let Some((last, newest)) = signed else { return strange.map_or(Ok(()), Err) };
        let base = newest.continues.as_ref().map_or(0, |continues| continues.leaf);
        let of = newest.continues.as_ref().map_or(self.name, |continues| continues.epoch.as_str());
        let end = base
            .checked_add(newest.tree_size)
            .ok_or_else(|| ReadError::damaged("a digest claims an impossible tree size"))?;
        let here: Vec<u64> = left.range(base..end).copied().collect();
        if of != self.line_epoch || here.is_empty() {
            return Ok(());
        }
        let mut open = Vec::new();
        let mut waiting = here.iter().copied().peekable();
        // first find the digest of each line, so that the hashes of all lines need only one pass
        let mut indexes = Vec::new();
        for n in digests.range(..=last) {
            let digest = if *n == last { newest.clone() } else { self.read_digest(*n).await? };
            let end = base.saturating_add(digest.tree_size);
            while let Some(number) = waiting.next_if(|number| *number < end) {
                let index = number - base;
                let path = inclusion_ranges(index, digest.tree_size).map(ProofBuilder::new);
                let beginning = consistency_ranges(digest.tree_size, newest.tree_size).map(ProofBuilder::new);
                let (path, consistency) = path
                    .zip(beginning)
                    .ok_or_else(|| ReadError::damaged("a digest's tree is larger than the newest one"))?;
                let note = digest.note.clone();
                open.push(PendingProof { number, index, line: String::new(), note, path, consistency });
            }
            indexes.extend(digest.index);
        }
        let tree = self.hash_lines(indexes, &mut open).await?;
        if tree.size() != newest.tree_size || STANDARD.encode(tree.root()) != newest.root {
            return Err(ReadError::damaged(
                "the stored lines differ from the signed ones: run `tollgate vault verify`",
            ));
        }
        for one in open {
            let proof = (one.path.proof())
                .zip(one.consistency.proof())
                .ok_or_else(|| ReadError::damaged("the index has fewer lines than its tree"))?;
            left.remove(&one.number);
            proofs.push(LineProof {
                index: one.index,
                line: one.line,
                note: one.note,
                path: encode_hashes(&proof.0),
                newest: newest.note.clone(),
                consistency: encode_hashes(&proof.1),
                fragment: None,
            });
        }
        Ok(())
    }

    /// The tree over all lines of these index objects; every open proof receives all hashes, and its own line.
    async fn hash_lines(&self, indexes: Vec<IndexReference>, open: &mut [PendingProof]) -> Result<Frontier, ReadError> {
        let mut tree = Frontier::default();
        for index in indexes {
            let bytes = self.vault.fetch(ObjectKind::Index, &index.key, None).await?;
            for text in index::unpack_lines(&index.key, &bytes)?.lines() {
                let (at, hash) = (tree.size(), leaf_hash(text.as_bytes()));
                for one in open.iter_mut() {
                    one.path.add_leaf(at, hash);
                    one.consistency.add_leaf(at, hash);
                    if one.index == at {
                        text.clone_into(&mut one.line);
                    }
                }
                tree.push(hash);
            }
        }
        Ok(tree)
    }

    /// Reads a digest, and checks that bytes and checkpoint are signed and that it belongs in this place.
    async fn read_digest(&mut self, n: u64) -> Result<ChainDigest, ReadError> {
        let ChainId { account, writer } = self.line;
        let name = self.vault.full_name(&digest_name(account, writer, self.name, n));
        let bytes = self.vault.fetch_chain_object(&name).await?;
        let signature = self.vault.fetch_chain_object(&format!("{name}{SIGNATURE_SUFFIX}")).await?;
        if !self.keys.iter().any(|key| key.is_signed(&bytes, &signature)) {
            return Err(ReadError::forbidden(format!("{name}: not signed by any of the given keys")));
        }
        let digest: ChainDigest =
            serde_json::from_slice(&bytes).map_err(|_| ReadError::damaged(format!("{name} is not a valid digest")))?;
        let here = digest.n == n && digest.epoch == self.name && digest.writer == *writer;
        if !here || account_segment(&digest.account) != *account {
            return Err(ReadError::damaged(format!(
                "{name}: this digest was moved: it names another account, writer, epoch or number"
            )));
        }
        let (text, key) = note::open_note(&digest.note, self.keys).ok_or_else(|| {
            ReadError::forbidden(format!("{name}: its checkpoint is not signed by any of the given keys"))
        })?;
        let same = Checkpoint::parse(text)
            .is_some_and(|said| said.size == digest.tree_size && STANDARD.encode(said.root) == digest.root);
        if !same {
            return Err(ReadError::damaged(format!("{name}: its checkpoint is for another tree")));
        }
        self.signer.get_or_insert_with(|| key.to_string());
        Ok(digest)
    }
}

/// The fragment that a line names; `None` for a line without content.
async fn fetch_fragment(vault: &Vault, line: &str) -> Result<Option<Bytes>, ReadError> {
    let row: IndexRow = serde_json::from_str(line).map_err(|_| ReadError::damaged("a line is not an index line"))?;
    let (Some(object), Some(off), Some(len)) = (&row.object_key, row.off, row.tail.len) else { return Ok(None) };
    let mut hashes = FragmentHashes::default();
    hashes.add(&row);
    vault.fetch_payload(object, Some((off, len)), &hashes).await.bytes.map(Some)
}

fn encode_hashes(hashes: &[NodeHash]) -> Vec<String> {
    hashes.iter().map(|hash| STANDARD.encode(hash)).collect()
}
