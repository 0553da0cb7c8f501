//! One attempt to write one object, and the back-off after a failure. Each attempt reads the bytes from the spool, so
//! that a long outage needs no memory; the same records give the same bytes. Neighbour: `record_tracker` decides what
//! is written next.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::chain::position::ChainPosition;
use crate::chain::tree::NodeHash;
use crate::object_names::SIGNATURE_SUFFIX;
use crate::spool_record::{FragmentHeader, KeyHeader, SealHeader, unpack};
use crate::store::{ObjectKind, PutOutcome, StoreError, VaultStore};
use kernel::clock::{Clock, UnixNanos};
use kernel::rng::Rng;
use kernel::sha256::Sha256;
use pipeline::spool::{RecordSeq, StoredRecord};
use telemetry::{Meter, names};

use super::journal::{JournalReadError, UploadJournal};
use super::record_tracker::{FragmentPart, UploadItem};

/// Size of a digest's signature, bytes.
const SIGNATURE_BYTES: usize = 64;
/// Longest gap that is filled with zeros.
const MAX_HOLE_BYTES: u64 = 256 << 20;

pub(super) struct FinishedWrite {
    pub(super) item: UploadItem,
    /// Fragments that are damaged in the spool and therefore not in the object.
    pub(super) damaged_fragments: Vec<RecordSeq>,
    pub(super) result: Result<PutOutcome, WriteFailure>,
    /// Size and hash of a payload object.
    pub(super) size_and_hash: Option<(u64, NodeHash)>,
    /// For a digest: the chain's position after it.
    pub(super) position: Option<Box<ChainPosition>>,
    /// For a digest: its index object and its object with session lines; empty if there is none.
    pub(super) line_objects: [Bytes; 2],
}

/// Why an attempt failed.
pub(super) enum WriteFailure {
    /// Its records are gone: an operator dropped them from the spool.
    Dropped,
    /// Its record, or every fragment of it, is damaged.
    Damaged,
    /// The spool or the store failed.
    Store(StoreError),
}

impl WriteFailure {
    /// The value of the metric label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Dropped => "gone",
            Self::Damaged => "damaged",
            Self::Store(error) => error.label(),
        }
    }
}

/// A store whose writes are timed.
pub(super) struct TimedStore {
    /// The vault processor's id.
    pub(super) processor: Arc<str>,
    pub(super) store: Arc<dyn VaultStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) meter: Meter,
}

impl TimedStore {
    async fn put_once(
        &self,
        kind: ObjectKind,
        name: &str,
        bytes: Bytes,
        now: UnixNanos,
    ) -> Result<PutOutcome, WriteFailure> {
        let began = self.clock.monotonic();
        let result = self.store.put_once(kind, name, bytes, now).await;
        let label = result.as_ref().map_or_else(StoreError::label, |outcome| outcome.label());
        let time = self.clock.monotonic().saturating_sub(began);
        let labels = [("processor", &*self.processor), ("outcome", label)];
        self.meter.histogram(&names::VAULT_PUT_SECONDS, &labels).record(time.as_secs_f64());
        result.map_err(WriteFailure::Store)
    }
}

/// Reads an object's bytes from the spool and writes them to the store.
pub(super) async fn write_object(
    journal: Arc<dyn UploadJournal>,
    store: Arc<TimedStore>,
    item: UploadItem,
    now: UnixNanos,
) -> FinishedWrite {
    if item.kind == ObjectKind::Chain {
        return write_digest(&*journal, &store, item, now).await;
    }
    let mut damaged_fragments = Vec::new();
    let (result, size_and_hash) = match read_object_bytes(&*journal, &item, &mut damaged_fragments).await {
        Ok(bytes) => {
            let stored = (item.kind == ObjectKind::Payload).then(|| (bytes.len() as u64, Sha256::digest(&bytes)));
            let name = item.alternative_name.as_deref().unwrap_or(&item.name);
            (store.put_once(item.kind, name, bytes, now).await, stored)
        }
        Err(failure) => (Err(failure), None),
    };
    FinishedWrite { item, damaged_fragments, result, size_and_hash, position: None, line_objects: Default::default() }
}

/// Writes a digest's objects. The digest itself comes last, after index object, session lines and signature, so that a
/// digest in the store is always complete.
async fn write_digest(
    journal: &dyn UploadJournal,
    store: &TimedStore,
    mut item: UploadItem,
    now: UnixNanos,
) -> FinishedWrite {
    let (mut position, mut line_objects) = (None, <[Bytes; 2]>::default());
    let result = async {
        let body = read_body(journal, item.seq).await?;
        let (header, rest): (SealHeader, _) = unpack(&body).ok_or(WriteFailure::Damaged)?;
        let seal = header.digest.ok_or(WriteFailure::Damaged)?;
        position = Some(Box::new(seal.position));
        let (index_end, json_end) = (seal.index_len as usize, (seal.index_len + seal.json_len) as usize);
        let signature_end = json_end + SIGNATURE_BYTES;
        if index_end > json_end || signature_end > rest.len() {
            return Err(WriteFailure::Damaged);
        }
        line_objects = [rest.slice(..index_end), rest.slice(signature_end..)];
        // only in the first attempt does `Exists` prove that another process wrote the name: the flag stays set for
        // that
        let is_first_attempt = std::mem::take(&mut item.is_first_attempt);
        let index = seal.index.map(|name| (ObjectKind::Index, name, rest.slice(..index_end)));
        let signature_name = format!("{}{SIGNATURE_SUFFIX}", item.name);
        let signature = (ObjectKind::Chain, signature_name, rest.slice(json_end..signature_end));
        let sessions = seal.sessions.map(|name| (ObjectKind::Index, name, rest.slice(signature_end..)));
        let digest = (ObjectKind::Chain, item.name.to_string(), rest.slice(index_end..json_end));
        let mut outcome = PutOutcome::Written;
        for (kind, name, bytes) in index.into_iter().chain(sessions).chain([signature, digest]) {
            outcome = store.put_once(kind, &name, bytes, now).await?;
            if is_first_attempt && matches!(outcome, PutOutcome::Exists) {
                item.is_first_attempt = true;
                break;
            }
        }
        Ok(outcome)
    }
    .await;
    FinishedWrite { item, damaged_fragments: Vec::new(), result, size_and_hash: None, position, line_objects }
}

async fn read_object_bytes(
    journal: &dyn UploadJournal,
    item: &UploadItem,
    damaged_fragments: &mut Vec<RecordSeq>,
) -> Result<Bytes, WriteFailure> {
    match item.kind {
        ObjectKind::Key => read_after_header::<KeyHeader>(journal, item.seq).await,
        ObjectKind::Index | ObjectKind::Chain => read_after_header::<SealHeader>(journal, item.seq).await,
        ObjectKind::Payload => {
            let mut bytes = BytesMut::with_capacity(item.parts.iter().map(|part| part.len as usize).sum());
            for part in &item.parts {
                match read_after_header::<FragmentHeader>(journal, part.seq).await {
                    Ok(fragment) => {
                        fill_hole(&mut bytes, part, &item.name).map_err(WriteFailure::Store)?;
                        bytes.extend_from_slice(&fragment);
                    }
                    Err(WriteFailure::Dropped) => {}
                    Err(WriteFailure::Damaged) => damaged_fragments.push(part.seq),
                    Err(failure) => return Err(failure),
                }
            }
            match (bytes.is_empty(), damaged_fragments.is_empty()) {
                (false, _) => Ok(bytes.freeze()),
                (true, true) => Err(WriteFailure::Dropped),
                (true, false) => Err(WriteFailure::Damaged),
            }
        }
    }
}

/// The bytes after a record's header.
async fn read_after_header<H: serde::de::DeserializeOwned>(
    journal: &dyn UploadJournal,
    seq: RecordSeq,
) -> Result<Bytes, WriteFailure> {
    let (_, rest): (H, _) = unpack(&read_body(journal, seq).await?).ok_or(WriteFailure::Damaged)?;
    Ok(rest)
}

/// Fills the place of missing fragments with zeros, so that the other fragments keep their ranges. Fragments are
/// missing if an operator dropped them from the spool, or if they are damaged there.
fn fill_hole(object: &mut BytesMut, part: &FragmentPart, name: &str) -> Result<(), StoreError> {
    let hole = part.offset.saturating_sub(object.len() as u64);
    if part.offset < object.len() as u64 || hole > MAX_HOLE_BYTES {
        return Err(StoreError::Corrupt("the fragments of an object overlap".to_owned()));
    }
    if hole > 0 {
        tracing::error!(
            object = name,
            bytes = hole,
            "fragments are missing from the spool or damaged: the object has zeros in their place"
        );
        object.resize(object.len() + hole as usize, 0);
    }
    Ok(())
}

pub(super) async fn read_body(journal: &dyn UploadJournal, seq: RecordSeq) -> Result<Bytes, WriteFailure> {
    read_record(journal, seq).await.map(|stored| stored.body)
}

pub(super) async fn read_record(journal: &dyn UploadJournal, seq: RecordSeq) -> Result<StoredRecord, WriteFailure> {
    let after = seq.0.checked_sub(1).map(RecordSeq);
    match journal.read(after, 1, 1).await {
        Ok(read) => read.into_iter().next().filter(|stored| stored.seq == seq).ok_or(WriteFailure::Dropped),
        Err(JournalReadError::Damaged(found)) if found == seq => Err(WriteFailure::Damaged),
        Err(JournalReadError::Damaged(_)) => Err(WriteFailure::Dropped), // the damaged record is the next one
        Err(JournalReadError::Failed(why)) => Err(WriteFailure::Store(StoreError::Unavailable(why))),
    }
}

/// Back-off after failures: 0.5 s, doubled up to a minute, with jitter; one attempt at a time meanwhile.
#[derive(Default)]
pub(super) struct WriteBackoff {
    failures: u32,
    pub(super) retry_at: Duration,
    logged_at: Duration,
}

impl WriteBackoff {
    const FIRST_DELAY: Duration = Duration::from_millis(500);
    const MAX_DELAY: Duration = Duration::from_secs(60);
    const LOG_INTERVAL: Duration = Duration::from_secs(60);

    /// Whether the last attempt failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Whether the next attempt may start.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        now >= self.retry_at
    }

    /// How long to wait for the next attempt, at most `max_wait`; `max_wait` if the attempt may start now.
    pub(super) fn time_left(&self, now: Duration, max_wait: Duration) -> Duration {
        let left = self.retry_at.saturating_sub(now);
        if left.is_zero() { max_wait } else { left.min(max_wait) }
    }

    /// Records a failure. Returns whether it should be logged.
    pub(super) fn record_failure(&mut self, now: Duration, rng: &dyn Rng) -> bool {
        let max_delay = Self::FIRST_DELAY.saturating_mul(1 << self.failures.min(10)).min(Self::MAX_DELAY);
        let mut random = [0];
        rng.fill(&mut random);
        let [random] = random;
        self.retry_at = now + max_delay / 2 + max_delay * u32::from(random) / 512;
        let should_log = self.failures == 0 || now.saturating_sub(self.logged_at) >= Self::LOG_INTERVAL;
        if should_log {
            self.logged_at = now;
        }
        self.failures = self.failures.saturating_add(1);
        should_log
    }

    /// Records a success of the vault `id`, and logs it if the previous attempt had failed.
    pub(super) fn record_success(&mut self, id: &str) {
        if self.failures > 0 {
            tracing::info!(vault = id, "the vault's store works again");
        }
        *self = Self { logged_at: self.logged_at, ..Self::default() };
    }
}
