//! Metric values ([`Counter`], [`Gauge`], [`Histogram`]) and their text for `/metrics` ([`MetricRegistry::render`]).
//! The admin page and the OTLP export parse that text, so that all three show the same values. Recording takes no lock.
//! Metric names are written unescaped (a test of `names` checks them), label names are literals in the code, and
//! metrics appear in the order of `names::ALL`. `names` defines the metrics.
//!
//! Source: Prometheus text exposition format 0.0.4.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::names::{ALL, MetricDefinition, MetricKind};

/// A total that only grows. Clones share the same value.
#[derive(Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds `value`.
    pub fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    /// The current total.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that goes up and down, stored as the bits of an `f64`. Clones share the same value.
#[derive(Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds `value`.
    pub fn increment(&self, value: f64) {
        add_float(&self.0, value);
    }

    /// Subtracts `value`.
    pub fn decrement(&self, value: f64) {
        add_float(&self.0, -value);
    }

    /// The current value.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

fn add_float(cell: &AtomicU64, value: f64) {
    let add = |bits: u64| Some((f64::from_bits(bits) + value).to_bits());
    let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
}

/// A distribution over fixed bucket bounds. Clones share the same value.
#[derive(Clone)]
pub struct Histogram(Arc<HistogramBuckets>);

struct HistogramBuckets {
    /// Upper bounds, ascending.
    bounds: &'static [f64],
    /// Observations per bucket (not cumulative); the last bucket is `+Inf`.
    counts: Vec<AtomicU64>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(HistogramBuckets { bounds, counts, sum: AtomicU64::new(0) }))
    }

    fn is_empty(&self) -> bool {
        self.0.counts.iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }

    /// Records `value`. NaN is ignored, because it would make the sum NaN for good.
    pub fn record(&self, value: f64) {
        if value.is_nan() {
            return;
        }
        let bucket = self.0.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.0.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
            add_float(&self.0.sum, value);
        }
    }
}

/// Label names and values, in the order in which they are written.
type SeriesLabels = Vec<(&'static str, String)>;

#[derive(Clone)]
enum SeriesValue {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// All series. Requests look them up while being processed, so looking up an existing series takes only a read lock.
#[derive(Default)]
pub(crate) struct MetricRegistry {
    /// Series by metric name, then by labels.
    families: RwLock<HashMap<&'static str, BTreeMap<Arc<SeriesLabels>, SeriesValue>>>,
}

impl MetricRegistry {
    /// The counter with these labels. If `def` is not a counter, the values of the handle are never exported.
    pub(crate) fn counter(&self, def: &'static MetricDefinition, labels: &[(&'static str, &str)]) -> Counter {
        self.with_series(def, labels, |cell| match cell {
            SeriesValue::Counter(counter) => Some(counter.clone()),
            _ => None,
        })
        .unwrap_or_default()
    }

    /// The gauge with these labels. If `def` is not a gauge, the values of the handle are never exported.
    pub(crate) fn gauge(&self, def: &'static MetricDefinition, labels: &[(&'static str, &str)]) -> Gauge {
        self.with_series(def, labels, |cell| match cell {
            SeriesValue::Gauge(gauge) => Some(gauge.clone()),
            _ => None,
        })
        .unwrap_or_default()
    }

    /// The histogram with these labels. If `def` is not a histogram, the values of the handle are never exported.
    pub(crate) fn histogram(&self, def: &'static MetricDefinition, labels: &[(&'static str, &str)]) -> Histogram {
        self.with_series(def, labels, |cell| match cell {
            SeriesValue::Histogram(histogram) => Some(histogram.clone()),
            _ => None,
        })
        .unwrap_or_else(|| Histogram::new(&[]))
    }

    fn with_series<T>(
        &self,
        def: &'static MetricDefinition,
        labels: &[(&'static str, &str)],
        read: impl FnOnce(&SeriesValue) -> T,
    ) -> T {
        let labels: SeriesLabels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        if let Some(cell) = self.families.read().get(def.name).and_then(|family| family.get(&labels)) {
            return read(cell);
        }
        let new_series = || match def.kind {
            MetricKind::Counter => SeriesValue::Counter(Counter::default()),
            MetricKind::Gauge | MetricKind::Sum => SeriesValue::Gauge(Gauge::default()),
            MetricKind::Histogram(bounds) => SeriesValue::Histogram(Histogram::new(bounds)),
        };
        read(self.families.write().entry(def.name).or_default().entry(Arc::new(labels)).or_insert_with(new_series))
    }

    /// The current value of each series of a counter or gauge.
    pub(crate) fn values(&self, def: &MetricDefinition) -> Vec<f64> {
        let families = self.families.read();
        let cells = families.get(def.name).into_iter().flat_map(BTreeMap::values);
        cells
            .filter_map(|cell| match cell {
                SeriesValue::Counter(counter) => Some(counter.value() as f64),
                SeriesValue::Gauge(gauge) => Some(gauge.value()),
                SeriesValue::Histogram(_) => None,
            })
            .collect()
    }

    /// The series of a metric, without empty histograms.
    fn filled_series(&self, def: &MetricDefinition) -> Vec<(Arc<SeriesLabels>, SeriesValue)> {
        let families = self.families.read();
        let cells = families.get(def.name).into_iter().flatten();
        let filled =
            cells.filter(|(_, cell)| !matches!(cell, SeriesValue::Histogram(histogram) if histogram.is_empty()));
        filled.map(|(labels, cell)| (Arc::clone(labels), cell.clone())).collect()
    }

    /// The text of `/metrics`. The lock is held only while the cells are copied, so that formatting a long text blocks
    /// no one.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        for def in ALL {
            let family = self.filled_series(def);
            if family.is_empty() {
                continue;
            }
            let kind = match def.kind {
                MetricKind::Counter | MetricKind::Sum => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram(_) => "histogram",
            };
            let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {kind}", def.name, escape_text(def.help, false), def.name);
            for (labels, cell) in &family {
                match cell {
                    SeriesValue::Counter(counter) => write_line(&mut text, def.name, "", labels, None, counter.value()),
                    SeriesValue::Gauge(gauge) => write_line(&mut text, def.name, "", labels, None, gauge.value()),
                    SeriesValue::Histogram(Histogram(buckets)) => write_histogram(&mut text, def.name, labels, buckets),
                }
            }
            text.push('\n');
        }
        text
    }
}

fn write_histogram(text: &mut String, name: &str, labels: &SeriesLabels, buckets: &HistogramBuckets) {
    let mut cumulative = 0;
    let bounds = buckets.bounds.iter().map(f64::to_string).chain(std::iter::once("+Inf".to_owned()));
    for (bound, count) in bounds.zip(&buckets.counts) {
        cumulative += count.load(Ordering::Relaxed);
        write_line(text, name, "_bucket", labels, Some(&bound), cumulative);
    }
    write_line(text, name, "_sum", labels, None, f64::from_bits(buckets.sum.load(Ordering::Relaxed)));
    write_line(text, name, "_count", labels, None, cumulative);
}

fn write_line(
    text: &mut String,
    name: &str,
    suffix: &str,
    labels: &SeriesLabels,
    bound: Option<&str>,
    value: impl std::fmt::Display,
) {
    let _ = write!(text, "{name}{suffix}");
    let mut separator = '{';
    let labels = labels.iter().map(|(name, value)| (*name, value.as_str())).chain(bound.map(|bound| ("le", bound)));
    for (name, value) in labels {
        let _ = write!(text, "{separator}{name}=\"{}\"", escape_text(value, true));
        separator = ',';
    }
    let end = if separator == ',' { "}" } else { "" };
    let _ = writeln!(text, "{end} {value}");
}

/// Escapes `\` and newline, and `"` in label values, as the exposition format requires.
fn escape_text(text: &str, is_label_value: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if is_label_value => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests;
