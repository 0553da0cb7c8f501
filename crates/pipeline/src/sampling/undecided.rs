//! [`UndecidedRecords`]: what a sampler knows of the records that wait, and which of them are decided. It holds units
//! and times, no payloads; `mod.rs` reads and commits records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;
use kernel::clock::UnixNanos;

use crate::spool::RecordSeq;

use super::decide::{Decision, UnitState};
use super::rules::SampleUnit;

/// Maximum number of undecided units, about 60 MB. Beyond it, the oldest are decided before their runs are over.
pub(super) const MAX_UNITS: usize = 250_000;

/// Undecided records, by position and by unit.
#[derive(Default)]
pub(super) struct UndecidedRecords {
    /// Position of the last record read.
    pub(super) read: Option<RecordSeq>,
    pub(super) records: BTreeMap<RecordSeq, WaitingRecord>,
    pub(super) units: HashMap<Arc<SampleUnit>, UnitRecords>,
}

/// The waiting records of a unit.
#[derive(Clone, Copy, Default)]
pub(super) struct UnitRecords {
    pub(super) count: usize,
    /// When the latest was read, monotonic.
    pub(super) latest: Duration,
    /// A span in one of them has the status ERROR.
    pub(super) is_failed: bool,
}

/// What is known of a record that waits.
pub(super) struct WaitingRecord {
    pub(super) units: Vec<Arc<SampleUnit>>,
    pub(super) items: u64,
    pub(super) bytes: usize,
    pub(super) committed: UnixNanos,
    /// When its items are decided at the latest, monotonic.
    pub(super) deadline: Duration,
}

impl UndecidedRecords {
    pub(super) fn add(&mut self, seq: RecordSeq, record: WaitingRecord, units: Vec<(SampleUnit, bool)>, now: Duration) {
        let shared = units.into_iter().map(|(unit, is_failed)| {
            let known = self.units.get_key_value(&unit).map(|(known, _)| Arc::clone(known));
            let unit = known.unwrap_or_else(|| Arc::new(unit));
            let records = self.units.entry(Arc::clone(&unit)).or_default();
            *records = UnitRecords { count: records.count + 1, latest: now, is_failed: records.is_failed || is_failed };
            unit
        });
        let units = shared.collect();
        self.records.insert(seq, WaitingRecord { units, ..record });
    }

    pub(super) fn is_full(&self) -> bool {
        self.units.len() > MAX_UNITS
    }

    /// Makes the oldest records due of the account with most units, until no more than [`MAX_UNITS`] wait.
    pub(super) fn expire_excess(&mut self, now: Duration) {
        let mut excess = self.units.len().saturating_sub(MAX_UNITS);
        if excess == 0 {
            return;
        }
        let mut counts: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        self.units.keys().for_each(|unit| *counts.entry(&unit.account).or_default() += 1);
        let Some(fullest) = counts.into_iter().max_by_key(|(_, count)| *count).map(|(account, _)| account.clone())
        else {
            return;
        };
        let is_of_fullest = |record: &&mut WaitingRecord| record.units.iter().any(|unit| unit.account == fullest);
        for record in self.records.values_mut().filter(is_of_fullest) {
            if excess == 0 {
                return;
            }
            excess = excess.saturating_sub(record.units.len());
            record.deadline = record.deadline.min(now);
        }
    }

    pub(super) fn remove(&mut self, seq: RecordSeq) {
        for unit in self.records.remove(&seq).into_iter().flat_map(|record| record.units) {
            if let Some(records) = self.units.get_mut(&unit) {
                records.count -= 1;
                if records.count == 0 {
                    self.units.remove(&unit);
                }
            }
        }
    }

    /// When the oldest record was committed, and all units.
    pub(super) fn snapshot(&self) -> (Option<UnixNanos>, Vec<(Arc<SampleUnit>, UnitRecords)>) {
        let units = self.units.iter().map(|(unit, records)| (Arc::clone(unit), *records)).collect();
        (self.records.values().map(|record| record.committed).min(), units)
    }

    /// The records all of whose units are decided, given their states. Of the other runs one in `others` is sent.
    pub(super) fn find_decided(
        &mut self,
        states: &HashMap<Arc<SampleUnit>, UnitState>,
        others: u32,
        now: Duration,
    ) -> Vec<DecidedRecord> {
        self.expire_excess(now);
        let decided = self.records.iter().filter_map(|(seq, record)| {
            let decide = |unit: &Arc<SampleUnit>| match unit.is_anonymous() {
                true => UnitState::of_record(seq.0).decide(others, true),
                false => states.get(unit)?.decide(others, record.deadline <= now),
            };
            let decisions: Option<Vec<Decision>> = record.units.iter().map(decide).collect();
            let decisions = record.units.iter().cloned().zip(decisions?).collect();
            Some(DecidedRecord { seq: *seq, items: record.items, bytes: record.bytes, decisions })
        });
        decided.collect()
    }
}

/// A record all of whose units are decided.
pub(super) struct DecidedRecord {
    pub(super) seq: RecordSeq,
    pub(super) items: u64,
    pub(super) bytes: usize,
    pub(super) decisions: HashMap<Arc<SampleUnit>, Decision>,
}

impl DecidedRecord {
    /// Whether all its items have this decision.
    pub(super) fn is_all(&self, wanted: Decision) -> bool {
        self.decisions.values().all(|decision| *decision == wanted)
    }
}
