//! [`SpoolMetrics`]: the spool's metric handles. Their names are in `telemetry/src/names/mod.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use crate::outcome::Reason;
use kernel::clock::UnixNanos;
use telemetry::{Counter, Gauge, Histogram, Meter, names};

use super::status::{ConsumerStatus, SpoolStatus};
use super::transaction::QUARANTINE;

/// See the module. Label values are consumers (component ids) and reasons, so their number is bounded.
pub(super) struct SpoolMetrics {
    meter: Meter,
    bytes: Gauge,
    limit: Gauge,
    oldest: Gauge,
    pub(super) poisoned: Gauge,
    pub(super) commits: Counter,
    pub(super) sync_seconds: Histogram,
    refused: HashMap<Reason, Counter>,
    /// Gauges of pending records and bytes, by consumer.
    pending: parking_lot::Mutex<HashMap<Arc<str>, (Gauge, Gauge)>>,
}

impl SpoolMetrics {
    pub(super) fn new(meter: &Meter, limit: u64) -> Self {
        let reasons = [Reason::SpoolFull, Reason::SpoolFailed, Reason::TooLarge];
        let metrics = Self {
            meter: meter.clone(),
            bytes: meter.gauge(&names::SPOOL_BYTES, &[]),
            limit: meter.gauge(&names::SPOOL_LIMIT_BYTES, &[]),
            oldest: meter.gauge(&names::SPOOL_OLDEST_SECONDS, &[]),
            poisoned: meter.gauge(&names::SPOOL_POISONED, &[]),
            commits: meter.counter(&names::SPOOL_COMMITS, &[]),
            sync_seconds: meter.histogram(&names::SPOOL_FSYNC_SECONDS, &[]),
            refused: reasons
                .into_iter()
                .map(|reason| (reason, meter.counter(&names::SPOOL_REFUSED, &[("reason", reason.label())])))
                .collect(),
            pending: parking_lot::Mutex::default(),
        };
        // Clears values that an earlier configuration of this process left.
        meter.clear(&names::SPOOL_UNREAD_SECONDS);
        metrics.limit.set(limit as f64);
        metrics.poisoned.set(0.0);
        metrics
    }

    pub(super) fn count_refusal(&self, reason: Reason) {
        if let Some(counter) = self.refused.get(&reason) {
            counter.increment(1);
        }
    }

    pub(super) fn update_gauges(&self, status: &SpoolStatus, now: UnixNanos) {
        self.bytes.set(status.bytes as f64);
        let age = |oldest| now.since(oldest).as_secs_f64();
        let is_read = |consumer: &&ConsumerStatus| consumer.configured && &*consumer.name != QUARANTINE;
        let read = status.consumers.iter().filter(is_read);
        self.oldest.set(read.filter_map(|consumer| consumer.oldest).min().map_or(0.0, age));
        let mut pending = self.pending.lock();
        for ConsumerStatus { name, .. } in &status.consumers {
            pending.entry(Arc::clone(name)).or_insert_with(|| {
                let labels = [("consumer", &**name)];
                let records = self.meter.gauge(&names::SPOOL_PENDING_RECORDS, &labels);
                (records, self.meter.gauge(&names::SPOOL_PENDING_BYTES, &labels))
            });
        }
        for (name, (records, bytes)) in pending.iter() {
            let consumer = status.consumers.iter().find(|consumer| consumer.name == *name);
            records.set(consumer.map_or(0, |consumer| consumer.records) as f64);
            bytes.set(consumer.map_or(0, |consumer| consumer.bytes) as f64);
            let labels = [("consumer", &**name)];
            match consumer.filter(|consumer| !is_read(consumer)).and_then(|consumer| consumer.oldest) {
                Some(oldest) => self.meter.gauge(&names::SPOOL_UNREAD_SECONDS, &labels).set(age(oldest)),
                None => self.meter.remove(&names::SPOOL_UNREAD_SECONDS, &labels),
            }
        }
    }
}
