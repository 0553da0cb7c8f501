//! The ledger of model calls: decides which records report one call, what each call costs, and what is still owed.
//!
//! A record is what one span or log record shows of a call ([`CallRecord`]). What a record is (a call, a copy, a total)
//! is a pure function of all records and spans known of its case (`decide`): the order in which they came, how they
//! were batched and how often they were sent changes nothing. What was billed is remembered as charges. The ledger
//! bills the difference between what is due and what was charged, which may be negative: a correction.
//!
//! Pure: no clock, no metrics, no rate table. `processors/cost` makes the records, prices them and stamps the verdicts.

mod billing;
mod case;
mod counts;
mod decide;
mod ledger;
mod money;
mod record;

#[cfg(test)]
mod tests;

pub use billing::{Correction, CorrectionCarrier, CorrectionSink, Verdict};
pub use case::{BatchEntries, Charge, ChargeKind};
pub use counts::{CallTokenCounts, model_stem};
pub use decide::{CallRole, CopyKind, DecidedCall, Decision, SpanLookup, decide_roles};
pub use ledger::{BatchKey, Ledger, LedgerBatch};
pub use money::Money;
pub use record::{CallRecord, SpanLink, tenant_number, text_number, traits};
