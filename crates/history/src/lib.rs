//! **What**: the last 48 hours: [`History`] (runs), [`Figures`] (what a screen shows of a window), [`Failures`]
//! (failing spans, counted and sampled) and [`Store`], the file in which they survive a restart. **Why**: the tracker
//! keeps the latest runs only; a trend against yesterday, a report of the night and a run's page on the next morning
//! need more. **Invariants**: only what a third party may see gets in (names that passed the id policy, spans that were
//! stripped and redacted); bounded in memory and on disk: whichever account has most gives way, oldest first; nothing
//! here is on the way of a batch but a look at the spans that failed; whatever is wrong with the file, the gateway
//! starts. **Not here**: telling runs apart (the crate `tracker`), HTML (`pages`), when it is written (`app/remember`).

mod entry;
mod failures;
mod figures;
mod json;
mod look;
mod memory;
mod report;
mod seal;
mod store;
mod usage;
mod watch;
mod write;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
pub(crate) mod tests;

pub use entry::{Entry, ModelPart, ToolPart};
pub use failures::{Failures, Group, Key, Sample};
pub use figures::{
    Changed, Counted, DAY, Denied, Figures, Number, Share, Stepped, Tool, Troubled, UNATTRIBUTED, Window, changes,
    figures,
};
pub use json::{changes as changes_json, entry as entry_json, figures as figures_json};
pub use memory::{History, KEEP, MAX_RUNS};
pub use report::{Asked, BY, Grouped, JiraComment, Report, UnknownGrouping, markdown, report, report_json};
pub use store::{Opened, Store, StoreError};
pub use usage::NoUsage;
pub use watch::Watch;
pub use write::Write;
