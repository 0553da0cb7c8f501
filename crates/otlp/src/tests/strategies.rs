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
    option::of((text(), text(), attributes(), count::<u32>()).prop_map(
        |(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        },
    ))
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    let entity = (text(), text(), vec(text(), 0..3), vec(text(), 0..3)).prop_map(
        |(schema_url, r#type, id_keys, description_keys)| EntityRef { schema_url, r#type, id_keys, description_keys },
    );
    option::of((attributes(), count::<u32>(), vec(entity, 0..2)).prop_map(
        |(attributes, dropped_attributes_count, entity_refs)| Resource {
            attributes,
            dropped_attributes_count,
            entity_refs,
        },
    ))
}

fn event() -> impl Strategy<Value = Event> {
    (count::<u64>(), text(), attributes(), count::<u32>()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    )
}

fn link() -> impl Strategy<Value = Link> {
    (id(16), id(8), text(), attributes(), count::<u32>(), count::<u32>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count,
            flags,
        },
    )
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
    let scopes = (scope(), vec(span(), 0..3), text()).prop_map(|(scope, spans, schema_url)| ScopeSpans {
        scope,
        spans,
        schema_url,
    });
    let one = (resource(), vec(scopes, 0..3), text()).prop_map(|(resource, scope_spans, schema_url)| ResourceSpans {
        resource,
        scope_spans,
        schema_url,
    });
    vec(one, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

fn record() -> impl Strategy<Value = LogRecord> {
    let first = (any::<[u64; 2]>(), 0..30, text(), value(), attributes());
    let second = (any::<[u32; 2]>(), id(16), id(8), text());
    (first, second).prop_map(|(first, second)| LogRecord {
        time_unix_nano: first.0[0],
        observed_time_unix_nano: first.0[1],
        severity_number: first.1,
        severity_text: first.2,
        body: first.3,
        attributes: first.4,
        dropped_attributes_count: second.0[0],
        flags: second.0[1],
        trace_id: second.1,
        span_id: second.2,
        event_name: second.3,
    })
}

/// A logs request.
pub(crate) fn logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let scopes = (scope(), vec(record(), 0..3), text()).prop_map(|(scope, log_records, schema_url)| ScopeLogs {
        scope,
        log_records,
        schema_url,
    });
    let one = (resource(), vec(scopes, 0..3), text()).prop_map(|(resource, scope_logs, schema_url)| ResourceLogs {
        resource,
        scope_logs,
        schema_url,
    });
    vec(one, 0..3).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

/// A logs request with indexes into the dictionary of profiles, which only JSON has to keep.
pub(crate) fn indexed() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let value = |index| Some(AnyValue { value: Some(Any::StringValueStrindex(index)) });
    let entry = move || {
        (key(), any::<i32>(), any::<i32>()).prop_map(move |(key, index, key_strindex)| KeyValue {
            key,
            value: value(index),
            key_strindex,
        })
    };
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
    let one = (attributes(), count::<u64>(), id(8), id(16), number).prop_map(
        |(filtered_attributes, time_unix_nano, span_id, trace_id, value)| Exemplar {
            filtered_attributes,
            time_unix_nano,
            span_id,
            trace_id,
            value,
        },
    );
    vec(one, 0..3)
}

fn number_points() -> impl Strategy<Value = Vec<NumberDataPoint>> {
    use number_data_point::Value as Number;
    let number = option::of(prop_oneof![double().prop_map(Number::AsDouble), any::<i64>().prop_map(Number::AsInt)]);
    let one = (attributes(), any::<[u64; 2]>(), exemplars(), count::<u32>(), number).prop_map(
        |(attributes, times, exemplars, flags, value)| NumberDataPoint {
            attributes,
            start_time_unix_nano: times[0],
            time_unix_nano: times[1],
            exemplars,
            flags,
            value,
        },
    );
    vec(one, 0..3)
}

fn histogram_points() -> impl Strategy<Value = Vec<HistogramDataPoint>> {
    let bounds = (vec(count::<u64>(), 0..30), vec(double(), 0..30));
    let sums = (option::of(double()), option::of(double()), option::of(double()));
    let one = (attributes(), any::<[u64; 3]>(), bounds, sums, exemplars(), count::<u32>()).prop_map(
        |(attributes, [start_time_unix_nano, time_unix_nano, count], bounds, sums, exemplars, flags)| {
            HistogramDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                count,
                sum: sums.0,
                bucket_counts: bounds.0,
                explicit_bounds: bounds.1,
                exemplars,
                flags,
                min: sums.1,
                max: sums.2,
            }
        },
    );
    vec(one, 0..3)
}

fn exponential_points() -> impl Strategy<Value = Vec<ExponentialHistogramDataPoint>> {
    let buckets = || {
        option::of((any::<i32>(), vec(count::<u64>(), 0..30)))
            .prop_map(|both| both.map(|(offset, bucket_counts)| Buckets { offset, bucket_counts }))
    };
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
    let quantile = (double(), double()).prop_map(|(quantile, value)| ValueAtQuantile { quantile, value });
    let one = (attributes(), any::<[u64; 3]>(), double(), vec(quantile, 0..3), count::<u32>()).prop_map(
        |(attributes, [start_time_unix_nano, time_unix_nano, count], sum, quantile_values, flags)| SummaryDataPoint {
            attributes,
            start_time_unix_nano,
            time_unix_nano,
            count,
            sum,
            quantile_values,
            flags,
        },
    );
    vec(one, 0..3)
}

fn metric() -> impl Strategy<Value = Metric> {
    let data = prop_oneof![
        Just(None),
        number_points().prop_map(|data_points| Some(Data::Gauge(Gauge { data_points }))),
        (number_points(), 0..4, any::<bool>()).prop_map(|(data_points, aggregation_temporality, is_monotonic)| Some(
            Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })
        )),
        (histogram_points(), 0..4).prop_map(|(data_points, aggregation_temporality)| Some(Data::Histogram(
            Histogram { data_points, aggregation_temporality }
        ))),
        (exponential_points(), 0..4).prop_map(|(data_points, aggregation_temporality)| Some(
            Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
        )),
        summary_points().prop_map(|data_points| Some(Data::Summary(Summary { data_points }))),
    ];
    (text(), text(), text(), data, attributes()).prop_map(|(name, description, unit, data, metadata)| Metric {
        name,
        description,
        unit,
        metadata,
        data,
    })
}

/// A metrics request.
pub(crate) fn metrics() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let scopes = (scope(), vec(metric(), 0..3), text()).prop_map(|(scope, metrics, schema_url)| ScopeMetrics {
        scope,
        metrics,
        schema_url,
    });
    let one = (resource(), vec(scopes, 0..3), text())
        .prop_map(|(resource, scope_metrics, schema_url)| ResourceMetrics { resource, scope_metrics, schema_url });
    vec(one, 0..3).prop_map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics })
}
