//! The shutdown of a gateway, in the order that the head of `app` gives. Every wait is bounded, also if a volume hangs.
//! Signals are handled in `life`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::join_all;

use net::spawn::blocking;
use pipeline::Reason;
use telemetry::GATEWAY;

use super::running::App;

/// How long tasks may take after the final stop signal.
pub(super) const LAST_WORD: Duration = Duration::from_secs(2);

/// The result of a gateway's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The reason, if the gateway ended because data could not be committed any more.
    pub failed: Option<Reason>,
    /// Number of records left in the spool for the next start.
    pub left: u64,
}

impl Ended {
    /// The exit code of the process.
    pub fn exit_code(self) -> u8 {
        u8::from(self.failed.is_some())
    }
}

impl App {
    /// Runs until `stop` completes or the spool fails, then shuts down.
    pub async fn wait(self, stop: impl Future<Output = ()>) -> Ended {
        let mut failed = self.engine.sequencer.failed();
        tokio::select! {
            () = stop => {}
            _ = failed.wait_for(Option::is_some) => {
                tracing::error!("the spool can't be written; nothing is accepted any more");
            }
        }
        self.shutdown().await
    }

    /// Shuts the gateway down in order.
    pub async fn shutdown(mut self) -> Ended {
        if self.seams.health.is_again() {
            tracing::info!("this round ends, ports stay open: another begins with the new configuration");
        } else {
            tracing::info!("shutting down");
        }
        self.seams.health.set(GATEWAY, Some(Reason::ShuttingDown.text()));
        let failed = self.engine.sequencer.failed().borrow().is_some();
        let grace = |usual: Duration| if failed { Duration::ZERO } else { usual };
        let (requests, outlets) = (grace(self.settings.drain_requests), grace(self.settings.drain_outlets));
        let receivers = std::mem::take(&mut self.receivers);
        join_all(receivers.into_iter().map(|listener| listener.drain(requests))).await;
        // All connections are answered or closed; now the requests they left behind are processed.
        self.engine.inlet.close();
        let _ = tokio::time::timeout(requests, self.engine.inlet.drained()).await;
        self.queue.close();
        let workers = std::mem::take(&mut self.workers);
        self.join(workers, requests).await;
        self.stops.finish.send_replace(true);
        self.finishing.ended(outlets).await;
        self.stops.end.send_replace(true);
        self.save_last().await;
        self.last_commit.store(true, Ordering::SeqCst);
        self.spool.wake();
        let committer = self.committer.take();
        self.join(committer, self.settings.drain_requests).await;
        // Clients of the tap must not delay the end.
        self.engine.sequencer.tap().close();
        let lasting = std::mem::take(&mut self.lasting);
        join_all(lasting.into_iter().map(|listener| listener.drain(LAST_WORD))).await;
        let (ended, tasks) = (self.report(), Arc::clone(&self.tasks));
        // Connections of exporters close when the engine is dropped.
        drop(self);
        tasks.all().ended(LAST_WORD).await;
        ended
    }

    async fn save_last(&self) {
        let checkpoints = Arc::clone(&self.checkpoints);
        let write = blocking(&*self.tasks, "checkpoint", move || checkpoints.write());
        match tokio::time::timeout(self.settings.drain_requests.max(LAST_WORD), write).await {
            Ok(Some(Err(error))) => {
                tracing::error!(kind = %error.kind(), "the last checkpoint can't be written; effects stay in the spool");
            }
            Ok(_) => {}
            Err(_) => tracing::error!("the last checkpoint was not written in time; effects stay in the spool"),
        }
    }

    /// Joins threads without blocking this one.
    async fn join(&self, threads: impl IntoIterator<Item = JoinHandle<()>>, grace: Duration) {
        let all = async {
            for thread in threads {
                let _ = blocking(&*self.tasks, "join", move || thread.join().is_ok()).await;
            }
        };
        if tokio::time::timeout(grace.max(LAST_WORD), all).await.is_err() {
            tracing::error!("a thread did not end in time");
        }
    }

    fn report(&self) -> Ended {
        let status = self.spool.status();
        let mut left = 0;
        for consumer in status.consumers.iter().filter(|consumer| consumer.records > 0) {
            left += consumer.records;
            tracing::info!(consumer = &*consumer.name, records = consumer.records, "waits in the spool");
        }
        let failed = *self.engine.sequencer.failed().borrow();
        Ended { failed: failed.or(status.poisoned), left }
    }
}
