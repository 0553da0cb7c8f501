//! [`TableSource`]: a parsed rate table, built-in or from a user's file. Every source has the digest of its file; the
//! built-in one is parsed on first use. `compile` makes a table of it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use serde::Deserialize;

use config::load;
use kernel::hex;
use kernel::sha256::Sha256;

use super::compile::{self, TableProblem};
use super::schema::TableFile;
use super::table::{RateTable, RatesError};

/// `config/rates/rates.yaml` as JSON, which parses 20 times faster; a test keeps the two equal.
pub(super) static BUILTIN: &str = include_str!("../../../config/rates/builtin.json");
/// The models of all providers, one list after the other. Lists are parsed on demand, so unused ones are never paged
/// in.
static BUILTIN_MODELS: &str = include_str!("../../../config/rates/builtin-models.json");

/// The built-in table without its models, and the digest of the YAML file it was generated from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BuiltinTable {
    sha256: String,
    table: TableFile,
    /// Byte offset and length of each provider's models.
    models: BTreeMap<String, (usize, usize)>,
}

impl BuiltinTable {
    fn parse_head() -> Result<Self, RatesError> {
        serde_json::from_str(BUILTIN).map_err(|error| RatesError(error.to_string()))
    }

    fn model_text(&self, provider: &str) -> &'static str {
        let range = self.models.get(provider).map(|(start, length)| *start..start.saturating_add(*length));
        range.and_then(|range| BUILTIN_MODELS.get(range)).unwrap_or("[]")
    }

    fn parse_whole(mut self) -> TableFile {
        let mut providers = std::mem::take(&mut self.table.providers);
        for (key, provider) in &mut providers {
            provider.models = serde_json::from_str(self.model_text(key)).unwrap_or_default();
        }
        TableFile { providers, ..self.table }
    }
}

/// A written table: parsed, or the built-in one, which is parsed as a whole only for overlays and comparisons.
#[derive(Clone)]
pub(super) struct LazyTableFile(OnceLock<Box<TableFile>>);

impl LazyTableFile {
    /// Mutable access to the whole table.
    pub(super) fn whole_mut(&mut self) -> Option<&mut TableFile> {
        // Parses the built-in table if that has not happened yet.
        let _: &TableFile = self;
        self.0.get_mut().map(|file| &mut **file)
    }
}

impl From<TableFile> for LazyTableFile {
    fn from(file: TableFile) -> Self {
        Self(OnceLock::from(Box::new(file)))
    }
}

impl Deref for LazyTableFile {
    type Target = TableFile;

    fn deref(&self) -> &TableFile {
        self.0.get_or_init(|| BuiltinTable::parse_head().map(|head| Box::new(head.parse_whole())).unwrap_or_default())
    }
}

impl RateTable {
    /// The table that is compiled into the program.
    ///
    /// # Errors
    /// Never for a released program: a test loads the table.
    pub fn builtin() -> Result<Self, RatesError> {
        let source = TableSource::builtin()?;
        source.compile()
    }

    /// Parses and compiles a table in YAML or JSON. `name` is used in errors.
    ///
    /// # Errors
    /// All problems, one per line, each with its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, RatesError> {
        TableSource::parse(name, text)?.compile()
    }
}

/// A parsed table or overlay, with the digest of its file.
#[derive(Clone)]
pub struct TableSource {
    pub(super) name: String,
    pub(super) file: LazyTableFile,
    pub(super) digest: String,
    /// The text, to locate problems; `None` for the built-in table.
    pub(super) text: Option<std::sync::Arc<str>>,
}

impl TableSource {
    /// The built-in table.
    ///
    /// # Errors
    /// Never for a released program.
    pub fn builtin() -> Result<Self, RatesError> {
        let head = BuiltinTable::parse_head()?;
        Ok(Self { name: "builtin".to_owned(), file: LazyTableFile(OnceLock::new()), digest: head.sha256, text: None })
    }

    /// Parses the text of a file; [`TableSource::compile`] validates its meaning.
    ///
    /// # Errors
    /// The first syntax or type error, with its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, RatesError> {
        let file: TableFile = load::parse_data(name, text).map_err(|problem| {
            let place = problem.at.map_or(String::new(), |at| format!(":{}:{}", at.line, at.column));
            RatesError(format!("{name}{place}: {}", problem.message))
        })?;
        Ok(Self { name: name.to_owned(), file: file.into(), digest: digest_text(text), text: Some(text.into()) })
    }

    pub fn version(&self) -> &str {
        &self.file.version
    }

    /// SHA-256 of the file, hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Like [`TableSource::compile`], but all current users of the built-in table share one instance, also across a
    /// restart of the pipeline, so that each provider's part is parsed once. A table from a file is compiled each time.
    ///
    /// # Errors
    /// As for [`TableSource::compile`].
    pub(super) fn compile_shared(&self) -> Result<Arc<RateTable>, RatesError> {
        static BUILTIN: Mutex<Weak<RateTable>> = Mutex::new(Weak::new());
        // a table that was changed after parsing (models kept by a refresh) has no text either
        if self.text.is_some() || self.file.0.get().is_some() {
            return self.compile().map(Arc::new);
        }
        let mut shared = BUILTIN.lock();
        if let Some(table) = shared.upgrade() {
            return Ok(table);
        }
        let table = Arc::new(self.compile()?);
        *shared = Arc::downgrade(&table);
        Ok(table)
    }

    /// Validates and compiles the table.
    ///
    /// # Errors
    /// All problems, one per line, each with its place.
    pub fn compile(&self) -> Result<RateTable, RatesError> {
        if self.file.0.get().is_some() {
            return compile::compile(&self.file, &self.digest).map_err(|problems| self.locate_problems(&problems));
        }
        let head = BuiltinTable::parse_head()?;
        compile::compile_lazily(&head.table, |provider| head.model_text(provider), &self.digest)
            .map_err(|problems| self.locate_problems(&problems))
    }

    /// Formats problems with file, line and column.
    pub(super) fn locate_problems(&self, problems: &[TableProblem]) -> RatesError {
        let text = self.text.as_deref().filter(|_| !problems.is_empty());
        let tree = text.and_then(|text| load::parse_data_tree(text).ok());
        let lines = problems.iter().map(|TableProblem { path, message }| match &tree {
            Some(tree) => {
                let at = tree.nearest_position(path);
                format!("{}:{}:{}: {message}", self.name, at.line, at.column)
            }
            None => format!("{}: {path}: {message}", self.name),
        });
        RatesError(lines.collect::<Vec<_>>().join("\n"))
    }
}

/// SHA-256 of a table's file.
pub(super) fn digest_text(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes()))
}
