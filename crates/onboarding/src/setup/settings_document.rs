//! [`SettingsDocument`]: a settings file of one format that can be changed. `json_file`, `toml_file` and `env_file`
//! implement it; `settings_file` merges with it.

use serde_json::Value;

/// Why a file can't be changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MergeFault {
    /// The text is not of the file's format. `what` has no text of the file.
    #[error("line {line} is not valid: {what}")]
    Malformed { line: usize, what: String },
    /// The file can be read, but a change would lose this.
    #[error("{0}, which `--write` would remove")]
    WouldBeLost(String),
    /// A key on a setting's path has a value of another kind.
    #[error("`{key}` is not {wanted}")]
    OtherKind { key: String, wanted: &'static str },
}

impl MergeFault {
    /// The key at this depth of a path is of another kind.
    pub(super) fn other_kind(path: &[String], depth: usize, wanted: &'static str) -> Self {
        Self::OtherKind { key: path.get(..=depth).unwrap_or(path).join("."), wanted }
    }
}

/// A settings file that can be changed. Paths have at least one key.
pub(super) trait SettingsDocument: Sized {
    /// Parses a file; an empty one is a file without settings.
    fn parse(text: &str) -> Result<Self, MergeFault>;
    /// The value at a path; [`Value::Null`] stands for one that is no text, number or truth value.
    fn get(&self, path: &[String]) -> Option<Value>;
    /// Sets a text or truth value, and makes the tables on its path.
    fn set(&mut self, path: &[String], value: &Value, replaces_text: bool) -> Result<(), MergeFault>;
    /// Adds a value to the list at a path, unless an entry has the text `unless`; returns whether it did. Only JSON
    /// files have such lists.
    fn append(&mut self, path: &[String], _: &Value, _unless: &str) -> Result<bool, MergeFault> {
        Err(MergeFault::other_kind(path, path.len(), "a list in JSON"))
    }
    fn remove(&mut self, path: &[String]);
    fn into_text(self) -> String;
}
