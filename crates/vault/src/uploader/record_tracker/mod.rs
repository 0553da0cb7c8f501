//! [`RecordTracker`]: the uploader's knowledge of the records it has read: objects being gathered, leaves waiting,
//! items ready to be written. It is pure bookkeeping, so that every order of events can be tested.
//!
//! Only positions and names are kept, never bodies. An object becomes ready only by its seal. A leaf may enter a digest
//! when the object it points to is stored. Reading the same records again gives the same objects. A damaged record
//! blocks nothing forever and is never marked done: after a long enough wait, its object is written without it. If a
//! record that a seal claims is gone from the spool (not just damaged), the sealed object was stored before a restart.
//! Neighbour: `uploader` reads, seals and writes.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::chain::position::ChainId;
use crate::spool_record::{self, DigestSeal, FragmentHeader, KeyHeader, LeafHeader, SealHeader, SealKind};
use crate::store::ObjectKind;
use crate::vault_writer::ClosedObject;
use pipeline::spool::{RecordKind, RecordSeq, StoredRecord};

mod damage;
mod leaves;

/// A fragment that waits for its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FragmentPart {
    pub(super) seq: RecordSeq,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// An object whose fragments are being gathered.
struct GatheringObject {
    account: Arc<str>,
    epoch: Arc<str>,
    parts: Vec<FragmentPart>,
    keys: Vec<Arc<str>>,
    /// Whether the fragment that ends the object was read.
    last: bool,
    /// Number of its fragments, once the object is closed.
    expected: Option<u32>,
    /// When its first fragment was read (monotonic).
    first_read_at: Duration,
    /// When its seal was sent to the spool (monotonic).
    sealed_at: Option<Duration>,
}

impl GatheringObject {
    fn is_complete(&self) -> bool {
        self.last || self.expected.is_some_and(|expected| self.parts.len() >= expected as usize)
    }
}

#[derive(Clone)]
pub(super) struct UploadItem {
    pub(super) kind: ObjectKind,
    pub(super) name: Arc<str>,
    /// Record with the object's bytes (key, index, digest) or with its seal (payload).
    pub(super) seq: RecordSeq,
    /// Fragments of a payload object.
    pub(super) parts: Vec<FragmentPart>,
    /// Other records that are done together with `seq`.
    pub(super) claims: Vec<RecordSeq>,
    /// Keys that must be stored first; for a key object, its own id.
    pub(super) keys: Vec<Arc<str>>,
    pub(super) attempts: u32,
    /// Earliest time of the next attempt (monotonic).
    pub(super) not_before: Duration,
    /// Whether no attempt was made yet and the name is new. If the name is taken even so, another process took it, or a
    /// thief of the credential.
    pub(super) is_first_attempt: bool,
    /// Alternative name, if its own was taken.
    pub(super) alternative_name: Option<Arc<str>>,
}

impl UploadItem {
    /// An item that no attempt was made for, without fragments, claims and keys.
    pub(super) fn new(kind: ObjectKind, name: Arc<str>, seq: RecordSeq, is_first_attempt: bool) -> Self {
        let (parts, claims, keys) = Default::default();
        let (attempts, not_before) = (0, Duration::ZERO);
        Self { kind, name, seq, parts, claims, keys, attempts, not_before, is_first_attempt, alternative_name: None }
    }
}

/// The leaves of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeafBatch {
    pub(super) seq: RecordSeq,
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) len: usize,
    pub(super) object: Option<Arc<str>>,
    pub(super) day: Arc<str>,
}

/// One writer's log of an account, in one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct EpochLog {
    pub(super) chain_id: ChainId,
    pub(super) epoch: Arc<str>,
}

/// The next lines in a log.
pub(super) enum NextLeaves {
    /// No line, or the next one points to an object that is not stored.
    Nothing,
    Lines {
        batches: Vec<LeafBatch>,
        /// Whether more lines could go into another index object immediately.
        has_more: bool,
    },
    /// The lines before this number are missing.
    Gap(u64),
    /// A record whose lines are in the chain already.
    Stale(RecordSeq),
}

pub(super) struct PendingSeal {
    pub(super) account: Arc<str>,
    pub(super) header: SealHeader,
}

#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct ReadEffects {
    /// Records that are done now, in this order.
    pub(super) done: Vec<RecordSeq>,
    /// Fragments that came too late for their object and can't be stored any more.
    pub(super) late: Vec<RecordSeq>,
    /// Whether the record is malformed.
    pub(super) damaged: bool,
    /// A digest; [`super::ChainStates`] decides whether it counts.
    pub(super) digest: Option<Box<ReadDigest>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadDigest {
    pub(super) seq: RecordSeq,
    pub(super) chain_id: ChainId,
    pub(super) name: Arc<str>,
    pub(super) claims: Vec<RecordSeq>,
    pub(super) seal: DigestSeal,
}

/// Bookkeeping of records (see the module).
#[derive(Default)]
pub(super) struct RecordTracker {
    own_epoch: Arc<str>,
    objects: HashMap<Arc<str>, GatheringObject>,
    /// Closed objects without any fragment read, with the number of their fragments.
    unread_fragments: HashMap<Arc<str>, u32>,
    /// Objects with fragments in the spool that are not stored.
    pub(super) unstored: HashSet<Arc<str>>,
    /// Ids of keys that are not stored.
    unstored_keys: HashSet<Arc<str>>,
    /// Waiting lines.
    logs: BTreeMap<EpochLog, VecDeque<LeafBatch>>,
    /// Items that can be written now, or once their keys are stored.
    pub(super) ready: VecDeque<UploadItem>,
    /// Complete objects without a seal in flight.
    pub(super) to_seal: Vec<Arc<str>>,
    /// Whether all records of former epochs were read, so that their objects are complete as they are.
    pub(super) caught_up: bool,
    pub(super) tracked: usize,
    /// Records that exist but can't be read.
    pub(super) damaged: HashSet<RecordSeq>,
    /// Objects that were sealed without waiting longer for missing fragments or a seal; later fragments are refused.
    sealed_without_waiting: HashSet<Arc<str>>,
}

impl RecordTracker {
    /// A tracker without records; `own_epoch` is this process's epoch.
    pub(super) fn new(own_epoch: Arc<str>) -> Self {
        Self { own_epoch, ..Self::default() }
    }

    /// Registers a record read at `now` (monotonic).
    pub(super) fn register_record(&mut self, stored: &StoredRecord, now: Duration) -> ReadEffects {
        let parsed = match stored.kind {
            RecordKind::Key => self.read_key(stored),
            RecordKind::Fragment => self.read_fragment(stored, now),
            RecordKind::Leaf => self.read_leaves(stored),
            RecordKind::Seal => {
                return self.read_seal(stored).unwrap_or(ReadEffects { damaged: true, ..ReadEffects::default() });
            }
            RecordKind::Forward | RecordKind::Commit | RecordKind::Effects => None,
        };
        ReadEffects { damaged: parsed.is_none(), ..ReadEffects::default() }
    }

    fn read_key(&mut self, stored: &StoredRecord) -> Option<()> {
        let (header, _): (KeyHeader, _) = spool_record::unpack(&stored.body)?;
        let (key, is_own): (Arc<str>, _) = (header.key.into(), *header.epoch == *self.own_epoch);
        self.unstored_keys.insert(key.clone());
        self.tracked += 1;
        let item = UploadItem::new(ObjectKind::Key, header.name.into(), stored.seq, is_own);
        self.ready.push_front(UploadItem { keys: vec![key], ..item });
        Some(())
    }

    fn read_fragment(&mut self, stored: &StoredRecord, now: Duration) -> Option<()> {
        let (header, rest): (FragmentHeader, _) = spool_record::unpack(&stored.body)?;
        let name: Arc<str> = header.object.into();
        if self.sealed_without_waiting.contains(&name) {
            return None; // too late: the object was sealed without it
        }
        let expected = self.unread_fragments.remove(&name);
        self.unstored.insert(name.clone());
        self.tracked += 1;
        let object = self.objects.entry(name.clone()).or_insert_with(|| GatheringObject {
            account: stored.account.clone(),
            epoch: header.epoch.into(),
            parts: Vec::new(),
            keys: Vec::new(),
            last: false,
            expected,
            first_read_at: now,
            sealed_at: None,
        });
        object.parts.push(FragmentPart { seq: stored.seq, offset: header.offset, len: rest.len() as u64 });
        object.last |= header.last;
        if !object.keys.iter().any(|key| **key == *header.key) {
            object.keys.push(header.key.into());
        }
        if object.is_complete() && object.epoch == self.own_epoch {
            self.to_seal.push(name);
        }
        Some(())
    }

    fn read_leaves(&mut self, stored: &StoredRecord) -> Option<()> {
        let (header, rest): (LeafHeader, _) = spool_record::unpack(&stored.body)?;
        let chain_id = ChainId { account: stored.account.clone(), writer: header.writer.into() };
        let log = EpochLog { chain_id, epoch: header.epoch.into() };
        self.tracked += 1;
        let leaves = self.logs.entry(log).or_default();
        // sorted by number, even if records are read again
        let at = leaves.iter().rposition(|earlier| earlier.first <= header.first).map_or(0, |earlier| earlier + 1);
        leaves.insert(
            at,
            LeafBatch {
                seq: stored.seq,
                first: header.first,
                count: header.count,
                len: rest.len(),
                object: header.object.map(Arc::from),
                day: header.day.into(),
            },
        );
        Some(())
    }

    fn read_seal(&mut self, stored: &StoredRecord) -> Option<ReadEffects> {
        let (header, _): (SealHeader, _) = spool_record::unpack(&stored.body)?;
        let name: Arc<str> = header.name.into();
        let claims: Vec<RecordSeq> = header.claims.into_iter().map(RecordSeq).collect();
        match header.kind {
            SealKind::Digest => {
                let seal = header.digest?;
                let chain_id = ChainId { account: stored.account.clone(), writer: seal.writer.as_str().into() };
                let digest = ReadDigest { seq: stored.seq, chain_id, name, claims, seal };
                Some(ReadEffects { digest: Some(Box::new(digest)), ..ReadEffects::default() })
            }
            SealKind::Index => {
                self.claim_leaves(&claims);
                self.tracked += 1;
                let item = UploadItem::new(ObjectKind::Index, name, stored.seq, false);
                self.ready.push_back(UploadItem { claims, ..item });
                Some(ReadEffects::default())
            }
            SealKind::Object => {
                let gathered = self.objects.remove(&name);
                if gathered.is_none() && self.unstored.contains(&name) {
                    // a second seal: the first one is being processed
                    return Some(ReadEffects { done: vec![stored.seq], ..ReadEffects::default() });
                }
                let is_own = gathered.as_ref().is_some_and(|object| object.epoch == self.own_epoch);
                let (mut parts, keys) = gathered.map_or_else(Default::default, |object| (object.parts, object.keys));
                let read_count = parts.len();
                let claimed: HashSet<RecordSeq> = claims.iter().copied().collect();
                let late = parts.extract_if(.., |part| !claimed.contains(&part.seq)).map(|part| part.seq).collect();
                let present: HashSet<RecordSeq> = parts.iter().map(|part| part.seq).collect();
                let is_missing = |claim: &RecordSeq| !present.contains(claim);
                if claims.iter().any(|claim| is_missing(claim) && !self.damaged.contains(claim)) {
                    // a claim is done only after the object is stored, and the seal only after all claims
                    self.tracked = self.tracked.saturating_sub(read_count);
                    self.unstored.remove(&name);
                    let done = claims.into_iter().chain([stored.seq]).collect();
                    return Some(ReadEffects { done, late, ..ReadEffects::default() });
                }
                self.tracked = self.tracked.saturating_sub(read_count - parts.len());
                if parts.is_empty() {
                    self.unstored.remove(&name); // every fragment is damaged
                } else {
                    self.tracked += 1;
                    let claims = parts.iter().map(|part| part.seq).collect();
                    let item = UploadItem::new(ObjectKind::Payload, name, stored.seq, is_own);
                    self.ready.push_back(UploadItem { parts, claims, keys, ..item });
                }
                Some(ReadEffects { late, ..ReadEffects::default() })
            }
        }
    }

    /// Records that these objects get no more fragments.
    pub(super) fn close_objects(&mut self, closed: Vec<ClosedObject>) {
        for ClosedObject { object, fragments } in closed {
            let name: Arc<str> = object.into();
            match self.objects.get_mut(&name) {
                Some(gathering) => {
                    gathering.expected = Some(fragments);
                    if gathering.is_complete() {
                        self.to_seal.push(name);
                    }
                }
                None => drop(self.unread_fragments.insert(name, fragments)),
            }
        }
    }

    /// Called when all records present at the start were read. Objects of former epochs with a seal have been claimed,
    /// and the others are complete as they are.
    pub(super) fn mark_caught_up(&mut self) {
        if !std::mem::replace(&mut self.caught_up, true) {
            let former_objects = self.objects.iter().filter(|(_, object)| object.epoch != self.own_epoch);
            self.to_seal.extend(former_objects.map(|(name, _)| name.clone()));
        }
    }

    /// The next object that needs a seal, which is sent at `now` (monotonic).
    pub(super) fn next_to_seal(&mut self, now: Duration) -> Option<PendingSeal> {
        while let Some(name) = self.to_seal.pop() {
            if let Some(object) = self.objects.get_mut(&name) {
                object.sealed_at = Some(now);
                let claims = object.parts.iter().map(|part| part.seq.0).collect();
                let header = SealHeader { name: name.to_string(), kind: SealKind::Object, claims, digest: None };
                return Some(PendingSeal { account: object.account.clone(), header });
            }
        }
        None
    }

    /// Reduces the number of tracked records.
    pub(super) fn untrack(&mut self, records: usize) {
        self.tracked = self.tracked.saturating_sub(records);
    }

    /// The next item to write at `now` whose keys are stored; keys come first. Examines at most 64 items, in turn.
    pub(super) fn next_item(&mut self, now: Duration) -> Option<UploadItem> {
        for _ in 0..self.ready.len().min(64) {
            let item = self.ready.pop_front()?;
            let has_stored_keys =
                item.kind != ObjectKind::Payload || item.keys.iter().all(|key| !self.unstored_keys.contains(key));
            if has_stored_keys && item.not_before <= now {
                return Some(item);
            }
            self.ready.push_back(item);
        }
        None
    }

    /// Puts back an item whose attempt failed.
    pub(super) fn put_back(&mut self, item: UploadItem, to_front: bool) {
        if to_front { self.ready.push_front(item) } else { self.ready.push_back(item) }
    }

    /// Records that an item is stored; returns the records that are done, in the order in which they must be marked.
    pub(super) fn untrack_item(&mut self, item: &UploadItem) -> Vec<RecordSeq> {
        match item.kind {
            ObjectKind::Key => {
                for key in &item.keys {
                    self.unstored_keys.remove(key);
                }
            }
            ObjectKind::Payload => {
                self.unstored.remove(&item.name);
            }
            ObjectKind::Index | ObjectKind::Chain => {}
        }
        self.tracked = self.tracked.saturating_sub(1 + item.claims.len());
        item.claims.iter().copied().chain([item.seq]).collect()
    }

    /// Whether nothing waits: no leaf, no object, no item to write.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.objects.is_empty() && self.logs.is_empty()
    }
}
