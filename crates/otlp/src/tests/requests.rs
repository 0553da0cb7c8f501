//! Merging, splitting and counting whole requests.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::prelude::*;
use prost::Message;

use super::parse;
use super::strategies::{metrics, traces};
use crate::{MergedRequest, Signal, count_items, split};

type Path = (Option<Resource>, String, Option<InstrumentationScope>, String);

/// Every span with its resource and scope.
fn flat(request: &ExportTraceServiceRequest) -> Vec<(Path, Span)> {
    let mut all = Vec::new();
    for resource in &request.resource_spans {
        for scope in &resource.scope_spans {
            let path =
                (resource.resource.clone(), resource.schema_url.clone(), scope.scope.clone(), scope.schema_url.clone());
            all.extend(scope.spans.iter().map(|span| (path.clone(), span.clone())));
        }
    }
    all
}

fn decode(bytes: &[u8]) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(bytes).expect("decodes")
}

proptest! {
    /// A split loses, changes, duplicates and reorders nothing, for any limit; parts keep to the limit if possible.
    #[test]
    fn splits(request in traces(), max in 1..4000_usize) {
        let bytes = Bytes::from(request.encode_to_vec());
        let parts = split(Signal::Traces, &bytes, max).expect("splits");
        let mut all = Vec::new();
        for part in &parts {
            let spans = flat(&decode(part));
            let single = spans.len() <= 1;
            let shell: usize = spans.first().map_or(0, |(path, _)| {
                path.0.as_ref().map_or(0, |r| r.encoded_len()) + path.2.as_ref().map_or(0, |s| s.encoded_len())
            });
            prop_assert!(part.len() <= max || single || shell + 400 > max * 7 / 8, "{} of {}", part.len(), max);
            all.extend(spans);
        }
        prop_assert!(all == flat(&request));
        // Merging restores the request.
        prop_assert!(flat(&decode(&MergedRequest::new(parts.clone()).joined())) == flat(&request));
        let count = |part: &Bytes| count_items(Signal::Traces, part).expect("counts");
        prop_assert_eq!(parts.iter().map(count).sum::<u64>(), count(&bytes));
    }

    /// Points are split too, and counted as the index counts them.
    #[test]
    fn splits_points(request in metrics(), max in 1..2000_usize) {
        let bytes = Bytes::from(request.encode_to_vec());
        let parts = split(Signal::Metrics, &bytes, max).expect("splits");
        let points = |bytes: &Bytes| parse(Signal::Metrics, bytes).item_count() as u64;
        prop_assert_eq!(parts.iter().map(points).sum::<u64>(), points(&bytes));
        prop_assert_eq!(count_items(Signal::Metrics, &bytes), Ok(points(&bytes)));
        for part in &parts {
            prop_assert!(ExportMetricsServiceRequest::decode(part.as_ref()).is_ok());
        }
    }
}

/// Ten thousand small spans under one resource make parts close to the limit, not one part per span.
#[test]
fn split_fills_its_parts() {
    let spans = (0..10_000).map(|n| Span { name: format!("span {n}"), ..Span::default() }).collect();
    let scope = ScopeSpans { spans, ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    let request = ExportTraceServiceRequest { resource_spans: vec![resource] };
    let bytes = Bytes::from(request.encode_to_vec());
    let parts = split(Signal::Traces, &bytes, 10_000).expect("splits");
    assert!(parts.len() <= bytes.len() / 9_900 + 1, "{} parts of {} bytes", parts.len(), bytes.len());
    assert!(parts.iter().all(|part| part.len() <= 10_000));
    assert!(flat(&decode(&MergedRequest::new(parts).joined())).len() == 10_000);
}

/// A metric with many points is divided if it does not fit alone, and keeps its name in every part.
#[test]
fn split_divides_a_metric() {
    use opentelemetry_proto::tonic::metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
    };
    let data_points = vec![NumberDataPoint { time_unix_nano: 7, ..NumberDataPoint::default() }; 1000];
    let data = Some(metric::Data::Gauge(Gauge { data_points }));
    let metric = Metric { name: "memory".into(), data, ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    let request = ExportMetricsServiceRequest { resource_metrics: vec![resource] };
    let parts = split(Signal::Metrics, &request.encode_to_vec().into(), 1000).expect("splits");
    assert!(parts.len() > 9 && parts.iter().all(|part| part.len() <= 1000));
    for part in &parts {
        let part = ExportMetricsServiceRequest::decode(part.as_ref()).expect("decodes");
        assert_eq!(part.resource_metrics[0].scope_metrics[0].metrics[0].name, "memory");
    }
}
