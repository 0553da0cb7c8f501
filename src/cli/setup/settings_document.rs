//! [`SettingsDocument`]: a settings file of one format that can be changed, and [`MergeFault`], the reason why one
//! can't. `json_text`, `toml_text` and `env_text` implement it; `settings_file` merges with it.

use serde_json::Value;

/// Why a file can't be changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MergeFault {
    /// The text is not of the file's format.
    #[error("line {line} is not valid: {what}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// The fault, without text of the file.
        what: String,
    },
    /// A key on a setting's path has a value of another kind.
    #[error("`{key}` is not {wanted}")]
    OtherKind {
        /// The path of the key.
        key: String,
        /// The kind that the client expects.
        wanted: &'static str,
    },
    /// The file is written in a way in which the setting can't be added.
    #[error("`{0}` can't be set in this file: set it by hand")]
    NotApplied(String),
}

impl MergeFault {
    /// A fault at a byte of a text.
    pub(super) fn at(text: &str, at: usize, what: impl Into<String>) -> Self {
        let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
        Self::Malformed { line: before.iter().filter(|byte| **byte == b'\n').count() + 1, what: what.into() }
    }
}

/// A settings file that can be changed. Paths have at least one key.
pub(super) trait SettingsDocument: Sized {
    /// Parses a file; an empty one is a file without settings.
    fn parse(text: &str) -> Result<Self, MergeFault>;
    /// The value at a path; [`Value::Null`] stands for one that is no text, number or truth value.
    fn get(&self, path: &[String]) -> Option<Value>;
    /// Sets a value, and makes the tables on its path.
    fn set(&mut self, path: &[String], value: &Value, replaces_text: bool) -> Result<(), MergeFault>;
    /// Removes what is at a path.
    fn remove(&mut self, path: &[String]) -> Result<(), MergeFault>;
    /// The file's text.
    fn into_text(self) -> String;
}
