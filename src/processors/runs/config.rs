//! **What**: what a user writes under `runs:` and what it means.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{FieldProblem, Span};

/// The `runs` processor: tells which run an item belongs to, and adds up what runs and sessions did and cost.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A run or session that nothing came of for this long has ended.
    pub idle_timeout: Span,
    /// After a run's end is told, how long nothing may come before it is added up: logs come later than spans.
    pub settle: Span,
    /// Most runs that are remembered at once. Beyond it the ones that were quiet longest are given up, and counted.
    pub max_runs: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { idle_timeout: Span::seconds(30 * 60), settle: Span::seconds(30), max_runs: 100_000 }
    }
}

/// The valid form.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Quiet for this long is ended.
    pub idle_timeout: Duration,
    /// Quiet after the end, before it is added up.
    pub settle: Duration,
    /// Most runs at once.
    pub max_runs: usize,
}

const LONGEST: Duration = Duration::from_secs(7 * 86_400);
const MOST_RUNS: u32 = 1_000_000;

impl Config {
    /// Checks it.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let (idle_timeout, settle) = (self.idle_timeout.0, self.settle.0);
        if idle_timeout < Duration::from_secs(1) || idle_timeout > LONGEST {
            problems.push(FieldProblem::new("idle_timeout", "must be from 1s to 7d"));
        }
        if settle > idle_timeout {
            problems.push(FieldProblem::new("settle", "must not be longer than `idle_timeout`"));
        }
        if self.max_runs == 0 || self.max_runs > MOST_RUNS {
            problems.push(FieldProblem::new("max_runs", "must be from 1 to 1000000"));
        }
        if problems.is_empty() {
            return Ok(Settings { idle_timeout, settle, max_runs: self.max_runs as usize });
        }
        Err(problems)
    }
}
