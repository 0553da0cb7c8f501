//! **What**: the `debug` stanza, in the Collector's shape. **Not here**: what each verbosity shows (`render`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;
use pipeline::Trust;

/// Prints telemetry to the standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `basic`: a line per request; `spans`: a few lines per span; `normal`: a line per item too; `detailed`: all.
    pub verbosity: Verbosity,
    /// `internal` shows everything; `third_party` only what is stripped and redacted.
    pub trust: Trust,
    /// With `spans`: options that `tollgate vault get` needs here, as `--store … --identity …`, put behind its line.
    pub open_with: Option<String>,
}

/// How much is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verbosity {
    /// A line per request.
    #[default]
    Basic,
    /// A few lines per span, at most 20 spans a second: duration, tokens, cost, what redaction changed, how to open
    /// its content.
    Spans,
    /// A line per item too.
    Normal,
    /// Every field.
    Detailed,
}

/// How the exporter is to work. Valid by construction.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How much is printed.
    pub verbosity: Verbosity,
    /// What may be printed.
    pub trust: Trust,
    /// Options that open content.
    pub open_with: String,
}

impl Config {
    /// Checks the stanza.
    ///
    /// # Errors
    /// None; the shape is that of all components.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        let open_with = self.open_with.clone().unwrap_or_default();
        Ok(Settings { verbosity: self.verbosity, trust: self.trust, open_with })
    }
}
