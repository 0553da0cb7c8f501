//! Prices of tokens: [`Table`], a versioned rate table, and the look-up of one call's prices ([`Row`]). Prices change,
//! so every figure names the table and the row it came from and can be recomputed.
//! Exact decimals, no floats. The time of the call selects the price, never the current time. A missing model is never
//! guessed from a similar one. `genai` decides which records are calls; `processors/cost` stamps them.

mod compile;
mod decimal;
mod diff;
mod effective;
mod finding;
mod ids;
pub mod import;
mod lay;
mod moved;
mod overlay;
mod refresh;
mod resolved;
mod row;
mod same;
mod schema;
mod show;
mod source;
mod table;
mod unit;

#[cfg(test)]
mod tests;

pub use decimal::Usd;
pub use finding::{Finding, Gravity};
pub use lay::Change;
pub use overlay::{Effective, Rates};
pub use refresh::{Offer, Pin, Refresher, Shelf, Taken};
pub use resolved::{NO_USAGE_HINT, Unpriced};
pub use row::{Circumstances, Query, Row, RowFlags};
pub use same::same_model;
pub use show::{Listed, Sold, Window};
pub use source::Source;
pub use table::{RatesError, Table};
pub use unit::{Fee, Unit, Variable};
