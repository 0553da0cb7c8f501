//! Metric values ([`Counter`], [`Gauge`], [`Histogram`]) and one series as its readers see it ([`MetricSeries`]): the
//! text of `/metrics`, the OTLP export and the pages. Recording takes no lock. `meter` has the series.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// A total that only grows. Clones share the same value.
#[derive(Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
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
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    pub fn increment(&self, value: f64) {
        add_float(&self.0, value);
    }

    pub fn decrement(&self, value: f64) {
        add_float(&self.0, -value);
    }

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
    /// The values at the last two calls of [`Histogram::mark`], the earlier ones first.
    marks: Mutex<[Option<HistogramReading>; 2]>,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(HistogramBuckets { bounds, counts, sum: AtomicU64::new(0), marks: Mutex::default() }))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.counts.iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }

    /// The current values.
    pub fn read(&self) -> HistogramReading {
        HistogramReading {
            bounds: self.0.bounds,
            counts: self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: f64::from_bits(self.0.sum.load(Ordering::Relaxed)),
        }
    }

    /// Begins a new interval of [`Histogram::recent`].
    pub(crate) fn mark(&self) {
        let now = self.read();
        let [earlier, last] = &mut *self.0.marks.lock();
        *earlier = last.replace(now);
    }

    /// The values of the present interval and the one before.
    pub(crate) fn recent(&self) -> HistogramReading {
        let mut reading = self.read();
        if let [Some(earlier), _] = &*self.0.marks.lock() {
            reading.sum -= earlier.sum;
            let counts = reading.counts.iter_mut().zip(&earlier.counts);
            counts.for_each(|(count, earlier)| *count = count.saturating_sub(*earlier));
        }
        reading
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

/// The values of a histogram at one moment.
pub struct HistogramReading {
    /// Upper bounds, ascending.
    pub bounds: &'static [f64],
    /// Observations per bucket (not cumulative); the last bucket has no bound.
    pub counts: Vec<u64>,
    pub sum: f64,
}

impl HistogramReading {
    /// The bound below which the given share of all values lies; infinite in the last bucket. `None` without values.
    pub fn percentile_bound(&self, share: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().sum();
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        (total > 0).then(|| self.bounds.get(bucket).copied().unwrap_or(f64::INFINITY))
    }
}

/// Label names and values, in the order in which `/metrics` writes them.
pub(crate) type SeriesLabels = Vec<(&'static str, String)>;

#[derive(Clone)]
pub enum SeriesValue {
    /// A total that only grows.
    Counter(Counter),
    /// Any other number.
    Gauge(Gauge),
    Histogram(Histogram),
}

pub struct MetricSeries {
    pub(crate) labels: Arc<SeriesLabels>,
    pub value: SeriesValue,
}

impl MetricSeries {
    /// The value of a label; empty if the label is missing.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value)
    }

    /// Label names and values, by name.
    pub fn sorted_labels(&self) -> Vec<(&'static str, &str)> {
        let mut labels: Vec<(&'static str, &str)> = self.labels.iter().map(|(name, value)| (*name, &**value)).collect();
        labels.sort_unstable();
        labels
    }

    /// The value of a histogram.
    pub(crate) fn histogram(&self) -> Option<&Histogram> {
        if let SeriesValue::Histogram(histogram) = &self.value { Some(histogram) } else { None }
    }

    /// The value of a counter or gauge.
    pub fn number(&self) -> Option<f64> {
        match &self.value {
            SeriesValue::Counter(counter) => Some(counter.value() as f64),
            SeriesValue::Gauge(gauge) => Some(gauge.value()),
            SeriesValue::Histogram(_) => None,
        }
    }
}

/// A number as `/metrics` writes it; nothing for a histogram.
impl fmt::Display for SeriesValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counter(counter) => write!(f, "{}", counter.value()),
            Self::Gauge(gauge) => write!(f, "{}", gauge.value()),
            Self::Histogram(_) => Ok(()),
        }
    }
}
