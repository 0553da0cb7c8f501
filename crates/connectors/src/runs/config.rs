//! The `runs` connector's stanza.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, TimeSpan};

kernel::with_defaults! {
    /// The `runs` connector: an exporter of pipelines with the `runs` processor, and a receiver of pipelines of logs
    /// (an event `tollgate.run.summary` for each finished run, `tollgate.alert` for each alert) and of metrics
    /// (`agent.*`, as deltas).
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct RunsConfig {
        /// How often new events and metrics are sent, from 1 s to 1 h. Default: 10 s.
        pub interval: TimeSpan = TimeSpan::seconds(10),
    }
}

/// A stanza that was checked.
pub type RunsSettings = RunsConfig;

impl RunsConfig {
    /// Validates the stanza.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<RunsSettings, Vec<FieldProblem>> {
        let interval = self.interval.0;
        if interval < Duration::from_secs(1) || interval > Duration::from_secs(3600) {
            return Err(vec![FieldProblem::new("interval", "must be from 1s to 1h")]);
        }
        Ok(self.clone())
    }
}
