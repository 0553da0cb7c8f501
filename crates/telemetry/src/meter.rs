//! [`Meter`]: gives the handles of the metrics in [`super::names`]. Label values are owned and limited by the caller;
//! handles that every item needs are created at build time and kept. `series` has the values and their text, `admin`
//! the HTTP response.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use kernel::clock::UnixNanos;

use super::labels::LabelValues;
use super::names::MetricDefinition;
use super::series::{Counter, Gauge, Histogram, MetricRegistry};

/// The app's metrics recorder. Clones share the same series.
#[derive(Clone, Default)]
pub struct Meter {
    registry: Arc<MetricRegistry>,
    /// When the totals began.
    began: Arc<OnceLock<UnixNanos>>,
    /// The name of the process whose totals these are.
    instance: Arc<OnceLock<String>>,
    label_values: Arc<Mutex<HashMap<&'static str, Arc<LabelValues>>>>,
}

impl Meter {
    /// A meter without any series.
    pub fn new() -> Self {
        Self::default()
    }

    /// The handle of a counter.
    pub fn counter(&self, def: &'static MetricDefinition, labels: &[(&'static str, &str)]) -> Counter {
        self.registry.counter(def, labels)
    }

    /// The handle of a gauge.
    pub fn gauge(&self, def: &'static MetricDefinition, labels: &[(&'static str, &str)]) -> Gauge {
        self.registry.gauge(def, labels)
    }

    /// The handle of a histogram.
    pub fn histogram(&self, def: &'static MetricDefinition, labels: &[(&'static str, &str)]) -> Histogram {
        self.registry.histogram(def, labels)
    }

    /// The current value of each series of a counter or gauge.
    pub fn values(&self, def: &MetricDefinition) -> Vec<f64> {
        self.registry.values(def)
    }

    /// When the totals began: the `now` of the first call.
    pub fn began(&self, now: UnixNanos) -> UnixNanos {
        *self.began.get_or_init(|| now)
    }

    /// The instance name of these totals: the result of `make_name` in the first call. Totals continue across reloads,
    /// and so must the name: under a second name they would count twice.
    pub fn instance(&self, make_name: impl FnOnce() -> String) -> &str {
        self.instance.get_or_init(make_name)
    }

    /// The values of a label that comes from telemetry, shared by all users of the label.
    pub fn label(&self, name: &'static str) -> Arc<LabelValues> {
        Arc::clone(self.label_values.lock().entry(name).or_default())
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        self.registry.render()
    }
}
