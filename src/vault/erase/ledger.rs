//! **What**: [`Ledger`]: the eraser's own chain: an epoch for each erasure, of two lines: begun, done. **Why**: what was destroyed,
//! why and by whom must be as provable as what was written. **Invariants**: there is no state but the store's: the next epoch's
//! name follows from the last digest, a digest's bytes from its lines and the digest before, so that a run that ended
//! anywhere writes the same again, and two runs at a time collide instead of forking. **Not here**: what is erased (`execute`).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::clock::UnixNanos;
use crate::rng::Rng;
use crate::vault::chain::digest::{Counters, Digest, Index, Link, VERSION, origin};
use crate::vault::chain::note::{Checkpoint, SigningKey};
use crate::vault::chain::tree::{Frontier, leaf_hash};
use crate::vault::names::{self, Names, SIGNATURE, UNATTRIBUTED, account_segment, rfc3339};
use crate::vault::read::{ReadError, unpack_index};
use crate::vault::row::{Erasure, ErasureState, Kind, Row, Tail};
use crate::vault::store::{ObjectKind, Put, StoreError};
use crate::vault::verify::{Options, chains};

use super::Place;

/// Compression of its index objects.
const LEVEL: i32 = 3;
/// Why the first epoch has none before it.
const FIRST: &str = "first: this writer erased nothing before";

/// The chain of erasures of one account and writer.
pub struct Ledger<'p> {
    place: &'p Place,
    key: &'p SigningKey,
    account: String,
    writer: String,
    /// The last digest there is, and the end of its time.
    head: Option<(Link, String)>,
    /// Epochs so far.
    epochs: u64,
    /// Requests that were executed.
    done: BTreeSet<String>,
    /// An epoch that is not over.
    open: Option<Epoch>,
}

/// An epoch that is being written.
struct Epoch {
    names: Names,
    tree: Frontier,
    begun: Option<Row>,
}

/// Random bytes that are known: of an epoch's name.
struct Known([u8; 32]);

impl Rng for Known {
    fn fill(&self, out: &mut [u8]) {
        out.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
    }
}

impl<'p> Ledger<'p> {
    /// Reads where the chain stands.
    ///
    /// # Errors
    /// One line: the store fails, or this is no chain of erasures.
    pub async fn read(place: &'p Place, key: &'p SigningKey, account: &str, writer: &str) -> Result<Self, ReadError> {
        if writer.is_empty() || account_segment(writer) != writer {
            return Err(format!("{writer:?} is no name of a writer: letters, digits, `.`, `_`, `-`"));
        }
        let (account, writer) = (account.to_owned(), writer.to_owned());
        let mut ledger = Self { place, key, account, writer, head: None, epochs: 0, done: BTreeSet::new(), open: None };
        let wanted = Options {
            account: Some(ledger.account.clone()),
            writer: Some(ledger.writer.clone()),
            ..Options::default()
        };
        let found = chains(&place.vault, &wanted).await?;
        for (epoch, numbers) in found.into_values().flatten() {
            ledger.epoch(&epoch, &numbers).await?;
        }
        Ok(ledger)
    }

    /// Takes one epoch, in order.
    async fn epoch(&mut self, name: &str, numbers: &BTreeSet<u64>) -> Result<(), ReadError> {
        if self.open.is_some() || name != self.next_epoch() {
            return Err(self.strange("its epochs do not follow each other"));
        }
        self.epochs += 1;
        let mut epoch = Epoch { names: self.names(name), tree: Frontier::default(), begun: None };
        let (mut over, mut whole) = (false, true);
        for n in numbers {
            let at = epoch.names.digest(&self.account, *n);
            let bytes = self.place.vault.fetch(ObjectKind::Chain, &at, None).await?;
            let digest: Digest = serde_json::from_slice(&bytes).map_err(|_| self.strange("a digest is none"))?;
            let index = digest.index.as_ref().ok_or_else(|| self.strange("a digest has no line"))?;
            over = digest.last;
            match self.place.vault.try_fetch(ObjectKind::Index, &index.key).await {
                Ok(lines) => self.take(&mut epoch, &lines)?,
                // its retention is over: requests expire long before
                Err(StoreError::Missing) => whole = false,
                Err(error) => return Err(format!("{}: {error}", index.key)),
            }
            let link = Link { epoch: name.to_owned(), n: *n, sha256: crate::hex::encode(&Sha256::digest(&bytes)) };
            self.head = Some((link, digest.end));
        }
        match (over, whole) {
            (true, _) => {}
            (false, true) => self.open = Some(epoch),
            (false, false) => return Err(self.strange("a line of an erasure that is not finished is missing")),
        }
        Ok(())
    }

    fn take(&mut self, epoch: &mut Epoch, lines: &Bytes) -> Result<(), ReadError> {
        let (row, hash) = self.line(lines)?;
        epoch.tree.push(hash);
        let erasure = row.tail.erasure.as_ref().ok_or_else(|| self.strange("a line is no erasure"))?;
        if erasure.state == ErasureState::Done {
            self.done.insert(erasure.nonce.clone());
        } else {
            epoch.begun = Some(row);
        }
        Ok(())
    }

    /// The only line of an index object of ours, and its hash.
    fn line(&self, object: &Bytes) -> Result<(Row, [u8; 32]), ReadError> {
        let text = unpack_index("", object).map_err(|_| self.strange("an index object is damaged"))?;
        let line = text.strip_suffix('\n').filter(|line| !line.contains('\n'));
        let line = line.ok_or_else(|| self.strange("an index object has other lines"))?;
        let row: Row = serde_json::from_str(line).map_err(|_| self.strange("a line is none"))?;
        if row.tail.kind != Some(Kind::Erasure) {
            return Err(self.strange("a line is no erasure"));
        }
        Ok((row, leaf_hash(line.as_bytes())))
    }

    fn strange(&self, what: &str) -> ReadError {
        format!("the chain of the writer {} is not one of erasures ({what}): give another --writer", self.writer)
    }

    fn names(&self, epoch: &str) -> Names {
        Names::new(self.place.vault.prefix(), &self.writer, epoch)
    }

    /// The name of the epoch behind the last digest: the same for everybody who looks.
    fn next_epoch(&self) -> String {
        let before = self.head.as_ref().map_or("", |(link, _)| link.sha256.as_str());
        let mut hash = Sha256::new();
        for part in ["erase", self.account.as_str(), self.writer.as_str(), before] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        names::epoch(UnixNanos((self.epochs + 1) * 1_000_000), &Known(hash.finalize().into()))
    }

    /// The erasure that was begun and is not done.
    pub fn begun(&self) -> Option<&Erasure> {
        self.open.as_ref()?.begun.as_ref()?.tail.erasure.as_deref()
    }

    /// Whether the request of this nonce was executed.
    pub fn is_done(&self, nonce: &str) -> bool {
        self.done.contains(nonce)
    }

    /// Writes the next line and its digest: with [`ErasureState::Done`] the epoch's last one.
    ///
    /// # Errors
    /// One line: the store fails, or another run is at work.
    pub async fn append(&mut self, erasure: Erasure, now: UnixNanos) -> Result<(), ReadError> {
        let epoch = match self.open.take() {
            Some(epoch) => epoch,
            None => Epoch { names: self.names(&self.next_epoch()), tree: Frontier::default(), begun: None },
        };
        let last = erasure.state == ErasureState::Done;
        let (n, mut tree) = (epoch.tree.size(), epoch.tree.clone());
        let (name, index) = self.index(&epoch, n, erasure, now).await?;
        let (row, hash) = self.line(&index)?;
        tree.push(hash);
        let json = self.digest(&epoch, n, &tree, &name, &index, &row.tail.ts, last);
        let bytes = Bytes::from(serde_json::to_vec(&json).unwrap_or_default()); // strings and numbers: can't fail
        let at = epoch.names.digest(&self.account, n);
        let signature = Bytes::copy_from_slice(&self.key.sign(&bytes));
        self.ensure(ObjectKind::Chain, &format!("{at}{SIGNATURE}"), signature, now).await?;
        self.ensure(ObjectKind::Chain, &at, bytes.clone(), now).await?;
        let sha256 = crate::hex::encode(&Sha256::digest(&bytes));
        self.head = Some((Link { epoch: epoch.names.epoch().to_string(), n, sha256 }, json.end));
        if n == 0 {
            self.epochs += 1;
        }
        if let (Some(erasure), true) = (&row.tail.erasure, last) {
            self.done.insert(erasure.nonce.clone());
        } else {
            self.open = Some(Epoch { begun: Some(row), tree, ..epoch });
        }
        Ok(())
    }

    /// The index object of leaf `n`: the one that an earlier run wrote, else a new one.
    async fn index(
        &self,
        epoch: &Epoch,
        n: u64,
        erasure: Erasure,
        now: UnixNanos,
    ) -> Result<(String, Bytes), ReadError> {
        let folder = format!("index/v1/account={}/", account_segment(&self.account));
        let file = format!("/{}-{}-{n:010}.ndjson.zst", self.writer, epoch.names.epoch());
        let there = self.place.vault.list(ObjectKind::Index, &folder).await?;
        if let Some(name) = there.into_iter().find(|name| name.ends_with(&file)) {
            let bytes = self.place.vault.fetch(ObjectKind::Index, &name, None).await?;
            let (row, _) = self.line(&bytes)?;
            let same =
                row.tail.erasure.as_ref().is_some_and(|e| (e.state, &e.nonce) == (erasure.state, &erasure.nonce));
            return if same { Ok((name, bytes)) } else { Err(busy()) };
        }
        let ts = rfc3339(now);
        let tail = Tail {
            kind: Some(Kind::Erasure),
            ingest_ts: ts.clone(),
            account: self.account.clone(),
            tenant: UNATTRIBUTED.to_owned(),
            call: "other".to_owned(),
            action_type: Some("erase".to_owned()),
            status: "ok".to_owned(),
            writer: self.writer.clone(),
            epoch: epoch.names.epoch().to_string(),
            erasure: Some(Box::new(erasure)),
            ts,
            ..Tail::default()
        };
        let row = Row { v: 1, leaf: n, object_key: None, off: None, of: None, tail };
        let mut line = serde_json::to_vec(&row).unwrap_or_default(); // strings and numbers: can't fail
        line.push(b'\n');
        let bytes = zstd::bulk::compress(&line, LEVEL).map_err(|_| "a line can't be compressed")?;
        let name = epoch.names.index(&self.account, row.tail.ts.get(..10).unwrap_or_default(), n);
        let bytes = Bytes::from(bytes);
        self.ensure(ObjectKind::Index, &name, bytes.clone(), now).await?;
        Ok((name, bytes))
    }

    /// Digest number `n`, made from nothing but its line and what was before.
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
            // a clock that went back does not make time go back
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
                sha256: crate::hex::encode(&Sha256::digest(index)),
                first_leaf: n,
                leaves: 1,
            }),
            sessions: None,
            objects: Vec::new(),
            counters: Counters { acked: size, uploaded: size, ..Counters::default() },
            last,
            recovered: false,
            note: self.key.note(&Checkpoint { origin, size, root }.text()),
        }
    }

    /// Writes an object that nobody else may have written with other bytes.
    async fn ensure(&self, kind: ObjectKind, name: &str, bytes: Bytes, now: UnixNanos) -> Result<(), ReadError> {
        let say = |error: StoreError| format!("{name}: {error}");
        // not every store heeds the condition of a put
        let there = match self.place.vault.try_fetch(kind, name).await {
            Ok(there) => Some(there),
            Err(StoreError::Missing) => None,
            Err(error) => return Err(say(error)),
        };
        let there = match there {
            Some(there) => there,
            None => match self.place.store.put_once(kind, name, bytes.clone(), now).await {
                Ok(Put::Written) => return Ok(()),
                Ok(Put::Exists) => self.place.vault.try_fetch(kind, name).await.map_err(say)?,
                Err(StoreError::Differs) => return Err(busy()),
                Err(error) => return Err(say(error)),
            },
        };
        if there == bytes { Ok(()) } else { Err(busy()) }
    }
}

fn busy() -> ReadError {
    "another erasure is at work, or this one was begun with another key (--sign-with)".to_owned()
}
