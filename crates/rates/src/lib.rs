//! **What**: what a token cost: [`Table`], a versioned rate table, and the look-up of one call's prices ([`Row`]).
//! **Why**: prices change; every figure names the table and the row it came from, and can be worked out again.
//! **Invariants**: exact decimals, no floats; the time of the call decides, never now; no guess from a neighbouring model.
//! **Not here**: which records are calls and what their counts mean (`genai/`), stamps (`processors/cost`).

mod compile;
mod decimal;
mod diff;
mod effective;
mod ids;
pub mod import;
mod moved;
mod overlay;
mod refresh;
mod row;
mod schema;
mod show;
mod table;
mod unit;

#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use config::load;
use kernel::hex;

use compile::Wrong;
use schema::File;

pub use decimal::Usd;
pub use diff::{Finding, Gravity};
pub use ids::Unpriced;
pub use overlay::Rates;
pub use refresh::{Offer, Pin, Refresher, Shelf, Taken};
pub use row::{Circumstances, Query, Row, RowFlags};
pub use show::{Listed, Window};
pub use table::{RatesError, Table};
pub use unit::{Fee, Unit, Variable};

/// `config/rates/rates.yaml` in JSON, which is read 20 times faster; a test holds the two together.
static BUILTIN: &str = include_str!("../../../config/rates/builtin.json");
/// The providers' models, one list behind the other: read when they are asked for, so that what nobody calls is never paged in.
static BUILTIN_MODELS: &str = include_str!("../../../config/rates/builtin-models.json");

/// The built-in table with the digest of the YAML file it was made from.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Builtin {
    sha256: String,
    table: File<schema::Provider<Part>>,
}

/// Where a provider's models stand: first byte, length.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Part(usize, usize);

impl Part {
    fn text(self) -> &'static str {
        BUILTIN_MODELS.get(self.0..self.0.saturating_add(self.1)).unwrap_or("[]")
    }
}

impl Builtin {
    /// Reads all of it.
    fn whole(self) -> File {
        self.table.map(|part| serde_json::from_str(part.text()).unwrap_or_default())
    }
}

/// A table as written: read, or the built-in one, which is read as a whole only where it is asked for (overlays,
/// comparing).
#[derive(Clone)]
struct Written(OnceLock<Box<File>>);

impl Written {
    /// The table as a whole, to be changed.
    fn whole_mut(&mut self) -> Option<&mut File> {
        let _: &File = self;
        self.0.get_mut().map(|file| &mut **file)
    }
}

impl From<File> for Written {
    fn from(file: File) -> Self {
        Self(OnceLock::from(Box::new(file)))
    }
}

impl Deref for Written {
    type Target = File;

    fn deref(&self) -> &File {
        self.0.get_or_init(|| unread().map(|builtin| Box::new(builtin.whole())).unwrap_or_default())
    }
}

/// The built-in table with its models unread.
fn unread() -> Result<Builtin, RatesError> {
    serde_json::from_str(BUILTIN).map_err(|error| RatesError(error.to_string()))
}

impl Table {
    /// The table that comes with the program.
    ///
    /// # Errors
    /// Never for a released program: a test loads it.
    pub fn builtin() -> Result<Self, RatesError> {
        let source = Source::builtin()?;
        source.compile()
    }

    /// Reads a table in YAML or JSON. `name` stands in errors.
    ///
    /// # Errors
    /// Everything wrong, one thing a line, each with its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, RatesError> {
        Source::parse(name, text)?.compile()
    }
}

/// A table or overlay as written, with the digest of its file.
#[derive(Clone)]
pub struct Source {
    name: String,
    file: Written,
    digest: String,
    /// The text, for the places of what is wrong; the built-in table has none.
    text: Option<std::sync::Arc<str>>,
}

impl Source {
    /// What comes with the program.
    ///
    /// # Errors
    /// Never for a released program.
    pub fn builtin() -> Result<Self, RatesError> {
        let head = unread()?;
        Ok(Self { name: "builtin".to_owned(), file: Written(OnceLock::new()), digest: head.sha256, text: None })
    }

    /// Reads a file's text; what it means is checked by [`Source::compile`].
    ///
    /// # Errors
    /// The first thing that is no table, with its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, RatesError> {
        let file: File = load::data(name, text).map_err(|problem| {
            let place = problem.at.map_or(String::new(), |at| format!(":{}:{}", at.line, at.column));
            RatesError(format!("{name}{place}: {}", problem.what))
        })?;
        Ok(Self { name: name.to_owned(), file: file.into(), digest: digest(text), text: Some(text.into()) })
    }

    /// The version written in it.
    pub fn version(&self) -> &str {
        &self.file.version
    }

    /// SHA-256 of its file, hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Makes it ready.
    ///
    /// # Errors
    /// Everything wrong, one thing a line, each with its place.
    pub fn compile(&self) -> Result<Table, RatesError> {
        if self.file.0.get().is_some() {
            return compile::compile(&self.file, &self.digest).map_err(|wrong| self.placed(&wrong));
        }
        compile::compile_unread(&unread()?.table, Part::text, &self.digest).map_err(|wrong| self.placed(&wrong))
    }

    /// Problems with file, line and column.
    fn placed(&self, wrong: &[Wrong]) -> RatesError {
        let tree = self.text.as_deref().and_then(|text| load::data_tree(text).ok());
        let lines = wrong.iter().map(|Wrong { path, what }| match &tree {
            Some(tree) => {
                let at = tree.nearest(path);
                format!("{}:{}:{}: {what}", self.name, at.line, at.column)
            }
            None => format!("{}: {path}: {what}", self.name),
        });
        RatesError(lines.collect::<Vec<_>>().join("\n"))
    }
}

/// SHA-256 of a table's file.
fn digest(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes()))
}
