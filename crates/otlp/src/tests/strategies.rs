//! Random requests of all three signals as official messages: every field set or not, full ranges, texts that need
//! JSON escapes, lengths of one and two bytes, duplicate keys.

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value::Value as Any,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    exponential_histogram_data_point::Buckets, metric::Data, number_data_point, summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status,
    span::{Event, Link},
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// A strategy for a message, from one for each of its fields: at most twelve.
macro_rules! message {
    ($message:ident { $($field:ident: $strategy:expr),+ $(,)? }) => {
        ($($strategy,)+).prop_map(|($($field,)+)| $message { $($field),+ })
    };
}

/// Short and often equal, any characters, characters that need escapes, lengths around 128.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-c]{0,3}",
        2 => "[a-z._]{0,12}",
        1 => vec(any::<char>(), 0..12).prop_map(|chars| chars.into_iter().collect()),
        1 => vec(prop_oneof![Just('"'), Just('\\'), Just('\n'), Just('\0'), Just('x'), Just('é'), Just('🙂')], 0..200)
            .prop_map(|chars| chars.into_iter().collect()),
        1 => "[ -~]{120,140}",
    ]
}

/// Few and short, so that duplicates occur.
pub(crate) fn key() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-d]", 1 => Just(String::new()), 1 => "[a-z.]{1,20}", 1 => text()]
}

/// Small, or any.
fn count<T: Arbitrary + From<u8> + Clone + std::fmt::Debug + 'static>() -> impl Strategy<Value = T> {
    prop_oneof![(0..3_u8).prop_map(T::from), any::<T>()]
}

fn id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![1 => Just(Vec::new()), 6 => vec(any::<u8>(), length)]
}

fn double() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    // Negative zero counts as absent in prost but not here, so it is not generated; a separate case covers it.
    let any =
        (NORMAL | POSITIVE | NEGATIVE | SUBNORMAL | ZERO).prop_map(|value| if value == 0.0 { 0.0 } else { value });
    prop_oneof![4 => any, 1 => Just(1.0), 1 => Just(1e21)]
}

fn leaf() -> impl Strategy<Value = Option<Any>> {
    prop_oneof![
        1 => Just(None),
        3 => text().prop_map(|v| Some(Any::StringValue(v))),
        1 => any::<bool>().prop_map(|v| Some(Any::BoolValue(v))),
        1 => any::<i64>().prop_map(|v| Some(Any::IntValue(v))),
        1 => double().prop_map(|v| Some(Any::DoubleValue(v))),
        1 => vec(any::<u8>(), 0..20).prop_map(|v| Some(Any::BytesValue(v))),
        1 => text().prop_map(|v| Some(Any::BytesValue(v.into_bytes()))),
    ]
}

/// Sometimes absent.
pub(crate) fn value() -> impl Strategy<Value = Option<AnyValue>> {
    let leaf = leaf().prop_map(|value| AnyValue { value });
    let nested = leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4)
                .prop_map(|values| AnyValue { value: Some(Any::ArrayValue(ArrayValue { values })) }),
            vec((key(), option::weighted(0.9, inner)), 0..4).prop_map(|values| {
                let values = values.into_iter().map(|(key, value)| KeyValue { key, value, key_strindex: 0 }).collect();
                AnyValue { value: Some(Any::KvlistValue(KeyValueList { values })) }
            }),
        ]
    });
    option::weighted(0.95, nested)
}

pub(crate) fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec((key(), value()).prop_map(|(key, value)| KeyValue { key, value, key_strindex: 0 }), 0..5)
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    option::of(message!(InstrumentationScope {
        name: text(),
        version: text(),
        attributes: attributes(),
        dropped_attributes_count: count::<u32>(),
    }))
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    let entity = message!(EntityRef {
        schema_url: text(),
        r#type: text(),
        id_keys: vec(text(), 0..3),
        description_keys: vec(text(), 0..3),
    });
    option::of(message!(Resource {
        attributes: attributes(),
        dropped_attributes_count: count::<u32>(),
        entity_refs: vec(entity, 0..2),
    }))
}

fn event() -> impl Strategy<Value = Event> {
    message!(Event {
        time_unix_nano: count::<u64>(),
        name: text(),
        attributes: attributes(),
        dropped_attributes_count: count::<u32>(),
    })
}

fn link() -> impl Strategy<Value = Link> {
    message!(Link {
        trace_id: id(16),
        span_id: id(8),
        trace_state: text(),
        attributes: attributes(),
        dropped_attributes_count: count::<u32>(),
        flags: count::<u32>(),
    })
}

fn span() -> impl Strategy<Value = Span> {
    let ids = (id(16), id(8), text(), id(8), count::<u32>());
    let own = (text(), 0..9, count::<u64>(), count::<u64>(), attributes());
    let status = option::of((text(), 0..3).prop_map(|(message, code)| Status { message, code }));
    let inner = (vec(event(), 0..3), vec(link(), 0..3), status, any::<[u32; 3]>());
    (ids, own, inner).prop_map(|(ids, own, inner)| Span {
        trace_id: ids.0,
        span_id: ids.1,
        trace_state: ids.2,
        parent_span_id: ids.3,
        flags: ids.4,
        name: own.0,
        kind: own.1,
        start_time_unix_nano: own.2,
        end_time_unix_nano: own.3,
        attributes: own.4,
        dropped_attributes_count: inner.3[0],
        events: inner.0,
        dropped_events_count: inner.3[1],
        links: inner.1,
        dropped_links_count: inner.3[2],
        status: inner.2,
    })
}

/// A traces request.
pub(crate) fn traces() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scopes = message!(ScopeSpans { scope: scope(), spans: vec(span(), 0..3), schema_url: text() });
    let one = message!(ResourceSpans { resource: resource(), scope_spans: vec(scopes, 0..3), schema_url: text() });
    message!(ExportTraceServiceRequest { resource_spans: vec(one, 0..3) })
}

fn record() -> impl Strategy<Value = LogRecord> {
    message!(LogRecord {
        time_unix_nano: any::<u64>(),
        observed_time_unix_nano: any::<u64>(),
        severity_number: 0..30,
        severity_text: text(),
        body: value(),
        attributes: attributes(),
        dropped_attributes_count: any::<u32>(),
        flags: any::<u32>(),
        trace_id: id(16),
        span_id: id(8),
        event_name: text(),
    })
}

/// A logs request.
pub(crate) fn logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let scopes = message!(ScopeLogs { scope: scope(), log_records: vec(record(), 0..3), schema_url: text() });
    let one = message!(ResourceLogs { resource: resource(), scope_logs: vec(scopes, 0..3), schema_url: text() });
    message!(ExportLogsServiceRequest { resource_logs: vec(one, 0..3) })
}

/// A logs request with indexes into the dictionary of profiles, which only JSON has to keep.
pub(crate) fn indexed() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let value = |index| Some(AnyValue { value: Some(Any::StringValueStrindex(index)) });
    let entry =
        move || message!(KeyValue { key: key(), value: any::<i32>().prop_map(value), key_strindex: any::<i32>() });
    let list = |values| Some(AnyValue { value: Some(Any::KvlistValue(KeyValueList { values })) });
    let record = (vec(entry(), 0..4), vec(entry(), 0..4)).prop_map(move |(attributes, values)| LogRecord {
        attributes,
        body: list(values),
        ..LogRecord::default()
    });
    vec(record, 0..4).prop_map(|log_records| ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs { log_records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }],
    })
}

fn exemplars() -> impl Strategy<Value = Vec<Exemplar>> {
    let number = option::of(prop_oneof![
        double().prop_map(exemplar::Value::AsDouble),
        any::<i64>().prop_map(exemplar::Value::AsInt)
    ]);
    let one = message!(Exemplar {
        filtered_attributes: attributes(),
        time_unix_nano: count::<u64>(),
        span_id: id(8),
        trace_id: id(16),
        value: number,
    });
    vec(one, 0..3)
}

fn number_points() -> impl Strategy<Value = Vec<NumberDataPoint>> {
    use number_data_point::Value as Number;
    let number = option::of(prop_oneof![double().prop_map(Number::AsDouble), any::<i64>().prop_map(Number::AsInt)]);
    let one = message!(NumberDataPoint {
        attributes: attributes(),
        start_time_unix_nano: any::<u64>(),
        time_unix_nano: any::<u64>(),
        exemplars: exemplars(),
        flags: count::<u32>(),
        value: number,
    });
    vec(one, 0..3)
}

fn histogram_points() -> impl Strategy<Value = Vec<HistogramDataPoint>> {
    let one = message!(HistogramDataPoint {
        attributes: attributes(),
        start_time_unix_nano: any::<u64>(),
        time_unix_nano: any::<u64>(),
        count: any::<u64>(),
        sum: option::of(double()),
        bucket_counts: vec(count::<u64>(), 0..30),
        explicit_bounds: vec(double(), 0..30),
        exemplars: exemplars(),
        flags: count::<u32>(),
        min: option::of(double()),
        max: option::of(double()),
    });
    vec(one, 0..3)
}

fn exponential_points() -> impl Strategy<Value = Vec<ExponentialHistogramDataPoint>> {
    let buckets = || option::of(message!(Buckets { offset: any::<i32>(), bucket_counts: vec(count::<u64>(), 0..30) }));
    let sums = (option::of(double()), option::of(double()), option::of(double()), double());
    let one =
        (attributes(), any::<[u64; 4]>(), sums, any::<i32>(), (buckets(), buckets()), count::<u32>(), exemplars())
            .prop_map(|(attributes, numbers, sums, scale, (positive, negative), flags, exemplars)| {
                ExponentialHistogramDataPoint {
                    attributes,
                    start_time_unix_nano: numbers[0],
                    time_unix_nano: numbers[1],
                    count: numbers[2],
                    sum: sums.0,
                    scale,
                    zero_count: numbers[3],
                    positive,
                    negative,
                    flags,
                    exemplars,
                    min: sums.1,
                    max: sums.2,
                    zero_threshold: sums.3,
                }
            });
    vec(one, 0..3)
}

fn summary_points() -> impl Strategy<Value = Vec<SummaryDataPoint>> {
    let quantile = message!(ValueAtQuantile { quantile: double(), value: double() });
    let one = message!(SummaryDataPoint {
        attributes: attributes(),
        start_time_unix_nano: any::<u64>(),
        time_unix_nano: any::<u64>(),
        count: any::<u64>(),
        sum: double(),
        quantile_values: vec(quantile, 0..3),
        flags: count::<u32>(),
    });
    vec(one, 0..3)
}

fn metric() -> impl Strategy<Value = Metric> {
    let sum =
        message!(Sum { data_points: number_points(), aggregation_temporality: 0..4, is_monotonic: any::<bool>() });
    let histogram = message!(Histogram { data_points: histogram_points(), aggregation_temporality: 0..4 });
    let exponential =
        message!(ExponentialHistogram { data_points: exponential_points(), aggregation_temporality: 0..4 });
    let data = prop_oneof![
        Just(None),
        message!(Gauge { data_points: number_points() }).prop_map(|data| Some(Data::Gauge(data))),
        sum.prop_map(|data| Some(Data::Sum(data))),
        histogram.prop_map(|data| Some(Data::Histogram(data))),
        exponential.prop_map(|data| Some(Data::ExponentialHistogram(data))),
        message!(Summary { data_points: summary_points() }).prop_map(|data| Some(Data::Summary(data))),
    ];
    message!(Metric { name: text(), description: text(), unit: text(), data: data, metadata: attributes() })
}

/// A metrics request.
pub(crate) fn metrics() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let scopes = message!(ScopeMetrics { scope: scope(), metrics: vec(metric(), 0..3), schema_url: text() });
    let one = message!(ResourceMetrics { resource: resource(), scope_metrics: vec(scopes, 0..3), schema_url: text() });
    message!(ExportMetricsServiceRequest { resource_metrics: vec(one, 0..3) })
}
