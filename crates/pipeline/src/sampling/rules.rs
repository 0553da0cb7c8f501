//! [`SampleRules`]: which runs an exporter gets; [`SampleUnit`]: items that are decided together; [`RunSampleStates`]:
//! finds their runs. `sampling` decides, the crate `exporters` reads the rules, the crate `history` knows runs.

use std::sync::Arc;
use std::time::Duration;

use kernel::clock::UnixNanos;
use kernel::sha256::Sha256;

/// Why all items of a run are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepRule {
    /// It failed, or one of its model calls did; in a trace without a run, any span.
    Errors,
    /// It raised an alert.
    Alerts,
    /// A model call has no price.
    Unpriced,
    /// It costs more than this, 1e-18 USD.
    CostAbove(i128),
    /// It takes longer than this.
    SlowerThan(Duration),
}

/// What one exporter gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleRules {
    /// Runs of which everything is sent.
    pub keep: Vec<KeepRule>,
    /// Of the other runs, one in this many is sent; 0: none.
    pub others: u32,
    /// Longest time that an item waits for the decision.
    pub wait: Duration,
}

/// The spool's consumer that holds what waits for the decision about this exporter. No component has such an id.
pub fn waiting_consumer(exporter: &str) -> Arc<str> {
    format!("{exporter}#waiting").into()
}

/// The exporter of a [`waiting_consumer`]; of another consumer, its own name.
pub fn exporter_of(consumer: &str) -> &str {
    consumer.strip_suffix("#waiting").unwrap_or(consumer)
}

/// A run of an account; for items of no run, a trace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SampleUnit {
    /// Account of the items.
    pub account: Arc<str>,
    /// The run's id as it is written on the items; "" = none.
    pub run: Box<str>,
    /// The trace's id, in hex; "" = none.
    pub trace: Box<str>,
}

/// The state of a unit's runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunSampleState {
    /// The unit has a run.
    pub is_known: bool,
    /// A rule keeps it.
    pub is_kept: bool,
    /// Its end was seen.
    pub is_over: bool,
    /// The same number for all items of the run, or of a trace without a run. Evenly distributed, and senders can't
    /// foresee it.
    pub hash: u64,
}

/// Finds the runs of units.
pub trait RunSampleStates: Send + Sync {
    /// The state of each unit under these rules. A run may be left out if nothing was heard of it after `since`. Takes
    /// milliseconds, so call it off the async threads.
    fn find_states(&self, units: &[Arc<SampleUnit>], rules: &[KeepRule], since: UnixNanos) -> Vec<RunSampleState>;
    /// How long after its last item the state of a run that is over can still change.
    fn settle(&self) -> Duration;
}

impl SampleUnit {
    /// Decides which items stay together when a batch is split: those of a trace.
    pub(super) fn hash(&self) -> u64 {
        hash_names(&[&self.account, if self.trace.is_empty() { &self.run } else { &self.trace }])
    }

    /// Whether it names neither run nor trace: unlike the items of other units, its items have nothing in common.
    pub(super) fn is_anonymous(&self) -> bool {
        self.run.is_empty() && self.trace.is_empty()
    }
}

/// The first 64 bits of the SHA-256 of these names.
pub(super) fn hash_names(names: &[&str]) -> u64 {
    let digest = Sha256::digest_list(names);
    digest.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
