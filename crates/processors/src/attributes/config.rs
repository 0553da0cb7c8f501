//! Configuration of the `attributes` processor.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::actions::{Action, Actions, check};
use config::FieldProblem;

/// Inserts, updates and deletes attributes of spans, log records and data points.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The actions, applied in order.
    pub actions: Vec<Action>,
}

/// The checked configuration.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The actions, applied in order.
    pub actions: Actions,
}

impl Config {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        check("actions", &self.actions).map(|actions| Settings { actions })
    }
}
