//! The last 48 hours: [`History`] (runs), [`Figures`] (aggregates of a time window for a page), [`Failures`] (failing
//! spans, counted and sampled) and [`Store`], the file in which they survive a restart. The tracker keeps only the
//! latest runs; a comparison with yesterday, a nightly report and a run's page on the next morning need more.
//! Only data that a third party may see is kept: names that passed the id policy, spans that were stripped and
//! redacted. Memory and disk are bounded: the account with most data loses its oldest. Of a batch's processing only the
//! check for failed spans is here. The gateway starts whatever is wrong with the file.
//! Runs are identified in the crate `tracker`, HTML is made in `pages`, and `app/remember` decides when to write.

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
