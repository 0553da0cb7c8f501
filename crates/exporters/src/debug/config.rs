//! The `debug` exporter's stanza, in the Collector's shape. `render` decides what each verbosity shows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;
use pipeline::Trust;

/// Prints telemetry to standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DebugExporterConfig {
    /// How much is printed. `basic` (default): one line per request; `spans`: a few lines per span; `normal`: also one
    /// line per item; `detailed`: every field.
    pub verbosity: Verbosity,
    /// `third_party` (default) prints only stripped and redacted telemetry; `internal` prints everything.
    pub trust: Trust,
    /// With `spans`: options that `tollgate vault get` needs here, such as `--store … --identity …`. They are appended
    /// to the printed command.
    pub open_with: Option<String>,
}

/// How much the exporter prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verbosity {
    /// One line per request.
    #[default]
    Basic,
    /// A few lines per span, at most 20 spans a second: duration, tokens, cost, what redaction changed, and the
    /// command that opens its content.
    Spans,
    /// Also one line per item.
    Normal,
    /// Every field.
    Detailed,
}

/// Every stanza is valid.
pub type DebugExporterSettings = DebugExporterConfig;

impl DebugExporterConfig {
    /// The settings.
    ///
    /// # Errors
    /// Never; the signature is the one that all components share.
    pub fn settings(&self) -> Result<DebugExporterSettings, Vec<FieldProblem>> {
        Ok(self.clone())
    }
}
