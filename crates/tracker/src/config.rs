//! The configuration stanza `runs:` and its checked form.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use budgets::config::{Budget, BudgetsConfig};
use config::{FieldProblem, TimeSpan};

use super::alerts::AlertThresholds;

kernel::with_defaults! {
    /// The `runs` processor: assigns items to runs, and sums up the activity and cost of runs and sessions.
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct Config {
        /// A run or session without new items for this long counts as ended. Default: 30 minutes.
        pub idle_timeout: TimeSpan = TimeSpan::seconds(30 * 60),
        /// After the end of a run was seen, wait until nothing came for this long before the run is summed up, because
        /// logs arrive later than spans. Default: 30 seconds.
        pub settle: TimeSpan = TimeSpan::seconds(30),
        /// Maximum number of runs kept in memory. Beyond it, the runs that were quiet longest are evicted and counted.
        /// Default: 100000.
        pub max_runs: u32 = 100_000,
        /// Attributes that name the feature; the first one present counts, on the item, otherwise on its resource.
        pub feature_from: Vec<String> = DEFAULT_FEATURE_FROM.map(str::to_owned).to_vec(),
        /// Numeric span attributes that are summed by service, tenant and commit.
        pub measures: Vec<String>,
        /// Iterations at which a run must stop: warned at 80 %, alerted at 100 %. Default: 50.
        pub iteration_ceiling: u32 = 50,
        /// Iteration ceilings of single features; they override `iteration_ceiling`.
        pub iteration_ceilings: BTreeMap<String, u32>,
        /// Time window in which calls of one tool are counted. Default: 10 minutes.
        pub tool_window: TimeSpan = TimeSpan::seconds(10 * 60),
        /// Writes `gen_ai.agent.name` (the run's feature, else the dialect's name) and `gen_ai.conversation.id` (the
        /// trace's session, else `trace-` and its id) on agents' items that lack them. Honeycomb's agent timeline and
        /// SigNoz need them. Default: true.
        pub agent_attributes: bool = true,
        /// Thresholds of the alerts that tollgate computes itself.
        pub alerts: AlertThresholds,
        /// How much a run, session, user, tenant, feature, issue or account may spend, by name, and what happens then
        /// (docs/how-to/budgets.md).
        pub budgets: BudgetsConfig,
    }
}

const DEFAULT_FEATURE_FROM: [&str; 5] = ["feature", "agent.feature", "gen_ai.agent.name", "agent.name", "agent.type"];

/// The checked form of [`Config`].
#[derive(Clone, Debug)]
pub struct Settings {
    config: Config,
    /// Attributes that name the feature; `None` = those that the dialects define.
    pub feature_from: Option<Vec<String>>,
    pub budgets: Arc<[Budget]>,
}

impl Deref for Settings {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

impl Settings {
    /// Iterations at which a run of this feature must stop.
    pub fn ceiling(&self, feature: Option<&str>) -> u64 {
        let own_ceiling = feature.and_then(|feature| self.iteration_ceilings.get(feature));
        u64::from(*own_ceiling.unwrap_or(&self.iteration_ceiling))
    }
}

const MAX_TIMEOUT: Duration = Duration::from_secs(7 * 86_400);
const MAX_RUNS: u32 = 1_000_000;
/// Maximum number of attributes in one list.
const MAX_ATTRIBUTES: usize = 16;

impl Config {
    /// Validates the configuration.
    ///
    /// # Errors
    /// All problems, each with its field.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let (idle_timeout, settle) = (self.idle_timeout.0, self.settle.0);
        if idle_timeout < Duration::from_secs(1) || idle_timeout > MAX_TIMEOUT {
            problems.push(FieldProblem::new("idle_timeout", "must be from 1s to 7d"));
        }
        if settle > idle_timeout {
            problems.push(FieldProblem::new("settle", "must not be longer than `idle_timeout`"));
        }
        if self.max_runs == 0 || self.max_runs > MAX_RUNS {
            problems.push(FieldProblem::new("max_runs", "must be from 1 to 1000000"));
        }
        for (name, list, min_len) in [("feature_from", &self.feature_from, 1), ("measures", &self.measures, 0)] {
            if !(min_len..=MAX_ATTRIBUTES).contains(&list.len()) {
                problems.push(FieldProblem::new(name, format!("must have {min_len} to {MAX_ATTRIBUTES} attributes")));
            }
            for (index, _) in list.iter().enumerate().filter(|(_, key)| key.trim().is_empty()) {
                problems.push(FieldProblem::new(format!("{name}[{index}]"), "must not be empty"));
            }
        }
        if self.iteration_ceiling == 0 || self.iteration_ceilings.values().any(|ceiling| *ceiling == 0) {
            problems.push(FieldProblem::new("iteration_ceiling", "must be at least 1"));
        }
        if self.tool_window.0 < Duration::from_secs(1) || self.tool_window.0 > MAX_TIMEOUT {
            problems.push(FieldProblem::new("tool_window", "must be from 1s to 7d"));
        }
        self.alerts.check(&mut problems);
        let budgets = budgets::config::check(&self.budgets, &mut problems).into();
        if !problems.is_empty() {
            return Err(problems);
        }
        let feature_from = (self.feature_from != DEFAULT_FEATURE_FROM).then(|| self.feature_from.clone());
        Ok(Settings { config: self.clone(), feature_from, budgets })
    }
}
