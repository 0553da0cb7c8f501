//! Configuration of the `resource` processor.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::actions::{AttributeAction, CheckedActions, check_actions};
use config::FieldProblem;

/// Inserts, updates and deletes attributes of resources.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceConfig {
    /// The actions, applied in order.
    pub attributes: Vec<AttributeAction>,
}

/// The checked configuration.
#[derive(Clone, Debug, Default)]
pub struct ResourceSettings {
    /// The actions, applied in order.
    pub actions: CheckedActions,
}

impl ResourceConfig {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<ResourceSettings, Vec<FieldProblem>> {
        check_actions("attributes", &self.attributes).map(|actions| ResourceSettings { actions })
    }
}
