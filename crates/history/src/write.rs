//! [`HistoryWrite`]: data to be written in one transaction. If that fails, it is marked as changed again where it is
//! kept (`put_back`), so that only the latest state of a run or a count waits. The file is in `store`.

use std::sync::Arc;

use super::entry::RunRecord;
use super::failures::{FailureCount, FailureSample};

/// See the module.
#[derive(Default)]
pub struct HistoryWrite {
    /// New or changed runs, with their JSON if it was fetched.
    pub runs: Vec<(Arc<RunRecord>, Option<String>)>,
    /// Keys of runs that were merged into others.
    pub removed: Vec<String>,
    /// Current counts; 0 deletes the count.
    pub counts: Vec<FailureCount>,
    pub samples: Vec<Arc<FailureSample>>,
}

impl HistoryWrite {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.removed.is_empty() && self.counts.is_empty() && self.samples.is_empty()
    }
}
