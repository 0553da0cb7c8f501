//! The index as Parquet files ([`compact()`]), by account, tenant and day of arrival, and how `find` reads them
//! ([`table_reader`]). The index is written so that lines can be proved; tables make queries over millions of lines
//! possible.
//!
//! Only read access to the index is needed, and to the chain if lines are to be compared with it. A table has every
//! field of a line; fields unknown to this program are in the column `more`. Repeating a run changes nothing, and the
//! next run repairs an interrupted one. A table is not evidence; the index is. Neighbours: `row` (meaning of a line),
//! `read/find` (queries).

mod cells;
mod columns;
mod compact;
mod layout;
mod sort;
mod state;
pub mod table_reader;
mod table_writer;

#[cfg(test)]
mod tests;

pub use compact::{CompactOptions, CompactSummary, compact};
