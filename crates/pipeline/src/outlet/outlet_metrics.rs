//! Metrics of an outlet, under the Collector's names where it has them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::outcome::{Outcome, Reason};
use otlp::Signal;
use telemetry::{Counter, Gauge, Histogram, Meter, names};

pub(super) struct OutletMetrics {
    meter: Meter,
    exporter: String,
    /// Items sent, by signal: spans, data points, log records.
    sent: [Counter; 3],
    /// Items that failed, by signal as in `sent`.
    failed: [Counter; 3],
    in_flight: Gauge,
    /// This outlet's part of it.
    shown_in_flight: AtomicUsize,
    request_items: Histogram,
    request_bytes: Histogram,
    pub(super) denied: Gauge,
    pub(super) uncleared: Gauge,
    pub(super) quarantined: Counter,
    pub(super) quarantine_expired: Counter,
    pub(super) read_failures: Counter,
}

impl OutletMetrics {
    pub(super) fn new(meter: &Meter, exporter: &str) -> Self {
        let labels = [("exporter", exporter)];
        let counters = |defs: [&'static names::MetricDefinition; 3]| defs.map(|def| meter.counter(def, &labels));
        let metrics = Self {
            sent: counters([&names::SENT_SPANS, &names::SENT_POINTS, &names::SENT_LOGS]),
            failed: counters([&names::FAILED_SPANS, &names::FAILED_POINTS, &names::FAILED_LOGS]),
            in_flight: meter.gauge(&names::IN_FLIGHT_REQUESTS, &labels),
            shown_in_flight: AtomicUsize::new(0),
            request_items: meter.histogram(&names::SEND_SIZE, &labels),
            request_bytes: meter.histogram(&names::SEND_BYTES, &labels),
            denied: meter.gauge(&names::DENIED, &labels),
            uncleared: meter.gauge(&names::HELD, &labels),
            quarantined: meter.counter(&names::SET_ASIDE, &labels),
            quarantine_expired: meter.counter(&names::QUARANTINE_EXPIRED, &[]),
            read_failures: meter.counter(&names::READ_FAILURES, &labels),
            meter: meter.clone(),
            exporter: exporter.to_owned(),
        };
        // Clears values that an earlier configuration of this process left.
        metrics.denied.set(0.0);
        metrics.in_flight.set(0.0);
        metrics.uncleared.set(0.0);
        metrics
    }

    pub(super) fn count_sent(&self, signal: Signal, items: u64) {
        increment_by_signal(&self.sent, signal, items);
    }

    pub(super) fn count_failed(&self, signal: Signal, items: u64) {
        increment_by_signal(&self.failed, signal, items);
    }

    /// Shows that this outlet is sending so many requests. Two outlets may share the gauge.
    pub(super) fn set_in_flight(&self, requests: usize) {
        let before = self.shown_in_flight.swap(requests, Ordering::Relaxed);
        self.in_flight.increment(requests as f64 - before as f64);
    }

    pub(super) fn record_attempt(&self, items: u64, bytes: usize) {
        self.request_items.record(items as f64);
        self.request_bytes.record(bytes as f64);
    }

    pub(super) fn record_outcome(&self, outcome: &Outcome, time: Duration) {
        let labels = [("exporter", &*self.exporter), ("outcome", outcome.label())];
        self.meter.histogram(&names::SEND_SECONDS, &labels).record(time.as_secs_f64());
    }

    pub(super) fn count_retry(&self, reason: Reason) {
        self.meter.counter(&names::RETRIES, &[("exporter", &self.exporter), ("reason", reason.label())]).increment(1);
    }
}

fn increment_by_signal(counters: &[Counter; 3], signal: Signal, items: u64) {
    let [spans, points, logs] = counters;
    match signal {
        Signal::Traces => spans.increment(items),
        Signal::Metrics => points.increment(items),
        Signal::Logs => logs.increment(items),
    }
}
