//! Random requests of all three signals, every field set or not.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    exponential_histogram_data_point::Buckets, metric, number_data_point, summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub(super) fn text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-c]{0,3}", 1 => "\\PC{0,12}", 1 => "[a-z ]{120,140}"]
}

pub(super) fn key() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-d]", 1 => Just(String::new()), 1 => "[a-z.]{1,20}"]
}

fn scalar() -> impl Strategy<Value = Any> {
    prop_oneof![
        4 => text().prop_map(Any::StringValue),
        1 => any::<bool>().prop_map(Any::BoolValue),
        1 => any::<i64>().prop_map(Any::IntValue),
        1 => (-1e9..1e9).prop_map(Any::DoubleValue),
        1 => vec(any::<u8>(), 0..6).prop_map(Any::BytesValue),
        1 => text().prop_map(|text| Any::BytesValue(text.into_bytes())),
    ]
}

pub(super) fn value() -> impl Strategy<Value = Option<AnyValue>> {
    let leaf = option::weighted(0.9, scalar()).prop_map(|value| AnyValue { value });
    let nested = leaf.prop_recursive(4, 24, 4, |inner| {
        let entry = (key(), option::weighted(0.9, inner.clone()));
        let entry = entry.prop_map(|(key, value)| KeyValue { key, value, key_strindex: 0 });
        prop_oneof![
            vec(inner, 0..4).prop_map(|values| AnyValue { value: Some(Any::ArrayValue(ArrayValue { values })) }),
            vec(entry, 0..4).prop_map(|values| AnyValue { value: Some(Any::KvlistValue(KeyValueList { values })) }),
        ]
    });
    option::weighted(0.95, nested)
}

pub(super) fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec((key(), value()).prop_map(|(key, value)| KeyValue { key, value, key_strindex: 0 }), 0..5)
}

fn id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => vec(any::<u8>(), length), 1 => Just(Vec::new())]
}

fn entity() -> impl Strategy<Value = EntityRef> {
    (text(), text(), vec(text(), 0..3), vec(text(), 0..3)).prop_map(
        |(schema_url, r#type, id_keys, description_keys)| EntityRef { schema_url, r#type, id_keys, description_keys },
    )
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    let some = (attributes(), 0..3_u32, vec(entity(), 0..2)).prop_map(
        |(attributes, dropped_attributes_count, entity_refs)| Resource {
            attributes,
            dropped_attributes_count,
            entity_refs,
        },
    );
    option::weighted(0.8, some)
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    let some =
        (text(), text(), attributes(), 0..3_u32).prop_map(|(name, version, attributes, dropped_attributes_count)| {
            InstrumentationScope { name, version, attributes, dropped_attributes_count }
        });
    option::weighted(0.8, some)
}

fn event() -> impl Strategy<Value = Event> {
    (0..3_u64, text(), attributes(), 0..2_u32).prop_map(|(time_unix_nano, name, attributes, dropped)| Event {
        time_unix_nano,
        name,
        attributes,
        dropped_attributes_count: dropped,
    })
}

fn link() -> impl Strategy<Value = Link> {
    (id(16), id(8), text(), attributes(), 0..2_u32, 0..2_u32).prop_map(
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
    let status = option::of((text(), 0..4_i32).prop_map(|(message, code)| Status { message, code }));
    let ids = (id(16), id(8), text(), id(8));
    let lists = (attributes(), vec(event(), 0..3), vec(link(), 0..3));
    (ids, text(), 0..6_i32, any::<(u64, u64)>(), lists, status, 0..3_u32).prop_map(
        |((trace_id, span_id, trace_state, parent_span_id), name, kind, times, lists, status, dropped)| Span {
            trace_id,
            span_id,
            trace_state,
            parent_span_id,
            flags: dropped,
            name,
            kind,
            start_time_unix_nano: times.0,
            end_time_unix_nano: times.1,
            attributes: lists.0,
            dropped_attributes_count: dropped,
            events: lists.1,
            dropped_events_count: dropped,
            links: lists.2,
            dropped_links_count: dropped,
            status,
        },
    )
}

pub(super) fn traces() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scopes = (scope(), vec(span(), 0..4), text()).prop_map(|(scope, spans, schema_url)| ScopeSpans {
        scope,
        spans,
        schema_url,
    });
    let resources = (resource(), vec(scopes, 0..3), text())
        .prop_map(|(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url });
    vec(resources, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

fn record() -> impl Strategy<Value = LogRecord> {
    ((0..3_u64, 0..3_u64), 0..25_i32, text(), value(), attributes(), (id(16), id(8)), text(), 0..2_u32).prop_map(
        |(times, severity_number, severity_text, body, attributes, ids, event_name, small)| LogRecord {
            time_unix_nano: times.0,
            observed_time_unix_nano: times.1,
            severity_number,
            severity_text,
            body,
            attributes,
            dropped_attributes_count: small,
            flags: small,
            trace_id: ids.0,
            span_id: ids.1,
            event_name,
        },
    )
}

pub(super) fn logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let scopes = (scope(), vec(record(), 0..4), text()).prop_map(|(scope, log_records, schema_url)| ScopeLogs {
        scope,
        log_records,
        schema_url,
    });
    let resources = (resource(), vec(scopes, 0..3), text())
        .prop_map(|(resource, scope_logs, schema_url)| ResourceLogs { resource, scope_logs, schema_url });
    vec(resources, 0..3).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

fn exemplars() -> impl Strategy<Value = Vec<Exemplar>> {
    let one = (attributes(), 0..3_u64, id(8), id(16), any::<i64>()).prop_map(
        |(filtered_attributes, time_unix_nano, span_id, trace_id, number)| Exemplar {
            filtered_attributes,
            time_unix_nano,
            span_id,
            trace_id,
            value: Some(exemplar::Value::AsInt(number)),
        },
    );
    vec(one, 0..2)
}

fn number_points() -> impl Strategy<Value = Vec<NumberDataPoint>> {
    let one = (attributes(), any::<(u64, u64)>(), any::<i64>(), exemplars()).prop_map(
        |(attributes, times, number, exemplars)| NumberDataPoint {
            attributes,
            start_time_unix_nano: times.0,
            time_unix_nano: times.1,
            exemplars,
            flags: (number & 1) as u32,
            value: Some(number_data_point::Value::AsInt(number)),
        },
    );
    vec(one, 0..3)
}

fn histogram_points() -> impl Strategy<Value = Vec<HistogramDataPoint>> {
    let one = (attributes(), 0..9_u64, option::of(0.0..9.0), vec(0..9_u64, 0..4), exemplars()).prop_map(
        |(attributes, count, sum, bucket_counts, exemplars)| HistogramDataPoint {
            attributes,
            start_time_unix_nano: count,
            time_unix_nano: count,
            count,
            sum,
            explicit_bounds: bucket_counts.iter().map(|count| *count as f64).collect(),
            bucket_counts,
            exemplars,
            flags: 1,
            min: sum,
            max: sum,
        },
    );
    vec(one, 0..3)
}

fn exponential_points() -> impl Strategy<Value = Vec<ExponentialHistogramDataPoint>> {
    let buckets =
        (any::<i32>(), vec(any::<u64>(), 0..4)).prop_map(|(offset, bucket_counts)| Buckets { offset, bucket_counts });
    let one = (attributes(), 0..9_u64, any::<i32>(), option::of(buckets), exemplars()).prop_map(
        |(attributes, count, scale, positive, exemplars)| ExponentialHistogramDataPoint {
            attributes,
            start_time_unix_nano: count,
            time_unix_nano: count,
            count,
            sum: Some(1.0),
            scale,
            zero_count: count,
            negative: positive.clone(),
            positive,
            flags: 1,
            exemplars,
            min: None,
            max: Some(2.0),
            zero_threshold: 0.5,
        },
    );
    vec(one, 0..3)
}

fn summary_points() -> impl Strategy<Value = Vec<SummaryDataPoint>> {
    let one = (attributes(), 0..9_u64, vec((0.0..1.0, 0.0..9.0), 0..3)).prop_map(|(attributes, count, quantiles)| {
        SummaryDataPoint {
            attributes,
            start_time_unix_nano: count,
            time_unix_nano: count,
            count,
            sum: 1.0,
            quantile_values: quantiles
                .into_iter()
                .map(|(quantile, value)| ValueAtQuantile { quantile, value })
                .collect(),
            flags: 0,
        }
    });
    vec(one, 0..3)
}

fn metric_data() -> impl Strategy<Value = metric::Data> {
    prop_oneof![
        number_points().prop_map(|data_points| metric::Data::Gauge(Gauge { data_points })),
        number_points().prop_map(|data_points| {
            metric::Data::Sum(Sum { data_points, aggregation_temporality: 1, is_monotonic: true })
        }),
        histogram_points()
            .prop_map(|data_points| { metric::Data::Histogram(Histogram { data_points, aggregation_temporality: 2 }) }),
        exponential_points().prop_map(|data_points| {
            metric::Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality: 2 })
        }),
        summary_points().prop_map(|data_points| metric::Data::Summary(Summary { data_points })),
    ]
}

pub(super) fn metrics() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let metric = (text(), text(), text(), attributes(), option::of(metric_data()))
        .prop_map(|(name, description, unit, metadata, data)| Metric { name, description, unit, metadata, data });
    let scopes = (scope(), vec(metric, 0..4), text()).prop_map(|(scope, metrics, schema_url)| ScopeMetrics {
        scope,
        metrics,
        schema_url,
    });
    let resources = (resource(), vec(scopes, 0..3), text())
        .prop_map(|(resource, scope_metrics, schema_url)| ResourceMetrics { resource, scope_metrics, schema_url });
    vec(resources, 0..3).prop_map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics })
}
