//! [`Shelf`]: the uploader's knowledge of the records it has read: objects being gathered, leaves waiting, items ready
//! to be written. It is pure bookkeeping, so that every order of events can be tested.
//!
//! Only positions and names are kept, never bodies. An object becomes ready only by its seal. A leaf becomes free when
//! the object it points to is stored. Reading the same records again gives the same objects. A damaged record blocks
//! nothing forever and is never marked done: after a long enough wait, its object is written without it. A seal's
//! claims count as stored only if a claim is *gone* from the spool, and damaged records are not gone. Neighbour:
//! `uploader` reads, seals and writes.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::books::Closed;
use crate::record::{self, DigestSeal, FragmentHeader, KeyHeader, LeafHeader, SealHeader, Sealed};
use crate::store::ObjectKind;
use pipeline::spool::{RecordKind, Seq, Stored};

mod leaves;
mod lost;

/// A fragment that waits for its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) seq: Seq,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// An object whose fragments are being gathered.
struct Gathering {
    account: Arc<str>,
    epoch: Arc<str>,
    parts: Vec<Part>,
    keys: Vec<Arc<str>>,
    last: bool,
    expected: Option<u32>,
    /// When its first fragment was read (monotonic).
    since: Duration,
    /// When its seal was sent to the spool.
    sealed: Option<Duration>,
}

impl Gathering {
    fn complete(&self) -> bool {
        self.last || self.expected.is_some_and(|expected| self.parts.len() >= expected as usize)
    }
}

/// An object to write.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) kind: ObjectKind,
    pub(super) name: Arc<str>,
    /// Record that holds it (key, index) or its seal (payload).
    pub(super) seq: Seq,
    /// Fragments of a payload object.
    pub(super) parts: Vec<Part>,
    /// Other records that are done together with it.
    pub(super) claims: Vec<Seq>,
    /// Keys that must be stored first; for a key object, its own id.
    pub(super) keys: Vec<Arc<str>>,
    pub(super) attempts: u32,
    /// Earliest time of the next attempt (monotonic).
    pub(super) not_before: Duration,
    /// No attempt was made yet, and the name is new: if it is taken, another process or a thief of the credential took
    /// it.
    pub(super) fresh: bool,
    /// Alternative name, if its own was taken.
    pub(super) aside: Option<Arc<str>>,
}

/// The leaves of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaves {
    pub(super) seq: Seq,
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) len: usize,
    pub(super) object: Option<Arc<str>>,
    pub(super) day: Arc<str>,
}

/// One writer's log of an account, in one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Log {
    pub(super) account: Arc<str>,
    pub(super) writer: Arc<str>,
    pub(super) epoch: Arc<str>,
}

/// The chain of one account and writer, across all epochs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) account: Arc<str>,
    pub(super) writer: Arc<str>,
}

/// The next lines in a log.
pub(super) enum Next {
    /// No line, or the next one points to an object that is not stored.
    Nothing,
    /// Lines, and whether more could go into another index object immediately.
    Lines(Vec<Leaves>, bool),
    /// The lines before this number are missing.
    Hole(u64),
    /// A record whose lines are in the chain already.
    Stale(Seq),
}

/// A seal to be written.
pub(super) struct ToSeal {
    pub(super) account: Arc<str>,
    pub(super) header: SealHeader,
}

/// Effects of a record that was read.
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Records that are done now, in this order.
    pub(super) done: Vec<Seq>,
    /// Fragments that came too late for their object and can't be stored any more.
    pub(super) late: Vec<Seq>,
    /// Whether the record is malformed.
    pub(super) damaged: bool,
    /// A digest; [`super::Chains`] decides whether it counts.
    pub(super) digest: Option<Box<ReadDigest>>,
}

/// A digest's seal that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadDigest {
    pub(super) seq: Seq,
    pub(super) line: Line,
    pub(super) name: Arc<str>,
    pub(super) claims: Vec<Seq>,
    pub(super) seal: DigestSeal,
}

/// Bookkeeping of records (see the module).
pub(super) struct Shelf {
    live: Arc<str>,
    objects: HashMap<Arc<str>, Gathering>,
    /// Number of fragments of closed objects that were not read yet.
    closed: HashMap<Arc<str>, u32>,
    /// Objects with fragments in the spool that are not stored.
    unstored: HashSet<Arc<str>>,
    /// Keys that are not stored.
    keys: HashSet<Arc<str>>,
    logs: BTreeMap<Log, VecDeque<Leaves>>,
    ready: VecDeque<Item>,
    /// Complete objects without a seal in flight.
    ripe: Vec<Arc<str>>,
    /// Whether all records of former epochs were read, so that their objects are complete as they are.
    caught_up: bool,
    tracked: usize,
    /// Records that exist and can't be read.
    damaged: HashSet<Seq>,
    /// Objects of this process that were sealed without a missing fragment; later fragments are refused.
    holed: HashSet<Arc<str>>,
}

impl Shelf {
    /// An empty shelf; `live` is this process's epoch.
    pub(super) fn new(live: Arc<str>) -> Self {
        Self {
            live,
            objects: HashMap::new(),
            closed: HashMap::new(),
            unstored: HashSet::new(),
            keys: HashSet::new(),
            logs: BTreeMap::new(),
            ready: VecDeque::new(),
            ripe: Vec::new(),
            caught_up: false,
            tracked: 0,
            damaged: HashSet::new(),
            holed: HashSet::new(),
        }
    }

    /// Number of records tracked.
    pub(super) fn tracked(&self) -> usize {
        self.tracked
    }

    /// Registers a record read at `now` (monotonic).
    pub(super) fn read(&mut self, stored: &Stored, now: Duration) -> Read {
        let understood = match stored.kind {
            RecordKind::Key => self.read_key(stored),
            RecordKind::Fragment => self.read_fragment(stored, now),
            RecordKind::Leaf => self.read_leaves(stored),
            RecordKind::Seal => {
                return self.read_seal(stored).unwrap_or(Read { damaged: true, ..Read::default() });
            }
            RecordKind::Forward | RecordKind::Commit | RecordKind::Effects => None,
        };
        Read { damaged: understood.is_none(), ..Read::default() }
    }

    fn read_key(&mut self, stored: &Stored) -> Option<()> {
        let (header, _): (KeyHeader, _) = record::unpack(&stored.body)?;
        let (key, fresh): (Arc<str>, _) = (header.key.into(), *header.epoch == *self.live);
        self.keys.insert(key.clone());
        self.tracked += 1;
        self.ready.push_front(Item {
            kind: ObjectKind::Key,
            name: header.name.into(),
            seq: stored.seq,
            parts: Vec::new(),
            claims: Vec::new(),
            keys: vec![key],
            attempts: 0,
            not_before: Duration::ZERO,
            fresh,
            aside: None,
        });
        Some(())
    }

    fn read_fragment(&mut self, stored: &Stored, now: Duration) -> Option<()> {
        let (header, rest): (FragmentHeader, _) = record::unpack(&stored.body)?;
        let name: Arc<str> = header.object.into();
        if self.holed.contains(&name) {
            return None; // too late: the object was sealed without it
        }
        let expected = self.closed.remove(&name);
        self.unstored.insert(name.clone());
        self.tracked += 1;
        let object = self.objects.entry(name.clone()).or_insert_with(|| Gathering {
            account: stored.account.clone(),
            epoch: header.epoch.into(),
            parts: Vec::new(),
            keys: Vec::new(),
            last: false,
            expected,
            since: now,
            sealed: None,
        });
        object.parts.push(Part { seq: stored.seq, offset: header.offset, len: rest.len() as u64 });
        object.last |= header.last;
        if !object.keys.iter().any(|key| **key == *header.key) {
            object.keys.push(header.key.into());
        }
        if object.complete() && object.epoch == self.live {
            self.ripe.push(name);
        }
        Some(())
    }

    fn read_leaves(&mut self, stored: &Stored) -> Option<()> {
        let (header, rest): (LeafHeader, _) = record::unpack(&stored.body)?;
        let log = Log { account: stored.account.clone(), writer: header.writer.into(), epoch: header.epoch.into() };
        self.tracked += 1;
        let leaves = self.logs.entry(log).or_default();
        // sorted by number, even if records are read again
        let at = leaves.iter().rposition(|before| before.first <= header.first).map_or(0, |before| before + 1);
        leaves.insert(
            at,
            Leaves {
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

    fn read_seal(&mut self, stored: &Stored) -> Option<Read> {
        let (header, _): (SealHeader, _) = record::unpack(&stored.body)?;
        let name: Arc<str> = header.name.into();
        let claims: Vec<Seq> = header.claims.into_iter().map(Seq).collect();
        let item = |kind, parts, claims, keys| Item {
            kind,
            name: name.clone(),
            seq: stored.seq,
            parts,
            claims,
            keys,
            attempts: 0,
            not_before: Duration::ZERO,
            fresh: false,
            aside: None,
        };
        match header.kind {
            Sealed::Digest => {
                let seal = header.digest?;
                let line = Line { account: stored.account.clone(), writer: seal.writer.as_str().into() };
                let digest = ReadDigest { seq: stored.seq, line, name, claims, seal };
                Some(Read { digest: Some(Box::new(digest)), ..Read::default() })
            }
            Sealed::Index => {
                self.claim_leaves(&claims);
                self.tracked += 1;
                self.ready.push_back(item(ObjectKind::Index, Vec::new(), claims, Vec::new()));
                Some(Read::default())
            }
            Sealed::Object => {
                let gathered = self.objects.remove(&name);
                if gathered.is_none() && self.unstored.contains(&name) {
                    // a second seal: the first one is being processed
                    return Some(Read { done: vec![stored.seq], ..Read::default() });
                }
                let fresh = gathered.as_ref().is_some_and(|object| object.epoch == self.live);
                let item = |parts, claims, keys| Item { fresh, ..item(ObjectKind::Payload, parts, claims, keys) };
                let (mut parts, keys) = gathered.map_or_else(Default::default, |object| (object.parts, object.keys));
                if claims.iter().eq(parts.iter().map(|part| &part.seq)) {
                    self.tracked += 1;
                    self.ready.push_back(item(parts, claims, keys));
                    return Some(Read::default());
                }
                let read = parts.len();
                let claimed: HashSet<Seq> = claims.iter().copied().collect();
                let late = parts.extract_if(.., |part| !claimed.contains(&part.seq)).map(|part| part.seq).collect();
                let here: HashSet<Seq> = parts.iter().map(|part| part.seq).collect();
                let missing = |claim: &Seq| !here.contains(claim);
                if claims.iter().any(|claim| missing(claim) && !self.damaged.contains(claim)) {
                    // a claim is done only after the object is stored, and the seal only after all claims
                    self.tracked = self.tracked.saturating_sub(read);
                    self.unstored.remove(&name);
                    let done = claims.into_iter().chain([stored.seq]).collect();
                    return Some(Read { done, late, ..Read::default() });
                }
                self.tracked = self.tracked.saturating_sub(read - parts.len());
                let claims: Vec<Seq> = parts.iter().map(|part| part.seq).collect();
                if parts.is_empty() {
                    self.unstored.remove(&name); // every fragment is damaged
                } else {
                    self.tracked += 1;
                    self.ready.push_back(item(parts, claims, keys));
                }
                Some(Read { late, ..Read::default() })
            }
        }
    }

    /// Records that these objects get no more fragments.
    pub(super) fn close(&mut self, closed: Vec<Closed>) {
        for Closed { object, fragments } in closed {
            let name: Arc<str> = object.into();
            match self.objects.get_mut(&name) {
                Some(gathering) => {
                    gathering.expected = Some(fragments);
                    if gathering.complete() {
                        self.ripe.push(name);
                    }
                }
                None => drop(self.closed.insert(name, fragments)),
            }
        }
    }

    /// Called when all records present at the start were read. Objects of former epochs with a seal have been claimed,
    /// and the others are complete as they are.
    pub(super) fn catch_up(&mut self) {
        if !std::mem::replace(&mut self.caught_up, true) {
            let dead = self.objects.iter().filter(|(_, object)| object.epoch != self.live);
            self.ripe.extend(dead.map(|(name, _)| name.clone()));
        }
    }

    /// Whether [`Shelf::catch_up`] was called.
    pub(super) fn caught_up(&self) -> bool {
        self.caught_up
    }

    /// The next object that needs a seal, which is sent at `now` (monotonic).
    pub(super) fn next_to_seal(&mut self, now: Duration) -> Option<ToSeal> {
        while let Some(name) = self.ripe.pop() {
            if let Some(object) = self.objects.get_mut(&name) {
                object.sealed = Some(now);
                let claims = object.parts.iter().map(|part| part.seq.0).collect();
                let header = SealHeader { name: name.to_string(), kind: Sealed::Object, claims, digest: None };
                return Some(ToSeal { account: object.account.clone(), header });
            }
        }
        None
    }

    /// Takes back a seal that found no room in the spool.
    pub(super) fn not_sealed(&mut self, seal: ToSeal) {
        self.ripe.push(seal.header.name.into());
    }

    /// Number of records that could not be read.
    pub(super) fn damaged_records(&self) -> u64 {
        self.damaged.len() as u64
    }

    /// Queues an item for writing.
    pub(super) fn push_ready(&mut self, item: Item) {
        self.ready.push_back(item);
    }

    /// Reduces the number of tracked records.
    pub(super) fn untrack(&mut self, records: usize) {
        self.tracked = self.tracked.saturating_sub(records);
    }

    /// Counts a digest as tracked.
    pub(super) fn track(&mut self) {
        self.tracked += 1;
    }

    /// Whether all objects are stored.
    pub(super) fn all_stored(&self) -> bool {
        self.unstored.is_empty()
    }

    /// The next item to write at `now` whose keys are stored; keys come first. Examines at most 64 items, in turn.
    pub(super) fn next(&mut self, now: Duration) -> Option<Item> {
        for _ in 0..self.ready.len().min(64) {
            let item = self.ready.pop_front()?;
            let free = item.kind != ObjectKind::Payload || item.keys.iter().all(|key| !self.keys.contains(key));
            if free && item.not_before <= now {
                return Some(item);
            }
            self.ready.push_back(item);
        }
        None
    }

    /// Whether an item can be written now, or once its key is stored.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Puts back an item whose attempt failed.
    pub(super) fn put_back(&mut self, item: Item, first: bool) {
        if first { self.ready.push_front(item) } else { self.ready.push_back(item) }
    }

    /// Records that an item is stored; returns the records that are done, in the order in which they must be marked.
    pub(super) fn stored(&mut self, item: &Item) -> Vec<Seq> {
        match item.kind {
            ObjectKind::Key => {
                for key in &item.keys {
                    self.keys.remove(key);
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
