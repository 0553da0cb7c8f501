//! [`SampleRules`]: which runs an exporter gets; [`SampleUnit`]: items that are decided together; [`RunFates`]: what is
//! known of their runs. `sampling` decides, the crate `exporters` reads the rules, the crate `history` knows runs.

use std::sync::Arc;
use std::time::Duration;

use kernel::clock::UnixNanos;
use kernel::sha256::Sha256;

/// Why all items of a run are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepRule {
    /// It failed, or one of its model calls did.
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

/// What is known of a unit's run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunFate {
    /// A rule keeps it.
    pub is_kept: bool,
    /// Its end was seen.
    pub is_over: bool,
    /// A number that all items of the run share, evenly distributed.
    pub lot: u64,
}

/// Knows runs.
pub trait RunFates: Send + Sync {
    /// For each unit what is known of its run under these rules; `None`: no run is known. A run may be left out if
    /// nothing was heard of it after `since`. Takes milliseconds, so call it off the async threads.
    fn fates(&self, units: &[Arc<SampleUnit>], rules: &[KeepRule], since: UnixNanos) -> Vec<Option<RunFate>>;
}

impl SampleUnit {
    /// As [`RunFate::lot`], for items whose run is not known: all items of a trace share it.
    pub(super) fn lot(&self) -> u64 {
        let name = if self.trace.is_empty() { &self.run } else { &self.trace };
        let digest = Sha256::digest_list(&[&*self.account, name]);
        digest.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}
