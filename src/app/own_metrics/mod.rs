//! Sends tollgate's own metrics to OTLP back ends at intervals (`OwnMetricsTask`), for installations that don't scrape.
//! It is off unless configured. It sends the figures of `/metrics` as totals since the start, so the next export makes
//! up for a failed one. The metrics are not spooled, and no pipeline waits for them. The clients are those of the crate
//! `exporters`; `telemetry/meter` has the figures.

pub(super) mod collector_metrics;
pub(super) mod config;
mod points;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::watch;

use crate::components::ExporterSettings;
use ::config::ComponentId;
use exporters::remote::ExporterDeps;
use kernel::clock::{Clock, UnixNanos};
use kernel::hex;
use net::SharedServices;
use otlp::Signal;
use pipeline::{ExportRequest, Exporter, Outcome};
use telemetry::{Counter, Meter, names};

use super::build::{BackgroundTask, background_task};
use super::exporters::build_exporter;
use super::start_error::StartError;

pub use config::{MetricsReaderSettings, OwnMetricsConfig};

/// How long a running export may delay a shutdown; a back end that hangs must not use up the time of a reload.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Exports own metrics to one back end.
pub(super) struct OwnMetricsTask {
    interval: Duration,
    exporter: Arc<dyn Exporter>,
    instance: String,
    began: UnixNanos,
    meter: Meter,
    clock: Arc<dyn Clock>,
    sent: Counter,
    failed: Counter,
}

/// One exporting background task for each configured reader.
///
/// # Errors
/// A TLS file can't be used.
pub(super) fn build_export_tasks(
    readers: Vec<MetricsReaderSettings>,
    deps: &ExporterDeps,
) -> Result<Vec<BackgroundTask>, StartError> {
    let SharedServices { clock, rng, meter, .. } = &deps.services;
    let instance = meter.instance(|| hex::encode(&rng.id()));
    let build = |(index, reader): (usize, MetricsReaderSettings)| {
        let kind = match &reader.exporter {
            ExporterSettings::Otlp(_) => "otlp",
            _ => "otlp_http",
        };
        let id = ComponentId { kind: kind.to_owned(), name: format!("own-metrics-{index}") };
        let outcome = |outcome| meter.counter(&names::OWN_EXPORTS, &[("outcome", outcome)]);
        let task = OwnMetricsTask {
            interval: reader.interval,
            exporter: build_exporter(&id, &reader.exporter, deps.clone())?,
            instance: instance.to_owned(),
            began: meter.began(clock.now()),
            meter: meter.clone(),
            clock: Arc::clone(clock),
            sent: outcome("sent"),
            failed: outcome("failed"),
        };
        Ok(background_task("own metrics", || (), |stop| task.run(stop)))
    };
    readers.into_iter().enumerate().map(build).collect()
}

impl OwnMetricsTask {
    async fn export(&self) {
        let encoded = points::build_request(&self.meter, &self.instance, self.began, self.clock.now());
        let Some((body, items)) = encoded else { return };
        let request = ExportRequest { signal: Signal::Metrics, account: "default".into(), body: body.into(), items };
        let reason = match self.exporter.send(&request).await {
            Outcome::Accepted => return self.sent.increment(1),
            Outcome::Partial { reason, .. } | Outcome::Retry { reason, .. } | Outcome::Refused { reason } => reason,
        };
        self.failed.increment(1);
        tracing::warn!(
            exporter = &**self.exporter.id(),
            reason = reason.label(),
            "own metrics could not be exported; the next export covers the same totals"
        );
    }

    async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            let stopping = tokio::select! {
                () = self.clock.sleep(self.interval) => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            let export = pin!(self.export());
            let deadline = pin!(async {
                let _ = stop.wait_for(|stop| *stop).await;
                self.clock.sleep(SHUTDOWN_GRACE).await;
            });
            let timed_out = matches!(select(export, deadline).await, Either::Right(_));
            if stopping || timed_out {
                return;
            }
        }
    }
}
