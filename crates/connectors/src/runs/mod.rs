//! The `runs` connector: takes new portions from its sources, submits them to the inlet and waits for the commit, so
//! that run summaries and users' metrics reach back ends like all other telemetry.
//! One request is submitted at a time. A portion that was not committed is offered again; one that the pipelines
//! refuse for good is counted and dropped, so that it does not block the rest. The crate `tracker` makes the portions,
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
use pipeline::{
    BytePermit, Clearance, Content, Inlet, Made, Outcome, Portion, Reason, Source, Submission, Text, Trust,
};
use telemetry::{Counter, Meter, names};

pub use config::{Config, Settings};

/// Maximum number of consecutive requests of one signal and source.
const MOST: usize = 100;

/// A running `runs` connector; see the module.
pub struct Runs {
    id: Arc<str>,
    settings: Settings,
    sources: Vec<Arc<dyn Source>>,
    signals: Vec<Signal>,
    clock: Arc<dyn Clock>,
    told: Counter,
    refused: Counter,
}

impl Runs {
    /// Creates a connector that feeds pipelines of `signals` with the portions of `sources`.
    pub fn build(
        id: Arc<str>,
        settings: Settings,
        sources: Vec<Arc<dyn Source>>,
        signals: Vec<Signal>,
        clock: Arc<dyn Clock>,
        meter: &Meter,
    ) -> Self {
        sources.iter().for_each(|source| source.ask(&signals));
        let labels = [("connector", &*id)];
        let (told, refused) =
            (meter.counter(&names::CONNECTOR_TOLD, &labels), meter.counter(&names::CONNECTOR_REFUSED, &labels));
        Self { id, settings, sources, signals, clock, told, refused }
    }

    /// Sends new portions at every interval until `stop` becomes true.
    pub async fn run(&self, inlet: &Inlet, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.clock.sleep(self.settings.interval) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            tokio::select! {
                () = self.tell(inlet) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Sends all portions that are new now, as far as the engine accepts them.
    pub async fn tell(&self, inlet: &Inlet) {
        for source in &self.sources {
            for signal in &self.signals {
                for _ in 0..MOST {
                    let Some(portion) = source.portion(*signal, self.clock.now()) else { break };
                    if !self.hand_in(inlet, *signal, portion).await {
                        break;
                    }
                }
            }
        }
    }

    /// Submits one portion; false if the engine asks to retry later.
    async fn hand_in(&self, inlet: &Inlet, signal: Signal, portion: Portion) -> bool {
        let Portion { account, wire, effect } = portion;
        let made = |effect| Made { effects: vec![effect], clearance: CLEARANCE };
        let outcome = match self.submission(inlet, signal, Arc::clone(&account), wire).await {
            Ok(submission) => inlet.submit_made(submission, made(effect.clone())).await,
            Err(outcome) => outcome,
        };
        match outcome {
            Outcome::Accepted | Outcome::Partial { .. } => {
                self.told.increment(1);
                true
            }
            Outcome::Retry { .. } => false,
            Outcome::Refused { reason: Reason::ShuttingDown } => false,
            Outcome::Refused { .. } => {
                self.refused.increment(1);
                tracing::error!(
                    connector = &*self.id,
                    signal = signal.as_str(),
                    "pipelines refuse what is told of runs"
                );
                let Ok(alone) = self.submission(inlet, signal, account, Bytes::new()).await else { return false };
                matches!(inlet.submit_made(alone, made(effect)).await, Outcome::Accepted)
            }
        }
    }

    async fn submission(
        &self,
        inlet: &Inlet,
        signal: Signal,
        account: Arc<str>,
        wire: Bytes,
    ) -> Result<Submission, Outcome> {
        let mut permit = BytePermit::new();
        inlet.budget().charge(&mut permit, wire.len()).await?;
        let (receiver, transport, trust) = (Arc::clone(&self.id), "connector", Trust::Internal);
        Ok(Submission { signal, wire, permit, account, receiver, transport, trust })
    }

    /// The connector's component id, for logs.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// How often new portions are sent.
    pub fn interval(&self) -> Duration {
        self.settings.interval
    }
}

/// Portions contain no content; their texts still have to be redacted.
const CLEARANCE: Clearance = Clearance { content: Content::Stripped, text: Text::Raw };
