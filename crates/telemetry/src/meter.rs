//! **What**: [`Meter`]: gives the handles of the metrics of [`super::names`]. **Invariants**: label values are owned by
//! the caller and bounded; handles that every item needs are made at build time and kept. **Not here**: values and
//! their text (`series`), the HTTP answer (`admin`).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use kernel::clock::UnixNanos;

use super::labels::Values;
use super::names::Def;
use super::series::{Counter, Gauge, Histogram, Registry};

/// The app's recorder. Clones share it.
#[derive(Clone, Default)]
pub struct Meter {
    registry: Arc<Registry>,
    /// When its totals began.
    began: Arc<OnceLock<UnixNanos>>,
    /// Whose totals they are.
    instance: Arc<OnceLock<String>>,
    values: Arc<Mutex<HashMap<&'static str, Arc<Values>>>>,
}

impl Meter {
    /// Without any series.
    pub fn new() -> Self {
        Self::default()
    }

    /// A counter handle.
    pub fn counter(&self, def: &'static Def, labels: &[(&'static str, &str)]) -> Counter {
        self.registry.counter(def, labels)
    }

    /// A gauge handle.
    pub fn gauge(&self, def: &'static Def, labels: &[(&'static str, &str)]) -> Gauge {
        self.registry.gauge(def, labels)
    }

    /// A histogram handle.
    pub fn histogram(&self, def: &'static Def, labels: &[(&'static str, &str)]) -> Histogram {
        self.registry.histogram(def, labels)
    }

    /// The value of each series of a counter or gauge.
    pub fn values(&self, def: &Def) -> Vec<f64> {
        self.registry.values(def)
    }

    /// When its totals began: `now`, the first time it is asked.
    pub fn began(&self, now: UnixNanos) -> UnixNanos {
        *self.began.get_or_init(|| now)
    }

    /// The name of who has these totals: what `made` gives, the first time it is asked. Totals go on over reloads, and
    /// so must it: under a second name they would count twice.
    pub fn instance(&self, made: impl FnOnce() -> String) -> &str {
        self.instance.get_or_init(made)
    }

    /// The values of a label that comes from telemetry: one for all who use the label, as long as the series live.
    pub fn label(&self, name: &'static str) -> Arc<Values> {
        Arc::clone(self.values.lock().entry(name).or_default())
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        self.registry.render()
    }
}
