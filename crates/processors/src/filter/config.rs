//! **What**: the `filter` stanza: which items go, and by which rule. **Invariants**: a rule without a condition is
//! refused: it would drop everything. **Not here**: looking at items (`matching`), noise of known clients (`presets`).

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;
use otlp::Signal;

use super::presets::Preset;

/// Drops spans, log records and data points before they are sent; vault, cost and runs have seen them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Noise of clients known by name: `codex`, `opencode`. Errors and what holds tokens or tool calls stay.
    pub presets: Vec<Preset>,
    /// Rules; an item goes when all conditions of one of them hold.
    pub drop: Vec<Rule>,
    /// Keeps a part of all traces, each whole, with its logs.
    pub sampling: Option<Sampling>,
}

/// When an item goes. Patterns: `*` stands for any characters; one of a list is enough.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Its name in metrics.
    pub name: String,
    /// `traces`, `logs`, `metrics`; all without this key.
    pub signals: Vec<SignalName>,
    /// Patterns of span names, event names, metric names.
    pub names: Vec<String>,
    /// Patterns of the instrumentation scope's name.
    pub scopes: Vec<String>,
    /// Attributes that the item has, and patterns of their values.
    pub attributes: BTreeMap<String, String>,
    /// The same of its resource.
    pub resource: BTreeMap<String, String>,
    /// Patterns of keys of attributes that it has not.
    pub without: Vec<String>,
    /// Log records less severe than this (`warn`: info and below).
    pub severity_below: Option<Severity>,
    /// Also spans with error status and log records of severity error.
    pub errors_too: bool,
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

/// Severity of log records, OpenTelemetry's ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// 5 and more.
    Debug,
    /// 9 and more.
    Info,
    /// 13 and more.
    Warn,
    /// 17 and more.
    Error,
    /// 21 and more.
    Fatal,
}

/// Keeps a part of all traces, each whole: what is kept hangs on the trace id alone, so that gateways agree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// From 0 (none) to 1 (all). What is kept says it: `tollgate.sample.ratio`.
    pub ratio: f64,
}

/// The valid form.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Rules, presets' last.
    pub rules: Vec<Rule>,
    /// The part of traces that is kept.
    pub ratio: Option<f64>,
}

/// The label of what sampling drops.
pub const SAMPLED: &str = "sampling";

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
    /// The least number of its range.
    pub fn number(self) -> i32 {
        match self {
            Self::Debug => 5,
            Self::Info => 9,
            Self::Warn => 13,
            Self::Error => 17,
            Self::Fatal => 21,
        }
    }
}

impl Rule {
    /// Whether it speaks of `signal`.
    pub fn of(&self, signal: Signal) -> bool {
        self.signals.is_empty() || self.signals.iter().any(|named| named.signal() == signal)
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

impl Config {
    /// Checks it.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        let (mut problems, mut seen) = (Vec::new(), BTreeSet::new());
        let mut rules = Vec::new();
        for (at, rule) in self.drop.iter().enumerate() {
            let mut problem =
                |key: &str, what: &str| problems.push(FieldProblem::new(format!("drop[{at}]{key}"), what));
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            if rule.name.is_empty() || rule.name.len() > 64 || !rule.name.bytes().all(plain) {
                problem(".name", "is 1 to 64 letters, digits, `.`, `_` and `-`: drops are counted under it");
            } else if rule.name == SAMPLED || !seen.insert(rule.name.as_str()) {
                problem(".name", "is taken");
            }
            if rule.is_empty() {
                problem("", "has no condition: it would drop everything");
            }
            if rule.severity_below.is_some() && !rule.of(Signal::Logs) {
                problem(".severity_below", "is of log records, which `signals` leaves out");
            }
            rules.push(rule.clone());
        }
        if self.sampling.is_some_and(|sampling| !(0.0..=1.0).contains(&sampling.ratio)) {
            problems.push(FieldProblem::new("sampling.ratio", "is from 0 to 1"));
        }
        if self.drop.is_empty() && self.presets.is_empty() && self.sampling.is_none() {
            problems.push(FieldProblem::new("", "drops nothing: give `presets`, `drop` or `sampling`"));
        }
        rules.extend(self.presets.iter().flat_map(|preset| preset.rules()));
        let ratio = self.sampling.map(|sampling| sampling.ratio).filter(|ratio| *ratio < 1.0);
        if problems.is_empty() { Ok(Settings { rules, ratio }) } else { Err(problems) }
    }
}
