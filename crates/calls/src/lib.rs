//! The ledger of model calls: decides which records report one call, what each call costs, and what is still owed.
//!
//! A record is what one span or log record shows of a call ([`CallRecord`]). What a record is (a call, a layer, a sum,
//! a total) follows from all records and spans known of its case (`decide`), in whatever order, batches and repetitions
//! they came; what was charged only breaks ties. What was billed is remembered as charges. The ledger bills the
//! difference between what is due and what was charged, which may be negative (`billing`).
//!
//! Pure: no clock, no metrics, no rate table. `processors/cost` makes the records, prices them and stamps the verdicts.

mod billing;
mod case;
mod counts;
mod decide;
mod kept_case;
mod ledger;
mod money;
mod record;

#[cfg(test)]
mod tests;

pub use billing::{Correction, CorrectionCarrier, CorrectionSink, CountedBy, Verdict};
pub use case::{BatchEntries, Charge, ChargeKind};
pub use counts::{CallTokenCounts, model_stem};
pub use decide::{CallRole, DecidedCall, Decision, SpanLookup, UnchargedReason, decide_roles};
pub use ledger::{BatchKey, Ledger, LedgerBatch};
pub use money::{Money, listed_savings, set_savings};
pub use record::{CallRecord, SpanLink, tenant_number, text_number, traits};
