//! The OTLP signals. Profiles are not supported (development status).

use serde::{Deserialize, Serialize};

/// An OTLP signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metric data points.
    Metrics,
    /// Log records and events.
    Logs,
}

impl Signal {
    /// All signals, in the order of the specification.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// `traces`, `metrics` or `logs`, as in pipeline ids and URL paths.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// The signal with this name, as [`Signal::as_str`] writes it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.as_str() == name)
    }

    /// The Collector's noun for items in metric names: `spans`, `metric_points`, `log_records`.
    pub fn item_noun(self) -> &'static str {
        match self {
            Self::Traces => "spans",
            Self::Metrics => "metric_points",
            Self::Logs => "log_records",
        }
    }

    /// A number of items in words: `1 span`, `2 log records`.
    pub fn format_count(self, items: u64) -> String {
        let plural = self.item_noun().replace('_', " ");
        let singular = plural.strip_suffix('s').unwrap_or(&plural);
        format!("{items} {}", if items == 1 { singular } else { &plural })
    }
}
