//! The `forward` connector's stanza, which has no settings, as in the Collector.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;

/// The `forward` connector: telemetry that a pipeline exports to it continues in the pipelines of the same signal that
/// receive from it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardConfig {}

/// There is nothing to check.
pub type ForwardSettings = ForwardConfig;

impl ForwardConfig {
    /// The settings.
    ///
    /// # Errors
    /// Never.
    pub fn settings(&self) -> Result<ForwardSettings, Vec<FieldProblem>> {
        Ok(self.clone())
    }
}
