//! State of one verification ([`Walk`]): results so far about epochs ([`Epoch`]), keys, turns and names. Neighbours:
//! the sibling modules judge.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sha2::{Digest as _, Sha256};

use crate::location::Vault;
use crate::read::Opener;
use kernel::clock::UnixNanos;
use vault::chain::digest::{Continues, Digest, Link};
use vault::chain::tree::{Frontier, Hash};
use vault::row::{Row, Shredded};

use super::options::{Options, Progress};
use super::report::{Erased, Report};
use super::resume::{Resume, Seen};
use super::times::Times;
use super::told_key::ToldKey;

/// Most sessions whose turns are remembered.
const MAX_SESSIONS: usize = 100_000;
/// Largest number that counts as a turn number.
const MAX_TURN: u64 = 10_000;

/// State of one verification.
pub(super) struct Walk<'a> {
    pub(super) vault: &'a Vault,
    pub(super) options: &'a Options,
    pub(super) opener: Option<Opener<'a>>,
    pub(super) report: Report,
    pub(super) resume: Resume,
    /// Digests of earlier runs that were not encountered yet.
    pub(super) seen: BTreeMap<String, Seen>,
    pub(super) turns: Turns,
    pub(super) keys: Keys,
    /// The newest erasures that digests name, by account (as in object names) and writer, with the naming digest.
    pub(super) newest_erasures: BTreeMap<(String, String), (Link, String)>,
    /// Failures explained by an object planted in a digest's place, which the writer had to avoid.
    pub(super) excused: u64,
    /// Objects behind delete markers whose retention is over.
    pub(super) hidden: u64,
    pub(super) referenced: Referenced,
    pub(super) progress: Progress,
}

/// An epoch that was judged.
pub(super) struct Epoch {
    pub(super) name: String,
    /// The epoch that its lines name.
    pub(super) of: String,
    /// Number of its first line.
    pub(super) base: u64,
    pub(super) account: String,
    pub(super) prev: Option<Link>,
    pub(super) reason: Option<String>,
    pub(super) continues: Option<Continues>,
    /// Time of its first digest, as stated in the digest.
    pub(super) began: Option<String>,
    /// Arrival of its first line, as stated in the lines.
    pub(super) arrived: Option<UnixNanos>,
    /// Hashes of the digests, by number.
    pub(super) digests: BTreeMap<u64, Hash>,
    pub(super) last: Option<Last>,
    pub(super) gaps: u64,
    /// Whether the writer declares damaged records in its spool.
    pub(super) damaged: bool,
    /// Lines of erasures since the last saved position.
    pub(super) told: Vec<Row>,
    /// Fragments whose keys none of the given identities opens.
    pub(super) unread: u64,
    /// Fragments whose keys expired.
    pub(super) expired: u64,
    /// Its newest digest that is signed and in its place.
    pub(super) newest: Option<Last>,
    /// Whether foreign objects follow that digest in place of digests.
    pub(super) planted: bool,
    /// Whether something up to that digest is wrong.
    pub(super) broken: bool,
    /// Whether everything to the end is valid.
    pub(super) whole: bool,
    /// Whether something was reported, or could not be read, that the next run must report too.
    pub(super) told_of: bool,
    /// Whether all lines from the first on exist, neither expired nor archived, so that roots can be computed.
    pub(super) rooted: bool,
    pub(super) tree: Frontier,
    pub(super) tiles: Tiles,
    pub(super) times: Times,
    /// Whether a digest was seen.
    pub(super) begun: bool,
    pub(super) expected: u64,
}

/// An epoch's newest digest.
#[derive(Clone)]
pub(super) struct Last {
    pub(super) n: u64,
    pub(super) end: String,
    pub(super) last: bool,
    pub(super) tree_size: u64,
    pub(super) root: String,
    pub(super) pending: u64,
}

impl Epoch {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            of: name.to_owned(),
            base: 0,
            account: String::new(),
            prev: None,
            reason: None,
            continues: None,
            began: None,
            arrived: None,
            digests: BTreeMap::new(),
            last: None,
            gaps: 0,
            damaged: false,
            told: Vec::new(),
            unread: 0,
            expired: 0,
            newest: None,
            planted: false,
            broken: false,
            whole: true,
            told_of: false,
            rooted: true,
            tree: Frontier::default(),
            tiles: Tiles::default(),
            times: Times::default(),
            begun: false,
            expected: 0,
        }
    }

    /// Takes the epoch's properties from its first digest.
    pub(super) fn begin(&mut self, digest: &Digest) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        self.account.clone_from(&digest.account);
        self.began = Some(digest.end.clone());
        self.continues.clone_from(&digest.continues);
        if let Some(Continues { epoch, leaf }) = &digest.continues {
            (self.of, self.base) = (epoch.clone(), *leaf);
        }
        if digest.n == 0 {
            self.prev.clone_from(&digest.prev);
            self.reason.clone_from(&digest.reason);
        }
    }
}

/// Fragments of objects without a hash of their own in a digest: the fragments must tile the object.
#[derive(Default)]
pub(super) struct Tiles(pub(super) BTreeMap<String, (u64, BTreeMap<u64, u64>)>);

impl Tiles {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Turn numbers by session.
#[derive(Default)]
pub(super) struct Turns(HashMap<String, BTreeSet<u64>>);

impl Turns {
    pub(super) fn saw(&mut self, row: &Row) {
        let turn = row.tail.turn.as_deref().and_then(|turn| turn.parse::<u64>().ok());
        let (Some(turn), Some(session)) = (turn.filter(|turn| *turn <= MAX_TURN), &row.tail.session_id) else { return };
        let session = format!("{}/{}/{session}", row.tail.account, row.tail.tenant);
        if self.0.len() < MAX_SESSIONS || self.0.contains_key(&session) {
            self.0.entry(session).or_default().insert(turn);
        }
    }

    /// Sessions with missing turn numbers.
    pub(super) fn gaps(&self) -> Vec<String> {
        let gap = |(session, turns): (&String, &BTreeSet<u64>)| {
            let (first, last) = (turns.first()?, turns.last()?);
            let missing = (last - first + 1).saturating_sub(turns.len() as u64);
            (missing > 0).then(|| format!("{session}: {missing} of {first} to {last}"))
        };
        let mut gaps: Vec<String> = self.0.iter().filter_map(gap).collect();
        gaps.sort_unstable();
        gaps.truncate(1000);
        gaps
    }
}

/// State of keys.
#[derive(Default)]
pub(super) struct Keys {
    /// Names of the objects in the keys' folders; `None` if they were not listed, or can't be.
    pub(super) there: Option<BTreeSet<String>>,
    /// Keys that lines name.
    pub(super) told: BTreeMap<Shredded, ToldKey>,
    /// Fragments whose keys are missing or changed.
    pub(super) fragments: u64,
    /// Erasures in the chain, by nonce.
    pub(super) erasures: BTreeMap<String, ToldErasure>,
    /// Keys that were erased, or are being erased.
    pub(super) gone: BTreeSet<Shredded>,
    /// Hashes of the copies that `rewrap` made, by name, according to lines.
    pub(super) copies: BTreeMap<String, String>,
}

/// An erasure as recorded in the chain.
pub(super) struct ToldErasure {
    pub(super) erased: Erased,
    pub(super) keys: Vec<Shredded>,
}

impl Keys {
    /// Whether the existing keys are known.
    pub(super) fn are_listed(&self) -> bool {
        self.there.is_some()
    }

    /// Fragments so far whose keys are missing or changed.
    pub(super) fn fragments(&self) -> u64 {
        self.fragments
    }
}

/// Names that were referenced, as the first half of their hash.
#[derive(Default)]
pub(super) struct Referenced(HashSet<[u8; 16]>);

fn short(name: &str) -> [u8; 16] {
    Sha256::digest(name).first_chunk::<16>().copied().unwrap_or_default()
}

impl Referenced {
    pub(super) fn add(&mut self, name: &str) {
        self.0.insert(short(name));
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains(&short(name))
    }
}
