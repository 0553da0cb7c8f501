//! Converts delta metrics to cumulative ones just before one exporter sends them.
//! The exporter does it because totals depend on whether, and in which order, deltas are delivered; pipeline workers
//! know neither.
//! Invariants: a request that is sent again carries the same totals; totals contain only delivered points; the number
//! of series is limited, and evicted series and dropped points are counted; after a restart all series begin again
//! with a new start time. `series` adds two points.

mod config;
mod exponential;
mod series;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;

use kernel::bounded_map::{AccountHash, BoundedMap};
use kernel::clock::Clock;
use kernel::sha256::Sha256;
use otlp::r#gen::opentelemetry::proto;
use telemetry::{Counter, Gauge, Meter, names};

use proto::collector::metrics::v1::ExportMetricsServiceRequest as Request;
use proto::common::v1::KeyValue;
use proto::metrics::v1::AggregationTemporality::{Cumulative as Total, Delta};
use proto::metrics::v1::{Metric, metric};

pub use config::DeltaToCumulativeConfig;
use series::{DeltaPoint, DropReason, MetricSeries};

/// Hash of account, resource, scope, metric and attributes.
type SeriesKey = [u8; 16];

/// The series of one exporter. Clones share the same state.
#[derive(Clone)]
pub struct CumulativeConverter {
    settings: DeltaToCumulativeConfig,
    clock: Arc<dyn Clock>,
    series: Arc<Mutex<SeriesTable>>,
    /// Serialises requests: the next request's totals depend on whether this one is delivered.
    conversion_lock: Arc<tokio::sync::Mutex<()>>,
    metrics: Arc<SeriesMetrics>,
}

struct SeriesMetrics {
    streams: Gauge,
    evicted: Counter,
    older: Counter,
    invalid: Counter,
}

type SeriesTable = BoundedMap<SeriesKey, StoredSeries>;

struct StoredSeries {
    /// Monotonic time of the last update.
    updated_at: Duration,
    series: MetricSeries,
}

/// The series as they will be once the request is delivered.
pub struct PendingTotals {
    account: AccountHash,
    changed: BTreeMap<SeriesKey, MetricSeries>,
    /// Number of points dropped as [`DropReason::Older`] and as [`DropReason::Invalid`].
    dropped: [u64; 2],
}

impl CumulativeConverter {
    /// A converter without any series.
    pub fn new(settings: DeltaToCumulativeConfig, exporter: &str, clock: Arc<dyn Clock>, meter: &Meter) -> Self {
        let labels = [("exporter", exporter)];
        let dropped = |reason| meter.counter(&names::CUMULATIVE_DROPPED, &[("exporter", exporter), ("reason", reason)]);
        let metrics = SeriesMetrics {
            streams: meter.gauge(&names::CUMULATIVE_STREAMS, &labels),
            evicted: meter.counter(&names::CUMULATIVE_EVICTED, &labels),
            older: dropped("older"),
            invalid: dropped("invalid"),
        };
        let series = Arc::new(Mutex::new(SeriesTable::new(settings.max_streams)));
        Self { settings, clock, series, conversion_lock: Arc::default(), metrics: Arc::new(metrics) }
    }

    /// Waits until the previous request has an outcome: delivered, or failed for now.
    pub async fn acquire_turn(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.conversion_lock).lock_owned().await
    }

    /// Replaces the deltas in the request with totals. `None` if the request can't be parsed; it is then sent
    /// unchanged, and the back end rejects it.
    pub fn convert(&self, account: &str, body: &[u8]) -> Option<(Bytes, PendingTotals)> {
        let mut request = Request::decode(body).ok()?;
        let (table, now) = (self.series.lock(), self.clock.monotonic());
        let stale_before = now.saturating_sub(self.settings.max_stale.0);
        let mut conversion = RequestConversion {
            table: &table,
            stale_before: (now >= self.settings.max_stale.0).then_some(stale_before),
            pending: PendingTotals { account: account.into(), changed: BTreeMap::new(), dropped: [0; 2] },
        };
        for resource in &mut request.resource_metrics {
            let resource_attributes =
                encode_attributes(resource.resource.as_ref().map_or(&[][..], |resource| &resource.attributes));
            for scope in &mut resource.scope_metrics {
                let scope_parts = scope.scope.as_ref().map(|scope| {
                    let attributes = encode_attributes(&scope.attributes);
                    [scope.name.as_bytes(), scope.version.as_bytes(), attributes.as_slice()].map(<[u8]>::to_vec)
                });
                let [name, version, scope_attributes] = &scope_parts.unwrap_or_default();
                let key_parts: [&[u8]; 5] = [account.as_bytes(), &resource_attributes, name, version, scope_attributes];
                scope.metrics.retain_mut(|metric| conversion.convert_metric(&key_parts, metric));
            }
            resource.scope_metrics.retain(|scope| !scope.metrics.is_empty());
        }
        request.resource_metrics.retain(|resource| !resource.scope_metrics.is_empty());
        let pending = conversion.pending;
        Some((request.encode_to_vec().into(), pending))
    }

    /// Commits the totals after the back end accepted the points.
    pub fn commit_delivered(&self, pending: PendingTotals) {
        let PendingTotals { account, changed, dropped: [older, invalid] } = pending;
        self.metrics.older.increment(older);
        self.metrics.invalid.increment(invalid);
        let (mut table, now) = (self.series.lock(), self.clock.monotonic());
        table.expire(|_, stored| now.saturating_sub(stored.updated_at) >= self.settings.max_stale.0);
        for (key, series) in changed {
            let evicted = table.insert_for(account, key, StoredSeries { updated_at: now, series }, 1);
            self.metrics.evicted.increment(evicted.len() as u64);
        }
        self.metrics.streams.set(table.len() as f64);
    }
}

struct RequestConversion<'t> {
    table: &'t SeriesTable,
    /// Series last updated at or before this time are stale.
    stale_before: Option<Duration>,
    pending: PendingTotals,
}

impl RequestConversion<'_> {
    /// Converts one metric; false if none of its points remains.
    fn convert_metric(&mut self, key_parts: &[&[u8]; 5], metric: &mut Metric) -> bool {
        let (name, unit) = (metric.name.clone(), metric.unit.clone());
        let mut convert = |kind: &[u8], attributes: &[KeyValue], point: DeltaPoint<'_>| {
            let attributes = encode_attributes(attributes);
            let metric_parts = [name.as_bytes(), unit.as_bytes(), kind, attributes.as_slice()];
            self.convert_point(series_key(key_parts.iter().copied().chain(metric_parts)), point)
        };
        match &mut metric.data {
            Some(metric::Data::Sum(sum)) if sum.aggregation_temporality == Delta as i32 => {
                let (kind, monotonic) = ([b's', u8::from(sum.is_monotonic)], sum.is_monotonic);
                sum.data_points.retain_mut(|point| {
                    let attributes = point.attributes.clone();
                    convert(kind.as_slice(), &attributes, DeltaPoint::Number(point, monotonic))
                });
                sum.aggregation_temporality = Total as i32;
                !sum.data_points.is_empty()
            }
            Some(metric::Data::Histogram(histogram)) if histogram.aggregation_temporality == Delta as i32 => {
                histogram.data_points.retain_mut(|point| {
                    let attributes = point.attributes.clone();
                    convert(b"h".as_slice(), &attributes, DeltaPoint::Histogram(point))
                });
                histogram.aggregation_temporality = Total as i32;
                !histogram.data_points.is_empty()
            }
            Some(metric::Data::ExponentialHistogram(histogram))
                if histogram.aggregation_temporality == Delta as i32 =>
            {
                histogram.data_points.retain_mut(|point| {
                    let attributes = point.attributes.clone();
                    convert(b"e".as_slice(), &attributes, DeltaPoint::Exponential(point))
                });
                histogram.aggregation_temporality = Total as i32;
                !histogram.data_points.is_empty()
            }
            _ => true,
        }
    }

    /// Converts one point to a total; false if the point is dropped.
    fn convert_point(&mut self, key: SeriesKey, point: DeltaPoint<'_>) -> bool {
        let is_fresh = |stored: &&StoredSeries| self.stale_before.is_none_or(|stale| stored.updated_at > stale);
        let stored = self.table.get(&key).filter(is_fresh).map(|stored| &stored.series);
        let before = self.pending.changed.get(&key).or(stored);
        match MetricSeries::add_point(before, point) {
            Ok(series) => {
                self.pending.changed.insert(key, series);
                true
            }
            Err(reason) => {
                let [older, invalid] = &mut self.pending.dropped;
                *match reason {
                    DropReason::Older => older,
                    DropReason::Invalid => invalid,
                } += 1;
                false
            }
        }
    }
}

/// Encodes the attributes sorted by key, because a sender may change their order.
fn encode_attributes(attributes: &[KeyValue]) -> Vec<u8> {
    let mut sorted: Vec<&KeyValue> = attributes.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    sorted.into_iter().flat_map(KeyValue::encode_length_delimited_to_vec).collect()
}

fn series_key<'p>(parts: impl Iterator<Item = &'p [u8]>) -> SeriesKey {
    Sha256::digest_list(parts).first_chunk().copied().unwrap_or_default()
}
