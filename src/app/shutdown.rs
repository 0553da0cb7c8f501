//! The life of a gateway under signals, and its shutdown in the order that `app/mod.rs` describes. A signal is handled
//! at any time, because both a start (which reads the whole spool) and a shutdown can take minutes. Every wait is
//! bounded, also if a volume hangs. Ending before the gateway is ready, or at a second signal, loses nothing: both are
//! equivalent to a crash.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::join_all;

use net::spawn::run_blocking;
use pipeline::Reason;
use telemetry::GATEWAY;

use super::build::GatewayBlueprint;
use super::gateway_deps::GatewayDeps;
use super::running::RunningGateway;
use super::start_error::StartError;
use command::error::StopSignal;

/// How long tasks may take after the final stop signal.
pub(super) const FINAL_GRACE: Duration = Duration::from_secs(2);

/// The result of a gateway's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// The reason, if the gateway ended because data could not be committed any more.
    pub failed: Option<Reason>,
    /// Number of records left in the spool for the next start.
    pub records_left: u64,
}

/// How the gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayOutcome {
    /// It ran, and shut down in order.
    Completed(ShutdownReport),
    /// It received a signal before it was ready.
    StoppedBeforeReady,
    /// It received this second signal during shutdown, and stopped at once.
    Aborted(StopSignal),
}

impl RunningGateway {
    /// Starts a gateway, calls `ready` when it runs, shuts it down after `stop`, and abandons the shutdown after
    /// `abort`.
    ///
    /// # Errors
    /// The gateway could not start.
    pub async fn run_until_stopped(
        blueprint: GatewayBlueprint,
        deps: GatewayDeps,
        ready: impl FnOnce(&Self),
        stop: impl Future<Output = ()>,
        abort: impl Future<Output = StopSignal>,
    ) -> Result<GatewayOutcome, StartError> {
        let mut stop = pin!(stop);
        let gateway = tokio::select! {
            started = Self::start(blueprint, deps) => started?,
            () = &mut stop => {
                tracing::info!("stopped by a signal before it was ready");
                return Ok(GatewayOutcome::StoppedBeforeReady);
            }
        };
        ready(&gateway);
        tokio::select! {
            report = gateway.run_until(stop) => Ok(GatewayOutcome::Completed(report)),
            signal = abort => {
                tracing::warn!("second stop signal: exiting at once; accepted data is in the spool");
                Ok(GatewayOutcome::Aborted(signal))
            }
        }
    }

    /// Runs until `stop` completes or the spool fails, then shuts down.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> ShutdownReport {
        let mut failed = self.engine.sequencer.watch_failure();
        tokio::select! {
            () = stop => {}
            _ = failed.wait_for(Option::is_some) => {
                tracing::error!("the spool can't be written; no more data is accepted");
            }
        }
        self.shutdown().await
    }

    /// Shuts the gateway down in order.
    pub async fn shutdown(mut self) -> ShutdownReport {
        if self.deps.health.has_next_round() {
            tracing::info!("reloading: the gateway restarts with the new configuration; ports stay open");
        } else {
            tracing::info!("shutting down");
        }
        self.deps.health.set(GATEWAY, Some(Reason::ShuttingDown.text()));
        if !self.deps.health.has_next_round() {
            self.accept_for_delay().await;
        }
        let is_failed = self.engine.sequencer.watch_failure().borrow().is_some();
        let grace = |configured: Duration| if is_failed { Duration::ZERO } else { configured };
        let (request_grace, outlet_grace) = (grace(self.settings.drain_requests), grace(self.settings.drain_outlets));
        let receivers = std::mem::take(&mut self.receivers);
        join_all(receivers.into_iter().map(|drain| drain(request_grace))).await;
        // All connections are answered or closed; now the requests they left behind are processed.
        self.engine.inlet.close();
        let _ = tokio::time::timeout(request_grace, self.engine.inlet.wait_until_drained()).await;
        self.queue.close();
        let workers = std::mem::take(&mut self.workers);
        self.join_threads(workers, request_grace).await;
        self.stops.finish.send_replace(true);
        self.finishing_tasks.wait_until_empty(outlet_grace).await;
        self.stops.end.send_replace(true);
        self.write_last_checkpoint().await;
        self.end_committer.store(true, Ordering::SeqCst);
        self.spool.wake();
        let committer = self.committer.take();
        self.join_threads(committer, self.settings.drain_requests).await;
        // Clients of the tap must not delay the end.
        self.engine.sequencer.tap.close();
        let lasting_listeners = std::mem::take(&mut self.lasting_listeners);
        join_all(lasting_listeners.into_iter().map(|drain| drain(FINAL_GRACE))).await;
        let (report, tasks) = (self.build_report(), Arc::clone(&self.tasks));
        // Connections of exporters close when the engine is dropped.
        drop(self);
        tasks.all().wait_until_empty(FINAL_GRACE).await;
        report
    }

    /// Goes on accepting for a while, so that load balancers see that readiness fails before connections are refused.
    /// Ends at once if the spool fails: nothing can be accepted any more.
    async fn accept_for_delay(&self) {
        let delay = self.settings.shutdown_delay;
        let mut failed = self.engine.sequencer.watch_failure();
        if delay.is_zero() || failed.borrow().is_some() {
            return;
        }
        tracing::info!(seconds = delay.as_secs_f64(), "not ready any more; requests are still accepted");
        tokio::select! {
            () = self.deps.clock.sleep(delay) => {}
            _ = failed.wait_for(Option::is_some) => {}
        }
    }

    async fn write_last_checkpoint(&self) {
        let checkpoints = Arc::clone(&self.checkpoints);
        let write = run_blocking(&*self.tasks, "checkpoint", move || checkpoints.write());
        match tokio::time::timeout(self.settings.drain_requests.max(FINAL_GRACE), write).await {
            Ok(Some(Err(error))) => {
                tracing::error!(kind = %error.kind(), "the last checkpoint can't be written; the next start replays effects from the spool");
            }
            Ok(_) => {}
            Err(_) => tracing::error!(
                "the last checkpoint was not written in time; the next start replays effects from the spool"
            ),
        }
    }

    /// Joins threads without blocking this one.
    async fn join_threads(&self, threads: impl IntoIterator<Item = JoinHandle<()>>, grace: Duration) {
        let join = async {
            for thread in threads {
                let _ = run_blocking(&*self.tasks, "join", move || thread.join().is_ok()).await;
            }
        };
        if tokio::time::timeout(grace.max(FINAL_GRACE), join).await.is_err() {
            tracing::error!("a thread did not end in time");
        }
    }

    fn build_report(&self) -> ShutdownReport {
        let status = self.spool.status();
        let mut records_left = 0;
        for consumer in status.consumers.iter().filter(|consumer| consumer.records > 0) {
            records_left += consumer.records;
            tracing::info!(consumer = &*consumer.name, records = consumer.records, "records are waiting in the spool");
        }
        let failed = *self.engine.sequencer.watch_failure().borrow();
        ShutdownReport { failed: failed.or(status.poisoned), records_left }
    }
}
