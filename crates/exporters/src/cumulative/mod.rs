//! Converts delta metrics to cumulative ones just before one exporter sends them.
//! The conversion happens in the exporter because totals depend on the order in which deltas are delivered, and on
//! whether they were delivered; pipeline workers know neither.
//! Invariants: a request that is sent again carries the same totals; totals contain only delivered points; the number
//! of series is limited, and evicted series and dropped points are counted; after a restart all series begin again
//! with a new start time. `stream` adds two points.

mod config;
mod exponential;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use sha2::{Digest, Sha256};

use kernel::clock::Clock;
use otlp::r#gen::opentelemetry::proto;
use telemetry::{Counter, Gauge, Meter, names};

use proto::collector::metrics::v1::ExportMetricsServiceRequest as Request;
use proto::common::v1::KeyValue;
use proto::metrics::v1::AggregationTemporality::{Cumulative as Total, Delta};
use proto::metrics::v1::{Metric, metric};

pub use config::{Config, Settings};
use stream::{Dropped, Point, Stream};

/// Hash of account, resource, scope, metric and attributes.
type Key = [u8; 16];

/// The series of one exporter. Clones share the same state.
#[derive(Clone)]
pub struct Cumulative {
    settings: Settings,
    clock: Arc<dyn Clock>,
    known: Arc<Mutex<Known>>,
    /// Serialises requests: the next request's totals depend on whether this one is delivered.
    turn: Arc<tokio::sync::Mutex<()>>,
    counts: Arc<Counts>,
}

struct Counts {
    streams: Gauge,
    evicted: Counter,
    older: Counter,
    invalid: Counter,
}

/// The series, and the order in which they were last updated.
#[derive(Default)]
struct Known {
    streams: HashMap<Key, (u64, Duration, Stream)>,
    by_age: BTreeMap<u64, Key>,
    touches: u64,
}

/// The series as they will be once the request is delivered.
pub struct Pending {
    changed: HashMap<Key, Stream>,
    /// Number of dropped points: older than the series' last point, invalid.
    dropped: [u64; 2],
}

/// The lock that lets one request at a time be converted and sent.
pub type Turn = tokio::sync::OwnedMutexGuard<()>;

impl Cumulative {
    /// Starts without any series.
    pub fn new(settings: Settings, exporter: &str, clock: Arc<dyn Clock>, meter: &Meter) -> Self {
        let labels = [("exporter", exporter)];
        let dropped = |reason| meter.counter(&names::CUMULATIVE_DROPPED, &[("exporter", exporter), ("reason", reason)]);
        let counts = Counts {
            streams: meter.gauge(&names::CUMULATIVE_STREAMS, &labels),
            evicted: meter.counter(&names::CUMULATIVE_EVICTED, &labels),
            older: dropped("older"),
            invalid: dropped("invalid"),
        };
        Self { settings, clock, known: Arc::default(), turn: Arc::default(), counts: Arc::new(counts) }
    }

    /// Waits until the previous request has an outcome: delivered, or failed for now.
    pub async fn turn(&self) -> Turn {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// Replaces the deltas in the request with totals. `None` if the request can't be parsed; it is then sent
    /// unchanged, and the back end rejects it.
    pub fn convert(&self, account: &str, body: &[u8]) -> Option<(Bytes, Pending)> {
        let mut request = Request::decode(body).ok()?;
        let (known, now) = (self.known.lock(), self.clock.monotonic());
        let fresh = now.saturating_sub(self.settings.max_stale);
        let mut work =
            Work { known: &known, fresh: (now >= self.settings.max_stale).then_some(fresh), pending: Pending::new() };
        for resource in &mut request.resource_metrics {
            let about = attributes(resource.resource.as_ref().map_or(&[][..], |resource| &resource.attributes));
            for scope in &mut resource.scope_metrics {
                let named = scope.scope.as_ref().map(|scope| {
                    let attributes = attributes(&scope.attributes);
                    [scope.name.as_bytes(), scope.version.as_bytes(), attributes.as_slice()].map(<[u8]>::to_vec)
                });
                let named = named.unwrap_or_default();
                let [name, version, scoped] = &named;
                let place: [&[u8]; 5] = [account.as_bytes(), &about, name, version, scoped];
                scope.metrics.retain_mut(|metric| work.metric(&place, metric));
            }
            resource.scope_metrics.retain(|scope| !scope.metrics.is_empty());
        }
        request.resource_metrics.retain(|resource| !resource.scope_metrics.is_empty());
        let pending = work.pending;
        Some((request.encode_to_vec().into(), pending))
    }

    /// Commits the totals after the back end accepted the points.
    pub fn delivered(&self, pending: Pending) {
        let Pending { changed, dropped: [older, invalid] } = pending;
        self.counts.older.increment(older);
        self.counts.invalid.increment(invalid);
        let (mut known, now) = (self.known.lock(), self.clock.monotonic());
        for (key, stream) in changed {
            known.put(key, now, stream);
        }
        let evicted = known.forget(now, self.settings);
        self.counts.evicted.increment(evicted);
        self.counts.streams.set(known.streams.len() as f64);
    }
}

impl Pending {
    fn new() -> Self {
        Self { changed: HashMap::new(), dropped: [0; 2] }
    }
}

impl Known {
    fn put(&mut self, key: Key, now: Duration, stream: Stream) {
        self.touches += 1;
        if let Some((before, ..)) = self.streams.insert(key, (self.touches, now, stream)) {
            self.by_age.remove(&before);
        }
        self.by_age.insert(self.touches, key);
    }

    /// Removes stale series and those above the limit; returns how many exceeded the limit.
    fn forget(&mut self, now: Duration, settings: Settings) -> u64 {
        let mut evicted = 0;
        while let Some((touched, key)) = self.by_age.first_key_value().map(|(touched, key)| (*touched, *key)) {
            let at = self.streams.get(&key).map_or(Duration::ZERO, |(_, at, _)| *at);
            let too_many = self.streams.len() > settings.max_streams;
            if !too_many && now.saturating_sub(at) < settings.max_stale {
                break;
            }
            evicted += u64::from(too_many);
            self.by_age.remove(&touched);
            self.streams.remove(&key);
        }
        evicted
    }
}

/// The conversion of one request.
struct Work<'k> {
    known: &'k Known,
    /// Series last updated at or before this time are stale.
    fresh: Option<Duration>,
    pending: Pending,
}

impl Work<'_> {
    /// Converts one metric; false if none of its points remains.
    fn metric(&mut self, place: &[&[u8]; 5], metric: &mut Metric) -> bool {
        let (name, unit) = (metric.name.clone(), metric.unit.clone());
        let mut each = |kind: &[u8], about: &[KeyValue], point: Point<'_>| {
            let about = attributes(about);
            let key = key(place.iter().copied().chain([name.as_bytes(), unit.as_bytes(), kind, about.as_slice()]));
            self.point(key, point)
        };
        match &mut metric.data {
            Some(metric::Data::Sum(sum)) if sum.aggregation_temporality == Delta as i32 => {
                let (kind, monotonic) = ([b's', u8::from(sum.is_monotonic)], sum.is_monotonic);
                sum.data_points.retain_mut(|point| {
                    let about = point.attributes.clone();
                    each(kind.as_slice(), &about, Point::Number(point, monotonic))
                });
                sum.aggregation_temporality = Total as i32;
                !sum.data_points.is_empty()
            }
            Some(metric::Data::Histogram(histogram)) if histogram.aggregation_temporality == Delta as i32 => {
                histogram.data_points.retain_mut(|point| {
                    let about = point.attributes.clone();
                    each(b"h".as_slice(), &about, Point::Histogram(point))
                });
                histogram.aggregation_temporality = Total as i32;
                !histogram.data_points.is_empty()
            }
            Some(metric::Data::ExponentialHistogram(histogram))
                if histogram.aggregation_temporality == Delta as i32 =>
            {
                histogram.data_points.retain_mut(|point| {
                    let about = point.attributes.clone();
                    each(b"e".as_slice(), &about, Point::Exponential(point))
                });
                histogram.aggregation_temporality = Total as i32;
                !histogram.data_points.is_empty()
            }
            _ => true,
        }
    }

    /// Converts one point to a total; false if the point is dropped.
    fn point(&mut self, key: Key, point: Point<'_>) -> bool {
        let known = self.known.streams.get(&key).filter(|(_, at, _)| self.fresh.is_none_or(|fresh| *at > fresh));
        let before = self.pending.changed.get(&key).or(known.map(|(.., stream)| stream));
        match Stream::add(before, point) {
            Ok(stream) => {
                self.pending.changed.insert(key, stream);
                true
            }
            Err(why) => {
                let [older, invalid] = &mut self.pending.dropped;
                *match why {
                    Dropped::Older => older,
                    Dropped::Invalid => invalid,
                } += 1;
                false
            }
        }
    }
}

/// Encodes the attributes sorted by key, because a sender may change their order.
fn attributes(attributes: &[KeyValue]) -> Vec<u8> {
    let mut sorted: Vec<&KeyValue> = attributes.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    sorted.into_iter().flat_map(KeyValue::encode_length_delimited_to_vec).collect()
}

fn key<'p>(parts: impl Iterator<Item = &'p [u8]>) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut key = Key::default();
    for (to, from) in key.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    key
}
