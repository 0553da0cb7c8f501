//! Metrics of an outlet, under the Collector's names where it has them.

use crate::outcome::Reason;
use otlp::Signal;
use telemetry::{Counter, Gauge, Histogram, Meter, names};

pub(super) struct Gauges {
    meter: Meter,
    exporter: String,
    sent: [Counter; 3],
    failed: [Counter; 3],
    in_flight: Gauge,
    send_size: Histogram,
    send_bytes: Histogram,
    denied: Gauge,
    held: Gauge,
    set_aside: Counter,
    quarantine_expired: Counter,
    read_failures: Counter,
}

impl Gauges {
    pub(super) fn new(meter: &Meter, exporter: &str) -> Self {
        let labels = [("exporter", exporter)];
        let counters = |defs: [&'static names::Def; 3]| defs.map(|def| meter.counter(def, &labels));
        let gauges = Self {
            sent: counters([&names::SENT_SPANS, &names::SENT_POINTS, &names::SENT_LOGS]),
            failed: counters([&names::FAILED_SPANS, &names::FAILED_POINTS, &names::FAILED_LOGS]),
            in_flight: meter.gauge(&names::IN_FLIGHT_REQUESTS, &labels),
            send_size: meter.histogram(&names::SEND_SIZE, &labels),
            send_bytes: meter.histogram(&names::SEND_BYTES, &labels),
            denied: meter.gauge(&names::DENIED, &labels),
            held: meter.gauge(&names::HELD, &labels),
            set_aside: meter.counter(&names::SET_ASIDE, &labels),
            quarantine_expired: meter.counter(&names::QUARANTINE_EXPIRED, &[]),
            read_failures: meter.counter(&names::READ_FAILURES, &labels),
            meter: meter.clone(),
            exporter: exporter.to_owned(),
        };
        gauges.denied.set(0.0);
        gauges.held.set(0.0);
        gauges
    }

    pub(super) fn sent(&self, signal: Signal, items: u64) {
        by_signal(&self.sent, signal, items);
    }

    pub(super) fn failed(&self, signal: Signal, items: u64) {
        by_signal(&self.failed, signal, items);
    }

    pub(super) fn in_flight(&self, requests: usize) {
        self.in_flight.set(requests as f64);
    }

    pub(super) fn attempt(&self, items: u64, bytes: usize) {
        self.send_size.record(items as f64);
        self.send_bytes.record(bytes as f64);
    }

    pub(super) fn retry(&self, reason: Reason) {
        self.meter.counter(&names::RETRIES, &[("exporter", &self.exporter), ("reason", reason.label())]).increment(1);
    }

    pub(super) fn denied(&self, denied: bool) {
        self.denied.set(f64::from(u8::from(denied)));
    }

    pub(super) fn held(&self, batches: u64) {
        self.held.set(batches as f64);
    }

    pub(super) fn set_aside(&self, items: u64) {
        self.set_aside.increment(items);
    }

    pub(super) fn quarantine_expired(&self, records: u64) {
        self.quarantine_expired.increment(records);
    }

    pub(super) fn read_failed(&self) {
        self.read_failures.increment(1);
    }
}

fn by_signal(counters: &[Counter; 3], signal: Signal, items: u64) {
    let [spans, points, logs] = counters;
    match signal {
        Signal::Traces => spans.increment(items),
        Signal::Metrics => points.increment(items),
        Signal::Logs => logs.increment(items),
    }
}
