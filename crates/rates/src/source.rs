//! **What**: a rate table as written ([`Source`]): the built-in one, or a file of a user's. **Invariants**: every
//! source carries the digest of its file; the built-in one is read when it is first asked for. **Not here**: what the
//! table means (`compile`).

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

/// `config/rates/rates.yaml` in JSON, which is read 20 times faster; a test holds the two together.
pub(super) static BUILTIN: &str = include_str!("../../../config/rates/builtin.json");
/// The providers' models, one list behind the other: read when they are asked for, so that what nobody calls is never
/// paged in.
static BUILTIN_MODELS: &str = include_str!("../../../config/rates/builtin-models.json");

/// The built-in table with the digest of the YAML file it was made from.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Builtin {
    pub(super) sha256: String,
    pub(super) table: File<schema::Provider<Part>>,
}

/// Where a provider's models stand: first byte, length.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Part(pub(super) usize, pub(super) usize);

impl Part {
    fn text(self) -> &'static str {
        BUILTIN_MODELS.get(self.0..self.0.saturating_add(self.1)).unwrap_or("[]")
    }
}

impl Builtin {
    /// Reads all of it.
    pub(super) fn whole(self) -> File {
        self.table.map(|part| serde_json::from_str(part.text()).unwrap_or_default())
    }
}

/// A table as written: read, or the built-in one, which is read as a whole only where it is asked for (overlays,
/// comparing).
#[derive(Clone)]
pub(super) struct Written(OnceLock<Box<File>>);

impl Written {
    /// The table as a whole, to be changed.
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
    pub(super) name: String,
    pub(super) file: Written,
    pub(super) digest: String,
    /// The text, for the places of what is wrong; the built-in table has none.
    pub(super) text: Option<std::sync::Arc<str>>,
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

    /// The same table for all that use the built-in one at a time, as a restart of the pipeline does: each provider's
    /// part is made ready once. What comes from a file is made ready each time.
    ///
    /// # Errors
    /// As of [`Source::compile`].
    pub(super) fn shared(&self) -> Result<Arc<Table>, RatesError> {
        static BUILTIN: Mutex<Weak<Table>> = Mutex::new(Weak::new());
        // a table that was changed after it was read (imports, models kept by a refresh) has no text either
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
