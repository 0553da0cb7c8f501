//! [`Ledger`]: the chain of a person who changes or opens keys, so that destroying, copying or opening a key is as
//! provable as writing content. An erasure has an epoch with two lines (begun, done); copies and an opening have one.
//! The ledger's state comes only from objects in the store that a given key signed; it skips planted objects. The key,
//! the lines and the last digest determine the next names and bytes, so that an interrupted run is repeated with
//! identical bytes, and concurrent runs collide instead of forking; of identical runs of an opening, at most one
//! succeeds. Neighbours: `erase`, `rewrap` and `openings` append the lines.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::chains::list_chains;
use crate::error::{ReadError, Result};
use crate::location::WritableVault;
use crate::read::index;
use crate::signed_request::{SignedRequest, is_valid_at};
use kernel::clock::UnixNanos;
use kernel::rng::Rng;
use kernel::sha256::Sha256;
use vault::chain::digest::{ChainDigest, DigestCounters, DigestLink, IndexReference, VERSION, checkpoint_origin};
use vault::chain::erasures::{ErasedRuns, ErasureReport};
use vault::chain::note::{Checkpoint, SigningKey, VerifyKey};
use vault::chain::tree::{Frontier, leaf_hash};
use vault::index_row::{ErasureRecord, ErasureState, IndexRow, KeyCopy, OpeningRecord, RowKind, RowTail};
use vault::object_names::{self, ObjectNames, SIGNATURE_SUFFIX, UNATTRIBUTED, account_segment, rfc3339};
use vault::store::{ObjectKind, PutOutcome, StoreError};

const COMPRESSION_LEVEL: i32 = 3;
/// Most names that are tried for a new epoch. An attacker learns a name from the epoch's first object, and can take the
/// name of the digest until the ledger writes that digest.
const MAX_NAME_ATTEMPTS: u64 = 64;
/// How far the clock of an earlier run may have been ahead of this one.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);
/// The `reason` of the first digest, which has no previous one.
const FIRST_EPOCH_REASON: &str = "first: this writer has told nothing before";

/// Content of a line.
#[derive(Clone)]
pub enum LedgerEntry {
    /// Keys are about to be destroyed, or were destroyed.
    Erasure(ErasureRecord),
    /// Copies of keys were made.
    KeyCopies(Vec<KeyCopy>),
    /// Shares of keys are about to be opened.
    Opening(OpeningRecord),
}

impl LedgerEntry {
    /// Whether the line is the last of its epoch.
    fn is_last(&self) -> bool {
        !matches!(self, Self::Erasure(erasure) if erasure.state != ErasureState::Done)
    }
}

/// The person who changes or opens keys, and records it in a chain of their own.
#[derive(Clone, Copy)]
pub struct LedgerSigner<'k> {
    pub key: &'k SigningKey,
    /// Keys that signed the chain earlier.
    pub earlier_keys: &'k [VerifyKey],
    /// Name of the chain's writer.
    pub writer: &'k str,
}

/// The chain of one account and writer.
pub struct Ledger<'p> {
    pub(crate) place: &'p WritableVault,
    signer: LedgerSigner<'p>,
    pub(crate) account: String,
    /// The time of this run's lines.
    pub(crate) now: UnixNanos,
    /// Keys whose signatures count: the present and earlier ones.
    keys: Vec<VerifyKey>,
    head: Option<LedgerHead>,
    /// Number of epochs so far.
    epochs: u64,
    /// Nonces of executed erasures, and [`OpeningRecord::uses`].
    executed_nonces: BTreeSet<String>,
    /// The signed request of the newest erasure, begun or done.
    pub(crate) newest_request: Option<String>,
    /// Names and hashes of the copies that the chain lists.
    copies: BTreeSet<(String, String)>,
    /// The unfinished epoch, if any.
    open_epoch: Option<LedgerEpoch>,
    /// Objects under the writer's name that none of the keys signed: the first name, and their number.
    pub(crate) foreign_digests: Option<(String, u64)>,
    /// Whether one is a digest with the content that its name demands: a gateway's, an earlier key's, or forged.
    has_foreign_digest_form: bool,
}

/// The last digest.
struct LedgerHead {
    link: DigestLink,
    /// End of the digest's time range, RFC 3339.
    end: String,
}

/// An epoch that is being written.
struct LedgerEpoch {
    names: ObjectNames,
    tree: Frontier,
    /// The line that records the beginning of an erasure.
    begun: Option<IndexRow>,
}

/// A line, and its text as stored, without the line break.
type LedgerLine = (IndexRow, String);

struct IndexObject {
    name: String,
    bytes: Bytes,
}

/// Objects in the store that may hold a line.
#[derive(Default)]
struct StoredLines {
    /// The newest with the expected line, and the line's time.
    newest: Option<(String, IndexObject)>,
    /// The number of objects with the expected line.
    expected: usize,
    /// Whether others hold other lines.
    has_other_lines: bool,
}

/// Yields given bytes instead of random ones, so that an epoch's name is reproducible.
struct FixedRng([u8; 32]);

impl Rng for FixedRng {
    fn fill(&self, out: &mut [u8]) {
        out.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
    }
}

impl<'p> Ledger<'p> {
    /// Reads the chain's state from the objects signed by the signer's keys. Other objects under the writer's name are
    /// ignored.
    ///
    /// # Errors
    /// The store fails, or this is not a chain of erasures, key copies or openings.
    pub async fn read(
        place: &'p WritableVault,
        signer: LedgerSigner<'p>,
        account: &str,
        now: UnixNanos,
    ) -> Result<Self> {
        let writer = signer.writer;
        if writer.is_empty() || account_segment(writer) != writer {
            return Err(ReadError::new(format!(
                "{writer:?} is not a valid writer name: use only letters, digits, `.`, `_` and `-`"
            )));
        }
        let mut ledger = Self {
            place,
            signer,
            account: account.to_owned(),
            now,
            keys: [std::slice::from_ref(signer.key.public()), signer.earlier_keys].concat(),
            head: None,
            epochs: 0,
            executed_nonces: BTreeSet::new(),
            newest_request: None,
            copies: BTreeSet::new(),
            open_epoch: None,
            foreign_digests: None,
            has_foreign_digest_form: false,
        };
        let found = list_chains(&place.vault, Some(account), Some(writer)).await?;
        for (epoch, numbers) in found.chains.into_values().flatten() {
            ledger.read_epoch(&epoch, &numbers).await?;
        }
        if ledger.head.is_none() && ledger.has_foreign_digest_form {
            return Err(ledger.invalid_chain_error("none of the given keys signed it"));
        }
        Ok(ledger)
    }

    /// Reads one epoch; epochs must come in order.
    async fn read_epoch(&mut self, name: &str, numbers: &BTreeSet<u64>) -> Result<()> {
        let mut epoch = self.empty_epoch(name);
        let (mut is_closed, mut has_all_lines, mut signed_digests) = (false, true, 0);
        for n in numbers {
            let digest_name = epoch.names.digest(&self.account, *n);
            let Some((digest, sha256)) = self.read_signed_digest(&digest_name, name, *n).await? else {
                continue;
            };
            // a signed digest must follow the previous signed one, otherwise the chain was tampered with
            let follows = *n == signed_digests && digest.prev.as_ref() == self.head.as_ref().map(|head| &head.link);
            if !follows || is_closed || self.open_epoch.is_some() {
                return Err(self.invalid_chain_error("its digests are not linked to each other"));
            }
            signed_digests += 1;
            self.epochs += u64::from(*n == 0);
            let index = digest.index.as_ref().ok_or_else(|| self.invalid_chain_error("a digest has no line"))?;
            is_closed = digest.last;
            match self.place.vault.try_fetch(ObjectKind::Index, &index.key).await {
                Ok(object) if kernel::hex::encode(&Sha256::digest(&object)) == index.sha256 => {
                    self.record_line(&mut epoch, &object)?;
                }
                // the object's retention is over (requests expire long before that), or other bytes replaced it
                Ok(_) | Err(StoreError::Missing) => has_all_lines = false,
                Err(error) => return Err(ReadError::from_object_error(&index.key, &error)),
            }
            let link = DigestLink { epoch: name.to_owned(), n: *n, sha256 };
            self.head = Some(LedgerHead { link, end: digest.end });
        }
        if signed_digests > 0 && !is_closed {
            if !has_all_lines {
                return Err(self.invalid_chain_error("an index line of an unfinished erasure is missing"));
            }
            self.open_epoch = Some(epoch);
        }
        Ok(())
    }

    /// The digest with this name and its SHA-256 (hex), if one of the keys signed it and its content matches the name;
    /// any other object is counted as foreign.
    async fn read_signed_digest(&mut self, name: &str, epoch: &str, n: u64) -> Result<Option<(ChainDigest, String)>> {
        let bytes = self.fetch_if_present(name).await?;
        let signature = self.fetch_if_present(&format!("{name}{SIGNATURE_SUFFIX}")).await?;
        let digest: Option<ChainDigest> = bytes.as_ref().and_then(|bytes| serde_json::from_slice(bytes).ok());
        let digest = digest.filter(|digest| {
            (&*digest.account, &*digest.writer, &*digest.epoch, digest.n)
                == (&*self.account, self.signer.writer, epoch, n)
        });
        let is_signed = match (&bytes, &signature) {
            (Some(bytes), Some(signature)) => self.keys.iter().any(|key| key.is_signed(bytes, signature)),
            _ => false,
        };
        match (digest, bytes) {
            (Some(digest), Some(bytes)) if is_signed => {
                Ok(Some((digest, kernel::hex::encode(&Sha256::digest(&bytes)))))
            }
            (digest, _) => {
                // garbage must not make this an invalid chain, otherwise anyone could block every erasure
                self.has_foreign_digest_form |= digest.is_some();
                self.foreign_digests.get_or_insert_with(|| (name.to_owned(), 0)).1 += 1;
                Ok(None)
            }
        }
    }

    /// An object of the chain, if it exists.
    async fn fetch_if_present(&self, name: &str) -> Result<Option<Bytes>> {
        match self.place.vault.try_fetch(ObjectKind::Chain, name).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::Missing) => Ok(None),
            // present, but no object of a ledger is that large, so no key signed it
            Err(StoreError::TooLarge) => Ok(Some(Bytes::new())),
            Err(error) => Err(ReadError::from_object_error(name, &error)),
        }
    }

    /// Adds the line of a signed index object to the state.
    fn record_line(&mut self, epoch: &mut LedgerEpoch, object: &Bytes) -> Result<()> {
        let (row, text) = self.parse_line(object)?;
        epoch.tree.push(leaf_hash(text.as_bytes()));
        epoch.begun = self.record_row(row).or(epoch.begun.take());
        Ok(())
    }

    /// Adds to the state what a line says is done; returns a line that begins an erasure.
    fn record_row(&mut self, row: IndexRow) -> Option<IndexRow> {
        let tail = &row.tail;
        self.copies.extend(tail.key_copies.iter().map(|copy| (copy.name.clone(), copy.sha256.clone())));
        self.executed_nonces.extend(tail.opening.iter().flat_map(|opening| opening.uses()));
        let erasure = tail.erasure.as_ref()?;
        if erasure.state != ErasureState::Done {
            self.newest_request.clone_from(&erasure.request);
            return Some(row);
        }
        self.executed_nonces.insert(erasure.nonce.clone());
        None
    }

    /// The only line of one of the ledger's index objects.
    fn parse_line(&self, object: &Bytes) -> Result<LedgerLine> {
        let mut text = index::unpack_lines("", object, true)
            .map_err(|_| self.invalid_chain_error("an index object is damaged"))?;
        if text.pop() != Some('\n') || text.contains('\n') {
            return Err(self.invalid_chain_error("an index object does not hold exactly one line"));
        }
        let row: IndexRow =
            serde_json::from_str(&text).map_err(|_| self.invalid_chain_error("a line is not a valid index line"))?;
        let has_content = match row.tail.kind {
            Some(RowKind::Erasure | RowKind::Opening) => row.tail.erasure.is_some() || row.tail.opening.is_some(),
            kind => kind == Some(RowKind::KeyCopies),
        };
        if !has_content {
            return Err(self.invalid_chain_error("a line records neither an erasure, key copies nor an opening"));
        }
        Ok((row, text))
    }

    fn invalid_chain_error(&self, defect: &str) -> ReadError {
        ReadError::new(format!(
            "the chain of the writer {} does not record erasures, key copies or openings ({defect}): choose another \
             --writer, or give --earlier-key with the key that signed it earlier",
            self.signer.writer
        ))
    }

    fn empty_epoch(&self, name: &str) -> LedgerEpoch {
        let names = ObjectNames::new(self.place.vault.prefix(), self.signer.writer, name);
        LedgerEpoch { names, tree: Frontier::default(), begun: None }
    }

    /// The epoch after the last digest. Every holder of the key computes the same name. Without the key the name
    /// can't be predicted, so no one else can take it in advance.
    fn new_epoch(&self, attempt: u64) -> LedgerEpoch {
        let last_digest = self.head.as_ref().map_or("", |head| head.link.sha256.as_str());
        let parts = ["erase", self.account.as_str(), self.signer.writer, last_digest, &attempt.to_string()];
        let seed = Sha256::digest(self.signer.key.sign(&Sha256::digest_list(parts)));
        let name = object_names::new_epoch(UnixNanos((self.epochs + 1) * 1_000_000), &FixedRng(seed));
        self.empty_epoch(&name)
    }

    /// The last digest and its signature, as stored, to be reported to a gateway ([`vault::chain::erasures`]).
    ///
    /// # Errors
    /// The store fails, or the digest was deleted or changed after it was written.
    pub async fn fetch_newest_digest(&self) -> Result<Option<(Bytes, Bytes)>> {
        let Some(LedgerHead { link, .. }) = &self.head else { return Ok(None) };
        let name = self.empty_epoch(&link.epoch).names.digest(&self.account, link.n);
        let digest = self.fetch_if_present(&name).await?;
        let signature = self.fetch_if_present(&format!("{name}{SIGNATURE_SUFFIX}")).await?;
        let is_unchanged = |digest: &Bytes| kernel::hex::encode(&Sha256::digest(digest)) == link.sha256;
        match digest.filter(is_unchanged).zip(signature) {
            Some(pair) => Ok(Some(pair)),
            None => Err(ReadError::new(format!("{name} is missing or was changed after it was written"))),
        }
    }

    /// Whether an earlier run stored this line while its request was valid, and died before the line's digest.
    /// [`Self::finish_begun`] then takes that line, also after the request has expired: nothing else can follow it.
    pub async fn has_begun_in_time<R: SignedRequest>(&self, request: &R, entry: &LedgerEntry) -> Result<bool> {
        // in an open epoch the next line ends an erasure, and needs no valid request
        let attempts = if self.open_epoch.is_some() { 0 } else { MAX_NAME_ATTEMPTS };
        for attempt in 0..attempts {
            let epoch = self.new_epoch(attempt);
            if self.fetch_if_present(&epoch.names.digest(&self.account, 0)).await?.is_none() {
                let stored = self.find_stored_lines(&epoch, 0, entry).await?;
                return Ok(stored.newest.is_some_and(|(time, _)| is_valid_at(request, &time)));
            }
        }
        Ok(false)
    }

    /// The erasure that was begun and is not done, if any.
    pub fn begun_erasure(&self) -> Option<&ErasureRecord> {
        self.open_epoch.as_ref()?.begun.as_ref()?.tail.erasure.as_deref()
    }

    /// The report of a digest and of whose runs were erased, signed by the chain's key.
    pub fn report(&self, digest: &[u8], signature: &[u8], runs: &ErasedRuns) -> ErasureReport {
        ErasureReport::new(digest, signature, runs, self.signer.key)
    }

    /// The name of a digest or signature of the last epoch that is not locked although the store supports locks; `None`
    /// if all are locked, or the store is a folder.
    pub async fn find_unlocked_object(&self) -> Result<Option<String>> {
        let Some(LedgerHead { link, .. }) = &self.head else { return Ok(None) };
        let folder = format!("chain/{}/{}/{}/", account_segment(&self.account), self.signer.writer, link.epoch);
        let versions = self.place.vault.list_all_versions(ObjectKind::Chain, &folder).await?;
        for version in versions.unwrap_or_default() {
            let state = self.place.vault.fetch_lock(ObjectKind::Chain, &version).await?;
            if state.is_some_and(|state| state.lock.is_none()) {
                return Ok(Some(version.name));
            }
        }
        Ok(None)
    }

    /// Whether the erasure with this nonce was executed, or this use of an opening request was recorded.
    pub fn is_done(&self, nonce: &str) -> bool {
        self.executed_nonces.contains(nonce)
    }

    /// Whether a line lists this copy of a key, by object name and hash.
    pub fn has_copy(&self, copy: &KeyCopy) -> bool {
        self.copies.contains(&(copy.name.clone(), copy.sha256.clone()))
    }

    /// Writes the digest of a line that an earlier run stored, and no new line, whatever became of the stored one since
    /// [`Self::has_begun_in_time`].
    ///
    /// # Errors
    /// As [`Self::append`], or the line is not stored any more.
    pub async fn finish_begun(&mut self, entry: LedgerEntry) -> Result<()> {
        self.append_line(entry, false).await
    }

    /// Writes the next line and its digest; [`ErasureState::Done`], copies and openings end the epoch. If another
    /// object has the name of a new epoch's digest, another epoch's name is tried.
    ///
    /// # Errors
    /// The store fails, or another run is active.
    pub async fn append(&mut self, entry: LedgerEntry) -> Result<()> {
        self.append_line(entry, true).await
    }

    /// `may_begin`: whether a line may be written that no earlier run stored.
    async fn append_line(&mut self, entry: LedgerEntry, may_begin: bool) -> Result<()> {
        if let Some(epoch) = self.open_epoch.take() {
            if self.write_line(&epoch, entry, may_begin).await? {
                return Ok(());
            }
            let name = epoch.names.digest(&self.account, epoch.tree.size());
            return Err(ReadError::new(format!(
                "{name}, or its signature, is occupied by another object, so the chain can't record that the erasure \
                 is complete"
            )));
        }
        for attempt in 0..MAX_NAME_ATTEMPTS {
            let epoch = self.new_epoch(attempt);
            let name = epoch.names.digest(&self.account, 0);
            match self.fetch_if_present(&name).await? {
                // another run wrote the digest after this one read the chain
                Some(_) if self.read_signed_digest(&name, epoch.names.epoch(), 0).await?.is_some() => {
                    return Err(busy_error());
                }
                Some(_) => {}
                None if self.write_line(&epoch, entry.clone(), may_begin).await? => return Ok(()),
                None => {
                    // another run's line may have another day in its name, and its digest may follow
                    let stored = self.find_stored_lines(&epoch, 0, &entry).await?;
                    if stored.has_other_lines || stored.expected > 1 {
                        return Err(busy_error());
                    }
                }
            }
        }
        Err(ReadError::new(format!(
            "every name that the writer {} could use next is occupied: choose another --writer",
            self.signer.writer
        )))
    }

    /// Writes a line and its digest; false if another object has the name of the digest or of its signature.
    async fn write_line(&mut self, epoch: &LedgerEpoch, entry: LedgerEntry, may_begin: bool) -> Result<bool> {
        let (is_last, is_opening) = (entry.is_last(), matches!(entry, LedgerEntry::Opening(_)));
        let (n, mut tree) = (epoch.tree.size(), epoch.tree.clone());
        let index = self.ensure_index_object(epoch, n, entry, may_begin).await?;
        let (row, text) = self.parse_line(&index.bytes)?;
        tree.push(leaf_hash(text.as_bytes()));
        let digest = self.build_digest(epoch, &tree, &index, &row.tail.ts, is_last);
        let bytes = Bytes::from(serde_json::to_vec(&digest).unwrap_or_default()); // strings and numbers: can't fail
        let name = epoch.names.digest(&self.account, n);
        let signature = Bytes::copy_from_slice(&self.signer.key.sign(&bytes));
        // the signature comes first, so that no digest is without one
        for (object, bytes) in [(format!("{name}{SIGNATURE_SUFFIX}"), signature), (name.clone(), bytes.clone())] {
            match self.ensure_object(ObjectKind::Chain, &object, bytes).await? {
                Some(PutOutcome::Exists) if is_opening && object == name => return Err(recorded_twice_error()),
                Some(_) => {}
                None if self.read_signed_digest(&name, epoch.names.epoch(), n).await?.is_some() => {
                    return Err(busy_error());
                }
                None => return Ok(false),
            }
        }
        let sha256 = kernel::hex::encode(&Sha256::digest(&bytes));
        let link = DigestLink { epoch: epoch.names.epoch().to_string(), n, sha256 };
        self.head = Some(LedgerHead { link, end: digest.end });
        self.epochs += u64::from(n == 0);
        let begun = self.record_row(row);
        self.open_epoch = (!is_last).then(|| LedgerEpoch { names: epoch.names.clone(), begun, tree });
        Ok(true)
    }

    /// The index object of leaf `n`: that of an earlier run, or else a new one.
    async fn ensure_index_object(
        &self,
        epoch: &LedgerEpoch,
        n: u64,
        entry: LedgerEntry,
        may_begin: bool,
    ) -> Result<IndexObject> {
        let stored = self.find_stored_lines(epoch, n, &entry).await?;
        if let Some((_, object)) = stored.newest {
            return Ok(object);
        }
        // only a holder of the key can know the name of a new epoch: another run is or was active
        if stored.has_other_lines && n == 0 {
            return Err(busy_error());
        }
        if !may_begin {
            return Err(ReadError::new("the request expired, and the line of the killed run is not usable"));
        }
        let ts = rfc3339(self.now);
        let mut line = self.encode_row(epoch, n, &entry, &ts, None);
        line.push(b'\n');
        let bytes = zstd::bulk::compress(&line, COMPRESSION_LEVEL)
            .map(Bytes::from)
            .map_err(|_| ReadError::new("a line can't be compressed"))?;
        let name = epoch.names.index(&self.account, ts.get(..10).unwrap_or_default(), n);
        match self.ensure_object(ObjectKind::Index, &name, bytes.clone()).await? {
            Some(_) => Ok(IndexObject { name, bytes }),
            None => Err(busy_error()),
        }
    }

    /// The objects of leaf `n` that are in the store.
    async fn find_stored_lines(&self, epoch: &LedgerEpoch, n: u64, entry: &LedgerEntry) -> Result<StoredLines> {
        let folder = format!("index/v1/account={}/", account_segment(&self.account));
        let file = format!("/{}-{}-{n:010}.ndjson.zst", self.signer.writer, epoch.names.epoch());
        let names = self.place.vault.list(ObjectKind::Index, &folder).await?;
        let mut stored = StoredLines::default();
        for name in names.into_iter().filter(|name| name.ends_with(&file)) {
            let Ok(bytes) = self.place.vault.fetch(ObjectKind::Index, &name, None).await else { continue };
            let Ok((row, text)) = self.parse_line(&bytes) else { continue };
            // the line is not signed yet, so it counts as an earlier run's only if this run would write the same line
            let expected = self.encode_row(epoch, n, entry, &row.tail.ts, row.tail.erasure.as_deref());
            if text.as_bytes() != expected || row.tail.ts > rfc3339(self.now.plus(MAX_CLOCK_SKEW)) {
                stored.has_other_lines = true;
                continue;
            }
            stored.expected += 1;
            if stored.newest.as_ref().is_none_or(|(time, _)| *time < row.tail.ts) {
                stored.newest = Some((row.tail.ts, IndexObject { name, bytes }));
            }
        }
        Ok(stored)
    }

    /// The line for `entry` with this time and, for an erasure, the count of objects that an earlier run destroyed.
    fn encode_row(
        &self,
        epoch: &LedgerEpoch,
        n: u64,
        entry: &LedgerEntry,
        ts: &str,
        earlier: Option<&ErasureRecord>,
    ) -> Vec<u8> {
        let mut fields = RowTail::default();
        let (kind, action) = match entry.clone() {
            LedgerEntry::Erasure(erasure) => {
                let destroyed = earlier.map_or(erasure.destroyed, |earlier| earlier.destroyed);
                let destroyed = destroyed.filter(|_| erasure.destroyed.is_some());
                fields.erasure = Some(Box::new(ErasureRecord { destroyed, ..erasure }));
                (RowKind::Erasure, "erase")
            }
            LedgerEntry::KeyCopies(copies) => {
                fields.key_copies = copies;
                (RowKind::KeyCopies, "rewrap")
            }
            LedgerEntry::Opening(opening) => {
                fields.opening = Some(Box::new(opening));
                (RowKind::Opening, "open")
            }
        };
        let tail = RowTail {
            kind: Some(kind),
            action_type: Some(action.to_owned()),
            ts: ts.to_owned(),
            ingest_ts: ts.to_owned(),
            account: self.account.clone(),
            tenant: UNATTRIBUTED.to_owned(),
            call: "other".to_owned(),
            status: "ok".to_owned(),
            writer: self.signer.writer.to_owned(),
            epoch: epoch.names.epoch().to_string(),
            ..fields
        };
        let row = IndexRow { v: 1, leaf: n, object_key: None, off: None, of: None, tail };
        serde_json::to_vec(&row).unwrap_or_default() // strings and numbers: can't fail
    }

    /// The digest of the last leaf, derived only from its line and the previous digest.
    fn build_digest(
        &self,
        epoch: &LedgerEpoch,
        tree: &Frontier,
        index: &IndexObject,
        ts: &str,
        is_last: bool,
    ) -> ChainDigest {
        let epoch_name = epoch.names.epoch().to_string();
        let origin = checkpoint_origin(self.signer.key.public().name(), &self.account, self.signer.writer, &epoch_name);
        let (size, root) = (tree.size(), tree.root());
        let n = size.saturating_sub(1);
        let prev = self.head.as_ref().map(|head| head.link.clone());
        let start = self.head.as_ref().map_or_else(|| ts.to_owned(), |head| head.end.clone());
        ChainDigest {
            v: VERSION,
            account: self.account.clone(),
            writer: self.signer.writer.to_owned(),
            epoch: epoch_name,
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
                key: index.name.clone(),
                version_id: None,
                sha256: kernel::hex::encode(&Sha256::digest(&index.bytes)),
                first_leaf: n,
                leaves: 1,
            }),
            sessions: None,
            objects: Vec::new(),
            counters: DigestCounters { acked: size, uploaded: size, ..DigestCounters::default() },
            last: is_last,
            recovered: false,
            made_by: None,
            note: self.signer.key.sign_note(&Checkpoint { origin, size, root }.text()),
        }
    }

    /// Writes an object, unless it exists; `None` if an object with this name has other bytes.
    async fn ensure_object(&self, kind: ObjectKind, name: &str, bytes: Bytes) -> Result<Option<PutOutcome>> {
        let to_error = |error: StoreError| ReadError::from_object_error(name, &error);
        // read first, because not every store honours the condition of a put
        let stored = match self.place.vault.try_fetch(kind, name).await {
            Ok(stored) => stored,
            Err(StoreError::Missing) => match self.place.store.put_once(kind, name, bytes.clone(), self.now).await {
                Ok(PutOutcome::Written) => return Ok(Some(PutOutcome::Written)),
                Ok(PutOutcome::Exists) => self.place.vault.try_fetch(kind, name).await.map_err(to_error)?,
                Err(StoreError::Differs) => return Ok(None),
                Err(error) => return Err(to_error(error)),
            },
            Err(StoreError::TooLarge) => return Ok(None),
            Err(error) => return Err(to_error(error)),
        };
        Ok((stored == bytes).then_some(PutOutcome::Exists))
    }
}

fn busy_error() -> ReadError {
    ReadError::new(
        "another erasure, rewrap or opening is running, or was begun with another --sign-with key, other --identity keys \
         or other signatures on the request: finish that one first, or use another --writer",
    )
}

/// Equal runs of one opening take each other's line for that of an interrupted run, so only the run whose put stored
/// the digest may open.
fn recorded_twice_error() -> ReadError {
    ReadError::new(
        "nothing was opened: another run recorded this opening at the same time, or the store's answer was lost; if no \
         other run opened the session, make a new request",
    )
}
