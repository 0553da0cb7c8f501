//! Prices of tokens: [`RateTable`], a versioned rate table, and the look-up of one call's prices ([`PriceRow`]). Prices
//! change, so every figure names the table and the row it came from and can be recomputed. Exact decimals, no floats.
//! The time of the call selects the price, never the current time. A missing model is never guessed from a similar one.
//! `genai` decides which records are calls; `processors/cost` stamps them.

mod apply_overlay;
mod compile;
mod decimal;
mod exchange;
mod guard;
mod id_resolution;
mod listing;
mod model_identity;
mod model_parts;
mod overlay;
mod refresh;
mod resolved;
mod row;
mod schema;
mod seats;
mod source;
mod table;
mod unit;

#[cfg(test)]
mod tests;

pub use apply_overlay::OverlayChange;
pub use decimal::Usd;
pub use exchange::{Amount, Currency, Exchange, ExchangeRate};
pub use guard::{FindingSeverity, TableFinding};
pub use listing::{ListedModel, ListedPrice, PriceWindow};
pub use model_identity::same_model;
pub use overlay::{EffectiveTable, RateTables};
pub use refresh::{AcceptedTable, ActiveRates, TablePin, TableRefresher};
pub use resolved::{NO_USAGE_HINT, UnpricedReason};
pub use row::{CallCircumstances, PriceRow, RateQuery, RowFlags};
pub use seats::{SeatKey, SeatSums, SeatUse, month_of};
pub use source::TableSource;
pub use table::{RateTable, RatesError};
pub use unit::{Fee, Unit, Variable};
