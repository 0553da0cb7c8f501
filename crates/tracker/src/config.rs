//! **What**: what a user writes under `runs:` and what it means.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, Span};

use super::alerts::Limits;

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
    /// Attributes that name the feature, the first that is there counts; on the item, else on its resource.
    pub feature_from: Vec<String>,
    /// Numeric span attributes that are added up by service, tenant and commit.
    pub measures: Vec<String>,
    /// Iterations at which a run must stop: warned of at 80 %, alerted at 100 %.
    pub iteration_ceiling: u32,
    /// The same for single features.
    pub iteration_ceilings: BTreeMap<String, u32>,
    /// Time in which calls of one tool are counted.
    pub tool_window: Span,
    /// What fires alerts that tollgate computes itself.
    pub alerts: Limits,
}

const FEATURE_FROM: [&str; 5] = ["feature", "agent.feature", "gen_ai.agent.name", "agent.name", "agent.type"];
const MEASURES: [&str; 3] = ["athena.query_cost", "s3.bytes_scanned", "billing.record_count"];

impl Default for Config {
    fn default() -> Self {
        Self {
            idle_timeout: Span::seconds(30 * 60),
            settle: Span::seconds(30),
            max_runs: 100_000,
            feature_from: FEATURE_FROM.map(str::to_owned).to_vec(),
            measures: MEASURES.map(str::to_owned).to_vec(),
            iteration_ceiling: 50,
            iteration_ceilings: BTreeMap::new(),
            tool_window: Span::seconds(10 * 60),
            alerts: Limits::default(),
        }
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
    /// Where the feature stands; none = where the dialects say.
    pub feature_from: Option<Vec<String>>,
    /// Numeric span attributes to add up.
    pub measures: Vec<String>,
    /// Iterations at which a run must stop.
    pub iteration_ceiling: u64,
    /// By feature.
    pub iteration_ceilings: BTreeMap<String, u64>,
    /// Time in which calls of one tool are counted.
    pub tool_window: Duration,
    /// What fires alerts.
    pub alerts: Limits,
}

impl Settings {
    /// Iterations at which a run of this feature must stop.
    pub fn ceiling(&self, feature: Option<&str>) -> u64 {
        let own = feature.and_then(|feature| self.iteration_ceilings.get(feature));
        own.copied().unwrap_or(self.iteration_ceiling)
    }
}

const LONGEST: Duration = Duration::from_secs(7 * 86_400);
const MOST_RUNS: u32 = 1_000_000;
/// Most attributes in one list.
const MOST_KEYS: usize = 16;

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
        for (name, list, least) in [("feature_from", &self.feature_from, 1), ("measures", &self.measures, 0)] {
            if !(least..=MOST_KEYS).contains(&list.len()) {
                problems.push(FieldProblem::new(name, format!("must have {least} to {MOST_KEYS} attributes")));
            }
            for (at, _) in list.iter().enumerate().filter(|(_, key)| key.trim().is_empty()) {
                problems.push(FieldProblem::new(format!("{name}[{at}]"), "is empty"));
            }
        }
        if self.iteration_ceiling == 0 || self.iteration_ceilings.values().any(|ceiling| *ceiling == 0) {
            problems.push(FieldProblem::new("iteration_ceiling", "must be at least 1"));
        }
        if self.tool_window.0 < Duration::from_secs(1) || self.tool_window.0 > LONGEST {
            problems.push(FieldProblem::new("tool_window", "must be from 1s to 7d"));
        }
        self.alerts.check(&mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let ceilings = self.iteration_ceilings.iter().map(|(name, ceiling)| (name.clone(), u64::from(*ceiling)));
        Ok(Settings {
            idle_timeout,
            settle,
            max_runs: self.max_runs as usize,
            feature_from: (self.feature_from != FEATURE_FROM).then(|| self.feature_from.clone()),
            measures: self.measures.clone(),
            iteration_ceiling: u64::from(self.iteration_ceiling),
            iteration_ceilings: ceilings.collect(),
            tool_window: self.tool_window.0,
            alerts: self.alerts.clone(),
        })
    }
}
