//! The `deltatocumulative:` stanza of an exporter, with the Collector's keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, TimeSpan};

kernel::with_defaults! {
    /// Converts delta sums and histograms to cumulative ones, for back ends that do not accept deltas.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct DeltaToCumulativeConfig {
        /// A series without a data point for this long is dropped; a later point starts it again at zero. Default: 5
        /// minutes.
        pub max_stale: TimeSpan = TimeSpan::seconds(300),
        /// Most series kept. Beyond it, the account with most series loses the one that was quiet longest. Default:
        /// 100000.
        pub max_streams: usize = 100_000,
    }
}

impl DeltaToCumulativeConfig {
    /// Validates the stanza and adds problems to `problems`.
    pub fn check(&self, problems: &mut Vec<FieldProblem>) {
        if self.max_stale.0.is_zero() {
            problems.push(FieldProblem::new("deltatocumulative.max_stale", "must be more than zero"));
        }
        if !(1..=10_000_000).contains(&self.max_streams) {
            problems.push(FieldProblem::new("deltatocumulative.max_streams", "must be from 1 to 10000000"));
        }
    }
}
