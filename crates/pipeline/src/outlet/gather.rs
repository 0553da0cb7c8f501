//! [`ReadIntake`]: records read from the spool, checked for clearance; [`ParcelGatherer`]: merges them into parcels. A
//! parcel holds records of one signal and one account: all that were read between its first and its last.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::clearance::{Clearance, Trust};
use crate::forward_label::ForwardLabel;
use crate::spool::{RecordKind, RecordSeq, StoredRecord};
use kernel::clock::UnixNanos;
use otlp::{Payload, Signal, UnknownFields};

/// Records that may be merged: one signal of one account.
pub(super) type ParcelGroup = (Signal, Arc<str>);

/// One batch to deliver.
pub(super) struct ParcelPart {
    pub(super) seq: RecordSeq,
    pub(super) account: Arc<str>,
    pub(super) label: ForwardLabel,
    pub(super) body: Bytes,
}

impl ParcelPart {
    pub(super) fn group(&self) -> ParcelGroup {
        (self.label.signal, Arc::clone(&self.account))
    }
}

/// Maximum number of batches in a parcel, which bounds the memory for their positions while it waits.
const MAX_PARTS: usize = 4096;

/// Records that were read.
#[derive(Default)]
pub(super) struct ReadIntake {
    /// Cleared batches.
    pub(super) parts: Vec<ParcelPart>,
    /// Number of records that are not cleared.
    pub(super) uncleared: u64,
    /// Position of the last record. `None`: none was read.
    pub(super) last: Option<RecordSeq>,
    /// Time at which the last record was committed.
    pub(super) committed: Option<UnixNanos>,
    /// There were more records, but they must wait for another consumer.
    pub(super) is_blocked: bool,
}

impl ReadIntake {
    /// Separates records that are cleared for an exporter of this trust from those that are not.
    pub(super) fn from_records(records: Vec<StoredRecord>, trust: Trust) -> Self {
        let mut intake = Self::default();
        for record in records {
            (intake.last, intake.committed) = (Some(record.seq), Some(record.committed));
            match to_part(record, trust) {
                Some(part) => intake.parts.push(part),
                None => intake.uncleared += 1,
            }
        }
        intake
    }
}

/// `None`: not a forward copy, not readable, or not cleared.
fn to_part(record: StoredRecord, trust: Trust) -> Option<ParcelPart> {
    if record.kind != RecordKind::Forward {
        return None;
    }
    let (mut label, mut body) = ForwardLabel::split(&record.body)?;
    if !label.clearance.allows(trust) {
        return None;
    }
    if trust == Trust::ThirdParty && label.unknown == UnknownFields::Keep {
        // The exporter was internal when the copy was written.
        let encoded = Payload::parse(label.signal, body).ok()?.encode(UnknownFields::Drop).ok()?;
        body = encoded.bytes.into();
        label.unknown = UnknownFields::Drop;
    }
    Some(ParcelPart { seq: record.seq, account: record.account, label, body })
}

/// Batches that are sent together.
pub(super) struct Parcel {
    /// Position of the first part when the parcel was made; lanes identify the parcel by it.
    pub(super) first: RecordSeq,
    /// The parcel's bytes in the window of its lane.
    pub(super) window_bytes: WindowBytes,
    pub(super) signal: Signal,
    pub(super) account: Arc<str>,
    pub(super) pipeline: String,
    /// The lowest clearance of the parts.
    pub(super) clearance: Clearance,
    pub(super) unknown: UnknownFields,
    pub(super) items: u64,
    pub(super) seqs: Vec<RecordSeq>,
    pub(super) bodies: Vec<Bytes>,
    pub(super) bytes: usize,
}

/// Gathers parts into parcels of up to `target` bytes.
pub(super) struct ParcelGatherer {
    target: usize,
    /// Ordered by their oldest part.
    groups: VecDeque<GatheredGroup>,
}

struct GatheredGroup {
    signal: Signal,
    account: Arc<str>,
    parts: VecDeque<ParcelPart>,
    bytes: usize,
    /// The linger time is over.
    is_due: bool,
}

impl ParcelGatherer {
    pub(super) fn new(target: usize) -> Self {
        Self { target, groups: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Bytes of all parts.
    pub(super) fn bytes(&self) -> usize {
        self.groups.iter().map(|group| group.bytes).sum()
    }

    /// Groups that have parts here.
    pub(super) fn groups(&self) -> impl Iterator<Item = ParcelGroup> {
        self.groups.iter().map(|group| (group.signal, Arc::clone(&group.account)))
    }

    /// Removes the parts of this group. Returns the position of the first and the bytes of all.
    pub(super) fn remove_group(&mut self, (signal, account): &ParcelGroup) -> Option<(RecordSeq, usize)> {
        let index = self.groups.iter().position(|group| group.signal == *signal && group.account == *account)?;
        let group = self.groups.remove(index)?;
        group.parts.front().map(|part| (part.seq, group.bytes))
    }

    pub(super) fn add(&mut self, part: ParcelPart) {
        let is_same = |group: &&mut GatheredGroup| group.signal == part.label.signal && group.account == part.account;
        if let Some(group) = self.groups.iter_mut().find(is_same) {
            group.bytes += part.body.len();
            group.parts.push_back(part);
            return;
        }
        let (signal, account, bytes) = (part.label.signal, Arc::clone(&part.account), part.body.len());
        self.groups.push_back(GatheredGroup { signal, account, parts: VecDeque::from([part]), bytes, is_due: false });
    }

    /// Whether any group is neither full nor due.
    pub(super) fn is_lingering(&self) -> bool {
        self.groups.iter().any(|group| !group.is_due && group.bytes < self.target)
    }

    pub(super) fn mark_all_due(&mut self) {
        for group in &mut self.groups {
            group.is_due = true;
        }
    }

    /// Takes the next parcel of a group that is full or due (with `at_once`, of any group) and that `may_send` allows.
    pub(super) fn take(&mut self, at_once: bool, may_send: impl Fn(Signal, &Arc<str>) -> bool) -> Option<Parcel> {
        let is_ready = |group: &GatheredGroup| {
            (at_once || group.is_due || group.bytes >= self.target) && may_send(group.signal, &group.account)
        };
        let index = self.groups.iter().position(is_ready)?;
        let mut group = self.groups.remove(index)?;
        let mut parcel = Parcel::from_part(group.parts.pop_front()?);
        while parcel.seqs.len() < MAX_PARTS
            && let Some(part) = group.parts.pop_front_if(|part| parcel.bytes + part.body.len() <= self.target)
        {
            parcel.add(part);
        }
        if !group.parts.is_empty() {
            group.bytes = group.bytes.saturating_sub(parcel.bytes);
            // Keeps the group's place in the order.
            self.groups.insert(index, group);
        }
        Some(parcel)
    }
}

/// A parcel's bytes in the window of its lane; dropping the value returns them.
#[derive(Default)]
pub(super) struct WindowBytes {
    /// The lane's counter, which includes `bytes`.
    lane_bytes: Arc<AtomicUsize>,
    bytes: usize,
}

impl WindowBytes {
    /// Bytes that the lane's counter already includes.
    pub(super) fn already_counted(lane_bytes: &Arc<AtomicUsize>, bytes: usize) -> Self {
        Self { lane_bytes: Arc::clone(lane_bytes), bytes }
    }

    /// Changes the number of bytes.
    pub(super) fn set_bytes(&mut self, bytes: usize) {
        self.lane_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.lane_bytes.fetch_sub(std::mem::replace(&mut self.bytes, bytes), Ordering::Relaxed);
    }
}

impl Drop for WindowBytes {
    fn drop(&mut self) {
        self.set_bytes(0);
    }
}

impl Parcel {
    fn from_part(part: ParcelPart) -> Self {
        Self {
            first: part.seq,
            window_bytes: WindowBytes::default(),
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

    pub(super) fn group(&self) -> ParcelGroup {
        (self.signal, Arc::clone(&self.account))
    }

    /// Drops the bytes, which will be read again.
    pub(super) fn drop_bytes(&mut self) {
        self.bodies = Vec::new();
        self.window_bytes.set_bytes(0);
    }

    /// Refills the parcel with `parts`, which were read again. Returns false if there are none.
    pub(super) fn refill_parts(&mut self, parts: Vec<ParcelPart>) -> bool {
        let mut parts = parts.into_iter();
        let Some(first) = parts.next() else { return false };
        let mut window_bytes = std::mem::take(&mut self.window_bytes);
        *self = Self { first: self.first, ..Self::from_part(first) };
        parts.for_each(|part| self.add(part));
        window_bytes.set_bytes(self.bytes);
        self.window_bytes = window_bytes;
        true
    }

    fn add(&mut self, part: ParcelPart) {
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
