//! **What**: what a user writes under `connectors: { runs: … }` and what it means.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, Span};

/// The `runs` connector: an exporter of pipelines with the `runs` processor, a receiver of pipelines of logs (an event
/// `tollgate.run.summary` for each run that is over, `tollgate.alert` for each alert) and of metrics (`agent.*`,
/// deltas).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often it tells what is new.
    pub interval: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self { interval: Span::seconds(10) }
    }
}

/// The valid form.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often it tells what is new.
    pub interval: Duration,
}

impl Config {
    /// Checks it.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        let interval = self.interval.0;
        if interval < Duration::from_secs(1) || interval > Duration::from_secs(3600) {
            return Err(vec![FieldProblem::new("interval", "must be from 1s to 1h")]);
        }
        Ok(Settings { interval })
    }
}
