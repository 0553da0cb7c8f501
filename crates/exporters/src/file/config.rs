//! The `file` exporter's stanza, in the Collector's shape, and its checked [`FileExporterSettings`]. `line_file` writes
//! the file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use config::FieldProblem;
use pipeline::Trust;

/// Appends OTLP/JSON to a file, one request per line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileExporterConfig {
    /// The file to write. It is created readable and writable by its owner only; its folder must exist.
    pub path: PathBuf,
    /// `third_party` (default) writes only stripped and redacted telemetry; `internal` writes everything.
    pub trust: Trust,
    /// Renames the file when it reaches a size. Without this key the file grows without limit.
    #[serde(deserialize_with = "defaults_if_empty", skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationConfig>,
}

kernel::with_defaults! {
    /// When the file is renamed, and how many renamed files are kept.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct RotationConfig {
        /// The file is renamed before a request would make it larger than this, in MiB. Default: 100. A larger request
        /// gets a file of its own.
        pub max_megabytes: u64 = 100,
        /// How many renamed files are kept; the oldest are deleted first. Default: 100. 0 keeps all.
        pub max_backups: usize = 100,
    }
}

/// `rotation:` without settings means the defaults, as in the Collector.
fn defaults_if_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RotationConfig>, D::Error> {
    Option::<RotationConfig>::deserialize(deserializer).map(|rotation| Some(rotation.unwrap_or_default()))
}

#[derive(Clone, Debug)]
pub struct FileExporterSettings {
    pub path: PathBuf,
    /// Which telemetry may be written.
    pub trust: Trust,
    /// When the file is renamed; `None`: never.
    pub rotation: Option<RotationLimits>,
}

/// When the file is renamed, and how many renamed files are kept.
#[derive(Clone, Copy, Debug)]
pub struct RotationLimits {
    /// Maximum size of a file, in bytes.
    pub max_bytes: u64,
    /// Number of renamed files to keep; 0 keeps all.
    pub max_backups: usize,
}

impl FileExporterConfig {
    /// Validates the stanza.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn settings(&self) -> Result<FileExporterSettings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        if self.path.file_name().is_none() {
            problems.push(FieldProblem::new("path", "must name a file"));
        }
        let rotation = self.rotation.map(|rotation| {
            let max_bytes =
                rotation.max_megabytes.checked_mul(1 << 20).filter(|bytes| *bytes > 0).unwrap_or_else(|| {
                    problems.push(FieldProblem::new("rotation.max_megabytes", "must be at least 1 (MiB)"));
                    0
                });
            RotationLimits { max_bytes, max_backups: rotation.max_backups }
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(FileExporterSettings { path: self.path.clone(), trust: self.trust, rotation })
    }
}
