//! The `runs` connector's stanza and its checked settings.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, Span};

/// The `runs` connector: an exporter of pipelines with the `runs` processor, and a receiver of pipelines of logs (an
/// event `tollgate.run.summary` for each finished run, `tollgate.alert` for each alert) and of metrics (`agent.*`, as
/// deltas).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often new events and metrics are sent, from 1 s to 1 h. Default: 10 s.
    pub interval: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self { interval: Span::seconds(10) }
    }
}

/// The checked form of [`Config`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often new events and metrics are sent.
    pub interval: Duration,
}

impl Config {
    /// Validates the stanza.
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
