//! Configuration of the `attributes` processor.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::actions::{AttributeAction, CheckedActions, check_actions};
use config::FieldProblem;

/// Inserts, updates and deletes attributes of spans, log records and data points.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AttributesConfig {
    /// The actions, applied in order.
    pub actions: Vec<AttributeAction>,
}

/// The checked configuration.
#[derive(Clone, Debug, Default)]
pub struct AttributesSettings {
    /// The actions, applied in order.
    pub actions: CheckedActions,
}

impl AttributesConfig {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<AttributesSettings, Vec<FieldProblem>> {
        check_actions("actions", &self.actions).map(|actions| AttributesSettings { actions })
    }
}
