//! Proofs that a third party can check without the vault: [`prove`] makes them, `check` checks them. A user can
//! hand over single records to people who may see no other record (docs/vault.md: checks with other tools).
//!
//! A proof contains the index line itself, which [`prove`] compares with the chain. A session's proof covers the
//! session's signed lines and lists where more may be missing. Checking needs only the file and public keys.
//! Neighbours: `verify` (the whole vault), `verify/anchor` (anchors).

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

/// Most foreign objects in digests' places that are skipped in the search for an epoch's newest signed digest.
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

/// The epoch that lines name, within which they are numbered.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct LineEpoch {
    chain: ChainId,
    epoch: String,
}

/// The numbers of the lines to prove, by epoch.
#[derive(Default)]
struct LinesToProve {
    numbers: BTreeMap<LineEpoch, BTreeSet<u64>>,
    possibly_missing: Vec<String>,
    remarks: Vec<String>,
}

/// Makes a proof file.
///
/// # Errors
/// There is no such line, or the chain does not contain it.
pub async fn prove(vault: &Vault, wanted: &ProofRequest, keys: &[VerifyKey]) -> Result<ProofResult, ReadError> {
    let chains = list_chains(vault, ChainScope { account: wanted.account.as_deref(), writer: None }).await?;
    let LinesToProve { numbers, possibly_missing, remarks } = select_lines(vault, wanted, keys, &chains).await?;
    let (mut proofs, mut signer) = (Vec::new(), None);
    for (LineEpoch { chain, epoch: line_epoch }, mut unproved) in numbers {
        let epochs = chains
            .get(&chain)
            .ok_or_else(|| ReadError::not_found(format!("no chain of {}/{}", chain.account, chain.writer)))?;
        // later epochs may continue the lines of an abandoned one
        let same_name = epochs.iter().filter(|(epoch, _)| **epoch == line_epoch);
        for (epoch, digests) in same_name.chain(epochs.iter().filter(|(epoch, _)| **epoch != line_epoch)) {
            if unproved.is_empty() {
                break;
            }
            let mut prover =
                EpochProver { vault, chain: &chain, epoch, line_epoch: &line_epoch, keys, signer: &mut signer };
            prover.prove_lines(digests, &mut unproved, &mut proofs).await?;
        }
        if let Some(number) = unproved.first() {
            let missing = format!(
                "{}/{line_epoch}/{number:012} is not in any digest yet: try again in a few minutes, or check the leaf",
                chain.writer
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
    Ok(ProofResult { file, possibly_missing, remarks })
}

async fn select_lines(
    vault: &Vault,
    wanted: &ProofRequest,
    keys: &[VerifyKey],
    chains: &EpochsByChain,
) -> Result<LinesToProve, ReadError> {
    let mut selected = LinesToProve::default();
    for leaf in &wanted.leaves {
        let LeafId { writer, epoch, number } = LeafId::parse(leaf)?;
        // the span does not name the account, and each account numbers its lines from 0
        let has_epoch =
            |(chain, epochs): &(&ChainId, &_)| chain.writer == writer && BTreeMap::contains_key(*epochs, &epoch);
        let accounts: Vec<&str> = chains.iter().filter(has_epoch).map(|(chain, _)| chain.account.as_str()).collect();
        match accounts[..] {
            [] => return Err(ReadError::not_found(format!("no chain of {writer}/{epoch}"))),
            [account] => {
                let chain = ChainId { account: account.to_owned(), writer };
                selected.numbers.entry(LineEpoch { chain, epoch }).or_default().insert(number);
            }
            _ => return Err(several_accounts_error(leaf, &accounts)),
        }
    }
    if wanted.session.is_some() {
        select_session_lines(vault, wanted, keys, &mut selected).await?;
    }
    Ok(selected)
}

impl ProofRequest {
    fn matches(&self, row: &IndexRow) -> bool {
        row.tail.session_id == self.session && (self.turn_id.is_none() || row.tail.turn == self.turn_id)
    }

    /// The error message if no line matches.
    fn no_match_message(&self, session: &str, turn_ids: &BTreeSet<String>) -> String {
        let Some(id) = &self.turn_id else { return format!("no signed line of {session} in the index") };
        let hint = if turn_ids.is_empty() {
            "the client reported no turn ids: give the leaves instead (`vault replay --json` lists them for each turn)"
                .to_owned()
        } else {
            format!("the client reported {}", turn_ids.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
        };
        format!("no signed line of {session} in the index has the turn id {id:?}; {hint}")
    }
}

/// Adds the session's lines, only from objects that signed digests name: a person who can write to the store must
/// neither replace a line nor block a proof.
async fn select_session_lines(
    vault: &Vault,
    wanted: &ProofRequest,
    keys: &[VerifyKey],
    selected: &mut LinesToProve,
) -> Result<(), ReadError> {
    let account = wanted.account.as_deref();
    let signed = SignedIndex::read(vault, keys, account).await?;
    let (mut line_count, mut accounts, mut turn_ids) = (0, BTreeSet::new(), BTreeSet::new());
    // days of arrival, by account: the oldest in the index, and the session's first
    let (mut oldest_days, mut first_days) = (BTreeMap::new(), BTreeMap::new());
    let keep_earlier_day = |days: &mut BTreeMap<String, String>, row: &IndexRow| {
        let day = row.tail.ingest_ts.get(..10).unwrap_or_default();
        match days.get_mut(&row.tail.account) {
            Some(earliest) if day < earliest.as_str() => day.clone_into(earliest),
            Some(_) => {}
            None => drop(days.insert(row.tail.account.clone(), day.to_owned())),
        }
    };
    let mut select = |row: IndexRow| {
        keep_earlier_day(&mut oldest_days, &row);
        if !wanted.matches(&row) {
            turn_ids.extend(
                row.tail.turn.filter(|_| row.tail.session_id == wanted.session && turn_ids.len() < MAX_LISTED_TURNS),
            );
            return;
        }
        keep_earlier_day(&mut first_days, &row);
        let tail = row.tail;
        line_count += 1;
        if line_count <= MAX_LEAVES {
            let chain = ChainId { account: account_segment(&tail.account), writer: tail.writer };
            selected.numbers.entry(LineEpoch { chain, epoch: tail.epoch }).or_default().insert(row.leaf);
        }
        accounts.insert(tail.account);
    };
    let UnreadIndex { unreadable, older_missing } =
        each_signed_row(vault, account, &|_| true, &signed, &mut select).await?;
    let mut unsigned_lines = 0_u64;
    // the proof lacks nothing if an unsigned object is unreadable, because no digest names the object
    let mut count_unsigned = |_: &str, row: IndexRow| unsigned_lines += u64::from(wanted.matches(&row));
    each_unsigned_row(vault, account, &|_| true, &signed, &mut count_unsigned).await?;
    selected.possibly_missing.extend(unreadable.into_iter().chain(signed.unreadable().iter().cloned()));
    // a session that begins with the oldest index day may have begun earlier
    let may_begin_earlier =
        first_days.is_empty() || first_days.iter().any(|(account, day)| oldest_days.get(account) == Some(day));
    if may_begin_earlier { &mut selected.possibly_missing } else { &mut selected.remarks }.extend(older_missing);
    let session = format!("the session {:?}", wanted.session.as_deref().unwrap_or_default());
    if unsigned_lines > 0 {
        selected.remarks.push(format!(
            "{unsigned_lines} lines of {session} are not signed by a given key: signed by someone else, not signed \
             yet, or planted"
        ));
    }
    if accounts.len() > 1 {
        return Err(several_accounts_error(&session, accounts));
    }
    if line_count > MAX_LEAVES {
        return Err(ReadError::invalid(format!(
            "{session} has {line_count} lines, but at most {MAX_LEAVES} can be proved at once: give --turn-id, \
             or the leaves (`vault find --json` lists them)"
        )));
    }
    if line_count == 0 {
        let messages = [
            vec![wanted.no_match_message(&session, &turn_ids)],
            std::mem::take(&mut selected.possibly_missing),
            std::mem::take(&mut selected.remarks),
        ];
        return Err(ReadError::NotFound(messages.concat().join("\nnot proved: ")));
    }
    Ok(())
}

/// Proves lines of `line_epoch` that are in the tree of `epoch`.
struct EpochProver<'a> {
    vault: &'a Vault,
    chain: &'a ChainId,
    epoch: &'a str,
    line_epoch: &'a str,
    keys: &'a [VerifyKey],
    /// The key that signed the first digest read.
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
    /// Proves those lines of `unproved` that are in this epoch, and removes them from `unproved`.
    async fn prove_lines(
        &mut self,
        digests: &BTreeSet<u64>,
        unproved: &mut BTreeSet<u64>,
        proofs: &mut Vec<LineProof>,
    ) -> Result<(), ReadError> {
        // foreign objects may have been planted after the genuine digests
        let mut newest_signed = None;
        let mut first_error = None;
        for n in digests.iter().rev().take(MAX_FOREIGN_DIGESTS) {
            match self.read_digest(*n).await {
                Ok(digest) => {
                    newest_signed = Some((*n, digest));
                    break;
                }
                Err(why) => drop(first_error.get_or_insert(why)),
            }
        }
        let Some((last, newest)) = newest_signed else { return first_error.map_or(Ok(()), Err) };
        let base = newest.continues.as_ref().map_or(0, |continues| continues.leaf);
        let line_epoch = newest.continues.as_ref().map_or(self.epoch, |continues| continues.epoch.as_str());
        let end = base
            .checked_add(newest.tree_size)
            .ok_or_else(|| ReadError::damaged("a digest claims an impossible tree size"))?;
        let numbers: Vec<u64> = unproved.range(base..end).copied().collect();
        if line_epoch != self.line_epoch || numbers.is_empty() {
            return Ok(());
        }
        let mut pending = Vec::new();
        let mut numbers = numbers.into_iter().peekable();
        // first find the digest of each line, so that the hashes of all lines need only one pass
        let mut indexes = Vec::new();
        for n in digests.range(..=last) {
            let digest = if *n == last { newest.clone() } else { self.read_digest(*n).await? };
            let end = base.saturating_add(digest.tree_size);
            while let Some(number) = numbers.next_if(|number| *number < end) {
                let index = number - base;
                let path = inclusion_ranges(index, digest.tree_size).map(ProofBuilder::new);
                let consistency = consistency_ranges(digest.tree_size, newest.tree_size).map(ProofBuilder::new);
                let (path, consistency) = path
                    .zip(consistency)
                    .ok_or_else(|| ReadError::damaged("a digest's tree is larger than the newest one"))?;
                let note = digest.note.clone();
                pending.push(PendingProof { number, index, line: String::new(), note, path, consistency });
            }
            indexes.extend(digest.index);
        }
        let tree = self.hash_lines(indexes, &mut pending).await?;
        if tree.size() != newest.tree_size || STANDARD.encode(tree.root()) != newest.root {
            return Err(ReadError::damaged(
                "the stored lines differ from the signed ones: run `tollgate vault verify`",
            ));
        }
        for proof in pending {
            let (path, consistency) = (proof.path.proof())
                .zip(proof.consistency.proof())
                .ok_or_else(|| ReadError::damaged("the index has fewer lines than its tree"))?;
            unproved.remove(&proof.number);
            proofs.push(LineProof {
                index: proof.index,
                line: proof.line,
                note: proof.note,
                path: encode_hashes(&path),
                newest: newest.note.clone(),
                consistency: encode_hashes(&consistency),
                fragment: None,
            });
        }
        Ok(())
    }

    /// Makes the tree over all lines of these index objects; every pending proof receives all hashes, and its own line.
    async fn hash_lines(
        &self,
        indexes: Vec<IndexReference>,
        pending: &mut [PendingProof],
    ) -> Result<Frontier, ReadError> {
        let mut tree = Frontier::default();
        for reference in indexes {
            let bytes = self.vault.fetch(ObjectKind::Index, &reference.key, None).await?;
            for text in index::unpack_lines(&reference.key, &bytes)?.lines() {
                let (number, hash) = (tree.size(), leaf_hash(text.as_bytes()));
                for proof in pending.iter_mut() {
                    proof.path.add_leaf(number, hash);
                    proof.consistency.add_leaf(number, hash);
                    if proof.index == number {
                        text.clone_into(&mut proof.line);
                    }
                }
                tree.push(hash);
            }
        }
        Ok(tree)
    }

    /// Reads a digest, and checks that bytes and checkpoint are signed and that it belongs in this place.
    async fn read_digest(&mut self, n: u64) -> Result<ChainDigest, ReadError> {
        let ChainId { account, writer } = self.chain;
        let name = self.vault.full_name(&digest_name(account, writer, self.epoch, n));
        let bytes = self.vault.fetch_chain_object(&name).await?;
        let signature = self.vault.fetch_chain_object(&format!("{name}{SIGNATURE_SUFFIX}")).await?;
        if !self.keys.iter().any(|key| key.is_signed(&bytes, &signature)) {
            return Err(ReadError::forbidden(format!("{name}: not signed by any of the given keys")));
        }
        let digest: ChainDigest =
            serde_json::from_slice(&bytes).map_err(|_| ReadError::damaged(format!("{name} is not a valid digest")))?;
        let is_in_place = digest.n == n && digest.epoch == self.epoch && digest.writer == *writer;
        if !is_in_place || account_segment(&digest.account) != *account {
            return Err(ReadError::damaged(format!(
                "{name}: this digest was moved: it names another account, writer, epoch or number"
            )));
        }
        let (text, key) = note::open_note(&digest.note, self.keys).ok_or_else(|| {
            ReadError::forbidden(format!("{name}: its checkpoint is not signed by any of the given keys"))
        })?;
        let is_same_tree = Checkpoint::parse(text).is_some_and(|checkpoint| {
            checkpoint.size == digest.tree_size && STANDARD.encode(checkpoint.root) == digest.root
        });
        if !is_same_tree {
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
