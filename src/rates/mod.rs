//! **What**: what a token cost: [`Table`], a versioned rate table, and the look-up of one call's prices ([`Row`]).
//! **Why**: prices change; every figure names the table and the row it came from, and can be worked out again.
//! **Invariants**: exact decimals, no floats; the time of the call decides, never now; no guess from a neighbouring model.
//! **Not here**: which records are calls and what their counts mean (`genai/`), stamps (`processors/cost`).

mod decimal;
mod ids;
mod row;
mod schema;
mod table;
mod unit;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::config::load;

pub use decimal::Usd;
pub use ids::Unpriced;
pub use row::{Circumstances, Query, Row, RowFlags};
pub use table::{RatesError, Table};
pub use unit::{Unit, Variable};

/// `config/rates/rates.yaml` in JSON, which is read 20 times faster; a test holds the two together.
static BUILTIN: &str = include_str!("../../config/rates/builtin.json");

/// The built-in table with the digest of the YAML file it was made from.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Builtin {
    sha256: String,
    table: schema::File,
}

impl Table {
    /// The table that comes with the program.
    ///
    /// # Errors
    /// Never for a released program: a test loads it.
    pub fn builtin() -> Result<Self, RatesError> {
        let builtin: Builtin = serde_json::from_str(BUILTIN).map_err(|error| RatesError(error.to_string()))?;
        Self::compile(&builtin.table, &builtin.sha256)
    }

    /// Reads a table in YAML. `name` stands in errors.
    ///
    /// # Errors
    /// The first thing wrong.
    pub fn parse(name: &str, text: &str) -> Result<Self, RatesError> {
        let file: schema::File = load::data(name, text).map_err(|problem| {
            let place = problem.at.map_or(String::new(), |at| format!(":{}:{}", at.line, at.column));
            RatesError(format!("{name}{place}: {}", problem.what))
        })?;
        let table = Self::compile(&file, &table::digest(text));
        table.map_err(|RatesError(what)| RatesError(format!("{name}: {what}")))
    }
}
