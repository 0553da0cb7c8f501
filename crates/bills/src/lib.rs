//! `tollgate bill`: compares vendors' bills with the vault's index and says why they differ (`reconcile`), writes our
//! costs as FOCUS (`focus`), and projects a month (`forecast`). All amounts are exact. A vendor's columns are data
//! (`format`); amounts of calls are those that the index keeps, which today's rate table only divides by kind of token.
//! Neighbours: `audit` reads the index, `processors/cost` prices. A running gateway never calls this crate.

mod amounts;
mod bill;
mod bill_row;
mod calls;
mod causes;
pub mod cli;
mod days;
mod export;
mod focus;
mod forecast;
mod format;
mod own;
mod prices;
mod report;

#[cfg(test)]
mod tests;

pub use prices::Prices;
