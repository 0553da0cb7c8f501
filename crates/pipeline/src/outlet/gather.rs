//! **What**: what was read from the spool, sorted out ([`Intake`]) and gathered into parcels ([`Gatherer`]).
//! **Invariants**: a parcel holds one signal and one account, of these a run without gaps of what was read; only what
//! may go gets this far.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::clearance::{Clearance, Trust};
use crate::forward::Label;
use crate::spool::{RecordKind, Seq, Stored};
use kernel::clock::UnixNanos;
use otlp::{Payload, Signal, UnknownFields};

/// What goes together: a signal of an account.
pub(super) type Group = (Signal, Arc<str>);

/// One batch to deliver.
pub(super) struct Part {
    pub(super) seq: Seq,
    pub(super) account: Arc<str>,
    pub(super) label: Label,
    pub(super) body: Bytes,
}

impl Part {
    pub(super) fn group(&self) -> Group {
        (self.label.signal, Arc::clone(&self.account))
    }
}

/// Batches of a parcel: what it remembers of each while it waits is bounded.
const MOST_PARTS: usize = 4096;

/// Records that were read.
#[derive(Default)]
pub(super) struct Intake {
    /// May go.
    pub(super) parts: Vec<Part>,
    /// May not go.
    pub(super) held: u64,
    /// The last one's position; `None`: there was nothing.
    pub(super) last: Option<Seq>,
    /// When that was committed.
    pub(super) committed: Option<UnixNanos>,
    /// More was there and waits for somebody else.
    pub(super) waits: bool,
}

impl Intake {
    /// Keeps what may go to an exporter of this trust.
    pub(super) fn sort(records: Vec<Stored>, trust: Trust) -> Self {
        let mut intake = Self::default();
        for record in records {
            (intake.last, intake.committed) = (Some(record.seq), Some(record.committed));
            match part(record, trust) {
                Some(part) => intake.parts.push(part),
                None => intake.held += 1,
            }
        }
        intake
    }
}

/// `None`: not a forward copy, not readable, or not cleared.
fn part(record: Stored, trust: Trust) -> Option<Part> {
    if record.kind != RecordKind::Forward {
        return None;
    }
    let (mut label, mut body) = Label::split(&record.body)?;
    if !label.clearance.allows(trust) {
        return None;
    }
    if trust == Trust::ThirdParty && label.unknown == UnknownFields::Keep {
        // Written for an exporter that was internal then.
        let encoded = Payload::parse(label.signal, body).ok()?.encode(UnknownFields::Drop).ok()?;
        body = encoded.bytes.into();
        label.unknown = UnknownFields::Drop;
    }
    Some(Part { seq: record.seq, account: record.account, label, body })
}

/// Batches that go together.
pub(super) struct Parcel {
    /// From its first part to its last, when it was put together.
    pub(super) range: (Seq, Seq),
    /// Its bytes as the outlet's window counts them.
    pub(super) held: Held,
    pub(super) signal: Signal,
    pub(super) account: Arc<str>,
    pub(super) pipeline: String,
    /// The lowest of the parts.
    pub(super) clearance: Clearance,
    pub(super) unknown: UnknownFields,
    pub(super) items: u64,
    pub(super) seqs: Vec<Seq>,
    pub(super) bodies: Vec<Bytes>,
    pub(super) bytes: usize,
}

/// Gathers parts into parcels of up to `target` bytes.
pub(super) struct Gatherer {
    target: usize,
    /// In the order of their oldest part.
    groups: VecDeque<Gathered>,
}

struct Gathered {
    signal: Signal,
    account: Arc<str>,
    parts: VecDeque<Part>,
    bytes: usize,
    /// Has waited long enough.
    due: bool,
}

impl Gatherer {
    pub(super) fn new(target: usize) -> Self {
        Self { target, groups: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whose parts are here.
    pub(super) fn groups(&self) -> impl Iterator<Item = Group> {
        self.groups.iter().map(|group| (group.signal, Arc::clone(&group.account)))
    }

    /// Forgets what is here of this group: its first part, and the bytes of all.
    pub(super) fn shed(&mut self, (signal, account): &Group) -> Option<(Seq, usize)> {
        let at = self.groups.iter().position(|group| group.signal == *signal && group.account == *account)?;
        let group = self.groups.remove(at)?;
        group.parts.front().map(|part| (part.seq, group.bytes))
    }

    pub(super) fn add(&mut self, part: Part) {
        let same = |group: &&mut Gathered| group.signal == part.label.signal && group.account == part.account;
        if let Some(group) = self.groups.iter_mut().find(same) {
            group.bytes += part.body.len();
            group.parts.push_back(part);
            return;
        }
        let (signal, account, bytes) = (part.label.signal, Arc::clone(&part.account), part.body.len());
        self.groups.push_back(Gathered { signal, account, parts: VecDeque::from([part]), bytes, due: false });
    }

    /// Whether something is neither full nor has waited long enough.
    pub(super) fn lingers(&self) -> bool {
        self.groups.iter().any(|group| !group.due && group.bytes < self.target)
    }

    /// All that is here has waited long enough.
    pub(super) fn force(&mut self) {
        for group in &mut self.groups {
            group.due = true;
        }
    }

    /// The next parcel that is full or has waited long enough, any with `now`, of those groups that `may` go.
    pub(super) fn take(&mut self, now: bool, may: impl Fn(Signal, &Arc<str>) -> bool) -> Option<Parcel> {
        let ready =
            |group: &Gathered| (now || group.due || group.bytes >= self.target) && may(group.signal, &group.account);
        let at = self.groups.iter().position(ready)?;
        let mut group = self.groups.remove(at)?;
        let mut parcel = Parcel::of(group.parts.pop_front()?);
        while parcel.seqs.len() < MOST_PARTS
            && let Some(part) = group.parts.pop_front_if(|part| parcel.bytes + part.body.len() <= self.target)
        {
            parcel.add(part);
        }
        if !group.parts.is_empty() {
            group.bytes = group.bytes.saturating_sub(parcel.bytes);
            // Its place in the order stays.
            self.groups.insert(at, group);
        }
        Some(parcel)
    }
}

/// Bytes of a lane that a parcel holds; given back when dropped.
#[derive(Default)]
pub(super) struct Held {
    lane: Arc<AtomicUsize>,
    bytes: usize,
}

impl Held {
    /// Of what this lane counts already.
    pub(super) fn of(lane: &Arc<AtomicUsize>, bytes: usize) -> Self {
        Self { lane: Arc::clone(lane), bytes }
    }

    /// From now on so many.
    pub(super) fn set(&mut self, bytes: usize) {
        self.lane.fetch_add(bytes, Ordering::Relaxed);
        self.lane.fetch_sub(std::mem::replace(&mut self.bytes, bytes), Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Parcel {
    fn of(part: Part) -> Self {
        Self {
            range: (part.seq, part.seq),
            held: Held::default(),
            signal: part.label.signal,
            account: part.account,
            pipeline: part.label.pipeline,
            clearance: part.label.clearance,
            unknown: part.label.unknown,
            items: part.label.items,
            seqs: vec![part.seq],
            bytes: part.body.len(),
            bodies: vec![part.body],
        }
    }

    pub(super) fn group(&self) -> Group {
        (self.signal, Arc::clone(&self.account))
    }

    /// Forgets the bytes: they are read again.
    pub(super) fn lighten(&mut self) {
        self.bodies = Vec::new();
        self.held.set(0);
    }

    /// The same parcel of what was read again: of its parts, those that are still needed. False: there are none, or not
    /// yet.
    pub(super) fn fill(&mut self, parts: Vec<Part>) -> bool {
        let mut parts = parts.into_iter();
        let Some(first) = parts.next() else { return false };
        let mut held = std::mem::take(&mut self.held);
        *self = Self { range: self.range, ..Self::of(first) };
        parts.for_each(|part| self.add(part));
        held.set(self.bytes);
        self.held = held;
        true
    }

    fn add(&mut self, part: Part) {
        self.range.1 = self.range.1.max(part.seq);
        self.clearance = self.clearance.and(part.label.clearance);
        if part.label.unknown == UnknownFields::Keep {
            self.unknown = UnknownFields::Keep;
        }
        self.items += part.label.items;
        self.seqs.push(part.seq);
        self.bytes += part.body.len();
        self.bodies.push(part.body);
    }
}
