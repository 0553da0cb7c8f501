//! Copies the index into Parquet tables, by account, tenant and day of arrival ([`compact()`]), and reads them for
//! `find` ([`table_reader`]), so that queries over millions of lines are fast. A run needs read access to the index,
//! and to the chain if it checks lines against signed digests. A table has every field of a line; fields unknown to
//! this program are in the column `more`. A repeated run changes nothing, and the next run repairs an interrupted one.
//! Tables are not evidence; the index is. Neighbours: `vault::index_row` (fields of a line), `read::find` (queries).

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
