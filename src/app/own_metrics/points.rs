//! Encodes the gateway's own metrics as one OTLP request. Counters and histograms are totals since the start. Names are
//! those of `/metrics` without `_total`, which Prometheus appends again. The parent module sends the request.

use prost::Message as _;

use ::otlp::r#gen::opentelemetry::proto;
use kernel::clock::UnixNanos;
use proto::collector::metrics::v1::ExportMetricsServiceRequest;
use proto::common::v1::any_value::Value;
use proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use proto::metrics::v1::metric::Data;
use proto::metrics::v1::number_data_point::Value as Number;
use proto::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use proto::resource::v1::Resource;
use telemetry::names::{ALL, MetricDefinition, MetricKind};
use telemetry::{Meter, MetricSeries, SeriesValue};

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Start of the totals and present time.
#[derive(Clone, Copy)]
struct PointTimes {
    began: UnixNanos,
    now: UnixNanos,
}

/// The encoded request and the number of its points; `None` if there are no points. `instance` names the process.
pub(super) fn build_request(meter: &Meter, instance: &str, began: UnixNanos, now: UnixNanos) -> Option<(Vec<u8>, u64)> {
    let times = PointTimes { began, now };
    let families = ALL.iter().map(|def| (*def, meter.series(def))).filter(|(_, family)| !family.is_empty());
    let mut items = 0;
    let to_metric = |(def, family): (&MetricDefinition, Vec<MetricSeries>)| {
        items += family.len() as u64;
        encode_metric(def, &family, times)
    };
    let metrics: Vec<Metric> = families.map(to_metric).collect();
    let version = env!("CARGO_PKG_VERSION");
    let attributes = [("service.name", "tollgate"), ("service.version", version), ("service.instance.id", instance)];
    let scope = InstrumentationScope { name: "tollgate".to_owned(), version: version.to_owned(), ..Default::default() };
    let resource = Resource { attributes: encode_attributes(&attributes), ..Default::default() };
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..Default::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: Some(resource), scope_metrics, ..Default::default() }];
    (items > 0).then(|| (ExportMetricsServiceRequest { resource_metrics }.encode_to_vec(), items))
}

fn encode_metric(def: &MetricDefinition, family: &[MetricSeries], times: PointTimes) -> Metric {
    let numbers = || family.iter().filter_map(|series| encode_number(series, times)).collect();
    let data = match def.kind {
        MetricKind::Gauge => Data::Gauge(Gauge { data_points: numbers() }),
        MetricKind::Counter | MetricKind::Sum => {
            Data::Sum(Sum { data_points: numbers(), aggregation_temporality: CUMULATIVE, is_monotonic: true })
        }
        MetricKind::Histogram(_) => Data::Histogram(Histogram {
            data_points: family.iter().filter_map(|series| encode_histogram(series, times)).collect(),
            aggregation_temporality: CUMULATIVE,
        }),
    };
    let name = def.name.strip_suffix("_total").filter(|_| def.kind != MetricKind::Gauge).unwrap_or(def.name);
    Metric {
        name: name.to_owned(),
        description: def.help.trim().to_owned(),
        unit: unit_of_name(name).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// The unit that a name ends with, in UCUM.
fn unit_of_name(name: &str) -> &'static str {
    let ends = |ending: &str| name.ends_with(ending);
    if ends("_seconds") || ends("_uptime") {
        "s"
    } else if ends("_bytes") || ends("_memory_rss") {
        "By"
    } else if ends("_usd") {
        "USD"
    } else {
        "1"
    }
}

fn encode_attributes(labels: &[(&str, &str)]) -> Vec<KeyValue> {
    let attribute = |(key, value): &(&str, &str)| {
        let value = Some(AnyValue { value: Some(Value::StringValue((*value).to_owned())) });
        KeyValue { key: (*key).to_owned(), value, key_strindex: 0 }
    };
    labels.iter().map(attribute).collect()
}

fn encode_number(series: &MetricSeries, times: PointTimes) -> Option<NumberDataPoint> {
    let value = match &series.value {
        SeriesValue::Counter(counter) => Number::AsInt(i64::try_from(counter.value()).unwrap_or(i64::MAX)),
        SeriesValue::Gauge(gauge) => Number::AsDouble(gauge.value()),
        SeriesValue::Histogram(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: encode_attributes(&series.sorted_labels()),
        start_time_unix_nano: times.began.0,
        time_unix_nano: times.now.0,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn encode_histogram(series: &MetricSeries, times: PointTimes) -> Option<HistogramDataPoint> {
    let SeriesValue::Histogram(histogram) = &series.value else { return None };
    let reading = histogram.read();
    Some(HistogramDataPoint {
        attributes: encode_attributes(&series.sorted_labels()),
        start_time_unix_nano: times.began.0,
        time_unix_nano: times.now.0,
        count: reading.counts.iter().sum(),
        sum: Some(reading.sum),
        bucket_counts: reading.counts,
        explicit_bounds: reading.bounds.to_vec(),
        ..HistogramDataPoint::default()
    })
}
