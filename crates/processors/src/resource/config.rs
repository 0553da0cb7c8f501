//! **What**: the `resource` stanza.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::actions::{Action, Actions, check};
use config::FieldProblem;

/// Inserts, updates and deletes attributes of resources.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// In order.
    pub attributes: Vec<Action>,
}

/// The valid form.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// In order.
    pub actions: Actions,
}

impl Config {
    /// Checks it.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        check("attributes", &self.attributes).map(|actions| Settings { actions })
    }
}
