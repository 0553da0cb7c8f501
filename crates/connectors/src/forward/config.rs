//! **What**: what a user writes under `connectors: { forward: … }`: nothing, as in the Collector.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;

/// The `forward` connector: what a pipeline exports to it goes on in the pipelines of the same signal that receive from
/// it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// The valid form.
#[derive(Clone, Copy, Debug)]
pub struct Settings;

impl Config {
    /// There is nothing to check.
    ///
    /// # Errors
    /// Never.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        Ok(Settings)
    }
}
