//! **What**: the state of one verification ([`Walk`]): what was found so far of epochs ([`Epoch`]), keys, turns and
//! names. **Not here**: judging, which is in the modules beside it.

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

/// Sessions whose turns are kept in mind.
const MAX_SESSIONS: usize = 100_000;
/// Largest number of a turn that is taken for one.
const MAX_TURN: u64 = 10_000;

/// One walk.
pub(super) struct Walk<'a> {
    pub(super) vault: &'a Vault,
    pub(super) options: &'a Options,
    pub(super) opener: Option<Opener<'a>>,
    pub(super) report: Report,
    pub(super) resume: Resume,
    /// Digests of earlier runs that were not met yet.
    pub(super) seen: BTreeMap<String, Seen>,
    pub(super) turns: Turns,
    pub(super) keys: Keys,
    /// The newest erasures that digests name: by account as in names and writer, with the digest that names it.
    pub(super) newest_erasures: BTreeMap<(String, String), (Link, String)>,
    /// Failures that something planted in a digest's place explains: the writer had to go around it.
    pub(super) excused: u64,
    /// Objects behind delete markers whose retention is over.
    pub(super) hidden: u64,
    pub(super) referenced: Referenced,
    pub(super) progress: Progress,
}

/// An epoch that was judged.
pub(super) struct Epoch {
    pub(super) name: String,
    /// The epoch in its lines.
    pub(super) of: String,
    /// Number of its first line.
    pub(super) base: u64,
    pub(super) account: String,
    pub(super) prev: Option<Link>,
    pub(super) reason: Option<String>,
    pub(super) continues: Option<Continues>,
    /// When its first digest was made, as that says.
    pub(super) began: Option<String>,
    /// When the first of its lines arrived, as they say.
    pub(super) arrived: Option<UnixNanos>,
    /// Digests by number.
    pub(super) digests: BTreeMap<u64, Hash>,
    pub(super) last: Option<Last>,
    pub(super) gaps: u64,
    /// The writer says that records were damaged in its spool.
    pub(super) damaged: bool,
    /// Lines of erasures since the last digest that was remembered.
    pub(super) told: Vec<Row>,
    /// Fragments whose keys no identity given here opens.
    pub(super) unread: u64,
    /// Fragments whose keys expired.
    pub(super) expired: u64,
    /// Its newest digest that is signed and stands where it says.
    pub(super) newest: Option<Last>,
    /// Objects in the place of digests behind that one which are none.
    pub(super) planted: bool,
    /// Something is wrong up to that one.
    pub(super) broken: bool,
    /// Everything to the end holds.
    pub(super) whole: bool,
    /// Something was found, or could not be read, that the next run must tell, too.
    pub(super) told_of: bool,
    /// Every line from the first on is there, so that roots can be computed: none expired, none is archived.
    pub(super) rooted: bool,
    pub(super) tree: Frontier,
    pub(super) tiles: Tiles,
    pub(super) times: Times,
    /// Without digests.
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

    /// What its first digest says.
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

/// Fragments of objects that have no hash of their own in a digest: they must tile the object.
#[derive(Default)]
pub(super) struct Tiles(pub(super) BTreeMap<String, (u64, BTreeMap<u64, u64>)>);

impl Tiles {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Numbers of turns by session.
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

    /// Sessions with holes.
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

/// What is known of keys.
#[derive(Default)]
pub(super) struct Keys {
    /// Names of what lies where keys lie; `None`: there is nothing at all, or it can't be listed.
    pub(super) there: Option<BTreeSet<String>>,
    /// Those that lines name.
    pub(super) told: BTreeMap<Shredded, ToldKey>,
    /// Fragments whose keys are not there, or not as they were written.
    pub(super) fragments: u64,
    /// Erasures that stand in the chain, by nonce.
    pub(super) erasures: BTreeMap<String, ToldErasure>,
    /// Keys that were erased, or are being.
    pub(super) gone: BTreeSet<Shredded>,
    /// Copies that `rewrap` made, as lines tell: names and hashes.
    pub(super) copies: BTreeMap<String, String>,
}

/// An erasure, as the chain tells it.
pub(super) struct ToldErasure {
    pub(super) erased: Erased,
    pub(super) keys: Vec<Shredded>,
}

impl Keys {
    /// Whether it is known which are there.
    pub(super) fn are_listed(&self) -> bool {
        self.there.is_some()
    }

    /// Fragments so far whose keys are not there.
    pub(super) fn fragments(&self) -> u64 {
        self.fragments
    }
}

/// Names that were seen, as the first half of their hash.
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
