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

use crate::chains::{ChainScope, list_chains};
use crate::error::ReadError;
use crate::read::index;
use crate::writable_vault::WritableVault;
use kernel::clock::UnixNanos;
use kernel::rng::Rng;
use vault::chain::digest::{ChainDigest, DigestCounters, DigestLink, IndexReference, VERSION, checkpoint_origin};
use vault::chain::note::{Checkpoint, SigningKey, VerifyKey};
use vault::chain::tree::{Frontier, leaf_hash};
use vault::index_row::{ErasureRecord, ErasureState, IndexRow, KeyCopy, RowKind, RowTail};
use vault::object_names::{self, ObjectNames, SIGNATURE_SUFFIX, UNATTRIBUTED, account_segment, rfc3339};
use vault::store::{ObjectKind, PutOutcome, StoreError};

/// Compression level of the index objects.
const LEVEL: i32 = 3;
/// Names that are tried for a new epoch. An attacker can only take a name after its first use, before its digest is
/// stored.
const MAX_NAME_ATTEMPTS: u64 = 64;
/// How far the clock of an earlier run may have been ahead of this one.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);
/// Reason in the first epoch's digest, which has no previous one.
const FIRST_EPOCH_REASON: &str = "first: this writer has told nothing before";

/// Content of a line.
#[derive(Clone)]
pub enum LedgerEntry {
    /// Keys are about to be destroyed, or were destroyed.
    Erasure(ErasureRecord),
    /// Copies of keys were made.
    KeyCopies(Vec<KeyCopy>),
}

impl LedgerEntry {
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
    place: &'p WritableVault,
    key: &'p SigningKey,
    account: String,
    writer: String,
    /// Keys whose signatures count.
    keys: Vec<VerifyKey>,
    /// The last digest, and the end of its time range.
    head: Option<(DigestLink, String)>,
    /// Number of epochs so far.
    epochs: u64,
    /// Nonces of executed requests.
    executed_nonces: BTreeSet<String>,
    /// Names and hashes of the copies that the chain lists.
    copies: BTreeSet<(String, String)>,
    /// The unfinished epoch, if any.
    open_epoch: Option<LedgerEpoch>,
    foreign_digests: ForeignDigests,
}

/// Objects under the writer's name that no known key signed.
#[derive(Default)]
struct ForeignDigests {
    first_name: Option<String>,
    count: u64,
    /// Whether one has the form of a digest for this place: a gateway's, an earlier key's, or a good forgery.
    has_digest_form: bool,
}

/// An epoch that is being written.
struct LedgerEpoch {
    names: ObjectNames,
    tree: Frontier,
    begun: Option<IndexRow>,
}

/// A source of "random" bytes that are known, for an epoch's name.
struct FixedRng([u8; 32]);

impl Rng for FixedRng {
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
        place: &'p WritableVault,
        key: &'p SigningKey,
        before: &[VerifyKey],
        account: &str,
        writer: &str,
    ) -> Result<Self, ReadError> {
        if writer.is_empty() || account_segment(writer) != writer {
            return Err(ReadError::invalid(format!(
                "{writer:?} is not a valid writer name: use only letters, digits, `.`, `_` and `-`"
            )));
        }
        let (account, writer) = (account.to_owned(), writer.to_owned());
        let keys = [std::slice::from_ref(key.public()), before].concat();
        let (done, copies, strangers) = (BTreeSet::new(), BTreeSet::new(), ForeignDigests::default());
        let (head, epochs, open) = (None, 0, None);
        let mut ledger = Self {
            place,
            key,
            keys,
            account,
            writer,
            head,
            epochs,
            executed_nonces: done,
            copies,
            open_epoch: open,
            foreign_digests: strangers,
        };
        let wanted = ChainScope { account: Some(&ledger.account), writer: Some(&ledger.writer) };
        let found = list_chains(&place.vault, wanted).await?;
        for (epoch, numbers) in found.into_values().flatten() {
            ledger.read_epoch(&epoch, &numbers).await?;
        }
        if ledger.head.is_none() && ledger.foreign_digests.has_digest_form {
            return Err(ledger.invalid_chain_error("none of the given keys signed it"));
        }
        Ok(ledger)
    }

    /// Digests under the writer's name that no key given to [`Self::read`] signed: the first name, and how many.
    pub fn foreign_digests(&self) -> Option<(&str, u64)> {
        self.foreign_digests.first_name.as_deref().map(|first| (first, self.foreign_digests.count))
    }

    /// Reads one epoch; epochs must come in order.
    async fn read_epoch(&mut self, name: &str, numbers: &BTreeSet<u64>) -> Result<(), ReadError> {
        let mut epoch = LedgerEpoch { names: self.epoch_names(name), tree: Frontier::default(), begun: None };
        let (mut over, mut whole, mut taken) = (false, true, 0);
        for n in numbers {
            let at = epoch.names.digest(&self.account, *n);
            let Some((digest, sha256)) = self.read_signed_digest(&at, name, *n).await? else { continue };
            // a signed digest must follow the previous signed one, otherwise the chain was tampered with
            let follows = *n == taken && digest.prev == self.head.as_ref().map(|(link, _)| link.clone());
            if !follows || over || self.open_epoch.is_some() {
                return Err(self.invalid_chain_error("its digests are not linked to each other"));
            }
            taken += 1;
            self.epochs += u64::from(*n == 0);
            let index = digest.index.as_ref().ok_or_else(|| self.invalid_chain_error("a digest has no line"))?;
            over = digest.last;
            match self.place.vault.try_fetch(ObjectKind::Index, &index.key).await {
                Ok(lines) if kernel::hex::encode(&Sha256::digest(&lines)) == index.sha256 => {
                    self.record_line(&mut epoch, &lines)?;
                }
                // its retention is over (requests expire long before), or these are not the signed bytes
                Ok(_) | Err(StoreError::Missing) => whole = false,
                Err(error) => return Err(ReadError::from_object_error(&index.key, &error)),
            }
            self.head = Some((DigestLink { epoch: name.to_owned(), n: *n, sha256 }, digest.end));
        }
        match (taken, over, whole) {
            (0, ..) | (_, true, _) => {}
            (_, false, true) => self.open_epoch = Some(epoch),
            (_, false, false) => {
                return Err(self.invalid_chain_error("an index line of an unfinished erasure is missing"));
            }
        }
        Ok(())
    }

    /// The digest at `at` with its hash, if one of the keys signed it and it names this place; otherwise it is recorded
    /// as a stranger's.
    async fn read_signed_digest(
        &mut self,
        at: &str,
        epoch: &str,
        n: u64,
    ) -> Result<Option<(ChainDigest, String)>, ReadError> {
        let (bytes, signature) =
            (self.fetch_if_present(at).await?, self.fetch_if_present(&format!("{at}{SIGNATURE_SUFFIX}")).await?);
        let digest: Option<ChainDigest> = bytes.as_ref().and_then(|bytes| serde_json::from_slice(bytes).ok());
        let here = |digest: &ChainDigest| {
            (&*digest.account, &*digest.writer, &*digest.epoch, digest.n) == (&*self.account, &*self.writer, epoch, n)
        };
        let digest = digest.filter(here);
        let signed = match (&bytes, &signature) {
            (Some(bytes), Some(signature)) => self.keys.iter().any(|key| key.is_signed(bytes, signature)),
            _ => false,
        };
        match (digest, bytes) {
            (Some(digest), Some(bytes)) if signed => {
                return Ok(Some((digest, kernel::hex::encode(&Sha256::digest(&bytes)))));
            }
            (digest, _) => {
                // garbage does not count as a chain, otherwise anyone could block every erasure
                self.foreign_digests.has_digest_form |= digest.is_some();
                self.foreign_digests.count += 1;
                self.foreign_digests.first_name.get_or_insert_with(|| at.to_owned());
            }
        }
        Ok(None)
    }

    /// An object of the chain, if it exists.
    async fn fetch_if_present(&self, name: &str) -> Result<Option<Bytes>, ReadError> {
        match self.place.vault.try_fetch(ObjectKind::Chain, name).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::Missing) => Ok(None),
            // larger than any object of a ledger
            Err(StoreError::TooLarge) => Ok(Some(Bytes::new())),
            Err(error) => Err(ReadError::from_object_error(name, &error)),
        }
    }

    fn record_line(&mut self, epoch: &mut LedgerEpoch, lines: &Bytes) -> Result<(), ReadError> {
        let (row, line) = self.parse_line(lines)?;
        epoch.tree.push(leaf_hash(line.as_bytes()));
        if row.tail.kind == Some(RowKind::KeyCopies) {
            self.copies.extend(row.tail.key_copies.into_iter().map(|copy| (copy.name, copy.sha256)));
            return Ok(());
        }
        let erasure =
            row.tail.erasure.as_ref().ok_or_else(|| self.invalid_chain_error("a line does not record an erasure"))?;
        if erasure.state == ErasureState::Done {
            self.executed_nonces.insert(erasure.nonce.clone());
        } else {
            epoch.begun = Some(row);
        }
        Ok(())
    }

    /// The single line of one of the ledger's index objects, parsed and as text.
    fn parse_line(&self, object: &Bytes) -> Result<(IndexRow, String), ReadError> {
        let mut text =
            index::unpack_lines("", object).map_err(|_| self.invalid_chain_error("an index object is damaged"))?;
        if text.pop() != Some('\n') || text.contains('\n') {
            return Err(self.invalid_chain_error("an index object does not hold exactly one line"));
        }
        let row: IndexRow =
            serde_json::from_str(&text).map_err(|_| self.invalid_chain_error("a line is not a valid index line"))?;
        if !matches!(row.tail.kind, Some(RowKind::Erasure | RowKind::KeyCopies)) {
            return Err(self.invalid_chain_error("a line records neither an erasure nor key copies"));
        }
        Ok((row, text))
    }

    fn invalid_chain_error(&self, what: &str) -> ReadError {
        ReadError::damaged(format!(
            "the chain of the writer {} does not record erasures or key copies ({what}): choose another --writer, or give --earlier-key with the key that \
             signed it earlier",
            self.writer
        ))
    }

    fn epoch_names(&self, epoch: &str) -> ObjectNames {
        ObjectNames::new(self.place.vault.prefix(), &self.writer, epoch)
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
        object_names::new_epoch(UnixNanos((self.epochs + 1) * 1_000_000), &FixedRng(known.into()))
    }

    /// The last digest and its signature, as stored, to be reported to a gateway ([`vault::chain::erasures`]).
    ///
    /// # Errors
    /// The store fails, or holds other bytes by now.
    pub async fn fetch_newest_digest(&self) -> Result<Option<(Bytes, Bytes)>, ReadError> {
        let Some((head, _)) = &self.head else { return Ok(None) };
        let at = self.epoch_names(&head.epoch).digest(&self.account, head.n);
        let pair =
            self.fetch_if_present(&at).await?.zip(self.fetch_if_present(&format!("{at}{SIGNATURE_SUFFIX}")).await?);
        match pair.filter(|(digest, _)| kernel::hex::encode(&Sha256::digest(digest)) == head.sha256) {
            Some(pair) => Ok(Some(pair)),
            None => Err(ReadError::damaged(format!("{at} is missing or was changed after it was written"))),
        }
    }

    /// The erasure that was begun and is not done.
    pub fn begun_erasure(&self) -> Option<&ErasureRecord> {
        self.open_epoch.as_ref()?.begun.as_ref()?.tail.erasure.as_deref()
    }

    /// An object of the last epoch that is not locked although the store supports locks; `None` if all are locked, or
    /// the store is a folder.
    ///
    /// # Errors
    /// The store does not report locks.
    pub async fn find_unlocked_object(&self) -> Result<Option<String>, ReadError> {
        let Some((head, _)) = &self.head else { return Ok(None) };
        let folder = format!("chain/{}/{}/{}/", account_segment(&self.account), self.writer, head.epoch);
        let page = self.place.vault.list_versions(ObjectKind::Chain, &folder, None).await?;
        for version in page.map(|page| page.versions).unwrap_or_default().into_iter().filter(|one| !one.marker) {
            let held = self.place.vault.fetch_lock(ObjectKind::Chain, &version).await?;
            if held.is_some_and(|held| held.lock.is_none()) {
                return Ok(Some(version.name));
            }
        }
        Ok(None)
    }

    /// Whether the request with this nonce was executed.
    pub fn is_done(&self, nonce: &str) -> bool {
        self.executed_nonces.contains(nonce)
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
    pub async fn append(&mut self, said: LedgerEntry, now: UnixNanos) -> Result<(), ReadError> {
        if let Some(epoch) = self.open_epoch.take() {
            let done = self.write_line(&epoch, said, now).await?;
            return done.ok_or_else(|| {
                let folder = epoch.names.digest(&self.account, epoch.tree.size());
                ReadError::unavailable(format!(
                    "{folder}, or its signature, is occupied by another object, so the chain can't record that the erasure is complete"
                ))
            });
        }
        for attempt in 0..MAX_NAME_ATTEMPTS {
            let epoch = LedgerEpoch {
                names: self.epoch_names(&self.next_epoch(attempt)),
                tree: Frontier::default(),
                begun: None,
            };
            let at = epoch.names.digest(&self.account, 0);
            match self.fetch_if_present(&at).await? {
                // written after the chain was read
                Some(_) if self.read_signed_digest(&at, epoch.names.epoch(), 0).await?.is_some() => {
                    return Err(busy_error());
                }
                Some(_) => {}
                None if self.write_line(&epoch, said.clone(), now).await?.is_some() => return Ok(()),
                None => {}
            }
        }
        Err(ReadError::unavailable(format!(
            "every name that the writer {} could use next is occupied: choose another --writer",
            self.writer
        )))
    }

    /// Writes a line and its digest. `None` if a name of the digest has other bytes.
    async fn write_line(
        &mut self,
        epoch: &LedgerEpoch,
        said: LedgerEntry,
        now: UnixNanos,
    ) -> Result<Option<()>, ReadError> {
        let last = said.is_last();
        let (n, mut tree) = (epoch.tree.size(), epoch.tree.clone());
        let (name, index) = self.ensure_index_object(epoch, n, said, now).await?;
        let (row, line) = self.parse_line(&index)?;
        tree.push(leaf_hash(line.as_bytes()));
        let json = self.build_digest(epoch, n, &tree, &name, &index, &row.tail.ts, last);
        let bytes = Bytes::from(serde_json::to_vec(&json).unwrap_or_default()); // strings and numbers: can't fail
        let at = epoch.names.digest(&self.account, n);
        let signature = Bytes::copy_from_slice(&self.key.sign(&bytes));
        for (name, bytes) in [(format!("{at}{SIGNATURE_SUFFIX}"), signature), (at.clone(), bytes.clone())] {
            if !self.ensure_object(ObjectKind::Chain, &name, bytes, now).await? {
                return if self.read_signed_digest(&at, epoch.names.epoch(), n).await?.is_some() {
                    Err(busy_error())
                } else {
                    Ok(None)
                };
            }
        }
        let sha256 = kernel::hex::encode(&Sha256::digest(&bytes));
        self.head = Some((DigestLink { epoch: epoch.names.epoch().to_string(), n, sha256 }, json.end));
        if n == 0 {
            self.epochs += 1;
        }
        if last {
            self.executed_nonces.extend(row.tail.erasure.iter().map(|erasure| erasure.nonce.clone()));
            self.copies.extend(row.tail.key_copies.into_iter().map(|copy| (copy.name, copy.sha256)));
        } else {
            self.open_epoch = Some(LedgerEpoch { names: epoch.names.clone(), begun: Some(row), tree });
        }
        Ok(Some(()))
    }

    /// The index object of leaf `n`: that of an earlier run, or else a new one.
    async fn ensure_index_object(
        &self,
        epoch: &LedgerEpoch,
        n: u64,
        said: LedgerEntry,
        now: UnixNanos,
    ) -> Result<(String, Bytes), ReadError> {
        let folder = format!("index/v1/account={}/", account_segment(&self.account));
        let file = format!("/{}-{}-{n:010}.ndjson.zst", self.writer, epoch.names.epoch());
        let there = self.place.vault.list(ObjectKind::Index, &folder).await?;
        let (mut found, mut others): (Option<(String, String, Bytes)>, bool) = (None, false);
        for name in there.into_iter().filter(|name| name.ends_with(&file)) {
            let bytes = self.place.vault.fetch(ObjectKind::Index, &name, None).await;
            let Some((row, line)) = bytes.as_ref().ok().and_then(|bytes| self.parse_line(bytes).ok()) else { continue };
            let ours = self.encode_row(epoch, n, &said, &row);
            // the line is not signed yet, so it counts as an earlier run's only if this run would write the same
            if line.as_bytes() != ours || row.tail.ts > rfc3339(now.plus(MAX_CLOCK_SKEW)) {
                others = true;
            } else if found.as_ref().is_none_or(|(ts, ..)| *ts < row.tail.ts) {
                found = bytes.ok().map(|bytes| (row.tail.ts.clone(), name, bytes));
            }
        }
        match found {
            Some((_, name, bytes)) => return Ok((name, bytes)),
            // only a holder of the key can know the name of a new epoch: another run is or was active
            None if others && n == 0 => return Err(busy_error()),
            None => {}
        }
        let tail = RowTail { ts: rfc3339(now), ..RowTail::default() };
        let now_row = IndexRow { v: 1, leaf: n, object_key: None, off: None, of: None, tail };
        let mut line = self.encode_row(epoch, n, &said, &now_row);
        line.push(b'\n');
        let bytes = Bytes::from(
            zstd::bulk::compress(&line, LEVEL).map_err(|_| ReadError::unavailable("a line can't be compressed"))?,
        );
        let name = epoch.names.index(&self.account, now_row.tail.ts.get(..10).unwrap_or_default(), n);
        if self.ensure_object(ObjectKind::Index, &name, bytes.clone(), now).await? {
            Ok((name, bytes))
        } else {
            Err(busy_error())
        }
    }

    /// The line as it would be written at the time of `at`; for an erasure, with the destroyed count of `at`.
    fn encode_row(&self, epoch: &LedgerEpoch, n: u64, said: &LedgerEntry, at: &IndexRow) -> Vec<u8> {
        let ts = at.tail.ts.clone();
        let own = match said {
            LedgerEntry::Erasure(erasure) => {
                let destroyed = at.tail.erasure.as_ref().map_or(erasure.destroyed, |told| told.destroyed);
                let destroyed = destroyed.filter(|_| erasure.destroyed.is_some());
                RowTail {
                    kind: Some(RowKind::Erasure),
                    action_type: Some("erase".to_owned()),
                    erasure: Some(Box::new(ErasureRecord { destroyed, ..erasure.clone() })),
                    ..RowTail::default()
                }
            }
            LedgerEntry::KeyCopies(copies) => RowTail {
                kind: Some(RowKind::KeyCopies),
                action_type: Some("rewrap".to_owned()),
                key_copies: copies.clone(),
                ..RowTail::default()
            },
        };
        let tail = RowTail {
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
        let row = IndexRow { v: 1, leaf: n, object_key: None, off: None, of: None, tail };
        serde_json::to_vec(&row).unwrap_or_default() // strings and numbers: can't fail
    }

    /// Digest number `n`, derived only from its line and the previous digest.
    #[allow(clippy::too_many_arguments, reason = "each is a part of the digest")]
    fn build_digest(
        &self,
        epoch: &LedgerEpoch,
        n: u64,
        tree: &Frontier,
        name: &str,
        index: &Bytes,
        ts: &str,
        last: bool,
    ) -> ChainDigest {
        let name_of = epoch.names.epoch().to_string();
        let origin = checkpoint_origin(self.key.public().name(), &self.account, &self.writer, &name_of);
        let (size, root) = (tree.size(), tree.root());
        let (prev, before) = self.head.clone().unzip();
        let start = before.unwrap_or_else(|| ts.to_owned());
        ChainDigest {
            v: VERSION,
            account: self.account.clone(),
            writer: self.writer.clone(),
            epoch: name_of,
            n,
            // time must not go back even if the clock did
            end: start.clone().max(ts.to_owned()),
            start,
            reason: prev.is_none().then(|| FIRST_EPOCH_REASON.to_owned()),
            prev,
            continues: None,
            tree_size: size,
            root: STANDARD.encode(root),
            index: Some(IndexReference {
                key: name.to_owned(),
                version_id: None,
                sha256: kernel::hex::encode(&Sha256::digest(index)),
                first_leaf: n,
                leaves: 1,
            }),
            sessions: None,
            objects: Vec::new(),
            counters: DigestCounters { acked: size, uploaded: size, ..DigestCounters::default() },
            last,
            recovered: false,
            made_by: None,
            note: self.key.sign_note(&Checkpoint { origin, size, root }.text()),
        }
    }

    /// Writes an object; false if its name has other bytes.
    async fn ensure_object(
        &self,
        kind: ObjectKind,
        name: &str,
        bytes: Bytes,
        now: UnixNanos,
    ) -> Result<bool, ReadError> {
        let say = |error: StoreError| ReadError::from_object_error(name, &error);
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
                Ok(PutOutcome::Written) => return Ok(true),
                Ok(PutOutcome::Exists) => self.place.vault.try_fetch(kind, name).await.map_err(say)?,
                Err(StoreError::Differs) => return Ok(false),
                Err(error) => return Err(say(error)),
            },
        };
        Ok(there == bytes)
    }
}

fn busy_error() -> ReadError {
    ReadError::unavailable(
        "another erasure or rewrap is running, or was begun with another --sign-with key or other signatures on the request: finish that one \
     first",
    )
}
