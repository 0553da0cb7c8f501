//! The `runs` connector: takes new requests from its sources, submits them to the inlet and waits for the commit, so
//! that run summaries and users' metrics reach back ends like all other telemetry.
//! One request is submitted at a time. A request that was not committed is offered again; one that the pipelines
//! refuse for good is counted and dropped, so that it does not block the rest. The crate `tracker` makes the requests,
//! `src/app` runs the task.

mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use kernel::clock::Clock;
use otlp::Signal;
use pipeline::{Clearance, ContentState, Inlet, Outcome, OwnRequest, Reason, RequestSource, SourceRequest, TextState};
use telemetry::{Counter, Meter, names};

pub use config::{RunsConfig, RunsSettings};

/// Maximum number of consecutive requests of one signal and source.
const MAX_REQUESTS_IN_A_ROW: usize = 100;

/// A running `runs` connector; see the module.
pub struct RunsConnector {
    id: Arc<str>,
    settings: RunsSettings,
    sources: Vec<Arc<dyn RequestSource>>,
    signals: Vec<Signal>,
    clock: Arc<dyn Clock>,
    sent_requests: Counter,
    refused_requests: Counter,
}

impl RunsConnector {
    /// Creates a connector that feeds pipelines of `signals` with the requests of `sources`.
    pub fn build(
        id: Arc<str>,
        settings: RunsSettings,
        sources: Vec<Arc<dyn RequestSource>>,
        signals: Vec<Signal>,
        clock: Arc<dyn Clock>,
        meter: &Meter,
    ) -> Self {
        sources.iter().for_each(|source| source.enable_signals(&signals));
        let labels = [("connector", &*id)];
        let sent_requests = meter.counter(&names::CONNECTOR_TOLD, &labels);
        let refused_requests = meter.counter(&names::CONNECTOR_REFUSED, &labels);
        Self { id, settings, sources, signals, clock, sent_requests, refused_requests }
    }

    /// Sends new requests at every interval until `stop` becomes true.
    pub async fn run(&self, inlet: &Inlet, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.clock.sleep(self.settings.interval.0) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            tokio::select! {
                () = self.send_new_requests(inlet) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Sends all requests that are new now, as far as the engine accepts them.
    pub async fn send_new_requests(&self, inlet: &Inlet) {
        for source in &self.sources {
            for signal in &self.signals {
                for _ in 0..MAX_REQUESTS_IN_A_ROW {
                    let Some(request) = source.next_request(*signal, self.clock.now()) else { break };
                    if !self.submit_request(inlet, *signal, request).await {
                        break;
                    }
                }
            }
        }
    }

    /// Submits one request; false if the engine does not accept requests now.
    async fn submit_request(&self, inlet: &Inlet, signal: Signal, request: SourceRequest) -> bool {
        let SourceRequest { account, wire, effect } = request;
        let submit = |wire| {
            let (receiver, account, effects) = (Arc::clone(&self.id), Arc::clone(&account), vec![effect.clone()]);
            inlet.submit_own(OwnRequest { signal, account, receiver, wire, effects, clearance: REQUEST_CLEARANCE })
        };
        match submit(wire).await {
            Outcome::Accepted | Outcome::Partial { .. } => {
                self.sent_requests.increment(1);
                true
            }
            Outcome::Retry { .. } => false,
            Outcome::Refused { reason: Reason::ShuttingDown } => false,
            Outcome::Refused { .. } => {
                self.refused_requests.increment(1);
                tracing::error!(
                    connector = &*self.id,
                    signal = signal.as_str(),
                    "the pipelines permanently refused telemetry about runs; it was dropped"
                );
                // Without data, only the effect is committed, so that the request is not offered again.
                matches!(submit(Bytes::new()).await, Outcome::Accepted)
            }
        }
    }

    /// The connector's component id, for logs.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// How often new requests are sent.
    pub fn interval(&self) -> Duration {
        self.settings.interval.0
    }
}

/// Requests contain no content; their texts still have to be redacted.
const REQUEST_CLEARANCE: Clearance = Clearance { content: ContentState::Stripped, text: TextState::Raw };
