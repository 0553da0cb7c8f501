//! State of one verification ([`VerificationRun`]): results so far about epochs ([`EpochVerification`]), keys, turns
//! and names. The sibling modules judge and record here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::chains::{ChainId, epoch_folder};
use crate::location::Vault;
use crate::read::FragmentOpener;
use kernel::clock::UnixNanos;
use kernel::sha256::Sha256;
use vault::chain::digest::{ChainContinuation, ChainDigest, DigestLink};
use vault::chain::tree::{Frontier, NodeHash};
use vault::index_row::{IndexRow, ShreddedKey};

use super::options::{VerifyOptions, VerifyProgress};
use super::report::{ChainHead, ErasedContent, VerifyReport};
use super::resume::{ResumeFile, SeenDigest};
use super::times::DigestTimes;

/// Most sessions whose turns are remembered.
const MAX_SESSIONS: usize = 100_000;
/// Largest number that counts as a turn number.
const MAX_TURN: u64 = 10_000;

pub(super) struct VerificationRun<'a> {
    pub(super) vault: &'a Vault,
    pub(super) options: &'a VerifyOptions,
    pub(super) opener: Option<FragmentOpener<'a>>,
    pub(super) report: VerifyReport,
    pub(super) resume: ResumeFile,
    /// Digests that earlier runs found valid and this run has not compared yet, by the folders of their epochs.
    pub(super) earlier_digests: BTreeMap<String, SeenDigest>,
    pub(super) turns: TurnNumbers,
    pub(super) keys: KeyInventory,
    /// The newest erasures that digests name, by erasure chain, each with the name of such a digest.
    pub(super) newest_erasures: BTreeMap<ChainId, (DigestLink, String)>,
    /// Uses of opening requests in the chains, and the line of each.
    pub(super) used_requests: BTreeMap<String, String>,
    /// The vaults that signed requests name: the number of requests, and time (RFC 3339) and location of the earliest.
    pub(super) named_stores: BTreeMap<String, (u64, (String, String))>,
    /// Failures explained by an object planted in a digest's place, which the writer had to avoid.
    pub(super) excused_failures: u64,
    /// Objects whose retention is over and that are behind delete markers.
    pub(super) hidden_objects: u64,
    pub(super) referenced: ReferencedNames,
    pub(super) progress: VerifyProgress,
}

/// A chain with its judged epochs.
pub(super) struct ChainVerification {
    pub(super) id: ChainId,
    pub(super) epochs: Vec<EpochVerification>,
}

pub(super) fn find_epoch<'e>(epochs: &'e [EpochVerification], name: &str) -> Option<&'e EpochVerification> {
    epochs.iter().find(|epoch| epoch.name == name)
}

/// An epoch and those before it, by their links. The number is limited, because links may form a cycle.
pub(super) fn with_earlier_epochs<'e>(
    epochs: &'e [EpochVerification],
    epoch: &'e EpochVerification,
) -> impl Iterator<Item = &'e EpochVerification> {
    let previous = |epoch: &&EpochVerification| find_epoch(epochs, &epoch.prev.as_ref()?.epoch);
    std::iter::successors(Some(epoch), previous).take(epochs.len())
}

#[derive(Default)]
pub(super) struct EpochVerification {
    pub(super) chain: ChainId,
    pub(super) name: String,
    pub(super) line_epoch: String,
    /// Number of its first line.
    pub(super) base: u64,
    pub(super) account: String,
    pub(super) prev: Option<DigestLink>,
    pub(super) reason: Option<String>,
    pub(super) continues: Option<ChainContinuation>,
    /// Time of its first digest, as stated in the digest.
    pub(super) began_at: Option<String>,
    /// Arrival of its first line, as stated in the lines.
    pub(super) first_arrival: Option<UnixNanos>,
    pub(super) digests: BTreeMap<u64, NodeHash>,
    /// Its newest digest, valid or not.
    pub(super) last: Option<ChainHead>,
    pub(super) gaps: u64,
    /// Whether the writer declares damaged records in its spool.
    pub(super) damaged: bool,
    /// Lines about keys since the last saved position.
    pub(super) key_lines: Vec<IndexRow>,
    /// Fragments whose keys none of the given identities opens.
    pub(super) unopened: u64,
    /// Fragments whose keys expired.
    pub(super) expired: u64,
    /// Its newest valid digest: signed, in its place, and linked to the previous one.
    pub(super) newest_valid: Option<ChainHead>,
    /// Whether foreign objects follow the newest valid digest in place of digests.
    pub(super) has_foreign_end: bool,
    /// Whether digests before the newest valid one are missing or invalid.
    pub(super) broken: bool,
    /// Whether everything to the end is valid.
    pub(super) is_valid: bool,
    /// Whether something was reported, or could not be read, that the next run must report too.
    pub(super) has_remarks: bool,
    /// Whether all lines from the first on exist, neither expired nor archived, so that roots can be computed.
    pub(super) has_all_lines: bool,
    pub(super) tree: Frontier,
    /// Objects without a hash of their own in a digest, or with lines in several digests, by name.
    pub(super) tiled_objects: BTreeMap<String, TiledObject>,
    pub(super) times: DigestTimes,
    /// Whether at least one digest was parsed.
    pub(super) has_digest: bool,
    pub(super) next_digest: u64,
}

impl EpochVerification {
    pub(super) fn new(chain: &ChainId, name: &str) -> Self {
        let (chain, name, line_epoch) = (chain.clone(), name.to_owned(), name.to_owned());
        Self { chain, name, line_epoch, is_valid: true, has_all_lines: true, ..Self::default() }
    }

    /// Its folder, without the vault's prefix.
    pub(super) fn folder(&self) -> String {
        epoch_folder(&self.chain, &self.name)
    }

    /// Whether it has digest number `n` with this SHA-256 (hex).
    pub(super) fn has_digest_with(&self, n: u64, sha256: &str) -> bool {
        self.digests.get(&n).is_some_and(|found| kernel::hex::encode(found) == sha256)
    }

    /// Whether the tree of all lines so far is known, so that later roots and numbers can be compared.
    pub(super) fn has_known_tree(&self) -> bool {
        self.is_valid && self.has_all_lines
    }

    /// Takes the epoch's properties from its first digest.
    pub(super) fn begin(&mut self, digest: &ChainDigest) {
        if std::mem::replace(&mut self.has_digest, true) {
            return;
        }
        self.account.clone_from(&digest.account);
        self.began_at = Some(digest.end.clone());
        self.continues.clone_from(&digest.continues);
        if let Some(ChainContinuation { epoch, leaf }) = &digest.continues {
            (self.line_epoch, self.base) = (epoch.clone(), *leaf);
        }
        if digest.n == 0 {
            self.prev.clone_from(&digest.prev);
            self.reason.clone_from(&digest.reason);
        }
    }
}

/// An object whose fragments must cover it without gaps, unless a digest has its hash.
#[derive(Default)]
pub(super) struct TiledObject {
    pub(super) size: u64,
    /// A digest has its size and hash, and they fit.
    pub(super) is_authentic: bool,
    /// Lengths by offset.
    pub(super) fragments: BTreeMap<u64, u64>,
}

#[derive(Default)]
pub(super) struct TurnNumbers(HashMap<String, BTreeSet<u64>>);

impl TurnNumbers {
    pub(super) fn add_row(&mut self, row: &IndexRow) {
        let turn = row.tail.turn.as_deref().and_then(|turn| turn.parse::<u64>().ok());
        let (Some(turn), Some(session)) = (turn.filter(|turn| *turn <= MAX_TURN), &row.tail.session_id) else { return };
        let session = format!("{}/{}/{session}", row.tail.account, row.tail.tenant);
        if self.0.len() < MAX_SESSIONS || self.0.contains_key(&session) {
            self.0.entry(session).or_default().insert(turn);
        }
    }

    /// Sessions with missing turn numbers.
    pub(super) fn gaps(&self) -> Vec<String> {
        let describe_gap = |(session, turns): (&String, &BTreeSet<u64>)| {
            let (first, last) = (turns.first()?, turns.last()?);
            let missing = (last - first + 1).saturating_sub(turns.len() as u64);
            (missing > 0).then(|| format!("{session}: {missing} of {first} to {last}"))
        };
        let mut gaps: Vec<String> = self.0.iter().filter_map(describe_gap).collect();
        gaps.sort_unstable();
        gaps.truncate(1000);
        gaps
    }
}

/// A session key that index lines name.
pub(super) struct NamedKey {
    /// SHA-256 of its object; `None` if its lines are of a version without hashes.
    pub(super) sha256: Option<String>,
    pub(super) state: KeyState,
    /// Name of the key's object, or of a copy that matches the hash.
    pub(super) object: String,
    /// Fragments that can't be opened because of this key's state.
    pub(super) fragments: u64,
    /// One of the payload objects that the key opens.
    pub(super) payload: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyState {
    Present,
    Missing,
    /// An object exists, but not the one that was written.
    Changed,
    Archived,
    /// The state is unknown, for this reason.
    Unknown(String),
}

/// Session keys: listed, named by lines, and erased.
#[derive(Default)]
pub(super) struct KeyInventory {
    /// Names of the objects in the keys' folders; `None` if they were not listed, or can't be.
    pub(super) present: Option<BTreeSet<String>>,
    pub(super) named: BTreeMap<ShreddedKey, NamedKey>,
    /// Number of fragments so far whose keys are missing or changed.
    pub(super) unopenable_fragments: u64,
    /// Erasures in the chain, by nonce.
    pub(super) erasures: BTreeMap<String, RecordedErasure>,
    /// Keys that were erased, or are being erased.
    pub(super) erased: BTreeSet<ShreddedKey>,
    /// Hashes of the copies that `rewrap` made, by name, according to lines.
    pub(super) copies: BTreeMap<String, String>,
}

pub(super) struct RecordedErasure {
    pub(super) erased: ErasedContent,
    pub(super) keys: Vec<ShreddedKey>,
}

/// Names that digests and lines reference; half a hash of each saves memory.
#[derive(Default)]
pub(super) struct ReferencedNames(HashSet<[u8; 16]>);

fn short_hash(name: &str) -> [u8; 16] {
    Sha256::digest(name).first_chunk::<16>().copied().unwrap_or_default()
}

impl ReferencedNames {
    pub(super) fn add(&mut self, name: &str) {
        self.0.insert(short_hash(name));
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains(&short_hash(name))
    }
}
