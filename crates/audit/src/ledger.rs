//! [`Ledger`]: the chain of a person who changes keys. Each erasure has an epoch with two lines (begun, done), and each
//! set of key copies an epoch with one, so that destroying or copying a key is as provable as writing content.
//!
//! The only state is the store's, and of that only what a known key signed. The next epoch's name follows from the last
//! digest and the key, and a digest's bytes from its lines and the previous digest. An interrupted run is therefore
//! repeated with identical bytes, and two concurrent runs collide instead of forking. Objects planted under the names
//! are skipped. Neighbours: `erase` decides what is erased, `rewrap` what is copied.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::chains::{Scope, chains};
use crate::error::ReadError;
use crate::place::Place;
use crate::read::index;
use kernel::clock::UnixNanos;
use kernel::rng::Rng;
use vault::chain::digest::{Counters, Digest, Index, Link, VERSION, origin};
use vault::chain::note::{Checkpoint, SigningKey, VerifyKey};
use vault::chain::tree::{Frontier, leaf_hash};
use vault::names::{self, Names, SIGNATURE, UNATTRIBUTED, account_segment, rfc3339};
use vault::row::{Erasure, ErasureState, KeyCopy, Kind, Row, Tail};
use vault::store::{ObjectKind, Put, StoreError};

/// Compression level of the index objects.
const LEVEL: i32 = 3;
/// Names that are tried for a new epoch. An attacker can only take a name after its first use, before its digest is
/// stored.
const ATTEMPTS: u64 = 64;
/// How far the clock of an earlier run may have been ahead of this one.
const SKEW: Duration = Duration::from_secs(300);
/// Reason in the first epoch's digest, which has no previous one.
const FIRST: &str = "first: this writer has told nothing before";

/// Content of a line.
#[derive(Clone)]
pub enum Said {
    /// Keys are about to be destroyed, or were destroyed.
    Erasure(Erasure),
    /// Copies of keys were made.
    KeyCopies(Vec<KeyCopy>),
}

impl Said {
    /// Whether the line is the last of its epoch.
    fn is_last(&self) -> bool {
        match self {
            Self::Erasure(erasure) => erasure.state == ErasureState::Done,
            Self::KeyCopies(_) => true,
        }
    }
}

/// The chain of one account and writer.
pub struct Ledger<'p> {
    place: &'p Place,
    key: &'p SigningKey,
    account: String,
    writer: String,
    /// Keys whose signatures count.
    keys: Vec<VerifyKey>,
    /// The last digest, and the end of its time range.
    head: Option<(Link, String)>,
    /// Number of epochs so far.
    epochs: u64,
    /// Nonces of executed requests.
    done: BTreeSet<String>,
    /// Names and hashes of the copies that the chain lists.
    copies: BTreeSet<(String, String)>,
    /// The unfinished epoch, if any.
    open: Option<Epoch>,
    strangers: Strangers,
}

/// Objects under the writer's name that no known key signed.
#[derive(Default)]
struct Strangers {
    first: Option<String>,
    count: u64,
    /// Whether one has the form of a digest for this place: a gateway's, an earlier key's, or a good forgery.
    chains: bool,
}

/// An epoch that is being written.
struct Epoch {
    names: Names,
    tree: Frontier,
    begun: Option<Row>,
}

/// A source of "random" bytes that are known, for an epoch's name.
struct Known([u8; 32]);

impl Rng for Known {
    fn fill(&self, out: &mut [u8]) {
        out.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
    }
}

impl<'p> Ledger<'p> {
    /// Reads the chain's state from the objects that `key`, or one of `before` (keys that signed it earlier), signed.
    /// Other objects under its name are ignored.
    ///
    /// # Errors
    /// The store fails, or this is not a chain of erasures.
    pub async fn read(
        place: &'p Place,
        key: &'p SigningKey,
        before: &[VerifyKey],
        account: &str,
        writer: &str,
    ) -> Result<Self, ReadError> {
        if writer.is_empty() || account_segment(writer) != writer {
            return Err(ReadError::invalid(format!(
                "{writer:?} is no name of a writer: letters, digits, `.`, `_`, `-`"
            )));
        }
        let (account, writer) = (account.to_owned(), writer.to_owned());
        let keys = [std::slice::from_ref(key.public()), before].concat();
        let (done, copies, strangers) = (BTreeSet::new(), BTreeSet::new(), Strangers::default());
        let (head, epochs, open) = (None, 0, None);
        let mut ledger = Self { place, key, keys, account, writer, head, epochs, done, copies, open, strangers };
        let wanted = Scope { account: Some(&ledger.account), writer: Some(&ledger.writer) };
        let found = chains(&place.vault, wanted).await?;
        for (epoch, numbers) in found.into_values().flatten() {
            ledger.epoch(&epoch, &numbers).await?;
        }
        if ledger.head.is_none() && ledger.strangers.chains {
            return Err(ledger.strange("no key given here signed it"));
        }
        Ok(ledger)
    }

    /// Digests under the writer's name that no key given to [`Self::read`] signed: the first name, and how many.
    pub fn strangers(&self) -> Option<(&str, u64)> {
        self.strangers.first.as_deref().map(|first| (first, self.strangers.count))
    }

    /// Reads one epoch; epochs must come in order.
    async fn epoch(&mut self, name: &str, numbers: &BTreeSet<u64>) -> Result<(), ReadError> {
        let mut epoch = Epoch { names: self.names(name), tree: Frontier::default(), begun: None };
        let (mut over, mut whole, mut taken) = (false, true, 0);
        for n in numbers {
            let at = epoch.names.digest(&self.account, *n);
            let Some((digest, sha256)) = self.own(&at, name, *n).await? else { continue };
            // a signed digest must follow the previous signed one, otherwise the chain was tampered with
            let follows = *n == taken && digest.prev == self.head.as_ref().map(|(link, _)| link.clone());
            if !follows || over || self.open.is_some() {
                return Err(self.strange("its digests do not follow each other"));
            }
            taken += 1;
            self.epochs += u64::from(*n == 0);
            let index = digest.index.as_ref().ok_or_else(|| self.strange("a digest has no line"))?;
            over = digest.last;
            match self.place.vault.try_fetch(ObjectKind::Index, &index.key).await {
                Ok(lines) if kernel::hex::encode(&Sha256::digest(&lines)) == index.sha256 => {
                    self.take(&mut epoch, &lines)?;
                }
                // its retention is over (requests expire long before), or these are not the signed bytes
                Ok(_) | Err(StoreError::Missing) => whole = false,
                Err(error) => return Err(ReadError::of_object(&index.key, &error)),
            }
            self.head = Some((Link { epoch: name.to_owned(), n: *n, sha256 }, digest.end));
        }
        match (taken, over, whole) {
            (0, ..) | (_, true, _) => {}
            (_, false, true) => self.open = Some(epoch),
            (_, false, false) => return Err(self.strange("a line of an erasure that is not finished is missing")),
        }
        Ok(())
    }

    /// The digest at `at` with its hash, if one of the keys signed it and it names this place; otherwise it is recorded
    /// as a stranger's.
    async fn own(&mut self, at: &str, epoch: &str, n: u64) -> Result<Option<(Digest, String)>, ReadError> {
        let (bytes, signature) = (self.there(at).await?, self.there(&format!("{at}{SIGNATURE}")).await?);
        let digest: Option<Digest> = bytes.as_ref().and_then(|bytes| serde_json::from_slice(bytes).ok());
        let here = |digest: &Digest| {
            (&*digest.account, &*digest.writer, &*digest.epoch, digest.n) == (&*self.account, &*self.writer, epoch, n)
        };
        let digest = digest.filter(here);
        let signed = match (&bytes, &signature) {
            (Some(bytes), Some(signature)) => self.keys.iter().any(|key| key.signed(bytes, signature)),
            _ => false,
        };
        match (digest, bytes) {
            (Some(digest), Some(bytes)) if signed => {
                return Ok(Some((digest, kernel::hex::encode(&Sha256::digest(&bytes)))));
            }
            (digest, _) => {
                // garbage does not count as a chain, otherwise anyone could block every erasure
                self.strangers.chains |= digest.is_some();
                self.strangers.count += 1;
                self.strangers.first.get_or_insert_with(|| at.to_owned());
            }
        }
        Ok(None)
    }

    /// An object of the chain, if it exists.
    async fn there(&self, name: &str) -> Result<Option<Bytes>, ReadError> {
        match self.place.vault.try_fetch(ObjectKind::Chain, name).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::Missing) => Ok(None),
            // larger than any object of a ledger
            Err(StoreError::TooLarge) => Ok(Some(Bytes::new())),
            Err(error) => Err(ReadError::of_object(name, &error)),
        }
    }

    fn take(&mut self, epoch: &mut Epoch, lines: &Bytes) -> Result<(), ReadError> {
        let (row, line) = self.line(lines)?;
        epoch.tree.push(leaf_hash(line.as_bytes()));
        if row.tail.kind == Some(Kind::KeyCopies) {
            self.copies.extend(row.tail.key_copies.into_iter().map(|copy| (copy.name, copy.sha256)));
            return Ok(());
        }
        let erasure = row.tail.erasure.as_ref().ok_or_else(|| self.strange("a line is no erasure"))?;
        if erasure.state == ErasureState::Done {
            self.done.insert(erasure.nonce.clone());
        } else {
            epoch.begun = Some(row);
        }
        Ok(())
    }

    /// The single line of one of the ledger's index objects, parsed and as text.
    fn line(&self, object: &Bytes) -> Result<(Row, String), ReadError> {
        let mut text = index::unpack("", object).map_err(|_| self.strange("an index object is damaged"))?;
        if text.pop() != Some('\n') || text.contains('\n') {
            return Err(self.strange("an index object has other lines"));
        }
        let row: Row = serde_json::from_str(&text).map_err(|_| self.strange("a line is none"))?;
        if !matches!(row.tail.kind, Some(Kind::Erasure | Kind::KeyCopies)) {
            return Err(self.strange("a line is neither an erasure nor one of copies"));
        }
        Ok((row, text))
    }

    fn strange(&self, what: &str) -> ReadError {
        ReadError::damaged(format!(
            "the chain of the writer {} is not one of erasures or copies ({what}): give another --writer, or --before with the key that \
             signed it earlier",
            self.writer
        ))
    }

    fn names(&self, epoch: &str) -> Names {
        Names::new(self.place.vault.prefix(), &self.writer, epoch)
    }

    /// The name of the epoch after the last digest. Everyone with the key computes the same name, and without the key
    /// it can't be predicted, so no one else can take it beforehand.
    fn next_epoch(&self, attempt: u64) -> String {
        let before = self.head.as_ref().map_or("", |(link, _)| link.sha256.as_str());
        let mut hash = Sha256::new();
        for part in ["erase", self.account.as_str(), self.writer.as_str(), before, &attempt.to_string()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let known = Sha256::digest(self.key.sign(&hash.finalize()));
        names::epoch(UnixNanos((self.epochs + 1) * 1_000_000), &Known(known.into()))
    }

    /// The last digest and its signature, as stored, to be reported to a gateway ([`vault::chain::erasures`]).
    ///
    /// # Errors
    /// The store fails, or holds other bytes by now.
    pub async fn newest(&self) -> Result<Option<(Bytes, Bytes)>, ReadError> {
        let Some((head, _)) = &self.head else { return Ok(None) };
        let at = self.names(&head.epoch).digest(&self.account, head.n);
        let pair = self.there(&at).await?.zip(self.there(&format!("{at}{SIGNATURE}")).await?);
        match pair.filter(|(digest, _)| kernel::hex::encode(&Sha256::digest(digest)) == head.sha256) {
            Some(pair) => Ok(Some(pair)),
            None => Err(ReadError::damaged(format!("{at} is not there as it was written"))),
        }
    }

    /// The erasure that was begun and is not done.
    pub fn begun(&self) -> Option<&Erasure> {
        self.open.as_ref()?.begun.as_ref()?.tail.erasure.as_deref()
    }

    /// An object of the last epoch that is not locked although the store supports locks; `None` if all are locked, or
    /// the store is a folder.
    ///
    /// # Errors
    /// The store does not report locks.
    pub async fn unlocked(&self) -> Result<Option<String>, ReadError> {
        let Some((head, _)) = &self.head else { return Ok(None) };
        let folder = format!("chain/{}/{}/{}/", account_segment(&self.account), self.writer, head.epoch);
        let page = self.place.vault.versions(ObjectKind::Chain, &folder, None).await?;
        for version in page.map(|page| page.versions).unwrap_or_default().into_iter().filter(|one| !one.marker) {
            let held = self.place.vault.held(ObjectKind::Chain, &version).await?;
            if held.is_some_and(|held| held.lock.is_none()) {
                return Ok(Some(version.name));
            }
        }
        Ok(None)
    }

    /// Whether the request with this nonce was executed.
    pub fn is_done(&self, nonce: &str) -> bool {
        self.done.contains(nonce)
    }

    /// Whether a line lists this copy of a key, by object name and hash.
    pub fn has_copy(&self, copy: &KeyCopy) -> bool {
        self.copies.contains(&(copy.name.clone(), copy.sha256.clone()))
    }

    /// Writes the next line and its digest; [`ErasureState::Done`] and copies end the epoch. If the name of a new epoch
    /// is taken, another one is tried.
    ///
    /// # Errors
    /// The store fails, or another run is active.
    pub async fn append(&mut self, said: Said, now: UnixNanos) -> Result<(), ReadError> {
        if let Some(epoch) = self.open.take() {
            let done = self.write(&epoch, said, now).await?;
            return done.ok_or_else(|| {
                let folder = epoch.names.digest(&self.account, epoch.tree.size());
                ReadError::unavailable(format!(
                    "{folder}, or its signature, was taken by somebody else: the erasure can't be told as done"
                ))
            });
        }
        for attempt in 0..ATTEMPTS {
            let epoch = Epoch { names: self.names(&self.next_epoch(attempt)), tree: Frontier::default(), begun: None };
            let at = epoch.names.digest(&self.account, 0);
            match self.there(&at).await? {
                // written after the chain was read
                Some(_) if self.own(&at, epoch.names.epoch(), 0).await?.is_some() => return Err(busy()),
                Some(_) => {}
                None if self.write(&epoch, said.clone(), now).await?.is_some() => return Ok(()),
                None => {}
            }
        }
        Err(ReadError::unavailable(format!(
            "somebody takes every name that the writer {} may use next: give another --writer",
            self.writer
        )))
    }

    /// Writes a line and its digest. `None` if a name of the digest has other bytes.
    async fn write(&mut self, epoch: &Epoch, said: Said, now: UnixNanos) -> Result<Option<()>, ReadError> {
        let last = said.is_last();
        let (n, mut tree) = (epoch.tree.size(), epoch.tree.clone());
        let (name, index) = self.index(epoch, n, said, now).await?;
        let (row, line) = self.line(&index)?;
        tree.push(leaf_hash(line.as_bytes()));
        let json = self.digest(epoch, n, &tree, &name, &index, &row.tail.ts, last);
        let bytes = Bytes::from(serde_json::to_vec(&json).unwrap_or_default()); // strings and numbers: can't fail
        let at = epoch.names.digest(&self.account, n);
        let signature = Bytes::copy_from_slice(&self.key.sign(&bytes));
        for (name, bytes) in [(format!("{at}{SIGNATURE}"), signature), (at.clone(), bytes.clone())] {
            if !self.ensure(ObjectKind::Chain, &name, bytes, now).await? {
                return if self.own(&at, epoch.names.epoch(), n).await?.is_some() { Err(busy()) } else { Ok(None) };
            }
        }
        let sha256 = kernel::hex::encode(&Sha256::digest(&bytes));
        self.head = Some((Link { epoch: epoch.names.epoch().to_string(), n, sha256 }, json.end));
        if n == 0 {
            self.epochs += 1;
        }
        if last {
            self.done.extend(row.tail.erasure.iter().map(|erasure| erasure.nonce.clone()));
            self.copies.extend(row.tail.key_copies.into_iter().map(|copy| (copy.name, copy.sha256)));
        } else {
            self.open = Some(Epoch { names: epoch.names.clone(), begun: Some(row), tree });
        }
        Ok(Some(()))
    }

    /// The index object of leaf `n`: that of an earlier run, or else a new one.
    async fn index(&self, epoch: &Epoch, n: u64, said: Said, now: UnixNanos) -> Result<(String, Bytes), ReadError> {
        let folder = format!("index/v1/account={}/", account_segment(&self.account));
        let file = format!("/{}-{}-{n:010}.ndjson.zst", self.writer, epoch.names.epoch());
        let there = self.place.vault.list(ObjectKind::Index, &folder).await?;
        let (mut found, mut others): (Option<(String, String, Bytes)>, bool) = (None, false);
        for name in there.into_iter().filter(|name| name.ends_with(&file)) {
            let bytes = self.place.vault.fetch(ObjectKind::Index, &name, None).await;
            let Some((row, line)) = bytes.as_ref().ok().and_then(|bytes| self.line(bytes).ok()) else { continue };
            let ours = self.row(epoch, n, &said, &row);
            // the line is not signed yet, so it counts as an earlier run's only if this run would write the same
            if line.as_bytes() != ours || row.tail.ts > rfc3339(now.plus(SKEW)) {
                others = true;
            } else if found.as_ref().is_none_or(|(ts, ..)| *ts < row.tail.ts) {
                found = bytes.ok().map(|bytes| (row.tail.ts.clone(), name, bytes));
            }
        }
        match found {
            Some((_, name, bytes)) => return Ok((name, bytes)),
            // only a holder of the key can know the name of a new epoch: another run is or was active
            None if others && n == 0 => return Err(busy()),
            None => {}
        }
        let tail = Tail { ts: rfc3339(now), ..Tail::default() };
        let now_row = Row { v: 1, leaf: n, object_key: None, off: None, of: None, tail };
        let mut line = self.row(epoch, n, &said, &now_row);
        line.push(b'\n');
        let bytes = Bytes::from(
            zstd::bulk::compress(&line, LEVEL).map_err(|_| ReadError::unavailable("a line can't be compressed"))?,
        );
        let name = epoch.names.index(&self.account, now_row.tail.ts.get(..10).unwrap_or_default(), n);
        if self.ensure(ObjectKind::Index, &name, bytes.clone(), now).await? { Ok((name, bytes)) } else { Err(busy()) }
    }

    /// The line as it would be written at the time of `at`; for an erasure, with the destroyed count of `at`.
    fn row(&self, epoch: &Epoch, n: u64, said: &Said, at: &Row) -> Vec<u8> {
        let ts = at.tail.ts.clone();
        let own = match said {
            Said::Erasure(erasure) => {
                let destroyed = at.tail.erasure.as_ref().map_or(erasure.destroyed, |told| told.destroyed);
                let destroyed = destroyed.filter(|_| erasure.destroyed.is_some());
                Tail {
                    kind: Some(Kind::Erasure),
                    action_type: Some("erase".to_owned()),
                    erasure: Some(Box::new(Erasure { destroyed, ..erasure.clone() })),
                    ..Tail::default()
                }
            }
            Said::KeyCopies(copies) => Tail {
                kind: Some(Kind::KeyCopies),
                action_type: Some("rewrap".to_owned()),
                key_copies: copies.clone(),
                ..Tail::default()
            },
        };
        let tail = Tail {
            ingest_ts: ts.clone(),
            account: self.account.clone(),
            tenant: UNATTRIBUTED.to_owned(),
            call: "other".to_owned(),
            status: "ok".to_owned(),
            writer: self.writer.clone(),
            epoch: epoch.names.epoch().to_string(),
            ts,
            ..own
        };
        let row = Row { v: 1, leaf: n, object_key: None, off: None, of: None, tail };
        serde_json::to_vec(&row).unwrap_or_default() // strings and numbers: can't fail
    }

    /// Digest number `n`, derived only from its line and the previous digest.
    #[allow(clippy::too_many_arguments, reason = "each is a part of the digest")]
    fn digest(
        &self,
        epoch: &Epoch,
        n: u64,
        tree: &Frontier,
        name: &str,
        index: &Bytes,
        ts: &str,
        last: bool,
    ) -> Digest {
        let name_of = epoch.names.epoch().to_string();
        let origin = origin(self.key.public().name(), &self.account, &self.writer, &name_of);
        let (size, root) = (tree.size(), tree.root());
        let (prev, before) = self.head.clone().unzip();
        let start = before.unwrap_or_else(|| ts.to_owned());
        Digest {
            v: VERSION,
            account: self.account.clone(),
            writer: self.writer.clone(),
            epoch: name_of,
            n,
            // time must not go back even if the clock did
            end: start.clone().max(ts.to_owned()),
            start,
            reason: prev.is_none().then(|| FIRST.to_owned()),
            prev,
            continues: None,
            tree_size: size,
            root: STANDARD.encode(root),
            index: Some(Index {
                key: name.to_owned(),
                version_id: None,
                sha256: kernel::hex::encode(&Sha256::digest(index)),
                first_leaf: n,
                leaves: 1,
            }),
            sessions: None,
            objects: Vec::new(),
            counters: Counters { acked: size, uploaded: size, ..Counters::default() },
            last,
            recovered: false,
            made_by: None,
            note: self.key.note(&Checkpoint { origin, size, root }.text()),
        }
    }

    /// Writes an object; false if its name has other bytes.
    async fn ensure(&self, kind: ObjectKind, name: &str, bytes: Bytes, now: UnixNanos) -> Result<bool, ReadError> {
        let say = |error: StoreError| ReadError::of_object(name, &error);
        // not every store honours a put's condition
        let there = match self.place.vault.try_fetch(kind, name).await {
            Ok(there) => Some(there),
            Err(StoreError::Missing) => None,
            Err(StoreError::TooLarge) => return Ok(false),
            Err(error) => return Err(say(error)),
        };
        let there = match there {
            Some(there) => there,
            None => match self.place.store.put_once(kind, name, bytes.clone(), now).await {
                Ok(Put::Written) => return Ok(true),
                Ok(Put::Exists) => self.place.vault.try_fetch(kind, name).await.map_err(say)?,
                Err(StoreError::Differs) => return Ok(false),
                Err(error) => return Err(say(error)),
            },
        };
        Ok(there == bytes)
    }
}

fn busy() -> ReadError {
    ReadError::unavailable(
        "another erasure, or rewrap, is at work, or was begun in another way (--sign-with, or the request with other signatures): finish that one \
     first",
    )
}
