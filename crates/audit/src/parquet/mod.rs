//! **What**: the index as Parquet files ([`compact()`]), by account, tenant and day of arrival, and how `find` reads
//! them ([`read`]). **Why**: lines are written so that they can be proved, a table so that millions of them can be
//! asked. **Invariants**: needs read access to the index only (and to the chain, if lines are to be held against it); a
//! table holds every field of a line, those that this program does not know in the column `more`; a run that is
//! repeated changes nothing; one that dies leaves nothing that the next does not put right. A table is no evidence: the
//! index is. **Not here**: what a line means (`row`), what a query asks (`read/find`).

mod cells;
mod columns;
mod compact;
mod layout;
pub mod read;
mod sort;
mod state;
mod write;

#[cfg(test)]
mod tests;

pub use compact::{Compacted, Options, compact};
