//! Configuration of the `filter` processor. A rule without a condition is refused, because it would drop everything.
//! Conditions are evaluated in `matching`; `config/filter_presets.yaml` has the rules of the presets.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, Problem, load};
use otlp::Signal;

static PRESETS: &str = include_str!("../../../../config/filter_presets.yaml");
/// Attribute keys that concern an agent: an item that has one is never a preset's noise.
const AGENT_KEY_PATTERNS: [&str; 7] =
    ["gen_ai.*", "tool_name", "tool.*", "ai.*", "*token_count", "*_tokens", "tollgate.cost.*"];

/// Drops spans, log records and data points before export; vault, cost and runs have already seen them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilterConfig {
    /// Drops the known noise of these clients: `codex`, `opencode`. Errors and items with tokens or tool calls are
    /// kept.
    pub presets: Vec<FilterPreset>,
    /// Rules for dropping items. An item is dropped if all conditions of one rule match.
    pub drop: Vec<FilterRule>,
    /// Keeps a share of all traces, each with all its spans and logs.
    pub sampling: Option<Sampling>,
}

/// A client whose noise is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FilterPreset {
    /// OpenAI's Codex CLI (0.14x): spans of its own files, settings and tool lists, and an event for each piece of a
    /// stream.
    Codex,
    /// OpenCode (1.x): spans of its own database, files and state.
    Opencode,
}

/// Conditions under which an item is dropped. In patterns `*` matches any characters; in a list one match is enough.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilterRule {
    /// Name of the rule in metrics.
    pub name: String,
    /// Signals that the rule applies to: `traces`, `logs`, `metrics`. Default: all.
    pub signals: Vec<SignalName>,
    /// Patterns for the span name, event name or metric name.
    pub names: Vec<String>,
    /// Patterns for the name of the instrumentation scope.
    pub scopes: Vec<String>,
    /// Attributes that the item must have, with a pattern for each value.
    pub attributes: BTreeMap<String, String>,
    /// Attributes that the item's resource must have, with a pattern for each value.
    pub resource: BTreeMap<String, String>,
    /// Key patterns: the rule applies only to items without any matching attribute.
    pub without: Vec<String>,
    /// Matches log records below this severity (`warn` matches info and below).
    pub severity_below: Option<Severity>,
    /// Also drops spans with error status and log records of severity error or above. Without it the rule keeps them.
    pub include_errors: bool,
}

/// A signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SignalName {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Data points.
    Metrics,
}

/// Severity of log records; the numbers are OpenTelemetry's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// 5 and above.
    Debug = 5,
    /// 9 and above.
    Info = 9,
    /// 13 and above.
    Warn = 13,
    /// 17 and above.
    Error = 17,
    /// 21 and above.
    Fatal = 21,
}

/// Keeps a share of all traces, each as a whole. The decision depends only on the trace id, so all gateways decide
/// alike.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Share of traces to keep, from 0 (none) to 1 (all). Kept items carry it as `tollgate.sample.ratio`.
    pub ratio: f64,
}

/// The checked configuration.
#[derive(Clone, Debug, Default)]
pub struct FilterSettings {
    /// The rules, with those of presets last.
    pub rules: Vec<FilterRule>,
    /// The share of traces to keep.
    pub ratio: Option<f64>,
}

/// Rule label for items dropped by sampling.
pub const SAMPLING_RULE: &str = "sampling";

impl SignalName {
    fn signal(self) -> Signal {
        match self {
            Self::Traces => Signal::Traces,
            Self::Logs => Signal::Logs,
            Self::Metrics => Signal::Metrics,
        }
    }
}

impl Severity {
    /// The lowest severity number of the range.
    pub fn number(self) -> i32 {
        self as i32
    }
}

impl FilterRule {
    /// Returns true if the rule applies to `signal`.
    pub fn applies_to(&self, signal: Signal) -> bool {
        self.signals.is_empty() || self.signals.iter().any(|name| name.signal() == signal)
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty()
            && self.scopes.is_empty()
            && self.attributes.is_empty()
            && self.resource.is_empty()
            && self.without.is_empty()
            && self.severity_below.is_none()
    }
}

impl FilterConfig {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<FilterSettings, Vec<FieldProblem>> {
        let (mut problems, mut names) = (Vec::new(), BTreeSet::new());
        let mut rules = Vec::new();
        for (index, rule) in self.drop.iter().enumerate() {
            let mut add_problem =
                |key: &str, what: &str| problems.push(FieldProblem::new(format!("drop[{index}]{key}"), what));
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            if rule.name.is_empty() || rule.name.len() > 64 || !rule.name.bytes().all(is_allowed) {
                add_problem(".name", "must be 1 to 64 letters, digits, `.`, `_` or `-`; it labels the rule in metrics");
            } else if rule.name == SAMPLING_RULE || !names.insert(rule.name.as_str()) {
                add_problem(".name", "is used by another rule, or is the reserved name `sampling`");
            }
            if rule.is_empty() {
                add_problem("", "needs at least one condition; without one it would drop everything");
            }
            if rule.severity_below.is_some() && !rule.applies_to(Signal::Logs) {
                add_problem(".severity_below", "applies only to log records; add `logs` to `signals`");
            }
            rules.push(rule.clone());
        }
        if self.sampling.is_some_and(|sampling| !(0.0..=1.0).contains(&sampling.ratio)) {
            problems.push(FieldProblem::new("sampling.ratio", "must be from 0 to 1"));
        }
        if self.drop.is_empty() && self.presets.is_empty() && self.sampling.is_none() {
            problems.push(FieldProblem::new("", "would drop nothing; set `presets`, `drop` or `sampling`"));
        }
        match (!self.presets.is_empty()).then(|| self.preset_rules()).transpose() {
            Ok(of_presets) => rules.extend(of_presets.into_iter().flatten()),
            Err(problem) => problems.push(FieldProblem::new("presets", problem.to_string())),
        }
        let ratio = self.sampling.map(|sampling| sampling.ratio).filter(|ratio| *ratio < 1.0);
        if problems.is_empty() { Ok(FilterSettings { rules, ratio }) } else { Err(problems) }
    }

    fn preset_rules(&self) -> Result<Vec<FilterRule>, Problem> {
        let known: BTreeMap<FilterPreset, Vec<FilterRule>> = load::parse_data("filter_presets.yaml", PRESETS)?;
        let rules = self.presets.iter().filter_map(|preset| known.get(preset)).flatten();
        let without = AGENT_KEY_PATTERNS.map(str::to_owned);
        Ok(rules.map(|rule| FilterRule { without: without.to_vec(), ..rule.clone() }).collect())
    }
}
