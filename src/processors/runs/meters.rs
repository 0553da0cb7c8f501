//! **What**: [`Meters`]: runs and sessions that are over, as metrics under the users' names. **Invariants**: labels are
//! tenants, features, models and tools, each capped; never an id of a run, session or user.
//! **Not here**: when something is over (`state`).

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::telemetry::{Counter, Gauge, Meter, names};

use super::state::Recorder;
use super::view::{RunView, SessionView};

/// Values that one label takes.
const VALUES: usize = 200;
const OTHER: &str = "other";
const UNATTRIBUTED: &str = "unattributed";
const NANOS: f64 = 1e9;
const ATTO: f64 = 1e18;

/// Longest label, bytes.
const LONGEST: usize = 128;

/// Text of telemetry may be a label only if it looks like a name: a mail address or a sentence does not.
fn is_name(text: &str) -> bool {
    text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte))
}

/// The values of a label that were seen.
#[derive(Default)]
struct Values(Mutex<HashSet<String>>);

impl Values {
    fn value<'a>(&self, text: Option<&'a str>) -> &'a str {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return UNATTRIBUTED };
        if !is_name(text) {
            return OTHER;
        }
        let mut seen = self.0.lock();
        if seen.contains(text) {
            return text;
        }
        if seen.len() >= VALUES {
            return OTHER;
        }
        seen.insert(text.to_owned());
        text
    }
}

/// See the module.
pub(super) struct Meters {
    meter: Meter,
    tenants: Values,
    features: Values,
    models: Values,
    tools: Values,
    pub(super) live: Gauge,
    evicted: Counter,
}

impl Meters {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            meter: meter.clone(),
            tenants: Values::default(),
            features: Values::default(),
            models: Values::default(),
            tools: Values::default(),
            live: meter.gauge(&names::RUNS_LIVE, &[]),
            evicted: meter.counter(&names::RUNS_EVICTED, &[]),
        }
    }
}

impl Recorder for Meters {
    fn run(&self, run: &RunView) {
        let meter = &self.meter;
        let (tenant, feature) =
            (self.tenants.value(run.tenant.as_deref()), self.features.value(run.feature.as_deref()));
        let labels = [("tenant", tenant), ("feature", feature)];
        meter.histogram(&names::RUN_ITERATIONS, &labels).record(run.totals.iterations as f64);
        meter.histogram(&names::RUN_DURATION, &labels).record(run.duration as f64 / NANOS);
        meter.histogram(&names::RUN_COST, &labels).record(usd(run.totals.atto_usd()));
        for (name, model) in &run.totals.models {
            let labels = [("model", self.models.value(Some(name)))];
            let input = super::tally::input(&model.tokens);
            meter.histogram(&names::TURN_INPUT_TOKENS, &labels).record(input as f64);
            meter.histogram(&names::TURN_OUTPUT_TOKENS, &labels).record(model.tokens.output as f64);
        }
    }

    fn session(&self, session: &SessionView) {
        let (meter, totals) = (&self.meter, &session.totals);
        let tenant = self.tenants.value(session.tenant.as_deref());
        let feature = self.features.value(session.feature.as_deref());
        let model = self.models.value(totals.main_model());
        let by_feature = [("feature", feature)];
        let duration = meter.histogram(&names::SESSION_DURATION, &[("feature", feature), ("model", model)]);
        duration.record(session.duration as f64 / NANOS);
        meter.histogram(&names::SESSION_LLM_CALLS, &by_feature).record(totals.calls() as f64);
        for (name, tool) in &totals.tools {
            let labels = [("feature", feature), ("tool_name", self.tools.value(Some(name)))];
            let calls = tool.ok + tool.failed + tool.denied;
            meter.histogram(&names::SESSION_TOOL_CALLS, &labels).record(calls as f64);
        }
        let cost = meter.histogram(&names::SESSION_COST, &[("feature", feature), ("tenant", tenant)]);
        cost.record(usd(totals.atto_usd()));
        meter.counter(&names::SESSIONS, &by_feature).increment(1);
        meter.counter(&names::SESSION_ERRORS, &by_feature).increment(u64::from(session.failed));
    }

    fn evicted(&self, runs: u64) {
        self.evicted.increment(runs);
    }
}

/// For a histogram; sums that have to be exact are taken from the views.
pub(super) fn usd(atto: i128) -> f64 {
    atto as f64 / ATTO
}
