//! One attempt to write one object, and the back-off after a failure. Each attempt reads the bytes from the spool, so
//! that a long outage needs no memory; the same records give the same bytes. Neighbour: `shelf` decides what is written
//! next.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use crate::chain::position::Position;
use crate::chain::tree::Hash;
use crate::names::SIGNATURE;
use crate::record::{FragmentHeader, KeyHeader, SealHeader, unpack};
use crate::store::{ObjectKind, Put, StoreError, VaultStore};
use kernel::clock::UnixNanos;
use kernel::rng::Rng;
use pipeline::spool::{Seq, Stored};

use super::journal::{Journal, Unread};
use super::shelf::{Item, Part};

/// Size of a digest's signature, bytes.
const SIGNATURE_BYTES: usize = 64;
/// Longest gap that is filled with zeros, bytes.
const MAX_HOLE: u64 = 256 << 20;

/// A finished attempt.
pub(super) struct Landed {
    pub(super) item: Item,
    /// Fragments that are damaged in the spool and therefore not in the object.
    pub(super) lost: Vec<Seq>,
    pub(super) result: Result<Put, Failure>,
    /// Size and hash of a payload object.
    pub(super) bytes: Option<(u64, Hash)>,
    /// For a digest: the chain's position after it.
    pub(super) position: Option<Box<Position>>,
    /// For a digest: its index object and its object with session lines; empty if there is none.
    pub(super) lines: [Bytes; 2],
}

/// Why an attempt failed.
pub(super) enum Failure {
    /// Its records are gone: an operator dropped them from the spool.
    Gone,
    /// Its record, or every fragment of it, is damaged.
    Damaged,
    /// The spool or the store failed.
    Store(StoreError),
}

impl Failure {
    /// The value of the metric label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Damaged => "damaged",
            Self::Store(error) => error.label(),
        }
    }
}

/// Reads an object's bytes from the spool and writes them to the store.
pub(super) async fn fly(journal: Arc<dyn Journal>, store: Arc<dyn VaultStore>, item: Item, now: UnixNanos) -> Landed {
    if item.kind == ObjectKind::Chain {
        return digest(&*journal, &*store, item, now).await;
    }
    let mut lost = Vec::new();
    let (result, bytes) = match bytes(&*journal, &item, &mut lost).await {
        Ok(bytes) => {
            let known = (item.kind == ObjectKind::Payload).then(|| (bytes.len() as u64, Sha256::digest(&bytes).into()));
            let name = item.aside.as_deref().unwrap_or(&item.name);
            (store.put_once(item.kind, name, bytes, now).await.map_err(Failure::Store), known)
        }
        Err(failure) => (Err(failure), None),
    };
    Landed { item, lost, result, bytes, position: None, lines: Default::default() }
}

/// Writes a digest's objects. The digest itself comes last, after index object, session lines and signature, so that a
/// digest in the store is always complete.
async fn digest(journal: &dyn Journal, store: &dyn VaultStore, mut item: Item, now: UnixNanos) -> Landed {
    let (mut position, mut lines) = (None, <[Bytes; 2]>::default());
    let result = async {
        let body = body(journal, item.seq).await?;
        let (header, rest): (SealHeader, _) = unpack(&body).ok_or(Failure::Damaged)?;
        let seal = header.digest.ok_or(Failure::Damaged)?;
        position = Some(Box::new(seal.position));
        let (index, json) = (seal.index_len as usize, (seal.index_len + seal.json_len) as usize);
        let signed = json + SIGNATURE_BYTES;
        if index > json || signed > rest.len() {
            return Err(Failure::Damaged);
        }
        lines = [rest.slice(..index), rest.slice(signed..)];
        let put = |kind, name: String, bytes: Bytes| async move {
            store.put_once(kind, &name, bytes, now).await.map_err(Failure::Store)
        };
        // only the answer to the first attempt proves that another process wrote the name
        let first = std::mem::take(&mut item.fresh);
        let index = seal.index.map(|name| (ObjectKind::Index, name, rest.slice(..index)));
        let signature = (ObjectKind::Chain, format!("{}{SIGNATURE}", item.name), rest.slice(json..signed));
        let sessions = seal.sessions.map(|name| (ObjectKind::Index, name, rest.slice(signed..)));
        let own = (ObjectKind::Chain, item.name.to_string(), rest.slice(seal.index_len as usize..json));
        let mut done = Put::Written;
        for (kind, name, bytes) in index.into_iter().chain(sessions).chain([signature, own]) {
            done = put(kind, name, bytes).await?;
            if first && matches!(done, Put::Exists) {
                item.fresh = true;
                break;
            }
        }
        Ok(done)
    }
    .await;
    Landed { item, lost: Vec::new(), result, bytes: None, position, lines }
}

async fn bytes(journal: &dyn Journal, item: &Item, lost: &mut Vec<Seq>) -> Result<Bytes, Failure> {
    match item.kind {
        ObjectKind::Key => whole::<KeyHeader>(journal, item.seq).await,
        ObjectKind::Index | ObjectKind::Chain => whole::<SealHeader>(journal, item.seq).await,
        ObjectKind::Payload => {
            let mut out = BytesMut::with_capacity(item.parts.iter().map(|part| part.len as usize).sum());
            for part in &item.parts {
                match whole::<FragmentHeader>(journal, part.seq).await {
                    Ok(fragment) => {
                        fill_hole(&mut out, part, &item.name).map_err(Failure::Store)?;
                        out.extend_from_slice(&fragment);
                    }
                    Err(Failure::Gone) => {}
                    Err(Failure::Damaged) => lost.push(part.seq),
                    Err(failure) => return Err(failure),
                }
            }
            match (out.is_empty(), lost.is_empty()) {
                (false, _) => Ok(out.freeze()),
                (true, true) => Err(Failure::Gone),
                (true, false) => Err(Failure::Damaged),
            }
        }
    }
}

/// The bytes after a record's header.
async fn whole<H: serde::de::DeserializeOwned>(journal: &dyn Journal, seq: Seq) -> Result<Bytes, Failure> {
    let (_, rest): (H, _) = unpack(&body(journal, seq).await?).ok_or(Failure::Damaged)?;
    Ok(rest)
}

/// Fills the place of missing fragments with zeros, so that the other fragments keep their ranges. Fragments are
/// missing if an operator dropped them from the spool, or if they are damaged there.
fn fill_hole(out: &mut BytesMut, part: &Part, name: &str) -> Result<(), StoreError> {
    let hole = part.offset.saturating_sub(out.len() as u64);
    if part.offset < out.len() as u64 || hole > MAX_HOLE {
        return Err(StoreError::Corrupt("the fragments of an object overlap".to_owned()));
    }
    if hole > 0 {
        tracing::error!(
            object = name,
            bytes = hole,
            "fragments are missing from the spool, or damaged; zeros stand in their place"
        );
        out.resize(out.len() + hole as usize, 0);
    }
    Ok(())
}

/// The body of one record.
pub(super) async fn body(journal: &dyn Journal, seq: Seq) -> Result<Bytes, Failure> {
    record(journal, seq).await.map(|stored| stored.body)
}

/// Reads one record.
pub(super) async fn record(journal: &dyn Journal, seq: Seq) -> Result<Stored, Failure> {
    let after = seq.0.checked_sub(1).map(Seq);
    match journal.read(after, 1, 1).await {
        Ok(read) => read.into_iter().next().filter(|stored| stored.seq == seq).ok_or(Failure::Gone),
        Err(Unread::Damaged(found)) if found == seq => Err(Failure::Damaged),
        Err(Unread::Damaged(_)) => Err(Failure::Gone), // the damaged record is the next one
        Err(Unread::Failed(why)) => Err(Failure::Store(StoreError::Unavailable(why))),
    }
}

/// Back-off after failures: 0.5 s, doubled up to a minute, with jitter; one attempt at a time meanwhile.
#[derive(Default)]
pub(super) struct Pause {
    failures: u32,
    until: Duration,
    said: Duration,
}

impl Pause {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(60);
    const SAY_AGAIN: Duration = Duration::from_secs(60);

    /// Whether the last attempt failed.
    pub(super) fn failing(&self) -> bool {
        self.failures > 0
    }

    /// Whether the next attempt may start.
    pub(super) fn over(&self, now: Duration) -> bool {
        now >= self.until
    }

    /// How long to wait for the next attempt, at most `most`.
    pub(super) fn wait(&self, now: Duration, most: Duration) -> Duration {
        let left = self.until.saturating_sub(now);
        if left.is_zero() { most } else { left.min(most) }
    }

    /// Lets the next attempt start at once.
    pub(super) fn retry_now(&mut self) {
        self.until = Duration::ZERO;
    }

    /// Records a failure. Returns whether it should be logged.
    pub(super) fn failed(&mut self, now: Duration, rng: &dyn Rng) -> bool {
        let full = Self::FIRST.saturating_mul(1 << self.failures.min(10)).min(Self::LONGEST);
        let mut byte = [0];
        rng.fill(&mut byte);
        let [byte] = byte;
        self.until = now + full / 2 + full * u32::from(byte) / 512;
        let say = self.failures == 0 || now.saturating_sub(self.said) >= Self::SAY_AGAIN;
        if say {
            self.said = now;
        }
        self.failures = self.failures.saturating_add(1);
        say
    }

    /// Records a success. Returns whether the previous attempt had failed.
    pub(super) fn succeeded(&mut self) -> bool {
        let failed = self.failures > 0;
        *self = Self { said: self.said, ..Self::default() };
        failed
    }
}
