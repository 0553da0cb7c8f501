//! **What**: what a user writes under `deltatocumulative:` of an exporter; the Collector's keys.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, Span};

/// Sums and histograms of deltas go on as totals since a start, for back ends that take no deltas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A series that nothing came of for so long is forgotten; it begins again at zero.
    pub max_stale: Span,
    /// Most series that are remembered; beyond it the one that was quiet longest is forgotten.
    pub max_streams: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_stale: Span::seconds(300), max_streams: 100_000 }
    }
}

/// The valid form.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// See [`Config::max_stale`].
    pub max_stale: Duration,
    /// See [`Config::max_streams`].
    pub max_streams: usize,
}

impl Config {
    /// Checks it; problems go to `problems`.
    pub fn settings(&self, problems: &mut Vec<FieldProblem>) -> Settings {
        if self.max_stale.0.is_zero() {
            problems.push(FieldProblem::new("deltatocumulative.max_stale", "must be more than zero"));
        }
        if !(1..=10_000_000).contains(&self.max_streams) {
            problems.push(FieldProblem::new("deltatocumulative.max_streams", "must be from 1 to 10000000"));
        }
        Settings { max_stale: self.max_stale.0, max_streams: self.max_streams }
    }
}
