//! **What**: the `file` stanza, in the Collector's shape. **Invariants**: [`Settings`] is valid. **Not here**: writing
//! (`lines`).

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use config::FieldProblem;
use pipeline::Trust;

/// Appends OTLP/JSON to a file, one request per line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The file; made with access for its owner only. Its folder must exist.
    pub path: PathBuf,
    /// `internal` lets everything into the file; `third_party` only what is stripped and redacted.
    pub trust: Trust,
    /// Renames the file when it is large; without this key it grows without bound.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
}

/// When the file is renamed and how many old ones stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// A file is not written past this size, in MiB. A request that is larger gets a file of its own.
    pub max_megabytes: u64,
    /// How many renamed files are kept, the oldest go first; 0 keeps all.
    pub max_backups: usize,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { max_megabytes: 100, max_backups: 100 }
    }
}

/// `rotation:` without settings means the defaults, as in the Collector.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rotation>, D::Error> {
    Option::<Rotation>::deserialize(deserializer).map(|rotation| Some(rotation.unwrap_or_default()))
}

/// How the exporter is to work. Valid by construction.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
    /// What may be written.
    pub trust: Trust,
    /// When the file is renamed, if ever.
    pub rotation: Option<Limits>,
}

/// When the file is renamed and how many old ones stay.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes.
    pub max_bytes: u64,
    /// Renamed files; 0 = all.
    pub max_backups: usize,
}

impl Config {
    /// Checks the stanza.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        if self.path.file_name().is_none() {
            problems.push(FieldProblem::new("path", "the name of a file is needed"));
        }
        let rotation = self.rotation.map(|rotation| {
            let max_bytes =
                rotation.max_megabytes.checked_mul(1 << 20).filter(|bytes| *bytes > 0).unwrap_or_else(|| {
                    problems.push(FieldProblem::new("rotation.max_megabytes", "a size of at least 1 MiB is needed"));
                    0
                });
            Limits { max_bytes, max_backups: rotation.max_backups }
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Settings { path: self.path.clone(), trust: self.trust, rotation })
    }
}
