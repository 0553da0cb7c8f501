//! Tests of the text of `/metrics`: it must follow the format exactly, because dashboards and alerts read it by name.

use super::super::Meter;
use super::super::names::{CHECKPOINT_SECONDS, COST_USD, SENT_SPANS, SPOOL_BYTES};

/// Families appear in the order of `names`, series in the order of their labels; buckets add up and values are
/// escaped.
#[test]
fn the_text_is_the_formats() {
    let meter = Meter::new();
    assert_eq!(meter.render(), "", "no series, no text");
    meter.gauge(&COST_USD, &[("tenant", "a\"b\\c\nd")]).increment(0.25);
    meter.counter(&SENT_SPANS, &[("exporter", "b")]).increment(7);
    meter.counter(&SENT_SPANS, &[("exporter", "a")]).increment(1);
    meter.gauge(&SPOOL_BYTES, &[]).set(1.5);
    let text = meter.render();
    let values: Vec<&str> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
    let family = |name: &str, kind: &str| format!("# TYPE {name} {kind}");
    assert!(values.contains(&family(SENT_SPANS.name, "counter").as_str()), "{text}");
    assert!(values.contains(&family(COST_USD.name, "counter").as_str()), "a sum is told as a counter: {text}");
    assert!(values.contains(&family(SPOOL_BYTES.name, "gauge").as_str()), "{text}");
    assert!(text.contains("tollgate_cost_usd_total{tenant=\"a\\\"b\\\\c\\nd\"} 0.25\n"), "{text}");
    assert!(text.contains(&format!("{0}{{exporter=\"a\"}} 1\n{0}{{exporter=\"b\"}} 7\n\n", SENT_SPANS.name)), "{text}");
    assert!(text.contains("\ntollgate_spool_bytes 1.5\n"), "{text}");
}

/// A value counts in the first bucket whose bound is not below it; a value above all bounds still counts.
#[test]
fn a_histogram_counts_each_value_once() {
    let meter = Meter::new();
    let seconds = meter.histogram(&CHECKPOINT_SECONDS, &[("k", "v")]);
    assert_eq!(meter.render(), "", "nothing was measured yet");
    for value in [0.001, 0.0011, 1e9, f64::NAN] {
        seconds.record(value);
    }
    let text = meter.render();
    for line in ["_bucket{k=\"v\",le=\"0.001\"} 1", "_bucket{k=\"v\",le=\"0.0025\"} 2", "_bucket{k=\"v\",le=\"600\"} 2"]
    {
        assert!(text.contains(&format!("{}{line}\n", CHECKPOINT_SECONDS.name)), "{line}: {text}");
    }
    for line in ["_bucket{k=\"v\",le=\"+Inf\"} 3", "_sum{k=\"v\"} 1000000000.0021", "_count{k=\"v\"} 3"] {
        assert!(text.contains(&format!("{}{line}\n", CHECKPOINT_SECONDS.name)), "{line}: {text}");
    }
}

/// Handles with equal labels share one value; a handle of the wrong kind has no effect.
#[test]
fn equal_labels_share_a_value() {
    let meter = Meter::new();
    meter.counter(&SENT_SPANS, &[]).increment(1);
    meter.counter(&SENT_SPANS, &[]).increment(2);
    meter.gauge(&SENT_SPANS, &[]).set(9.0);
    meter.histogram(&SENT_SPANS, &[]).record(9.0);
    assert_eq!(meter.values(&SENT_SPANS), [3.0]);
    let gauge = meter.gauge(&SPOOL_BYTES, &[]);
    gauge.increment(2.0);
    gauge.decrement(0.5);
    assert_eq!(meter.values(&SPOOL_BYTES), [1.5]);
}
