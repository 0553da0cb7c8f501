//! [`Source`]: a parsed rate table, built-in or from a user's file. Every source has the digest of its file; the
//! built-in one is parsed on first use. `compile` makes a table of it.

use std::ops::Deref;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use config::load;
use kernel::hex;

use super::compile::{self, Wrong};
use super::schema::{self, File};
use super::table::{RatesError, Table};

/// `config/rates/rates.yaml` as JSON, which parses 20 times faster; a test keeps the two equal.
pub(super) static BUILTIN: &str = include_str!("../../../config/rates/builtin.json");
/// The models of all providers, one list after the other. Lists are parsed on demand, so unused ones are never paged
/// in.
static BUILTIN_MODELS: &str = include_str!("../../../config/rates/builtin-models.json");

/// The built-in table with the digest of the YAML file it was generated from.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Builtin {
    pub(super) sha256: String,
    pub(super) table: File<schema::Provider<Part>>,
}

/// Byte offset and length of a provider's models.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Part(pub(super) usize, pub(super) usize);

impl Part {
    fn text(self) -> &'static str {
        BUILTIN_MODELS.get(self.0..self.0.saturating_add(self.1)).unwrap_or("[]")
    }
}

impl Builtin {
    /// Parses all models.
    pub(super) fn whole(self) -> File {
        self.table.map(|part| serde_json::from_str(part.text()).unwrap_or_default())
    }
}

/// A written table: parsed, or the built-in one, which is parsed as a whole only for overlays and comparisons.
#[derive(Clone)]
pub(super) struct Written(OnceLock<Box<File>>);

impl Written {
    /// Mutable access to the whole table.
    pub(super) fn whole_mut(&mut self) -> Option<&mut File> {
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

/// The built-in table without its models.
fn unread() -> Result<Builtin, RatesError> {
    serde_json::from_str(BUILTIN).map_err(|error| RatesError(error.to_string()))
}

impl Table {
    /// The table that is compiled into the program.
    ///
    /// # Errors
    /// Never for a released program: a test loads the table.
    pub fn builtin() -> Result<Self, RatesError> {
        let source = Source::builtin()?;
        source.compile()
    }

    /// Parses and compiles a table in YAML or JSON. `name` is used in errors.
    ///
    /// # Errors
    /// All problems, one per line, each with its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, RatesError> {
        Source::parse(name, text)?.compile()
    }
}

/// A parsed table or overlay, with the digest of its file.
#[derive(Clone)]
pub struct Source {
    pub(super) name: String,
    pub(super) file: Written,
    pub(super) digest: String,
    /// The text, to locate problems; `None` for the built-in table.
    pub(super) text: Option<std::sync::Arc<str>>,
}

impl Source {
    /// The built-in table.
    ///
    /// # Errors
    /// Never for a released program.
    pub fn builtin() -> Result<Self, RatesError> {
        let head = unread()?;
        Ok(Self { name: "builtin".to_owned(), file: Written(OnceLock::new()), digest: head.sha256, text: None })
    }

    /// Parses the text of a file; [`Source::compile`] validates its meaning.
    ///
    /// # Errors
    /// The first syntax or type error, with its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, RatesError> {
        let file: File = load::data(name, text).map_err(|problem| {
            let place = problem.at.map_or(String::new(), |at| format!(":{}:{}", at.line, at.column));
            RatesError(format!("{name}{place}: {}", problem.what))
        })?;
        Ok(Self { name: name.to_owned(), file: file.into(), digest: digest(text), text: Some(text.into()) })
    }

    /// The version written in the table.
    pub fn version(&self) -> &str {
        &self.file.version
    }

    /// SHA-256 of the file, hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Like [`Source::compile`], but all current users of the built-in table share one instance, also across a restart
    /// of the pipeline, so that each provider's part is parsed once. A table from a file is compiled each time.
    ///
    /// # Errors
    /// As for [`Source::compile`].
    pub(super) fn shared(&self) -> Result<Arc<Table>, RatesError> {
        static BUILTIN: Mutex<Weak<Table>> = Mutex::new(Weak::new());
        // a table that was changed after parsing (imports, models kept by a refresh) has no text either
        if self.text.is_some() || self.file.0.get().is_some() {
            return self.compile().map(Arc::new);
        }
        let mut known = BUILTIN.lock();
        if let Some(table) = known.upgrade() {
            return Ok(table);
        }
        let table = Arc::new(self.compile()?);
        *known = Arc::downgrade(&table);
        Ok(table)
    }

    /// Validates and compiles the table.
    ///
    /// # Errors
    /// All problems, one per line, each with its place.
    pub fn compile(&self) -> Result<Table, RatesError> {
        if self.file.0.get().is_some() {
            return compile::compile(&self.file, &self.digest).map_err(|wrong| self.placed(&wrong));
        }
        compile::compile_unread(&unread()?.table, Part::text, &self.digest).map_err(|wrong| self.placed(&wrong))
    }

    /// Formats problems with file, line and column.
    pub(super) fn placed(&self, wrong: &[Wrong]) -> RatesError {
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
pub(super) fn digest(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes()))
}
