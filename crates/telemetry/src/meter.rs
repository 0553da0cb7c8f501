//! [`Meter`]: the registry of all series of the metrics in [`super::names`]. It gives the handles that record values,
//! and the series to their readers ([`Meter::series`]). Label values are owned and limited by the caller; handles that
//! every item needs are created at build time and kept. Readers: `metrics_text` (`/metrics`), the page in `admin`,
//! `moved_keys`, and the OTLP export (`src/app/own_metrics`).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use kernel::clock::UnixNanos;

use super::labels::LabelValues;
use super::names::{MetricDefinition, MetricKind};
use super::series::{Counter, Gauge, Histogram, MetricSeries, SeriesLabels, SeriesValue};

/// The app's metrics recorder. Clones share the same series.
#[derive(Clone, Default)]
pub struct Meter(Arc<MetricRegistry>);

/// Requests look series up while being processed, so looking up an existing one takes only a read lock.
#[derive(Default)]
struct MetricRegistry {
    /// Series by metric name, then by labels.
    families: RwLock<HashMap<&'static str, BTreeMap<Arc<SeriesLabels>, SeriesValue>>>,
    /// When the totals began.
    began: OnceLock<UnixNanos>,
    /// The name of the process whose totals these are.
    instance: OnceLock<String>,
    label_values: Mutex<HashMap<&'static str, Arc<LabelValues>>>,
}

impl Meter {
    /// A meter without any series.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counter with these labels. If `def` is not a counter, the values of the handle are never exported.
    pub fn counter(&self, def: &'static MetricDefinition, labels: &[(&'static str, &str)]) -> Counter {
        match self.value(def, labels) {
            SeriesValue::Counter(counter) => counter,
            _ => Counter::default(),
        }
    }

    /// The gauge with these labels. If `def` is not a gauge, the values of the handle are never exported.
    pub fn gauge(&self, def: &'static MetricDefinition, labels: &[(&'static str, &str)]) -> Gauge {
        match self.value(def, labels) {
            SeriesValue::Gauge(gauge) => gauge,
            _ => Gauge::default(),
        }
    }

    /// The histogram with these labels. If `def` is not a histogram, the values of the handle are never exported.
    pub fn histogram(&self, def: &'static MetricDefinition, labels: &[(&'static str, &str)]) -> Histogram {
        match self.value(def, labels) {
            SeriesValue::Histogram(histogram) => histogram,
            _ => Histogram::new(&[]),
        }
    }

    fn value(&self, def: &'static MetricDefinition, labels: &[(&'static str, &str)]) -> SeriesValue {
        let labels: SeriesLabels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        if let Some(value) = self.0.families.read().get(def.name).and_then(|family| family.get(&labels)) {
            return value.clone();
        }
        let new_value = || match def.kind {
            MetricKind::Counter => SeriesValue::Counter(Counter::default()),
            MetricKind::Gauge | MetricKind::Sum => SeriesValue::Gauge(Gauge::default()),
            MetricKind::Histogram(bounds) => SeriesValue::Histogram(Histogram::new(bounds)),
        };
        let mut families = self.0.families.write();
        families.entry(def.name).or_default().entry(Arc::new(labels)).or_insert_with(new_value).clone()
    }

    /// Removes the series with these labels, because its value is unknown from now on. Handles of it that are still
    /// held export nothing.
    pub fn remove(&self, def: &'static MetricDefinition, labels: &[(&'static str, &str)]) {
        let labels: SeriesLabels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        if let Some(family) = self.0.families.write().get_mut(def.name) {
            family.remove(&labels);
        }
    }

    /// Removes every series of a metric, as [`Meter::remove`] does.
    pub fn clear(&self, def: &'static MetricDefinition) {
        self.0.families.write().remove(def.name);
    }

    /// The series of a metric in the order of their labels, without empty histograms. The lock is held only while the
    /// handles are copied, so that a reader of many series blocks no one.
    pub fn series(&self, def: &MetricDefinition) -> Vec<MetricSeries> {
        let is_empty = |value: &SeriesValue| matches!(value, SeriesValue::Histogram(histogram) if histogram.is_empty());
        let families = self.0.families.read();
        let family = families.get(def.name).into_iter().flatten().filter(|(_, value)| !is_empty(value));
        family.map(|(labels, value)| MetricSeries { labels: Arc::clone(labels), value: value.clone() }).collect()
    }

    /// The current value of each series of a counter or gauge.
    pub fn values(&self, def: &MetricDefinition) -> Vec<f64> {
        self.series(def).iter().filter_map(MetricSeries::number).collect()
    }

    /// When the totals began: the `now` of the first call.
    pub fn began(&self, now: UnixNanos) -> UnixNanos {
        *self.0.began.get_or_init(|| now)
    }

    /// The instance name of these totals: the result of `make_name` in the first call. Totals continue across reloads,
    /// and so must the name: under a second name they would count twice.
    pub fn instance(&self, make_name: impl FnOnce() -> String) -> &str {
        self.0.instance.get_or_init(make_name)
    }

    /// The values of a label that comes from telemetry, shared by all users of the label.
    pub fn label(&self, name: &'static str) -> Arc<LabelValues> {
        Arc::clone(self.0.label_values.lock().entry(name).or_default())
    }
}
