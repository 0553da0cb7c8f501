//! [`Case`]: records that may report one call, their charges, and the spans between them.

use foldhash::HashMap;
use serde::{Deserialize, Serialize};

use super::money::Money;
use super::record::{CallRecord, SpanLink};

/// Maximum number of records of a case; further ones begin a case of their own.
pub(crate) const MAX_RECORDS: usize = 1024;
/// Maximum number of charges of a record that are kept apart.
const MAX_CHARGES: usize = 32;
/// Maximum number of spans of a case that are no records.
const MAX_SPANS: usize = 4096;

/// What a charge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ChargeKind {
    /// All that the record says.
    Whole,
    /// Nothing: the call was counted as one without a price.
    Unpriced,
    /// What exceeds earlier charges for the call.
    Difference,
    /// What later evidence changed; may be negative.
    Correction,
    /// Takes back what a second worker charged for a record of the same batch.
    Duplicate,
}

/// What a batch billed for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The ledger that billed it.
    pub(crate) worker: u64,
    /// Digest of the batch's id.
    pub(crate) batch: u64,
    /// Which of the batch's forks charged it.
    pub(crate) part: u32,
    pub(crate) kind: ChargeKind,
    pub(crate) money: Money,
    /// The amount on the stamp, if it also has what changed for other calls.
    pub(crate) netted: Option<Money>,
    /// The response id was also that of another call.
    pub(crate) is_id_reused: bool,
    #[serde(skip, default = "committed")]
    pub(crate) is_committed: bool,
}

impl Charge {
    /// Whether a batch charged it for the record that it brought, not for an earlier one.
    pub(crate) fn is_for_record(&self) -> bool {
        self.netted.is_some() || self.kind < ChargeKind::Correction
    }
}

/// The amounts of a record and its charges.
pub(crate) fn amounts_mut<'a>(
    record: &'a mut CallRecord,
    charges: impl IntoIterator<Item = &'a mut Charge>,
) -> impl Iterator<Item = &'a mut Money> {
    let of_charge = |charge: &'a mut Charge| [&mut charge.money].into_iter().chain(&mut charge.netted);
    record.price.iter_mut().chain(charges.into_iter().flat_map(of_charge))
}

fn committed() -> bool {
    true
}

/// Appends with little spare room: most calls have one record and one charge, for which `push` makes room for four.
fn push_tightly<T>(list: &mut Vec<T>, value: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 2 + 1);
    }
    list.push(value);
}

/// Records with what the batch charged for them.
pub type BatchEntries = Vec<(CallRecord, Option<Charge>)>;

/// Trace id and span id.
pub(crate) type TraceSpan = ([u8; 16], [u8; 8]);

/// A record and its charges.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) record: CallRecord,
    pub(crate) charges: Vec<Charge>,
    #[serde(skip, default = "committed")]
    pub(crate) is_committed: bool,
    /// Batches in flight that hold the record.
    #[serde(skip)]
    pub(crate) pending: Vec<u64>,
}

impl Entry {
    /// Adds up each worker's oldest charges, so that a record which grows for hours stays small.
    fn fold_charges(&mut self) {
        if self.charges.len() <= MAX_CHARGES {
            return;
        }
        let mut sums: Vec<Charge> = Vec::new();
        let newest = self.charges.split_off(MAX_CHARGES / 2);
        let (old, open): (Vec<Charge>, Vec<Charge>) = self.charges.drain(..).partition(|charge| charge.is_committed);
        for charge in old {
            match sums.iter_mut().find(|sum| sum.worker == charge.worker && sum.kind == charge.kind) {
                Some(sum) => *sum = Charge { money: sum.money.plus(charge.money), ..charge },
                None => sums.push(charge),
            }
        }
        self.charges = [sums, open, newest].concat();
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Case {
    entries: Vec<Entry>,
    /// By trace and span: the parent, and whether a call inside is a separate call.
    nodes: HashMap<TraceSpan, ([u8; 8], bool)>,
    /// It continues a full case of the same trace, so some calls below its totals are not in it.
    pub(crate) is_partial: bool,
    /// When it last changed, Unix ns.
    pub(crate) touched: u64,
}

impl Case {
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn amounts_mut(&mut self) -> impl Iterator<Item = &mut Money> {
        self.entries.iter_mut().flat_map(|entry| amounts_mut(&mut entry.record, &mut entry.charges))
    }

    pub(crate) fn entry_mut(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index)
    }

    /// Parent of a span that is no record, and whether it is a tool or an agent.
    pub(crate) fn node(&self, trace: [u8; 16], span: [u8; 8]) -> Option<([u8; 8], bool)> {
        self.nodes.get(&(trace, span)).copied()
    }

    pub(crate) fn position(&self, id: &[u8; 16]) -> Option<usize> {
        self.entries.iter().position(|entry| entry.record.id == *id)
    }

    /// Adds a record, or what a further copy of it says. Returns its index, and whether a committed batch said the
    /// same.
    pub(crate) fn add_record(&mut self, record: &CallRecord) -> (usize, bool) {
        let known = self.position(&record.id).and_then(|at| Some((at, self.entries.get_mut(at)?)));
        let Some((index, entry)) = known else {
            let (charges, pending) = (Vec::new(), Vec::new());
            push_tightly(&mut self.entries, Entry { record: record.clone(), charges, is_committed: false, pending });
            return (self.entries.len() - 1, false);
        };
        // a call is billed as its first record was
        let record = record.billed_as(&entry.record);
        let is_known = entry.is_committed && entry.record == record;
        if record.rank() > entry.record.rank() {
            entry.record = record;
        }
        (index, is_known)
    }

    /// Returns false if there is no room.
    pub(crate) fn add_span(&mut self, link: &SpanLink) -> bool {
        let has_room = self.nodes.len() < MAX_SPANS;
        if has_room {
            self.nodes.insert((link.trace, link.span), (link.parent, link.is_boundary));
        }
        has_room
    }

    pub(crate) fn remove_span(&mut self, span: &TraceSpan) {
        self.nodes.remove(span);
    }

    /// The traces of the spans that are no records.
    pub(crate) fn traces(&self) -> impl Iterator<Item = [u8; 16]> + '_ {
        self.nodes.keys().map(|(trace, _)| *trace)
    }

    /// Takes all of another case.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.nodes.extend(other.nodes);
        self.touched = self.touched.max(other.touched);
        self.is_partial |= other.is_partial;
    }

    /// Removes what a batch that was not committed left.
    pub(crate) fn forget_batch(&mut self, batch: u64, worker: u64) {
        for entry in &mut self.entries {
            entry.pending.retain(|pending| *pending != batch);
            entry.charges.retain(|charge| charge.is_committed || charge.batch != batch || charge.worker != worker);
        }
        self.entries.retain(|entry| entry.is_committed || !entry.pending.is_empty());
    }

    /// Whether something waits for a commit.
    pub(crate) fn has_pending(&self) -> bool {
        self.entries.iter().any(|entry| {
            !entry.is_committed || !entry.pending.is_empty() || entry.charges.iter().any(|charge| !charge.is_committed)
        })
    }

    /// The part that is committed, for a checkpoint.
    pub(crate) fn committed_part(&self) -> Option<Self> {
        let entries: Vec<Entry> = self
            .entries
            .iter()
            .filter(|entry| entry.is_committed)
            .map(|entry| {
                let charges = entry.charges.iter().filter(|charge| charge.is_committed).copied().collect();
                Entry { record: entry.record.clone(), charges, is_committed: true, pending: Vec::new() }
            })
            .collect();
        (!entries.is_empty() || !self.nodes.is_empty()).then(|| Self {
            entries,
            nodes: self.nodes.clone(),
            is_partial: self.is_partial,
            touched: self.touched,
        })
    }

    /// Adds a charge, or replaces the batch's own of the same kind.
    pub(crate) fn add_charge(&mut self, at: usize, charge: Charge) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        let is_known = |known: &&mut Charge| {
            let is_same_batch = (known.worker, known.batch, known.part) == (charge.worker, charge.batch, charge.part);
            is_same_batch && known.kind == charge.kind
        };
        match entry.charges.iter_mut().find(is_known) {
            Some(known) => *known = charge,
            None => push_tightly(&mut entry.charges, charge),
        }
        entry.fold_charges();
    }

    /// Units of the ledger's limit that the case takes.
    pub(crate) fn weight(&self) -> usize {
        self.entries.len() + self.nodes.len() / 4
    }
}
