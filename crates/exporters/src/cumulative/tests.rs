//! Tests of the conversion of deltas to totals.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;

use super::{CumulativeConverter, DeltaToCumulativeConfig, Request, proto};
use kernel::clock::{ManualClock, UnixNanos};
use telemetry::Meter;

use proto::common::v1::{AnyValue, KeyValue, any_value};
use proto::metrics::v1::number_data_point::Value;
use proto::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, exponential_histogram_data_point::Buckets, metric,
};

struct Scene {
    totals: CumulativeConverter,
    clock: Arc<ManualClock>,
    meter: Meter,
}

fn scene(change: fn(&mut DeltaToCumulativeConfig)) -> Scene {
    let mut config = DeltaToCumulativeConfig::default();
    change(&mut config);
    let mut problems = Vec::new();
    config.check(&mut problems);
    assert!(problems.is_empty());
    let (clock, meter) = (ManualClock::at(UnixNanos(1)), Meter::new());
    let totals = CumulativeConverter::new(config, "otlp/x", clock.clone(), &meter);
    Scene { totals, clock, meter }
}

impl Scene {
    fn send(&self, metrics: Vec<Metric>) -> Vec<Metric> {
        let (sent, pending) = self.totals.convert("a", &request(metrics)).expect("readable");
        self.totals.commit_delivered(pending);
        metrics_of(&sent)
    }

    fn numbers(&self, points: Vec<NumberDataPoint>) -> Vec<(u64, u64, N)> {
        numbers(&self.send(vec![sum(points)]))
    }
}

fn request(metrics: Vec<Metric>) -> Vec<u8> {
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    Request { resource_metrics }.encode_to_vec()
}

fn metrics_of(bytes: &[u8]) -> Vec<Metric> {
    let request = Request::decode(bytes).expect("protobuf");
    request.resource_metrics.into_iter().flat_map(|one| one.scope_metrics).flat_map(|one| one.metrics).collect()
}

fn pair(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn point(start: u64, time: u64, value: N) -> NumberDataPoint {
    let value = match value {
        I(value) => Value::AsInt(value),
        D(value) => Value::AsDouble(value),
    };
    NumberDataPoint {
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn sum(data_points: Vec<NumberDataPoint>) -> Metric {
    let data = metric::Data::Sum(Sum { data_points, aggregation_temporality: 1, is_monotonic: true });
    Metric { name: "calls".to_owned(), data: Some(data), ..Metric::default() }
}

fn shown(value: Option<Value>) -> N {
    match value.expect("a value") {
        Value::AsInt(value) => I(value),
        Value::AsDouble(value) => D(value),
    }
}

/// Start, time and value of each point; all metrics must be cumulative.
fn numbers(metrics: &[Metric]) -> Vec<(u64, u64, N)> {
    let of = |metric: &Metric| match &metric.data {
        Some(metric::Data::Sum(sum)) => {
            assert_eq!(sum.aggregation_temporality, 2);
            sum.data_points.iter().map(|p| (p.start_time_unix_nano, p.time_unix_nano, shown(p.value))).collect()
        }
        _ => Vec::new(),
    };
    metrics.iter().flat_map(of).collect()
}

/// A comparable form of a point's value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum N {
    I(i64),
    D(f64),
}
use N::{D, I};

/// A total keeps the start time of the first point. Account, name and attributes identify a series, in any attribute
/// order.
#[test]
fn sums_add_up() {
    let scene = scene(|_| {});
    assert_eq!(scene.numbers(vec![point(10, 20, I(3)), point(20, 30, I(4))]), [(10, 20, I(3)), (10, 30, I(7))]);
    assert_eq!(scene.numbers(vec![point(30, 40, D(0.5))]), [(10, 40, D(7.5))]);
    let with = |pairs: &[(&str, &str)], at| {
        let attributes = pairs.iter().map(|(key, value)| pair(key, value)).collect();
        NumberDataPoint { attributes, ..point(at - 1, at, I(1)) }
    };
    let other = scene.numbers(vec![with(&[("m", "a"), ("n", "b")], 50), with(&[("n", "b"), ("m", "a")], 60)]);
    assert_eq!(other, [(49, 50, I(1)), (49, 60, I(2))]);
    assert_eq!(scene.numbers(vec![with(&[("m", "b")], 60)]), [(59, 60, I(1))]);
    let (bytes, _) = scene.totals.convert("b", &request(vec![sum(vec![point(1, 99, I(1))])])).expect("readable");
    assert_eq!(numbers(&metrics_of(&bytes)), [(1, 99, I(1))], "another account's");
    // up-down counters are converted too; cumulative metrics, gauges and empty metrics stay unchanged
    let down = metric::Data::Sum(Sum {
        data_points: vec![point(1, 2, I(-5)), point(2, 3, I(2))],
        aggregation_temporality: 1,
        is_monotonic: false,
    });
    let sent = scene.send(vec![Metric { name: "open".to_owned(), data: Some(down), ..Metric::default() }]);
    assert_eq!(numbers(&sent), [(1, 2, I(-5)), (1, 3, I(-3))]);
    let mut total = sum(vec![point(1, 2, I(5))]);
    if let Some(metric::Data::Sum(sum)) = &mut total.data {
        sum.aggregation_temporality = 2;
    }
    let as_they_are = vec![total, Metric { name: "none".to_owned(), ..Metric::default() }];
    assert!(scene.send(as_they_are.clone()) == as_they_are);
    assert!(scene.totals.convert("a", b"\xff\xff").is_none());
}

/// A request that is sent again carries the same totals, and no total contains a point that was not delivered.
#[test]
fn only_what_was_delivered_counts() {
    let scene = scene(|_| {});
    scene.numbers(vec![point(10, 20, I(3))]);
    let next = request(vec![sum(vec![point(20, 30, I(4))])]);
    let (first, _) = scene.totals.convert("a", &next).expect("readable");
    let (again, _) = scene.totals.convert("a", &next).expect("readable");
    assert_eq!(first, again);
    assert_eq!(scene.numbers(vec![point(30, 40, I(1))]), [(10, 40, I(4))], "refused for good: not in it");
}

/// Repeated, late and invalid points are dropped and counted; a point that can't be added starts its series again.
#[test]
fn odd_points() {
    let scene = scene(|_| {});
    scene.numbers(vec![point(10, 20, I(3))]);
    for late in [point(10, 20, I(3)), point(5, 15, I(1)), point(5, 30, I(1))] {
        assert!(scene.numbers(vec![late]).is_empty());
    }
    let none = NumberDataPoint { flags: 1, value: None, ..point(20, 30, I(0)) };
    for bad in
        [point(20, 30, I(-1)), point(20, 30, D(f64::NAN)), point(20, 30, D(f64::INFINITY)), none, point(0, 0, I(1))]
    {
        assert!(scene.numbers(vec![bad]).is_empty());
    }
    assert_eq!(scene.numbers(vec![point(20, 30, I(i64::MAX))]), [(20, 30, I(i64::MAX))], "an overflow begins again");
    assert_eq!(scene.numbers(vec![point(0, 40, I(0))]), [(20, 40, I(i64::MAX))], "no start is told");
    let text = scene.meter.render();
    let counted = |reason: &str, n: u64| {
        let line =
            format!("tollgate_exporter_cumulative_dropped_points_total{{exporter=\"otlp/x\",reason=\"{reason}\"}} {n}");
        assert!(text.contains(&line), "{text}");
    };
    counted("older", 3);
    counted("invalid", 5);
}

/// Series that are stale or above the limit are dropped and start again; the ones in use stay.
#[test]
fn series_are_bounded() {
    let scene = scene(|config| config.max_streams = 2);
    let of = |name: &str, at| NumberDataPoint { attributes: vec![pair("m", name)], ..point(at - 1, at, I(1)) };
    let mut at = 10;
    let mut send = |name: &str| {
        at += 10;
        scene.numbers(vec![of(name, at)])[0].2
    };
    assert_eq!((send("a"), send("b"), send("a")), (I(1), I(1), I(2)));
    assert_eq!((send("c"), send("a"), send("b")), (I(1), I(3), I(1)), "b went");
    let text = scene.meter.render();
    assert!(text.contains("tollgate_exporter_cumulative_streams{exporter=\"otlp/x\"} 2"), "{text}");
    assert!(text.contains("tollgate_exporter_cumulative_evicted_total{exporter=\"otlp/x\"} 2"), "{text}");
    scene.clock.advance(Duration::from_secs(299));
    assert_eq!(send("a"), I(4));
    scene.clock.advance(Duration::from_secs(300));
    assert_eq!((send("b"), send("a")), (I(1), I(1)), "stale");
}

fn bars(time: u64, counts: &[u64], bounds: &[f64], sum: f64) -> Metric {
    let point = HistogramDataPoint {
        start_time_unix_nano: time - 1,
        time_unix_nano: time,
        count: counts.iter().sum(),
        sum: Some(sum),
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        min: Some(sum),
        max: Some(sum),
        ..HistogramDataPoint::default()
    };
    let data = metric::Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: 1 });
    Metric { name: "bars".to_owned(), data: Some(data), ..Metric::default() }
}

fn bar(metrics: &[Metric]) -> Option<HistogramDataPoint> {
    match metrics.first()?.data.as_ref()? {
        metric::Data::Histogram(histogram) => histogram.data_points.first().cloned(),
        _ => None,
    }
}

/// Histograms add up bucket by bucket; with other bounds they start again; an incomplete one is invalid.
#[test]
fn histograms_add_up() {
    let scene = scene(|_| {});
    scene.send(vec![bars(10, &[1, 2, 0], &[1.0, 2.0], 5.0)]);
    let total = bar(&scene.send(vec![bars(20, &[0, 1, 4], &[1.0, 2.0], 7.0)])).expect("a point");
    assert_eq!((total.start_time_unix_nano, total.count, total.sum), (9, 8, Some(12.0)));
    assert_eq!((total.bucket_counts, total.min, total.max), (vec![1, 3, 4], Some(5.0), Some(7.0)));
    let other = bar(&scene.send(vec![bars(30, &[1, 1], &[3.0], 1.0)])).expect("a point");
    assert_eq!((other.start_time_unix_nano, other.count), (29, 2));
    assert!(bar(&scene.send(vec![bars(40, &[1, 1], &[3.0, 4.0], 1.0)])).is_none());
}

fn powers(time: u64, scale: i32, zeros: u64, offset: i32, counts: &[u64]) -> Metric {
    let point = ExponentialHistogramDataPoint {
        start_time_unix_nano: time - 1,
        time_unix_nano: time,
        count: zeros + counts.iter().sum::<u64>(),
        scale,
        zero_count: zeros,
        positive: Some(Buckets { offset, bucket_counts: counts.to_vec() }),
        ..ExponentialHistogramDataPoint::default()
    };
    let data = metric::Data::ExponentialHistogram(ExponentialHistogram {
        data_points: vec![point],
        aggregation_temporality: 1,
    });
    Metric { name: "powers".to_owned(), data: Some(data), ..Metric::default() }
}

fn power(metrics: &[Metric]) -> Option<ExponentialHistogramDataPoint> {
    match metrics.first()?.data.as_ref()? {
        metric::Data::ExponentialHistogram(histogram) => histogram.data_points.first().cloned(),
        _ => None,
    }
}

/// The wider buckets win and counts stay; distant values widen the buckets instead of adding many; invalid points are
/// dropped.
#[test]
fn exponential_histograms_add_up() {
    let scene = scene(|_| {});
    scene.send(vec![powers(10, 1, 1, -3, &[1, 2, 3, 4])]);
    let total = power(&scene.send(vec![powers(20, 0, 2, 0, &[5, 0, 6])])).expect("a point");
    // scale 1 buckets -3..0 are buckets -2, -1, -1, 0 of scale 0
    let positive = total.positive.clone().expect("buckets");
    assert_eq!((total.scale, total.zero_count, total.count, positive.offset), (0, 3, 24, -2));
    assert_eq!(positive.bucket_counts, [1, 5, 9, 0, 6]);
    let far = power(&scene.send(vec![powers(30, 0, 0, 100_000, &[7])])).expect("a point");
    let positive = far.positive.expect("buckets");
    assert!(far.scale < 0 && positive.bucket_counts.len() <= 160, "{} {}", far.scale, positive.bucket_counts.len());
    assert_eq!((positive.bucket_counts.iter().sum::<u64>() + far.zero_count, far.count), (31, 31));
    let ends = power(&scene.send(vec![powers(40, 20, 0, i32::MAX - 2, &[1])])).expect("a point");
    assert_eq!(ends.count, 32);
    assert!(power(&scene.send(vec![powers(50, 99, 0, 0, &[1])])).is_none(), "no such scale");
    assert!(power(&scene.send(vec![powers(60, 0, 0, 0, &vec![1; 100_001])])).is_none(), "no such histogram");
    let flood = power(&scene.send(vec![powers(70, 3, 0, -500, &[1; 1000])])).expect("a point");
    assert!(flood.positive.expect("buckets").bucket_counts.len() <= 160);
    assert_eq!(flood.count, 1032);
}
