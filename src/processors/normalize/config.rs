//! **What**: the `normalize` stanza. It has no keys yet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::FieldProblem;

/// Writes today's OpenTelemetry names beside what came, and removes stamps that clients may not set.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// The valid form.
#[derive(Clone, Debug, Default)]
pub struct Settings {}

impl Config {
    /// Checks it.
    ///
    /// # Errors
    /// Never: there is nothing to be wrong.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        Ok(Settings {})
    }
}
