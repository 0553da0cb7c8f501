//! **What**: the `debug` stanza, in the Collector's shape. **Not here**: what each verbosity shows (`render`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::remote::Deps;
use crate::spec::{ExporterSpec, Target};
use config::{ComponentId, FieldProblem};
use otlp::Signal;
use pipeline::{Exporter, OutletSettings, Trust};
use std::sync::Arc;

/// Prints telemetry to the standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `basic`: a line per request; `normal`: a line per item too; `detailed`: every field.
    pub verbosity: Verbosity,
    /// `internal` shows everything; `third_party` only what is stripped and redacted.
    pub trust: Trust,
}

/// How much is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verbosity {
    /// A line per request.
    #[default]
    Basic,
    /// A line per item too.
    Normal,
    /// Every field.
    Detailed,
}

/// How the exporter is to work. Valid by construction.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How much is printed.
    pub verbosity: Verbosity,
    /// What may be printed.
    pub trust: Trust,
}

impl ExporterSpec for Settings {
    fn notes(&self) -> &[FieldProblem] {
        &[]
    }

    fn takes(&self, _: Signal) -> bool {
        true
    }

    fn destination(&self) -> Option<(String, &[String])> {
        None
    }

    fn outlet(&self) -> Option<&OutletSettings> {
        None
    }

    fn trust(&self) -> Trust {
        self.trust
    }

    fn target(&self) -> Target<'_> {
        Target::Output
    }

    fn build(&self, id: &ComponentId, _: Deps) -> Result<Arc<dyn Exporter>, String> {
        Ok(Arc::new(super::build(id, self.clone())))
    }
}

impl Config {
    /// Checks the stanza.
    ///
    /// # Errors
    /// None; the shape is that of all components.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        Ok(Settings { verbosity: self.verbosity, trust: self.trust })
    }
}
